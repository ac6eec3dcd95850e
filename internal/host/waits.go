package host

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/host/core"
)

// Position is a commit in a log, such as the one that an outcome names.
type Position struct {
	// Log is the logical name of the log, which is its aggregate's name.
	Log string
	// Stream is the id of the entity.
	Stream string
	// SequenceNr is the commit; 0 is before the first.
	SequenceNr uint64
}

// String returns log, stream and sequence number.
func (p Position) String() string { return fmt.Sprintf("%s/%s/%d", p.Log, p.Stream, p.SequenceNr) }

// WaitApplied returns nil as soon as a read model, by its logical name, has applied the
// commit at p. It returns immediately when the read model does not read the log, neither
// directly nor through an extension point. It also waits for a commit that does not
// exist yet.
//
// It works on a host that is not started. During a rebuild, it waits until the commit
// is applied again. The errors are [driver.ErrNotFound] for an unknown read model,
// [ErrBlocked] when a parked commit blocks the stream before p, [driver.ErrUnavailable]
// when the host is closed, and the error of ctx. While the store is busy or unavailable
// the wait continues.
func (h *Host) WaitApplied(ctx context.Context, readModel string, p Position) error {
	db := h.effects.Rows[readModel]
	if db == nil {
		return fmt.Errorf("no read model %q: %w", readModel, driver.ErrNotFound)
	}
	if _, err := h.consumer(readModel, p.Log); err != nil {
		return nil
	}
	err := driver.CheckID("entity", p.Stream)
	if err == nil {
		key := driver.StreamKey{Log: p.Log, Stream: p.Stream}
		err = waitUntil(ctx, h, &h.applied, applied{readModel, key}, func() (bool, error) {
			w, err := db.Watermark(ctx, key)
			if err == nil && w.SequenceNr < p.SequenceNr && w.Blocked {
				err = ErrBlocked
			}
			return err == nil && w.SequenceNr >= p.SequenceNr, err
		})
	}
	if err != nil {
		return fmt.Errorf("read model %s: wait for %s/%s/%d: %w", readModel, p.Log, core.Clip(p.Stream), p.SequenceNr, err)
	}
	return nil
}

// WaitOutcome returns the outcome of a command that was sent to an asynchronous aggregate,
// as soon as it is no longer pending. It also waits for a command that is unknown, or
// whose aggregate is not asynchronous: only ctx ends these waits. The errors are the error
// of ctx, [driver.ErrUnavailable] when the host is closed, and [driver.ErrInvalid] for an id
// that no command can have. While the store is busy or unavailable the wait continues.
func (h *Host) WaitOutcome(ctx context.Context, target, commandID string) (driver.Outcome, error) {
	var out driver.StoredOutcome
	err := driver.CheckID("command", commandID)
	if err == nil {
		err = waitUntil(ctx, h, &h.answered, answered{target, commandID}, func() (done bool, err error) {
			out, err = h.outcomes.Get(ctx, target, commandID)
			if errors.Is(err, driver.ErrNotFound) {
				return false, nil
			}
			return err == nil && out.Kind != driver.Pending, err
		})
	}
	if err != nil {
		return driver.Outcome{}, fmt.Errorf("wait for the outcome of command %s: %w", core.Clip(commandID), err)
	}
	return out.Outcome, nil
}

// putOutcome stores the outcome of a command and notifies its waiters.
func (h *Host) putOutcome(ctx context.Context, o driver.StoredOutcome) error {
	err := h.outcomes.Put(ctx, o, h.core.Now().Add(h.core.OutcomeTTL))
	if o.Kind != driver.Pending {
		h.answered.notify(answered{o.Target, o.CommandID}) // also after an error: the write may have taken effect
	}
	return err
}

// keepOutcome stores the outcome of a command if its aggregate is asynchronous.
func (h *Host) keepOutcome(ctx context.Context, o driver.Outcome, c driver.Command) error {
	if a := h.aggregates[c.Target]; a != nil {
		return a.KeepOutcome(ctx, o, c)
	}
	return nil
}

// answered is the key of waits for an outcome.
type answered struct{ target, commandID string }

// applied is the key of waits for a read model.
type applied struct {
	readModel string
	stream    driver.StreamKey
}

// notices wake the waiters of a key. They store nothing for a key without waiters.
type notices[K comparable] struct {
	mu      sync.Mutex
	waiting map[K]*notice
}

// notice is the next notification of a key.
type notice struct {
	given   chan struct{}
	waiters int
}

// join returns the next notice of a key. Every join is followed by a leave.
func (n *notices[K]) join(key K) *notice {
	n.mu.Lock()
	defer n.mu.Unlock()
	w := n.waiting[key]
	if w == nil {
		w = &notice{given: make(chan struct{})}
		if n.waiting == nil {
			n.waiting = map[K]*notice{}
		}
		n.waiting[key] = w
	}
	w.waiters++
	return w
}

func (n *notices[K]) leave(key K, w *notice) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if w.waiters--; w.waiters == 0 && n.waiting[key] == w {
		delete(n.waiting, key)
	}
}

// notify wakes all waiters of a key. It never blocks.
func (n *notices[K]) notify(key K) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if w := n.waiting[key]; w != nil {
		close(w.given)
		delete(n.waiting, key)
	}
}

// waitUntil calls look until it is done or returns an error that is not retryable: at
// once, after each notice of the key, and at intervals, since other processes send no
// notices.
func waitUntil[K comparable](ctx context.Context, h *Host, n *notices[K], key K, look func() (done bool, err error)) error {
	failures := 0
	for {
		if h.core.Running.Err() != nil {
			return core.ErrClosed
		}
		w := n.join(key) // before the look, so that no notice is missed
		done, err := look()
		pause := h.pollInterval()
		switch {
		case err == nil:
			failures = 0
		case ctx.Err() == nil && core.Retryable(err):
			failures++
			pause = min(pause, max(h.core.Backoff(failures), time.Millisecond))
			err = nil
		}
		if !done && err == nil {
			err = h.waitForNotice(ctx, w, pause)
		}
		if n.leave(key, w); done || err != nil {
			return err
		}
	}
}

// waitForNotice waits for a notice, but at most for pause.
func (h *Host) waitForNotice(ctx context.Context, w *notice, pause time.Duration) error {
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-w.given:
	case <-t.C:
	case <-ctx.Done():
		return ctx.Err()
	case <-h.core.Running.Done():
		return core.ErrClosed
	}
	return nil
}

// pollInterval returns the time after which a waiter looks again without a notice. It is
// longer with an embedded provider, which belongs to one process: there, only another
// host of the same process sends no notices.
func (h *Host) pollInterval() time.Duration {
	if h.sources != nil {
		return 10 * h.core.Poll
	}
	return h.core.Poll
}
