package faults

import (
	"context"
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"sync"

	"github.com/reventless-go/reventless/driver"
)

// Deliveries describes how transports disturb what they deliver. The fractions are
// of deliveries, from 0 to 1.
type Deliveries struct {
	// Seed makes a run repeatable, apart from the scheduling of goroutines.
	Seed uint64
	// Double is the fraction that is delivered again: records immediately or later,
	// commands when they are settled and others have been delivered since.
	Double float64
	// Hold is the fraction that is delivered later, after others of its group.
	Hold float64
	// Doorbell is the fraction of records that are delivered without their commit.
	Doorbell float64
	// Drop is the fraction that is never delivered. The next commit of
	// the stream causes a catch up; see [Provider.Calm].
	Drop float64
	// Garbage is how many undecodable records are added, per delivery.
	Garbage float64
	// Shuffle reorders every batch.
	Shuffle bool
	// Only narrows the disturbance to some consumers; nil is all.
	Only func(consumer string) bool
	// Commands disturbs the command queues too: their deliveries are doubled, and
	// nothing else.
	Commands bool
}

// Disturb makes the transports unreliable until Calm.
func (p *Provider) Disturb(d Deliveries) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.disturb = d
}

// Calm makes the transports reliable again, and delivers the delayed deliveries.
// The consumer catches up on a dropped record with the next commit of its stream.
func (p *Provider) Calm() {
	p.mu.Lock()
	p.disturb = Deliveries{}
	bells := make([]string, 0, len(p.receivers))
	for bell := range p.receivers {
		bells = append(bells, bell)
	}
	listeners := make([]func(string), 0, len(p.listeners))
	for _, f := range p.listeners {
		listeners = append(listeners, f)
	}
	p.mu.Unlock()
	for _, bell := range bells {
		for _, f := range listeners {
			f(bell)
		}
	}
}

func (p *Provider) disturbance() Deliveries {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.disturb
}

// Receiver is a [driver.Receiver] under the rules of its provider, whose deliveries
// may be disturbed.
type Receiver[T any] struct {
	driver.Receiver[T]
	site
	OnReceive func(ctx context.Context, max int) (driver.Batch[T], error)
	OnSettle  func(ctx context.Context, settlements []driver.Settlement) error
	// Spec and OnLag are set on event collectors, OnLag on a [driver.Lagger] only.
	Spec  driver.CollectorSpec
	OnLag func(ctx context.Context) (driver.Lag, error)

	disturbed func(Deliveries) bool // nil is never
	ordered   bool                  // a queue, which keeps its order and loses nothing
	strip     func(T) T
	garbage   func(n int) T

	mu    sync.Mutex
	rng   *rand.Rand
	seed  uint64
	later []driver.Delivery[T]          // of the wrapped receiver, to be delivered later
	again []driver.Delivery[T]          // repeats, to be delivered later
	extra map[string]bool               // deliveries that the wrapped receiver does not know
	out   map[string]driver.Delivery[T] // those of a queue that are not settled
	made  int
}

// newReceiver wraps what an open method returned; setUp may set more of it.
func newReceiver[T any](inner driver.Receiver[T], err error, at site, source string, setUp func(*Receiver[T])) (driver.Receiver[T], error) {
	if err != nil {
		return nil, err
	}
	at.p.mu.Lock()
	at.p.receivers[driver.ReceiverOf(at.kind, source)]++
	at.p.mu.Unlock()
	r := &Receiver[T]{
		Receiver: inner, site: at, OnReceive: inner.Receive, OnSettle: inner.Settle,
		extra: map[string]bool{}, out: map[string]driver.Delivery[T]{},
	}
	if setUp != nil {
		setUp(r)
	}
	return opened(at.p, r), nil
}

// Receive implements [driver.Receiver].
func (r *Receiver[T]) Receive(ctx context.Context, max int) (driver.Batch[T], error) {
	b, err := get(r.site, "Receive", func() (driver.Batch[T], error) { return r.OnReceive(ctx, max) })
	if err != nil {
		return b, err
	}
	d := r.p.disturbance()
	on := r.disturbed != nil && r.disturbed(d)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rng == nil || r.seed != d.Seed {
		h := fnv.New64a()
		_, _ = h.Write([]byte(r.kind + r.name))
		r.rng, r.seed = rand.New(rand.NewPCG(d.Seed, h.Sum64())), d.Seed //nolint:gosec // a test that can be repeated
	}
	var out []driver.Delivery[T]
	if len(b.Deliveries) == 0 || r.rng.IntN(3) == 0 { // messages that were kept for later
		out = append(append(out, r.later...), r.again...)
		r.later, r.again = nil, nil
	}
	var dropped []driver.Settlement
	for _, del := range b.Deliveries {
		if on && r.ordered {
			r.out[del.ID] = del
		}
		if !on || r.ordered {
			out = append(out, del)
			continue
		}
		if r.garbage != nil && r.chance(d.Garbage) {
			r.made++
			out = append(out, r.repeat(driver.Delivery[T]{Attempt: 1, Message: r.garbage(r.made)}))
		}
		if r.strip != nil && r.chance(d.Doorbell) {
			del.Message = r.strip(del.Message)
		}
		if r.chance(d.Double) {
			twin := r.repeat(del)
			if d.Shuffle && r.rng.IntN(2) == 0 {
				out = append(out, twin)
			} else {
				r.again = append(r.again, twin)
			}
		}
		switch {
		case r.chance(d.Drop):
			dropped = append(dropped, driver.Settlement{ID: del.ID})
		case r.chance(d.Hold):
			r.later = append(r.later, del)
		default:
			out = append(out, del)
		}
	}
	if d.Shuffle && on && !r.ordered {
		r.rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	}
	if len(dropped) > 0 {
		if err := r.Receiver.Settle(ctx, dropped); err != nil {
			return driver.Batch[T]{}, err
		}
	}
	if len(out) == 0 && len(r.later)+len(r.again) > 0 { // an empty batch means that no message is available
		out = append(append(out, r.later...), r.again...)
		r.later, r.again = nil, nil
	}
	if len(out) > 0 || len(b.Deliveries) == 0 {
		b.Deliveries = out
		return b, nil
	}
	// All were dropped: receive again, since an empty batch would mean that no message
	// is available.
	return r.OnReceive(ctx, max)
}

func (r *Receiver[T]) chance(fraction float64) bool {
	return fraction > 0 && r.rng.Float64() < fraction
}

// repeat returns a delivery that the wrapped receiver does not know.
func (r *Receiver[T]) repeat(d driver.Delivery[T]) driver.Delivery[T] {
	r.made++
	d.ID = "again-" + strconv.Itoa(r.made) + "-" + d.ID
	d.Attempt++
	r.extra[d.ID] = true
	return d
}

// Settle implements [driver.Receiver].
func (r *Receiver[T]) Settle(ctx context.Context, settlements []driver.Settlement) error {
	r.mu.Lock()
	known := make([]driver.Settlement, 0, len(settlements))
	for _, s := range settlements {
		if r.extra[s.ID] {
			delete(r.extra, s.ID)
			continue
		}
		if del, ok := r.out[s.ID]; ok {
			delete(r.out, s.ID)
			if d := r.p.disturbance(); !s.Retry && r.disturbed(d) && r.chance(d.Double) {
				r.again = append(r.again, r.repeat(del))
			}
		}
		known = append(known, s)
	}
	r.mu.Unlock()
	return r.do("Settle", func() error { return r.OnSettle(ctx, known) })
}
