// Package commands runs the commands of an aggregate. Each entity has a mailbox. The
// commands that are in it at the same time are decided on the entity's state and
// appended as one commit.
package commands

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/internal/host/core"
)

// Aggregate runs the commands of one aggregate.
type Aggregate struct {
	core        *core.Core
	name        string
	def         *component.Aggregate
	log         driver.EventLog
	keepOutcome func(context.Context, driver.StoredOutcome) error
	cache       *cache
	mailboxes   mailboxes
}

// New returns an aggregate over its log. keepOutcome stores the outcomes of queued
// commands, if the aggregate is asynchronous.
func New(c *core.Core, name string, def *component.Aggregate, log driver.EventLog, keepOutcome func(context.Context, driver.StoredOutcome) error) *Aggregate {
	return &Aggregate{core: c, name: name, def: def, log: log, keepOutcome: keepOutcome, cache: newCache(c.CacheEntries)}
}

// Async reports whether commands go through the queue.
func (a *Aggregate) Async() bool { return a.def.Async }

// Close waits for the commands that are running. Later ones fail.
func (a *Aggregate) Close() { a.mailboxes.close() }

// Command is a checked command with its decoded payload.
type Command struct {
	driver.Command
	decoded any
}

// Check decodes a command. The error says why it can never be handled.
func (a *Aggregate) Check(c driver.Command) (Command, error) {
	checked := Command{Command: c}
	err := errors.Join(driver.CheckID("entity", c.Entity), driver.CheckID("command", c.Meta.ID))
	if c.Target != a.name {
		err = fmt.Errorf("its target is %q: %w", c.Target, driver.ErrInvalid)
	}
	if err == nil {
		err = core.CatchPanic(func() (err error) {
			checked.decoded, err = a.def.DecodeCommand(c)
			return err
		})
		if err != nil {
			err = fmt.Errorf("%w: %w", driver.ErrInvalid, err)
		}
	}
	if err != nil {
		return checked, fmt.Errorf("aggregate %s: command %s: %w", a.name, core.Clip(c.Meta.ID), err)
	}
	return checked, nil
}

// Result is the result of one command: an outcome or an error. After a permanent error,
// every retry would fail in the same way.
type Result struct {
	Outcome   driver.Outcome
	Err       error
	Permanent bool
}

// Handle runs one command. When ctx ends first, the command may still take effect.
func (a *Aggregate) Handle(ctx context.Context, c Command) (driver.Outcome, error) {
	r := a.handle(ctx, []Command{c})[0]
	return r.Outcome, r.Err
}

// handle runs commands: those of one entity in order and, as far as they fit, in one
// commit; different entities concurrently. Result i belongs to command i.
func (a *Aggregate) handle(ctx context.Context, commands []Command) []Result {
	items := make([]*item, len(commands))
	for i, c := range commands {
		items[i] = &item{index: i, command: c}
	}
	var requests []*request
	for _, group := range core.Group(items, func(it *item) string { return it.command.Entity }) {
		r := &request{entity: group[0].command.Entity, items: group, done: make(chan struct{})}
		requests = append(requests, r)
		if !a.mailboxes.put(r, a.work) {
			r.fail(fmt.Errorf("aggregate %s: %w", a.name, core.ErrClosed), false)
			close(r.done)
		}
	}
	results := make([]Result, len(commands))
	for _, r := range requests {
		done := r.wait(ctx)
		for _, it := range r.items {
			switch {
			case !done:
				results[it.index] = Result{Err: fmt.Errorf("command %s: the outcome is unknown: %w", it.command.Meta.ID, ctx.Err())}
			case !it.settled:
				results[it.index] = Result{Err: fmt.Errorf("internal: command %s has no result", it.command.Meta.ID)}
			default:
				results[it.index] = it.result
			}
		}
	}
	return results
}

// pause waits before another attempt. It returns false when the budget does not
// allow it.
func (a *Aggregate) pause(ctx context.Context, attempt int) bool {
	return core.Pause(ctx, min(a.core.Backoff(attempt), time.Second))
}
