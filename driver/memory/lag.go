package memory

import (
	"context"
	"time"

	"github.com/reventless-go/reventless/driver"
)

var (
	_ driver.Lagger = (*feed)(nil)
	_ driver.Lagger = (*queue[driver.Record])(nil)
)

// Lag implements [driver.Lagger].
func (f *feed) Lag(ctx context.Context) (driver.Lag, error) {
	if err := f.log.p.begin(ctx); err != nil {
		return driver.Lag{}, err
	}
	defer f.log.p.end()
	f.mu.Lock()
	defer f.mu.Unlock()
	lag := f.groups.lag(func(c *driver.Commit) time.Time { return c.RecordedAt })
	if ahead := f.log.feed(f.cursor); len(ahead) > 0 {
		lag.Commits += int64(len(ahead))
		lag.Oldest = older(lag.Oldest, ahead[0].RecordedAt)
	}
	return lag, nil
}

// Lag implements [driver.Lagger] for the queue of a subscription.
func (q *queue[T]) Lag(ctx context.Context) (driver.Lag, error) {
	if err := q.p.begin(ctx); err != nil {
		return driver.Lag{}, err
	}
	defer q.p.end()
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.groups.lag(func(m T) time.Time {
		if r, ok := any(m).(driver.Record); ok && r.Commit != nil {
			return r.Commit.RecordedAt
		}
		return time.Time{}
	}), nil
}

func (g *groups[T]) lag(at func(T) time.Time) driver.Lag {
	var lag driver.Lag
	for _, group := range g.byName {
		lag.Commits += int64(len(group.items) + group.behind)
		if len(group.items) > 0 {
			lag.Oldest = older(lag.Oldest, at(group.items[0].message))
		}
	}
	return lag
}

func older(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
