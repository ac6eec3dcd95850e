package views

import (
	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/examples/shop/money"
	"github.com/reventless-go/reventless/examples/shop/ordering/basket"
	"github.com/reventless-go/reventless/examples/shop/ordering/order"
	"github.com/reventless-go/reventless/examples/shop/ordering/returns"
	"github.com/reventless-go/reventless/readmodel"
)

// CustomerTotal is a row of [CustomerTotals].
type CustomerTotal struct {
	CustomerID string      `json:"customerId"`
	Orders     int64       `json:"orders"`
	Spent      money.Pence `json:"spent"`
	Returns    int64       `json:"returns"`
	Returned   money.Pence `json:"returned"`
}

// CustomerTotals has the number and the value of each customer's orders and returns.
var CustomerTotals = readmodel.New(readmodel.Spec[CustomerTotal]{
	Name: "CustomerTotals",
	Doc:  "The total orders and returns of each customer, excluding cancelled orders.",
	Projections: readmodel.Projections[CustomerTotal]{
		readmodel.On(order.Aggregate, onOrder(customerOrdered)),
		readmodel.On(returns.Aggregate, onReturn(customerReturned)),
	},
	Access: access.Owner("customerId").Or(access.Roles(access.Admin)),
})

func customerOrdered(b basket.Basket, sign int64) readmodel.Changes[CustomerTotal] {
	return customer(b, func(r *CustomerTotal) {
		r.Orders += sign
		r.Spent += money.Pence(sign) * b.Total()
	})
}

func customerReturned(b basket.Basket) readmodel.Changes[CustomerTotal] {
	return customer(b, func(r *CustomerTotal) {
		r.Returns++
		r.Returned += b.Total()
	})
}

func customer(b basket.Basket, add func(*CustomerTotal)) readmodel.Changes[CustomerTotal] {
	return readmodel.UpdateOrCreate(b.CustomerID, CustomerTotal{CustomerID: b.CustomerID}, add)
}
