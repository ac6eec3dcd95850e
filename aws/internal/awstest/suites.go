package awstest

import (
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"path"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/drivertest"
	"github.com/reventless-go/reventless/topology"
)

// Backend is what a suite runs against.
type Backend struct {
	// DynamoDB is where the tables are.
	DynamoDB *Emulator
	// Config is that of the clients under test, through Faults if there are some.
	Config aws.Config
	Faults *Faults
}

// TestBackends runs a suite on DynamoDB Local, on MiniStack, and on DynamoDB Local
// under faults, once for each of seeds seeds.
func TestBackends(t *testing.T, suite func(*testing.T, drivertest.Open), seeds int, rules []Rule, open func(t *testing.T, b Backend) *drivertest.Fixture) {
	t.Helper()
	t.Parallel()
	t.Run("DynamoDBLocal", func(t *testing.T) {
		t.Parallel()
		suite(t, func(t *testing.T) *drivertest.Fixture {
			return open(t, Backend{DynamoDB: DynamoDB(t), Config: DynamoDB(t).Config(nil)})
		})
	})
	t.Run("MiniStack", func(t *testing.T) {
		t.Parallel()
		suite(t, func(t *testing.T) *drivertest.Fixture {
			return open(t, Backend{DynamoDB: MiniStack(t), Config: MiniStack(t).Config(nil)})
		})
	})
	UnderFaults(t, seeds, suite, rules, open)
}

// UnderFaults runs a suite on DynamoDB Local behind faults, once for each of n seeds.
// The clients send again what failed.
func UnderFaults(t *testing.T, n int, suite func(*testing.T, drivertest.Open), rules []Rule, open func(t *testing.T, b Backend) *drivertest.Fixture) {
	t.Helper()
	for range n {
		seed := rand.Uint64()
		t.Run("UnderFaults seed "+strconv.FormatUint(seed, 10), func(t *testing.T) {
			if testing.Short() {
				t.Skip("the suite once more")
			}
			t.Parallel()
			var struck atomic.Int64
			t.Cleanup(func() { t.Logf("%d requests failed", struck.Load()) })
			suite(t, func(t *testing.T) *drivertest.Fixture {
				t.Helper()
				h := fnv.New64a()
				_, _ = h.Write([]byte(path.Base(t.Name()))) // a hash takes all
				// Each property has its own faults, and not all at the same places.
				faults := NewFaults(nil, seed^h.Sum64(), rules...)
				t.Cleanup(func() {
					for _, n := range faults.Injected() {
						struck.Add(int64(n))
					}
				})
				return open(t, Backend{DynamoDB: DynamoDB(t), Config: DynamoDB(t).patient(faults), Faults: faults})
			})
		})
	}
}

// TestStores runs a suite of stores on all backends, with a clock that the suite
// moves. wrap, unless it is nil, stands between the suite and the provider.
func TestStores(t *testing.T, suite func(*testing.T, drivertest.Open), seeds int, rules []Rule, wrap func(Backend, driver.Provider) driver.Provider) {
	t.Helper()
	TestBackends(t, suite, seeds, rules, func(t *testing.T, b Backend) *drivertest.Fixture {
		s := NewDeployment(t, topology.App{Name: "test"}, b.DynamoDB, MiniStack(t))
		clock := drivertest.NewClock()
		return StoreFixture(t, s, b, clock, wrap)
	})
}

// StoreFixture is a fixture of the stores of a deployment.
func StoreFixture(t *testing.T, s *Deployment, b Backend, clock *drivertest.Clock, wrap func(Backend, driver.Provider) driver.Provider) *drivertest.Fixture {
	t.Helper()
	var ticks atomic.Int64
	// A clock that stands still between two calls of Advance, but goes on by a
	// microsecond every time it is read, as clocks do.
	now := func() time.Time { return clock.Now().Add(time.Duration(ticks.Add(1)) * time.Microsecond) }
	var p *Provider
	open := func(t *testing.T) driver.PullProvider {
		t.Helper()
		if p != nil {
			_ = p.Close() // never an error
		}
		var err error
		if p, err = s.Provider(b.Config, now); err != nil {
			t.Fatal(err)
		}
		if wrap != nil {
			return stores{Provider: wrap(b, p)}
		}
		return stores{Provider: p}
	}
	return &drivertest.Fixture{Provider: open(t), Now: clock.Now, Advance: clock.Advance, Reopen: open, Emulated: true}
}

// patient is the configuration of clients that send again what failed; see
// [Emulator.Patient].
func (e *Emulator) patient(transport http.RoundTripper) aws.Config {
	cfg := e.Config(transport)
	cfg.Retryer = retryer
	return cfg
}
