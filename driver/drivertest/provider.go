package drivertest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// TestProvider runs all suites on one kind of provider.
func TestProvider(t *testing.T, open Open) {
	for _, s := range suites() {
		t.Run(s.name, func(t *testing.T) { s.run(t, open) })
	}
}

func suites() []suite {
	return []suite{
		providerSuite(), eventLogSuite(), commandTopicSuite(), eventTopicSuite(), eventCollectorSuite(),
		watermarksSuite(), queryDbSuite(), shadowSuite(), queryEngineSuite(), stateTopicSuite(), counterSuite(),
		schedulerSuite(), bucketSuite(), deadLettersSuite(), outcomesSuite(),
	}
}

func providerSuite() suite {
	return suite{"Provider", []property{
		{"LimitsAreSet", limitsAreSet},
		{"OneNameIsOneStore", oneNameIsOneStore},
		{"SimilarNamesAreKeptApart", similarNamesAreKeptApart},
		{"ClosedDriversAreUnavailable", closedDriversAreUnavailable},
		{"ClosingTwiceIsFine", closingTwiceIsFine},
		{"CloseLosesNoAcknowledgedCall", closeLosesNoAcknowledgedCall},
		{"CloseEndsSubscriptions", closeEndsSubscriptions},
		{"NotifyNamesEveryReceiver", notifyNamesEveryReceiver},
		{"NotifyFollowsSettlements", notifyFollowsSettlements},
		{"NotifyStops", notifyStops},
	}}
}

func limitsAreSet(e *env) {
	l := e.Provider.Limits()
	for name, n := range map[string]int{
		"MaxCommitBytes": l.MaxCommitBytes, "MaxCommandBytes": l.MaxCommandBytes, "MaxRowBytes": l.MaxRowBytes,
	} {
		e.errorIf(n < 16<<10, "%s = %d, want 16 KiB at least", name, n)
	}
	e.errorIf(l.MaxStep < 10, "MaxStep = %d, want 10 at least", l.MaxStep)
	e.errorIf(l.MaxFeedReaders < 0, "MaxFeedReaders = %d, want 0 or more", l.MaxFeedReaders)
}

func oneNameIsOneStore(e *env) {
	e.fill(e.eventLog("Test.Thing"), "s", 1, 2)
	e.wantStream(e.eventLog("Test.Thing"), "s", []driver.Commit{commitOf("s", 1, "fill"), commitOf("s", 2, "fill")})

	e.must(e.commandTopic("Test.Thing").Send(e.ctx, []driver.Command{command("e", "c")}), "Send")
	one, two := e.commandTopic("Test.Thing"), e.commandTopic("Test.Thing")
	leased := take(e, one, 1)
	noCommands(e, two, "while another handle leases it")
	settle(e, two, false, leased...) // settled by the other handle
	noCommands(e, one, "though it was settled")

	e.must(e.watermarks("Test.Thing").Advance(e.ctx, []driver.Advance{advance("s", 0, 3)}), "Advance")
	e.wantWatermark(e.watermarks("Test.Thing"), streamKey("s"), 3, false)

	e.save(e.table(plainTable), numbered("id", 1))
	e.wantRow(e.table(plainTable), numbered("id", 1))
	e.wantIDs(e.engine(plainTable), driver.Query{ReadModel: plainTable.Name, Value: "id"}, "id")

	e.count(e.counter("Test.Thing"), "a", "r", 1)
	e.wantCounter(e.counter("Test.Thing"), "a", 1, 0, 0)

	e.create(e.scheduler(), "once", at(e.Now().Add(time.Hour)))
	e.wantSchedules(e.scheduler(), "once")

	e.putObject(e.bucket("Test.Thing"), "key", "content")
	e.wantObject(e.bucket("Test.Thing"), "key", "content")

	e.park(e.deadLetters(), letterOf("a", "Test.A"))
	e.wantLetter(e.deadLetters(), letterOf("a", "Test.A"))

	e.putOutcome(e.outcomes(), accepted("c", 1), time.Hour)
	e.wantOutcome(e.outcomes(), accepted("c", 1))
}

