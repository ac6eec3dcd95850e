package drivertest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// TestQueryEngine runs the suite of [driver.QueryEngine].
func TestQueryEngine(t *testing.T, open Open) { queryEngineSuite().run(t, open) }

func queryEngineSuite() suite {
	return suite{"QueryEngine", []property{
		{"QueriesByIDReturnItsRows", queriesByIDReturnItsRows},
		{"QueriesByIndexReturnTheKeysRows", queriesByIndexReturnTheKeysRows},
		{"IndexesFollowTheRows", indexesFollowTheRows},
		{"IndexesHoldRowsWithTheirFieldsOnly", indexesHoldRowsWithTheirFieldsOnly},
		{"NumbersOrderByValue", numbersOrderByValue},
		{"StringsOrderByTheirBytes", stringsOrderByTheirBytes},
		{"SortConditionsSelectBySubID", sortConditionsSelectBySubID},
		{"SortConditionsSelectBySortField", sortConditionsSelectBySortField},
		{"FiltersCompare", filtersCompare},
		{"FiltersMustAllHold", filtersMustAllHold},
		{"FiltersSeeTheWholeRow", filtersSeeTheWholeRow},
		{"IncludeBoundsTheFields", includeBoundsTheFields},
		{"RowsAreUnchanged", queriedRowsAreUnchanged},
		{"PagesNeitherSkipNorRepeat", pagesNeitherSkipNorRepeat},
		{"LimitBoundsTheResultAfterFiltering", limitBoundsTheResultAfterFiltering},
		{"WritesBetweenPagesAffectNoOtherRow", writesBetweenPagesAffectNoOtherRow},
		{"ConcurrentWritesAffectNoOtherRow", concurrentWritesAffectNoOtherRow},
		{"EveryRowHasACursor", everyRowHasACursor},
		{"CursorsPageBackwards", cursorsPageBackwards},
		{"CursorsOutliveTheirRows", cursorsOutliveTheirRows},
		{"ScansOrderByAField", scansOrderByAField},
		{"OrderFieldsAreNames", orderFieldsAreNames},
		{"CursorsOfOtherQueriesAreRefused", cursorsOfOtherQueriesAreRefused},
		{"UnknownNamesAreNotFound", unknownNamesAreNotFound},
		{"MalformedQueriesAreRefused", malformedQueriesAreRefused},
		{"ExpiredRowsAreNotReturned", expiredRowsAreNotReturned},
		{"ANewIndexHasTheOldRows", aNewIndexHasTheOldRows},
		cancelledCallsFail(queryEngineCalls),
		{"PagesBelongToTheCaller", pagesBelongToTheCaller},
	}}
}

func (e *env) engine(specs ...driver.TableSpec) driver.QueryEngine {
	e.Helper()
	q, err := e.Provider.OpenQueryEngine(e.ctx, specs)
	return opened(e, q, err)
}

// pageOf is one call of Query or Scan.
type pageOf func(limit int, cursor string) (driver.Page, error)

func (e *env) queryPages(q driver.QueryEngine, query driver.Query) pageOf {
	return func(limit int, cursor string) (driver.Page, error) {
		query := query
		query.Limit, query.Cursor = limit, cursor
		return q.Query(e.ctx, query)
	}
}

func (e *env) scanPages(q driver.QueryEngine, scan driver.Scan) pageOf {
	return func(limit int, cursor string) (driver.Page, error) {
		scan := scan
		scan.Limit, scan.Cursor = limit, cursor
		return q.Scan(e.ctx, scan)
	}
}

// walk reads all pages; diff describes what is wrong with them.
func walk(page pageOf, limit int) (rows []driver.Row, diff string) {
	most := limit
	if most == 0 {
		most = 100
	}
	cursor := ""
	seen := map[driver.Key]bool{}
	for n := 0; ; n++ {
		p, err := page(limit, cursor)
		switch {
		case err != nil:
			return rows, fmt.Sprintf("page %d: %v", n, err)
		case len(p.Rows) > most:
			return rows, fmt.Sprintf("page %d has %d rows, the limit is %d", n, len(p.Rows), most)
		case p.Cursor != "" && len(p.Rows) < most:
			return rows, fmt.Sprintf("page %d has %d rows of %d and a cursor: an unfinished page is full", n, len(p.Rows), most)
		case p.Cursor != "" && p.Cursor == cursor:
			return rows, fmt.Sprintf("page %d returned the cursor that led to it", n)
		}
		for _, r := range p.Rows {
			if seen[r.Key] {
				return rows, fmt.Sprintf("page %d repeats the row %s", n, short(r.Key.String()))
			}
			seen[r.Key] = true
		}
		rows = append(rows, p.Rows...)
		if p.Cursor == "" {
			return rows, ""
		}
		cursor = p.Cursor
	}
}

// names returns the ids of rows, each followed by a slash and the sub id if it has one.
func names(rows []driver.Row) []string {
	ns := make([]string, 0, len(rows))
	for _, r := range rows {
		n := r.ID
		if r.Sub != "" {
			n += "/" + r.Sub
		}
		ns = append(ns, n)
	}
	return ns
}

func diffNames(got, want []string) string {
	if slices.Equal(got, want) {
		return ""
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("at %d of %d: got %s, want %s (got %s)", i, len(want), short(got[i]), short(want[i]), some(got))
		}
	}
	return fmt.Sprintf("got %d rows, want %d: got %s, want %s", len(got), len(want), some(got), some(want))
}

func some(names []string) string {
	var b strings.Builder
	for i, n := range names {
		if i == 20 {
			b.WriteString(" ...")
			break
		}
		b.WriteString(" " + short(n))
	}
	return "[" + strings.TrimSpace(b.String()) + "]"
}

// wantNames checks the result of a query or scan.
func (e *env) wantNames(what string, page pageOf, limit int, ordered bool, want []string) {
	e.Helper()
	e.settled(what, func() string {
		rows, diff := walk(page, limit)
		if diff != "" {
			return diff
		}
		got := names(rows)
		if !ordered {
			slices.Sort(got)
		}
		return diffNames(got, want)
	})
}

// wantIDs checks the result of a query, in order.
func (e *env) wantIDs(q driver.QueryEngine, query driver.Query, want ...string) {
	e.Helper()
	e.wantNames(describe(query), e.queryPages(q, query), query.Limit, true, want)
}

// wantScanIDs checks the result of a scan, in any order.
func (e *env) wantScanIDs(q driver.QueryEngine, scan driver.Scan, want ...string) {
	e.Helper()
	slices.Sort(want)
	e.wantNames(describe(scan), e.scanPages(q, scan), scan.Limit, false, want)
}

// describe returns a text with all parameters of a query or a scan.
func describe(q any) string {
	text, _ := json.Marshal(q) // it has strings, numbers and booleans only
	return strings.TrimPrefix(fmt.Sprintf("%T", q), "driver.") + string(text)
}

func lineData(id, sub, rest string) driver.Row {
	q, _ := json.Marshal(sub)
	return driver.Row{Key: driver.Key{ID: id, Sub: sub}, Data: json.RawMessage(`{"line":` + string(q) + rest + `}`)}
}

