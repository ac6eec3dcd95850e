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

// maxWhole is the greatest whole number that every reader of JSON can hold: a
// Float of GraphQL is a float64.
const maxWhole = 1 << 53

// Selected is a field that a caller asked for.
type Selected struct {
	// Key is the name in the answer.
	Key string
	// Field is the field; nil is __typename.
	Field *Field
	// Sub selects from the field's objects.
	Sub Selection
}

// Selection says which fields of an object a caller asked for. A nil Selection is
// all of them, and __typename where an object may be of several types.
type Selection func(*Type) []Selected

// FieldError is an error of one field of an answer.
type FieldError struct {
	// Path leads to the field: keys and list indexes.
	Path []any
	Err  error
}

// Writer turns JSON as it is stored into JSON as the API shows it. Absent members
// are what Go makes of them: zero values, where null is not allowed.
type Writer struct {
	// Errors are the fields that could not be written; each is null in the answer,
	// or what is around it as far as null is allowed.
	Errors []FieldError

	out  []byte
	path []any
}

// Bytes returns what was written.
func (w *Writer) Bytes() []byte { return w.out }

// Value writes one value of the type r from data. It returns false when the value
// is in error and cannot be null; then nothing was written.
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

// null writes null in place of a value in error.
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
				w.fail(fmt.Errorf("%.40s is no whole number of 32 bits, which is what an Int of GraphQL can hold", data))
				return w.null(r)
			}
			if err != nil || n > maxWhole || n < -maxWhole {
				w.fail(fmt.Errorf("%.40s is no whole number within 2^53, which is what a Float of GraphQL can hold", data))
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

// object writes the selected fields; false when one of them is in error and
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
		w.out = append(w.out, k...) // a name of GraphQL needs no escapes
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

// member returns the member of a union of a name, which is a JSON string.
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
