package aggregate

import (
	"fmt"
	"reflect"

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
		return lossless(t.Elem(), path+"[]", seen)
	case reflect.Interface, reflect.Func, reflect.Chan, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer:
		return fmt.Errorf("%s is a %v", path, t)
	}
	return nil
}
