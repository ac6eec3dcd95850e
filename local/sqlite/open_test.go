package sqlite

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/reventless-go/reventless/driver"
)

func mustOpen(t *testing.T, path string, opts *Options) *Provider {
	t.Helper()
	p, err := Open(t.Context(), path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mustClose(t, p) })
	return p
}

func mustClose(t *testing.T, p *Provider) {
	t.Helper()
	if err := p.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// saveRows writes rows in one step.
func saveRows(t testing.TB, db driver.QueryDb, rows ...driver.Row) {
	t.Helper()
	var step driver.Step
	for _, r := range rows {
		step.Writes = append(step.Writes, driver.RowWrite{Row: r})
	}
	if err := db.Apply(t.Context(), step); err != nil {
		t.Fatal(err)
	}
}

func commitOf(stream string, n uint64) driver.Commit {
	return driver.Commit{
		Stream: stream, SequenceNr: n,
		Events:   []driver.Event{{Type: "Happened", Version: 1, Data: json.RawMessage(fmt.Sprintf(`{"n":%d,"fill":%q}`, n, strings.Repeat("f", 100)))}},
		Commands: []driver.AnsweredCommand{{Meta: driver.Meta{ID: fmt.Sprintf("%s-%d", stream, n)}, EventCount: 1}},
	}
}

// fillLog appends n commits to each of some streams.
func fillLog(t *testing.T, p *Provider, streams, n int) driver.EventLog {
	t.Helper()
	l := must[driver.EventLog](t)(p.OpenEventLog(t.Context(), "Test.Log"))
	for i := range n {
		for s := range streams {
			if err := l.Append(t.Context(), commitOf(fmt.Sprintf("s%d", s), uint64(i+1))); err != nil {
				t.Fatal(err)
			}
		}
	}
	return l
}

// filled has the bytes of a filled and closed database.
var filled struct {
	sync.Once
	bytes []byte
}

// made returns the path of a filled and closed database.
func made(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.db")
	filled.Do(func() {
		p := mustOpen(t, path, nil)
		fillLog(t, p, 3, 30)
		mustClose(t, p)
		filled.bytes = must[[]byte](t)(os.ReadFile(path))
	})
	if err := os.WriteFile(path, filled.bytes, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// content returns the bytes of all files of a directory.
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, e := range must[[]os.DirEntry](t)(os.ReadDir(dir)) {
		if strings.HasSuffix(e.Name(), ".lock") || e.IsDir() {
			continue
		}
		files[e.Name()] = string(must[[]byte](t)(os.ReadFile(filepath.Join(dir, e.Name()))))
	}
	return files
}

// holdRole opens a database and keeps it open.
func holdRole(path string) {
	_, err := Open(context.Background(), path, nil)
	fail(err)
	fmt.Println("open")
	select {}
}

func TestASecondProcessIsRefused(t *testing.T) {
	t.Parallel()
	path := made(t)
	other := start(t, "hold", path)
	other.line(t)
	_, err := Open(t.Context(), path, nil)
	if !errors.Is(err, driver.ErrUnavailable) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), fmt.Sprint("process ", other.Process.Pid)) {
		t.Errorf("while another process has the database: got %v, want an ErrUnavailable that names the file and the process", err)
	}
	other.kill()
	mustClose(t, mustOpen(t, path, nil))
}

func TestASecondOpenInOneProcessIsRefused(t *testing.T) {
	t.Parallel()
	path := made(t)
	p := mustOpen(t, path, nil)
	link := filepath.Join(t.TempDir(), "link.db")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, link, filepath.Dir(path) + "/../" + filepath.Base(filepath.Dir(path)) + "/app.db"} {
		if _, err := Open(t.Context(), name, nil); !errors.Is(err, driver.ErrUnavailable) || !strings.Contains(err.Error(), path) {
			t.Errorf("a second Open of %s: got %v, want an ErrUnavailable that names %s", name, err, path)
		}
	}
	mustClose(t, p)
	mustClose(t, mustOpen(t, path, nil))
}

