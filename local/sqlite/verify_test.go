package sqlite

import (
	"context"
	sqldriver "database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// rowEnds is when the row of fillAll expires.
var rowEnds = time.Date(2100, time.January, 1, 0, 0, 0, 0, time.UTC)

// fillAll writes entries to every table.
func fillAll(t *testing.T, p *Provider) {
	t.Helper()
	ctx := t.Context()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	l := fillLog(t, p, 2, 3)
	c := commitOf("s0", 4)
	c.Snapshot = &driver.Snapshot{SnapshotHead: driver.SnapshotHead{Shape: "s", StateVersion: 1}, State: json.RawMessage(`{"n":4}`), From: 1}
	ok(l.Append(ctx, c))
	feed := must[driver.Receiver[driver.Record]](t)(p.OpenEventCollector(ctx, driver.CollectorSpec{Consumer: "Test.C", Source: driver.Source{Log: "Test.Log"}}))
	for _, d := range must[driver.Batch[driver.Record]](t)(feed.Receive(ctx, 3)).Deliveries {
		ok(feed.Settle(ctx, []driver.Settlement{{ID: d.ID}}))
	}
	topic := must[driver.CommandTopic](t)(p.OpenCommandTopic(ctx, "Test.Log"))
	ok(topic.Send(ctx, []driver.Command{{Target: "Test.Log", Entity: "e", Type: "T", Version: 1, Data: json.RawMessage(`{}`), Meta: driver.Meta{ID: "c"}}}))
	events := must[driver.EventTopic](t)(p.OpenEventTopic(ctx, driver.TopicSpec{Log: "Test.Log", Subscribers: []string{"Test.Sub"}}))
	ok(events.Publish(ctx, []driver.Envelope{{Log: "Test.Log", Commit: commitOf("s0", 1)}}))
	w := must[driver.Watermarks](t)(p.OpenWatermarks(ctx, "Test.Auto"))
	for stream, n := range map[string]uint64{"s0": 2, "s1": 1} {
		ok(w.Advance(ctx, []driver.Advance{{StreamKey: driver.StreamKey{Log: "Test.Log", Stream: stream}, To: n}}))
	}
	ok(w.Block(ctx, driver.StreamKey{Log: "Test.Log", Stream: "s1"}, 1))
	spec := driver.TableSpec{Name: "Test.Rows", SubID: "s", Indexes: []driver.Index{
		{Name: "byK", Key: driver.Field{Name: "k"}, Sort: &driver.Field{Name: "n", Number: true}},
	}}
	db := must[driver.QueryDb](t)(p.OpenQueryDb(ctx, spec))
	row := driver.Row{Key: driver.Key{ID: "r", Sub: "x"}, Data: json.RawMessage(`{"s":"x","k":"v","n":1.5}`), ExpiresAt: rowEnds}
	saveRows(t, db, row)
	ok(db.Shadow().SetRecord(ctx, []byte(`{}`)))
	counter := must[driver.Counter](t)(p.OpenCounter(ctx, "Test.Counter"))
	ok(counter.Count(ctx, "n", "r", 1))
	schedules := must[driver.Scheduler](t)(p.OpenScheduler(ctx))
	ok(schedules.Create(ctx, driver.Schedule{Name: "s", Expression: "rate(1 hour)", Payload: json.RawMessage(`{}`)}))
	bucket := must[driver.Bucket](t)(p.OpenBucket(ctx, "Test.Files"))
	ok(bucket.Put(ctx, "f", strings.NewReader("x")))
	letters := must[driver.DeadLetters](t)(p.OpenDeadLetters(ctx))
	ok(letters.Park(ctx, driver.DeadLetter{ID: "l", Component: "C", Kind: driver.DeadCommand, Body: []byte("b"), ParkedAt: time.Now()}))
	ok(letters.Park(ctx, driver.DeadLetter{ID: "m", Component: "C", Kind: driver.DeadCommit, Log: "Test.Log", Stream: "s", SequenceNr: 3, Body: []byte{}}))
	outcomes := must[driver.Outcomes](t)(p.OpenOutcomes(ctx))
	ok(outcomes.Put(ctx, driver.StoredOutcome{Outcome: driver.Outcome{CommandID: "c", Target: "T", Kind: driver.Rejected, Detail: json.RawMessage(`{}`)}, Fingerprint: 1<<32 - 1, Resend: 2}, time.Now().Add(time.Hour)))
	must[Verification](t)(p.Verify(ctx, nil))
}

// collectDamage collects the damage of a provider.
func collectDamage(p *Provider) (found func() []driver.DamageError) {
	var mu sync.Mutex
	var all []driver.DamageError
	p.NotifyDamage(func(err error) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, placeOf(err))
	})
	return func() []driver.DamageError {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

// altered has, for each type of SQLite, an expression for another value of a column.
var altered = map[string]string{
	"integer": "%[1]s + 1", "real": "%[1]s + 1", "text": "%[1]s || '1'", "blob": "x'ff'", "null": "'1'",
}

// Each column of each table is covered by the checksum of its entry.
func TestAnyChangedColumnIsFoundByTheCheckOfTheFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "app.db")
	p := mustOpen(t, path, nil)
	fillAll(t, p)
	mustClose(t, p)
	whole := must[[]byte](t)(os.ReadFile(path))
	assigned := map[string]string{"commits": "pos", "rows": "n", "refs": "n"} // numbers that SQLite assigns
	columns := map[string][]string{}
	read := must[*conn](t)(connect(fileURI(path, "mode=ro&immutable=1")))
	err := read.query(`SELECT s.name, c.name FROM sqlite_schema s, pragma_table_info(s.name) c WHERE s.type = 'table'`, nil, func(row []sqldriver.Value) error {
		if table, column := text(row[0]), text(row[1]); assigned[table] != column {
			columns[table] = append(columns[table], column)
		}
		return nil
	})
	if err := errors.Join(err, read.close()); err != nil {
		t.Fatal(err)
	}
	if len(columns) != len(verified) {
		t.Errorf("%d tables exist and %d are checked", len(columns), len(verified))
	}
	for table, names := range columns {
		for _, column := range names {
			t.Run(table+"."+column, func(t *testing.T) {
				t.Parallel()
				path := filepath.Join(t.TempDir(), "app.db")
				if err := os.WriteFile(path, whole, 0o600); err != nil {
					t.Fatal(err)
				}
				if !alter(t, path, table, column) {
					t.Fatal("no entry was changed")
				}
				p, err := Open(t.Context(), path, nil)
				if err != nil { // it is found already by Open
					if placeOf(err).Table != table {
						t.Errorf("Open: %v, want damage of %s", err, table)
					}
					return
				}
				defer mustClose(t, p)
				found := collectDamage(p)
				v, err := p.Verify(t.Context(), nil)
				if err != nil || v.Damaged == 0 || v.Ended.IsZero() {
					t.Fatalf("Verify: %+v, %v, want damage", v, err)
				}
				// The number of a row is wrong in what refers to it.
				if all := found(); !slices.ContainsFunc(all, func(d driver.DamageError) bool {
					return d.Table == table || d.Table == "snapshots" && table == "commits"
				}) {
					t.Errorf("found %+v, want damage of %s", all, table)
				}
			})
		}
	}
}

