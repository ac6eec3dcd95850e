package sqlite

import (
	"context"
	sqldriver "database/sql/driver"
	"fmt"
	"time"

	"github.com/reventless-go/reventless/driver"
)

var _ driver.Lagger = (*feed)(nil)

// Lag implements [driver.Lagger].
func (f *feed) Lag(ctx context.Context) (driver.Lag, error) {
	if err := f.p.enter(ctx); err != nil {
		return driver.Lag{}, err
	}
	defer f.p.leave()
	var lag driver.Lag
	err := f.p.read(ctx, func(c *conn) error {
		_, err := c.first("SELECT count(*), coalesce(min(at), 0) FROM commits WHERE log = ? AND pos > ?", []any{f.log.id, f.leases.Settled()},
			func(row []sqldriver.Value) error {
				if lag.Commits = number(row[0]); lag.Commits > 0 {
					lag.Oldest = time.Unix(0, number(row[1])).UTC()
				}
				return nil
			})
		return err
	})
	if err != nil {
		return driver.Lag{}, fmt.Errorf("eventcollector: lag of log %q: %w", f.log.name, err)
	}
	return lag, nil
}

var _ driver.CommitCounter = (*eventLog)(nil)

// CountCommits implements [driver.CommitCounter].
func (l *eventLog) CountCommits(ctx context.Context) (n int64, err error) {
	err = l.p.call(ctx, func() error {
		return l.p.read(ctx, func(c *conn) error {
			n, err = c.integer("SELECT count(*) FROM commits WHERE log = ?", l.id)
			return err
		})
	})
	if err != nil {
		return 0, fmt.Errorf("eventlog %q: count: %w", l.name, err)
	}
	return n, nil
}
