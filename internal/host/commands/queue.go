package commands

import (
	"context"
	"errors"
	"fmt"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/host/core"
)

// QueueBatch is how many queued commands are received together.
const QueueBatch = 64

// HandleQueued handles commands from a queue and settles each delivery. A rejection is
// an outcome, so the command is done. What fails permanently or too often is parked;
// everything else is retried, with all later commands of its entity.
func (a *Aggregate) HandleQueued(ctx context.Context, deliveries []driver.Delivery[driver.Command]) []driver.Settlement {
	results := map[string]Result{} // by delivery
	var commands []Command
	var handled []string
	for _, d := range deliveries {
		c, err := a.Check(d.Message)
		if err != nil {
			results[d.ID] = Result{Err: err, Permanent: true}
			continue
		}
		commands, handled = append(commands, c), append(handled, d.ID)
	}
	for i, r := range a.handle(ctx, commands) {
		results[handled[i]] = r
	}
	return core.InOrder(deliveries, func(c driver.Command) string { return c.Entity }, func(d driver.Delivery[driver.Command]) driver.Settlement {
		return a.settle(ctx, d, results[d.ID])
	})
}

func (a *Aggregate) settle(ctx context.Context, d driver.Delivery[driver.Command], r Result) driver.Settlement {
	c := d.Message
	if r.Err == nil {
		r.Err = a.KeepOutcome(ctx, r.Outcome, c)
	}
	switch {
	case r.Err == nil:
		a.core.Log.Debug("command", "aggregate", a.name, "entity", c.Entity, "command", c.Meta.ID, "type", c.Type, "outcome", r.Outcome.Kind, "code", r.Outcome.Code)
		return driver.Settlement{ID: d.ID}
	case errors.Is(r.Err, errInterrupted):
		return driver.Settlement{ID: d.ID, Retry: true}
	}
	return a.core.SettleFailure(ctx, core.Failure{
		ID: d.ID, Attempt: d.Attempt, Made: c.Meta.Time, Err: r.Err, Permanent: r.Permanent,
		DeadLetter: core.CommandLetter(a.name, c),
		What:       "command", Attrs: []any{"aggregate", a.name, "entity", core.Clip(c.Entity), "command", core.Clip(c.Meta.ID)},
	})
}

// KeepOutcome stores the outcome of a command that no caller waits for. If the sender sent
// the command again after it was parked, its dead letter is removed first.
func (a *Aggregate) KeepOutcome(ctx context.Context, o driver.Outcome, c driver.Command) error {
	if !a.def.Async {
		return nil
	}
	if c.Resend > 0 && o.Kind != driver.Failed {
		if err := a.core.RemoveLetter(ctx, core.CommandLetter(a.name, c)); err != nil {
			return fmt.Errorf("%w: remove the dead letter: %w", core.ErrStore, err)
		}
	}
	if err := a.keepOutcome(ctx, core.Stored(o, c)); err != nil {
		return fmt.Errorf("%w: keep the outcome: %w", core.ErrStore, err)
	}
	return nil
}
