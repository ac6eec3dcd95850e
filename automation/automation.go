// Package automation declares reactions to events.
//
// An automation turns events into commands and other actions. Its rules are pure
// functions, unless they look something up in a read model. A side effect acts on
// the outside world: for example, it sends a mail or writes a file. Both process the
// events of one stream in order.
//
// # Errors
//
// When a rule or effect returns an error, it is called again with backoff. After
// the last attempt the event is parked with its reason, and the following events
// of its stream wait until an operator redrives or discards it.
//
// An error that wraps driver.ErrUnavailable or driver.ErrThrottled means that an
// outside service is unavailable or overloaded, not that the event is at fault. The
// event is then not parked, but retried for as long as its queue or stream retains it.
//
// A Lambda function has a time limit. A rule or effect that exceeds it counts as
// failed, as if it had returned an error that is neither of these two. Therefore, set
// a timeout on every call of an outside service.
package automation

import (
	"context"
	"fmt"

	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/internal/typed"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
)

// Spec declares an automation.
type Spec struct {
	// Name is a capital letter followed by letters and digits.
	Name string
	// Doc is a sentence for readers of the topology.
	Doc string
	// Rules react to events. Several rules may have the same source: all of them
	// run, in this order.
	Rules Rules
	// Uses lists the read models and buckets that rules open with their env.
	Uses plugin.Components
	// Sends lists the aggregates, extension points and counters that the actions
	// may address. An action with any other target is an error of the rule. On AWS,
	// the automation's function has permission for these targets only.
	Sends plugin.Components
}

// Rules are the rules of an automation.
type Rules = []Rule

// Rule reacts to the events of one source. [On] and [OnWith] return rules.
type Rule struct{ rule component.Rule }

// On returns a rule that turns each event of source into actions. react must be a pure
// function. The ids of the commands that it sends are derived from the event, so that
// the commands of a repeated call are applied only once.
func On[E message.Typed](source message.Source[E], react func(message.Event[E]) message.Actions) Rule {
	return OnWith(source, func(_ context.Context, _ plugin.Env, e message.Event[E]) (message.Actions, error) {
		return react(e), nil
	})
}

// OnWith is [On] for a rule that looks things up in the read models that the Spec
// lists under Uses. Package automation describes what an error leads to.
func OnWith[E message.Typed](source message.Source[E],
	react func(context.Context, plugin.Env, message.Event[E]) (message.Actions, error),
) Rule {
	set := source.EventSet()
	return Rule{component.Rule{
		Source: source.Definition(),
		React: func(ctx context.Context, env component.Env, e component.Event) ([]component.Action, error) {
			event, err := typed.Event(set, e)
			if err != nil {
				return nil, err
			}
			actions, err := react(ctx, env, event)
			if err != nil {
				return nil, err
			}
			return typed.Actions(actions), nil
		},
	}}
}

// Automation is a declared automation.
type Automation struct{ declared }

type declared = component.Declared

// New declares an automation. It panics, naming the automation, when the name is
// invalid, a rule is empty or there are no rules.
func New(spec Spec) *Automation {
	a := erase(component.KindAutomation, spec.Name, spec.Rules, spec.Uses)
	a.Targets = component.Definitions(spec.Sends)
	return &Automation{component.Declare(&component.Definition{
		Kind: component.KindAutomation, Name: spec.Name, Doc: spec.Doc, Automation: a,
	})}
}

// SideEffectSpec declares a side effect.
type SideEffectSpec struct {
	// Name is a capital letter followed by letters and digits.
	Name string
	// Doc is a sentence for readers of the topology.
	Doc string
	// Effects are called for events. Several may have the same source: all of them
	// are called, in this order.
	Effects Effects
	// Uses lists the read models and buckets that effects open with their env.
	Uses plugin.Components
}

// Effects are the effects of a side effect.
type Effects = []Effect

// Effect acts on the outside world for the events of one source. [Do] returns effects.
type Effect struct{ rule Rule }

// Do returns an effect that calls effect at least once for each event of source, one
// after the other for the events of one stream. env.IdempotencyKey is the event's id,
// which is the same in every repeated call. Package automation describes what an error
// leads to.
func Do[E message.Typed](source message.Source[E],
	effect func(context.Context, plugin.Env, message.Event[E]) error,
) Effect {
	return Effect{OnWith(source, func(ctx context.Context, env plugin.Env, e message.Event[E]) (message.Actions, error) {
		return nil, effect(ctx, env, e)
	})}
}

// SideEffect is a declared side effect.
type SideEffect struct{ declared }

// NewSideEffect declares a side effect. It panics, naming the side effect, when the
// name is invalid, an effect is empty or there are no effects.
func NewSideEffect(spec SideEffectSpec) *SideEffect {
	rules := make(Rules, len(spec.Effects))
	for i, e := range spec.Effects {
		rules[i] = e.rule
	}
	return &SideEffect{component.Declare(&component.Definition{
		Kind: component.KindSideEffect, Name: spec.Name, Doc: spec.Doc,
		Automation: erase(component.KindSideEffect, spec.Name, rules, spec.Uses),
	})}
}

func erase(kind component.Kind, name string, rules Rules, uses plugin.Components) *component.Automation {
	component.CheckName(kind, name)
	a := &component.Automation{Uses: component.Definitions(uses)}
	for i, r := range rules {
		if r.rule.React == nil {
			panic(fmt.Sprintf("%s %s: rule %d is empty", kind, name, i+1))
		}
		a.Rules = append(a.Rules, r.rule)
	}
	if len(a.Rules) == 0 {
		panic(fmt.Sprintf("%s %s: it reacts to nothing", kind, name))
	}
	return a
}
