// Package order is the aggregate that the programs beside it use.
package order

import (
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/message"
)

type Command interface {
	message.Typed
	isCommand()
}

type Event interface {
	message.Typed
	isEvent()
}

type (
	Place  struct{}
	Placed struct{}
	Stray  struct{} // neither a command nor an event
)

func (Place) MessageType() string  { return "Place" }
func (Placed) MessageType() string { return "Placed" }
func (Stray) MessageType() string  { return "Stray" }
func (Place) isCommand()           {}
func (Placed) isEvent()            {}

var Order = aggregate.New(aggregate.Spec[struct{}, Command, Event]{
	Name: "Order", Commands: message.NewSet[Command](Place{}), Events: message.NewSet[Event](Placed{}),
	Decide: func(struct{}, Command) ([]Event, error) { return []Event{Placed{}}, nil },
	Evolve: func(s struct{}, _ Event) struct{} { return s },
})
