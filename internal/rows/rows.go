// Package rows holds what all providers must do alike with the rows of read
// models: what is refused, which index a row is in, what a filter matches, how
// queries are ordered and continued. It only computes; it stores nothing.
//
// Numbers are compared as float64, so whole numbers beyond 2^53 may compare as
// equal to their neighbours.
package rows

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// CheckSpec reports whether spec describes a table that can be: a name, indexes
// with names of their own, and no field with two types. The error is an
// [driver.ErrInvalid].
func CheckSpec(spec driver.TableSpec) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("read model %q: %s: %w", spec.Name, fmt.Sprintf(format, args...), driver.ErrInvalid)
	}
	if spec.Name == "" {
		return bad("no name")
	}
	if spec.OwnRow && spec.SubID != "" {
		return bad("OwnRow and SubID exclude each other")
	}
	number := make(map[string]bool) // by field
	if spec.SubID != "" {
		number[spec.SubID] = false
	}
	seen := make(map[string]bool)
	for _, index := range spec.Indexes {
		if index.Name == "" {
			return bad("an index has no name")
		}
		if seen[index.Name] {
			return bad("two indexes are named %q", index.Name)
		}
		seen[index.Name] = true
		for _, field := range indexFields(index) {
			if field.Name == "" {
				return bad("index %q has a field without a name", index.Name)
			}
			if as, ok := number[field.Name]; ok && as != field.Number {
				return bad("field %q of index %q has two types", field.Name, index.Name)
			}
			number[field.Name] = field.Number
		}
	}
	return nil
}

// CheckKey reports whether a row may have this key. The error is an
// [driver.ErrInvalid].
func CheckKey(spec driver.TableSpec, key driver.Key) error {
	if err := driver.CheckID("row", key.ID); err != nil {
		return err
	}
	if spec.SubID != "" {
		return driver.CheckID("sub", key.Sub)
	}
	if key.Sub != "" {
		return fmt.Errorf("row %q has a sub id in a read model without: %w", key.ID, driver.ErrInvalid)
	}
	return nil
}

// Size is what counts against [driver.Limits].MaxRowBytes.
func Size(r driver.Row) int { return len(r.ID) + len(r.Sub) + len(r.Data) }

// Check reports whether r may be stored: everything that [driver.QueryDb] says
// is refused, as [driver.ErrInvalid] or [driver.ErrTooLarge]. A maxBytes of 0 is
// no limit.
//
// It returns the fields of the row, which it has parsed.
func Check(spec driver.TableSpec, r driver.Row, maxBytes int) (map[string]json.RawMessage, error) {
	if err := CheckKey(spec, r.Key); err != nil {
		return nil, err
	}
	if size := Size(r); maxBytes > 0 && size > maxBytes {
		return nil, fmt.Errorf("row %q: %w", r.Key, &driver.TooLargeError{What: "row", Size: size, Limit: maxBytes})
	}
	fields, err := Fields(r.Data)
	if err != nil {
		return nil, fmt.Errorf("row %q: %w", r.Key, err)
	}
	if spec.SubID != "" {
		if sub, ok := scalar(fields[spec.SubID]).(string); !ok || sub != r.Sub {
			return nil, fmt.Errorf("row %q: field %q is not the sub id: %w", r.Key, spec.SubID, driver.ErrInvalid)
		}
	}
	for _, index := range spec.Indexes {
		if _, _, err := IndexEntry(index, fields); err != nil {
			return nil, fmt.Errorf("row %q: %w", r.Key, err)
		}
	}
	return fields, nil
}

// Entry is a row's place in an index.
type Entry struct {
	// Key and Sort are the values of the index's fields, each a string or a
	// float64; Sort is nil in an index without.
	Key, Sort any
}

