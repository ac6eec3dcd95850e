package component

import (
	"slices"
	"strings"
	"time"

	"github.com/reventless-go/reventless/topology"
)

// Topology describes the App as data.
func (a *App) Topology() topology.App {
	out := topology.App{Name: a.Name}
	for _, p := range a.Plugins {
		tp := topology.Plugin{Name: p.Name, Doc: p.Doc, HeartbeatSeconds: int(max(p.Heartbeat, 0) / time.Second)}
		for _, d := range p.Components {
			tp.Components = append(tp.Components, a.describe(p.Name+"."+d.Name, d))
		}
		out.Plugins = append(out.Plugins, tp)
	}
	return out
}

func (a *App) describe(name string, d *Definition) topology.Component {
	c := topology.Component{Name: name, Kind: string(d.Kind), Doc: d.Doc}
	for _, s := range a.LogsOf(d) {
		c.Sources = append(c.Sources, topology.Source{Log: s.Log, Point: s.Point})
	}
	for _, t := range d.Targets() {
		c.Targets = append(c.Targets, a.NameOf(t))
	}
	switch {
	case d.Aggregate != nil:
		c.Commands, c.Events = messages(d.Aggregate.Commands), messages(d.Aggregate.Events)
		c.Async, c.StateVersion, c.SnapshotEvery = d.Aggregate.Async, d.Aggregate.StateVersion, d.Aggregate.SnapshotEvery
	case d.ReadModel != nil:
		c.SubID, c.OwnRow = d.ReadModel.SubID, d.ReadModel.OwnRow
		for _, x := range d.ReadModel.Indexes {
			t := topology.Index{Name: x.Name, Key: x.Key.Name, Include: x.Include}
			if x.Sort != nil {
				t.Sort = x.Sort.Name
			}
			c.Indexes = append(c.Indexes, t)
		}
	case d.Counter != nil:
		c.Events = messages(d.Counter.Events)
	case d.Offer != nil:
		p := d.Offer.Point.Point
		c.Commands, c.Events, c.Version = messages(p.Commands), messages(p.Events), p.Version
	case d.Schedule != nil:
		c.Expression, c.Zone = d.Schedule.Expression, d.Schedule.Zone
	case d.Task != nil:
		c.Expression, c.Zone = d.Task.Expression, d.Task.Zone
		c.Prefix, c.Suffix = d.Task.Prefix, d.Task.Suffix
		if d.Task.Bucket != nil {
			c.Bucket = a.NameOf(d.Task.Bucket)
		}
	}
	c.Grants = a.grants(name, d)
	return c
}

// SourceLog is a log that a component consumes.
type SourceLog struct {
	// Source is what the component declared: an aggregate, counter or point.
	Source *Definition
	// Log is the logical name of the log.
	Log string
	// Point is the logical name of the extension point through which it consumes the
	// log; empty if it consumes the log directly.
	Point string
	// Map maps a private event to public ones; nil if there is no Point.
	Map func(Event) ([]Event, error)
}

// LogsOf returns the logs that a component consumes, in the order of its sources.
func (a *App) LogsOf(d *Definition) []SourceLog {
	if d.Offer != nil {
		return nil // its consumers map the events
	}
	var out []SourceLog
	for _, s := range d.Sources() {
		if s.Point == nil {
			out = append(out, SourceLog{Source: s, Log: a.NameOf(s)})
			continue
		}
		for _, p := range a.OfferOf(s).Publishes {
			out = append(out, SourceLog{Source: s, Log: a.NameOf(p.Source), Point: a.NameOf(s), Map: publicEvents(p)})
		}
	}
	return out
}

// publicEvents maps a private event to public ones, with ids derived from its own.
func publicEvents(p Publication) func(Event) ([]Event, error) {
	return func(private Event) ([]Event, error) {
		public, err := p.Map(private)
		if err != nil {
			return nil, err
		}
		out := make([]Event, len(public))
		for i, e := range public {
			out[i] = private
			out[i].Event = e
			out[i].Meta.ID = private.Meta.ID + "+" + string(rune('a'+i%26)) + strings.Repeat("'", i/26)
		}
		return out, nil
	}
}

func messages(types []MessageType) []topology.Message {
	var out []topology.Message
	for _, t := range types {
		out = append(out, topology.Message{Name: t.Name, Version: t.Version, Aliases: t.Aliases})
	}
	return out
}

// grants returns the operations that a component needs.
func (a *App) grants(name string, d *Definition) []topology.Grant {
	var out []topology.Grant
	grant := func(driver, component string, operations ...string) {
		for i := range out {
			if out[i].Driver == driver && out[i].Component == component {
				for _, op := range operations {
					if !slices.Contains(out[i].Operations, op) {
						out[i].Operations = append(out[i].Operations, op)
					}
				}
				return
			}
		}
		out = append(out, topology.Grant{Driver: driver, Component: component, Operations: operations})
	}
	consume := func() {
		for _, s := range a.LogsOf(d) {
			grant("EventCollector", s.Log, "Receive", "Settle")
			grant("EventLog", s.Log, "Read")
		}
		// A dead letter is removed again if another host has applied its commit meanwhile.
		grant("DeadLetters", "", "Park", "Get", "Remove")
	}
	var send func(targets []*Definition)
	send = func(targets []*Definition) {
		for _, t := range targets {
			switch {
			case t.Counter != nil:
				grant("Counter", a.NameOf(t), "Count", "AddTarget")
			case t.Point != nil:
				send(a.OfferOf(t).Targets)
			default:
				grant("CommandTopic", a.NameOf(t), "Send")
				grant("Scheduler", "", "Create", "Delete")
			}
		}
	}
	use := func() {
		for _, u := range d.Uses() {
			if u.ReadModel != nil {
				grant("QueryDb", a.NameOf(u), "Load", "LoadRow")
				grant("QueryEngine", a.NameOf(u), "Query", "Scan")
			} else {
				grant("Bucket", a.NameOf(u), "Put", "Get", "Delete", "List")
			}
		}
	}
	switch {
	case d.Aggregate != nil:
		grant("EventLog", name, "Append", "Read", "Load")
		grant("CommandTopic", name, "Send", "Receive", "Settle")
		grant("DeadLetters", "", "Park")
		if d.Aggregate.Async {
			grant("Outcomes", "", "Put", "Get")
		}
	case d.ReadModel != nil:
		consume()
		grant("QueryDb", name, "Watermark", "Watermarks", "Block", "Unblock", "Load", "LoadRow", "LoadRows", "Apply")
	case d.Automation != nil:
		consume()
		grant("Watermarks", name, "Watermark", "Watermarks", "Advance", "Block", "Unblock")
		send(d.Targets())
		use()
	case d.Counter != nil:
		grant("Counter", name, "Receive", "Settle")
		grant("EventLog", name, "Append", "Read")
	case d.Schedule != nil:
		grant("Scheduler", "", "Create", "Receive", "Settle")
		send(d.Targets())
	case d.Task != nil:
		if d.Task.Bucket != nil {
			grant("Bucket", a.NameOf(d.Task.Bucket), "Receive", "Settle")
		}
		if d.Task.Scheduled != nil {
			grant("Scheduler", "", "Create", "Receive", "Settle")
		}
		grant("DeadLetters", "", "Park")
		send(d.Targets())
		use()
	}
	return out
}
