package readmodel

import (
	"errors"
	"fmt"
	"slices"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
)

// Changes are the changes of rows that an event leads to, applied in their order.
// [Put], [Update] and the other functions return them; several are joined by
// [slices.Concat]. nil is no change.
//
// The functions passed to them may be called more than once, and change nothing but
// the rows that they get.
type Changes[R any] []change[R]

type change[R any] struct {
	id, sub  string
	row      *R // names the sub id, for a change that says what the row is
	blind    bool
	lenient  bool
	editRow  func(row *R) (*R, error) // nil in: absent; nil out: delete
	editRows func(rows []R) ([]R, error)
}

// Put stores row under id, replacing an existing row.
func Put[R any](id string, row R) Changes[R] { return PutRows(id, row) }

// PutRows is [Put] for several rows of an id with sub ids. Other rows of the id stay.
func PutRows[R any](id string, rows ...R) Changes[R] {
	changes := make(Changes[R], len(rows))
	for i, row := range rows {
		changes[i] = change[R]{id: id, row: &row, blind: true, editRow: func(*R) (*R, error) {
			r := row
			return &r, nil
		}}
	}
	return changes
}

// Create stores row under id. If there is a row already, the event fails with
// [driver.ErrExists].
func Create[R any](id string, row R) Changes[R] {
	return Changes[R]{{id: id, row: &row, editRow: func(old *R) (*R, error) {
		if old != nil {
			return nil, fmt.Errorf("create: %w", driver.ErrExists)
		}
		r := row
		return &r, nil
	}}}
}

// Update changes the row of id. If there is no row, the event fails with
// [driver.ErrNotFound], unless rows expire; see [Changes.IgnoreMissing].
func Update[R any](id string, f func(*R)) Changes[R] { return UpdateRow(id, "", f) }

// UpdateRow is [Update] for one row of an id with sub ids.
func UpdateRow[R any](id, sub string, f func(*R)) Changes[R] {
	return Changes[R]{{id: id, sub: sub, editRow: func(row *R) (*R, error) {
		if row == nil {
			return nil, errMissing
		}
		f(row)
		return row, nil
	}}}
}

// UpdateRows replaces all rows of an id with sub ids by the rows that f returns. f
// gets them in the order of their sub ids.
func UpdateRows[R any](id string, f func([]R) []R) Changes[R] {
	return Changes[R]{{id: id, editRows: func(rows []R) ([]R, error) { return f(rows), nil }}}
}

// UpdateOrCreate changes the row of id. If there is no row, it first creates initial.
func UpdateOrCreate[R any](id string, initial R, f func(*R)) Changes[R] {
	return Changes[R]{{id: id, row: &initial, editRow: func(row *R) (*R, error) {
		if row == nil {
			created := initial
			row = &created
		}
		f(row)
		return row, nil
	}}}
}

// Delete deletes the row of id; in a read model with sub ids, all rows of id. Rows
// that do not exist are not an error.
func Delete[R any](id string) Changes[R] {
	return Changes[R]{{
		id: id, blind: true,
		editRow:  func(*R) (*R, error) { return nil, nil },
		editRows: func([]R) ([]R, error) { return nil, nil },
	}}
}

// DeleteRow deletes one row of an id with sub ids. A row that does not exist is not
// an error.
func DeleteRow[R any](id, sub string) Changes[R] {
	return Changes[R]{{id: id, sub: sub, blind: true, editRow: func(*R) (*R, error) { return nil, nil }}}
}

// DeleteIf deletes the row of id if pred returns true for it; in a read model with
// sub ids, every such row of id. Rows that do not exist are not an error.
func DeleteIf[R any](id string, pred func(R) bool) Changes[R] {
	return Changes[R]{{id: id, editRows: func(rows []R) ([]R, error) {
		return slices.DeleteFunc(rows, pred), nil
	}, editRow: func(row *R) (*R, error) {
		if row == nil || pred(*row) {
			return nil, nil
		}
		return row, nil
	}}}
}

// IgnoreMissing returns the changes such that an update of a row that does not exist
// does nothing instead of failing.
func (c Changes[R]) IgnoreMissing() Changes[R] {
	out := slices.Clone(c)
	for i := range out {
		out[i].lenient = true
	}
	return out
}

var errMissing = fmt.Errorf("update: the row is missing: %w", driver.ErrNotFound)

// erase returns the change with rows of type any. subIDOf returns a row's sub id; it is
// nil in a read model without sub ids.
func (c change[R]) erase(subIDOf func(*R) (string, error)) (component.Change, error) {
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
			return nil, err // an untyped nil: the row is deleted
		}
		return result, nil
	}
	return out, nil
}

func (c change[R]) eraseAll(rows []any) ([]any, error) {
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
