package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/host/consumers"
	"github.com/reventless-go/reventless/internal/host/core"
)

// What operators do: look at dead letters and lag, redrive and discard, catch up and
// rebuild.

// DeadLetters returns the store of the dead letters.
func (h *Host) DeadLetters() driver.DeadLetters { return h.core.DeadLetters }

// Discard removes a dead letter. A parked commit is skipped by its consumer, and its
// stream continues. The error is [driver.ErrNotFound] if the App does not have the
// consumer, since its stream would stay blocked.
func (h *Host) Discard(ctx context.Context, id string) error {
	l, err := h.core.DeadLetters.Get(ctx, id)
	if err != nil {
		return fmt.Errorf("discard %s: %w", id, err)
	}
	if l.Kind == driver.DeadCommit && !slices.ContainsFunc(h.relays, func(r *consumers.Relay) bool { return r.Parked(l) }) {
		c, err := h.consumer(l.Component, l.Log)
		if err == nil {
			err = c.Redrive(ctx, l, true)
		} else {
			// The stream is blocked in the store of the component. Without its dead letter
			// it would be blocked for ever, and nothing would show it.
			err = fmt.Errorf("the stream is blocked for %s, so only an App with that component can discard it: %w", l.Component, err)
		}
		if err != nil {
			return fmt.Errorf("discard %s: %w", id, err)
		}
		return nil
	}
	return h.core.DeadLetters.Remove(ctx, id)
}

// errNoRedrive reports that a dead letter can only be discarded.
var errNoRedrive = errors.New("cannot be redriven, only discarded")

// Redrive handles a dead letter again, before it returns. If that fails, the dead letter stays,
// with the new reason, which the error contains.
func (h *Host) Redrive(ctx context.Context, id string) error {
	l, err := h.core.DeadLetters.Get(ctx, id)
	if err == nil {
		err = h.redrive(ctx, l)
		if err != nil && !errors.Is(err, errNoRedrive) {
			l.Attempts++
			ctx, cancel := core.WithGrace(ctx)
			defer cancel()
			err = errors.Join(err, h.core.Park(ctx, l, err))
		}
	}
	switch {
	case err != nil:
		return fmt.Errorf("redrive %s: %w", id, err)
	case l.Kind == driver.DeadCommit: // it was removed; one of a later commit may have taken its id
		return nil
	}
	return h.core.DeadLetters.Remove(ctx, id)
}

func (h *Host) redrive(ctx context.Context, l driver.DeadLetter) error {
	switch l.Kind {
	case driver.DeadCommand:
		return h.redriveCommand(ctx, l)
	case driver.DeadCommit:
		for _, r := range h.relays {
			if r.Parked(l) {
				return r.Redrive(ctx, l)
			}
		}
		c, err := h.consumer(l.Component, l.Log)
		if err != nil {
			return fmt.Errorf("the dead letter %w: %w", errNoRedrive, err)
		}
		return c.Redrive(ctx, l, false)
	case driver.DeadObject:
		return h.triggers.RedriveObject(ctx, l)
	case driver.DeadFiring:
		return h.triggers.RedriveFiring(ctx, l)
	default:
		return fmt.Errorf("a dead letter of kind %s %w: %w", l.Kind, errNoRedrive, driver.ErrUnsupported)
	}
}

// redriveCommand handles a command without the queue, which may remember its id and drop
// it.
func (h *Host) redriveCommand(ctx context.Context, l driver.DeadLetter) error {
	var c driver.Command
	if err := json.Unmarshal(l.Body, &c); err != nil {
		return err
	}
	a := h.aggregates[c.Target]
	if a == nil {
		return fmt.Errorf("no aggregate %q: %w", c.Target, driver.ErrNotFound)
	}
	checked, err := a.Check(c)
	if err != nil {
		return err
	}
	o, err := a.Handle(ctx, checked)
	if err != nil {
		return err
	}
	return a.KeepOutcome(ctx, o, c)
}

