package aggregate

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/internal/authz"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/internal/jsonfield"
)

// accessRules returns the rule of each command.
func accessRules(rules access.Rules, commands []component.MessageType) (map[string]authz.Rule, error) {
	out := map[string]authz.Rule{}
	var rest authz.Rule
	for i, r := range rules {
		switch {
		case r.IsZero():
			return nil, fmt.Errorf("access rule %d is empty", i+1)
		case len(r.Commands()) == 0 && !rest.IsZero():
			return nil, fmt.Errorf("two access rules are for all commands; narrow one of them with For")
		case len(r.Commands()) == 0:
			rest = r.Erased()
		}
		for _, name := range r.Commands() {
			if !slices.ContainsFunc(commands, func(c component.MessageType) bool { return c.Name == name }) {
				return nil, fmt.Errorf("access rule %d is for %q, which is not one of its commands", i+1, name)
			}
			if _, twice := out[name]; twice {
				return nil, fmt.Errorf("two access rules are for %s", name)
			}
			out[name] = r.Erased()
		}
	}
	for _, c := range commands {
		r, named := out[c.Name]
		if !named {
			r = rest
		}
		if r.IsZero() {
			r = authz.Authenticated
		}
		for _, field := range r.Owners() {
			if field == "id" {
				continue
			}
			if f, ok := jsonfield.Named(c.Go, field); !ok || f.Type.Kind() != reflect.String {
				return nil, fmt.Errorf("access of %s: the owner %q is not a string field of it", c.Name, field)
			}
		}
		out[c.Name] = r
	}
	return out, nil
}
