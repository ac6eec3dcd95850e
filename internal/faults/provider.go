package faults

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/reventless-go/reventless/driver"
)

// Options change how a [Provider] works.
type Options struct {
	// Consumer, if set, renames the consumers of collectors, so that two hosts on
	// one provider each get every record instead of sharing them.
	Consumer func(name string) string
}

// Provider is a [driver.PullProvider] that wraps another one and fails by rules.
type Provider struct {
	driver.PullProvider
	opts Options

	mu        sync.Mutex
	rules     []*Injected
	calls     map[call]int
	elements  map[string]int // commits read, by log
	disturb   Deliveries
	receivers map[string]int // to be notified when the disturbance ends
	listeners map[int]func(string)
	last      int
	changes   []func(d any)
	ending    *ending
	damaged   map[damagedCommit]bool
}

// call names a method of the drivers of one name.
type call struct{ op, name string }

// New returns a provider around inner; nil opts are the defaults. Without rules it
// behaves as inner does.
func New(inner driver.PullProvider, opts *Options) *Provider {
	p := &Provider{
		PullProvider: inner, calls: map[call]int{}, elements: map[string]int{}, receivers: map[string]int{}, listeners: map[int]func(string){},
	}
	if opts != nil {
		p.opts = *opts
	}
	return p
}

// Notify implements [driver.Sources].
func (p *Provider) Notify(f func(receiver string)) (stop func()) {
	p.mu.Lock()
	p.last++
	id := p.last
	p.listeners[id] = f
	p.mu.Unlock()
	inner := p.PullProvider.Notify(f)
	return func() {
		inner()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.listeners, id)
	}
}

// Rule defines which calls fail, and how. The zero Rule matches no call.
type Rule struct {
	// Op is the interface and method, such as "EventLog.Append".
	Op string
	// Name is what the driver was opened for, a component, the consumer of a
	// collector, the log of a topic; empty is any.
	Name string
	// Key is what the call is about: the stream, the entity, the row's or
	// counter's id, the name of a schedule, the key of an object. A call about
	// several has all of them. Empty is any.
	Key string
	// Skip is how many calls that match are let through first.
	Skip int
	// Times is how many then fail; 0 is one, negative all of them.
	Times int
	// Err is what they fail with; its class is found with errors.Is. Nil lets the
	// call through, as is useful with Do.
	Err error
	// After lets the call take effect first: the answer is lost.
	After bool
	// Yield is how many elements a sequence yields before its error.
	Yield int
	// Member fails only the members of a batch that Key names, with a
	// *[driver.BatchError]; the others go through.
	Member bool
	// Do is called where the failure would happen: before the call, or after it.
	Do func()
	// Map, if set, lets the call through and changes its error; nothing else of the
	// rule is applied then.
	Map func(err error) error
}

// Injected is an active rule.
type Injected struct {
	p    *Provider
	rule Rule
	seen int
	hits int
	off  bool
}

// Inject activates a rule.
func (p *Provider) Inject(r Rule) *Injected {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.Times == 0 {
		r.Times = 1
	}
	in := &Injected{p: p, rule: r}
	p.rules = append(p.rules, in)
	return in
}

// Hits is how often the rule was applied.
func (in *Injected) Hits() int {
	in.p.mu.Lock()
	defer in.p.mu.Unlock()
	return in.hits
}

// Stop ends the rule.
func (in *Injected) Stop() {
	in.p.mu.Lock()
	defer in.p.mu.Unlock()
	in.off = true
}

// Calls is how often a method was called, by any driver of that name; an empty
// name counts all. Calls that a rule failed count, too.
func (p *Provider) Calls(op, name string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if name != "" {
		return p.calls[call{op, name}]
	}
	n := 0
	for s, calls := range p.calls {
		if s.op == op {
			n += calls
		}
	}
	return n
}

// Commits is how many commits of a log were read, by any method.
func (p *Provider) Commits(log string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.elements[log]
}

