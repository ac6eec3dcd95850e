package reventlesstest

import (
	"context"
	"testing"

	"github.com/reventless-go/reventless/automation"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/plugin"
)

// AutomationTest tests an automation, extension or side effect. [Automation] and
// [SideEffect] create it.
type AutomationTest struct {
	reaction[*AutomationTest]
}

// Automation starts a test of an automation, an extension or a side effect.
func Automation(t testing.TB, c plugin.Component) *AutomationTest {
	t.Helper()
	d := c.Definition()
	if d.Automation == nil {
		t.Fatalf("reventlesstest.Automation: %s has the kind %s, want an automation, extension or side effect", d.Name, kindName(d.Kind))
	}
	a := &AutomationTest{}
	a.reaction = newReaction(t, a, d)
	a.watch()
	return a
}

// SideEffect starts a test of a side effect.
func SideEffect(t testing.TB, s *automation.SideEffect) *AutomationTest {
	t.Helper()
	return Automation(t, s)
}

// When delivers events in sequence. For each event, all rules of its source run. When
// stops at the first error. The next Then checks the actions of all rules together.
func (a *AutomationTest) When(facts ...Fact) *AutomationTest {
	a.t.Helper()
	a.when("When", showFacts(facts)...)
	for _, f := range facts {
		if err := f.check(); err != nil {
			a.fatal("%v", err)
		}
		var rules []component.Rule
		for _, r := range a.def.Automation.Rules {
			if r.Source == f.source {
				rules = append(rules, r)
			}
		}
		if len(rules) == 0 {
			a.fatal("it does not react to %s %s", kindName(f.source.Kind), f.source.Name)
		}
		events, commit := a.w.nextCommit(f)
		for _, e := range events {
			for _, r := range rules {
				ok := a.call(e.Meta.ID, a.def.Automation.Uses, func(ctx context.Context, env component.Env) ([]component.Action, error) {
					return r.React(ctx, env, e)
				})
				if !ok {
					return a
				}
			}
		}
		commit()
	}
	return a
}

func showFacts(facts []Fact) []string {
	out := make([]string, len(facts))
	for i, f := range facts {
		if f.check() == nil {
			out[i] = f.String()
		}
	}
	return out
}
