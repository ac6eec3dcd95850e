package awstest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// Fault is what goes wrong with a request.
type Fault uint8

// The faults. Those that end in After are reported although the request had its
// effect.
const (
	// Throttle answers as the service does when it is asked too often: with any of
	// the errors that it has for that.
	Throttle Fault = iota + 1
	// Internal answers as the service does when it is broken, with status 500.
	Internal
	// InternalAfter does so after the effect.
	InternalAfter
	// Reset resets the connection before the service has the request.
	Reset
	// ResetAfter resets it while the service answers.
	ResetAfter
	// Timeout times out before the service has the request. It does not take the
	// time.
	Timeout
	// TimeoutAfter times out after the effect.
	TimeoutAfter
	// Unprocessed hands back all items of BatchWriteItem or all keys of
	// BatchGetItem, with status 200; it does nothing to other operations.
	Unprocessed
)

func (f Fault) String() string {
	if f == 0 || int(f) > len(faultNames) {
		return fmt.Sprintf("Fault(%d)", uint8(f))
	}
	return faultNames[f-1]
}

var faultNames = [...]string{"Throttle", "Internal", "InternalAfter", "Reset", "ResetAfter", "Timeout", "TimeoutAfter", "Unprocessed"}

// Rule says which requests fail how.
type Rule struct {
	Fault Fault
	// Operations are those that it is for, as [Operation] names them, or all of a
	// service: "SQS.*". None are all operations.
	Operations []string
	// Probability that a request of these fails, 0 to 1.
	Probability float64
	// Calls are the calls of an operation that fail, whatever the probability: 1 is
	// its first.
	Calls []int
	// Max bounds how often the rule strikes; 0 is unbounded.
	Max int
}

// Faults makes requests fail. Whether the n-th request of an operation fails
// depends on the seed, the rules and n alone, so that a run can be repeated.
type Faults struct {
	next  http.RoundTripper
	seed  uint64
	rules []Rule

	mu     sync.Mutex
	off    bool
	calls  map[string]int
	struck []int
	counts map[string]int
}

// NewFaults returns rules before next; nil is the plain transport. The first
// rule that strikes is the one that counts. A test prints its seed.
func NewFaults(next http.RoundTripper, seed uint64, rules ...Rule) *Faults {
	if next == nil {
		next = Transport()
	}
	return &Faults{next: next, seed: seed, rules: rules, calls: map[string]int{}, struck: make([]int, len(rules)), counts: map[string]int{}}
}

// Stop ends all faults, so that a test can look at what came of them.
func (f *Faults) Stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.off = true
}

// Injected returns how often each fault struck, by its name.
func (f *Faults) Injected() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.counts)
}

type watched struct{}

// Watch returns a context for the requests of one call, and whether the answer to
// one of them was lost that had its effect. What such a call says of conditions
// may be about itself: the SDK sent it again.
func Watch(ctx context.Context) (context.Context, func() bool) {
	lost := new(atomic.Bool)
	return context.WithValue(ctx, watched{}, lost), lost.Load
}

// RoundTrip hands the request on, unless or although it fails.
func (f *Faults) RoundTrip(r *http.Request) (*http.Response, error) {
	fault, random := f.draw(Operation(r))
	switch fault {
	case Throttle:
		drop(r)
		return answer(r, variant(throttled, service(r), random)), nil
	case Internal:
		drop(r)
		return answer(r, variant(broken, service(r), random)), nil
	case Reset:
		drop(r)
		return nil, connectionReset()
	case Timeout:
		drop(r)
		return nil, timeout{}
	case InternalAfter, ResetAfter, TimeoutAfter:
		if err := f.swallow(r); err != nil {
			return nil, err
		}
		switch fault {
		case InternalAfter:
			return answer(r, variant(broken, service(r), random)), nil
		case ResetAfter:
			return nil, connectionReset()
		default:
			return nil, timeout{}
		}
	case Unprocessed:
		return unprocessed(r)
	}
	return f.next.RoundTrip(r)
}

