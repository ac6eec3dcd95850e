package views

import (
	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/examples/shop/ordering/basket"
	"github.com/reventless-go/reventless/examples/shop/ordering/order"
	"github.com/reventless-go/reventless/examples/shop/ordering/returns"
	"github.com/reventless-go/reventless/readmodel"
)

// Demand is a row of [ProductDemand], in pieces.
type Demand struct {
	ProductID string `json:"productId"`
	Sold      int64  `json:"sold"`
	Returned  int64  `json:"returned"`
}

// ProductDemand has the sold and returned pieces of each product.
var ProductDemand = readmodel.New(readmodel.Spec[Demand]{
	Name: "ProductDemand",
	Doc:  "The sold and returned pieces of each product, excluding cancelled orders.",
	Projections: readmodel.Projections[Demand]{
		readmodel.On(order.Aggregate, onOrder(productsOrdered)),
		readmodel.On(returns.Aggregate, onReturn(productsReturned)),
	},
	Access: access.Roles(access.Admin),
})

func productsOrdered(b basket.Basket, sign int64) readmodel.Changes[Demand] {
	return products(b, func(r *Demand, pieces int64) { r.Sold += sign * pieces })
}

func productsReturned(b basket.Basket) readmodel.Changes[Demand] {
	return products(b, func(r *Demand, pieces int64) { r.Returned += pieces })
}

func products(b basket.Basket, add func(r *Demand, pieces int64)) readmodel.Changes[Demand] {
	var changes readmodel.Changes[Demand]
	for _, l := range b.Lines {
		changes = append(changes, readmodel.UpdateOrCreate(l.ProductID, Demand{ProductID: l.ProductID},
			func(r *Demand) { add(r, int64(l.Quantity)) })...)
	}
	return changes
}
