// Package resolver runs the operations of an App's API: it checks the caller, sends
// commands, reads rows and subscribes to changes. Hosts add the transport; the meaning
// of an operation and its access rule are the same for all of them.
package resolver

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"strings"
	"time"

	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/api"
	"github.com/reventless-go/reventless/internal/authz"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/internal/host"
	"github.com/reventless-go/reventless/internal/ids"
)

// Options bound the operations; zero fields are the defaults.
type Options struct {
	// DefaultPage is the size of a page when the query gives none; 0 is 20. MaxPage is
	// the limit; 0 is 100.
	DefaultPage, MaxPage int
	// MaxWait bounds waitFor; 0 is 5 seconds.
	MaxWait time.Duration
}

// Resolver runs operations. It is safe for concurrent use.
type Resolver struct {
	host *host.Host
	opts Options
	// definitions are the components by logical name.
	definitions map[string]*component.Definition
}

// New returns the resolver of the App that h runs.
func New(h *host.Host, opts Options) *Resolver {
	if opts.DefaultPage <= 0 {
		opts.DefaultPage = 20
	}
	if opts.MaxPage <= 0 {
		opts.MaxPage = 100
	}
	if opts.MaxWait <= 0 {
		opts.MaxWait = 5 * time.Second
	}
	r := &Resolver{host: h, opts: opts, definitions: map[string]*component.Definition{}}
	for name, d := range h.App().All {
		r.definitions[name] = d
	}
	return r
}

// Call is one call of an operation.
type Call struct {
	Operation *api.Operation
	// Args are the arguments of the call.
	Args map[string]any
	Who  authz.Caller
	// CommandID is the idempotency key of the request; empty when it has none.
	CommandID string
	// IP and TraceParent become part of a command's meta.
	IP, TraceParent string
}

func (c *Call) text(arg string) string {
	s, _ := c.Args[arg].(string)
	return s
}

// id returns an argument of type ID, which may be a number.
func (c *Call) id(arg string) string {
	switch v := c.Args[arg].(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case nil:
		return ""
	default:
		b, _ := json.Marshal(v) // a literal of GraphQL
		return strings.Trim(string(b), `"`)
	}
}

// Resolve runs a query or mutation. The value is the complete result of the operation,
// from which [api.Writer] selects fields. Every error is an *[Error].
func (r *Resolver) Resolve(ctx context.Context, c Call) (json.RawMessage, error) {
	value, err := r.resolve(ctx, &c)
	if err != nil {
		return nil, r.failed(err)
	}
	return value, nil
}

// failed reports damage that a read has found, and returns the error for the caller.
func (r *Resolver) failed(err error) *Error {
	r.host.ReportDamage(err)
	return Classify(err)
}

func (r *Resolver) resolve(ctx context.Context, c *Call) (json.RawMessage, error) {
	owner, err := r.allow(c)
	if err != nil {
		return nil, err
	}
	switch c.Operation.Action {
	case api.SendCommand:
		return r.send(ctx, c)
	case api.GetOutcome:
		return r.outcome(ctx, c)
	case api.ListEvents:
		return r.events(ctx, c)
	}
	if err := r.waitFor(ctx, c); err != nil {
		return nil, err
	}
	if c.Operation.Action == api.GetRow {
		return r.row(ctx, c, owner)
	}
	return r.page(ctx, c, owner)
}

// allow checks the access rule of an operation. It returns the fields of which one must
// be the caller's user id for a row to be visible; nil when every row is.
func (r *Resolver) allow(c *Call) (owner []string, err error) {
	switch c.Operation.Rule.Decide(c.Who) {
	case authz.Allow:
		return nil, nil
	case authz.AsOwner:
		if c.Operation.Action != api.SendCommand {
			return c.Operation.Rule.Owners(), nil
		}
		for _, field := range c.Operation.Rule.Owners() {
			for _, a := range c.Operation.Args {
				if a.JSON == field && a.Name != "commandId" && c.id(a.Name) == c.Who.User {
					return nil, nil
				}
			}
		}
	case authz.Unauthenticated:
		return nil, fail(Unauthenticated, "%s is for %s", c.Operation.Name, c.Operation.Rule)
	}
	return nil, fail(Forbidden, "%s is for %s", c.Operation.Name, c.Operation.Rule)
}

func (r *Resolver) send(ctx context.Context, c *Call) (json.RawMessage, error) {
	o := c.Operation
	data, err := o.Payload(c.Args)
	if err != nil {
		return nil, fail(BadInput, "%s: %v", o.Name, err)
	}
	id := c.id("commandId")
	switch {
	case c.Args["commandId"] != nil && id == "":
		return nil, fail(BadInput, "%s: commandId is empty", o.Name)
	case id == "":
		id = c.CommandID
	case c.CommandID != "" && c.CommandID != id:
		return nil, fail(BadInput, "%s: the argument commandId and the idempotency key of the request differ", o.Name)
	}
	// The ids of commands that automations, schedules and tasks send can be computed in
	// advance. If a caller could send a command with such an id, the command of the
	// application would be taken for a repetition and not be handled.
	if _, derived := ids.Time(id); derived {
		return nil, fail(BadInput, "%s: a commandId that is a UUID of version 8 is reserved for the application; please use another version", o.Name)
	}
	outcome, err := r.host.Send(ctx, driver.Command{
		Target: o.Component, Entity: c.id("id"), Type: o.Command, Version: o.Version, Data: data,
		Meta: driver.Meta{ID: id, User: c.Who.User, IP: c.IP, TraceParent: c.TraceParent},
	})
	if err != nil {
		return nil, err
	}
	if outcome.User != c.Who.User {
		return nil, fail(Forbidden, "%s: another user has sent a command with this commandId", o.Name)
	}
	return result(outcome)
}

