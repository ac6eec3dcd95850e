package rows

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/reventless-go/reventless/driver"
)

// Match reports whether a row with these fields (see [Fields]) matches all filters.
// A malformed filter is a [driver.ErrInvalid].
func Match(fields map[string]json.RawMessage, filters []driver.Filter) (bool, error) {
	for _, f := range filters {
		if err := CheckFilter(f); err != nil {
			return false, err
		}
		if !match(f, fields[f.Field]) {
			return false, nil
		}
	}
	return true, nil
}

// MatchSort reports whether a sub id or sort value, a string or a float64, matches
// the checked condition of a query. A nil condition matches every value.
func MatchSort(condition *driver.Filter, value any) bool {
	return condition == nil || matchScalar(condition.Comparator, condition.Values, value)
}

// CheckFilter checks that f is well formed: it has a field, a known comparator, and
// values in the number and of the types that the comparator requires. The error is
// a [driver.ErrInvalid].
func CheckFilter(f driver.Filter) error {
	if f.Field == "" {
		return fmt.Errorf("filter without a field: %w", driver.ErrInvalid)
	}
	return checkCondition(f)
}

func checkCondition(f driver.Filter) error {
	bad := func(problem string) error {
		return fmt.Errorf("condition %q on field %q: %s: %w", f.Comparator, f.Field, problem, driver.ErrInvalid)
	}
	required, ordered, stringsOnly := 1, false, false
	switch f.Comparator {
	case driver.Equal, driver.Unequal, driver.Contains, driver.NotContains:
	case driver.Less, driver.LessOrEqual, driver.Greater, driver.GreaterOrEqual:
		ordered = true
	case driver.Between:
		required, ordered = 2, true
	case driver.BeginsWith:
		stringsOnly = true
	case driver.Exists, driver.NotExists:
		required = 0
	default:
		return bad("unknown comparator")
	}
	if len(f.Values) != required {
		return bad(fmt.Sprintf("it has %d values, want %d", len(f.Values), required))
	}
	for _, v := range f.Values {
		switch v := normal(v).(type) {
		case string:
		case float64:
			if stringsOnly {
				return bad("a value is not a string")
			}
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return bad("a value is not a finite number")
			}
		case bool:
			if ordered || stringsOnly {
				return bad("a value is a bool, which has no order")
			}
		default:
			return bad("a value is not a string, number or bool")
		}
	}
	return nil
}

// normal converts an int64 to float64. It returns nil for types that cannot be the
// value of a query.
func normal(v any) any {
	switch v := v.(type) {
	case int64:
		return float64(v)
	case float64:
		return v + 0 // turns -0 into 0
	case string, bool:
		return v
	}
	return nil
}

// match applies the well-formed filter f to one field.
func match(f driver.Filter, raw json.RawMessage) bool {
	switch f.Comparator {
	case driver.Exists:
		return !absent(raw)
	case driver.NotExists:
		return absent(raw)
	case driver.Unequal:
		return !matchScalar(driver.Equal, f.Values, scalar(raw))
	case driver.Contains:
		return contains(raw, normal(f.Values[0]))
	case driver.NotContains:
		return !contains(raw, normal(f.Values[0]))
	}
	return matchScalar(f.Comparator, f.Values, scalar(raw))
}

// matchScalar compares have with values. have is nil if the field is not a string,
// number or bool.
func matchScalar(c driver.Comparator, values []any, have any) bool {
	want := normal(values[0])
	if have == nil || rank(have) != rank(want) {
		return false
	}
	switch c {
	case driver.Equal:
		return have == want
	case driver.Less:
		return CompareValues(have, want) < 0
	case driver.LessOrEqual:
		return CompareValues(have, want) <= 0
	case driver.Greater:
		return CompareValues(have, want) > 0
	case driver.GreaterOrEqual:
		return CompareValues(have, want) >= 0
	case driver.Between:
		high := normal(values[1])
		return rank(have) == rank(high) && CompareValues(have, want) >= 0 && CompareValues(have, high) <= 0
	case driver.BeginsWith:
		s, ok := have.(string)
		prefix, _ := want.(string)
		return ok && strings.HasPrefix(s, prefix)
	}
	return false
}

func contains(raw json.RawMessage, want any) bool {
	if absent(raw) {
		return false
	}
	switch raw[0] {
	case '"':
		part, ok := want.(string)
		return ok && strings.Contains(unquote(raw), part)
	case '[':
		var list []json.RawMessage
		_ = json.Unmarshal(raw, &list) // raw is valid JSON
		return slices.ContainsFunc(list, func(e json.RawMessage) bool {
			v := scalar(e)
			return v != nil && v == want
		})
	}
	return false
}
