package eventtopic_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reventless-go/reventless/aws/eventcollector"
	"github.com/reventless-go/reventless/aws/eventtopic"
	"github.com/reventless-go/reventless/aws/internal/awsqueues"
	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/drivertest"
	"github.com/reventless-go/reventless/driver/memory"
)

func TestMain(m *testing.M) { os.Exit(awstest.Run(m)) }

var raw = map[string]string{"RawMessageDelivery": "true"}

// topics is a provider of topics and their collectors; the logs are in memory.
type topics struct {
	driver.Provider
	store      *awsqueues.Store
	clients    *awstest.Clients
	attributes map[string]string // of subscriptions
	again      bool

	mu     sync.Mutex
	opened []*eventcollector.Queue
}

func (p *topics) OpenEventTopic(ctx context.Context, spec driver.TopicSpec) (driver.EventTopic, error) {
	arn, err := p.store.Topic(ctx, p.store.Name("events", spec.Log), true)
	if err != nil {
		return nil, err
	}
	for _, consumer := range spec.Subscribers {
		if _, err := p.subscribe(ctx, arn, consumer+"\x00"+spec.Log); err != nil {
			return nil, err
		}
	}
	if p.again {
		return relayedTopic{eventtopic.Open(p.clients.SNS, arn, nil)}, nil
	}
	return eventtopic.Open(p.clients.SNS, arn, nil), nil
}

// relayedTopic publishes again what failed and passes, as a relay does: the SDK
// does not know all the ways in which SNS says that it is throttled.
type relayedTopic struct{ driver.EventTopic }

func (t relayedTopic) Publish(ctx context.Context, es []driver.Envelope) error {
	refused := map[string]error{}
	err := awstest.Again(ctx, func() error {
		err := t.EventTopic.Publish(ctx, es)
		var some *driver.BatchError
		if !errors.As(err, &some) {
			return err
		}
		maps.DeleteFunc(some.Failed, func(key string, err error) bool {
			if errors.Is(err, driver.ErrThrottled) || errors.Is(err, driver.ErrUnavailable) {
				return false
			}
			refused[key] = err
			return true
		})
		es = slices.DeleteFunc(slices.Clone(es), func(e driver.Envelope) bool { return some.Failed[e.Key()] == nil })
		if len(es) == 0 {
			return nil
		}
		return err
	})
	if err == nil && len(refused) > 0 {
		return &driver.BatchError{Failed: refused}
	}
	return err
}

// subscribe subscribes a queue to a topic, unless it is.
func (p *topics) subscribe(ctx context.Context, topic, name string) (made bool, err error) {
	queue := p.store.Name("collector", name)
	if _, made, err = p.store.Queue(ctx, queue); err != nil || !made {
		return false, err
	}
	return true, p.store.Subscribe(ctx, topic, queue, p.attributes)
}

func (p *topics) OpenEventCollector(ctx context.Context, spec driver.CollectorSpec) (driver.EventCollector, error) {
	if !spec.Source.Topic {
		return p.Provider.OpenEventCollector(ctx, spec)
	}
	return p.collector(spec.Consumer+"\x00"+spec.Source.Log, spec.Source.Log), nil
}

func (p *topics) collector(name, log string) *eventcollector.Queue {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := eventcollector.OpenQueue(p.clients.SQS, p.store.Name("collector", name), log, nil)
	p.opened = append(p.opened, c)
	return c
}

func (p *topics) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var err error
	for _, c := range p.opened {
		err = errors.Join(err, c.Release(context.Background()))
	}
	p.opened = nil
	return err
}

func fixture(attributes map[string]string, wrap func(*topics) driver.Provider) drivertest.Open {
	return func(t *testing.T) *drivertest.Fixture {
		return fixtureOf(t, &topics{clients: awstest.MiniStack(t).Clients(nil), attributes: attributes}, wrap)
	}
}

