package driver

import (
	"context"
	"time"
)

// Outcomes keeps the outcomes of asynchronous commands by command id.
type Outcomes interface {
	// Put stores an outcome with all its fields until expires. A Pending outcome
	// does not replace an outcome that has not expired; any other kind does.
	Put(ctx context.Context, outcome Outcome, expires time.Time) error

	// Get returns the outcome of a command, or [ErrNotFound] if it is absent or
	// has expired.
	Get(ctx context.Context, commandID string) (Outcome, error)
}
