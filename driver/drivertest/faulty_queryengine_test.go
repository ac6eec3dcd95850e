package drivertest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode/utf16"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/faults"
)

// toy is a query engine of replaceable parts over the scans of a real one, which
// also judges the arguments.
type toy struct {
	driver.QueryEngine
	specs   map[string]driver.TableSpec
	mu      sync.Mutex
	decoded map[string]map[string]any
	rows    func(rows []driver.Row) []driver.Row // what is there

	member   func(ix driver.Index, o map[string]any) bool
	sorts    func(a, b any) int // values of a sort field, or sub ids
	ties     func(a, b driver.Row) int
	sorted   func(f driver.Filter, v any) bool // a condition on the sort
	holds    func(f driver.Filter, v any, present bool) bool
	all      func(fs []driver.Filter, holds func(driver.Filter) bool) bool
	project  func(ix driver.Index, spec driver.TableSpec, r driver.Row) driver.Row
	filters  func(ix *driver.Index, spec driver.TableSpec, r driver.Row) driver.Row // what filters see
	page     func(rows []driver.Row, match func(driver.Row) bool, limit int) (page []driver.Row, more bool)
	goesOn   func(after int) bool // by the comparison of a row with the cursor's
	refuse   func(cursor, hash string) bool
	position func(n int) (skip int, ok bool) // cursors that count
	limit    func(int) int
	failed   func(err error) error
	ranked   func(field string, r driver.Row) any // the value that orders a scan
	ranks    func(a, b any) int
	turned   func(compared int) int // for the descending order
	cursors  func(cursors []string, rows []driver.Row, last string) []string
	identity func(hash string, descending bool) string
	at       func(last driver.Row) driver.Row // where a cursor stands
	lost     func(last driver.Row) bool       // whether it leads nowhere
}

func newToy(q driver.QueryEngine, specs []driver.TableSpec) *toy {
	t := &toy{QueryEngine: q, specs: map[string]driver.TableSpec{}, decoded: map[string]map[string]any{}}
	for _, s := range specs {
		t.specs[s.Name] = s
	}
	t.rows = func(rows []driver.Row) []driver.Row { return rows }
	t.member = func(ix driver.Index, o map[string]any) bool {
		there := func(f driver.Field) bool { return o[f.Name] != nil && o[f.Name] != "" }
		return there(ix.Key) && (ix.Sort == nil || there(*ix.Sort))
	}
	t.sorts = func(a, b any) int {
		if fa, ok := a.(float64); ok {
			fb, _ := b.(float64)
			return cmp.Compare(fa, fb)
		}
		sa, _ := a.(string)
		sb, _ := b.(string)
		return strings.Compare(sa, sb)
	}
	t.ties = func(a, b driver.Row) int { return cmp.Or(strings.Compare(a.ID, b.ID), strings.Compare(a.Sub, b.Sub)) }
	t.holds = toyHolds
	t.sorted = func(f driver.Filter, v any) bool { return toyHolds(f, v, v != nil) }
	t.all = func(fs []driver.Filter, holds func(driver.Filter) bool) bool {
		return !slices.ContainsFunc(fs, func(f driver.Filter) bool { return !holds(f) })
	}
	t.project = toyProject
	t.filters = func(_ *driver.Index, _ driver.TableSpec, r driver.Row) driver.Row { return r }
	t.page = func(rows []driver.Row, match func(driver.Row) bool, limit int) ([]driver.Row, bool) {
		var page []driver.Row
		for _, r := range rows {
			if !match(r) {
				continue
			}
			if len(page) == limit {
				return page, true
			}
			page = append(page, r)
		}
		return page, false
	}
	t.goesOn = func(after int) bool { return after > 0 }
	t.refuse = func(cursor, hash string) bool { return cursor != hash }
	t.position = func(int) (int, bool) { return 0, false }
	t.limit = func(n int) int { return cmp.Or(n, 100) }
	t.failed = func(err error) error { return err }
	t.ranked = func(field string, r driver.Row) any { return t.object(r)[field] }
	t.ranks = toyRanks
	t.turned = func(c int) int { return -c }
	t.cursors = func(cursors []string, _ []driver.Row, _ string) []string { return cursors }
	t.identity = func(hash string, _ bool) string { return hash }
	t.at = func(last driver.Row) driver.Row { return last }
	t.lost = func(driver.Row) bool { return false }
	return t
}

