package sqlite

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// everything has the bytes of a closed database with entries in every table.
var everything struct {
	sync.Once
	bytes []byte
}

// damaged opens a database of fillAll whose entries of a table were changed in a column.
func damaged(t *testing.T, table, column string) *Provider {
	t.Helper()
	return damagedAt(t, time.Now(), table, column)
}

// damagedAt is damaged with a clock that stands still.
func damagedAt(t *testing.T, now time.Time, table, column string) *Provider {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.db")
	everything.Do(func() {
		p := mustOpen(t, path, nil)
		fillAll(t, p)
		mustClose(t, p)
		everything.bytes = must[[]byte](t)(os.ReadFile(path))
	})
	if err := os.WriteFile(path, everything.bytes, 0o600); err != nil {
		t.Fatal(err)
	}
	if !alter(t, path, table, column) {
		t.Fatal("no entry was changed")
	}
	return mustOpen(t, path, &Options{Now: func() time.Time { return now }})
}

var rowsSpec = driver.TableSpec{Name: "Test.Rows", SubID: "s", Indexes: []driver.Index{
	{Name: "byK", Key: driver.Field{Name: "k"}, Sort: &driver.Field{Name: "n", Number: true}},
}}

// Whatever reads a damaged entry returns an error that names it, and no other value.
func TestDamagedEntriesAreNotReturned(t *testing.T) {
	t.Parallel()
	s0 := driver.StreamKey{Log: "Test.Log", Stream: "s0"}
	rowsRead := func(t *testing.T, p *Provider) []error {
		db := must[driver.QueryDb](t)(p.OpenQueryDb(t.Context(), rowsSpec))
		engine := must[driver.QueryEngine](t)(p.OpenQueryEngine(t.Context(), []driver.TableSpec{rowsSpec}))
		key := driver.Key{ID: "r", Sub: "x"}
		_, load := db.Load(t.Context(), "r")
		_, loadRow := db.LoadRow(t.Context(), key)
		_, loadRows := db.LoadRows(t.Context(), []driver.Key{key})
		_, query := engine.Query(t.Context(), driver.Query{ReadModel: "Test.Rows", Value: "r"})
		_, index := engine.Query(t.Context(), driver.Query{ReadModel: "Test.Rows", Index: "byK", Value: "v"})
		_, scan := engine.Scan(t.Context(), driver.Scan{ReadModel: "Test.Rows"})
		guarded := db.Apply(t.Context(), driver.Step{Writes: []driver.RowWrite{{Row: driver.Row{Key: key, Data: json.RawMessage(`{"s":"x"}`)}, Guard: true, Expect: 1}}})
		return []error{load, loadRow, loadRows, query, index, scan, guarded}
	}
	for _, test := range []struct {
		table, column string
		name, key     string
		read          func(t *testing.T, p *Provider) []error
	}{
		{"rows", "data", "Test.Rows", "r\x00x", rowsRead},
		{"rows", "rev", "Test.Rows", "r\x00x", rowsRead},
		{"entries", "sort", "Test.Rows", "r\x00x", func(t *testing.T, p *Provider) []error {
			engine := must[driver.QueryEngine](t)(p.OpenQueryEngine(t.Context(), []driver.TableSpec{rowsSpec}))
			_, err := engine.Query(t.Context(), driver.Query{ReadModel: "Test.Rows", Index: "byK", Value: "v"})
			return []error{err}
		}},
		{"watermarks", "seq", "consumer Test.Auto", "s0", func(t *testing.T, p *Provider) []error {
			w := must[driver.Watermarks](t)(p.OpenWatermarks(t.Context(), "Test.Auto"))
			_, one := w.Watermark(t.Context(), s0)
			_, many := w.Watermarks(t.Context(), []driver.StreamKey{s0})
			return []error{one, many, w.Block(t.Context(), s0, 2), w.Unblock(t.Context(), s0)}
		}},
		{"watermarks", "blocked", "consumer Test.Auto", "s0", func(t *testing.T, p *Provider) []error {
			w := must[driver.Watermarks](t)(p.OpenWatermarks(t.Context(), "Test.Auto"))
			_, err := w.Watermark(t.Context(), s0)
			return []error{err}
		}},
		{"counters", "count", "Test.Counter", "n", func(t *testing.T, p *Provider) []error {
			c := must[driver.Counter](t)(p.OpenCounter(t.Context(), "Test.Counter"))
			_, err := c.State(t.Context(), "n")
			return []error{err, c.Count(t.Context(), "n", "other", 1)}
		}},
		{"refs", "at", "Test.Counter", "n", func(t *testing.T, p *Provider) []error {
			c := must[driver.Counter](t)(p.OpenCounter(t.Context(), "Test.Counter"))
			return []error{c.Count(t.Context(), "n", "r", 1)}
		}},
		{"outcomes", "kind", "", "c", func(t *testing.T, p *Provider) []error {
			o := must[driver.Outcomes](t)(p.OpenOutcomes(t.Context()))
			_, err := o.Get(t.Context(), "T", "c")
			return []error{err}
		}},
		{"schedules", "payload", "", "s", func(t *testing.T, p *Provider) []error {
			s := must[driver.Scheduler](t)(p.OpenScheduler(t.Context()))
			_, err := s.List(t.Context())
			return []error{err}
		}},
		{"tables", "spec", "Test.Rows", "", func(t *testing.T, p *Provider) []error {
			_, err := p.OpenQueryDb(t.Context(), rowsSpec)
			return []error{err}
		}},
		{"records", "record", "Test.Rows", "", func(t *testing.T, p *Provider) []error {
			db := must[driver.QueryDb](t)(p.OpenQueryDb(t.Context(), rowsSpec))
			_, err := db.Shadow().Record(t.Context())
			return []error{err}
		}},
		{"subscriptions", "queue", "Test.Log", "Test.Sub", func(t *testing.T, p *Provider) []error {
			_, err := p.OpenEventTopic(t.Context(), driver.TopicSpec{Log: "Test.Log"})
			return []error{err}
		}},
	} {
		t.Run(test.table+"."+test.column, func(t *testing.T) {
			t.Parallel()
			p := damaged(t, test.table, test.column)
			for i, err := range test.read(t, p) {
				if want := (driver.DamageError{Table: test.table, Name: test.name, Key: test.key}); placeOf(err) != want {
					t.Errorf("call %d: got %v, want damage at %+v", i, err, want)
				}
			}
		})
	}
}

