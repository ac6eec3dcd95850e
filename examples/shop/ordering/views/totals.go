package views

import (
	"github.com/reventless-go/reventless/examples/shop/ordering/basket"
	"github.com/reventless-go/reventless/examples/shop/ordering/order"
	"github.com/reventless-go/reventless/examples/shop/ordering/returns"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/readmodel"
)

// The rows of CustomerTotals, ProductDemand and SalesByCountry are fed by many
// orders and returns, between which there is no order. So they are only ever
// added to: a cancelled order is taken back by adding the negative of what was
// added when it was placed.

// onOrder projects orders with add: with the sign 1 when one is placed, with -1
// when it is cancelled.
func onOrder[R any](add func(b basket.Basket, sign int64) readmodel.Changes[R]) func(message.Event[order.Event]) readmodel.Changes[R] {
	return func(e message.Event[order.Event]) readmodel.Changes[R] {
		switch d := e.Data.(type) {
		case order.Placed:
			return add(d.Basket, 1)
		case order.Cancelled:
			return add(d.Basket, -1)
		case order.Paid, order.LineShipped, order.Completed:
		}
		return nil
	}
}

func onReturn[R any](add func(basket.Basket) readmodel.Changes[R]) func(message.Event[returns.Event]) readmodel.Changes[R] {
	return func(e message.Event[returns.Event]) readmodel.Changes[R] {
		switch d := e.Data.(type) {
		case returns.Recorded:
			return add(d.Basket)
		}
		return nil
	}
}
