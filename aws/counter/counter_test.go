package counter_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/counter"
	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/drivertest"
	"github.com/reventless-go/reventless/driver/memory"
	"github.com/reventless-go/reventless/topology"
)

func TestMain(m *testing.M) { os.Exit(awstest.Run(m)) }

// What takes a week: everything else of the suite is part of the deliveries, see package
// lambdahost.
func TestReferencesCountOnceForAWeek(t *testing.T) {
	suite := func(t *testing.T, open drivertest.Open) {
		drivertest.TestCounter(t, func(t *testing.T) *drivertest.Fixture {
			if path.Base(t.Name()) != "ReferencesCountOnceForAWeek" {
				t.Skip("it is part of the deliveries")
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
	requests, units := awstest.NewCounter(nil), 0.0
	clock := drivertest.NewClock()
	c, _ := open(t, requests, &counter.Options{Now: clock.Now, Spent: func(_ string, c *types.ConsumedCapacity) { units += aws.ToFloat64(c.CapacityUnits) }})
	cost := func(what string, wantRequests int, wantUnits float64, f func() error) {
		t.Helper()
		requests.Reset()
		units = 0
		if err := f(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if n := requests.Of(); n != wantRequests || units > wantUnits {
			t.Errorf("%s took %d requests of %v units, want %d of %v at most (%v)", what, n, units, wantRequests, wantUnits, requests.All())
		}
	}
	count := func(ref string) func() error {
		return func() error { return c.Count(t.Context(), "a", ref, 1) }
	}
	// Items that are absent cost a unit to read, too; the emulator counts none.
	cost("a count", 2, 2+4, count("1"))
	cost("a repeated count", 1, 2, count("1"))
	cost("a target", 2, 2+4, func() error { return c.AddTarget(t.Context(), "a", "t", 2) })
	clock.Advance(25 * time.Hour)
	cost("a repeated count a day later", 2, 2+1, count("1"))
	cost("a state", 1, 1, func() error { _, err := c.State(t.Context(), "a"); return err })
	cost("no finishes", 1, 1, func() error { _, err := c.Pending(t.Context(), "a"); return err })
	cost("nothing that is done", 1, 1, func() error { return c.Done(t.Context(), "a", 9) })
}

// A table may hold what others wrote. It fails what meets it, by name.
func TestForeignItemIsAnErrorThatNamesIt(t *testing.T) {
	t.Parallel()
	c, counts := open(t, nil, nil)
	number := func(s string) types.AttributeValue { return &types.AttributeValueMemberN{Value: s} }
	text := func(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }
	for id, item := range map[string]map[string]types.AttributeValue{
		"bare":     {},
		"finishes": {"rev": number("1"), "reached": number("0"), "count": number("0"), "target": number("0"), "finished": number("1"), "pending": text("no JSON")},
	} {
		item[counter.CounterID] = text(id)
		if _, err := awstest.DynamoDB(t).Clients(nil).DynamoDB.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &counts, Item: item}); err != nil {
			t.Fatal(err)
		}
		_, state := c.State(t.Context(), id)
		_, pending := c.Pending(t.Context(), id)
		for method, err := range map[string]error{
			"State": state, "Pending": pending, "Done": c.Done(t.Context(), id, 1),
			"Count": c.Count(t.Context(), id, "r", 1), "AddTarget": c.AddTarget(t.Context(), id, "r", 1),
		} {
			if !errors.Is(err, driver.ErrInvalid) || !strings.Contains(err.Error(), id) || !strings.Contains(err.Error(), counts) {
				t.Errorf("%s of the foreign %s: %v", method, id, err)
			}
		}
	}
}

func TestMissingTableIsUnavailable(t *testing.T) {
	t.Parallel()
	c := counter.Open(awstest.DynamoDB(t).Clients(nil).DynamoDB, "missing", "missing2", nil)
	if err := c.Count(t.Context(), "a", "r", 1); !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("got %v, want unavailable", err)
	}
}

// Callers that try again until they succeed: each reference counts once, and each target
// that was reached is one finish.
func TestExactlyOnceUnderFaults(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	faults := awstest.NewFaults(
		nil, seed,
		awstest.Rule{Fault: awstest.Throttle, Probability: 0.05},
		awstest.Rule{Fault: awstest.Internal, Probability: 0.03},
		awstest.Rule{Fault: awstest.InternalAfter, Probability: 0.05},
		awstest.Rule{Fault: awstest.Reset, Probability: 0.03},
		awstest.Rule{Fault: awstest.ResetAfter, Probability: 0.05},
		awstest.Rule{Fault: awstest.Unprocessed, Probability: 0.05},
	)
	c, _ := open(t, faults, nil)
	until := func(f func() error) {
		for {
			err := f()
			if err == nil {
				return
			}
			if !errors.Is(err, driver.ErrThrottled) && !errors.Is(err, driver.ErrUnavailable) {
				t.Errorf("%v (seed %d)", err, seed)
				return
			}
		}
	}
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
		// Each finish is there, of an ordinal of its own, and goes for good.
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
