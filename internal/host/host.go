// Package host is the engine that all hosts share: it handles commands, feeds
// consumers from the logs, runs schedules and tasks, parks what fails and
// redrives it. It works on erased components and driver interfaces only.
//
// A host that pulls (local, reventlesstest) calls Start, which runs a worker for
// each receiver. A host that is called (Lambda) calls the handlers directly.
package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
)

// Host runs an App on a provider.
type Host struct {
	app      *component.App
	provider driver.Provider
	sources  driver.Sources // nil in a host that is called with messages
	opts     Options
	log      *slog.Logger

	ctx    context.Context // ends when the host is closed
	cancel context.CancelFunc

	aggregates map[string]*aggregate
	consumers  []*consumer
	relays     []*relay
	readModels map[string]*readModel
	counters   map[*component.Definition]driver.Counter
	buckets    map[*component.Definition]driver.Bucket
	logs       map[string]driver.EventLog
	engine     driver.QueryEngine
	scheduler  driver.Scheduler
	letters    driver.DeadLetters
	outcomes   driver.Outcomes

	applied  notices[appliedTo] // a read model has come further in a stream
	answered notices[string]    // a command has an outcome

	pulled  []source
	workers workers
	stats   stats
}

// readModel is the runtime side of a read model.
type readModel struct {
	name  string
	def   *component.Definition
	spec  driver.TableSpec
	db    driver.QueryDb
	state driver.StateTopic
}

// Open opens the drivers of every component of app. Nothing runs before Start.
func Open(ctx context.Context, app *component.App, provider driver.Provider, opts *Options) (*Host, error) {
	h := &Host{
		app: app, provider: provider, opts: opts.withDefaults(),
		aggregates: map[string]*aggregate{}, readModels: map[string]*readModel{},
		counters: map[*component.Definition]driver.Counter{}, buckets: map[*component.Definition]driver.Bucket{},
		logs: map[string]driver.EventLog{},
	}
	h.log = slog.New(bounded{h.opts.Logger.Handler()})
	h.ctx, h.cancel = context.WithCancel(context.WithoutCancel(ctx))
	h.sources, _ = provider.(driver.Sources)
	h.workers.init()
	if err := h.open(ctx); err != nil {
		h.cancel()
		return nil, fmt.Errorf("open %s: %w", app.Name, err)
	}
	return h, nil
}

func (h *Host) open(ctx context.Context) (err error) {
	if h.letters, err = h.provider.OpenDeadLetters(ctx); err != nil {
		return fmt.Errorf("dead letters: %w", err)
	}
	if h.outcomes, err = h.provider.OpenOutcomes(ctx); err != nil {
		return fmt.Errorf("outcomes: %w", err)
	}
	if h.scheduler, err = h.provider.OpenScheduler(ctx); err != nil {
		return fmt.Errorf("scheduler: %w", err)
	}
	var tables []driver.TableSpec
	for name, d := range h.app.All {
		if err := h.openOne(ctx, name, d); err != nil {
			return fmt.Errorf("%s %s: %w", d.Kind, name, err)
		}
		if r := h.readModels[name]; r != nil {
			tables = append(tables, r.spec)
		}
	}
	if h.engine, err = h.provider.OpenQueryEngine(ctx, tables); err != nil {
		return fmt.Errorf("query engine: %w", err)
	}
	if err := h.wire(ctx); err != nil {
		return err
	}
	return h.openSources(ctx)
}

