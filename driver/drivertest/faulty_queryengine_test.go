package drivertest

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/faults"
)

// querying replaces Query.
func querying(query func(ctx context.Context, q driver.QueryEngine, x driver.Query) (driver.Page, error)) plant {
	return on(func(h *faults.QueryEngine, _ *faulty) {
		h.OnQuery = func(ctx context.Context, x driver.Query) (driver.Page, error) { return query(ctx, h.QueryEngine, x) }
	})
}

// onQuery changes each query before it runs.
func onQuery(change func(x *driver.Query)) plant {
	return querying(func(ctx context.Context, q driver.QueryEngine, x driver.Query) (driver.Page, error) {
		if x.Sort != nil {
			s := *x.Sort
			x.Sort = &s
		}
		change(&x)
		return q.Query(ctx, x)
	})
}

// onFilters changes the filters of queries and scans.
func onFilters(change func(fs []driver.Filter) []driver.Filter) plant {
	return on(func(h *faults.QueryEngine, _ *faulty) {
		h.OnQuery = func(ctx context.Context, x driver.Query) (driver.Page, error) {
			x.Filters = change(slices.Clone(x.Filters))
			return h.QueryEngine.Query(ctx, x)
		}
		h.OnScan = func(ctx context.Context, s driver.Scan) (driver.Page, error) {
			s.Filters = change(slices.Clone(s.Filters))
			return h.QueryEngine.Scan(ctx, s)
		}
	})
}

// onPages changes the pages of queries and scans.
func onPages(change func(p *driver.Page)) plant {
	return on(func(h *faults.QueryEngine, _ *faulty) {
		h.OnQuery = func(ctx context.Context, x driver.Query) (driver.Page, error) {
			p, err := h.QueryEngine.Query(ctx, x)
			change(&p)
			return p, err
		}
		h.OnScan = func(ctx context.Context, s driver.Scan) (driver.Page, error) {
			p, err := h.QueryEngine.Scan(ctx, s)
			change(&p)
			return p, err
		}
	})
}

// orderedBy sorts the rows of each page with compare.
func orderedBy(compare func(a, b driver.Row) int) plant {
	return onPages(func(p *driver.Page) { slices.SortStableFunc(p.Rows, compare) })
}

// field returns a field of a row as JSON, or "" if it is absent.
func field(r driver.Row, name string) string {
	var o map[string]json.RawMessage
	_ = json.Unmarshal(r.Data, &o)
	return string(o[name])
}

func compareUTF16(a, b string) int {
	return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
}

// countingCursors is a Query whose cursors are the number of rows to skip.
func countingCursors(ctx context.Context, q driver.QueryEngine, x driver.Query) (driver.Page, error) {
	skip, _ := strconv.Atoi(x.Cursor)
	limit := cmp.Or(x.Limit, 100)
	x.Cursor, x.Limit = "", skip+limit
	p, err := q.Query(ctx, x)
	p.Rows = p.Rows[min(skip, len(p.Rows)):]
	if p.Cursor != "" {
		p.Cursor = strconv.Itoa(skip + limit)
	}
	return p, err
}

