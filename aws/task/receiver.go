package task

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	awssqs "github.com/reventless-go/reventless/aws/internal/sqs"
	"github.com/reventless-go/reventless/aws/internal/standardqueue"
	"github.com/reventless-go/reventless/driver"
)

const (
	// defaultHold is the visibility timeout that queues have by default.
	defaultHold = 30 * time.Second
	// setBack is how long a message waits whose key is held.
	setBack = time.Second
	// remembered is how many keys the last event is known of, at least.
	remembered = 10_000
)

// Bucket is the bucket of one task, and the receiver of its objects' events.
//
// Its queue is a standard one, so the order of events is kept by what one Bucket
// knows: it hands out one event of a key at a time, and of the last 10,000 keys
// none that is older than one handed out before. Two processes that receive from
// one queue may hold events of one key at the same time, or in another order: the
// version tells, see [CompareVersions], and the object is what it is when it is
// read.
type Bucket struct {
	name  string
	s3    *s3.Client
	queue messages // of bodies; nil for who does not receive

	component string
	letters   driver.DeadLetters
	now       func() time.Time
	hold      time.Duration

	mu       sync.Mutex
	messages map[string]*message // that are held, by the id of their delivery
	records  map[string]*record  // that are handed out, by the id of theirs
	keys     map[string]*record  // the same, by key
	ready    []*record           // that wait for the next Receive
	ending   map[string]ending   // what is not ended yet, by the id of their delivery
	last     map[string]told     // by key
	older    map[string]told
}

var _ driver.Bucket = (*Bucket)(nil)

// message is a message of the queue with events that are not all settled.
type message struct {
	id    string
	since time.Time
	open  int // events
	retry bool
	after time.Duration
}

// record is an event of a message.
type record struct {
	delivery driver.Delivery[driver.ObjectEvent]
	of       *message
}

// ending is the end of a message, which the queue has yet to be told.
type ending struct {
	driver.Settlement
	since time.Time
}

// told is the last event of a key that was handed out.
type told struct {
	version string
	done    bool
}

// Options configure a [Bucket]; nil and zero fields are the defaults.
type Options struct {
	// Component is the logical name of the task, for dead letters.
	Component string
	// DeadLetters takes messages that are no notification of an object that came or
	// went, each as one [driver.DeadRaw]. Without it they stay in the queue, which
	// has to have a queue for dead letters of its own.
	DeadLetters driver.DeadLetters
	// Hold is the visibility timeout of the queue; 0 is 30 seconds.
	Hold time.Duration
	// Messages has the bodies of the queue's messages in place of the queue: for a
	// function, which is handed them.
	Messages messages
	// Now is the clock by which holds end. Nil is time.Now.
	Now func() time.Time
}

// messages are what a queue has, or what a function was handed.
type messages interface {
	driver.Receiver[string]
	Release(ctx context.Context) error
}

// Open returns the bucket with a name. queue is the name or URL of the queue that
// the bucket notifies; empty for who does not receive. Nothing is asked of the
// services: a missing bucket is [driver.ErrUnavailable] at the first call.
func Open(objects *s3.Client, queues *sqs.Client, bucket, queue string, opts *Options) *Bucket {
	b := &Bucket{
		name: bucket, s3: objects, hold: defaultHold,
		messages: map[string]*message{}, records: map[string]*record{}, keys: map[string]*record{}, ending: map[string]ending{}, last: map[string]told{},
	}
	b.now = time.Now
	if opts != nil {
		b.component, b.letters = opts.Component, opts.DeadLetters
		if opts.Now != nil {
			b.now = opts.Now
		}
		if opts.Hold > 0 {
			b.hold = opts.Hold
		}
	}
	switch {
	case opts != nil && opts.Messages != nil:
		b.queue = opts.Messages
	case queue != "":
		b.queue = awssqs.NewReceiver(awssqs.NewQueue(standardqueue.Client(queues), queue), "bucket "+bucket+": queue", &awssqs.Options{Now: b.now}, func(body, _ string) string { return body })
	}
	return b
}

