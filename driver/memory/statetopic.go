package memory

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"sync"

	"github.com/reventless-go/reventless/driver"
)

// subscriberChanges bounds the queued changes of a subscriber.
const subscriberChanges = 1024

// stateTopic is a [driver.StateTopic].
type stateTopic struct {
	p *Provider

	mu          sync.Mutex
	subscribers map[*subscriber]struct{}
}

func newStateTopic(p *Provider) *stateTopic {
	return &stateTopic{p: p, subscribers: make(map[*subscriber]struct{})}
}

// Subscribe implements [driver.StateTopic].
func (t *stateTopic) Subscribe(ctx context.Context) (iter.Seq2[driver.StateChange, error], error) {
	if err := t.p.begin(ctx); err != nil {
		return nil, err
	}
	defer t.p.end()
	s := &subscriber{wake: make(chan struct{}, 1)}
	t.mu.Lock()
	t.subscribers[s] = struct{}{}
	t.mu.Unlock()
	unsubscribe := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.subscribers, s)
	}
	stop := context.AfterFunc(ctx, unsubscribe) // even if the sequence is never ranged over

	var once sync.Once
	return func(yield func(driver.StateChange, error) bool) {
		first := false
		once.Do(func() { first = true })
		if !first {
			yield(driver.StateChange{}, fmt.Errorf("statetopic: the sequence can be ranged over only once: %w", driver.ErrInvalid))
			return
		}
		defer stop()
		defer unsubscribe()
		for ctx.Err() == nil {
			c, ok, ended := s.pop()
			switch {
			case ok:
				c.Row = bytes.Clone(c.Row)
				if !yield(c, nil) {
					return
				}
			case ended:
				yield(driver.StateChange{}, fmt.Errorf("statetopic: changes were dropped: %w", driver.ErrUnavailable))
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

// publish queues a change for all subscribers without waiting for them.
func (t *stateTopic) publish(c driver.StateChange) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := range t.subscribers {
		if !s.push(c) {
			delete(t.subscribers, s)
		}
	}
}

// close ends all subscriptions.
func (t *stateTopic) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := range t.subscribers {
		s.end()
		delete(t.subscribers, s)
	}
}

// subscriber is one subscription with the changes that it has not consumed yet. An
// empty queue has no memory, because many subscribers may be idle.
type subscriber struct {
	wake chan struct{} // has one element after a change was queued

	mu    sync.Mutex
	queue []driver.StateChange
	ended bool // no change follows the queued ones
}

// push queues a change. If the queue is full, it ends the subscription and returns
// false.
func (s *subscriber) push(c driver.StateChange) bool {
	s.mu.Lock()
	room := len(s.queue) < subscriberChanges
	if room {
		s.queue = append(s.queue, c)
	} else {
		s.ended = true
	}
	s.mu.Unlock()
	s.signal()
	return room
}

func (s *subscriber) end() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.signal()
}

func (s *subscriber) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// pop removes the next change from the queue.
func (s *subscriber) pop() (c driver.StateChange, ok, ended bool) {
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
	return c, true, false
}
