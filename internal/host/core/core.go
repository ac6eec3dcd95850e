// Package core contains what all roles of a host share: options, log, counters, dead
// letters, and the rules that decide whether a failed message is retried or parked.
package core

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/ids"
)

// Core is what the roles of one host share.
type Core struct {
	Options

	Log         *slog.Logger
	Stats       Stats
	Limits      driver.Limits
	DeadLetters driver.DeadLetters
	// KeepOutcome stores the outcome of a command if its aggregate is asynchronous.
	KeepOutcome func(context.Context, driver.Outcome, driver.Command) error
	// Running ends when the host is closed.
	Running context.Context

	damaged damaged
}

// Stats count what a host has done since it was opened.
type Stats struct{ Conflicts, Retries, Parked, Panics, Damaged atomic.Int64 }

// New returns a core and opens the dead letters of provider.
func New(ctx, running context.Context, opts *Options, provider driver.Provider) (*Core, error) {
	c := &Core{Options: opts.withDefaults(), Limits: provider.Limits(), Running: running}
	c.Log = slog.New(bounded{c.Logger.Handler()})
	var err error
	if c.DeadLetters, err = provider.OpenDeadLetters(ctx); err != nil {
		return nil, fmt.Errorf("dead letters: %w", err)
	}
	return c, nil
}

// CompleteMeta fills in what the sender of a command left out.
func (c *Core) CompleteMeta(cmd *driver.Command) {
	m := &cmd.Meta
	m.Service = cmd.Target
	if m.ID == "" {
		m.ID = c.NewID()
	}
	if m.CorrelationID == "" {
		m.CorrelationID = m.ID
	}
	if m.Time.IsZero() {
		m.Time = c.Now().UTC()
	}
	cmd.Version = cmp.Or(cmd.Version, 1)
	if _, derived := ids.Time(m.ID); !derived && cmd.Fingerprint == 0 {
		cmd.Fingerprint = driver.Fingerprint(*cmd)
	}
}

// Outcome returns an outcome of a command.
func Outcome(kind driver.OutcomeKind, c driver.Command) driver.Outcome {
	return driver.Outcome{Kind: kind, CommandID: c.Meta.ID, EntityID: c.Entity, Target: c.Target, User: c.Meta.User}
}

// Stored returns the outcome of a command in the form in which it is stored.
func Stored(o driver.Outcome, c driver.Command) driver.StoredOutcome {
	return driver.StoredOutcome{Outcome: o, Fingerprint: c.Fingerprint, Resend: c.Resend}
}

// ErrClosed reports that the host is closed.
var ErrClosed = fmt.Errorf("the host is closed: %w", driver.ErrUnavailable)

// EventID names an event: <log>/<stream>/<sequenceNr>.<index>.
func EventID(log, stream string, sequenceNr uint64, index int) string {
	return fmt.Sprintf("%s/%s/%d.%d", log, stream, sequenceNr, index)
}

// Pause waits for d and returns true. It returns false if ctx ends first, or
// immediately if the deadline of ctx is closer than d.
func Pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < d { //nolint:forbidigo // a context's deadline is in real time, whatever the host's clock says
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Concurrently calls f(0) to f(n-1), at most limit of them at the same time.
func Concurrently(n, limit int, f func(i int)) {
	slots := make(chan struct{}, max(limit, 1))
	var wg sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			f(i)
		})
	}
	wg.Wait()
}

// Group splits items by key. Groups and their items keep the order of items.
func Group[T any](items []T, key func(T) string) [][]T {
	var groups [][]T
	index := map[string]int{}
	for _, item := range items {
		k := key(item)
		i, ok := index[k]
		if !ok {
			i = len(groups)
			index[k] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], item)
	}
	return groups
}
