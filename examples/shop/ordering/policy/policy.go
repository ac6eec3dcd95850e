// Package policy declares the automations, the side effect, the extension and the task of
// the plugin Ordering.
package policy

import (
	"time"

	"github.com/reventless-go/reventless/automation"
	"github.com/reventless-go/reventless/counter"
	"github.com/reventless-go/reventless/examples/shop/ordering/order"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/schedule"
)

// PaymentTime is the time in which an order must be paid.
const PaymentTime = 15 * time.Minute

// CancelUnpaid cancels an order that is not paid within [PaymentTime].
var CancelUnpaid = automation.New(automation.Spec{
	Name:  "CancelUnpaid",
	Doc:   "Cancels an order that is not paid in time.",
	Rules: automation.Rules{automation.On(order.Aggregate, watchPayment)},
	Sends: plugin.Components{order.Aggregate},
})

func watchPayment(e message.Event[order.Event]) message.Actions {
	switch e.Data.(type) {
	case order.Placed:
		deadline := schedule.At(e.RecordedAt.Add(PaymentTime))
		return message.Actions{schedule.Create(e.EntityID, deadline, order.Aggregate.To(e.EntityID, order.Expire{}))}
	case order.Paid, order.Cancelled:
		return message.Actions{schedule.Delete(e.EntityID)}
	case order.LineShipped, order.Completed:
	}
	return nil
}

// ShippedLines counts, for each order, the lines that were shipped.
var ShippedLines = counter.New(counter.Spec{
	Name: "ShippedLines",
	Doc:  "Counts the shipped lines of each order.",
})

// CompleteShipped completes an order when all its lines are shipped.
var CompleteShipped = automation.New(automation.Spec{
	Name: "CompleteShipped",
	Doc:  "Completes an order when all its lines are shipped.",
	Rules: automation.Rules{
		automation.On(order.Aggregate, countLines),
		automation.On(ShippedLines, completeOrder),
	},
	Sends: plugin.Components{ShippedLines, order.Aggregate},
})

func countLines(e message.Event[order.Event]) message.Actions {
	switch d := e.Data.(type) {
	case order.Paid:
		return message.Actions{ShippedLines.AddTarget(e.EntityID, e.Position.String(), int64(d.Lines))}
	case order.LineShipped:
		return message.Actions{ShippedLines.Count(e.EntityID, e.Position.String(), 1)}
	case order.Placed, order.Completed, order.Cancelled:
	}
	return nil
}

func completeOrder(e message.Event[counter.Finished]) message.Actions {
	return message.Actions{order.Aggregate.To(e.EntityID, order.Complete{})}
}
