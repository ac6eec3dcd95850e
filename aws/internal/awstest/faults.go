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

// Fault is a failure of a request.
type Fault uint8

// The faults. In those that end in After, the request has its effect.
const (
	// Throttle answers with one of the throttling errors of the service.
	Throttle Fault = iota + 1
	// Internal answers with the internal error of the service, status 500.
	Internal
	// InternalAfter is Internal after the effect.
	InternalAfter
	// Reset resets the connection before the service receives the request.
	Reset
	// ResetAfter resets the connection during the answer.
	ResetAfter
	// Timeout is a timeout, without a wait, before the service receives the request.
	Timeout
	// TimeoutAfter is Timeout after the effect.
	TimeoutAfter
	// Unprocessed returns all items of BatchWriteItem or all keys of BatchGetItem as
	// unprocessed, with status 200. It does not affect other operations.
	Unprocessed
	// Part lets only some members of a batch have their effect. The other items of
	// BatchWriteItem are returned as unprocessed; the other messages of SendMessageBatch
	// fail with an internal error. It does not affect other operations.
	Part
)

func (f Fault) String() string {
	if f == 0 || int(f) > len(faultNames) {
		return fmt.Sprintf("Fault(%d)", uint8(f))
	}
	return faultNames[f-1]
}

var faultNames = [...]string{"Throttle", "Internal", "InternalAfter", "Reset", "ResetAfter", "Timeout", "TimeoutAfter", "Unprocessed", "Part"}

// Rule selects requests that fail.
type Rule struct {
	Fault Fault
	// Operations are the names of [Operation], or "SQS.*" for all operations of a service.
	// An empty list means all operations.
	Operations []string
	// Probability is the probability, 0 to 1, that a request fails.
	Probability float64
	// Contains selects the requests whose body contains it, such as those of a hot
	// partition. Empty selects all.
	Contains string
	// Most is how often the rule applies; 0 is without limit.
	Most int
	// Calls are the numbers of calls of an operation, from 1, that fail regardless of the
	// probability.
	Calls []int
}

// Faults makes requests fail. Whether the n-th request of an operation fails depends only
// on the seed, the rules and n, so that a run can be repeated.
type Faults struct {
	next  http.RoundTripper
	seed  uint64
	rules []Rule

	mu     sync.Mutex
	off    bool
	calls  map[string]int
	counts map[string]int
	hits   []int // by rule
}

// NewFaults returns faults in front of next; nil means the plain transport. The first rule
// that selects a request applies. A test should print its seed.
func NewFaults(next http.RoundTripper, seed uint64, rules ...Rule) *Faults {
	if next == nil {
		next = Transport()
	}
	return &Faults{next: next, seed: seed, rules: rules, calls: map[string]int{}, counts: map[string]int{}, hits: make([]int, len(rules))}
}

// Stop stops the injection of faults.
func (f *Faults) Stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.off = true
}

// Injected returns the number of injected faults by name.
func (f *Faults) Injected() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.counts)
}

type watched struct{}

// Watch returns a context for the requests of one call and a function that reports whether
// a request had its effect but lost its answer. A conflict of such a call may be with its
// own first request, which the SDK repeated.
func Watch(ctx context.Context) (context.Context, func() bool) {
	lost := new(atomic.Bool)
	return context.WithValue(ctx, watched{}, lost), lost.Load
}

// RoundTrip forwards the request or injects a fault.
func (f *Faults) RoundTrip(r *http.Request) (*http.Response, error) {
	text, err := f.peek(r)
	if err != nil {
		return nil, err
	}
	fault, random := f.draw(Operation(r), text)
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
	case Part:
		return f.part(r, random)
	}
	return f.next.RoundTrip(r)
}

// peek returns the body of a request if a rule needs it.
func (f *Faults) peek(r *http.Request) (string, error) {
	if r.Body == nil || !slices.ContainsFunc(f.rules, func(r Rule) bool { return r.Contains != "" }) {
		return "", nil
	}
	body, err := io.ReadAll(r.Body)
	drop(r)
	r.Body = io.NopCloser(bytes.NewReader(body))
	return string(body), err
}

// draw returns the fault of the next call of operation, 0 for none.
func (f *Faults) draw(operation, body string) (Fault, *rand.Rand) {
	h := fnv.New64a()
	_, _ = h.Write([]byte(operation)) // never fails
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[operation]++
	n := f.calls[operation]
	random := rand.New(rand.NewPCG(f.seed^h.Sum64(), uint64(n))) //nolint:gosec // tests have to be reproducible
	if f.off {
		return 0, random
	}
	for i, rule := range f.rules {
		hit := random.Float64() < rule.Probability || slices.Contains(rule.Calls, n)
		if !hit || !rule.covers(operation) || !strings.Contains(body, rule.Contains) || rule.Most > 0 && f.hits[i] == rule.Most {
			continue
		}
		f.hits[i]++
		f.counts[rule.Fault.String()]++
		return rule.Fault, random
	}
	return 0, random
}

func (r Rule) covers(operation string) bool {
	switch {
	case r.Fault == Unprocessed && operation != "DynamoDB.BatchWriteItem" && operation != "DynamoDB.BatchGetItem",
		r.Fault == Part && operation != "DynamoDB.BatchWriteItem" && operation != "SQS.SendMessageBatch":
		return false
	}
	service, _, _ := strings.Cut(operation, ".")
	return len(r.Operations) == 0 || slices.Contains(r.Operations, operation) || slices.Contains(r.Operations, service+".*")
}