func engineFaults() []fault {
	return []fault{
		{"MatchesIDsByPrefix", "QueryEngine/QueriesByIDReturnItsRows", querying(func(ctx context.Context, q driver.QueryEngine, x driver.Query) (driver.Page, error) {
			page, err := q.Query(ctx, x)
			if x.Value == "a" && x.Index == "" && err == nil {
				more, _ := q.Query(ctx, driver.Query{ReadModel: x.ReadModel, Value: "a/b"})
				page.Rows = append(page.Rows, more.Rows...)
			}
			return page, err
		})},
		{"IgnoresTheCaseOfKeys", "QueryEngine/QueriesByIndexReturnTheKeysRows", onQuery(func(x *driver.Query) {
			if x.Value == "Red" {
				x.Value = "red"
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
		{"IndexesRowsWithoutTheirSortField", "QueryEngine/IndexesHoldRowsWithTheirFieldsOnly", querying(func(ctx context.Context, q driver.QueryEngine, x driver.Query) (driver.Page, error) {
			page, err := q.Query(ctx, x)
			if x.Index == "byShop" {
				more, _ := q.Query(ctx, driver.Query{ReadModel: x.ReadModel, Value: "noSort"})
				page.Rows = append(page.Rows, more.Rows...)
			}
			return page, err
		})},
		{"OrdersNumbersAsText", "QueryEngine/NumbersOrderByValue", orderedBy(func(a, b driver.Row) int {
			return cmp.Or(strings.Compare(field(a, "price"), field(b, "price")), strings.Compare(field(a, "n"), field(b, "n")))
		})},
		{"OrdersByUTF16", "QueryEngine/StringsOrderByTheirBytes", orderedBy(func(a, b driver.Row) int { return compareUTF16(a.Sub, b.Sub) })},
		{"OrdersBySubIDFirst", "QueryEngine/PagesNeitherSkipNorRepeat", orderedBy(func(a, b driver.Row) int { return strings.Compare(a.Sub, b.Sub) })},
		{"LessOrEqualIsLess", "QueryEngine/SortConditionsSelectBySubID", onQuery(func(x *driver.Query) {
			if x.Index == "" && x.Sort != nil && x.Sort.Comparator == driver.LessOrEqual {
				x.Sort.Comparator = driver.Less
			}
		})},
		{"GreaterOrEqualIsGreater", "QueryEngine/SortConditionsSelectBySortField", onQuery(func(x *driver.Query) {
			if x.Index != "" && x.Sort != nil && x.Sort.Comparator == driver.GreaterOrEqual {
				x.Sort.Comparator = driver.Greater
			}
		})},
		{"UnequalExcludesAbsentFields", "QueryEngine/FiltersCompare", onFilters(func(fs []driver.Filter) []driver.Filter {
			for _, f := range fs {
				if f.Comparator == driver.Unequal {
					fs = append(fs, driver.Filter{Field: f.Field, Comparator: driver.Exists})
				}
			}
			return fs
		})},
		{"OnlyTheLastFilterCounts", "QueryEngine/FiltersMustAllHold", onFilters(func(fs []driver.Filter) []driver.Filter { return fs[max(0, len(fs)-1):] })},
		{"FiltersSeeTheIndexOnly", "QueryEngine/FiltersSeeTheWholeRow", querying(func(ctx context.Context, q driver.QueryEngine, x driver.Query) (driver.Page, error) {
			if x.Index == "keysOnly" && len(x.Filters) > 0 {
				return driver.Page{}, nil
			}
			return q.Query(ctx, x)
		})},
		{"IgnoresInclude", "QueryEngine/IncludeBoundsTheFields", onQuery(func(x *driver.Query) {
			if x.Index == "keysOnly" {
				x.Index = "byShop"
			}
		})},
		{"ReencodesRows", "QueryEngine/RowsAreUnchanged", onPages(func(p *driver.Page) {
			for i := range p.Rows {
				p.Rows[i].Data = compact(p.Rows[i].Data)
			}
		})},
		{"RepeatsTheRowAtTheBorder", "QueryEngine/PagesNeitherSkipNorRepeat", onPages(func(p *driver.Page) {
			if n := len(p.Cursors); n > 1 && p.Cursor != "" {
				p.Cursor = p.Cursors[n-2]
			}
		})},
		{"LimitsBeforeItFilters", "QueryEngine/LimitBoundsTheResultAfterFiltering", querying(func(ctx context.Context, q driver.QueryEngine, x driver.Query) (driver.Page, error) {
			all := x
			all.Limit, all.Cursor = 1000, ""
			match, _ := q.Query(ctx, all)
			x.Filters = nil
			page, err := q.Query(ctx, x)
			page.Rows = slices.DeleteFunc(page.Rows, func(r driver.Row) bool {
				return !slices.ContainsFunc(match.Rows, func(m driver.Row) bool { return m.Key == r.Key })
			})
			return page, err
		})},
		{"HasNoDefaultLimit", "QueryEngine/LimitBoundsTheResultAfterFiltering", onQuery(func(x *driver.Query) { x.Limit = cmp.Or(x.Limit, 1_000_000) })},
		{"CursorsCountRowsBetweenWrites", "QueryEngine/WritesBetweenPagesAffectNoOtherRow", querying(countingCursors)},
		{"CursorsCountRowsDuringWrites", "QueryEngine/ConcurrentWritesAffectNoOtherRow", querying(countingCursors)},
		{"GivesEachRowThePreviousCursor", "QueryEngine/EveryRowHasACursor", onPages(func(p *driver.Page) {
			for i := len(p.Cursors) - 1; i > 0; i-- {
				p.Cursors[i] = p.Cursors[i-1]
			}
		})},
		{"BackwardPagesIncludeTheirRow", "QueryEngine/CursorsPageBackwards", func(w *faulty) {
			type from struct {
				row        driver.Row
				descending bool
			}
			known := map[string]from{}
			querying(func(ctx context.Context, q driver.QueryEngine, x driver.Query) (driver.Page, error) {
				page, err := q.Query(ctx, x)
				for i, c := range page.Cursors {
					known[c] = from{page.Rows[i], x.Descending}
				}
				if at, ok := known[x.Cursor]; ok && at.descending != x.Descending {
					page.Rows = append([]driver.Row{at.row}, page.Rows...)
				}
				return page, err
			})(w)
		}},
		{"CursorsNeedTheirRows", "QueryEngine/CursorsOutliveTheirRows", func(w *faulty) {
			known := map[string]driver.Key{}
			querying(func(ctx context.Context, q driver.QueryEngine, x driver.Query) (driver.Page, error) {
				if key, ok := known[x.Cursor]; ok {
					there, err := q.Query(ctx, driver.Query{ReadModel: x.ReadModel, Value: key.ID, Limit: 1000})
					if !slices.ContainsFunc(there.Rows, func(r driver.Row) bool { return r.Key == key }) {
						return driver.Page{}, err
					}
				}
				page, err := q.Query(ctx, x)
				for i, c := range page.Cursors {
					known[c] = page.Rows[i].Key
				}
				return page, err
			})(w)
		}},
		{"AbsentComesLast", "QueryEngine/ScansOrderByAField", orderedBy(func(a, b driver.Row) int {
			absent := func(r driver.Row) int {
				if v := field(r, "rank"); v == "" || v == "null" {
					return 1
				}
				return 0
			}
			return cmp.Compare(absent(a), absent(b))
		})},
		{"OrderFieldsArePaths", "QueryEngine/OrderFieldsAreNames", on(func(h *faults.QueryEngine, _ *faulty) {
			h.OnScan = func(ctx context.Context, s driver.Scan) (driver.Page, error) {
				if s.Order != nil && strings.Contains(s.Order.Field, ".") {
					s.Order = &driver.Order{Field: "nothing", Descending: s.Order.Descending}
				}
				return h.QueryEngine.Scan(ctx, s)
			}
		})},
		{"TakesAnyCursor", "QueryEngine/CursorsOfOtherQueriesAreRefused", on(func(h *faults.QueryEngine, _ *faulty) {
			h.OnQuery = func(ctx context.Context, x driver.Query) (driver.Page, error) {
				page, err := h.QueryEngine.Query(ctx, x)
				if err != nil && x.Cursor != "" {
					x.Cursor = ""
					return h.QueryEngine.Query(ctx, x)
				}
				return page, err
			}
		})},
		{"UnknownIsEmpty", "QueryEngine/UnknownNamesAreNotFound", answers("QueryEngine.Query", driver.ErrNotFound, nil)},
		{"MalformedIsEmpty", "QueryEngine/MalformedQueriesAreRefused", answers("QueryEngine.Query", driver.ErrInvalid, nil)},
		{"ExpiredRowsAreReturned", "QueryEngine/ExpiredRowsAreNotReturned", on(unexpiring)},
		{"NewIndexesStartEmpty", "QueryEngine/ANewIndexHasTheOldRows", querying(func(ctx context.Context, q driver.QueryEngine, x driver.Query) (driver.Page, error) {
			page, err := q.Query(ctx, x)
			page.Rows = slices.DeleteFunc(page.Rows, func(r driver.Row) bool { return x.Index != "" && field(r, "back") == "" })
			return page, err
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
