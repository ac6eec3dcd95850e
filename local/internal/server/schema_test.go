package server_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/internal/api"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/readmodel"
)

// read parses the SDL of a schema with another library than the one that writes it.
func read(t *testing.T, s *api.Schema) *ast.Schema {
	t.Helper()
	if strings.Contains(strings.ReplaceAll(s.SDL(), `\"""`, ""), `""""`) { // which this parser accepts, and others do not
		t.Error("a quote runs into the end of a description")
	}
	schema, err := gqlparser.LoadSchema(&ast.Source{Input: s.SDL()})
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func TestSDLSaysWhatTheSchemaHas(t *testing.T) {
	t.Parallel()
	s := depot().API()
	schema := read(t, s)
	same := func(what string, got any, gotType, gotDoc, wantType, wantDoc string) {
		t.Helper()
		if got == nil || gotType != wantType || gotDoc != strings.TrimSpace(wantDoc) {
			t.Errorf("%s: got %s %q, want %s %q", what, gotType, gotDoc, wantType, wantDoc)
		}
	}
	for _, o := range s.Operations {
		f := schema.Types[string(o.Kind)].Fields.ForName(o.Name)
		if f == nil || len(f.Arguments) != len(o.Args) {
			t.Errorf("%s %s: got %+v", o.Kind, o.Name, f)
			continue
		}
		same(o.Name, f, f.Type.String(), f.Description, o.Result.String(), o.Doc)
		for i, a := range o.Args {
			got := f.Arguments[i]
			same(o.Name+" "+a.Name, got, got.Name+got.Type.String(), got.Description, a.Name+a.Type.String(), a.Doc)
		}
	}
	defined := 0
	for _, d := range schema.Types {
		if !d.BuiltIn {
			defined++
		}
	}
	if defined != len(s.Types)+5 { // two scalars and the three root types
		t.Errorf("there are %d definitions of %d types", defined, len(s.Types))
	}
	for _, ty := range s.Types {
		d := schema.Types[ty.Name]
		if d == nil || d.Description != strings.TrimSpace(ty.Doc) || len(d.Fields) != len(ty.Fields) || len(d.EnumValues) != len(ty.Values) || len(d.Types) != len(ty.Members) {
			t.Errorf("%s: got %+v, want %+v", ty.Name, d, ty)
			continue
		}
		for i, f := range ty.Fields {
			got := d.Fields[i]
			same(ty.Name+" "+f.Name, got, got.Name+got.Type.String(), got.Description, f.Name+f.Type.String(), f.Doc)
		}
		if d.Kind == ast.Union && !slices.Equal(s.Type(d.Types[0]).Unions(), []string{ty.Name}) {
			t.Errorf("%s is in the unions %q", d.Types[0], s.Type(d.Types[0]).Unions())
		}
	}
}

func TestAnAppWithoutCommandsHasNoMutations(t *testing.T) {
	t.Parallel()
	schema := read(t, reventless.New("empty").API())
	if schema.Mutation != nil || schema.Query == nil || schema.Types["DateTimeRange"] != nil || schema.Types["NumberListFilter"] != nil {
		t.Errorf("got mutations %v, queries %v, or types that nothing uses", schema.Mutation, schema.Query)
	}
}

func TestDescriptionsReadBack(t *testing.T) {
	t.Parallel()
	for _, doc := range []string{
		"Plain.", `It is "quoted".`, `"All of it"`, `ends with "quotes"`, `ends with """`, `""" begins`, `with """ inside and """" and """"" too`,
		`back\slash`, `ends with \`, `\""" was escaped`, "two\nlines", "code:\n\n\tfirst\n\t\tsecond\n\nend", "  leading and trailing  ",
		"windows\r\nlines", "# no comment", "ümläut 😀", "many\n\n\nempty lines", "{ } ( ) : ! | = @", "",
	} {
		a := aggregate.New(aggregate.Spec[struct{}, jobCommand, jobEvent]{
			Name: "Job", Doc: doc, Commands: message.NewSet[jobCommand](Begin{}), Events: message.NewSet[jobEvent](Begun{}),
			Decide: func(struct{}, jobCommand) ([]jobEvent, error) { return nil, nil },
			Evolve: func(s struct{}, _ jobEvent) struct{} { return s },
		})
		rows := readmodel.New(readmodel.Spec[lineRow]{Name: "Lists", Doc: doc, Projections: readmodel.Projections[lineRow]{
			readmodel.On(a, func(message.Event[jobEvent]) readmodel.Changes[lineRow] { return nil }),
		}})
		schema := read(t, reventless.New("test", plugin.New(plugin.Spec{Name: "Shop", Heartbeat: -1, Components: plugin.Components{a, rows}})).API())
		want := strings.ReplaceAll(strings.TrimSpace(doc), "\r", "")
		if got := schema.Types["ShopList"].Description; got != want {
			t.Errorf("of a type: got %q, want %q", got, want)
		}
		if got := schema.Mutation.Fields.ForName("shopJobBegin").Description; !strings.Contains(got, want) {
			t.Errorf("of a command: got %q, want %q in it", got, want)
		}
	}
}
