package lambdahost

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/internal/lambdarunner"
	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/aws/internal/streams"
	"github.com/reventless-go/reventless/aws/internal/wiring"
	"github.com/reventless-go/reventless/aws/statetopic"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/drivertest"
	"github.com/reventless-go/reventless/topology"
)

// lease is the time that a test has for a delivery.
const lease = 15 * time.Minute

// stand runs functions on production's path: event source mappings deliver messages from the
// emulators, the handler decodes them, and an engine passes them to the test. The drivers
// are those of production.
//
// In four respects the stand is more lenient than Lambda, because the suites check single
// deliveries:
//   - An invocation starts only when the test calls Receive.
//   - Functions and mappings outlive the provider. An invocation that is interrupted by the
//     close of a provider continues with the next one. In Lambda, its messages would be
//     redelivered after their visibility timeout.
//   - The timeout of a function is the lease of 15 minutes, and a stream is retried
//     without limit.
//   - The runner injects no faults. Faults are injected into the requests of the drivers.
//
// The tests in aws/e2e run the shop with the faults and limits of Lambda.
type stand struct {
	t          *testing.T
	deployment *awstest.Deployment
	backend    awstest.Backend
	runner     *lambdarunner.Runner
	// concurrency is the number of invocations that a function has at the same time, in
	// the one process of the test.
	concurrency int

	mu        sync.Mutex
	functions map[string]*standFunction
}

// standFunction is a function with its mapping, which outlives the provider.
type standFunction struct {
	mu      sync.Mutex
	handler *handler
	opening *opening
	changed chan struct{} // closed when the handler is replaced
}

// opening is a provider of a stand. A test closes it and opens another one.
type opening struct {
	driver.Provider // handles conflicts under faults as the engine does
	own             *awstest.Provider
	stand           *stand
	closed          chan struct{}
	once            sync.Once
	demand          *demand

	mu        sync.Mutex
	receivers map[string]any
	topics    map[string]driver.StateTopic
	logs      map[string][]string // by consumer: the logs of its topic receivers
	listeners map[int]func(string)
	next      int
}

var _ driver.PullProvider = (*opening)(nil)

func newStand(t *testing.T, b awstest.Backend, others *awstest.Emulator) *stand {
	t.Helper()
	s := &stand{t: t, deployment: awstest.NewDeployment(t, topology.App{Name: "test"}, b.DynamoDB, others), backend: b, concurrency: 100, functions: map[string]*standFunction{}}
	s.runner = s.newRunner()
	return s
}

