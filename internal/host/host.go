// Package host runs an App on a provider. It opens the drivers and connects the roles,
// each of which is a package of its own: commands, consumers, triggers, and effects,
// which the last two share. They work on erased components and driver interfaces only.
//
// A host that pulls (local, reventlesstest) calls Start, which runs a worker for
// each source. A host that is called (Lambda) calls the handlers directly.
package host

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/internal/host/commands"
	"github.com/reventless-go/reventless/internal/host/consumers"
	"github.com/reventless-go/reventless/internal/host/core"
	"github.com/reventless-go/reventless/internal/host/effects"
	"github.com/reventless-go/reventless/internal/host/triggers"
)

// Options configure a Host; nil and zero fields are the defaults.
type Options = core.Options

// RolloutDelay is the pause before the retry of a message that only newer code knows.
const RolloutDelay = core.RolloutDelay

// ErrBlocked reports that a commit of a stream is parked. The stream waits until an
// operator redrives or discards that commit.
var ErrBlocked = consumers.ErrBlocked

// ErrReusedID reports that the id of a command belongs to another command, and
// ErrUnverified that it is not known whether a command is a repetition.
var (
	ErrReusedID   = core.ErrReusedID
	ErrUnverified = core.ErrUnverified
)

// Host runs an App on a provider.
type Host struct {
	app      *component.App
	provider driver.Provider
	sources  driver.Sources // nil in a host that is called
	core     *core.Core
	close    context.CancelFunc

	aggregates map[string]*commands.Aggregate
	consumers  []*consumers.Consumer
	relays     []*consumers.Relay
	effects    *effects.Effects
	triggers   *triggers.Triggers
	rebuilds   map[string]*rebuild
	tables     map[string]driver.TableSpec
	states     map[string]driver.StateTopic
	logs       map[string]driver.EventLog
	outcomes   driver.Outcomes

	applied  notices[applied]  // a read model has applied more of a stream
	answered notices[answered] // a command has an outcome

	pulled  []source
	workers workers
}

// Open opens the drivers of every component of app. Nothing runs before Start.
func Open(ctx context.Context, app *component.App, provider driver.Provider, opts *Options) (*Host, error) {
	running, closeHost := context.WithCancel(context.WithoutCancel(ctx))
	h := &Host{
		app: app, provider: provider, close: closeHost,
		aggregates: map[string]*commands.Aggregate{}, logs: map[string]driver.EventLog{},
		rebuilds: map[string]*rebuild{}, tables: map[string]driver.TableSpec{}, states: map[string]driver.StateTopic{},
		effects: &effects.Effects{
			App: app, Queues: map[string]driver.CommandTopic{}, Rows: map[string]driver.QueryDb{},
			Counters: map[*component.Definition]driver.Counter{}, Buckets: map[*component.Definition]driver.Bucket{},
		},
	}
	h.effects.Logs = h.logs
	h.triggers = &triggers.Triggers{Effects: h.effects}
	h.sources, _ = provider.(driver.Sources)
	h.workers.change = sync.NewCond(&h.workers.mu)
	var err error
	if h.core, err = core.New(ctx, running, opts, provider); err == nil {
		if f, ok := provider.(driver.DamageFinder); ok {
			context.AfterFunc(running, f.NotifyDamage(h.core.ReportDamage))
		}
		h.effects.Core, h.core.KeepOutcome = h.core, h.keepOutcome
		err = h.open(ctx)
	}
	if err != nil {
		h.close()
		return nil, fmt.Errorf("open %s: %w", app.Name, err)
	}
	return h, nil
}

func (h *Host) open(ctx context.Context) (err error) {
	if h.outcomes, err = h.provider.OpenOutcomes(ctx); err != nil {
		return fmt.Errorf("outcomes: %w", err)
	}
	if h.effects.Scheduler, err = h.provider.OpenScheduler(ctx); err != nil {
		return fmt.Errorf("scheduler: %w", err)
	}
	var tables []driver.TableSpec
	for name, d := range h.app.All {
		if err := h.openOne(ctx, name, d); err != nil {
			return fmt.Errorf("%s %s: %w", d.Kind, name, err)
		}
		if spec, ok := h.tables[name]; ok {
			tables = append(tables, spec)
		}
	}
	if h.effects.Engine, err = h.provider.OpenQueryEngine(ctx, tables); err != nil {
		return fmt.Errorf("query engine: %w", err)
	}
	if err := h.connect(ctx); err != nil {
		return err
	}
	return h.openSources(ctx)
}

