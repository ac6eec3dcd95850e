package triggers

import (
	"context"
	"fmt"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/internal/host/core"
	"github.com/reventless-go/reventless/internal/host/effects"
	"github.com/reventless-go/reventless/internal/platform"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/schedule"
)

const (
	// lateness is how late a heartbeat may be before its plugin counts as silent.
	lateness = time.Minute
	// heartbeats is the prefix of the names of the schedules that report missed
	// heartbeats.
	heartbeats = "heartbeat/"
)

// SendHeartbeats sends a heartbeat of each plugin when a host starts. A heartbeat that
// was missed while no process ran is reported first.
func (t *Triggers) SendHeartbeats(ctx context.Context) error {
	stored, err := t.Scheduler.List(ctx)
	if err != nil {
		return err
	}
	for _, p := range t.App.Plugins {
		if p.Heartbeat <= 0 {
			continue
		}
		if t.missed(stored, p.Name) {
			err = t.report(ctx, platform.Registry.To(p.Name, platform.MissHeartbeat{}))
		}
		if err == nil {
			err = t.heartbeat(ctx, p.Name)
		}
		if err != nil {
			return fmt.Errorf("heartbeat of %s: %w", p.Name, err)
		}
	}
	return nil
}

// missed reports whether the heartbeat of a plugin is overdue.
func (t *Triggers) missed(stored []driver.Schedule, plugin string) bool {
	for _, s := range stored {
		if s.Name != heartbeats+plugin {
			continue
		}
		rate, err := schedule.Parse(s.Expression, s.Zone)
		at, ok := rate.Time()
		return err == nil && ok && at.Before(t.Core.Now())
	}
	return false
}

// report sends a command to the registry through its queue, which keeps the order of the
// reports on a plugin.
func (t *Triggers) report(ctx context.Context, s message.Send) error {
	c := t.registryCommand(s)
	t.Core.CompleteMeta(&c)
	return t.Enqueue(ctx, c.Target, c)
}

func (t *Triggers) registryCommand(s message.Send) driver.Command {
	a := s.Erased()
	return effects.Addressed(t.App.NameOf(a.Target), a)
}

// heartbeat plans the report that the next heartbeat was missed, then reports that the
// plugin runs. This order makes a crash between the two visible.
func (t *Triggers) heartbeat(ctx context.Context, name string) error {
	for _, p := range t.App.Plugins {
		if p.Name != name {
			continue
		}
		silent := t.registryCommand(platform.Registry.To(name, platform.MissHeartbeat{}))
		rate := schedule.At(t.Core.Now().Add(p.Heartbeat + lateness))
		if err := t.Plan(ctx, heartbeats+name, rate.Expression(), rate.Zone(), effects.Payload{Commands: []driver.Command{silent}}); err != nil {
			return err
		}
		return t.report(ctx, platform.Registry.To(name, platform.Heartbeat{Definition: definition(p)}))
	}
	return fmt.Errorf("no plugin %q: %w", name, core.ErrNoComponent)
}

// definition returns the definition of a plugin that its heartbeat contains.
func definition(p component.Plugin) platform.Definition {
	def := platform.Definition{IntervalSeconds: int(p.Heartbeat / time.Second)}
	for _, d := range p.Components {
		def.Components = append(def.Components, d.Name)
		if d.Offer != nil {
			if def.ExtensionPoints == nil {
				def.ExtensionPoints = map[string]int{}
			}
			def.ExtensionPoints[d.Name] = d.Offer.Point.Point.Version
		}
	}
	return def
}