func TestRefusedFilesAreNotTouched(t *testing.T) {
	t.Parallel()
	page := 4096
	overwrite := func(offset int, b []byte) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			f := must[*os.File](t)(os.OpenFile(path, os.O_RDWR, 0))
			defer f.Close()
			if _, err := f.WriteAt(b, int64(offset)); err != nil {
				t.Fatal(err)
			}
		}
	}
	truncate := func(size func(int64) int64) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			info := must[os.FileInfo](t)(os.Stat(path))
			if err := os.Truncate(path, size(info.Size())); err != nil {
				t.Fatal(err)
			}
		}
	}
	replace := func(text string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, test := range []struct {
		name    string
		spoil   func(t *testing.T, path string)
		finding string
		class   error
	}{
		{"a text", replace("Dear diary,\n" + strings.Repeat("nothing happened today. ", 500)), "not a SQLite database", driver.ErrInvalid},
		{"a short text", replace("hello"), "not a SQLite database", driver.ErrInvalid},
		{"cut in half", truncate(func(n int64) int64 { return n / 2 }), "truncated", driver.ErrDamaged},
		{"the last page lost", truncate(func(n int64) int64 { return n - int64(page) }), "truncated", driver.ErrDamaged},
		{"the last byte lost", truncate(func(n int64) int64 { return n - 1 }), "truncated", driver.ErrDamaged},
		{"cut in the header", truncate(func(int64) int64 { return 50 }), "truncated", driver.ErrDamaged},
		{"empty", func(t *testing.T, path string) {
			mustClose(t, mustOpen(t, path, nil)) // the lock file records that a database existed
			truncate(func(int64) int64 { return 0 })(t, path)
		}, "truncated", driver.ErrDamaged},
		{"another application", overwrite(68, []byte{0, 0, 0, 0}), "another application", driver.ErrInvalid},
		{"a database of another program", func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			c := must[*conn](t)(connect(fileURI(path, "mode=rwc"), "journal_mode=WAL"))
			if err := errors.Join(c.script("CREATE TABLE photos (id INTEGER PRIMARY KEY); INSERT INTO photos VALUES (1)"), c.close()); err != nil {
				t.Fatal(err)
			}
		}, "another application", driver.ErrInvalid},
		{"a newer version", overwrite(60, binary.BigEndian.AppendUint32(nil, 99)), fmt.Sprintf("version 99, this program knows versions up to %d", len(migrations)), driver.ErrInvalid},
		{"an earlier version", overwrite(60, binary.BigEndian.AppendUint32(nil, 2)), "version 2 of an earlier, unreleased build, this program reads versions from 3 on", driver.ErrInvalid},
		{"a strange page size", overwrite(16, []byte{0x10, 0x01}), "page size", driver.ErrDamaged},
		{"a page of zeroes", overwrite(5*page, make([]byte, page)), "damaged", driver.ErrDamaged},
		{"a page of noise", overwrite(3*page, bytes.Repeat([]byte{0xa5, 0x17, 0xff}, page/3)), "damaged", driver.ErrDamaged},
		{"a schema of noise", overwrite(100, bytes.Repeat([]byte{0xa5, 0x17, 0xff}, 1300)), "damaged", driver.ErrDamaged},
		{"a newer version in the log", func(t *testing.T, path string) { // as after a crash of a newer program
			c := must[*conn](t)(connect(fileURI(path, "mode=rw"), "user_version=7"))
			files := content(t, filepath.Dir(path))
			if err := c.close(); err != nil {
				t.Fatal(err)
			}
			restore(t, path, files)
		}, fmt.Sprintf("version 7, this program knows versions up to %d", len(migrations)), driver.ErrInvalid},
		{"the log without its database", func(t *testing.T, path string) {
			c := must[*conn](t)(connect(fileURI(path, "mode=rw"), "user_version=1"))
			files := content(t, filepath.Dir(path))
			if err := c.close(); err != nil {
				t.Fatal(err)
			}
			delete(files, filepath.Base(path))
			restore(t, path, files)
		}, "write-ahead log", driver.ErrDamaged},
		{"cut in half, with a write-ahead log", func(t *testing.T, path string) {
			c := must[*conn](t)(connect(fileURI(path, "mode=rw")))
			if err := c.script("INSERT INTO names (kind, name, crc) VALUES ('a', 'b', 0)"); err != nil {
				t.Fatal(err)
			}
			files := content(t, filepath.Dir(path))
			if err := c.close(); err != nil {
				t.Fatal(err)
			}
			name := filepath.Base(path)
			files[name] = files[name][:len(files[name])/2]
			restore(t, path, files)
		}, "damaged", driver.ErrDamaged},
		{"a directory", func(t *testing.T, path string) {
			if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
				t.Fatal(err)
			}
		}, "not a file", driver.ErrInvalid},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := made(t)
			test.spoil(t, path)
			before := content(t, filepath.Dir(path))
			p, err := Open(t.Context(), path, nil)
			if err == nil {
				mustClose(t, p)
				t.Fatal("the file was opened")
			}
			if !errors.Is(err, test.class) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), test.finding) {
				t.Errorf("got %v, want an error of class %v that names the file and says %q", err, test.class, test.finding)
			}
			after := content(t, filepath.Dir(path))
			delete(after, filepath.Base(path)+"-shm") // SQLite creates this index to read a log
			delete(before, filepath.Base(path)+"-shm")
			if !maps.Equal(before, after) {
				t.Errorf("the files have changed: %v before, %v after", sizes(before), sizes(after))
			}
			if _, err := Open(t.Context(), path, nil); !errors.Is(err, test.class) {
				t.Errorf("again: got %v, want an error of class %v", err, test.class)
			}
		})
	}
}