// alter changes a column of the entries of a table, as far as possible, and reports
// whether there was one.
func alter(t *testing.T, path, table, column string) bool {
	t.Helper()
	c := must[*conn](t)(connect(fileURI(path, "mode=rw")))
	defer func() {
		if err := c.close(); err != nil {
			t.Error(err)
		}
	}()
	kind := ""
	if _, err := c.first(fmt.Sprintf("SELECT typeof(%s) FROM %s", column, table), nil, func(row []sqldriver.Value) error {
		kind = text(row[0])
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if kind == "" {
		return false
	}
	// Only one entry, since others may be in the way of a unique index.
	statement := "UPDATE OR IGNORE " + table + " SET " + column + " = " + altered[kind]
	if table == "commits" && (column == "snapshot" || column == "state") {
		statement += " WHERE snapshot NOTNULL"
	}
	n, _, err := c.exec(strings.ReplaceAll(statement, "%[1]s", column))
	if err != nil {
		t.Fatal(err)
	}
	return n > 0
}

// A commit that is missing, or that the index of its stream does not have, is found: both
// make a stream look shorter.
func TestMissingCommitIsFoundByTheCheckOfTheFile(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		seq    uint64
		script string
	}{
		"missing": {2, "DELETE FROM commits WHERE stream = 's1' AND seq = 2"},
		"the last one is not in the index": {30, `DROP INDEX commits_stream; CREATE UNIQUE INDEX commits_stream ON commits (log, stream, seq) WHERE stream <> 's1' OR seq <> 30;
			PRAGMA writable_schema = ON;
			UPDATE sqlite_schema SET sql = 'CREATE UNIQUE INDEX commits_stream ON commits (log, stream, seq)' WHERE name = 'commits_stream';
			PRAGMA writable_schema = OFF`},
	} {
		path := made(t)
		c := must[*conn](t)(connect(fileURI(path, "mode=rw")))
		if err := errors.Join(c.script(test.script), c.close()); err != nil {
			t.Fatal(err)
		}
		p := must[*Provider](t)(open(t.Context(), path, &Options{}, 0)) // as a large file, without quick_check
		defer mustClose(t, p)
		found := collectDamage(p)
		v, err := p.Verify(t.Context(), nil)
		want := driver.DamageError{Table: "commits", Name: "Test.Log", Key: "s1", SequenceNr: test.seq}
		if all := found(); err != nil || v.Damaged == 0 || !slices.Contains(all, want) {
			t.Errorf("%s: %+v, %v, found %+v, want %+v", name, v, err, all, want)
		}
	}
}

// A check of a large file that is stopped goes on where it was, also after a restart, at
// the rate that it may have.
func TestCheckOfTheFileGoesOnWhereItWasStopped(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "app.db")
	p := mustOpen(t, path, nil)
	bulk(t, p, "Test.Log", 3_000)
	total := must[Verification](t)(p.Verify(t.Context(), nil))
	if total.Entries < 3_000 || total.Damaged != 0 || total.Ended.IsZero() {
		t.Fatalf("the check of the whole file: %+v", total)
	}
	var waited time.Duration
	pages := 0
	errStopped := errors.New("stopped")
	v, err := p.Verify(t.Context(), &VerifyOptions{BytesPerSecond: 1 << 10, Wait: func(_ context.Context, d time.Duration) error {
		waited += d
		if pages++; pages == 5 {
			return errStopped
		}
		return nil
	}})
	if !errors.Is(err, errStopped) || v.Entries == 0 || v.Entries >= total.Entries {
		t.Fatalf("the stopped check: %+v, %v", v, err)
	}
	if want := time.Duration(v.Bytes) * time.Second / (1 << 10); waited > want || waited < want*9/10 {
		t.Errorf("for %d bytes it waited %v, want about %v", v.Bytes, waited, want)
	}
	mustClose(t, p)
	p = mustOpen(t, path, nil)
	again := must[Verification](t)(p.Verification(t.Context()))
	if again.Entries != v.Entries || again.Table != v.Table {
		t.Errorf("after a restart the progress is %+v, want %+v", again, v)
	}
	if done := must[Verification](t)(p.Verify(t.Context(), nil)); done.Entries != total.Entries+1 || !done.Began.Equal(v.Began) || done.Ended.IsZero() { // one more: the entry of the check
		t.Errorf("continued: %+v, want %d entries", done, total.Entries+1)
	}
}