func queriesByIDReturnItsRows(e *env) {
	db, sub := e.table(plainTable), e.table(subTable)
	q := e.engine(plainTable, subTable)
	e.wantIDs(q, driver.Query{ReadModel: plainTable.Name, Value: "a"})
	e.wantIDs(q, driver.Query{ReadModel: subTable.Name, Value: "a"})
	e.wantScanIDs(q, driver.Scan{ReadModel: plainTable.Name})
	var rows, lines []driver.Row
	for i, id := range goodIDs() {
		rows = append(rows, numbered(id, i))
	}
	e.fillTable(db, rows)
	for _, id := range goodIDs() {
		e.wantIDs(q, driver.Query{ReadModel: plainTable.Name, Value: id}, id)
	}
	e.wantIDs(q, driver.Query{ReadModel: plainTable.Name, Value: "nobody"})
	subs := goodIDs()
	for i, s := range subs {
		lines = append(lines, lineOf("a", s, i), lineOf("b", s, i))
	}
	e.fillTable(sub, lines)
	slices.Sort(subs)
	var want []string
	for _, s := range subs {
		want = append(want, "a/"+s)
	}
	e.wantIDs(q, driver.Query{ReadModel: subTable.Name, Value: "a"}, want...)
	slices.Reverse(want)
	e.wantIDs(q, driver.Query{ReadModel: subTable.Name, Value: "a", Descending: true}, want...)
	e.wantScanIDs(q, driver.Scan{ReadModel: plainTable.Name}, goodIDs()...)
}

var goods = driver.TableSpec{Name: "Test.Goods", SubID: "line", Indexes: []driver.Index{
	{Name: "byColor", Key: driver.Field{Name: "color"}},
	{Name: "byRating", Key: driver.Field{Name: "rating", Number: true}},
	{Name: "byShop", Key: driver.Field{Name: "shop"}, Sort: &driver.Field{Name: "price", Number: true}},
	{Name: "byShelf", Key: driver.Field{Name: "shop"}, Sort: &driver.Field{Name: "shelf"}},
	{Name: "keysOnly", Key: driver.Field{Name: "shop"}, Sort: &driver.Field{Name: "price", Number: true}, Include: []string{}},
	{Name: "some", Key: driver.Field{Name: "shop"}, Sort: &driver.Field{Name: "price", Number: true}, Include: []string{"color", "absent"}},
}}

func queriesByIndexReturnTheKeysRows(e *env) {
	db, q := e.table(goods), e.engine(goods)
	e.save(db,
		lineData("b", "1", `,"color":"red","rating":5`),
		lineData("a", "2", `,"color":"red","rating":5.0`),
		lineData("a", "1", `,"color":"Red","rating":50e-1`),
		lineData("c", "1", `,"color":"red ","rating":-5`),
		lineData("d", "1", `,"color":"re","rating":0.1`),
		lineData("e", "1", `,"color":"r\u0065d","rating":0.5e1`),
		lineData("f", "1", `,"color":"日本","rating":0`),
		lineData("g", "1", `,"color":"5","rating":-0`),
	)
	color := func(v any, want ...string) {
		e.Helper()
		e.wantIDs(q, driver.Query{ReadModel: goods.Name, Index: "byColor", Value: v}, want...)
	}
	rating := func(v any, want ...string) {
		e.Helper()
		e.wantIDs(q, driver.Query{ReadModel: goods.Name, Index: "byRating", Value: v}, want...)
	}
	color("red", "a/2", "b/1", "e/1")
	color("Red", "a/1")
	color("red ", "c/1")
	color("日本", "f/1")
	color("5", "g/1")
	color("blue")
	color("r%")
	color("re_")
	rating(5.0, "a/1", "a/2", "b/1", "e/1")
	rating(int64(5), "a/1", "a/2", "b/1", "e/1")
	rating(-5.0, "c/1")
	rating(0.1, "d/1")
	rating(int64(0), "f/1", "g/1")
	rating(6.0)
}

func indexesFollowTheRows(e *env) {
	db, q := e.table(goods), e.engine(goods)
	red := func(want ...string) {
		e.Helper()
		e.wantIDs(q, driver.Query{ReadModel: goods.Name, Index: "byColor", Value: "red"}, want...)
	}
	a := driver.Key{ID: "a", Sub: "1"}
	e.save(db, lineData("a", "1", `,"color":"red"`))
	red("a/1")
	e.save(db, lineData("a", "1", `,"color":"blue"`))
	red()
	e.save(db, lineData("a", "1", `,"color":"red"`))
	red("a/1")
	e.save(db, lineData("a", "1", ``))
	red()
	e.save(db, lineData("a", "1", `,"color":"red"`), lineData("b", "1", `,"color":"red"`))
	red("a/1", "b/1")
	e.must(e.write(db, removal(a), put(lineData("c", "1", `,"color":"red"`))), "delete one row and write another")
	red("b/1", "c/1")
	e.delete(db, driver.Key{ID: "b", Sub: "1"}, driver.Key{ID: "c", Sub: "1"})
	red()
	// A row moves in the index of a number, and in the sort field of its index.
	e.save(db, lineData("e", "1", `,"rating":1`), lineData("f", "1", `,"shop":"s","price":2`))
	e.save(db, lineData("e", "1", `,"rating":4`), lineData("f", "1", `,"shop":"s","price":9`))
	e.wantIDs(q, driver.Query{ReadModel: goods.Name, Index: "byRating", Value: 1.0})
	e.wantIDs(q, driver.Query{ReadModel: goods.Name, Index: "byRating", Value: 4.0}, "e/1")
	e.wantIDs(q, driver.Query{ReadModel: goods.Name, Index: "byShop", Value: "s", Sort: &driver.Filter{Comparator: driver.Greater, Values: []any{8.5}}}, "f/1")
	// The two indexes of one field are separate.
	e.save(db, lineData("h", "1", `,"shop":"t","shelf":"x"`))
	e.wantIDs(q, driver.Query{ReadModel: goods.Name, Index: "byShop", Value: "t"})
	e.wantIDs(q, driver.Query{ReadModel: goods.Name, Index: "byShelf", Value: "t"}, "h/1")
}

func indexesHoldRowsWithTheirFieldsOnly(e *env) {
	db, q := e.table(goods), e.engine(goods)
	e.save(db,
		lineData("full", "1", `,"shop":"s","price":1,"shelf":"x"`),
		lineData("zero", "1", `,"shop":"s","price":0,"shelf":"0"`),
		lineData("noSort", "1", `,"shop":"s"`),
		lineData("nullSort", "1", `,"shop":"s","price":null,"shelf":null`),
		lineData("emptySort", "1", `,"shop":"s","price":2,"shelf":""`),
		lineData("noKey", "1", `,"price":1,"shelf":"x"`),
		lineData("nullKey", "1", `,"shop":null,"price":1,"shelf":"x"`),
		lineData("emptyKey", "1", `,"shop":"","price":1,"shelf":"x"`),
		lineData("nested", "1", `,"in":{"shop":"s","price":1,"shelf":"x"}`),
		lineData("case", "1", `,"Shop":"s","Price":1,"Shelf":"x"`),
	)
	e.wantIDs(q, driver.Query{ReadModel: goods.Name, Index: "byShop", Value: "s"}, "zero/1", "full/1", "emptySort/1")
	e.wantIDs(q, driver.Query{ReadModel: goods.Name, Index: "byShelf", Value: "s"}, "zero/1", "full/1")
	e.wantIDs(q, driver.Query{ReadModel: goods.Name, Value: "noSort"}, "noSort/1")
	e.wantScanIDs(q, driver.Scan{ReadModel: goods.Name},
		"full/1", "zero/1", "noSort/1", "nullSort/1", "emptySort/1", "noKey/1", "nullKey/1", "emptyKey/1", "nested/1", "case/1")
}

func numbersOrderByValue(e *env) {
	db, q := e.table(goods), e.engine(goods)
	numbers := []string{
		"-9007199254740991", "-1e6", "-1000", "-100.5", "-99", "-10", "-9", "-2.5", "-2.25", "-1", "-0.5", "-1e-7",
		"0", "1e-7", "0.001", "0.1", "0.25", "0.5", "1", "1.5", "2", "9", "10", "11", "99.99", "100", "1e3", "1001", "12345678.9", "9007199254740991",
	}
	e.wantOrder(db, q, "byShop", "price", numbers)
}

