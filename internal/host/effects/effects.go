// Package effects performs the actions of automations, extensions, tasks and callers:
// it sends commands, now or later, creates and deletes schedules, and counts. It also
// opens the read models and buckets that their functions use.
package effects

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/internal/host/core"
	"github.com/reventless-go/reventless/internal/ids"
	"github.com/reventless-go/reventless/schedule"
)

// Effects performs the actions of an App's components.
type Effects struct {
	Core      *core.Core
	App       *component.App
	Queues    map[string]driver.CommandTopic // of the aggregates
	Scheduler driver.Scheduler
	Counters  map[*component.Definition]driver.Counter
	Logs      map[string]driver.EventLog
	// Rows, Engine and Buckets are what an [Env] opens.
	Rows    map[string]driver.QueryDb
	Engine  driver.QueryEngine
	Buckets map[*component.Definition]driver.Bucket
}

// Origin identifies the cause of actions. The ids of commands derive from Component,
// Key and the index of the action, so that a repetition is recognised.
type Origin struct {
	Component string
	Meta      driver.Meta
	Key       string
	First     int // the index of the first action
	// At is the time from which delays count; zero is now.
	At time.Time
}

// Payload is the payload of every schedule: exactly one of Commands, Task and
// Heartbeat is set.
type Payload struct {
	// Commands are sent when the schedule fires: one command, or those to which a
	// public command is mapped. A delayed command keeps its id. Any other id derives
	// from the firing, since a schedule may fire repeatedly.
	Commands  []driver.Command `json:"commands,omitempty"`
	Delayed   bool             `json:"delayed,omitempty"`
	Task      string           `json:"task,omitempty"`
	Heartbeat string           `json:"heartbeat,omitempty"`
}

// Declared checks that actions address only declared targets.
func Declared(actions []component.Action, targets []*component.Definition, component string) error {
	for i, a := range actions {
		if a.Target != nil && !slices.Contains(targets, a.Target) {
			return fmt.Errorf("action %d addresses %s, which %s does not declare in Sends: %w", i+1, a.Target.Name, component, driver.ErrInvalid)
		}
	}
	return nil
}

// Perform performs actions in order and returns their number. Repeating an action has
// no further effect.
func (e *Effects) Perform(ctx context.Context, o Origin, actions []component.Action) (int, error) {
	var queued []driver.Command
	n := 0
	for _, a := range actions {
		if a.Err != nil {
			return n, fmt.Errorf("action %d: %w: %w", n+1, driver.ErrInvalid, a.Err)
		}
		if a.Kind != component.SendCommand {
			if err := e.performOne(ctx, o, n, a); err != nil {
				return n, err
			}
			n++
			continue
		}
		commands, err := e.Commands(o, n, a)
		if err != nil {
			return n, err
		}
		for _, c := range commands {
			tooDeep, err := e.park(ctx, c.Command)
			switch {
			case tooDeep || err != nil:
			case c.After <= 0:
				queued = append(queued, c.Command)
			default:
				err = e.Delay(ctx, o.At, c)
			}
			if err != nil {
				return n, err
			}
		}
		n += max(len(commands), 1)
	}
	for len(queued) > 0 {
		target, same := queued[0].Target, 1
		for same < len(queued) && queued[same].Target == target {
			same++
		}
		if err := e.Enqueue(ctx, target, queued[:same]...); err != nil {
			return n, err
		}
		queued = queued[same:]
	}
	return n, nil
}

// Enqueue puts commands into the queue of their aggregate.
func (e *Effects) Enqueue(ctx context.Context, target string, commands ...driver.Command) error {
	queue := e.Queues[target]
	if queue == nil {
		return fmt.Errorf("no aggregate %q: %w", target, core.ErrNoComponent)
	}
	if err := queue.Send(ctx, commands); err != nil {
		return fmt.Errorf("send to %s: %w", target, core.StoreError(err))
	}
	return nil
}

// performOne performs any action but a send.
func (e *Effects) performOne(ctx context.Context, o Origin, index int, a component.Action) error {
	switch a.Kind {
	case component.CreateSchedule:
		commands, err := e.Planned(o, index, a)
		if err != nil {
			return err
		}
		for _, c := range commands {
			if tooDeep, err := e.park(ctx, c); tooDeep || err != nil {
				return err
			}
		}
		return e.Plan(ctx, scheduleName(o, a), a.Expression, a.Zone, Payload{Commands: commands})
	case component.DeleteSchedule:
		if err := e.Scheduler.Delete(ctx, scheduleName(o, a)); err != nil {
			return fmt.Errorf("delete schedule %s: %w", a.Ref, core.StoreError(err))
		}
	case component.AddCount, component.AddTarget:
		counter := e.Counters[a.Target]
		if counter == nil {
			return fmt.Errorf("counter %s is not in the App: %w", a.Target.Name, driver.ErrNotFound)
		}
		add := counter.Count
		if a.Kind == component.AddTarget {
			add = counter.AddTarget
		}
		if err := add(ctx, a.ID, a.Ref, a.N); err != nil {
			return fmt.Errorf("counter %s: %w", e.App.NameOf(a.Target), core.StoreError(err))
		}
	}
	return nil
}

