package driver

import (
	"context"
	"time"
)

// DeadLetters keeps messages that could not be handled until an operator redrives
// or discards them. They are never consumed automatically and never expire.
type DeadLetters interface {
	// Park stores a dead letter and replaces one with the same id. An empty id or
	// component is [ErrInvalid].
	Park(ctx context.Context, letter DeadLetter) error

	// Get returns a dead letter, or [ErrNotFound].
	Get(ctx context.Context, id string) (DeadLetter, error)

	// List returns up to limit dead letters of a component, or of all components if
	// component is empty, with ids greater than after, ascending by id. If there
	// are none, it returns nil, nil.
	List(ctx context.Context, component, after string, limit int) ([]DeadLetter, error)

	// Remove removes a dead letter. For an absent one it returns nil.
	Remove(ctx context.Context, id string) error
}

// DeadLetterKind is the kind of message in a dead letter.
type DeadLetterKind string

// The kinds of dead letters.
const (
	// DeadCommand is a command that could not be handled; Body is a Command as JSON.
	DeadCommand DeadLetterKind = "Command"
	// DeadCommit is a commit that a consumer could not apply; its stream is
	// blocked for that consumer. Body is empty: the commit is in the log.
	DeadCommit DeadLetterKind = "Commit"
	// DeadObject is an object event that a task could not handle; Body is an
	// ObjectEvent as JSON.
	DeadObject DeadLetterKind = "Object"
	// DeadFiring is a firing that could not be handled; Body is its payload.
	DeadFiring DeadLetterKind = "Firing"
	// DeadRaw is a message that could not be decoded; Body is the received bytes.
	DeadRaw DeadLetterKind = "Raw"
)

// DeadLetter is a message that could not be handled, with the reason.
type DeadLetter struct {
	// ID is chosen by the caller of Park, such that parking a message twice stores
	// one dead letter.
	ID string
	// Component is the logical name of the component that could not handle it.
	Component string
	Kind      DeadLetterKind
	// Log, Stream and SequenceNr locate a commit. Stream is also the entity id of a
	// command and the key of an object.
	Log        string
	Stream     string
	SequenceNr uint64
	// Body is kept byte for byte.
	Body []byte
	// Reason is a one-line description of the failure.
	Reason   string
	Attempts int
	ParkedAt time.Time
}