// wantOrder checks that an index of shops orders rows by the values of its sort field,
// which are ascending.
func (e *env) wantOrder(db driver.QueryDb, q driver.QueryEngine, index, field string, values []string) {
	e.Helper()
	want := make([]string, len(values))
	for i := range values { // not in their order
		j := (i * 7) % len(values)
		id := fmt.Sprintf("id%d", (j*11)%len(values))
		e.save(db, lineData(id, "1", `,"shop":"s","`+field+`":`+values[j]))
		want[j] = id + "/1"
	}
	for _, limit := range []int{0, 1, 5} {
		e.wantIDs(q, driver.Query{ReadModel: goods.Name, Index: index, Value: "s", Limit: limit}, want...)
		e.wantIDs(q, driver.Query{ReadModel: goods.Name, Index: index, Value: "s", Limit: limit, Descending: true}, reversed(want)...)
	}
}

// orderedStrings are ascending by the bytes of their UTF-8. An order by UTF-16 or by
// a language differs.
func orderedStrings() []string {
	s := []string{
		" ", "!", "#", "%", "-1", "/", "0", "00", "10", "9", "A", "AA", "B", "Z", "_", "a", "a ", "a b", "aB", "ab", "b", "z", "zz",
		"~", "\u0080", "Ä", "ä", "é", "e\u0301", "ß", "Ω", "日本", "\u2028", "\ufeff", "\uffee", "\uffff", "\U00010000", "😀",
		"\\", "\"", "'", strings.Repeat("y", 300), strings.Repeat("y", 301),
	}
	slices.Sort(s)
	return s
}

func stringsOrderByTheirBytes(e *env) {
	db, q := e.table(goods), e.engine(goods)
	var texts, subs []string
	for _, s := range orderedStrings() {
		text, _ := json.Marshal(s)
		texts = append(texts, string(text))
		subs = append(subs, "subs/"+s)
	}
	e.wantOrder(db, q, "byShelf", "shelf", texts)
	for _, s := range reversed(orderedStrings()) {
		e.save(db, lineData("subs", s, ``))
	}
	for _, limit := range []int{0, 1, 5} {
		e.wantIDs(q, driver.Query{ReadModel: goods.Name, Value: "subs", Limit: limit}, subs...)
		e.wantIDs(q, driver.Query{ReadModel: goods.Name, Value: "subs", Limit: limit, Descending: true}, reversed(subs)...)
	}
}

// equalSorts writes rows of one index key that share few sort values, and returns
// their names in order.
func (e *env) equalSorts(db driver.QueryDb) []string {
	e.Helper()
	var rows []driver.Row
	for i, price := range []string{"1", "1.0", "2", "20e-1"} {
		for _, id := range []string{"b", "B", "aa", "a"} {
			for _, sub := range []string{"x", "/"} {
				rows = append(rows, lineData(id, fmt.Sprintf("%s%d", sub, i), `,"shop":"s","color":"red","price":`+price))
			}
		}
	}
	shuffled := make([]driver.Row, len(rows))
	for i := range rows {
		shuffled[i] = rows[(i*7)%len(rows)]
	}
	e.fillTable(db, shuffled)
	slices.SortFunc(rows, func(a, b driver.Row) int {
		price := func(r driver.Row) string { // the sub id ends with the index of the price
			if n := r.Sub[len(r.Sub)-1]; n >= '2' {
				return "2"
			}
			return "1"
		}
		return cmp.Or(strings.Compare(price(a), price(b)), strings.Compare(a.ID, b.ID), strings.Compare(a.Sub, b.Sub))
	})
	return names(rows)
}

func compareNames(a, b string) int {
	aID, aSub, _ := strings.Cut(a, "/")
	bID, bSub, _ := strings.Cut(b, "/")
	return cmp.Or(strings.Compare(aID, bID), strings.Compare(aSub, bSub))
}

func pagesNeitherSkipNorRepeat(e *env) {
	db, q := e.table(goods), e.engine(goods)
	byPrice := e.equalSorts(db)
	byKey := slices.SortedFunc(slices.Values(byPrice), compareNames)
	var ofA []string
	for _, n := range byKey {
		if strings.HasPrefix(n, "a/") {
			ofA = append(ofA, n)
		}
	}
	for limit := 1; limit <= len(byPrice)+1 && !e.Failed(); limit++ {
		if !e.sampled(limit) && limit < len(byPrice) {
			continue
		}
		for _, descending := range []bool{false, true} {
			for _, x := range []struct {
				query driver.Query
				want  []string
			}{
				{driver.Query{Index: "byShop", Value: "s"}, byPrice},
				{driver.Query{Index: "byColor", Value: "red"}, byKey},
				{driver.Query{Value: "a"}, ofA},
			} {
				x.query.ReadModel, x.query.Limit, x.query.Descending = goods.Name, limit, descending
				if descending {
					x.want = reversed(x.want)
				}
				e.wantIDs(q, x.query, x.want...)
			}
		}
		e.wantScanIDs(q, driver.Scan{ReadModel: goods.Name, Limit: limit}, slices.Clone(byPrice)...)
		for field, want := range map[string][]string{"price": byPrice, "": byKey, "color": byKey, "nobody": byKey} {
			e.wantOrdered(q, driver.Scan{ReadModel: goods.Name, Order: &driver.Order{Field: field}, Limit: limit}, want...)
		}
	}
	// A scan without an order has one order for all pages, whatever their size.
	first, diff := walk(e.scanPages(q, driver.Scan{ReadModel: goods.Name}), len(byPrice))
	again, diff2 := walk(e.scanPages(q, driver.Scan{ReadModel: goods.Name}), 7)
	e.errorIf(diff != "" || diff2 != "", "Scan: %s %s", diff, diff2)
	d := diffNames(names(again), names(first))
	e.errorIf(d != "" && e.Lag == 0, "Scan in pages of 7 has another order than in one page: %s", d)
}

func sortConditionsSelectBySubID(e *env) {
	db, q := e.table(subTable), e.engine(subTable)
	subs := []string{"A", "a", "ab", "abc", "abd", "b", "ba", "é", "%", "a%", "a_", "日本"}
	slices.Sort(subs)
	ids := map[string]string{}
	for i, s := range subs {
		e.save(db, lineOf("id", s, i), lineOf("other", s, i))
		ids[s] = "id/" + s
	}
	wantSelected(e, q, driver.Query{ReadModel: subTable.Name, Value: "id"}, stringConditions(), subs, ids)
}

// wantSelected checks that a query with each condition on its sort selects the values
// that hold, which are ascending, with the names of their rows.
func wantSelected[T comparable](e *env, q driver.QueryEngine, query driver.Query, cs []condition[T], values []T, ids map[T]string) {
	e.Helper()
	for _, c := range cs {
		var want []string
		for _, v := range values {
			if c.holds(v) {
				want = append(want, ids[v])
			}
		}
		query := query
		query.Sort = &driver.Filter{Comparator: c.comparator, Values: c.values}
		e.wantIDs(q, query, want...)
		query.Limit, query.Sort.Field = 2, "ignored"
		e.wantIDs(q, query, want...)
		query.Descending = true
		e.wantIDs(q, query, reversed(want)...)
	}
}

// condition is a comparison with strings and what it must select.
type condition[T any] struct {
	comparator driver.Comparator
	values     []any
	holds      func(T) bool
}

// conditions are comparisons with values, and Between of pairs; as converts a value.
func conditions[T cmp.Ordered](as func(any) T, values []any, pairs [][2]any) []condition[T] {
	var cs []condition[T]
	for _, value := range values {
		one, v := []any{value}, as(value)
		cs = append(cs,
			condition[T]{driver.Equal, one, func(x T) bool { return x == v }},
			condition[T]{driver.Less, one, func(x T) bool { return x < v }},
			condition[T]{driver.LessOrEqual, one, func(x T) bool { return x <= v }},
			condition[T]{driver.Greater, one, func(x T) bool { return x > v }},
			condition[T]{driver.GreaterOrEqual, one, func(x T) bool { return x >= v }},
		)
	}
	for _, p := range pairs {
		cs = append(cs, condition[T]{driver.Between, p[:], func(x T) bool { return as(p[0]) <= x && x <= as(p[1]) }})
	}
	return cs
}

