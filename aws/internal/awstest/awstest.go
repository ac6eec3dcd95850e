// Package awstest starts emulators of AWS services for tests: DynamoDB Local, Amazon's
// emulator of DynamoDB and its streams, and MiniStack for the other services. Each emulator
// is started once per test binary, on its own port, and ends with the binary. Tests use
// different stacks, see [Stack], so they can share an emulator.
//
// An emulator is not AWS. Where the two differ, the documentation of AWS is decisive.
//
// Clients do not retry, so that tests can count requests; only the clients of
// [Emulator.Patient] do. [Counter] and [Faults] are transports between client and emulator.
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

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// The region and account of all emulators and clients.
const (
	Region  = "eu-central-1"
	Account = "000000000000"
)

// Emulator is a running emulator.
type Emulator struct {
	// Name is the emulator's name in messages.
	Name string
	// Endpoint is the endpoint of all services: "http://127.0.0.1:PORT".
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

// NewDynamoDB returns a DynamoDB Local for this test alone, which ends with the test. It is
// for tests that write a lot: for every request for stream records, DynamoDB Local reads
// all earlier records again, even those of deleted tables.
func NewDynamoDB(t testing.TB) *Emulator {
	t.Helper()
	s := server{program: dynamoDBLocal}
	e := s.get(t)
	t.Cleanup(func() { s.end(!t.Failed()) })
	return e
}

// MiniStack returns MiniStack, for all clients. Its DynamoDB is less exact than DynamoDB
// Local. The other services of MiniStack use it.
func MiniStack(t testing.TB) *Emulator {
	t.Helper()
	return miniStack.get(t)
}

// MiniStackWithIAM returns a second MiniStack, which enforces the policies of the roles of
// functions. The clients have the unlimited permissions of the account's root.
func MiniStackWithIAM(t testing.TB) *Emulator {
	t.Helper()
	return enforcingMini.get(t)
}

// Run runs the tests of m, ends the emulators and returns the exit code. A package that
// uses emulators needs
//
//	func TestMain(m *testing.M) { os.Exit(awstest.Run(m)) }
func Run(m *testing.M) int {
	running.Store(true)
	// The tests wait more than they compute, so more of them run in parallel. A flag on the
	// command line takes precedence.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	code := m.Run()
	for _, s := range []*server{&dynamoDB, &miniStack, &enforcingMini} {
		s.end(code == 0)
	}
	return code
}

// Stack returns a unique name of a stack for package naming.
func Stack() string { return "t" + strings.ToLower(rand.Text()[:12]) }

// Config returns the configuration of a client of e with dummy credentials and without
// retries. A nil transport means [Transport].
func (e *Emulator) Config(transport http.RoundTripper) aws.Config {
	if transport == nil {
		transport = Transport()
	}
	return aws.Config{
		Region:       Region,
		BaseEndpoint: aws.String(e.Endpoint),
		// The access key selects the database if an emulator has several.
		Credentials: aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, ctx.Err()
		}),
		HTTPClient: &http.Client{Transport: transport},
		Retryer:    func() aws.Retryer { return aws.NopRetryer{} },
	}
}

// Clients are clients of one emulator that use one transport.
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

// Clients returns clients of e. A nil transport means [Transport].
func (e *Emulator) Clients(transport http.RoundTripper) *Clients {
	return clients(e.Config(transport))
}

// Patient returns clients that retry like clients of the SDK with default settings, but
// more often and without pauses.
func (e *Emulator) Patient(transport http.RoundTripper) *Clients {
	return clients(e.patient(transport))
}

func clients(cfg aws.Config) *Clients {
	return &Clients{
		DynamoDB:    dynamodb.NewFromConfig(cfg),
		Streams:     dynamodbstreams.NewFromConfig(cfg),
		SQS:         sqs.NewFromConfig(cfg),
		SNS:         sns.NewFromConfig(cfg),
		S3:          s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }), // the host name of a bucket does not resolve
		Scheduler:   scheduler.NewFromConfig(cfg),
		EventBridge: eventbridge.NewFromConfig(cfg),
		Lambda:      lambda.NewFromConfig(cfg),
	}
}

// Transport returns the transport that all clients share, to limit the number of
// connections.
var Transport = sync.OnceValue(func() http.RoundTripper {
	return whole{&http.Transport{MaxIdleConnsPerHost: 64, MaxConnsPerHost: 128}}
})

// whole reads the body of a request before it sends the request. Otherwise a fast response
// could close the connection: the SDK closes the body of the request when it receives the
// response, perhaps before the transport has read the end of the body. It also repeats
// requests that fail with [lockTimeout].
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

// maxLocks is the maximum number of times that a request is sent if it fails with
// [lockTimeout].
const maxLocks = 20

// lockTimeout is part of the internal error that DynamoDB Local returns when a request
// has waited ten seconds for the lock of a table. The request had no effect. The text
// names the emulator, so no other error matches.
const lockTimeout = "timed out because it too long waiting for a lock. This request will succeed in actual DynamoDB API"
