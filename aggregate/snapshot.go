package aggregate

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/reventless-go/reventless/internal/component"
)

// lossless returns an error if JSON would lose a part of a value of type t. A snapshot
// without an unexported field would make Decide answer differently after a cold
// start.
func lossless(t reflect.Type, path string, seen map[reflect.Type]bool) error {
	if seen[t] {
		return nil
	}
	seen[t] = true
	if component.MarshalsItself(t) {
		return nil
	}
	switch t.Kind() {
	case reflect.Struct:
		for f := range t.Fields() {
			name := path + "." + f.Name
			switch {
			case f.Anonymous && f.Type.Kind() == reflect.Struct:
			case !f.IsExported():
				return fmt.Errorf("field %s is not exported", name)
			case f.Tag.Get("json") == "-":
				return fmt.Errorf(`field %s is tagged json:"-"`, name)
			}
			if err := lossless(f.Type, name, seen); err != nil {
				return err
			}
		}
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return lossless(t.Elem(), path, seen)
	case reflect.Map:
		if k := t.Key(); k.Kind() != reflect.String && !k.ConvertibleTo(reflect.TypeFor[int64]()) && !component.MarshalsItself(k) {
			return fmt.Errorf("%s is a map with keys of type %v", path, k)
		}
		return lossless(t.Elem(), path+"[]", seen)
	case reflect.Interface, reflect.Func, reflect.Chan, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer:
		return fmt.Errorf("%s is a %v", path, t)
	}
	return nil
}

// survives returns an error that names the difference if a state is not equal after a
// round trip through JSON.
func survives(state reflect.Value, what string) error {
	data, err := json.Marshal(state.Interface())
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	back := reflect.New(state.Type())
	if err := json.Unmarshal(data, back.Interface()); err != nil {
		return fmt.Errorf("%s as %.200s: %w", what, data, err)
	}
	if path := difference(state, back.Elem(), "State"); path != "" {
		return fmt.Errorf("%s is not equal after a round trip through JSON: %s differs", what, path)
	}
	return nil
}

// difference returns the path of a part in which two values differ as far as Decide and
// Evolve can notice, or "". A nil slice is equal to an empty one. A nil map is not equal
// to an empty one, since writing to it panics.
func difference(a, b reflect.Value, path string) string {
	if component.MarshalsItself(a.Type()) {
		if equal(a, b) {
			return ""
		}
		return path
	}
	switch a.Kind() {
	case reflect.Struct:
		for f := range a.Type().Fields() {
			if d := difference(a.FieldByIndex(f.Index), b.FieldByIndex(f.Index), path+"."+f.Name); d != "" {
				return d
			}
		}
		return ""
	case reflect.Pointer:
		if !a.IsNil() && !b.IsNil() {
			return difference(a.Elem(), b.Elem(), path)
		}
	case reflect.Slice, reflect.Array:
		for i := range min(a.Len(), b.Len()) {
			if d := difference(a.Index(i), b.Index(i), fmt.Sprintf("%s[%d]", path, i)); d != "" {
				return d
			}
		}
		if a.Len() == b.Len() {
			return ""
		}
	case reflect.Map:
		for _, k := range a.MapKeys() {
			if v := b.MapIndex(k); v.IsValid() {
				if d := difference(a.MapIndex(k), v, fmt.Sprintf("%s[%v]", path, k)); d != "" {
					return d
				}
			}
		}
		if a.IsNil() == b.IsNil() && a.Len() == b.Len() {
			return ""
		}
	}
	if equal(a, b) {
		return ""
	}
	return path
}

// equal compares two values with the method Equal of their type, if it has one.
func equal(a, b reflect.Value) bool {
	if m := a.MethodByName("Equal"); m.IsValid() && m.Type().NumIn() == 1 && m.Type().In(0) == a.Type() &&
		m.Type().NumOut() == 1 && m.Type().Out(0).Kind() == reflect.Bool {
		return m.Call([]reflect.Value{b})[0].Bool()
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

// sample sets v to a value without zeros. Maps that are nested deeper than levels are
// empty. It leaves types that define their own JSON as they are, and what contains them
// empty: they may refuse any value.
func sample(v reflect.Value, levels int, within []reflect.Type) {
	t := v.Type()
	if t == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(time.Date(2006, 1, 2, 15, 4, 5, 123456789, time.UTC)))
		return
	}
	if component.MarshalsItself(t) || slices.Contains(within, t) {
		return
	}
	within = append(slices.Clip(within), t)
	element := func() (reflect.Value, bool) {
		e := reflect.New(t.Elem()).Elem()
		sample(e, levels, within)
		return e, !opaque(t.Elem(), within)
	}
	switch t.Kind() {
	case reflect.Struct:
		for f := range t.Fields() {
			sample(v.FieldByIndex(f.Index), levels, within)
		}
	case reflect.Pointer:
		if e, ok := element(); ok {
			v.Set(reflect.New(t.Elem()))
			v.Elem().Set(e)
		}
	case reflect.Slice:
		if e, ok := element(); ok {
			v.Set(reflect.Append(v, e))
		}
	case reflect.Array:
		for i := range t.Len() {
			sample(v.Index(i), levels, within)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(t))
		if levels--; levels < 0 {
			return
		}
		key := reflect.New(t.Key()).Elem()
		sample(key, 0, within)
		if e, ok := element(); ok && !opaque(t.Key(), within) {
			v.SetMapIndex(key, e)
		}
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString("x")
	default:
		switch {
		case v.CanInt():
			v.SetInt(7)
		case v.CanUint():
			v.SetUint(7)
		case v.CanFloat():
			v.SetFloat(1.5)
		}
	}
}

// opaque reports whether a type contains one that defines its own JSON, other than
// times, or one of within, which contain it.
func opaque(t reflect.Type, within []reflect.Type) bool {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return false
	case component.MarshalsItself(t), slices.Contains(within, t):
		return true
	}
	within = append(slices.Clip(within), t)
	switch t.Kind() {
	case reflect.Struct:
		for f := range t.Fields() {
			if opaque(f.Type, within) {
				return true
			}
		}
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return opaque(t.Elem(), within)
	}
	return false
}

// preserved returns an error if JSON does not preserve states of type S: neither the
// initial one nor samples.
func preserved[S any](initial S) error {
	if err := lossless(reflect.TypeFor[S](), "State", map[reflect.Type]bool{}); err != nil {
		return err
	}
	err := survives(reflect.ValueOf(&initial).Elem(), "Initial")
	for levels := 0; levels < 4 && err == nil; levels++ {
		v := reflect.New(reflect.TypeFor[S]()).Elem()
		sample(v, levels, nil)
		err = survives(v, "a state with values")
	}
	return err
}
