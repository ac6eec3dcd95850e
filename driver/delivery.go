package driver

import (
	"context"
	"time"
)

// Delivery is a received message that is not settled yet.
type Delivery[T any] struct {
	// ID identifies the delivery among the unsettled deliveries of its receiver.
	// Results are matched by it, never by index.
	ID string
	// Attempt counts the attempts to handle the message, from 1. If one call of Settle
	// retries several messages of a group, only the first of them counts as attempted.
	// It is a hint: after a restart it may start at 1 again, and a provider whose queue
	// counts deliveries (SQS) counts every delivery.
	Attempt int
	// Message is the payload.
	Message T
	// Err is the [ErrDamaged] of a stored message that cannot be read. Message is then
	// empty, and Raw is what is stored of its payload. Such a message is delivered and
	// settled like any other, so that it does not hold up those behind it.
	Err error
	Raw []byte
}

// Batch is the result of one call of Receive.
type Batch[T any] struct {
	// Deliveries are in order within each group. They are empty if no message is
	// available.
	Deliveries []Delivery[T]
	// Next is the earliest time at which a known message becomes available, such as
	// one that waits for its retry; otherwise zero. It is a hint for waiting
	// and is set only on an empty batch.
	Next time.Time
}

// Settlement ends one delivery.
type Settlement struct {
	// ID is the id of the delivery.
	ID string
	// Retry makes the message available again; otherwise it is removed.
	Retry bool
	// After is how long a retried message and the rest of its group stay
	// unavailable; 0 makes them available immediately.
	After time.Duration
}

// Receiver delivers messages at least once.
//
// Each message belongs to a group, which is defined by the comment of the message's
// type or of its sending end. A group is delivered in order: while a message is
// leased or waits for its retry, no other call delivers a later message of the
// group. One batch may contain several consecutive messages of a group. A caller
// that retries a message retries the later ones of its group in the same call; they
// are then delivered again in the same order, and only the first of them counts as
// attempted, see [Delivery].
type Receiver[T any] interface {
	// Receive returns up to max messages, where max is at least 1, and leases them
	// until they are settled or the provider's lease expires. It does not wait: if
	// no message is available, the batch is empty and the error is nil. Closing and
	// reopening the provider ends all leases. A message is never leased to two
	// callers at the same time.
	Receive(ctx context.Context, max int) (Batch[T], error)

	// Settle ends deliveries. It ignores unknown ids and those whose leases have
	// expired; such a message is delivered again, which its handler must tolerate.
	Settle(ctx context.Context, settlements []Settlement) error
}
