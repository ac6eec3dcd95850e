package memory

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"sync"

	"github.com/reventless-go/reventless/driver"
)

// subscriberChanges is how many changes a subscriber may be behind.
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
	stop := context.AfterFunc(ctx, unsubscribe) // also when nobody ranges

	var once sync.Once
	return func(yield func(driver.StateChange, error) bool) {
		first := false
		once.Do(func() { first = true })
		if !first {
			yield(driver.StateChange{}, fmt.Errorf("statetopic: the changes were ranged over before: %w", driver.ErrInvalid))
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

// emit tells a change to all subscribers, and waits for none.
func (t *stateTopic) emit(c driver.StateChange) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := range t.subscribers {
		if !s.push(c) {
			delete(t.subscribers, s)
		}
	}
}

// close ends all subscribers.
func (t *stateTopic) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := range t.subscribers {
		s.end()
		delete(t.subscribers, s)
	}
}

// subscriber is one listener with the changes that it has not taken yet. There
// may be many that are idle, so the queue is made when there is something in it.
type subscriber struct {
	wake chan struct{} // has one element when there is something new

	mu    sync.Mutex
	queue []driver.StateChange
	ended bool // nothing comes behind the queue
}

// push adds a change; without room it ends the subscriber and returns false.
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

// pop takes the next change.
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
