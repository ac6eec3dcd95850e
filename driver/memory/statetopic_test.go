package memory_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"testing"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/memory"
)

// TestIdleSubscribersAreSmall does not run beside others: it looks at the heap.
func TestIdleSubscribersAreSmall(t *testing.T) {
	d := openAll(t, nil)
	const subscribers = 1000
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	var kept []any
	for range subscribers {
		seq, err := d.states.Subscribe(t.Context())
		must(t, err)
		kept = append(kept, seq)
	}
	if each := int64(heap()-before) / subscribers; each > 4<<10 {
		t.Errorf("an idle subscriber takes %d bytes, want at most 4 KB", each)
	}
	runtime.KeepAlive(kept)
}

func TestASubscriberMayBe1024ChangesBehind(t *testing.T) {
	t.Parallel()
	for _, writes := range []int{1024, 1025} {
		p := memory.New(nil)
		spec := driver.TableSpec{Name: "Test.Rows"}
		db, err := p.OpenQueryDb(t.Context(), spec)
		must(t, err)
		topic, err := p.OpenStateTopic(t.Context(), spec)
		must(t, err)
		seq, err := topic.Subscribe(t.Context())
		must(t, err)
		for i := range writes {
			row := driver.Row{Key: driver.Key{ID: "a"}, Data: json.RawMessage(fmt.Sprintf(`{"n":%d}`, i))}
			must(t, db.Apply(t.Context(), driver.Step{Writes: []driver.RowWrite{{Row: row}}}))
		}
		if writes == 1024 {
			must(t, p.Close()) // it ends behind the changes that were made
		}
		got := 0
		for c, err := range seq {
			if err != nil {
				if !errors.Is(err, driver.ErrUnavailable) {
					t.Errorf("%d changes ended with %v, want ErrUnavailable", writes, err)
				}
				break
			}
			if want := fmt.Sprintf(`{"n":%d}`, got); string(c.Row) != want {
				t.Fatalf("change %d of %d is %s, want %s", got, writes, c.Row, want)
			}
			got++
		}
		if got != 1024 {
			t.Errorf("got %d of %d changes, want 1024", got, writes)
		}
		must(t, p.Close())
	}
}
