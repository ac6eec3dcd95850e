package views

import (
	"time"

	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/examples/shop/money"
	"github.com/reventless-go/reventless/examples/shop/ordering/order"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/readmodel"
)

// Order is a row of [Orders].
type Order struct {
	OrderID    string      `json:"orderId"`
	CustomerID string      `json:"customerId"`
	Status     Status      `json:"status"`
	Total      money.Pence `json:"total"`
	// Lines is how many lines the order has; they are in [OrderLines].
	Lines int32 `json:"lines"`
	// PlacedAt is in whole seconds of UTC, such that its text sorts like time.
	PlacedAt time.Time `json:"placedAt"`
}

// Status is the status of an order.
type Status string

// The values of Status.
const (
	Placed    Status = "placed"
	Paid      Status = "paid"
	Completed Status = "completed"
	Cancelled Status = "cancelled"
)

// Orders has all orders. They can be queried by customer, ordered by time.
var Orders = readmodel.New(readmodel.Spec[Order]{
	Name:        "Orders",
	Doc:         "The orders and their status.",
	Projections: readmodel.Projections[Order]{readmodel.On(order.Aggregate, projectOrder)},
	Indexes:     []readmodel.Index{{Name: "customerId", Key: "customerId", Sort: "placedAt"}},
	OwnRow:      true,
	Access:      access.Owner("customerId").Or(access.Roles(access.Admin)),
})

func projectOrder(e message.Event[order.Event]) readmodel.Changes[Order] {
	status := func(s Status) readmodel.Changes[Order] {
		return readmodel.Update(e.EntityID, func(r *Order) { r.Status = s })
	}
	switch d := e.Data.(type) {
	case order.Placed:
		return readmodel.Put(e.EntityID, Order{
			OrderID: e.EntityID, CustomerID: d.CustomerID, Status: Placed,
			Total: d.Total(), Lines: int32(len(d.Lines)), PlacedAt: e.RecordedAt.UTC().Truncate(time.Second),
		})
	case order.Paid:
		return status(Paid)
	case order.Completed:
		return status(Completed)
	case order.Cancelled:
		return status(Cancelled)
	case order.LineShipped:
	}
	return nil
}
