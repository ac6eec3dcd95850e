package api

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
)

// Payload returns the data of a command from the given arguments of its operation,
// without the arguments of all commands. The error names the argument that does not fit
// its Go type.
func (o *Operation) Payload(args map[string]any) (json.RawMessage, error) {
	data := map[string]any{}
	for _, a := range o.Args {
		v, given := args[a.Name]
		if a.Name == "id" || a.Name == "commandId" || !given {
			continue
		}
		encoded, err := a.Type.encode(a.Name, v)
		if err != nil {
			return nil, err
		}
		data[a.JSON] = encoded
	}
	return json.Marshal(data)
}

// encode returns the value of an argument as it appears in the command's JSON. v is a
// value as GraphQL and JSON parsers return it.
func (r Ref) encode(path string, v any) (any, error) {
	switch {
	case v == nil && r.NonNull:
		return nil, fmt.Errorf("%s: null is no %s", path, r)
	case v == nil:
		return nil, nil
	case r.List != nil:
		list, ok := v.([]any)
		if !ok {
			list = []any{v} // GraphQL coerces a single value to a list
		}
		out := make([]any, len(list))
		for i, e := range list {
			var err error
			if out[i], err = r.List.encode(path+"["+strconv.Itoa(i)+"]", e); err != nil {
				return nil, err
			}
		}
		return out, nil
	case r.Type.Kind == Input:
		object, ok := v.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s: it is no %s", path, r)
		}
		out := map[string]any{}
		for _, f := range r.Type.Fields {
			e, given := object[f.Name]
			if !given && f.Type.NonNull {
				return nil, fmt.Errorf("%s.%s is required", path, f.Name)
			}
			if !given {
				continue
			}
			encoded, err := f.Type.encode(path+"."+f.Name, e)
			if err != nil {
				return nil, err
			}
			out[f.JSON] = encoded
		}
		return out, nil
	}
	return r.encodeScalar(path, v)
}

func (r Ref) encodeScalar(path string, v any) (any, error) {
	bad := func() (any, error) { return nil, fmt.Errorf("%s: it is no %s", path, r) }
	switch r.Type {
	case booleanType:
		if b, ok := v.(bool); ok {
			return b, nil
		}
		return bad()
	case intType, floatType:
		f, ok := number(v)
		if !ok {
			return bad()
		}
		if r.Number.Bits == 0 {
			return f, nil
		}
		low, high := -math.Ldexp(1, min(r.Number.Bits-1, 53)), math.Ldexp(1, min(r.Number.Bits-1, 53))-1
		if r.Number.Unsigned {
			low, high = 0, math.Ldexp(1, min(r.Number.Bits, 53))-1
		}
		if r.Number.Bits == 64 {
			high++ // 2^53 is exact too
		}
		if f != math.Trunc(f) || f < low || f > high {
			return nil, fmt.Errorf("%s: %v is no whole number from %.0f to %.0f", path, v, low, high)
		}
		return int64(f), nil
	case idType:
		if n, ok := number(v); ok && n == math.Trunc(n) && math.Abs(n) <= maxWhole {
			return strconv.FormatInt(int64(n), 10), nil
		}
	}
	s, ok := v.(string)
	if !ok {
		return bad()
	}
	switch r.Type {
	case dateTimeType:
		if _, err := time.Parse(time.RFC3339Nano, s); err != nil {
			return nil, fmt.Errorf("%s: %.40q is no time of RFC 3339 such as 2026-01-31T12:00:00Z", path, s)
		}
	case jsonType:
		if !json.Valid([]byte(s)) {
			return nil, fmt.Errorf("%s: the text is not JSON", path)
		}
		return json.RawMessage(s), nil
	}
	return s, nil
}

// number returns a number as any parser returns it.
func number(v any) (float64, bool) {
	switch n := v.(type) {
	case int:
		return float64(n), true
	case int64:
		return float64(n), int64(float64(n)) == n
	case float64:
		return n, !math.IsNaN(n) && !math.IsInf(n, 0)
	case json.Number:
		f, err := n.Float64()
		if err != nil {
			return 0, false
		}
		if i, err := n.Int64(); err == nil && int64(f) != i {
			return 0, false // it does not survive a float64
		}
		return f, true
	}
	return 0, false
}
