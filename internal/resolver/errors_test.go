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

// secret must not reach a caller.
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
		{wrap(driver.ErrDamaged), resolver.Internal, "internal error"},
		{wrap(&driver.DamageError{Table: "commits", Key: secret, SequenceNr: 1, Cause: errors.New(secret)}), resolver.Internal, "internal error"},
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
			t.Errorf("%v: the caller receives %q", tt.err, got)
		}
		if got.Code != resolver.WaitTimeout && !errors.Is(got, tt.err) {
			t.Errorf("%v: the cause for the log is %v", tt.err, got.Cause)
		}
	}
	// An error about the caller's own input keeps its text.
	if got := resolver.Classify(driver.CheckID("entity", "")); got.Code != resolver.BadInput || !strings.Contains(got.Message, "entity id is empty") {
		t.Errorf("got %v", got)
	}
}

// A caller receives an error of the store as a code without its text, and never as an
// empty answer.
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
				{"Outcomes.Get", api.Query, "commandOutcome", ada, object{"commandId": "c", "target": "Shop.Job"}},
				{"EventLog.Read", api.Query, "shopPaperEvents", admin, object{"id": "p"}},
				{"QueryEngine.Scan", api.Query, "shopOpenPapers", nobody, object{"first": 0}},
				{"QueryEngine.Query", api.Query, "shopOpenPapersByTitle", nobody, object{"title": "t"}},
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
