package rows

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/jsontext"
)

// Fields returns the top-level fields of a row's data. If a name occurs more than
// once, its field has the last value. The values share data's memory. Data that is not a
// JSON object is a [driver.ErrInvalid].
func Fields(data json.RawMessage) (map[string]json.RawMessage, error) {
	if !utf8.Valid(data) || !json.Valid(data) {
		return nil, fmt.Errorf("data is not JSON: %w", driver.ErrInvalid)
	}
	i := jsontext.SkipSpace(data, 0)
	if data[i] != '{' {
		return nil, fmt.Errorf("data is not a JSON object: %w", driver.ErrInvalid)
	}
	fields := make(map[string]json.RawMessage)
	i = jsontext.SkipSpace(data, i+1)
	for data[i] != '}' {
		end := jsontext.SkipValue(data, i)
		name := unquote(data[i:end])
		start := jsontext.SkipSpace(data, jsontext.SkipSpace(data, end)+1) // after the colon
		end = jsontext.SkipValue(data, start)
		fields[name] = data[start:end:end]
		i = jsontext.SkipSpace(data, end)
		if data[i] == ',' {
			i = jsontext.SkipSpace(data, i+1)
		}
	}
	return fields, nil
}

// lookup returns the value of a top-level field, or nil if it is absent. If the name
// occurs more than once, it returns the last value. It does not validate data, which
// [Fields] has accepted before: for other data the result is undefined, but lookup
// does not panic.
func lookup(data []byte, field string) (value json.RawMessage) {
	if i := jsontext.SkipSpace(data, 0); i < len(data) && data[i] == '{' {
		data = data[i+1:]
	} else {
		return nil
	}
	// next returns the next value and removes it from the start of data.
	next := func() []byte {
		data = data[jsontext.SkipSpace(data, 0):]
		end := 0
		if len(data) > 0 && data[0] != '}' {
			end = jsontext.SkipValue(data, 0)
		}
		v := data[:end:end]
		data = data[end:]
		data = data[jsontext.SkipSpace(data, 0):]
		return v
	}
	skip := func(c byte) bool {
		if len(data) == 0 || data[0] != c {
			return false
		}
		data = data[1:]
		return true
	}
	for more := true; more; more = skip(',') {
		name := next()
		if len(name) < 2 || name[0] != '"' || !skip(':') {
			return value
		}
		v := next()
		if len(v) == 0 || v[0] == '"' && len(v) < 2 {
			return value
		}
		if named(name, field) {
			value = v
		}
	}
	return value
}

// named reports whether the JSON string quoted encodes s.
func named(quoted []byte, s string) bool {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1:len(quoted)-1]) == s
	}
	return unquote(quoted) == s
}

// unquote decodes a valid JSON string.
func unquote(quoted []byte) string {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1])
	}
	var s string
	_ = json.Unmarshal(quoted, &s) // quoted is valid JSON
	return s
}

// quote encodes s as a JSON string without HTML escapes.
func quote(s string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // cannot fail for a string
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// scalar decodes a valid JSON value to a string, float64 or bool. It returns nil for
// other types and for an empty raw. A number that is too large becomes an infinity.
func scalar(raw json.RawMessage) any {
	if len(raw) == 0 {
		return nil
	}
	switch raw[0] {
	case '"':
		return unquote(raw)
	case 't':
		return true
	case 'f':
		return false
	case 'n', '{', '[':
		return nil
	}
	f, _ := strconv.ParseFloat(string(raw), 64)
	return f + 0 // turns -0 into 0
}

// absent reports whether a field is missing or null.
func absent(raw json.RawMessage) bool { return len(raw) == 0 || raw[0] == 'n' }
