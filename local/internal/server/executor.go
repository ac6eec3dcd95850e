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

// executor runs the operations of an API on gqlgen's runtime. It replaces the code that
// gqlgen would generate, because the API is only known at run time.
type executor struct {
	schema *ast.Schema
	// operations are the operations of the API by kind and name.
	operations map[api.OperationKind]map[string]*api.Operation
	run        *resolver.Resolver
	report     func(ctx context.Context, err error) string // logs an internal error and returns its id
	// timeout bounds a query or mutation.
	timeout time.Duration
	now     func() time.Time
	// observe is called after every query and mutation.
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

// Complexity implements [graphql.ExecutableSchema]. It is not used: see bounds.
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
		release, err := requestOf(ctx).begin(op)
		if err != nil {
			return &graphql.Response{Errors: gqlerror.List{e.present(ctx, nil, err)}}
		}
		defer release()
		ctx, cancel := context.WithTimeout(ctx, e.timeout)
		defer cancel()
		return &graphql.Response{Data: e.root(ctx, op)}
	}
}

// plain returns a variable's value with each list as []any: where a list is expected,
// gqlgen converts a single string to []string.
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

// root runs a query or mutation: the fields of a mutation in order, those of a query
// concurrently.
func (e *executor) root(ctx context.Context, op *graphql.OperationContext) json.RawMessage {
	kind := api.Query
	if op.Operation.Operation == ast.Mutation {
		kind = api.Mutation
	}
	fields := graphql.CollectFields(op, op.Operation.SelectionSet, []string{string(kind)})
	results := make([]result, len(fields))
	if kind == api.Query && len(fields) > 1 {
		var wg sync.WaitGroup
		for i, f := range fields {
			wg.Go(func() { results[i] = e.field(ctx, op, kind, f) })
		}
		wg.Wait()
	} else {
		for i, f := range fields {
			results[i] = e.field(ctx, op, kind, f)
		}
	}
	out := []byte{'{'}
	ok := true
	for i, f := range fields {
		for _, err := range results[i].errors {
			graphql.AddError(ctx, err)
		}
		ok = ok && results[i].ok
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, '"')
		out = append(out, f.Alias...)
		out = append(append(out, '"', ':'), results[i].data...)
	}
	if !ok {
		return json.RawMessage("null")
	}
	return append(out, '}')
}

// result is the result of one field of a root type. ok is false if it is null although
// its type does not allow that.
type result struct {
	data   []byte
	errors gqlerror.List
	ok     bool
}

func (e *executor) field(ctx context.Context, op *graphql.OperationContext, kind api.OperationKind, f graphql.CollectedField) (res result) {
	defer func() {
		if r := recover(); r != nil {
			res = e.failed(ctx, f, api.Ref{NonNull: !strings.HasPrefix(f.Name, "__") && f.Definition.Type.NonNull}, panicked(r))
		}
	}()
	switch f.Name {
	case "__typename":
		return result{data: fmt.Appendf(nil, "%q", string(kind)), ok: true}
	case "__schema", "__type":
		return result{data: e.introspect(op, f), ok: true}
	}
	o := e.operations[kind][f.Name]
	call, err := callOf(ctx, op, o, f)
	if err != nil {
		return e.failed(ctx, f, o.Result, err)
	}
	start := e.now()
	value, err := e.run.Resolve(ctx, call)
	e.observe(ctx, o, call.Who.User, e.now().Sub(start), err)
	if err != nil {
		return e.failed(ctx, f, o.Result, err)
	}
	return e.write(ctx, op, o, f, value)
}

// write returns the selected parts of a value.
func (e *executor) write(ctx context.Context, op *graphql.OperationContext, o *api.Operation, f graphql.CollectedField, value json.RawMessage) result {
	var w api.Writer
	a := result{ok: w.Value(o.Result, value, selection(op, f.Selections), f.Alias), data: w.Bytes()}
	if !a.ok {
		a.data = []byte("null")
	}
	for _, x := range w.Errors {
		a.errors = append(a.errors, e.present(ctx, pathOf(x.Path), x.Err))
	}
	return a
}

func (e *executor) failed(ctx context.Context, f graphql.CollectedField, fieldType api.Ref, err error) result {
	return result{data: []byte("null"), ok: !fieldType.NonNull, errors: gqlerror.List{e.present(ctx, ast.Path{ast.PathName(f.Alias)}, err)}}
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

// callOf returns the call of an operation for the request of ctx.
func callOf(ctx context.Context, op *graphql.OperationContext, o *api.Operation, f graphql.CollectedField) (resolver.Call, error) {
	r := requestOf(ctx)
	if err := r.checkExpiry(); err != nil {
		return resolver.Call{}, err
	}
	call := resolver.Call{Operation: o, Args: f.ArgumentMap(op.Variables), Who: r.caller, IP: r.ip, TraceParent: r.traceParent, CommandID: r.commandID}
	if call.CommandID != "" && o.Kind == api.Mutation && commands(op) > 1 {
		return resolver.Call{}, &resolver.Error{Code: resolver.BadInput, Message: "the header Idempotency-Key applies only to a request with one mutation; with several mutations, set the commandId of each"}
	}
	return call, nil
}

// commands returns the number of commands in a mutation.
func commands(op *graphql.OperationContext) int {
	n := 0
	for _, f := range graphql.CollectFields(op, op.Operation.SelectionSet, []string{string(api.Mutation)}) {
		if !strings.HasPrefix(f.Name, "__") {
			n++
		}
	}
	return n
}

// selection converts the selections of a document to those of package api. It caches the
// fields of the last type, because a page uses the same type for every row.
func selection(op *graphql.OperationContext, set ast.SelectionSet) api.Selection {
	var last *api.Type
	var fields []api.Selected
	return func(t *api.Type) []api.Selected {
		if t == last {
			return fields
		}
		collected := graphql.CollectFields(op, set, satisfied(t))
		fields = make([]api.Selected, 0, len(collected))
		for _, f := range collected {
			field := api.Selected{Key: f.Alias}
			if f.Name != "__typename" {
				field.Field = t.Field(f.Name)
				if len(f.Selections) > 0 {
					field.Sub = selection(op, f.Selections)
				}
			} else if slices.ContainsFunc(fields, func(s api.Selected) bool { return s.Key == f.Alias }) {
				continue // CollectFields returns __typename of a union and of its member separately
			}
			fields = append(fields, field)
		}
		last = t
		return fields
	}
}

// satisfied returns the names of the types whose fragments apply to t: its own name and
// those of its unions.
func satisfied(t *api.Type) []string {
	return append([]string{t.Name}, t.Unions()...)
}

// subscribe runs a subscription, which has one field.
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
	release, err := r.beginSubscription(op)
	if err != nil {
		return refuse(err)
	}
	call, err := callOf(ctx, op, o, f)
	if err != nil {
		release()
		return refuse(err)
	}
	parent, cancel := ctx, func() {}
	if !r.caller.Expires.IsZero() {
		ctx, cancel = context.WithDeadline(ctx, r.caller.Expires)
	}
	values, err := e.run.Subscribe(ctx, call)
	if err != nil {
		cancel()
		release()
		return refuse(err)
	}
	// A transport that ends may not request another response, so this goroutine releases
	// the resources when ctx ends.
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

// pump sends the values of a subscription until they end or ctx ends. If ctx ends because
// the token has expired, pump sends a last response with that error; it stops without it
// when parent ends.
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

// present converts an error to the one that the caller receives. Internal errors are
// logged, and the caller receives only the id of the log line.
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
