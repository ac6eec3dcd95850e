package readmodel_test

import (
	"fmt"
	"time"

	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/readmodel"
)

type (
	order  interface{ message.Typed }
	placed struct{ Customer, Country string }
)

func (placed) MessageType() string { return "Placed" }

var orders = aggregate.New(aggregate.Spec[struct{}, order, order]{
	Name: "Order", Commands: message.NewSet[order](placed{}), Events: message.NewSet[order](placed{}),
	Decide: func(_ struct{}, c order) ([]order, error) { return []order{c}, nil },
	Evolve: func(s struct{}, _ order) struct{} { return s },
})

type sales struct {
	Country string `json:"country"`
	Orders  int    `json:"orders"`
}

// Events of many orders change one row. Additions commute, so the order across streams
// does not matter.
func Example() {
	byCountry := readmodel.New(readmodel.Spec[sales]{
		Name: "SalesByCountry",
		Projections: readmodel.Projections[sales]{
			readmodel.On(orders, func(e message.Event[order]) readmodel.Changes[sales] {
				p := e.Data.(placed)
				return readmodel.UpdateOrCreate(p.Country, sales{Country: p.Country}, func(r *sales) { r.Orders++ })
			}),
		},
		Indexes: []readmodel.Index{{Name: "byOrders", Key: "country", Sort: "orders"}},
		Expires: func(sales) time.Time { return time.Time{} }, // never
	})
	fmt.Println(byCountry.Spec().Name, len(byCountry.Spec().Projections))

	defer func() { fmt.Println(recover()) }()
	readmodel.New(readmodel.Spec[sales]{
		Name: "Broken", Projections: byCountry.Spec().Projections,
		Indexes: []readmodel.Index{{Name: "byCity", Key: "city"}},
	})
	// Output:
	// SalesByCountry 1
	// read model Broken: index byCity: key "city" is not a field of readmodel_test.sales
}
