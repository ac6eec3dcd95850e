package jsonfield_test

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/reventless-go/reventless/internal/jsonfield"
)

type inner struct {
	A int
	B string `json:"b"`
	C string
}

type Other struct {
	C string
	D string `json:"d,omitempty"`
}

type outer struct {
	inner
	*Other
	A     string `json:"A"`
	Skip  string `json:"-"`
	Count int    `json:"count,string"`
	low   int    //nolint:unused // an unexported field is the case
}

// What encoding/json writes decides which fields there are.
func TestFieldsAreThoseThatEncodingJSONWrites(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(outer{Other: &Other{D: "d"}})
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatal(err)
	}
	want := slices.Sorted(maps.Keys(members))
	var got []string
	for _, f := range jsonfield.Of(reflect.TypeFor[outer]()) {
		got = append(got, f.Name)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("fields %q, encoding/json writes %q", got, want)
	}
	a, _ := jsonfield.Named(reflect.TypeFor[outer](), "A")
	if a.Go != "jsonfield_test.outer.A" || a.Type.Kind() != reflect.String {
		t.Errorf("A is %+v, want the outermost one", a)
	}
	d, _ := jsonfield.Named(reflect.TypeFor[outer](), "d")
	if !d.Optional || d.Go != "jsonfield_test.Other.D" {
		t.Errorf("d is %+v, want it optional, of Other", d)
	}
	if count, _ := jsonfield.Named(reflect.TypeFor[outer](), "count"); !count.Quoted {
		t.Errorf("count is %+v, want it quoted", count)
	}
}
