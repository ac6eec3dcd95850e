package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/reventless-go/reventless/internal/api"
	"github.com/reventless-go/reventless/internal/resolver"
)

// executor runs operations of an API, which is data, on gqlgen's runtime, which
// is made for generated code: it stands where that would be.
type executor struct {
	schema *ast.Schema
	// operations are those of the API by kind and name.
	operations map[api.OperationKind]map[string]*api.Operation
	run        *resolver.Resolver
	report     func(ctx context.Context, err error) string // logs an internal error and returns its id
	// timeout bounds a query or mutation.
	timeout time.Duration
	now     func() time.Time
	// observe is told of every query and mutation that was run.
	observe func(ctx context.Context, o *api.Operation, user string, took time.Duration, err error)
}

var _ graphql.ExecutableSchema = (*executor)(nil)

func newExecutor(schema *api.Schema, run *resolver.Resolver) (*executor, error) {
	parsed, err := gqlparser.LoadSchema(&ast.Source{Name: "schema.graphql", Input: schema.SDL()})
	if err != nil {
		return nil, fmt.Errorf("the schema of %s: %w", schema.App, err)
	}
	operations := map[api.OperationKind]map[string]*api.Operation{api.Query: {}, api.Mutation: {}, api.Subscription: {}}
	for _, o := range schema.Operations {
		operations[o.Kind][o.Name] = o
	}
	return &executor{schema: parsed, operations: operations, run: run}, nil
}

// Schema implements [graphql.ExecutableSchema].
func (e *executor) Schema() *ast.Schema { return e.schema }

// Complexity implements [graphql.ExecutableSchema]; package server has bounds of
// its own.
func (e *executor) Complexity(context.Context, string, string, int, map[string]any) (int, bool) {
	return 0, false
}

// Exec implements [graphql.ExecutableSchema].
func (e *executor) Exec(ctx context.Context) graphql.ResponseHandler {
	op := graphql.GetOperationContext(ctx)
	op.Variables, _ = plain(op.Variables).(map[string]any)
	if op.Operation.Operation == ast.Subscription {
		return e.subscribe(ctx, op)
	}
	first := true
	return func(ctx context.Context) *graphql.Response {
		if !first {
			return nil
		}
		first = false
		release, err := requestOf(ctx).begin()
		if err != nil {
			return &graphql.Response{Errors: gqlerror.List{e.present(ctx, nil, err)}}
		}
		defer release()
		ctx, cancel := context.WithTimeout(ctx, e.timeout)
		defer cancel()
		return &graphql.Response{Data: e.root(ctx, op)}
	}
}

// plain returns a variable's value with all lists as those of JSON: the runtime
// makes a []string of a single string where a list is expected.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, member := range v {
			out[name] = plain(member)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = plain(e)
		}
		return out
	}
	list := reflect.ValueOf(v)
	if list.Kind() != reflect.Slice {
		return v
	}
	out := make([]any, list.Len())
	for i := range out {
		out[i] = plain(list.Index(i).Interface())
	}
	return out
}

// root answers a query or mutation: the fields of a mutation one after the other,
// those of a query together.
func (e *executor) root(ctx context.Context, op *graphql.OperationContext) json.RawMessage {
	kind := api.Query
	if op.Operation.Operation == ast.Mutation {
		kind = api.Mutation
	}
	fields := graphql.CollectFields(op, op.Operation.SelectionSet, []string{string(kind)})
	answers := make([]answer, len(fields))
	if kind == api.Query && len(fields) > 1 {
		var wg sync.WaitGroup
		for i, f := range fields {
			wg.Go(func() { answers[i] = e.field(ctx, op, kind, f) })
		}
		wg.Wait()
	} else {
		for i, f := range fields {
			answers[i] = e.field(ctx, op, kind, f)
		}
	}
	out := []byte{'{'}
	ok := true
	for i, f := range fields {
		for _, err := range answers[i].errors {
			graphql.AddError(ctx, err)
		}
		ok = ok && answers[i].ok
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, '"')
		out = append(out, f.Alias...)
		out = append(append(out, '"', ':'), answers[i].data...)
	}
	if !ok {
		return json.RawMessage("null")
	}
	return append(out, '}')
}

