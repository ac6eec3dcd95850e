// Package statetopic tells the changes of a read model's rows from the stream of
// their table, which has new and old images: package rowtable describes it.
//
// A [Topic] is for processes outside of Lambda, as one that serves subscriptions.
// While it has subscribers, however many, it reads every open shard four times a
// second, which is one request each; without any it asks for nothing. A stream
// takes two readers of a shard at a time, so that no more than two processes can
// have subscribers of a read model. In Lambda an event source mapping reads, and
// [DecodeStreamEvent] decodes.
package statetopic

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	streamtypes "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"

	"github.com/reventless-go/reventless/aws/internal/dynamo"
	"github.com/reventless-go/reventless/aws/internal/streams"
	"github.com/reventless-go/reventless/driver"
)

// maxBehind is how many changes a subscriber may be behind.
const maxBehind = 1024

// Topic is the changes of one read model. It may be used by many goroutines.
type Topic struct {
	api      streams.API
	table    string
	spec     driver.TableSpec
	interval time.Duration
	now      func() time.Time
	foreign  func(err error)

	starting chan struct{} // has one element while somebody subscribes

	mu          sync.Mutex
	subscribers map[*subscriber]struct{}
	stop        context.CancelFunc // of the reader; nil: there is none
	round       uint64             // of the reader, so that an old one does not end the new
}

var _ driver.StateTopic = (*Topic)(nil)

// Options configure a [Topic]; nil fields and zeros are the defaults.
type Options struct {
	// Interval is how long a shard rests that had nothing new; 0 is a quarter of a
	// second.
	Interval time.Duration
	// Now is the clock by which rows end; nil is that of DynamoDB at their write.
	Now func() time.Time
	// Foreign is told of records that are of no row. They are passed over.
	Foreign func(err error)
}

// Open returns the changes of the rows in table. Nothing is asked of the service.
func Open(api streams.API, table string, spec driver.TableSpec, opts *Options) *Topic {
	t := &Topic{
		api: api, table: table, spec: spec, interval: 250 * time.Millisecond, foreign: func(error) {},
		starting: make(chan struct{}, 1), subscribers: map[*subscriber]struct{}{},
	}
	if opts != nil {
		t.now = opts.Now
		if opts.Interval > 0 {
			t.interval = opts.Interval
		}
		if opts.Foreign != nil {
			t.foreign = opts.Foreign
		}
	}
	return t
}

// Subscribe implements [driver.StateTopic]. The first subscriber finds the place
// of every open shard, which is one request each; the others cost nothing. A
// subscriber that is 1024 changes behind is ended.
func (t *Topic) Subscribe(ctx context.Context) (iter.Seq2[driver.StateChange, error], error) {
	s := &subscriber{wake: make(chan struct{}, 1)}
	if err := t.add(ctx, s); err != nil {
		return nil, fmt.Errorf("statetopic %s: subscribe: %w", t.spec.Name, err)
	}
	leave := func() { t.remove(s) }
	stop := context.AfterFunc(ctx, leave) // also when nobody ranges

	var ranged atomic.Bool
	return func(yield func(driver.StateChange, error) bool) {
		if ranged.Swap(true) {
			yield(driver.StateChange{}, fmt.Errorf("statetopic %s: the changes were ranged over before: %w", t.spec.Name, driver.ErrInvalid))
			return
		}
		defer stop()
		defer leave()
		for ctx.Err() == nil {
			c, ok, ended := s.pop()
			switch {
			case ok:
				c.Row = bytes.Clone(c.Row)
				if !yield(c, nil) {
					return
				}
			case ended != nil:
				yield(driver.StateChange{}, fmt.Errorf("statetopic %s: %w", t.spec.Name, ended))
				return
			default:
				select {
				case <-s.wake:
				case <-ctx.Done():
				}
			}
		}
	}, nil
}

// add makes s hear of everything from now on.
func (t *Topic) add(ctx context.Context, s *subscriber) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case t.starting <- struct{}{}:
		defer func() { <-t.starting }()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	t.mu.Lock()
	running := t.stop != nil
	if running { // what it has not read yet is from now on
		t.subscribers[s] = struct{}{}
	}
	t.mu.Unlock()
	if running {
		return nil
	}
	r := &streams.Reader{API: t.api, Table: t.table, Interval: t.interval, Now: time.Now} //nolint:forbidigo // it measures how long shards rest, and nothing that is replayed
	if err := t.begin(ctx, r); err != nil {
		return err
	}
	reading, stop := context.WithCancel(context.WithoutCancel(ctx))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.subscribers[s] = struct{}{}
	t.stop = stop
	t.round++
	go t.read(reading, r, t.round)
	return nil
}

