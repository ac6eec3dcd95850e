package readmodel

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"unicode/utf8"

	"github.com/reventless-go/reventless/internal/jsonfield"
)

// subIDOf returns the function that reads the sub id of a row: the string that the row's
// JSON has in that field. Types with their own JSON are encoded to see it.
func subIDOf[R any](field string) func(*R) (string, error) {
	row := reflect.TypeFor[R]()
	f, _ := jsonfield.Named(row, field)
	direct := f.Type != nil && f.Type.Kind() == reflect.String && !f.Optional && !f.Quoted && !ownJSON(row) && !ownJSON(f.Type)
	return func(r *R) (string, error) {
		if direct {
			if sub := reflect.ValueOf(r).Elem().FieldByIndex(f.Index).String(); utf8.ValidString(sub) {
				return sub, nil
			}
		}
		data, err := json.Marshal(r)
		if err != nil {
			return "", err
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(data, &fields); err != nil {
			return "", err
		}
		var sub string
		if err := json.Unmarshal(fields[field], &sub); err != nil {
			return "", fmt.Errorf("sub id %s: %w", field, err)
		}
		return sub, nil
	}
}

// ownJSON reports whether t, or a pointer to it, has its own JSON.
func ownJSON(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[json.Marshaler]()) || p.Implements(reflect.TypeFor[encoding.TextMarshaler]())
}
