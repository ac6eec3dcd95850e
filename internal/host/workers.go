package host

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/reventless-go/reventless/internal/host/core"
)

// workers are the loops of a host that pulls.
type workers struct {
	wg   sync.WaitGroup
	stop func() // of the notifications

	mu     sync.Mutex
	change *sync.Cond
	all    []*worker
}

// worker is the loop of one source. It is idle when it has found nothing to do since the
// last notification.
type worker struct {
	source

	wakes    chan struct{}
	notified uint64 // how many notifications there were; guarded by workers.mu
	seen     uint64 // how many there were before it last found nothing
	waiting  bool
	next     time.Time // when there is work; zero if that is unknown
}

// step handles the available messages and returns their number. If it is 0, next is the
// time at which a message will be available.
type step func(ctx context.Context) (handled int, next time.Time, err error)

// notify wakes the workers of a receiver, or all of them when it is empty. It never
// blocks.
func (w *workers) notify(receiver string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range w.all {
		if receiver != "" && receiver != k.receiver {
			continue
		}
		k.notified++
		select {
		case k.wakes <- struct{}{}:
		default:
		}
	}
}

// Wake makes every worker look again, as when the clock has moved.
func (h *Host) Wake() { h.workers.notify("") }

// runWorker starts the loop of a source.
func (h *Host) runWorker(s source) {
	k := &worker{source: s, wakes: make(chan struct{}, 1)}
	w := &h.workers
	w.mu.Lock()
	w.all = append(w.all, k)
	w.mu.Unlock()
	w.wg.Go(func() {
		ctx := h.core.Running
		for failures := 0; ctx.Err() == nil; {
			w.mu.Lock()
			notified := k.notified
			w.mu.Unlock()
			handled, next, err := k.work(ctx)
			switch {
			case ctx.Err() != nil:
			case err != nil:
				failures++
				h.core.ReportDamage(err)
				h.core.Log.Error("worker", "worker", k.worker, "error", core.ForLog(err), "failures", failures)
				core.Pause(ctx, max(h.core.Backoff(failures), time.Millisecond))
			case handled > 0:
				failures = 0
			default:
				failures = 0
				w.mu.Lock()
				k.seen, k.waiting, k.next = notified, true, next
				w.change.Broadcast()
				w.mu.Unlock()
				h.waitForWork(k, next)
				w.mu.Lock()
				k.waiting = false
				w.mu.Unlock()
			}
		}
	})
}

// maxWait bounds a wait for a known time. A timer counts the time that the machine runs;
// the wall clock may jump, such as when the machine was suspended.
const maxWait = 10 * time.Second

// waitForWork waits for a notification, or until next if that is known, but at most
// maxWait.
func (h *Host) waitForWork(k *worker, next time.Time) {
	var timer <-chan time.Time
	if !next.IsZero() {
		d := next.Sub(h.core.Now())
		if d < 0 { // the clock of the source is behind
			d = -d / 10
		}
		t := time.NewTimer(min(max(d, time.Millisecond), maxWait))
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-k.wakes:
	case <-timer:
	case <-h.core.Running.Done():
	}
}

// WaitIdle returns when there is no work: every worker has looked since the last
// notification and found nothing, and no message waits for a retry. Schedules that are
// not due do not count.
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
		if h.core.Running.Err() != nil {
			return core.ErrClosed
		}
		if w.busy() == "" {
			return nil
		}
		w.change.Wait()
	}
}

// busy returns the name of a worker that is not idle.
func (w *workers) busy() string {
	for _, k := range w.all {
		retries := !k.scheduled && !k.next.IsZero()
		if !k.waiting || k.seen != k.notified || retries {
			return k.worker
		}
	}
	return ""
}

// Next returns the earliest time at which a waiting worker has work, such as a due
// schedule; ok is false if no such time is known. It is exact after WaitIdle.
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
