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
	"github.com/reventless-go/reventless/aws/internal/inflight"
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
	host     *host.Host // the engine for direct invocations
	resolver *resolver.Resolver
	dead     driver.DeadLetters
	log      *slog.Logger
	margin   time.Duration
	now      func() time.Time
	metrics  *metrics

	// sources are the triggers by the name of their queue or table.
	sources map[string]wiring.Trigger
	// Counters and buckets by component, and the schedules.
	counters  map[string]*counter.Counter
	objects   map[string]*task.Events
	scheduler *scheduledpublisher.Scheduler

	parked   atomic.Int64
	attempts int // the maximum attempt number of a new delivery
}

func newHandler(app *reventless.App, getenv func(string) string, stdout io.Writer, opts *Options) (*handler, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	h := &handler{app: app, log: newLogger(stdout, getenv), margin: o.Margin}
	if h.now = o.now; h.now == nil {
		h.now = time.Now
	}
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

// serve opens the drivers that the triggers of the function need.
func (h *handler) serve(ctx context.Context, maxAttempts int) (err error) {
	// A redelivery may be due to a store or to another message, so some attempts have to be
	// left. There are three at most because each may take the whole time.
	h.attempts = max(maxAttempts-2, min(maxAttempts, 3))
	h.sources, h.counters, h.objects = map[string]wiring.Trigger{}, map[string]*counter.Counter{}, map[string]*task.Events{}
	if h.dead, err = h.provider.OpenDeadLetters(ctx); err != nil {
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

// rollout is the maximum time until a deployment has updated all functions.
const rollout = 5 * time.Minute

// A message that has to wait longer than the patience fails and is redelivered. For a queue
// the patience is short: the wait in the queue is free, but each redelivery counts as a
// receive. For a stream it is long: the function has no other work, and the event source
// mapping has few retries while a store is unavailable.
const (
	queuePatience  = 2 * time.Second
	streamPatience = 15 * time.Minute // the maximum timeout of a function
)

// backoff returns the pause before attempt n+1. The four pauses before a poison message is
// parked take about a second.
func backoff(n int) time.Duration {
	d := min(50*time.Millisecond<<min(n-1, 10), 4*time.Second)
	return d/2 + rand.N(d/2) //nolint:gosec // jitter need not be secure
}

// counts returns the counts since the start of the process.
func (h *handler) counts() host.Counts {
	c := h.engine.Counts()
	c.Parked = h.parked.Load() // includes messages that drivers and this host parked
	return c
}

// Invoke implements lambda.Handler.
func (h *handler) Invoke(whole context.Context, payload []byte) (answer []byte, err error) {
	ctx, cancel := h.budget(whole)
	defer cancel()
	m := h.metrics.begin(h.counts())
	defer func() {
		if r := recover(); r != nil { // panics of the application are recovered by the engine
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

// budget returns a context that ends before the deadline, so that there is time for the
// response.
func (h *handler) budget(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	given := time.Until(deadline) //nolint:forbidigo // deadlines are in real time
	return context.WithDeadline(ctx, deadline.Add(-min(h.margin, given/4)))
}

func (h *handler) recovered(r any) error {
	h.log.Error("panic", "type", fmt.Sprintf("%T", r)) // the value may contain a payload
	return fmt.Errorf("internal: panic with a value of type %T", r)
}

// failure is an item that Lambda has to redeliver.
type failure struct {
	ItemIdentifier string `json:"itemIdentifier"`
}

// response returns the response for a batch with the failed items. An empty list means
// success.
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

// record is a record of a batch, of a queue or a stream.
type record struct {
	Source string `json:"eventSourceARN"`
	sqsMessage
	streams.Record

	text json.RawMessage
	err  error // text is not a valid record
}

// id returns the id that the event source uses; empty if the record has none.
func (r record) id() string {
	if r.DynamoDB != nil {
		return r.DynamoDB.Sequence
	}
	return r.MessageID
}

// decodeBatch returns the records of an event by source, and the sources in order.
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

// records handles the records of a batch by source and returns the ids of the failed ones.
// An error fails the whole batch. The records are handled until ctx ends, and settled
// until whole ends.
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
			// The records fail. Unless the deployment is corrected, they end in the
			// dead-letter queue or at the on-failure destination of the mapping.
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

// resourceOf returns the name of the table or queue from the ARN of an event source.
func resourceOf(arn string) string {
	if _, table, ok := strings.Cut(arn, ":table/"); ok {
		name, _, _ := strings.Cut(table, "/") // the stream's name has colons
		return name
	}
	return arn[strings.LastIndexByte(arn, ':')+1:]
}

// identify returns the ids of records.
func identify(records []record) ([]string, error) {
	ids := make([]string, len(records))
	for i, r := range records {
		if ids[i] = r.id(); ids[i] == "" {
			return nil, errors.New("a record of a source that the function does not serve has no id")
		}
	}
	return ids, nil
}

// work handles messages while there is time. Messages that are left have failed.
func work[T any](ctx context.Context, h *handler, messages *inflight.Messages[T], many int, patience time.Duration, handle func(context.Context, []driver.Delivery[T]) ([]driver.Settlement, error)) {
	messages.Work(ctx, many, patience, backoff, func(ctx context.Context, deliveries []driver.Delivery[T]) (settlements []driver.Settlement, err error) {
		defer func() {
			if r := recover(); r != nil {
				settlements, err = nil, h.recovered(r)
			}
			if err != nil {
				h.log.Warn("retry of a batch", "function", h.function.String(), "messages", len(deliveries), "error", clip(err.Error()))
			}
		}()
		settlements, err = handle(ctx, deliveries)
		for _, s := range settlements {
			h.log.Debug("message", "function", h.function.String(), "delivery", s.ID, "retry", s.Retry)
		}
		return settlements, err
	})
}

// parkRaw parks a body that is not a message of a component. It returns false if the body
// cannot be parked.
func (h *handler) parkRaw(ctx context.Context, component string, body []byte, attempts int, cause error) bool {
	sum := sha256.Sum256(body)
	id := "raw/" + component + "/" + hex.EncodeToString(sum[:])
	h.log.Error("parked", "component", component, "deadLetter", id, "reason", clip(cause.Error()))
	err := h.dead.Park(ctx, driver.DeadLetter{
		ID: id, Component: component, Kind: driver.DeadRaw, Body: body, Reason: clip(cause.Error()), Attempts: attempts, ParkedAt: h.now().UTC(),
	})
	if err != nil {
		h.log.Error("cannot park", "deadLetter", id, "error", clip(err.Error()))
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
