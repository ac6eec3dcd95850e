// Package handed makes a receiver of messages that a function was handed, so that
// what works on receivers works in a function, too: what is to be tried again is
// tried again while the function has time, in order within its group, and at the
// end there is a list of what is not done.
package handed

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// Messages is a receiver of the messages that were added to it.
type Messages[T any] struct {
	now func() time.Time

	mu     sync.Mutex
	rounds uint64
	items  []*item[T] // that are not removed, in order
}

type item[T any] struct {
	id    string // as it was added
	group string // empty where it is alone
	held  string // the id of its delivery, while it is held
	at    time.Time
	driver.Delivery[T]
}

// New returns an empty receiver; nil is the real clock.
func New[T any](now func() time.Time) *Messages[T] {
	if now == nil {
		now = time.Now
	}
	return &Messages[T]{now: now}
}

// Message is a message to add.
type Message[T any] struct {
	// ID is how what handed it over knows it.
	ID string
	// Group is the messages that have to wait for it; empty is none.
	Group string
	// Attempt is which attempt this is, from 1.
	Attempt int
	Message T
}

// Add adds messages behind those that are there.
func (m *Messages[T]) Add(messages ...Message[T]) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, x := range messages {
		m.items = append(m.items, &item[T]{
			id: x.ID, group: x.Group, Delivery: driver.Delivery[T]{Attempt: max(x.Attempt, 1) - 1, Message: x.Message},
		})
	}
}

// Receive implements [driver.Receiver].
func (m *Messages[T]) Receive(ctx context.Context, max int) (driver.Batch[T], error) {
	var batch driver.Batch[T]
	if max < 1 {
		return batch, fmt.Errorf("handed: %d messages: %w", max, driver.ErrInvalid)
	}
	if err := ctx.Err(); err != nil {
		return batch, err
	}
	now := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rounds++
	waiting := map[string]bool{}
	var next time.Time
	for i, x := range m.items {
		switch {
		case x.group != "" && waiting[x.group]:
		case x.held != "":
			waiting[x.group] = true
		case x.at.After(now):
			waiting[x.group] = true
			if next.IsZero() || x.at.Before(next) {
				next = x.at
			}
		case len(batch.Deliveries) < max:
			x.Attempt++
			x.held = x.id + "#" + strconv.FormatUint(m.rounds, 36) + "." + strconv.Itoa(i)
			d := x.Delivery
			d.ID = x.held
			batch.Deliveries = append(batch.Deliveries, d)
			continue // the next one of its group may be in the same batch
		default:
			waiting[x.group] = true
		}
	}
	if len(batch.Deliveries) == 0 {
		batch.Next = next
	}
	return batch, nil
}

// Settle implements [driver.Receiver].
func (m *Messages[T]) Settle(_ context.Context, settlements []driver.Settlement) error {
	how := make(map[string]driver.Settlement, len(settlements))
	for _, s := range settlements {
		if _, twice := how[s.ID]; !twice {
			how[s.ID] = s
		}
	}
	now := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	left := m.items[:0:0]
	behind := map[string]bool{}
	for _, x := range m.items {
		s, ok := how[x.held]
		switch {
		case x.held == "" || !ok:
		case !s.Retry:
			continue
		default:
			x.held, x.at = "", now.Add(max(s.After, 0))
			if x.group != "" && behind[x.group] {
				x.Attempt-- // it waits for the one before it, and was not tried
			}
			behind[x.group] = true
		}
		left = append(left, x)
	}
	m.items = left
	return nil
}

// Left is a message that is not done.
type Left struct {
	ID string
	// After is how long it should wait before it is handed over again.
	After time.Duration
}

// Take removes all messages and returns them, in order.
func (m *Messages[T]) Take() []Left {
	now := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	var left []Left
	for _, x := range m.items {
		left = append(left, Left{x.id, max(x.at.Sub(now), 0)})
	}
	m.items = nil
	return left
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
