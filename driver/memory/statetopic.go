package memory

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"sync"

	"github.com/reventless-go/reventless/driver"
)

// subscriberBuffer is how many changes a subscriber may be behind.
const subscriberBuffer = 1024

// stateTopic is a [driver.StateTopic].
type stateTopic struct {
	p *Provider

	mu sync.Mutex
	// subscribers are the channels of those who listen; one that is closed has
	// lost a change.
	subscribers map[chan driver.StateChange]bool
}

func newStateTopic(p *Provider) *stateTopic {
	return &stateTopic{p: p, subscribers: make(map[chan driver.StateChange]bool)}
}

// Subscribe implements [driver.StateTopic].
func (t *stateTopic) Subscribe(ctx context.Context) (iter.Seq2[driver.StateChange, error], error) {
	if err := t.p.begin(ctx); err != nil {
		return nil, err
	}
	defer t.p.end()
	changes := make(chan driver.StateChange, subscriberBuffer)
	t.mu.Lock()
	t.subscribers[changes] = true
	t.mu.Unlock()
	unsubscribe := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.subscribers, changes)
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
			select {
			case <-ctx.Done():
				return
			case c, ok := <-changes:
				if !ok {
					yield(driver.StateChange{}, fmt.Errorf("statetopic: changes were dropped: %w", driver.ErrUnavailable))
					return
				}
				c.Row = bytes.Clone(c.Row)
				if !yield(c, nil) {
					return
				}
			}
		}
	}, nil
}

// emit tells a change to all subscribers, and waits for none.
func (t *stateTopic) emit(c driver.StateChange) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for changes := range t.subscribers {
		select {
		case changes <- c:
		default:
			close(changes)
			delete(t.subscribers, changes)
		}
	}
}

// close ends all subscribers.
func (t *stateTopic) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for changes := range t.subscribers {
		close(changes)
		delete(t.subscribers, changes)
	}
}
