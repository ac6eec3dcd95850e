// Package aggregate declares aggregates: the commands that an entity takes, the
// events that happen to it, and the state that decisions depend on.
//
//	var Order = aggregate.New(aggregate.Spec[State, Command, Event]{
//		Name:     "Order",
//		Commands: message.NewSet[Command](Place{}, Cancel{}),
//		Events:   message.NewSet[Event](Placed{}, Cancelled{}),
//		Decide:   Decide,
//		Evolve:   Evolve,
//	})
//
// An aggregate has many entities, each with an id and a stream of commits. A command
// is addressed to an entity: Order.To("o1", Cancel{}). Decide gets the entity's
// state, which Evolve has folded from the entity's events, and the command, and
// returns the events that the command leads to. They are appended to the entity's
// stream as one commit, atomically.
//
// The commands of one entity are handled one after the other. If another process
// appends to the stream at the same time, one of the two is first, and the other
// decides again on the new state.
//
// The id of a command is its idempotency key: a command that is sent again with the
// same id takes effect once and gets the same answer.
package aggregate

import (
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/internal/typed"
	"github.com/reventless-go/reventless/message"
)

// DefaultSnapshotEvery is the default of [Spec].SnapshotEvery.
const DefaultSnapshotEvery = 100

// Spec declares an aggregate with state S, commands C and events E.
type Spec[S any, C, E message.Typed] struct {
	// Name is a capital letter followed by letters and digits. It names the event
	// log, and never changes once events are stored.
	Name string
	// Doc is a sentence for readers of the API and the topology.
	Doc string
	// Commands and Events are the types of messages.
	Commands *message.Set[C]
	Events   *message.Set[E]
	// Initial is the state of an entity without events.
	Initial S
	// Decide returns the events that a command leads to, none if there is nothing
	// to do. An error rejects the command: it is an outcome and not a failure (see
	// [message.Reject]). Decide is pure.
	Decide func(S, C) ([]E, error)
	// Evolve returns the state after an event. It is pure. States are cached, so
	// Evolve copies a map or slice of the state before changing it.
	Evolve func(S, E) S
	// StateVersion is increased whenever the meaning of S or Evolve changes.
	// Snapshots with another version are ignored.
	StateVersion int
	// SnapshotEvery is the number of events between two snapshots of a stream: 0
	// means [DefaultSnapshotEvery], negative means no snapshots. A snapshot bounds
	// how many events a cold start reads. It stores S as JSON.
	SnapshotEvery int
	// Async handles commands through a queue. Send then returns the outcome
	// Pending, and the final outcome can be queried by the command's id for a day.
	Async bool
	// Access says who may send which commands through the API. A command without
	// a rule requires an authenticated caller.
	Access access.Rules
}

// Aggregate is a declared aggregate.
type Aggregate[S any, C, E message.Typed] struct {
	source[E]

	spec Spec[S, C, E]
}

type source[E message.Typed] = component.Source[E]

// New declares an aggregate. It panics, naming the aggregate, when the Spec is
// incomplete, when an access rule is invalid, or when JSON would lose a part of S and
// snapshots are on.
func New[S any, C, E message.Typed](spec Spec[S, C, E]) *Aggregate[S, C, E] {
	component.CheckName(component.KindAggregate, spec.Name)
	for what, missing := range map[string]bool{
		"Commands": spec.Commands == nil, "Events": spec.Events == nil,
		"Decide": spec.Decide == nil, "Evolve": spec.Evolve == nil,
	} {
		if missing {
			panic(fmt.Sprintf("aggregate %s: %s is required", spec.Name, what))
		}
	}
	if spec.SnapshotEvery == 0 {
		spec.SnapshotEvery = DefaultSnapshotEvery
	}
	a := &Aggregate[S, C, E]{spec: spec}
	if spec.SnapshotEvery > 0 {
		if err := preserved(spec.Initial); err != nil {
			panic(fmt.Sprintf("aggregate %s: the state cannot be kept in a snapshot: %v (set SnapshotEvery to -1 to have none)", spec.Name, err))
		}
	}
	rules, err := accessRules(spec.Access, spec.Commands.Types())
	if err != nil {
		panic(fmt.Sprintf("aggregate %s: %v", spec.Name, err))
	}
	a.source = component.DeclareSource(&component.Definition{
		Kind: component.KindAggregate, Name: spec.Name, Doc: spec.Doc,
		Aggregate: &component.Aggregate{
			Commands: spec.Commands.Types(), Events: spec.Events.Types(),
			Shape: component.Shape(reflect.TypeFor[S]()), Readable: spec.Events.Readable,
			StateVersion: spec.StateVersion, SnapshotEvery: spec.SnapshotEvery, Async: spec.Async, Access: rules,
			NewState: func() component.State { return &state[S, C, E]{&a.spec, a.spec.Initial} },
			DecodeCommand: func(c driver.Command) (any, error) {
				return a.spec.Commands.Decode(driver.Event{Type: c.Type, Version: c.Version, Data: c.Data})
			},
		},
	}, spec.Events.Erased())
	return a
}

// Spec returns the declaration with its defaults.
func (a *Aggregate[S, C, E]) Spec() Spec[S, C, E] { return a.spec }

// To addresses a command to the entity with this id. An id has 1 to 1,024 bytes of
// UTF-8 without control characters.
func (a *Aggregate[S, C, E]) To(id string, command C) message.Send {
	return typed.Send(a.Definition(), id, a.spec.Commands.Erased(), command)
}

// state is the state of one entity. The engine sees it as a component.State, without
// type parameters, and never boxes an S.
type state[S any, C, E message.Typed] struct {
	spec  *Spec[S, C, E]
	value S
}

func (s *state[S, C, E]) Apply(e driver.Event) error {
	event, err := s.spec.Events.Decode(e)
	if err != nil {
		return err
	}
	s.value = s.spec.Evolve(s.value, event)
	return nil
}

func (s *state[S, C, E]) Decide(decoded any) ([]driver.Event, *component.Rejection, error) {
	command := decoded.(C)
	events, rejected := s.spec.Decide(s.value, command)
	if rejected != nil {
		rejection, err := typed.Rejection(rejected)
		return nil, rejection, err
	}
	out := make([]driver.Event, len(events))
	for i, e := range events {
		var err error
		if out[i], err = s.spec.Events.Encode(e); err != nil {
			return nil, nil, fmt.Errorf("event %d of %s: %w", i+1, command.MessageType(), err)
		}
	}
	return out, nil, nil
}

func (s *state[S, C, E]) Clone() component.State {
	c := *s
	return &c
}

func (s *state[S, C, E]) Snapshot() (json.RawMessage, error) { return json.Marshal(s.value) }

func (s *state[S, C, E]) Restore(data json.RawMessage) error {
	var value S
	if err := json.Unmarshal(data, &value); err != nil {
		return err
	}
	s.value = value
	return nil
}
