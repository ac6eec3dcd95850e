// Package extension connects plugins through protocols.
//
// An extension point ([Point]) is a protocol of public commands and public events. It
// is declared in a package of its own, the only one that both plugins import. One
// plugin serves it with an [Offer], which maps its private events to public events,
// and public commands to its private commands. Other plugins declare an [Extension],
// or use the point as a source of events and a target of commands like an aggregate.
//
// Public events are not stored. They are mapped from the private events whenever a
// consumer reads these. So no public event can be lost, and a corrected mapping
// applies to everything that is rebuilt.
package extension

import (
	"fmt"

	"github.com/reventless-go/reventless/automation"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/internal/typed"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
)

// PointSpec declares a protocol of commands C and events E.
type PointSpec[C, E message.Typed] struct {
	// Name is a capital letter followed by letters and digits.
	Name string
	// Doc is a sentence for readers of the topology.
	Doc string
	// Version is the version of the protocol, which the read model Platform.Plugins
	// shows; 0 means 1.
	Version int
	// Commands are the public commands; nil if there are none.
	Commands *message.Set[C]
	// Events are the public events.
	Events *message.Set[E]
}

// Point is a declared extension point: a source of E and a target of C.
type Point[C, E message.Typed] struct {
	source[E]

	spec PointSpec[C, E]
}

type (
	declared                = component.Declared
	source[E message.Typed] = component.Source[E]
)

// NewPoint declares an extension point. It panics, naming it, when it has no events.
func NewPoint[C, E message.Typed](spec PointSpec[C, E]) *Point[C, E] {
	component.CheckName(component.KindExtensionPoint, spec.Name)
	if spec.Events == nil {
		panic(fmt.Sprintf("extension point %s: Events is required", spec.Name))
	}
	p := &component.Point{Events: spec.Events.Types(), Version: max(spec.Version, 1)}
	if spec.Commands != nil {
		p.Commands = spec.Commands.Types()
	}
	return &Point[C, E]{component.DeclareSource(&component.Definition{
		Kind: component.KindExtensionPoint, Name: spec.Name, Doc: spec.Doc, Point: p,
	}, spec.Events.Erased()), spec}
}

// To addresses a public command to the entity with this id. It panics when the
// protocol has no commands.
func (p *Point[C, E]) To(id string, command C) message.Send {
	if p.spec.Commands == nil {
		panic(fmt.Sprintf("extension point %s takes no commands", p.spec.Name))
	}
	return typed.Send(p.Definition(), id, p.spec.Commands.Erased(), command)
}

// NoCommand is the type C of a protocol without commands.
type NoCommand interface {
	message.Typed
	noCommand()
}

// Side is a part of an offer. [Publish] and [Accept] make it.
type Side[C, E message.Typed] struct {
	publish *component.Publication
	targets []*component.Definition
	accept  func(*Point[C, E]) func(string, driver.Event) ([]component.Action, error)
}

// Publish maps each private event of source to public events of p, which happen to the
// entity of the same id. publish is pure.
func Publish[C, E, S message.Typed](p *Point[C, E], source message.Source[S], publish func(message.Event[S]) []E) Side[C, E] {
	private, public := source.EventSet(), p.spec.Events
	return Side[C, E]{publish: &component.Publication{
		Source: source.Definition(),
		Map: func(e component.Event) ([]driver.Event, error) {
			event, err := typed.Event(private, e)
			if err != nil {
				return nil, err
			}
			events := publish(event)
			out := make([]driver.Event, len(events))
			for i, pe := range events {
				if out[i], err = public.Encode(pe); err != nil {
					return nil, fmt.Errorf("publish on %s: %w", p.spec.Name, err)
				}
			}
			return out, nil
		},
	}}
}

// Accept maps each public command of p to commands for targets, which belong to the
// plugin of the offer. accept is pure.
func Accept[C, E message.Typed](p *Point[C, E], accept func(id string, command C) []message.Send, targets ...plugin.Component) Side[C, E] {
	return Side[C, E]{targets: component.Definitions(targets), accept: func(p *Point[C, E]) func(string, driver.Event) ([]component.Action, error) {
		return func(id string, e driver.Event) ([]component.Action, error) {
			command, err := p.spec.Commands.Decode(e)
			if err != nil {
				return nil, fmt.Errorf("accept on %s: %w", p.spec.Name, err)
			}
			sends := accept(id, command)
			actions := make([]component.Action, len(sends))
			for i, s := range sends {
				actions[i] = s.Erased()
			}
			return actions, nil
		}
	}}
}

// Offer is the implementation of an extension point by a plugin.
type Offer struct{ declared }

// NewOffer declares that the plugin serves p: with one [Publish] per source of public
// events and, if p has commands, one [Accept]. Its component has the name and Doc of
// the point. NewOffer panics, naming the point, when a side is missing or duplicate.
func NewOffer[C, E message.Typed](p *Point[C, E], sides ...Side[C, E]) *Offer {
	fail := func(what string) { panic(fmt.Sprintf("offer of extension point %s: %s", p.spec.Name, what)) }
	offer := &component.Offer{Point: p.Definition()}
	for _, s := range sides {
		switch {
		case s.publish != nil:
			for _, other := range offer.Publishes {
				if other.Source == s.publish.Source {
					fail("it publishes " + other.Source.Name + " twice")
				}
			}
			offer.Publishes = append(offer.Publishes, *s.publish)
		case s.accept != nil:
			if offer.Accept != nil {
				fail("it accepts twice")
			}
			offer.Accept, offer.Targets = s.accept(p), s.targets
		default:
			fail("a side is empty; use Publish or Accept")
		}
	}
	if len(offer.Publishes) == 0 {
		fail("it publishes nothing")
	}
	if (offer.Accept != nil) != (p.spec.Commands != nil) {
		fail("Accept goes with a protocol that has commands")
	}
	return &Offer{component.Declare(&component.Definition{
		Kind: component.KindExtensionPoint, Name: p.spec.Name, Doc: p.spec.Doc, Offer: offer,
	})}
}

// Extension is a declared extension: it reacts to the public events of a point.
type Extension struct{ declared }

// Spec declares an extension of a point with public events E.
type Spec[E message.Typed] struct {
	// Name is a capital letter followed by letters and digits.
	Name string
	// Doc is a sentence for readers of the topology.
	Doc string
	// React turns a public event into actions, as a rule of an automation does
	// (see [automation.On]).
	React func(message.Event[E]) message.Actions
	// Sends lists the aggregates, extension points and counters that the actions
	// may address.
	Sends plugin.Components
}

// New declares an extension of p. It panics, naming the extension, when React is
// missing.
func New[C, E message.Typed](p *Point[C, E], spec Spec[E]) *Extension {
	component.CheckName(component.KindExtension, spec.Name)
	if spec.React == nil {
		panic(fmt.Sprintf("extension %s: React is required", spec.Name))
	}
	a := automation.New(automation.Spec{
		Name: spec.Name, Rules: automation.Rules{automation.On(p, spec.React)}, Sends: spec.Sends,
	}).Definition().Automation
	a.Point = p.Definition()
	return &Extension{component.Declare(&component.Definition{Kind: component.KindExtension, Name: spec.Name, Doc: spec.Doc, Automation: a})}
}
