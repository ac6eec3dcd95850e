package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/reventless-go/reventless/driver"
)

// park keeps what could not be handled, with the reason.
func (h *Host) park(ctx context.Context, l driver.DeadLetter, cause error) error {
	l.ID, l.Reason, l.ParkedAt = boundedID(l.ID), reason(cause), h.opts.Now().UTC()
	if err := h.letters.Park(ctx, l); err != nil {
		return fmt.Errorf("park %s: %w", l.ID, err)
	}
	h.stats.parked.Add(1)
	h.log.Error("parked", "component", l.Component, "letter", l.ID, "reason", logged(cause))
	return nil
}

// boundedID is the id of a letter such that any store takes it: those made of
// valid ids stay as they are, those of a foreign hand may be anything.
func boundedID(id string) string {
	const limit = 1500
	if len(id) <= limit && utf8.ValidString(id) {
		return id
	}
	return strings.ToValidUTF8(id[:min(len(id), limit/2)], "") + "#" + digest([]byte(id), "")
}

// DeadLetters returns the store of what was parked.
func (h *Host) DeadLetters() driver.DeadLetters { return h.letters }

// Discard removes a letter for good. A parked commit is given up for its
// consumer: its stream goes on behind it.
func (h *Host) Discard(ctx context.Context, id string) error {
	l, err := h.letters.Get(ctx, id)
	if err != nil {
		return fmt.Errorf("discard %s: %w", id, err)
	}
	if l.Kind == driver.DeadCommit {
		c, err := h.consumerOf(l)
		if err == nil {
			if err := c.redrive(ctx, l, true); err != nil {
				return fmt.Errorf("discard %s: %w", id, err)
			}
			return nil
		}
		// Its component is gone, and with it the stream that waits.
	}
	return h.letters.Remove(ctx, id)
}

// Redrive handles a letter again, now. When that fails the letter stays, with
// the new reason, and the error says so.
func (h *Host) Redrive(ctx context.Context, id string) error {
	l, err := h.letters.Get(ctx, id)
	if err != nil {
		return fmt.Errorf("redrive %s: %w", id, err)
	}
	if err := h.redrive(ctx, l); err != nil {
		if errors.Is(err, errNoRedrive) { // nothing was tried: the reason stays what it was
			return fmt.Errorf("redrive %s: %w", id, err)
		}
		l.Attempts++
		ctx, cancel := outlasting(ctx)
		defer cancel()
		return errors.Join(fmt.Errorf("redrive %s: %w", id, err), h.park(ctx, l, err))
	}
	if l.Kind == driver.DeadCommit {
		return nil // it was removed, and the consumer may have parked a later commit of the stream
	}
	return h.letters.Remove(ctx, id)
}

func (h *Host) redrive(ctx context.Context, l driver.DeadLetter) error {
	switch l.Kind {
	case driver.DeadCommand:
		var c driver.Command
		if err := json.Unmarshal(l.Body, &c); err != nil {
			return err
		}
		a := h.aggregates[c.Target]
		if a == nil {
			return fmt.Errorf("no aggregate %q: %w", c.Target, driver.ErrNotFound)
		}
		// Not through the queue: it may still remember the id and drop it.
		r := a.handle(ctx, []driver.Delivery[driver.Command]{{ID: "0", Attempt: 1, Message: c}})["0"]
		if r.Err != nil {
			return r.Err
		}
		return a.keepOutcome(ctx, r.Outcome)
	case driver.DeadCommit:
		if r := h.relayOf(l); r != nil {
			return r.redrive(ctx, l)
		}
		c, err := h.consumerOf(l)
		if err != nil {
			return err
		}
		return c.redrive(ctx, l, false)
	case driver.DeadObject:
		return h.redriveObject(ctx, l)
	case driver.DeadFiring:
		return h.redriveFiring(ctx, l)
	default:
		return fmt.Errorf("a letter of kind %s %w: %w", l.Kind, errNoRedrive, driver.ErrUnsupported)
	}
}

var errNoRedrive = errors.New("cannot be handled again, only discarded")

// relayOf returns the relay that parked a letter.
func (h *Host) relayOf(l driver.DeadLetter) *relay {
	for _, r := range h.relays {
		if r.log == l.Log && strings.HasPrefix(l.ID, relayed) {
			return r
		}
	}
	return nil
}

func (h *Host) consumerOf(l driver.DeadLetter) (*consumer, error) {
	for _, c := range h.consumers {
		if c.name == l.Component && c.log == l.Log {
			return c, nil
		}
	}
	return nil, fmt.Errorf("no component %s consumes %s any more, the letter %w: %w", l.Component, l.Log, errNoRedrive, driver.ErrNotFound)
}
