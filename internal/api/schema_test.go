package api_test

import (
	"strings"
	"testing"

	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/internal/api"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/readmodel"
)

type (
	plain struct {
		Owner string `json:"owner"`
		Size  int    `json:"size"`
	}
	withID struct {
		ID    int    `json:"id"`
		Owner string `json:"owner"`
	}
	first struct {
		First string `json:"first"`
	}
	takesID struct {
		ID string `json:"ID"`
	}
	takesCommandID struct {
		CommandID string `json:"commandId"`
	}
	otherPing struct{}
)

func (takesID) MessageType() string        { return "TakeID" }
func (takesCommandID) MessageType() string { return "TakeCommandID" }
func (otherPing) MessageType() string      { return "OtherPing" }

// one returns a plugin with an aggregate and a read model of rows R.
func one[R any](plugged, name string, mods ...func(*readmodel.Spec[R])) *plugin.Plugin {
	e := entity("Thing", nil, Ping{})
	return plug(plugged, e, rows(name, e, mods...))
}

// indexed gives a read model these indexes.
func indexed[R any](indexes ...readmodel.Index) func(*readmodel.Spec[R]) {
	return func(s *readmodel.Spec[R]) { s.Indexes = indexes }
}

func TestNamesThatCollide(t *testing.T) {
	t.Parallel()
	type line struct{ Other string }
	e := entity("Thing", nil, Ping{})
	for name, tt := range map[string]struct {
		plugins []*plugin.Plugin
		says    []string
	}{
		"two Go types of one name": {
			[]*plugin.Plugin{plug("Shop", e, rows[holder[line]]("Holders", e), rows[holder[Line]]("Others", e))},
			[]string{"api of Shop.Others: ", "api_test.Line", "both become the type ShopLine"},
		},
		"a row and a part of a row":              {[]*plugin.Plugin{one[holder[Line]]("Shop", "Lines")}, []string{"api of Shop.Lines: ", "api_test.Line", "both become the type ShopLine"}},
		"two operations":                         {[]*plugin.Plugin{one[plain]("Shop", "ThingEvents")}, []string{"api of Shop.ThingEvents: the query shopThingEvents already exists, of Shop.Thing"}},
		"two commands":                           {[]*plugin.Plugin{plug("Shop", entity("Thing", nil, otherPing{}), entity("ThingOther", nil, Ping{}))}, []string{"api of Shop.ThingOther: the mutation shopThingOtherPing already exists, of Shop.Thing"}},
		"singular and plural of two read models": {[]*plugin.Plugin{plug("Shop", e, rows[plain]("Order", e), rows[plain]("Orders", e))}, []string{"api of Shop.Orders: ", "ShopOrder"}},
		"a command field id":                     {[]*plugin.Plugin{plug("Shop", entity("Thing", nil, takesID{}))}, []string{"api of Shop.Thing: command TakeID: the field ID of api_test.takesID has the name of an argument"}},
		"a command field commandId":              {[]*plugin.Plugin{plug("Shop", entity("Thing", nil, takesCommandID{}))}, []string{"api of Shop.Thing: command TakeCommandID: the field commandId of api_test.takesCommandID has the name of an argument"}},
		"plugins whose names run together":       {[]*plugin.Plugin{one[plain]("A", "BC"), one[plain]("AB", "C")}, []string{"api of AB.C: ", "both become the type ABC"}},
		"a name of GraphQL":                      {[]*plugin.Plugin{one[plain]("AWS", "JSON")}, []string{"api of AWS.JSON: ", "the type name AWSJSON is reserved by GraphQL"}},
		"a name that every API has": {
			[]*plugin.Plugin{one[plain]("Page", "Infos"), one[plain]("Command", "Results"), one[plain]("String", "Filter")},
			[]string{"api of Page.Infos: ", "two types named PageInfo", "api of Command.Results: ", "two types named CommandResult", "api of String.Filter: ", "two types named StringFilter"},
		},
		"an index by a field that is named as an argument": {
			[]*plugin.Plugin{one("Shop", "Lists", indexed[first](readmodel.Index{Name: "first", Key: "first"}))},
			[]string{"api of Shop.Lists: ", "shopListsByFirst: two arguments are named first"},
		},
		"an index that is named as another with a capital": {
			[]*plugin.Plugin{one("Shop", "Lists", indexed[plain](readmodel.Index{Name: "byOwner", Key: "owner"}, readmodel.Index{Name: "ByOwner", Key: "owner"}))},
			[]string{"api of Shop.Lists: the query shopListsByByOwner already exists"},
		},
		"a field id that is no string": {[]*plugin.Plugin{one[withID]("Shop", "Lists")}, []string{"api of Shop.Lists: the field id of api_test.withID has the name of the row's id and is not a string"}},
	} {
		_, text := derive(tt.plugins...)
		if text == "" {
			t.Errorf("%s: no error", name)
			continue
		}
		wantTexts(t, text, tt.says...)
	}
}

