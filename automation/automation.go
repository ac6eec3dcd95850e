// Package automation declares what happens because something happened.
//
// An automation turns events into commands and other actions; it is pure unless
// it reads a read model. A side effect calls the outside world. Both see the
// events of a stream in order, and are repeated and finally parked when they
// fail.
//
// An error that wraps driver.ErrUnavailable or driver.ErrThrottled says that
// the outside is away or busy, and nothing about the event: it is tried again, and
// not parked, for as long as its transport keeps it. What has not ended when its
// time is over, which functions in the cloud have and a single process does not, has
// failed like with any other error. Give what it waits for a timeout.
package automation

import (
	"context"
	"fmt"

	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
)

// Rule reacts to the events of one source, or says what the automation sends to.
type Rule struct {
	rule    component.Rule
	targets []*component.Definition
}

// On turns the events of source into actions. react is pure: the ids of the
// commands it sends are derived from the event, so that a repetition sends
// nothing twice.
func On[E message.Typed](source message.Source[E], react func(message.Event[E]) message.Actions) Rule {
	return OnWith(source, nil, func(_ context.Context, _ plugin.Env, e message.Event[E]) (message.Actions, error) {
		return react(e), nil
	})
}

// OnWith is [On] for a rule that looks things up: uses are the read models that
// it opens with env. An error is retried, then the event is parked.
func OnWith[E message.Typed](source message.Source[E], uses plugin.Components,
	react func(context.Context, plugin.Env, message.Event[E]) (message.Actions, error),
) Rule {
	set := source.EventSet()
	return Rule{rule: component.Rule{
		Source: source.Definition(), Uses: plugin.Definitions(uses),
		React: func(ctx context.Context, env component.Env, e component.Event) ([]component.Action, error) {
			event, err := message.Decode(set, e)
			if err != nil {
				return nil, err
			}
			actions, err := react(ctx, env, event)
			if err != nil {
				return nil, err
			}
			return message.Erase(actions), nil
		},
	}}
}

// Sends declares the aggregates, extension points and counters that the
// automation's actions address. The engine refuses any other: what a function
// may do in the cloud is computed from here.
func Sends(targets ...plugin.Component) Rule {
	return Rule{targets: plugin.Definitions(targets)}
}

// Automation is a declared automation.
type Automation struct{ def *component.Definition }

// New declares an automation. All rules of a source run. It panics, naming the
// automation, when there is no rule.
func New(name string, rules ...Rule) *Automation {
	component.CheckName(component.KindAutomation, name)
	return &Automation{&component.Definition{
		Kind: component.KindAutomation, Name: name,
		Automation: erase(component.KindAutomation, name, rules),
	}}
}

// Definition returns the erased declaration.
func (a *Automation) Definition() *component.Definition { return a.def }

// Effect calls the outside world for the events of one source.
type Effect struct{ rule Rule }

// Do calls effect for every event of source, at least once and sequentially
// within a stream. env.IdempotencyKey is the event's id, the same at every
// repetition. An error is retried with backoff, then the event is parked and
// its stream waits; see the package for one that is not. uses are the buckets and read models that effect opens.
func Do[E message.Typed](source message.Source[E], uses plugin.Components,
	effect func(context.Context, plugin.Env, message.Event[E]) error,
) Effect {
	return Effect{OnWith(source, uses, func(ctx context.Context, env plugin.Env, e message.Event[E]) (message.Actions, error) {
		return nil, effect(ctx, env, e)
	})}
}

// SideEffect is a declared side effect.
type SideEffect struct{ def *component.Definition }

// NewSideEffect declares a side effect. It panics, naming it, when there is no
// effect.
func NewSideEffect(name string, effects ...Effect) *SideEffect {
	component.CheckName(component.KindSideEffect, name)
	rules := make([]Rule, len(effects))
	for i, e := range effects {
		rules[i] = e.rule
	}
	return &SideEffect{&component.Definition{
		Kind: component.KindSideEffect, Name: name,
		Automation: erase(component.KindSideEffect, name, rules),
	}}
}

// Definition returns the erased declaration.
func (s *SideEffect) Definition() *component.Definition { return s.def }

func erase(kind component.Kind, name string, rules []Rule) *component.Automation {
	a := &component.Automation{}
	for i, r := range rules {
		switch {
		case r.rule.React != nil:
			a.Rules = append(a.Rules, r.rule)
		case r.targets != nil:
			a.Targets = append(a.Targets, r.targets...)
		default:
			panic(fmt.Sprintf("%s %s: rule %d is empty", kind, name, i+1))
		}
	}
	if len(a.Rules) == 0 {
		panic(fmt.Sprintf("%s %s: it reacts to nothing", kind, name))
	}
	return a
}
