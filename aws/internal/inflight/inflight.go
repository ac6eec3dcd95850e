// Package inflight queues the messages of an invocation in memory. A failed message is
// retried while the function has time, in order within its group. At the end, the messages
// that are not done are listed.
package inflight

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/host/core"
	"github.com/reventless-go/reventless/internal/leases"
)

// Messages is a [driver.Receiver] of the messages that were added to it. A lease ends only
// with its settlement because there is no other receiver.
type Messages[T any] struct {
	*leases.Queue[T]
	now   func() time.Time
	added *added[T]
}

// New returns an empty receiver; a nil now means the real clock.
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
	// ID is the id that the event source uses.
	ID string
	// Group is the group in which messages are handled in order. A message without a group
	// does not wait for others.
	Group string
	// Attempt is the number of the attempt, from 1.
	Attempt int
	Message T
}

// Add appends messages.
func (m *Messages[T]) Add(messages ...Message[T]) {
	m.added.mu.Lock()
	defer m.added.mu.Unlock()
	m.added.messages = append(m.added.messages, messages...)
}

// Remaining is a message that is not done.
type Remaining struct {
	ID string
	// After is the delay before its redelivery.
	After time.Duration
}

// Take removes all messages and returns those that are not done, in order. It must not run
// concurrently with other calls.
func (m *Messages[T]) Take() []Remaining {
	waits := m.Waits()
	var left []Remaining
	for i, x := range m.added.messages {
		if position := int64(i + 1); !m.added.done[position] {
			left = append(left, Remaining{x.ID, waits[position]})
		}
	}
	m.reset()
	return left
}

// added is the [leases.Source] of the messages. Positions are numbers from 1.
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
		items = append(items, leases.Item[T]{Position: at, Group: group, Delivered: max(x.Attempt, 1) - 1, Content: leases.Content[T]{Message: x.Message}})
	}
	return items, end == int64(len(a.messages)), nil
}

// Fetch implements [leases.Source].
func (a *added[T]) Fetch(_ context.Context, positions []int64) (map[int64]leases.Content[T], error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	found := make(map[int64]leases.Content[T], len(positions))
	for _, at := range positions {
		found[at] = leases.Content[T]{Message: a.messages[at-1].Message}
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

// Work handles messages until all are done, ctx ends, or all remaining ones have to wait
// for longer than patience. If handle fails, all of its deliveries are retried after
// backoff.
func (m *Messages[T]) Work(ctx context.Context, batch int, patience time.Duration, backoff func(attempt int) time.Duration,
	handle func(context.Context, []driver.Delivery[T]) ([]driver.Settlement, error),
) {
	for {
		b, err := m.Receive(ctx, batch)
		if err != nil {
			return
		}
		if len(b.Deliveries) == 0 {
			if b.Next.IsZero() || !pause(ctx, patience, b.Next.Sub(m.now())) {
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
		_ = m.Settle(ctx, settlements) // does not fail in memory
	}
}

// pause waits for d. It returns false if d exceeds patience or the time until ctx ends.
func pause(ctx context.Context, patience, d time.Duration) bool {
	return d <= patience && core.Pause(ctx, d)
}
