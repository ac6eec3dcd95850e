package sqlite

import (
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// bulk stores n commits in one transaction, in streams of 100.
func bulk(t *testing.T, p *Provider, log string, n int) driver.EventLog {
	t.Helper()
	l := must[driver.EventLog](t)(p.OpenEventLog(t.Context(), log)).(*eventLog)
	err := p.write(t.Context(), func(x *tx) error {
		for i := range n {
			r, err := encode(l.id, commitOf(fmt.Sprintf("s%d", i/100), uint64(i%100+1)), time.Unix(0, 1))
			if err != nil {
				return err
			}
			_, pos, err := x.exec("INSERT INTO commits (log, stream, seq, slot, at, crc, head, events) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
				l.id, r.Stream, int64(r.SequenceNr), slot(r.Stream), r.at, r.crc, r.Head, r.Events)
			if err != nil {
				return err
			}
			l.head.Store(pos)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestScansNeedLittleMemory is not parallel: it measures the heap.
func TestScansNeedLittleMemory(t *testing.T) {
	p := mustOpen(t, filepath.Join(t.TempDir(), "app.db"), nil)
	const commits = 8_000 // more than 3 MB
	l := bulk(t, p, "Test.Log", commits)
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	before, most := m.HeapAlloc, uint64(0)
	n := 0
	for _, err := range l.Scan(t.Context(), 0, 1) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n%1000 == 0 {
			runtime.GC()
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
		}
	}
	if n != commits {
		t.Errorf("scanned %d commits, want %d", n, commits)
	}
	if most > before+1<<20 {
		t.Errorf("the heap grew by %d KB", (most-before)>>10)
	}
}

func TestScansDoNotBlockCheckpoints(t *testing.T) {
	t.Parallel()
	p := mustOpen(t, filepath.Join(t.TempDir(), "app.db"), nil)
	l := bulk(t, p, "Test.Log", 2000)
	for _, err := range l.Scan(t.Context(), 0, 1) {
		if err != nil {
			t.Fatal(err)
		}
		// With an open read transaction the checkpoint could not complete.
		busy := int64(-1)
		err = p.writer.pause(func() (err error) {
			busy, err = p.writer.c.integer("PRAGMA wal_checkpoint(TRUNCATE)")
			return err
		})
		if err != nil || busy != 0 {
			t.Errorf("a checkpoint during a scan: busy %d, %v", busy, err)
		}
		break
	}
}

// TestStatementsUseIndexes calls all operations and checks the query plan of each
// prepared statement.
func TestStatementsUseIndexes(t *testing.T) {
	t.Parallel()
	p := mustOpen(t, filepath.Join(t.TempDir(), "app.db"), nil)
	ctx := t.Context()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	l := fillLog(t, p, 2, 3)
	must[[]driver.Commit](t)(l.Load(ctx, "s0", anySnapshot))
	for _, seq := range []func(func(driver.Commit, error) bool){l.Read(ctx, "s0", 1, 0), l.Scan(ctx, 0, 2)} {
		for _, err := range seq {
			ok(err)
		}
	}
	if err := l.Append(ctx, commitOf("s0", 1)); !errors.Is(err, driver.ErrConflict) {
		t.Error(err)
	}
	topic := must[driver.CommandTopic](t)(p.OpenCommandTopic(ctx, "Test.Thing"))
	ok(topic.Send(ctx, []driver.Command{{Entity: "e", Meta: driver.Meta{ID: "c"}}}))
	drainAll(t, must[driver.Receiver[driver.Command]](t)(p.OpenCommandReceiver(ctx, "Test.Thing")))
	events := must[driver.EventTopic](t)(p.OpenEventTopic(ctx, driver.TopicSpec{Log: "Test.Log", Subscribers: []string{"a"}}))
	ok(events.Publish(ctx, []driver.Envelope{{Log: "Test.Log", Commit: commitOf("s0", 1)}}))
	for _, fromTopic := range []bool{true, false} {
		drainAll(t, must[driver.Receiver[driver.Record]](t)(p.OpenEventCollector(ctx, driver.CollectorSpec{Consumer: "a", Source: driver.Source{Log: "Test.Log", Topic: fromTopic}})))
	}
	num := driver.Field{Name: "n", Number: true}
	spec := driver.TableSpec{Name: "Test.Rows", SubID: "s", Indexes: []driver.Index{{Name: "ByK", Key: driver.Field{Name: "k"}, Sort: &num}}}
	db := must[driver.QueryDb](t)(p.OpenQueryDb(ctx, spec))
	row := func(id, sub string) driver.Row {
		return driver.Row{Key: driver.Key{ID: id, Sub: sub}, Data: []byte(`{"s":"` + sub + `","k":"v","n":1}`), ExpiresAt: time.Now().Add(time.Hour)}
	}
	saveRows(t, db, row("a", "1"), row("a", "2"), row("b", "1"), row("c", "1"))
	saveRows(t, db, row("a", "1"))
	must[[]driver.Row](t)(db.Load(ctx, "a"))
	key := driver.StreamKey{Log: "Test.Log", Stream: "s0"}
	ok(db.Apply(ctx, driver.Step{Advances: []driver.Advance{{StreamKey: key, To: 1}}, Writes: []driver.RowWrite{{Row: row("e", "1"), Guard: true}}}))
	ok(db.Advance(ctx, []driver.Advance{{StreamKey: key, From: 1, To: 2}}))
	ok(db.Block(ctx, key, 2))
	must[driver.Watermark](t)(db.Watermark(ctx, key))
	engine := must[driver.QueryEngine](t)(p.OpenQueryEngine(ctx, []driver.TableSpec{spec}))
	for _, index := range []string{"", "ByK"} {
		for _, descending := range []bool{false, true} {
			for _, c := range []driver.Comparator{"", driver.Equal, driver.GreaterOrEqual, driver.Less, driver.BeginsWith} {
				q := driver.Query{ReadModel: spec.Name, Index: index, Value: "a", Descending: descending, Limit: 1}
				values := []any{"1"}
				if index != "" {
					q.Value, values = "v", []any{1.0}
				}
				if c == driver.BeginsWith && index != "" {
					continue
				}
				if c != "" {
					q.Sort = &driver.Filter{Comparator: c, Values: values}
				}
				page := must[driver.Page](t)(engine.Query(ctx, q))
				if q.Cursor = page.Cursor; q.Cursor != "" {
					must[driver.Page](t)(engine.Query(ctx, q))
				}
			}
		}
	}
	page := must[driver.Page](t)(engine.Scan(ctx, driver.Scan{ReadModel: spec.Name, Limit: 1}))
	must[driver.Page](t)(engine.Scan(ctx, driver.Scan{ReadModel: spec.Name, Cursor: page.Cursor}))
	ok(db.Apply(ctx, driver.Step{Writes: []driver.RowWrite{{Row: driver.Row{Key: driver.Key{ID: "b", Sub: "1"}}, Delete: true}}}))
	spec.Indexes = []driver.Index{{Name: "ByN", Key: num}}
	must[driver.QueryDb](t)(p.OpenQueryDb(ctx, spec))
	ok(db.Clear(ctx))
	counter := must[driver.Counter](t)(p.OpenCounter(ctx, "Test.Counter"))
	ok(counter.AddTarget(ctx, "c", "t", 1))
	ok(counter.Count(ctx, "c", "r", 1))
	must[driver.CounterState](t)(counter.State(ctx, "c"))
	drainAll(t, must[driver.Receiver[driver.CounterFinished]](t)(p.OpenCounterReceiver(ctx, "Test.Counter")))
	scheduler := must[driver.Scheduler](t)(p.OpenScheduler(ctx))
	ok(scheduler.Create(ctx, driver.Schedule{Name: "s", Expression: "at(2020-01-01T00:00:00)"}))
	drainAll(t, must[driver.Receiver[driver.Firing]](t)(p.OpenScheduleReceiver(ctx)))
	ok(scheduler.Delete(ctx, "s"))
	b := openBucket(t, p)
	putObject(t, b, "k", "x")
	keysOf(t, b)
	ok(b.(*bucket).scan(ctx))
	letters := must[driver.DeadLetters](t)(p.OpenDeadLetters(ctx))
	ok(letters.Park(ctx, driver.DeadLetter{ID: "l", Component: "c"}))
	must[driver.DeadLetter](t)(letters.Get(ctx, "l"))
	for _, component := range []string{"", "c"} {
		must[[]driver.DeadLetter](t)(letters.List(ctx, component, "", 10))
	}
	ok(letters.Remove(ctx, "l"))
	outcomes := must[driver.Outcomes](t)(p.OpenOutcomes(ctx))
	ok(outcomes.Put(ctx, driver.StoredOutcome{Outcome: driver.Outcome{CommandID: "c", Target: "T", Kind: driver.Pending}}, time.Now().Add(time.Hour)))
	must[driver.StoredOutcome](t)(outcomes.Get(ctx, "T", "c"))

	texts := map[string]bool{}
	ok(p.write(ctx, func(x *tx) error {
		for text := range x.stmts {
			texts[text] = true
		}
		return nil
	}))
	for _, c := range p.readers.idle {
		for text := range c.stmts {
			texts[text] = true
		}
	}
	explained := 0
	for statement := range texts {
		verb, _, _ := strings.Cut(strings.TrimSpace(statement), " ")
		if !strings.Contains("SELECT INSERT UPDATE DELETE", verb) {
			continue
		}
		explained++
		args := make([]any, 20)
		err := p.read(ctx, func(c *conn) error {
			return c.query("EXPLAIN QUERY PLAN "+statement, args, func(row []sqldriver.Value) error {
				step := text(row[3])
				if strings.HasPrefix(step, "SCAN") && step != "SCAN CONSTANT ROW" && !wholeTable[statement] || strings.Contains(step, "TEMP B-TREE") {
					t.Errorf("%s\n\t%s", statement, step)
				}
				return nil
			})
		})
		ok(err)
	}
	if explained < 60 {
		t.Errorf("only %d statements were checked", explained)
	}
}

// wholeTable has the statements that scan a table intentionally: they list all of it
// or read from one end.
var wholeTable = map[string]bool{
	"SELECT id, kind, name, crc FROM names":                                                            true,
	"SELECT " + scheduleColumns + " FROM schedules WHERE deleted = 0 ORDER BY name":                    true,
	"DELETE FROM sent WHERE message IN (SELECT message FROM sent ORDER BY message LIMIT 2) AND at < ?": true,
}

// drainAll receives and settles all available messages.
func drainAll[T any](t *testing.T, r driver.Receiver[T]) {
	t.Helper()
	for {
		b := must[driver.Batch[T]](t)(r.Receive(t.Context(), 10))
		if len(b.Deliveries) == 0 {
			return
		}
		var done []driver.Settlement
		for _, d := range b.Deliveries {
			done = append(done, driver.Settlement{ID: d.ID})
		}
		if err := r.Settle(t.Context(), done); err != nil {
			t.Fatal(err)
		}
	}
}
