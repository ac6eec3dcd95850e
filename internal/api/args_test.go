package api_test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/reventless-go/reventless/internal/api"
)

// argument returns a Go value as a GraphQL parser returns it, with numbers in each of
// the representations that parsers use.
func argument(rng *rand.Rand, r api.Ref, v reflect.Value) any {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		return argument(rng, r, v.Elem())
	}
	switch {
	case r.List != nil:
		out := []any{}
		for i := range v.Len() {
			out = append(out, argument(rng, *r.List, v.Index(i)))
		}
		if len(out) == 1 && out[0] != nil && r.List.List == nil && rng.IntN(2) > 0 {
			return out[0] // one value stands for the list of it
		}
		return out
	case r.Type.Kind == api.Input:
		out := map[string]any{}
		for _, f := range r.Type.Fields {
			give(rng, out, f, v)
		}
		return out
	}
	raw, err := json.Marshal(v.Interface())
	if err != nil {
		panic(err)
	}
	if r.Type.Name == "AWSJSON" {
		if v.IsNil() {
			return nil
		}
		return string(raw)
	}
	var out any
	if err := decoder(raw).Decode(&out); err != nil {
		panic(err)
	}
	if r.Type.Name == "String" && v.CanInt() {
		return string(raw)
	}
	if n, ok := out.(json.Number); ok {
		f, _ := n.Float64()
		i, err := n.Int64()
		switch rng.IntN(3) {
		case 0:
			return f
		case 1:
			if err == nil {
				return i
			}
		}
	}
	return out
}

// give adds a field of a struct to the arguments. It sometimes omits an empty optional
// field.
func give(rng *rand.Rand, to map[string]any, f *api.Field, v reflect.Value) {
	field := member(v, f.JSON)
	if !field.IsValid() {
		return // of an embedded pointer
	}
	empty := field.IsZero() || field.Kind() == reflect.Slice && field.Len() == 0
	if !f.Type.NonNull && empty && (rng.IntN(2) > 0 || field.Kind() == reflect.Slice && field.IsNil()) {
		return
	}
	to[f.Name] = argument(rng, f.Type, field)
}

func TestArgumentsBecomeTheCommand(t *testing.T) {
	t.Parallel()
	o := rich(t).Operation(api.Mutation, "shopThingEnrich")
	seeds(t, 4, func(t *testing.T, rng *rand.Rand) {
		for range 10 {
			want := randomRich(rng, true)
			args := map[string]any{"id": "x", "commandId": "c"}
			for _, a := range o.Args {
				if a.Name != "id" && a.Name != "commandId" {
					give(rng, args, a, reflect.ValueOf(want))
				}
			}
			data, err := o.Payload(args)
			if err != nil {
				t.Fatalf("%v, of %v", err, args)
			}
			var got Rich
			if err := json.Unmarshal(data, &got); err != nil {
				t.Fatalf("%v, of %s", err, data)
			}
			// JSON without the list and with an empty list lead to the same command.
			if text, other := marshal(t, got), marshal(t, want); text != other {
				t.Fatalf("got  %s\nwant %s\nof %v", text, other, args)
			}
		}
	})
}

