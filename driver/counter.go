package driver

import "context"

// Counter counts towards targets: a latch per counter id.
//
// Count and AddTarget are idempotent by reference, for at least a week after a
// reference was used; the references of counts and those of targets are apart.
// The target of a counter is the sum of its targets. When the count is at or
// above a target that is above zero and was not reached before, the counter
// finishes: exactly one [CounterFinished] per target reached is delivered, in a
// group named by the counter id; it becomes available durably with the change
// that led to it. Counts may come before the target.
//
// A bad id or reference (see [CheckID]), or an n below 1: [ErrInvalid].
type Counter interface {
	// Count adds n to the counter, once per reference.
	Count(ctx context.Context, counterID, reference string, n int64) error
	// AddTarget adds target to the counter's target, once per reference.
	AddTarget(ctx context.Context, counterID, reference string, target int64) error
	// State returns where the counter is; one never used is the zero state.
	State(ctx context.Context, counterID string) (CounterState, error)
}

// CounterState is where a counter is.
type CounterState struct {
	Count  int64
	Target int64
	// Finished is how many targets were reached.
	Finished uint64
}

// CounterFinished says that a counter reached its target.
type CounterFinished struct {
	CounterID string
	// Ordinal numbers the targets that this counter reached, from 1.
	Ordinal uint64
	// Target is the target that was reached.
	Target int64
}
