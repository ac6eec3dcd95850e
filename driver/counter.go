package driver

import "context"

// Counter counts towards targets; each counter id is a separate counter.
//
// Count and AddTarget are idempotent by reference for at least a week after the
// last use of a reference. Counts and targets have separate references. The target
// of a counter is the sum of its added targets, and counts may precede it. The
// counter finishes when the count is greater than or equal to a target that is
// greater than zero and was not reached before. Exactly one [CounterFinished] is
// delivered for each target reached, in a group named by the counter id. It is
// stored durably in the same atomic change that reaches the target.
//
// An invalid id or reference (see [CheckID]), or an n or target below 1, is [ErrInvalid].
type Counter interface {
	// Count adds n to the count, once per reference.
	Count(ctx context.Context, counterID, reference string, n int64) error
	// AddTarget adds target to the target, once per reference.
	AddTarget(ctx context.Context, counterID, reference string, target int64) error
	// State returns the state of the counter. For an unused counter it is zero.
	State(ctx context.Context, counterID string) (CounterState, error)
}

// CounterState is the state of a counter.
type CounterState struct {
	Count  int64
	Target int64
	// Finished is the number of targets reached.
	Finished uint64
}

// CounterFinished reports that a counter reached its target.
type CounterFinished struct {
	CounterID string
	// Ordinal numbers the targets that the counter reached, from 1.
	Ordinal uint64
	// Target is the target reached.
	Target int64
}