func similarNamesAreKeptApart(e *env) {
	names := []string{"Shop.AB", "ShopA.B", "Shop.A", "Shop.A1", "Shop.ABC", "Sho.pAB"}
	spec := func(name string) driver.TableSpec { return driver.TableSpec{Name: name} }
	for i, name := range names {
		e.fill(e.eventLog(name), "s", 1, uint64(i+1))
		e.must(e.commandTopic(name).Send(e.ctx, []driver.Command{command("e", "c-"+name)}), "Send")
		e.must(e.watermarks(name).Advance(e.ctx, []driver.Advance{advance("s", 0, uint64(i+1))}), "Advance")
		e.save(e.table(spec(name)), numbered("id", i))
		e.count(e.counter(name), "a", "r", int64(i+1))
		e.putObject(e.bucket(name), "key", name)
	}
	e.must(e.watermarks(names[0]).Block(e.ctx, streamKey("s"), 1), "Block")
	e.must(e.table(spec(names[0])).Clear(e.ctx), "Clear")
	e.must(e.bucket(names[0]).Delete(e.ctx, "key"), "Delete")
	e.wantNoRow(e.table(spec(names[0])), driver.Key{ID: "id"}, "though its read model was cleared")
	e.wantNoObject(e.bucket(names[0]), "key", "though it was deleted")
	for i, name := range names {
		got := len(e.read(e.eventLog(name), "s", 0))
		e.errorIf(got != i+1, "the log %s has %d commits, want %d", name, got, i+1)
		sent := drained(e, e.commandTopic(name).Receiver, 1)
		e.errorIf(len(sent) != 1 || sent[0].Meta.ID != "c-"+name, "the topic %s has the commands %v", name, sent)
		noCommands(e, e.commandTopic(name), "though one was sent")
		e.wantWatermark(e.watermarks(name), streamKey("s"), uint64(i+1), i == 0)
		e.wantCounter(e.counter(name), "a", int64(i+1), 0, 0)
		if i == 0 {
			continue
		}
		e.wantRow(e.table(spec(name)), numbered("id", i))
		b := e.bucket(name)
		e.wantObject(b, "key", name)
		drained(e, b.Receiver, 1)
		none(e, b.Receiver, func(o driver.ObjectEvent) string { return fmt.Sprintf("%+v", o) }, "though one object was put into "+name)
	}
	// Names are separate for each kind of driver.
	e.wantWatermark(e.table(spec(names[0])), streamKey("s"), 0, false)
}

func closedDriversAreUnavailable(e *env) {
	cs := everyCall(e)
	e.must(e.Provider.Close(), "Close")
	for _, c := range cs {
		e.wantClass(c.do(e.ctx), driver.ErrUnavailable, "%s after Close", c.name)
	}
}

func closingTwiceIsFine(e *env) {
	e.fill(e.eventLog("Test.Log"), "s", 1, 1)
	e.must(e.Provider.Close(), "Close")
	e.must(e.Provider.Close(), "the second Close")
	if e.Reopen == nil {
		return
	}
	e.reopen()
	e.wantStream(e.eventLog("Test.Log"), "s", []driver.Commit{commitOf("s", 1, "fill")})
}