// begin finds the places of the shards, again where that passes.
func (t *Topic) begin(ctx context.Context, r *streams.Reader) error {
	for attempt := 1; ; attempt++ {
		err := r.Latest(ctx)
		if err == nil || !passes(err) || attempt == 5 {
			return err
		}
		if err := dynamo.Pause(ctx, attempt); err != nil {
			return err
		}
	}
}

func passes(err error) bool {
	return !errors.Is(err, streams.ErrLost) && (errors.Is(err, driver.ErrThrottled) || errors.Is(err, driver.ErrUnavailable))
}

// read tells all subscribers what there is until there are none.
func (t *Topic) read(ctx context.Context, r *streams.Reader, round uint64) {
	lost := false
	r.Lost = func(string, string) { lost = true }
	for attempt := 0; ctx.Err() == nil; {
		more, err := r.Read(ctx, func(_ string, page []streamtypes.Record, _ bool) {
			if !lost { // what comes behind a gap is not told
				t.tell(round, page)
			}
		})
		switch {
		case ctx.Err() != nil:
			return
		case lost:
			t.end(round, fmt.Errorf("changes are gone before they were read: %w", driver.ErrUnavailable))
			return
		case err == nil:
			attempt = 0
			if more {
				continue
			}
		case !passes(err):
			t.end(round, err)
			return
		default:
			attempt++
			if dynamo.Pause(ctx, attempt) != nil {
				return
			}
		}
		timer := time.NewTimer(t.interval)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// tell hands a page of a reader to all subscribers, and waits for none.
func (t *Topic) tell(round uint64, page []streamtypes.Record) {
	for _, record := range page {
		c, ok, err := decode(streams.FromSDK(record), t.spec, t.now)
		if err != nil {
			t.foreign(err)
		}
		if !ok {
			continue
		}
		t.tellOne(round, c)
	}
}

func (t *Topic) tellOne(round uint64, c driver.StateChange) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.round != round { // the subscribers are those of another reader
		return
	}
	for s := range t.subscribers {
		if !s.push(c) {
			t.drop(s)
		}
	}
}

// end ends all subscribers of a reader that can go no further.
func (t *Topic) end(round uint64, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.round != round || t.stop == nil {
		return
	}
	for s := range t.subscribers {
		s.end(err)
		t.drop(s)
	}
}

func (t *Topic) remove(s *subscriber) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.subscribers[s]; ok {
		t.drop(s)
	}
}

// drop forgets a subscriber; the last one ends the reader.
func (t *Topic) drop(s *subscriber) {
	delete(t.subscribers, s)
	if len(t.subscribers) == 0 {
		t.stop()
		t.stop = nil
	}
}

// subscriber is one listener with the changes that it has not taken yet.
type subscriber struct {
	wake chan struct{} // has one element when there is something new

	mu    sync.Mutex
	queue []driver.StateChange
	ended error // what comes behind the queue
}

// push adds a change; without room it ends the subscriber and returns false.
func (s *subscriber) push(c driver.StateChange) bool {
	s.mu.Lock()
	room := len(s.queue) < maxBehind
	if room {
		s.queue = append(s.queue, c)
	}
	s.mu.Unlock()
	if !room {
		s.end(fmt.Errorf("it is %d changes behind: %w", maxBehind, driver.ErrUnavailable))
		return false
	}
	s.signal()
	return true
}

func (s *subscriber) end(err error) {
	s.mu.Lock()
	s.ended = err
	s.mu.Unlock()
	s.signal()
}

func (s *subscriber) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// pop takes the next change.
func (s *subscriber) pop() (c driver.StateChange, ok bool, ended error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return c, false, s.ended
	}
	c = s.queue[0]
	s.queue[0] = driver.StateChange{}
	if s.queue = s.queue[1:]; len(s.queue) == 0 {
		s.queue = nil
	}
	return c, true, nil
}
