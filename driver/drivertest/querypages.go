package drivertest

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/reventless-go/reventless/driver"
)

// wantOrdered checks the result of an ordered scan, ascending, and that the
// descending one is its reverse.
func (e *env) wantOrdered(q driver.QueryEngine, scan driver.Scan, want ...string) {
	e.Helper()
	want = slices.Clone(want)
	for _, descending := range []bool{false, true} {
		scan.Order = &driver.Order{Field: scan.Order.Field, Descending: descending}
		if descending {
			slices.Reverse(want)
		}
		e.wantNames(describe(scan), e.scanPages(q, scan), scan.Limit, true, want)
	}
}

// directed is a query or scan in both directions; reverse is nil when it has only one.
type directed struct {
	name           string
	forth, reverse pageOf
}

func (e *env) directedQuery(q driver.QueryEngine, query driver.Query) directed {
	back := query
	back.Descending = !query.Descending
	return directed{describe(query), e.queryPages(q, query), e.queryPages(q, back)}
}

func (e *env) directedScan(q driver.QueryEngine, scan driver.Scan) directed {
	d := directed{name: describe(scan), forth: e.scanPages(q, scan)}
	if scan.Order != nil {
		back := scan
		back.Order = &driver.Order{Field: scan.Order.Field, Descending: !scan.Order.Descending}
		d.reverse = e.scanPages(q, back)
	}
	return d
}

// wholeTable are queries and scans, in both directions, that return every red row of
// id in the shop s of the table goods.
func (e *env) wholeTable(q driver.QueryEngine, id string) []directed {
	all := []directed{e.directedScan(q, driver.Scan{ReadModel: goods.Name})}
	for _, descending := range []bool{false, true} {
		all = append(all,
			e.directedQuery(q, driver.Query{ReadModel: goods.Name, Value: id, Descending: descending}),
			e.directedQuery(q, driver.Query{ReadModel: goods.Name, Index: "byShop", Value: "s", Descending: descending}),
			e.directedQuery(q, driver.Query{ReadModel: goods.Name, Index: "byColor", Value: "red", Descending: descending}),
			e.directedScan(q, driver.Scan{ReadModel: goods.Name, Order: &driver.Order{Descending: descending}}),
			e.directedScan(q, driver.Scan{ReadModel: goods.Name, Order: &driver.Order{Field: "price", Descending: descending}}),
			e.directedScan(q, driver.Scan{ReadModel: goods.Name, Order: &driver.Order{Field: "color", Descending: descending}}),
		)
	}
	return all
}

// directions are those of wholeTable, one with a sort condition and one with a filter.
func (e *env) directions(q driver.QueryEngine, id string) []directed {
	return append(e.wholeTable(q, id),
		e.directedQuery(q, driver.Query{ReadModel: goods.Name, Index: "keysOnly", Value: "s", Sort: &driver.Filter{Comparator: driver.Greater, Values: []any{0.0}}}),
		e.directedScan(q, driver.Scan{
			ReadModel: goods.Name, Order: &driver.Order{Field: "shop"},
			Filters: []driver.Filter{{Field: "price", Comparator: driver.Equal, Values: []any{1.0}}},
		}))
}

// rest returns the names of the rows that follow a cursor.
func rest(page pageOf, limit int, cursor string) ([]string, string) {
	if cursor == "" {
		return nil, "there is no cursor"
	}
	var rows []driver.Row
	for n := 0; cursor != ""; n++ {
		p, err := page(limit, cursor)
		if err != nil {
			return nil, err.Error()
		}
		rows = append(rows, p.Rows...)
		if cursor = p.Cursor; n > 1000 {
			return nil, "there is no end"
		}
	}
	return names(rows), ""
}

func diffRest(page pageOf, limit int, cursor string, want []string) string {
	got, diff := rest(page, limit, cursor)
	if diff == "" {
		diff = diffNames(got, want)
	}
	if diff != "" {
		diff = fmt.Sprintf("in pages of %d: %s", limit, diff)
	}
	return diff
}

func reversed(names []string) []string {
	names = slices.Clone(names)
	slices.Reverse(names)
	return names
}

