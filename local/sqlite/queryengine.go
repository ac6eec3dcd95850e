package sqlite

import (
	"context"
	sqldriver "database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/rows"
)

// queryEngine queries the tables it was opened with.
type queryEngine struct {
	p      *Provider
	tables map[string]*table
}

var _ driver.QueryEngine = (*queryEngine)(nil)

// OpenQueryEngine implements [driver.Provider].
func (p *Provider) OpenQueryEngine(ctx context.Context, specs []driver.TableSpec) (driver.QueryEngine, error) {
	if err := p.enter(ctx); err != nil {
		return nil, err
	}
	defer p.leave()
	e := &queryEngine{p: p, tables: make(map[string]*table, len(specs))}
	for _, spec := range specs {
		t, err := p.table(ctx, spec)
		if err != nil {
			return nil, fmt.Errorf("queryengine: open: %w", err)
		}
		e.tables[spec.Name] = t
	}
	return e, nil
}

// Query implements [driver.QueryEngine].
func (e *queryEngine) Query(ctx context.Context, q driver.Query) (driver.Page, error) {
	var page driver.Page
	err := e.p.call(ctx, func() error {
		t, ok := e.tables[q.ReadModel]
		if !ok {
			return driver.ErrNotFound
		}
		s := t.readable.Load()
		plan, err := rows.CheckQuery(s.TableSpec, q)
		if err != nil {
			return err
		}
		w := walk{t: t, spec: s.TableSpec, plan: plan, filters: q.Filters, sort: q.Sort}
		if plan.Index == nil {
			w.byID()
		} else {
			for i, index := range s.Indexes {
				if index.Name == plan.Index.Name {
					w.byIndex(s.ids[i])
				}
			}
		}
		page, err = w.page(ctx)
		return err
	})
	if err != nil {
		return driver.Page{}, fmt.Errorf("query %q: %w", q.ReadModel, err)
	}
	return page, nil
}

// Scan implements [driver.QueryEngine].
func (e *queryEngine) Scan(ctx context.Context, s driver.Scan) (driver.Page, error) {
	var page driver.Page
	err := e.p.call(ctx, func() error {
		t, ok := e.tables[s.ReadModel]
		if !ok {
			return driver.ErrNotFound
		}
		plan, err := rows.CheckScan(s)
		if err != nil {
			return err
		}
		w := walk{t: t, spec: t.readable.Load().TableSpec, plan: plan, filters: s.Filters}
		w.all()
		if plan.Field != "" {
			page, err = w.ordered(ctx)
			return err
		}
		page, err = w.page(ctx)
		return err
	})
	if err != nil {
		return driver.Page{}, fmt.Errorf("scan %q: %w", s.ReadModel, err)
	}
	return page, nil
}

// walkPage is how many rows one statement reads, so that no statement keeps its
// snapshot of the database for long.
const walkPage = 1000

// walk iterates over the rows of a query in its order. Conditions in SQL only
// narrow the range for speed; package rows decides which rows match, as on every
// provider.
type walk struct {
	t       *table
	spec    driver.TableSpec
	plan    rows.Plan
	filters []driver.Filter
	sort    *driver.Filter

	from  string // the FROM and WHERE clauses of every page
	args  []any
	order []string // order columns, the sort value or sub id first
	value string   // the column that sort applies to
	index int64    // the index whose entries are walked, or 0
	// position returns the values of the order columns at a position.
	position func(rows.Position) []any
}

const walkColumns = "r.n, r.id, r.sub, r.rev, r.expires, r.data, r.crc"

func (w *walk) byID() {
	w.from, w.args = "rows r WHERE r.tbl = ? AND r.id = ?", []any{w.t.id, w.plan.Value}
	w.order, w.value = []string{"r.sub"}, "r.sub"
	w.position = func(p rows.Position) []any { return []any{p.Sub} }
}

func (w *walk) byIndex(id int64) {
	w.index = id
	// CROSS JOIN keeps SQLite from starting with the table rows.
	w.from, w.args = "entries e CROSS JOIN rows r ON r.n = e.n WHERE e.idx = ? AND e.key = ?", []any{id, w.plan.Value}
	w.order, w.value = []string{"e.sort", "e.id", "e.sub"}, "e.sort"
	w.position = func(p rows.Position) []any {
		if p.Sort == nil {
			return []any{"", p.ID, p.Sub}
		}
		return []any{p.Sort, p.ID, p.Sub}
	}
}

func (w *walk) all() {
	w.from, w.args = "rows r WHERE r.tbl = ?", []any{w.t.id}
	w.order = []string{"r.id", "r.sub"}
	w.position = func(p rows.Position) []any { return []any{p.ID, p.Sub} }
}

// statement returns the statement for the page after a position.
func (w *walk) statement(after *rows.Position, descending bool) (text string, args []any) {
	var b strings.Builder
	b.Grow(256)
	args = append(make([]any, 0, 12), w.args...)
	b.WriteString("SELECT " + walkColumns)
	if w.value == "e.sort" {
		b.WriteString(", e.sort, e.crc")
	} else {
		b.WriteString(", NULL, NULL")
	}
	b.WriteString(" FROM " + w.from)
	if w.sort != nil {
		low, high, below := bounds(*w.sort)
		if low != nil {
			b.WriteString(" AND " + w.value + " >= ?")
			args = append(args, low)
		}
		if high != nil {
			b.WriteString(" AND " + w.value + below + " ?")
			args = append(args, high)
		}
	}
	direction, beyond := "", " > "
	if descending {
		direction, beyond = " DESC", " < "
	}
	if after != nil {
		b.WriteString(" AND (" + strings.Join(w.order, ", ") + ")" + beyond + "(?" + strings.Repeat(", ?", len(w.order)-1) + ")")
		args = append(args, w.position(*after)...)
	}
	b.WriteString(" ORDER BY " + strings.Join(w.order, direction+", ") + direction + " LIMIT ?")
	return b.String(), append(args, int64(walkPage))
}

