package sqlite

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/reventless-go/reventless/driver"
)

// TestOrderedScansOfManyRows scans more rows than one statement reads.
func TestOrderedScansOfManyRows(t *testing.T) {
	t.Parallel()
	p := mustOpen(t, filepath.Join(t.TempDir(), "app.db"), nil)
	ctx := t.Context()
	spec, other := driver.TableSpec{Name: "Test.Rows"}, driver.TableSpec{Name: "Test.Other"}
	const count = 2*walkPage + walkPage/2
	for _, s := range []driver.TableSpec{spec, other} {
		db := must[driver.QueryDb](t)(p.OpenQueryDb(ctx, s))
		var batch []driver.Row
		for i := range count {
			batch = append(batch, driver.Row{Key: driver.Key{ID: fmt.Sprintf("r%04d", i)}, Data: json.RawMessage(fmt.Sprintf(`{"rank":%d}`, i*7919%count/2))})
		}
		for part := range slices.Chunk(batch, 500) {
			saveRows(t, db, part...)
		}
	}
	engine := must[driver.QueryEngine](t)(p.OpenQueryEngine(ctx, []driver.TableSpec{spec}))
	for _, descending := range []bool{false, true} {
		scan := driver.Scan{ReadModel: spec.Name, Order: &driver.Order{Field: "rank", Descending: descending}, Limit: 900}
		seen := map[string]bool{}
		last, lastID := -1, ""
		if descending {
			last, lastID = count, "z"
		}
		for pages := 0; pages == 0 || scan.Cursor != ""; pages++ {
			page := must[driver.Page](t)(engine.Scan(ctx, scan))
			for _, r := range page.Rows {
				var v struct{ Rank int }
				if err := json.Unmarshal(r.Data, &v); err != nil {
					t.Fatal(err)
				}
				forth := v.Rank > last || v.Rank == last && r.ID > lastID
				back := v.Rank < last || v.Rank == last && r.ID < lastID
				if seen[r.ID] || descending && !back || !descending && !forth {
					t.Fatalf("descending %t: %s with rank %d came after %s with %d", descending, r.ID, v.Rank, lastID, last)
				}
				seen[r.ID] = true
				last, lastID = v.Rank, r.ID
			}
			scan.Cursor = page.Cursor
		}
		if len(seen) != count {
			t.Errorf("descending %t: got %d rows, want %d", descending, len(seen), count)
		}
	}
}
