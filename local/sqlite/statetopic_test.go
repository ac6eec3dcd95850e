package sqlite

import (
	"encoding/json"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/reventless-go/reventless/driver"
)

// TestIdleSubscribersAreSmall is not parallel: it measures the heap.
func TestIdleSubscribersAreSmall(t *testing.T) {
	p := mustOpen(t, filepath.Join(t.TempDir(), "app.db"), nil)
	ctx := t.Context()
	spec := driver.TableSpec{Name: "Test.Rows"}
	db := must[driver.QueryDb](t)(p.OpenQueryDb(ctx, spec))
	topic := must[driver.StateTopic](t)(p.OpenStateTopic(ctx, spec))
	const subscribers = 500
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for range subscribers {
		seq, err := topic.Subscribe(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			for c, err := range seq {
				if err != nil || string(c.Row) != `{"n":1}` {
					t.Errorf("got %s, %v", c.Row, err)
				}
				break
			}
		}()
	}
	if each := int64(heap()-before) / subscribers; each > 4<<10 {
		t.Errorf("an idle subscriber takes %d bytes, want at most 4 KB", each)
	}
	saveRows(t, db, driver.Row{Key: driver.Key{ID: "a"}, Data: json.RawMessage(`{"n":1}`)})
}
