package core

import (
	"context"
	"errors"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// InOrder settles deliveries in sequence. If one is retried, all later ones of its
// group are retried too, since an ordered transport redelivers a group from its first
// retried message on. Messages with an empty group name are independent.
func InOrder[T any](deliveries []driver.Delivery[T], group func(T) string, settle func(driver.Delivery[T]) driver.Settlement) []driver.Settlement {
	settlements := make([]driver.Settlement, 0, len(deliveries))
	retried := map[string]driver.Settlement{}
	for _, d := range deliveries {
		name := group(d.Message)
		s, ok := retried[name]
		if s.ID = d.ID; !ok {
			s = settle(d)
		}
		if s.Retry && name != "" {
			retried[name] = s
		}
		settlements = append(settlements, s)
	}
	return settlements
}

// Failure is a delivery that could not be handled.
type Failure struct {
	// ID and Attempt are the delivery's; Made is when its message was created.
	ID      string
	Attempt int
	Made    time.Time
	Err     error
	// Permanent is true if every retry would fail in the same way.
	Permanent bool
	// DeadLetter is parked if the failure is final.
	DeadLetter driver.DeadLetter
	// What and Attrs name the message in the log.
	What  string
	Attrs []any
}

// SettleFailure retries a delivery or, if its failure is final, parks it.
func (c *Core) SettleFailure(ctx context.Context, f Failure) driver.Settlement {
	c.ReportDamage(f.Err)
	retry := driver.Settlement{ID: f.ID, Retry: true, After: c.Backoff(f.Attempt)}
	newer := c.FromNewerCode(f.Err, f.Made)
	overtime := 0
	if errors.Is(f.Err, ErrOvertime) {
		overtime = f.Attempt
	}
	switch {
	case CutShort(ctx, f.Err):
		return retry
	case newer:
		retry.After = RolloutDelay
	case f.Permanent, !Transient(f.Err) && c.LastAttempt(f.Attempt, overtime):
		ctx, cancel := WithGrace(ctx)
		defer cancel()
		f.DeadLetter.Attempts = f.Attempt
		if f.Err = c.Park(ctx, f.DeadLetter, f.Err); f.Err == nil {
			return driver.Settlement{ID: f.ID}
		}
	}
	c.Stats.Retries.Add(1)
	c.Log.Warn(f.What+" is retried", append(f.Attrs, "attempt", f.Attempt, "error", ForLog(f.Err))...)
	return retry
}