func stringConditions() []condition[string] {
	values := []any{"", "A", "a", "ab", "abcd", "b", "é", "%", "a%", "zzz"}
	cs := conditions(func(v any) string { return v.(string) }, values,
		[][2]any{{"a", "ab"}, {"ab", "ab"}, {"A", "b"}, {"aa", "abz"}, {"b", "a"}, {"a", "é"}})
	for _, v := range values[1:] {
		cs = append(cs, condition[string]{driver.BeginsWith, []any{v}, func(s string) bool { return strings.HasPrefix(s, v.(string)) }})
	}
	return cs
}

func numberConditions() []condition[float64] {
	return conditions(func(v any) float64 {
		if n, ok := v.(int64); ok {
			return float64(n)
		}
		return v.(float64)
	}, []any{-10.0, -2.5, int64(-1), 0.0, int64(1), 1.5, 2.0, 10.0, int64(9), 1e6},
		[][2]any{{-2.5, 1.0}, {int64(2), int64(10)}, {1.5, 1.5}, {10.0, 2.0}, {-100.0, int64(100)}, {int64(9), 10.5}})
}

func sortConditionsSelectBySortField(e *env) {
	db, q := e.table(goods), e.engine(goods)
	numbers := []float64{-10, -9, -2.5, -1, 0, 0.5, 1, 1.5, 2, 9, 10, 100}
	texts := []string{"A", "a", "a%", "ab", "abc", "abd", "b", "ba", "é", "日本"}
	byNumber, byText := map[float64]string{}, map[string]string{}
	for i, n := range numbers {
		v, _ := json.Marshal(n)
		e.save(db, lineData(fmt.Sprintf("n%02d", i), "1", `,"shop":"s","price":`+string(v)))
		e.save(db, lineData(fmt.Sprintf("o%02d", i), "1", `,"shop":"other","price":`+string(v)))
		byNumber[n] = fmt.Sprintf("n%02d/1", i)
	}
	for i, s := range texts {
		v, _ := json.Marshal(s)
		e.save(db, lineData(fmt.Sprintf("t%02d", i), "1", `,"shop":"s","shelf":`+string(v)))
		byText[s] = fmt.Sprintf("t%02d/1", i)
	}
	wantSelected(e, q, driver.Query{ReadModel: goods.Name, Index: "byShop", Value: "s"}, numberConditions(), numbers, byNumber)
	wantSelected(e, q, driver.Query{ReadModel: goods.Name, Index: "byShelf", Value: "s"}, stringConditions(), texts, byText)
}

// filterRow has a field of every kind for [filterCases].
const filterRow = `{"line":"1","shop":"s","price":1,
	"str":"banana","upper":"Banana","empty":"","esc":"caf\u00e9","nul":"a\u0000b","wild":"50%_x","digits":"5","yes":"true",
	"n":5,"n10":10,"neg":-2.5,"zero":0,"minus0":-0,"exp":5e0,"frac":0.1,
	"t":true,"f":false,"z":null,
	"list":["a",1,true,null,"banana",[7],{"x":8},2.50],"nolist":[],"o":{"a":1,"str":"banana"},
	"a.b":"dotted","a":{"b":"nested"},"q\"uote":"quoted","it's":"tick","$.str":"path","[0]":"index","ключ":"key","sp ace":"space","\u0065scaped":"name"}`

type filterCase struct {
	field      string
	comparator driver.Comparator
	values     []any
	holds      bool
}

func filterCases() []filterCase {
	var cs []filterCase
	// all lists, for each comparator, whether it holds.
	all := func(field string, values []any, holds map[driver.Comparator]bool) {
		for c, h := range holds {
			cs = append(cs, filterCase{field, c, values, h})
		}
	}
	const (
		eq, ne, lt, le, gt, ge = driver.Equal, driver.Unequal, driver.Less, driver.LessOrEqual, driver.Greater, driver.GreaterOrEqual
	)
	order := func(field string, value any, less, equal, greater bool) {
		all(field, []any{value}, map[driver.Comparator]bool{
			eq: equal, ne: !equal, lt: less, le: less || equal, gt: greater, ge: greater || equal,
		})
	}
	// The values below, equal to and above the field.
	for field, values := range map[string][3][]any{
		"str":    {{"apple", "Banana", ""}, {"banana"}, {"cherry", "bananas"}},
		"empty":  {{}, {""}, {"a"}},
		"esc":    {{"cafz"}, {"café"}, {}}, // é is after z in bytes
		"nul":    {{"a"}, {"a\x00b"}, {}},
		"wild":   {{}, {"50%_x"}, {}},
		"digits": {{"10"}, {"5"}, {}},
		"n":      {{4.999}, {5.0, int64(5)}, {10.0}},
		"n10":    {{int64(9)}, {}, {}},
		"neg":    {{-10.0}, {-2.5}, {int64(-2)}},
		"zero":   {{-0.5}, {0.0}, {}},
		"minus0": {{}, {int64(0)}, {}},
		"exp":    {{}, {int64(5)}, {}},
		"frac":   {{}, {0.1}, {}},
	} {
		for i, vs := range values {
			for _, v := range vs {
				order(field, v, i == 2, i == 1, i == 0)
			}
		}
	}
	// Other types than the field's: false, and Unequal true.
	for field, values := range map[string][]any{
		"str":    {5.0, int64(0), true, false},
		"digits": {5.0, int64(5)},
		"yes":    {true},
		"n":      {"5", "", true},
		"zero":   {"", false, "0"},
		"t":      {"true", 1.0, int64(1), "banana"},
		"f":      {"", 0.0, int64(0)},
		"list":   {"a", 1.0, true},
		"o":      {"banana", 1.0, false},
	} {
		for _, v := range values {
			if _, isBool := v.(bool); isBool {
				all(field, []any{v}, map[driver.Comparator]bool{eq: false, ne: true})
				continue
			}
			order(field, v, false, false, false)
		}
	}
	// Booleans.
	all("t", []any{true}, map[driver.Comparator]bool{eq: true, ne: false})
	all("t", []any{false}, map[driver.Comparator]bool{eq: false, ne: true})
	all("f", []any{false}, map[driver.Comparator]bool{eq: true, ne: false})
	// Absent and null fail all but Unequal, NotExists and NotContains.
	for _, field := range []string{"absent", "z", "Str", "o.a", "list[0]"} {
		for _, v := range []any{"banana", 5.0, int64(0), ""} {
			order(field, v, false, false, false)
		}
		for _, v := range []any{true, false} {
			all(field, []any{v}, map[driver.Comparator]bool{eq: false, ne: true})
		}
		all(field, []any{"a"}, map[driver.Comparator]bool{driver.BeginsWith: false, driver.Contains: false, driver.NotContains: true})
		all(field, []any{"", "zzz"}, map[driver.Comparator]bool{driver.Between: false})
		all(field, []any{-1e9, 1e9}, map[driver.Comparator]bool{driver.Between: false})
		all(field, nil, map[driver.Comparator]bool{driver.Exists: false, driver.NotExists: true})
	}
	for _, field := range []string{"str", "empty", "n", "zero", "t", "f", "list", "nolist", "o", "a.b", `q"uote`, "it's", "$.str", "[0]", "ключ", "sp ace", "escaped"} {
		all(field, nil, map[driver.Comparator]bool{driver.Exists: true, driver.NotExists: false})
	}
	// Between includes both ends.
	for field, pairs := range map[string][2][][2]any{ // that hold, and that do not
		"str":    {{{"banana", "banana"}, {"a", "banana"}, {"banana", "c"}}, {{"bananas", "c"}, {"c", "a"}}},
		"n":      {{{5.0, int64(5)}, {int64(-10), 5.0}}, {{5.5, 10.0}, {10.0, 1.0}, {"0", "9"}}},
		"n10":    {{{int64(9), int64(11)}}, {}},
		"neg":    {{{-3.0, -2.0}}, {{int64(-2), int64(-3)}}},
		"digits": {{}, {{0.0, 9.0}}},
		"t":      {{}, {{"a", "z"}}},
	} {
		for i, ps := range pairs {
			for _, p := range ps {
				cs = append(cs, filterCase{field, driver.Between, p[:], i == 0})
			}
		}
	}
	// BeginsWith and Contains take the value as it is.
	for field, values := range map[string][2][]any{ // that hold, and that do not
		"str":  {{"ban", "banana", ""}, {"Ban", "anana", "b%", "b_n", "bananas"}},
		"wild": {{"50%"}, {}},
		"esc":  {{"caf\u00e9"}, {}},
		"n":    {{}, {"5"}},
		"list": {{}, {"a"}},
	} {
		for i, vs := range values {
			for _, v := range vs {
				cs = append(cs, filterCase{field, driver.BeginsWith, []any{v}, i == 0})
			}
		}
	}
	for field, values := range map[string][2][]any{
		"str":    {{"nan", "banana", ""}, {"NAN", "b%a", "b_nana"}},
		"wild":   {{"%_"}, {}},
		"esc":    {{"é"}, {}},
		"digits": {{}, {5.0}},
		"n":      {{}, {5.0, "5"}},
		"t":      {{}, {true}},
		"o":      {{}, {"a", "banana"}},
		"list":   {{"a", "banana", 1.0, int64(1), 2.5, true}, {"ban", "1", false, 7.0, "x"}},
		"nolist": {{}, {"a"}},
	} {
		for i, vs := range values {
			for _, v := range vs {
				all(field, []any{v}, map[driver.Comparator]bool{driver.Contains: i == 0, driver.NotContains: i == 1})
			}
		}
	}
	// Field names are names, not paths or patterns.
	for field, v := range map[string]string{
		"a.b": "dotted", `q"uote`: "quoted", "it's": "tick", "$.str": "path", "[0]": "index", "ключ": "key", "sp ace": "space", "escaped": "name",
	} {
		cs = append(cs, filterCase{field, eq, []any{v}, true}, filterCase{field, eq, []any{v + "x"}, false})
	}
	return cs
}

