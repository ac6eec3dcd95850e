package main_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"

	"github.com/reventless-go/reventless/examples/shop"
	"github.com/reventless-go/reventless/internal/api"
)

// accessCase is a caller. own means that the ids in the arguments are the caller's.
type accessCase struct {
	name, who string
	own       bool
}

var accessCases = []accessCase{{"nobody", nobody, false}, {"user", user, false}, {"user, of its own", user, true}, {"Admin", admin, false}}

// The cells of the table, apart from error codes.
const (
	allowed    = "yes"
	ownRows    = "own rows"
	subscribes = "subscribes"
)

// accessArguments generates the arguments that an operation requires. Ids are those
// of row, where it has them, or those of the caller.
func accessArguments(o *api.Operation, c accessCase, row map[string]any) map[string]any {
	out := map[string]any{}
	for _, a := range o.Args {
		if a.Type.NonNull {
			out[a.Name] = accessValue(a.Name, a.Type, c, row)
		}
	}
	return out
}

func accessValue(name string, r api.Ref, c accessCase, row map[string]any) any {
	if r.List != nil {
		return []any{accessValue(name, *r.List, c, row)}
	}
	if r.Type.Kind == api.Input {
		out := map[string]any{}
		for _, f := range r.Type.Fields {
			out[f.Name] = accessValue(f.Name, f.Type, c, row)
		}
		return out
	}
	switch r.Type.Name {
	case "Int", "Float":
		return 1
	}
	if v := row[name]; v != nil && !c.own {
		return v
	}
	if c.own {
		return c.who
	}
	return "someone"
}

// document writes a document that calls one operation with minimal fields.
func document(o *api.Operation, fields string) string {
	var declared, passed []string
	for _, a := range o.Args {
		if a.Type.NonNull {
			declared = append(declared, "$"+a.Name+": "+a.Type.String())
			passed = append(passed, a.Name+": $"+a.Name)
		}
	}
	parameters, arguments := "", ""
	if len(declared) > 0 {
		parameters, arguments = " ("+strings.Join(declared, ", ")+")", "("+strings.Join(passed, ", ")+")"
	}
	return strings.ToLower(string(o.Kind)) + parameters + " { result: " + o.Name + arguments + " " + fields + " }"
}

// rowType returns the row type of an operation that reads rows, or nil.
func rowType(o *api.Operation) *api.Type {
	switch o.Action {
	case api.GetRow:
		return o.Result.Type
	case api.ListRows, api.QueryIndex, api.QueryItems:
		return o.Result.Type.Field("edges").Type.List.Type.Field("node").Type.Type
	}
	return nil
}

// hasRows reports whether a response has a row.
func hasRows(t *testing.T, data json.RawMessage) bool {
	t.Helper()
	result := decode[struct{ Result map[string]any }](t, data).Result
	edges, isPage := result["edges"].([]any)
	return result != nil && (!isPage || len(edges) > 0)
}

