// Package leases delivers messages as [driver.Receiver] requires: at least once, in
// order within each group, to one caller at a time. Memory, SQLite and the functions
// on AWS share it; they differ only in where the messages are stored.
package leases

import (
	"container/heap"
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/reventless-go/reventless/driver"
)

const (
	// page is the number of messages that a queue loads in one read.
	page = 256
	// loadedBytes bounds the loaded messages that wait in memory; of the others a
	// queue keeps the position only.
	loadedBytes = 4 << 20
)

// Default is how long the embedded providers lease a delivery.
const Default = 5 * time.Minute

// Source stores the messages of a queue, at ascending positions above 0.
type Source[T any] interface {
	// Tail returns the position of the newest message, or a greater one.
	Tail() int64
	// Load returns messages at positions greater than after, ascending, at most
	// limit; whole is true when there are no more.
	Load(ctx context.Context, after int64, limit int) (items []Item[T], whole bool, err error)
	// Fetch returns the messages at these positions that still exist.
	Fetch(ctx context.Context, positions []int64) (map[int64]Content[T], error)
	// Remove removes messages for good. It calls gone once that is certain, and
	// returns when it is durable.
	Remove(ctx context.Context, positions []int64, gone func()) error
}

// Item is a loaded message.
type Item[T any] struct {
	Position int64
	Group    string
	// Size is about how many bytes the message takes.
	Size int
	// Delivered is how often it was delivered before.
	Delivered int
	Content[T]
}

// Content is a message, or the damage that keeps it from being read, as in
// [driver.Delivery].
type Content[T any] struct {
	Message T
	Raw     []byte
	Err     error
}

// Options configure a [Queue].
type Options struct {
	Now func() time.Time
	// Lease is how long a delivery is leased; 0 is for ever.
	Lease time.Duration
	// Prefix begins the ids of deliveries.
	Prefix string
	// After is the position behind which the queue starts.
	After int64
}

// Queue is a [driver.Receiver] of the messages of a [Source].
//
// It keeps in memory what is leased, what waits for its retry and how often each
// message was delivered, so a new queue starts with all messages available. It loads
// messages as it goes: it knows those between the oldest that is not settled and the
// newest that it has looked at.
type Queue[T any] struct {
	src  Source[T]
	opts Options

	loading sync.Mutex // held while a page is loaded; locked before mu

	mu      sync.Mutex
	cursor  int64 // positions up to here are loaded
	bytes   int   // of messages that wait in memory
	serial  uint64
	groups  map[string]*group[T]
	leased  map[string]*entry[T] // by delivery id
	order   []*entry[T]          // ascending by position; settled ones are cut off at the front
	ready   heapOf[*group[T]]    // by position of the first entry
	waiting heapOf[*group[T]]    // by time
	leases  heapOf[*lease[T]]    // by time
}

// group is the entries of one group. It is in ready when its first entry may be
// delivered, in waiting when that has to wait, in neither while one is leased.
type group[T any] struct {
	name    string
	entries []*entry[T] // ascending by position
	leased  int
	taken   int // how many, from the first on, the running call has taken
	in      *heapOf[*group[T]]
	index   int
	key     int64 // in the heap that it is in
}

func (g *group[T]) less(o *group[T]) bool { return g.key < o.key }
func (g *group[T]) setIndex(i int)        { g.index = i }

// entry is one message that is not settled.
type entry[T any] struct {
	position int64
	group    *group[T]
	attempt  int
	due      int64     // UnixNano before which it is not delivered, after a retry
	lease    *lease[T] // nil: it is not leased
	size     int       // of the message in memory; -1 if it is not in memory
	content  Content[T]
	settled  bool
}

// lease is one delivery of an entry.
type lease[T any] struct {
	entry *entry[T]
	id    string
	until int64
	index int
}

func (l *lease[T]) less(o *lease[T]) bool { return l.until < o.until }
func (l *lease[T]) setIndex(i int)        { l.index = i }

// New returns a queue of the messages of src.
func New[T any](src Source[T], opts Options) *Queue[T] {
	return &Queue[T]{
		src: src, opts: opts, cursor: opts.After,
		groups: map[string]*group[T]{}, leased: map[string]*entry[T]{},
	}
}

// CheckMax reports whether a receiver may be called for up to max messages.
func CheckMax(max int) error {
	if max < 1 {
		return fmt.Errorf("receive %d messages: %w", max, driver.ErrInvalid)
	}
	return nil
}

// taken is an entry that a call of Receive has taken.
type taken[T any] struct {
	lease *lease[T]
	driver.Delivery[T]
	missing bool // Message has to be fetched
}

