package reventlesstest

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/message"
)

// Handles tests an aggregate with every type of its commands and events, and reports
// everything that is wrong. It calls Evolve and Decide with the zero value of each type.
// They must not panic, change the state that they get, or return an event that is not
// in the aggregate's set. It also checks that each type survives its JSON form.
func Handles[S any, C, E message.Typed](t testing.TB, a *aggregate.Aggregate[S, C, E]) {
	t.Helper()
	spec := a.Spec()
	report := func(format string, args ...any) {
		t.Helper()
		t.Errorf("aggregate %s: %s", spec.Name, fmt.Sprintf(format, args...))
	}
	for _, m := range spec.Commands.Types() {
		if err := keeps(spec.Commands.Erased(), m); err != nil {
			report("command %v", err)
		}
	}
	for _, m := range spec.Events.Types() {
		if err := keeps(spec.Events.Erased(), m); err != nil {
			report("event %v", err)
		}
	}

	type situation struct {
		name  string
		state S
	}
	situations := []situation{{"in the initial state", spec.Initial}}
	for _, m := range spec.Events.Types() {
		wire, err := zero(spec.Events.Erased(), m)
		if err != nil {
			report("event %v", err)
			continue
		}
		var next S
		err = calmly(func() (err error) {
			next, err = evolve(&spec, spec.Initial, wire)
			return err
		})
		if err != nil {
			report("Evolve of a zero %s: %v", m.Name, err)
			continue
		}
		situations = append(situations, situation{"after a zero " + m.Name, next})
	}
	for _, m := range spec.Commands.Types() {
		wire, err := zero(spec.Commands.Erased(), m)
		if err != nil {
			report("command %v", err)
			continue
		}
		for _, s := range situations {
			err := calmly(func() error {
				_, err := decide(&spec, s.state, wire)
				return err
			})
			if err != nil {
				report("Decide of a zero %s, %s: %v", m.Name, s.name, err)
				break
			}
		}
	}
}

// zero returns the encoded zero value of a type.
func zero[T message.Typed](set *component.Set[T], m component.MessageType) (driver.Event, error) {
	v, ok := reflect.Zero(m.Go).Interface().(T)
	if !ok {
		return driver.Event{}, fmt.Errorf("%s: %v is not of the set's type", m.Name, m.Go)
	}
	return set.Encode(v)
}

// keeps returns an error if JSON loses a part of a type's value.
func keeps[T message.Typed](set *component.Set[T], m component.MessageType) error {
	v := reflect.New(m.Go).Elem()
	if err := fill(v, m.Name, 0); err != nil {
		return err
	}
	_, _, err := throughWire(set, v.Interface().(T))
	return err
}

// fill sets every field of v to a nonzero value, so that a lost field is detected.
func fill(v reflect.Value, path string, depth int) error {
	t := v.Type()
	if t == timeType {
		v.Set(reflect.ValueOf(startOfTime.Add(time.Nanosecond)))
		return nil
	}
	if p := reflect.PointerTo(t); depth > 8 || p.Implements(jsonMarshaler) || p.Implements(textMarshaler) {
		return nil // only the type itself knows which values are valid
	}
	switch t.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(7)
	case reflect.Float32, reflect.Float64:
		v.SetFloat(7.5)
	case reflect.String:
		v.SetString("seven")
	case reflect.Pointer:
		v.Set(reflect.New(t.Elem()))
		return fill(v.Elem(), path, depth+1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(t, 1, 1))
		return fill(v.Index(0), path+"[0]", depth+1)
	case reflect.Array:
		for i := range v.Len() {
			if err := fill(v.Index(i), fmt.Sprintf("%s[%d]", path, i), depth+1); err != nil {
				return err
			}
		}
	case reflect.Map:
		key, value := reflect.New(t.Key()).Elem(), reflect.New(t.Elem()).Elem()
		if err := fill(key, path+"[key]", depth+1); err != nil {
			return err
		}
		if err := fill(value, path+"[value]", depth+1); err != nil {
			return err
		}
		v.Set(reflect.MakeMap(t))
		v.SetMapIndex(key, value)
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			switch {
			case !f.IsExported() && f.Anonymous && f.Type.Kind() == reflect.Struct: // its own fields are promoted
			case !f.IsExported():
				return fmt.Errorf("%s: field %s is not exported, so JSON loses it", path, f.Name)
			}
			if !v.Field(i).CanSet() {
				continue
			}
			if err := fill(v.Field(i), path+"."+f.Name, depth+1); err != nil {
				return err
			}
		}
	case reflect.Func, reflect.Chan, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer:
		return fmt.Errorf("%s is a %v, which has no JSON form", path, t)
	}
	return nil
}

// calmly calls f and returns a panic as an error.
func calmly(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("it panics: %v", r)
		}
	}()
	return f()
}