// CatchUp applies the commits of one stream that a component has missed, for example
// because a transport discarded their records. Without it, they are applied with the
// next commit of the stream. The error is [driver.ErrNotFound] if the component does
// not consume the log, and [ErrBlocked] if a commit of the stream is parked.
func (h *Host) CatchUp(ctx context.Context, consumer, log, stream string) error {
	c, err := h.consumer(consumer, log)
	if err != nil {
		return err
	}
	if err := c.CatchUp(ctx, stream); err != nil {
		return fmt.Errorf("%s: catch up with %s/%s: %w", consumer, log, core.Clip(stream), err)
	}
	return nil
}

// Clear removes the rows and watermarks of a read model, and the dead letters of
// commits that it could not apply, for a provider without a [driver.Shadow].
// [Host.Replay] then fills it again.
func (h *Host) Clear(ctx context.Context, name string) error {
	db := h.effects.Rows[name]
	if db == nil {
		return fmt.Errorf("no read model %q: %w", name, driver.ErrNotFound)
	}
	if err := db.Clear(ctx); err != nil {
		return fmt.Errorf("read model %s: clear: %w", name, err)
	}
	if err := h.removeStale(ctx, name); err != nil {
		return fmt.Errorf("read model %s: dead letters: %w", name, err)
	}
	return nil
}

// removeStale removes the dead letters of a component's commits, but not those that
// were parked since it was cleared: they block their streams.
func (h *Host) removeStale(ctx context.Context, component string) error {
	const pageSize = 100
	for after := ""; ; {
		page, err := h.core.DeadLetters.List(ctx, component, after, pageSize)
		if err != nil {
			return err
		}
		for _, l := range page {
			after = l.ID
			switch c, missing := h.consumer(component, l.Log); {
			case l.Kind != driver.DeadCommit:
			case missing != nil: // the component does not consume that log any more
				err = h.core.DeadLetters.Remove(ctx, l.ID)
			default:
				// Commits that were delivered while the stream was blocked come first: the
				// dead letter is the only trace of them.
				if err = c.CatchUp(ctx, l.Stream); err == nil || errors.Is(err, ErrBlocked) {
					err = c.RemoveStale(ctx, l)
				}
			}
			if err != nil && !errors.Is(err, driver.ErrNotFound) {
				return err
			}
		}
		if len(page) < pageSize {
			return nil
		}
	}
}

// Replay applies the commits that a component has not applied yet, of one segment of
// each of its logs: see [driver.EventLog].Scan. It fills a read model that is new or
// was cleared, and applies missed commits. It can be repeated, and several can run at
// the same time. progress, if not nil, is called with the number of commits done.
func (h *Host) Replay(ctx context.Context, name string, segment, segments int, progress func(commits int)) error {
	done, known := 0, false
	for _, c := range h.consumers {
		if c.Name != name {
			continue
		}
		known = true
		err := c.Replay(ctx, segment, segments, func(n int) {
			if done += n; progress != nil {
				progress(done)
			}
		})
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if !known {
		return fmt.Errorf("%q consumes nothing: %w", name, driver.ErrNotFound)
	}
	return nil
}

// Lag describes how far a component is behind one of its logs.
type Lag struct {
	Component string
	Log       string
	driver.Lag
	// Blocked is true when a parked commit blocks one of its streams.
	Blocked bool
}

// Lags returns how far every consumer is behind, in the order of declaration. A
// consumer is left out if the provider does not report its lag.
func (h *Host) Lags(ctx context.Context) ([]Lag, error) {
	var out []Lag
	for _, c := range h.consumers {
		l, ok := c.Collector.(driver.Lagger)
		if !ok {
			continue
		}
		lag, err := l.Lag(ctx)
		if err != nil {
			return nil, fmt.Errorf("lag of %s on %s: %w", c.Name, c.Log, err)
		}
		letters, err := h.core.DeadLetters.List(ctx, c.Name, "", 1)
		if err != nil {
			return nil, fmt.Errorf("dead letters of %s: %w", c.Name, err)
		}
		out = append(out, Lag{c.Name, c.Log, lag, len(letters) > 0})
	}
	return out, nil
}