// Delayed is a command with its delay.
type Delayed struct {
	driver.Command
	After time.Duration
}

// Commands returns the commands that a send consists of: one, or those to which an
// extension point maps a public command.
func (e *Effects) Commands(o Origin, index int, a component.Action) ([]Delayed, error) {
	sends, err := e.mapPublic(a)
	if err != nil {
		return nil, err
	}
	out := make([]Delayed, len(sends))
	cause := o.At
	if cause.IsZero() {
		cause, _ = ids.Time(o.Meta.ID)
	}
	for i, s := range sends {
		if s.Err != nil {
			return nil, fmt.Errorf("%w: %w", driver.ErrInvalid, s.Err)
		}
		target := e.App.NameOf(s.Target)
		if e.Queues[target] == nil {
			return nil, fmt.Errorf("send to %s: no aggregate: %w", target, driver.ErrNotFound)
		}
		id := ids.Derive(cause, o.Component, o.Key, strconv.Itoa(o.First+index+i))
		out[i] = Delayed{After: s.Delay, Command: Addressed(target, s)}
		out[i].Meta = o.Meta.Derive(id, target, e.Core.Now().UTC())
		if out[i].Meta.Depth++; s.Delay >= slow {
			out[i].Meta.Depth = 0
		}
	}
	return out, nil
}

// Addressed is the command of a send to target, without meta.
func Addressed(target string, a component.Action) driver.Command {
	return driver.Command{Target: target, Entity: a.ID, Type: a.Command.Type, Version: a.Command.Version, Data: a.Command.Data}
}

// mapPublic returns the sends to which an extension point maps a public command; any
// other send stays as it is.
func (e *Effects) mapPublic(a component.Action) ([]component.Action, error) {
	if a.Target == nil {
		return nil, fmt.Errorf("an empty send: %w", driver.ErrInvalid)
	}
	if a.Target.Point == nil {
		return []component.Action{a}, nil
	}
	offer, point := e.App.OfferOf(a.Target), e.App.NameOf(a.Target)
	var sends []component.Action
	err := core.CatchPanic(func() (err error) {
		sends, err = offer.Accept(a.ID, a.Command)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", driver.ErrInvalid, err)
	}
	for i := range sends {
		s := &sends[i]
		switch s.Delay += a.Delay; {
		case s.Target == nil:
			return nil, fmt.Errorf("extension point %s maps to an empty send: %w", point, driver.ErrInvalid)
		case !slices.Contains(offer.Targets, s.Target):
			return nil, fmt.Errorf("extension point %s maps to %s, which its Accept does not declare: %w", point, s.Target.Name, driver.ErrInvalid)
		}
	}
	return sends, nil
}

// Planned returns the commands of a schedule. They have no delay of their own.
func (e *Effects) Planned(o Origin, index int, a component.Action) ([]driver.Command, error) {
	commands, err := e.Commands(o, index, a)
	soon := e.soon(a.Expression, a.Zone)
	out := make([]driver.Command, len(commands))
	for i, c := range commands {
		if out[i] = c.Command; c.After > 0 {
			return nil, fmt.Errorf("send to %s: the command of a schedule cannot be delayed: %w", c.Target, driver.ErrInvalid)
		}
		if !soon {
			out[i].Meta.Depth = 0 // the schedule begins a new chain
		}
	}
	return out, err
}

// Delay plans a command for the end of its delay, which counts from at or, when that
// is zero, from now.
func (e *Effects) Delay(ctx context.Context, at time.Time, c Delayed) error {
	if at.IsZero() {
		at = e.Core.Now()
	}
	rate := schedule.At(at.Add(c.After))
	name := "delayed/" + core.Digest([]byte(c.Target+"\x00"+c.Entity+"\x00"+c.Meta.ID), "")
	return e.Plan(ctx, name, rate.Expression(), rate.Zone(), Payload{Commands: []driver.Command{c.Command}, Delayed: true})
}

// Plan creates or replaces a schedule.
func (e *Effects) Plan(ctx context.Context, name, expression, zone string, p Payload) error {
	data, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("schedule %s: %w", name, err)
	}
	if err := e.Scheduler.Create(ctx, driver.Schedule{Name: name, Expression: expression, Zone: zone, Payload: data}); err != nil {
		return fmt.Errorf("schedule %s: %w", name, core.StoreError(err))
	}
	return nil
}

// scheduleName names the schedule of an action. A digest replaces the end of a name
// that is too long.
func scheduleName(o Origin, a component.Action) string {
	name := "dynamic/" + o.Component + "/" + a.Ref
	if len(name) > driver.MaxIDBytes {
		name = strings.ToValidUTF8(name[:200], "") + "#" + core.Digest([]byte(name), "")
	}
	return name
}
