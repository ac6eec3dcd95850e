package memory

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/rows"
)

// queryEngine is a [driver.QueryEngine].
type queryEngine struct {
	p      *Provider
	tables map[string]*table
}

// Query implements [driver.QueryEngine].
func (e *queryEngine) Query(ctx context.Context, q driver.Query) (driver.Page, error) {
	if err := e.p.begin(ctx); err != nil {
		return driver.Page{}, err
	}
	defer e.p.end()
	t, ok := e.tables[q.ReadModel]
	if !ok {
		return driver.Page{}, fmt.Errorf("query %q: %w", q.ReadModel, driver.ErrNotFound)
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	plan, err := rows.CheckQuery(t.spec, q)
	if err != nil {
		return driver.Page{}, err
	}
	return t.page(plan, q.Filters, func(yield func(entry) bool) {
		for e := range t.walk(plan) {
			if rows.CompareValues(e.value, plan.Value) != 0 {
				return
			}
			sort := e.at.Sort
			if plan.Index == nil {
				sort = e.at.Sub
			}
			if rows.MatchSort(q.Sort, sort) && !yield(e) {
				return
			}
		}
	})
}

// Scan implements [driver.QueryEngine].
func (e *queryEngine) Scan(ctx context.Context, s driver.Scan) (driver.Page, error) {
	if err := e.p.begin(ctx); err != nil {
		return driver.Page{}, err
	}
	defer e.p.end()
	t, ok := e.tables[s.ReadModel]
	if !ok {
		return driver.Page{}, fmt.Errorf("scan %q: %w", s.ReadModel, driver.ErrNotFound)
	}
	plan, err := rows.CheckScan(s)
	if err != nil {
		return driver.Page{}, err
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	if plan.Field != "" {
		return t.ordered(plan, s.Filters)
	}
	return t.page(plan, s.Filters, t.all(plan))
}

// all yields the entries of byID from the start of the page.
func (t *table) all(plan rows.Plan) iter.Seq[entry] {
	if plan.Descending {
		return t.byID.descend(func(e entry) bool { return plan.After != nil && e.at.Compare(*plan.After) >= 0 })
	}
	return t.byID.ascend(func(e entry) bool { return plan.Follows(e.at) })
}

// walk yields the entries of the queried set from the start of the page. The
// entries with the queried value come first.
func (t *table) walk(plan rows.Plan) iter.Seq[entry] {
	set := t.byID
	if plan.Index != nil {
		set = t.byIndex[plan.Index.Name]
	}
	value := func(e entry) int { return rows.CompareValues(e.value, plan.Value) }
	if plan.After == nil {
		if plan.Descending {
			return set.descend(func(e entry) bool { return value(e) > 0 })
		}
		return set.ascend(func(e entry) bool { return value(e) >= 0 })
	}
	last := entry{value: plan.Value, at: *plan.After}
	if plan.Descending {
		return set.descend(func(e entry) bool { return compareEntries(e, last) >= 0 })
	}
	return set.ascend(func(e entry) bool { return compareEntries(e, last) > 0 })
}

// page returns the first matching rows of entries. It reads one more matching row
// to find out whether there is another page.
func (t *table) page(plan rows.Plan, filters []driver.Filter, entries iter.Seq[entry]) (driver.Page, error) {
	var page driver.Page
	now := t.p.now()
	for e := range entries {
		ok, err := t.matches(e.rec, filters, now)
		if err != nil {
			return driver.Page{}, err
		}
		if !ok {
			continue
		}
		if len(page.Rows) == plan.Limit {
			page.Cursor = page.Cursors[len(page.Cursors)-1]
			break
		}
		data := e.rec.data
		if plan.Index != nil {
			var err error
			if data, err = rows.Project(t.spec, *plan.Index, data); err != nil {
				return driver.Page{}, fmt.Errorf("query %q: row %q: %w", t.spec.Name, e.rec.key, err)
			}
		}
		page.Rows = append(page.Rows, e.rec.row(data))
		page.Cursors = append(page.Cursors, plan.Cursor(e.at))
	}
	return page, nil
}

// ordered returns a page of a scan that is ordered by a field. There is no index
// for that: it reads all rows.
func (t *table) ordered(plan rows.Plan, filters []driver.Filter) (driver.Page, error) {
	top := rows.NewTop[*record](plan)
	now := t.p.now()
	for e := range t.byID.ascend(func(entry) bool { return true }) {
		at := plan.Place(e.rec.key, e.rec.data)
		if !top.Wants(at) {
			continue
		}
		ok, err := t.matches(e.rec, filters, now)
		if err != nil {
			return driver.Page{}, err
		}
		if ok {
			top.Add(at, e.rec)
		}
	}
	var page driver.Page
	found, more := top.Page()
	for _, f := range found {
		page.Rows = append(page.Rows, f.Row.row(f.Row.data))
		page.Cursors = append(page.Cursors, plan.Cursor(f.At))
	}
	if more {
		page.Cursor = page.Cursors[len(page.Cursors)-1]
	}
	return page, nil
}

// matches reports whether a row has not expired and passes all filters.
func (t *table) matches(r *record, filters []driver.Filter, now time.Time) (bool, error) {
	if rows.Expired(r.deadline, now) {
		return false, nil
	}
	if len(filters) == 0 {
		return true, nil
	}
	fields, err := rows.Fields(r.data)
	if err != nil {
		return false, fmt.Errorf("query %q: row %q: %w", t.spec.Name, r.key, err)
	}
	ok, err := rows.Match(fields, filters)
	if err != nil {
		return false, fmt.Errorf("query %q: %w", t.spec.Name, err)
	}
	return ok, nil
}
