package main

import (
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/readmodel"
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

type Row struct{ Orders int }

var rows = readmodel.New(readmodel.Spec[Row]{
	Name: "Rows",
	Projections: readmodel.Projections[Row]{
		readmodel.On(order, func(e message.Event[Event]) readmodel.Changes[Row] {
			return readmodel.Update(e.EntityID, func(r *Row) { r.Orders++ })
		}),
	},
})

func main() { _, _ = rows, order.To("1", Place{}) }
