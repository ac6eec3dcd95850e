package sqlite

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
	// lanePage is how many messages a lane loads at once.
	lanePage = 256
	// laneBytes bounds the loaded messages that wait in memory; of those beyond
	// it a lane knows no more than the position.
	laneBytes = 4 << 20
	// pageBytes bounds one page of anything that is read in pages.
	pageBytes = 1 << 20
)

// source is where a lane's messages are stored.
type source[T any] interface {
	// tail is the position of the newest message, or above.
	tail() int64
	// load returns messages at positions above after, ascending, at most limit;
	// whole is true when there are no more.
	load(ctx context.Context, after int64, limit int) (items []item[T], whole bool, err error)
	// fetch returns the messages at these positions that still exist.
	fetch(ctx context.Context, positions []int64) (map[int64]T, error)
	// remove ends messages: it calls gone once that is certain, and returns when
	// it is durable.
	remove(ctx context.Context, positions []int64, gone func()) error
}

// item is a loaded message.
type item[T any] struct {
	pos     int64
	group   string
	size    int
	message T
}

// lane hands out stored messages as [driver.Receiver] says. What is held, waits
// or was tried is known in memory only, so that a new lane starts with all of it
// available.
//
// It loads positions as it goes: in memory are the messages between the oldest
// that is not settled and the newest that was looked at.
type lane[T any] struct {
	src    source[T]
	now    func() time.Time
	hold   time.Duration
	prefix string // of delivery ids

	loading sync.Mutex // held while a page is loaded, before mu

	mu      sync.Mutex
	cursor  int64 // positions up to here were loaded
	bytes   int   // of messages that wait in memory
	serial  uint64
	groups  map[string]*group[T]
	held    map[string]*entry[T] // by delivery id
	order   []*entry[T]          // ascending by position; ended ones are cut off at the front
	ready   queueOf[*group[T]]   // by position of the first entry
	waiting queueOf[*group[T]]   // by time
	holds   queueOf[*hold[T]]    // by time
}

// group is the entries of one group. It is in ready when its first entry may be
// delivered, in waiting when that has to wait, in neither while one is held.
type group[T any] struct {
	name    string
	entries []*entry[T] // ascending by position
	held    int
	taken   int // how many, from the first on, the running receive has taken
	in      *queueOf[*group[T]]
	index   int
	key     int64 // in the queue that it is in
}

func (g *group[T]) less(o *group[T]) bool { return g.key < o.key }
func (g *group[T]) at(i int)              { g.index = i }

// entry is one message that is not settled.
type entry[T any] struct {
	pos     int64
	group   *group[T]
	attempt int
	due     int64    // UnixNano before which it is not delivered, after a retry
	hold    *hold[T] // nil: nobody has it
	size    int      // of message in memory; -1 is not there
	message T
	ended   bool
}

// hold is one delivery of an entry.
type hold[T any] struct {
	entry *entry[T]
	id    string
	until int64
	index int
}

func (h *hold[T]) less(o *hold[T]) bool { return h.until < o.until }
func (h *hold[T]) at(i int)             { h.index = i }

func newLane[T any](p *Provider, src source[T], cursor int64) *lane[T] {
	return &lane[T]{
		src: src, now: p.now, hold: p.holdFor, prefix: p.epoch + "-", cursor: cursor,
		groups: map[string]*group[T]{}, held: map[string]*entry[T]{},
	}
}

// taken is an entry that a receive has taken.
type taken[T any] struct {
	hold *hold[T]
	driver.Delivery[T]
	missing bool // Message has to be fetched
}

// receive takes up to limit messages.
func (l *lane[T]) receive(ctx context.Context, limit int) (driver.Batch[T], error) {
	if err := checkLimit(limit); err != nil {
		return driver.Batch[T]{}, fmt.Errorf("receive: %w", err)
	}
	var got []taken[T]
	for {
		l.mu.Lock()
		now := l.now()
		l.wake(now)
		got = append(got, l.take(now, limit-len(got))...)
		full := len(got) >= limit || l.cursor >= l.src.tail()
		l.mu.Unlock()
		if full {
			break
		}
		if err := l.more(ctx); err != nil {
			l.release(got)
			return driver.Batch[T]{}, err
		}
	}
	deliveries, err := l.deliver(ctx, got)
	if err != nil {
		l.release(got)
		return driver.Batch[T]{}, err
	}
	if len(deliveries) > 0 {
		return driver.Batch[T]{Deliveries: deliveries}, nil
	}
	return driver.Batch[T]{Next: l.next()}, nil
}

