// Package rowtable defines how the rows of a read model are stored as items of a
// DynamoDB table. The deployment and the drivers that write, read and follow the rows
// share it.
//
// The table has the partition key id (S) and, with sub ids, the sort key sub (S).
// Its other attributes are
//
//	data      S  the row, byte for byte; without it the item is not a row
//	rev       N  the row's revision
//	ends      N  when the row expires, in seconds since 1970
//	ttl       N  when DynamoDB may remove it: the table's TTL attribute
//	k:INDEX   S  the key of an index that the row is in
//	s:INDEX   S  its sort key: see [SortOf]
//
// If rows hold their own watermarks (driver.TableSpec.OwnRow), an item also has the
// attributes of package watermarks. It has no ttl: DynamoDB must not delete the item,
// because its watermarks outlive the row.
package rowtable

import (
	"fmt"
	"time"

	"github.com/reventless-go/reventless/aws/internal/dynamo"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/rows"
)

// The names of the attributes.
const (
	ID       = "id"
	Sub      = "sub"
	Data     = "data"
	Revision = "rev"
	TTL      = "ttl"
	ends     = "ends"
)

// MaxRowBytes is the maximum size of a row: the maximum size of an item minus a reserve
// for the other attributes.
const MaxRowBytes = dynamo.MaxItemBytes - 16<<10

// marksBytes is the number of bytes reserved for the watermarks of a row.
const marksBytes = 2 << 10

// IndexName returns the name of a table's index; DynamoDB requires at least three characters.
func IndexName(name string) string { return "index-" + name }

// KeyAttribute returns the name of the attribute with an index's key.
func KeyAttribute(index string) string { return "k:" + index }

// SortAttribute returns the name of the attribute with an index's sort key.
func SortAttribute(index string) string { return "s:" + index }

// Table is the table of a read model.
type Table struct {
	Spec driver.TableSpec
	// Name is the table's physical name.
	Name string
}

// Key returns the key of a row's item.
func (t Table) Key(key driver.Key) dynamo.Item {
	item := dynamo.Item{ID: dynamo.Text(key.ID)}
	if t.Spec.SubID != "" {
		item[Sub] = dynamo.Text(key.Sub)
	}
	return item
}

// KeyAttributes returns the names of the attributes in an item's key.
func (t Table) KeyAttributes() []string {
	if t.Spec.SubID != "" {
		return []string{ID, Sub}
	}
	return []string{ID}
}

// KeyOf returns the key of an item.
func (t Table) KeyOf(item dynamo.Item) (driver.Key, error) {
	r := dynamo.Read(item)
	key := driver.Key{ID: r.Text(ID)}
	if t.Spec.SubID != "" {
		key.Sub = r.Text(Sub)
	}
	return key, r.Err()
}

// At returns the condition that a row exists with a revision, expired or not; 0 means that
// it does not exist.
func (t Table) At(e *dynamo.Expression, revision uint64) string {
	if revision == 0 {
		return e.Absent(Data)
	}
	return e.Present(Data) + " AND " + e.Name(Revision) + " = " + e.Value(dynamo.Number(revision))
}

// Put checks a row, adds its attributes to the update, and returns the size of the item.
// The first revision is derived from now in microseconds, so that the revisions of a
// deleted row are not used again.
func (t Table) Put(e *dynamo.Expression, row driver.Row, now time.Time) (size int, err error) {
	fields, err := rows.Check(t.Spec, row, MaxRowBytes)
	if err != nil {
		return 0, err
	}
	item := t.Key(row.Key)
	for name, v := range (dynamo.Item{Data: dynamo.Text(string(row.Data)), Revision: dynamo.Number(now.UnixMicro())}) {
		item[name] = v
	}
	deadline := rows.Deadline(row.ExpiresAt)
	if deadline != 0 {
		item[ends] = dynamo.Number(deadline)
		if !t.Spec.OwnRow {
			item[TTL] = dynamo.Number(rows.Purge(deadline, now))
		}
	}
	if err := t.enter(item, row.Key, fields); err != nil {
		return 0, fmt.Errorf("row %.100q: %w", row.Key, err)
	}
	size = dynamo.Size(item)
	if t.Spec.OwnRow {
		size += marksBytes
	}
	if size > dynamo.MaxItemBytes {
		return 0, fmt.Errorf("row %.100q with its indexes: %w", row.Key, &driver.TooLargeError{What: "row", Size: size, Limit: dynamo.MaxItemBytes})
	}
	e.Set(Data, item[Data])
	// Only the first revision depends on a clock: later ones grow even when clocks differ.
	e.SetTo(Revision, fmt.Sprintf("if_not_exists(%s, %s) + %s", e.Name(Revision), e.Value(item[Revision]), e.Value(dynamo.Number(1))))
	t.set(e, item, ends)
	t.set(e, item, TTL)
	for _, index := range t.Spec.Indexes {
		t.set(e, item, KeyAttribute(index.Name))
		t.set(e, item, SortAttribute(index.Name))
	}
	return size, nil
}

// Drop removes the row from the item. The item keeps the revision, which the next row
// increments.
func (t Table) Drop(e *dynamo.Expression) {
	e.Remove(Data)
	e.Remove(ends)
	for _, index := range t.Spec.Indexes {
		e.Remove(KeyAttribute(index.Name))
		e.Remove(SortAttribute(index.Name))
	}
}

func (t Table) set(e *dynamo.Expression, item dynamo.Item, name string) {
	if v, ok := item[name]; ok {
		e.Set(name, v)
	} else {
		e.Remove(name)
	}
}

// Decode returns the row of an item, and whether the item has one, expired or not. For an
// item with invalid attributes it returns an error of class [driver.ErrDamaged] that names
// the item.
func (t Table) Decode(item dynamo.Item) (driver.Row, bool, error) {
	r := dynamo.Read(item)
	row := driver.Row{Key: driver.Key{ID: r.Text(ID)}}
	if t.Spec.SubID != "" {
		row.Sub = r.Text(Sub)
	}
	there := r.Has(Data) || !t.Spec.OwnRow // an item without a row has only watermarks
	deadline := int64(0)
	if there {
		row.Data = []byte(r.Text(Data))
		row.Revision = r.Uint(Revision)
		if r.Has(ends) {
			deadline = int64(r.Uint(ends)) //nolint:gosec // it was written from an int64
		}
	}
	if err := r.Err(); err != nil {
		return driver.Row{}, false, &driver.DamageError{Table: "rows", Name: t.Spec.Name, Key: row.Key.String(), Cause: err}
	}
	if !there {
		return driver.Row{}, false, nil
	}
	row.ExpiresAt = rows.ExpiresAt(deadline)
	return row, true, nil
}
