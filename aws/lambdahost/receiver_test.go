package lambdahost

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/host"
)

// receiver is a [driver.Receiver] for the deliveries that a function passes to its engine. A
// test receives the deliveries of a call; the call returns when all are settled.
type receiver[T any] struct {
	group  func(T) string
	clone  func(T) T
	notify func()
	closed <-chan struct{}
	demand *demand

	mu    sync.Mutex
	calls []*call[T] // in order
	last  uint64
}

// call is a call of a method of the engine.
type call[T any] struct {
	items []*item[T]
	open  int           // items that are not settled
	ended chan struct{} // all are settled
	moved chan struct{} // the function has continued after the call
}

// item is a delivery of a call.
type item[T any] struct {
	driver.Delivery[T]
	id     string // of the delivery of the receiver
	leased bool
	end    *driver.Settlement
}

var errClosed = fmt.Errorf("the receiver is closed: %w", driver.ErrUnavailable)

// handle implements the methods of the engine.
func (r *receiver[T]) handle(ctx context.Context, deliveries []driver.Delivery[T]) ([]driver.Settlement, error) {
	c := &call[T]{open: len(deliveries), ended: make(chan struct{}), moved: make(chan struct{})}
	invocationOf(ctx).moved(c.moved)
	if len(deliveries) == 0 {
		return nil, nil
	}
	r.mu.Lock()
	for _, d := range deliveries {
		r.last++
		c.items = append(c.items, &item[T]{Delivery: d, id: d.ID + "@" + strconv.FormatUint(r.last, 36)})
	}
	r.calls = append(r.calls, c)
	r.mu.Unlock()
	r.notify()
	select {
	case <-c.ended:
		if c.retried() {
			r.demand.wait(ctx, r.closed)
		}
	case <-ctx.Done():
	case <-r.closed:
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, other := range r.calls {
		if other == c {
			r.calls = append(r.calls[:i:i], r.calls[i+1:]...)
			break
		}
	}
	var settlements []driver.Settlement
	for _, x := range c.items {
		switch {
		case x.end != nil:
			s := *x.end
			s.ID = x.Delivery.ID
			settlements = append(settlements, s)
		default: // the call ended before the item was settled
			settlements = append(settlements, driver.Settlement{ID: x.Delivery.ID, Retry: true, After: time.Hour})
		}
		x.leased = false
	}
	return settlements, nil
}

// check returns an error if the receiver is closed or ctx has ended.
func (r *receiver[T]) check(ctx context.Context) error {
	select {
	case <-r.closed:
		return errClosed
	default:
		return ctx.Err()
	}
}

// Receive implements [driver.Receiver].
func (r *receiver[T]) Receive(ctx context.Context, max int) (driver.Batch[T], error) {
	var batch driver.Batch[T]
	if err := r.check(ctx); err != nil {
		return batch, err
	}
	if max < 1 {
		return batch, driver.ErrInvalid
	}
	defer r.demand.signal()
	r.mu.Lock()
	defer r.mu.Unlock()
	blocked := map[string]bool{}
	for _, c := range r.calls {
		for _, x := range c.items {
			group := r.group(x.Message)
			switch {
			case x.end != nil || blocked[group]:
			case x.leased || len(batch.Deliveries) == max:
				blocked[group] = true
			default:
				defer func() { x.leased = true }()
				batch.Deliveries = append(batch.Deliveries, driver.Delivery[T]{ID: x.id, Attempt: x.Attempt, Message: r.clone(x.Message)})
			}
		}
	}
	return batch, nil
}

// Settle implements [driver.Receiver]. When a call is done, Settle waits until the function
// has continued.
func (r *receiver[T]) Settle(ctx context.Context, settlements []driver.Settlement) error {
	if err := r.check(ctx); err != nil {
		return err
	}
	ends := map[string]driver.Settlement{}
	for _, s := range settlements {
		if _, twice := ends[s.ID]; !twice {
			ends[s.ID] = s
		}
	}
	var done []*call[T]
	r.mu.Lock()
	for _, c := range r.calls {
		if c.open > 0 && r.settle(c, ends) {
			done = append(done, c)
		}
	}
	r.mu.Unlock()
	r.notify()
	for _, c := range done {
		select {
		case <-c.moved:
		case <-ctx.Done():
		case <-r.closed:
		}
	}
	return nil
}

// settle settles items of a call. A retried item also ends the later ones of its group. It
// returns true if the call is done without retries.
func (r *receiver[T]) settle(c *call[T], ends map[string]driver.Settlement) (done bool) {
	retried := map[string]bool{}
	done = true
	for _, x := range c.items {
		group := r.group(x.Message)
		s, ok := ends[x.id]
		switch {
		case x.end != nil:
		case x.leased && ok:
			x.end = &s
			c.open--
		case !x.leased && retried[group]:
			x.end = &driver.Settlement{Retry: true}
			c.open--
		}
		if x.end != nil && x.end.Retry {
			retried[group], done = true, false
		}
	}
	if c.open == 0 {
		close(c.ended)
	}
	return done && c.open == 0
}

// retried reports whether an item of an ended call is retried.
func (c *call[T]) retried() bool {
	return slices.ContainsFunc(c.items, func(x *item[T]) bool { return x.end.Retry })
}

// demand delays functions until the next Receive of the test, so that earlier actions of the
// test affect them.
type demand struct {
	mu       sync.Mutex
	received chan struct{} // closed by the next Receive
}

// signal releases all waiting functions.
func (d *demand) signal() {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.received)
	d.received = make(chan struct{})
}

