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

// Request is what the function with the role "api" is invoked with, as JSON. Who
// may invoke it may do everything: a caller in between says who its user is.
type Request struct {
	// Operation is what to do:
	//
	//	"call"     an operation of the App's API, as Identity: Field with Arguments
	//	"send"     Command; without an id it is given one
	//	"parked"   list up to 100 dead letters, of Component if it is given, behind the id After
	//	"redrive"  handle the dead letter ID again
	//	"discard"  give the dead letter ID up
	//	"catchUp"  apply to Component what it has missed: of Stream, an entity of Log,
	//	           or, without Stream, of Segment of Segments of all that it reads
	//	"clear"    remove the rows of the read model Component, which is filled again
	//	           by catching up with all segments
	Operation string `json:"operation"`

	// Field is "Query.name" or "Mutation.name".
	Field     string          `json:"field,omitempty"`
	Arguments json.RawMessage `json:"arguments,omitempty"`
	Identity  Identity        `json:"identity,omitzero"`
	// IdempotencyKey is the id of the command of a mutation whose arguments have
	// none.
	IdempotencyKey string `json:"idempotencyKey,omitempty"`
	// IP is the user's address, TraceParent the trace that the request is part of.
	IP          string `json:"ip,omitempty"`
	TraceParent string `json:"traceparent,omitempty"`

	Command *driver.Command `json:"command,omitempty"`

	Component string `json:"component,omitempty"`
	After     string `json:"after,omitempty"`
	ID        string `json:"id,omitempty"`
	Log       string `json:"log,omitempty"`
	Stream    string `json:"stream,omitempty"`
	// Segment is 0 to Segments-1; no Segments are 1. A segment has to be done within
	// the function's time: what was done of one that was not stays done.
	Segment  int `json:"segment,omitempty"`
	Segments int `json:"segments,omitempty"`
}

// Identity is who a caller of the API is; the zero Identity is nobody known.
type Identity struct {
	User  string   `json:"user,omitempty"`
	Roles []string `json:"roles,omitempty"`
}

// Response is the answer: exactly one member is there.
type Response struct {
	// Data is the value of a call, in the shape of the operation's type.
	Data json.RawMessage `json:"data,omitempty"`
	// Outcome is that of a command.
	Outcome *driver.Outcome `json:"outcome,omitempty"`
	// Letters are dead letters, ascending by id, without their bodies; the next
	// page is behind the id of the last.
	Letters []Letter `json:"letters,omitempty"`
	// Done is true when a letter was redriven or discarded, when all was caught up
	// with, or a read model cleared.
	Done bool `json:"done,omitempty"`
	// Error is why there is nothing else.
	Error *Failure `json:"error,omitempty"`
}

// Failure is an error with its code: those of the API, such as "FORBIDDEN" and
// "BAD_USER_INPUT".
type Failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Letter is a dead letter.
type Letter struct {
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

// manyLetters is how many letters are listed at once.
const manyLetters = 100

// direct handles a direct invocation. Only what the caller cannot be told is an
// error of the function.
func (h *handler) direct(ctx context.Context, payload []byte) ([]byte, error) {
	var r Request
	response := &Response{}
	d := json.NewDecoder(bytes.NewReader(payload))
	d.DisallowUnknownFields() // a misspelt member must not be taken for one that was left out
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
	return json.Marshal(response)
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
		letters, err = h.host.DeadLetters().List(ctx, r.Component, r.After, manyLetters)
		to.Letters = make([]Letter, len(letters))
		for i, l := range letters {
			to.Letters[i] = Letter{l.ID, l.Component, string(l.Kind), l.Log, l.Stream, l.SequenceNr, l.Reason, l.Attempts, l.ParkedAt.UTC().Format("2006-01-02T15:04:05.999Z07:00")}
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
		return badInput("there is no operation %q; there are call, send, parked, redrive, discard, catchUp and clear", r.Operation)
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
			return nil, badInput("the arguments of %s are no JSON object", op.Name)
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

// failure is what the caller is told. The cause of what is internal is in the log
// only, with the request's id.
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
		h.log.Error("a request failed", "request", requestID(ctx), "code", string(own.Code), "error", clip(err.Error()))
	}
	return &Failure{string(own.Code), own.Message}
}
