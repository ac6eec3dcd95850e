package lambdarunner_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/internal/lambdarunner"
)

// The test binary is also the binary of the functions.
func TestMain(m *testing.M) {
	if os.Getenv("AWS_LAMBDA_RUNTIME_API") != "" {
		bootstrap()
		return
	}
	os.Exit(awstest.Run(m))
}

// order is what the test makes the function do.
type order struct {
	Answer json.RawMessage `json:"answer,omitempty"`
	Error  string          `json:"error,omitempty"`
	Panic  bool            `json:"panic,omitempty"`
	Exit   bool            `json:"exit,omitempty"`
	Hang   bool            `json:"hang,omitempty"`
}

// call is what the function reports about an invocation.
type call struct {
	Function string            `json:"function"`
	PID      int               `json:"pid"`
	Left     time.Duration     `json:"left"` // until the deadline
	Env      map[string]string `json:"env"`
	Payload  json.RawMessage   `json:"payload"`

	Records []delivered `json:"-"` // of the payload
}

type delivered struct {
	MessageID  string            `json:"messageId"`
	Body       string            `json:"body"`
	Attributes map[string]string `json:"attributes"`
	DynamoDB   struct {
		SequenceNumber string
		Keys           struct{ ID, N map[string]string }
	} `json:"dynamodb"`
}

// bootstrap is the function. It reports each invocation to the test and executes the
// order that the test returns.
func bootstrap() {
	report := func(body []byte) (order, error) {
		var o order
		resp, err := http.Post(os.Getenv("TEST_URL"), "application/json", bytes.NewReader(body))
		if err != nil {
			return o, err
		}
		defer resp.Body.Close()
		return o, json.NewDecoder(resp.Body).Decode(&o)
	}
	if os.Getenv("TEST_INIT") == "exit" {
		os.Exit(3)
	}
	env := map[string]string{}
	for _, v := range os.Environ() {
		name, value, _ := strings.Cut(v, "=")
		env[name] = value
	}
	lambda.Start(func(ctx context.Context, payload json.RawMessage) (any, error) {
		deadline, _ := ctx.Deadline()
		c := call{Function: env["AWS_LAMBDA_FUNCTION_NAME"], PID: os.Getpid(), Left: time.Until(deadline), Env: env, Payload: payload}
		text, err := json.Marshal(c)
		if err != nil {
			return nil, err
		}
		_, _ = fmt.Fprintln(os.Stdout, "invoked")
		o, err := report(text)
		switch {
		case err != nil:
			return nil, err
		case o.Panic:
			panic("ordered")
		case o.Exit:
			os.Exit(1)
		case o.Hang:
			select {}
		case o.Error != "":
			return nil, errors.New(o.Error)
		}
		return o.Answer, nil
	})
}

// bench is a runner with the calls of its functions.
type bench struct {
	*lambdarunner.Runner
	t       *testing.T
	log     buffer
	clients *awstest.Clients // SQS of MiniStack, the rest of DynamoDB Local

	mu    sync.Mutex
	calls []call
}

type buffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *buffer) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.String()
}

// newBench returns a runner whose functions execute the orders of do.
func newBench(t *testing.T, opts lambdarunner.Options, emulators bool, do func(c call) order) *bench {
	t.Helper()
	b := &bench{t: t}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the function was killed
		}
		var c call
		var event struct{ Records []delivered }
		if err := json.Unmarshal(body, &c); err != nil {
			t.Errorf("invalid call: %v", err)
		}
		_ = json.Unmarshal(c.Payload, &event) // not all payloads are events
		c.Records = event.Records
		b.mu.Lock()
		b.calls = append(b.calls, c)
		b.mu.Unlock()
		_ = json.NewEncoder(w).Encode(do(c))
	}))
	t.Cleanup(server.Close)
	if emulators {
		b.clients = awstest.DynamoDB(t).Patient(nil)
		b.clients.SQS = awstest.MiniStack(t).Patient(nil).SQS
		opts.SQS, opts.Streams = b.clients.SQS, b.clients.Streams
	}
	opts.Binary, opts.Region, opts.Account, opts.Log = os.Args[0], awstest.Region, awstest.Account, &b.log
	opts.Env = append(opts.Env, "TEST_URL="+server.URL)
	r, err := lambdarunner.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	b.Runner = r
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the functions' log:\n%s", b.log.text())
		}
	})
	return b
}

