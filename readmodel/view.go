package readmodel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/plugin"
)

// View reads the rows of a read model. Reads are eventually consistent: a row shows
// an event some time after the event was stored.
type View[R any] struct {
	name   string
	db     driver.QueryDb
	engine driver.QueryEngine
	err    error
}

// Open returns a view of the read model's rows. A component that opens it must list
// the read model under Uses; otherwise every method of the view returns an error
// that wraps [driver.ErrInvalid].
func (m *ReadModel[R]) Open(env plugin.Env) View[R] {
	v := View[R]{}
	v.db, v.engine, v.name, v.err = env.OpenRows(m.Definition())
	return v
}

// Get returns the row of an id; ok reports whether it exists. In a read model with
// sub ids, use [View.GetRow] or [View.Rows].
func (v View[R]) Get(ctx context.Context, id string) (row R, ok bool, err error) {
	return v.GetRow(ctx, id, "")
}

// GetRow is [View.Get] for a read model with sub ids: it returns one row of the id.
func (v View[R]) GetRow(ctx context.Context, id, sub string) (row R, ok bool, err error) {
	if v.err != nil {
		return row, false, v.err
	}
	r, err := v.db.LoadRow(ctx, driver.Key{ID: id, Sub: sub})
	if errors.Is(err, driver.ErrNotFound) {
		return row, false, nil
	}
	if err != nil {
		return row, false, fmt.Errorf("read model %s: get %q: %w", v.name, id, err)
	}
	row, err = v.decode(r)
	return row, err == nil, err
}

// Query selects the rows of one id or of one index key.
type Query struct {
	// Index is the name of an index; empty queries by id.
	Index string
	// Value is what the id or the index key must equal: a string, or a float64 or
	// int64 where the key is a number.
	Value any
	// Sort, if not nil, is a condition on the sort field of the index, or on the
	// sub id when Index is empty. Its Field is ignored.
	Sort *driver.Filter
	// Filters are conditions on any fields of the row. All of them must hold.
	Filters []driver.Filter
	// Descending reverses the order, which is by the sort field of the index, or by
	// the sub id.
	Descending bool
}

// Rows yields the rows that q selects. An error ends the sequence.
func (v View[R]) Rows(ctx context.Context, q Query) iter.Seq2[R, error] {
	return v.pages(func(cursor string) (driver.Page, error) {
		return v.engine.Query(ctx, driver.Query{
			ReadModel: v.name, Index: q.Index, Value: q.Value, Sort: q.Sort, Filters: q.Filters, Descending: q.Descending, Cursor: cursor,
		})
	})
}

// All yields every row for which all filters hold, in no particular order. An error
// ends the sequence.
func (v View[R]) All(ctx context.Context, filters ...driver.Filter) iter.Seq2[R, error] {
	return v.pages(func(cursor string) (driver.Page, error) {
		return v.engine.Scan(ctx, driver.Scan{ReadModel: v.name, Filters: filters, Cursor: cursor})
	})
}

func (v View[R]) pages(next func(cursor string) (driver.Page, error)) iter.Seq2[R, error] {
	return func(yield func(R, error) bool) {
		var zero R
		if v.err != nil {
			yield(zero, v.err)
			return
		}
		for cursor := ""; ; {
			page, err := next(cursor)
			if err != nil {
				yield(zero, fmt.Errorf("read model %s: %w", v.name, err))
				return
			}
			for _, r := range page.Rows {
				row, err := v.decode(r)
				if !yield(row, err) || err != nil {
					return
				}
			}
			if cursor = page.Cursor; cursor == "" {
				return
			}
		}
	}
}

func (v View[R]) decode(r driver.Row) (row R, err error) {
	if err := json.Unmarshal(r.Data, &row); err != nil {
		return row, fmt.Errorf("read model %s: row %q: %w: %w", v.name, r.ID, driver.ErrInvalid, err)
	}
	return row, nil
}