// bounds returns the smallest and the greatest value that can match a condition,
// nil for no bound. below is the operator to compare with high.
func bounds(f driver.Filter) (low, high any, below string) {
	v := number64(f.Values[0])
	switch f.Comparator {
	case driver.Equal:
		return v, v, " <="
	case driver.Greater, driver.GreaterOrEqual:
		return v, nil, ""
	case driver.Less, driver.LessOrEqual:
		return nil, v, " <="
	case driver.Between:
		return v, number64(f.Values[1]), " <="
	case driver.BeginsWith:
		prefix, _ := v.(string)
		for end := []byte(prefix); len(end) > 0; end = end[:len(end)-1] {
			if last := len(end) - 1; end[last] < 0xff {
				end[last]++
				return prefix, string(end), " <"
			}
		}
		return prefix, nil, ""
	}
	return nil, nil, ""
}

// number64 converts an int64 of a query to float64, the number type of package rows.
func number64(v any) any {
	if n, ok := v.(int64); ok {
		return float64(n)
	}
	return v
}

// each calls f for the stored rows after a position, expired ones included, until
// f returns errStop or there are no more rows.
func (w *walk) each(ctx context.Context, after *rows.Position, descending bool, f func(r stored, at rows.Position) error) error {
	var last rows.Position
	for seen, stopped := walkPage, false; seen == walkPage && !stopped; after = &last {
		if err := ctx.Err(); err != nil {
			return err
		}
		text, args := w.statement(after, descending)
		seen = 0
		err := w.t.p.read(ctx, func(c *conn) error {
			return c.query(text, args, func(row []sqldriver.Value) error {
				seen++
				r := w.t.stored(row)
				if r.damage == nil && w.index != 0 && entrySum(w.index, w.plan.Value, row[7], r.key.ID, r.key.Sub, r.n) != number(row[8]) {
					r.damage = damage("entries", w.spec.Name, r.key.String(), "%w", errChecksum)
				}
				if r.damage != nil {
					return r.damage
				}
				last = rows.Position{Sort: row[7], Key: r.key}
				if last.Sort == "" {
					last.Sort = nil
				}
				err := f(r, last)
				stopped = errors.Is(err, errStop)
				return err
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// page returns the first matching rows. It reads one more matching row to find out
// whether there is another page.
func (w *walk) page(ctx context.Context) (page driver.Page, err error) {
	now := w.t.p.now()
	err = w.each(ctx, w.plan.After, w.plan.Descending, func(r stored, at rows.Position) error {
		ok, err := w.matches(r, at, now)
		if err != nil || !ok {
			return err
		}
		if len(page.Rows) == w.plan.Limit {
			page.Cursor = page.Cursors[len(page.Cursors)-1]
			return errStop
		}
		if w.plan.Index != nil {
			data, err := rows.Project(w.spec, *w.plan.Index, json.RawMessage(r.data))
			if err != nil {
				return damage("rows", w.spec.Name, r.key.String(), "the data: %v", err)
			}
			r.data = string(data)
		}
		page.Rows = append(page.Rows, r.row())
		page.Cursors = append(page.Cursors, w.plan.Cursor(at))
		return nil
	})
	if err != nil {
		return driver.Page{}, err
	}
	return page, nil
}

// ordered returns a page of a scan that is ordered by a field. It reads all rows
// and keeps those of the page. SQL cannot order them, because SQLite's JSON
// functions treat numbers, strings and repeated names differently from package
// rows.
func (w *walk) ordered(ctx context.Context) (page driver.Page, err error) {
	now := w.t.p.now()
	top := rows.NewTop[stored](w.plan)
	var data []byte
	err = w.each(ctx, nil, false, func(r stored, _ rows.Position) error {
		data = append(data[:0], r.data...)
		at := w.plan.Place(r.key, data)
		if !top.Wants(at) {
			return nil
		}
		ok, err := w.matches(r, at, now)
		if err == nil && ok {
			top.Add(at, r)
		}
		return err
	})
	if err != nil {
		return driver.Page{}, err
	}
	found, more := top.Page()
	for _, f := range found {
		page.Rows = append(page.Rows, f.Row.row())
		page.Cursors = append(page.Cursors, w.plan.Cursor(f.At))
	}
	if more {
		page.Cursor = page.Cursors[len(page.Cursors)-1]
	}
	return page, nil
}

func (w *walk) matches(r stored, at rows.Position, now time.Time) (bool, error) {
	if !r.alive(now) {
		return false, nil
	}
	if w.sort != nil {
		var v any = at.Sub
		if w.plan.Index != nil {
			v = at.Sort
		}
		if !rows.MatchSort(w.sort, v) {
			return false, nil
		}
	}
	if len(w.filters) == 0 {
		return true, nil
	}
	fields, err := rows.Fields(json.RawMessage(r.data))
	if err != nil {
		return false, damage("rows", w.spec.Name, r.key.String(), "the data: %v", err)
	}
	return rows.Match(fields, w.filters)
}