func (p *Provider) read(log string, commits int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.elements[log] += commits
}

// match counts a call and returns the rule that it matches, if any.
func (p *Provider) match(op, name string, keys []string) *Rule {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls[call{op, name}]++
	for _, in := range p.rules {
		r := &in.rule
		if in.off || r.Op != op || r.Name != "" && r.Name != name || r.Key != "" && !slices.Contains(keys, r.Key) {
			continue
		}
		if in.seen++; in.seen <= r.Skip || r.Times > 0 && in.seen > r.Skip+r.Times {
			continue
		}
		in.hits++
		hit := *r
		return &hit
	}
	return nil
}

func (r *Rule) err(op, name string) error {
	when := "before"
	if r.After {
		when = "after"
	}
	return fmt.Errorf("injected %s %s of %s: %w", when, op, name, r.Err)
}

// site names a driver: its provider, its kind and what it was opened for.
type site struct {
	p          *Provider
	kind, name string
}

// do runs a call under the rules.
func (s site) do(method string, f func() error, keys ...string) error {
	op := s.kind + "." + method
	return s.under(s.p.match(op, s.name, keys), op, f)
}

func (s site) under(r *Rule, op string, f func() error) error {
	if ok, err := s.p.end().write(op, f); ok {
		return err
	}
	switch {
	case r == nil:
		return f()
	case r.Map != nil:
		return r.Map(f())
	}
	if r.After {
		if err := f(); err != nil {
			return err
		}
	}
	if r.Do != nil {
		r.Do()
	}
	if r.Err != nil {
		return r.err(op, s.name)
	}
	if r.After {
		return nil
	}
	return f()
}

// get is do for a call with a result.
func get[T any](s site, method string, f func() (T, error), keys ...string) (T, error) {
	var out T
	err := s.do(method, func() (err error) {
		out, err = f()
		return err
	}, keys...)
	if err != nil {
		var none T
		return none, err
	}
	return out, nil
}

// batch is do for a call with members, each with a key of its own in the error.
func batch[T any](s site, method string, members []T, about, errorKey func(T) string, f func([]T) error) error {
	op := s.kind + "." + method
	r := s.p.match(op, s.name, mapped(members, about))
	if r == nil || !r.Member {
		return s.under(r, op, func() error { return f(members) })
	}
	failed := map[string]error{}
	var rest []T
	for _, m := range members {
		if about(m) == r.Key {
			failed[errorKey(m)] = r.err(op, s.name)
		} else {
			rest = append(rest, m)
		}
	}
	if err := f(rest); err != nil {
		return err
	}
	return &driver.BatchError{Failed: failed}
}

// Change has change called with each driver of type D, such as *[EventLog], that p
// opens from now on, before it is returned. It sets the On... functions, which take
// the place of the methods of the wrapped driver.
func Change[D any](p *Provider, change func(d D)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changes = append(p.changes, func(d any) {
		if d, ok := d.(D); ok {
			change(d)
		}
	})
}

// wrap makes a driver around what an open method returned.
func wrap[D any](p *Provider, err error, make func() D) (D, error) {
	if err != nil {
		var none D
		return none, err
	}
	return opened(p, make()), nil
}

func opened[D any](p *Provider, d D) D {
	p.mu.Lock()
	changes := slices.Clone(p.changes)
	p.mu.Unlock()
	for _, change := range changes {
		change(d)
	}
	return d
}

// OpenEventLog implements [driver.Provider].
func (p *Provider) OpenEventLog(ctx context.Context, name string) (driver.EventLog, error) {
	d, err := p.PullProvider.OpenEventLog(ctx, name)
	return wrap(p, err, func() driver.EventLog {
		damaged := damagedLog{d, p, name}
		l := &EventLog{damaged, site{p, "EventLog", name}, damaged.Append, damaged.Load, damaged.Read, damaged.Scan, nil}
		if _, ok := d.(driver.CommitCounter); ok {
			l.OnCount = damaged.CountCommits
		}
		return l
	})
}

