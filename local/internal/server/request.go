package server

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/99designs/gqlgen/graphql"

	"github.com/reventless-go/reventless/internal/authz"
	"github.com/reventless-go/reventless/internal/resolver"
)

// request describes the HTTP request or WebSocket connection that carried an operation.
type request struct {
	caller      authz.Caller
	ip          string
	traceParent string
	commandID   string
	// streaming is true if the transport supports subscriptions; get is true if it
	// supports only queries.
	streaming, get bool
	// params is the decoded body of a POST.
	params *graphql.RawParams
	// subscriptions counts the open subscriptions, and running counts the queries and
	// mutations in progress. A WebSocket can have many of both at a time. limit is the
	// maximum of each count.
	subscriptions, running *atomic.Int64
	limit                  int64
	now                    func() time.Time
	// usage is what the request or connection uses of the server's capacity.
	usage *usage
}

type requestKey struct{}

func withRequest(ctx context.Context, r *request) context.Context {
	return context.WithValue(ctx, requestKey{}, r)
}

func requestOf(ctx context.Context) *request {
	r, _ := ctx.Value(requestKey{}).(*request)
	return r
}

// checkExpiry returns an error if the caller's token has expired.
func (r *request) checkExpiry() error {
	if r.caller.Expires.IsZero() || r.now().Before(r.caller.Expires) {
		return nil
	}
	return errExpired
}

var errExpired = &resolver.Error{Code: resolver.Unauthenticated, Message: "the token has expired"}

// beginSubscription counts a subscription of the connection until release.
func (r *request) beginSubscription(op *graphql.OperationContext) (release func(), err error) {
	return r.count(op, r.subscriptions, SubscriptionLimit, "a connection may have at most %d subscriptions")
}

// begin counts a query or mutation of the connection until release.
func (r *request) begin(op *graphql.OperationContext) (release func(), err error) {
	return r.count(op, r.running, OperationLimit, "a connection may run at most %d queries and mutations at a time")
}

func (r *request) count(op *graphql.OperationContext, n *atomic.Int64, code resolver.Code, message string) (release func(), err error) {
	if n.Add(1) > r.limit {
		n.Add(-1)
		return nil, &resolver.Error{Code: code, Message: fmt.Sprintf(message, r.limit)}
	}
	var size int64
	if r.params == nil { // what a POST needs counts since its body was decoded
		size = int64(len(op.RawQuery)) + sizeOfValue(op.Variables)
	}
	if !r.usage.grow(size) {
		n.Add(-1)
		return nil, errBusy
	}
	return sync.OnceFunc(func() {
		r.usage.shrink(size)
		n.Add(-1)
	}), nil
}

// panicError is a recovered panic.
type panicError struct{ value any }

func (p panicError) Error() string { return fmt.Sprintf("panic: %v", p.value) }

func panicked(v any) error { return panicError{v} }
