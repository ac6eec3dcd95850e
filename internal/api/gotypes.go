package api

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/reventless-go/reventless/internal/jsonfield"
)

var (
	timeType    = reflect.TypeFor[time.Time]()
	rawType     = reflect.TypeFor[json.RawMessage]()
	numberType  = reflect.TypeFor[json.Number]()
	jsonOut     = reflect.TypeFor[json.Marshaler]()
	jsonIn      = reflect.TypeFor[json.Unmarshaler]()
	textOut     = reflect.TypeFor[encoding.TextMarshaler]()
	textIn      = reflect.TypeFor[encoding.TextUnmarshaler]()
	remedy      = "use a list of structs or json.RawMessage, or keep the component out of the API with access.Internal"
	intKinds    = map[reflect.Kind]Number{reflect.Int8: {Bits: 8}, reflect.Int16: {Bits: 16}, reflect.Int32: {Bits: 32}, reflect.Uint8: {Bits: 8, Unsigned: true}, reflect.Uint16: {Bits: 16, Unsigned: true}}
	wholeKinds  = map[reflect.Kind]Number{reflect.Int: {Bits: 64}, reflect.Int64: {Bits: 64}, reflect.Uint: {Bits: 64, Unsigned: true}, reflect.Uint32: {Bits: 32, Unsigned: true}, reflect.Uint64: {Bits: 64, Unsigned: true}}
	stringKinds = reflect.String
)

// ref maps a Go type. where is the field that has it, input says whether it is part of
// an argument, and outer names a struct that has no name.
func (b *builder) ref(plugin string, t reflect.Type, where, outer string, input bool) (Ref, error) {
	if containsItself(t) {
		return Ref{}, fmt.Errorf("%s: GraphQL cannot express a %v, which is a list of itself; %s", where, t, remedy)
	}
	if t.Kind() == reflect.Pointer {
		r, err := b.ref(plugin, t.Elem(), where, outer, input)
		r.NonNull = false
		return r, err
	}
	own := func(out, in reflect.Type) bool {
		want := out
		if input {
			want = in
		}
		return t.Implements(want) || reflect.PointerTo(t).Implements(want)
	}
	switch {
	case t == timeType:
		return nonNull(dateTimeType), nil
	case t == rawType:
		return nullable(jsonType), nil
	case t == numberType:
		return nonNull(floatType), nil
	case own(jsonOut, jsonIn):
		return Ref{}, fmt.Errorf("%s: a %v writes its JSON itself, so its shape is not known; %s", where, t, remedy)
	case own(textOut, textIn):
		return nonNull(stringType), nil
	}
	if n, ok := intKinds[t.Kind()]; ok {
		return Ref{Type: intType, NonNull: true, Number: n}, nil
	}
	if n, ok := wholeKinds[t.Kind()]; ok {
		return Ref{Type: floatType, NonNull: true, Number: n}, nil
	}
	switch t.Kind() {
	case stringKinds:
		return nonNull(stringType), nil
	case reflect.Bool:
		return nonNull(booleanType), nil
	case reflect.Float32, reflect.Float64:
		return nonNull(floatType), nil
	case reflect.Slice, reflect.Array:
		if e := reflect.PointerTo(t.Elem()); t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8 && !e.Implements(jsonOut) && !e.Implements(textOut) {
			return nonNull(stringType), nil // base64
		}
		of, err := b.ref(plugin, t.Elem(), where, outer, input)
		return listOf(of), err
	case reflect.Struct:
		st, err := b.structType(plugin, t, where, outer, input)
		return nonNull(st), err
	}
	return Ref{}, fmt.Errorf("%s: GraphQL cannot express a %v; %s", where, t, remedy)
}

// structType maps a struct to an object or input type, once per plugin.
func (b *builder) structType(plugin string, t reflect.Type, where, outer string, input bool) (*Type, error) {
	name := plugin + goTypeName(t.Name())
	if t.Name() == "" {
		name = outer
	}
	kind := Object
	if input {
		name, kind = name+"Input", Input
	}
	key := structKey{plugin, t, input}
	if done := b.structs[key]; done != nil {
		return done, nil
	}
	out := &Type{Name: name, Kind: kind, goType: t.String()}
	b.structs[key] = out // before its fields: a type may contain itself
	fields, err := b.fields(plugin, t, name, input)
	if err != nil {
		return nil, err
	}
	if out.Fields = fields; len(fields) == 0 {
		return nil, fmt.Errorf("%s: GraphQL cannot express %v, which has no fields; %s", where, t, remedy)
	}
	return out, b.add(out, where)
}

// containsItself reports whether lists and pointers lead from a type to itself without
// a struct in between.
func containsItself(t reflect.Type) bool {
	var seen []reflect.Type
	for ; t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Array; t = t.Elem() {
		if slices.Contains(seen, t) {
			return true
		}
		seen = append(seen, t)
	}
	return false
}

type structKey struct {
	plugin string
	t      reflect.Type
	input  bool
}

// fields maps the fields of a struct.
func (b *builder) fields(plugin string, t reflect.Type, outer string, input bool) ([]*Field, error) {
	var out []*Field
	origin := map[string]string{}
	for _, f := range jsonfield.Of(t) {
		name := lowerFirst(f.Name)
		if err := checkName(name); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Go, err)
		}
		if other, taken := origin[name]; taken {
			return nil, fmt.Errorf("%s: its name %q in the API is that of %s too", f.Go, name, other)
		}
		origin[name] = f.Go
		r, err := b.ref(plugin, f.Type, f.Go, outer+upperFirst(name), input)
		if err != nil {
			return nil, err
		}
		if f.Quoted && r.List == nil && (r.Type == intType || r.Type == floatType || r.Type == booleanType) {
			r = Ref{Type: stringType, NonNull: r.NonNull}
		}
		if input && f.Optional {
			r.NonNull = false
		}
		out = append(out, &Field{Name: name, Type: r, JSON: f.Name})
	}
	return out, nil
}
