package awstest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(awstest.Run(m)) }

// table creates a table with the key id.
func table(t *testing.T, c *dynamodb.Client) string {
	t.Helper()
	name := awstest.Stack()
	_, err := c.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName:            &name,
		BillingMode:          ddb.BillingModePayPerRequest,
		AttributeDefinitions: []ddb.AttributeDefinition{{AttributeName: aws.String("id"), AttributeType: ddb.ScalarAttributeTypeS}},
		KeySchema:            []ddb.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: ddb.KeyTypeHash}},
		StreamSpecification:  &ddb.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: ddb.StreamViewTypeNewImage},
	})
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func key(id string) map[string]ddb.AttributeValue {
	return map[string]ddb.AttributeValue{"id": &ddb.AttributeValueMemberS{Value: id}}
}

func put(ctx context.Context, c *dynamodb.Client, table, id string) error {
	_, err := c.PutItem(ctx, &dynamodb.PutItemInput{TableName: &table, Item: key(id)})
	return err
}

func has(t *testing.T, c *dynamodb.Client, table, id string) bool {
	t.Helper()
	got, err := c.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: &table, Key: key(id), ConsistentRead: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	return len(got.Item) > 0
}

// The SDK retries the injected errors as it retries the real errors of the services.
func TestFaultsAreErrorsOfTheServices(t *testing.T) {
	t.Parallel()
	retryable := retry.IsErrorRetryables(retry.DefaultRetryables)
	throttle := retry.IsErrorThrottles(retry.DefaultThrottles)
	timeout := retry.IsErrorTimeouts(retry.DefaultTimeouts)
	e := &awstest.Emulator{Endpoint: "http://127.0.0.1:1"} // no request is sent
	calls := map[string]func(context.Context, *awstest.Clients) error{
		"DynamoDB": func(ctx context.Context, c *awstest.Clients) error { return put(ctx, c.DynamoDB, "table", "id") },
		"SQS":      func(ctx context.Context, c *awstest.Clients) error { _, err := c.SQS.ListQueues(ctx, nil); return err },
		"SNS":      func(ctx context.Context, c *awstest.Clients) error { _, err := c.SNS.ListTopics(ctx, nil); return err },
		"S3":       func(ctx context.Context, c *awstest.Clients) error { _, err := c.S3.ListBuckets(ctx, nil); return err },
		"Scheduler": func(ctx context.Context, c *awstest.Clients) error {
			_, err := c.Scheduler.ListSchedules(ctx, nil)
			return err
		},
	}
	const seed = 7
	for service, call := range calls {
		for _, fault := range []awstest.Fault{awstest.Throttle, awstest.Internal, awstest.Reset, awstest.Timeout} {
			faults := awstest.NewFaults(nil, seed, awstest.Rule{Fault: fault, Operations: []string{service + ".*"}, Probability: 1})
			c := e.Clients(faults)
			seen := map[string]bool{}
			for range 20 {
				err := call(t.Context(), c)
				if err == nil {
					t.Fatalf("%v of %s: no error", fault, service)
				}
				var api interface{ ErrorCode() string }
				if errors.As(err, &api) {
					seen[api.ErrorCode()] = true
					// The SDK does not recognize this one; the driver has to.
					if api.ErrorCode() == "Throttled" {
						continue
					}
				}
				if retryable.IsErrorRetryable(err) != aws.TrueTernary {
					t.Errorf("%v of %s: the SDK does not retry %v", fault, service, err)
				}
				if got, want := throttle.IsErrorThrottle(err) == aws.TrueTernary, fault == awstest.Throttle; got != want {
					t.Errorf("%v of %s: throttled is %t, want %t: %v", fault, service, got, want, err)
				}
				if fault == awstest.Timeout && timeout.IsErrorTimeout(err) != aws.TrueTernary {
					t.Errorf("%v of %s: %v is not a timeout", fault, service, err)
				}
				if fault == awstest.Reset && !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("%v of %s: %v is not a reset", fault, service, err)
				}
			}
			if n := faults.Injected()[fault.String()]; n != 20 {
				t.Errorf("%v of %s was injected %d times, want 20", fault, service, n)
			}
			if service == "DynamoDB" && fault == awstest.Throttle && !seen["ProvisionedThroughputExceededException"] || seen["UnknownError"] {
				t.Errorf("%v of %s: got the codes %v", fault, service, seen)
			}
		}
	}
}

