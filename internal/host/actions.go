package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/internal/ids"
	"github.com/reventless-go/reventless/schedule"
)

// origin is what led to actions. The ids of commands derive from component, key
// and index, so that a repetition is recognised.
type origin struct {
	component string
	meta      driver.Meta
	key       string
	first     int
	at        time.Time
}

// perform does what an automation or task wants, in order. Every action can be
// done twice without harm. It returns how many there were.
func (h *Host) perform(ctx context.Context, o origin, actions []component.Action) (int, error) {
	var queued []driver.Command
	flush := func() error {
		for len(queued) > 0 {
			n := 1
			for n < len(queued) && queued[n].Target == queued[0].Target {
				n++
			}
			if err := h.aggregates[queued[0].Target].topic.Send(ctx, queued[:n]); err != nil {
				return fmt.Errorf("send to %s: %w", queued[0].Target, storeError(err))
			}
			queued = queued[n:]
		}
		return nil
	}
	n := 0
	for _, a := range actions {
		if a.Err != nil {
			return n, fmt.Errorf("action %d: %w: %w", n+1, driver.ErrInvalid, a.Err)
		}
		switch a.Kind {
		case component.SendCommand:
			commands, err := h.commands(o, n, a)
			if err != nil {
				return n, err
			}
			for _, c := range commands {
				if c.delay <= 0 {
					queued = append(queued, c.Command)
				} else if err := h.delay(ctx, o.at, c); err != nil {
					return n, err
				}
			}
			n += max(len(commands), 1)
			continue
		case component.CreateSchedule:
			commands, err := h.planned(o, n, a)
			if err == nil {
				err = h.plan(ctx, dynamic(o, a), a.Expression, a.Zone, firingPayload{Commands: commands})
			}
			if err != nil {
				return n, err
			}
		case component.DeleteSchedule:
			if err := h.scheduler.Delete(ctx, dynamic(o, a)); err != nil {
				return n, fmt.Errorf("delete schedule %s: %w", a.Ref, storeError(err))
			}
		case component.AddCount, component.AddTarget:
			counter := h.counters[a.Target]
			if counter == nil {
				return n, fmt.Errorf("counter %s is not in the app: %w", a.Target.Name, driver.ErrNotFound)
			}
			f := counter.Count
			if a.Kind == component.AddTarget {
				f = counter.AddTarget
			}
			if err := f(ctx, a.ID, a.Ref, a.N); err != nil {
				return n, fmt.Errorf("counter %s: %w", h.app.NameOf(a.Target), storeError(err))
			}
		}
		n++
	}
	return n, flush()
}

// outgoing is a command with the delay that was asked for.
type outgoing struct {
	driver.Command
	delay time.Duration
}

// planned are the commands of a schedule, which says itself when they are sent.
func (h *Host) planned(o origin, index int, a component.Action) ([]driver.Command, error) {
	commands, err := h.commands(o, index, a)
	out := make([]driver.Command, len(commands))
	for i, c := range commands {
		if out[i] = c.Command; c.delay > 0 {
			return nil, fmt.Errorf("send to %s: a command of a schedule cannot be delayed: %w", c.Target, driver.ErrInvalid)
		}
	}
	return out, err
}

// delay plans a command for when its delay has passed since at, or since now.
func (h *Host) delay(ctx context.Context, at time.Time, c outgoing) error {
	if at.IsZero() {
		at = h.opts.Now()
	}
	rate := schedule.At(at.Add(c.delay))
	name := "delayed/" + digest([]byte(c.Target+"\x00"+c.Entity+"\x00"+c.Meta.ID), "")
	return h.plan(ctx, name, rate.Expression(), rate.Zone(), firingPayload{Commands: []driver.Command{c.Command}, Delayed: true})
}