// deliver completes what was taken.
func (l *lane[T]) deliver(ctx context.Context, got []taken[T]) ([]driver.Delivery[T], error) {
	var positions []int64
	for _, t := range got {
		if t.missing {
			positions = append(positions, t.hold.entry.pos)
		}
	}
	var fetched map[int64]T
	if len(positions) > 0 {
		var err error
		if fetched, err = l.src.fetch(ctx, positions); err != nil {
			return nil, err
		}
	}
	deliveries := make([]driver.Delivery[T], 0, len(got))
	for _, t := range got {
		if t.missing {
			m, ok := fetched[t.hold.entry.pos]
			if !ok { // removed by a call whose caller had left
				l.mu.Lock()
				l.end(t.hold.entry, l.now())
				l.mu.Unlock()
				continue
			}
			t.Message = m
		}
		deliveries = append(deliveries, t.Delivery)
	}
	return deliveries, nil
}

// more loads the next page.
func (l *lane[T]) more(ctx context.Context) error {
	l.loading.Lock()
	defer l.loading.Unlock()
	l.mu.Lock()
	after := l.cursor
	l.mu.Unlock()
	tail := l.src.tail()
	if after >= tail {
		return nil // another call has loaded it
	}
	items, whole, err := l.src.load(ctx, after, lanePage)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	for _, it := range items {
		l.add(it, now)
		l.cursor = it.pos
	}
	if whole {
		l.cursor = max(l.cursor, tail)
	}
	return nil
}

func (l *lane[T]) add(it item[T], now time.Time) {
	g := l.groups[it.group]
	if g == nil {
		g = &group[T]{name: it.group}
		l.groups[it.group] = g
	}
	e := &entry[T]{pos: it.pos, group: g, size: -1}
	if l.bytes+it.size <= laneBytes {
		e.size, e.message = it.size, it.message
		l.bytes += it.size
	}
	g.entries = append(g.entries, e)
	l.order = append(l.order, e)
	if g.in == nil && g.held == 0 {
		l.place(g, now)
	}
}

// forget drops the message of an entry from memory.
func (l *lane[T]) forget(e *entry[T]) {
	if e.size >= 0 {
		var none T
		l.bytes -= e.size
		e.size, e.message = -1, none
	}
}

// take takes up to limit messages, the oldest first, for one receiver.
func (l *lane[T]) take(now time.Time, limit int) (got []taken[T]) {
	var groups []*group[T]
	until := now.Add(l.hold).UnixNano()
	for len(got) < limit && len(l.ready) > 0 {
		g := l.ready[0]
		l.leave(g)
		e := g.entries[g.taken]
		if g.taken == 0 {
			groups = append(groups, g)
		}
		g.taken++
		l.serial++
		e.attempt++
		id := l.prefix + strconv.FormatInt(e.pos, 36) + "-" + strconv.FormatUint(l.serial, 36)
		e.hold = &hold[T]{entry: e, id: id, until: until}
		l.held[id] = e
		heap.Push(&l.holds, e.hold)
		// What is delivered belongs to the receiver: it leaves the memory.
		got = append(got, taken[T]{
			hold:     e.hold,
			missing:  e.size < 0,
			Delivery: driver.Delivery[T]{ID: id, Attempt: e.attempt, Message: e.message},
		})
		l.forget(e)
		if g.taken < len(g.entries) && g.entries[g.taken].due <= now.UnixNano() {
			l.join(&l.ready, g, g.entries[g.taken].pos)
		}
	}
	for _, g := range groups {
		l.leave(g)
		g.held, g.taken = g.taken, 0
	}
	return got
}

// wake makes available what no longer has to wait.
func (l *lane[T]) wake(now time.Time) {
	at := now.UnixNano()
	for len(l.holds) > 0 && l.holds[0].until <= at {
		l.free(l.holds[0].entry, 0, now)
	}
	for len(l.waiting) > 0 && l.waiting[0].key <= at {
		l.place(l.waiting[0], now)
	}
}

