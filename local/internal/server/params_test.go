package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"testing"

	"github.com/99designs/gqlgen/graphql"
)

// FuzzParams compares the decoding of requests with that of package json.
func FuzzParams(f *testing.F) {
	for _, body := range []string{
		``, `{}`, ` { } `, `null`, `[]`, `"query"`, `{"query":"{a}"}`, `{"query":null}`, `{"query":1}`, `{"Query":"{a}"}`, `{"query":"a","query":"b"}`,
		`{"query":"a","QUERY":"b"}`, `{"query":"{a}","variables":null,"operationName":null}`, `{"query":"{a(b:\"c\")}\n","operationName":"Ä\u00e4\ud83d\ude00\ud83d"}`,
		`{"query":"q","variables":{"a":1,"b":-2.50e+3,"c":"x","d":[],"e":[1,"2",[true,false,null]],"f":{},"g":{"h":{"i":[{}]}},"j\"":"\\"},"extensions":{"k":12345678901234567890}}`,
		"{\n\t\"query\" : \"q\" ,\r\n \"variables\" : { \"a\" : [ 1 , 2 ] , \"b\" : 3 } }\n", `{"query":"q"} {}`, `{"query":"q"}x`, `{"query":"q",}`, `{"variables":[]}`,
		`{"variables":{"a":1,"a":{"b":2}}}`, `{"variables":{"a":{"b":1},"a":{"c":2}}}`, `{"other":1,"query":"q"}`, "{\"query\":\"\xff\"}", `{"variables":{"a":1e999}}`, `{"quer\u0079":"q"}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		want := new(graphql.RawParams)
		d := json.NewDecoder(bytes.NewReader(body))
		d.UseNumber()
		err := d.Decode(want)
		valid := err == nil
		if valid {
			_, err := d.Token()
			valid = errors.Is(err, io.EOF)
		}
		got, ok := decodeParams(body)
		if ok != valid || ok && !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: got %+v, %v, want %+v, %v", body, got, ok, want, valid)
		}
	})
}
