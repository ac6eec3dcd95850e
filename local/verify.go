package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/host/core"
	"github.com/reventless-go/reventless/local/sqlite"
)

const (
	// defaultCheckRate is the rate of the check in the background, in bytes per second.
	defaultCheckRate = 4 << 20
	// checkDelay is the time between the start of a host and its first check.
	checkDelay = time.Minute
	// checkInterval is the time between the end of a check and the next one.
	checkInterval = 24 * time.Hour
	// checkPoll bounds a wait for the next check, since clocks may jump.
	checkPoll = time.Hour
	// checkReport is the time between two lines about the progress.
	checkReport = 10 * time.Minute
)

// Verification is the result of a check of the whole database.
type Verification struct {
	// Entries and Bytes are what was checked, and Damaged how many entries are damaged.
	Entries, Bytes, Damaged int64
}

// Verify checks the whole database as fast as it can: every entry is compared with its
// checksum. A check that ended early is continued. found, if not nil, is called for each
// damaged entry with a [driver.ErrDamaged] that names it.
func (h *Host) Verify(ctx context.Context, found func(error)) (Verification, error) {
	if found != nil {
		defer h.provider.NotifyDamage(found)()
	}
	v, err := h.provider.Verify(ctx, nil)
	return Verification{v.Entries, v.Bytes, v.Damaged}, err
}

// Damaged returns how many damaged places of the database were met since it was opened;
// a place that is met again within an hour counts once. The log has a line for each.
func (h *Host) Damaged() int64 { return h.host.Counts().Damaged }

// checker checks the database in the background, once a day.
type checker struct {
	verify func(context.Context, *sqlite.VerifyOptions) (sqlite.Verification, error)
	last   func(context.Context) (sqlite.Verification, error)
	now    func() time.Time
	wait   func(ctx context.Context, d time.Duration) error
	log    *slog.Logger
	rate   int
}

// newChecker returns the checker of a host; nil if it is turned off.
func newChecker(o *Options, p *sqlite.Provider) *checker {
	c := &checker{verify: p.Verify, last: p.Verification, now: o.Now, wait: sleep, log: o.Logger, rate: o.CheckRate}
	if c.now == nil {
		c.now = time.Now
	}
	if c.log == nil {
		c.log = slog.Default()
	}
	switch {
	case c.rate < 0:
		return nil
	case c.rate == 0:
		c.rate = defaultCheckRate
	}
	return c
}

func sleep(ctx context.Context, d time.Duration) error {
	if core.Pause(ctx, d) {
		return nil
	}
	return ctx.Err()
}

// run checks until ctx ends.
func (c *checker) run(ctx context.Context) {
	for pause := checkDelay; c.wait(ctx, pause) == nil; {
		last, err := c.last(ctx)
		if err == nil {
			if pause = c.due(last); pause > 0 {
				continue
			}
			pause = checkPoll
			err = c.check(ctx)
		}
		if err != nil && ctx.Err() == nil {
			pause = checkReport
			c.log.Warn("the check of the database is continued later", "error", err)
		}
	}
}

// due returns how long to wait before the next check, at most checkPoll.
func (c *checker) due(last sqlite.Verification) time.Duration {
	since := c.now().Sub(last.Ended)
	if last.Ended.IsZero() || since < 0 { // not done, or the clock was set back
		return 0
	}
	return min(max(checkInterval-since, 0), checkPoll)
}

func (c *checker) check(ctx context.Context) error {
	began, reported := c.now(), c.now()
	c.log.Info("the database is checked", "bytesPerSecond", c.rate)
	v, err := c.verify(ctx, &sqlite.VerifyOptions{BytesPerSecond: c.rate, Wait: c.wait, Progress: func(v sqlite.Verification) {
		if now := c.now(); now.Sub(reported) >= checkReport {
			reported = now
			c.log.Info("the database is checked", "entries", v.Entries, "bytes", v.Bytes, "damaged", v.Damaged, "table", v.Table)
		}
	}})
	if err != nil {
		return err
	}
	level, message := slog.LevelInfo, "the check of the database has found no damage"
	if v.Damaged > 0 {
		level, message = slog.LevelError, "the check of the database has found damage"
	}
	c.log.Log(ctx, level, message, "entries", v.Entries, "bytes", v.Bytes, "damaged", v.Damaged, "seconds", int64(c.now().Sub(began).Seconds()))
	return nil
}

// errDamage is the result of the command verify if the database is damaged.
var errDamage = errors.New("the database is damaged")

func (p *program) verifyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "Check the whole database file; fails if it is damaged",
		Long: `Check the whole database file: compare every entry of every table with its checksum.

It prints each damaged entry, and fails if there is one. While the application runs, it
does the same once a day, at a low rate, and logs the result. A check that was stopped is
continued.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return p.with(c, false, func(h *Host) error {
				out := c.OutOrStdout()
				v, err := h.Verify(c.Context(), func(err error) {
					var d *driver.DamageError
					if errors.As(err, &d) {
						err = d
					}
					_, _ = fmt.Fprintln(out, err)
				})
				if err != nil {
					return err
				}
				if _, err := fmt.Fprintf(out, "%d entries checked, %d damaged\n", v.Entries, v.Damaged); err != nil {
					return err
				}
				if v.Damaged > 0 {
					return fmt.Errorf("%w: %d entries", errDamage, v.Damaged)
				}
				return nil
			})
		},
	}
}