// Receive implements [driver.Receiver].
func (q *Queue[T]) Receive(ctx context.Context, limit int) (driver.Batch[T], error) {
	if err := CheckMax(limit); err != nil {
		return driver.Batch[T]{}, err
	}
	var got []taken[T]
	for {
		q.mu.Lock()
		now := q.opts.Now()
		q.expire(now)
		got = append(got, q.take(now, limit-len(got))...)
		full := len(got) >= limit || q.cursor >= q.src.Tail()
		q.mu.Unlock()
		if full {
			break
		}
		if err := q.load(ctx); err != nil {
			q.giveBack(got)
			return driver.Batch[T]{}, err
		}
	}
	deliveries, err := q.complete(ctx, got)
	if err != nil {
		q.giveBack(got)
		return driver.Batch[T]{}, err
	}
	if len(deliveries) > 0 {
		return driver.Batch[T]{Deliveries: deliveries}, nil
	}
	return driver.Batch[T]{Next: q.next()}, nil
}

// complete fetches the messages that are missing from what was taken.
func (q *Queue[T]) complete(ctx context.Context, got []taken[T]) ([]driver.Delivery[T], error) {
	var positions []int64
	for _, t := range got {
		if t.missing {
			positions = append(positions, t.lease.entry.position)
		}
	}
	var fetched map[int64]Content[T]
	if len(positions) > 0 {
		var err error
		if fetched, err = q.src.Fetch(ctx, positions); err != nil {
			return nil, err
		}
	}
	deliveries := make([]driver.Delivery[T], 0, len(got))
	for _, t := range got {
		if t.missing {
			m, ok := fetched[t.lease.entry.position]
			if !ok { // removed by a call whose context had ended
				q.mu.Lock()
				q.settle(t.lease.entry, q.opts.Now())
				q.mu.Unlock()
				continue
			}
			t.Message, t.Raw, t.Err = m.Message, m.Raw, m.Err
		}
		deliveries = append(deliveries, t.Delivery)
	}
	return deliveries, nil
}

// load loads the next page.
func (q *Queue[T]) load(ctx context.Context) error {
	q.loading.Lock()
	defer q.loading.Unlock()
	q.mu.Lock()
	after := q.cursor
	q.mu.Unlock()
	tail := q.src.Tail()
	if after >= tail {
		return nil // another call has loaded it
	}
	items, whole, err := q.src.Load(ctx, after, page)
	if err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.opts.Now()
	for _, it := range items {
		q.add(it, now)
		q.cursor = it.Position
	}
	if whole {
		q.cursor = max(q.cursor, tail)
	}
	return nil
}

func (q *Queue[T]) add(it Item[T], now time.Time) {
	g := q.groups[it.Group]
	if g == nil {
		g = &group[T]{name: it.Group}
		q.groups[it.Group] = g
	}
	e := &entry[T]{position: it.Position, group: g, attempt: it.Delivered, size: -1}
	if q.bytes+it.Size <= loadedBytes {
		e.size, e.content = it.Size, it.Content
		q.bytes += it.Size
	}
	g.entries = append(g.entries, e)
	q.order = append(q.order, e)
	if g.in == nil && g.leased == 0 {
		q.place(g, now)
	}
}

// forget drops the message of an entry from memory.
func (q *Queue[T]) forget(e *entry[T]) {
	if e.size >= 0 {
		q.bytes -= e.size
		e.size, e.content = -1, Content[T]{}
	}
}

// take takes up to limit messages, the oldest first.
func (q *Queue[T]) take(now time.Time, limit int) (got []taken[T]) {
	var groups []*group[T]
	for len(got) < limit && len(q.ready) > 0 {
		g := q.ready[0]
		q.leave(g)
		e := g.entries[g.taken]
		if g.taken == 0 {
			groups = append(groups, g)
		}
		g.taken++
		e.attempt++
		q.leaseTo(e, now)
		// A delivered message belongs to the caller: it leaves the memory.
		got = append(got, taken[T]{
			lease:    e.lease,
			missing:  e.size < 0,
			Delivery: driver.Delivery[T]{ID: e.lease.id, Attempt: e.attempt, Message: e.content.Message, Raw: e.content.Raw, Err: e.content.Err},
		})
		q.forget(e)
		if g.taken < len(g.entries) && g.entries[g.taken].due <= now.UnixNano() {
			q.join(&q.ready, g, g.entries[g.taken].position)
		}
	}
	for _, g := range groups {
		q.leave(g)
		g.leased, g.taken = g.taken, 0
	}
	return got
}

func (q *Queue[T]) leaseTo(e *entry[T], now time.Time) {
	q.serial++
	e.lease = &lease[T]{
		entry: e, index: -1,
		id: q.opts.Prefix + strconv.FormatInt(e.position, 36) + "-" + strconv.FormatUint(q.serial, 36),
	}
	q.leased[e.lease.id] = e
	if q.opts.Lease > 0 {
		e.lease.until = now.Add(q.opts.Lease).UnixNano()
		heap.Push(&q.leases, e.lease)
	}
}

// expire makes available what no longer has to wait.
func (q *Queue[T]) expire(now time.Time) {
	at := now.UnixNano()
	for len(q.leases) > 0 && q.leases[0].until <= at {
		q.free(q.leases[0].entry, 0, now)
	}
	for len(q.waiting) > 0 && q.waiting[0].key <= at {
		q.place(q.waiting[0], now)
	}
}