// answer is what one field of a root type came to; not ok means that it would
// have to be null and cannot.
type answer struct {
	data   []byte
	errors gqlerror.List
	ok     bool
}

func (e *executor) field(ctx context.Context, op *graphql.OperationContext, kind api.OperationKind, f graphql.CollectedField) (a answer) {
	defer func() {
		if r := recover(); r != nil {
			a = e.failed(ctx, f, api.Ref{NonNull: !strings.HasPrefix(f.Name, "__") && f.Definition.Type.NonNull}, panicked(r))
		}
	}()
	switch f.Name {
	case "__typename":
		return answer{data: fmt.Appendf(nil, "%q", string(kind)), ok: true}
	case "__schema", "__type":
		return answer{data: e.introspect(op, f), ok: true}
	}
	o := e.operations[kind][f.Name]
	call, err := callOf(ctx, op, o, f)
	if err != nil {
		return e.failed(ctx, f, o.Result, err)
	}
	began := e.now()
	value, err := e.run.Resolve(ctx, call)
	e.observe(ctx, o, call.Who.User, e.now().Sub(began), err)
	if err != nil {
		return e.failed(ctx, f, o.Result, err)
	}
	return e.write(ctx, op, o, f, value)
}

// write shows a value as the caller asked for it.
func (e *executor) write(ctx context.Context, op *graphql.OperationContext, o *api.Operation, f graphql.CollectedField, value json.RawMessage) answer {
	var w api.Writer
	a := answer{ok: w.Value(o.Result, value, selection(op, f.Selections), f.Alias), data: w.Bytes()}
	if !a.ok {
		a.data = []byte("null")
	}
	for _, x := range w.Errors {
		a.errors = append(a.errors, e.present(ctx, pathOf(x.Path), x.Err))
	}
	return a
}

func (e *executor) failed(ctx context.Context, f graphql.CollectedField, result api.Ref, err error) answer {
	return answer{data: []byte("null"), ok: !result.NonNull, errors: gqlerror.List{e.present(ctx, ast.Path{ast.PathName(f.Alias)}, err)}}
}

func pathOf(path []any) ast.Path {
	out := make(ast.Path, len(path))
	for i, p := range path {
		switch p := p.(type) {
		case int:
			out[i] = ast.PathIndex(p)
		case string:
			out[i] = ast.PathName(p)
		}
	}
	return out
}

// callOf makes the call of an operation from the request that ctx belongs to.
func callOf(ctx context.Context, op *graphql.OperationContext, o *api.Operation, f graphql.CollectedField) (resolver.Call, error) {
	r := requestOf(ctx)
	if err := r.stillValid(); err != nil {
		return resolver.Call{}, err
	}
	call := resolver.Call{Operation: o, Args: f.ArgumentMap(op.Variables), Who: r.who, IP: r.ip, TraceParent: r.traceParent, CommandID: r.commandID}
	if call.CommandID != "" && o.Kind == api.Mutation && commands(op) > 1 {
		return resolver.Call{}, &resolver.Error{Code: resolver.BadInput, Message: "the header Idempotency-Key is for a request with one mutation; with several, give each a commandId"}
	}
	return call, nil
}

// commands returns how many commands a mutation sends.
func commands(op *graphql.OperationContext) int {
	n := 0
	for _, f := range graphql.CollectFields(op, op.Operation.SelectionSet, []string{string(api.Mutation)}) {
		if !strings.HasPrefix(f.Name, "__") {
			n++
		}
	}
	return n
}

// selection turns the selections of a document into those of package api. What is
// collected for a type is kept: a page asks for it again for every row.
func selection(op *graphql.OperationContext, set ast.SelectionSet) api.Selection {
	var last *api.Type
	var fields []api.Selected
	return func(t *api.Type) []api.Selected {
		if t == last {
			return fields
		}
		collected := graphql.CollectFields(op, set, satisfied(op, t))
		fields = make([]api.Selected, 0, len(collected))
		for _, f := range collected {
			field := api.Selected{Key: f.Alias}
			if f.Name != "__typename" {
				field.Field = t.Field(f.Name)
				if len(f.Selections) > 0 {
					field.Sub = selection(op, f.Selections)
				}
			} else if slices.ContainsFunc(fields, func(s api.Selected) bool { return s.Key == f.Alias }) {
				continue // the one of a union and that of its member are not collected as one
			}
			fields = append(fields, field)
		}
		last = t
		return fields
	}
}

