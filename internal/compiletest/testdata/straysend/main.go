package main

import (
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/automation"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"

	. "github.com/reventless-go/reventless/internal/compiletest/testdata/order"
)

var stock = aggregate.New(aggregate.Spec[struct{}, Stray, Placed]{
	Name: "Stock", Commands: message.NewSet(Stray{}), Events: message.NewSet(Placed{}),
	Decide: func(struct{}, Stray) ([]Placed, error) { return nil, nil },
	Evolve: func(s struct{}, _ Placed) struct{} { return s },
})

var restock = automation.New(automation.Spec{
	Name: "Restock",
	Rules: automation.Rules{automation.On(Order, func(e message.Event[Event]) message.Actions {
		return message.Actions{
			stock.To(e.EntityID, Place{}),  // refused: cannot use
			Order.To(e.EntityID, Stray{}),  // refused: missing method isCommand
			Order.To(e.EntityID, Placed{}), // refused: missing method isCommand
			stock.To(e.EntityID, Stray{}),
		}
	})},
	Sends: plugin.Components{stock, Order},
})

type pretender struct{}

func (pretender) Definition() int { return 0 }

var _ = plugin.Components{pretender{}} // refused: wrong type for method Definition

func main() {}