func marshal(t testing.TB, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// fitting returns valid arguments of an operation, with zero values.
func fitting(o *api.Operation) map[string]any {
	var zero func(r api.Ref) any
	zero = func(r api.Ref) any {
		switch {
		case !r.NonNull:
			return nil
		case r.List != nil:
			return []any{}
		case r.Type.Kind == api.Input:
			out := map[string]any{}
			for _, f := range r.Type.Fields {
				out[f.Name] = zero(f.Type)
			}
			return out
		}
		switch r.Type.Name {
		case "Int", "Float":
			return int64(0)
		case "Boolean":
			return false
		case "AWSDateTime":
			return "2026-01-31T12:00:00Z"
		}
		return ""
	}
	args := map[string]any{}
	for _, a := range o.Args {
		args[a.Name] = zero(a.Type)
	}
	return args
}

type object = map[string]any

func TestArgumentsThatDoNotFit(t *testing.T) {
	t.Parallel()
	o := rich(t).Operation(api.Mutation, "shopThingEnrich")
	line := func(with object) object {
		out := object{"product": "p", "quantity": 1}
		for k, v := range with {
			out[k] = v
		}
		return out
	}
	for _, tt := range []struct {
		name string
		v    any
		says string // empty: it fits
	}{
		{"i8", 128, "i8: 128 is no whole number from -128 to 127"},
		{"i8", -129.0, "i8: "},
		{"i16", 32768, "i16: "},
		{"i32", 1 << 31, "i32: "},
		{"u8", 256, "u8: 256 is no whole number from 0 to 255"},
		{"u8", -1, "u8: "},
		{"u16", 65536, "u16: "},
		{"u32", 1 << 32, "u32: "},
		{"u32", -1, "u32: "},
		{"i64", int64(1) << 53, ""},
		{"i64", int64(1)<<53 + 1, "i64: "},
		{"i64", int64(1)<<53 + 2, "i64: "},
		{"i64", -int64(1)<<53 - 2, "i64: "},
		{"i64", int64(math.MaxInt64), "i64: "},
		{"i64", int64(math.MinInt64), "i64: "},
		{"u64", int64(1) << 53, ""},
		{"u64", int64(1)<<53 + 2, "u64: "},
		{"u64", -1.0, "u64: "},
		{"i64", json.Number("9007199254740992"), ""},
		{"i64", json.Number("9007199254740993"), "i64: "},
		{"i64", json.Number("1e3"), ""},
		{"i64", json.Number("18446744073709551616"), "i64: "},
		{"i64", json.Number("1.5"), "i64: "},
		{"i64", json.Number("1e400"), "i64: "},
		{"i64", json.Number("x"), "i64: "},
		{"i64", 1.5, "i64: "},
		{"i64", math.NaN(), "i64: "},
		{"i64", math.Inf(1), "i64: "},
		{"i64", "1", "i64: "},
		{"i64", true, "i64: "},
		{"f64", math.Inf(-1), "f64: "},
		{"f64", "1.5", "f64: "},
		{"number", "1.5", "number: "},
		{"count", 1 << 32, "count: "},
		{"cents", nil, "cents: null is no Float!"},

		{"text", nil, "text: null is no String!"},
		{"text", 1, "text: it is no String!"},
		{"text", []any{"a"}, "text: "},
		{"text", object{}, "text: "},
		{"flag", "true", "flag: "},
		{"flag", 1, "flag: "},
		{"color", 7, "color: "},
		{"maybe", 7, "maybe: it is no String"},

		{"at", "2026-01-31T12:00:00.123456789+02:00", ""},
		{"at", "2026-01-31", "at: "},
		{"at", "noon", "at: "},
		{"at", 7, "at: "},
		{"when", "", "when: "},
		{"data", `{`, "data: the text is not JSON"},
		{"data", object{"a": 1}, "data: "},
		{"data", "", "data: "},
		{"texts", []any{`1`, nil, `{]`}, "texts[2]: "},

		{"tags", nil, "tags: "},
		{"tags", []any{"a", nil}, "tags[1]: null is no String!"},
		{"tags", 1, "tags[0]: it is no String!"},
		{"few", nil, ""},
		{"holes", []any{1, "x"}, "holes[1]: "},
		{"grid", 1, ""},
		{"grid", []any{1, []any{2, 3}}, ""},
		{"grid", []any{[]any{1}, []any{2, "x"}}, "grid[1][1]: "},

		{"line", nil, "line: null"},
		{"line", "x", "line: it is no ShopLineInput!"},
		{"line", []any{}, "line: "},
		{"line", object{"quantity": 1}, "line.product is required"},
		{"line", line(object{"product": nil}), "line.product: null"},
		{"perhaps", object{}, "perhaps.product is required"},
		{"line", line(object{"price": nil, "note": nil, "parts": nil}), ""},
		{"lines", []any{line(nil), line(nil), line(object{"quantity": 40000})}, "lines[2].quantity: 40000 is no whole number from -32768 to 32767"},
		{"lines", line(object{"parts": line(object{"parts": []any{line(nil), line(object{"note": 1})}})}), "lines[0].parts[0].parts[1].note: "},
		{"lines", []any{nil}, "lines[0]: null"},
		{"place", object{"x": 1}, "place.y is required"},
		{"quoted", 12, "quoted: "},
	} {
		args := fitting(o)
		args[tt.name] = tt.v
		data, err := o.Payload(args)
		switch {
		case tt.says == "" && err != nil:
			t.Errorf("%s %v: %v", tt.name, tt.v, err)
		case tt.says == "" && !json.Valid(data):
			t.Errorf("%s %v: got %s", tt.name, tt.v, data)
		case tt.says != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.says)):
			t.Errorf("%s %v: got %v, want %q", tt.name, tt.v, err, tt.says)
		}
	}
}

// The payload omits arguments that are not given, so that a command can distinguish
// them from null, and the arguments that every command has.
func TestPayloadHasWhatWasGiven(t *testing.T) {
	t.Parallel()
	o := rich(t).Operation(api.Mutation, "shopThingEnrich")
	for _, tt := range []struct {
		args map[string]any
		want string
	}{
		{object{}, `{}`},
		{object{"id": "a", "commandId": "b", "unknown": 1}, `{}`},
		{object{"httpurl": "u", "bare": "b"}, `{"Bare":"b","HTTPURL":"u"}`},
		{object{"maybe": nil, "few": nil}, `{"few":null,"maybe":null}`},
		{object{"i64": 1e15, "f64": 1e15, "number": json.Number("12.50")}, `{"f64":1000000000000000,"i64":1000000000000000,"number":12.5}`},
		{object{"tags": "a", "data": ` {"x": 1} `}, `{"data":{"x":1},"tags":["a"]}`},
	} {
		data, err := o.Payload(tt.args)
		if err != nil || string(data) != tt.want {
			t.Errorf("%v: got %s, %v, want %s", tt.args, data, err, tt.want)
		}
	}
}
