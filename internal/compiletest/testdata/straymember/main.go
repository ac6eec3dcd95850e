package main

import (
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
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
	Stray  struct{} // is neither
)

func (Place) MessageType() string  { return "Place" }
func (Placed) MessageType() string { return "Placed" }
func (Stray) MessageType() string  { return "Stray" }
func (Place) isCommand()           {}
func (Placed) isEvent()            {}

func declare(name string) *aggregate.Aggregate[struct{}, Command, Event] {
	return aggregate.New(aggregate.Spec[struct{}, Command, Event]{
		Name: name, Commands: message.NewSet[Command](Place{}), Events: message.NewSet[Event](Placed{}),
		Decide: func(struct{}, Command) ([]Event, error) { return []Event{Placed{}}, nil },
		Evolve: func(s struct{}, _ Event) struct{} { return s },
	})
}

var order = declare("Order")

var (
	commands = message.NewSet[Command](Place{}, Stray{}) // refused: missing method isCommand
	events   = message.NewSet[Event](Placed{}, Place{})  // refused: missing method isEvent
	pointer  = message.NewSet[Event](Placed{}, "Placed") // refused: missing method
)

func decide(struct{}, Command) ([]Event, error) {
	return []Event{Stray{}}, nil // refused: missing method isEvent
}

func main() { _ = plugin.Components{order} }
