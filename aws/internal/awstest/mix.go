package awstest

import (
	"context"
	"errors"

	"github.com/reventless-go/reventless/driver"
)

// Mix returns rules with every fault for operations, or for all operations if none are
// named.
func Mix(operations ...string) []Rule {
	return append(Before(operations...), After(operations...)...)
}

// Before returns rules with every fault that prevents the effect of a request.
func Before(operations ...string) []Rule {
	return []Rule{
		{Fault: Unprocessed, Operations: operations, Probability: 0.1},
		{Fault: Throttle, Operations: operations, Probability: 0.05},
		{Fault: Internal, Operations: operations, Probability: 0.02},
		{Fault: Reset, Operations: operations, Probability: 0.02},
		{Fault: Timeout, Operations: operations, Probability: 0.02},
	}
}

// After returns rules with every fault that follows the effect of a request.
func After(operations ...string) []Rule {
	return []Rule{
		{Fault: InternalAfter, Operations: operations, Probability: 0.03},
		{Fault: ResetAfter, Operations: operations, Probability: 0.03},
		{Fault: TimeoutAfter, Operations: operations, Probability: 0.03},
	}
}

// Again retries f after temporary failures, as a host does, at most 30 times. The SDK does
// not retry all of them.
func Again(ctx context.Context, f func() error) error {
	for n := 1; ; n++ {
		err := f()
		if n == 30 || ctx.Err() != nil || !errors.Is(err, driver.ErrThrottled) && !errors.Is(err, driver.ErrUnavailable) {
			return err
		}
	}
}
