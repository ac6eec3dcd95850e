package host

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/internal/host/commands"
	"github.com/reventless-go/reventless/internal/host/core"
	"github.com/reventless-go/reventless/internal/host/triggers"
)

// recordBatch is how many records are received together.
const recordBatch = 256

// source is a receiver whose messages a worker handles once the host has started.
type source struct {
	worker   string // its name
	receiver string // as [driver.ReceiverOf] names it
	// component is the component under which damaged messages are parked.
	component string
	// scheduled sources deliver at planned times: a host with messages for a later time
	// is idle. A host with a message that waits for its retry is not.
	scheduled bool
	work      step
}

// pull returns a function that adds a source with its opened receiver. The source
// receives up to size messages at a time, which handle settles.
func pull[T any](h *Host, s source, size int, handle func(context.Context, []driver.Delivery[T]) []driver.Settlement) func(driver.Receiver[T], error) error {
	return func(r driver.Receiver[T], err error) error {
		s.work = func(ctx context.Context) (int, time.Time, error) {
			batch, err := r.Receive(ctx, size)
			if err != nil || len(batch.Deliveries) == 0 {
				return 0, batch.Next, err
			}
			settlements, whole, parked := parkDamaged(ctx, h.core, s, batch.Deliveries)
			if parked && len(whole) > 0 {
				settlements = append(settlements, handle(ctx, whole)...)
			}
			return len(batch.Deliveries), time.Time{}, r.Settle(ctx, settlements)
		}
		h.pulled = append(h.pulled, s)
		return err
	}
}

// parkDamaged parks the messages that cannot be read and returns their settlements and the
// other deliveries. If that fails, parked is false and every delivery is retried: later
// messages of a group must not overtake one that is retried.
func parkDamaged[T any](ctx context.Context, c *core.Core, s source, deliveries []driver.Delivery[T]) (settlements []driver.Settlement, whole []driver.Delivery[T], parked bool) {
	isDamaged := func(d driver.Delivery[T]) bool { return d.Err != nil }
	if !slices.ContainsFunc(deliveries, isDamaged) {
		return nil, deliveries, true
	}
	for _, d := range deliveries {
		if !isDamaged(d) {
			whole = append(whole, d)
			continue
		}
		c.ReportDamage(d.Err)
		if err := c.Park(ctx, driver.DeadLetter{
			ID: "damaged/" + s.receiver + "/" + core.Digest(d.Raw, d.ID), Component: s.component, Kind: driver.DeadRaw, Body: d.Raw, Attempts: d.Attempt,
		}, d.Err); err != nil {
			c.Log.Warn("messages are retried", "worker", s.worker, "error", core.ForLog(err))
			settlements = nil
			for _, d := range deliveries {
				settlements = append(settlements, driver.Settlement{ID: d.ID, Retry: true, After: c.Backoff(d.Attempt)})
			}
			return settlements, nil, false
		}
		settlements = append(settlements, driver.Settlement{ID: d.ID})
	}
	return settlements, whole, true
}

// openSources opens the receivers of a host that pulls.
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
		var err error
		c.Collector, err = h.sources.OpenEventCollector(ctx, driver.CollectorSpec{Consumer: c.Name, Source: driver.Source{Log: c.Log, Topic: c.Topic}})
		if err = pull(h, collector(c.Name+" on "+c.Log, c.Name, c.Log), recordBatch, c.HandlePulled)(c.Collector, err); err != nil {
			return fmt.Errorf("event collector of %s for %s: %w", c.Log, c.Name, err)
		}
	}
	for _, r := range h.relays {
		spec := driver.CollectorSpec{Consumer: "relay/" + r.Log, Source: driver.Source{Log: r.Log}}
		if err := pull(h, collector("relay of "+r.Log, r.Log, r.Log), recordBatch, r.HandleRecords)(h.sources.OpenEventCollector(ctx, spec)); err != nil {
			return fmt.Errorf("relay of %s: %w", r.Log, err)
		}
	}
	schedules := source{worker: "schedules", component: "schedules", receiver: driver.ReceiverOf("Scheduler", ""), scheduled: true}
	if err := pull(h, schedules, triggers.FiringBatch, h.triggers.HandleFirings)(h.sources.OpenScheduleReceiver(ctx)); err != nil {
		return fmt.Errorf("schedules: %w", err)
	}
	return nil
}

func collector(worker, component, log string) source {
	return source{worker: worker, component: component, receiver: driver.ReceiverOf("EventCollector", log)}
}

func (h *Host) openSource(ctx context.Context, name string, d *component.Definition) (err error) {
	switch {
	case d.Aggregate != nil:
		s := source{worker: "commands of " + name, component: name, receiver: driver.ReceiverOf("CommandTopic", name)}
		return pull(h, s, commands.QueueBatch, h.aggregates[name].HandleQueued)(h.sources.OpenCommandReceiver(ctx, name))
	case d.ReadModel != nil:
		h.states[name], err = h.sources.OpenStateTopic(ctx, h.tables[name])
	case d.Counter != nil:
		s := source{worker: "counter " + name, component: name, receiver: driver.ReceiverOf("Counter", name)}
		return pull(h, s, triggers.FinishedBatch, func(ctx context.Context, deliveries []driver.Delivery[driver.CounterFinished]) []driver.Settlement {
			return h.triggers.HandleFinished(ctx, name, h.logs[name], deliveries)
		})(h.sources.OpenCounterReceiver(ctx, name))
	case d.Task != nil && d.Task.Bucket != nil:
		bucket := h.app.NameOf(d.Task.Bucket)
		s := source{worker: "task " + name, component: name, receiver: driver.ReceiverOf("Bucket", bucket)}
		return pull(h, s, triggers.ObjectBatch, func(ctx context.Context, deliveries []driver.Delivery[driver.ObjectEvent]) []driver.Settlement {
			settlements, _ := h.triggers.HandleObjects(ctx, name, deliveries) // the task exists
			return settlements
		})(h.sources.OpenBucketReceiver(ctx, bucket))
	}
	return err
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
	for name, r := range h.rebuilds {
		if err := r.start(ctx); err != nil {
			return fmt.Errorf("read model %s: %w", name, err)
		}
	}
	// Before the workers run: one of them could report the silence of a plugin after its
	// heartbeat.
	if err := h.triggers.SendHeartbeats(ctx); err != nil {
		return err
	}
	for _, s := range h.pulled {
		h.runWorker(s)
	}
	return nil
}
