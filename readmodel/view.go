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

// View reads the rows of a read model.
type View[R any] struct {
	name   string
	db     driver.QueryDb
	engine driver.QueryEngine
	err    error
}

// Open returns the rows of the read model. A component gets its env from the
// engine and must have declared the read model as used; otherwise every method
// of the view returns an error that says so.
func (m *ReadModel[R]) Open(env plugin.Env) View[R] {
	v := View[R]{}
	v.db, v.engine, v.name, v.err = env.OpenRows(m.Definition())
	return v
}

// Get returns the row of an id; ok is false when there is none.
func (v View[R]) Get(ctx context.Context, id string) (row R, ok bool, err error) {
	return v.GetRow(ctx, id, "")
}

// GetRow is [View.Get] for one row of an id with sub ids.
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

// Query asks for the rows of one id or index key.
type Query = driver.Query

// Rows yields the rows that q asks for, all pages of them: q.Limit bounds one
// page only. ReadModel and Cursor are filled in. An error ends the sequence.
func (v View[R]) Rows(ctx context.Context, q Query) iter.Seq2[R, error] {
	return v.pages(func(cursor string) (driver.Page, error) {
		q.ReadModel, q.Cursor = v.name, cursor
		return v.engine.Query(ctx, q)
	})
}

// All yields all rows that match every filter, in no particular order. An error
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