// toyKind is the place of a value's type in the order of a scan.
func toyKind(v any) int {
	switch v := v.(type) {
	case bool:
		if v {
			return 2
		}
		return 1
	case float64:
		return 3
	case string:
		return 4
	}
	return 0
}

func toyRanks(a, b any) int {
	if c := cmp.Compare(toyKind(a), toyKind(b)); c != 0 {
		return c
	}
	switch a := a.(type) {
	case float64:
		return cmp.Compare(a, b.(float64))
	case string:
		return strings.Compare(a, b.(string))
	}
	return 0
}

func number(v any) any {
	if n, ok := v.(int64); ok {
		return float64(n)
	}
	return v
}

func toyHolds(f driver.Filter, v any, present bool) bool {
	present = present && v != nil
	value := func(i int) any { return number(f.Values[i]) }
	compare := func(i int) (int, bool) {
		switch x := value(i).(type) {
		case string:
			s, ok := v.(string)
			return strings.Compare(s, x), ok
		case float64:
			n, ok := v.(float64)
			return cmp.Compare(n, x), ok
		case bool:
			b, ok := v.(bool)
			if b == x {
				return 0, ok
			}
			return 1, ok
		}
		return 0, false
	}
	if f.Comparator == driver.Exists || f.Comparator == driver.NotExists {
		return present == (f.Comparator == driver.Exists)
	}
	c, same := compare(0)
	same = same && present
	switch f.Comparator {
	case driver.Equal:
		return same && c == 0
	case driver.Unequal:
		return !same || c != 0
	case driver.Less:
		return same && c < 0
	case driver.LessOrEqual:
		return same && c <= 0
	case driver.Greater:
		return same && c > 0
	case driver.GreaterOrEqual:
		return same && c >= 0
	case driver.Between:
		d, ok := compare(1)
		return same && ok && c >= 0 && d <= 0
	case driver.BeginsWith:
		s, ok := v.(string)
		return ok && strings.HasPrefix(s, value(0).(string))
	case driver.Contains, driver.NotContains:
		found := false
		switch x := v.(type) {
		case string:
			s, ok := value(0).(string)
			found = ok && strings.Contains(x, s)
		case []any:
			found = slices.ContainsFunc(x, func(e any) bool {
				switch e.(type) {
				case string, float64, bool:
					return e == value(0)
				}
				return false
			})
		}
		return found == (f.Comparator == driver.Contains)
	}
	return false
}

func toyProject(ix driver.Index, spec driver.TableSpec, r driver.Row) driver.Row {
	if ix.Include == nil {
		return r
	}
	var o map[string]json.RawMessage
	if json.Unmarshal(r.Data, &o) != nil {
		return r
	}
	kept := map[string]json.RawMessage{}
	names := append([]string{spec.SubID, ix.Key.Name}, ix.Include...)
	if ix.Sort != nil {
		names = append(names, ix.Sort.Name)
	}
	for _, n := range names {
		if v, ok := o[n]; ok {
			kept[n] = v
		}
	}
	r.Data, _ = json.Marshal(kept)
	return r
}

// object decodes a row once and for all.
func (t *toy) object(r driver.Row) map[string]any {
	t.mu.Lock()
	defer t.mu.Unlock()
	o, ok := t.decoded[string(r.Data)]
	if !ok {
		_ = json.Unmarshal(r.Data, &o)
		t.decoded[string(r.Data)] = o
	}
	return o
}

func (t *toy) Query(ctx context.Context, q driver.Query) (driver.Page, error) {
	probe := q
	probe.Cursor, probe.Limit = "", min(q.Limit, 1)
	if _, err := t.QueryEngine.Query(ctx, probe); err != nil {
		return driver.Page{}, t.failed(err)
	}
	spec := t.specs[q.ReadModel]
	var ix *driver.Index
	for i := range spec.Indexes {
		if spec.Indexes[i].Name == q.Index {
			ix = &spec.Indexes[i]
		}
	}
	sortOf := func(r driver.Row) any {
		switch {
		case ix == nil:
			return r.Sub
		case ix.Sort == nil:
			return ""
		}
		return t.object(r)[ix.Sort.Name]
	}
	compare := func(a, b driver.Row) int {
		c := cmp.Or(t.sorts(sortOf(a), sortOf(b)), t.ties(a, b))
		if q.Descending {
			c = t.turned(c)
		}
		return c
	}
	hash := t.identity(describe(driver.Query{ReadModel: q.ReadModel, Index: q.Index, Value: q.Value, Sort: q.Sort, Filters: q.Filters}), q.Descending)
	return t.run(ctx, spec, ix, hash, q.Limit, q.Cursor, q.Filters, compare, func(r driver.Row) bool {
		if ix == nil {
			return r.ID == q.Value && (q.Sort == nil || t.sorted(*q.Sort, r.Sub))
		}
		o := t.object(r)
		return t.member(*ix, o) && o[ix.Key.Name] == number(q.Value) && (q.Sort == nil || t.sorted(*q.Sort, sortOf(r)))
	})
}

