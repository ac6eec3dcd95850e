package rows_test

import (
	"encoding/json"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/rows"
)

var (
	plain = driver.TableSpec{Name: "Shop.Orders", Indexes: []driver.Index{
		{Name: "byCustomer", Key: driver.Field{Name: "customer"}, Sort: &driver.Field{Name: "total", Number: true}},
		{Name: "byTable", Key: driver.Field{Name: "table", Number: true}, Include: []string{"note", "gone"}},
	}}
	sub = driver.TableSpec{Name: "Shop.Items", SubID: "line"}
)

func row(id, sub, data string) driver.Row {
	return driver.Row{Key: driver.Key{ID: id, Sub: sub}, Data: json.RawMessage(data)}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		spec driver.TableSpec
		row  driver.Row
		want error
	}{
		{"empty object", plain, row("a", "", `{}`), nil},
		{"white space", plain, row("a", "", " {\n \"x\" : [ 1 , {\"}\":\"]\\\"\"} ] } "), nil},
		{"indexed", plain, row("a", "", `{"customer":"c","total":1.5,"table":7}`), nil},
		{"index fields null", plain, row("a", "", `{"customer":null,"total":null,"table":null}`), nil},
		{"index field empty", plain, row("a", "", `{"customer":"","total":1}`), nil},
		{"no id", plain, row("", "", `{}`), driver.ErrInvalid},
		{"control character in id", plain, row("a\n", "", `{}`), driver.ErrInvalid},
		{"unexpected sub id", plain, row("a", "b", `{}`), driver.ErrInvalid},
		{"no data", plain, row("a", "", ``), driver.ErrInvalid},
		{"not JSON", plain, row("a", "", `{"a":}`), driver.ErrInvalid},
		{"two values", plain, row("a", "", `{} {}`), driver.ErrInvalid},
		{"not UTF-8", plain, row("a", "", "{\"a\":\"\xff\"}"), driver.ErrInvalid},
		{"a list", plain, row("a", "", `[]`), driver.ErrInvalid},
		{"null", plain, row("a", "", `null`), driver.ErrInvalid},
		{"number in string index", plain, row("a", "", `{"customer":1}`), driver.ErrInvalid},
		{"string in number sort field", plain, row("a", "", `{"customer":"c","total":"1"}`), driver.ErrInvalid},
		{"sort field wrong though key absent", plain, row("a", "", `{"total":"1"}`), driver.ErrInvalid},
		{"empty string in number index", plain, row("a", "", `{"table":""}`), driver.ErrInvalid},
		{"list in index", plain, row("a", "", `{"table":[1]}`), driver.ErrInvalid},
		{"boolean in index", plain, row("a", "", `{"customer":true}`), driver.ErrInvalid},
		{"number beyond float64 in index", plain, row("a", "", `{"table":1e400}`), driver.ErrInvalid},
		{"the last of two fields counts", plain, row("a", "", `{"table":"x","table":1}`), nil},
		{"sub id", sub, row("a", "1", `{"line":"1"}`), nil},
		{"escaped sub id", sub, row("a", "ä1", `{"l\u0069ne":"\u00e41"}`), nil},
		{"no sub id in key", sub, row("a", "", `{"line":""}`), driver.ErrInvalid},
		{"sub id absent", sub, row("a", "1", `{}`), driver.ErrInvalid},
		{"other sub id", sub, row("a", "1", `{"line":"2"}`), driver.ErrInvalid},
		{"sub id not a string", sub, row("a", "1", `{"line":1}`), driver.ErrInvalid},
		{"largest", plain, row("a", "", `{"x":"`+strings.Repeat("x", 91)+`"}`), nil},
		{"too large", plain, row("a", "", `{"x":"`+strings.Repeat("x", 92)+`"}`), driver.ErrTooLarge},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if _, err := rows.Check(test.spec, test.row, 100); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

func TestCheckNamesTheField(t *testing.T) {
	t.Parallel()
	for field, r := range map[string]driver.Row{
		"customer": row("a", "", `{"customer":1}`),
		"total":    row("a", "", `{"customer":"c","total":true}`),
	} {
		if _, err := rows.Check(plain, r, 0); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("got %v, want an error that names %q", err, field)
		}
	}
}

func TestCheckSpec(t *testing.T) {
	t.Parallel()
	key := driver.Field{Name: "k"}
	for _, test := range []struct {
		name string
		spec driver.TableSpec
		ok   bool
	}{
		{"plain", plain, true},
		{"sub id", sub, true},
		{"field in two indexes", driver.TableSpec{Name: "r", Indexes: []driver.Index{{Name: "a", Key: key}, {Name: "b", Key: key, Sort: &key}}}, true},
		{"no name", driver.TableSpec{}, false},
		{"index without name", driver.TableSpec{Name: "r", Indexes: []driver.Index{{Key: key}}}, false},
		{"one name twice", driver.TableSpec{Name: "r", Indexes: []driver.Index{{Name: "a", Key: key}, {Name: "a", Key: key}}}, false},
		{"no key field", driver.TableSpec{Name: "r", Indexes: []driver.Index{{Name: "a"}}}, false},
		{"two types", driver.TableSpec{Name: "r", Indexes: []driver.Index{{Name: "a", Key: key, Sort: &driver.Field{Name: "k", Number: true}}}}, false},
		{"sub id as number", driver.TableSpec{Name: "r", SubID: "k", Indexes: []driver.Index{{Name: "a", Key: driver.Field{Name: "k", Number: true}}}}, false},
	} {
		if err := rows.CheckSpec(test.spec); test.ok != (err == nil) || err != nil && !errors.Is(err, driver.ErrInvalid) {
			t.Errorf("%s: got %v, want ok %t", test.name, err, test.ok)
		}
	}
}

