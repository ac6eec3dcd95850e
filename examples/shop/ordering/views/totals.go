package views

import (
	"github.com/reventless-go/reventless/examples/shop/ordering/basket"
	"github.com/reventless-go/reventless/examples/shop/ordering/order"
	"github.com/reventless-go/reventless/examples/shop/ordering/returns"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/readmodel"
)

// The rows of CustomerTotals, ProductDemand and SalesByCountry depend on many orders and
// returns, whose events have no order. So projections only add to them: for a cancelled
// order they add the negative of what they added when it was placed.

// onOrder returns a projection that calls add with the sign 1 when an order is placed and
// -1 when it is cancelled.
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