func (h *Host) openOne(ctx context.Context, name string, d *component.Definition) (err error) {
	if d.Aggregate != nil || d.Counter != nil {
		if h.logs[name], err = h.provider.OpenEventLog(ctx, name); err != nil {
			return err
		}
	}
	switch {
	case d.Aggregate != nil:
		h.aggregates[name] = commands.New(h.core, name, d.Aggregate, h.logs[name], h.putOutcome)
		h.effects.Queues[name], err = h.provider.OpenCommandTopic(ctx, name)
	case d.ReadModel != nil:
		m := d.ReadModel
		h.tables[name] = driver.TableSpec{Name: name, SubID: m.SubID, Indexes: m.Indexes, OwnRow: m.OwnRow}
		if h.effects.Rows[name], err = h.provider.OpenQueryDb(ctx, h.tables[name]); err == nil {
			h.rebuilds[name] = h.newRebuild(name, m)
		}
	case d.Counter != nil:
		h.effects.Counters[d], err = h.provider.OpenCounter(ctx, name)
	case d.Kind == component.KindBucket:
		h.effects.Buckets[d], err = h.provider.OpenBucket(ctx, name)
	}
	return err
}

// connect connects the consumers with their logs: with the change feed of a log, or
// with its topic where the provider allows few readers of a feed. The relay that feeds
// a topic is such a reader.
func (h *Host) connect(ctx context.Context) error {
	subscribers := map[string][]string{}
	routes := h.app.Topology().Routes(h.core.Limits.MaxFeedReaders)
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
			h.relays = append(h.relays, consumers.NewRelay(h.core, r.Log, h.logs[r.Log], topic))
		}
		d, _ := h.app.Lookup(r.Consumer)
		if err := h.addConsumer(ctx, d, consumers.Spec{Name: r.Consumer, Log: r.Log, Topic: r.Topic}); err != nil {
			return fmt.Errorf("%s %s: %w", d.Kind, r.Consumer, err)
		}
	}
	return nil
}

func (h *Host) addConsumer(ctx context.Context, d *component.Definition, spec consumers.Spec) error {
	spec.Core, spec.Reader = h.core, h.logs[spec.Log]
	spec.Applied = func(stream driver.StreamKey) { h.applied.notify(applied{spec.Name, stream}) }
	for _, s := range h.app.LogsOf(d) {
		if s.Log == spec.Log {
			spec.Sources = append(spec.Sources, s)
		}
	}
	if d.ReadModel != nil {
		c := consumers.NewProjector(spec, d.ReadModel, h.effects.Rows[spec.Name])
		h.consumers = append(h.consumers, c)
		h.rebuilds[spec.Name].add(spec, d.ReadModel, c)
		return nil
	}
	watermarks, err := h.provider.OpenWatermarks(ctx, spec.Name)
	if err == nil {
		h.consumers = append(h.consumers, consumers.NewReactor(spec, d, watermarks, h.effects))
	}
	return err
}

// Close stops the workers and waits for what is running. What was received and not
// settled is redelivered when the provider is opened again.
func (h *Host) Close() error {
	if h.workers.stop != nil {
		h.workers.stop()
	}
	h.close()
	h.workers.wg.Wait()
	for _, a := range h.aggregates {
		a.Close()
	}
	return nil
}

// Send handles one command: before it returns, or through the queue if its aggregate is
// asynchronous; then the outcome is Pending. A command without an id gets one. If
// another user has sent a command with the same id, Send returns the outcome of that
// command, which names that user. The error is a failure, not a rejection:
// [driver.ErrInvalid] for a command that can never be handled, [driver.ErrNotFound] for
// an unknown target.
func (h *Host) Send(ctx context.Context, c driver.Command) (driver.Outcome, error) {
	a, checked, err := h.check(c)
	if err != nil {
		return driver.Outcome{}, err
	}
	if !a.Async() {
		return a.Handle(ctx, checked)
	}
	o, err := h.sendQueued(ctx, checked.Command)
	if err != nil {
		return driver.Outcome{}, fmt.Errorf("aggregate %s: command %s: %w", c.Target, checked.Meta.ID, err)
	}
	return o, nil
}

// sendQueued puts a command into its queue. If another user or another command has the
// same id, the new one is not queued: its outcome would replace the stored one. A command
// that was parked is queued once more.
func (h *Host) sendQueued(ctx context.Context, c driver.Command) (driver.Outcome, error) {
	pending := core.Outcome(driver.Pending, c)
	if err := h.putOutcome(ctx, core.Stored(pending, c)); err != nil {
		return driver.Outcome{}, err
	}
	// A pending outcome does not replace a stored one, so the stored one is that of the
	// first sender.
	stored, err := h.outcomes.Get(ctx, c.Target, c.Meta.ID)
	switch {
	case err != nil && !errors.Is(err, driver.ErrNotFound):
		return driver.Outcome{}, err
	case stored.User != "" && stored.User != c.Meta.User:
		return stored.Outcome, nil
	case stored.Fingerprint != 0 && stored.Fingerprint != c.Fingerprint:
		return driver.Outcome{}, ErrReusedID
	}
	if c.Resend = stored.Resend; stored.Kind == driver.Failed {
		c.Resend++
		if err := h.putOutcome(ctx, core.Stored(pending, c)); err != nil {
			return driver.Outcome{}, err
		}
	}
	return pending, h.effects.Queues[c.Target].Send(ctx, []driver.Command{c})
}