// satisfied returns the names of the types that a fragment on them is for t: its
// own, and those of the unions that it belongs to.
func satisfied(_ *graphql.OperationContext, t *api.Type) []string {
	return append([]string{t.Name}, t.Unions()...)
}

// subscribe answers a subscription, which has one field.
func (e *executor) subscribe(ctx context.Context, op *graphql.OperationContext) graphql.ResponseHandler {
	fields := graphql.CollectFields(op, op.Operation.SelectionSet, []string{string(api.Subscription)})
	r := requestOf(ctx)
	refuse := func(err error) graphql.ResponseHandler {
		graphql.AddError(ctx, e.present(ctx, nil, err))
		return nil
	}
	if len(fields) != 1 || strings.HasPrefix(fields[0].Name, "__") {
		return refuse(&resolver.Error{Code: resolver.BadInput, Message: "a subscription has one field"})
	}
	f := fields[0]
	o := e.operations[api.Subscription][f.Name]
	if !r.streaming {
		return refuse(&resolver.Error{Code: resolver.BadInput, Message: "a subscription needs a WebSocket (graphql-transport-ws) or server-sent events (Accept: text/event-stream)"})
	}
	release, err := r.hold()
	if err != nil {
		return refuse(err)
	}
	call, err := callOf(ctx, op, o, f)
	if err != nil {
		release()
		return refuse(err)
	}
	parent, cancel := ctx, func() {}
	if !r.who.Expires.IsZero() {
		ctx, cancel = context.WithDeadline(ctx, r.who.Expires)
	}
	values, err := e.run.Subscribe(ctx, call)
	if err != nil {
		cancel()
		release()
		return refuse(err)
	}
	// A transport that is told to end may not ask for another response, so what
	// is held is let go of here, when ctx ends.
	responses := make(chan *graphql.Response)
	go func() {
		defer close(responses)
		defer release()
		defer cancel()
		e.pump(parent, ctx, op, o, f, values, responses)
	}()
	return func(rctx context.Context) *graphql.Response {
		select {
		case response := <-responses:
			return response
		case <-rctx.Done():
			return nil
		}
	}
}

// pump sends the values of a subscription until they end, or ctx, which ends with
// the token: that is the last thing that is told, to a reader that goes on until
// parent ends.
func (e *executor) pump(parent, ctx context.Context, op *graphql.OperationContext, o *api.Operation, f graphql.CollectedField, values iter.Seq2[json.RawMessage, error], to chan<- *graphql.Response) {
	path := ast.Path{ast.PathName(f.Alias)}
	send := func(response *graphql.Response) bool {
		select {
		case to <- response:
			return true
		case <-parent.Done():
			return false
		}
	}
	defer func() {
		if p := recover(); p != nil {
			send(&graphql.Response{Errors: gqlerror.List{e.present(ctx, path, panicked(p))}})
		}
	}()
	for value, err := range values {
		if err != nil {
			send(&graphql.Response{Errors: gqlerror.List{e.present(ctx, path, err)}})
			return
		}
		a := e.write(ctx, op, o, f, value)
		out := append([]byte(`{"`), f.Alias...)
		out = append(append(append(out, '"', ':'), a.data...), '}')
		if !a.ok {
			out = []byte("null")
		}
		if !send(&graphql.Response{Data: out, Errors: a.errors}) {
			break
		}
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		send(&graphql.Response{Errors: gqlerror.List{e.present(parent, path, errExpired)}})
	}
}

// present turns an error into one that the caller sees. Internal ones are logged,
// and told by the id of the log line alone.
func (e *executor) present(ctx context.Context, path ast.Path, err error) *gqlerror.Error {
	x := resolver.Classify(err)
	out := &gqlerror.Error{Message: clip(x.Message), Path: path, Extensions: map[string]any{"code": string(x.Code)}}
	if x.Code == resolver.Internal {
		cause := err
		if x.Cause != nil {
			cause = x.Cause
		}
		id := e.report(ctx, cause)
		out.Message, out.Extensions["id"] = "internal error "+id, id
	}
	return out
}
