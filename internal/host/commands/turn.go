package commands

import (
	"context"
	"errors"
	"fmt"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/host/core"
)

// turn handles the requests that were in an entity's mailbox at the same time.
type turn struct {
	*Aggregate

	entity   string
	requests []*request
	loaded   *loaded // nil until it is loaded
	// fresh is true if loaded was read from the log in this turn, not only from the
	// cache.
	fresh     bool
	limit     int // commands per commit; 0 is all
	attempt   int
	conflicts int
}

// work handles requests, which are for one entity.
func (a *Aggregate) work(requests []*request) {
	ctx, cancel := context.WithTimeout(a.core.Running, a.core.Budget)
	defer cancel()
	t := &turn{Aggregate: a, entity: requests[0].entity, requests: requests}
	t.loaded = a.cache.get(t.entity)
	defer func() {
		t.nameSenders(ctx)
		for _, r := range requests {
			r.fail(fmt.Errorf("aggregate %s: %w", a.name, core.ErrGoexit), false) // the turn settles every command that it ends
			close(r.done)
		}
	}()
	for t.step(ctx) {
	}
}

// step decides the open commands and appends a commit if they lead to events. It
// reports whether another step is needed.
func (t *turn) step(ctx context.Context) bool {
	t.attempt++
	if t.loaded == nil {
		var err error
		if t.loaded, err = t.load(ctx, t.entity, t.usable); err != nil {
			return core.Retryable(err) && t.pause(ctx, t.attempt) || t.fail(err, false)
		}
		t.fresh = true
		t.cache.put(t.entity, t.loaded)
	}
	d := t.decide(ctx)
	switch {
	case d.stale:
		return t.refresh(ctx)
	case d.commit == nil:
		return d.more
	}
	if err := t.log.Append(ctx, *d.commit); err != nil {
		return t.appendFailed(ctx, d, err)
	}
	t.loaded, t.fresh, t.limit = t.loaded.with(d.commit, d.state), true, 0
	now := t.core.Now()
	t.loaded.memory.add(d.commit, now, now)
	t.cache.put(t.entity, t.loaded)
	d.accept()
	return d.more
}

// fail ends the turn: every open command fails.
func (t *turn) fail(err error, permanent bool) (again bool) {
	t.core.ReportDamage(err)
	for _, r := range t.requests {
		r.fail(err, permanent)
	}
	return false
}

// refresh reads what the log has beyond the cached state.
func (t *turn) refresh(ctx context.Context) (again bool) {
	next, err := t.advance(ctx, t.entity, t.loaded, nil)
	switch {
	case err == nil:
		t.loaded, t.fresh = next, true
	case !core.Retryable(err) || !t.pause(ctx, t.attempt):
		t.cache.drop(t.entity)
		return t.fail(err, false)
	}
	return true
}

// appendFailed prepares another step after a failed append, or ends the turn.
func (t *turn) appendFailed(ctx context.Context, d *decision, err error) (again bool) {
	var conflict *driver.ConflictError
	var large *driver.TooLargeError
	switch {
	case errors.As(err, &conflict):
		return t.lostRace(ctx, conflict.Winner)
	case errors.As(err, &large):
		t.shrink(d, large, err)
		return true
	case core.Retryable(err) && t.pause(ctx, t.attempt):
		return true
	}
	// The append may have taken effect, so the cached state may be outdated.
	t.cache.drop(t.entity)
	if !core.Retryable(err) {
		err = core.StoreError(err)
	}
	return t.fail(fmt.Errorf("aggregate %s: append to %q: %w", t.name, t.entity, err), errors.Is(err, driver.ErrInvalid))
}

// lostRace continues after the commit of a faster writer. It may be the turn's own
// commit whose acknowledgement was lost: then its commands count as answered.
func (t *turn) lostRace(ctx context.Context, commit driver.Commit) (again bool) {
	t.core.Stats.Conflicts.Add(1)
	winner := &commit
	if t.conflicts++; t.conflicts > 1 {
		winner = nil // more than one commit may be missing: read them from the log
	}
	var err error
	t.loaded, err = t.advance(ctx, t.entity, t.loaded, winner)
	t.fresh = winner == nil
	if err != nil {
		t.cache.drop(t.entity)
		if !core.Retryable(err) {
			return t.fail(err, false)
		}
	}
	if t.conflicts > 2 && !t.pause(ctx, t.conflicts-2) {
		return t.fail(fmt.Errorf("aggregate %s: %q: %w", t.name, t.entity, driver.ErrConflict), false)
	}
	return true
}

// shrink makes the next commit smaller: with fewer commands, or without a snapshot. A
// command that does not fit alone fails.
func (t *turn) shrink(d *decision, large *driver.TooLargeError, err error) {
	switch {
	case len(d.items) > 1:
		t.limit = max(len(d.items)/2, 1)
	case d.commit.Snapshot != nil:
		t.core.Log.Warn("a snapshot does not fit into its commit and is left out", "aggregate", t.name, "entity", t.entity, "size", large.Size, "limit", large.Limit)
		without := *t.loaded
		without.unsnapped = -1 << 30
		t.loaded = &without
	default:
		d.items[0].settle(Result{Err: fmt.Errorf("aggregate %s: %q: %w", t.name, t.entity, err), Permanent: true})
	}
}
