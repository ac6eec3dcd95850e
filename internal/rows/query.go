package rows

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/reventless-go/reventless/driver"
)

// defaultLimit is the page size of a query without a limit.
const defaultLimit = 100

// Position is the position of a row in the order of a query or scan.
type Position struct {
	// Sort is the value of the index's sort field, a string or a float64, or the
	// value of the field that orders a scan, which may also be a bool or nil. It is
	// nil if rows are ordered by key only.
	Sort any
	driver.Key
}

// Compare orders positions ascending.
func (p Position) Compare(o Position) int {
	return cmp.Or(CompareValues(p.Sort, o.Sort), CompareKeys(p.Key, o.Key))
}

// Plan is a checked query or scan.
type Plan struct {
	// Index is the index to use; nil for a query by id.
	Index *driver.Index
	// Value is the id or index key, a string or a float64; nil for a scan.
	Value any
	// Field orders a scan; if it is empty, rows are ordered by key only.
	Field string
	// Descending reverses the order.
	Descending bool
	// Limit is the maximum number of rows on the page, at least 1.
	Limit int
	// After is the position of the cursor; nil starts at the first row.
	After *Position

	query identity
}

// CheckQuery checks q against the spec of its read model. An unknown index is an
// [driver.ErrNotFound], a malformed query a [driver.ErrInvalid].
func CheckQuery(spec driver.TableSpec, q driver.Query) (Plan, error) {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("query %q: %s: %w", q.ReadModel, fmt.Sprintf(format, args...), driver.ErrInvalid)
	}
	plan := Plan{Value: normal(q.Value), Limit: cmp.Or(q.Limit, defaultLimit)}
	key, sort := driver.Field{Name: "id"}, &driver.Field{Name: spec.SubID}
	if spec.SubID == "" {
		sort = nil
	}
	if q.Index != "" {
		i := slices.IndexFunc(spec.Indexes, func(index driver.Index) bool { return index.Name == q.Index })
		if i < 0 {
			return Plan{}, fmt.Errorf("query %q: index %q: %w", q.ReadModel, q.Index, driver.ErrNotFound)
		}
		plan.Index = &spec.Indexes[i]
		key, sort = plan.Index.Key, plan.Index.Sort
	}
	if q.Limit < 0 {
		return Plan{}, bad("limit %d", q.Limit)
	}
	if !hasType(key, plan.Value) {
		return Plan{}, bad("the value has a different type than field %q", key.Name)
	}
	if q.Sort != nil {
		if sort == nil {
			return Plan{}, bad("a sort condition without a sort field")
		}
		switch q.Sort.Comparator {
		case driver.Equal, driver.Less, driver.LessOrEqual, driver.Greater, driver.GreaterOrEqual, driver.BeginsWith, driver.Between:
		default:
			return Plan{}, bad("comparator %q in a sort condition", q.Sort.Comparator)
		}
		if err := checkCondition(*q.Sort); err != nil {
			return Plan{}, fmt.Errorf("query %q: %w", q.ReadModel, err)
		}
		for _, v := range q.Sort.Values {
			if !hasType(*sort, normal(v)) {
				return Plan{}, bad("a value of the sort condition has a different type than field %q", sort.Name)
			}
		}
	}
	if err := checkFilters(q.ReadModel, q.Filters); err != nil {
		return Plan{}, err
	}
	id := appendText(append(make([]byte, 0, 128), 'q'), q.ReadModel)
	id = appendValue(appendText(id, q.Index), plan.Value)
	if q.Sort != nil {
		id = appendCondition(append(id, 1), *q.Sort)
	} else {
		id = append(id, 0)
	}
	plan.query = identify(appendFilters(id, q.Filters))
	plan.Descending = q.Descending
	if plan.Index == nil {
		sort = nil // positions have the sub id in their key
	}
	plan, err := plan.at(q.Cursor, func(v any) bool {
		if sort == nil {
			return v == nil
		}
		return hasType(*sort, v)
	})
	if err != nil {
		return Plan{}, fmt.Errorf("query %q: %w", q.ReadModel, err)
	}
	return plan, nil
}

// CheckScan checks s. A malformed scan is a [driver.ErrInvalid].
func CheckScan(s driver.Scan) (Plan, error) {
	if s.Limit < 0 {
		return Plan{}, fmt.Errorf("scan %q: limit %d: %w", s.ReadModel, s.Limit, driver.ErrInvalid)
	}
	if err := checkFilters(s.ReadModel, s.Filters); err != nil {
		return Plan{}, err
	}
	plan := Plan{Limit: cmp.Or(s.Limit, defaultLimit)}
	id := appendText(append(make([]byte, 0, 128), 's'), s.ReadModel)
	if s.Order != nil {
		plan.Field, plan.Descending = s.Order.Field, s.Order.Descending
		id = appendText(append(id, 1), s.Order.Field)
	} else {
		id = append(id, 0)
	}
	plan.query = identify(appendFilters(id, s.Filters))
	plan, err := plan.at(s.Cursor, func(v any) bool { return v == nil || plan.Field != "" })
	if err != nil {
		return Plan{}, fmt.Errorf("scan %q: %w", s.ReadModel, err)
	}
	return plan, nil
}