func filtersCompare(e *env) {
	db, q := e.table(goods), e.engine(goods)
	e.save(db, driver.Row{Key: driver.Key{ID: "id", Sub: "1"}, Data: []byte(filterRow)})
	for i, c := range filterCases() {
		var want []string
		if c.holds {
			want = []string{"id/1"}
		}
		fs := []driver.Filter{{Field: c.field, Comparator: c.comparator, Values: c.values}}
		e.wantScanIDs(q, driver.Scan{ReadModel: goods.Name, Filters: fs}, want...)
		if !e.sampled(i) {
			continue
		}
		e.wantIDs(q, driver.Query{ReadModel: goods.Name, Value: "id", Filters: fs}, want...)
		e.wantIDs(q, driver.Query{ReadModel: goods.Name, Index: "byShop", Value: "s", Filters: fs}, want...)
	}
}

func filtersMustAllHold(e *env) {
	db, q := e.table(plainTable), e.engine(plainTable)
	for n := range 30 {
		e.save(db, rowOf(fmt.Sprintf("id%02d", n), fmt.Sprintf(`{"n":%d,"even":%t,"name":"row%d"}`, n, n%2 == 0, n)))
	}
	e.wantScanIDs(q, driver.Scan{ReadModel: plainTable.Name, Filters: []driver.Filter{
		{Field: "n", Comparator: driver.GreaterOrEqual, Values: []any{10.0}},
		{Field: "even", Comparator: driver.Equal, Values: []any{true}},
		{Field: "n", Comparator: driver.Less, Values: []any{int64(20)}},
		{Field: "name", Comparator: driver.Unequal, Values: []any{"row14"}},
	}}, "id10", "id12", "id16", "id18")
	e.wantScanIDs(q, driver.Scan{ReadModel: plainTable.Name, Filters: []driver.Filter{
		{Field: "n", Comparator: driver.Less, Values: []any{5.0}},
		{Field: "n", Comparator: driver.Greater, Values: []any{5.0}},
	}})
}

func filtersSeeTheWholeRow(e *env) {
	db, q := e.table(goods), e.engine(goods)
	for i := range 6 {
		e.save(db, lineData(fmt.Sprintf("id%d", i), "1", fmt.Sprintf(`,"shop":"s","price":%d,"hidden":%d`, i, i%2)))
	}
	fs := []driver.Filter{{Field: "hidden", Comparator: driver.Equal, Values: []any{1.0}}}
	for _, index := range []string{"byShop", "keysOnly", "some"} {
		e.wantIDs(q, driver.Query{ReadModel: goods.Name, Index: index, Value: "s", Filters: fs}, "id1/1", "id3/1", "id5/1")
		e.wantIDs(q, driver.Query{ReadModel: goods.Name, Index: index, Value: "s", Filters: fs, Limit: 2, Descending: true}, "id5/1", "id3/1", "id1/1")
	}
	// The key, sort and sub id fields can be filtered, too.
	e.wantIDs(q, driver.Query{ReadModel: goods.Name, Index: "byShop", Value: "s", Filters: []driver.Filter{
		{Field: "price", Comparator: driver.Between, Values: []any{1.0, 3.0}},
		{Field: "line", Comparator: driver.Equal, Values: []any{"1"}},
		{Field: "shop", Comparator: driver.BeginsWith, Values: []any{"s"}},
		{Field: "id", Comparator: driver.NotExists},
	}}, "id1/1", "id2/1", "id3/1")
}

func includeBoundsTheFields(e *env) {
	db, q := e.table(goods), e.engine(goods)
	e.save(db, lineData("a", "1", `,"shop":"s","price":1.50,"color":"red","shelf":"x","more":{"n":1}`))
	e.save(db, lineData("b", "1", `,"shop":"s","price":12345678901234567,"more":2`))
	for index, want := range map[string][]string{
		"keysOnly": {`{"line":"1","shop":"s","price":1.50}`, `{"line":"1","shop":"s","price":12345678901234567}`},
		"some":     {`{"line":"1","shop":"s","price":1.50,"color":"red"}`, `{"line":"1","shop":"s","price":12345678901234567}`},
		"byShop": {
			`{"line":"1","shop":"s","price":1.50,"color":"red","shelf":"x","more":{"n":1}}`,
			`{"line":"1","shop":"s","price":12345678901234567,"more":2}`,
		},
	} {
		query := driver.Query{ReadModel: goods.Name, Index: index, Value: "s"}
		e.settled(describe(query), func() string {
			rows, diff := walk(e.queryPages(q, query), 0)
			if diff != "" || len(rows) != 2 {
				return fmt.Sprintf("got %d rows, want 2 %s", len(rows), diff)
			}
			for i, r := range rows {
				if !sameJSON(r.Data, []byte(want[i])) {
					return fmt.Sprintf("row %d is %s, want %s", i, r.Data, want[i])
				}
			}
			return ""
		})
	}
}

