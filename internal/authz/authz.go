// Package authz evaluates access rules: it is the inside of package access.
package authz

import (
	"slices"
	"strings"
	"time"
)

// Rule says which callers may do something. The zero Rule is the same as
// Authenticated.
type Rule struct {
	kind     kind
	roles    []string
	owners   []string
	commands []string
}

// The order of the kinds matters: the greater one of two allows more.
type kind int

const (
	unset kind = iota
	internal
	listed // by roles and owners only
	authenticated
	anyone
)

// The rules without parameters; package access documents them.
var (
	Anyone        = Rule{kind: anyone}
	Authenticated = Rule{kind: authenticated}
	Internal      = Rule{kind: internal}
)

// Roles allows callers that have one of the roles.
func Roles(roles ...string) Rule { return Rule{kind: listed, roles: slices.Clone(roles)} }

// Owner allows the caller whose user id is the value of a field.
func Owner(field string) Rule { return Rule{kind: listed, owners: []string{field}} }

// Or allows what one of the two rules allows. Neither is Internal.
func (r Rule) Or(other Rule) Rule {
	return Rule{
		kind:   max(r.kind, other.kind),
		roles:  slices.Concat(r.roles, other.roles),
		owners: slices.Concat(r.owners, other.owners), commands: slices.Concat(r.commands, other.commands),
	}
}

// For returns the rule narrowed to commands, by their wire names.
func (r Rule) For(commands []string) Rule {
	r.commands = commands
	return r
}

// Erased returns the rule itself: through it, packages of this module get at the
// rule inside of an access.Rule.
func (r Rule) Erased() Rule { return r }

// Commands returns the wire names of the commands that the rule is narrowed to.
func (r Rule) Commands() []string { return r.commands }

// IsZero reports whether there is no rule.
func (r Rule) IsZero() bool { return r.kind == unset }

// IsInternal reports whether the rule excludes its component from the API.
func (r Rule) IsInternal() bool { return r.kind == internal }

// Owners returns the fields that hold an owner's user id.
func (r Rule) Owners() []string { return r.owners }

// String describes the callers that the rule allows.
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

// Caller is the identity behind a request. The zero Caller is not authenticated.
type Caller struct {
	// User is the caller's user id; empty means not authenticated.
	User string
	// Roles are the caller's roles.
	Roles []string
	// Expires is when the authentication expires; zero means never.
	Expires time.Time
}

// Decision is the result of evaluating a rule for a caller.
type Decision int

// The decisions, from the strictest to the most permissive.
const (
	// Deny: the caller is authenticated and not allowed.
	Deny Decision = iota
	// Unauthenticated: the caller is not authenticated; authentication might help.
	Unauthenticated
	// AsOwner: allowed only where a field of [Rule.Owners] is the caller's user id.
	AsOwner
	// Allow: allowed without restriction.
	Allow
)

// Decide evaluates the rule for a caller.
func (r Rule) Decide(c Caller) Decision {
	switch {
	case r.kind == internal:
		return Deny
	case r.kind == anyone:
		return Allow
	case c.User == "":
		return Unauthenticated
	case r.kind == authenticated || r.kind == unset:
		return Allow
	case slices.ContainsFunc(r.roles, func(role string) bool { return slices.Contains(c.Roles, role) }):
		return Allow
	case len(r.owners) > 0:
		return AsOwner
	}
	return Deny
}
