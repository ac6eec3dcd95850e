package aggregate

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/internal/jsonfield"
)

// accessRules spreads the declared rules over the commands.
func accessRules(rules access.Rules, commands []component.MessageType) (map[string]access.Rule, error) {
	out := map[string]access.Rule{}
	var rest access.Rule
	for i, r := range rules {
		switch {
		case r.IsZero():
			return nil, fmt.Errorf("access rule %d is empty", i+1)
		case len(r.Commands()) == 0 && !rest.IsZero():
			return nil, fmt.Errorf("two access rules are for all commands; narrow one with For")
		case len(r.Commands()) == 0:
			rest = r
		}
		for _, name := range r.Commands() {
			if !slices.ContainsFunc(commands, func(c component.MessageType) bool { return c.Name == name }) {
				return nil, fmt.Errorf("access rule %d is for %q, which is no command of it", i+1, name)
			}
			if _, twice := out[name]; twice {
				return nil, fmt.Errorf("two access rules are for %s", name)
			}
			out[name] = r
		}
	}
	for _, c := range commands {
		r, named := out[c.Name]
		if !named {
			r = rest
		}
		if r.IsZero() {
			r = access.Authenticated
		}
		for _, field := range r.Owners() {
			if field == "id" {
				continue
			}
			if f, ok := jsonfield.Named(c.Go, field); !ok || f.Type.Kind() != reflect.String {
				return nil, fmt.Errorf("access of %s: the owner %q is no string field of it", c.Name, field)
			}
		}
		out[c.Name] = r
	}
	return out, nil
}