// Every kind of caller calls every operation of the API; the golden file shows the
// results. "own rows" means a response without the rows that Admin sees.
func TestAccess(t *testing.T) {
	t.Parallel()
	served := seededShop(t).serve()
	schema := shop.App().API()

	for call, query := range map[string]string{
		`catalogCategoryAdd(id: "light", name: "Light")`:                                           `catalogCategory(id: "light", waitFor: $at)`,
		`catalogProductAdd(id: "0", name: "Lamp", description: "", price: 5, categoryId: "light")`: `catalogProduct(id: "0", waitFor: $at)`,
	} {
		sent := served.post(admin, "mutation { result: "+call+commandFields+" }", nil)
		at := decode[struct{ Result commandResult }](t, sent.Data).Result.Position
		if r := served.post(nobody, "query ($at: [String!]) { result: "+query+" { id } }", map[string]any{"at": at}); !hasRows(t, r.Data) {
			t.Fatalf("%s: %s %+v, and then %s %+v", call, sent.Data, sent.Errors, r.Data, r.Errors)
		}
	}

	// An existing row of each type: without rows the test could not see that a caller may
	// read them.
	rows := map[string]map[string]any{}
	for _, o := range schema.Operations {
		row := rowType(o)
		if o.Action != api.ListRows {
			continue
		}
		var scalars []string
		for _, f := range row.Fields {
			if f.Type.List == nil {
				scalars = append(scalars, f.Name)
			}
		}
		r := served.post(admin, document(o, "{ edges { node { "+strings.Join(scalars, " ")+" } } }"), nil)
		if len(r.Errors) > 0 {
			t.Fatalf("%s: %+v", o.Name, r.Errors)
		}
		for _, e := range decode[struct {
			Result struct {
				Edges []struct{ Node map[string]any }
			}
		}](t, r.Data).Result.Edges {
			if rows[row.Name] == nil || !slices.Contains(slices.Collect(maps.Values(e.Node)), nil) {
				rows[row.Name] = e.Node
			}
		}
	}

	table := map[string][]string{}
	// The commands come last, because they create rows that the caller owns.
	inOrder := slices.Clone(schema.Operations)
	slices.SortStableFunc(inOrder, func(a, b *api.Operation) int { return strings.Compare(string(b.Kind), string(a.Kind)) })
	for _, o := range inOrder {
		if o.Kind == api.Subscription {
			continue
		}
		row := rowType(o)
		fields, seen := "{ __typename }", false
		var arguments map[string]any
		if row != nil {
			if o.Action != api.GetRow {
				fields = "{ edges { cursor } }"
			}
			arguments = rows[row.Name]
			r := served.post(admin, document(o, fields), accessArguments(o, accessCases[3], arguments))
			if seen = len(r.Errors) == 0 && hasRows(t, r.Data); !seen {
				t.Errorf("%s: Admin does not see a row that exists: %s %+v", o.Name, r.Data, r.Errors)
			}
		}
		for _, c := range accessCases {
			r := served.post(c.who, document(o, fields), accessArguments(o, c, arguments))
			cell := r.code()
			switch {
			case cell != "":
			case seen && (!c.own || o.Action == api.ListRows) && !hasRows(t, r.Data):
				cell = ownRows
			default:
				cell = allowed
			}
			table[key(o)] = append(table[key(o)], cell)
		}
	}
	for name, cells := range subscriptionAccess(t, served, schema) {
		table[name] = cells
	}

	text := accessTable(schema, table)
	path := filepath.Join(testdata, "access.golden")
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("the access table differs from %s:\n%s\nif the change is intended, run go test with -update and review the difference", path, text)
	}
}

func key(o *api.Operation) string { return string(o.Kind) + " " + o.Name }

// subscriptionAccess opens every subscription as every caller and stops the program,
// which ends them. A refused subscription has ended with an error code. The server checks
// the rule first, so a subscription that the stop ended was allowed.
func subscriptionAccess(t *testing.T, served *serving, schema *api.Schema) map[string][]string {
	t.Helper()
	table := map[string][]string{}
	var reading sync.WaitGroup
	for _, o := range schema.Operations {
		if o.Kind != api.Subscription {
			continue
		}
		cells := make([]string, len(accessCases))
		table[key(o)] = cells
		for i, c := range accessCases {
			r := served.request(t.Context(), c.who, document(o, "{ __typename }"), accessArguments(o, c, nil))
			r.Header.Set("Accept", "text/event-stream")
			got, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatalf("%s: %v", o.Name, err)
			}
			reading.Go(func() {
				defer got.Body.Close()
				cells[i] = subscribes
				for lines := bufio.NewScanner(got.Body); lines.Scan(); {
					if text, isData := bytes.CutPrefix(lines.Bytes(), []byte("data: ")); isData {
						var answer response
						if err := json.Unmarshal(text, &answer); err != nil {
							t.Errorf("%s: %v", o.Name, err)
						}
						if code := answer.code(); code != "" && code != "UNAVAILABLE" {
							cells[i] = code
						}
					}
				}
			})
		}
	}
	served.stop()
	reading.Wait()
	return table
}

func accessTable(schema *api.Schema, table map[string][]string) string {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "operation")
	for _, c := range accessCases {
		fmt.Fprint(w, "\t", c.name)
	}
	fmt.Fprintln(w)
	for _, o := range schema.Operations {
		fmt.Fprintln(w, key(o)+"\t"+strings.Join(table[key(o)], "\t"))
	}
	_ = w.Flush() // into memory
	return b.String()
}