func closeLosesNoAcknowledgedCall(e *env) {
	l, topic := e.eventLog("Test.Log"), e.commandTopic("Test.Thing")
	const writers = 6
	var stored [writers]atomic.Uint64
	var begun atomic.Int64
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for n := uint64(1); ; n++ {
				err := l.Append(e.ctx, commitOf(fmt.Sprintf("s%d", i), n, "w"))
				if err == nil {
					err = topic.Send(e.ctx, []driver.Command{command(fmt.Sprintf("s%d", i), fmt.Sprintf("%d#%d", i, n))})
				}
				if err != nil {
					e.wantClass(err, driver.ErrUnavailable, "a call beside Close")
					return
				}
				stored[i].Store(n)
				begun.Add(1)
			}
		})
	}
	e.poll("writers to run", func() (bool, bool) { return begun.Load() > 3*writers, false })
	e.try(e.Provider.Close(), "Close with concurrent writers")
	wg.Wait()
	e.needReopen()
	e.reopen()
	l, topic = e.eventLog("Test.Log"), e.commandTopic("Test.Thing")
	sent := uint64(0)
	for i := range writers {
		n := stored[i].Load()
		sent += n
		got := e.read(l, fmt.Sprintf("s%d", i), 0)
		e.errorIf(uint64(len(got)) < n || uint64(len(got)) > n+1, "of s%d %d commits are stored, %d were acknowledged", i, len(got), n)
	}
	if got := drained(e, topic, int(sent)); uint64(len(got)) > sent+writers {
		e.Errorf("%d commands were delivered, %d were acknowledged", len(got), sent)
	}
}

func closeEndsSubscriptions(e *env) {
	db := e.table(plainTable)
	l := e.listen(plainTable)
	e.save(db, numbered("a", 1))
	l.want(driver.Added, driver.Key{ID: "a"}, `{"n":1}`)
	closed := make(chan error, 1)
	go func() { closed <- e.Provider.Close() }()
	if err := l.wantEnd("closed"); err != nil {
		e.wantClass(err, driver.ErrUnavailable, "the end of a subscription by Close")
	}
	e.try(<-closed, "Close")
}

// notices counts notifications by receiver.
type notices struct {
	mu    sync.Mutex
	count map[string]int
}

func (n *notices) add(receiver string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.count[receiver]++
}

func (n *notices) of(receiver string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.count[receiver]
}

// notify listens to the provider's notifications.
func (e *env) notify() (*notices, func()) {
	got := &notices{count: map[string]int{}}
	return got, e.Provider.Notify(got.add)
}

// notified checks that a change notifies receiver, and that the change has taken
// effect by then.
func notified[T any](e *env, n *notices, receiver string, r driver.Receiver[T], change func() error) {
	e.Helper()
	before := n.of(receiver)
	e.must(change(), "change")
	if !e.poll("a notice of "+receiver, func() (bool, bool) { return n.of(receiver) > before, false }) {
		return
	}
	if r == nil {
		return
	}
	if e.Lag > 0 {
		settle(e, r, false, batch(e, r, 10)...)
		return
	}
	ds, _ := receive(e, r, 10)
	e.errorIf(len(ds) == 0, "%s was notified before there was something to receive", receiver)
	settle(e, r, false, ds...)
}

func notifyNamesEveryReceiver(e *env) {
	l := e.eventLog("Test.Log")
	topic := e.commandTopic("Test.Thing")
	eventTopic := e.eventTopic("Test.Log", "Test.Consumer")
	feed, sub := e.collector("Test.Consumer", "Test.Log", false), e.collector("Test.Consumer", "Test.Log", true)
	counter, scheduler, bucket := e.counter("Test.Counter"), e.scheduler(), e.bucket("Test.Files")
	n, stop := e.notify()
	defer stop()
	notified(e, n, driver.ReceiverOf("EventCollector", "Test.Log"), feed, func() error { return l.Append(e.ctx, commitOf("s", 1, "w")) })
	notified(e, n, driver.ReceiverOf("CommandTopic", "Test.Thing"), topic, func() error { return topic.Send(e.ctx, []driver.Command{command("e", "c")}) })
	notified(e, n, driver.ReceiverOf("EventCollector", "Test.Log"), sub, func() error {
		return eventTopic.Publish(e.ctx, []driver.Envelope{envelope("Test.Log", commitOf("s", 1, "w"))})
	})
	notified(e, n, driver.ReceiverOf("Counter", "Test.Counter"), counter, func() error {
		return errors.Join(counter.Count(e.ctx, "a", "r", 1), counter.AddTarget(e.ctx, "a", "r", 1))
	})
	notified(e, n, driver.ReceiverOf("Counter", "Test.Counter"), counter, func() error {
		return errors.Join(counter.AddTarget(e.ctx, "b", "r", 1), counter.Count(e.ctx, "b", "r", 1))
	})
	notified(e, n, driver.ReceiverOf("Scheduler", ""), scheduler, func() error {
		return scheduler.Create(e.ctx, driver.Schedule{Name: "past", Expression: at(e.Now().Add(-time.Hour)), Payload: json.RawMessage(`{}`)})
	})
	notified(e, n, driver.ReceiverOf("Bucket", "Test.Files"), bucket, func() error { return bucket.Put(e.ctx, "key", strings.NewReader("x")) })
	notified(e, n, driver.ReceiverOf("Bucket", "Test.Files"), bucket, func() error { return bucket.Delete(e.ctx, "key") })
}

