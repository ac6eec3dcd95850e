package message

import (
	"fmt"
	"time"

	"github.com/reventless-go/reventless/internal/component"
)

// Event is an event of type E with its envelope, as a projection or an automation
// receives it.
type Event[E any] struct {
	// EntityID is the id of the entity that the event belongs to.
	EntityID string
	// Position is the event's place in the entity's stream.
	Position Position
	// Data is the event.
	Data E
	// Meta describes the event. Meta.ID is unique, never changes, and serves as an
	// idempotency key.
	Meta Meta
	// RecordedAt is when the event log stored the event, in UTC. The order of a
	// stream does not depend on it.
	RecordedAt time.Time
}

// Position is the place of an event in its stream.
type Position struct {
	// SequenceNr is the sequence number of the commit, from 1.
	SequenceNr uint64
	// Index is the event's place in the commit, from 0.
	Index int
}

// String returns the position with leading zeros, so that the positions of one
// stream sort as text in the order of the events.
func (p Position) String() string { return fmt.Sprintf("%012d.%04d", p.SequenceNr, p.Index) }

// Meta describes a message: its id, its cause, and the user at the start of its chain.
type Meta struct {
	// ID is the id of the command or event itself.
	ID string
	// Service is the component that produced the event or that the command is
	// addressed to: "<Plugin>.<Component>".
	Service string
	// CorrelationID is the id of the first message of the causal chain.
	CorrelationID string
	// CausationID is the id of the message that led directly to this one.
	CausationID string
	// Depth is the number of messages of components between the first message of the
	// chain and this one.
	Depth int
	// Time is when the message was created, in UTC. No decision and no order depends
	// on it.
	Time time.Time
	// User is the authenticated user at the start of the chain.
	User string
	// IP is that user's address.
	IP string
	// TraceParent is the W3C trace context.
	TraceParent string
	// Headers are defined by the application.
	Headers map[string]string
}

// Source is a component that produces events of type E: an aggregate, an extension
// point or a counter.
type Source[E Typed] interface{ source[E] }

type source[E Typed] interface {
	Definition() *component.Definition
	EventSet() *component.Set[E]
}

// Action is what an automation or task requests: a [Send], or what the functions
// of packages counter and schedule return.
type Action interface{ action }

type action interface{ Erased() component.Action }

// Actions is a list of actions. They are carried out in the order of the list.
type Actions = []Action

// Send is a command with the entity that it is addressed to. The method To of
// aggregates and extension points returns it, so that the compiler checks that the
// command is one of the target's commands.
type Send struct{ requested }

type requested = component.Requested

// After returns s with a delay: the target receives the command when d has passed. The
// precision is one minute or better. The delay survives restarts.
func (s Send) After(d time.Duration) Send {
	a := s.Erased()
	a.Delay = d
	s.Replace(a)
	return s
}