// restore replaces the files of the database.
func restore(t *testing.T, path string, files map[string]string) {
	t.Helper()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	for name, text := range files {
		if strings.HasSuffix(name, "-shm") {
			continue
		}
		if err := os.WriteFile(filepath.Join(filepath.Dir(path), name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func sizes(files map[string]string) map[string]int {
	n := map[string]int{}
	for name, text := range files {
		n[name] = len(text)
	}
	return n
}

func TestAnEmptyFileBecomesADatabase(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "app.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// A file left by a crash during creation.
	if err := os.WriteFile(path+".new", []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := mustOpen(t, path, nil)
	fillLog(t, p, 1, 1)
	mustClose(t, p)
	if names := sizes(content(t, filepath.Dir(path))); len(names) != 1 {
		t.Errorf("after Close there are the files %v, want the database alone", names)
	}
}

func TestPathsOfAllKindsAreOpened(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a b.db", "100%.db", "what?.db", "ü#%20.db", "file:x&mode=ro.db"} {
		path := filepath.Join(t.TempDir(), name)
		p := mustOpen(t, path, nil)
		fillLog(t, p, 1, 1)
		mustClose(t, p)
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if _, err := Open(t.Context(), filepath.Join(t.TempDir(), "no", "app.db"), nil); err == nil {
		t.Error("a database was created in a directory that does not exist")
	}
	if _, err := Open(t.Context(), "", nil); !errors.Is(err, driver.ErrInvalid) {
		t.Errorf("no path: got %v, want an ErrInvalid", err)
	}
}

func TestMigrationsAreAppliedInOrderAndAsOne(t *testing.T) {
	t.Parallel()
	c := must[*conn](t)(connect(fileURI(filepath.Join(t.TempDir(), "x.db"), "mode=rwc"), "journal_mode=WAL"))
	defer func() {
		if err := c.close(); err != nil {
			t.Error(err)
		}
	}()
	steps := []string{"CREATE TABLE a (x); INSERT INTO a VALUES (1)", "ALTER TABLE a ADD COLUMN y; UPDATE a SET y = x + 1", "UPDATE a SET y = y * 10"}
	want := func(version, y int64) {
		t.Helper()
		if got := must[int64](t)(c.integer("PRAGMA user_version")); got != version {
			t.Errorf("the version is %d, want %d", got, version)
		}
		if y == 0 {
			return
		}
		if got := must[int64](t)(c.integer("SELECT y FROM a")); got != y {
			t.Errorf("y = %d, want %d", got, y)
		}
	}
	for _, step := range []struct {
		n int
		y int64
	}{{1, 0}, {1, 0}, {3, 20}, {3, 20}} {
		if err := migrate(c, steps[:step.n]); err != nil {
			t.Fatal(err)
		}
		want(int64(step.n), step.y)
	}
	bad := append(steps[:3:3], "UPDATE a SET y = 99; CREATE TABLE b (x)", "nonsense")
	if err := migrate(c, bad); err == nil || !strings.Contains(err.Error(), "from version 4 to 5") {
		t.Errorf("a bad migration: got %v", err)
	}
	want(3, 20)
	if n := must[int64](t)(c.integer("SELECT count(*) FROM sqlite_schema WHERE name = 'b'")); n != 0 {
		t.Error("a part of the failed migration is left")
	}
	if err := migrate(c, steps[:2]); !errors.Is(err, driver.ErrInvalid) || !strings.Contains(err.Error(), "version 3") || !strings.Contains(err.Error(), "up to 2") {
		t.Errorf("an older program: got %v, want an ErrInvalid with both versions", err)
	}
}

func TestDamageIsNeverAShorterResult(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "app.db")
	p := mustOpen(t, path, nil)
	const streams, commits = 2, 25
	fillLog(t, p, streams, commits)
	spec := driver.TableSpec{Name: "Test.Rows", Indexes: []driver.Index{{Name: "ByK", Key: driver.Field{Name: "k"}}}}
	db := must[driver.QueryDb](t)(p.OpenQueryDb(t.Context(), spec))
	for i := range 40 {
		saveRows(t, db, driver.Row{Key: driver.Key{ID: fmt.Sprintf("r%03d", i)}, Data: json.RawMessage(`{"k":"v","fill":"` + strings.Repeat("x", 200) + `"}`)})
	}
	mustClose(t, p)
	whole := must[[]byte](t)(os.ReadFile(path))
	const page = 4096
	found := 0
	for at := page; at < len(whole); at += page {
		if cells := binary.BigEndian.Uint16(whole[at+3:]); whole[at] != 0 && cells == 0 {
			continue // an empty table
		}
		dir := t.TempDir()
		path := filepath.Join(dir, "app.db")
		spoiled := bytes.Clone(whole)
		clear(spoiled[at : at+page])
		if err := os.WriteFile(path, spoiled, 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := open(t.Context(), path, &Options{}, 0) // without the check that would find the damage
		if err != nil {
			if !errors.Is(err, driver.ErrDamaged) {
				t.Errorf("page %d: open: %v, want an ErrDamaged", at/page, err)
			}
			found++
			continue
		}
		if readDamaged(t, p, at/page, streams, commits, spec) {
			found++
		}
		_ = p.Close() // it may fail as well
	}
	if found < 10 {
		t.Errorf("only %d of %d damaged pages were found", found, len(whole)/page)
	}
}

// readDamaged reads everything in the database of TestDamageIsNeverAShorterResult and
// reports whether there were errors.
func readDamaged(t *testing.T, p *Provider, page, streams, commits int, spec driver.TableSpec) (failed bool) {
	check := func(what string, got, want int, err error) {
		switch {
		case err != nil && !errors.Is(err, driver.ErrDamaged):
			t.Errorf("page %d: %s: %v, want an ErrDamaged", page, what, err)
		case err == nil && got != want:
			t.Errorf("page %d: %s has %d of %d and no error", page, what, got, want)
		}
		failed = failed || err != nil
	}
	ctx := t.Context()
	l, err := p.OpenEventLog(ctx, "Test.Log")
	if err != nil {
		check("open", 0, 0, err)
		return failed
	}
	for s := range streams {
		stream := fmt.Sprintf("s%d", s)
		got, err := l.Load(ctx, stream, anySnapshot)
		check("Load", len(got), commits, err)
		n := 0
		err = nil
		for _, err = range l.Read(ctx, stream, 0, 0) {
			if err == nil {
				n++
			}
		}
		check("Read", n, commits, err)
	}
	n := 0
	err = nil
	for _, e := range l.Scan(ctx, 0, 1) { // it goes on behind a damaged commit
		if e == nil {
			n++
		}
		err = cmp.Or(err, e)
	}
	check("Scan", n, streams*commits, err)
	db, err := p.OpenQueryDb(ctx, spec)
	if err != nil {
		check("open", 0, 0, err)
		return failed
	}
	rows := 0
	for i := range 40 {
		if _, err = db.LoadRow(ctx, driver.Key{ID: fmt.Sprintf("r%03d", i)}); err != nil {
			break
		}
		rows++
	}
	check("LoadRow", rows, 40, err)
	q, err := p.OpenQueryEngine(ctx, []driver.TableSpec{spec})
	if err != nil {
		check("open", 0, 0, err)
		return failed
	}
	found, err := q.Query(ctx, driver.Query{ReadModel: spec.Name, Index: "ByK", Value: "v"})
	check("Query", len(found.Rows), 40, err)
	found, err = q.Scan(ctx, driver.Scan{ReadModel: spec.Name})
	check("Scan of rows", len(found.Rows), 40, err)
	return failed
}

func TestAChangedPayloadIsAnError(t *testing.T) {
	t.Parallel()
	path := made(t)
	c, err := connect(fileURI(path, "mode=rw"))
	if err == nil { // the changed payload is still JSON
		err = c.script(`UPDATE commits SET events = replace(events, '"n":7', '"n":8') WHERE stream = 's1' AND seq = 7`)
		err = errors.Join(err, c.close())
	}
	if err != nil {
		t.Fatal(err)
	}
	p := mustOpen(t, path, nil)
	ctx := t.Context()
	l := must[driver.EventLog](t)(p.OpenEventLog(ctx, "Test.Log"))
	failed := 0
	for s := range 3 {
		stream := fmt.Sprintf("s%d", s)
		_, err := l.Load(ctx, stream, anySnapshot)
		if err == nil {
			continue
		}
		failed++
		if want := (driver.DamageError{Table: "commits", Name: "Test.Log", Key: stream, SequenceNr: 7}); placeOf(err) != want {
			t.Errorf("Load: got %v, want damage at %+v", err, want)
		}
		n := uint64(0)
		for c, err := range l.Read(ctx, stream, 0, 0) {
			if err == nil {
				n = c.SequenceNr
			} else if n != 6 || !errors.Is(err, driver.ErrDamaged) {
				t.Errorf("Read: got %v after commit %d, want an ErrDamaged after 6", err, n)
			}
		}
	}
	if failed != 1 {
		t.Errorf("%d streams have an error, want 1", failed)
	}
	// A collector delivers all records, the damaged one without its commit, so that the
	// consumer meets the damage in the log.
	collector := must[driver.Receiver[driver.Record]](t)(p.OpenEventCollector(ctx, driver.CollectorSpec{Consumer: "Test.C", Source: driver.Source{Log: "Test.Log"}}))
	bad, good := 0, 0
	for {
		b := must[driver.Batch[driver.Record]](t)(collector.Receive(ctx, 10))
		if len(b.Deliveries) == 0 {
			break
		}
		var settled []driver.Settlement
		for _, d := range b.Deliveries {
			if d.Message.Commit == nil {
				bad++
				if d.Message.SequenceNr != 7 || d.Message.Stream != "s1" || d.Message.Err != nil {
					t.Errorf("the damaged record is %+v", d.Message)
				}
			} else {
				good++
			}
			settled = append(settled, driver.Settlement{ID: d.ID})
		}
		if err := collector.Settle(ctx, settled); err != nil {
			t.Fatal(err)
		}
	}
	if bad != 1 || good != 89 {
		t.Errorf("got %d damaged records and %d others, want 1 and 89", bad, good)
	}
}

// placeOf returns the place in a [driver.DamageError], without the cause.
func placeOf(err error) driver.DamageError {
	var d *driver.DamageError
	if !errors.As(err, &d) {
		return driver.DamageError{}
	}
	place := *d
	place.Cause = nil
	return place
}

// anySnapshot accepts every snapshot.
func anySnapshot(driver.SnapshotHead) bool { return true }
