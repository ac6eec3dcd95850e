package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/reventless-go/reventless/internal/jsontext"
)

// maxWhole is the greatest whole number that every JSON parser represents exactly: a
// GraphQL Float is a float64.
const maxWhole = 1 << 53

// Selected is a field that the caller selected.
type Selected struct {
	// Key is the name in the response.
	Key string
	// Field is the field; nil is __typename.
	Field *Field
	// Sub is the selection of the field's objects.
	Sub Selection
}

// Selection is the fields of an object that the caller selected. A nil Selection means
// all fields, and __typename for an object in a union.
type Selection func(*Type) []Selected

// FieldError is an error in one field of a response.
type FieldError struct {
	// Path is the path to the field: keys and list indexes.
	Path []any
	Err  error
}

// Writer turns stored JSON into the JSON of a response. An absent member that cannot be
// null becomes its Go type's zero value.
type Writer struct {
	// Errors are the fields that could not be written. Each is null in the response, or
	// its nearest enclosing value that can be null is.
	Errors []FieldError

	out  []byte
	path []any
}

// Bytes returns the response.
func (w *Writer) Bytes() []byte { return w.out }

// Value writes a value of type r from data. It returns false, and writes nothing, when
// the value is invalid and cannot be null.
func (w *Writer) Value(r Ref, data json.RawMessage, sel Selection, path ...any) bool {
	w.path = append(w.path[:0], path...)
	if len(data) > 0 && (!json.Valid(data) || !utf8.Valid(data)) {
		w.fail(errors.New("the stored value is not JSON"))
		return w.null(r)
	}
	return w.value(r, bytes.TrimSpace(data), sel)
}

func (w *Writer) fail(err error) {
	w.Errors = append(w.Errors, FieldError{append([]any(nil), w.path...), err})
}

// null writes null in place of an invalid value.
func (w *Writer) null(r Ref) bool {
	if r.NonNull {
		return false
	}
	w.out = append(w.out, "null"...)
	return true
}

func (w *Writer) value(r Ref, data []byte, sel Selection) bool {
	absent := len(data) == 0 || data[0] == 'n'
	switch {
	case absent && !r.NonNull:
		w.out = append(w.out, "null"...)
		return true
	case r.List != nil:
		return w.list(r, data, absent, sel)
	case r.Type.Kind == Object || r.Type.Kind == Union:
		start := len(w.out)
		if w.object(r.Type, data, absent, sel) {
			return true
		}
		w.out = w.out[:start]
		return w.null(r)
	case absent:
		w.out = append(w.out, zero(r.Type)...)
		return true
	}
	return w.scalar(r, data)
}

func zero(t *Type) string {
	switch t {
	case booleanType:
		return "false"
	case intType, floatType:
		return "0"
	case dateTimeType:
		return `"0001-01-01T00:00:00Z"`
	}
	return `""`
}

func (w *Writer) scalar(r Ref, data []byte) bool {
	ok := false
	switch r.Type {
	case booleanType:
		ok = data[0] == 't' || data[0] == 'f'
	case intType, floatType:
		ok = data[0] == '-' || data[0] >= '0' && data[0] <= '9'
		if ok && r.Number.Bits > 0 {
			n, err := strconv.ParseInt(string(data), 10, 64)
			if r.Type == intType && (err != nil || n != int64(int32(n))) {
				w.fail(fmt.Errorf("%.40s is not a 32-bit integer, which a GraphQL Int requires", data))
				return w.null(r)
			}
			if err != nil || n > maxWhole || n < -maxWhole {
				w.fail(fmt.Errorf("%.40s is not an integer within ±2^53, which a GraphQL Float requires", data))
				return w.null(r)
			}
		}
	case jsonType:
		var compact bytes.Buffer
		_ = json.Compact(&compact, data) // it is valid
		text, _ := json.Marshal(compact.String())
		w.out = append(w.out, text...)
		return true
	default: // ID, String, AWSDateTime, enums
		ok = data[0] == '"'
	}
	if !ok {
		w.fail(fmt.Errorf("the stored value is no %s", r.Type.Name))
		return w.null(r)
	}
	w.out = append(w.out, data...)
	return true
}