// Receive implements [driver.Receiver]. It is one request, of up to ten messages,
// unless events of an earlier one wait.
func (b *Bucket) Receive(ctx context.Context, max int) (driver.Batch[driver.ObjectEvent], error) {
	batch, err := b.receive(ctx, max)
	if err != nil {
		return driver.Batch[driver.ObjectEvent]{}, fmt.Errorf("bucket %s: receive: %w", b.name, err)
	}
	return batch, nil
}

func (b *Bucket) receive(ctx context.Context, max int) (driver.Batch[driver.ObjectEvent], error) {
	var batch driver.Batch[driver.ObjectEvent]
	if b.queue == nil {
		return batch, fmt.Errorf("it was opened without a queue: %w", driver.ErrUnsupported)
	}
	if max < 1 {
		return batch, fmt.Errorf("%d events: %w", max, driver.ErrInvalid)
	}
	if err := ctx.Err(); err != nil {
		return batch, err
	}
	if batch.Deliveries = b.take(max); len(batch.Deliveries) > 0 {
		return batch, nil
	}
	// What was not ended would come again only after its visibility timeout. What
	// cannot be ended now is next time, too.
	_ = b.end(ctx, nil)
	since := b.now()
	received, err := b.queue.Receive(ctx, max)
	if err != nil {
		return batch, err
	}
	var ended []driver.Settlement
	var failed error
	for _, d := range received.Deliveries {
		s, over, err := b.open(ctx, d, since)
		if err != nil {
			failed = err // the message is left to its visibility timeout
		}
		if over {
			ended = append(ended, s)
		}
	}
	_ = b.end(ctx, ended) // as above
	if failed != nil {
		return batch, failed // the other events are ready for the next call
	}
	if batch.Deliveries = b.take(max); len(batch.Deliveries) == 0 {
		batch.Next = received.Next
	}
	return batch, nil
}

