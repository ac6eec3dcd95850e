package driver

import (
	"context"
	"time"
)

// Outcomes keeps the outcomes of asynchronous commands by target and command id.
type Outcomes interface {
	// Put stores an outcome with all its fields until expires, or keeps the stored one,
	// which is no error. A stored outcome that has not expired is replaced
	//   - by [Accepted] and [Rejected],
	//   - by [Failed] unless it is Accepted,
	//   - by [Pending] if it is Failed and has a lower Resend.
	// Concurrent calls have the same result as the calls one after another, in some order.
	//
	// The error is [ErrInvalid] for a bad target or command id, and [ErrTooLarge] for an
	// outcome over the limit of the provider. In these cases nothing is stored.
	Put(ctx context.Context, outcome StoredOutcome, expires time.Time) error

	// Get returns the outcome of the command that was sent to a target, or [ErrNotFound]
	// if it is absent or has expired.
	Get(ctx context.Context, target, commandID string) (StoredOutcome, error)
}

// StoredOutcome is an outcome with what identifies its command.
type StoredOutcome struct {
	Outcome
	// Fingerprint is the [Fingerprint] of the command as its sender sent it.
	Fingerprint uint32
	// Resend is that of the command; see [Command].
	Resend int
}