// newRunner returns a runner that is closed before the resources are deleted.
func (s *stand) newRunner() *lambdarunner.Runner {
	s.t.Helper()
	r, err := lambdarunner.New(lambdarunner.Options{
		SQS: s.deployment.Others.Clients(nil).SQS, Streams: s.deployment.DynamoDB.Clients(nil).Streams,
		Region: awstest.Region, Account: awstest.Account,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	r.Start()
	s.t.Cleanup(func() { _ = r.Close() }) // never fails
	return r
}

func (s *stand) open(t *testing.T) *opening {
	t.Helper()
	p, err := s.deployment.Provider(s.backend.Config, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	o := &opening{
		Provider: awstest.Repeats(s.backend, p), own: p, stand: s, closed: make(chan struct{}), demand: &demand{received: make(chan struct{})},
		receivers: map[string]any{}, topics: map[string]driver.StateTopic{}, logs: map[string][]string{}, listeners: map[int]func(string){},
	}
	t.Cleanup(func() { _ = o.Close() }) // never fails
	return o
}

// fixture returns a fixture with the real clock.
func (s *stand) fixture(t *testing.T, lag time.Duration) *drivertest.Fixture {
	t.Helper()
	now := s.open(t)
	return &drivertest.Fixture{
		Provider: now, Lag: lag, Patience: 2 * time.Minute,
		Reopen: func(t *testing.T) driver.PullProvider {
			_ = now.Close()
			now = s.open(t)
			return now
		},
	}
}

// Close implements [driver.Provider].
func (o *opening) Close() error {
	o.once.Do(func() { close(o.closed) })
	return o.Provider.Close()
}

// Notify implements [driver.Sources].
func (o *opening) Notify(f func(string)) (stop func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.next++
	n := o.next
	o.listeners[n] = f
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.listeners, n)
	}
}

func (o *opening) notify(kind, name string) func() {
	return func() {
		o.mu.Lock()
		all := slices.Collect(maps.Values(o.listeners))
		o.mu.Unlock()
		for _, f := range all {
			f(driver.ReceiverOf(kind, name))
		}
	}
}

// receiverOf returns the receiver with an id. made is true if the call created it.
func receiverOf[T any](o *opening, kind, name, id string, group func(T) string, clone func(T) T) (r *receiver[T], made bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if r, ok := o.receivers[kind+"/"+id].(*receiver[T]); ok {
		return r, false
	}
	r = &receiver[T]{group: group, clone: clone, notify: o.notify(kind, name), closed: o.closed, demand: o.demand}
	o.receivers[kind+"/"+id] = r
	return r, true
}

func same[T any](v T) T { return v }

// through returns a deep copy of a value by JSON.
func through[T any](v T) T {
	text, err := json.Marshal(v)
	if err == nil {
		v = *new(T)
		err = json.Unmarshal(text, &v)
	}
	if err != nil {
		panic(err)
	}
	return v
}

// OpenCommandReceiver implements [driver.Sources].
func (o *opening) OpenCommandReceiver(ctx context.Context, name string) (driver.Receiver[driver.Command], error) {
	r, made := receiverOf(o, "CommandTopic", name, name, func(c driver.Command) string { return c.Entity }, func(c driver.Command) driver.Command {
		c.Data, c.Meta.Headers = slices.Clone(c.Data), maps.Clone(c.Meta.Headers)
		return c
	})
	if !made {
		return r, nil
	}
	trigger := wiring.Trigger{Source: naming.Commands, Component: name}
	if err := o.stand.deployment.Queue(trigger); err != nil {
		return nil, err
	}
	return r, o.serve(ctx, "commands/"+name, wiring.Commands, trigger, &pulledEngine{notify: r.notify, commands: r})
}

// OpenEventCollector implements [driver.Sources].
func (o *opening) OpenEventCollector(ctx context.Context, spec driver.CollectorSpec) (driver.Receiver[driver.Record], error) {
	log := spec.Source.Log
	id := func(log string) string { return fmt.Sprint(spec.Consumer, "/", log, "/", spec.Source.Topic) }
	open := func(log string) (*receiver[driver.Record], bool) {
		return receiverOf(o, "EventCollector", log, id(log), func(r driver.Record) string { return r.Stream }, func(r driver.Record) driver.Record {
			if r.Commit != nil {
				commit := cloneCommit(*r.Commit)
				r.Commit = &commit
			}
			r.Raw = slices.Clone(r.Raw)
			return r
		})
	}
	r, made := open(log)
	if !made {
		return r, nil
	}
	e := &pulledEngine{notify: r.notify, records: map[string]*receiver[driver.Record]{log: r}}
	if !spec.Source.Topic {
		if _, err := o.OpenEventLog(ctx, log); err != nil { // creates its table
			return nil, err
		}
		return r, o.serve(ctx, "feed/"+id(log), wiring.Projections, wiring.Trigger{Source: naming.Log, Component: log, Consumers: []string{spec.Consumer}}, e)
	}
	o.mu.Lock()
	o.logs[spec.Consumer] = append(o.logs[spec.Consumer], log)
	logs := slices.Clone(o.logs[spec.Consumer])
	o.mu.Unlock()
	for _, l := range logs { // all logs share one queue
		e.records[l], _ = open(l)
	}
	trigger := wiring.Trigger{Source: naming.Collector, Component: spec.Consumer, Consumers: []string{spec.Consumer}, Logs: logs}
	if err := o.stand.deployment.Queue(trigger); err != nil {
		return nil, err
	}
	return r, o.serve(ctx, "topic/"+spec.Consumer, wiring.Projections, trigger, e)
}

func cloneCommit(c driver.Commit) driver.Commit {
	c.Events = slices.Clone(c.Events)
	for i := range c.Events {
		c.Events[i].Data = slices.Clone(c.Events[i].Data)
	}
	c.Commands = through(c.Commands)
	return c
}

// OpenCounterReceiver implements [driver.Sources].
func (o *opening) OpenCounterReceiver(ctx context.Context, name string) (driver.Receiver[driver.CounterFinished], error) {
	r, made := receiverOf(o, "Counter", name, name, func(f driver.CounterFinished) string { return f.CounterID }, same[driver.CounterFinished])
	if !made {
		return r, nil
	}
	if _, err := o.OpenCounter(ctx, name); err != nil { // creates its tables
		return nil, err
	}
	return r, o.serve(ctx, "counter/"+name, wiring.Counters, wiring.Trigger{Source: naming.Counts, Component: name}, &pulledEngine{notify: r.notify, finished: r})
}

// OpenScheduleReceiver implements [driver.Sources].
func (o *opening) OpenScheduleReceiver(ctx context.Context) (driver.Receiver[driver.Firing], error) {
	r, made := receiverOf(o, "Scheduler", "", "", func(f driver.Firing) string { return f.Name }, func(f driver.Firing) driver.Firing {
		f.Payload = slices.Clone(f.Payload)
		return f
	})
	if !made {
		return r, nil
	}
	if err := o.stand.deployment.Schedules(); err != nil {
		return nil, err
	}
	return r, o.serve(ctx, "timers", wiring.Timers, wiring.Trigger{Source: naming.Timers}, &pulledEngine{notify: r.notify, firings: r})
}

// OpenBucketReceiver implements [driver.Sources].
func (o *opening) OpenBucketReceiver(ctx context.Context, name string) (driver.Receiver[driver.ObjectEvent], error) {
	r, made := receiverOf(o, "Bucket", name, name, func(e driver.ObjectEvent) string { return e.Key }, same[driver.ObjectEvent])
	if !made {
		return r, nil
	}
	if err := o.stand.deployment.Bucket(name, true); err != nil {
		return nil, err
	}
	return r, o.serve(ctx, "tasks/"+name, wiring.Tasks, wiring.Trigger{Source: naming.Objects, Component: name, Task: "Test.Task"}, &pulledEngine{notify: r.notify, objects: r})
}

// serve runs a function with one trigger and the engine e.
func (o *opening) serve(ctx context.Context, id string, role wiring.Role, trigger wiring.Trigger, e engine) error {
	h := &handler{
		stack: o.stand.deployment.Name, function: wiring.Function{Role: role, Subject: trigger.Component, Triggers: []wiring.Trigger{trigger}},
		provider: o.own.Provider, engine: e, log: slog.New(slog.DiscardHandler), margin: time.Second, now: time.Now,
		metrics: newMetrics(io.Discard, "test", o.stand.deployment.Name, id, time.Now),
	}
	if err := h.serve(ctx, 5); err != nil {
		return err
	}
	s := o.stand
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.functions[id]
	if f != nil {
		f.attach(o, h)
		return nil
	}
	f = &standFunction{changed: make(chan struct{})}
	f.attach(o, h)
	s.functions[id] = f
	name := fmt.Sprint("f", len(s.functions))
	if err := s.runner.Function(lambdarunner.Function{Name: name, Timeout: lease, Concurrency: s.concurrency, Handler: f.handle}); err != nil {
		return err
	}
	if !trigger.Stream() {
		d, o := s.deployment, lambdarunner.QueueMapping{Visibility: lease}
		if trigger.Source == naming.Timers {
			o.BatchSize = 1 // the driver deletes a schedule when its firing is settled
		}
		return s.runner.Queue(name, d.QueueURL(trigger.Source, trigger.Component), d.Source(trigger), o)
	}
	key := "id"
	if trigger.Source == naming.Counts {
		key = "counterId"
	}
	return s.runner.Stream(name, s.deployment.Resource(trigger.Source, trigger.Component), lambdarunner.StreamMapping{MaxRetries: -1, ShardBy: key})
}

func (f *standFunction) attach(o *opening, h *handler) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.opening, f.handler = o, h
	close(f.changed)
	f.changed = make(chan struct{})
}

