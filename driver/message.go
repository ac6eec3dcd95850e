package driver

import (
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"
)

// MaxIDBytes bounds the ids of entities (streams), commands, rows and counters,
// in bytes of UTF-8. DynamoDB allows 2,048 bytes for a partition key and 1,024
// for a sort key.
const MaxIDBytes = 1024

// CheckID reports whether id can name an entity, command, row, schedule or
// counter: 1 to [MaxIDBytes] bytes of valid UTF-8 without control characters.
// The error is an [ErrInvalid] that says what is wrong and never repeats a long id.
func CheckID(what, id string) error {
	switch {
	case id == "":
		return fmt.Errorf("%s id is empty: %w", what, ErrInvalid)
	case len(id) > MaxIDBytes:
		return fmt.Errorf("%s id %q... has %d bytes, the limit is %d: %w", what, id[:32], len(id), MaxIDBytes, ErrInvalid)
	case !utf8.ValidString(id):
		return fmt.Errorf("%s id %q is not valid UTF-8: %w", what, id, ErrInvalid)
	}
	for _, r := range id {
		if r < 0x20 || r == 0x7f {
			return fmt.Errorf("%s id %q has a control character: %w", what, id, ErrInvalid)
		}
	}
	return nil
}

// Meta is what a message carries beside its payload.
type Meta struct {
	// ID is the id of the command or event itself.
	ID string `json:"id"`
	// Service is the component that produced the event or is addressed by the
	// command: "<Plugin>.<Component>".
	Service string `json:"service,omitempty"`
	// CorrelationID is the id of the first message of the chain.
	CorrelationID string `json:"correlationId,omitempty"`
	// CausationID is the id of the message that led to this one directly.
	CausationID string `json:"causationId,omitempty"`
	// Time is when the message was made, in UTC. It informs; nothing is decided
	// or ordered by it.
	Time time.Time `json:"time,omitzero"`
	// Target is the aggregate that was addressed, by its logical name.
	Target string `json:"target,omitempty"`
	// User is the authenticated user at the root of the chain.
	User string `json:"user,omitempty"`
	// IP is that user's address.
	IP string `json:"ip,omitempty"`
	// TraceParent is the W3C trace context.
	TraceParent string `json:"traceparent,omitempty"`
	// Headers are the application's own.
	Headers map[string]string `json:"headers,omitempty"`
}

// Derive returns the meta of a message caused by this one: correlation, user,
// ip, trace and headers are inherited, the parent's id becomes the causation.
func (m Meta) Derive(id, service string, at time.Time) Meta {
	d := m
	d.ID, d.Service, d.CausationID, d.Time = id, service, m.ID, at
	if d.CorrelationID == "" {
		d.CorrelationID = m.ID
	}
	return d
}

// Command is a command on its way to an entity.
type Command struct {
	// Target is the logical name of the component addressed.
	Target string `json:"target"`
	// Entity is the id of the instance, which is also its stream.
	Entity string `json:"entity"`
	// Type and Version name the payload's type on the wire.
	Type    string `json:"type"`
	Version int    `json:"version"`
	// Data is the payload as JSON.
	Data json.RawMessage `json:"data"`
	// Meta.ID is the command's id: the idempotency key, assigned once.
	Meta Meta `json:"meta"`
}

// OutcomeKind is how a command ended.
type OutcomeKind string

// The kinds of outcomes.
const (
	Accepted OutcomeKind = "Accepted"
	Rejected OutcomeKind = "Rejected"
	Pending  OutcomeKind = "Pending"
)

// Outcome is the answer to one command.
type Outcome struct {
	Kind      OutcomeKind `json:"kind"`
	CommandID string      `json:"commandId"`
	EntityID  string      `json:"entityId,omitempty"`
	// Target is the aggregate that was addressed, by its logical name.
	Target string `json:"target,omitempty"`
	// User is the authenticated user at the root of the command. Of a command
	// that was accepted before, under the same id, it is who sent it first: an
	// API tells nobody else.
	User string `json:"user,omitempty"`
	// SequenceNr is the commit that answers an accepted command; for one that
	// changed nothing, the last commit that it saw.
	SequenceNr uint64 `json:"sequenceNr,omitempty"`
	// EventCount is how many events the command led to; 0 is a no-op.
	EventCount int `json:"eventCount"`
	// Code, Message and Detail say why a command was rejected.
	Code    string          `json:"code,omitempty"`
	Message string          `json:"message,omitempty"`
	Detail  json.RawMessage `json:"detail,omitempty"`
}
