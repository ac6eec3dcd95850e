package outcomes_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/aws/outcomes"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/drivertest"
	"github.com/reventless-go/reventless/topology"
)

func TestMain(m *testing.M) { os.Exit(awstest.Run(m)) }

func TestOutcomes(t *testing.T) {
	awstest.TestStores(t, drivertest.TestOutcomes, 3, awstest.Mix(), nil)
}

// open returns outcomes through a transport.
func open(t *testing.T, transport http.RoundTripper, opts *outcomes.Options) (*outcomes.Outcomes, string) {
	t.Helper()
	table := awstest.TableOf(t, naming.Outcomes, topology.Component{})
	return outcomes.Open(awstest.DynamoDB(t).Clients(transport).DynamoDB, table, opts), table
}

func TestCosts(t *testing.T) {
	t.Parallel()
	requests, units := awstest.NewCounter(nil), 0.0
	o, _ := open(t, requests, &outcomes.Options{Spent: func(_ string, c *types.ConsumedCapacity) { units += aws.ToFloat64(c.CapacityUnits) }})
	expires := time.Now().Add(time.Hour)
	for _, out := range []driver.Outcome{{Kind: driver.Pending, CommandID: "a"}, {Kind: driver.Accepted, CommandID: "a", SequenceNr: 1, EventCount: 1}} {
		if err := o.Put(t.Context(), out, expires); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := o.Get(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if units != 3 || requests.Of("DynamoDB.PutItem") != 2 || requests.Of() != 3 {
		t.Errorf("two puts and a get were the requests %v of %v units, want 3 of 3", requests.All(), units)
	}
}

// Payloads come back as they were, also where they are no text that JSON or
// DynamoDB would leave alone.
func TestDetailIsKeptByteForByte(t *testing.T) {
	t.Parallel()
	o, _ := open(t, nil, nil)
	for i, detail := range []string{" {\"a\" : 1.10e+5 ,\"a\":\"\\u0041<\"} \n", "\"\xff\xfe\"", "null", `"` + strings.Repeat("x", 100_000) + `"`} {
		out := driver.Outcome{Kind: driver.Rejected, CommandID: fmt.Sprint(i), Detail: json.RawMessage(detail)}
		if err := o.Put(t.Context(), out, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if got, err := o.Get(t.Context(), out.CommandID); err != nil || string(got.Detail) != detail {
			t.Errorf("got the detail %.40q, %v, want %.40q", got.Detail, err, detail)
		}
	}
}

// DynamoDB removes by whole seconds, so it gets the one after the end.
func TestTTLIsNotBeforeTheEnd(t *testing.T) {
	t.Parallel()
	o, table := open(t, nil, nil)
	expires := time.Date(2100, 1, 1, 0, 0, 0, 1, time.UTC)
	if err := o.Put(t.Context(), driver.Outcome{Kind: driver.Accepted, CommandID: "a"}, expires); err != nil {
		t.Fatal(err)
	}
	out, err := awstest.DynamoDB(t).Clients(nil).DynamoDB.GetItem(t.Context(), &dynamodb.GetItemInput{
		TableName: &table, Key: map[string]types.AttributeValue{outcomes.Key: &types.AttributeValueMemberS{Value: "a"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ttl, ok := out.Item[outcomes.TTL].(*types.AttributeValueMemberN)
	if want := fmt.Sprint(expires.Unix() + 1); !ok || ttl.Value != want {
		t.Errorf("the TTL is %v, want %s", out.Item[outcomes.TTL], want)
	}
}

func TestTooLargeOutcomeIsNotSent(t *testing.T) {
	t.Parallel()
	requests := awstest.NewCounter(nil)
	o, _ := open(t, requests, nil)
	out := driver.Outcome{Kind: driver.Rejected, CommandID: "a", Detail: json.RawMessage(`"` + strings.Repeat("x", outcomes.MaxOutcomeBytes) + `"`)}
	var large *driver.TooLargeError
	if err := o.Put(t.Context(), out, time.Now().Add(time.Hour)); !errors.As(err, &large) || large.Limit != outcomes.MaxOutcomeBytes {
		t.Errorf("got %v, want too large", err)
	}
	if n := requests.Of(); n != 0 {
		t.Errorf("%d requests were made", n)
	}
}

// A missing table is a mistake of the deployment, not an outcome that is missing.
func TestMissingTableIsNoMissingOutcome(t *testing.T) {
	t.Parallel()
	o := outcomes.Open(awstest.DynamoDB(t).Clients(nil).DynamoDB, "missing", nil)
	if _, err := o.Get(t.Context(), "a"); !errors.Is(err, driver.ErrUnavailable) || errors.Is(err, driver.ErrNotFound) {
		t.Errorf("Get: %v, want unavailable", err)
	}
	if err := o.Put(t.Context(), driver.Outcome{Kind: driver.Pending, CommandID: "a"}, time.Now()); !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("Put: %v, want unavailable", err)
	}
}

func TestForeignItemIsAnErrorThatNamesIt(t *testing.T) {
	t.Parallel()
	o, table := open(t, nil, nil)
	if _, err := awstest.DynamoDB(t).Clients(nil).DynamoDB.PutItem(t.Context(), &dynamodb.PutItemInput{
		TableName: &table, Item: map[string]types.AttributeValue{outcomes.Key: &types.AttributeValueMemberS{Value: "foreign"}},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Get(t.Context(), "foreign"); !errors.Is(err, driver.ErrInvalid) || !strings.Contains(err.Error(), "foreign") {
		t.Errorf("got %v, want invalid", err)
	}
}

// Callers that try again until they are told of success: of each command the
// outcome is the final one, whatever Pending came late or twice.
func TestFinalOutcomesStandUnderFaults(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	faults := awstest.NewFaults(
		nil, seed,
		awstest.Rule{Fault: awstest.Throttle, Probability: 0.1},
		awstest.Rule{Fault: awstest.InternalAfter, Probability: 0.1},
		awstest.Rule{Fault: awstest.Reset, Probability: 0.05},
		awstest.Rule{Fault: awstest.ResetAfter, Probability: 0.1},
		awstest.Rule{Fault: awstest.TimeoutAfter, Probability: 0.05},
	)
	o, _ := open(t, faults, nil)
	const commands = 60
	expires := time.Now().Add(time.Hour)
	var wg sync.WaitGroup
	for i := range commands {
		for _, out := range []driver.Outcome{
			{Kind: driver.Pending, CommandID: fmt.Sprint(i)},
			{Kind: driver.Accepted, CommandID: fmt.Sprint(i), SequenceNr: uint64(i), EventCount: 1},
		} {
			wg.Go(func() {
				for {
					err := o.Put(t.Context(), out, expires)
					if err == nil {
						return
					}
					if !errors.Is(err, driver.ErrThrottled) && !errors.Is(err, driver.ErrUnavailable) {
						t.Errorf("put: %v", err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
	faults.Stop()
	for i := range commands {
		if got, err := o.Get(t.Context(), fmt.Sprint(i)); err != nil || got.Kind != driver.Accepted || got.SequenceNr != uint64(i) {
			t.Errorf("the outcome of %d is %+v, %v (seed %d, faults %v)", i, got, err, seed, faults.Injected())
		}
	}
}
