package server

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/99designs/gqlgen/graphql"

	"github.com/reventless-go/reventless/internal/authz"
	"github.com/reventless-go/reventless/internal/resolver"
)

// request is what is known of the HTTP request, or WebSocket connection, that an
// operation came with.
type request struct {
	who         authz.Caller
	ip          string
	traceParent string
	commandID   string
	// streaming says that the transport can carry subscriptions, get that it may
	// carry queries only.
	streaming, get bool
	// params is the body of a POST.
	params *graphql.RawParams
	// subscriptions counts those that are open, running the queries and mutations
	// that are under way: a WebSocket can have any number at once. limit bounds both.
	subscriptions, running *atomic.Int64
	limit                  int64
	now                    func() time.Time
}

type requestKey struct{}

func withRequest(ctx context.Context, r *request) context.Context {
	return context.WithValue(ctx, requestKey{}, r)
}

func requestOf(ctx context.Context) *request {
	r, _ := ctx.Value(requestKey{}).(*request)
	return r
}

// stillValid reports whether the caller's identity has not ended.
func (r *request) stillValid() error {
	if r.who.Expires.IsZero() || r.now().Before(r.who.Expires) {
		return nil
	}
	return errExpired
}

var errExpired = &resolver.Error{Code: resolver.Unauthenticated, Message: "the token has expired"}

// hold counts a subscription of the connection until release.
func (r *request) hold() (release func(), err error) {
	if r.subscriptions.Add(1) > r.limit {
		r.subscriptions.Add(-1)
		return nil, &resolver.Error{Code: SubscriptionLimit, Message: fmt.Sprintf("a connection has %d subscriptions at most", r.limit)}
	}
	var done atomic.Bool
	return func() {
		if !done.Swap(true) {
			r.subscriptions.Add(-1)
		}
	}, nil
}

// begin counts a query or mutation of the connection until release.
func (r *request) begin() (release func(), err error) {
	if r.running.Add(1) > r.limit {
		r.running.Add(-1)
		return nil, &resolver.Error{Code: OperationLimit, Message: fmt.Sprintf("a connection has %d queries and mutations under way at most", r.limit)}
	}
	return func() { r.running.Add(-1) }, nil
}

// panicError is a panic on its way to the log.
type panicError struct{ value any }

func (p panicError) Error() string { return fmt.Sprintf("panic: %v", p.value) }

func panicked(v any) error { return panicError{v} }
