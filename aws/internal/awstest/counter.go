package awstest

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
)

// Counter counts the requests that pass through it by operation.
type Counter struct {
	next http.RoundTripper

	mu   sync.Mutex
	seen map[string]int
}

// NewCounter returns a counter in front of next; nil means the plain transport.
func NewCounter(next http.RoundTripper) *Counter {
	if next == nil {
		next = Transport()
	}
	return &Counter{next: next, seen: map[string]int{}}
}

// RoundTrip counts the request and forwards it.
func (c *Counter) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	c.seen[Operation(r)]++
	c.mu.Unlock()
	return c.next.RoundTrip(r)
}

// Of returns the number of requests of operations, which have the names of [Operation], or
// of all requests if there are no operations.
func (c *Counter) Of(operations ...string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for op, seen := range c.seen {
		if len(operations) == 0 || slices.Contains(operations, op) {
			n += seen
		}
	}
	return n
}

// All returns the requests by operation.
func (c *Counter) All() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.seen)
}

// Reset sets all counts to zero.
func (c *Counter) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.seen)
}

// Operation returns the service and operation of a request of the SDK, such as
// "DynamoDB.PutItem", "SQS.SendMessageBatch" and "Scheduler.CreateSchedule".
func Operation(r *http.Request) string {
	if operation, ok := r.Context().Value(asked{}).(string); ok {
		return operation
	}
	return service(r) + "." + awsmiddleware.GetOperationName(r.Context())
}

func service(r *http.Request) string {
	if operation, ok := r.Context().Value(asked{}).(string); ok {
		service, _, _ := strings.Cut(operation, ".")
		return service
	}
	return strings.ReplaceAll(awsmiddleware.GetServiceID(r.Context()), " ", "")
}
