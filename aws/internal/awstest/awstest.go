// Package awstest gives tests implementations of AWS services that others wrote:
// DynamoDB Local, Amazon's own emulator of DynamoDB and its streams, and
// MiniStack for the rest. Each is started once per test binary, on a port of its
// own, and ends with it. Package naming's stacks keep tests apart: see [Stack].
//
// An emulator is not AWS. It shows that the drivers work with something that was
// not made for them; what AWS is documented to do stands above what it does.
//
// The SDK's clients do not retry, so that tests can count, unless they are those of
// [Emulator.Patient]. [Counter] and [Faults] stand between client and emulator.
package awstest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// What the emulators and their clients have in common.
const (
	Region  = "eu-central-1"
	Account = "000000000000"
)

// Emulator is a running emulator.
type Emulator struct {
	// Name is the emulator's, for messages.
	Name string
	// Endpoint is where all of its services answer: "http://127.0.0.1:PORT".
	Endpoint string

	logFile string
}

var (
	dynamoDB      = server{program: dynamoDBLocal}
	miniStack     = server{program: miniStackServer}
	enforcingMini = server{program: miniStackWithIAM}
)

// DynamoDB returns DynamoDB Local, for the clients DynamoDB and Streams.
func DynamoDB(t testing.TB) *Emulator {
	t.Helper()
	return dynamoDB.get(t)
}

// NewDynamoDB returns a DynamoDB Local that nobody else uses, and which ends with
// the test. What a table's stream has told it looks at again with every request for
// more, also that of tables that are gone: for tests that write much.
func NewDynamoDB(t testing.TB) *Emulator {
	t.Helper()
	s := server{program: dynamoDBLocal}
	e := s.get(t)
	t.Cleanup(func() { s.end(!t.Failed()) })
	return e
}

// MiniStack returns MiniStack, for all clients. DynamoDB Local is the authority
// for DynamoDB; MiniStack's is for what its other services do with tables.
func MiniStack(t testing.TB) *Emulator {
	t.Helper()
	return miniStack.get(t)
}

// MiniStackWithIAM returns a MiniStack beside the other one that lets functions do
// what the policies of their roles allow, and nothing else. The clients are those of
// the account's root, who may do everything.
func MiniStackWithIAM(t testing.TB) *Emulator {
	t.Helper()
	return enforcingMini.get(t)
}

// Run runs the tests of m, ends the emulators and returns the exit code. A
// package that uses emulators has
//
//	func TestMain(m *testing.M) { os.Exit(awstest.Run(m)) }
func Run(m *testing.M) int {
	running.Store(true)
	// They wait more than they compute. The command line has the last word.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	code := m.Run()
	for _, s := range []*server{&dynamoDB, &miniStack, &enforcingMini} {
		s.end(code == 0)
	}
	return code
}

// Stack returns the name of a stack that nobody else uses, for package naming.
func Stack() string { return "t" + strings.ToLower(rand.Text()[:12]) }

// Config returns the configuration of a client of e: dummy credentials, no
// retries. transport is nil for the plain one.
func (e *Emulator) Config(transport http.RoundTripper) aws.Config {
	if transport == nil {
		transport = Transport()
	}
	return aws.Config{
		Region:       Region,
		BaseEndpoint: aws.String(e.Endpoint),
		// The access key chooses the database of an emulator that keeps several.
		Credentials: aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, ctx.Err()
		}),
		HTTPClient: &http.Client{Transport: transport},
		Retryer:    func() aws.Retryer { return aws.NopRetryer{} },
	}
}

// Clients are clients of one emulator over one transport.
type Clients struct {
	DynamoDB    *dynamodb.Client
	Streams     *dynamodbstreams.Client
	SQS         *sqs.Client
	SNS         *sns.Client
	S3          *s3.Client
	Scheduler   *scheduler.Client
	EventBridge *eventbridge.Client
	Lambda      *lambda.Client
}

// Clients returns clients of e. transport is nil for the plain one, or a
// [Counter], [Faults], or one over the other.
func (e *Emulator) Clients(transport http.RoundTripper) *Clients {
	return clients(e.Config(transport))
}

// Patient returns clients that send again what failed, as the SDK's do by
// themselves, but for longer and without their pauses.
func (e *Emulator) Patient(transport http.RoundTripper) *Clients {
	return clients(e.patient(transport))
}

func retryer() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts, o.MaxBackoff, o.RateLimiter = 20, time.Millisecond, ratelimit.None
	})
}

func clients(cfg aws.Config) *Clients {
	return &Clients{
		DynamoDB:    dynamodb.NewFromConfig(cfg),
		Streams:     dynamodbstreams.NewFromConfig(cfg),
		SQS:         sqs.NewFromConfig(cfg),
		SNS:         sns.NewFromConfig(cfg),
		S3:          s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }), // its bucket's host would have to resolve
		Scheduler:   scheduler.NewFromConfig(cfg),
		EventBridge: eventbridge.NewFromConfig(cfg),
		Lambda:      lambda.NewFromConfig(cfg),
	}
}

// Transport returns the transport that all clients share, so that thousands of
// tests do not leave thousands of connections behind.
var Transport = sync.OnceValue(func() http.RoundTripper {
	return whole{&http.Transport{MaxIdleConnsPerHost: 64, MaxConnsPerHost: 128}}
})

// whole is a transport made fit for servers that are near: the SDK closes the body
// of a request when it has the answer, and where that comes before the transport
// has seen the body's end, the connection is closed in the middle of the answer.
type whole struct{ next http.RoundTripper }

func (w whole) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		return w.next.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err := errors.Join(err, r.Body.Close()); err != nil {
		return nil, err
	}
	for n := 1; ; n++ {
		again := r.Clone(r.Context())
		again.Body = io.NopCloser(bytes.NewReader(body))
		resp, err := w.next.RoundTrip(again)
		if err != nil || resp.StatusCode != http.StatusInternalServerError || n == maxLocks {
			return resp, err
		}
		answer, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			return nil, err
		}
		resp.Body = io.NopCloser(bytes.NewReader(answer))
		if !bytes.Contains(answer, []byte(lockTimeout)) {
			return resp, nil
		}
	}
}

// maxLocks bounds how often a request is sent that waits in vain for a lock.
const maxLocks = 20

// lockTimeout is part of the internal error that DynamoDB Local returns when a request
// has waited ten seconds for the lock of a table. The request had no effect. The text
// names the emulator, so no other error matches.
const lockTimeout = "timed out because it too long waiting for a lock. This request will succeed in actual DynamoDB API"