// result encodes an outcome as a CommandResult.
func result(o driver.Outcome) (json.RawMessage, error) {
	switch o.Kind {
	case driver.Accepted:
		return json.Marshal(struct {
			Type       string `json:"__typename"`
			CommandID  string `json:"commandId"`
			EntityID   string `json:"entityId"`
			SequenceNr uint64 `json:"sequenceNr"`
			EventCount int    `json:"eventCount"`
			Position   string `json:"position"`
		}{"CommandAccepted", o.CommandID, o.EntityID, o.SequenceNr, o.EventCount, encodePosition(o.Target, o.EntityID, o.SequenceNr)})
	case driver.Rejected:
		return json.Marshal(struct {
			Type      string          `json:"__typename"`
			CommandID string          `json:"commandId"`
			Code      string          `json:"code"`
			Message   string          `json:"message"`
			Detail    json.RawMessage `json:"detail,omitempty"`
		}{"CommandRejected", o.CommandID, o.Code, o.Message, o.Detail})
	}
	kind := "CommandPending"
	if o.Kind == driver.Failed {
		kind = "CommandFailed" // its reason is for operators
	}
	return json.Marshal(struct {
		Type      string `json:"__typename"`
		CommandID string `json:"commandId"`
		Target    string `json:"target"`
	}{kind, o.CommandID, o.Target})
}

func (r *Resolver) outcome(ctx context.Context, c *Call) (json.RawMessage, error) {
	o, err := r.host.Outcome(ctx, c.text("target"), c.id("commandId"))
	if errors.Is(err, driver.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !r.mayKnow(c.Who, o) {
		return nil, nil
	}
	return result(o)
}

// mayKnow reports whether a caller may see an outcome. The sender of the command and
// administrators may; for all others it does not exist.
func (r *Resolver) mayKnow(who authz.Caller, o driver.Outcome) bool {
	if access.Roles(access.Admin).Decide(who) == authz.Allow {
		return true
	}
	if o.User != who.User {
		return false
	}
	// A command without a user may be one of the application.
	return who.User != "" || r.forAnyone(o.Target)
}

// forAnyone reports whether an aggregate has a command that anyone may send.
func (r *Resolver) forAnyone(aggregate string) bool {
	d := r.definitions[aggregate]
	if d == nil || d.Aggregate == nil {
		return false
	}
	for _, rule := range d.Aggregate.Access {
		if rule.Decide(authz.Caller{}) == authz.Allow {
			return true
		}
	}
	return false
}

// Subscribe runs a subscription until ctx ends. Its values are like those of
// [Resolver.Resolve]; an error, which is an *[Error], ends the sequence. Subscribe itself
// fails when the subscription cannot start, such as for a caller without access. Every
// change after it returns is published.
func (r *Resolver) Subscribe(ctx context.Context, c Call) (iter.Seq2[json.RawMessage, error], error) {
	values, err := r.subscribe(ctx, &c)
	if err != nil {
		return nil, r.failed(err)
	}
	return func(yield func(json.RawMessage, error) bool) {
		for v, err := range values {
			if err != nil {
				if ctx.Err() == nil {
					yield(nil, r.failed(err))
				}
				return
			}
			if !yield(v, nil) {
				return
			}
		}
	}, nil
}

func (r *Resolver) subscribe(ctx context.Context, c *Call) (iter.Seq2[json.RawMessage, error], error) {
	owner, err := r.allow(c)
	if err != nil {
		return nil, err
	}
	if c.Operation.Action == api.WatchOutcome {
		if err := driver.CheckID("command", c.id("commandId")); err != nil {
			return nil, err
		}
		return func(yield func(json.RawMessage, error) bool) {
			o, err := r.host.WaitOutcome(ctx, c.text("target"), c.id("commandId"))
			if err == nil && !r.mayKnow(c.Who, o) {
				<-ctx.Done() // as if the command did not exist
				return
			}
			var v json.RawMessage
			if err == nil {
				v, err = result(o)
			}
			yield(v, err)
		}, nil
	}
	topic, ok := r.host.StateTopic(c.Operation.Component)
	if !ok {
		return nil, fail(Internal, "no read model %s", c.Operation.Component)
	}
	changes, err := topic.Subscribe(ctx)
	if err != nil {
		return nil, err
	}
	id, one := "", c.Args["id"] != nil
	if one {
		id = c.id("id")
	}
	return func(yield func(json.RawMessage, error) bool) {
		for change, err := range changes {
			if err != nil {
				yield(nil, err)
				return
			}
			if one && change.ID != id || owner != nil && !owns(change.Row, owner, c.Who.User) {
				continue
			}
			v, err := showChange(change)
			if err != nil || !yield(v, nil) {
				if err != nil {
					yield(nil, err)
				}
				return
			}
		}
	}, nil
}

func showChange(c driver.StateChange) (json.RawMessage, error) {
	out := struct {
		Kind     string          `json:"kind"`
		ID       string          `json:"id"`
		SubID    string          `json:"subId"`
		Revision uint64          `json:"revision"`
		Row      json.RawMessage `json:"row,omitempty"`
	}{Kind: strings.ToUpper(string(c.Kind)), ID: c.ID, SubID: c.SubID, Revision: c.Revision}
	if c.Kind != driver.Removed {
		out.Row = withID(nil, c.ID, c.Row)
	}
	return json.Marshal(out)
}