func TestIndexEntry(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, data string
		want       rows.Entry
		in         bool
	}{
		{"both", `{"customer":"c","total":2.50}`, rows.Entry{Key: "c", Sort: 2.5}, true},
		{"escapes", `{"customer":"\u0063","total":-0}`, rows.Entry{Key: "c", Sort: 0.0}, true},
		{"no sort", `{"customer":"c"}`, rows.Entry{}, false},
		{"null sort", `{"customer":"c","total":null}`, rows.Entry{}, false},
		{"no key", `{"total":2}`, rows.Entry{}, false},
		{"empty key", `{"customer":"","total":2}`, rows.Entry{}, false},
	} {
		fields, err := rows.Fields(json.RawMessage(test.data))
		if err != nil {
			t.Fatal(err)
		}
		got, in, err := rows.IndexEntry(plain.Indexes[0], fields)
		if err != nil || got != test.want || in != test.in {
			t.Errorf("%s: got %v, %t, %v, want %v, %t", test.name, got, in, err, test.want, test.in)
		}
		if zero, ok := got.Sort.(float64); ok && math.Signbit(zero) {
			t.Errorf("%s: negative zero", test.name)
		}
	}
}

func TestProject(t *testing.T) {
	t.Parallel()
	data := json.RawMessage(`{"z":1, "note" : [ 1 ], "table":7,"line":"1","customer":"c","total":1.0}`)
	with := func(include []string) driver.Index {
		return driver.Index{Key: driver.Field{Name: "customer"}, Sort: &driver.Field{Name: "total", Number: true}, Include: include}
	}
	for _, test := range []struct {
		name  string
		spec  driver.TableSpec
		index driver.Index
		want  string
	}{
		{"all", plain, with(nil), string(data)},
		{"keys", plain, with([]string{}), `{"customer":"c","total":1.0}`},
		{"keys and sub id", sub, with([]string{}), `{"customer":"c","line":"1","total":1.0}`},
		{"some", plain, with([]string{"note", "gone"}), `{"customer":"c","note":[ 1 ],"total":1.0}`},
	} {
		got, err := rows.Project(test.spec, test.index, data)
		if err != nil || string(got) != test.want {
			t.Errorf("%s: got %s, %v, want %s", test.name, got, err, test.want)
		}
	}
}

func TestFields(t *testing.T) {
	t.Parallel()
	data := `{"a": {"b":[1,"}"]} ,"\u0063":"x\\\"y","d":null, "e":-1.5e3,"f":true,"a2":[],"":0}`
	got, err := rows.Fields(json.RawMessage(data))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"a": `{"b":[1,"}"]}`, "c": `"x\\\"y"`, "d": `null`, "e": `-1.5e3`, "f": `true`, "a2": `[]`, "": `0`}
	if !slices.Equal(slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want))) {
		t.Errorf("got the fields %q", slices.Sorted(maps.Keys(got)))
	}
	for name, value := range want {
		if string(got[name]) != value {
			t.Errorf("field %q: got %s, want %s", name, got[name], value)
		}
	}
}

// FuzzFields compares the scanner with encoding/json.
func FuzzFields(f *testing.F) {
	for _, seed := range []string{`{}`, ` { "a" : 1 } `, `{"a":{"b":"\""},"c":[[]]}`, `[]`, `{"a":1,"a":2}`, `{"\"":"\\"}`, `1`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data string) {
		got, err := rows.Fields(json.RawMessage(data))
		var want map[string]json.RawMessage
		if json.Unmarshal([]byte(data), &want) != nil || want == nil {
			if err == nil {
				t.Fatalf("Fields(%q) has no error", data)
			}
			return
		}
		if err != nil {
			return // not UTF-8
		}
		if !maps.EqualFunc(got, want, func(a, b json.RawMessage) bool { return string(a) == string(b) }) {
			t.Fatalf("Fields(%q) = %q, want %q", data, got, want)
		}
	})
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 999, time.FixedZone("", 3600))
	for _, test := range []struct {
		name      string
		expiresAt time.Time
		now       time.Time
		want      bool
	}{
		{"never", time.Time{}, at, false},
		{"before", at, at.Truncate(time.Second).Add(-1), false},
		{"in the second", at, at.Truncate(time.Second), true},
		{"after", at, at.Add(time.Hour), true},
		{"1970 is not never", time.Unix(0, 0), at, true},
		{"long ago is not never", time.Unix(-5, 0), at, true},
	} {
		if got := rows.Expired(rows.Deadline(test.expiresAt), test.now); got != test.want {
			t.Errorf("%s: got %t, want %t", test.name, got, test.want)
		}
	}
	if got, want := rows.ExpiresAt(rows.Deadline(at)), at.Truncate(time.Second).UTC(); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if !rows.ExpiresAt(0).IsZero() {
		t.Error("never has a time")
	}
}