// wait waits for the next signal.
func (d *demand) wait(ctx context.Context, closed <-chan struct{}) {
	d.mu.Lock()
	received := d.received
	d.mu.Unlock()
	select {
	case <-received:
	case <-ctx.Done():
	case <-closed:
	}
}

// invocation is an invocation of a function.
type invocation struct {
	mu   sync.Mutex
	last chan struct{}
}

type invocationKey struct{}

func invocationOf(ctx context.Context) *invocation {
	i, _ := ctx.Value(invocationKey{}).(*invocation)
	return i
}

// moved reports that the function has continued, to another call if next is not nil.
func (i *invocation) moved(next chan struct{}) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.last != nil {
		close(i.last)
	}
	i.last = next
}

// pulledEngine is an engine whose deliveries a test receives.
type pulledEngine struct {
	notify   func()
	commands *receiver[driver.Command]
	records  map[string]*receiver[driver.Record] // by log
	firings  *receiver[driver.Firing]
	objects  *receiver[driver.ObjectEvent]
	finished *receiver[driver.CounterFinished]
}

var _ engine = (*pulledEngine)(nil)

func (e *pulledEngine) HandleCommands(ctx context.Context, _ string, d []driver.Delivery[driver.Command]) ([]driver.Settlement, error) {
	return e.commands.handle(ctx, d)
}

func (e *pulledEngine) HandleRecords(ctx context.Context, _, log string, d []driver.Delivery[driver.Record]) ([]driver.Settlement, error) {
	return e.records[log].handle(ctx, d)
}

func (e *pulledEngine) HandleRelayed(context.Context, string, []driver.Delivery[driver.Record]) ([]driver.Settlement, error) {
	return nil, driver.ErrUnsupported
}

func (e *pulledEngine) HandleFirings(ctx context.Context, d []driver.Delivery[driver.Firing]) []driver.Settlement {
	settlements, _ := e.firings.handle(ctx, d) // an error has no settlements
	return settlements
}

func (e *pulledEngine) HandleObjects(ctx context.Context, _ string, d []driver.Delivery[driver.ObjectEvent]) ([]driver.Settlement, error) {
	return e.objects.handle(ctx, d)
}

func (e *pulledEngine) HandleFinished(ctx context.Context, _ string, d []driver.Delivery[driver.CounterFinished]) ([]driver.Settlement, error) {
	return e.finished.handle(ctx, d)
}

func (e *pulledEngine) DeclaredFiring(string, time.Time) (driver.Firing, error) {
	return driver.Firing{}, driver.ErrNotFound
}

func (e *pulledEngine) Newer(error, time.Time) bool { return false }

func (e *pulledEngine) Counts() host.Counts { return host.Counts{} }