// part forwards a random part of a batch, and adds the rest to the answer.
func (f *Faults) part(r *http.Request, random *rand.Rand) (*http.Response, error) {
	members, left := "RequestItems", "UnprocessedItems"
	if Operation(r) == "SQS.SendMessageBatch" {
		members, left = "Entries", "Failed"
	}
	body, err := io.ReadAll(r.Body)
	drop(r)
	in := map[string]any{}
	if err == nil {
		err = json.Unmarshal(body, &in)
	}
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	some, rest := split(in[members], random)
	if some != nil {
		in[members] = some
		if body, err = json.Marshal(in); err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		answer, err := f.next.RoundTrip(r)
		if err != nil || answer.StatusCode != http.StatusOK {
			return answer, err
		}
		err = json.NewDecoder(answer.Body).Decode(&out)
		if err = errors.Join(err, answer.Body.Close()); err != nil {
			return nil, err
		}
	}
	if rest != nil {
		out[left] = rest
	}
	if body, err = json.Marshal(out); err != nil {
		return nil, err
	}
	return respond(r, http.StatusOK, json10, body), nil
}

// split divides the members of a batch at random: a list of messages, or the items by
// table. A part without members is nil. The messages of rest have the form of an error.
func split(members any, random *rand.Rand) (some, rest any) {
	switch members := members.(type) {
	case []any:
		var a, b []any
		for _, m := range members {
			if random.IntN(2) == 0 {
				a = append(a, m)
			} else {
				b = append(b, map[string]any{"Id": m.(map[string]any)["Id"], "Code": "InternalError", "Message": "internal error", "SenderFault": false})
			}
		}
		if len(a) > 0 {
			some = a
		}
		if len(b) > 0 {
			rest = b
		}
	case map[string]any:
		a, b := map[string]any{}, map[string]any{}
		for _, table := range slices.Sorted(maps.Keys(members)) {
			for _, item := range members[table].([]any) {
				to := a
				if random.IntN(2) == 0 {
					to = b
				}
				list, _ := to[table].([]any)
				to[table] = append(list, item)
			}
		}
		if len(a) > 0 {
			some = a
		}
		if len(b) > 0 {
			rest = b
		}
	}
	return some, rest
}

// swallow forwards the request and discards the answer.
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

// drop closes the body of a request, as a transport does if it cannot send the request.
func drop(r *http.Request) {
	if r.Body != nil {
		_ = r.Body.Close() // it is not read
	}
}

// connectionReset returns the error of a transport, unwrapped: http.Client inspects the
// error itself.
func connectionReset() error {
	return &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
}

// timeout is the error of a transport's own timeout. Like the timeouts of net/http and of
// dialers, it is also a [context.DeadlineExceeded].
type timeout struct{}

func (timeout) Error() string        { return "net/http: timeout awaiting response headers" }
func (timeout) Timeout() bool        { return true }
func (timeout) Temporary() bool      { return true }
func (timeout) Is(target error) bool { return target == context.DeadlineExceeded }

// failure is an error response of a service.
type failure struct {
	status      int
	code        string // in the form of the service's protocol
	message     string
	contentType string
	body        string // format string for code and message
	headers     map[string]string
}

const (
	json10 = "application/x-amz-json-1.0"

	dynamoNS = "com.amazonaws.dynamodb.v20120810#"

	typedJSON = `{"__type":%q,"message":%q}`
	snsXML    = `<ErrorResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>00000000-0000-0000-0000-000000000000</RequestId></ErrorResponse>`
	s3XML     = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>%s</Message><RequestId>0000000000000000</RequestId><HostId>host</HostId></Error>`
)

// throttled has the throttling errors of each service.
var throttled = map[string][]failure{
	"DynamoDB": {
		{400, dynamoNS + "ProvisionedThroughputExceededException", "The level of configured provisioned throughput for the table was exceeded. Consider increasing your provisioning level with the UpdateTable API.", json10, typedJSON, nil},
		{400, "com.amazon.coral.availability#ThrottlingException", "Throughput exceeds the current capacity of your table or index.", json10, typedJSON, nil},
		{400, dynamoNS + "RequestLimitExceeded", "Throughput exceeds the current throughput limit for your account.", json10, typedJSON, nil},
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
}

// broken has the internal errors of each service.
var broken = map[string][]failure{
	"DynamoDB":  {{500, dynamoNS + "InternalServerError", "The request processing has failed because of an unknown error, exception or failure.", json10, typedJSON, nil}},
	"SQS":       {{500, "com.amazonaws.sqs#InternalError", "We encountered an internal error. Please try again.", json10, typedJSON, map[string]string{"x-amzn-query-error": "InternalError;Receiver"}}},
	"SNS":       {{500, "InternalError", "We encountered an internal error. Please try again.", "text/xml", strings.Replace(snsXML, "Sender", "Receiver", 1), nil}},
	"S3":        {{500, "InternalError", "We encountered an internal error. Please try again.", "application/xml", s3XML, nil}},
	"Scheduler": {{500, "InternalServerException", "Unexpected error encountered while processing the request.", "application/json", `{"Code":%q,"Message":%q}`, map[string]string{"X-Amzn-ErrorType": "InternalServerException"}}},
}

func variant(of map[string][]failure, service string, random *rand.Rand) failure {
	vs, ok := of[service]
	if !ok {
		panic("awstest: no errors for " + service)
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
		h.Set("X-Amz-Crc32", strconv.FormatUint(uint64(crc32.ChecksumIEEE(body)), 10)) // the SDK checks it
	}
	return &http.Response{
		Status: strconv.Itoa(status) + " " + http.StatusText(status), StatusCode: status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: r,
	}
}

// unprocessed answers a batch as DynamoDB does without capacity for any item.
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