func (w *Writer) list(r Ref, data []byte, absent bool, sel Selection) bool {
	if absent {
		w.out = append(w.out, "[]"...)
		return true
	}
	if data[0] != '[' {
		w.fail(errors.New("the stored value is no list"))
		return w.null(r)
	}
	start := len(w.out)
	w.out = append(w.out, '[')
	w.path = append(w.path, 0)
	depth := len(w.path) - 1
	n, ok := 0, true
	for i := jsontext.SkipSpace(data, 1); data[i] != ']'; {
		end := jsontext.SkipValue(data, i)
		if n > 0 {
			w.out = append(w.out, ',')
		}
		w.path[depth] = n
		if ok = w.value(*r.List, data[i:end], sel); !ok {
			break
		}
		n++
		if i = jsontext.SkipSpace(data, end); data[i] == ',' {
			i = jsontext.SkipSpace(data, i+1)
		}
	}
	w.path = w.path[:depth]
	if !ok {
		w.out = w.out[:start]
		return w.null(r)
	}
	w.out = append(w.out, ']')
	return true
}

// object writes the selected fields; it returns false when one of them is invalid and
// cannot be null.
func (w *Writer) object(t *Type, data []byte, absent bool, sel Selection) bool {
	if !absent && data[0] != '{' {
		w.fail(errors.New("the stored value is no object"))
		return false
	}
	var store [24]member
	members := store[:0]
	if !absent {
		members = membersOf(data, members)
	}
	union := t.Kind == Union
	if union {
		name := find(members, "__typename")
		t = t.member(name)
		if t == nil {
			w.fail(fmt.Errorf("the stored value is of the unknown type %.40s", name))
			return false
		}
	}
	w.out = append(w.out, '{')
	first := true
	key := func(k string) {
		if !first {
			w.out = append(w.out, ',')
		}
		first = false
		w.out = append(w.out, '"')
		w.out = append(w.out, k...) // a GraphQL name needs no escapes
		w.out = append(w.out, '"', ':')
	}
	depth := len(w.path)
	write := func(k string, f *Field, sub Selection) bool {
		key(k)
		if f == nil {
			w.out = append(append(append(w.out, '"'), t.Name...), '"')
			return true
		}
		w.path = append(w.path[:depth], k)
		ok := w.value(f.Type, find(members, f.JSON), sub)
		w.path = w.path[:depth]
		return ok
	}
	if sel == nil {
		if union && !write("__typename", nil, nil) {
			return false
		}
		for _, f := range t.Fields {
			if !write(f.Name, f, nil) {
				return false
			}
		}
	} else {
		for _, s := range sel(t) {
			if !write(s.Key, s.Field, s.Sub) {
				return false
			}
		}
	}
	w.out = append(w.out, '}')
	return true
}

// member returns the member of a union by its name, a JSON string.
func (t *Type) member(name []byte) *Type {
	for _, m := range t.Members {
		if len(name) == len(m.Name)+2 && string(name[1:len(name)-1]) == m.Name {
			return m
		}
	}
	return nil
}

type member struct{ name, value []byte }

// membersOf appends the members of a valid JSON object.
func membersOf(data []byte, to []member) []member {
	for i := jsontext.SkipSpace(data, 1); data[i] != '}'; {
		end := jsontext.SkipValue(data, i)
		name := data[i+1 : end-1]
		if bytes.IndexByte(name, '\\') >= 0 {
			var s string
			_ = json.Unmarshal(data[i:end], &s) // it is valid
			name = []byte(s)
		}
		i = jsontext.SkipSpace(data, jsontext.SkipSpace(data, end)+1) // behind the colon
		end = jsontext.SkipValue(data, i)
		to = append(to, member{name, data[i:end:end]})
		if i = jsontext.SkipSpace(data, end); data[i] == ',' {
			i = jsontext.SkipSpace(data, i+1)
		}
	}
	return to
}

func find(members []member, name string) []byte {
	for _, m := range members {
		if string(m.name) == name {
			return m.value
		}
	}
	return nil
}
