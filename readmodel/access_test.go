package readmodel_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/readmodel"
)

type thing struct {
	By    string  `json:"by"`
	Maybe *string `json:"maybe"`
	Size  int     `json:"size"`
	Bare  string
}

type (
	touch   struct{}
	touched struct{}
)

func (touch) MessageType() string   { return "Touch" }
func (touched) MessageType() string { return "Touched" }

// declare declares a read model of things. It returns the rule, or the text of the panic.
func declare(rule access.Rule, singular string) (got, text string) {
	defer func() {
		if v := recover(); v != nil {
			text = fmt.Sprint(v)
		}
	}()
	source := aggregate.New(aggregate.Spec[int, message.Typed, message.Typed]{
		Name: "Thing", Commands: message.NewSet[message.Typed](touch{}), Events: message.NewSet[message.Typed](touched{}),
		Decide: func(int, message.Typed) ([]message.Typed, error) { return nil, nil },
		Evolve: func(s int, _ message.Typed) int { return s },
	})
	m := readmodel.New(readmodel.Spec[thing]{
		Name: "Things", Access: rule, Singular: singular,
		Projections: readmodel.Projections[thing]{readmodel.On(source, func(message.Event[message.Typed]) readmodel.Changes[thing] { return nil })},
	})
	return m.Definition().ReadModel.Access.String() + ", " + m.Definition().ReadModel.Singular, ""
}

func TestAccessAndSingularOfReadModels(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		rule     access.Rule
		singular string
		want     string // or a part of the panic
	}{
		{access.Rule{}, "", "authenticated callers, "},
		{access.Anyone, "Item", "anyone, Item"},
		{access.Internal, "", "nobody, "},
		{access.Owner("by"), "", "the owner (by), "},
		{access.Owner("Bare").Or(access.Roles("Clerk")), "X1", "the owner (Bare), or callers with the role Clerk, X1"},
		{access.Owner("size"), "", `read model Things: access: the owner "size" is not a string field of readmodel_test.thing`},
		{access.Owner("maybe"), "", `the owner "maybe" is not a string field`},
		{access.Owner("nobody"), "", `the owner "nobody" is not a string field`},
		{access.Owner("id"), "", `the owner "id" is not a string field`}, // the id is not a field of the row
		{access.Owner("by").Or(access.Owner("Bare")), "", "a row has one owner, not 2"},
		{access.Anyone.For(touch{}), "", "narrowed to commands"},
		{access.Anyone, "item", `read model Things: singular "item": `},
		{access.Anyone, "An Item", `singular "An Item": `},
		{access.Anyone, "Ítem", `singular "Ítem": `},
	} {
		got, text := declare(tt.rule, tt.singular)
		if text == "" && got != tt.want || text != "" && (!strings.HasPrefix(text, "read model Things: ") || !strings.Contains(text, tt.want)) {
			t.Errorf("%v, %q: got %q, %q, want %q", tt.rule, tt.singular, got, text, tt.want)
		}
	}
}