// Place returns the position in a scan of a row with this data, which was checked
// when it was stored.
func (p Plan) Place(key driver.Key, data []byte) Position {
	at := Position{Key: key}
	if p.Field != "" {
		at.Sort = scalar(lookup(data, p.Field))
	}
	return at
}

// Compare orders positions in the direction of the plan.
func (p Plan) Compare(a, b Position) int {
	if p.Descending {
		return b.Compare(a)
	}
	return a.Compare(b)
}

// Follows reports whether a position comes after the cursor.
func (p Plan) Follows(at Position) bool { return p.After == nil || p.Compare(at, *p.After) > 0 }

// identity identifies queries that can share cursors. It is a hash of everything in
// a query except the direction, the limit and the cursor.
type identity [12]byte

func identify(text []byte) identity {
	sum := sha256.Sum256(text)
	return identity(sum[:])
}

// cursors encodes cursors for use in URLs.
var cursors = base64.RawURLEncoding.Strict()

// Cursor returns the cursor that continues after the row at a position.
func (p Plan) Cursor(at Position) string {
	b := make([]byte, 0, 128)
	b = append(b, p.query[:]...)
	b = appendValue(b, at.Sort)
	return cursors.EncodeToString(appendText(appendText(b, at.ID), at.Sub))
}

// at returns the plan with the position of a cursor, which may be empty. fits reports
// whether a sort value is possible in the plan.
func (p Plan) at(text string, fits func(sort any) bool) (Plan, error) {
	if text == "" {
		return p, nil
	}
	b, err := cursors.DecodeString(text)
	if err != nil {
		return Plan{}, fmt.Errorf("cursor: %w: %w", driver.ErrInvalid, err)
	}
	rest, ok := bytes.CutPrefix(b, p.query[:])
	if !ok {
		return Plan{}, fmt.Errorf("cursor of another query: %w", driver.ErrInvalid)
	}
	r := reader{rest: rest}
	at := Position{Sort: r.value(), Key: driver.Key{ID: r.text(), Sub: r.text()}}
	// Each position has exactly one cursor: other encodings of it are refused.
	if r.bad || at.ID == "" || !fits(at.Sort) || p.Cursor(at) != text {
		return Plan{}, fmt.Errorf("cursor: %w", driver.ErrInvalid)
	}
	p.After = &at
	return p, nil
}

// The kinds of a value in a cursor.
const (
	kindNil byte = iota
	kindFalse
	kindTrue
	kindNumber
	kindText
)

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// appendValue appends a value returned by [normal].
func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case bool:
		if v {
			return append(b, kindTrue)
		}
		return append(b, kindFalse)
	case float64:
		return binary.BigEndian.AppendUint64(append(b, kindNumber), math.Float64bits(v))
	case string:
		return appendText(append(b, kindText), v)
	}
	return append(b, kindNil)
}

func appendFilters(b []byte, filters []driver.Filter) []byte {
	for _, f := range filters {
		b = appendCondition(appendText(b, f.Field), f)
	}
	return b
}

func appendCondition(b []byte, f driver.Filter) []byte {
	b = appendText(b, string(f.Comparator))
	b = binary.AppendUvarint(b, uint64(len(f.Values)))
	for _, v := range f.Values {
		b = appendValue(b, normal(v))
	}
	return b
}

// reader decodes the output of the append functions. Its input is untrusted.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.bad, n = true, 0
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) text() string {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		r.bad = true
		return ""
	}
	r.take(uint64(size))
	s := string(r.take(n))
	r.bad = r.bad || !utf8.ValidString(s)
	return s
}

func (r *reader) value() any {
	kind := r.take(1)
	if r.bad {
		return nil
	}
	switch kind[0] {
	case kindNil:
	case kindFalse:
		return false
	case kindTrue:
		return true
	case kindNumber:
		if b := r.take(8); !r.bad {
			f := math.Float64frombits(binary.BigEndian.Uint64(b))
			r.bad = math.IsNaN(f)
			return f
		}
	case kindText:
		return r.text()
	default:
		r.bad = true
	}
	return nil
}

func checkFilters(readModel string, filters []driver.Filter) error {
	for _, f := range filters {
		if err := CheckFilter(f); err != nil {
			return fmt.Errorf("query %q: %w", readModel, err)
		}
	}
	return nil
}

// hasType reports whether v, a value returned by [normal], has the type of field.
func hasType(field driver.Field, v any) bool {
	switch v := v.(type) {
	case string:
		return !field.Number
	case float64:
		return field.Number && !math.IsNaN(v) && !math.IsInf(v, 0)
	}
	return false
}