// handle is the handler of the function. If the provider is closed during an invocation, the
// next provider handles the remaining records.
func (f *standFunction) handle(ctx context.Context, payload []byte) ([]byte, error) {
	for {
		f.mu.Lock()
		o, h, changed := f.opening, f.handler, f.changed
		f.mu.Unlock()
		answer, err := o.invoke(ctx, h, payload)
		select {
		case <-o.closed:
		default:
			return answer, err
		}
		if err != nil {
			return nil, err
		}
		if payload, err = left(payload, answer); err != nil || payload == nil {
			return answer, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// invoke calls a handler after the next Receive of the test. The close of the provider
// cancels the call.
func (o *opening) invoke(ctx context.Context, h *handler, payload []byte) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-o.closed:
			cancel()
		case <-ctx.Done():
		}
	}()
	h.engine.(*pulledEngine).notify()
	o.demand.wait(ctx, o.closed)
	i := &invocation{}
	defer i.moved(nil)
	return h.Invoke(context.WithValue(ctx, invocationKey{}, i), payload)
}

// left returns the event with the failed records of an answer, or nil.
func left(payload, answer []byte) ([]byte, error) {
	var a struct {
		BatchItemFailures []struct{ ItemIdentifier string }
	}
	by, _, err := decodeBatch(payload)
	if err == nil {
		err = json.Unmarshal(answer, &a)
	}
	if err != nil || len(a.BatchItemFailures) == 0 {
		return nil, err
	}
	failed := map[string]bool{}
	for _, f := range a.BatchItemFailures {
		failed[f.ItemIdentifier] = true
	}
	var b batch
	for _, records := range by {
		for _, r := range records {
			if failed[r.id()] {
				b.Records = append(b.Records, r.text)
			}
		}
	}
	return json.Marshal(b)
}

