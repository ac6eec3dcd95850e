package views

import (
	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/examples/shop/money"
	"github.com/reventless-go/reventless/examples/shop/ordering/order"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/readmodel"
)

// OrderLine is a row of [OrderLines].
type OrderLine struct {
	OrderID    string      `json:"orderId"`
	CustomerID string      `json:"customerId"`
	ProductID  string      `json:"productId"`
	Quantity   int32       `json:"quantity"`
	UnitPrice  money.Pence `json:"unitPrice"`
	Shipped    bool        `json:"shipped"`
}

// OrderLines has the lines of each order, ordered by product.
var OrderLines = readmodel.New(readmodel.Spec[OrderLine]{
	Name:        "OrderLines",
	Doc:         "The lines of each order, and whether they are shipped.",
	Projections: readmodel.Projections[OrderLine]{readmodel.On(order.Aggregate, projectLine)},
	SubID:       "productId",
	Access:      access.Owner("customerId").Or(access.Roles(access.Admin)),
})

func projectLine(e message.Event[order.Event]) readmodel.Changes[OrderLine] {
	switch d := e.Data.(type) {
	case order.Placed:
		rows := make([]OrderLine, len(d.Lines))
		for i, l := range d.Lines {
			rows[i] = OrderLine{OrderID: e.EntityID, CustomerID: d.CustomerID, ProductID: l.ProductID, Quantity: l.Quantity, UnitPrice: l.UnitPrice}
		}
		return readmodel.PutRows(e.EntityID, rows...)
	case order.LineShipped:
		return readmodel.UpdateRow(e.EntityID, d.ProductID, func(r *OrderLine) { r.Shipped = true })
	case order.Paid, order.Completed, order.Cancelled:
	}
	return nil
}
