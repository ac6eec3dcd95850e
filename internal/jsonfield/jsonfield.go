// Package jsonfield lists the fields of a struct as encoding/json sees them.
package jsonfield

import (
	"reflect"
	"slices"
	"strings"
)

// Field is a field of a JSON object.
type Field struct {
	// Name is the name in JSON.
	Name string
	// Type is the Go type.
	Type reflect.Type
	// Index is the path to the field, for [reflect.Value.FieldByIndex].
	Index []int
	// Go is the declaring struct and the Go name, such as "views.Order.OrderID".
	Go string
	// Optional is true if the object may lack the field: it has the option omitempty
	// or omitzero, or belongs to an embedded pointer.
	Optional bool
	// Quoted is true if the field has the option "string".
	Quoted bool

	tagged bool
}

// Of returns the fields of a struct in the order of their declaration. The fields of
// embedded structs are included. If several fields have the same name, the least
// nested one is used; among those the tagged one; if several remain, none.
func Of(t reflect.Type) []Field {
	all := collect(t, nil, false, nil)
	var out []Field
	for _, f := range all {
		if winner(all, f) {
			out = append(out, f)
		}
	}
	return out
}

// Named returns the field with a JSON name.
func Named(t reflect.Type, name string) (Field, bool) {
	fields := Of(t)
	i := slices.IndexFunc(fields, func(f Field) bool { return f.Name == name })
	if i < 0 {
		return Field{}, false
	}
	return fields[i], true
}

func collect(t reflect.Type, path []int, optional bool, above []reflect.Type) []Field {
	if slices.Contains(above, t) {
		return nil
	}
	above = append(slices.Clip(above), t)
	var out []Field
	for f := range t.Fields() {
		tag := f.Tag.Get("json")
		if tag == "-" {
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		index := append(slices.Clone(path), f.Index...)
		embedded := f.Type
		pointer := embedded.Kind() == reflect.Pointer
		if pointer {
			embedded = embedded.Elem()
		}
		if f.Anonymous && name == "" && embedded.Kind() == reflect.Struct {
			if f.IsExported() || !pointer {
				out = append(out, collect(embedded, index, optional || pointer, above)...)
			}
			continue
		}
		if !f.IsExported() {
			continue
		}
		field := Field{Name: name, Type: f.Type, Index: index, Go: t.String() + "." + f.Name, Optional: optional, tagged: name != ""}
		if name == "" {
			field.Name = f.Name
		}
		for o := range strings.SplitSeq(options, ",") {
			field.Optional = field.Optional || o == "omitempty" || o == "omitzero"
			field.Quoted = field.Quoted || o == "string"
		}
		out = append(out, field)
	}
	return out
}

// winner reports whether f is used among all fields with its name.
func winner(all []Field, f Field) bool {
	same := 0
	for _, o := range all {
		if o.Name != f.Name {
			continue
		}
		if len(o.Index) < len(f.Index) || len(o.Index) == len(f.Index) && o.tagged && !f.tagged {
			return false
		}
		if len(o.Index) == len(f.Index) && o.tagged == f.tagged {
			same++
		}
	}
	return same == 1
}