func everyRowHasACursor(e *env) {
	db, q := e.table(goods), e.engine(goods)
	e.equalSorts(db)
	check := func(d directed, limit int) string {
		whole, err := d.forth(1000, "")
		if err != nil || len(whole.Rows) < 4 {
			return fmt.Sprintf("got %d rows, %v", len(whole.Rows), err)
		}
		all := names(whole.Rows)
		cursor, before := "", 0
		for n := 0; n == 0 || cursor != ""; n++ {
			p, err := d.forth(limit, cursor)
			if err != nil {
				return err.Error()
			}
			if len(p.Cursors) != len(p.Rows) {
				return fmt.Sprintf("page %d has %d cursors for %d rows", n, len(p.Cursors), len(p.Rows))
			}
			for i, c := range p.Cursors {
				if !e.sampled(before + i) {
					continue
				}
				if diff := diffRest(d.forth, 1000, c, all[min(before+i+1, len(all)):]); diff != "" {
					return fmt.Sprintf("behind row %d of page %d, %s", i, n, diff)
				}
			}
			before += len(p.Rows)
			cursor = p.Cursor
		}
		return ""
	}
	for _, d := range e.directions(q, "a") {
		for _, limit := range []int{3, 1000} {
			e.settled(fmt.Sprintf("the cursors of %s in pages of %d", d.name, limit), func() string { return check(d, limit) })
		}
		if e.Failed() {
			return
		}
	}
	p, err := q.Query(e.ctx, driver.Query{ReadModel: goods.Name, Value: "nobody"})
	e.errorIf(err != nil || len(p.Cursors) != 0, "a query of nothing = %d cursors, %v, want none", len(p.Cursors), err)
}

func cursorsPageBackwards(e *env) {
	db, q := e.table(goods), e.engine(goods)
	e.equalSorts(db)
	check := func(d directed) string {
		whole, err := d.forth(1000, "")
		if err != nil || len(whole.Rows) < 4 || len(whole.Cursors) != len(whole.Rows) {
			return fmt.Sprintf("got %d rows, %d cursors, %v", len(whole.Rows), len(whole.Cursors), err)
		}
		all := names(whole.Rows)
		for i, c := range whole.Cursors {
			if !e.sampled(i) {
				continue
			}
			for _, limit := range []int{1000, 3} {
				if diff := diffRest(d.reverse, limit, c, reversed(all[:i])); diff != "" {
					return fmt.Sprintf("back from row %d, %s", i, diff)
				}
			}
		}
		// The page's cursor leads back, too.
		p, err := d.forth(3, "")
		if err != nil {
			return err.Error()
		}
		if diff := diffRest(d.reverse, 1, p.Cursor, reversed(all[:2])); diff != "" {
			return "back from the first page, " + diff
		}
		return ""
	}
	for _, d := range e.directions(q, "a") {
		if d.reverse == nil {
			continue
		}
		e.settled("backwards in "+d.name, func() string { return check(d) })
		if e.Failed() {
			return
		}
	}
}

func cursorsOutliveTheirRows(e *env) {
	db, q := e.table(goods), e.engine(goods)
	line := func(i, price int) driver.Row {
		return lineData("id", fmt.Sprintf("%02d", i), fmt.Sprintf(`,"shop":"s","color":"red","price":%d`, price))
	}
	for _, d := range e.wholeTable(q, "id") {
		e.deleteAll(db, "id")
		var rows []driver.Row
		for i := range 12 {
			rows = append(rows, line(i, 10+i/3))
		}
		e.fillTable(db, rows)
		var whole driver.Page
		e.settled(d.name, func() string {
			var err error
			if whole, err = d.forth(1000, ""); err != nil || len(whole.Rows) != 12 || len(whole.Cursors) != 12 {
				return fmt.Sprintf("got %d rows, %d cursors, %v, want 12", len(whole.Rows), len(whole.Cursors), err)
			}
			return ""
		})
		all := names(whole.Rows)
		// The row is deleted, written again and deleted again.
		gone := whole.Rows[5]
		e.delete(db, gone.Key)
		e.save(db, gone)
		e.delete(db, gone.Key, whole.Rows[6].Key, whole.Rows[4].Key)
		e.settled(d.name+" from a row that was deleted", func() string {
			if diff := diffRest(d.forth, 2, whole.Cursors[5], all[7:]); diff != "" || d.reverse == nil {
				return diff
			}
			return diffRest(d.reverse, 2, whole.Cursors[5], reversed(all[:4]))
		})
		if e.Failed() {
			return
		}
	}
	// The cursor of a row that has moved stays at its old place.
	d := e.directedScan(q, driver.Scan{ReadModel: goods.Name, Order: &driver.Order{Field: "price"}})
	e.deleteAll(db, "id")
	for i := range 6 {
		e.save(db, line(i, i))
	}
	var whole driver.Page
	e.settled(d.name, func() string {
		var err error
		if whole, err = d.forth(0, ""); err != nil || len(whole.Cursors) != 6 {
			return fmt.Sprintf("got %d cursors, %v, want 6", len(whole.Cursors), err)
		}
		return ""
	})
	e.save(db, line(2, 100))
	e.settled("the cursor of a row that has moved", func() string {
		if diff := diffRest(d.forth, 2, whole.Cursors[2], []string{"id/03", "id/04", "id/05", "id/02"}); diff != "" {
			return diff
		}
		return diffRest(d.reverse, 2, whole.Cursors[2], []string{"id/01", "id/00"})
	})
}

