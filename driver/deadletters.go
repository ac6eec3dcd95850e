package driver

import (
	"context"
	"time"
)

// DeadLetters keeps what could not be handled until somebody looks at it.
// Nothing consumes it by itself, and nothing in it expires.
type DeadLetters interface {
	// Park stores a letter; one of the same id is replaced. An empty id or
	// component is [ErrInvalid].
	Park(ctx context.Context, letter DeadLetter) error

	// Get returns a letter; [ErrNotFound] when there is none.
	Get(ctx context.Context, id string) (DeadLetter, error)

	// List returns up to limit letters of a component, or of all components if
	// it is empty, with ids greater than after, ascending by id; none is nil, nil.
	List(ctx context.Context, component, after string, limit int) ([]DeadLetter, error)

	// Remove removes a letter; absent is nil.
	Remove(ctx context.Context, id string) error
}

// DeadLetterKind is what a letter holds.
type DeadLetterKind string

// The kinds of letters.
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
	// DeadRaw is a message that could not be decoded; Body is what was received.
	DeadRaw DeadLetterKind = "Raw"
)

// DeadLetter is something that could not be handled, with the reason.
type DeadLetter struct {
	// ID is made by who parks it, such that parking the same thing twice yields
	// one letter.
	ID string
	// Component is the logical name of the component that gave up.
	Component string
	Kind      DeadLetterKind
	// Log, Stream and SequenceNr locate a commit; Stream is also the entity of a
	// command and the key of an object.
	Log        string
	Stream     string
	SequenceNr uint64
	// Body is kept byte for byte.
	Body []byte
	// Reason says in one line what went wrong.
	Reason   string
	Attempts int
	ParkedAt time.Time
}
