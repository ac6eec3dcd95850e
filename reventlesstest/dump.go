package reventlesstest

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxDepth limits the dump of a value that contains itself.
const maxDepth = 64

var (
	timeType      = reflect.TypeFor[time.Time]()
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

// dump returns the whole value of v as text, including unexported fields and the targets
// of pointers, so that different values have different dumps. Values that JSON does not
// distinguish have the same dump: nil and empty slices and maps, and time zones.
func dump(v reflect.Value) string {
	var b strings.Builder
	dumpTo(&b, v, 0)
	return b.String()
}

func dumpTo(b *strings.Builder, v reflect.Value, depth int) {
	if !v.IsValid() {
		b.WriteString("null")
		return
	}
	if depth > maxDepth {
		b.WriteString("...")
		return
	}
	t := v.Type()
	if v.CanInterface() {
		if t == timeType {
			b.WriteString(v.Interface().(time.Time).UTC().Format(time.RFC3339Nano))
			return
		}
		custom := t.Implements(jsonMarshaler) || t.Implements(textMarshaler)
		if custom || t.Kind() == reflect.Interface {
			if data, err := json.Marshal(v.Interface()); err == nil {
				b.WriteString(canonical(data))
				return
			}
		}
	}
	switch t.Kind() {
	case reflect.Bool:
		b.WriteString(strconv.FormatBool(v.Bool()))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		b.WriteString(strconv.FormatInt(v.Int(), 10))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		b.WriteString(strconv.FormatUint(v.Uint(), 10))
	case reflect.Float32, reflect.Float64:
		b.WriteString(strconv.FormatFloat(v.Float(), 'g', -1, 64))
	case reflect.Complex64, reflect.Complex128:
		fmt.Fprint(b, v.Complex())
	case reflect.String:
		b.WriteString(strconv.Quote(v.String()))
	case reflect.Pointer, reflect.Interface:
		dumpTo(b, v.Elem(), depth+1)
	case reflect.Slice, reflect.Array:
		b.WriteByte('[')
		for i := range v.Len() {
			if i > 0 {
				b.WriteByte(',')
			}
			dumpTo(b, v.Index(i), depth+1)
		}
		b.WriteByte(']')
	case reflect.Map:
		entries := make([]string, 0, v.Len())
		for it := v.MapRange(); it.Next(); {
			var e strings.Builder
			dumpTo(&e, it.Key(), depth+1)
			e.WriteByte(':')
			dumpTo(&e, it.Value(), depth+1)
			entries = append(entries, e.String())
		}
		slices.Sort(entries)
		b.WriteString("{" + strings.Join(entries, ",") + "}")
	case reflect.Struct:
		b.WriteByte('{')
		for i := range t.NumField() {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(strconv.Quote(t.Field(i).Name) + ":")
			dumpTo(b, v.Field(i), depth+1)
		}
		b.WriteByte('}')
	default: // functions and channels, by identity
		fmt.Fprintf(b, "%v@%x", t, v.Pointer())
	}
}

// canonical returns JSON with sorted members and without spaces; numbers keep their
// form. It returns data unchanged if it is not JSON.
func canonical(data []byte) string {
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return string(data)
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(v) != nil {
		return string(data)
	}
	return strings.TrimSuffix(b.String(), "\n")
}
