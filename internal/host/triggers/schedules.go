// Package triggers handles what does not begin with a command: schedules that are due,
// objects of a bucket, counters that reach their targets, and the heartbeats of plugins.
package triggers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/internal/host/core"
	"github.com/reventless-go/reventless/internal/host/effects"
	"github.com/reventless-go/reventless/internal/ids"
	"github.com/reventless-go/reventless/schedule"
)

// Triggers handles the triggers of an App.
type Triggers struct {
	*effects.Effects
}

// declared is the prefix of the names of declared schedules.
const declared = "declared/"

// declaredSchedules returns the schedules that the App declares, by name.
func (t *Triggers) declaredSchedules() (map[string]driver.Schedule, error) {
	schedules := map[string]driver.Schedule{}
	add := func(name, expression, zone string, p effects.Payload) error {
		data, err := json.Marshal(p)
		schedules[declared+name] = driver.Schedule{Name: declared + name, Expression: expression, Zone: zone, Payload: data}
		return err
	}
	for name, d := range t.App.All {
		var err error
		switch {
		case d.Schedule != nil:
			var commands []driver.Command
			commands, err = t.Planned(effects.Origin{Component: name, Key: "declared", Meta: driver.Meta{CorrelationID: name}}, 0, d.Schedule.Action)
			for i := range commands {
				commands[i].Meta = driver.Meta{Service: commands[i].Target}
			}
			if err == nil {
				err = add(name, d.Schedule.Expression, d.Schedule.Zone, effects.Payload{Commands: commands})
			}
		case d.Task != nil && d.Task.Scheduled != nil:
			err = add(name, d.Task.Expression, d.Task.Zone, effects.Payload{Task: name})
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, p := range t.App.Plugins {
		if p.Heartbeat <= 0 {
			continue
		}
		if err := add(heartbeats+p.Name, schedule.Every(p.Heartbeat).Expression(), "", effects.Payload{Heartbeat: p.Name}); err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	return schedules, nil
}

// DeclaredFiring returns a firing of a declared schedule, for a platform that keeps the
// declared schedules itself. The name is "declared/<Plugin>.<Component>" or
// "declared/heartbeat/<Plugin>"; for any other name the error is [driver.ErrNotFound].
func (t *Triggers) DeclaredFiring(name string, due time.Time) (driver.Firing, error) {
	schedules, err := t.declaredSchedules()
	if err != nil {
		return driver.Firing{}, err
	}
	s, ok := schedules[name]
	if !ok {
		return driver.Firing{}, fmt.Errorf("no schedule is declared as %q: %w", core.Clip(name), core.ErrNoComponent)
	}
	return driver.Firing{Name: name, Due: due, Payload: s.Payload}, nil
}

// PlanDeclared brings the stored schedules in line with the declared ones. An unchanged
// schedule is not replaced, so that it keeps its next time.
func (t *Triggers) PlanDeclared(ctx context.Context) error {
	wanted, err := t.declaredSchedules()
	if err != nil {
		return err
	}
	stored, err := t.Scheduler.List(ctx)
	if err != nil {
		return err
	}
	for _, s := range stored {
		d, ok := wanted[s.Name]
		switch {
		case !strings.HasPrefix(s.Name, declared):
		case !ok:
			if err := t.Scheduler.Delete(ctx, s.Name); err != nil {
				return err
			}
		case s.Expression == d.Expression && s.Zone == d.Zone && bytes.Equal(s.Payload, d.Payload):
			delete(wanted, s.Name)
		}
	}
	for s := range maps.Values(wanted) {
		if err := t.Scheduler.Create(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// FiringBatch is how many firings are received together.
const FiringBatch = 16

// HandleFirings fires schedules that are due, all concurrently: a slow task does not
// delay the others.
func (t *Triggers) HandleFirings(ctx context.Context, deliveries []driver.Delivery[driver.Firing]) []driver.Settlement {
	settlements := make([]driver.Settlement, len(deliveries))
	core.Concurrently(len(deliveries), len(deliveries), func(i int) { settlements[i] = t.handleFiring(ctx, deliveries[i]) })
	return settlements
}

func (t *Triggers) handleFiring(ctx context.Context, d driver.Delivery[driver.Firing]) driver.Settlement {
	f := d.Message
	err := core.CatchPanic(func() error { return t.fire(ctx, f) })
	if err == nil {
		return driver.Settlement{ID: d.ID}
	}
	t.Core.LogPanic("schedule "+f.Name, err)
	return t.Core.SettleFailure(ctx, core.Failure{
		ID: d.ID, Attempt: d.Attempt, Made: f.Due, Err: err,
		DeadLetter: driver.DeadLetter{
			ID: "firing/" + f.Name + "/" + f.Due.UTC().Format(time.RFC3339Nano), Component: componentOf(f),
			Kind: driver.DeadFiring, Stream: f.Name, Body: f.Payload,
		},
		What: "firing", Attrs: []any{"schedule", f.Name},
	})
}

// componentOf returns the component to which the dead letter of a firing belongs.
func componentOf(f driver.Firing) string {
	var p effects.Payload
	if json.Unmarshal(f.Payload, &p) != nil {
		return "Scheduler"
	}
	switch {
	case p.Task != "":
		return p.Task
	case len(p.Commands) > 0:
		return p.Commands[0].Target
	}
	return component.PlatformPlugin + ".Plugin"
}

// fire handles one firing.
func (t *Triggers) fire(ctx context.Context, f driver.Firing) error {
	var p effects.Payload
	if err := json.Unmarshal(f.Payload, &p); err != nil {
		return fmt.Errorf("payload: %w: %w", driver.ErrInvalid, err)
	}
	key := f.Name + "@" + f.Due.UTC().Format(time.RFC3339Nano)
	switch {
	case p.Heartbeat != "":
		return t.heartbeat(ctx, p.Heartbeat)
	case p.Task != "":
		d, ok := t.App.Lookup(p.Task)
		if !ok || d.Task == nil || d.Task.Scheduled == nil {
			return fmt.Errorf("no task %q with a schedule: %w", p.Task, core.ErrNoComponent)
		}
		return t.runTask(ctx, p.Task, d, key, f.Due, func(ctx context.Context, e component.Env) ([]component.Action, error) {
			return d.Task.Scheduled(ctx, e, f.Due)
		})
	case len(p.Commands) == 0:
		return fmt.Errorf("the payload is empty: %w", driver.ErrInvalid)
	}
	for i, c := range p.Commands {
		if !p.Delayed {
			c.Meta.ID = ids.Derive(f.Due, "firing", key, strconv.Itoa(i))
			if c.Meta.CorrelationID == "" {
				c.Meta.CorrelationID = c.Meta.ID
			}
		}
		c.Meta.Time = t.Core.Now().UTC()
		if err := t.Enqueue(ctx, c.Target, c); err != nil {
			return err
		}
	}
	return nil
}

// RedriveFiring fires the schedule of a dead letter, with the time of its firing.
func (t *Triggers) RedriveFiring(ctx context.Context, l driver.DeadLetter) error {
	due, err := time.Parse(time.RFC3339Nano, l.ID[strings.LastIndex(l.ID, "/")+1:])
	if err != nil {
		return fmt.Errorf("id of the dead letter: %w: %w", driver.ErrInvalid, err)
	}
	return core.CatchPanic(func() error { return t.fire(ctx, driver.Firing{Name: l.Stream, Due: due, Payload: l.Body}) })
}
