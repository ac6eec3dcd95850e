package driver_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/reventless-go/reventless/driver"
)

func fingerprint(data string) uint32 {
	return driver.Fingerprint(driver.Command{Target: "T", Entity: "e", Type: "C", Data: json.RawMessage(data)})
}

func TestFingerprintIsOfTheValue(t *testing.T) {
	t.Parallel()
	for _, same := range [][]string{
		{`{"a":1,"b":[2,"x"]}`, `{"b":[2.0,"\u0078"],"a":1}`, `{"a":100e-2,"b":[0.2e1,"x"]}`, "{ \"a\" :\t1 ,\r\n\"b\" : [ 2 , \"x\" ] } "},
		{`0`, `-0`, `0.0`, `0e9`},
		{`123456789012345678901234567890`, `123456789012345678901234567890.0`, `1.2345678901234567890123456789e29`},
		{`{}`, ` { } `},
		{`[]`, `[ ]`},
		{`"a\"b"`, `"\u0061\u0022b"`},
	} {
		for _, s := range same[1:] {
			if fingerprint(s) != fingerprint(same[0]) {
				t.Errorf("%s and %s have different fingerprints", s, same[0])
			}
		}
	}
	for _, other := range [][2]string{
		{`9007199254740993`, `9007199254740992`},
		{`[1,2]`, `[2,1]`},
		{`[[1],2]`, `[[1,2]]`},
		{`"1"`, `1`},
		{`"true"`, `true`},
		{`{"a":null}`, `{}`},
		{`{"a":1,"b":2}`, `{"a":2,"b":1}`},
		{`{}`, `[]`},
		{`0.1`, `0.10000000000000001`},
		{`1e400`, `1e401`},
		{`1e999999999`, `1e999999998`},
		{`{"a":1`, `{"a":1}`},
		{`1 1`, `1`},
	} {
		if fingerprint(other[0]) == fingerprint(other[1]) {
			t.Errorf("%s and %s have one fingerprint", other[0], other[1])
		}
	}
	if deep := strings.Repeat("[", 1<<20); fingerprint(deep) == fingerprint(deep[1:]) {
		t.Error("two documents that are nested too deep have one fingerprint")
	}
}

// White space and the escapes that an encoder chooses do not change a fingerprint.
func FuzzFingerprint(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.50,"<\u2028"],"b":{"":null}}`, `"\ud800"`, `[[]]`, "\xff", `{"a":1,"a":2}`, `-1e-7`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		first := fingerprint(text)
		var indented, escaped bytes.Buffer
		if json.Indent(&indented, []byte(text), " ", "\t") != nil {
			return
		}
		json.HTMLEscape(&escaped, []byte(text))
		for _, s := range []string{indented.String(), escaped.String()} {
			if fingerprint(s) != first {
				t.Errorf("%q and %q have different fingerprints", text, s)
			}
		}
	})
}
