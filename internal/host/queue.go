package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/reventless-go/reventless/driver"
)

// commandBatch is how many queued commands are handled together.
const commandBatch = 64

// HandleQueued handles commands from a queue and says how each delivery is to
// be settled. A refusal is an outcome and done; what can never be handled, or
// failed too often, is parked; the rest is to be retried, with all later
// commands of its entity.
func (a *aggregate) HandleQueued(ctx context.Context, deliveries []driver.Delivery[driver.Command]) []driver.Settlement {
	results := a.handle(ctx, deliveries)
	settlements := make([]driver.Settlement, 0, len(deliveries))
	retrying := map[string]bool{}
	for _, d := range deliveries {
		r, c := results[d.ID], d.Message
		s := driver.Settlement{ID: d.ID}
		switch {
		case retrying[c.Entity]:
			s.Retry = true
		case r.Err == nil:
			if err := a.keepOutcome(ctx, r.Outcome); err != nil {
				a.host.log.Error("outcome", "aggregate", a.name, "command", c.Meta.ID, "error", logged(err))
				s.Retry, s.After = true, a.host.opts.Backoff(d.Attempt)
			}
			a.host.log.Debug("command", "aggregate", a.name, "entity", c.Entity, "command", c.Meta.ID, "type", c.Type, "outcome", r.Outcome.Kind, "code", r.Outcome.Code)
		case done(ctx, r.Err), errors.Is(r.Err, errInterrupted):
			s.Retry = true
		case a.host.Newer(r.Err, c.Meta.Time):
			a.host.log.Warn("command is of newer code, and waits for it", "aggregate", a.name, "entity", clip(c.Entity), "command", clip(c.Meta.ID), "error", logged(r.Err))
			s.Retry, s.After = true, Again
		case r.Permanent, d.Attempt >= a.host.opts.MaxAttempts && !transient(r.Err):
			if err := a.park(ctx, c, r.Err, d.Attempt); err != nil {
				a.host.log.Error("park", "aggregate", a.name, "command", c.Meta.ID, "error", logged(err))
				s.Retry, s.After = true, a.host.opts.Backoff(d.Attempt)
			}
		default:
			a.host.log.Warn("command is tried again", "aggregate", a.name, "entity", clip(c.Entity), "command", clip(c.Meta.ID), "attempt", d.Attempt, "error", logged(r.Err))
			a.host.stats.retried.Add(1)
			s.Retry, s.After = true, a.host.opts.Backoff(d.Attempt)
		}
		retrying[c.Entity] = retrying[c.Entity] || s.Retry
		settlements = append(settlements, s)
	}
	return settlements
}

func (a *aggregate) keepOutcome(ctx context.Context, o driver.Outcome) error {
	if !a.def.Async {
		return nil
	}
	return a.host.putOutcome(ctx, o)
}

func (a *aggregate) park(ctx context.Context, c driver.Command, cause error, attempts int) error {
	body, err := json.Marshal(c)
	if err != nil {
		// Data that is not JSON cannot be part of a JSON text; it is kept as a string.
		raw := c
		raw.Data, _ = json.Marshal(string(c.Data))
		if body, err = json.Marshal(raw); err != nil {
			return fmt.Errorf("park command %s: %w", c.Meta.ID, err)
		}
	}
	return a.host.park(ctx, driver.DeadLetter{
		ID: "command/" + a.name + "/" + c.Entity + "/" + c.Meta.ID, Component: a.name, Kind: driver.DeadCommand, Stream: c.Entity,
		Body: body, Attempts: attempts,
	}, cause)
}