func (h *Host) openOne(ctx context.Context, name string, d *component.Definition) (err error) {
	switch {
	case d.Aggregate != nil:
		a := &aggregate{host: h, name: name, def: d.Aggregate, cache: newCache(h.opts.CacheEntries)}
		if a.log, err = h.provider.OpenEventLog(ctx, name); err != nil {
			return err
		}
		if a.topic, err = h.provider.OpenCommandTopic(ctx, name); err != nil {
			return err
		}
		h.aggregates[name], h.logs[name] = a, a.log
	case d.ReadModel != nil:
		r := &readModel{name: name, def: d, spec: driver.TableSpec{Name: name, SubID: d.ReadModel.SubID, Indexes: d.ReadModel.Indexes, OwnRow: d.ReadModel.OwnRow}}
		if r.db, err = h.provider.OpenQueryDb(ctx, r.spec); err != nil {
			return err
		}
		h.readModels[name] = r
	case d.Counter != nil:
		if h.counters[d], err = h.provider.OpenCounter(ctx, name); err != nil {
			return err
		}
		if h.logs[name], err = h.provider.OpenEventLog(ctx, name); err != nil {
			return err
		}
	case d.Kind == component.KindBucket:
		if h.buckets[d], err = h.provider.OpenBucket(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// wire connects the consumers with their logs: directly with a log's change feed, or
// with its topic where the provider allows few direct readers. The relay that feeds
// a topic is a direct reader itself.
func (h *Host) wire(ctx context.Context) error {
	subscribers := map[string][]string{}
	routes := h.app.Topology().Routes(h.provider.Limits().MaxFeedReaders)
	for _, r := range routes {
		if r.Topic {
			subscribers[r.Log] = append(subscribers[r.Log], r.Consumer)
		}
	}
	for _, r := range routes {
		if names := subscribers[r.Log]; r.Topic && names[0] == r.Consumer {
			topic, err := h.provider.OpenEventTopic(ctx, driver.TopicSpec{Log: r.Log, Subscribers: names})
			if err != nil {
				return fmt.Errorf("event topic of %s: %w", r.Log, err)
			}
			h.relays = append(h.relays, &relay{h, r.Log, topic})
		}
		d, _ := h.app.Lookup(r.Consumer)
		if err := h.addConsumer(ctx, r.Consumer, d, r.Log, r.Topic); err != nil {
			return fmt.Errorf("%s %s: %w", d.Kind, r.Consumer, err)
		}
	}
	return nil
}

// Send handles one command: inline, or through the queue when its aggregate is
// asynchronous; then the outcome is Pending. A command without an id is given
// one; one whose id another user's command has is answered with the outcome of
// that, which names its user. The error is a failure, not a refusal: [driver.ErrInvalid] for what can
// never be handled, [driver.ErrNotFound] for an unknown target.
func (h *Host) Send(ctx context.Context, c driver.Command) (driver.Outcome, error) {
	a, err := h.checked(&c)
	if err != nil {
		return driver.Outcome{}, err
	}
	if !a.def.Async {
		r := a.handle(ctx, []driver.Delivery[driver.Command]{{ID: "0", Attempt: 1, Message: c}})["0"]
		return r.Outcome, r.Err
	}
	pending := driver.Outcome{Kind: driver.Pending, CommandID: c.Meta.ID, EntityID: c.Entity, Target: c.Target, User: c.Meta.User}
	if err := h.putOutcome(ctx, pending); err != nil {
		return driver.Outcome{}, fmt.Errorf("aggregate %s: command %s: %w", a.name, c.Meta.ID, err)
	}
	// Pending replaces nothing: what is kept tells who was first with this id.
	kept, err := h.outcomes.Get(ctx, c.Meta.ID)
	switch {
	case errors.Is(err, driver.ErrNotFound):
	case err != nil:
		return driver.Outcome{}, fmt.Errorf("aggregate %s: command %s: %w", a.name, c.Meta.ID, err)
	case kept.User != "" && kept.User != c.Meta.User:
		return kept, nil // not queued: its outcome would take the place of the first one's
	}
	if err := a.topic.Send(ctx, []driver.Command{c}); err != nil {
		return driver.Outcome{}, fmt.Errorf("aggregate %s: command %s: %w", a.name, c.Meta.ID, err)
	}
	return pending, nil
}

// checked completes a command and returns its aggregate, or why it can never be
// handled.
func (h *Host) checked(c *driver.Command) (*aggregate, error) {
	a := h.aggregates[c.Target]
	if a == nil {
		return nil, fmt.Errorf("no aggregate %q: %w", c.Target, driver.ErrNotFound)
	}
	h.fillMeta(c)
	if err := a.check(*c); err != nil {
		return nil, err
	}
	if limit := h.provider.Limits().MaxCommandBytes; limit > 0 && len(c.Data) > limit {
		return nil, fmt.Errorf("aggregate %s: command %s: %w", a.name, c.Meta.ID, &driver.TooLargeError{What: "command", Size: len(c.Data), Limit: limit})
	}
	return a, nil
}

// Outcome returns what is kept of an asynchronous command; [driver.ErrNotFound]
// when nothing is.
func (h *Host) Outcome(ctx context.Context, commandID string) (driver.Outcome, error) {
	return h.outcomes.Get(ctx, commandID)
}

func (h *Host) fillMeta(c *driver.Command) {
	if c.Meta.ID == "" {
		c.Meta.ID = h.opts.NewID()
	}
	c.Meta.Service = c.Target
	if c.Meta.CorrelationID == "" {
		c.Meta.CorrelationID = c.Meta.ID
	}
	if c.Meta.Time.IsZero() {
		c.Meta.Time = h.opts.Now().UTC()
	}
	if c.Version == 0 {
		c.Version = 1
	}
}

// EventLog returns the log of a component by logical name.
func (h *Host) EventLog(name string) (driver.EventLog, bool) {
	l, ok := h.logs[name]
	return l, ok
}

// QueryDb returns the store of a read model by logical name.
func (h *Host) QueryDb(name string) (driver.QueryDb, bool) {
	if r := h.readModels[name]; r != nil {
		return r.db, true
	}
	return nil, false
}

// QueryEngine returns the query side of all read models.
func (h *Host) QueryEngine() driver.QueryEngine { return h.engine }

// StateTopic returns the changes of a read model; false where there is none, or the
// provider offers no [driver.Sources].
func (h *Host) StateTopic(name string) (driver.StateTopic, bool) {
	if r := h.readModels[name]; r != nil && r.state != nil {
		return r.state, true
	}
	return nil, false
}

// Scheduler returns the schedules.
func (h *Host) Scheduler() driver.Scheduler { return h.scheduler }

// Bucket returns a bucket by its definition.
func (h *Host) Bucket(d *component.Definition) (driver.Bucket, bool) {
	b, ok := h.buckets[d]
	return b, ok
}

// App returns the App that runs.
func (h *Host) App() *component.App { return h.app }

// Close stops the workers and waits for what is running. What was received and
// not settled comes again when the provider is opened anew.
func (h *Host) Close() error {
	if h.workers.stop != nil {
		h.workers.stop()
	}
	h.cancel()
	h.workers.wg.Wait()
	for _, a := range h.aggregates {
		a.lanes.close()
	}
	return nil
}

// sleep waits for d; false when ctx ends first.
func (h *Host) sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < d { //nolint:forbidigo // a context's deadline is in real time, whatever the host's clock says
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
