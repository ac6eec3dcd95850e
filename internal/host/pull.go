package host

import (
	"context"
	"fmt"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
)

// source is a receiver whose messages a worker handles once the host has started.
type source struct {
	worker   string // its name
	receiver string // as [driver.ReceiverOf] names it
	// counts says whether a message that waits for its time, such as a retry,
	// keeps the host from being idle; a schedule does not.
	counts bool
	work   step
}

// pull adds a source: batches of up to size messages that handle settles.
func pull[T any](h *Host, s source, r driver.Receiver[T], size int, handle func(context.Context, []driver.Delivery[T]) []driver.Settlement) {
	s.work = func(ctx context.Context) (int, time.Time, error) {
		batch, err := r.Receive(ctx, size)
		if err != nil || len(batch.Deliveries) == 0 {
			return 0, batch.Next, err
		}
		return len(batch.Deliveries), time.Time{}, r.Settle(ctx, handle(ctx, batch.Deliveries))
	}
	h.pulled = append(h.pulled, s)
}

// openSources opens what a host that pulls receives from.
func (h *Host) openSources(ctx context.Context) error {
	if h.sources == nil {
		return nil
	}
	for name, d := range h.app.All {
		if err := h.openSource(ctx, name, d); err != nil {
			return fmt.Errorf("%s %s: %w", d.Kind, name, err)
		}
	}
	for _, c := range h.consumers {
		r, err := h.sources.OpenEventCollector(ctx, driver.CollectorSpec{Consumer: c.name, Source: driver.Source{Log: c.log, Topic: c.topic}})
		if err != nil {
			return fmt.Errorf("event collector of %s for %s: %w", c.log, c.name, err)
		}
		c.collector = r
		pull(h, source{c.name + " on " + c.log, driver.ReceiverOf("EventCollector", c.log), true, nil}, r, recordBatch, c.settleRecords)
	}
	for _, r := range h.relays {
		records, err := h.sources.OpenEventCollector(ctx, driver.CollectorSpec{Consumer: "relay/" + r.log, Source: driver.Source{Log: r.log}})
		if err != nil {
			return fmt.Errorf("relay of %s: %w", r.log, err)
		}
		pull(h, source{"relay of " + r.log, driver.ReceiverOf("EventCollector", r.log), true, nil}, records, recordBatch, r.HandleRecords)
	}
	firings, err := h.sources.OpenScheduleReceiver(ctx)
	if err != nil {
		return fmt.Errorf("schedules: %w", err)
	}
	pull(h, source{"schedules", driver.ReceiverOf("Scheduler", ""), false, nil}, firings, firingBatch, h.HandleFirings)
	return nil
}

func (h *Host) openSource(ctx context.Context, name string, d *component.Definition) error {
	switch {
	case d.Aggregate != nil:
		a := h.aggregates[name]
		commands, err := h.sources.OpenCommandReceiver(ctx, name)
		if err != nil {
			return err
		}
		pull(h, source{"commands of " + name, driver.ReceiverOf("CommandTopic", name), true, nil}, commands, commandBatch, a.HandleQueued)
	case d.ReadModel != nil:
		r := h.readModels[name]
		var err error
		if r.state, err = h.sources.OpenStateTopic(ctx, r.spec); err != nil {
			return err
		}
	case d.Counter != nil:
		finished, err := h.sources.OpenCounterReceiver(ctx, name)
		if err != nil {
			return err
		}
		pull(h, source{"counter " + name, driver.ReceiverOf("Counter", name), true, nil}, finished, finishedBatch,
			func(ctx context.Context, deliveries []driver.Delivery[driver.CounterFinished]) []driver.Settlement {
				return h.handleFinished(ctx, name, deliveries)
			})
	case d.Task != nil && d.Task.Bucket != nil:
		bucket := h.app.NameOf(d.Task.Bucket)
		objects, err := h.sources.OpenBucketReceiver(ctx, bucket)
		if err != nil {
			return err
		}
		pull(h, source{"task " + name, driver.ReceiverOf("Bucket", bucket), true, nil}, objects, objectBatch,
			func(ctx context.Context, deliveries []driver.Delivery[driver.ObjectEvent]) []driver.Settlement {
				return h.handleObjects(ctx, name, d, deliveries)
			})
	}
	return nil
}

// Start runs a worker for each source until Close. It brings the declared schedules
// up to date and sends the first heartbeats. A host whose provider offers no
// [driver.Sources] cannot start: it is called with messages.
func (h *Host) Start(ctx context.Context) error {
	if h.sources == nil {
		return fmt.Errorf("start %s: the provider hands its messages to functions: %w", h.app.Name, driver.ErrUnsupported)
	}
	if err := h.planSchedules(ctx); err != nil {
		return fmt.Errorf("schedules: %w", err)
	}
	h.workers.stop = h.sources.Notify(h.workers.ring)
	for _, s := range h.pulled {
		h.runWorker(s)
	}
	return h.heartbeatAll(ctx)
}
