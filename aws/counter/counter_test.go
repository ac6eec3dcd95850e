package counter_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/reventless-go/reventless/aws/counter"
	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/internal/dynamo"
	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/drivertest"
	"github.com/reventless-go/reventless/driver/memory"
	"github.com/reventless-go/reventless/topology"
)

func TestMain(m *testing.M) { os.Exit(awstest.Run(m)) }

// The rest of the suite needs receivers: package lambdahost runs it.
func TestReferencesCountOnceForAWeek(t *testing.T) {
	suite := func(t *testing.T, open drivertest.Open) {
		drivertest.TestCounter(t, func(t *testing.T) *drivertest.Fixture {
			if path.Base(t.Name()) != "ReferencesCountOnceForAWeek" {
				t.Skip("package lambdahost runs it")
			}
			f := open(t)
			f.Provider = received{f.Provider, memory.New(nil)}
			return f
		})
	}
	awstest.TestStores(t, suite, 1, awstest.Mix(), nil)
}

// received is a provider whose receivers are empty.
type received struct {
	driver.Provider
	driver.Sources
}

// open returns a counter through a transport, and the name of the table of counts.
func open(t *testing.T, transport http.RoundTripper, opts *counter.Options) (*counter.Counter, string) {
	t.Helper()
	c := topology.Component{Kind: "Counter"}
	refs, counts := awstest.TableOf(t, naming.Refs, c), awstest.TableOf(t, naming.Counts, c)
	return counter.Open(awstest.DynamoDB(t).Clients(transport).DynamoDB, refs, counts, opts), counts
}

func TestCosts(t *testing.T) {
	t.Parallel()
	costs, clock := awstest.NewCosts(nil), drivertest.NewClock()
	c, _ := open(t, costs, &counter.Options{Now: clock.Now, Spent: costs.Spent})
	count := func(ref string) func() error {
		return func() error { return c.Count(t.Context(), "a", ref, 1) }
	}
	// DynamoDB counts a unit for reading an absent item; the emulator counts none.
	costs.AtMost(t, "a count", 2, 2+4, count("1"))
	costs.AtMost(t, "a repeated count", 1, 2, count("1"))
	costs.AtMost(t, "a target", 2, 2+4, func() error { return c.AddTarget(t.Context(), "a", "t", 2) })
	clock.Advance(25 * time.Hour)
	costs.AtMost(t, "a repeated count a day later", 2, 2+1, count("1"))
	costs.AtMost(t, "a state", 1, 1, func() error { _, err := c.State(t.Context(), "a"); return err })
	costs.AtMost(t, "an empty list of pending finishes", 1, 1, func() error { _, err := c.Pending(t.Context(), "a"); return err })
	costs.AtMost(t, "a Done that removes nothing", 1, 1, func() error { return c.Done(t.Context(), "a", 9) })
}

func TestForeignItemIsAnErrorThatNamesIt(t *testing.T) {
	t.Parallel()
	c, counts := open(t, nil, nil)
	for id, item := range map[string]dynamo.Item{
		"bare": {},
		"finishes": {
			"rev": dynamo.Number(1), "reached": dynamo.Number(0), "count": dynamo.Number(0), "target": dynamo.Number(0),
			"finished": dynamo.Number(1), "pending": dynamo.Text("no JSON"),
		},
	} {
		item[counter.CounterID] = dynamo.Text(id)
		awstest.Foreign(t, counts, item)
		_, state := c.State(t.Context(), id)
		_, pending := c.Pending(t.Context(), id)
		for method, err := range map[string]error{
			"State": state, "Pending": pending, "Done": c.Done(t.Context(), id, 1),
			"Count": c.Count(t.Context(), id, "r", 1), "AddTarget": c.AddTarget(t.Context(), id, "r", 1),
		} {
			awstest.Damaged(t, method, err, id, counts)
		}
	}
}

func TestMissingTableIsUnavailable(t *testing.T) {
	t.Parallel()
	c := counter.Open(awstest.DynamoDB(t).Clients(nil).DynamoDB, "missing", "missing2", nil)
	awstest.Unavailable(t, c.Count(t.Context(), "a", "r", 1))
}

// Each reference counts once, and each target that is reached is one finish, when callers
// retry until they succeed.
func TestExactlyOnceUnderFaults(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	faults := awstest.NewFaults(nil, seed, awstest.Mix()...)
	c, _ := open(t, faults, nil)
	until := func(f func() error) { awstest.Persist(t, f) }
	const writers, counters, each, targets = 4, 3, 20, 4
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(w)))
			for _, i := range random.Perm(counters * each) { // every reference by every writer
				id, ref := fmt.Sprintf("c%d", i%counters), fmt.Sprint(i/counters)
				until(func() error { return c.Count(t.Context(), id, ref, 1) })
				if n := i / counters; n < targets {
					until(func() error { return c.AddTarget(t.Context(), id, ref, each/targets) })
				}
			}
		})
	}
	wg.Wait()
	for i := range counters {
		id := fmt.Sprintf("c%d", i)
		var s driver.CounterState
		until(func() (err error) { s, err = c.State(t.Context(), id); return err })
		if s.Count != each || s.Target != each || s.Finished == 0 {
			t.Errorf("%s is %+v, want the count and target %d (seed %d, faults %v)", id, s, each, seed, faults.Injected())
		}
		// Each finish has its own ordinal and does not return once it is removed.
		for n := uint64(0); n <= s.Finished; n++ {
			until(func() error { return c.Done(t.Context(), id, n) })
			var left []driver.CounterFinished
			until(func() (err error) { left, err = c.Pending(t.Context(), id); return err })
			var want, got []uint64
			for o := n + 1; o <= s.Finished; o++ {
				want = append(want, o)
			}
			for _, f := range left {
				got = append(got, f.Ordinal)
			}
			if !slices.Equal(got, want) {
				t.Errorf("when %d of %s are done the finishes %v are left, want %v (seed %d)", n, id, got, want, seed)
			}
		}
	}
}
