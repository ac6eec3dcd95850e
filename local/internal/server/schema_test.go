package server_test

import (
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

// read parses the SDL of a schema with a separate library.
func read(t *testing.T, s *api.Schema) *ast.Schema {
	t.Helper()
	if strings.Contains(strings.ReplaceAll(s.SDL(), `\"""`, ""), `""""`) { // this parser accepts it, others do not
		t.Error("a quote runs into the end of a description")
	}
	schema, err := gqlparser.LoadSchema(&ast.Source{Input: s.SDL()})
	if err != nil {
		t.Fatal(err)
	}
	return schema
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
