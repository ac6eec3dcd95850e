package host

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// stats count what a host did since it was opened.
type stats struct{ conflicts, retried, parked, panics atomic.Int64 }

// workers are the loops of a host that pulls, and know when all are idle.
type workers struct {
	wg   sync.WaitGroup
	stop func()

	mu     sync.Mutex
	change *sync.Cond
	all    []*worker
	byBell map[string][]*worker
}

// worker is one loop. Its bell counts the reasons to look again; it is idle
// when it found nothing after the last ring.
type worker struct {
	name     string
	wakes    chan struct{}
	rings    uint64 // guarded by workers.mu
	seen     uint64
	waiting  bool
	retrying bool // something waits for its retry: not idle
	counts   bool // a time in the future keeps it from being idle
	next     time.Time
}

// step handles what is available and says how much that was; with nothing, next
// is when something will be.
type step func(ctx context.Context) (handled int, next time.Time, err error)

func (w *workers) init() {
	w.change = sync.NewCond(&w.mu)
	w.byBell = map[string][]*worker{}
}

// ring wakes the workers of a receiver; it never blocks.
func (w *workers) ring(receiver string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range w.byBell[receiver] {
		k.wake()
	}
}

// ringAll wakes every worker, as when a test has moved the clock.
func (w *workers) ringAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range w.all {
		k.wake()
	}
}

func (k *worker) wake() {
	k.rings++
	select {
	case k.wakes <- struct{}{}:
	default:
	}
}

// runWorker starts the loop of a source.
func (h *Host) runWorker(s source) {
	k := &worker{name: s.worker, wakes: make(chan struct{}, 1), counts: s.counts}
	w := &h.workers
	w.mu.Lock()
	w.all = append(w.all, k)
	w.byBell[s.receiver] = append(w.byBell[s.receiver], k)
	w.mu.Unlock()
	w.wg.Go(func() {
		failures := 0
		for h.ctx.Err() == nil {
			w.mu.Lock()
			rings := k.rings
			w.mu.Unlock()
			handled, next, err := s.work(h.ctx)
			if h.ctx.Err() != nil {
				return
			}
			if err != nil {
				failures++
				h.log.Error("worker", "worker", k.name, "error", logged(err), "failures", failures)
				h.sleep(h.ctx, max(h.opts.Backoff(failures), time.Millisecond))
				continue
			}
			failures = 0
			if handled > 0 {
				continue
			}
			w.mu.Lock()
			k.seen, k.waiting, k.retrying, k.next = rings, true, k.counts && !next.IsZero(), next
			w.change.Broadcast()
			w.mu.Unlock()
			h.await(k, next)
			w.mu.Lock()
			k.waiting = false
			w.mu.Unlock()
		}
	})
}

func (h *Host) await(k *worker, next time.Time) {
	var timer <-chan time.Time
	if !next.IsZero() {
		t := time.NewTimer(max(next.Sub(h.opts.Now()), time.Millisecond))
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-k.wakes:
	case <-timer:
	case <-h.ctx.Done():
	}
}

// WaitIdle returns when nothing is left to do now: every worker has looked
// after the last change and found nothing, and nothing waits for a retry.
// Schedules that are not due do not count. It needs a provider that notifies.
func (h *Host) WaitIdle(ctx context.Context) error {
	w := &h.workers
	stop := context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.change.Broadcast()
	})
	defer stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		if err := ctx.Err(); err != nil {
			return errors.Join(err, errors.New("busy: "+w.busy()))
		}
		if h.ctx.Err() != nil {
			return errors.New("the host is closed")
		}
		if w.busy() == "" {
			return nil
		}
		w.change.Wait()
	}
}

func (w *workers) busy() string {
	for _, k := range w.all {
		if !k.waiting || k.seen != k.rings || k.retrying {
			return k.name
		}
	}
	return ""
}

// Wake makes every worker look again: the clock has moved.
func (h *Host) Wake() { h.workers.ringAll() }

// Next returns the earliest time at which a worker that waits has something to
// do, such as a schedule; ok is false when there is none. It is exact after
// WaitIdle.
func (h *Host) Next() (next time.Time, ok bool) {
	h.workers.mu.Lock()
	defer h.workers.mu.Unlock()
	for _, k := range h.workers.all {
		if k.waiting && !k.next.IsZero() && (!ok || k.next.Before(next)) {
			next, ok = k.next, true
		}
	}
	return next, ok
}
