package memory

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/rows"
)

// Options configure a [Provider]. The zero value selects all defaults.
type Options struct {
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Limits are the provider's limits. The defaults of zero fields are: commits and
	// rows of 400 KiB, commands of 1 MiB, steps of 10,000 writes and advances, any
	// number of feed readers.
	Limits driver.Limits
}

// Provider is a [driver.Provider] in process memory.
type Provider struct {
	now    func() time.Time
	limits driver.Limits

	running sync.WaitGroup // calls that Close waits for

	mu            sync.RWMutex // guards the fields below; not locked while waiting
	closed        bool
	listeners     map[int]func(string)
	lastListener  int
	logs          map[string]*log
	commandTopics map[string]*commandTopic
	topics        map[string]*eventTopic
	feeds         map[driver.CollectorSpec]*feed
	watermarks    map[string]*watermarks
	tables        map[string]*table
	counters      map[string]*counter
	buckets       map[string]*bucket
	scheduler     *scheduler
	deadLetters   *deadLetters
	outcomes      *outcomes
}

var _ driver.PullProvider = (*Provider)(nil)

// New returns an empty provider. The options may be nil.
func New(opts *Options) *Provider {
	var o Options
	if opts != nil {
		o = *opts
	}
	p := &Provider{
		now: o.Now,
		limits: driver.Limits{
			MaxCommitBytes:  cmp.Or(o.Limits.MaxCommitBytes, 400<<10),
			MaxCommandBytes: cmp.Or(o.Limits.MaxCommandBytes, 1<<20),
			MaxRowBytes:     cmp.Or(o.Limits.MaxRowBytes, 400<<10),
			MaxStep:         cmp.Or(o.Limits.MaxStep, 10_000),
			MaxFeedReaders:  o.Limits.MaxFeedReaders,
		},
		listeners:     make(map[int]func(string)),
		logs:          make(map[string]*log),
		commandTopics: make(map[string]*commandTopic),
		topics:        make(map[string]*eventTopic),
		feeds:         make(map[driver.CollectorSpec]*feed),
		watermarks:    make(map[string]*watermarks),
		tables:        make(map[string]*table),
		counters:      make(map[string]*counter),
		buckets:       make(map[string]*bucket),
	}
	if p.now == nil {
		p.now = time.Now
	}
	p.scheduler = newScheduler(p)
	p.deadLetters = newDeadLetters(p)
	p.outcomes = newOutcomes(p)
	return p
}

// OpenEventLog implements [driver.Provider].
func (p *Provider) OpenEventLog(ctx context.Context, name string) (driver.EventLog, error) {
	return open(ctx, p, p.logs, name, newLog)
}

// OpenCommandTopic implements [driver.Provider].
func (p *Provider) OpenCommandTopic(ctx context.Context, name string) (driver.CommandTopic, error) {
	return open(ctx, p, p.commandTopics, name, newCommandTopic)
}

// OpenEventTopic implements [driver.Provider].
func (p *Provider) OpenEventTopic(ctx context.Context, spec driver.TopicSpec) (driver.EventTopic, error) {
	topic, err := open(ctx, p, p.topics, spec.Log, newEventTopic)
	if err != nil {
		return nil, err
	}
	for _, consumer := range spec.Subscribers {
		if consumer == "" {
			return nil, fmt.Errorf("memory: topic %q: a subscriber has no name: %w", spec.Log, driver.ErrInvalid)
		}
	}
	for _, consumer := range spec.Subscribers {
		topic.subscription(consumer)
	}
	return topic, nil
}

// OpenEventCollector implements [driver.Sources]. It creates the subscription of a
// topic if needed.
func (p *Provider) OpenEventCollector(ctx context.Context, spec driver.CollectorSpec) (driver.Receiver[driver.Record], error) {
	if spec.Consumer == "" {
		return nil, fmt.Errorf("memory: collector of %q: no consumer: %w", spec.Source.Log, driver.ErrInvalid)
	}
	if spec.Source.Topic {
		topic, err := open(ctx, p, p.topics, spec.Source.Log, newEventTopic)
		if err != nil {
			return nil, err
		}
		return topic.subscription(spec.Consumer), nil
	}
	log, err := open(ctx, p, p.logs, spec.Source.Log, newLog)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.feeds[spec]
	if f == nil {
		f = newFeed(log)
		p.feeds[spec] = f
	}
	return f, nil
}

// OpenWatermarks implements [driver.Provider].
func (p *Provider) OpenWatermarks(ctx context.Context, consumer string) (driver.Watermarks, error) {
	return open(ctx, p, p.watermarks, consumer, newWatermarks)
}

// OpenQueryDb implements [driver.Provider]. Existing rows that do not fit a new
// index are omitted from it. Rows keep their sub id field until a [driver.Shadow] is
// swapped.
func (p *Provider) OpenQueryDb(ctx context.Context, spec driver.TableSpec) (driver.QueryDb, error) {
	t, err := p.table(ctx, spec)
	if err != nil {
		return nil, err
	}
	t.alter(spec)
	return &queryDb{watermarks: &watermarks{p: p, name: spec.Name, mu: &t.mu, byStream: t.watermarks}, t: t}, nil
}

