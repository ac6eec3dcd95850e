package memory

import (
	"container/heap"
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// queue is a [driver.Receiver] of messages that are pushed into it.
type queue[T any] struct {
	p        *Provider
	receiver string // for Notify
	copy     func(T) T

	mu     sync.Mutex
	groups groups[T]
}

func newQueue[T any](p *Provider, receiver string, copy func(T) T) *queue[T] {
	return &queue[T]{p: p, receiver: receiver, copy: copy, groups: newGroups[T](p.visibility)}
}

// push adds message, which nobody else may change any more, to a group. The
// caller notifies.
func (q *queue[T]) push(group string, message T) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.groups.push(group, message)
}

// Receive implements [driver.Receiver].
func (q *queue[T]) Receive(ctx context.Context, max int) (driver.Batch[T], error) {
	if err := q.p.begin(ctx); err != nil {
		return driver.Batch[T]{}, err
	}
	defer q.p.end()
	if err := checkMax(max); err != nil {
		return driver.Batch[T]{}, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	batch := driver.Batch[T]{Deliveries: q.groups.take(q.p.now(), max)}
	if len(batch.Deliveries) == 0 {
		batch.Next = q.groups.next()
	}
	for i := range batch.Deliveries {
		d := &batch.Deliveries[i]
		d.Message = q.copy(d.Message)
	}
	return batch, nil
}

// Settle implements [driver.Receiver].
func (q *queue[T]) Settle(ctx context.Context, settlements []driver.Settlement) error {
	if err := q.p.begin(ctx); err != nil {
		return err
	}
	q.mu.Lock()
	more := q.groups.settle(q.p.now(), settlements)
	q.mu.Unlock()
	q.p.end()
	if more {
		q.p.notify(q.receiver)
	}
	return nil
}

func checkMax(max int) error {
	if max < 1 {
		return fmt.Errorf("memory: receive %d messages: %w", max, driver.ErrInvalid)
	}
	return nil
}

// groups is what a receiver knows of messages that are not settled. It is
// guarded by the lock of its owner.
type groups[T any] struct {
	visibility time.Duration
	byName     map[string]*group[T]
	line       line[T] // all of byName, the one that can be taken from first in front
	held       map[string]*item[T]
	deliveries uint64 // to make ids from
	turns      uint64
	takes      uint64

	// refill returns up to n messages that follow last in a group that is
	// behind; only an owner that counts messages needs it.
	refill func(last T, n int) []T
}

// group is the unsettled messages of one group, in order.
type group[T any] struct {
	name  string
	items []*item[T]
	// last is the last message that went into items, and behind how many
	// follow it that are kept elsewhere.
	last   T
	behind int

	takenBy uint64 // the take that delivered from it last

	at   time.Time // nothing can be taken before
	turn uint64    // of groups with the same time the lowest comes first
	slot int       // index in the line
}

// item is a message that is not settled. Those that were ever delivered are in
// front of those that were not.
type item[T any] struct {
	message T
	group   *group[T]
	attempt int
	// delivery is the id of the delivery that holds the item, if any.
	delivery string
	// until is when the hold ends, or when an item that is not held can be
	// delivered again.
	until time.Time
	// settled items behind one that is not are skipped.
	settled bool
}

func newGroups[T any](visibility time.Duration) groups[T] {
	return groups[T]{visibility: visibility, byName: make(map[string]*group[T]), held: make(map[string]*item[T])}
}

// push adds a message behind all others of its group.
func (gs *groups[T]) push(name string, message T) {
	g := gs.byName[name]
	if g == nil {
		g = &group[T]{name: name}
		gs.byName[name] = g
		gs.turns++
		g.turn = gs.turns
		heap.Push(&gs.line, g)
	}
	g.add(message)
}

func (g *group[T]) add(message T) {
	g.items = append(g.items, &item[T]{message: message, group: g})
	g.last = message
}

// take delivers up to max messages.
func (gs *groups[T]) take(now time.Time, max int) []driver.Delivery[T] {
	gs.takes++
	var taken []driver.Delivery[T]
	for len(taken) < max && len(gs.line) > 0 && !gs.line[0].at.After(now) {
		g := gs.line[0]
		gs.release(g)
		g.takenBy = gs.takes
		for i := 0; len(taken) < max; i++ {
			if i == len(g.items) && g.behind > 0 {
				for _, m := range gs.refill(g.last, min(g.behind, max-len(taken))) {
					g.add(m)
					g.behind--
				}
			}
			if i == len(g.items) || g.items[i].until.After(now) {
				break
			}
			if !g.items[i].settled {
				taken = append(taken, gs.hold(g.items[i], now))
			}
		}
		gs.queueUp(g)
	}
	return taken
}

// offer delivers message, which follows all others of its group, as part of the
// take before, if that does not break the order; if not, the group is one more
// behind and ok is false.
func (gs *groups[T]) offer(now time.Time, name string, message T) (d driver.Delivery[T], ok bool) {
	g := gs.byName[name]
	if g != nil && (g.takenBy != gs.takes || g.behind > 0 || g.items[len(g.items)-1].delivery == "") {
		g.behind++
		return d, false
	}
	gs.push(name, message)
	g = gs.byName[name]
	g.takenBy = gs.takes
	d = gs.hold(g.items[len(g.items)-1], now)
	gs.queueUp(g)
	return d, true
}

// next returns when something can be taken after a take that found nothing.
func (gs *groups[T]) next() time.Time {
	if len(gs.line) == 0 {
		return time.Time{}
	}
	return gs.line[0].at
}

// settle ends deliveries and reports whether their groups have more messages.
func (gs *groups[T]) settle(now time.Time, settlements []driver.Settlement) (more bool) {
	touched := make(map[*group[T]]bool)
	for _, s := range settlements {
		it := gs.held[s.ID]
		if it == nil || !it.until.After(now) { // unknown, or the hold has ended
			continue
		}
		delete(gs.held, s.ID)
		it.delivery, it.until = "", time.Time{}
		it.settled = !s.Retry
		if s.Retry && s.After > 0 {
			it.until = now.Add(s.After)
		}
		touched[it.group] = true
	}
	for g := range touched {
		for len(g.items) > 0 && g.items[0].settled {
			g.items[0] = nil
			g.items = g.items[1:]
		}
		if len(g.items) == 0 && g.behind == 0 {
			heap.Remove(&gs.line, g.slot)
			delete(gs.byName, g.name)
			continue
		}
		gs.queueUp(g)
		more = true
	}
	return more
}

// hold delivers it.
func (gs *groups[T]) hold(it *item[T], now time.Time) driver.Delivery[T] {
	gs.deliveries++
	it.delivery = strconv.FormatUint(gs.deliveries, 10)
	it.until = now.Add(gs.visibility)
	it.attempt++
	gs.held[it.delivery] = it
	return driver.Delivery[T]{ID: it.delivery, Attempt: it.attempt, Message: it.message}
}

// release takes back what is held of a group whose holds have ended.
func (gs *groups[T]) release(g *group[T]) {
	for _, it := range g.items {
		if it.attempt == 0 {
			break
		}
		if it.delivery != "" {
			delete(gs.held, it.delivery)
			it.delivery, it.until = "", time.Time{}
		}
	}
}

// queueUp puts g at its place in the line: behind its holds, for the order would
// break if another call took from it, and behind the wait of its first message.
func (gs *groups[T]) queueUp(g *group[T]) {
	g.at = time.Time{}
	first := true
	for _, it := range g.items {
		if it.attempt == 0 {
			break
		}
		if !it.settled && (first || it.delivery != "") && it.until.After(g.at) {
			g.at = it.until
		}
		first = first && it.settled
	}
	gs.turns++
	g.turn = gs.turns
	heap.Fix(&gs.line, g.slot)
}

// line is a heap of groups.
type line[T any] []*group[T]

func (l line[T]) Len() int { return len(l) }

func (l line[T]) Less(i, j int) bool {
	if !l[i].at.Equal(l[j].at) {
		return l[i].at.Before(l[j].at)
	}
	return l[i].turn < l[j].turn
}

func (l line[T]) Swap(i, j int) {
	l[i], l[j] = l[j], l[i]
	l[i].slot, l[j].slot = i, j
}

// Push implements [heap.Interface].
func (l *line[T]) Push(x any) {
	g := x.(*group[T])
	g.slot = len(*l)
	*l = append(*l, g)
}

// Pop implements [heap.Interface].
func (l *line[T]) Pop() any {
	last := len(*l) - 1
	g := (*l)[last]
	(*l)[last] = nil
	*l = (*l)[:last]
	return g
}