func fixtureOf(t *testing.T, p *topics, wrap func(*topics) driver.Provider) *drivertest.Fixture {
	p.Provider, p.store = memory.New(nil), awsqueues.NewStore(awstest.MiniStack(t).Clients(nil), 10*time.Minute)
	provider := wrap(p)
	return &drivertest.Fixture{Provider: provider, Reopen: func(t *testing.T) driver.Provider {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		return provider
	}}
}

func plain(p *topics) driver.Provider { return p }

func TestEventTopic(t *testing.T) {
	t.Parallel()
	drivertest.TestEventTopic(t, fixture(raw, plain))
}

func TestEventTopicUnderFaults(t *testing.T) {
	t.Parallel()
	awstest.UnderFaults(t, 3, drivertest.TestEventTopic, func(t *testing.T, faults *awstest.Faults) *drivertest.Fixture {
		return fixtureOf(t, &topics{clients: awstest.MiniStack(t).Patient(faults), attributes: raw, again: true}, plain)
	}, awstest.Mix()...)
}

// Without raw delivery SNS wraps what it delivers.
func TestEventTopicWithoutRawDelivery(t *testing.T) {
	t.Parallel()
	drivertest.TestEventTopic(t, fixture(nil, plain))
}

// feeds is a provider whose collectors read a topic that has all of their log: a
// relay publishes what was there before they came, and then what is appended.
type feeds struct {
	*topics

	mu   sync.Mutex
	logs map[string]*relayed
}

// relayed is a log with a topic for each consumer.
type relayed struct {
	driver.EventLog
	name string

	mu     sync.Mutex
	topics []driver.EventTopic
}