func queriedRowsAreUnchanged(e *env) {
	db, q := e.table(goods), e.engine(goods)
	expires := e.Now().Add(time.Hour).Truncate(time.Second)
	var want []driver.Row
	for i, text := range oddObjects() {
		sub := fmt.Sprintf("%02d", i)
		r := driver.Row{Key: driver.Key{ID: "id", Sub: sub}, Data: []byte(`{ "line" : "` + sub + `", "shop":"s", "price" : ` + fmt.Sprint(i) + `.0, "odd": ` + text + "\n}")}
		if i%2 == 0 {
			r.ExpiresAt = expires
		}
		e.save(db, r)
		r.Revision = e.wantRow(db, r)
		want = append(want, r)
	}
	check := func(what string, page pageOf, ordered bool) {
		e.settled(what, func() string {
			rows, diff := walk(page, 3)
			if diff != "" || len(rows) != len(want) {
				return fmt.Sprintf("got %d rows, want %d %s", len(rows), len(want), diff)
			}
			if !ordered {
				slices.SortFunc(rows, func(a, b driver.Row) int { return strings.Compare(a.Sub, b.Sub) })
			}
			for i, r := range rows {
				if d := diffRow(r, want[i]); d != "" {
					return d
				}
			}
			return ""
		})
	}
	check("Query by id", e.queryPages(q, driver.Query{ReadModel: goods.Name, Value: "id"}), true)
	check("Query by index", e.queryPages(q, driver.Query{ReadModel: goods.Name, Index: "byShop", Value: "s"}), true)
	check("Scan", e.scanPages(q, driver.Scan{ReadModel: goods.Name}), false)
	check("ordered Scan", e.scanPages(q, driver.Scan{ReadModel: goods.Name, Order: &driver.Order{Field: "price"}}), true)
}

func limitBoundsTheResultAfterFiltering(e *env) {
	db, q := e.table(goods), e.engine(goods)
	fill := strings.Repeat("x", min(12<<10, e.Provider.Limits().MaxRowBytes/2)) // together more than a page of 1 MB
	var rows []driver.Row
	var all, rare []string
	for i := range 130 {
		rows = append(rows, lineData("id", fmt.Sprintf("%03d", i), fmt.Sprintf(`,"shop":"s","price":%d,"rare":%t,"fill":%q`, i/2, i%40 == 29, fill)))
		all = append(all, fmt.Sprintf("id/%03d", i))
		if i%40 == 29 {
			rare = append(rare, all[i])
		}
	}
	e.fillTable(db, rows)
	fs := []driver.Filter{{Field: "rare", Comparator: driver.Equal, Values: []any{true}}}
	for limit, want := range map[int][]string{1: rare, 2: rare, 0: all, 1000: all} { // 0 is 100, which walk knows
		filters := fs
		if limit == 0 || limit == 1000 {
			filters = nil
		}
		e.wantIDs(q, driver.Query{ReadModel: goods.Name, Value: "id", Filters: filters, Limit: limit}, want...)
		e.wantIDs(q, driver.Query{ReadModel: goods.Name, Index: "keysOnly", Value: "s", Filters: filters, Limit: limit}, want...)
		e.wantScanIDs(q, driver.Scan{ReadModel: goods.Name, Filters: filters, Limit: limit}, slices.Clone(want)...)
		e.wantOrdered(q, driver.Scan{ReadModel: goods.Name, Filters: filters, Order: &driver.Order{Field: "price"}, Limit: limit}, want...)
	}
	for name, page := range map[string]pageOf{
		"Query":        e.queryPages(q, driver.Query{ReadModel: goods.Name, Value: "id"}),
		"Scan":         e.scanPages(q, driver.Scan{ReadModel: goods.Name}),
		"ordered Scan": e.scanPages(q, driver.Scan{ReadModel: goods.Name, Order: &driver.Order{Field: "price"}}),
	} {
		p, err := page(0, "")
		e.errorIf(err != nil || len(p.Rows) != 100 || p.Cursor == "", "%s with limit 0 returned %d rows, cursor %q, %v, want 100 and a cursor", name, len(p.Rows), p.Cursor, err)
	}
	// A page is empty only when nothing matches.
	none := []driver.Filter{{Field: "rare", Comparator: driver.Equal, Values: []any{"never"}}}
	p, err := q.Scan(e.ctx, driver.Scan{ReadModel: goods.Name, Filters: none, Limit: 1})
	e.errorIf(err != nil || len(p.Rows) != 0 || p.Cursor != "", "a scan that matches nothing = %d rows, cursor %q, %v, want an empty last page", len(p.Rows), p.Cursor, err)
}

func writesBetweenPagesAffectNoOtherRow(e *env) {
	db, q := e.table(goods), e.engine(goods)
	line := func(i int) driver.Row {
		return lineData("id", fmt.Sprintf("%03d", i), fmt.Sprintf(`,"shop":"s","price":%d,"color":"red"`, i/3))
	}
	key := func(i int) driver.Key { return line(i).Key }
	for _, d := range e.wholeTable(q, "id") {
		name, page := d.name, d.forth
		e.deleteAll(db, "id")
		stable := map[string]int{}
		var rows []driver.Row
		for i := 100; i < 130; i++ {
			rows = append(rows, line(i))
			stable[fmt.Sprintf("id/%03d", i)] = 0
		}
		e.fillTable(db, rows)
		if e.Lag > 0 {
			e.settled(name, func() string {
				rows, diff := walk(page, 0)
				if len(rows) != 30 {
					return "not all rows are there " + diff
				}
				return diff
			})
		}
		cursor := ""
		for n := 0; ; n++ {
			p, err := page(4, cursor)
			e.must(err, "%s, page %d", name, n)
			e.errorIf(len(p.Rows) > 4, "%s: page %d has %d rows, the limit is 4", name, n, len(p.Rows))
			for _, got := range names(p.Rows) {
				if _, ok := stable[got]; ok {
					stable[got]++
				}
			}
			if p.Cursor == "" {
				break
			}
			cursor = p.Cursor
			e.fatalIf(n > 60, "%s: more than 60 pages", name)
			// Delete the row at the cursor and another row, move one and move it back, add some.
			if last := p.Rows[len(p.Rows)-1]; n%2 == 0 {
				e.delete(db, last.Key)
			}
			if n == 1 {
				gone := key(129)
				if stable["id/129"] > 0 {
					gone = key(100)
				}
				delete(stable, "id/"+gone.Sub)
				e.delete(db, gone)
			}
			if n < 6 {
				e.save(db, line(50+n), line(200+n))
			}
			e.save(db, lineData("id", "300", fmt.Sprintf(`,"shop":"s","price":%d,"color":"red"`, n%2*1000)))
		}
		for id, times := range stable {
			e.errorIf(times != 1, "%s: the row %s was returned %d times, want once", name, id, times)
		}
	}
}

func concurrentWritesAffectNoOtherRow(e *env) {
	db, q := e.table(goods), e.engine(goods)
	row := func(i int, color string) driver.Row {
		return lineData("id", fmt.Sprintf("%02d", i), fmt.Sprintf(`,"shop":"s","price":%d,"color":%q`, i/4, color))
	}
	var stable []string
	for i := range 30 {
		e.save(db, row(i, "red"))
		if i%3 != 0 {
			stable = append(stable, fmt.Sprintf("id/%02d", i))
		}
	}
	for name, page := range map[string]pageOf{
		"Query by id":    e.queryPages(q, driver.Query{ReadModel: goods.Name, Value: "id"}),
		"Query by index": e.queryPages(q, driver.Query{ReadModel: goods.Name, Index: "byShop", Value: "s", Descending: true}),
		"Query of red":   e.queryPages(q, driver.Query{ReadModel: goods.Name, Index: "byColor", Value: "red"}),
		"Scan":           e.scanPages(q, driver.Scan{ReadModel: goods.Name}),
		"Scan by price":  e.scanPages(q, driver.Scan{ReadModel: goods.Name, Order: &driver.Order{Field: "price", Descending: true}}),
	} {
		read := func(limit int) func() bool {
			return func() bool {
				seen := map[string]int{}
				cursor := ""
				for n := 0; n == 0 || cursor != ""; n++ {
					p, err := page(limit, cursor)
					if !e.try(err, "%s with a concurrent writer", name) || n > 200 {
						return false
					}
					for _, id := range names(p.Rows) {
						seen[id]++
					}
					cursor = p.Cursor
				}
				for _, id := range stable {
					e.errorIf(seen[id] != 1, "%s with a concurrent writer in pages of %d: the row %s was returned %d times, want once", name, limit, id, seen[id])
				}
				return !e.Failed()
			}
		}
		if e.Lag > 0 {
			e.settled(name, func() string {
				rows, diff := walk(page, 0)
				if len(rows) < len(stable) {
					return "not all rows are there " + diff
				}
				return ""
			})
		}
		e.beside(20, 300, func(n int) bool {
			i := n * 3 % 30
			switch n % 4 {
			case 0:
				return e.try(e.write(db, removal(row(i, "").Key)), "delete")
			case 1:
				return e.try(e.write(db, put(row(i, "blue"))), "write")
			}
			return e.try(e.write(db, put(row(i, "red"))), "write")
		}, read(1), read(4))
	}
}