// drop takes the hold off an entry, if there is one.
func (l *lane[T]) drop(e *entry[T]) {
	if e.hold == nil {
		return
	}
	delete(l.held, e.hold.id)
	heap.Remove(&l.holds, e.hold.index)
	e.hold = nil
	e.group.held--
}

// free ends the hold on an entry, which is available again from due on.
func (l *lane[T]) free(e *entry[T], due int64, now time.Time) {
	l.drop(e)
	e.due = due
	l.place(e.group, now)
}

// end removes an entry for good.
func (l *lane[T]) end(e *entry[T], now time.Time) {
	if e.ended {
		return
	}
	e.ended = true
	l.forget(e)
	l.drop(e)
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
	l.place(g, now)
	for len(l.order) > 0 && l.order[0].ended {
		l.order[0] = nil
		l.order = l.order[1:]
	}
}

// place puts a group where it belongs.
func (l *lane[T]) place(g *group[T], now time.Time) {
	l.leave(g)
	switch {
	case g.held > 0:
	case len(g.entries) == 0:
		delete(l.groups, g.name)
	case g.entries[0].due > now.UnixNano():
		l.join(&l.waiting, g, g.entries[0].due)
	default:
		l.join(&l.ready, g, g.entries[0].pos)
	}
}

func (l *lane[T]) join(q *queueOf[*group[T]], g *group[T], key int64) {
	g.in, g.key = q, key
	heap.Push(q, g)
}

func (l *lane[T]) leave(g *group[T]) {
	if g.in != nil {
		heap.Remove(g.in, g.index)
		g.in = nil
	}
}

// release gives back what was taken and could not be delivered.
func (l *lane[T]) release(got []taken[T]) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	for _, t := range got {
		if e := t.hold.entry; e.hold == t.hold {
			e.attempt--
			l.free(e, e.due, now)
		}
	}
}

// next is when something that waits becomes available; zero is never.
func (l *lane[T]) next() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wake(l.now())
	var at int64
	if len(l.holds) > 0 {
		at = l.holds[0].until
	}
	if len(l.waiting) > 0 && (at == 0 || l.waiting[0].key < at) {
		at = l.waiting[0].key
	}
	if at == 0 {
		return time.Time{}
	}
	return time.Unix(0, at).UTC()
}

// settle ends deliveries.
func (l *lane[T]) settle(ctx context.Context, settlements []driver.Settlement) error {
	var done []*entry[T]
	var positions []int64
	l.mu.Lock()
	now := l.now()
	l.wake(now)
	for _, s := range settlements {
		e := l.held[s.ID]
		switch {
		case e == nil:
		case s.Retry:
			var due int64
			if s.After > 0 {
				due = now.Add(s.After).UnixNano()
			}
			l.free(e, due, now)
		default:
			done = append(done, e)
			positions = append(positions, e.pos)
		}
	}
	l.mu.Unlock()
	if len(done) == 0 {
		return nil
	}
	return l.src.remove(ctx, positions, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		now := l.now()
		for _, e := range done {
			l.end(e, now)
		}
	})
}

// low is the position up to which everything is settled.
func (l *lane[T]) low() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.order) > 0 {
		return l.order[0].pos - 1
	}
	return l.cursor
}

// checkLimit refuses a bound that lets nothing through.
func checkLimit(limit int) error {
	if limit < 1 {
		return fmt.Errorf("at most %d: %w", limit, driver.ErrInvalid)
	}
	return nil
}

// placed is an element of a queueOf.
type placed[E any] interface {
	less(E) bool
	at(i int)
}

// queueOf is a priority queue whose elements know where they are.
type queueOf[E placed[E]] []E

func (q queueOf[E]) Len() int           { return len(q) }
func (q queueOf[E]) Less(i, j int) bool { return q[i].less(q[j]) }
func (q queueOf[E]) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].at(i)
	q[j].at(j)
}

// Push implements [heap.Interface].
func (q *queueOf[E]) Push(x any) {
	e := x.(E)
	e.at(len(*q))
	*q = append(*q, e)
}

// Pop implements [heap.Interface].
func (q *queueOf[E]) Pop() any {
	old := *q
	n := len(old) - 1
	e := old[n]
	var none E
	old[n] = none
	*q = old[:n]
	return e
}