func TestFaultsBeforeAndAfterTheEffect(t *testing.T) {
	t.Parallel()
	e := awstest.DynamoDB(t)
	plain := e.Clients(nil).DynamoDB
	name := table(t, plain)
	for fault, effect := range map[awstest.Fault]bool{
		awstest.Throttle: false, awstest.Internal: false, awstest.Reset: false, awstest.Timeout: false,
		awstest.InternalAfter: true, awstest.ResetAfter: true, awstest.TimeoutAfter: true,
	} {
		count := awstest.NewCounter(nil)
		c := e.Clients(awstest.NewFaults(count, 1, awstest.Rule{Fault: fault, Operations: []string{"DynamoDB.PutItem"}, Calls: []int{2}})).DynamoDB
		first, second, third := fault.String()+"1", fault.String()+"2", fault.String()+"3"
		if err := put(t.Context(), c, name, first); err != nil {
			t.Errorf("%v of the second call: the first call failed: %v", fault, err)
		}
		err := put(t.Context(), c, name, second)
		if err == nil {
			t.Errorf("%v of the second call: no error", fault)
		}
		var netErr net.Error
		if wantTimeout := fault == awstest.Timeout || fault == awstest.TimeoutAfter; wantTimeout != (errors.As(err, &netErr) && netErr.Timeout()) {
			t.Errorf("%v: got %v, want a timeout: %t", fault, err, wantTimeout)
		} else if wantTimeout != errors.Is(err, context.DeadlineExceeded) { // as with timeouts of net/http
			t.Errorf("%v: %v is a DeadlineExceeded: %t", fault, err, !wantTimeout)
		}
		if err := put(t.Context(), c, name, third); err != nil {
			t.Errorf("%v of the second call: the third call failed: %v", fault, err)
		}
		if got := has(t, plain, name, second); got != effect {
			t.Errorf("%v: the item exists: %t, want %t", fault, got, effect)
		}
		want := 2
		if effect {
			want = 3
		}
		if got := count.Of("DynamoDB.PutItem"); got != want {
			t.Errorf("%v: %d requests were forwarded, want %d", fault, got, want)
		}
	}
}

func TestUnprocessedItemsAreReturned(t *testing.T) {
	t.Parallel()
	e := awstest.DynamoDB(t)
	name := table(t, e.Clients(nil).DynamoDB)
	c := e.Clients(awstest.NewFaults(nil, 1, awstest.Rule{Fault: awstest.Unprocessed, Calls: []int{1}})).DynamoDB
	write := &dynamodb.BatchWriteItemInput{RequestItems: map[string][]ddb.WriteRequest{name: {{PutRequest: &ddb.PutRequest{Item: key("a")}}}}}
	wrote, err := c.BatchWriteItem(t.Context(), write)
	if err != nil || len(wrote.UnprocessedItems[name]) != 1 || has(t, c, name, "a") {
		t.Fatalf("got %+v and the error %v, want the item unprocessed and not stored", wrote, err)
	}
	read, err := c.BatchGetItem(t.Context(), &dynamodb.BatchGetItemInput{RequestItems: map[string]ddb.KeysAndAttributes{name: {Keys: []map[string]ddb.AttributeValue{key("a")}}}})
	if err != nil || len(read.UnprocessedKeys[name].Keys) != 1 {
		t.Fatalf("got %+v and the error %v, want the key unprocessed", read, err)
	}
	if wrote, err = c.BatchWriteItem(t.Context(), &dynamodb.BatchWriteItemInput{RequestItems: wrote.UnprocessedItems}); err != nil || len(wrote.UnprocessedItems) != 0 || !has(t, c, name, "a") {
		t.Errorf("got %+v and the error %v, want the item stored", wrote, err)
	}
}

func TestPartOfABatchTakesEffect(t *testing.T) {
	t.Parallel()
	e := awstest.DynamoDB(t)
	plain := e.Clients(nil).DynamoDB
	name := table(t, plain)
	c := e.Clients(awstest.NewFaults(nil, 1, awstest.Rule{Fault: awstest.Part, Calls: []int{1}})).DynamoDB
	var items []ddb.WriteRequest
	for i := range 20 {
		items = append(items, ddb.WriteRequest{PutRequest: &ddb.PutRequest{Item: key(fmt.Sprint(i))}})
	}
	wrote, err := c.BatchWriteItem(t.Context(), &dynamodb.BatchWriteItemInput{RequestItems: map[string][]ddb.WriteRequest{name: items}})
	if err != nil {
		t.Fatal(err)
	}
	stored := 0
	for i := range items {
		if has(t, plain, name, fmt.Sprint(i)) {
			stored++
		}
	}
	if left := len(wrote.UnprocessedItems[name]); left == 0 || stored == 0 || left+stored != len(items) {
		t.Errorf("%d items are stored and %d unprocessed, want a part of %d", stored, left, len(items))
	}
}