// draw returns the fault of the next call of operation, or 0.
func (f *Faults) draw(operation string) (Fault, *rand.Rand) {
	h := fnv.New64a()
	_, _ = h.Write([]byte(operation)) // a hash takes all
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[operation]++
	n := f.calls[operation]
	random := rand.New(rand.NewPCG(f.seed^h.Sum64(), uint64(n))) //nolint:gosec // a test that can be repeated
	if f.off {
		return 0, random
	}
	for i, rule := range f.rules {
		hit := random.Float64() < rule.Probability || slices.Contains(rule.Calls, n)
		if !hit || !rule.covers(operation) || rule.Max > 0 && f.struck[i] >= rule.Max {
			continue
		}
		f.struck[i]++
		f.counts[rule.Fault.String()]++
		return rule.Fault, random
	}
	return 0, random
}

func (r Rule) covers(operation string) bool {
	if r.Fault == Unprocessed && operation != "DynamoDB.BatchWriteItem" && operation != "DynamoDB.BatchGetItem" {
		return false
	}
	service, _, _ := strings.Cut(operation, ".")
	return len(r.Operations) == 0 || slices.Contains(r.Operations, operation) || slices.Contains(r.Operations, service+".*")
}

// swallow has the request take effect and forgets the answer.
func (f *Faults) swallow(r *http.Request) error {
	resp, err := f.next.RoundTrip(r)
	if err != nil {
		return err
	}
	if lost, ok := r.Context().Value(watched{}).(*atomic.Bool); ok && resp.StatusCode < 300 {
		lost.Store(true)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return errors.Join(err, resp.Body.Close())
}

// drop does what a transport does with the body of a request that it cannot
// send.
func drop(r *http.Request) {
	if r.Body != nil {
		_ = r.Body.Close() // nobody reads it
	}
}

// connectionReset and timeout are what the transport returns, as it is: http.Client
// looks at the error itself to tell a timeout.
func connectionReset() error {
	return &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
}

// timeout is that of a transport's own bound. Those of net/http and of dialers pass
// for the end of a context, too.
type timeout struct{}

func (timeout) Error() string        { return "net/http: timeout awaiting response headers" }
func (timeout) Timeout() bool        { return true }
func (timeout) Temporary() bool      { return true }
func (timeout) Is(target error) bool { return target == context.DeadlineExceeded }

// failure is an error answer of a service.
type failure struct {
	status      int
	code        string // as the service's protocol writes it
	message     string
	contentType string
	body        string // with code and message as the arguments of Sprintf
	headers     map[string]string
}

const (
	json10 = "application/x-amz-json-1.0"
	json11 = "application/x-amz-json-1.1"

	dynamoNS = "com.amazonaws.dynamodb.v20120810#"

	typedJSON = `{"__type":%q,"message":%q}`
	snsXML    = `<ErrorResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>00000000-0000-0000-0000-000000000000</RequestId></ErrorResponse>`
	s3XML     = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>%s</Message><RequestId>0000000000000000</RequestId><HostId>host</HostId></Error>`
)

// throttled has the errors of each service for callers that ask too often.
var throttled = map[string][]failure{
	"DynamoDB": {
		{400, dynamoNS + "ProvisionedThroughputExceededException", "The level of configured provisioned throughput for the table was exceeded. Consider increasing your provisioning level with the UpdateTable API.", json10, typedJSON, nil},
		{400, "com.amazon.coral.availability#ThrottlingException", "Throughput exceeds the current capacity of your table or index.", json10, typedJSON, nil},
		{400, dynamoNS + "RequestLimitExceeded", "Throughput exceeds the current throughput limit for your account.", json10, typedJSON, nil},
	},
	"DynamoDBStreams": {
		{400, dynamoNS + "LimitExceededException", "Rate exceeded.", json10, typedJSON, nil},
		{400, "com.amazon.coral.availability#ThrottlingException", "Rate exceeded", json10, typedJSON, nil},
	},
	"SQS": {
		{400, "com.amazonaws.sqs#RequestThrottled", "Request is throttled.", json10, typedJSON, map[string]string{"x-amzn-query-error": "RequestThrottled;Sender"}},
		{400, "com.amazon.coral.availability#ThrottlingException", "Rate exceeded", json10, typedJSON, map[string]string{"x-amzn-query-error": "ThrottlingException;Sender"}},
	},
	"SNS": {
		{400, "Throttling", "Rate exceeded", "text/xml", snsXML, nil},
		{429, "Throttled", "Rate exceeded", "text/xml", snsXML, nil},
	},
	"S3": {
		{503, "SlowDown", "Please reduce your request rate.", "application/xml", s3XML, nil},
	},
	"Scheduler": {
		{429, "ThrottlingException", "Rate exceeded", "application/json", `{"Code":%q,"Message":%q}`, map[string]string{"X-Amzn-ErrorType": "ThrottlingException"}},
	},
	"EventBridge": {
		{400, "ThrottlingException", "Rate exceeded", json11, typedJSON, nil},
	},
	"Lambda": {
		{429, "TooManyRequestsException", "Rate Exceeded.", "application/json", `{"Reason":"CallerRateLimitExceeded","Type":%q,"message":%q}`, map[string]string{"X-Amzn-ErrorType": "TooManyRequestsException"}},
	},
}

// broken has the errors of each service for what is its own fault.
var broken = map[string][]failure{
	"DynamoDB":        {{500, dynamoNS + "InternalServerError", "The request processing has failed because of an unknown error, exception or failure.", json10, typedJSON, nil}},
	"DynamoDBStreams": {{500, dynamoNS + "InternalServerError", "The request processing has failed because of an unknown error, exception or failure.", json10, typedJSON, nil}},
	"SQS":             {{500, "com.amazonaws.sqs#InternalError", "We encountered an internal error. Please try again.", json10, typedJSON, map[string]string{"x-amzn-query-error": "InternalError;Receiver"}}},
	"SNS":             {{500, "InternalError", "We encountered an internal error. Please try again.", "text/xml", strings.Replace(snsXML, "Sender", "Receiver", 1), nil}},
	"S3":              {{500, "InternalError", "We encountered an internal error. Please try again.", "application/xml", s3XML, nil}},
	"Scheduler":       {{500, "InternalServerException", "Unexpected error encountered while processing the request.", "application/json", `{"Code":%q,"Message":%q}`, map[string]string{"X-Amzn-ErrorType": "InternalServerException"}}},
	"EventBridge":     {{500, "InternalException", "This exception occurs due to unexpected causes.", json11, typedJSON, nil}},
	"Lambda":          {{500, "ServiceException", "The Lambda service encountered an internal error.", "application/json", `{"Type":%q,"Message":%q}`, map[string]string{"X-Amzn-ErrorType": "ServiceException"}}},
}

func variant(of map[string][]failure, service string, random *rand.Rand) failure {
	vs, ok := of[service]
	if !ok {
		panic("awstest: the errors of " + service + " are not known")
	}
	return vs[random.IntN(len(vs))]
}

func answer(r *http.Request, f failure) *http.Response {
	body := ""
	if r.Method != http.MethodHead {
		body = fmt.Sprintf(f.body, f.code, f.message)
	}
	resp := respond(r, f.status, f.contentType, []byte(body))
	for k, v := range f.headers {
		resp.Header.Set(k, v)
	}
	return resp
}

func respond(r *http.Request, status int, contentType string, body []byte) *http.Response {
	h := http.Header{
		"Content-Type":     {contentType},
		"X-Amzn-Requestid": {"00000000-0000-0000-0000-000000000000"},
	}
	if strings.HasPrefix(service(r), "DynamoDB") {
		h.Set("X-Amz-Crc32", strconv.FormatUint(uint64(crc32.ChecksumIEEE(body)), 10)) // the SDK looks at it
	}
	return &http.Response{
		Status: strconv.Itoa(status) + " " + http.StatusText(status), StatusCode: status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: r,
	}
}

// unprocessed answers a batch as DynamoDB does when it had no capacity for any
// of its items.
func unprocessed(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	drop(r)
	if err != nil {
		return nil, err
	}
	var in struct{ RequestItems json.RawMessage }
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, err
	}
	out := map[string]any{"UnprocessedItems": in.RequestItems}
	if strings.HasSuffix(Operation(r), "BatchGetItem") {
		out = map[string]any{"Responses": map[string]any{}, "UnprocessedKeys": in.RequestItems}
	}
	body, err = json.Marshal(out)
	if err != nil {
		return nil, err
	}
	return respond(r, http.StatusOK, json10, body), nil
}