// A damaged message or firing is delivered with its bytes, so that it can be parked and
// does not hold up those behind it.
func TestDamagedMessagesAreDeliveredAsDamage(t *testing.T) {
	t.Parallel()
	p := damaged(t, "messages", "data") // it can still be decoded
	commands := must[driver.Receiver[driver.Command]](t)(p.OpenCommandReceiver(t.Context(), "Test.Log"))
	topic := must[driver.CommandTopic](t)(p.OpenCommandTopic(t.Context(), "Test.Log"))
	if err := topic.Send(t.Context(), []driver.Command{{Target: "Test.Log", Entity: "e", Type: "T", Version: 1, Meta: driver.Meta{ID: "next"}}}); err != nil {
		t.Fatal(err)
	}
	got := must[driver.Batch[driver.Command]](t)(commands.Receive(t.Context(), 10)).Deliveries
	if len(got) != 2 || !errors.Is(got[0].Err, driver.ErrDamaged) || len(got[0].Raw) == 0 || got[0].Message.Type != "" || got[1].Err != nil || got[1].Message.Meta.ID != "next" {
		t.Errorf("the commands are %+v", got)
	}
	records := must[driver.Receiver[driver.Record]](t)(p.OpenEventCollector(t.Context(), driver.CollectorSpec{Consumer: "Test.Sub", Source: driver.Source{Log: "Test.Log", Topic: true}}))
	if got := must[driver.Batch[driver.Record]](t)(records.Receive(t.Context(), 10)).Deliveries; len(got) != 1 || !errors.Is(got[0].Err, driver.ErrDamaged) {
		t.Errorf("the records are %+v", got)
	}

	p = damagedAt(t, time.Now().Add(2*time.Hour), "schedules", "payload")
	firings := must[driver.Receiver[driver.Firing]](t)(p.OpenScheduleReceiver(t.Context()))
	due := must[driver.Batch[driver.Firing]](t)(firings.Receive(t.Context(), 10)).Deliveries
	if len(due) != 1 || !errors.Is(due[0].Err, driver.ErrDamaged) || string(due[0].Raw) != "{}1" {
		t.Fatalf("the firings are %+v", due)
	}
	if err := firings.Settle(t.Context(), []driver.Settlement{{ID: due[0].ID}}); err != nil {
		t.Fatal(err)
	}
	if list := must[[]driver.Schedule](t)(must[driver.Scheduler](t)(p.OpenScheduler(t.Context())).List(t.Context())); len(list) != 0 {
		t.Errorf("after its damaged firing was settled, the schedule is still there: %+v", list)
	}
}

