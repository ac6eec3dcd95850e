package resolver_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/api"
	"github.com/reventless-go/reventless/internal/authz"
	"github.com/reventless-go/reventless/internal/faults"
	"github.com/reventless-go/reventless/internal/host"
	"github.com/reventless-go/reventless/internal/resolver"
)

// secret is what no caller is to read.
const secret = "arn:secret:table/customers"

func TestErrorsAreClassified(t *testing.T) {
	t.Parallel()
	wrap := func(class error) error {
		return fmt.Errorf("aggregate Shop.Paper: append: %w: %w", class, errors.New(secret))
	}
	for _, tt := range []struct {
		err  error
		code resolver.Code
		says string
	}{
		{wrap(driver.ErrThrottled), resolver.Unavailable, "try again"},
		{wrap(driver.ErrUnavailable), resolver.Unavailable, "try again"},
		{wrap(driver.ErrConflict), resolver.Unavailable, "try again"},
		{wrap(&driver.ConflictError{Winner: driver.Commit{Stream: secret}}), resolver.Unavailable, "try again"},
		{wrap(context.Canceled), resolver.Unavailable, "try again"},
		{wrap(context.DeadlineExceeded), resolver.Timeout, "commandId"},
		{wrap(driver.ErrTooLarge), resolver.TooLarge, "limit"},
		{wrap(&driver.TooLargeError{What: "command", Size: 11, Limit: 10}), resolver.TooLarge, "the command has 11 bytes, the limit is 10"},
		{wrap(host.ErrBlocked), resolver.ProjectionStopped, "parked"},
		{wrap(driver.ErrNotFound), resolver.Internal, "internal error"},
		{wrap(driver.ErrExists), resolver.Internal, "internal error"},
		{wrap(driver.ErrUnsupported), resolver.Internal, "internal error"},
		{errors.New(secret), resolver.Internal, "internal error"},
		{&driver.BatchError{Failed: map[string]error{secret: driver.ErrThrottled}}, resolver.Unavailable, "try again"},
		{wrap(&resolver.Error{Code: resolver.WaitTimeout, Message: "later", Cause: context.DeadlineExceeded}), resolver.WaitTimeout, "later"},
	} {
		got := resolver.Classify(tt.err)
		if got.Code != tt.code || !strings.Contains(got.Message, tt.says) {
			t.Errorf("%v: got %v, want %s, %q", tt.err, got, tt.code, tt.says)
		}
		if strings.Contains(got.Error(), secret) {
			t.Errorf("%v: callers read %q", tt.err, got)
		}
		if got.Code != resolver.WaitTimeout && !errors.Is(got, tt.err) {
			t.Errorf("%v: the log does not get the cause: %v", tt.err, got.Cause)
		}
	}
	// What is wrong with the caller's own input is said.
	if got := resolver.Classify(driver.CheckID("entity", "")); got.Code != resolver.BadInput || !strings.Contains(got.Message, "entity id is empty") {
		t.Errorf("got %v", got)
	}
}

// Whatever the store fails with comes to the caller as a code and not as a text,
// and never as an empty answer.
func TestErrorsOfTheStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, resolver.Options{})
		at := r.send("shopPaperWrite", ada, object{"id": "p", "owner": "ada", "title": "t", "size": 1})["position"]
		r.wake()
		for _, class := range []struct {
			err  error
			code resolver.Code
		}{{errors.New(secret), resolver.Internal}, {fmt.Errorf("%s: %w", secret, driver.ErrUnsupported), resolver.Internal}} {
			for _, tt := range []struct {
				op   string
				kind api.OperationKind
				name string
				who  authz.Caller
				args object
			}{
				{"EventLog.Append", api.Mutation, "shopPaperLose", ada, object{"id": "p"}},
				{"EventLog.Load", api.Mutation, "shopPaperLose", ada, object{"id": "fresh"}},
				{"CommandTopic.Send", api.Mutation, "shopJobLose", ada, object{"id": "p"}},
				{"Outcomes.Put", api.Mutation, "shopJobLose", ada, object{"id": "p"}},
				{"Outcomes.Get", api.Query, "commandOutcome", ada, object{"commandId": "c"}},
				{"EventLog.Read", api.Query, "shopPaperEvents", admin, object{"id": "p"}},
				{"QueryDb.LoadRow", api.Query, "shopPaper", ada, object{"id": "p"}},
				{"QueryDb.Watermark", api.Query, "shopPaper", ada, object{"id": "p", "waitFor": []any{at}}},
			} {
				in := r.faults.Inject(faults.Rule{Op: tt.op, Times: -1, Err: class.err})
				_, err := r.Resolve(t.Context(), r.call(tt.kind, tt.name, tt.who, tt.args))
				in.Stop()
				if got := r.code(err); got != class.code || strings.Contains(fmt.Sprint(err), secret) {
					t.Errorf("%s: got %v, want %s", tt.op, err, class.code)
				}
				if in.Hits() == 0 {
					t.Errorf("%s was not called", tt.op)
				}
			}
		}
		_, err := r.Resolve(t.Context(), r.call(api.Mutation, "shopPaperLose", ada, object{"id": "p"}))
		wantEqual(t, "afterwards", r.code(err), "")
	})
}

// brokenEngine is a query engine that fails.
type brokenEngine struct{ err error }

func (e brokenEngine) Query(context.Context, driver.Query) (driver.Page, error) {
	return driver.Page{}, e.err
}

func (e brokenEngine) Scan(context.Context, driver.Scan) (driver.Page, error) {
	return driver.Page{}, e.err
}

// brokenQueries is a provider whose queries fail.
type brokenQueries struct {
	driver.Provider
	engine brokenEngine
}

func (p brokenQueries) OpenQueryEngine(context.Context, []driver.TableSpec) (driver.QueryEngine, error) {
	return p.engine, nil
}

func TestErrorsOfQueries(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		code resolver.Code
	}{{errors.New(secret), resolver.Internal}, {fmt.Errorf("%s: %w", secret, driver.ErrThrottled), resolver.Unavailable}} {
		r := startOn(t, resolver.Options{}, func(p driver.Provider) driver.Provider { return brokenQueries{p, brokenEngine{tt.err}} })
		for name, args := range map[string]object{"shopOpenPapers": nil, "shopOpenPapersByTitle": {"title": "t"}} {
			for _, more := range []object{{}, {"after": "x"}, {"first": 0}} {
				_, err := r.Resolve(t.Context(), r.call(api.Query, name, nobody, with(args, flat(more)...)))
				if got := r.code(err); got != tt.code || strings.Contains(fmt.Sprint(err), secret) {
					t.Errorf("%s %v: got %v, want %s", name, more, err, tt.code)
				}
			}
		}
	}
}

func TestCallsThatAreOver(t *testing.T) {
	t.Parallel()
	r := start(t, resolver.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []resolver.Call{
		r.call(api.Query, "shopOpenPaper", nobody, object{"id": "p"}), r.call(api.Query, "shopOpenPapers", nobody, nil),
		r.call(api.Query, "shopPaperEvents", admin, object{"id": "p"}),
	} {
		_, err := r.Resolve(ctx, c)
		wantEqual(t, c.Operation.Name, r.code(err), resolver.Unavailable)
	}
}
