package rows

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/reventless-go/reventless/driver"
)

// defaultLimit is the page size of a query that names none.
const defaultLimit = 100

// Position is a row's place in the order of a query or scan.
type Position struct {
	// Sort is the value of the index's sort field, a string or a float64; nil
	// when the order is by key alone.
	Sort any
	driver.Key
}

// Compare orders positions ascending.
func (p Position) Compare(o Position) int {
	return cmp.Or(CompareValues(p.Sort, o.Sort), CompareKeys(p.Key, o.Key))
}

// Plan is a query or scan that passed its check.
type Plan struct {
	// Index is the index to use; nil is by id.
	Index *driver.Index
	// Value is the id or index key, a string or a float64; nil in a scan.
	Value any
	// Limit is the most rows of the page, at least 1.
	Limit int
	// After is the last row of the page before; nil is to start.
	After *Position

	query string // hash of the query without limit and cursor
}

// CheckQuery checks q against the read model that it names. An unknown index is
// an [driver.ErrNotFound], a malformed query an [driver.ErrInvalid].
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
		return Plan{}, bad("the value is of another type than %q", key.Name)
	}
	if q.Sort != nil {
		if sort == nil {
			return Plan{}, bad("a sort condition without a sort field")
		}
		switch q.Sort.Comparator {
		case driver.Equal, driver.Less, driver.LessOrEqual, driver.Greater, driver.GreaterOrEqual, driver.BeginsWith, driver.Between:
		default:
			return Plan{}, bad("sort comparator %q", q.Sort.Comparator)
		}
		if err := checkCondition(*q.Sort); err != nil {
			return Plan{}, fmt.Errorf("query %q: %w", q.ReadModel, err)
		}
		for _, v := range q.Sort.Values {
			if !hasType(*sort, normal(v)) {
				return Plan{}, bad("a value is of another type than %q", sort.Name)
			}
		}
	}
	if err := checkFilters(q.ReadModel, q.Filters); err != nil {
		return Plan{}, err
	}
	identity := identity{
		Kind: "query", ReadModel: q.ReadModel, Index: q.Index, Value: plan.Value,
		Filters: canonical(q.Filters), Descending: q.Descending,
	}
	if q.Sort != nil {
		identity.Sort = canonical([]driver.Filter{{Comparator: q.Sort.Comparator, Values: q.Sort.Values}})
	}
	if plan.Index == nil {
		sort = nil // the sub id is in the key
	}
	return plan.at(identity, sort, q.Cursor)
}

// CheckScan checks s. A malformed scan is an [driver.ErrInvalid].
func CheckScan(s driver.Scan) (Plan, error) {
	if s.Limit < 0 {
		return Plan{}, fmt.Errorf("scan %q: limit %d: %w", s.ReadModel, s.Limit, driver.ErrInvalid)
	}
	if err := checkFilters(s.ReadModel, s.Filters); err != nil {
		return Plan{}, err
	}
	plan := Plan{Limit: cmp.Or(s.Limit, defaultLimit)}
	return plan.at(identity{Kind: "scan", ReadModel: s.ReadModel, Filters: canonical(s.Filters)}, nil, s.Cursor)
}

// Cursor returns the cursor that continues behind the row at last.
func (p Plan) Cursor(last Position) string {
	b, _ := json.Marshal(cursor{Query: p.query, Sort: last.Sort, ID: last.ID, Sub: last.Sub}) // strings and numbers marshal
	return base64.RawURLEncoding.EncodeToString(b)
}

// cursor is the text inside of a cursor.
type cursor struct {
	Query string `json:"q"`
	Sort  any    `json:"s,omitempty"`
	ID    string `json:"i"`
	Sub   string `json:"u,omitempty"`
}

// identity is what makes two queries the same, so that the cursor of one may
// continue the other.
type identity struct {
	Kind       string
	ReadModel  string
	Index      string
	Value      any
	Sort       []driver.Filter
	Filters    []driver.Filter
	Descending bool
}

// at returns the plan with its identity and the position of text, the cursor.
func (p Plan) at(id identity, sort *driver.Field, text string) (Plan, error) {
	b, err := json.Marshal(id)
	if err != nil {
		return Plan{}, fmt.Errorf("%s %q: %w: %w", id.Kind, id.ReadModel, driver.ErrInvalid, err)
	}
	sum := sha256.Sum256(b)
	p.query = base64.RawURLEncoding.EncodeToString(sum[:12])
	if text == "" {
		return p, nil
	}
	var c cursor
	b, err = base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil {
		return Plan{}, fmt.Errorf("%s %q: cursor: %w: %w", id.Kind, id.ReadModel, driver.ErrInvalid, err)
	}
	fits := c.Sort == nil
	if sort != nil {
		fits = hasType(*sort, c.Sort)
	}
	if c.Query != p.query || c.ID == "" || !fits {
		return Plan{}, fmt.Errorf("%s %q: cursor of another query: %w", id.Kind, id.ReadModel, driver.ErrInvalid)
	}
	p.After = &Position{Sort: c.Sort, Key: driver.Key{ID: c.ID, Sub: c.Sub}}
	return p, nil
}

func checkFilters(readModel string, filters []driver.Filter) error {
	for _, f := range filters {
		if err := CheckFilter(f); err != nil {
			return fmt.Errorf("query %q: %w", readModel, err)
		}
	}
	return nil
}

// canonical returns filters such that equal queries have equal ones.
func canonical(filters []driver.Filter) []driver.Filter {
	out := make([]driver.Filter, len(filters))
	for i, f := range filters {
		values := make([]any, len(f.Values))
		for j, v := range f.Values {
			values[j] = normal(v)
		}
		out[i] = driver.Filter{Field: f.Field, Comparator: f.Comparator, Values: values}
	}
	return out
}

// hasType reports whether v, a normal value, can be compared with field.
func hasType(field driver.Field, v any) bool {
	switch v := v.(type) {
	case string:
		return !field.Number
	case float64:
		return field.Number && !math.IsNaN(v) && !math.IsInf(v, 0)
	}
	return false
}
