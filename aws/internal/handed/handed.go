// Package handed makes a receiver of messages that a function was handed, so that
// what works on receivers works in a function, too: a failed message is retried while
// the function has time, in order within its group, and at the end there is a list of
// what is not done.
package handed

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/leases"
)

// Messages is a [driver.Receiver] of the messages that were added to it. A lease ends
// with its settlement only, because nobody else has the message.
type Messages[T any] struct {
	*leases.Queue[T]
	now   func() time.Time
	added *added[T]
}

// New returns an empty receiver; nil is the real clock.
func New[T any](now func() time.Time) *Messages[T] {
	if now == nil {
		now = time.Now
	}
	m := &Messages[T]{now: now}
	m.reset()
	return m
}

func (m *Messages[T]) reset() {
	m.added = &added[T]{done: map[int64]bool{}}
	m.Queue = leases.New(m.added, leases.Options{Now: m.now})
}

// Message is a message to add.
type Message[T any] struct {
	// ID is how the sender of the message knows it.
	ID string
	// Group names the messages that have to wait for one another; a message without
	// a group waits for none.
	Group string
	// Attempt is which attempt this is, from 1.
	Attempt int
	Message T
}

// Add adds messages behind those that are there.
func (m *Messages[T]) Add(messages ...Message[T]) {
	m.added.mu.Lock()
	defer m.added.mu.Unlock()
	m.added.messages = append(m.added.messages, messages...)
}

// Left is a message that is not done.
type Left struct {
	ID string
	// After is how long it should wait before it is delivered again.
	After time.Duration
}

// Take removes all messages and returns those that are not done, in order. No other
// call may be running.
func (m *Messages[T]) Take() []Left {
	waits := m.Waits()
	var left []Left
	for i, x := range m.added.messages {
		if position := int64(i + 1); !m.added.done[position] {
			left = append(left, Left{x.ID, waits[position]})
		}
	}
	m.reset()
	return left
}

// added is the [leases.Source] of the messages; a position is a message's number.
type added[T any] struct {
	mu       sync.Mutex
	messages []Message[T]
	done     map[int64]bool
}

// Tail implements [leases.Source].
func (a *added[T]) Tail() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return int64(len(a.messages))
}

// Load implements [leases.Source].
func (a *added[T]) Load(_ context.Context, after int64, limit int) (items []leases.Item[T], whole bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	end := min(int64(len(a.messages)), after+int64(limit))
	for at := after + 1; at <= end; at++ {
		x := a.messages[at-1]
		group := "group " + x.Group
		if x.Group == "" {
			group = "alone " + strconv.FormatInt(at, 10)
		}
		items = append(items, leases.Item[T]{Position: at, Group: group, Delivered: max(x.Attempt, 1) - 1, Message: x.Message})
	}
	return items, end == int64(len(a.messages)), nil
}

// Fetch implements [leases.Source].
func (a *added[T]) Fetch(_ context.Context, positions []int64) (map[int64]T, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	found := make(map[int64]T, len(positions))
	for _, at := range positions {
		found[at] = a.messages[at-1].Message
	}
	return found, nil
}

// Remove implements [leases.Source].
func (a *added[T]) Remove(_ context.Context, positions []int64, gone func()) error {
	a.mu.Lock()
	for _, at := range positions {
		a.done[at] = true
	}
	a.mu.Unlock()
	gone()
	return nil
}

// Work handles messages until none is left, or what is left is to be tried again only
// after more than patience, or ctx ends. When handle fails, nothing is known of any
// of its deliveries, and all are tried again, after backoff.
func (m *Messages[T]) Work(ctx context.Context, batch int, patience time.Duration, backoff func(attempt int) time.Duration,
	handle func(context.Context, []driver.Delivery[T]) ([]driver.Settlement, error),
) {
	for {
		b, err := m.Receive(ctx, batch)
		if err != nil {
			return
		}
		if len(b.Deliveries) == 0 {
			if b.Next.IsZero() || !wait(ctx, patience, b.Next.Sub(m.now())) {
				return
			}
			continue
		}
		settlements, err := handle(ctx, b.Deliveries)
		if err != nil {
			settlements = settlements[:0:0]
			for _, d := range b.Deliveries {
				settlements = append(settlements, driver.Settlement{ID: d.ID, Retry: true, After: backoff(d.Attempt)})
			}
		}
		_ = m.Settle(ctx, settlements) // it is in memory
	}
}

// wait waits for d; false when that is longer than patience, or than ctx.
func wait(ctx context.Context, patience, d time.Duration) bool {
	if deadline, ok := ctx.Deadline(); d > patience || ok && time.Until(deadline) < d { //nolint:forbidigo // deadlines are in real time
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
