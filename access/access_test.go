package access_test

import (
	"slices"
	"testing"

	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/internal/authz"
)

type (
	open  struct{}
	close struct{}
)

func (open) MessageType() string  { return "Open" }
func (close) MessageType() string { return "Close" }

var (
	nobody = authz.Caller{}
	// A role without a user id identifies no caller.
	ghost = authz.Caller{Roles: []string{"Clerk", access.Admin}}
	ada   = authz.Caller{User: "ada"}
	clerk = authz.Caller{User: "carl", Roles: []string{"Clerk"}}
	admin = authz.Caller{User: "root", Roles: []string{"Other", access.Admin}}
)

func TestDecide(t *testing.T) {
	t.Parallel()
	const (
		deny  = authz.Deny
		who   = authz.Unauthenticated
		owner = authz.AsOwner
		allow = authz.Allow
	)
	for _, tt := range []struct {
		name                             string
		rule                             access.Rule
		nobody, ghost, ada, clerk, admin authz.Decision
		says                             string
	}{
		{"no rule", access.Rule{}, who, who, allow, allow, allow, "authenticated callers"},
		{"anyone", access.Anyone, allow, allow, allow, allow, allow, "anyone"},
		{"authenticated", access.Authenticated, who, who, allow, allow, allow, "authenticated callers"},
		{"internal", access.Internal, deny, deny, deny, deny, deny, "nobody"},
		{"a role", access.Roles("Clerk"), who, who, deny, allow, deny, "callers with the role Clerk"},
		{"roles", access.Roles("Clerk", access.Admin), who, who, deny, allow, allow, "callers with the role Clerk or Admin"},
		{"another case", access.Roles("clerk"), who, who, deny, deny, deny, "callers with the role clerk"},
		{"owner", access.Owner("by"), who, who, owner, owner, owner, "the owner (by)"},
		{"owner or role", access.Owner("by").Or(access.Roles("Clerk")), who, who, owner, allow, owner, "the owner (by), or callers with the role Clerk"},
		{"role or owner", access.Roles("Clerk").Or(access.Owner("by")), who, who, owner, allow, owner, "the owner (by), or callers with the role Clerk"},
		{"two owners", access.Owner("by").Or(access.Owner("to")), who, who, owner, owner, owner, "the owner (by), or the owner (to)"},
		{"owner or anyone", access.Owner("by").Or(access.Anyone), allow, allow, allow, allow, allow, "anyone"},
		{"role or authenticated", access.Roles("Clerk").Or(access.Authenticated), who, who, allow, allow, allow, "authenticated callers"},
		{"role or no rule", access.Roles("Clerk").Or(access.Rule{}), who, who, deny, allow, deny, "callers with the role Clerk"},
		{"narrowed", access.Roles("Clerk").For(open{}), who, who, deny, allow, deny, "callers with the role Clerk"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, c := range []struct {
				name string
				who  authz.Caller
				want authz.Decision
			}{{"nobody", nobody, tt.nobody}, {"ghost", ghost, tt.ghost}, {"ada", ada, tt.ada}, {"clerk", clerk, tt.clerk}, {"admin", admin, tt.admin}} {
				if got := tt.rule.Decide(c.who); got != c.want {
					t.Errorf("%s: got %d, want %d", c.name, got, c.want)
				}
			}
			if got := tt.rule.String(); got != tt.says {
				t.Errorf("it says %q, want %q", got, tt.says)
			}
		})
	}
}

// What Or lets in is what the more generous of the two does, whatever the order.
func TestOrIsTheMoreGenerousOfTwo(t *testing.T) {
	t.Parallel()
	rules := []access.Rule{access.Anyone, access.Authenticated, access.Roles("Clerk"), access.Roles("Other"), access.Owner("by"), access.Owner("id").Or(access.Roles("Clerk"))}
	for _, a := range rules {
		for _, b := range rules {
			for _, who := range []authz.Caller{nobody, ghost, ada, clerk, admin} {
				if got, want := a.Or(b).Decide(who), max(a.Decide(who), b.Decide(who)); got != want {
					t.Errorf("(%v) or (%v) says %d to %v, want %d", a, b, got, who, want)
				}
			}
		}
	}
}

func TestRulesAreValues(t *testing.T) {
	t.Parallel()
	roles := []string{"Clerk"}
	one := access.Roles(roles...)
	roles[0] = access.Admin
	if one.Decide(clerk) != authz.Allow {
		t.Error("the rule follows the slice that it was made of")
	}
	both := one.Or(access.Owner("by"))
	narrow := both.For(open{}, close{})
	if got := narrow.Commands(); !slices.Equal(got, []string{"Open", "Close"}) {
		t.Errorf("got the commands %v", got)
	}
	if len(one.Owners()) != 0 || len(both.Commands()) != 0 {
		t.Errorf("a rule was changed by combining it: %v, %v", one, both)
	}
	if got := narrow.For(close{}).Commands(); !slices.Equal(got, []string{"Close"}) {
		t.Errorf("narrowed again: got the commands %v", got)
	}
	if !(access.Rule{}).IsZero() || access.Authenticated.IsZero() || access.Internal.IsZero() || !access.Internal.For(open{}).IsInternal() {
		t.Error("zero and internal rules are not told apart")
	}
}

func TestRulesThatMakeNoSensePanic(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]func(){
		"no roles":           func() { access.Roles() },
		"an empty role":      func() { access.Roles("Clerk", "") },
		"no owner":           func() { access.Owner("") },
		"internal or":        func() { access.Internal.Or(access.Anyone) },
		"or internal":        func() { access.Roles("Clerk").Or(access.Internal) },
		"narrowed to nobody": func() { access.Roles("Clerk").For() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			defer func() {
				if recover() == nil {
					t.Error("it does not panic")
				}
			}()
			f()
		})
	}
}
