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
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/reventless-go/reventless/aws/internal/dynamo"
	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/drivertest"
	"github.com/reventless-go/reventless/topology"
)

// Backend is the environment of a suite.
type Backend struct {
	// DynamoDB has the tables.
	DynamoDB *Emulator
	// Config is the configuration of the clients under test. They use Faults if not nil.
	Config aws.Config
	Faults *Faults
}

// TestBackends runs a suite on DynamoDB Local, on MiniStack, and on DynamoDB Local with
// faults, once for each of seeds random seeds. Under faults the clients retry.
func TestBackends(t *testing.T, suite func(*testing.T, drivertest.Open), seeds int, rules []Rule, open func(t *testing.T, b Backend) *drivertest.Fixture) {
	t.Helper()
	t.Parallel()
	for name, emulator := range map[string]func(testing.TB) *Emulator{"DynamoDBLocal": DynamoDB, "MiniStack": MiniStack} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			suite(t, func(t *testing.T) *drivertest.Fixture {
				return open(t, Backend{DynamoDB: emulator(t), Config: emulator(t).Config(nil)})
			})
		})
	}
	for range seeds {
		seed := rand.Uint64()
		t.Run("UnderFaults seed "+strconv.FormatUint(seed, 10), func(t *testing.T) {
			if testing.Short() {
				t.Skip("repeats the suite")
			}
			t.Parallel()
			var injected atomic.Int64
			t.Cleanup(func() { t.Logf("%d requests failed", injected.Load()) })
			suite(t, func(t *testing.T) *drivertest.Fixture {
				t.Helper()
				h := fnv.New64a()
				_, _ = h.Write([]byte(path.Base(t.Name()))) // never fails
				// Each property has a seed of its own, so that the faults differ.
				faults := NewFaults(nil, seed^h.Sum64(), rules...)
				t.Cleanup(func() {
					for _, n := range faults.Injected() {
						injected.Add(int64(n))
					}
				})
				return open(t, Backend{DynamoDB: DynamoDB(t), Config: DynamoDB(t).patient(faults), Faults: faults})
			})
		})
	}
}

// TestStores runs a suite of stores on all backends with a clock that the suite moves.
// wrap, if not nil, wraps the provider for the suite.
func TestStores(t *testing.T, suite func(*testing.T, drivertest.Open), seeds int, rules []Rule, wrap func(Backend, driver.Provider) driver.Provider) {
	t.Helper()
	TestBackends(t, suite, seeds, rules, func(t *testing.T, b Backend) *drivertest.Fixture {
		t.Helper()
		s := NewDeployment(t, topology.App{Name: "test"}, b.DynamoDB, MiniStack(t))
		clock := drivertest.NewClock()
		var ticks atomic.Int64
		// The clock moves by Advance only, except for a microsecond per call, because
		// consecutive reads of a real clock differ.
		now := func() time.Time { return clock.Now().Add(time.Duration(ticks.Add(1)) * time.Microsecond) }
		var p *Provider
		open := func(t *testing.T) driver.PullProvider {
			t.Helper()
			if p != nil {
				_ = p.Close() // never fails
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
		damage := func(t *testing.T, log, stream string, sequenceNr uint64) driver.PullProvider {
			t.Helper()
			_, err := b.DynamoDB.Clients(nil).DynamoDB.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{
				TableName: aws.String(s.Resource(naming.Log, log)), Key: dynamo.Item{"id": dynamo.Text(stream), "sequenceNr": dynamo.Number(sequenceNr)},
				UpdateExpression: aws.String("SET head = :h"), ExpressionAttributeValues: dynamo.Item{":h": dynamo.Text(`{"v":1,"e":[{"t":`)},
			})
			if err != nil {
				t.Fatal(err)
			}
			return open(t)
		}
		return &drivertest.Fixture{Provider: open(t), Now: clock.Now, Advance: clock.Advance, Reopen: open, DamageCommit: damage, Emulated: true}
	})
}

// patient returns the configuration of clients that retry; see [Emulator.Patient].
func (e *Emulator) patient(transport http.RoundTripper) aws.Config {
	cfg := e.Config(transport)
	cfg.Retryer = func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts, o.MaxBackoff, o.RateLimiter = 20, time.Millisecond, ratelimit.None
		})
	}
	return cfg
}
