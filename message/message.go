package message

import (
	"fmt"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
)

// Meta is what a message carries beside its payload.
type Meta = driver.Meta

// Outcome is the answer to a command: accepted, rejected or pending.
type Outcome = driver.Outcome

// Event is an event of type E as a projection or automation sees it.
type Event[E any] struct {
	// ID is the entity that the event happened to.
	ID string
	// Position is where in the entity's history the event lies.
	Position Position
	// Data is the event.
	Data E
	// Meta is the event's meta; Meta.ID is unique and stable, and serves as an
	// idempotency key.
	Meta Meta
	// RecordedAt is when the store took the event, in UTC. It informs.
	RecordedAt time.Time
}

// Position is the place of an event in its stream.
type Position struct {
	// SequenceNr is the commit, from 1.
	SequenceNr uint64
	// Index is the event's place in the commit, from 0.
	Index int
}

// String returns the position with leading zeros, such that positions of one
// stream sort as text in the order in which the events happened.
func (p Position) String() string { return fmt.Sprintf("%012d.%04d", p.SequenceNr, p.Index) }

// Source is anything that produces events of type E: an aggregate, an extension
// point, a counter. Only this module implements it.
type Source[E Typed] interface {
	// Definition returns the erased declaration.
	Definition() *component.Definition
	// EventSet returns the types that the source produces.
	EventSet() *Set[E]
}

// Action is something that an automation or task wants done: a [Send], or what
// packages counter and schedule make.
type Action interface {
	// Erased returns the action for the engine.
	Erased() component.Action
}

// Actions is what an automation or task wants done, in order.
type Actions = []Action

// Send is a command on its way to an entity. Aggregates and extension points
// make them (To), so that the compiler checks the pairing of target and command.
type Send struct{ action component.Action }

// NewSend is for the packages whose components are targets.
func NewSend[C Typed](target *component.Definition, id string, set *Set[C], command C) Send {
	a := component.Action{Kind: component.SendCommand, Target: target, ID: id}
	a.Command, a.Err = set.Encode(command)
	if a.Err == nil {
		a.Err = driver.CheckID("entity", id)
	}
	if a.Err != nil {
		a.Err = fmt.Errorf("send to %s: %w", target.Name, a.Err)
	}
	return Send{a}
}

// After returns the send with a delay: the command is handed to its target when
// d has passed, at a precision of a minute or better, also across restarts.
func (s Send) After(d time.Duration) Send {
	s.action.Delay = d
	return s
}

// Erased returns the send for the engine.
func (s Send) Erased() component.Action { return s.action }

// Decode turns an erased event into a typed one, with the source's set.
func Decode[E Typed](set *Set[E], e component.Event) (Event[E], error) {
	data, err := set.Decode(e.Event)
	if err != nil {
		return Event[E]{}, fmt.Errorf("event %s: %w", e.Meta.ID, err)
	}
	return Event[E]{
		ID: e.Stream, Position: Position{e.SequenceNr, e.Index},
		Data: data, Meta: e.Meta, RecordedAt: e.RecordedAt,
	}, nil
}

// Erase is for the packages whose components return actions.
func Erase(actions []Action) []component.Action {
	if len(actions) == 0 {
		return nil
	}
	out := make([]component.Action, len(actions))
	for i, a := range actions {
		out[i] = a.Erased()
	}
	return out
}

// NewAction is for the packages whose components make actions.
func NewAction(a component.Action) Action { return erased(a) }

type erased component.Action

func (a erased) Erased() component.Action { return component.Action(a) }
