package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reventless-go/reventless/internal/api"
)

// write writes one stored value. The result starts with the paths of the errors;
// "bubbled" stands for a missing value.
func write(r api.Ref, data string, sel api.Selection) string {
	var w api.Writer
	ok := w.Value(r, json.RawMessage(data), sel, "root")
	out := ""
	for _, e := range w.Errors {
		out += fmt.Sprint(e.Path) + " "
	}
	if !ok {
		return out + "bubbled" + string(w.Bytes())
	}
	return out + string(w.Bytes())
}

// selection selects fields of any object by name; "key=name" gives another name
// in the answer, and "a.b" selects from objects.
func selection(names ...string) api.Selection {
	return func(t *api.Type) []api.Selected {
		var out []api.Selected
		for _, n := range names {
			n, below, _ := strings.Cut(n, ".")
			key, name, aliased := strings.Cut(n, "=")
			if !aliased {
				name = key
			}
			s := api.Selected{Key: key, Field: t.Field(name)}
			if below != "" {
				s.Sub = selection(below)
			}
			if s.Field != nil || name == "__typename" {
				out = append(out, s)
			}
		}
		return out
	}
}

func TestWriter(t *testing.T) {
	t.Parallel()
	s := rich(t)
	f := func(name string) api.Ref { return s.Type("ShopRich").Field(name).Type }
	line := f("line")
	for _, tt := range []struct {
		name string
		ref  api.Ref
		data string
		sel  api.Selection
		want string
	}{
		{"absent text", f("text"), ``, nil, `""`},
		{"null text", f("text"), `null`, nil, `""`},
		{"absent pointer", f("maybe"), ``, nil, `null`},
		{"null pointer", f("maybe"), ` null `, nil, `null`},
		{"absent flag", f("flag"), ``, nil, `false`},
		{"absent number", f("i8"), ``, nil, `0`},
		{"absent time", f("at"), ``, nil, `"0001-01-01T00:00:00Z"`},
		{"absent list", f("grid"), ``, nil, `[]`},
		{"absent JSON", f("data"), ``, nil, `null`},
		{"absent object", line, ``, selection("product", "quantity", "note", "parts.product"), `{"product":"","quantity":0,"note":null,"parts":[]}`},
		{"absent nullable object", f("perhaps"), ``, nil, `null`},
		{"absent members", line, `{}`, nil, `{"product":"","quantity":0,"price":0,"note":null,"parts":[]}`},
		{"null members", line, `{"product":null,"quantity":null,"note":null,"parts":null}`, selection("product", "quantity", "note", "parts"), `{"product":"","quantity":0,"note":null,"parts":[]}`},
		{"holes", f("holes"), `[1, null ,2]`, nil, `[1,null,2]`},
		{"null in a list", f("tags"), `["a",null]`, nil, `["a",""]`},

		{"2^53", f("i64"), `9007199254740992`, nil, `9007199254740992`},
		{"-2^53", f("i64"), `-9007199254740992`, nil, `-9007199254740992`},
		{"2^53+1", f("i64"), `9007199254740993`, nil, `[root] bubbled`},
		{"-2^53-1", f("i64"), `-9007199254740993`, nil, `[root] bubbled`},
		{"2^64-1", f("u64"), `18446744073709551615`, nil, `[root] bubbled`},
		{"2^53+1 behind a pointer", f("count"), `9007199254740993`, nil, `[root] null`},
		{"2^53+1 with a fraction", f("f64"), `9007199254740993`, nil, `9007199254740993`},
		{"1e3 whole", f("i64"), `1e3`, nil, `[root] bubbled`},
		{"1e3", f("f64"), `1e3`, nil, `1e3`},
		{"1.5 whole", f("cents"), `1.5`, nil, `[root] bubbled`},
		{"2^31 as Int", f("i32"), `2147483648`, nil, `[root] bubbled`},
		{"-2^31 as Int", f("i32"), `-2147483648`, nil, `-2147483648`},

		{"text for a number", f("i8"), `"1"`, nil, `[root] bubbled`},
		{"number for a text", f("text"), `1`, nil, `[root] bubbled`},
		{"text for a flag", f("flag"), `"true"`, nil, `[root] bubbled`},
		{"list for an object", line, `[]`, nil, `[root] bubbled`},
		{"object for a list", f("grid"), `{}`, nil, `[root] bubbled`},
		{"text for a list behind a null", f("perhaps"), `{"parts":"x"}`, nil, `[root parts] null`},
		{"wrong but not selected", line, `{"product":1,"quantity":2}`, selection("quantity"), `{"quantity":2}`},

		{"error at a nullable field", line, `{"product":"a","note":1}`, selection("product", "note"), `[root note] {"product":"a","note":null}`},
		{"error bubbles to the object", f("perhaps"), `{"product":"a","quantity":"x"}`, nil, `[root quantity] null`},
		{"error bubbles to the list's element", f("sparse"), `[{"product":"a"},{"product":1},{"product":"c"}]`, selection("product"), `[root 1 product] [{"product":"a"},null,{"product":"c"}]`},
		{"error bubbles through the list", f("lines"), `[{"product":"a"},{"product":1}]`, selection("product"), `[root 1 product] bubbled`},
		{"error bubbles through lists of lists", f("grid"), `[[1],[2,"x"]]`, nil, `[root 1 1] bubbled`},
		{"error deep inside", f("perhaps"), `{"parts":[{"parts":[{},{"parts":[{"quantity":1.5}]}]}]}`, nil, `[root parts 0 parts 1 parts 0 quantity] null`},
		{"errors of several elements", f("sparse"), `[1,{},2]`, selection("product"), `[root 0] [root 2] [null,{"product":""},null]`},
		{"error under the requested name", f("perhaps"), `{"product":1}`, selection("p=product"), `[root p] null`},

		{"all of JSON", f("data"), `{"a": [1, "<x>"] }`, nil, `"{\"a\":[1,\"\u003cx\u003e\"]}"`},
		{"JSON of a text", f("data"), `"x"`, nil, `"\"x\""`},
		{"JSON in a list", s.Type("ShopRich").Field("texts").Type, `[{}, null, 1]`, nil, `["{}",null,"1"]`},

		{"escaped names", line, `{"pro\u0064uct":"a","q\u0075antity":3}`, selection("product", "quantity"), `{"product":"a","quantity":3}`},
		{"escaped texts", line, `{"product":"a\"b\\"}`, selection("product"), `{"product":"a\"b\\"}`},
		{"brackets in texts", line, `{"note":"}]{[\"","product":"a"}`, selection("product", "note"), `{"product":"a","note":"}]{[\""}`},
		{"case of names", line, `{"Product":"a"}`, selection("product"), `{"product":""}`},
		{"unknown members", line, `{"x":{"y":[1]},"product":"a","z":1}`, selection("product"), `{"product":"a"}`},
		// encoding/json writes rows, so only the id that is added in front can occur
		// twice. The first one, the id of the row, must win.
		{"the same member twice", line, `{"product":"key","product":"own"}`, selection("product"), `{"product":"key"}`},
		{"space everywhere", line, " {\n\"product\" :\t\"a\" , \"parts\" : [ { } , { } ] }\r\n", selection("product", "parts.quantity"), `{"product":"a","parts":[{"quantity":0},{"quantity":0}]}`},

		{"twice and renamed", line, `{"product":"a"}`, selection("a=product", "b=product", "type=__typename"), `{"a":"a","b":"a","type":"ShopLine"}`},
		{"nothing selected", line, `{"product":"a"}`, selection(), `{}`},

		{"no JSON", line, `{"product":`, nil, `[root] bubbled`},
		{"no JSON, nullable", f("perhaps"), `{]`, nil, `[root] null`},
		{"two values", f("text"), `"a" "b"`, nil, `[root] bubbled`},
		{"no UTF-8", f("text"), "\"\xff\"", nil, `[root] bubbled`},
		{"too deep", f("data"), strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000), nil, `[root] null`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := write(tt.ref, tt.data, tt.sel); got != tt.want {
				t.Errorf("got %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestWriterOfUnions(t *testing.T) {
	t.Parallel()
	s := rich(t)
	result := s.Operation(api.Query, "commandOutcome").Result
	must := result
	must.NonNull = true
	for _, tt := range []struct {
		ref  api.Ref
		data string
		sel  api.Selection
		want string
	}{
		{result, `{"__typename":"CommandPending","commandId":"c","target":"T"}`, nil, `{"__typename":"CommandPending","commandId":"c","target":"T"}`},
		{result, `{"commandId":"c","__typename":"CommandPending"}`, selection("commandId"), `{"commandId":"c"}`},
		{result, `{"__typename":"CommandRejected","commandId":"c","code":"Taken","message":"m","detail":{"by":"ada"}}`, selection("__typename", "code", "detail", "entityId"), `{"__typename":"CommandRejected","code":"Taken","detail":"{\"by\":\"ada\"}"}`},
		{result, `null`, nil, `null`},
		{result, `{"__typename":"Other"}`, nil, `[root] null`},
		{result, `{"__typename":7}`, nil, `[root] null`},
		{result, `{}`, nil, `[root] null`},
		{must, `{}`, nil, `[root] bubbled`},
		{must, ``, nil, `[root] bubbled`},
		{must, `[]`, nil, `[root] bubbled`},
	} {
		if got := write(tt.ref, tt.data, tt.sel); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.data, got, tt.want)
		}
	}
}

// shown returns what the API must show of a Go value, derived from the value itself.
func shown(r api.Ref, v reflect.Value) any {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		return shown(api.Ref{Type: r.Type, List: r.List, NonNull: true, Number: r.Number}, v.Elem())
	}
	switch {
	case r.List != nil:
		out := []any{}
		for i := range v.Len() {
			out = append(out, shown(*r.List, v.Index(i)))
		}
		return out
	case r.Type.Kind == api.Object:
		out := map[string]any{}
		for _, f := range r.Type.Fields {
			if f.Type.Type != nil && f.Type.Type.Name == "ID" {
				continue
			}
			out[f.Name] = shown(f.Type, member(v, f.JSON))
		}
		return out
	case !v.IsValid(): // of an embedded pointer that is nil
		return json.Number("0")
	}
	text, err := json.Marshal(v.Interface())
	if err != nil {
		panic(err)
	}
	if r.Type.Name == "AWSJSON" {
		if string(text) == "null" {
			return nil
		}
		return string(text)
	}
	var out any
	if err := decoder(text).Decode(&out); err != nil {
		panic(err)
	}
	if r.Type.Name == "String" && v.CanInt() { // the option "string"
		return fmt.Sprint(v.Int())
	}
	if b, ok := v.Interface().([]byte); ok && b == nil {
		return ""
	}
	return out
}

