package lambdahost

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/aws/counter"
	"github.com/reventless-go/reventless/aws/internal/handed"
	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/aws/internal/provider"
	"github.com/reventless-go/reventless/aws/internal/streams"
	"github.com/reventless-go/reventless/aws/internal/wiring"
	"github.com/reventless-go/reventless/aws/scheduledpublisher"
	"github.com/reventless-go/reventless/aws/task"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/host"
	"github.com/reventless-go/reventless/internal/resolver"
)

// handler is one function.
type handler struct {
	app      *reventless.App
	stack    string
	function wiring.Function
	provider *provider.Provider
	engine   engine
	host     *host.Host // the engine, for direct invocations
	resolver *resolver.Resolver
	letters  driver.DeadLetters
	log      *slog.Logger
	margin   time.Duration
	now      func() time.Time
	metrics  *metrics

	// sources are the triggers by the last part of their sources' ARNs: the name
	// of a queue, or of a table.
	sources map[string]wiring.Trigger
	// What the function serves: counters and buckets by component, and the schedules.
	counters  map[string]*counter.Counter
	objects   map[string]*task.Events
	scheduler *scheduledpublisher.Scheduler

	parked   atomic.Int64
	attempts int // that a message has had at most when it is handed over
}

func newHandler(app *reventless.App, getenv func(string) string, stdout io.Writer, opts *Options) (*handler, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	h := &handler{app: app, log: newLogger(stdout, getenv), margin: o.Margin}
	h.now = time.Now
	if h.margin <= 0 {
		h.margin = time.Second
	}
	function, err := required(getenv, wiring.EnvFunction)
	if err != nil {
		return nil, err
	}
	if h.stack, err = required(getenv, wiring.EnvStack); err != nil {
		return nil, err
	}
	account, err := required(getenv, wiring.EnvAccount)
	if err != nil {
		return nil, err
	}
	if h.function, err = wiring.Parse(app.Topology(), function); err != nil {
		return nil, fmt.Errorf("%s=%s: %w", wiring.EnvFunction, function, err)
	}
	po := provider.Options{App: app.Name(), Stack: h.stack, Account: account, Now: h.now, Endpoint: endpoint(getenv), Spent: o.spent, Parked: func() { h.parked.Add(1) }}
	if o.AWS != nil {
		po.AWS = *o.AWS
	} else if po.AWS, err = fromEnvironment(getenv); err != nil {
		return nil, err
	}
	if h.provider, err = provider.New(po); err != nil {
		return nil, err
	}
	maxAttempts := cmp.Or(max(o.MaxAttempts, 0), 5)
	if err := h.serve(context.Background(), maxAttempts); err != nil {
		return nil, err
	}
	h.metrics = newMetrics(stdout, app.Name(), h.stack, h.function.String(), h.now)
	h.host, err = host.Open(context.Background(), app.Assembled(), h.provider, &host.Options{
		Now: h.now, Logger: h.log, MaxAttempts: maxAttempts, CacheEntries: o.CacheEntries, Backoff: backoff, Rollout: rollout,
	})
	if err != nil {
		return nil, err
	}
	h.engine, h.resolver = h.host, resolver.New(h.host, resolver.Options{})
	return h, nil
}