func (t *toy) Scan(ctx context.Context, s driver.Scan) (driver.Page, error) {
	probe := s
	probe.Cursor, probe.Limit = "", min(s.Limit, 1)
	if _, err := t.QueryEngine.Scan(ctx, probe); err != nil {
		return driver.Page{}, t.failed(err)
	}
	hash, compare := fmt.Sprintf("Scan(%s, %v)", s.ReadModel, s.Filters), t.ties
	if s.Order != nil {
		hash = t.identity(fmt.Sprintf("%s ordered by %q", hash, s.Order.Field), s.Order.Descending)
		compare = func(a, b driver.Row) int {
			c := t.ties(a, b)
			if s.Order.Field != "" {
				c = cmp.Or(t.ranks(t.ranked(s.Order.Field, a), t.ranked(s.Order.Field, b)), c)
			}
			if s.Order.Descending {
				c = t.turned(c)
			}
			return c
		}
	}
	return t.run(ctx, t.specs[s.ReadModel], nil, hash, s.Limit, s.Cursor, s.Filters, compare, func(driver.Row) bool { return true })
}

// toyCursor is where a cursor of the toy stands.
type toyCursor struct {
	Hash string
	Last driver.Row
	N    int
}

func (t *toy) run(ctx context.Context, spec driver.TableSpec, ix *driver.Index, hash string, limit int, cursor string, filters []driver.Filter,
	compare func(a, b driver.Row) int, of func(driver.Row) bool,
) (driver.Page, error) {
	var at toyCursor
	if cursor != "" {
		text, err := base64.URLEncoding.DecodeString(cursor)
		if err == nil {
			err = json.Unmarshal(text, &at)
		}
		if err != nil || t.refuse(at.Hash, hash) {
			return driver.Page{}, fmt.Errorf("cursor: %w", driver.ErrInvalid)
		}
		if at.Hash != hash {
			at = toyCursor{} // taken, but it means nothing here
			cursor = ""
		}
	}
	rows, diff := walk(func(limit int, cursor string) (driver.Page, error) {
		return t.QueryEngine.Scan(ctx, driver.Scan{ReadModel: spec.Name, Limit: limit, Cursor: cursor})
	}, 1000)
	if diff != "" {
		return driver.Page{}, errors.New(diff)
	}
	rows = slices.DeleteFunc(t.rows(rows), func(r driver.Row) bool { return !of(r) })
	slices.SortFunc(rows, compare)
	if cursor != "" {
		if skip, ok := t.position(at.N); ok {
			rows = rows[min(skip, len(rows)):]
		} else {
			last := t.at(at.Last)
			rows = slices.DeleteFunc(rows, func(r driver.Row) bool { return !t.goesOn(compare(r, last)) || t.lost(last) })
		}
	}
	page, more := t.page(rows, func(r driver.Row) bool {
		o := t.object(t.filters(ix, spec, r))
		return t.all(filters, func(f driver.Filter) bool {
			v, present := o[f.Field]
			return t.holds(f, v, present)
		})
	}, t.limit(limit))
	p := driver.Page{}
	cursorOf := func(last driver.Row, n int) string {
		text, _ := json.Marshal(toyCursor{hash, last, at.N + n})
		return base64.URLEncoding.EncodeToString(text)
	}
	if more {
		last := driver.Row{}
		if len(page) > 0 {
			last = page[len(page)-1]
		}
		p.Cursor = cursorOf(last, len(page))
	}
	for i, r := range page {
		p.Cursors = append(p.Cursors, cursorOf(r, i+1))
	}
	p.Cursors = t.cursors(p.Cursors, page, p.Cursor)
	for _, r := range page {
		if ix != nil {
			r = t.project(*ix, spec, r)
		}
		p.Rows = append(p.Rows, r)
	}
	return p, nil
}