// What a rebuild writes over is no longer damaged, also where only the checksum was.
func TestRebuildReplacesDamagedRows(t *testing.T) {
	t.Parallel()
	for _, column := range []string{"data", "rev", "purge", "crc"} {
		p := damaged(t, "rows", column)
		db := must[driver.QueryDb](t)(p.OpenQueryDb(t.Context(), rowsSpec))
		shadow := db.Shadow()
		row := driver.Row{Key: driver.Key{ID: "r", Sub: "x"}, Data: json.RawMessage(`{"s":"x","k":"v","n":1.5}`), ExpiresAt: rowEnds}
		if err := shadow.Apply(t.Context(), driver.Step{Writes: []driver.RowWrite{{Row: row}}}); err != nil {
			t.Fatal(err)
		}
		if _, err := shadow.Swap(t.Context(), []byte(`{}`), nil); err != nil {
			t.Fatalf("%s: %v", column, err)
		}
		if got, err := db.LoadRow(t.Context(), row.Key); err != nil || string(got.Data) != string(row.Data) {
			t.Errorf("%s: the row is %+v, %v", column, got, err)
		}
		if v, err := p.Verify(t.Context(), nil); err != nil || v.Damaged != 0 {
			t.Errorf("%s: after the swap %d entries are damaged, %v", column, v.Damaged, err)
		}
	}
}

// A damaged dead letter is listed with a reason that says so, and can be removed. The
// checkpoint of a feed that is damaged counts as none: its consumer skips what it has
// applied. Both are reported.
func TestDamageThatNoCallReturnsIsReported(t *testing.T) {
	t.Parallel()
	p := damaged(t, "dead_letters", "body")
	found := collectDamage(p)
	letters := must[driver.DeadLetters](t)(p.OpenDeadLetters(t.Context()))
	list := must[[]driver.DeadLetter](t)(letters.List(t.Context(), "", "", 10))
	if len(list) != 2 || list[0].Kind != driver.DeadRaw || list[1].Kind != driver.DeadCommit || list[1].SequenceNr != 3 {
		t.Errorf("the dead letters are %+v", list)
	}
	if all := found(); len(all) != 2 || all[0].Table != "dead_letters" || all[0].Key != "l" {
		t.Errorf("reported is %+v", all)
	}
	if err := letters.Remove(t.Context(), "l"); err != nil {
		t.Error(err)
	}

	p = damaged(t, "feeds", "pos")
	feed := must[driver.Receiver[driver.Record]](t)(p.OpenEventCollector(t.Context(), driver.CollectorSpec{Consumer: "Test.C", Source: driver.Source{Log: "Test.Log"}}))
	if got := must[driver.Batch[driver.Record]](t)(feed.Receive(t.Context(), 100)).Deliveries; len(got) != 7 {
		t.Errorf("%d records are delivered, want all 7", len(got))
	}
	if all := collectDamage(p)(); len(all) != 1 || all[0].Table != "feeds" { // found before the first listener
		t.Errorf("reported is %+v", all)
	}
}
