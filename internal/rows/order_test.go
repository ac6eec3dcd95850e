package rows_test

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/rows"
)

func orderedScan(t testing.TB, s driver.Scan) rows.Plan {
	t.Helper()
	plan, err := rows.CheckScan(s)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func TestPlace(t *testing.T) {
	t.Parallel()
	plan := orderedScan(t, driver.Scan{Order: &driver.Order{Field: "f"}})
	for data, want := range map[string]any{
		`{}`:                               nil,
		` { } `:                            nil,
		`{"f":null}`:                       nil,
		`{"f":[1]}`:                        nil,
		`{"f":{"f":1}}`:                    nil,
		`{"o":{"f":1}}`:                    nil,
		`{"o":["f",1]}`:                    nil,
		`{"x":"f","y":"\"f\":1"}`:          nil,
		`{"f":true}`:                       true,
		"\n{ \"f\"\t: false }":             false,
		`{"f":1,"g":2}`:                    1.0,
		`{"g":{"a":[1,"}"]},"f":-0}`:       0.0,
		`{"f":9007199254740993}`:           9007199254740992.0,
		`{"f":1e400}`:                      math.Inf(1),
		`{"f":-1e400}`:                     math.Inf(-1),
		`{"f":"a\u0000\"b"}`:               "a\x00\"b",
		`{"\u0066":"x"}`:                   "x",
		`{"f":1,"f":"last","\u0066":true}`: true,
		`{"f":1,"f":null}`:                 nil,
	} {
		at := plan.Place(driver.Key{ID: "a"}, []byte(data))
		if at.Sort != want || at.ID != "a" {
			t.Errorf("%s: got %v, want %v", data, at, want)
		}
	}
	// An order by key reads no field, not even one with an empty name.
	if at := orderedScan(t, driver.Scan{Order: &driver.Order{}}).Place(driver.Key{ID: "a"}, []byte(`{"":1}`)); at.Sort != nil {
		t.Errorf("got %v of an order by id", at)
	}
}

// FuzzPlace compares the fast lookup of a field with the full parser, and checks that
// data that is not JSON causes no panic.
func FuzzPlace(f *testing.F) {
	for _, s := range []string{`{"f":1}`, `{"f":"`, `{"f":"\`, `{"f`, `{"\u0066":[{"f":2}],"f":"x"}`, ` { "f" : tru`, `{"f":,}`, `{{`, `{"f":1}}`, `"f"`, `{"":1,"f":"\\"}`, `{"f":"`} {
		f.Add(s, "f")
	}
	f.Fuzz(func(t *testing.T, data, field string) {
		if field == "" {
			return
		}
		at := orderedScan(t, driver.Scan{Order: &driver.Order{Field: field}}).Place(driver.Key{}, []byte(data))
		fields, err := rows.Fields([]byte(data))
		if err != nil {
			return
		}
		var want any
		if raw := fields[field]; len(raw) > 0 {
			if err := json.Unmarshal(raw, &want); err != nil {
				return // a number beyond float64
			}
		}
		switch want.(type) {
		case []any, map[string]any:
			want = nil
		}
		if at.Sort != want {
			t.Errorf("%s of %s: got %v, want %v", field, data, at.Sort, want)
		}
	})
}

func TestOrderOfValues(t *testing.T) {
	t.Parallel()
	ordered := []any{nil, false, true, math.Inf(-1), -1.0, 0.0, 0.5, 10.0, math.Inf(1), "", "A", "a", "é", "\uffee", "😀"}
	for i, a := range ordered {
		for j, b := range ordered {
			if got, want := rows.CompareValues(a, b), min(1, max(-1, i-j)); got != want {
				t.Errorf("%v and %v: got %d, want %d", a, b, got, want)
			}
		}
	}
}

func TestCursorsOfOrders(t *testing.T) {
	t.Parallel()
	filter := []driver.Filter{{Field: "x", Comparator: driver.Exists}}
	scan := driver.Scan{ReadModel: "r", Order: &driver.Order{Field: "f"}}
	for _, sort := range []any{nil, false, true, -1.5, 0.0, math.Inf(1), math.Inf(-1), "", "a\x00b", "日本"} {
		at := rows.Position{Sort: sort, Key: driver.Key{ID: "<a>", Sub: "\u2028"}}
		cursor := orderedScan(t, scan).Cursor(at)
		for _, again := range []driver.Scan{
			{ReadModel: "r", Order: &driver.Order{Field: "f"}, Cursor: cursor},
			{ReadModel: "r", Order: &driver.Order{Field: "f", Descending: true}, Limit: 7, Cursor: cursor},
		} {
			if plan := orderedScan(t, again); plan.After == nil || *plan.After != at {
				t.Errorf("%v: got %v, want %v", again, plan.After, at)
			}
		}
		for _, other := range []driver.Scan{
			{ReadModel: "r"},
			{ReadModel: "s", Order: &driver.Order{Field: "f"}},
			{ReadModel: "r", Order: &driver.Order{}},
			{ReadModel: "r", Order: &driver.Order{Field: "g"}},
			{ReadModel: "r", Order: &driver.Order{Field: "f"}, Filters: filter},
		} {
			other.Cursor = cursor
			if _, err := rows.CheckScan(other); !errors.Is(err, driver.ErrInvalid) {
				t.Errorf("%v with a cursor of %v: got %v", other, scan, err)
			}
		}
	}
	// An order by id has no value.
	byID := driver.Scan{ReadModel: "r", Order: &driver.Order{}}
	byID.Cursor = orderedScan(t, byID).Cursor(rows.Position{Sort: 1.0, Key: driver.Key{ID: "a"}})
	if _, err := rows.CheckScan(byID); !errors.Is(err, driver.ErrInvalid) {
		t.Errorf("a cursor with a value in an order by id: got %v", err)
	}
}

// FuzzCursor decodes arbitrary bytes after a valid prefix.
func FuzzCursor(f *testing.F) {
	scan := driver.Scan{ReadModel: "r", Order: &driver.Order{Field: "f"}}
	prefix := orderedScan(f, scan).Cursor(rows.Position{})
	for _, at := range []rows.Position{{Key: driver.Key{ID: "a"}}, {Sort: "x", Key: driver.Key{ID: "a", Sub: "b"}}, {Sort: 1.5, Key: driver.Key{ID: "a"}}} {
		f.Add(orderedScan(f, scan).Cursor(at)[len(prefix)-4:])
	}
	f.Fuzz(func(t *testing.T, rest string) {
		scan := scan
		scan.Cursor = prefix[:16] + rest
		plan, err := rows.CheckScan(scan)
		if err != nil {
			if !errors.Is(err, driver.ErrInvalid) {
				t.Errorf("%q: got %v", scan.Cursor, err)
			}
			return
		}
		if again := plan.Cursor(*plan.After); again != scan.Cursor {
			t.Errorf("%q became %q", scan.Cursor, again)
		}
	})
}

func TestTop(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for range 300 {
		var all []rows.Position
		for i := range r.IntN(40) {
			all = append(all, rows.Position{Sort: []any{nil, true, 1.0, 2.0, "x"}[r.IntN(5)], Key: driver.Key{ID: string(rune('A' + i))}})
		}
		plan := orderedScan(t, driver.Scan{Order: &driver.Order{Field: "f", Descending: r.IntN(2) == 0}, Limit: 1 + r.IntN(12)})
		if len(all) > 0 && r.IntN(2) == 0 {
			plan.After = &all[r.IntN(len(all))]
		}
		top := rows.NewTop[string](plan)
		for _, i := range r.Perm(len(all)) {
			if top.Wants(all[i]) {
				top.Add(all[i], all[i].ID)
			}
		}
		want := slices.DeleteFunc(slices.Clone(all), func(p rows.Position) bool { return !plan.Follows(p) })
		slices.SortFunc(want, plan.Compare)
		page, more := top.Page()
		if more != (len(want) > plan.Limit) {
			t.Errorf("seed %d: got more = %t with %d rows of %d", seed, more, len(want), plan.Limit)
		}
		want = want[:min(len(want), plan.Limit)]
		if len(page) != len(want) {
			t.Fatalf("seed %d: got %d rows, want %d", seed, len(page), len(want))
		}
		for i, p := range page {
			if p.At != want[i] || p.Row != want[i].ID {
				t.Fatalf("seed %d: row %d is %v, want %v", seed, i, p, want[i])
			}
		}
	}
}

func BenchmarkPlace(b *testing.B) {
	plan := orderedScan(b, driver.Scan{Order: &driver.Order{Field: "price"}})
	data := []byte(`{"line":"1","shop":"s","text":"some words that are rather long for what they say","price":12.5,"tags":["a","b"],"more":{"x":1}}`)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		plan.Place(driver.Key{ID: "a"}, data)
	}
}

func BenchmarkCursor(b *testing.B) {
	plan := orderedScan(b, driver.Scan{Order: &driver.Order{Field: "price"}})
	for b.Loop() {
		plan.Cursor(rows.Position{Sort: 1.5, Key: driver.Key{ID: "0192f3a4-7b1c-7d2e-8f3a-4b5c6d7e8f90"}})
	}
}
