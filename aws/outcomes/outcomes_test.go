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

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/internal/dynamo"
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

func stored(o driver.Outcome) driver.StoredOutcome {
	o.Target = "P.T"
	return driver.StoredOutcome{Outcome: o}
}

func TestCosts(t *testing.T) {
	t.Parallel()
	costs := awstest.NewCosts(nil)
	o, _ := open(t, costs, &outcomes.Options{Spent: costs.Spent})
	put := func(out driver.StoredOutcome) func() error {
		return func() error { return o.Put(t.Context(), out, time.Now().Add(time.Hour)) }
	}
	costs.Exactly(t, "a pending outcome", 1, 1, put(stored(driver.Outcome{Kind: driver.Pending, CommandID: "a"})))
	costs.Exactly(t, "an accepted outcome", 1, 1, put(stored(driver.Outcome{Kind: driver.Accepted, CommandID: "a", SequenceNr: 1, EventCount: 1})))
	costs.Exactly(t, "reading it", 1, 1, func() error { _, err := o.Get(t.Context(), "P.T", "a"); return err })
}

// JSON and DynamoDB change some texts: a detail is returned as it was put.
func TestDetailIsKeptByteForByte(t *testing.T) {
	t.Parallel()
	o, _ := open(t, nil, nil)
	for i, detail := range []string{" {\"a\" : 1.10e+5 ,\"a\":\"\\u0041<\"} \n", "\"\xff\xfe\"", "null", `"` + strings.Repeat("x", 100_000) + `"`} {
		out := stored(driver.Outcome{Kind: driver.Rejected, CommandID: fmt.Sprint(i), Detail: json.RawMessage(detail)})
		if err := o.Put(t.Context(), out, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if got, err := o.Get(t.Context(), "P.T", out.CommandID); err != nil || string(got.Detail) != detail {
			t.Errorf("got the detail %.40q, %v, want %.40q", got.Detail, err, detail)
		}
	}
}

// DynamoDB's TTL is in whole seconds: it is the second after the expiry.
func TestTTLIsNotBeforeTheExpiry(t *testing.T) {
	t.Parallel()
	o, table := open(t, nil, nil)
	expires := time.Date(2100, 1, 1, 0, 0, 0, 1, time.UTC)
	if err := o.Put(t.Context(), stored(driver.Outcome{Kind: driver.Accepted, CommandID: "a"}), expires); err != nil {
		t.Fatal(err)
	}
	out, err := awstest.DynamoDB(t).Clients(nil).DynamoDB.GetItem(t.Context(), &dynamodb.GetItemInput{
		TableName: &table, Key: dynamo.Item{outcomes.Key: dynamo.Text("a"), outcomes.SortKey: dynamo.Text("P.T")},
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
	out := stored(driver.Outcome{Kind: driver.Rejected, CommandID: "a", Detail: json.RawMessage(`"` + strings.Repeat("x", outcomes.MaxOutcomeBytes) + `"`)})
	var large *driver.TooLargeError
	if err := o.Put(t.Context(), out, time.Now().Add(time.Hour)); !errors.As(err, &large) || large.Limit != outcomes.MaxOutcomeBytes {
		t.Errorf("got %v, want too large", err)
	}
	if n := requests.Of(); n != 0 {
		t.Errorf("%d requests were made", n)
	}
}

// A missing table is an error of the deployment and is not reported as a missing outcome.
func TestMissingTableIsUnavailable(t *testing.T) {
	t.Parallel()
	o := outcomes.Open(awstest.DynamoDB(t).Clients(nil).DynamoDB, "missing", nil)
	_, err := o.Get(t.Context(), "P.T", "a")
	awstest.Unavailable(t, err, o.Put(t.Context(), stored(driver.Outcome{Kind: driver.Pending, CommandID: "a"}), time.Now()))
}

func TestForeignItemIsAnErrorThatNamesIt(t *testing.T) {
	t.Parallel()
	o, table := open(t, nil, nil)
	awstest.Foreign(t, table, dynamo.Item{outcomes.Key: dynamo.Text("foreign"), outcomes.SortKey: dynamo.Text("P.T")})
	_, err := o.Get(t.Context(), "P.T", "foreign")
	awstest.Damaged(t, "Get", err, "foreign")
}

// A late or repeated Pending does not replace a final outcome, when callers retry until
// they succeed.
func TestFinalOutcomesRemainUnderFaults(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	faults := awstest.NewFaults(nil, seed, awstest.Mix()...)
	o, _ := open(t, faults, nil)
	const commands = 60
	expires := time.Now().Add(time.Hour)
	var wg sync.WaitGroup
	for i := range commands {
		for _, out := range []driver.Outcome{
			{Kind: driver.Pending, CommandID: fmt.Sprint(i)},
			{Kind: driver.Failed, CommandID: fmt.Sprint(i)},
			{Kind: driver.Accepted, CommandID: fmt.Sprint(i), SequenceNr: uint64(i), EventCount: 1},
		} {
			wg.Go(func() {
				awstest.Persist(t, func() error { return o.Put(t.Context(), stored(out), expires) })
			})
		}
	}
	wg.Wait()
	faults.Stop()
	for i := range commands {
		if got, err := o.Get(t.Context(), "P.T", fmt.Sprint(i)); err != nil || got.Kind != driver.Accepted || got.SequenceNr != uint64(i) {
			t.Errorf("the outcome of %d is %+v, %v (seed %d, faults %v)", i, got, err, seed, faults.Injected())
		}
	}
}
