package drivertest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// TestEventTopic runs the suite of [driver.EventTopic], and that of event collectors
// on a topic.
func TestEventTopic(t *testing.T, open Open) { eventTopicSuite().run(t, open) }

func eventTopicSuite() suite {
	return suite{"EventTopic", slices.Concat(receiverProperties(true, topicQueue), recordProperties(topicRecords), []property{
		{"EverySubscriptionGetsEveryCommit", everySubscriptionGetsEveryCommit},
		{"AnEmptyBatchIsNothing", anEmptyBatchOfEnvelopesIsNothing},
		{"LargeBatchesKeepTheirOrder", largeBatchesKeepTheirOrder},
		{"ARepeatedEnvelopeIsAccepted", aRepeatedEnvelopeIsAccepted},
		{"SubscriptionsSurviveReopening", subscriptionsSurviveReopening},
		{"ANewSubscriptionStartsWhenItIsMade", aNewSubscriptionStartsWhenItIsMade},
		{"OnlyTheRelayFeedsATopic", onlyTheRelayFeedsATopic},
		cancelledCallsFail(eventTopicCalls),
		{"ArgumentsAreNotKept", publishDoesNotKeepItsArguments},
	})}
}

func (e *env) eventTopic(log string, subscribers ...string) driver.EventTopic {
	e.Helper()
	t, err := e.Provider.OpenEventTopic(e.ctx, driver.TopicSpec{Log: log, Subscribers: subscribers})
	return opened(e, t, err)
}

// envelope returns a commit in the form in which a relay publishes it, after it was
// stored in the log.
func envelope(log string, c driver.Commit) driver.Envelope {
	c.Snapshot = nil
	c.RecordedAt = time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)
	return driver.Envelope{Log: log, Commit: c}
}

// relay appends commits to Test.Log and publishes them.
func (e *env) relay(t driver.EventTopic, cs ...driver.Commit) {
	e.Helper()
	l := e.eventLog("Test.Log")
	var es []driver.Envelope
	for _, c := range cs {
		e.must(l.Append(e.ctx, c), "append %s at %d", short(c.Stream), c.SequenceNr)
		es = append(es, envelope("Test.Log", c))
	}
	e.must(t.Publish(e.ctx, es), "publish %d envelopes", len(es))
}

func topicRecords(e *env) records {
	t := e.eventTopic("Test.Log", "Test.Consumer")
	return records{e.collector("Test.Consumer", "Test.Log", true), func(cs ...driver.Commit) { e.relay(t, cs...) }}
}

func topicQueue(e *env) queue[driver.Record] {
	t := e.eventTopic("Test.Log", "Test.Consumer")
	return queue[driver.Record]{
		Receiver: e.collector("Test.Consumer", "Test.Log", true),
		put: func(group string, n int) {
			en := envelope("Test.Log", commitOf(group, uint64(n), "w"))
			e.try(t.Publish(e.ctx, []driver.Envelope{en}), "publish %s", en.Key())
		},
		place:   placeOfRecord,
		repeats: true,
	}
}

func everySubscriptionGetsEveryCommit(e *env) {
	subscribers := []string{"Test.A", "Test.B", "Other.C"}
	t := e.eventTopic("Test.Log", subscribers...)
	for n := uint64(1); n <= 5; n++ {
		e.relay(t, commitOf("s", n, "w"), commitOf("t", n, "w"))
	}
	for _, s := range subscribers {
		q := collected(e.collector(s, "Test.Log", true))
		inOrder(e, drain(e, q, 10), 2, 5)
		nothing(e, q, "though all were settled")
	}
}

func anEmptyBatchOfEnvelopesIsNothing(e *env) {
	t := e.eventTopic("Test.Log", "Test.A")
	e.must(t.Publish(e.ctx, nil), "publish nil")
	e.must(t.Publish(e.ctx, []driver.Envelope{}), "publish an empty batch")
	nothing(e, collected(e.collector("Test.A", "Test.Log", true)), "though none was published")
	lonely := e.eventTopic("Test.Lonely") // a topic without subscribers
	e.must(lonely.Publish(e.ctx, []driver.Envelope{envelope("Test.Lonely", commitOf("s", 1, "w"))}), "publish without subscribers")
}

