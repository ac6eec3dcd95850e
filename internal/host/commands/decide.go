package commands

import (
	"context"
	"errors"
	"fmt"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/internal/host/core"
)

// errInterrupted reports that an earlier command of the same request failed.
var errInterrupted = errors.New("an earlier message of its group failed")

// decision is the result of deciding the open commands.
type decision struct {
	items    []*item // the commands that the commit answers
	commands map[string]bool
	commit   *driver.Commit  // nil when no command leads to events
	state    component.State // the state after the commit
	more     bool            // commands are left for another step
	stale    bool            // the state must be read from the log first
}

// accept settles the commands of a commit that was appended.
func (d *decision) accept() {
	for i, it := range d.items {
		o := core.Outcome(driver.Accepted, it.command.Command)
		o.SequenceNr, o.EventCount = d.commit.SequenceNr, d.commit.Commands[i].EventCount
		it.settle(Result{Outcome: o})
	}
}

// decide runs the open commands on the state. A command without events is settled only
// if the state is certainly current: it was read from the log in this turn, and no
// earlier command has led to events that are not stored yet. Otherwise the command is
// decided again. (A command with events is settled when its commit is appended.)
func (t *turn) decide(ctx context.Context) *decision {
	d := &decision{
		state: t.loaded.state.Clone(), commands: map[string]bool{},
		commit: &driver.Commit{Stream: t.entity, SequenceNr: t.loaded.sequenceNr + 1, LastSnapshot: t.loaded.lastSnapshot},
	}
	for _, r := range t.requests {
		if t.decideRequest(ctx, d, r); d.stale {
			return d
		}
	}
	if len(d.items) == 0 {
		d.commit = nil
		return d
	}
	if every := t.def.SnapshotEvery; every > 0 && t.loaded.unsnapped+len(d.commit.Events) >= every {
		d.commit.Snapshot = t.snapshot(d)
	}
	return d
}

func (t *turn) decideRequest(ctx context.Context, d *decision, r *request) {
	failed := false
	for _, it := range r.items {
		id := it.command.Meta.ID
		switch {
		case it.settled:
			failed = failed || it.result.Err != nil
			continue
		case failed:
			it.settle(Result{Err: fmt.Errorf("aggregate %s: %q: %w", t.name, t.entity, errInterrupted)})
			continue
		}
		c, ok, err := t.answered(ctx, id)
		switch {
		case err != nil:
			it.settle(Result{Err: err})
			failed = true
			continue
		case ok && c.Fingerprint != 0 && it.command.Fingerprint != 0 && c.Fingerprint != it.command.Fingerprint:
			it.settle(Result{Permanent: true, Err: fmt.Errorf("aggregate %s: %q: command %s: %w", t.name, t.entity, core.Clip(id), core.ErrReusedID)})
			failed = true
			continue
		case ok:
			o := core.Outcome(driver.Accepted, it.command.Command)
			o.User, o.SequenceNr, o.EventCount = "", c.SequenceNr, c.EventCount
			it.settle(Result{Outcome: o})
			it.repeated = true
			continue
		}
		if d.commands[id] || t.limit > 0 && len(d.items) == t.limit {
			d.more = true
			continue
		}
		if failed = t.decideOne(d, it); d.stale {
			return
		}
	}
}

// decideOne runs one command and reports whether it failed.
func (t *turn) decideOne(d *decision, it *item) (failed bool) {
	events, next, rejection, err := t.run(d.state, it.command)
	switch {
	case !t.fresh && len(d.items) == 0 && (err != nil || len(events) == 0):
		d.stale = true
	case err != nil:
		t.core.LogPanic(t.name, err)
		it.settle(Result{Err: fmt.Errorf("aggregate %s: %q: command %s: %w", t.name, t.entity, it.command.Type, err)})
		return true
	case len(events) > 0:
		d.state = next
		d.items = append(d.items, it)
		d.commands[it.command.Meta.ID] = true
		d.commit.Events = append(d.commit.Events, events...)
		d.commit.Commands = append(d.commit.Commands, driver.AnsweredCommand{Meta: it.command.Meta, Fingerprint: it.command.Fingerprint, EventCount: len(events)})
	case len(d.items) > 0:
		d.more = true
	case rejection != nil:
		o := core.Outcome(driver.Rejected, it.command.Command)
		o.Code, o.Message, o.Detail = rejection.Code, rejection.Message, rejection.Detail
		it.settle(Result{Outcome: o})
	default:
		o := core.Outcome(driver.Accepted, it.command.Command)
		o.SequenceNr = t.loaded.sequenceNr
		it.settle(Result{Outcome: o})
	}
	return false
}

// run calls the aggregate's functions: Decide, then Evolve for each new event.
//
// A new event is applied in its encoded form, like a stored one. So a cached state
// equals the one that a cold start loads from the log, even if the encoding omits
// something.
func (t *turn) run(state component.State, c Command) (events []driver.Event, next component.State, rejection *component.Rejection, err error) {
	err = core.CatchPanic(func() (err error) {
		if events, rejection, err = state.Decide(c.decoded); err != nil || len(events) == 0 {
			return err
		}
		next = state.Clone()
		for _, e := range events {
			if err = next.Apply(e); err != nil {
				return err
			}
		}
		return nil
	})
	return events, next, rejection, err
}

// snapshot returns a snapshot of the state after the commit, or nil if the state cannot
// be encoded: a commit is complete without a snapshot.
func (t *turn) snapshot(d *decision) *driver.Snapshot {
	data, err := d.state.Snapshot()
	if err != nil {
		t.core.Log.Warn("no snapshot", "aggregate", t.name, "entity", t.entity, "error", core.ForLog(err))
		return nil
	}
	s := &driver.Snapshot{State: data, SnapshotHead: driver.SnapshotHead{
		Shape: t.def.Shape, StateVersion: t.def.StateVersion, Folded: withTypes(t.loaded.folded, d.commit.Events),
	}}
	t.loaded.memory.snapshot(s, d.commit, t.core.Now())
	return s
}
