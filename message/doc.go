// Package message holds the envelopes of commands and events and the closed
// sets of types that an aggregate understands.
//
// A set is declared over a sealed interface; every member says its stable wire
// name itself, so that moving or renaming a Go type changes nothing that is
// stored:
//
//	type Event interface {
//		message.Typed
//		isEvent()
//	}
//
//	type Renamed struct{ Name string `json:"name"` }
//
//	func (Renamed) MessageType() string      { return "Renamed" }
//	func (Renamed) MessageAliases() []string { return []string{"NameChanged"} }
//	func (Renamed) isEvent()                 {}
//
//	var Events = message.NewSet[Event](Renamed{})
package message