// commands are what a send comes to: itself, or for a public command what the
// extension point maps it to.
func (h *Host) commands(o origin, index int, a component.Action) ([]outgoing, error) {
	actions := []component.Action{a}
	if a.Target == nil {
		return nil, fmt.Errorf("an empty send: %w", driver.ErrInvalid)
	}
	if a.Target.Point != nil {
		offer := h.app.OfferOf(a.Target)
		if err := guard(func() (err error) {
			actions, err = offer.Accept(a.ID, a.Command)
			return err
		}); err != nil {
			return nil, fmt.Errorf("%w: %w", driver.ErrInvalid, err)
		}
		for i, p := range actions {
			if p.Target == nil {
				return nil, fmt.Errorf("extension point %s maps to an empty send: %w", h.app.NameOf(a.Target), driver.ErrInvalid)
			}
			if actions[i].Delay += a.Delay; !slices.Contains(offer.Targets, p.Target) {
				return nil, fmt.Errorf("extension point %s maps to %s, which its Accept does not declare: %w", h.app.NameOf(a.Target), p.Target.Name, driver.ErrInvalid)
			}
		}
	}
	out := make([]outgoing, len(actions))
	for i, p := range actions {
		if p.Err != nil {
			return nil, fmt.Errorf("%w: %w", driver.ErrInvalid, p.Err)
		}
		target := h.app.NameOf(p.Target)
		if h.aggregates[target] == nil {
			return nil, fmt.Errorf("send to %s: no aggregate: %w", target, driver.ErrNotFound)
		}
		id := ids.Derive(o.component, o.key, strconv.Itoa(o.first+index+i))
		out[i] = outgoing{delay: p.Delay, Command: driver.Command{
			Target: target, Entity: p.ID, Type: p.Command.Type, Version: p.Command.Version, Data: p.Command.Data,
			Meta: o.meta.Derive(id, target, h.opts.Now().UTC()),
		}}
	}
	return out, nil
}

// SendAction handles a typed send by whoever runs the App, under the command id
// given, or a new one. A public command that is mapped to several commands
// answers with the first refusal, or else the last acceptance. One with a delay
// is kept until then, and pending.
func (h *Host) SendAction(ctx context.Context, id string, meta driver.Meta, a component.Action) (driver.Outcome, error) {
	if a.Err != nil {
		return driver.Outcome{}, fmt.Errorf("%w: %w", driver.ErrInvalid, a.Err)
	}
	if a.Target == nil {
		return driver.Outcome{}, fmt.Errorf("an empty send: %w", driver.ErrInvalid)
	}
	if id == "" {
		id = h.opts.NewID()
	}
	meta.ID = id
	if a.Target.Point == nil {
		return h.sendLater(ctx, outgoing{delay: a.Delay, Command: driver.Command{
			Target: h.app.NameOf(a.Target), Entity: a.ID, Type: a.Command.Type, Version: a.Command.Version, Data: a.Command.Data, Meta: meta,
		}})
	}
	commands, err := h.commands(origin{component: h.app.NameOf(a.Target), meta: meta, key: id}, 0, a)
	if err != nil {
		return driver.Outcome{}, err
	}
	out := driver.Outcome{Kind: driver.Accepted, CommandID: id, EntityID: a.ID, Target: h.app.NameOf(a.Target), User: meta.User}
	for _, c := range commands {
		o, err := h.sendLater(ctx, c)
		if err != nil {
			return driver.Outcome{}, err
		}
		out, out.CommandID = o, id
		if o.Kind == driver.Rejected {
			break
		}
	}
	return out, nil
}

// sendLater is Send for a command that may have a delay.
func (h *Host) sendLater(ctx context.Context, c outgoing) (driver.Outcome, error) {
	if c.delay <= 0 {
		return h.Send(ctx, c.Command)
	}
	if _, err := h.checked(&c.Command); err != nil {
		return driver.Outcome{}, err
	}
	if err := h.delay(ctx, time.Time{}, c); err != nil {
		return driver.Outcome{}, fmt.Errorf("send to %s: command %s: %w", c.Target, c.Meta.ID, err)
	}
	return driver.Outcome{Kind: driver.Pending, CommandID: c.Meta.ID, EntityID: c.Entity, Target: c.Target, User: c.Meta.User}, nil
}

func (h *Host) plan(ctx context.Context, name, expression, zone string, p firingPayload) error {
	payload, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("schedule %s: %w", name, err)
	}
	if err := h.scheduler.Create(ctx, driver.Schedule{Name: name, Expression: expression, Zone: zone, Payload: payload}); err != nil {
		return fmt.Errorf("schedule %s: %w", name, storeError(err))
	}
	return nil
}

// dynamic names the schedule of an action; one that is too long for a name is
// told apart by its digest.
func dynamic(o origin, a component.Action) string {
	name := "dynamic/" + o.component + "/" + a.Ref
	if len(name) > driver.MaxIDBytes {
		name = strings.ToValidUTF8(name[:200], "") + "#" + digest([]byte(name), "")
	}
	return name
}

// digest names bytes, or without bytes whatever else tells them apart.
func digest(data []byte, otherwise string) string {
	if len(data) == 0 {
		return otherwise
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16])
}