func TestFaultsRepeatWithTheirSeed(t *testing.T) {
	t.Parallel()
	e := &awstest.Emulator{Endpoint: "http://127.0.0.1:1"}
	run := func(seed uint64) string {
		// All other requests time out, so that no request is sent.
		faults := awstest.NewFaults(
			nil, seed,
			awstest.Rule{Fault: awstest.Reset, Probability: 0.3}, awstest.Rule{Fault: awstest.Timeout, Probability: 1},
		)
		c := e.Clients(faults).DynamoDB
		var b strings.Builder
		for range 200 {
			if errors.Is(put(t.Context(), c, "t", "id"), syscall.ECONNRESET) {
				b.WriteByte('x')
			} else {
				b.WriteByte('.')
			}
		}
		if n := faults.Injected()["Reset"]; n < 30 || n > 90 {
			t.Errorf("seed %d: %d of 200 calls were reset, want about 60", seed, n)
		}
		return b.String()
	}
	if one, two := run(1), run(1); one != two {
		t.Errorf("equal seeds give different faults:\n%s\n%s", one, two)
	}
	if one, two := run(1), run(2); one == two {
		t.Errorf("different seeds give equal faults: %s", one)
	}
}

// A child process runs this test binary and waits for its end.
const childEnv = "AWSTEST_CHILD"

func TestChild(t *testing.T) {
	if os.Getenv(childEnv) == "" {
		t.Skip("a child of TestBinariesAreIsolated")
	}
	e := awstest.DynamoDB(t)
	c := e.Clients(nil).DynamoDB
	if err := put(t.Context(), c, table(t, c), "a"); err != nil {
		t.Fatal(err)
	}
	tables, err := c.ListTables(t.Context(), nil)
	if err != nil || len(tables.TableNames) != 1 {
		t.Fatalf("got %v and the error %v, want the one table", tables, err)
	}
	if _, err := os.Stdout.WriteString("endpoint " + e.Endpoint + " " + awstest.MiniStack(t).Endpoint + "\n"); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent closes it
}

func TestBinariesAreIsolated(t *testing.T) {
	t.Parallel()
	testenv.Needs(t, "dynamodb-local")
	testenv.Needs(t, "ministack")
	type child struct {
		cmd       *exec.Cmd
		in        io.Closer
		endpoints []string
	}
	start := func() *child {
		cmd := exec.Command(os.Args[0], "-test.run=^TestChild$", "-test.timeout=5m")
		cmd.Env = append(os.Environ(), childEnv+"=1")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		c := &child{cmd: cmd, in: in}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		var said strings.Builder
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if text, ok := strings.CutPrefix(lines.Text(), "endpoint "); ok {
				c.endpoints = strings.Fields(text)
				go io.Copy(io.Discard, out) //nolint:errcheck // so that writes of the child do not block
				return c
			}
			said.WriteString(lines.Text() + "\n")
		}
		t.Fatalf("the child printed no endpoint but\n%s", said.String())
		return nil
	}
	children := make(chan *child)
	go func() { children <- start() }()
	one := start()
	two := <-children
	seen := map[string]bool{}
	for _, ep := range append(one.endpoints, two.endpoints...) {
		if seen[ep] {
			t.Errorf("two emulators use %s", ep)
		}
		seen[ep] = true
		if !listens(ep) {
			t.Errorf("no emulator answers at %s", ep)
		}
	}
	// One child ends normally, the other is killed. Both end their emulators.
	if err := one.in.Close(); err != nil {
		t.Error(err)
	}
	if err := one.cmd.Wait(); err != nil {
		t.Errorf("the first child: %v", err)
	}
	wantEnded(t, one.endpoints)
	for _, ep := range two.endpoints {
		if !listens(ep) {
			t.Errorf("the end of the first child ended the emulator of the second at %s", ep)
		}
	}
	if err := two.cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = two.cmd.Wait() // it was killed
	if runtime.GOOS != "linux" {
		t.Skip("only Linux kills the children of a killed process")
	}
	wantEnded(t, two.endpoints)
}

func listens(endpoint string) bool {
	c, err := net.Dial("tcp", strings.TrimPrefix(endpoint, "http://"))
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

func wantEnded(t *testing.T, endpoints []string) {
	t.Helper()
	for _, ep := range endpoints {
		deadline := time.Now().Add(time.Minute)
		for ; listens(ep) && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		}
		if listens(ep) {
			t.Errorf("the emulator at %s still runs", ep)
		}
	}
}
