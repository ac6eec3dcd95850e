package sqlite

import (
	"context"
	sqldriver "database/sql/driver"
	"sync/atomic"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/leases"
)

// message is a stored message: a JSON head and, separate from it, a payload that
// is kept byte for byte.
type message struct {
	group string
	head  string
	data  any // string, or nil for none
}

// queue is a FIFO queue in the table messages. A message stays in the table until
// it is settled; leases exist in memory only.
type queue[T any] struct {
	p        *Provider
	id       int64
	receiver string
	decode   func(group, head string, data []byte) (T, error)
	newest   atomic.Int64
	leases   *leases.Queue[T]
}

// openQueue returns the queue that all drivers of a name share.
func openQueue[T any](ctx context.Context, p *Provider, kind, name, receiver string, decode func(group, head string, data []byte) (T, error)) (*queue[T], error) {
	return share(p, kind, name, func() (*queue[T], error) {
		id, err := p.intern(ctx, kind, name)
		if err != nil {
			return nil, err
		}
		q := &queue[T]{p: p, id: id, receiver: receiver, decode: decode}
		q.leases = leases.New[T](q, p.leasing(0))
		return q, p.read(ctx, func(c *conn) error {
			newest, err := c.integer("SELECT max(id) FROM messages WHERE queue = ?", id)
			q.newest.Store(newest)
			return err
		})
	})
}

// put adds a message in a running transaction and returns its id.
func (q *queue[T]) put(t *tx, m message) (int64, error) {
	id, err := t.next()
	if err != nil {
		return 0, err
	}
	return id, q.putAs(t, id, m)
}

func (q *queue[T]) putAs(t *tx, id int64, m message) error {
	if _, _, err := t.exec("INSERT INTO messages (queue, id, grp, head, data, crc) VALUES (?, ?, ?, ?, ?, ?)",
		q.id, id, m.group, m.head, m.data, messageSum(q.id, id, m.group, m.head, m.data)); err != nil {
		return err
	}
	t.after(func() { q.newest.Store(id) })
	t.notify(q.receiver)
	return nil
}

// Receive implements [driver.Receiver].
func (q *queue[T]) Receive(ctx context.Context, limit int) (driver.Batch[T], error) {
	if err := q.p.enter(ctx); err != nil {
		return driver.Batch[T]{}, err
	}
	defer q.p.leave()
	return q.leases.Receive(ctx, limit)
}

// Settle implements [driver.Receiver].
func (q *queue[T]) Settle(ctx context.Context, settlements []driver.Settlement) error {
	if err := q.p.enter(ctx); err != nil {
		return err
	}
	defer q.p.leave()
	err := q.leases.Settle(ctx, settlements)
	q.p.notify([]string{q.receiver}) // its next message may be available now
	return err
}

// Tail implements [leases.Source].
func (q *queue[T]) Tail() int64 { return q.newest.Load() }

// Load implements [leases.Source].
func (q *queue[T]) Load(ctx context.Context, after int64, limit int) (items []leases.Item[T], whole bool, err error) {
	err = q.p.read(ctx, func(c *conn) error {
		size := 0
		whole = true
		return c.query("SELECT id, grp, head, data, crc FROM messages WHERE queue = ? AND id > ? ORDER BY id LIMIT ?", []any{q.id, after, int64(limit)},
			func(row []sqldriver.Value) error {
				it := leases.Item[T]{Position: number(row[0]), Group: text(row[1]), Size: len(text(row[2])) + len(text(row[3]))}
				it.Content = q.content(it.Position, row[1:])
				items = append(items, it)
				if size += it.Size; size > pageBytes || len(items) == limit {
					whole = false
					return errStop
				}
				return nil
			})
	})
	return items, whole, err
}

// Fetch implements [leases.Source].
func (q *queue[T]) Fetch(ctx context.Context, positions []int64) (map[int64]leases.Content[T], error) {
	found := make(map[int64]leases.Content[T], len(positions))
	return found, q.p.read(ctx, func(c *conn) error {
		for _, pos := range positions {
			_, err := c.first("SELECT grp, head, data, crc FROM messages WHERE queue = ? AND id = ?", []any{q.id, pos}, func(row []sqldriver.Value) error {
				found[pos] = q.content(pos, row)
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// content decodes the columns grp, head, data and crc of a message.
func (q *queue[T]) content(id int64, row []sqldriver.Value) (c leases.Content[T]) {
	var data []byte
	if row[2] != nil {
		data = []byte(text(row[2]))
	}
	var m T
	err := errChecksum
	if messageSum(q.id, id, text(row[0]), text(row[1]), row[2]) == number(row[3]) {
		m, err = q.decode(text(row[0]), text(row[1]), data)
	}
	if err != nil {
		return leases.Content[T]{Raw: []byte(text(row[1]) + text(row[2])), Err: damage("messages", q.receiver, text(row[0]), "%w", err)}
	}
	return leases.Content[T]{Message: m}
}

// Remove implements [leases.Source].
func (q *queue[T]) Remove(ctx context.Context, positions []int64, gone func()) error {
	return q.p.write(ctx, func(t *tx) error {
		for _, pos := range positions {
			if _, _, err := t.exec("DELETE FROM messages WHERE queue = ? AND id = ?", q.id, pos); err != nil {
				return err
			}
		}
		t.after(gone)
		return nil
	})
}

// leasing returns the options of a receiver that starts after a position. The epoch
// distinguishes its deliveries from those of earlier providers on the same file.
func (p *Provider) leasing(after int64) leases.Options {
	return leases.Options{Now: p.now, Lease: leases.Default, Prefix: p.epoch + "-", After: after}
}
