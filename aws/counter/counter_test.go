package counter_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/counter"
	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/drivertest"
)

func TestMain(m *testing.M) { os.Exit(awstest.Run(m)) }

// createTables makes the tables of a counter, as a deployment would. The emulator's
// TTL is left off: its clock is not that of the tests.
func createTables(ctx context.Context, t testing.TB, e *awstest.Emulator, refs, counts string) {
	t.Helper()
	client := e.Clients(nil).DynamoDB
	for _, in := range []*dynamodb.CreateTableInput{
		{
			TableName: &refs, AttributeDefinitions: []types.AttributeDefinition{define(counter.Use, "S"), define(counter.Reference, "S")},
			KeySchema: []types.KeySchemaElement{key(counter.Use, "HASH"), key(counter.Reference, "RANGE")},
		},
		{
			TableName: &counts, AttributeDefinitions: []types.AttributeDefinition{define(counter.CounterID, "S"), define(counter.Due, "S"), define(counter.At, "N")},
			KeySchema: []types.KeySchemaElement{key(counter.CounterID, "HASH")},
			GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{{
				IndexName: aws.String(counter.Index), KeySchema: []types.KeySchemaElement{key(counter.Due, "HASH"), key(counter.At, "RANGE")},
				Projection: &types.Projection{ProjectionType: types.ProjectionTypeKeysOnly},
			}},
		},
	} {
		in.BillingMode = types.BillingModePayPerRequest
		if _, err := client.CreateTable(ctx, in); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if _, err := client.DeleteTable(context.WithoutCancel(ctx), &dynamodb.DeleteTableInput{TableName: in.TableName}); err != nil {
				t.Error(err)
			}
		})
	}
}

func define(name string, as types.ScalarAttributeType) types.AttributeDefinition {
	return types.AttributeDefinition{AttributeName: &name, AttributeType: as}
}

func key(name string, as types.KeyType) types.KeySchemaElement {
	return types.KeySchemaElement{AttributeName: &name, KeyType: as}
}

// store is what a provider finds again when it is opened anew.
type store struct {
	t      *testing.T
	e      *awstest.Emulator // has the tables
	client *dynamodb.Client
	stack  string
	clock  *drivertest.Clock
	ticks  atomic.Int64

	mu   sync.Mutex
	made map[string]bool
}

// now goes on by a microsecond every time, as clocks do.
func (s *store) now() time.Time {
	return s.clock.Now().Add(time.Duration(s.ticks.Add(1)) * time.Microsecond)
}

// provider is a provider of counters and of nothing else.
type provider struct {
	driver.Provider
	store *store

	mu     sync.Mutex
	opened map[string]*counter.Counter
}

func (p *provider) OpenCounter(ctx context.Context, name string) (driver.Counter, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.opened[name]; c != nil {
		return c, nil
	}
	sum := sha256.Sum256([]byte(name))
	table := p.store.stack + "-" + hex.EncodeToString(sum[:8])
	p.store.mu.Lock()
	defer p.store.mu.Unlock()
	if !p.store.made[name] {
		createTables(ctx, p.store.t, p.store.e, table+"-refs", table+"-counts")
		p.store.made[name] = true
	}
	p.opened[name] = counter.Open(p.store.client, table+"-refs", table+"-counts", &counter.Options{Now: p.store.now})
	return p.opened[name], nil
}

func (p *provider) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, c := range p.opened {
		errs = append(errs, c.Release(context.Background()))
	}
	return errors.Join(errs...)
}

func fixture(t *testing.T, e *awstest.Emulator, client *dynamodb.Client) *drivertest.Fixture {
	s := &store{t: t, e: e, client: client, stack: awstest.Stack(), clock: drivertest.NewClock(), made: map[string]bool{}}
	p := &provider{store: s, opened: map[string]*counter.Counter{}}
	return &drivertest.Fixture{
		Provider: p, Now: s.clock.Now, Advance: s.clock.Advance,
		Reopen: func(t *testing.T) driver.Provider {
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			p = &provider{store: s, opened: map[string]*counter.Counter{}}
			return p
		},
	}
}

func TestCounter(t *testing.T) {
	t.Parallel()
	drivertest.TestCounter(t, func(t *testing.T) *drivertest.Fixture {
		return fixture(t, awstest.DynamoDB(t), awstest.DynamoDB(t).Clients(nil).DynamoDB)
	})
}

func TestCounterOnMiniStack(t *testing.T) {
	t.Parallel()
	drivertest.TestCounter(t, func(t *testing.T) *drivertest.Fixture {
		return fixture(t, awstest.MiniStack(t), awstest.MiniStack(t).Clients(nil).DynamoDB)
	})
}