func cursorsOfOtherQueriesAreRefused(e *env) {
	db, other, q := e.table(goods), e.table(subTable), e.engine(goods, subTable)
	for i := range 6 {
		e.save(db, lineData("id", fmt.Sprint(i), fmt.Sprintf(`,"shop":"s","price":%d,"shelf":"x","color":"red"`, i)), lineData("id2", fmt.Sprint(i), `,"shop":"t","price":1`))
		e.save(other, lineOf("id", fmt.Sprint(i), i))
	}
	filter := func(v any) []driver.Filter {
		return []driver.Filter{{Field: "price", Comparator: driver.GreaterOrEqual, Values: []any{v}}}
	}
	cond := func(v any) *driver.Filter { return &driver.Filter{Comparator: driver.GreaterOrEqual, Values: []any{v}} }
	queries := []driver.Query{
		{ReadModel: goods.Name, Value: "id"},
		{ReadModel: subTable.Name, Value: "id"},
		{ReadModel: goods.Name, Value: "id2"},
		{ReadModel: goods.Name, Value: "id", Filters: filter(0.0)},
		{ReadModel: goods.Name, Value: "id", Filters: filter(-1.0)},
		{ReadModel: goods.Name, Value: "id", Sort: cond("0")},
		{ReadModel: goods.Name, Index: "byShop", Value: "s"},
		{ReadModel: goods.Name, Index: "byShop", Value: "t"},
		{ReadModel: goods.Name, Index: "byShop", Value: "s", Sort: cond(0.0)},
		{ReadModel: goods.Name, Index: "byShop", Value: "s", Sort: cond(-1.0)},
		{ReadModel: goods.Name, Index: "byShelf", Value: "s"},
		{ReadModel: goods.Name, Index: "byColor", Value: "red"},
	}
	pages := []pageOf{}
	what := []string{}
	for _, query := range queries {
		pages = append(pages, e.queryPages(q, query))
		what = append(what, describe(query))
	}
	for _, scan := range []driver.Scan{
		{ReadModel: goods.Name},
		{ReadModel: subTable.Name},
		{ReadModel: goods.Name, Filters: filter(0.0)},
		{ReadModel: goods.Name, Order: &driver.Order{}},
		{ReadModel: goods.Name, Order: &driver.Order{Field: "price"}},
		{ReadModel: goods.Name, Order: &driver.Order{Field: "shelf"}},
		{ReadModel: goods.Name, Order: &driver.Order{Field: "price"}, Filters: filter(0.0)},
		{ReadModel: subTable.Name, Order: &driver.Order{Field: "price"}},
	} {
		pages = append(pages, e.scanPages(q, scan))
		what = append(what, describe(scan))
	}
	for i, page := range pages {
		var p driver.Page
		e.settled(what[i], func() string {
			var err error
			if p, err = page(2, ""); err != nil || p.Cursor == "" {
				return fmt.Sprintf("got %d rows, cursor %q, %v, want a cursor", len(p.Rows), p.Cursor, err)
			}
			return ""
		})
		for j, other := range pages {
			_, err := other(2, p.Cursor)
			if i == j {
				e.try(err, "%s with its own cursor", what[i])
				continue
			}
			e.wantClass(err, driver.ErrInvalid, "%s with a cursor of %s", what[j], what[i])
		}
		for _, garbage := range []string{"x", "0", "null", "{}", "AAAA", "\x00\xff", p.Cursor + "x", p.Cursor[1:], strings.Repeat("A", 5000)} {
			_, err := page(2, garbage)
			e.wantClass(err, driver.ErrInvalid, "%s with the cursor %s", what[i], short(garbage))
		}
		if e.Failed() {
			return
		}
	}
}

func unknownNamesAreNotFound(e *env) {
	db, q := e.table(goods), e.engine(goods)
	e.save(db, lineData("id", "1", `,"shop":"s"`))
	for _, name := range []string{"Test.Nobody", "", "Test.goods", "Test.Goods "} {
		_, err := q.Query(e.ctx, driver.Query{ReadModel: name, Value: "id"})
		e.wantClass(err, driver.ErrNotFound, "Query of the read model %q", name)
		_, err = q.Scan(e.ctx, driver.Scan{ReadModel: name})
		e.wantClass(err, driver.ErrNotFound, "Scan of the read model %q", name)
	}
	for _, index := range []string{"byNobody", "byshop", "shop"} {
		_, err := q.Query(e.ctx, driver.Query{ReadModel: goods.Name, Index: index, Value: "s"})
		e.wantClass(err, driver.ErrNotFound, "Query of the index %q", index)
	}
	// An engine knows the read models that it was opened with.
	e.table(plainTable)
	_, err := q.Query(e.ctx, driver.Query{ReadModel: plainTable.Name, Value: "id"})
	e.wantClass(err, driver.ErrNotFound, "Query of a read model that the engine was not opened with")
}

