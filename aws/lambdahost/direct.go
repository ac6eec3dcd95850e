package lambdahost

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/api"
	"github.com/reventless-go/reventless/internal/authz"
	"github.com/reventless-go/reventless/internal/resolver"
)

// Request is the JSON payload for the function with the role "api". Whoever may invoke the
// function may do everything: the invoker names the user, and the function trusts it.
type Request struct {
	// Operation is one of:
	//
	//	"call"     call the API operation Field with Arguments as Identity
	//	"send"     send Command; a command without an id gets one
	//	"parked"   list up to 100 dead letters after the id After, of Component if set
	//	"redrive"  redrive the dead letter ID
	//	"discard"  discard the dead letter ID
	//	"catchUp"  make Component catch up with the entity Stream of Log, or, if Stream is
	//	           empty, with segment Segment of Segments of all logs that it reads
	//	"clear"    remove the rows of the read model Component; catching up with all
	//	           segments then rebuilds it
	Operation string `json:"operation"`

	// Field is "Query.name" or "Mutation.name".
	Field     string          `json:"field,omitempty"`
	Arguments json.RawMessage `json:"arguments,omitempty"`
	Identity  Identity        `json:"identity,omitzero"`
	// IdempotencyKey is the command id of a mutation whose arguments have no id.
	IdempotencyKey string `json:"idempotencyKey,omitempty"`
	// IP is the address of the user, TraceParent the trace of the request.
	IP          string `json:"ip,omitempty"`
	TraceParent string `json:"traceparent,omitempty"`

	Command *driver.Command `json:"command,omitempty"`

	Component string `json:"component,omitempty"`
	After     string `json:"after,omitempty"`
	ID        string `json:"id,omitempty"`
	Log       string `json:"log,omitempty"`
	Stream    string `json:"stream,omitempty"`
	// Segment is 0 to Segments-1; 0 Segments means 1. A segment has to end within the
	// timeout of the function. A repetition of an incomplete segment is safe.
	Segment  int `json:"segment,omitempty"`
	Segments int `json:"segments,omitempty"`
}

// Identity is the identity of the caller; the zero Identity is not authenticated.
type Identity struct {
	User  string   `json:"user,omitempty"`
	Roles []string `json:"roles,omitempty"`
}

// Response is the answer. Exactly one member is set.
type Response struct {
	// Data is the result of a call, in the form of the type of the operation.
	Data json.RawMessage `json:"data,omitempty"`
	// Outcome is the outcome of a command.
	Outcome *driver.Outcome `json:"outcome,omitempty"`
	// DeadLetters are ascending by id and have no bodies. The next page starts after the
	// last id.
	DeadLetters []DeadLetter `json:"deadLetters,omitempty"`
	// Done is true after a successful redrive, discard, catchUp or clear.
	Done bool `json:"done,omitempty"`
	// Error is the error of the operation.
	Error *Failure `json:"error,omitempty"`
}

// Failure is an error with a code of the API, such as "FORBIDDEN" or "BAD_USER_INPUT".
type Failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// DeadLetter is a dead letter.
type DeadLetter struct {
	ID         string `json:"id"`
	Component  string `json:"component"`
	Kind       string `json:"kind"`
	Log        string `json:"log,omitempty"`
	Stream     string `json:"stream,omitempty"`
	SequenceNr uint64 `json:"sequenceNr,omitempty"`
	Reason     string `json:"reason"`
	Attempts   int    `json:"attempts"`
	ParkedAt   string `json:"parkedAt"`
}

// maxListed is the maximum number of listed dead letters.
const maxListed = 100

// direct handles a direct invocation. Errors are part of the response.
func (h *handler) direct(ctx context.Context, payload []byte) ([]byte, error) {
	var r Request
	response := &Response{}
	d := json.NewDecoder(bytes.NewReader(payload))
	d.DisallowUnknownFields() // a misspelt member must not be ignored
	err := d.Decode(&r)
	if err != nil {
		err = &resolver.Error{Code: resolver.BadInput, Message: "the request: " + err.Error()}
	} else {
		if r.TraceParent == "" {
			r.TraceParent = traceParent(ctx)
		}
		err = h.do(ctx, r, response)
	}
	if err != nil {
		response = &Response{Error: h.failure(ctx, err)}
	}
	return bounded(response)
}

// maxResponse is the maximum size of a response, in bytes. Lambda ends the process of a
// function that returns more.
// https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
const maxResponse = 6 << 20