func TestCounterUnderFaults(t *testing.T) {
	t.Parallel()
	awstest.UnderFaults(t, 2, drivertest.TestCounter, func(t *testing.T, faults *awstest.Faults) *drivertest.Fixture {
		return fixture(t, awstest.DynamoDB(t), awstest.DynamoDB(t).Patient(faults).DynamoDB)
	}, awstest.Mix()...)
}

// open returns a counter through a transport.
func open(t *testing.T, transport http.RoundTripper, opts *counter.Options) *counter.Counter {
	t.Helper()
	stack := awstest.Stack()
	createTables(t.Context(), t, awstest.DynamoDB(t), stack+"-refs", stack+"-counts")
	return counter.Open(awstest.DynamoDB(t).Clients(transport).DynamoDB, stack+"-refs", stack+"-counts", opts)
}

func TestCosts(t *testing.T) {
	t.Parallel()
	requests, units := awstest.NewCounter(nil), 0.0
	clock := drivertest.NewClock()
	c := open(t, requests, &counter.Options{Now: clock.Now, Spent: func(_ string, c *types.ConsumedCapacity) { units += aws.ToFloat64(c.CapacityUnits) }})
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
	cost("receiving nothing", 1, 0.5, func() error { _, err := c.Receive(t.Context(), 10); return err })
}

// A batch that is settled in parts waits as long as the part that is retried.
func TestRetryWaitsWhileTheBatchIsSettledInParts(t *testing.T) {
	t.Parallel()
	clock := drivertest.NewClock()
	c := open(t, nil, &counter.Options{Now: clock.Now, Hold: 2 * time.Hour})
	for i := range 3 {
		if err := errors.Join(c.AddTarget(t.Context(), "a", fmt.Sprint(i), 1), c.Count(t.Context(), "a", fmt.Sprint(i), 1)); err != nil {
			t.Fatal(err)
		}
	}
	batch, err := c.Receive(t.Context(), 10)
	if err != nil || len(batch.Deliveries) != 3 {
		t.Fatalf("got %v, %v", batch, err)
	}
	ds := batch.Deliveries
	if err := c.Settle(t.Context(), []driver.Settlement{{ID: ds[1].ID, Retry: true, After: time.Hour}, {ID: ds[2].ID, Retry: true, After: time.Hour}}); err != nil {
		t.Fatal(err)
	}
	if err := c.Settle(t.Context(), []driver.Settlement{{ID: ds[0].ID}}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{0, 2} {
		batch, err := c.Receive(t.Context(), 10)
		if err != nil || len(batch.Deliveries) != want {
			t.Fatalf("got %v, %v, want %d", batch, err, want)
		}
		clock.Advance(time.Hour)
	}
}

// A table may hold what others wrote. It fails what meets it, by name, and is in
// the way of no other counter's finishes.
func TestAForeignItemBlocksNoOtherCounter(t *testing.T) {
	t.Parallel()
	stack := awstest.Stack()
	createTables(t.Context(), t, awstest.DynamoDB(t), stack+"-refs", stack+"-counts")
	client := awstest.DynamoDB(t).Clients(nil).DynamoDB
	c := counter.Open(client, stack+"-refs", stack+"-counts", nil)
	text := func(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }
	number := func(s string) types.AttributeValue { return &types.AttributeValueMemberN{Value: s} }
	for id, item := range map[string]map[string]types.AttributeValue{
		"bare":     {},
		"finishes": {"rev": number("1"), "reached": number("0"), "count": number("0"), "target": number("0"), "finished": number("1"), "held": number("0"), "lease": text(""), "pending": text("no JSON")},
		"held":     {"rev": number("1"), "reached": number("0"), "count": number("0"), "target": number("0"), "finished": number("1"), "held": number("7"), "lease": text(""), "pending": text("[]")},
	} {
		item[counter.CounterID], item[counter.Due], item[counter.At] = text(id), text(counter.Due), number("1") // before all others
		if _, err := client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(stack + "-counts"), Item: item}); err != nil {
			t.Fatal(err)
		}
		_, err := c.State(t.Context(), id)
		for method, err := range map[string]error{"State": err, "Count": c.Count(t.Context(), id, "r", 1), "AddTarget": c.AddTarget(t.Context(), id, "r", 1)} {
			if !errors.Is(err, driver.ErrInvalid) || !strings.Contains(err.Error(), id) || !strings.Contains(err.Error(), stack) {
				t.Errorf("%s of the foreign %s: %v", method, id, err)
			}
		}
	}
	if err := errors.Join(c.Count(t.Context(), "good", "r", 1), c.AddTarget(t.Context(), "good", "r", 1)); err != nil {
		t.Fatal(err)
	}
	batch, err := c.Receive(t.Context(), 10)
	if err != nil || len(batch.Deliveries) != 1 || batch.Deliveries[0].Message.CounterID != "good" {
		t.Fatalf("got %+v, %v, want the finish of the good counter", batch.Deliveries, err)
	}
	if err := c.Settle(t.Context(), []driver.Settlement{{ID: batch.Deliveries[0].ID}}); err != nil {
		t.Fatal(err)
	}
	if batch, err := c.Receive(t.Context(), 10); !errors.Is(err, driver.ErrInvalid) {
		t.Errorf("with foreign ones alone: %+v, %v, want invalid", batch.Deliveries, err)
	}
}

