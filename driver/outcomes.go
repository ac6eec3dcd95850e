package driver

import (
	"context"
	"time"
)

// Outcomes keeps the outcomes of asynchronous commands by command id.
type Outcomes interface {
	// Put stores an outcome, with all its fields, until expires. Pending never replaces another
	// outcome that has not expired; any other kind replaces what is there.
	Put(ctx context.Context, outcome Outcome, expires time.Time) error

	// Get returns the outcome of a command; [ErrNotFound] when there is none or
	// it has expired.
	Get(ctx context.Context, commandID string) (Outcome, error)
}
