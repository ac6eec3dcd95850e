package awstest

import (
	"context"
	"errors"

	"github.com/reventless-go/reventless/driver"
)

// Mix has some of every fault for operations, all where none are named.
func Mix(operations ...string) []Rule {
	return append(Before(operations...), After(operations...)...)
}

// Before has some of every fault that keeps a request from its effect.
func Before(operations ...string) []Rule {
	return []Rule{
		{Fault: Unprocessed, Operations: operations, Probability: 0.1},
		{Fault: Throttle, Operations: operations, Probability: 0.05},
		{Fault: Internal, Operations: operations, Probability: 0.02},
		{Fault: Reset, Operations: operations, Probability: 0.02},
		{Fault: Timeout, Operations: operations, Probability: 0.02},
	}
}

// After has some of every fault that comes after the effect.
func After(operations ...string) []Rule {
	return []Rule{
		{Fault: InternalAfter, Operations: operations, Probability: 0.03},
		{Fault: ResetAfter, Operations: operations, Probability: 0.03},
		{Fault: TimeoutAfter, Operations: operations, Probability: 0.03},
	}
}

// Again calls f as a host does: again after failures that pass. So it is with those
// that the SDK does not know as such, but not for ever.
func Again(ctx context.Context, f func() error) error {
	for n := 1; ; n++ {
		err := f()
		if n == 30 || ctx.Err() != nil || !errors.Is(err, driver.ErrThrottled) && !errors.Is(err, driver.ErrUnavailable) {
			return err
		}
	}
}
