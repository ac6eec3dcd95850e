package automation_test

import (
	"fmt"
	"time"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/automation"
	"github.com/reventless-go/reventless/counter"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/schedule"
)

type (
	msg    interface{ message.Typed }
	placed struct{ Parcels int }
	packed struct{ Parcel string }
	shut   struct{}
)

func (placed) MessageType() string { return "Placed" }
func (packed) MessageType() string { return "Packed" }
func (shut) MessageType() string   { return "Shut" }

var order = aggregate.New(aggregate.Spec[struct{}, msg, msg]{
	Name: "Order", Commands: message.NewSet[msg](placed{}, packed{}, shut{}), Events: message.NewSet[msg](placed{}, packed{}, shut{}),
	Decide: func(_ struct{}, c msg) ([]msg, error) { return []msg{c}, nil },
	Evolve: func(s struct{}, _ msg) struct{} { return s },
})

// Parcels are counted towards the number of the order; whichever comes first,
// all packed or a day gone, closes it.
func Example() {
	parcels := counter.New(counter.Spec{Name: "Parcels"})
	closing := automation.New(automation.Spec{
		Name: "CloseOrders",
		Rules: automation.Rules{
			automation.On(order, func(e message.Event[msg]) message.Actions {
				switch d := e.Data.(type) {
				case placed:
					return message.Actions{
						parcels.AddTarget(e.EntityID, "placed", int64(d.Parcels)),
						schedule.Create(e.EntityID, schedule.At(e.RecordedAt.Add(24*time.Hour)), order.To(e.EntityID, shut{})),
					}
				case packed:
					return message.Actions{parcels.Count(e.EntityID, d.Parcel, 1)}
				case shut:
					return message.Actions{schedule.Delete(e.EntityID)}
				}
				return nil
			}),
			automation.On(parcels, func(e message.Event[counter.Finished]) message.Actions {
				return message.Actions{order.To(e.EntityID, shut{})}
			}),
		},
		Sends: plugin.Components{parcels, order},
	})

	app := reventless.New("depot", plugin.New(plugin.Spec{
		Name: "Depot", Components: plugin.Components{order, parcels, closing},
	}))
	for _, c := range app.Topology().Plugins[0].Components {
		fmt.Println(c.Name, c.Sources, c.Targets)
	}
	// Output:
	// Depot.Order [] []
	// Depot.Parcels [] []
	// Depot.CloseOrders [{Depot.Order } {Depot.Parcels }] [Depot.Parcels Depot.Order]
}
