package readmodel

import (
	"errors"
	"fmt"
	"slices"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
)

// Change is one change of a read model of rows R, made by the functions below.
// The functions that it holds may run more than once: they only change the row
// that they are given.
type Change[R any] struct {
	id, sub  string
	row      *R // names the sub id, for a change that says what the row is
	blind    bool
	lenient  bool
	editRow  func(row *R) (*R, error) // nil in: absent; nil out: delete
	editRows func(rows []R) ([]R, error)
}

// Changes is what a projection makes of an event: changes in order, or none.
type Changes[R any] = []Change[R]

// Put stores row under id, whatever was there.
func Put[R any](id string, row R) Change[R] {
	return Change[R]{id: id, row: &row, blind: true, editRow: func(*R) (*R, error) {
		r := row
		return &r, nil
	}}
}

// PutMany is Put for every entry of rows.
func PutMany[R any](rows map[string]R) Changes[R] {
	changes := make(Changes[R], 0, len(rows))
	for id, row := range rows {
		changes = append(changes, Put(id, row))
	}
	return changes
}

// Create stores row under id; a row that is there already is an error of the
// projection.
func Create[R any](id string, row R) Change[R] {
	return Change[R]{id: id, row: &row, editRow: func(old *R) (*R, error) {
		if old != nil {
			return nil, fmt.Errorf("create: %w", driver.ErrExists)
		}
		r := row
		return &r, nil
	}}
}

// Update changes the row of id; a missing row is an error of the projection,
// unless the change is [Change.IgnoreMissing].
func Update[R any](id string, f func(*R)) Change[R] {
	return Change[R]{id: id, editRow: func(row *R) (*R, error) {
		if row == nil {
			return nil, errMissing
		}
		f(row)
		return row, nil
	}}
}

// UpdateMany is Update for every id.
func UpdateMany[R any](ids []string, f func(*R)) Changes[R] {
	changes := make(Changes[R], len(ids))
	for i, id := range ids {
		changes[i] = Update(id, f)
	}
	return changes
}

// UpdateOrCreate changes the row of id; a missing row is created as initial first.
func UpdateOrCreate[R any](id string, initial R, f func(*R)) Change[R] {
	return Change[R]{id: id, row: &initial, editRow: func(row *R) (*R, error) {
		if row == nil {
			created := initial
			row = &created
		}
		f(row)
		return row, nil
	}}
}

// Delete removes the row of id, all its rows in a read model with sub ids; none
// is fine.
func Delete[R any](id string) Change[R] {
	return Change[R]{
		id: id, blind: true,
		editRow:  func(*R) (*R, error) { return nil, nil },
		editRows: func([]R) ([]R, error) { return nil, nil },
	}
}

// DeleteMany is Delete for every id.
func DeleteMany[R any](ids ...string) Changes[R] {
	changes := make(Changes[R], len(ids))
	for i, id := range ids {
		changes[i] = Delete[R](id)
	}
	return changes
}

// DeleteIf removes the row of id if pred holds for it, in a read model with sub
// ids each of its rows for which pred holds; a missing row is fine.
func DeleteIf[R any](id string, pred func(R) bool) Change[R] {
	return Change[R]{id: id, editRows: func(rows []R) ([]R, error) {
		return slices.DeleteFunc(rows, pred), nil
	}, editRow: func(row *R) (*R, error) {
		if row == nil || pred(*row) {
			return nil, nil
		}
		return row, nil
	}}
}

// PutRows is [Put] for several rows of an id with sub ids; rows of the id that are
// not among them stay.
func PutRows[R any](id string, rows ...R) Changes[R] {
	changes := make(Changes[R], len(rows))
	for i, row := range rows {
		changes[i] = Put(id, row)
	}
	return changes
}

// UpdateRow is [Update] for one row of an id with sub ids.
func UpdateRow[R any](id, sub string, f func(*R)) Change[R] {
	c := Update(id, f)
	c.sub = sub
	return c
}

// DeleteRow removes one row of an id with sub ids; absent is fine.
func DeleteRow[R any](id, sub string) Change[R] {
	return Change[R]{id: id, sub: sub, blind: true, editRow: func(*R) (*R, error) { return nil, nil }}
}

// UpdateRows replaces all rows of an id with sub ids by what f makes of them.
// The rows come ascending by sub id.
func UpdateRows[R any](id string, f func([]R) []R) Change[R] {
	return Change[R]{id: id, editRows: func(rows []R) ([]R, error) { return f(rows), nil }}
}

// IgnoreMissing returns the change such that a missing row is no error: then
// nothing is done.
func (c Change[R]) IgnoreMissing() Change[R] {
	c.lenient = true
	return c
}

var errMissing = fmt.Errorf("update: the row is missing: %w", driver.ErrNotFound)

// erase hands the change to the engine: typed rows become any. subIDOf returns a row's
// sub id; it is nil in a read model without sub ids.
func (c Change[R]) erase(subIDOf func(*R) (string, error)) (component.Change, error) {
	out := component.Change{ID: c.id, Sub: c.sub, Blind: c.blind}
	switch {
	case subIDOf == nil && c.sub != "", subIDOf == nil && c.editRow == nil:
		return out, errors.New("a change of rows by sub id needs a read model with a SubID")
	case subIDOf != nil && c.editRows != nil:
		out.Blind, out.EditAll = false, c.eraseAll
		return out, nil
	case subIDOf != nil && c.sub == "" && c.row == nil:
		return out, errors.New("an update in a read model with sub ids needs UpdateRow or UpdateRows")
	case subIDOf != nil && c.sub == "":
		var err error
		if out.Sub, err = subIDOf(c.row); err != nil {
			return out, err
		}
	}
	out.EditRow = func(row any) (any, error) {
		var typed *R
		if row != nil {
			typed = row.(*R)
		}
		result, err := c.editRow(typed)
		if c.lenient && errors.Is(err, errMissing) {
			return row, nil
		}
		if err != nil || result == nil {
			return nil, err // an untyped nil: the row is to go
		}
		return result, nil
	}
	return out, nil
}

func (c Change[R]) eraseAll(rows []any) ([]any, error) {
	typed := make([]R, len(rows))
	for i, r := range rows {
		typed[i] = *r.(*R)
	}
	typed, err := c.editRows(typed)
	if err != nil {
		return nil, err
	}
	erased := make([]any, len(typed))
	for i := range typed {
		erased[i] = &typed[i]
	}
	return erased, nil
}