func (b *bench) function(f lambdarunner.Function) {
	b.t.Helper()
	if err := b.Function(f); err != nil {
		b.t.Fatal(err)
	}
}

// seen returns the calls until now.
func (b *bench) seen() []call {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]call(nil), b.calls...)
}

func (b *bench) idle() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 2*time.Minute)
	defer cancel()
	if err := b.WaitIdle(ctx); err != nil {
		b.t.Fatal(err)
	}
}

// await waits until is returns true.
func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 2 minutes", what)
		}
	}
}

// queue creates a queue and returns its URL and ARN.
func (b *bench) queue(name string) (url, arn string) {
	b.t.Helper()
	name = awstest.Stack() + "-" + name
	in := &sqs.CreateQueueInput{QueueName: &name}
	if strings.HasSuffix(name, ".fifo") {
		in.Attributes = map[string]string{"FifoQueue": "true"}
	}
	out, err := b.clients.SQS.CreateQueue(b.t.Context(), in)
	if err != nil {
		b.t.Fatal(err)
	}
	return *out.QueueUrl, "arn:aws:sqs:" + awstest.Region + ":" + awstest.Account + ":" + name
}

func (b *bench) send(url, group, body string) {
	in := &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body}
	if group != "" {
		in.MessageGroupId, in.MessageDeduplicationId = &group, aws.String(group+"/"+body)
	}
	if _, err := b.clients.SQS.SendMessage(b.t.Context(), in); err != nil {
		b.t.Error(err)
	}
}

// mapped creates a queue and maps it to a function.
func (b *bench) mapped(name, function string, o lambdarunner.QueueMapping) (url string) {
	b.t.Helper()
	url, arn := b.queue(name)
	if err := b.Queue(function, url, arn, o); err != nil {
		b.t.Fatal(err)
	}
	return url
}

// table creates a table with a stream and the key (ID, N).
func (b *bench) table() string {
	b.t.Helper()
	name := awstest.Stack() + "-table"
	_, err := b.clients.DynamoDB.CreateTable(b.t.Context(), &dynamodb.CreateTableInput{
		TableName: &name, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: aws.String("ID"), AttributeType: types.ScalarAttributeTypeS},
			{AttributeName: aws.String("N"), AttributeType: types.ScalarAttributeTypeN},
		},
		KeySchema: []types.KeySchemaElement{
			{AttributeName: aws.String("ID"), KeyType: types.KeyTypeHash},
			{AttributeName: aws.String("N"), KeyType: types.KeyTypeRange},
		},
		StreamSpecification: &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: types.StreamViewTypeNewAndOldImages},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return name
}

func (b *bench) put(table, id string, n, value int) {
	_, err := b.clients.DynamoDB.PutItem(b.t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: map[string]types.AttributeValue{
		"ID": &types.AttributeValueMemberS{Value: id}, "N": &types.AttributeValueMemberN{Value: strconv.Itoa(n)},
		"value": &types.AttributeValueMemberN{Value: strconv.Itoa(value)}, "bytes": &types.AttributeValueMemberB{Value: []byte{0, 255}},
	}})
	if err != nil {
		b.t.Error(err)
	}
}

// failures returns an answer that reports failed items.
func failures(items ...string) order {
	type failure struct {
		ID string `json:"itemIdentifier"`
	}
	list := []failure{}
	for _, id := range items {
		list = append(list, failure{id})
	}
	text, err := json.Marshal(map[string]any{"batchItemFailures": list})
	if err != nil {
		panic(err)
	}
	return order{Answer: text}
}

// alive reports whether a process runs. A zombie does not.
func alive(pid int) bool {
	if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && strings.Contains(string(text), ") Z ") {
		return false
	}
	return syscall.Kill(pid, 0) == nil
}