// member returns the field of a struct by its JSON name.
func member(v reflect.Value, name string) reflect.Value {
	for _, f := range reflect.VisibleFields(v.Type()) {
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || tag != name && (tag != "" || f.Name != name) {
			continue
		}
		for _, i := range f.Index {
			if v.Kind() == reflect.Pointer {
				if v.IsNil() {
					return reflect.Value{}
				}
				v = v.Elem()
			}
			v = v.Field(i)
		}
		return v
	}
	panic("no field " + name)
}

func decoder(text []byte) *json.Decoder {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return d
}

// wantShown checks that the API shows a row, stored by encoding/json, correctly.
func wantShown(t *testing.T, s *api.Schema, row Rich) {
	t.Helper()
	data, err := json.Marshal(row)
	if err != nil {
		t.Fatal(err)
	}
	ref := api.Ref{Type: s.Type("ShopRich"), NonNull: true}
	var w api.Writer
	if !w.Value(ref, data, nil) || len(w.Errors) > 0 {
		t.Fatalf("%s\nhas the errors %v", data, w.Errors)
	}
	var got map[string]any
	if err := decoder(w.Bytes()).Decode(&got); err != nil {
		t.Fatalf("%v: %s", err, w.Bytes())
	}
	delete(got, "id")
	for name, want := range shown(ref, reflect.ValueOf(row)).(map[string]any) {
		if !reflect.DeepEqual(got[name], want) {
			t.Errorf("%s: got %v, want %v, of\n%s", name, got[name], want, data)
		}
		delete(got, name)
	}
	if len(got) > 0 {
		t.Errorf("the API also shows %v", got)
	}
}

