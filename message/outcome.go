package message

import (
	"encoding/json"

	"github.com/reventless-go/reventless/driver"
)

// Outcome describes what became of a command.
type Outcome struct {
	// Kind is [Accepted], [Rejected], [Pending] or [Failed].
	Kind OutcomeKind `json:"kind"`
	// CommandID is the command's id, its idempotency key.
	CommandID string `json:"commandId"`
	// EntityID is the entity that the command was addressed to.
	EntityID string `json:"entityId,omitempty"`
	// Target is the addressed aggregate: "<Plugin>.<Component>".
	Target string `json:"target,omitempty"`
	// User is the authenticated user who sent the command. When a command id is
	// sent again, it is the user who sent it first.
	User string `json:"user,omitempty"`
	// SequenceNr is the sequence number of the commit that an accepted command
	// led to. When it led to no events, it is that of the entity's last commit.
	SequenceNr uint64 `json:"sequenceNr,omitempty"`
	// EventCount is the number of events that the command led to.
	EventCount int `json:"eventCount"`
	// Code, Message and Detail say why the command was rejected. Message also says why it
	// failed.
	Code    string          `json:"code,omitempty"`
	Message string          `json:"message,omitempty"`
	Detail  json.RawMessage `json:"detail,omitempty"`
}

// OutcomeKind is [Accepted], [Rejected], [Pending] or [Failed].
type OutcomeKind = driver.OutcomeKind

// The kinds of outcomes.
const (
	// Accepted: the command took effect, or there was nothing to do.
	Accepted = driver.Accepted
	// Rejected: the aggregate rejected the command.
	Rejected = driver.Rejected
	// Pending: the command is queued; its outcome is not known yet.
	Pending = driver.Pending
	// Failed: the command could not be handled and is parked. It has no effect until it is
	// redriven or sent again.
	Failed = driver.Failed
)

// Rejection returns the rejection as an error to be compared with errors.Is; nil
// when the command was not rejected.
func (o Outcome) Rejection() error {
	if o.Kind != Rejected {
		return nil
	}
	r := &Rejection{Code: o.Code}
	if o.Detail != nil {
		r.Detail = o.Detail
	}
	return r
}