// maxBehind is the maximum number of changes that a subscriber can be behind.
const maxBehind = 1024

// stateTopic publishes the stream of the rows of a read model to subscribers.
type stateTopic struct {
	spec   driver.TableSpec
	runner *lambdarunner.Runner
	closed chan struct{}

	mu          sync.Mutex
	subscribers map[*subscriber]bool
}

type subscriber struct {
	changes chan driver.StateChange
	slow    bool
}

// OpenStateTopic implements [driver.Sources].
func (o *opening) OpenStateTopic(_ context.Context, spec driver.TableSpec) (driver.StateTopic, error) {
	if err := o.own.Rows(spec); err != nil { // creates its table
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if t := o.topics[spec.Name]; t != nil {
		return t, nil
	}
	t := &stateTopic{spec: spec, closed: o.closed, runner: o.stand.newRunner(), subscribers: map[*subscriber]bool{}}
	if err := t.runner.Function(lambdarunner.Function{Name: "changes", Handler: t.handle}); err != nil {
		return nil, err
	}
	o.topics[spec.Name] = t
	return t, t.runner.Stream("changes", o.stand.deployment.Resource(naming.Rows, spec.Name), lambdarunner.StreamMapping{MaxRetries: -1})
}

func (t *stateTopic) handle(_ context.Context, payload []byte) ([]byte, error) {
	var b batch
	if err := json.Unmarshal(payload, &b); err != nil {
		return nil, err
	}
	for _, text := range b.Records {
		if c, ok, err := statetopic.DecodeStream(streams.Parse(text), t.spec); err == nil && ok {
			t.publish(c)
		}
	}
	return []byte("{}"), nil
}

func (t *stateTopic) publish(c driver.StateChange) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := range t.subscribers {
		own := c
		own.Row = slices.Clone(c.Row)
		select {
		case s.changes <- own:
		default:
			s.slow = true
			close(s.changes)
			delete(t.subscribers, s)
		}
	}
}

// Subscribe implements [driver.StateTopic].
func (t *stateTopic) Subscribe(ctx context.Context) (iter.Seq2[driver.StateChange, error], error) {
	select {
	case <-t.closed:
		return nil, errClosed
	default:
	}
	// A subscriber does not receive earlier changes.
	if err := t.runner.WaitIdle(ctx); err != nil {
		return nil, err
	}
	s := &subscriber{changes: make(chan driver.StateChange, maxBehind)}
	t.mu.Lock()
	t.subscribers[s] = true
	t.mu.Unlock()
	return func(yield func(driver.StateChange, error) bool) {
		defer func() {
			t.mu.Lock()
			defer t.mu.Unlock()
			delete(t.subscribers, s)
		}()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.closed:
				yield(driver.StateChange{}, errClosed)
				return
			case c, ok := <-s.changes:
				if !ok {
					yield(driver.StateChange{}, fmt.Errorf("changes were dropped: %w", driver.ErrUnavailable))
					return
				}
				if ctx.Err() != nil || !yield(c, nil) {
					return
				}
			}
		}
	}, nil
}