// orderedValues are values of a field in the order of a scan. The values of one
// element are equal; "" is an absent field.
func orderedValues() [][]string {
	ordered := [][]string{
		{"", "null", "[]", "{}", "[1]", `["zz"]`, `{"a":true}`, ` null`},
		{"false"},
		{"true"},
		{"-1e300"},
		{"-12345678901234567890"},
		{"-9007199254740993", "-9007199254740992"}, // the same float64
		{"-1000", "-1e3"},
		{"-10"},
		{"-9"},
		{"-2.5"},
		{"-1e-7"},
		{"0", "-0", "0.0", "0e5"},
		{"1e-7"},
		{"0.1"},
		{"0.25"},
		{"1", "1.0", "10e-1"},
		{"2"},
		{"9"},
		{"10"},
		{"1e3"},
		{"1001"},
		{"9007199254740992", "9007199254740993"},
		{"9007199254740994"},
		{"12345678901234567890"},
		{"1e300"},
		{`""`},
	}
	for _, s := range orderedStrings() {
		text, _ := json.Marshal(s)
		equal := []string{string(text)}
		if s == "a" {
			equal = append(equal, `"\u0061"`)
		}
		ordered = append(ordered, equal)
	}
	return ordered
}

func scansOrderByAField(e *env) {
	db, q := e.table(plainTable), e.engine(plainTable)
	var rows []driver.Row
	var want []string
	n := 0
	for _, equal := range orderedValues() {
		var ids []string
		for _, value := range equal {
			id := fmt.Sprintf("id%02d", n*37%89) // not in their order
			n++
			ids = append(ids, id)
			data := `{"other":` + fmt.Sprint(-n) + `,"rank":` + value + `}`
			if value == "" {
				data = `{"other":1,"Rank":5,"in":{"rank":5},"text":"\"rank\":5"}`
			}
			rows = append(rows, rowOf(id, data))
		}
		slices.Sort(ids)
		want = append(want, ids...)
	}
	for i := range rows {
		e.save(db, rows[i*31%len(rows)])
	}
	for _, limit := range []int{1000, 0, 1, 7} {
		e.wantOrdered(q, driver.Scan{ReadModel: plainTable.Name, Order: &driver.Order{Field: "rank"}, Limit: limit}, want...)
		if e.Failed() {
			return
		}
	}
}

func orderFieldsAreNames(e *env) {
	db, q := e.table(plainTable), e.engine(plainTable)
	for _, field := range []string{"a.b", `q"uote`, "it's", "$.str", "[0]", "ключ", "sp ace", "escaped", `back\slash`, "a\x00b", "tab\t", "?", "#"} {
		e.must(db.Clear(e.ctx), "Clear")
		name, _ := json.Marshal(field)
		if field == "escaped" {
			name = []byte(`"\u0065scaped"`)
		}
		var want []string
		for i := range 5 {
			e.save(db, rowOf(fmt.Sprintf("id%d", i), fmt.Sprintf(`{"a":{"b":%d},"str":%d,%s:%d}`, i, i, name, -i)))
			want = append(want, fmt.Sprintf("id%d", 4-i))
		}
		e.wantOrdered(q, driver.Scan{ReadModel: plainTable.Name, Order: &driver.Order{Field: field}}, want...)
	}
	// The last value of a repeated name counts.
	e.must(db.Clear(e.ctx), "Clear")
	for i := range 5 {
		e.save(db, rowOf(fmt.Sprintf("id%d", i), fmt.Sprintf(`{"rank":%d,"r\u0061nk":"x","other":1,"rank":%d}`, i, -i)))
	}
	e.save(db, rowOf("none", `{"rank":1,"rank":null}`))
	e.wantOrdered(q, driver.Scan{ReadModel: plainTable.Name, Order: &driver.Order{Field: "rank"}}, "none", "id4", "id3", "id2", "id1", "id0")
}