func malformedQueriesAreRefused(e *env) {
	db, q := e.table(goods), e.engine(goods)
	e.save(db, lineData("id", "1", `,"shop":"s","price":1,"rating":5,"shelf":"x"`))
	for name, query := range map[string]driver.Query{
		"a number as id":              {Value: 1.0},
		"no id":                       {Value: nil},
		"a bool as id":                {Value: true},
		"a number for a string key":   {Index: "byShop", Value: 1.0},
		"a string for a number key":   {Index: "byRating", Value: "5"},
		"a bool for a number key":     {Index: "byRating", Value: true},
		"no value for a key":          {Index: "byRating"},
		"a list for a key":            {Index: "byShop", Value: []string{"s"}},
		"a negative limit":            {Value: "id", Limit: -1},
		"an unknown sort comparator":  {Value: "id", Sort: &driver.Filter{Comparator: "like", Values: []any{"x"}}},
		"an empty sort comparator":    {Value: "id", Sort: &driver.Filter{Values: []any{"x"}}},
		"a sort by Unequal":           {Value: "id", Sort: &driver.Filter{Comparator: driver.Unequal, Values: []any{"x"}}},
		"a sort by Exists":            {Value: "id", Sort: &driver.Filter{Comparator: driver.Exists}},
		"a sort by NotExists":         {Value: "id", Sort: &driver.Filter{Comparator: driver.NotExists}},
		"a sort by Contains":          {Value: "id", Sort: &driver.Filter{Comparator: driver.Contains, Values: []any{"x"}}},
		"a sort by NotContains":       {Value: "id", Sort: &driver.Filter{Comparator: driver.NotContains, Values: []any{"x"}}},
		"a sort without a value":      {Value: "id", Sort: &driver.Filter{Comparator: driver.Equal}},
		"a sort with two values":      {Value: "id", Sort: &driver.Filter{Comparator: driver.Less, Values: []any{"x", "y"}}},
		"a sort between one":          {Value: "id", Sort: &driver.Filter{Comparator: driver.Between, Values: []any{"x"}}},
		"a sort by a bool":            {Value: "id", Sort: &driver.Filter{Comparator: driver.Equal, Values: []any{true}}},
		"an index sort by Unequal":    {Index: "byShop", Value: "s", Sort: &driver.Filter{Comparator: driver.Unequal, Values: []any{1.0}}},
		"an index sort between three": {Index: "byShop", Value: "s", Sort: &driver.Filter{Comparator: driver.Between, Values: []any{1.0, 2.0, 3.0}}},
	} {
		query.ReadModel = goods.Name
		p, err := q.Query(e.ctx, query)
		e.wantClass(err, driver.ErrInvalid, "a query with %s (%d rows)", name, len(p.Rows))
	}
	for name, f := range map[string]driver.Filter{
		"an unknown comparator":       {Comparator: "like", Values: []any{"x"}},
		"an empty comparator":         {Values: []any{"x"}},
		"a comparator in upper case":  {Comparator: "EQUAL", Values: []any{"x"}},
		"Equal without a value":       {Comparator: driver.Equal},
		"Equal of two values":         {Comparator: driver.Equal, Values: []any{"x", "y"}},
		"Unequal without a value":     {Comparator: driver.Unequal},
		"Less without a value":        {Comparator: driver.Less},
		"Less of a bool":              {Comparator: driver.Less, Values: []any{true}},
		"LessOrEqual of a bool":       {Comparator: driver.LessOrEqual, Values: []any{true}},
		"Greater of a bool":           {Comparator: driver.Greater, Values: []any{false}},
		"GreaterOrEqual of a bool":    {Comparator: driver.GreaterOrEqual, Values: []any{false}},
		"Between of one value":        {Comparator: driver.Between, Values: []any{1.0}},
		"Between of three values":     {Comparator: driver.Between, Values: []any{1.0, 2.0, 3.0}},
		"Between of bools":            {Comparator: driver.Between, Values: []any{false, true}},
		"BeginsWith without a value":  {Comparator: driver.BeginsWith},
		"Exists with a value":         {Comparator: driver.Exists, Values: []any{"x"}},
		"NotExists with a value":      {Comparator: driver.NotExists, Values: []any{"x"}},
		"Contains without a value":    {Comparator: driver.Contains},
		"NotContains of two values":   {Comparator: driver.NotContains, Values: []any{"x", "y"}},
		"a value of another type":     {Comparator: driver.Equal, Values: []any{[]string{"x"}}},
		"a value that is nil":         {Comparator: driver.Equal, Values: []any{nil}},
		"a nil in Contains":           {Comparator: driver.Contains, Values: []any{nil}},
		"a value that is a structure": {Comparator: driver.Unequal, Values: []any{struct{}{}}},
	} {
		f.Field = "price"
		fs := []driver.Filter{{Field: "line", Comparator: driver.Exists}, f}
		p, err := q.Scan(e.ctx, driver.Scan{ReadModel: goods.Name, Filters: fs})
		e.wantClass(err, driver.ErrInvalid, "a scan with %s (%d rows)", name, len(p.Rows))
		// Also where the query reads no row.
		p, err = q.Query(e.ctx, driver.Query{ReadModel: goods.Name, Value: "nobody", Filters: fs})
		e.wantClass(err, driver.ErrInvalid, "a query of nothing with %s (%d rows)", name, len(p.Rows))
	}
	_, err := q.Scan(e.ctx, driver.Scan{ReadModel: goods.Name, Limit: -1})
	e.wantClass(err, driver.ErrInvalid, "a scan with a negative limit")
}

func expiredRowsAreNotReturned(e *env) {
	e.needClock()
	db, q := e.table(goods), e.engine(goods)
	end := e.Now().Truncate(time.Second).Add(time.Minute)
	var all, lasting []string
	for i := range 12 {
		r := lineData("id", fmt.Sprintf("%02d", i), fmt.Sprintf(`,"shop":"s","price":%d`, i))
		all = append(all, "id/"+r.Sub)
		if i%3 == 0 {
			lasting = append(lasting, "id/"+r.Sub)
		} else {
			r.ExpiresAt = end
		}
		e.save(db, r)
	}
	check := func(want []string) {
		for _, limit := range []int{0, 1, 4} {
			e.wantIDs(q, driver.Query{ReadModel: goods.Name, Value: "id", Limit: limit}, want...)
			e.wantIDs(q, driver.Query{ReadModel: goods.Name, Index: "byShop", Value: "s", Limit: limit}, want...)
			e.wantScanIDs(q, driver.Scan{ReadModel: goods.Name, Limit: limit}, slices.Clone(want)...)
			e.wantOrdered(q, driver.Scan{ReadModel: goods.Name, Order: &driver.Order{Field: "price"}, Limit: limit}, want...)
		}
	}
	e.advance(end.Sub(e.Now()) - time.Second)
	check(all)
	e.advance(time.Second)
	check(lasting)
}

func aNewIndexHasTheOldRows(e *env) {
	spec := driver.TableSpec{Name: "Test.Grown"}
	db := e.table(spec)
	var want []string
	for i := range 40 {
		id := fmt.Sprintf("id%02d", i)
		e.save(db, rowOf(id, fmt.Sprintf(`{"color":"c%d","n":%d}`, i%2, i)))
		if i%2 == 1 {
			want = append(want, id)
		}
	}
	check := func() {
		e.Helper()
		db = e.table(spec)
		q := e.engine(spec)
		e.wantIDs(q, driver.Query{ReadModel: spec.Name, Index: "byColor", Value: "c1"}, want...)
		e.wantRow(db, rowOf("id03", `{"color":"c1","n":3}`))
	}
	spec.Indexes = []driver.Index{{Name: "byColor", Key: driver.Field{Name: "color"}}}
	check()
	slices.Reverse(want)
	spec.Indexes = []driver.Index{
		{Name: "byN", Key: driver.Field{Name: "n", Number: true}},
		{Name: "byColor", Key: driver.Field{Name: "color"}, Sort: &driver.Field{Name: "back", Number: true}},
	}
	for i := range 40 { // the index has changed: it has a sort field now
		e.save(e.table(spec), rowOf(fmt.Sprintf("id%02d", i), fmt.Sprintf(`{"color":"c%d","n":%d,"back":%d}`, i%2, i, -i)))
	}
	q := e.engine(spec)
	e.wantIDs(q, driver.Query{ReadModel: spec.Name, Index: "byColor", Value: "c1"}, want...)
	e.wantIDs(q, driver.Query{ReadModel: spec.Name, Index: "byN", Value: 7.0}, "id07")
	if e.Reopen != nil {
		e.reopen()
		e.table(spec)
		e.wantIDs(e.engine(spec), driver.Query{ReadModel: spec.Name, Index: "byColor", Value: "c1"}, want...)
	}
}

func pagesBelongToTheCaller(e *env) {
	db, q := e.table(goods), e.engine(goods)
	want := lineData("id", "1", `,"shop":"s","price":1,"color":"red"`)
	e.save(db, want)
	want.Revision = e.wantRow(db, want)
	for range 2 {
		for _, d := range e.wholeTable(q, "id") {
			var rows []driver.Row
			e.settled(d.name, func() (diff string) {
				if rows, diff = walk(d.forth, 0); diff != "" || len(rows) != 1 {
					return fmt.Sprintf("got %d rows, want 1 %s", len(rows), diff)
				}
				return diffRow(rows[0], want)
			})
			for _, r := range rows {
				wipe(r.Data)
			}
		}
	}
	e.wantRow(db, want)
}
