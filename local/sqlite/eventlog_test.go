package sqlite

import (
	sqldriver "database/sql/driver"
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
			r, err := encode(commitOf(fmt.Sprintf("s%d", i/100), uint64(i%100+1)), time.Unix(0, 1))
			if err != nil {
				return err
			}
			_, pos, err := x.exec("INSERT INTO commits (log, stream, seq, slot, at, crc, head, events) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
				l.id, r.stream, r.seq, slot(r.stream), r.at, r.crc, r.head, r.events)
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
	const commits = 40_000 // more than 15 MB
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
		if n++; n%4000 == 0 {
			runtime.GC()
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
			// Whoever writes meanwhile can start the write-ahead log anew: the
			// scan holds no view of the database while its consumer works.
			if busy := must[int64](t)(int64(0), p.write(t.Context(), func(x *tx) error {
				return nil
			})); busy != 0 {
				t.Error("busy")
			}
		}
	}
	if n != commits {
		t.Errorf("scanned %d commits, want %d", n, commits)
	}
	if most > before+4<<20 {
		t.Errorf("the heap grew by %d KB", (most-before)>>10)
	}
}

func TestReadersHoldNoViewWhileTheirConsumersWork(t *testing.T) {
	t.Parallel()
	p := mustOpen(t, filepath.Join(t.TempDir(), "app.db"), nil)
	l := bulk(t, p, "Test.Log", 2000)
	for range l.Scan(t.Context(), 0, 1) {
		// With a view open this could not write all of the log back.
		busy := int64(-1)
		err := p.writer.pause(func() (err error) {
			busy, err = p.writer.c.integer("PRAGMA wal_checkpoint(TRUNCATE)")
			return err
		})
		if err != nil || busy != 0 {
			t.Errorf("a checkpoint during a scan: busy %d, %v", busy, err)
		}
		break
	}
}

// TestQueriesUseTheirIndexes holds the statements to what they cost.
func TestQueriesUseTheirIndexes(t *testing.T) {
	t.Parallel()
	p := mustOpen(t, filepath.Join(t.TempDir(), "app.db"), nil)
	spec := driver.TableSpec{Name: "Test.Rows", SubID: "sub", Indexes: []driver.Index{{Name: "ByK", Key: driver.Field{Name: "k"}, Sort: &driver.Field{Name: "n", Number: true}}}}
	if _, err := p.OpenQueryDb(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	engine := must[driver.QueryEngine](t)(p.OpenQueryEngine(t.Context(), []driver.TableSpec{spec})).(*queryEngine)
	_ = engine
	for name, test := range map[string]struct{ text, plan string }{
		"load": {
			"SELECT " + commitColumns + ` FROM commits WHERE log = ?1 AND stream = ?2 AND seq >=
				ifnull((SELECT max(seq) FROM commits WHERE log = ?1 AND stream = ?2 AND fold = ?3), 0) ORDER BY seq`,
			"SEARCH commits USING INDEX commits_stream (log=? AND stream=? AND seq>?); SCALAR SUBQUERY 1; SEARCH commits USING COVERING INDEX commits_fold (log=? AND stream=? AND fold=?)",
		},
		"read": {
			"SELECT " + commitColumns + " FROM commits WHERE log = ? AND stream = ? AND seq > ? ORDER BY seq LIMIT 256",
			"SEARCH commits USING INDEX commits_stream (log=? AND stream=? AND seq>?)",
		},
		"scan": {
			"SELECT " + commitColumns + ", pos FROM commits WHERE log = ? AND pos > ? AND pos <= ? AND slot % ? = ? ORDER BY pos LIMIT 256",
			"SEARCH commits USING INDEX commits_log (log=? AND rowid>? AND rowid<?)",
		},
		"feed": {
			"SELECT " + bodyColumns + ", pos FROM commits WHERE log = ? AND pos > ? ORDER BY pos LIMIT ?",
			"SEARCH commits USING INDEX commits_log (log=? AND rowid>?)",
		},
		"head": {
			"SELECT max(pos) FROM commits WHERE log = ?",
			"SEARCH commits USING COVERING INDEX commits_log (log=?)",
		},
		"rows": {
			"SELECT " + rowColumns + " FROM rows WHERE tbl = ? AND (id, sub) > (?, ?) ORDER BY id, sub LIMIT ?",
			"SEARCH rows USING INDEX sqlite_autoindex_rows_1 (tbl=? AND (id,sub)>(?,?))",
		},
		"expired": {
			"SELECT " + rowColumns + " FROM rows WHERE tbl = ? AND expires > 0 AND expires <= ? LIMIT 16",
			"SEARCH rows USING INDEX rows_expires (tbl=? AND expires>? AND expires<?)",
		},
		"by index": {
			"SELECT " + walkColumns + ", e.sort FROM entries e CROSS JOIN rows r ON r.n = e.n WHERE e.idx = ? AND e.key = ? AND (e.sort, e.id, e.sub) > (?, ?, ?) ORDER BY e.sort, e.id, e.sub LIMIT ?",
			"SEARCH e USING PRIMARY KEY (idx=? AND key=? AND (sort,id,sub)>(?,?,?)); SEARCH r USING INTEGER PRIMARY KEY (rowid=?)",
		},
		"by index, turned around": {
			"SELECT " + walkColumns + ", e.sort FROM entries e CROSS JOIN rows r ON r.n = e.n WHERE e.idx = ? AND e.key = ? AND (e.sort, e.id, e.sub) < (?, ?, ?) ORDER BY e.sort DESC, e.id DESC, e.sub DESC LIMIT ?",
			"SEARCH e USING PRIMARY KEY (idx=? AND key=? AND (sort,id,sub)<(?,?,?)); SEARCH r USING INTEGER PRIMARY KEY (rowid=?)",
		},
		"messages": {
			"SELECT id, grp, head, data FROM messages WHERE queue = ? AND id > ? ORDER BY id LIMIT ?",
			"SEARCH messages USING PRIMARY KEY (queue=? AND id>?)",
		},
		"references": {
			"DELETE FROM refs WHERE n IN (SELECT n FROM refs WHERE at < ? LIMIT 2)",
			"SEARCH refs USING INTEGER PRIMARY KEY (rowid=?); LIST SUBQUERY 1; SEARCH refs USING COVERING INDEX refs_at (at<?)",
		},
		"schedules": {
			"SELECT name, gen, due, payload FROM schedules WHERE due <= ? AND (due, name) > (?, ?) ORDER BY due, name LIMIT 256",
			"SEARCH schedules USING INDEX schedules_due (due>? AND due<?)",
		},
	} {
		var plan []string
		err := p.read(t.Context(), func(c *conn) error {
			return c.query("EXPLAIN QUERY PLAN "+test.text, []any{int64(1), int64(1), int64(1), int64(1), int64(1), int64(1), int64(1)}, func(row []sqldriver.Value) error {
				plan = append(plan, text(row[3]))
				return nil
			})
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := strings.Join(plan, "; "); got != test.plan {
			t.Errorf("%s: got the plan\n%s\nwant\n%s", name, got, test.plan)
		}
	}
}
