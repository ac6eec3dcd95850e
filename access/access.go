// Package access declares who may send which command and read which rows over
// an API.
//
// A rule is a value in the declaration of an aggregate or a read model, and every
// transport enforces it on the server. What has no rule of its own is for
// authenticated callers. Rules are for callers from outside: automations,
// schedules and tasks send what they declare.
package access

import (
	"slices"
	"strings"
	"time"
)

// Rule says who may do something. The zero Rule is no rule: the default applies,
// which is [Authenticated].
type Rule struct {
	kind     kind
	roles    []string
	owners   []string
	commands []string
}

// Admin is the role that the framework itself asks for: it reads the history of
// events, the state of the plugins, and the outcome of anybody's command.
const Admin = "Admin"

type kind int

const (
	unset kind = iota
	internal
	listed // by roles and owners only
	authenticated
	anyone
)

// The rules without parameters.
var (
	// Anyone lets everybody in, without a token too.
	Anyone = Rule{kind: anyone}
	// Authenticated lets in whoever is known.
	Authenticated = Rule{kind: authenticated}
	// Internal keeps commands or rows out of the API. The history of an aggregate's
	// events stays with administrators.
	Internal = Rule{kind: internal}
)

// Roles lets in callers that have one of the roles. It panics when there is none.
func Roles(roles ...string) Rule {
	if len(roles) == 0 || slices.Contains(roles, "") {
		panic("access: Roles needs roles, none of them empty")
	}
	return Rule{kind: listed, roles: slices.Clone(roles)}
}

// Owner lets in the caller whose user id is the value of a field, by its JSON
// name: of the row, for a read model, such that others neither find the row nor
// count it; of the command, where "id" is the entity. The field is a string.
func Owner(field string) Rule {
	if field == "" {
		panic("access: Owner needs a field")
	}
	return Rule{kind: listed, owners: []string{field}}
}

// Or lets in whoever one of the two rules lets in. It panics for [Internal], which
// has no callers to add to.
func (r Rule) Or(other Rule) Rule {
	if r.kind == internal || other.kind == internal {
		panic("access: Internal cannot be combined with another rule")
	}
	return Rule{
		kind:   max(r.kind, other.kind),
		roles:  slices.Concat(r.roles, other.roles),
		owners: slices.Concat(r.owners, other.owners), commands: slices.Concat(r.commands, other.commands),
	}
}

// For narrows the rule of an aggregate to some of its commands, which are zero
// values. It panics when there is none.
func (r Rule) For(commands ...interface{ MessageType() string }) Rule {
	if len(commands) == 0 {
		panic("access: For needs commands")
	}
	r.commands = nil
	for _, c := range commands {
		r.commands = append(r.commands, c.MessageType())
	}
	return r
}

// Rules are the rules of an aggregate. One without For is for all commands that
// no other one names; there is one such rule at most.
type Rules []Rule

// Commands returns the names that the rule is narrowed to.
func (r Rule) Commands() []string { return r.commands }

// IsZero reports whether there is no rule.
func (r Rule) IsZero() bool { return r.kind == unset }

// IsInternal reports whether the rule keeps its component out of the API.
func (r Rule) IsInternal() bool { return r.kind == internal }

// Owners returns the fields of the rule's owners.
func (r Rule) Owners() []string { return r.owners }

// String describes the rule in words.
func (r Rule) String() string {
	switch r.kind {
	case anyone:
		return "anyone"
	case internal:
		return "nobody"
	case unset, authenticated:
		return "authenticated callers"
	}
	var parts []string
	for _, f := range r.owners {
		parts = append(parts, "the owner ("+f+")")
	}
	if len(r.roles) > 0 {
		parts = append(parts, "callers with the role "+strings.Join(r.roles, " or "))
	}
	return strings.Join(parts, ", or ")
}

// Identity is who calls. The zero Identity is nobody: a caller without a token.
type Identity struct {
	// User is the caller's id; empty is nobody.
	User string
	// Roles are what the caller may act as.
	Roles []string
	// Expires is when the identity ends; zero is never.
	Expires time.Time
}

// Decision is what a rule says to a caller.
type Decision int

// The decisions.
const (
	// Deny: the caller is known and may not.
	Deny Decision = iota
	// Unauthenticated: the caller is nobody, and may be let in when known.
	Unauthenticated
	// AsOwner: only where a field of [Rule.Owners] is the caller's user id.
	AsOwner
	// Allow: everything.
	Allow
)

// Decide says what the rule allows who to do.
func (r Rule) Decide(who Identity) Decision {
	switch {
	case r.kind == internal:
		return Deny
	case r.kind == anyone:
		return Allow
	case who.User == "":
		return Unauthenticated
	case r.kind == authenticated || r.kind == unset:
		return Allow
	case slices.ContainsFunc(r.roles, func(role string) bool { return slices.Contains(who.Roles, role) }):
		return Allow
	case len(r.owners) > 0:
		return AsOwner
	}
	return Deny
}
