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
	// one provider each get every record, in place of sharing them.
	Consumer func(name string) string
}

// Provider is a [driver.PullProvider] around another one that fails as its rules say.
type Provider struct {
	driver.PullProvider
	opts Options

	mu        sync.Mutex
	rules     []*Injected
	calls     map[site]int
	elements  map[string]int // commits read, by log
	disturb   Deliveries
	receivers map[string]int // notifications to give when the disturbance ends
	listeners map[int]func(string)
	last      int
}

type site struct{ op, name string }

// New returns a provider around inner; nil opts are the defaults. Without rules it
// behaves as inner does.
func New(inner driver.PullProvider, opts *Options) *Provider {
	p := &Provider{
		PullProvider: inner, calls: map[site]int{}, elements: map[string]int{}, receivers: map[string]int{}, listeners: map[int]func(string){},
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

// Rule says which calls fail, and how. The zero Rule fails the next call of
// anything with no error, that is, it does nothing.
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
	// Yield is how many elements of a sequence come before its error.
	Yield int
	// Member fails only the members of a batch that Key names, with a
	// *[driver.BatchError]; the others go through.
	Member bool
	// Do is called in the place of the failure: before the call, or after it.
	Do func()
}

// Injected is a rule at work.
type Injected struct {
	p    *Provider
	rule Rule
	seen int
	hits int
	off  bool
}

// Inject puts a rule to work.
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
// name counts all. Methods that the engine was answered by a rule count too.
func (p *Provider) Calls(op, name string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if name != "" {
		return p.calls[site{op, name}]
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

// match counts a call and returns the rule that it meets, if any.
func (p *Provider) match(op, name string, keys []string) *Rule {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls[site{op, name}]++
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

// do runs a call under the rules.
func (p *Provider) do(op, name string, keys []string, f func() error) error {
	r := p.match(op, name, keys)
	if r == nil {
		return f()
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
		return r.err(op, name)
	}
	if r.After {
		return nil
	}
	return f()
}

// get is do for a call with a result.
func get[T any](p *Provider, op, name string, keys []string, f func() (T, error)) (T, error) {
	var out T
	err := p.do(op, name, keys, func() (err error) {
		out, err = f()
		return err
	})
	if err != nil {
		var none T
		return none, err
	}
	return out, nil
}

// batch is do for a call with members, each with a key of its own in the error.
func batch[T any](p *Provider, op, name string, members []T, about, errorKey func(T) string, f func([]T) error) error {
	keys := make([]string, len(members))
	for i, m := range members {
		keys[i] = about(m)
	}
	r := p.match(op, name, keys)
	switch {
	case r == nil:
		return f(members)
	case !r.Member:
		if r.After {
			if err := f(members); err != nil {
				return err
			}
		}
		if r.Do != nil {
			r.Do()
		}
		if r.Err != nil {
			return r.err(op, name)
		}
		if r.After {
			return nil
		}
		return f(members)
	}
	failed := map[string]error{}
	var rest []T
	for _, m := range members {
		if about(m) == r.Key {
			failed[errorKey(m)] = r.err(op, name)
		} else {
			rest = append(rest, m)
		}
	}
	if err := f(rest); err != nil {
		return err
	}
	return &driver.BatchError{Failed: failed}
}

// OpenEventLog implements [driver.Provider].
func (p *Provider) OpenEventLog(ctx context.Context, name string) (driver.EventLog, error) {
	inner, err := p.PullProvider.OpenEventLog(ctx, name)
	return &eventLog{p, name, inner}, err
}

// OpenCommandTopic implements [driver.Provider].
func (p *Provider) OpenCommandTopic(ctx context.Context, name string) (driver.CommandTopic, error) {
	inner, err := p.PullProvider.OpenCommandTopic(ctx, name)
	return &commandTopic{p, name, inner}, err
}

// OpenCommandReceiver implements [driver.Sources].
func (p *Provider) OpenCommandReceiver(ctx context.Context, name string) (driver.Receiver[driver.Command], error) {
	inner, err := p.PullProvider.OpenCommandReceiver(ctx, name)
	if err != nil {
		return nil, err
	}
	r := newReceiver(p, "CommandTopic", name, name, inner)
	r.ordered, r.wanted = true, func(d Deliveries) bool { return d.Commands }
	return r, nil
}

// OpenEventTopic implements [driver.Provider].
func (p *Provider) OpenEventTopic(ctx context.Context, spec driver.TopicSpec) (driver.EventTopic, error) {
	if p.opts.Consumer != nil {
		spec.Subscribers = slices.Clone(spec.Subscribers)
		for i, s := range spec.Subscribers {
			spec.Subscribers[i] = p.opts.Consumer(s)
		}
	}
	inner, err := p.PullProvider.OpenEventTopic(ctx, spec)
	return &eventTopic{p, spec.Log, inner}, err
}

// OpenEventCollector implements [driver.Provider].
func (p *Provider) OpenEventCollector(ctx context.Context, spec driver.CollectorSpec) (driver.Receiver[driver.Record], error) {
	name := spec.Consumer
	if p.opts.Consumer != nil {
		spec.Consumer = p.opts.Consumer(spec.Consumer)
	}
	inner, err := p.PullProvider.OpenEventCollector(ctx, spec)
	if err != nil {
		return nil, err
	}
	c := newReceiver(p, "EventCollector", name, spec.Source.Log, inner)
	c.wanted = func(d Deliveries) bool { return d.Only == nil || d.Only(name) }
	c.strip = func(r driver.Record) driver.Record {
		r.Commit = nil
		return r
	}
	c.garbage = func(n int) driver.Record {
		return driver.Record{Raw: fmt.Appendf(nil, "garbage %d for %s", n, name), Err: fmt.Errorf("injected garbage: %w", driver.ErrInvalid)}
	}
	return c, nil
}

// OpenWatermarks implements [driver.Provider].
func (p *Provider) OpenWatermarks(ctx context.Context, consumer string) (driver.Watermarks, error) {
	inner, err := p.PullProvider.OpenWatermarks(ctx, consumer)
	return &watermarks{p, "Watermarks", consumer, inner}, err
}

// OpenQueryDb implements [driver.Provider].
func (p *Provider) OpenQueryDb(ctx context.Context, spec driver.TableSpec) (driver.QueryDb, error) {
	inner, err := p.PullProvider.OpenQueryDb(ctx, spec)
	return &queryDb{inner, watermarks{p, "QueryDb", spec.Name, inner}}, err
}

// OpenCounter implements [driver.Provider].
func (p *Provider) OpenCounter(ctx context.Context, name string) (driver.Counter, error) {
	inner, err := p.PullProvider.OpenCounter(ctx, name)
	return &counter{p, name, inner}, err
}

// OpenCounterReceiver implements [driver.Sources].
func (p *Provider) OpenCounterReceiver(ctx context.Context, name string) (driver.Receiver[driver.CounterFinished], error) {
	inner, err := p.PullProvider.OpenCounterReceiver(ctx, name)
	return undisturbed(p, "Counter", name, inner, err)
}

// OpenScheduler implements [driver.Provider].
func (p *Provider) OpenScheduler(ctx context.Context) (driver.Scheduler, error) {
	inner, err := p.PullProvider.OpenScheduler(ctx)
	return &scheduler{p, inner}, err
}

// OpenScheduleReceiver implements [driver.Sources].
func (p *Provider) OpenScheduleReceiver(ctx context.Context) (driver.Receiver[driver.Firing], error) {
	inner, err := p.PullProvider.OpenScheduleReceiver(ctx)
	return undisturbed(p, "Scheduler", "", inner, err)
}

// OpenBucket implements [driver.Provider].
func (p *Provider) OpenBucket(ctx context.Context, name string) (driver.Bucket, error) {
	inner, err := p.PullProvider.OpenBucket(ctx, name)
	return &bucket{p, name, inner}, err
}

// OpenBucketReceiver implements [driver.Sources].
func (p *Provider) OpenBucketReceiver(ctx context.Context, name string) (driver.Receiver[driver.ObjectEvent], error) {
	inner, err := p.PullProvider.OpenBucketReceiver(ctx, name)
	return undisturbed(p, "Bucket", name, inner, err)
}

// undisturbed is a receiver whose calls can fail and whose deliveries are left alone.
func undisturbed[T any](p *Provider, kind, name string, inner driver.Receiver[T], err error) (driver.Receiver[T], error) {
	if err != nil {
		return nil, err
	}
	r := newReceiver(p, kind, name, name, inner)
	r.wanted = func(Deliveries) bool { return false }
	return r, nil
}

// OpenDeadLetters implements [driver.Provider].
func (p *Provider) OpenDeadLetters(ctx context.Context) (driver.DeadLetters, error) {
	inner, err := p.PullProvider.OpenDeadLetters(ctx)
	return &deadLetters{inner, p}, err
}

// OpenOutcomes implements [driver.Provider].
func (p *Provider) OpenOutcomes(ctx context.Context) (driver.Outcomes, error) {
	inner, err := p.PullProvider.OpenOutcomes(ctx)
	return &outcomes{p, inner}, err
}