// open makes the events of a message ready. It is over at once when there are none,
// or none that may be handed out now.
func (b *Bucket) open(ctx context.Context, d driver.Delivery[string], since time.Time) (s driver.Settlement, over bool, err error) {
	s.ID = d.ID
	events, err := Decode([]byte(d.Message))
	if err != nil {
		if b.letters == nil {
			return s, false, nil // the queue's own dead letters are for it
		}
		if err := b.park(ctx, d, err); err != nil {
			return s, false, err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	m := &message{id: d.ID, since: since}
	var records []*record
	for i, e := range events {
		if _, held := b.keys[e.Key]; held {
			s.Retry, s.After = true, setBack
			return s, true, nil
		}
		if b.superseded(e) {
			continue
		}
		// Of several changes in one message the last one of a key is told.
		for j, r := range records {
			if r.delivery.Message.Key == e.Key && CompareVersions(r.delivery.Message.Version, e.Version) <= 0 {
				records = append(records[:j], records[j+1:]...)
				break
			}
		}
		records = append(records, &record{of: m, delivery: driver.Delivery[driver.ObjectEvent]{ID: d.ID + "." + strconv.Itoa(i), Attempt: d.Attempt, Message: e}})
	}
	if len(records) == 0 {
		return s, true, nil
	}
	m.open = len(records)
	b.messages[m.id] = m
	for _, r := range records {
		b.keys[r.delivery.Message.Key] = r
		b.ready = append(b.ready, r)
	}
	return s, false, nil
}

// park parks a message that is no notification.
func (b *Bucket) park(ctx context.Context, d driver.Delivery[string], cause error) error {
	sum := sha256.Sum256([]byte(d.Message))
	return b.letters.Park(ctx, driver.DeadLetter{
		ID: "raw/" + b.component + "/" + hex.EncodeToString(sum[:]), Component: b.component, Kind: driver.DeadRaw,
		Body: []byte(d.Message), Reason: cause.Error(), Attempts: d.Attempt, ParkedAt: b.now().UTC(),
	})
}

// take hands out what is ready, up to max. What nobody can end any more is
// forgotten before.
func (b *Bucket) take(max int) []driver.Delivery[driver.ObjectEvent] {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	for key, r := range b.keys {
		if now.Sub(r.of.since) >= b.hold {
			delete(b.keys, key)
			delete(b.records, r.delivery.ID)
			delete(b.messages, r.of.id)
		}
	}
	var out []driver.Delivery[driver.ObjectEvent]
	for len(out) < max && len(b.ready) > 0 {
		r := b.ready[0]
		b.ready = b.ready[1:]
		if b.messages[r.of.id] != r.of {
			continue // its hold has ended
		}
		b.records[r.delivery.ID] = r
		b.remember(r.delivery.Message, false)
		out = append(out, r.delivery)
	}
	return out
}

// superseded reports whether a later event of the key was handed out, or this one
// was and is done.
func (b *Bucket) superseded(e driver.ObjectEvent) bool {
	t, ok := b.last[e.Key]
	if !ok {
		t, ok = b.older[e.Key]
	}
	if !ok {
		return false
	}
	order := CompareVersions(e.Version, t.version)
	return order < 0 || t.done && e.Version == t.version
}

func (b *Bucket) remember(e driver.ObjectEvent, done bool) {
	if len(b.last) >= remembered {
		b.older, b.last = b.last, make(map[string]told)
	}
	b.last[e.Key] = told{e.Version, done}
}

// Settle implements [driver.Receiver]. A message ends with the last of its events;
// when one of them is retried the message comes again, without the others.
func (b *Bucket) Settle(ctx context.Context, settlements []driver.Settlement) error {
	if b.queue == nil {
		return nil // nothing was handed out
	}
	var ended []driver.Settlement
	b.mu.Lock()
	for _, s := range settlements {
		r, ok := b.records[s.ID]
		if !ok {
			continue
		}
		delete(b.records, s.ID)
		if b.keys[r.delivery.Message.Key] == r {
			delete(b.keys, r.delivery.Message.Key)
		}
		if s.Retry {
			r.of.retry, r.of.after = true, max(r.of.after, s.After)
		} else {
			b.remember(r.delivery.Message, true)
		}
		if r.of.open--; r.of.open == 0 {
			delete(b.messages, r.of.id)
			ended = append(ended, driver.Settlement{ID: r.of.id, Retry: r.of.retry, After: r.of.after})
		}
	}
	b.mu.Unlock()
	if err := b.end(ctx, ended); err != nil {
		return fmt.Errorf("bucket %s: settle: %w", b.name, err)
	}
	return nil
}

// end ends messages, and those that could not be before. A message whose end the
// queue does not hear of comes again; its events are known to be done.
func (b *Bucket) end(ctx context.Context, ended []driver.Settlement) error {
	now := b.now()
	b.mu.Lock()
	for _, s := range ended {
		b.ending[s.ID] = ending{s, now}
	}
	var all []driver.Settlement
	for id, e := range b.ending {
		if now.Sub(e.since) > awssqs.MaxHold {
			delete(b.ending, id)
			continue
		}
		all = append(all, e.Settlement)
	}
	b.mu.Unlock()
	if len(all) == 0 {
		return ctx.Err()
	}
	err := b.queue.Settle(ctx, all)
	var batch *driver.BatchError
	if err != nil && !errors.As(err, &batch) {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range all {
		if batch == nil || batch.Failed[s.ID] == nil {
			delete(b.ending, s.ID)
		}
	}
	return err
}

// Release gives back what is held, so that it comes again at once and not after
// the queue's visibility timeout. It is for who ends.
func (b *Bucket) Release(ctx context.Context) error {
	if b.queue == nil {
		return nil
	}
	b.mu.Lock()
	clear(b.messages)
	clear(b.records)
	clear(b.keys)
	clear(b.ending)
	b.ready = nil
	b.mu.Unlock()
	if err := b.queue.Release(ctx); err != nil {
		return fmt.Errorf("bucket %s: release: %w", b.name, err)
	}
	return nil
}