// OpenCommandTopic implements [driver.Provider].
func (p *Provider) OpenCommandTopic(ctx context.Context, name string) (driver.CommandTopic, error) {
	d, err := p.PullProvider.OpenCommandTopic(ctx, name)
	return wrap(p, err, func() driver.CommandTopic { return &CommandTopic{d, site{p, "CommandTopic", name}, d.Send} })
}

// OpenEventTopic implements [driver.Provider].
func (p *Provider) OpenEventTopic(ctx context.Context, spec driver.TopicSpec) (driver.EventTopic, error) {
	if p.opts.Consumer != nil {
		spec.Subscribers = mapped(spec.Subscribers, p.opts.Consumer)
	}
	d, err := p.PullProvider.OpenEventTopic(ctx, spec)
	return wrap(p, err, func() driver.EventTopic { return &EventTopic{d, site{p, "EventTopic", spec.Log}, d.Publish} })
}

// OpenWatermarks implements [driver.Provider].
func (p *Provider) OpenWatermarks(ctx context.Context, consumer string) (driver.Watermarks, error) {
	d, err := p.PullProvider.OpenWatermarks(ctx, consumer)
	if err != nil {
		return nil, err
	}
	return newWatermarks(d, site{p, "Watermarks", consumer}), nil
}

// OpenQueryDb implements [driver.Provider].
func (p *Provider) OpenQueryDb(ctx context.Context, spec driver.TableSpec) (driver.QueryDb, error) {
	d, err := p.PullProvider.OpenQueryDb(ctx, spec)
	if err != nil {
		return nil, err
	}
	return opened(p, &QueryDb{newRowStore(d, site{p, "QueryDb", spec.Name}), d, spec, d.Clear}), nil
}

// OpenQueryEngine implements [driver.Provider].
func (p *Provider) OpenQueryEngine(ctx context.Context, specs []driver.TableSpec) (driver.QueryEngine, error) {
	d, err := p.PullProvider.OpenQueryEngine(ctx, specs)
	return wrap(p, err, func() driver.QueryEngine { return &QueryEngine{d, site{p, "QueryEngine", ""}, specs, d.Query, d.Scan} })
}

// OpenStateTopic implements [driver.Sources].
func (p *Provider) OpenStateTopic(ctx context.Context, spec driver.TableSpec) (driver.StateTopic, error) {
	d, err := p.PullProvider.OpenStateTopic(ctx, spec)
	return wrap(p, err, func() driver.StateTopic { return &StateTopic{d, site{p, "StateTopic", spec.Name}, spec, d.Subscribe} })
}

// OpenCounter implements [driver.Provider].
func (p *Provider) OpenCounter(ctx context.Context, name string) (driver.Counter, error) {
	d, err := p.PullProvider.OpenCounter(ctx, name)
	return wrap(p, err, func() driver.Counter { return &Counter{d, site{p, "Counter", name}, d.Count, d.AddTarget, d.State} })
}

// OpenScheduler implements [driver.Provider].
func (p *Provider) OpenScheduler(ctx context.Context) (driver.Scheduler, error) {
	d, err := p.PullProvider.OpenScheduler(ctx)
	return wrap(p, err, func() driver.Scheduler { return &Scheduler{d, site{p, "Scheduler", ""}, d.Create, d.Delete, d.List} })
}

// OpenBucket implements [driver.Provider].
func (p *Provider) OpenBucket(ctx context.Context, name string) (driver.Bucket, error) {
	d, err := p.PullProvider.OpenBucket(ctx, name)
	return wrap(p, err, func() driver.Bucket { return &Bucket{d, site{p, "Bucket", name}, d.Put, d.Get, d.Delete, d.List} })
}

