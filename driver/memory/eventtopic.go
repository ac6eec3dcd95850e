package memory

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// dedupWindow is how long a sent message is remembered, so that a repetition is
// recognized.
const dedupWindow = 5 * time.Minute

// eventTopic is a [driver.EventTopic] with one queue per subscription.
type eventTopic struct {
	p   *Provider
	log string

	mu            sync.Mutex
	subscriptions map[string]*queue[driver.Record] // by consumer
	seen          window
}

func newEventTopic(p *Provider, log string) *eventTopic {
	return &eventTopic{
		p: p, log: log,
		subscriptions: make(map[string]*queue[driver.Record]),
		seen:          newWindow(dedupWindow, false),
	}
}

// subscription returns the queue of a consumer and creates it if needed.
func (t *eventTopic) subscription(consumer string) *queue[driver.Record] {
	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.subscriptions[consumer]
	if q == nil {
		q = newQueue(t.p, driver.ReceiverOf("EventCollector", t.log), copyRecord)
		t.subscriptions[consumer] = q
	}
	return q
}

// Publish implements [driver.EventTopic].
func (t *eventTopic) Publish(ctx context.Context, envelopes []driver.Envelope) error {
	published, err := t.publish(ctx, envelopes)
	if published {
		t.p.notify(driver.ReceiverOf("EventCollector", t.log))
	}
	return err
}

func (t *eventTopic) publish(ctx context.Context, envelopes []driver.Envelope) (published bool, err error) {
	if err := t.p.begin(ctx); err != nil {
		return false, err
	}
	defer t.p.end()
	failed := make(map[string]error)
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range envelopes {
		if err := checkEnvelope(e); err != nil {
			failed[e.Key()] = fmt.Errorf("eventtopic %q: %w", t.log, err)
			continue
		}
		group := e.Log + "\x00" + e.Commit.Stream
		if !t.seen.first(group+"\x00"+strconv.FormatUint(e.Commit.SequenceNr, 10), t.p.now()) {
			continue
		}
		e.Commit.Snapshot = nil
		for _, q := range t.subscriptions {
			c := copyCommit(e.Commit)
			q.push(group, driver.Record{Log: e.Log, Stream: c.Stream, SequenceNr: c.SequenceNr, Commit: &c})
		}
		published = true
	}
	return published, batchError(failed)
}

func checkEnvelope(e driver.Envelope) error {
	if e.Log == "" {
		return fmt.Errorf("envelope without a log: %w", driver.ErrInvalid)
	}
	if err := driver.CheckID("stream", e.Commit.Stream); err != nil {
		return err
	}
	if e.Commit.SequenceNr == 0 {
		return fmt.Errorf("envelope of %q: sequence numbers start at 1: %w", e.Commit.Stream, driver.ErrInvalid)
	}
	return nil
}

// batchError returns the error of a batch with these failures, or nil without any.
func batchError(failed map[string]error) error {
	if len(failed) == 0 {
		return nil
	}
	return &driver.BatchError{Failed: failed}
}