// bounded encodes a response. One that is too large is replaced by an error.
func bounded(r *Response) ([]byte, error) {
	text, err := json.Marshal(r)
	if len(text) <= maxResponse {
		return text, err
	}
	return json.Marshal(&Response{Error: &Failure{
		Code:    string(resolver.PageTooLarge),
		Message: fmt.Sprintf("the result has %d bytes, the limit is %d: request fewer rows or fields", len(text), maxResponse),
	}})
}

func (h *handler) do(ctx context.Context, r Request, to *Response) (err error) {
	switch r.Operation {
	case "call":
		to.Data, err = h.call(ctx, r)
	case "send":
		if r.Command == nil {
			return badInput("send has no command")
		}
		c := *r.Command
		if c.Meta.TraceParent == "" {
			c.Meta.TraceParent = r.TraceParent
		}
		var o driver.Outcome
		if o, err = h.host.Send(ctx, c); err == nil {
			to.Outcome = &o
		}
	case "parked":
		var letters []driver.DeadLetter
		letters, err = h.host.DeadLetters().List(ctx, r.Component, r.After, maxListed)
		to.DeadLetters = make([]DeadLetter, len(letters))
		for i, l := range letters {
			to.DeadLetters[i] = DeadLetter{l.ID, l.Component, string(l.Kind), l.Log, l.Stream, l.SequenceNr, l.Reason, l.Attempts, l.ParkedAt.UTC().Format("2006-01-02T15:04:05.999Z07:00")}
		}
	case "redrive":
		err = h.host.Redrive(ctx, r.ID)
		to.Done = err == nil
	case "discard":
		err = h.host.Discard(ctx, r.ID)
		to.Done = err == nil
	case "catchUp":
		if r.Stream != "" {
			err = h.host.CatchUp(ctx, r.Component, r.Log, r.Stream)
		} else {
			err = h.host.Replay(ctx, r.Component, r.Segment, max(r.Segments, 1), nil)
		}
		to.Done = err == nil
	case "clear":
		err = h.host.Clear(ctx, r.Component)
		to.Done = err == nil
	default:
		return badInput("the operation %q is not one of call, send, parked, redrive, discard, catchUp and clear", r.Operation)
	}
	return err
}

func badInput(format string, args ...any) error {
	return &resolver.Error{Code: resolver.BadInput, Message: fmt.Sprintf(format, args...)}
}

// call runs an operation of the API.
func (h *handler) call(ctx context.Context, r Request) (json.RawMessage, error) {
	kind, name, _ := strings.Cut(r.Field, ".")
	op := h.app.API().Operation(api.OperationKind(kind), name)
	if op == nil || op.Kind == api.Subscription {
		return nil, badInput("the API has no field %q that can be called", clip(r.Field))
	}
	args := map[string]any{}
	if len(r.Arguments) > 0 {
		d := json.NewDecoder(bytes.NewReader(r.Arguments))
		d.UseNumber()
		if err := d.Decode(&args); err != nil {
			return nil, badInput("the arguments of %s are not a JSON object", op.Name)
		}
	}
	for name := range args {
		if op.Arg(name) == nil {
			return nil, badInput("%s has no argument %q", op.Name, clip(name))
		}
	}
	value, err := h.resolver.Resolve(ctx, resolver.Call{
		Operation: op, Args: args, Who: authz.Caller{User: r.Identity.User, Roles: r.Identity.Roles},
		CommandID: r.IdempotencyKey, IP: r.IP, TraceParent: r.TraceParent,
	})
	if err != nil {
		return nil, err
	}
	var w api.Writer
	w.Value(op.Result, value, nil)
	if len(w.Errors) > 0 {
		return nil, fmt.Errorf("%s: %w", op.Name, w.Errors[0].Err)
	}
	return w.Bytes(), nil
}

// failure returns the error for the caller. It logs the cause of an internal error with the
// id of the request, and does not return it.
func (h *handler) failure(ctx context.Context, err error) *Failure {
	var own *resolver.Error
	switch {
	case errors.As(err, &own):
	case errors.Is(err, driver.ErrNotFound):
		return &Failure{"NOT_FOUND", clip(err.Error())}
	case errors.Is(err, driver.ErrInvalid), errors.Is(err, driver.ErrUnsupported):
		return &Failure{string(resolver.BadInput), clip(err.Error())}
	default:
		own = resolver.Classify(err)
	}
	if own.Code == resolver.Internal || own.Code == resolver.Unavailable {
		if own.Cause != nil {
			err = own.Cause
		}
		h.log.Error("the request failed", "request", requestID(ctx), "code", string(own.Code), "error", clip(err.Error()))
	}
	return &Failure{string(own.Code), own.Message}
}