// OpenQueryEngine implements [driver.Provider].
func (p *Provider) OpenQueryEngine(ctx context.Context, specs []driver.TableSpec) (driver.QueryEngine, error) {
	e := &queryEngine{p: p, tables: make(map[string]*table)}
	if err := p.begin(ctx); err != nil { // checks for a closed provider even without specs
		return nil, err
	}
	defer p.end()
	for _, spec := range specs {
		t, err := p.table(ctx, spec)
		if err != nil {
			return nil, err
		}
		e.tables[spec.Name] = t
	}
	return e, nil
}

// OpenStateTopic implements [driver.Sources].
func (p *Provider) OpenStateTopic(ctx context.Context, spec driver.TableSpec) (driver.StateTopic, error) {
	t, err := p.table(ctx, spec)
	if err != nil {
		return nil, err
	}
	return t.changes, nil
}

// OpenCounter implements [driver.Provider].
func (p *Provider) OpenCounter(ctx context.Context, name string) (driver.Counter, error) {
	return open(ctx, p, p.counters, name, newCounter)
}

// OpenScheduler implements [driver.Provider].
func (p *Provider) OpenScheduler(ctx context.Context) (driver.Scheduler, error) {
	if err := p.check(ctx); err != nil {
		return nil, err
	}
	return p.scheduler, nil
}

// OpenBucket implements [driver.Provider].
func (p *Provider) OpenBucket(ctx context.Context, name string) (driver.Bucket, error) {
	return open(ctx, p, p.buckets, name, newBucket)
}

// OpenCommandReceiver implements [driver.Sources].
func (p *Provider) OpenCommandReceiver(ctx context.Context, name string) (driver.Receiver[driver.Command], error) {
	return open(ctx, p, p.commandTopics, name, newCommandTopic)
}

// OpenCounterReceiver implements [driver.Sources].
func (p *Provider) OpenCounterReceiver(ctx context.Context, name string) (driver.Receiver[driver.CounterFinished], error) {
	return open(ctx, p, p.counters, name, newCounter)
}

// OpenScheduleReceiver implements [driver.Sources].
func (p *Provider) OpenScheduleReceiver(ctx context.Context) (driver.Receiver[driver.Firing], error) {
	if err := p.check(ctx); err != nil {
		return nil, err
	}
	return p.scheduler, nil
}

// OpenBucketReceiver implements [driver.Sources].
func (p *Provider) OpenBucketReceiver(ctx context.Context, name string) (driver.Receiver[driver.ObjectEvent], error) {
	b, err := open(ctx, p, p.buckets, name, newBucket)
	if err != nil {
		return nil, err
	}
	b.receive()
	return b, nil
}

// OpenDeadLetters implements [driver.Provider].
func (p *Provider) OpenDeadLetters(ctx context.Context) (driver.DeadLetters, error) {
	if err := p.check(ctx); err != nil {
		return nil, err
	}
	return p.deadLetters, nil
}

// OpenOutcomes implements [driver.Provider].
func (p *Provider) OpenOutcomes(ctx context.Context) (driver.Outcomes, error) {
	if err := p.check(ctx); err != nil {
		return nil, err
	}
	return p.outcomes, nil
}

// Limits implements [driver.Provider].
func (p *Provider) Limits() driver.Limits { return p.limits }

// Close implements [driver.Provider].
func (p *Provider) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.running.Wait()

	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.listeners)
	for _, t := range p.tables {
		t.changes.close()
	}
	return nil
}

// Notify implements [driver.Sources].
func (p *Provider) Notify(f func(receiver string)) (stop func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lastListener++
	id := p.lastListener
	p.listeners[id] = f
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.listeners, id)
	}
}

// notify notifies the listeners that receiver may have new deliveries. Its caller
// has no lock and no running call, so that a listener may call the provider, even
// Close.
func (p *Provider) notify(receiver string) {
	p.mu.RLock()
	listeners := slices.Collect(maps.Values(p.listeners))
	p.mu.RUnlock()
	for _, f := range listeners {
		f(receiver)
	}
}

// begin starts a call that Close waits for. If it returns nil, end must follow.
func (p *Provider) begin(ctx context.Context) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed {
		return fmt.Errorf("memory: provider is closed: %w", driver.ErrUnavailable)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("memory: %w", err)
	}
	p.running.Add(1)
	return nil
}

func (p *Provider) end() { p.running.Done() }

// check returns the error of begin, for a call that Close need not wait for.
func (p *Provider) check(ctx context.Context) error {
	err := p.begin(ctx)
	if err == nil {
		p.end()
	}
	return err
}

// table returns the table of a read model and creates it if needed.
func (p *Provider) table(ctx context.Context, spec driver.TableSpec) (*table, error) {
	if err := rows.CheckSpec(spec); err != nil {
		return nil, fmt.Errorf("memory: %w", err)
	}
	return open(ctx, p, p.tables, spec.Name, func(p *Provider, _ string) *table {
		t := newTable(p, spec)
		t.shadow = newTable(p, spec)
		return t
	})
}

// open returns the store called name and creates it if needed.
func open[S any](ctx context.Context, p *Provider, stores map[string]S, name string, create func(*Provider, string) S) (S, error) {
	var none S
	if err := p.begin(ctx); err != nil {
		return none, err
	}
	defer p.end()
	if name == "" {
		return none, fmt.Errorf("memory: open without a name: %w", driver.ErrInvalid)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s, ok := stores[name]
	if !ok {
		s = create(p, name)
		stores[name] = s
	}
	return s, nil
}