// serve opens what the triggers of the function need.
func (h *handler) serve(ctx context.Context, maxAttempts int) (err error) {
	// A message also comes back because of a store, or of another message: some
	// attempts are left to it. Those that take all of the time are no more than three.
	h.attempts = max(maxAttempts-2, min(maxAttempts, 3))
	h.sources, h.counters, h.objects = map[string]wiring.Trigger{}, map[string]*counter.Counter{}, map[string]*task.Events{}
	if h.letters, err = h.provider.OpenDeadLetters(ctx); err != nil {
		return err
	}
	for _, t := range h.function.Triggers {
		name, err := h.provider.Name(t.Source, t.Component)
		if err != nil {
			return err
		}
		h.sources[name] = t
		switch t.Source {
		case naming.Counts:
			h.counters[t.Component], err = h.provider.Counter(t.Component)
		case naming.Objects:
			h.objects[t.Component] = task.NewEvents()
		case naming.Timers:
			h.scheduler, err = h.provider.Scheduler()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// rollout is how long a deployment may take until all functions have its code.
const rollout = 5 * time.Minute

// What waits longer than its patience is handed over again. With messages of a queue
// that costs nothing meanwhile, and brings them nearer to their queue's dead letters
// by one of their few receives. With records of a stream there is nothing else that
// the function could do: it waits in place of the mapping, whose attempts are few
// when a store is away.
const (
	queuePatience  = 2 * time.Second
	streamPatience = 15 * time.Minute // as long as a function may take
)

// backoff is the pause before attempt n+1: four of them, which is what a poison
// message has before it is parked, take a second. What has waited for long in one
// invocation is not longer away in the next one.
func backoff(n int) time.Duration {
	d := min(50*time.Millisecond<<min(n-1, 10), 4*time.Second)
	return d/2 + rand.N(d/2) //nolint:gosec // chance is all that is asked of it
}

// counts are what was done so far.
func (h *handler) counts() host.Counts {
	c := h.engine.Counts()
	c.Parked = h.parked.Load() // also by drivers
	return c
}

// Invoke implements lambda.Handler.
func (h *handler) Invoke(whole context.Context, payload []byte) (answer []byte, err error) {
	ctx, cancel := h.budget(whole)
	defer cancel()
	m := h.metrics.begin(h.counts())
	defer func() {
		if r := recover(); r != nil { // what is of the application is recovered nearer to it
			answer, err = nil, h.recovered(r)
		}
		m.end(requestID(ctx), h.counts(), err)
	}()
	if h.function.Role == wiring.API {
		return h.direct(ctx, payload)
	}
	failed, err := h.records(ctx, whole, m, payload)
	if err != nil {
		h.log.Error("the invocation failed", "request", requestID(ctx), "error", err.Error())
		return nil, err
	}
	m.failed = len(failed)
	return json.Marshal(response(failed))
}

// budget is what the function may work: it ends before the function does, so that
// there is an answer.
func (h *handler) budget(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	given := time.Until(deadline) //nolint:forbidigo // deadlines are in real time
	return context.WithDeadline(ctx, deadline.Add(-min(h.margin, given/4)))
}

func (h *handler) recovered(r any) error {
	h.log.Error("panic", "type", fmt.Sprintf("%T", r)) // the value may be a payload
	return fmt.Errorf("internal: a panic with a value of type %T", r)
}

// failure is an item that Lambda is to hand over again.
type failure struct {
	ItemIdentifier string `json:"itemIdentifier"`
}

// response is the partial answer of a batch. An empty list is success; Lambda
// takes null for that, too.
func response(failed []string) any {
	items := make([]failure, len(failed))
	for i, id := range failed {
		items[i].ItemIdentifier = id
	}
	return struct {
		BatchItemFailures []failure `json:"batchItemFailures"`
	}{items}
}

// batch is the event of a queue or stream.
type batch struct {
	Records []json.RawMessage
}

// record is one of the Records of a batch, of a queue or of a stream.
type record struct {
	Source string `json:"eventSourceARN"`
	sqsMessage
	streams.Record

	text json.RawMessage
	err  error // text is of another form
}

// id is how the source knows the record; empty when that is not said.
func (r record) id() string {
	if r.DynamoDB != nil {
		return r.DynamoDB.Sequence
	}
	return r.MessageID
}

// decodeBatch returns the records of an event by their sources, and the sources in
// order.
func decodeBatch(payload []byte) (by map[string][]record, order []string, err error) {
	var b batch
	if err := json.Unmarshal(payload, &b); err != nil {
		return nil, nil, fmt.Errorf("cannot decode the event: %w", err)
	}
	if len(b.Records) == 0 {
		return nil, nil, errors.New("the event has no records")
	}
	by = map[string][]record{}
	for _, text := range b.Records {
		r := record{text: text}
		if r.err = json.Unmarshal(text, &r); r.err != nil && r.Source == "" {
			return nil, nil, fmt.Errorf("cannot decode a record of the event: %w", r.err)
		}
		if by[r.Source] == nil {
			order = append(order, r.Source)
		}
		by[r.Source] = append(by[r.Source], r)
	}
	return by, order, nil
}

// records handles the records of a batch, by their source, and returns the ids of
// those that failed. The error says that nothing can be said of single ones. ctx is
// for the work; what comes behind it has until whole ends.
func (h *handler) records(ctx, whole context.Context, m *measured, payload []byte) ([]string, error) {
	by, order, err := decodeBatch(payload)
	if err != nil {
		return nil, err
	}
	var failed []string
	for _, arn := range order {
		t, ok := h.sources[resourceOf(arn)]
		ids, err := []string(nil), error(nil)
		switch {
		case !ok:
			// It stays where it is: with its queue's dead letters, or those of the
			// stream's mapping, when nobody mends the deployment.
			h.log.Error("the function does not serve this source", "function", h.function.String(), "source", clip(arn), "records", len(by[arn]))
			ids, err = identify(by[arn])
		case t.Stream():
			ids, err = h.stream(ctx, m, t, by[arn])
		default:
			ids, err = h.queue(ctx, whole, m, t, by[arn])
		}
		if err != nil {
			return nil, err
		}
		failed = append(failed, ids...)
	}
	return failed, nil
}

// resourceOf returns the name of the table or queue of an event source's ARN.
func resourceOf(arn string) string {
	if _, table, ok := strings.Cut(arn, ":table/"); ok {
		name, _, _ := strings.Cut(table, "/") // the stream's name has colons
		return name
	}
	return arn[strings.LastIndexByte(arn, ':')+1:]
}

// identify returns the ids of records of any source.
func identify(records []record) ([]string, error) {
	ids := make([]string, len(records))
	for i, r := range records {
		if ids[i] = r.id(); ids[i] == "" {
			return nil, errors.New("a record of a source that the function does not serve has no id")
		}
	}
	return ids, nil
}

// work handles messages as long as there is time: those that are left have failed.
func work[T any](ctx context.Context, h *handler, messages *handed.Messages[T], many int, patience time.Duration, handle func(context.Context, []driver.Delivery[T]) ([]driver.Settlement, error)) {
	messages.Work(ctx, many, patience, backoff, func(ctx context.Context, deliveries []driver.Delivery[T]) (settlements []driver.Settlement, err error) {
		defer func() {
			if r := recover(); r != nil {
				settlements, err = nil, h.recovered(r)
			}
			if err != nil {
				h.log.Warn("a batch is tried again", "function", h.function.String(), "messages", len(deliveries), "error", clip(err.Error()))
			}
		}()
		settlements, err = handle(ctx, deliveries)
		for _, s := range settlements {
			h.log.Debug("message", "function", h.function.String(), "delivery", s.ID, "again", s.Retry)
		}
		return settlements, err
	})
}

// parkRaw parks what is no message of a component, and reports whether it is parked.
func (h *handler) parkRaw(ctx context.Context, component string, body []byte, attempts int, cause error) bool {
	sum := sha256.Sum256(body)
	id := "raw/" + component + "/" + hex.EncodeToString(sum[:])
	h.log.Error("parked", "component", component, "letter", id, "reason", clip(cause.Error()))
	err := h.letters.Park(ctx, driver.DeadLetter{
		ID: id, Component: component, Kind: driver.DeadRaw, Body: body, Reason: clip(cause.Error()), Attempts: attempts, ParkedAt: h.now().UTC(),
	})
	if err != nil {
		h.log.Error("it is not parked yet", "letter", id, "error", clip(err.Error()))
	}
	return err == nil
}

func clip(s string) string {
	const limit = 500
	if len(s) > limit {
		return strings.ToValidUTF8(s[:limit], "") + "..."
	}
	return s
}