// The SDK sends again what had its effect, and then loses to itself.
func TestAFinishIsHandedOutThoughTheAnswerToItsHoldIsLost(t *testing.T) {
	t.Parallel()
	stack := awstest.Stack()
	createTables(t.Context(), t, awstest.DynamoDB(t), stack+"-refs", stack+"-counts")
	faults := awstest.NewFaults(nil, 1, awstest.Rule{Fault: awstest.ResetAfter, Operations: []string{"DynamoDB.UpdateItem"}, Calls: []int{1, 3}})
	c := counter.Open(awstest.DynamoDB(t).Patient(faults).DynamoDB, stack+"-refs", stack+"-counts", nil)
	if err := errors.Join(c.Count(t.Context(), "a", "r", 1), c.AddTarget(t.Context(), "a", "r", 1)); err != nil {
		t.Fatal(err)
	}
	batch, err := c.Receive(t.Context(), 10)
	if err != nil || len(batch.Deliveries) != 1 || batch.Deliveries[0].Attempt != 1 {
		t.Fatalf("got %+v, %v, want the finish", batch.Deliveries, err)
	}
	if err := c.Settle(t.Context(), []driver.Settlement{{ID: batch.Deliveries[0].ID}}); err != nil {
		t.Fatal(err)
	}
	if batch, err := c.Receive(t.Context(), 10); err != nil || len(batch.Deliveries) != 0 || !batch.Next.IsZero() || faults.Injected()["ResetAfter"] != 2 {
		t.Errorf("then came %+v, %v (faults %v)", batch, err, faults.Injected())
	}
}

func TestMissingTableIsUnavailable(t *testing.T) {
	t.Parallel()
	c := counter.Open(awstest.DynamoDB(t).Clients(nil).DynamoDB, "missing", "missing2", nil)
	if err := c.Count(t.Context(), "a", "r", 1); !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("got %v, want unavailable", err)
	}
}

// Callers that try again until they are told of success, in processes of their own:
// each reference counts once and each finish comes, of an ordinal of its own, and is
// settled for good.
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
	stack := awstest.Stack()
	createTables(t.Context(), t, awstest.DynamoDB(t), stack+"-refs", stack+"-counts")
	opened := func() *counter.Counter {
		// Holds whose answer was lost end while the test waits for them.
		return counter.Open(awstest.DynamoDB(t).Clients(faults).DynamoDB, stack+"-refs", stack+"-counts", &counter.Options{Hold: 500 * time.Millisecond})
	}
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
			c := opened()
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
	settled := map[driver.CounterFinished]bool{}
	var mu sync.Mutex
	var done atomic.Bool
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			c := opened()
			for !done.Load() && !t.Failed() {
				var batch driver.Batch[driver.CounterFinished]
				until(func() (err error) { batch, err = c.Receive(t.Context(), 3); return err })
				for _, d := range batch.Deliveries {
					until(func() error { return c.Settle(t.Context(), []driver.Settlement{{ID: d.ID}}) })
					mu.Lock()
					settled[d.Message] = true
					mu.Unlock()
				}
				<-time.NewTimer(5 * time.Millisecond).C
			}
		})
	}
	wg.Wait()
	c := opened()
	for range 2000 {
		mu.Lock()
		n := len(settled)
		mu.Unlock()
		finished := 0
		for i := range counters {
			var s driver.CounterState
			until(func() (err error) { s, err = c.State(t.Context(), fmt.Sprintf("c%d", i)); return err })
			finished += int(s.Finished)
		}
		if n == finished {
			break
		}
		<-time.NewTimer(10 * time.Millisecond).C
	}
	done.Store(true)
	readers.Wait()
	faults.Stop()
	for i := range counters {
		id := fmt.Sprintf("c%d", i)
		s, err := c.State(t.Context(), id)
		if err != nil || s.Count != each || s.Target != each || s.Finished == 0 {
			t.Errorf("%s is %+v, %v, want the count and target %d (seed %d, faults %v)", id, s, err, each, seed, faults.Injected())
		}
		ordinals := map[uint64]bool{}
		for f := range settled {
			if f.CounterID == id {
				if ordinals[f.Ordinal] {
					t.Errorf("two finishes %d of %s (seed %d)", f.Ordinal, id, seed)
				}
				ordinals[f.Ordinal] = true
			}
		}
		for n := uint64(1); n <= s.Finished; n++ {
			if !ordinals[n] {
				t.Errorf("finish %d of %s did not come (seed %d)", n, id, seed)
			}
		}
	}
}
