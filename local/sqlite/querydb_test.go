package sqlite

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
)

func TestAnInterruptedChangeOfIndexesIsFinished(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "app.db")
	p := mustOpen(t, path, nil)
	ctx := t.Context()
	byK := driver.Index{Name: "ByK", Key: driver.Field{Name: "k"}}
	byL := driver.Index{Name: "ByL", Key: driver.Field{Name: "l"}}
	spec := driver.TableSpec{Name: "Test.Rows", Indexes: []driver.Index{byK, byL}}
	db := must[driver.QueryDb](t)(p.OpenQueryDb(ctx, spec))
	const rows = rowsPerRequest + 100
	var batch []driver.Row
	for i := range rows {
		batch = append(batch, driver.Row{Key: driver.Key{ID: fmt.Sprintf("r%04d", i)}, Data: json.RawMessage(`{"k":"v","l":"w"}`)})
	}
	for part := range slices.Chunk(batch, 500) {
		saveRows(t, db, part...)
	}
	// The state after a kill while ByL was being replaced by ByK, with only some rows
	// indexed.
	tbl := db.(queryDb).t
	f := tbl.spec
	f.Indexes = []storedIndex{f.Indexes[0]}
	f.Indexes[0].Building = true
	f.Dropped = []int64{tbl.spec.Indexes[1].ID}
	err := p.write(ctx, func(x *tx) error {
		if _, _, err := x.exec("DELETE FROM entries WHERE idx = ? AND id > 'r0300'", f.Indexes[0].ID); err != nil {
			return err
		}
		return tbl.store(x, f)
	})
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, p)

	p = mustOpen(t, path, nil)
	spec.Indexes = []driver.Index{byK}
	engine := must[driver.QueryEngine](t)(p.OpenQueryEngine(ctx, []driver.TableSpec{spec}))
	page := must[driver.Page](t)(engine.Query(ctx, driver.Query{ReadModel: spec.Name, Index: "ByK", Value: "v", Limit: 2 * rows}))
	if len(page.Rows) != rows {
		t.Errorf("the index has %d rows, want %d", len(page.Rows), rows)
	}
	var entries, forms int64
	if err := p.read(ctx, func(c *conn) (err error) {
		if entries, err = c.integer("SELECT count(*) FROM entries"); err != nil {
			return err
		}
		forms, err = c.integer("SELECT count(*) FROM tables WHERE spec LIKE '%uilding%' OR spec LIKE '%ropped%'")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if entries != rows || forms != 0 {
		t.Errorf("%d entries and %d unfinished specs are left, want %d and 0", entries, forms, rows)
	}
}

func TestExpiredRowsAreRemovedGradually(t *testing.T) {
	t.Parallel()
	clock := newTestClock()
	p := mustOpen(t, filepath.Join(t.TempDir(), "app.db"), &Options{Now: clock.Now})
	ctx := t.Context()
	spec := driver.TableSpec{Name: "Test.Rows", Indexes: []driver.Index{{Name: "ByK", Key: driver.Field{Name: "k"}}}}
	db := must[driver.QueryDb](t)(p.OpenQueryDb(ctx, spec))
	save := func(id string, life int64) {
		t.Helper()
		row := driver.Row{Key: driver.Key{ID: id}, Data: json.RawMessage(`{"k":"v"}`)}
		if life > 0 {
			row.ExpiresAt = clock.Now().Add(clock.seconds(life))
		}
		saveRows(t, db, row)
	}
	for i := range 100 {
		save(fmt.Sprintf("short%d", i), 10)
	}
	save("long", 100_000_000)
	save("always", 0)
	clock.advance(11 + int64(driver.ExpiryGrace/time.Second))
	for range 10 { // a few with each write
		save("other", 0)
	}
	for what, want := range map[string]int64{"rows": 3, "entries": 3} {
		var n int64
		if err := p.read(ctx, func(c *conn) (err error) {
			n, err = c.integer("SELECT count(*) FROM " + what)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if n != want {
			t.Errorf("%d %s are stored, want %d", n, what, want)
		}
	}
}
