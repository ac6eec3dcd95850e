package component

import (
	"crypto/sha256"
	"encoding"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/reventless-go/reventless/internal/jsonfield"
)

var (
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

// MarshalsItself reports whether values of a type define their own JSON form.
func MarshalsItself(t reflect.Type) bool {
	return t.Implements(jsonMarshaler) || t.Implements(textMarshaler) ||
		reflect.PointerTo(t).Implements(jsonMarshaler) || reflect.PointerTo(t).Implements(textMarshaler)
}

// Shape returns a fingerprint of the structure that values of a type have in JSON: the
// names and types of their fields, recursively. It does not depend on the names of types
// or on the order of fields. A type that defines its own JSON form counts by its name.
func Shape(t reflect.Type) string {
	var b strings.Builder
	describe(&b, t, nil)
	sum := sha256.Sum256([]byte(b.String()))
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}

// describe writes the structure of t; within are the types that contain it.
func describe(b *strings.Builder, t reflect.Type, within []reflect.Type) {
	if i := slices.Index(within, t); i >= 0 {
		fmt.Fprintf(b, "^%d", len(within)-i)
		return
	}
	if t.Name() != "" && MarshalsItself(t) {
		fmt.Fprintf(b, "%s.%s", t.PkgPath(), t.Name())
		return
	}
	if t.Name() != "" {
		within = append(slices.Clip(within), t)
	}
	switch t.Kind() {
	case reflect.Struct:
		b.WriteByte('{')
		for _, f := range describeFields(t, within) {
			b.WriteString(f)
			b.WriteByte(';')
		}
		b.WriteByte('}')
	case reflect.Pointer:
		b.WriteByte('*')
		describe(b, t.Elem(), within)
	case reflect.Slice:
		b.WriteString("[]")
		describe(b, t.Elem(), within)
	case reflect.Array:
		fmt.Fprintf(b, "[%d]", t.Len())
		describe(b, t.Elem(), within)
	case reflect.Map:
		b.WriteString("map[")
		describe(b, t.Key(), within)
		b.WriteByte(']')
		describe(b, t.Elem(), within)
	default:
		b.WriteString(t.Kind().String())
	}
}

// describeFields returns the fields of a struct in JSON, sorted.
func describeFields(t reflect.Type, within []reflect.Type) []string {
	var out []string
	for _, f := range jsonfield.Of(t) {
		var b strings.Builder
		fmt.Fprintf(&b, "%q,%t ", f.Name, f.Quoted)
		describe(&b, f.Type, within)
		out = append(out, b.String())
	}
	slices.Sort(out)
	return out
}
