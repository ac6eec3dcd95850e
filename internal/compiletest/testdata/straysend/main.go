package main

import (
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/automation"
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

var stock = aggregate.New(aggregate.Spec[struct{}, Stray, Placed]{
	Name: "Stock", Commands: message.NewSet(Stray{}), Events: message.NewSet(Placed{}),
	Decide: func(struct{}, Stray) ([]Placed, error) { return nil, nil },
	Evolve: func(s struct{}, _ Placed) struct{} { return s },
})

var restock = automation.New(automation.Spec{
	Name: "Restock",
	Rules: automation.Rules{automation.On(order, func(e message.Event[Event]) message.Actions {
		return message.Actions{
			stock.To(e.EntityID, Place{}),  // refused: cannot use
			order.To(e.EntityID, Stray{}),  // refused: missing method isCommand
			order.To(e.EntityID, Placed{}), // refused: missing method isCommand
			stock.To(e.EntityID, Stray{}),
		}
	})},
	Sends: plugin.Components{stock, order},
})

type pretender struct{}

func (pretender) Definition() int { return 0 }

var _ = plugin.Components{pretender{}} // refused: wrong type for method Definition

func main() {}