func TestRowsAreShownAsGoSeesThem(t *testing.T) {
	t.Parallel()
	s := rich(t)
	wantShown(t, s, Rich{})
	seeds(t, 4, func(t *testing.T, rng *rand.Rand) {
		for range 20 {
			wantShown(t, s, randomRich(rng, false))
		}
	})
}

// randomRich makes a value; full has no nil slices.
func randomRich(rng *rand.Rand, full bool) Rich {
	r := Rich{}
	fill(rng, reflect.ValueOf(&r).Elem(), full, 3)
	r.Skipped = nil
	return r
}

var awkward = []string{"", "a", `"`, `\`, "</script>", "ü😀", "\n\t\x01", "null", "{}", "\u2028", "}]", "__typename"}

// fill sets a value and all below it.
func fill(rng *rand.Rand, v reflect.Value, full bool, depth int) {
	switch p := v.Addr().Interface().(type) {
	case *time.Time:
		if rng.IntN(4) > 0 {
			*p = time.Unix(rng.Int64N(1<<33), rng.Int64N(2)*rng.Int64N(1e9)).UTC()
		}
		return
	case *json.RawMessage:
		*p = json.RawMessage([]string{`null`, `{"a":[1,"x"]}`, `"s"`, `1.50`, `[]`, `true`}[rng.IntN(6)])
		if string(*p) == "null" {
			*p = nil
		}
		return
	case *json.Number:
		*p = json.Number([]string{"0", "1.5", "-3", "100"}[rng.IntN(4)])
		return
	case *Color:
		*p = Color{byte(rng.Uint32()), byte(rng.Uint32()), 7}
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if rng.IntN(2) > 0 && depth > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(rng, v.Elem(), full, depth-1)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() && v.Field(i).Kind() != reflect.Map {
				fill(rng, v.Field(i), full, depth)
			}
		}
	case reflect.Slice:
		n := 0
		if depth > 0 {
			n = rng.IntN(4)
		}
		if n > 0 || full || rng.IntN(2) > 0 {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
		}
		for i := range n {
			fill(rng, v.Index(i), full, depth-1)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(rng, v.Index(i), full, depth-1)
		}
	case reflect.String:
		v.SetString(awkward[rng.IntN(len(awkward))])
	case reflect.Bool:
		v.SetBool(rng.IntN(2) > 0)
	case reflect.Float32, reflect.Float64:
		v.SetFloat([]float64{0, 1, -2.5, 1e300, 1e-9, 123456789, math.Pi}[rng.IntN(7)])
		if v.Kind() == reflect.Float32 {
			v.SetFloat(float64(rng.Float32()))
		}
	default:
		bits := min(v.Type().Bits(), 54)
		edge := rng.IntN(4)
		if v.CanUint() {
			limit := uint64(1)<<min(bits, 53) - 1
			v.SetUint([]uint64{0, 1, limit, rng.Uint64N(limit)}[edge])
			return
		}
		limit := int64(1) << (bits - 1)
		v.SetInt([]int64{0, -limit, limit - 1, rng.Int64N(limit)}[edge])
	}
}

// For any stored data the Writer writes valid JSON or reports an error.
func FuzzWriter(f *testing.F) {
	s := rich(f)
	var refs []api.Ref
	for _, t := range s.Types {
		if t.Kind == api.Object || t.Kind == api.Union {
			refs = append(refs, api.Ref{Type: t, NonNull: true}, api.Ref{Type: t})
		}
		for _, field := range t.Fields {
			if t.Kind == api.Object {
				refs = append(refs, field.Type)
			}
		}
	}
	row := slices.IndexFunc(refs, func(r api.Ref) bool { return r.Type != nil && r.Type.Name == "ShopRich" })
	rng := rand.New(rand.NewPCG(1, 1))
	for range 3 {
		data, err := json.Marshal(randomRich(rng, false))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, row)
	}
	for i, data := range []string{
		``, `null`, ` {"a" : 1 } `, `[{},[1e9]]`, `{"text":"\ud800"}`, "\"\xff\"", `{"\u0074ext":"x","text":"y"}`, `{"place":{"X":1.0,"Y":2}}`,
		`{"__typename":"CommandPending"}`, `{"__typename":"CommandPendingX"}`, `9007199254740993`, `{"lines":[null,{"parts":[[]]}]}`,
	} {
		f.Add([]byte(data), row+i)
	}
	f.Fuzz(func(t *testing.T, data []byte, i int) {
		ref := refs[uint(i)%uint(len(refs))]
		before := string(data)
		var w api.Writer
		ok := w.Value(ref, data, nil, "x")
		if string(data) != before {
			t.Fatal("the stored value was changed")
		}
		if !ok {
			if len(w.Bytes()) > 0 || len(w.Errors) == 0 || !ref.NonNull {
				t.Fatalf("no value of %v, but %q and the errors %v", ref, w.Bytes(), w.Errors)
			}
		} else if !json.Valid(w.Bytes()) {
			t.Fatalf("no JSON: %q", w.Bytes())
		}
	})
}
