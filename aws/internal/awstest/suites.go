package awstest

import (
	"context"
	"errors"
	"hash/fnv"
	"math/rand/v2"
	"path"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/drivertest"
)

// UnderFaults runs a suite behind faults, once for each of n seeds. with opens a
// fixture whose requests go through them.
func UnderFaults(t *testing.T, n int, suite func(*testing.T, drivertest.Open), with func(t *testing.T, faults *Faults) *drivertest.Fixture, rules ...Rule) {
	t.Helper()
	if testing.Short() {
		t.Skip("the suite once more")
	}
	for range n {
		seed := rand.Uint64()
		t.Run("seed "+strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			var struck atomic.Int64
			t.Cleanup(func() { t.Logf("%d requests failed", struck.Load()) })
			suite(t, func(t *testing.T) *drivertest.Fixture {
				t.Helper()
				h := fnv.New64a()
				_, _ = h.Write([]byte(path.Base(t.Name()))) // a hash takes all
				// Each property has its own faults, and not all at the same places.
				faults := NewFaults(&attempts{next: Transport(), seen: map[string]received{}}, seed^h.Sum64(), rules...)
				t.Cleanup(func() {
					for _, n := range faults.Injected() {
						struck.Add(int64(n))
					}
				})
				return with(t, faults)
			})
		})
	}
}

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
