package rows_test

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/rows"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	fields, err := rows.Fields(json.RawMessage(`{"s":"beta","n":10,"f":10.5,"b":true,"off":false,"null":null,"empty":"",
		"list":["x",1,true,null,["y"],{"k":1}],"none":[],"obj":{"k":1},"esc":"\u00e4\n","emoji":"😀","bmp":"\uffee"}`))
	if err != nil {
		t.Fatal(err)
	}
	type vs = []any
	for _, test := range []struct {
		field      string
		comparator driver.Comparator
		values     vs
		want       bool
	}{
		{"s", driver.Equal, vs{"beta"}, true},
		{"n", driver.Equal, vs{int64(10)}, true},
		{"n", driver.Equal, vs{10.0}, true},
		{"n", driver.Equal, vs{"10"}, false},
		{"b", driver.Equal, vs{true}, true},
		{"off", driver.Equal, vs{true}, false},
		{"esc", driver.Equal, vs{"ä\n"}, true},
		{"empty", driver.Equal, vs{""}, true},
		{"null", driver.Equal, vs{""}, false},
		{"obj", driver.Equal, vs{"{}"}, false},

		{"s", driver.Unequal, vs{"beta"}, false},
		{"s", driver.Unequal, vs{1.0}, true},
		{"gone", driver.Unequal, vs{"x"}, true},
		{"list", driver.Unequal, vs{"x"}, true},

		{"n", driver.Less, vs{int64(11)}, true},
		{"n", driver.Less, vs{10.0}, false},
		{"n", driver.LessOrEqual, vs{10.0}, true},
		{"n", driver.Greater, vs{10.0}, false},
		{"n", driver.GreaterOrEqual, vs{10.0}, true},
		{"f", driver.Greater, vs{int64(10)}, true},
		{"s", driver.Less, vs{"beta1"}, true},
		{"s", driver.Less, vs{99.0}, false},
		{"s", driver.GreaterOrEqual, vs{"Z"}, true}, // strings are compared by bytes
		{"emoji", driver.Greater, vs{"\uffee"}, true},
		{"b", driver.Less, vs{"x"}, false},
		{"null", driver.LessOrEqual, vs{1.0}, false},

		{"n", driver.Between, vs{10.0, int64(10)}, true},
		{"n", driver.Between, vs{11.0, 12.0}, false},
		{"n", driver.Between, vs{20.0, 1.0}, false},
		{"s", driver.Between, vs{"b", "c"}, true},
		{"s", driver.Between, vs{"b", 1.0}, false},

		{"s", driver.BeginsWith, vs{"be"}, true},
		{"s", driver.BeginsWith, vs{"eta"}, false},
		{"s", driver.BeginsWith, vs{""}, true},
		{"n", driver.BeginsWith, vs{"1"}, false},

		{"off", driver.Exists, nil, true},
		{"null", driver.Exists, nil, false},
		{"s", driver.NotExists, vs{}, false},
		{"gone", driver.NotExists, nil, true},

		{"s", driver.Contains, vs{"et"}, true},
		{"s", driver.Contains, vs{"x"}, false},
		{"n", driver.Contains, vs{1.0}, false},
		{"list", driver.Contains, vs{"x"}, true},
		{"list", driver.Contains, vs{int64(1)}, true},
		{"list", driver.Contains, vs{true}, true},
		{"list", driver.Contains, vs{"1"}, false},
		{"obj", driver.Contains, vs{"k"}, false},
		{"gone", driver.Contains, vs{"x"}, false},
		{"s", driver.NotContains, vs{1.0}, true},
		{"list", driver.NotContains, vs{"x"}, false},
		{"n", driver.NotContains, vs{"1"}, true},
		{"gone", driver.NotContains, vs{"x"}, true},
	} {
		f := driver.Filter{Field: test.field, Comparator: test.comparator, Values: test.values}
		if got, err := rows.Match(fields, []driver.Filter{f}); err != nil || got != test.want {
			t.Errorf("%v: got %t, %v, want %t", f, got, err, test.want)
		}
	}
	for _, test := range []struct {
		second string
		want   bool
	}{{"beta", true}, {"x", false}} {
		both := []driver.Filter{
			{Field: "n", Comparator: driver.Exists},
			{Field: "s", Comparator: driver.Equal, Values: vs{test.second}},
		}
		if got, err := rows.Match(fields, both); err != nil || got != test.want {
			t.Errorf("two filters: got %t, %v, want %t", got, err, test.want)
		}
	}
}

// malformed are filters that every query refuses.
var malformed = []driver.Filter{
	{Comparator: driver.Exists},
	{Field: "a"},
	{Field: "a", Comparator: "like", Values: []any{"x"}},
	{Field: "a", Comparator: driver.Equal},
	{Field: "a", Comparator: driver.Equal, Values: []any{"x", "y"}},
	{Field: "a", Comparator: driver.Equal, Values: []any{nil}},
	{Field: "a", Comparator: driver.Equal, Values: []any{1}},
	{Field: "a", Comparator: driver.Equal, Values: []any{math.NaN()}},
	{Field: "a", Comparator: driver.Less, Values: []any{true}},
	{Field: "a", Comparator: driver.Less, Values: []any{math.Inf(1)}},
	{Field: "a", Comparator: driver.Between, Values: []any{"x"}},
	{Field: "a", Comparator: driver.Between, Values: []any{1.0, true}},
	{Field: "a", Comparator: driver.BeginsWith, Values: []any{1.0}},
	{Field: "a", Comparator: driver.Exists, Values: []any{"x"}},
	{Field: "a", Comparator: driver.Contains, Values: []any{[]any{"x"}}},
}

func TestMalformedFilters(t *testing.T) {
	t.Parallel()
	for _, f := range malformed {
		if _, err := rows.Match(nil, []driver.Filter{f}); !errors.Is(err, driver.ErrInvalid) {
			t.Errorf("Match with %v: got %v", f, err)
		}
		if _, err := rows.CheckQuery(plain, driver.Query{Value: "a", Filters: []driver.Filter{f}}); !errors.Is(err, driver.ErrInvalid) {
			t.Errorf("CheckQuery with %v: got %v", f, err)
		}
		if _, err := rows.CheckScan(driver.Scan{Filters: []driver.Filter{f}}); !errors.Is(err, driver.ErrInvalid) {
			t.Errorf("CheckScan with %v: got %v", f, err)
		}
	}
}

func TestCheckQuery(t *testing.T) {
	t.Parallel()
	sort := func(c driver.Comparator, values ...any) *driver.Filter {
		return &driver.Filter{Comparator: c, Values: values}
	}
	for _, test := range []struct {
		name string
		spec driver.TableSpec
		q    driver.Query
		want error
	}{
		{"by id", plain, driver.Query{Value: "a"}, nil},
		{"by index", plain, driver.Query{Index: "byCustomer", Value: "a"}, nil},
		{"by number index", plain, driver.Query{Index: "byTable", Value: 1.5}, nil},
		{"by number index, int64", plain, driver.Query{Index: "byTable", Value: int64(1)}, nil},
		{"sub id condition", sub, driver.Query{Value: "a", Sort: sort(driver.BeginsWith, "x")}, nil},
		{"sort condition", plain, driver.Query{Index: "byCustomer", Value: "a", Sort: sort(driver.Between, 1.0, int64(2))}, nil},
		{"unknown index", plain, driver.Query{Index: "x", Value: "a"}, driver.ErrNotFound},
		{"no value", plain, driver.Query{}, driver.ErrInvalid},
		{"number as id", plain, driver.Query{Value: 1.0}, driver.ErrInvalid},
		{"int", plain, driver.Query{Index: "byTable", Value: 1}, driver.ErrInvalid},
		{"not a number", plain, driver.Query{Index: "byTable", Value: math.NaN()}, driver.ErrInvalid},
		{"string for number index", plain, driver.Query{Index: "byTable", Value: "1"}, driver.ErrInvalid},
		{"number for string index", plain, driver.Query{Index: "byCustomer", Value: 1.0}, driver.ErrInvalid},
		{"negative limit", plain, driver.Query{Value: "a", Limit: -1}, driver.ErrInvalid},
		{"condition without sub id", plain, driver.Query{Value: "a", Sort: sort(driver.Equal, "x")}, driver.ErrInvalid},
		{"condition without sort field", plain, driver.Query{Index: "byTable", Value: 1.0, Sort: sort(driver.Equal, "x")}, driver.ErrInvalid},
		{"comparator not for sorting", sub, driver.Query{Value: "a", Sort: sort(driver.Unequal, "x")}, driver.ErrInvalid},
		{"exists for sorting", sub, driver.Query{Value: "a", Sort: sort(driver.Exists)}, driver.ErrInvalid},
		{"number for sub id", sub, driver.Query{Value: "a", Sort: sort(driver.Less, 1.0)}, driver.ErrInvalid},
		{"string for number sort", plain, driver.Query{Index: "byCustomer", Value: "a", Sort: sort(driver.BeginsWith, "1")}, driver.ErrInvalid},
		{"one value between", sub, driver.Query{Value: "a", Sort: sort(driver.Between, "x")}, driver.ErrInvalid},
		{"cursor not base64", plain, driver.Query{Value: "a", Cursor: "!"}, driver.ErrInvalid},
		{"cursor not ours", plain, driver.Query{Value: "a", Cursor: "e30"}, driver.ErrInvalid},
	} {
		if _, err := rows.CheckQuery(test.spec, test.q); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, err, test.want)
		}
	}
	if _, err := rows.CheckScan(driver.Scan{Limit: -1}); !errors.Is(err, driver.ErrInvalid) {
		t.Errorf("negative limit of a scan: got %v", err)
	}
}

func TestCursor(t *testing.T) {
	t.Parallel()
	base := driver.Query{
		ReadModel: "r", Index: "byCustomer", Value: "c", Limit: 3,
		Sort:    &driver.Filter{Comparator: driver.Greater, Values: []any{int64(1)}},
		Filters: []driver.Filter{{Field: "x", Comparator: driver.Equal, Values: []any{"y"}}},
	}
	plan, err := rows.CheckQuery(plain, base)
	if err != nil || plan.After != nil || plan.Limit != 3 || plan.Index.Name != "byCustomer" {
		t.Fatalf("got %+v, %v", plan, err)
	}
	last := rows.Position{Sort: 0.1 + 0.2, Key: driver.Key{ID: "<a>\u2028", Sub: "s"}}
	cursor := plan.Cursor(last)

	for _, test := range []struct {
		name   string
		change func(*driver.Query)
		same   bool
	}{
		{"nothing", func(*driver.Query) {}, true},
		{"limit", func(q *driver.Query) { q.Limit = 7 }, true},
		{"form of a number", func(q *driver.Query) { q.Sort = &driver.Filter{Comparator: driver.Greater, Values: []any{1.0}} }, true},
		{"field of the condition", func(q *driver.Query) {
			q.Sort = &driver.Filter{Field: "z", Comparator: driver.Greater, Values: []any{1.0}}
		}, true},
		{"read model", func(q *driver.Query) { q.ReadModel = "s" }, false},
		{"index", func(q *driver.Query) { q.Index, q.Sort = "", nil }, false},
		{"value", func(q *driver.Query) { q.Value = "d" }, false},
		{"direction", func(q *driver.Query) { q.Descending = true }, true},
		{"condition", func(q *driver.Query) { q.Sort = nil }, false},
		{"filter", func(q *driver.Query) {
			q.Filters = []driver.Filter{{Field: "x", Comparator: driver.Equal, Values: []any{"z"}}}
		}, false},
		{"no filter", func(q *driver.Query) { q.Filters = nil }, false},
	} {
		q := base
		q.Cursor = cursor
		test.change(&q)
		plan, err := rows.CheckQuery(plain, q)
		if test.same && (err != nil || plan.After == nil || *plan.After != last) {
			t.Errorf("%s: got %+v, %v", test.name, plan.After, err)
		}
		if !test.same && !errors.Is(err, driver.ErrInvalid) {
			t.Errorf("%s: got %v", test.name, err)
		}
	}

	scan, err := rows.CheckScan(driver.Scan{ReadModel: "r"})
	if err != nil || scan.Limit != 100 {
		t.Fatalf("got %+v, %v", scan, err)
	}
	at := rows.Position{Key: driver.Key{ID: "a"}}
	again, err := rows.CheckScan(driver.Scan{ReadModel: "r", Cursor: scan.Cursor(at), Filters: []driver.Filter{}})
	if err != nil || *again.After != at {
		t.Errorf("got %+v, %v", again.After, err)
	}
	if _, err := rows.CheckScan(driver.Scan{ReadModel: "r", Cursor: cursor}); !errors.Is(err, driver.ErrInvalid) {
		t.Errorf("cursor of a query in a scan: got %v", err)
	}
	if _, err := rows.CheckQuery(plain, driver.Query{ReadModel: "r", Value: "a", Cursor: scan.Cursor(at)}); !errors.Is(err, driver.ErrInvalid) {
		t.Errorf("cursor of a scan in a query: got %v", err)
	}
}

func TestPositionOrder(t *testing.T) {
	t.Parallel()
	at := func(sort any, id, sub string) rows.Position {
		return rows.Position{Sort: sort, Key: driver.Key{ID: id, Sub: sub}}
	}
	want := []rows.Position{
		at(-1.0, "b", ""), at(2.0, "a", "1"), at(2.0, "a", "2"), at(2.0, "b", ""), at(10.0, "a", ""), at("10", "a", ""), at("2", "a", ""),
	}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, rows.Position.Compare)
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