// The check holds no read transaction while it waits: it would keep the write-ahead log
// from being written back.
func TestCheckOfTheFileDoesNotHoldUpTheLog(t *testing.T) {
	t.Parallel()
	p := mustOpen(t, filepath.Join(t.TempDir(), "app.db"), nil)
	bulk(t, p, "Test.Log", 2_000)
	truncated := 0
	v, err := p.Verify(t.Context(), &VerifyOptions{BytesPerSecond: 1, Wait: func(context.Context, time.Duration) error {
		return p.write(t.Context(), func(x *tx) error { //nolint:contextcheck // it does not wait
			x.w.maxLog = 0 // after this write
			truncated++
			return nil
		})
	}})
	if err != nil || v.Damaged > 0 {
		t.Fatalf("%+v, %v", v, err)
	}
	if info, err := os.Stat(p.path + "-wal"); err != nil || info.Size() > 1<<20 || truncated < 8 {
		t.Errorf("after %d writes beside the check the log is %v, %v", truncated, info, err)
	}
}

// Verify ends soon after its context, whatever it waits for.
func TestCheckOfTheFileEndsWithItsContext(t *testing.T) {
	t.Parallel()
	p := mustOpen(t, filepath.Join(t.TempDir(), "app.db"), nil)
	bulk(t, p, "Test.Log", 2_000)
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := p.Verify(ctx, &VerifyOptions{BytesPerSecond: 1, Progress: func(Verification) { cancel() }}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
}
