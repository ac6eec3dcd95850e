package host

import (
	"context"
	"fmt"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/internal/host/commands"
	"github.com/reventless-go/reventless/internal/host/triggers"
)

// recordBatch is how many records are received together.
const recordBatch = 256

// source is a receiver whose messages a worker handles once the host has started.
type source struct {
	worker   string // its name
	receiver string // as [driver.ReceiverOf] names it
	// scheduled sources deliver at times that are planned: what they have for later does
	// not keep the host from being idle. A message that waits for its retry does.
	scheduled bool
	work      step
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
		r, err := h.sources.OpenEventCollector(ctx, driver.CollectorSpec{Consumer: c.Name, Source: driver.Source{Log: c.Log, Topic: c.Topic}})
		if err != nil {
			return fmt.Errorf("event collector of %s for %s: %w", c.Log, c.Name, err)
		}
		c.Collector = r
		pull(h, source{worker: c.Name + " on " + c.Log, receiver: driver.ReceiverOf("EventCollector", c.Log)}, r, recordBatch, c.HandlePulled)
	}
	for _, r := range h.relays {
		records, err := h.sources.OpenEventCollector(ctx, driver.CollectorSpec{Consumer: "relay/" + r.Log, Source: driver.Source{Log: r.Log}})
		if err != nil {
			return fmt.Errorf("relay of %s: %w", r.Log, err)
		}
		pull(h, source{worker: "relay of " + r.Log, receiver: driver.ReceiverOf("EventCollector", r.Log)}, records, recordBatch, r.HandleRecords)
	}
	firings, err := h.sources.OpenScheduleReceiver(ctx)
	if err != nil {
		return fmt.Errorf("schedules: %w", err)
	}
	pull(h, source{worker: "schedules", receiver: driver.ReceiverOf("Scheduler", ""), scheduled: true}, firings, triggers.FiringBatch, h.triggers.HandleFirings)
	return nil
}

func (h *Host) openSource(ctx context.Context, name string, d *component.Definition) error {
	switch {
	case d.Aggregate != nil:
		r, err := h.sources.OpenCommandReceiver(ctx, name)
		if err != nil {
			return err
		}
		pull(h, source{worker: "commands of " + name, receiver: driver.ReceiverOf("CommandTopic", name)}, r, commands.QueueBatch, h.aggregates[name].HandleQueued)
	case d.ReadModel != nil:
		var err error
		h.states[name], err = h.sources.OpenStateTopic(ctx, h.tables[name])
		return err
	case d.Counter != nil:
		r, err := h.sources.OpenCounterReceiver(ctx, name)
		if err != nil {
			return err
		}
		pull(h, source{worker: "counter " + name, receiver: driver.ReceiverOf("Counter", name)}, r, triggers.FinishedBatch,
			func(ctx context.Context, deliveries []driver.Delivery[driver.CounterFinished]) []driver.Settlement {
				return h.triggers.HandleFinished(ctx, name, h.logs[name], deliveries)
			})
	case d.Task != nil && d.Task.Bucket != nil:
		bucket := h.app.NameOf(d.Task.Bucket)
		r, err := h.sources.OpenBucketReceiver(ctx, bucket)
		if err != nil {
			return err
		}
		pull(h, source{worker: "task " + name, receiver: driver.ReceiverOf("Bucket", bucket)}, r, triggers.ObjectBatch,
			func(ctx context.Context, deliveries []driver.Delivery[driver.ObjectEvent]) []driver.Settlement {
				settlements, _ := h.triggers.HandleObjects(ctx, name, deliveries) // the task exists
				return settlements
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
	if err := h.triggers.PlanDeclared(ctx); err != nil {
		return fmt.Errorf("schedules: %w", err)
	}
	h.workers.stop = h.sources.Notify(h.workers.notify)
	for _, s := range h.pulled {
		h.runWorker(s)
	}
	return h.triggers.SendHeartbeats(ctx)
}