func (l *relayed) Append(ctx context.Context, c driver.Commit) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.EventLog.Append(ctx, c); err != nil {
		return err
	}
	for stored, err := range l.Read(ctx, c.Stream, c.SequenceNr-1) {
		if err != nil {
			return err
		}
		for _, t := range l.topics {
			if err := t.Publish(ctx, []driver.Envelope{{Log: l.name, Commit: stored}}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *feeds) log(ctx context.Context, name string) (*relayed, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.logs[name]; l != nil {
		return l, nil
	}
	stored, err := p.Provider.OpenEventLog(ctx, name)
	if err != nil {
		return nil, err
	}
	l := &relayed{EventLog: stored, name: name}
	p.logs[name] = l
	return l, nil
}

func (p *feeds) OpenEventLog(ctx context.Context, name string) (driver.EventLog, error) {
	return p.log(ctx, name)
}

func (p *feeds) OpenEventCollector(ctx context.Context, spec driver.CollectorSpec) (driver.EventCollector, error) {
	l, err := p.log(ctx, spec.Source.Log)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	name := spec.Consumer + "\x00" + l.name
	arn, err := p.store.Topic(ctx, p.store.Name("events", name), true)
	if err != nil {
		return nil, err
	}
	made, err := p.subscribe(ctx, arn, name)
	if err != nil {
		return nil, err
	}
	if made {
		topic := relayedTopic{eventtopic.Open(p.clients.SNS, arn, nil)}
		var before []driver.Envelope
		for c, err := range l.Scan(ctx, 0, 1) {
			if err != nil {
				return nil, err
			}
			before = append(before, driver.Envelope{Log: l.name, Commit: c})
		}
		if err := topic.Publish(ctx, before); err != nil {
			return nil, err
		}
		l.topics = append(l.topics, topic)
	}
	return p.collector(name, l.name), nil
}

// The collector's own suite, on a queue behind a topic.
func TestEventCollector(t *testing.T) {
	t.Parallel()
	drivertest.TestEventCollector(t, fixture(raw, collected))
}

func collected(p *topics) driver.Provider { return &feeds{topics: p, logs: map[string]*relayed{}} }

func TestEventCollectorUnderFaults(t *testing.T) {
	t.Parallel()
	awstest.UnderFaults(t, 3, drivertest.TestEventCollector, func(t *testing.T, faults *awstest.Faults) *drivertest.Fixture {
		return fixtureOf(t, &topics{clients: awstest.MiniStack(t).Patient(faults), attributes: raw, again: true}, collected)
	}, awstest.Mix()...)
}

// open returns an empty FIFO topic with a subscription, through a transport, nil
// being the plain one.
func open(t *testing.T, transport http.RoundTripper, attributes map[string]string) (*eventtopic.Topic, *eventcollector.Queue) {
	t.Helper()
	store := awsqueues.NewStore(awstest.MiniStack(t).Clients(awstest.Transport()), time.Second)
	arn, err := store.Topic(t.Context(), store.Name("events", "Test.Log"), true)
	if err != nil {
		t.Fatal(err)
	}
	queue := store.Name("collector", "Test.Consumer")
	url, _, err := store.Queue(t.Context(), queue)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Subscribe(t.Context(), arn, queue, attributes); err != nil {
		t.Fatal(err)
	}
	if transport == nil {
		transport = awstest.Transport()
	}
	clients := awstest.MiniStack(t).Clients(transport)
	return eventtopic.Open(clients.SNS, arn, nil), eventcollector.OpenQueue(clients.SQS, url, "Test.Log", &eventcollector.QueueOptions{Wait: time.Second})
}

func envelope(stream string, n uint64, bytes int, types ...string) driver.Envelope {
	if types == nil {
		types = []string{"Happened"}
	}
	c := driver.Commit{Stream: stream, SequenceNr: n, Commands: []driver.AnsweredCommand{{Meta: driver.Meta{ID: "c"}, EventCount: len(types)}}}
	for _, typ := range types {
		c.Events = append(c.Events, driver.Event{Type: typ, Version: 1, Data: json.RawMessage(`"` + strings.Repeat("x", bytes) + `"`)})
	}
	return driver.Envelope{Log: "Test.Log", Commit: c}
}

// collect receives and settles n records.
func collect(t *testing.T, c *eventcollector.Queue, n int) []driver.Record {
	t.Helper()
	var got []driver.Record
	for end := time.Now().Add(30 * time.Second); len(got) < n; {
		if time.Now().After(end) {
			t.Fatalf("%d of %d records came", len(got), n)
		}
		batch, err := c.Receive(t.Context(), 10)
		if err != nil {
			t.Fatal(err)
		}
		var ends []driver.Settlement
		for _, d := range batch.Deliveries {
			got = append(got, d.Message)
			ends = append(ends, driver.Settlement{ID: d.ID})
		}
		if err := c.Settle(t.Context(), ends); err != nil {
			t.Fatal(err)
		}
	}
	return got
}

func TestTenCommitsAreOneRequest(t *testing.T) {
	t.Parallel()
	requests := awstest.NewCounter(awstest.Transport())
	topic, _ := open(t, requests, raw)
	var es []driver.Envelope
	for n := range uint64(10) {
		es = append(es, envelope("s", n+1, 10<<10))
	}
	if err := errors.Join(topic.Publish(t.Context(), es), topic.Publish(t.Context(), nil)); err != nil {
		t.Fatal(err)
	}
	if got := requests.All(); got["SNS.PublishBatch"] != 1 || len(got) != 1 {
		t.Errorf("the requests are %v, want one", got)
	}
	requests.Reset()
	for i := range es {
		es[i] = envelope("t", uint64(i)+1, 100<<10) // two fit in 256 KiB
	}
	if err := topic.Publish(t.Context(), es); err != nil {
		t.Fatal(err)
	}
	if n := requests.Of("SNS.PublishBatch"); n != 5 {
		t.Errorf("ten commits of 100 KiB are %d requests, want 5", n)
	}
}

// Up to the limit, to the byte, a commit travels along; beyond it only its place
// does. So it is with one that the service would not take as it is.
func TestLargeCommitsTravelAsClaims(t *testing.T) {
	t.Parallel()
	topic, collector := open(t, nil, raw)
	size := func(e driver.Envelope) int { // of the message and its attributes
		commit, err := driver.EncodeCommit(e.Commit)
		if err != nil {
			t.Fatal(err)
		}
		return len(`{"log":"Test.Log","commit":}`) + len(commit) + len("logStringTest.Log") + len(`typesString.Array["Happened"]`)
	}
	fits := eventtopic.MaxBytes - size(envelope("s", 1, 0))
	odd := envelope("\uffff<&>", 1, 1)
	for i, tt := range []struct {
		e     driver.Envelope
		whole bool
	}{
		{envelope("s", 1, fits), true},
		{envelope("s", 2, fits+1), false},
		{envelope("s", 3, 399<<10), false},
		{envelope("s", 4, 1), true},
		{odd, false},
	} {
		if err := topic.Publish(t.Context(), []driver.Envelope{tt.e}); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		r := collect(t, collector, 1)[0]
		if r.Err != nil || r.Stream != tt.e.Commit.Stream || r.SequenceNr != tt.e.Commit.SequenceNr || (r.Commit != nil) != tt.whole {
			t.Errorf("%d: the commit came as %.200v, want it whole: %v", i, fmt.Sprint(r), tt.whole)
		}
	}
	// The types are for filters, they cannot be left out.
	var types []string
	for i := range 300 {
		types = append(types, fmt.Sprintf("%d%s", i, strings.Repeat("T", 1000)))
	}
	large := envelope("s", 5, 1, types...)
	err := topic.Publish(t.Context(), []driver.Envelope{large, envelope("s", 6, 1)})
	var some *driver.BatchError
	if !errors.As(err, &some) || len(some.Failed) != 1 || !errors.Is(some.Failed[large.Key()], driver.ErrTooLarge) {
		t.Errorf("got %.300v, want that one is too large", err)
	}
	if r := collect(t, collector, 1)[0]; r.SequenceNr != 6 {
		t.Errorf("commit %d came, want 6", r.SequenceNr)
	}
}

func TestSubscriptionsFilterByType(t *testing.T) {
	t.Parallel()
	topic, collector := open(t, nil, map[string]string{"RawMessageDelivery": "true", "FilterPolicy": `{"types":["Wanted \u00e4"],"log":["Test.Log"]}`})
	other := envelope("s", 4, 1, "Wanted ä")
	other.Log = "Test.Other"
	if err := topic.Publish(t.Context(), []driver.Envelope{
		envelope("s", 1, 1, "Other"), envelope("s", 2, 1, "Other", "Wanted ä", "Other"), envelope("s", 3, 1, `"],["`), other, envelope("s", 5, 1, "Wanted ä"),
	}); err != nil {
		t.Fatal(err)
	}
	var got []uint64
	for _, r := range collect(t, collector, 2) {
		got = append(got, r.SequenceNr)
	}
	if !slices.Equal(got, []uint64{2, 5}) {
		t.Errorf("the commits %v came, want 2 and 5", got)
	}
}

// A standard topic takes no group; it delivers, in whatever order.
func TestStandardTopicDelivers(t *testing.T) {
	t.Parallel()
	store := awsqueues.NewStore(awstest.MiniStack(t).Clients(awstest.Transport()), time.Minute)
	clients := awstest.MiniStack(t).Clients(awstest.Transport())
	arn, err := store.Topic(t.Context(), awstest.Stack(), false)
	if err != nil {
		t.Fatal(err)
	}
	name := awstest.Stack()
	url, err := store.Standard(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Subscribe(t.Context(), arn, name, raw); err != nil {
		t.Fatal(err)
	}
	if err := eventtopic.Open(clients.SNS, arn, nil).Publish(t.Context(), []driver.Envelope{envelope("s", 1, 1), envelope("s", 2, 1)}); err != nil {
		t.Fatal(err)
	}
	collector := eventcollector.OpenQueue(clients.SQS, url, "Test.Log", nil)
	seen := map[uint64]bool{}
	for _, r := range collect(t, collector, 2) {
		seen[r.SequenceNr] = r.Err == nil && r.Commit != nil
	}
	if !seen[1] || !seen[2] {
		t.Errorf("the commits %v came, want 1 and 2", seen)
	}
}

func TestMissingTopicIsUnavailable(t *testing.T) {
	t.Parallel()
	arn := "arn:aws:sns:" + awstest.Region + ":" + awstest.Account + ":missing.fifo"
	err := eventtopic.Open(awstest.MiniStack(t).Clients(awstest.Transport()).SNS, arn, nil).Publish(t.Context(), []driver.Envelope{envelope("s", 1, 1)})
	if !errors.Is(err, driver.ErrUnavailable) || !strings.Contains(err.Error(), arn) {
		t.Errorf("got %v, want unavailable", err)
	}
}

func TestBadEnvelopesAreRefused(t *testing.T) {
	t.Parallel()
	topic, collector := open(t, nil, raw)
	nameless, empty := envelope("a", 1, 1), envelope("b", 1, 1)
	nameless.Log, empty.Commit.Events = "", nil
	err := topic.Publish(t.Context(), []driver.Envelope{nameless, empty, envelope("c", 0, 1), envelope("d", 1, 1)})
	var some *driver.BatchError
	if !errors.As(err, &some) || len(some.Failed) != 3 {
		t.Fatalf("got %v, want that three are refused", err)
	}
	for key, err := range some.Failed {
		if !errors.Is(err, driver.ErrInvalid) {
			t.Errorf("%s: %v", key, err)
		}
	}
	if r := collect(t, collector, 1)[0]; r.Stream != "d" {
		t.Errorf("a commit of %s came, want that of d", r.Stream)
	}
}

// Whatever fails before or after its effect: a relay that publishes again what
// was not acknowledged leaves a consumer nothing to miss.
func TestNothingPublishedIsLostUnderFaults(t *testing.T) {
	t.Parallel()
	for range 2 {
		seed := rand.Uint64()
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			faults := awstest.NewFaults(
				awstest.Transport(), seed,
				awstest.Rule{Fault: awstest.Throttle, Probability: 0.1},
				awstest.Rule{Fault: awstest.Internal, Probability: 0.05},
				awstest.Rule{Fault: awstest.InternalAfter, Probability: 0.03},
				awstest.Rule{Fault: awstest.Reset, Probability: 0.05},
				awstest.Rule{Fault: awstest.ResetAfter, Probability: 0.03},
			)
			topic, collector := open(t, faults, raw)
			const streams, each = 4, 20
			var relays sync.WaitGroup
			for s := range streams {
				relays.Go(func() {
					for n := uint64(1); n <= each; n += 4 {
						var es []driver.Envelope
						for i := range uint64(4) {
							es = append(es, envelope(fmt.Sprintf("s%d", s), n+i, 100))
						}
						for err := topic.Publish(t.Context(), es); err != nil; err = topic.Publish(t.Context(), es) {
							if !errors.Is(err, driver.ErrThrottled) && !errors.Is(err, driver.ErrUnavailable) {
								t.Errorf("publish: %v", err)
								return
							}
						}
					}
				})
			}
			last := map[string]uint64{}
			done := 0
			for end := time.Now().Add(90 * time.Second); done < streams*each; {
				if time.Now().After(end) {
					t.Fatalf("%d of %d commits came: %v (faults %v)", done, streams*each, last, faults.Injected())
				}
				batch, err := collector.Receive(t.Context(), 10)
				if err != nil {
					continue
				}
				var ends []driver.Settlement
				for _, d := range batch.Deliveries {
					r := d.Message
					if r.Err != nil || r.SequenceNr > last[r.Stream]+1 {
						t.Errorf("of %s commit %d came where %d is due: %v", r.Stream, r.SequenceNr, last[r.Stream]+1, r.Err)
					}
					if r.SequenceNr == last[r.Stream]+1 {
						last[r.Stream]++
						done++
					}
					ends = append(ends, driver.Settlement{ID: d.ID})
				}
				_ = collector.Settle(t.Context(), ends) // they come again
			}
			relays.Wait()
		})
	}
}