// IndexEntry returns the place in index of a row with these fields, and whether
// it is in it at all. A field of another type than declared, or a number beyond
// float64, is an [driver.ErrInvalid] that names the field.
func IndexEntry(index driver.Index, fields map[string]json.RawMessage) (Entry, bool, error) {
	values := [2]any{}
	in := true
	for i, field := range indexFields(index) {
		v, ok, err := indexValue(field, fields[field.Name])
		if err != nil {
			return Entry{}, false, err
		}
		values[i] = v
		in = in && ok // go on: the other field's type must be right nevertheless
	}
	if !in {
		return Entry{}, false, nil
	}
	return Entry{Key: values[0], Sort: values[1]}, true, nil
}

func indexFields(index driver.Index) []driver.Field {
	if index.Sort == nil {
		return []driver.Field{index.Key}
	}
	return []driver.Field{index.Key, *index.Sort}
}

func indexValue(field driver.Field, raw json.RawMessage) (any, bool, error) {
	if absent(raw) {
		return nil, false, nil
	}
	switch v := scalar(raw).(type) {
	case string:
		if !field.Number {
			return v, v != "", nil
		}
	case float64:
		if field.Number && !math.IsInf(v, 0) {
			return v, true, nil
		}
	}
	want := "string"
	if field.Number {
		want = "number"
	}
	return nil, false, fmt.Errorf("field %q of an index is not a %s: %w", field.Name, want, driver.ErrInvalid)
}

// Project returns data with the fields that a query of index returns: data
// itself when the index includes all, else an object of the sub id field, the
// index's fields and the included ones, ordered by name, with the bytes of each
// value kept.
func Project(spec driver.TableSpec, index driver.Index, data json.RawMessage) (json.RawMessage, error) {
	if index.Include == nil {
		return data, nil
	}
	fields, err := Fields(data)
	if err != nil {
		return nil, err
	}
	keep := make(map[string]bool)
	if spec.SubID != "" {
		keep[spec.SubID] = true
	}
	for _, field := range indexFields(index) {
		keep[field.Name] = true
	}
	for _, name := range index.Include {
		keep[name] = true
	}
	b := []byte{'{'}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if keep[name] {
			b = appendMember(b, name, fields[name])
		}
	}
	return append(b, '}'), nil
}

func appendMember(b []byte, name string, value []byte) []byte {
	if len(b) > 1 {
		b = append(b, ',')
	}
	b = append(b, quote(name)...)
	b = append(b, ':')
	return append(b, value...)
}

// Deadline is when a row ends, in seconds since 1970, for a store that keeps a
// number: 0 is never.
func Deadline(expiresAt time.Time) int64 {
	if expiresAt.IsZero() {
		return 0
	}
	return max(1, expiresAt.Unix()) // long past, but not never
}

// ExpiresAt is the inverse of [Deadline].
func ExpiresAt(deadline int64) time.Time {
	if deadline == 0 {
		return time.Time{}
	}
	return time.Unix(deadline, 0).UTC()
}

// Expired reports whether a row with this deadline is absent at now.
func Expired(deadline int64, now time.Time) bool {
	return deadline != 0 && now.Unix() >= deadline
}

// CompareKeys orders keys by id, then by sub id, each by its bytes.
func CompareKeys(a, b driver.Key) int {
	return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Sub, b.Sub))
}

// CompareValues orders the values of one field: nil, false, true, numbers by
// value (each a float64), strings by their bytes.
func CompareValues(a, b any) int {
	switch a := a.(type) {
	case float64:
		if b, ok := b.(float64); ok {
			return cmp.Compare(a, b)
		}
	case string:
		if b, ok := b.(string); ok {
			return cmp.Compare(a, b)
		}
	case bool:
		if b, ok := b.(bool); ok && a != b {
			if b {
				return -1
			}
			return 1
		}
	}
	return cmp.Compare(rank(a), rank(b))
}

func rank(v any) int {
	switch v.(type) {
	case bool:
		return 1
	case float64:
		return 2
	case string:
		return 3
	}
	return 0
}
