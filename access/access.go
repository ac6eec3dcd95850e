// Package access declares who may send which commands and read which rows through
// the GraphQL API.
//
// Rules are values in the declaration of an aggregate or a read model, and the
// server enforces them. Anything without a rule requires an authenticated caller:
//
//	Access: access.Rules{
//		access.Owner("customerId").Or(access.Roles("Clerk")),
//		access.Roles("Clerk").For(Cancel{}),
//		access.Internal.For(Expire{}),
//	},
//
// Rules apply to callers of the API only. Automations, schedules and tasks may send
// every command to the targets that they declare.
package access

import (
	"slices"

	"github.com/reventless-go/reventless/internal/authz"
)

// Rule says which callers may send a command or read a row. The zero Rule is the
// same as [Authenticated].
type Rule struct{ rule }

type rule = authz.Rule

// Rules are the rules of an aggregate. A rule without [Rule.For] applies to all
// commands that no other rule names; there is at most one.
type Rules []Rule

// Admin is the role that the framework itself requires for reading the history of
// events, the state of the plugins, and the outcomes of other users' commands.
const Admin = "Admin"

var (
	// Anyone allows every caller, authenticated or not.
	Anyone = Rule{authz.Anyone}
	// Authenticated allows every authenticated caller.
	Authenticated = Rule{authz.Authenticated}
	// Internal excludes commands or a read model from the API. Callers with the
	// role [Admin] can still read the aggregate's events.
	Internal = Rule{authz.Internal}
)

// Roles allows callers that have at least one of the roles. It panics when there
// are no roles, and when one is empty.
func Roles(roles ...string) Rule {
	if len(roles) == 0 || slices.Contains(roles, "") {
		panic("access: Roles needs roles, none of them empty")
	}
	return Rule{authz.Roles(roles...)}
}

// Owner allows the caller whose user id is the value of a field. The field is a
// string, given by its JSON name.
//
// For a read model it is a field of the row: other callers do not get the row, and
// counts do not include it. For an aggregate it is a field of the command, or "id"
// for the entity id.
func Owner(field string) Rule {
	if field == "" {
		panic("access: Owner needs a field")
	}
	return Rule{authz.Owner(field)}
}

// Or allows what at least one of the two rules allows. It panics when one of them is
// [Internal].
func (r Rule) Or(other Rule) Rule {
	if r.IsInternal() || other.IsInternal() {
		panic("access: Internal cannot be combined with another rule")
	}
	return Rule{r.rule.Or(other.rule)}
}

// For narrows a rule of an aggregate to some of its commands, given as zero values.
// It panics when there are none.
func (r Rule) For(commands ...interface{ MessageType() string }) Rule {
	if len(commands) == 0 {
		panic("access: For needs commands")
	}
	names := make([]string, len(commands))
	for i, c := range commands {
		names[i] = c.MessageType()
	}
	return Rule{r.rule.For(names)}
}