func TestAllProblemsAreReportedAtOnce(t *testing.T) {
	t.Parallel()
	a := entity("Thing", nil, takesID{}, takesCommandID{}, holder[any]{})
	b := entity("Thing", nil, Ping{})
	_, text := derive(plug("One", a), plug("Two", b, rows[holder[func()]]("Funcs", b), rows[withID]("Numbers", b)))
	wantTexts(t, text, "app test: ", "command TakeID", "command TakeCommandID", "command Hold", "api of One.Thing: ", "api of Two.Funcs: ", "api of Two.Numbers: ")
	if n := strings.Count(text, "api of "); n != 5 {
		t.Errorf("got %d problems, want 5:\n%s", n, text)
	}
}

func TestInternalComponentsAreLeftOut(t *testing.T) {
	t.Parallel()
	e := entity("Thing", func(s *aggregate.Spec[struct{}, command, event]) {
		s.Access = access.Rules{access.Internal.For(holder[map[string]int]{}), access.Internal.For(Rich{}), access.Roles("Clerk")}
	}, Ping{}, holder[map[string]int]{}, Rich{})
	s := schema(t, plug("Shop", e,
		rows("Hidden", e, func(s *readmodel.Spec[holder[func()]]) { s.Access = access.Internal }),
		rows("Lines", e, func(s *readmodel.Spec[Line]) { s.Access = access.Internal }),
	))
	wantNames(t, "Shop.Thing", names(s, "Shop.Thing"), "Mutation shopThingPing", "Query shopThingEvents")
	for _, hidden := range []string{"Shop.Hidden", "Shop.Lines"} {
		wantNames(t, hidden, names(s, hidden))
	}
	for _, ty := range s.Types {
		if strings.HasPrefix(ty.Name, "Shop") {
			t.Errorf("the API contains the type %s", ty.Name)
		}
	}
	for name, rule := range map[string]string{"shopThingPing": "callers with the role Clerk"} {
		if got := s.Operation(api.Mutation, name).Rule.String(); got != rule {
			t.Errorf("%s is for %s, want %s", name, got, rule)
		}
	}
}

// dated is a row with sub ids and indexes of all kinds.
type dated struct {
	Owner string  `json:"owner"`
	Sub   string  `json:"sub"`
	Size  float64 `json:"size"`
	Note  string  `json:"note"`
}

func TestOperationsOfAReadModel(t *testing.T) {
	t.Parallel()
	e := entity("Thing", nil, Ping{})
	s := schema(t, plug("Shop", e, rows("Parts", e, func(s *readmodel.Spec[dated]) {
		s.SubID = "sub"
		s.Access = access.Owner("owner")
		s.Indexes = []readmodel.Index{
			{Name: "owner", Key: "owner", Sort: "size"},
			{Name: "size", Key: "size", Sort: "note", Include: []string{}},
			{Name: "note", Key: "note", Include: []string{"owner"}},
		}
	})))
	signature := func(o *api.Operation) string {
		var args []string
		for _, a := range o.Args {
			args = append(args, a.Name+": "+a.Type.String())
		}
		return o.Name + "(" + strings.Join(args, ", ") + "): " + o.Result.String()
	}
	var got []string
	for _, o := range s.Operations {
		if o.Component == "Shop.Parts" {
			got = append(got, signature(o))
			if o.Rule.String() != "the owner (owner)" || !strings.HasSuffix(o.Doc, "For the owner (owner).") {
				t.Errorf("%s is for %v and its documentation is %q", o.Name, o.Rule, o.Doc)
			}
		}
	}
	const page = "first: Int, after: String, last: Int, before: String, filter: ShopPartFilter"
	wantNames(t, "Shop.Parts", got,
		"shopPart(id: ID!, sub: String!, waitFor: [String!]): ShopPart",
		"shopParts("+page+", orderBy: ShopPartOrder, waitFor: [String!]): ShopPartConnection",
		"shopPartItems(id: ID!, sub: StringRange, "+page+", direction: OrderDirection, waitFor: [String!]): ShopPartConnection",
		"shopPartsByOwner(owner: String!, size: NumberRange, "+page+", direction: OrderDirection, waitFor: [String!]): ShopPartConnection",
		"shopPartsBySize(size: Float!, note: StringRange, "+page+", direction: OrderDirection, waitFor: [String!]): ShopPartBySizeConnection",
		"shopPartsByNote(note: String!, "+page+", direction: OrderDirection, waitFor: [String!]): ShopPartByNoteConnection",
		"shopPartChanged(id: ID): ShopPartChange",
	)
	for name, want := range map[string]string{
		"ShopPart": "id owner sub size note", "ShopPartBySize": "id sub size note", "ShopPartByNote": "id owner sub note",
		"ShopPartChange": "kind id subId revision row", "ShopPartFilter": "owner sub size note",
	} {
		var fields []string
		for _, f := range s.Type(name).Fields {
			fields = append(fields, f.Name)
		}
		if got := strings.Join(fields, " "); got != want {
			t.Errorf("%s has the fields %s, want %s", name, got, want)
		}
	}
	if s.Operation(api.Mutation, "shopParts") != nil || s.Operation(api.Query, "shopNothing") != nil || s.Type("ShopNothing") != nil ||
		s.Type("ShopPart").Field("nothing") != nil || s.Operation(api.Query, "shopParts").Arg("nothing") != nil {
		t.Error("a lookup of a missing name finds something")
	}
}