func compareUTF16(a, b string) int {
	return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
}

// querying replaces Query.
func querying(query func(ctx context.Context, q driver.QueryEngine, x driver.Query) (driver.Page, error)) plant {
	return on(func(h *faults.QueryEngine, _ *faulty) {
		h.OnQuery = func(ctx context.Context, x driver.Query) (driver.Page, error) { return query(ctx, h.QueryEngine, x) }
	})
}

// onToy puts a toy engine with a fault in the place of the real one.
func onToy(tamper func(t *toy)) plant {
	return on(func(h *faults.QueryEngine, _ *faulty) {
		t := newToy(h.QueryEngine, h.Specs)
		tamper(t)
		h.OnQuery, h.OnScan = t.Query, t.Scan
	})
}

// TestToyEngine is the control of the engine's faults: without one the toy
// passes the suite.
func TestToyEngine(t *testing.T) {
	if underRace {
		t.Skip("the toy knows nothing of concurrency")
	}
	TestQueryEngine(t, patient(openFaulty(onToy(func(*toy) {}))))
}

func engineFaults() []fault {
	// filter replaces the truth of some comparisons.
	filter := func(change func(f driver.Filter, v any, present, holds bool) bool) plant {
		return onToy(func(t *toy) {
			t.holds = func(f driver.Filter, v any, present bool) bool { return change(f, v, present, toyHolds(f, v, present)) }
		})
	}
	// ranks replaces some comparisons of the values that order a scan.
	ranks := func(change func(a, b any, compared int) int) plant {
		return onToy(func(t *toy) {
			t.ranks = func(a, b any) int { return change(a, b, toyRanks(a, b)) }
		})
	}
	return []fault{
		{"TakesIDsAsPrefixes", "QueryEngine/QueriesByIDReturnItsRows", querying(func(ctx context.Context, q driver.QueryEngine, x driver.Query) (driver.Page, error) {
			page, err := q.Query(ctx, x)
			if x.Value == "a" && x.Index == "" && err == nil {
				more, _ := q.Query(ctx, driver.Query{ReadModel: x.ReadModel, Value: "a/b"})
				page.Rows = append(page.Rows, more.Rows...)
			}
			return page, err
		})},
		{"IgnoresTheCaseOfKeys", "QueryEngine/QueriesByIndexReturnTheKeysRows", onToy(func(t *toy) {
			t.rows = func(rows []driver.Row) []driver.Row {
				for i := range rows {
					rows[i].Data = bytes.ReplaceAll(rows[i].Data, []byte(`"Red"`), []byte(`"red"`))
				}
				return rows
			}
		})},
		{"KeepsOldIndexEntries", "QueryEngine/IndexesFollowTheRows", func(w *faulty) {
			red := map[driver.Key]driver.Row{}
			querying(func(ctx context.Context, q driver.QueryEngine, x driver.Query) (driver.Page, error) {
				page, err := q.Query(ctx, x)
				for _, r := range page.Rows {
					red[r.Key] = r
				}
				if x.Value == "red" && len(page.Rows) == 0 {
					page.Rows = slices.Collect(maps.Values(red))
				}
				return page, err
			})(w)
		}},
		{"IndexesRowsWithoutTheirSortField", "QueryEngine/IndexesHoldRowsWithTheirFieldsOnly", onToy(func(t *toy) {
			t.member = func(ix driver.Index, o map[string]any) bool { return o[ix.Key.Name] != nil }
		})},
		{"OrdersNumbersAsText", "QueryEngine/NumbersOrderByValue", onToy(func(t *toy) {
			t.sorts = func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) }
		})},
		{"OrdersByUTF16", "QueryEngine/StringsOrderByTheirBytes", onToy(func(t *toy) {
			sorts := t.sorts
			t.sorts = func(a, b any) int {
				sa, ok := a.(string)
				if sb, ok2 := b.(string); ok && ok2 {
					return compareUTF16(sa, sb)
				}
				return sorts(a, b)
			}
		})},
		{"TiesByTheSubIDFirst", "QueryEngine/EqualSortValuesOrderByIDAndSubID", onToy(func(t *toy) {
			t.ties = func(a, b driver.Row) int { return cmp.Or(strings.Compare(a.Sub, b.Sub), strings.Compare(a.ID, b.ID)) }
		})},
		{"LessOrEqualIsLess", "QueryEngine/SortConditionsSelectBySubID", onToy(func(t *toy) {
			t.sorted = func(f driver.Filter, v any) bool {
				return toyHolds(f, v, true) && (f.Comparator != driver.LessOrEqual || v != f.Values[0])
			}
		})},
		{"BetweenLeavesOutItsEnd", "QueryEngine/SortConditionsSelectBySortField", onToy(func(t *toy) {
			t.sorted = func(f driver.Filter, v any) bool {
				return toyHolds(f, v, true) && (f.Comparator != driver.Between || v != number(f.Values[1]))
			}
		})},
		{"UnequalFailsOnAbsent", "QueryEngine/FiltersCompare", filter(func(f driver.Filter, v any, _, holds bool) bool {
			return holds && (f.Comparator != driver.Unequal || v != nil)
		})},
		{"ContainsLooksIntoElements", "QueryEngine/FiltersCompare", filter(func(f driver.Filter, v any, _, holds bool) bool {
			if l, ok := v.([]any); ok && f.Comparator == driver.Contains {
				if s, ok := f.Values[0].(string); ok {
					return strings.Contains(fmt.Sprint(l), s)
				}
			}
			return holds
		})},
		{"OnlyTheLastFilterCounts", "QueryEngine/FiltersMustAllHold", onToy(func(t *toy) {
			t.all = func(fs []driver.Filter, holds func(driver.Filter) bool) bool {
				return len(fs) == 0 || holds(fs[len(fs)-1])
			}
		})},
		{"FiltersSeeTheIndexOnly", "QueryEngine/FiltersSeeTheWholeRow", onToy(func(t *toy) {
			t.filters = func(ix *driver.Index, spec driver.TableSpec, r driver.Row) driver.Row {
				if ix != nil {
					return toyProject(*ix, spec, r)
				}
				return r
			}
		})},
		{"IgnoresInclude", "QueryEngine/IncludeBoundsTheFields", onToy(func(t *toy) {
			t.project = func(_ driver.Index, _ driver.TableSpec, r driver.Row) driver.Row { return r }
		})},
		{"ReencodesRows", "QueryEngine/RowsAreWhole", onToy(func(t *toy) {
			t.rows = func(rows []driver.Row) []driver.Row {
				for i := range rows {
					rows[i].Data = compact(rows[i].Data)
				}
				return rows
			}
		})},
		{"RepeatsTheRowAtTheBorder", "QueryEngine/PagesNeitherSkipNorRepeat", onToy(func(t *toy) {
			t.goesOn = func(after int) bool { return after >= 0 }
		})},
		{"ScanRepeatsTheRowAtTheBorder", "QueryEngine/ScanPagesNeitherSkipNorRepeat", onToy(func(t *toy) {
			t.goesOn = func(after int) bool { return after >= 0 }
		})},
		{"LimitsBeforeItFilters", "QueryEngine/LimitBoundsTheResultAfterFiltering", onToy(func(t *toy) {
			t.page = func(rows []driver.Row, match func(driver.Row) bool, limit int) ([]driver.Row, bool) {
				more := len(rows) > limit
				return slices.DeleteFunc(slices.Clone(rows[:min(limit, len(rows))]), func(r driver.Row) bool { return !match(r) }), more
			}
		})},
		{"HasNoDefaultLimit", "QueryEngine/TheDefaultLimitIs100", onToy(func(t *toy) {
			t.limit = func(n int) int { return cmp.Or(n, 1_000_000) }
		})},
		{"CursorsCountRows", "QueryEngine/WritesBetweenPagesDisturbNoOtherRow", onToy(func(t *toy) {
			t.position = func(n int) (int, bool) { return n, true }
		})},
		{"CursorsCountRowsBesideWriters", "QueryEngine/WritesBesideAQueryDisturbNoOtherRow", onToy(func(t *toy) {
			t.position = func(n int) (int, bool) { return n, true }
		})},
		{"GivesEachRowTheCursorBefore", "QueryEngine/EveryRowHasACursor", onToy(func(t *toy) {
			t.cursors = func(cursors []string, _ []driver.Row, _ string) []string {
				for i := len(cursors) - 1; i > 0; i-- {
					cursors[i] = cursors[i-1]
				}
				return cursors
			}
		})},
		{"BackwardsIsWithTheRow", "QueryEngine/CursorsLeadBackwards", onToy(func(t *toy) {
			back := false
			t.turned = func(c int) int { back = true; return -c }
			t.goesOn = func(after int) bool { return after > 0 || after == 0 && back }
		})},
		{"CursorsFollowTheirRows", "QueryEngine/CursorsOutliveTheirRows", onToy(func(t *toy) {
			now := map[string]driver.Row{}
			t.rows = func(found []driver.Row) []driver.Row {
				for _, r := range found {
					now[r.Key.String()] = r
				}
				return found
			}
			t.at = func(last driver.Row) driver.Row { return now[last.Key.String()] }
		})},
		{"BoolsAreNumbers", "QueryEngine/ScansOrderByAField", ranks(func(a, b any, c int) int {
			number := func(v any) any {
				if v == true {
					return 1.0
				}
				if v == false {
					return 0.0
				}
				return v
			}
			return toyRanks(number(a), number(b))
		})},
		{"TheFirstOfTwoNamesCounts", "QueryEngine/OrdersAreByNames", onToy(func(t *toy) {
			ranked := t.ranked
			t.ranked = func(field string, r driver.Row) any {
				if _, first, ok := bytes.Cut(r.Data, []byte(`"`+field+`":`)); ok {
					var v any
					_ = json.NewDecoder(bytes.NewReader(first)).Decode(&v)
					return v
				}
				return ranked(field, r)
			}
		})},
		{"OrderedScansSkipTies", "QueryEngine/OrderedScanPagesNeitherSkipNorRepeat", onToy(func(t *toy) {
			t.ranks = func(a, b any) int { return 2 * toyRanks(a, b) }
			t.goesOn = func(after int) bool { return after > 1 }
		})},
		{"OrderedScansLimitBeforeTheyFilter", "QueryEngine/OrderedScansFilter", onToy(func(t *toy) {
			t.page = func(rows []driver.Row, match func(driver.Row) bool, limit int) ([]driver.Row, bool) {
				more := len(rows) > limit
				return slices.DeleteFunc(slices.Clone(rows[:min(limit, len(rows))]), func(r driver.Row) bool { return !match(r) }), more
			}
		})},
		{"CursorsIgnoreFilters", "QueryEngine/CursorsOfOtherQueriesAreRefused", onToy(func(t *toy) {
			t.refuse = func(cursor, hash string) bool {
				a, _, _ := strings.Cut(cursor, ", price")
				b, _, _ := strings.Cut(hash, ", price")
				return strings.TrimSuffix(a, ", limit 0)") != strings.TrimSuffix(b, ", limit 0)")
			}
		})},
		{"UnknownIsEmpty", "QueryEngine/UnknownNamesAreNotFound", onToy(func(t *toy) {
			t.failed = func(err error) error {
				if errors.Is(err, driver.ErrNotFound) {
					return nil
				}
				return err
			}
		})},
		{"MalformedIsEmpty", "QueryEngine/MalformedQueriesAreRefused", onToy(func(t *toy) {
			t.failed = func(err error) error {
				if errors.Is(err, driver.ErrInvalid) {
					return nil
				}
				return err
			}
		})},
		{"ExpiredRowsAreReturned", "QueryEngine/ExpiredRowsAreNotReturned", on(unexpiring)},
		{"NewIndexesStartEmpty", "QueryEngine/ANewIndexHasTheOldRows", onToy(func(t *toy) {
			member := t.member
			t.member = func(ix driver.Index, o map[string]any) bool {
				_, isNew := o["back"]
				return member(ix, o) && isNew
			}
		})},
		{"SharesItsRows", "QueryEngine/PagesBelongToTheCaller", func(w *faulty) {
			kept := map[string]driver.Page{}
			querying(func(ctx context.Context, q driver.QueryEngine, x driver.Query) (driver.Page, error) {
				key := describe(x) + strconv.Quote(x.Cursor)
				if page, ok := kept[key]; ok {
					return page, nil
				}
				page, err := q.Query(ctx, x)
				kept[key] = page
				return page, err
			})(w)
		}},
	}
}
