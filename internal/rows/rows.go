// Package rows implements the rules for rows of read models that are the same for
// all providers: which rows are refused, which indexes a row belongs to, what
// filters match, and how queries are ordered and continued. It stores nothing.
//
// Numbers are compared as float64, so integers beyond 2^53 may be equal to their
// neighbors.
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

// CheckSpec checks that spec is valid: it has a name, its indexes have unique names,
// and no field has two types. The error is a [driver.ErrInvalid].
func CheckSpec(spec driver.TableSpec) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("read model %q: %s: %w", spec.Name, fmt.Sprintf(format, args...), driver.ErrInvalid)
	}
	if spec.Name == "" {
		return bad("no name")
	}
	if spec.OwnRow && spec.SubID != "" {
		return bad("OwnRow and SubID are mutually exclusive")
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

// CheckKey checks that a row may have this key. The error is a [driver.ErrInvalid].
func CheckKey(spec driver.TableSpec, key driver.Key) error {
	if err := driver.CheckID("row", key.ID); err != nil {
		return err
	}
	if spec.SubID != "" {
		return driver.CheckID("sub", key.Sub)
	}
	if key.Sub != "" {
		return fmt.Errorf("row %q has a sub id in a read model without sub ids: %w", key.ID, driver.ErrInvalid)
	}
	return nil
}

// Size is the size of a row that [driver.Limits].MaxRowBytes bounds.
func Size(r driver.Row) int { return len(r.ID) + len(r.Sub) + len(r.Data) }

// Check checks that r may be stored, and returns its fields, which it has parsed. It
// makes all checks of rows that [driver.QueryDb] demands; the error is an
// [driver.ErrInvalid] or [driver.ErrTooLarge]. A maxBytes of 0 means no limit.
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
			return nil, fmt.Errorf("row %q: field %q does not equal the sub id: %w", r.Key, spec.SubID, driver.ErrInvalid)
		}
	}
	for _, index := range spec.Indexes {
		if _, _, err := IndexEntry(index, fields); err != nil {
			return nil, fmt.Errorf("row %q: %w", r.Key, err)
		}
	}
	return fields, nil
}

// Entry is the entry of a row in an index.
type Entry struct {
	// Key and Sort are the values of the index fields, each a string or a float64.
	// Sort is nil in an index without a sort field.
	Key, Sort any
}

// IndexEntry returns the entry in index of a row with these fields, and whether the
// row has one. A field of another type than declared, or a number beyond the range
// of float64, is a [driver.ErrInvalid] that names the field.
func IndexEntry(index driver.Index, fields map[string]json.RawMessage) (Entry, bool, error) {
	values := [2]any{}
	in := true
	for i, field := range indexFields(index) {
		v, ok, err := indexValue(field, fields[field.Name])
		if err != nil {
			return Entry{}, false, err
		}
		values[i] = v
		in = in && ok // continue: the type of the other field is checked as well
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
	return nil, false, fmt.Errorf("index field %q is not a %s: %w", field.Name, want, driver.ErrInvalid)
}

// Project returns the part of data that a query of index returns. If the index
// includes all fields, that is data itself. Otherwise it is an object with the sub
// id field, the index fields and the included fields, ordered by name; the bytes of
// their values are unchanged.
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

// Deadline returns the expiry of a row in seconds since 1970, for storage; 0 means
// that the row does not expire.
func Deadline(expiresAt time.Time) int64 {
	if expiresAt.IsZero() {
		return 0
	}
	return max(1, expiresAt.Unix()) // a time before 1970 must not become 0
}

// Purge returns when a store removes a row with this deadline that is written at now, in
// seconds since 1970; 0 for a row that does not expire.
func Purge(deadline int64, now time.Time) int64 {
	if deadline == 0 {
		return 0
	}
	return max(deadline, now.Unix()) + int64(driver.ExpiryGrace/time.Second)
}

// ExpiresAt is the inverse of [Deadline].
func ExpiresAt(deadline int64) time.Time {
	if deadline == 0 {
		return time.Time{}
	}
	return time.Unix(deadline, 0).UTC()
}

// Expired reports whether a row with this deadline has expired at now.
func Expired(deadline int64, now time.Time) bool {
	return deadline != 0 && now.Unix() >= deadline
}

// CompareKeys orders keys by the bytes of the id, then of the sub id.
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
