package host

import (
	"context"
	"fmt"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/host/consumers"
)

// The handlers below are for a host that is called with messages. Each settles every
// delivery of its batch by id. If one is retried, the later ones of its group are
// retried too. An error says that the component does not exist or that no delivery
// could be settled; then all are redelivered.

// Counts are what a host has done since it was opened.
type Counts struct {
	Conflicts int64 // commits and steps that were repeated because another writer was faster
	Retries   int64 // messages that were returned for a retry
	Parked    int64
	Panics    int64 // of application code
	Damaged   int64 // damaged places of the store, each at most once an hour
}

// Counts returns what the host has done so far.
func (h *Host) Counts() Counts {
	s := &h.core.Stats
	return Counts{s.Conflicts.Load(), s.Retries.Load(), s.Parked.Load(), s.Panics.Load(), s.Damaged.Load()}
}

// ReportDamage logs and counts damaged data that was found outside of the host, such as by
// a reader of rows or by a check of the store. It ignores errors that are not [driver.ErrDamaged].
func (h *Host) ReportDamage(err error) { h.core.ReportDamage(err) }

// Newer reports whether err says that this code does not know a message, and the
// message may come from newer code that is being rolled out, since it was created
// recently, at the time made.
func (h *Host) Newer(err error, made time.Time) bool { return h.core.FromNewerCode(err, made) }

// HandleCommands handles commands of an aggregate's queue.
func (h *Host) HandleCommands(ctx context.Context, aggregate string, deliveries []driver.Delivery[driver.Command]) ([]driver.Settlement, error) {
	a := h.aggregates[aggregate]
	if a == nil {
		return nil, fmt.Errorf("no aggregate %q: %w", aggregate, driver.ErrNotFound)
	}
	return a.HandleQueued(ctx, deliveries), nil
}

// consumer returns the consumer of a log for a component.
func (h *Host) consumer(name, log string) (*consumers.Consumer, error) {
	for _, c := range h.consumers {
		if c.Name == name && c.Log == log {
			return c, nil
		}
	}
	return nil, fmt.Errorf("%q does not consume %q: %w", name, log, driver.ErrNotFound)
}

// HandleRecords handles records of a log for a component.
func (h *Host) HandleRecords(ctx context.Context, consumer, log string, deliveries []driver.Delivery[driver.Record]) ([]driver.Settlement, error) {
	c, err := h.consumer(consumer, log)
	if err != nil {
		return nil, err
	}
	return c.HandleRecords(ctx, deliveries)
}

// HandleRelayed publishes records of a log to its topic.
func (h *Host) HandleRelayed(ctx context.Context, log string, deliveries []driver.Delivery[driver.Record]) ([]driver.Settlement, error) {
	for _, r := range h.relays {
		if r.Log == log {
			return r.HandleRecords(ctx, deliveries), nil
		}
	}
	return nil, fmt.Errorf("the log %q has no topic: %w", log, driver.ErrNotFound)
}

// HandleFirings handles firings of schedules.
func (h *Host) HandleFirings(ctx context.Context, deliveries []driver.Delivery[driver.Firing]) []driver.Settlement {
	return h.triggers.HandleFirings(ctx, deliveries)
}

// DeclaredFiring returns a firing of a declared schedule, for a platform that keeps the
// declared schedules itself.
func (h *Host) DeclaredFiring(name string, due time.Time) (driver.Firing, error) {
	return h.triggers.DeclaredFiring(name, due)
}

// HandleObjects runs a task on objects of its bucket that were created or removed.
func (h *Host) HandleObjects(ctx context.Context, task string, deliveries []driver.Delivery[driver.ObjectEvent]) ([]driver.Settlement, error) {
	return h.triggers.HandleObjects(ctx, task, deliveries)
}

// HandleFinished publishes the targets that a counter reached.
func (h *Host) HandleFinished(ctx context.Context, counter string, deliveries []driver.Delivery[driver.CounterFinished]) ([]driver.Settlement, error) {
	if d, ok := h.app.Lookup(counter); !ok || d.Counter == nil {
		return nil, fmt.Errorf("no counter %q: %w", counter, driver.ErrNotFound)
	}
	return h.triggers.HandleFinished(ctx, counter, h.logs[counter], deliveries), nil
}
