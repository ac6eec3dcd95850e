package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
)

const crashWorkers = 4

// crashRole writes as fast as it can until it is killed. It prints what was
// acknowledged.
func crashRole(path string) {
	ctx := context.Background()
	p, err := Open(ctx, path, nil)
	fail(err)
	l, err := p.OpenEventLog(ctx, "Test.Log")
	fail(err)
	topic, err := p.OpenCommandTopic(ctx, "Test.Thing")
	fail(err)
	db, err := p.OpenQueryDb(ctx, crashTable)
	fail(err)
	fmt.Println("open")
	for w := range crashWorkers {
		go func() {
			stream := fmt.Sprintf("s%d", w)
			commits, err := l.Load(ctx, stream, 1)
			fail(err)
			for n := uint64(len(commits)) + 1; ; n++ {
				fail(l.Append(ctx, commitOf(stream, n)))
				fmt.Printf("append %d %d\n", w, n)
				fail(topic.Send(ctx, []driver.Command{{Target: "Test.Thing", Entity: stream, Type: "Do", Meta: driver.Meta{ID: fmt.Sprintf("%s-%d", stream, n)}}}))
				fmt.Printf("send %d %d\n", w, n)
				key := driver.StreamKey{Log: "Test.Log", Stream: stream}
				mark, err := db.Watermark(ctx, key)
				fail(err)
				row := driver.Row{Key: driver.Key{ID: stream}, Data: json.RawMessage(fmt.Sprintf(`{"n":%d,"k":"k%d"}`, n, n))}
				fail(db.Apply(ctx, driver.Step{Advances: []driver.Advance{{StreamKey: key, From: mark.SequenceNr, To: n}}, Writes: []driver.RowWrite{{Row: row}}}))
				fmt.Printf("apply %d %d\n", w, n)
			}
		}()
	}
	select {}
}

var crashTable = driver.TableSpec{Name: "Test.Rows", Indexes: []driver.Index{{Name: "ByK", Key: driver.Field{Name: "k"}}}}

func TestKilledProcessesLoseNothingAcknowledged(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "app.db")
	acknowledged := map[string]uint64{} // by verb and worker
	sent := [crashWorkers]uint64{}      // received so far
	total := 0
	for round := range 10 {
		child := start(t, "crash", path)
		child.line(t)
		for range rand.IntN(100) {
			total++
			note(t, acknowledged, child.line(t))
		}
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond) //nolint:forbidigo // kill at any moment of a commit
		for _, line := range child.kill() {
			total++
			note(t, acknowledged, line)
		}
		p, err := Open(t.Context(), path, nil)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		checkCrashed(t, p, acknowledged, &sent)
		mustClose(t, p)
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	t.Logf("%d acknowledged writes", total)
}

// note remembers a line that a child printed. The last one may be cut.
func note(t *testing.T, acknowledged map[string]uint64, line string) {
	t.Helper()
	var verb string
	var w int
	var n uint64
	if _, err := fmt.Sscanf(line, "%s %d %d", &verb, &w, &n); err != nil {
		t.Logf("cut line %q", line)
		return
	}
	key := fmt.Sprint(verb, w)
	acknowledged[key] = max(acknowledged[key], n)
}

func checkCrashed(t *testing.T, p *Provider, acknowledged map[string]uint64, sent *[crashWorkers]uint64) {
	t.Helper()
	ctx := t.Context()
	l := must[driver.EventLog](t)(p.OpenEventLog(ctx, "Test.Log"))
	topic := must[driver.Receiver[driver.Command]](t)(p.OpenCommandReceiver(ctx, "Test.Thing"))
	db := must[driver.QueryDb](t)(p.OpenQueryDb(ctx, crashTable))
	engine := must[driver.QueryEngine](t)(p.OpenQueryEngine(ctx, []driver.TableSpec{crashTable}))
	for {
		b := must[driver.Batch[driver.Command]](t)(topic.Receive(ctx, 100))
		if len(b.Deliveries) == 0 {
			break
		}
		var settled []driver.Settlement
		for _, d := range b.Deliveries {
			var w int
			var n uint64
			if _, err := fmt.Sscanf(d.Message.Meta.ID, "s%d-%d", &w, &n); err != nil {
				t.Fatal(err)
			}
			if n <= sent[w] {
				t.Errorf("command %s comes after %d", d.Message.Meta.ID, sent[w])
			}
			sent[w] = n
			settled = append(settled, driver.Settlement{ID: d.ID})
		}
		if err := topic.Settle(ctx, settled); err != nil {
			t.Fatal(err)
		}
	}
	for w := range crashWorkers {
		stream := fmt.Sprintf("s%d", w)
		commits := must[[]driver.Commit](t)(l.Load(ctx, stream, 1))
		if want := acknowledged[fmt.Sprint("append", w)]; uint64(len(commits)) < want {
			t.Errorf("%s has %d commits, %d were acknowledged", stream, len(commits), want)
		}
		if want := acknowledged[fmt.Sprint("send", w)]; sent[w] < want {
			t.Errorf("%s got commands up to %d, %d were acknowledged", stream, sent[w], want)
		}
		mark := must[driver.Watermark](t)(db.Watermark(ctx, driver.StreamKey{Log: "Test.Log", Stream: stream}))
		if want := acknowledged[fmt.Sprint("apply", w)]; mark.SequenceNr < want {
			t.Errorf("%s was applied up to %d, %d was acknowledged", stream, mark.SequenceNr, want)
		}
		if mark.SequenceNr == 0 {
			continue
		}
		// The step was atomic: row, index and watermark agree.
		page := must[driver.Page](t)(engine.Query(ctx, driver.Query{ReadModel: crashTable.Name, Index: "ByK", Value: fmt.Sprintf("k%d", mark.SequenceNr)}))
		found := false
		for _, r := range page.Rows {
			found = found || r.ID == stream && string(r.Data) == fmt.Sprintf(`{"n":%d,"k":"k%d"}`, mark.SequenceNr, mark.SequenceNr)
		}
		if !found {
			t.Errorf("%s: the index has no row of watermark %d", stream, mark.SequenceNr)
		}
	}
}