// endLease takes the lease off an entry, if there is one.
func (q *Queue[T]) endLease(e *entry[T]) {
	if e.lease == nil {
		return
	}
	delete(q.leased, e.lease.id)
	if e.lease.index >= 0 {
		heap.Remove(&q.leases, e.lease.index)
	}
	e.lease = nil
	e.group.leased--
}

// free ends the lease of an entry, which is available again from due on.
func (q *Queue[T]) free(e *entry[T], due int64, now time.Time) {
	q.endLease(e)
	e.due = due
	q.place(e.group, now)
}

// settle removes an entry for good.
func (q *Queue[T]) settle(e *entry[T], now time.Time) {
	if e.settled {
		return
	}
	e.settled = true
	q.forget(e)
	q.endLease(e)
	g := e.group
	for i, o := range g.entries { // it is among the first
		if o != e {
			continue
		}
		if i == 0 {
			g.entries[0] = nil
			g.entries = g.entries[1:]
		} else {
			g.entries = append(g.entries[:i], g.entries[i+1:]...)
		}
		break
	}
	q.place(g, now)
	for len(q.order) > 0 && q.order[0].settled {
		q.order[0] = nil
		q.order = q.order[1:]
	}
}

// place puts a group into the heap that it belongs to.
func (q *Queue[T]) place(g *group[T], now time.Time) {
	q.leave(g)
	switch {
	case g.leased > 0:
	case len(g.entries) == 0:
		delete(q.groups, g.name)
	case g.entries[0].due > now.UnixNano():
		q.join(&q.waiting, g, g.entries[0].due)
	default:
		q.join(&q.ready, g, g.entries[0].position)
	}
}

func (q *Queue[T]) join(h *heapOf[*group[T]], g *group[T], key int64) {
	g.in, g.key = h, key
	heap.Push(h, g)
}

func (q *Queue[T]) leave(g *group[T]) {
	if g.in != nil {
		heap.Remove(g.in, g.index)
		g.in = nil
	}
}

// giveBack makes available again what was taken and could not be delivered.
func (q *Queue[T]) giveBack(got []taken[T]) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.opts.Now()
	for _, t := range got {
		if e := t.lease.entry; e.lease == t.lease {
			e.attempt--
			q.free(e, e.due, now)
		}
	}
}

// next is when something that waits becomes available; zero is never.
func (q *Queue[T]) next() time.Time {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.expire(q.opts.Now())
	var at int64
	if len(q.leases) > 0 {
		at = q.leases[0].until
	}
	if len(q.waiting) > 0 && (at == 0 || q.waiting[0].key < at) {
		at = q.waiting[0].key
	}
	if at == 0 {
		return time.Time{}
	}
	return time.Unix(0, at).UTC()
}

// Settle implements [driver.Receiver]. Of the messages of a group that are retried
// in one call only the first was tried: the attempts of the others stay as they were.
func (q *Queue[T]) Settle(ctx context.Context, settlements []driver.Settlement) error {
	var done []*entry[T]
	var positions []int64
	retried := map[*group[T]]bool{}
	q.mu.Lock()
	now := q.opts.Now()
	q.expire(now)
	for _, s := range settlements {
		e := q.leased[s.ID]
		switch {
		case e == nil:
		case s.Retry:
			if retried[e.group] {
				e.attempt--
			}
			retried[e.group] = true
			var due int64
			if s.After > 0 {
				due = now.Add(s.After).UnixNano()
			}
			q.free(e, due, now)
		default:
			done = append(done, e)
			positions = append(positions, e.position)
		}
	}
	q.mu.Unlock()
	if len(done) == 0 {
		return nil
	}
	return q.src.Remove(ctx, positions, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		now := q.opts.Now()
		for _, e := range done {
			q.settle(e, now)
		}
	})
}

// Settled returns the position up to which all messages are settled.
func (q *Queue[T]) Settled() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.order) > 0 {
		return q.order[0].position - 1
	}
	return q.cursor
}

// Waits returns how long each loaded message that is not settled still waits for its
// retry, by position; 0 if there is no such retry.
func (q *Queue[T]) Waits() map[int64]time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.opts.Now().UnixNano()
	waits := make(map[int64]time.Duration, len(q.order))
	for _, e := range q.order {
		if !e.settled {
			waits[e.position] = max(time.Duration(e.due-now), 0)
		}
	}
	return waits
}

// element is an element of a heap, which knows its index.
type element[E any] interface {
	less(E) bool
	setIndex(i int)
}

// heapOf is a priority queue that elements can leave from anywhere.
type heapOf[E element[E]] []E

func (h heapOf[E]) Len() int           { return len(h) }
func (h heapOf[E]) Less(i, j int) bool { return h[i].less(h[j]) }
func (h heapOf[E]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].setIndex(i)
	h[j].setIndex(j)
}

// Push implements [heap.Interface].
func (h *heapOf[E]) Push(x any) {
	e := x.(E)
	e.setIndex(len(*h))
	*h = append(*h, e)
}

// Pop implements [heap.Interface].
func (h *heapOf[E]) Pop() any {
	old := *h
	n := len(old) - 1
	e := old[n]
	var none E
	old[n] = none
	*h = old[:n]
	return e
}
