package main

import (
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/readmodel"

	. "github.com/reventless-go/reventless/internal/compiletest/testdata/order"
)

type Row struct{ Orders int }

var rows = readmodel.New(readmodel.Spec[Row]{
	Name: "Rows",
	Projections: readmodel.Projections[Row]{
		readmodel.On(Order, func(e message.Event[Event]) readmodel.Changes[Row] {
			return readmodel.Update(e.EntityID, func(r *Row) { r.Orders++ })
		}),
	},
})

func main() { _, _ = rows, Order.To("1", Place{}) }
