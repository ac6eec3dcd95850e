package driver

import (
	"context"
	"time"
)

// Delivery is a message that was received and not yet settled.
type Delivery[T any] struct {
	// ID names this delivery; no two unsettled deliveries of a receiver share
	// one. Results are matched by it, never by position.
	ID string
	// Attempt counts the deliveries of this message, from 1. It is a hint: a
	// restart may begin again at 1.
	Attempt int
	// Message is the payload.
	Message T
}

// Batch is what one call of Receive returned.
type Batch[T any] struct {
	// Deliveries are in order within each group; empty when nothing is available.
	Deliveries []Delivery[T]
	// Next is the earliest time at which a message that is known but not yet
	// available will be, such as a retry that waits; zero when there is none.
	// It is only a hint for waiting, and is set only on an empty batch.
	Next time.Time
}

// Settlement is the end of one delivery.
type Settlement struct {
	// ID is the delivery's.
	ID string
	// Retry makes the message available again; false removes it.
	Retry bool
	// After is how long a retried message stays unavailable, with the rest of
	// its group; 0 is at once.
	After time.Duration
}

// Receiver hands out messages at least once.
//
// Messages belong to groups (the comment of the message's type or of its sending
// end says which). Within a group they are delivered in order: while a message is
// leased or waits for its retry, no later message of its group is delivered by
// another call, except that one batch may hold several consecutive messages of a
// group. A caller that retries a message retries the later ones of its group in
// the same call; then they are delivered again in the same order.
type Receiver[T any] interface {
	// Receive returns up to max messages, max at least 1, and leases them until
	// they are settled or the provider's lease has expired. It never waits for
	// messages: with none available the batch is empty and the error nil. Leases
	// end when the provider is closed and opened again. A message is never
	// returned to two callers at the same time.
	Receive(ctx context.Context, max int) (Batch[T], error)

	// Settle ends deliveries. Unknown ids, and those whose lease has expired, are
	// ignored: the message is then delivered again, which its handler must
	// tolerate.
	Settle(ctx context.Context, settlements []Settlement) error
}
