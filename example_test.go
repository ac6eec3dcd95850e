package reventless_test

import (
	"context"
	"fmt"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/automation"
	"github.com/reventless-go/reventless/counter"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/readmodel"
)

type exampleCommand interface{ message.Typed }

type exampleEvent interface{ message.Typed }

type place struct {
	Parcels int `json:"parcels"`
}

type finish struct{}

type placed struct {
	Parcels int `json:"parcels"`
}

type finished struct{}

func (place) MessageType() string    { return "Place" }
func (finish) MessageType() string   { return "Finish" }
func (placed) MessageType() string   { return "Placed" }
func (finished) MessageType() string { return "Finished" }

type order struct{ Placed, Finished bool }

var orders = aggregate.New(aggregate.Spec[order, exampleCommand, exampleEvent]{
	Name:     "Order",
	Commands: message.NewSet[exampleCommand](place{}, finish{}),
	Events:   message.NewSet[exampleEvent](placed{}, finished{}),
	Decide: func(s order, c exampleCommand) ([]exampleEvent, error) {
		switch c := c.(type) {
		case place:
			if s.Placed {
				return nil, message.Reject("AlreadyPlaced")
			}
			return []exampleEvent{placed(c)}, nil
		case finish:
			if !s.Finished {
				return []exampleEvent{finished{}}, nil
			}
		}
		return nil, nil
	},
	Evolve: func(s order, e exampleEvent) order {
		switch e.(type) {
		case placed:
			s.Placed = true
		case finished:
			s.Finished = true
		}
		return s
	},
})

type openOrder struct {
	OrderID string `json:"orderId"`
	Parcels int    `json:"parcels"`
}

var openOrders = readmodel.New(readmodel.Spec[openOrder]{
	Name:   "OpenOrders",
	OwnRow: true,
	Projections: readmodel.Projections[openOrder]{
		readmodel.On(orders, func(e message.Event[exampleEvent]) readmodel.Changes[openOrder] {
			switch d := e.Data.(type) {
			case placed:
				return readmodel.Put(e.EntityID, openOrder{e.EntityID, d.Parcels})
			case finished:
				return readmodel.Delete[openOrder](e.EntityID)
			}
			return nil
		}),
	},
})

var parcels = counter.New(counter.Spec{Name: "Parcels"})

var countParcels = automation.New(automation.Spec{
	Name: "CountParcels",
	Rules: automation.Rules{automation.On(orders, func(e message.Event[exampleEvent]) message.Actions {
		if p, ok := e.Data.(placed); ok {
			return message.Actions{parcels.AddTarget(e.EntityID, "order", int64(p.Parcels))}
		}
		return nil
	})},
	Sends: plugin.Components{parcels},
})

var finishOrders = automation.New(automation.Spec{
	Name: "FinishOrders",
	Rules: automation.Rules{automation.On(parcels, func(e message.Event[counter.Finished]) message.Actions {
		return message.Actions{orders.To(e.EntityID, finish{})}
	})},
	Sends: plugin.Components{orders},
})

var mails = automation.NewSideEffect(automation.SideEffectSpec{
	Name: "Mails",
	Effects: automation.Effects{automation.Do(orders, func(_ context.Context, env plugin.Env, e message.Event[exampleEvent]) error {
		_ = env.IdempotencyKey() // goes with the request, so that a repetition sends no second mail
		return nil
	})},
})

// An App is inert: here it is only described.
func ExampleApp_Topology() {
	app := reventless.New("depot", plugin.New(plugin.Spec{
		Name:       "Depot",
		Components: plugin.Components{orders, openOrders, parcels, countParcels, finishOrders, mails},
	}))
	for _, c := range app.Topology().Plugins[0].Components {
		fmt.Println(c.Kind, c.Name, c.Sources, c.Targets)
	}
	// Output:
	// Aggregate Depot.Order [] []
	// ReadModel Depot.OpenOrders [{Depot.Order }] []
	// Counter Depot.Parcels [] []
	// Automation Depot.CountParcels [{Depot.Order }] [Depot.Parcels]
	// Automation Depot.FinishOrders [{Depot.Parcels }] [Depot.Order]
	// SideEffect Depot.Mails [{Depot.Order }] []
}