// OpenDeadLetters implements [driver.Provider].
func (p *Provider) OpenDeadLetters(ctx context.Context) (driver.DeadLetters, error) {
	d, err := p.PullProvider.OpenDeadLetters(ctx)
	return wrap(p, err, func() driver.DeadLetters {
		return &DeadLetters{d, site{p, "DeadLetters", ""}, d.Park, d.Get, d.List, d.Remove}
	})
}

// OpenOutcomes implements [driver.Provider].
func (p *Provider) OpenOutcomes(ctx context.Context) (driver.Outcomes, error) {
	d, err := p.PullProvider.OpenOutcomes(ctx)
	return wrap(p, err, func() driver.Outcomes { return &Outcomes{d, site{p, "Outcomes", ""}, d.Put, d.Get} })
}

// OpenCommandReceiver implements [driver.Sources].
func (p *Provider) OpenCommandReceiver(ctx context.Context, name string) (driver.Receiver[driver.Command], error) {
	d, err := p.PullProvider.OpenCommandReceiver(ctx, name)
	return newReceiver(d, err, site{p, "CommandTopic", name}, name, func(r *Receiver[driver.Command]) {
		r.ordered, r.disturbed = true, func(d Deliveries) bool { return d.Commands }
	})
}

// OpenEventCollector implements [driver.Sources]. Where the inner receiver is a
// [driver.Lagger] this one is, too.
func (p *Provider) OpenEventCollector(ctx context.Context, spec driver.CollectorSpec) (driver.Receiver[driver.Record], error) {
	name := spec.Consumer
	if p.opts.Consumer != nil {
		spec.Consumer = p.opts.Consumer(spec.Consumer)
	}
	d, err := p.PullProvider.OpenEventCollector(ctx, spec)
	l, lags := d.(driver.Lagger)
	r, err := newReceiver(d, err, site{p, "EventCollector", name}, spec.Source.Log, func(r *Receiver[driver.Record]) {
		r.Spec = spec
		r.OnReceive = p.withoutDamaged(spec.Source.Log, r.OnReceive)
		if lags {
			r.OnLag = l.Lag
		}
		r.disturbed = func(d Deliveries) bool { return d.Only == nil || d.Only(name) }
		r.strip = func(r driver.Record) driver.Record {
			r.Commit = nil
			return r
		}
		r.garbage = func(n int) driver.Record {
			return driver.Record{Raw: fmt.Appendf(nil, "garbage %d for %s", n, name), Err: fmt.Errorf("injected garbage: %w", driver.ErrInvalid)}
		}
	})
	if err != nil || !lags {
		return r, err
	}
	return lagger{r.(*Receiver[driver.Record])}, nil
}

// lagger is a receiver that knows how far it is behind its source.
type lagger struct{ *Receiver[driver.Record] }

// Lag implements [driver.Lagger].
func (l lagger) Lag(ctx context.Context) (driver.Lag, error) { return l.OnLag(ctx) }

// OpenCounterReceiver implements [driver.Sources].
func (p *Provider) OpenCounterReceiver(ctx context.Context, name string) (driver.Receiver[driver.CounterFinished], error) {
	d, err := p.PullProvider.OpenCounterReceiver(ctx, name)
	return newReceiver(d, err, site{p, "Counter", name}, name, nil)
}

// OpenScheduleReceiver implements [driver.Sources].
func (p *Provider) OpenScheduleReceiver(ctx context.Context) (driver.Receiver[driver.Firing], error) {
	d, err := p.PullProvider.OpenScheduleReceiver(ctx)
	return newReceiver(d, err, site{p, "Scheduler", ""}, "", nil)
}

// OpenBucketReceiver implements [driver.Sources].
func (p *Provider) OpenBucketReceiver(ctx context.Context, name string) (driver.Receiver[driver.ObjectEvent], error) {
	d, err := p.PullProvider.OpenBucketReceiver(ctx, name)
	return newReceiver(d, err, site{p, "Bucket", name}, name, nil)
}
