package host

import (
	"context"
	"fmt"
	"sync"

	"github.com/reventless-go/reventless/driver"
)

// These are for hosts that are called with messages instead of receiving them.
// Each settles every delivery of its batch by id; what is to be retried keeps the
// later ones of its group waiting. The error says that the component does not
// exist, or that nothing can be said about any delivery: then all come again.

// Counts are what a host has done since it was opened.
type Counts struct {
	Conflicts int64 // writes that were decided or projected again, because others were faster
	Retries   int64 // messages that are to be tried again
	Parked    int64 // messages that were given up
	Panics    int64 // of application code
}

// Counts returns what the host has done so far.
func (h *Host) Counts() Counts {
	return Counts{h.stats.conflicts.Load(), h.stats.retried.Load(), h.stats.parked.Load(), h.stats.panics.Load()}
}

// HandleCommands handles commands of an aggregate's queue.
func (h *Host) HandleCommands(ctx context.Context, aggregate string, deliveries []driver.Delivery[driver.Command]) ([]driver.Settlement, error) {
	a := h.aggregates[aggregate]
	if a == nil {
		return nil, fmt.Errorf("no aggregate %q: %w", aggregate, driver.ErrNotFound)
	}
	return a.HandleQueued(ctx, deliveries), nil
}

// HandleRecords handles records of a log for a consumer: a read model, automation,
// side effect or extension.
func (h *Host) HandleRecords(ctx context.Context, consumer, log string, deliveries []driver.Delivery[driver.Record]) ([]driver.Settlement, error) {
	for _, c := range h.consumers {
		if c.name == consumer && c.log == log {
			return c.HandleRecords(ctx, deliveries)
		}
	}
	return nil, fmt.Errorf("%q does not consume %q: %w", consumer, log, driver.ErrNotFound)
}

// CatchUp applies to a consumer what it has missed of one stream of a log, such as
// records that a transport gave up: nobody tells it of them before the stream's next
// commit. [driver.ErrNotFound] when the component does not consume that log,
// [ErrBlocked] when the stream is parked there.
func (h *Host) CatchUp(ctx context.Context, consumer, log, stream string) error {
	for _, c := range h.consumers {
		if c.name == consumer && c.log == log {
			if err := c.catchUp(ctx, stream); err != nil {
				return fmt.Errorf("%s: catch up with %s/%s: %w", consumer, log, clip(stream), err)
			}
			return nil
		}
	}
	return fmt.Errorf("%q does not consume %q: %w", consumer, log, driver.ErrNotFound)
}

// HandleRelayed publishes records of a log to its topic.
func (h *Host) HandleRelayed(ctx context.Context, log string, deliveries []driver.Delivery[driver.Record]) ([]driver.Settlement, error) {
	for _, r := range h.relays {
		if r.log == log {
			return r.HandleRecords(ctx, deliveries), nil
		}
	}
	return nil, fmt.Errorf("the log %q has no topic: %w", log, driver.ErrNotFound)
}

// HandleFirings does what schedules are for that are due.
func (h *Host) HandleFirings(ctx context.Context, deliveries []driver.Delivery[driver.Firing]) []driver.Settlement {
	// At the same time: a task that takes long must not hold up the others.
	settlements := make([]driver.Settlement, len(deliveries))
	var wg sync.WaitGroup
	for i, d := range deliveries {
		wg.Go(func() { settlements[i] = h.handleFiring(ctx, d) })
	}
	wg.Wait()
	return settlements
}

// HandleObjects runs a task on objects of its bucket that came and went.
func (h *Host) HandleObjects(ctx context.Context, task string, deliveries []driver.Delivery[driver.ObjectEvent]) ([]driver.Settlement, error) {
	d, ok := h.app.Lookup(task)
	if !ok || d.Task == nil || d.Task.Bucket == nil {
		return nil, fmt.Errorf("no task %q on a bucket: %w", task, driver.ErrNotFound)
	}
	return h.handleObjects(ctx, task, d, deliveries), nil
}

// HandleFinished tells what a counter reached to those who listen to it.
func (h *Host) HandleFinished(ctx context.Context, counter string, deliveries []driver.Delivery[driver.CounterFinished]) ([]driver.Settlement, error) {
	if d, ok := h.app.Lookup(counter); !ok || d.Counter == nil {
		return nil, fmt.Errorf("no counter %q: %w", counter, driver.ErrNotFound)
	}
	return h.handleFinished(ctx, counter, deliveries), nil
}
