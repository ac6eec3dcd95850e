// Package message defines what commands and events are: their types, their envelopes,
// and the outcomes of commands.
//
// The commands and the events of an aggregate are closed sets of types. A set is
// declared over a sealed interface, so that the compiler knows which type belongs to
// which aggregate. Each type states its wire name itself: moving or renaming the Go
// type changes nothing that is stored.
//
//	type Event interface {
//		message.Typed
//		isEvent()
//	}
//
//	type Renamed struct {
//		Name string `json:"name"`
//	}
//
//	func (Renamed) MessageType() string { return "Renamed" }
//	func (Renamed) isEvent()            {}
//
//	var Events = message.NewSet[Event](Renamed{})
//
// # Changing a stored type
//
// Messages are stored as JSON. A field can be added at any time: it is zero in older
// messages. For a new wire name, the type implements [Aliaser] and keeps its old names.
// For any other change, the type implements [Versioned] and turns the old JSON into
// the new one. reventlesstest.Decode tests both.
package message
