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

// CheckID checks that id can identify an entity, command, row, schedule or counter:
// it has 1 to [MaxIDBytes] bytes of valid UTF-8 without control characters. kind is
// the kind of id for the error, which is an [ErrInvalid] and never contains a whole
// long id.
func CheckID(kind, id string) error {
	switch {
	case id == "":
		return fmt.Errorf("%s id is empty: %w", kind, ErrInvalid)
	case len(id) > MaxIDBytes:
		return fmt.Errorf("%s id %q... has %d bytes, the limit is %d: %w", kind, id[:32], len(id), MaxIDBytes, ErrInvalid)
	case !utf8.ValidString(id):
		return fmt.Errorf("%s id %q is not valid UTF-8: %w", kind, id, ErrInvalid)
	}
	for _, r := range id {
		if r < 0x20 || r == 0x7f {
			return fmt.Errorf("%s id %q has a control character: %w", kind, id, ErrInvalid)
		}
	}
	return nil
}

// Meta is the metadata of a message.
type Meta struct {
	// ID is the id of the command or event itself.
	ID string `json:"id"`
	// Service is the component that produced the event or is addressed by the
	// command: "<Plugin>.<Component>".
	Service string `json:"service,omitempty"`
	// CorrelationID is the id of the first message of the chain.
	CorrelationID string `json:"correlationId,omitempty"`
	// CausationID is the id of the message that directly caused this one.
	CausationID string `json:"causationId,omitempty"`
	// Depth is the number of messages of components between the first message of the
	// chain and this one.
	Depth int `json:"depth,omitempty"`
	// Time is when the message was created, in UTC. It is informational: no decision
	// or order depends on it.
	Time time.Time `json:"time,omitzero"`
	// User is the authenticated user at the root of the chain.
	User string `json:"user,omitempty"`
	// IP is the IP address of that user.
	IP string `json:"ip,omitempty"`
	// TraceParent is the W3C trace context.
	TraceParent string `json:"traceparent,omitempty"`
	// Headers are defined by the application.
	Headers map[string]string `json:"headers,omitempty"`
}

// Derive returns the meta of a message that m's message causes. It inherits the
// correlation id, user, IP, trace and headers; m's id becomes the causation id.
func (m Meta) Derive(id, service string, at time.Time) Meta {
	d := m
	d.ID, d.Service, d.CausationID, d.Time = id, service, m.ID, at
	if d.CorrelationID == "" {
		d.CorrelationID = m.ID
	}
	return d
}

// Command is a command that is addressed to an entity.
type Command struct {
	// Target is the logical name of the addressed component.
	Target string `json:"target"`
	// Entity is the entity id, which is also the name of its stream.
	Entity string `json:"entity"`
	// Type and Version identify the payload's type on the wire.
	Type    string `json:"type"`
	Version int    `json:"version"`
	// Data is the payload as JSON.
	Data json.RawMessage `json:"data"`
	// Fingerprint is the [Fingerprint] of the command as its sender sent it. It is 0 for
	// the commands of components, whose ids derive from their causes.
	Fingerprint uint32 `json:"fingerprint,omitempty"`
	// Resend numbers the times that the sender has sent the command again after it was
	// parked: queues do not take such a command for a repetition.
	Resend int `json:"resend,omitempty"`
	// Meta.ID is the command id: the idempotency key, assigned once.
	Meta Meta `json:"meta"`
}

// DeduplicationKey is equal for two commands of one entity and queue if the second one is a
// repetition: they have the same id, fingerprint and Resend.
func (c Command) DeduplicationKey() string {
	return fmt.Sprintf("%s/%08x/%d", c.Meta.ID, c.Fingerprint, c.Resend)
}

// OutcomeKind is the kind of an outcome.
type OutcomeKind string

// The kinds of outcomes.
const (
	Accepted OutcomeKind = "Accepted"
	Rejected OutcomeKind = "Rejected"
	Pending  OutcomeKind = "Pending"
	// Failed is the outcome of a command that is parked.
	Failed OutcomeKind = "Failed"
)

// Outcome is the result of one command.
type Outcome struct {
	Kind      OutcomeKind `json:"kind"`
	CommandID string      `json:"commandId"`
	EntityID  string      `json:"entityId,omitempty"`
	// Target is the logical name of the addressed aggregate.
	Target string `json:"target,omitempty"`
	// User is the authenticated user at the root of the command. If the same command
	// id was accepted before, it is the user of that first command: an API shows the
	// outcome to no other user.
	User string `json:"user,omitempty"`
	// SequenceNr is the commit that answers an accepted command. If the command
	// changed nothing, it is the last commit of the state that it was decided on.
	SequenceNr uint64 `json:"sequenceNr,omitempty"`
	// EventCount is the number of events that the command produced; 0 is a no-op.
	EventCount int `json:"eventCount"`
	// Code, Message and Detail are the reason of a rejection. Message is also the reason
	// of a failure, for operators.
	Code    string          `json:"code,omitempty"`
	Message string          `json:"message,omitempty"`
	Detail  json.RawMessage `json:"detail,omitempty"`
}
