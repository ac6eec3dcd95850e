package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/internal/ids"
	"github.com/reventless-go/reventless/internal/platform"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/schedule"
)

// firingPayload is the payload of every schedule: exactly one of Commands, Task
// and Heartbeat is set.
type firingPayload struct {
	// Commands are sent: one, or what a public command is mapped to. A delayed
	// one keeps its id; the id of any other derives from the firing, since the
	// same schedule may fire again.
	Commands  []driver.Command `json:"commands,omitempty"`
	Delayed   bool             `json:"delayed,omitempty"`
	Task      string           `json:"task,omitempty"`
	Heartbeat string           `json:"heartbeat,omitempty"`
}

// declared is the start of the names of declared schedules.
const declared = "declared/"

// declaredSchedules returns the schedules that the App declares, by name.
func (h *Host) declaredSchedules() (map[string]driver.Schedule, error) {
	schedules := map[string]driver.Schedule{}
	add := func(name, expression, zone string, p firingPayload) error {
		payload, err := json.Marshal(p)
		name = declared + name
		schedules[name] = driver.Schedule{Name: name, Expression: expression, Zone: zone, Payload: payload}
		return err
	}
	for name, d := range h.app.All {
		switch {
		case d.Schedule != nil:
			commands, err := h.planned(origin{component: name, key: "declared", meta: driver.Meta{CorrelationID: name}}, 0, d.Schedule.Action)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			for i := range commands {
				commands[i].Meta = driver.Meta{Service: commands[i].Target}
			}
			if err := add(name, d.Schedule.Expression, d.Schedule.Zone, firingPayload{Commands: commands}); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		case d.Task != nil && d.Task.Scheduled != nil:
			if err := add(name, d.Task.Expression, d.Task.Zone, firingPayload{Task: name}); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	for _, p := range h.app.Plugins {
		if p.Heartbeat > 0 {
			if err := add("heartbeat/"+p.Name, schedule.Every(p.Heartbeat).Expression(), "", firingPayload{Heartbeat: p.Name}); err != nil {
				return nil, fmt.Errorf("%s: %w", p.Name, err)
			}
		}
	}
	return schedules, nil
}

// DeclaredFiring returns the firing of a declared schedule that is due, for hosts
// whose declared schedules are somebody else's to keep. Its name is
// "declared/<Plugin>.<Component>" or "declared/heartbeat/<Plugin>"; of another
// one it is a [driver.ErrNotFound].
func (h *Host) DeclaredFiring(name string, due time.Time) (driver.Firing, error) {
	schedules, err := h.declaredSchedules()
	if err != nil {
		return driver.Firing{}, err
	}
	s, ok := schedules[name]
	if !ok {
		return driver.Firing{}, fmt.Errorf("no schedule is declared as %q: %w", clip(name), errNoComponent)
	}
	return driver.Firing{Name: name, Due: due, Payload: s.Payload}, nil
}

// planSchedules brings the stored schedules in line with the declared ones. One
// that is there and unchanged is left alone: its next time stays.
func (h *Host) planSchedules(ctx context.Context) error {
	wanted, err := h.declaredSchedules()
	if err != nil {
		return err
	}
	stored, err := h.scheduler.List(ctx)
	if err != nil {
		return err
	}
	for _, s := range stored {
		if !strings.HasPrefix(s.Name, declared) {
			continue
		}
		d, ok := wanted[s.Name]
		if !ok {
			if err := h.scheduler.Delete(ctx, s.Name); err != nil {
				return err
			}
			continue
		}
		if s.Expression == d.Expression && s.Zone == d.Zone && bytes.Equal(s.Payload, d.Payload) {
			delete(wanted, s.Name)
		}
	}
	for _, s := range wanted {
		if err := h.scheduler.Create(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// firingBatch is how many firings are handled together.
const firingBatch = 16

func (h *Host) handleFiring(ctx context.Context, d driver.Delivery[driver.Firing]) driver.Settlement {
	s := driver.Settlement{ID: d.ID}
	err := guard(func() error { return h.fire(ctx, d.Message) })
	if err == nil {
		return s
	}
	h.logPanic("schedule "+d.Message.Name, err)
	newer := h.Newer(err, d.Message.Due)
	if s.Retry = done(ctx, err) || transient(err) || newer || !h.givenUp(d.Attempt, err); s.Retry {
		if s.After = h.opts.Backoff(d.Attempt); newer {
			s.After = Again
		}
		h.log.Warn("firing is tried again", "schedule", d.Message.Name, "attempt", d.Attempt, "error", logged(err))
		return s
	}
	ctx, cancel := outlasting(ctx)
	defer cancel()
	if h.park(ctx, driver.DeadLetter{
		ID: "firing/" + d.Message.Name + "/" + d.Message.Due.UTC().Format(time.RFC3339Nano), Component: h.firingComponent(d.Message),
		Kind: driver.DeadFiring, Stream: d.Message.Name, Body: d.Message.Payload, Attempts: d.Attempt,
	}, err) != nil {
		s.Retry, s.After = true, h.opts.Backoff(d.Attempt)
	}
	return s
}

func (h *Host) firingComponent(f driver.Firing) string {
	var p firingPayload
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

// fire does what a schedule is for.
func (h *Host) fire(ctx context.Context, f driver.Firing) error {
	var p firingPayload
	if err := json.Unmarshal(f.Payload, &p); err != nil {
		return fmt.Errorf("payload: %w: %w", driver.ErrInvalid, err)
	}
	key := f.Name + "@" + f.Due.UTC().Format(time.RFC3339Nano)
	switch {
	case p.Heartbeat != "":
		return h.heartbeat(ctx, p.Heartbeat)
	case p.Task != "":
		d, ok := h.app.Lookup(p.Task)
		if !ok || d.Task == nil || d.Task.Scheduled == nil {
			return fmt.Errorf("no task %q runs by the clock: %w", p.Task, errNoComponent)
		}
		return h.runTask(ctx, p.Task, d, key, f.Due, func(ctx context.Context, e component.Env) ([]component.Action, error) {
			return d.Task.Scheduled(ctx, e, f.Due)
		})
	case len(p.Commands) == 0:
		return fmt.Errorf("an empty payload: %w", driver.ErrInvalid)
	}
	for i, c := range p.Commands {
		a := h.aggregates[c.Target]
		if a == nil {
			return fmt.Errorf("no aggregate %q: %w", c.Target, errNoComponent)
		}
		if !p.Delayed {
			c.Meta.ID = ids.Derive("firing", key, strconv.Itoa(i))
			if c.Meta.CorrelationID == "" {
				c.Meta.CorrelationID = c.Meta.ID
			}
		}
		c.Meta.Time = h.opts.Now().UTC()
		if err := a.topic.Send(ctx, []driver.Command{c}); err != nil {
			return fmt.Errorf("send to %s: %w", c.Target, storeError(err))
		}
	}
	return nil
}

func (h *Host) redriveFiring(ctx context.Context, l driver.DeadLetter) error {
	name, due := l.Stream, time.Time{}
	if i := strings.LastIndex(l.ID, "/"); i >= 0 {
		var err error
		if due, err = time.Parse(time.RFC3339Nano, l.ID[i+1:]); err != nil {
			return fmt.Errorf("letter id: %w: %w", driver.ErrInvalid, err)
		}
	}
	return guard(func() error { return h.fire(ctx, driver.Firing{Name: name, Due: due, Payload: l.Body}) })
}

// grace is how long a plugin may be late before it counts as silent.
const grace = time.Minute

// heartbeatAll sends the heartbeats of a start. A silence that nobody noticed
// while the process was down is told first.
func (h *Host) heartbeatAll(ctx context.Context) error {
	stored, err := h.scheduler.List(ctx)
	if err != nil {
		return err
	}
	for _, p := range h.app.Plugins {
		if p.Heartbeat <= 0 {
			continue
		}
		for _, s := range stored {
			if s.Name != "heartbeat/"+p.Name {
				continue
			}
			rate, err := schedule.Parse(s.Expression, s.Zone)
			if at, ok := rate.Time(); err == nil && ok && at.Before(h.opts.Now()) {
				if err := h.report(ctx, platform.Registry.To(p.Name, platform.MissHeartbeat{})); err != nil {
					return fmt.Errorf("heartbeat of %s: %w", p.Name, err)
				}
			}
		}
		if err := h.heartbeat(ctx, p.Name); err != nil {
			return fmt.Errorf("heartbeat of %s: %w", p.Name, err)
		}
	}
	return nil
}

// report sends a command of the registry through its queue, which keeps the
// order of what is said of a plugin.
func (h *Host) report(ctx context.Context, s message.Send) error {
	a := s.Erased()
	c := driver.Command{
		Target: h.app.NameOf(a.Target), Entity: a.ID, Type: a.Command.Type, Version: a.Command.Version, Data: a.Command.Data,
	}
	h.fillMeta(&c)
	return storeError(h.aggregates[c.Target].topic.Send(ctx, []driver.Command{c}))
}

// heartbeat tells the platform that a plugin lives, and plans that its silence
// is noticed. The plan is made first: a crash between the two is then noticed
// too.
func (h *Host) heartbeat(ctx context.Context, name string) error {
	registry := component.PlatformPlugin + ".Plugin"
	for _, p := range h.app.Plugins {
		if p.Name != name {
			continue
		}
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
		missed := platform.Registry.To(name, platform.MissHeartbeat{}).Erased()
		rate := schedule.At(h.opts.Now().Add(p.Heartbeat + grace))
		err := h.plan(ctx, "heartbeat/"+name, rate.Expression(), rate.Zone(), firingPayload{Commands: []driver.Command{{
			Target: registry, Entity: name, Type: missed.Command.Type, Version: missed.Command.Version, Data: missed.Command.Data,
		}}})
		if err != nil {
			return err
		}
		return h.report(ctx, platform.Registry.To(name, platform.Heartbeat{Definition: def}))
	}
	return errors.New("no plugin " + name)
}
