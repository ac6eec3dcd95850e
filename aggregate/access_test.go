package aggregate_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/message"
)

// person is a string by another name.
type person string

type (
	hire struct {
		By    string  `json:"by"`
		Whom  person  `json:"whom"`
		Maybe *string `json:"maybe"`
		Pay   int     `json:"pay"`
		Bare  string
	}
	fire  struct{}
	other struct{}
)

func (hire) MessageType() string  { return "Hire" }
func (fire) MessageType() string  { return "Fire" }
func (other) MessageType() string { return "Other" }

// rules declares an aggregate with rules; they are those of its commands, or the
// text of the panic.
func rules(rules ...access.Rule) (of map[string]string, text string) {
	defer func() {
		if v := recover(); v != nil {
			text = fmt.Sprint(v)
		}
	}()
	a := aggregate.New(aggregate.Spec[json.RawMessage, message.Typed, message.Typed]{
		Name: "Office", SnapshotEvery: -1, Access: rules,
		Commands: message.NewSet[message.Typed](hire{}, fire{}), Events: message.NewSet[message.Typed](opened{}),
		Decide: func(json.RawMessage, message.Typed) ([]message.Typed, error) { return nil, nil },
		Evolve: func(s json.RawMessage, _ message.Typed) json.RawMessage { return s },
	})
	of = map[string]string{}
	for name, r := range a.Definition().Aggregate.Access {
		of[name] = r.String()
	}
	return of, ""
}

func TestEveryCommandHasARule(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		rules      []access.Rule
		hire, fire string
	}{
		{nil, "authenticated callers", "authenticated callers"},
		{[]access.Rule{access.Anyone}, "anyone", "anyone"},
		{[]access.Rule{access.Internal}, "nobody", "nobody"},
		{[]access.Rule{access.Roles("Boss").For(fire{})}, "authenticated callers", "callers with the role Boss"},
		{[]access.Rule{access.Roles("Boss").For(fire{}), access.Anyone}, "anyone", "callers with the role Boss"},
		{[]access.Rule{access.Anyone, access.Internal.For(fire{})}, "anyone", "nobody"},
		{[]access.Rule{access.Roles("Boss").For(hire{}, fire{}), access.Anyone}, "callers with the role Boss", "callers with the role Boss"},
		{[]access.Rule{access.Owner("id")}, "the owner (id)", "the owner (id)"},
		{[]access.Rule{access.Owner("by").Or(access.Owner("whom")).Or(access.Owner("Bare")).For(hire{})}, "the owner (by), or the owner (whom), or the owner (Bare)", "authenticated callers"},
	} {
		got, text := rules(tt.rules...)
		if text != "" || len(got) != 2 || got["Hire"] != tt.hire || got["Fire"] != tt.fire {
			t.Errorf("%v: got %v, %s, want %s and %s", tt.rules, got, text, tt.hire, tt.fire)
		}
	}
}

func TestRulesThatDoNotFitTheCommands(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		rules []access.Rule
		says  string
	}{
		{[]access.Rule{access.Anyone, {}}, "access rule 2 is empty"},
		{[]access.Rule{access.Anyone, access.Authenticated}, "two access rules are for all commands"},
		{[]access.Rule{access.Anyone.For(other{})}, `access rule 1 is for "Other", which is not one of its commands`},
		{[]access.Rule{access.Anyone.For(fire{}), access.Authenticated.For(hire{}, fire{})}, "two access rules are for Fire"},
		{[]access.Rule{access.Anyone.For(fire{}, fire{})}, "two access rules are for Fire"},
		{[]access.Rule{access.Owner("by")}, `access of Fire: the owner "by" is not a string field of it`},
		{[]access.Rule{access.Owner("nobody").For(hire{})}, `access of Hire: the owner "nobody"`},
		{[]access.Rule{access.Owner("pay").For(hire{})}, `access of Hire: the owner "pay"`},
		{[]access.Rule{access.Owner("maybe").For(hire{})}, `access of Hire: the owner "maybe"`},
		{[]access.Rule{access.Owner("bare").For(hire{})}, `access of Hire: the owner "bare"`}, // as in JSON, not as in the API
	} {
		if _, text := rules(tt.rules...); !strings.HasPrefix(text, "aggregate Office: ") || !strings.Contains(text, tt.says) {
			t.Errorf("%v: it says %q, want %q", tt.rules, text, tt.says)
		}
	}
}