// check completes and decodes a command. The error says why it can never be handled.
func (h *Host) check(c driver.Command) (*commands.Aggregate, commands.Command, error) {
	a := h.aggregates[c.Target]
	if a == nil {
		return nil, commands.Command{}, fmt.Errorf("no aggregate %q: %w", c.Target, driver.ErrNotFound)
	}
	h.core.CompleteMeta(&c)
	checked, err := a.Check(c)
	if limit := h.core.Limits.MaxCommandBytes; err == nil && limit > 0 && len(c.Data) > limit {
		err = fmt.Errorf("aggregate %s: command %s: %w", c.Target, c.Meta.ID, &driver.TooLargeError{What: "command", Size: len(c.Data), Limit: limit})
	}
	return a, checked, err
}

// SendAction handles a typed send under the command id given, or a new one. A public
// command that an extension point maps to several commands is answered with the first
// rejection, or else with the last acceptance. A delayed command is planned and pending.
func (h *Host) SendAction(ctx context.Context, id string, meta driver.Meta, a component.Action) (driver.Outcome, error) {
	switch {
	case a.Err != nil:
		return driver.Outcome{}, fmt.Errorf("%w: %w", driver.ErrInvalid, a.Err)
	case a.Target == nil:
		return driver.Outcome{}, fmt.Errorf("an empty send: %w", driver.ErrInvalid)
	case id == "":
		id = h.core.NewID()
	}
	meta.ID = id
	target := h.app.NameOf(a.Target)
	if a.Target.Point == nil {
		c := effects.Delayed{After: a.Delay, Command: effects.Addressed(target, a)}
		c.Meta = meta
		return h.sendOrDelay(ctx, c)
	}
	mapped, err := h.effects.Commands(effects.Origin{Component: target, Meta: meta, Key: id}, 0, a)
	if err != nil {
		return driver.Outcome{}, err
	}
	out := driver.Outcome{Kind: driver.Accepted, CommandID: id, EntityID: a.ID, Target: target, User: meta.User}
	for _, c := range mapped {
		if out, err = h.sendOrDelay(ctx, c); err != nil {
			return driver.Outcome{}, err
		}
		if out.CommandID = id; out.Kind == driver.Rejected {
			break
		}
	}
	return out, nil
}

func (h *Host) sendOrDelay(ctx context.Context, c effects.Delayed) (driver.Outcome, error) {
	if c.After <= 0 {
		return h.Send(ctx, c.Command)
	}
	_, checked, err := h.check(c.Command)
	if err != nil {
		return driver.Outcome{}, err
	}
	c.Command = checked.Command
	if err := h.effects.Delay(ctx, h.core.Now(), c); err != nil {
		return driver.Outcome{}, fmt.Errorf("send to %s: command %s: %w", c.Target, c.Meta.ID, err)
	}
	return core.Outcome(driver.Pending, c.Command), nil
}

// Outcome returns the stored outcome of a command that was sent to an asynchronous
// aggregate. The error is [driver.ErrNotFound] if there is no outcome.
func (h *Host) Outcome(ctx context.Context, target, commandID string) (driver.Outcome, error) {
	o, err := h.outcomes.Get(ctx, target, commandID)
	return o.Outcome, err
}

// EventLog returns the log of a component by logical name.
func (h *Host) EventLog(name string) (driver.EventLog, bool) {
	l, ok := h.logs[name]
	return l, ok
}

// QueryDb returns the store of a read model by logical name.
func (h *Host) QueryDb(name string) (driver.QueryDb, bool) {
	db, ok := h.effects.Rows[name]
	return db, ok
}

// QueryEngine returns the query side of all read models.
func (h *Host) QueryEngine() driver.QueryEngine { return h.effects.Engine }

// StateTopic returns the topic with the changes of a read model. It returns false for
// an unknown read model, or if the provider offers no [driver.Sources].
func (h *Host) StateTopic(name string) (driver.StateTopic, bool) {
	t, ok := h.states[name]
	return t, ok
}

// Scheduler returns the schedules.
func (h *Host) Scheduler() driver.Scheduler { return h.effects.Scheduler }

// Bucket returns a bucket by its definition.
func (h *Host) Bucket(d *component.Definition) (driver.Bucket, bool) {
	b, ok := h.effects.Buckets[d]
	return b, ok
}

// App returns the App that runs.
func (h *Host) App() *component.App { return h.app }

// Env returns an env that opens everything.
func (h *Host) Env() component.Env { return h.effects.Env("", "", nil) }