func notifyFollowsSettlements(e *env) {
	topic := e.commandTopic("Test.Thing")
	name := driver.ReceiverOf("CommandTopic", "Test.Thing")
	e.must(topic.Send(e.ctx, []driver.Command{command("e", "c1"), command("e", "c2")}), "Send")
	n, stop := e.notify()
	defer stop()
	leased := batch(e, topic, 1)
	notified[driver.Command](e, n, name, nil, func() error { return topic.Settle(e.ctx, []driver.Settlement{{ID: leased[0].ID, Retry: true}}) })
	leased = batch(e, topic, 1)
	notified(e, n, name, topic, func() error { return topic.Settle(e.ctx, []driver.Settlement{{ID: leased[0].ID}}) }) // the next of its group
	feed, files, schedules := e.collector("Test.Consumer", "Test.Log", false), e.bucket("Test.Files"), e.scheduler()
	e.fill(e.eventLog("Test.Log"), "s", 1, 1)
	e.putObject(files, "key", "content")
	e.create(schedules, "past", at(e.Now().Add(-time.Hour)))
	retryNotifies(e, n, driver.ReceiverOf("EventCollector", "Test.Log"), feed)
	retryNotifies(e, n, driver.ReceiverOf("Bucket", "Test.Files"), files.Receiver)
	retryNotifies(e, n, driver.ReceiverOf("Scheduler", ""), schedules.Receiver)
}

func retryNotifies[T any](e *env, n *notices, name string, r driver.Receiver[T]) {
	e.Helper()
	ds := batch(e, r, 1)
	notified(e, n, name, r, func() error { return r.Settle(e.ctx, []driver.Settlement{{ID: ds[0].ID, Retry: true}}) })
}

func notifyStops(e *env) {
	topic := e.commandTopic("Test.Thing")
	name := driver.ReceiverOf("CommandTopic", "Test.Thing")
	one, stopOne := e.notify()
	two, stopTwo := e.notify()
	defer stopTwo()
	send := func(id string) func() error {
		return func() error { return topic.Send(e.ctx, []driver.Command{command(id, id)}) }
	}
	notified[driver.Command](e, one, name, nil, send("a"))
	if !e.poll("a notice of the second listener", func() (bool, bool) { return two.of(name) > 0, false }) {
		return
	}
	stopOne()
	stopOne()
	after := one.of(name)
	notified[driver.Command](e, two, name, nil, send("b"))
	got := one.of(name)
	e.errorIf(got != after, "a stopped listener was notified %d times", got-after)
	// Listeners may be added and removed while others are notified.
	race(8, func(i int) {
		for k := range 10 {
			stop := e.Provider.Notify(func(string) {})
			e.try(send(fmt.Sprintf("g%d-%d", i, k))(), "Send")
			stop()
		}
	})
}
