package host

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// ErrBlocked says that a read model does not come to a commit by itself: a
// commit of the stream at or before it is parked, and somebody has to redrive or
// discard it first.
var ErrBlocked = errors.New("the stream is blocked by a parked commit")

// Position is a commit in a log, such as the one that an outcome names.
type Position struct {
	// Log is the logical name of the log, which is that of its aggregate.
	Log string
	// Stream is the id of the entity.
	Stream string
	// SequenceNr is the commit; 0 is before the first.
	SequenceNr uint64
}

// String returns log, stream and sequence number.
func (p Position) String() string { return fmt.Sprintf("%s/%s/%d", p.Log, p.Stream, p.SequenceNr) }

// WaitApplied returns nil as soon as a read model, by its logical name, has
// applied the commit at p: at once if it did so before, or does not read the
// log at all, be it directly or through an extension point (then too the log is
// that of the aggregate). A commit that does not exist is waited for.
//
// It works on a host that is not started and while the read model is rebuilt;
// what was applied before a rebuild is then waited for again. An unknown read
// model is [driver.ErrNotFound]; a stream that a parked commit holds up before p
// is [ErrBlocked], at once; a host that is or gets closed is
// [driver.ErrUnavailable]; the end of ctx is its error. A store that is busy or
// away is asked again.
func (h *Host) WaitApplied(ctx context.Context, readModel string, p Position) error {
	rm := h.readModels[readModel]
	if rm == nil {
		return fmt.Errorf("no read model %q: %w", readModel, driver.ErrNotFound)
	}
	if !h.reads(readModel, p.Log) {
		return nil
	}
	err := driver.CheckID("entity", p.Stream)
	if err == nil {
		key := driver.StreamKey{Log: p.Log, Stream: p.Stream}
		err = await(ctx, h, &h.applied, appliedTo{readModel, key}, func() (bool, error) {
			w, err := rm.db.Watermark(ctx, key)
			switch {
			case err != nil:
				return false, err
			case w.SequenceNr >= p.SequenceNr:
				return true, nil
			case w.Blocked:
				return false, ErrBlocked
			}
			return false, nil
		})
	}
	if err != nil {
		return fmt.Errorf("read model %s: wait for %s/%s/%d: %w", readModel, p.Log, clip(p.Stream), p.SequenceNr, err)
	}
	return nil
}

// reads reports whether a component consumes a log.
func (h *Host) reads(name, log string) bool {
	for _, c := range h.consumers {
		if c.name == name && c.log == log {
			return true
		}
	}
	return false
}

// WaitOutcome returns the outcome of an asynchronous command as soon as it is no
// longer pending. A command of which nothing is known is waited for, and so is
// one that is parked, or whose aggregate is not asynchronous: only ctx ends
// these waits, with its error. A host that is or gets closed is
// [driver.ErrUnavailable]; an id that no command can have is
// [driver.ErrInvalid]. A store that is busy or away is asked again.
func (h *Host) WaitOutcome(ctx context.Context, commandID string) (driver.Outcome, error) {
	var out driver.Outcome
	err := driver.CheckID("command", commandID)
	if err == nil {
		err = await(ctx, h, &h.answered, commandID, func() (done bool, err error) {
			out, err = h.outcomes.Get(ctx, commandID)
			if errors.Is(err, driver.ErrNotFound) {
				return false, nil
			}
			return err == nil && out.Kind != driver.Pending, err
		})
	}
	if err != nil {
		return driver.Outcome{}, fmt.Errorf("wait for the outcome of command %s: %w", clip(commandID), err)
	}
	return out, nil
}

// putOutcome keeps the outcome of a command and wakes who waits for it.
func (h *Host) putOutcome(ctx context.Context, o driver.Outcome) error {
	err := h.outcomes.Put(ctx, o, h.opts.Now().Add(h.opts.OutcomeTTL))
	if o.Kind != driver.Pending {
		h.answered.tell(o.CommandID) // also after an error: it may have taken effect
	}
	return err
}

// appliedTo is what waiters for a read model wait for.
type appliedTo struct {
	readModel string
	stream    driver.StreamKey
}

// notices wake who waits for a key. Nothing is kept of keys without waiters.
type notices[K comparable] struct {
	mu      sync.Mutex
	waiting map[K]*notice
}

// notice is the next telling of a key, for those who wait for it.
type notice struct {
	told    chan struct{}
	waiters int
}

// join returns a channel that the next tell closes. Who joined leaves, in any case.
func (n *notices[K]) join(key K) *notice {
	n.mu.Lock()
	defer n.mu.Unlock()
	w := n.waiting[key]
	if w == nil {
		w = &notice{told: make(chan struct{})}
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

// tell wakes all who wait for key; it never blocks.
func (n *notices[K]) tell(key K) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if w := n.waiting[key]; w != nil {
		close(w.told)
		delete(n.waiting, key)
	}
}

// await calls look until it is done or fails for good: now, when key is told,
// and now and then, since another process may do what is waited for.
func await[K comparable](ctx context.Context, h *Host, n *notices[K], key K, look func() (done bool, err error)) error {
	failures := 0
	once := func() (bool, error) {
		if h.ctx.Err() != nil {
			return false, errClosed
		}
		w := n.join(key) // before the look, so that what happens meanwhile is not missed
		defer n.leave(key, w)
		done, err := look()
		wait := h.recheck()
		switch {
		case done:
			return true, nil
		case err == nil:
			failures = 0
		case ctx.Err() != nil:
			return false, err
		case !retryable(err):
			return false, err
		default:
			failures++
			wait = min(wait, max(h.opts.Backoff(failures), time.Millisecond))
		}
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-w.told:
		case <-t.C:
		case <-ctx.Done():
			return false, ctx.Err()
		case <-h.ctx.Done():
			return false, errClosed
		}
		return false, nil
	}
	for {
		if done, err := once(); done || err != nil {
			return err
		}
	}
}

var errClosed = fmt.Errorf("the host is closed: %w", driver.ErrUnavailable)

// recheck is after what time a waiter looks again without being told. A provider
// that notifies belongs to one process, in which only another host of the same
// provider can do something of which this one is not told.
func (h *Host) recheck() time.Duration {
	if _, ok := h.provider.(driver.Sources); ok {
		return 10 * h.opts.Poll
	}
	return h.opts.Poll
}
