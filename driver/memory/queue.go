package memory

import (
	"context"
	"sync"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/leases"
)

// receiver is a [driver.Receiver] of one of the provider's stores.
type receiver[T any] struct {
	p      *Provider
	name   string // for Notify
	leased *leases.Queue[T]
}

func newReceiver[T any](p *Provider, name string, messages leases.Source[T]) receiver[T] {
	return receiver[T]{p, name, leases.New(messages, leases.Options{Now: p.now, Lease: leases.Default})}
}

// Receive implements [driver.Receiver].
func (r receiver[T]) Receive(ctx context.Context, max int) (driver.Batch[T], error) {
	if err := r.p.begin(ctx); err != nil {
		return driver.Batch[T]{}, err
	}
	defer r.p.end()
	return r.leased.Receive(ctx, max)
}

// Settle implements [driver.Receiver].
func (r receiver[T]) Settle(ctx context.Context, settlements []driver.Settlement) error {
	if err := r.p.begin(ctx); err != nil {
		return err
	}
	err := r.leased.Settle(ctx, settlements)
	r.p.end()
	r.p.notify(r.name) // the next message of a group may be available now
	return err
}

// queue is a receiver of pushed messages.
type queue[T any] struct {
	receiver[T]
	messages *messages[T]
}

func newQueue[T any](p *Provider, name string, copy func(T) T) *queue[T] {
	m := &messages[T]{copy: copy, byPosition: make(map[int64]message[T])}
	return &queue[T]{newReceiver(p, name, m), m}
}

// push adds a message to a group. The caller must not change the message afterwards
// and must notify the receiver.
func (q *queue[T]) push(group string, m T) { q.messages.push(group, m) }

// messages is a [leases.Source] of messages in memory. Positions that were not
// loaded yet have no gaps.
type messages[T any] struct {
	copy func(T) T

	mu         sync.Mutex
	tail       int64
	byPosition map[int64]message[T]
}

type message[T any] struct {
	group string
	value T
}

func (m *messages[T]) push(group string, value T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tail++
	m.byPosition[m.tail] = message[T]{group, value}
}

// Tail implements [leases.Source].
func (m *messages[T]) Tail() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tail
}

// Load implements [leases.Source].
func (m *messages[T]) Load(_ context.Context, after int64, limit int) (items []leases.Item[T], whole bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	end := min(m.tail, after+int64(limit))
	for at := after + 1; at <= end; at++ {
		x := m.byPosition[at]
		items = append(items, leases.Item[T]{Position: at, Group: x.group, Content: leases.Content[T]{Message: m.copy(x.value)}})
	}
	return items, end == m.tail, nil
}

// Fetch implements [leases.Source].
func (m *messages[T]) Fetch(_ context.Context, positions []int64) (map[int64]leases.Content[T], error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	found := make(map[int64]leases.Content[T], len(positions))
	for _, at := range positions {
		if x, ok := m.byPosition[at]; ok {
			found[at] = leases.Content[T]{Message: m.copy(x.value)}
		}
	}
	return found, nil
}

// Remove implements [leases.Source].
func (m *messages[T]) Remove(_ context.Context, positions []int64, gone func()) error {
	m.mu.Lock()
	for _, at := range positions {
		delete(m.byPosition, at)
	}
	m.mu.Unlock()
	gone()
	return nil
}