func largeBatchesKeepTheirOrder(e *env) {
	t := e.eventTopic("Test.Log", "Test.A")
	var cs []driver.Commit
	for n := uint64(1); n <= 12; n++ {
		for s := range 4 {
			cs = append(cs, filled(commitOf(fmt.Sprintf("s%d", s), n, "w"), 9<<10))
		}
	}
	e.relay(t, cs...)
	q := collected(e.collector("Test.A", "Test.Log", true))
	inOrder(e, drain(e, q, 48), 4, 12)
	nothing(e, q, "though all were settled")
}

func aRepeatedEnvelopeIsAccepted(e *env) {
	t := e.eventTopic("Test.Log", "Test.A")
	e.relay(t, commitOf("s", 1, "w"), commitOf("s", 2, "w"))
	again := envelope("Test.Log", commitOf("s", 1, "w"))
	e.must(t.Publish(e.ctx, []driver.Envelope{again, again}), "publish again")
	e.relay(t, commitOf("s", 3, "w"))
	inOrder(e, drain(e, collected(e.collector("Test.A", "Test.Log", true)), 3), 1, 3)
}

func subscriptionsSurviveReopening(e *env) {
	e.needReopen()
	t := e.eventTopic("Test.Log", "Test.A", "Test.B")
	e.relay(t, commitOf("s", 1, "w"), commitOf("s", 2, "w"))
	a := collected(e.collector("Test.A", "Test.Log", true))
	drain(e, a, 2)
	e.reopen()
	t = e.eventTopic("Test.Log", "Test.A", "Test.B")
	e.relay(t, commitOf("s", 3, "w"))
	got := drain(e, collected(e.collector("Test.A", "Test.Log", true)), 1)
	e.errorIf(len(got) > 0 && got[0] != (place{"s", 3}), "after reopening the first subscriber got %v, want commit 3", got)
	inOrder(e, drain(e, collected(e.collector("Test.B", "Test.Log", true)), 3), 1, 3)
}

func aNewSubscriptionStartsWhenItIsMade(e *env) {
	t := e.eventTopic("Test.Log", "Test.A")
	e.relay(t, commitOf("s", 1, "w"), commitOf("s", 2, "w"))
	t = e.eventTopic("Test.Log", "Test.A", "Test.B")
	b := collected(e.collector("Test.B", "Test.Log", true))
	nothing(e, b, "though it was published before the subscription was made")
	e.relay(t, commitOf("s", 3, "w"))
	got := drain(e, b, 1)
	e.errorIf(len(got) > 0 && got[0] != (place{"s", 3}), "the new subscriber got %v, want commit 3", got)
	nothing(e, b, "though all were settled")
	inOrder(e, drain(e, collected(e.collector("Test.A", "Test.Log", true)), 3), 1, 3)
}

func onlyTheRelayFeedsATopic(e *env) {
	t := e.eventTopic("Test.Log", "Test.A")
	q := collected(e.collector("Test.A", "Test.Log", true))
	e.fill(e.eventLog("Test.Log"), "s", 1, 3)
	nothing(e, q, "though nothing was published")
	e.must(t.Publish(e.ctx, []driver.Envelope{envelope("Test.Log", commitOf("s", 1, "fill"))}), "publish")
	inOrder(e, drain(e, q, 1), 1, 1)
	nothing(e, q, "though all were settled")
	// The collectors of the feed and of the topic have different checkpoints.
	feed := collected(e.collector("Test.A", "Test.Log", false))
	inOrder(e, drain(e, feed, 3), 1, 3)
}

func publishDoesNotKeepItsArguments(e *env) {
	t := e.eventTopic("Test.Log", "Test.A", "Test.B")
	want := commitOf("s", 1, "w")
	e.fill(e.eventLog("Test.Log"), "other", 1, 1)
	e.must(e.eventLog("Test.Log").Append(e.ctx, want), "append")
	batchOf := []driver.Envelope{envelope("Test.Log", commitOf("s", 1, "w"))}
	e.must(t.Publish(e.ctx, batchOf), "publish")
	scribble(batchOf[0].Commit)
	batchOf[0] = driver.Envelope{}
	a := e.collector("Test.A", "Test.Log", true)
	for range 2 { // the copy of one delivery is not that of the next, nor that of another subscriber
		ds := batch(e, a, 1)
		wantRecord(e, ds[0].Message, want)
		if c := ds[0].Message.Commit; c != nil {
			scribble(*c)
		}
		settle(e, a, true, ds...)
	}
	wantRecord(e, batch(e, e.collector("Test.B", "Test.Log", true), 1)[0].Message, want)
}
