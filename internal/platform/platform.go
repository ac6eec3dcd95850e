// Package platform declares the plugin that every App has: it tracks the other plugins by
// their heartbeats.
package platform

import (
	"maps"
	"slices"
	"time"

	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/readmodel"
)

// Command is a command of the Plugin aggregate.
type Command interface {
	message.Typed
	isCommand()
}

// Definition describes a plugin.
type Definition struct {
	Components      []string       `json:"components"`
	ExtensionPoints map[string]int `json:"extensionPoints,omitempty"` // name to protocol version
	IntervalSeconds int            `json:"intervalSeconds"`
}

type (
	// Heartbeat reports that a plugin is running.
	Heartbeat struct {
		Definition Definition `json:"definition"`
	}
	// MissHeartbeat reports that a plugin has sent no heartbeat for its interval plus
	// a grace period.
	MissHeartbeat struct{}
)

// MessageType returns the wire name.
func (Heartbeat) MessageType() string { return "Heartbeat" }

// MessageType returns the wire name.
func (MissHeartbeat) MessageType() string { return "MissHeartbeat" }
func (Heartbeat) isCommand()              {}
func (MissHeartbeat) isCommand()          {}

// Event is an event of the Plugin aggregate.
type Event interface {
	message.Typed
	isEvent()
}

type (
	// Detected happens at the first heartbeat of a plugin.
	Detected struct{}
	// Connected happens when a plugin starts to send heartbeats, or has a new
	// definition.
	Connected struct {
		Definition Definition `json:"definition"`
	}
	// Disconnected happens when heartbeats are missing.
	Disconnected struct{}
)

// MessageType returns the wire name.
func (Detected) MessageType() string { return "PluginDetected" }

// MessageType returns the wire name.
func (Connected) MessageType() string { return "PluginConnected" }

// MessageType returns the wire name.
func (Disconnected) MessageType() string { return "PluginDisconnected" }
func (Detected) isEvent()                {}
func (Connected) isEvent()               {}
func (Disconnected) isEvent()            {}

// State is the state of one plugin.
type State struct {
	Known     bool
	Connected bool
	Hash      string
}

// Registry is the aggregate of plugins.
var Registry = aggregate.New(aggregate.Spec[State, Command, Event]{
	Name:     "Plugin",
	Doc:      "A plugin of this App, tracked by its heartbeats.",
	Commands: message.NewSet[Command](Heartbeat{}, MissHeartbeat{}),
	Events:   message.NewSet[Event](Detected{}, Connected{}, Disconnected{}),
	Decide:   decide,
	Evolve:   evolve,
	Access:   access.Rules{access.Internal},
})

func decide(s State, c Command) ([]Event, error) {
	switch c := c.(type) {
	case Heartbeat:
		switch {
		case !s.Known:
			return []Event{Detected{}, Connected(c)}, nil
		case !s.Connected, s.Hash != hash(c.Definition):
			return []Event{Connected(c)}, nil
		}
	case MissHeartbeat:
		if s.Connected {
			return []Event{Disconnected{}}, nil
		}
	}
	return nil, nil
}

func evolve(s State, e Event) State {
	switch e := e.(type) {
	case Detected:
		s.Known = true
	case Connected:
		s.Connected, s.Hash = true, hash(e.Definition)
	case Disconnected:
		s.Connected = false
	}
	return s
}

// Row is a row of Plugins.
type Row struct {
	Plugin          string    `json:"plugin"`
	Status          string    `json:"status"` // connected, disconnected
	Components      []string  `json:"components"`
	Points          []Point   `json:"points"`
	IntervalSeconds int       `json:"intervalSeconds"`
	Since           time.Time `json:"since"`
}

// Point is an extension point that a plugin offers.
type Point struct {
	Name    string `json:"name"`
	Version int    `json:"version"`
}

func points(versions map[string]int) []Point {
	var out []Point
	for _, name := range slices.Sorted(maps.Keys(versions)) {
		out = append(out, Point{name, versions[name]})
	}
	return out
}

// Plugins has the state of each plugin.
var Plugins = readmodel.New(readmodel.Spec[Row]{
	Name:   "Plugins",
	Doc:    "The plugins of this App, and which of them are running.",
	OwnRow: true,
	Access: access.Roles(access.Admin),
	Projections: readmodel.Projections[Row]{readmodel.On(Registry, func(e message.Event[Event]) readmodel.Changes[Row] {
		switch d := e.Data.(type) {
		case Connected:
			return readmodel.Put(e.EntityID, Row{
				Plugin: e.EntityID, Status: "connected", Components: d.Definition.Components,
				Points: points(d.Definition.ExtensionPoints), IntervalSeconds: d.Definition.IntervalSeconds, Since: e.RecordedAt,
			})
		case Disconnected:
			return readmodel.Update(e.EntityID, func(r *Row) { r.Status, r.Since = "disconnected", e.RecordedAt })
		}
		return nil
	})},
})

// HistoryRow is a row of PluginHistory.
type HistoryRow struct {
	Position string    `json:"position"`
	What     string    `json:"what"`
	At       time.Time `json:"at"`
}

// History has the events of each plugin.
var History = readmodel.New(readmodel.Spec[HistoryRow]{
	Name:   "PluginHistory",
	Doc:    "The events of each plugin.",
	SubID:  "position",
	Access: access.Roles(access.Admin),
	Projections: readmodel.Projections[HistoryRow]{readmodel.On(Registry, func(e message.Event[Event]) readmodel.Changes[HistoryRow] {
		return readmodel.PutRows(e.EntityID, HistoryRow{Position: e.Position.String(), What: e.Data.MessageType(), At: e.RecordedAt})
	})},
})

// Plugin returns the plugin.
func Plugin() component.Plugin {
	return component.Plugin{
		Name: component.PlatformPlugin, Doc: "Tracks the plugins of the App.", Heartbeat: -1,
		Components: component.Definitions(plugin.Components{Registry, Plugins, History}),
	}
}
