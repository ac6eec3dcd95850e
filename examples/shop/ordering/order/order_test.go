package order_test

import (
	"testing"

	"github.com/reventless-go/reventless/examples/shop/ordering/basket"
	"github.com/reventless-go/reventless/examples/shop/ordering/order"
	"github.com/reventless-go/reventless/reventlesstest"
)

var (
	two = basket.Basket{CustomerID: "ada", Country: "France", Lines: []basket.Line{
		{ProductID: "lantern", Quantity: 6, UnitPrice: 339},
		{ProductID: "mug", Quantity: 1, UnitPrice: 165},
	}}
	placed    = order.Placed{Basket: two}
	paid      = order.Paid{Lines: 2}
	cancelled = order.Cancelled{Reason: "changed my mind", Basket: two}
)

func shipped(productID string) order.LineShipped { return order.LineShipped{ProductID: productID} }

func TestFromPlacingToCompletion(t *testing.T) {
	t.Parallel()
	reventlesstest.Aggregate(t, order.Aggregate).
		When(order.Place(two)).Then(placed).
		When(order.Pay{}).Then(paid).
		When(order.ShipLine{ProductID: "mug"}).Then(shipped("mug")).
		When(order.Complete{}).ThenNothing().
		When(order.ShipLine{ProductID: "lantern"}).Then(shipped("lantern")).
		When(order.Complete{}).Then(order.Completed{})
}

func TestPlace(t *testing.T) {
	t.Parallel()
	lantern := func(quantity int32) basket.Line {
		return basket.Line{ProductID: "lantern", Quantity: quantity, UnitPrice: 339}
	}
	place := func(lines ...basket.Line) order.Place {
		return order.Place{CustomerID: "ada", Country: "France", Lines: lines}
	}
	reventlesstest.Aggregate(t, order.Aggregate).
		When(place()).ThenRejected("Empty").
		When(place(lantern(0))).ThenRejected("InvalidQuantity").
		When(place(lantern(3), lantern(-3))).ThenRejected("InvalidQuantity").
		When(place(lantern(1), lantern(2))).
		Then(order.Placed{Basket: basket.Basket{CustomerID: "ada", Country: "France", Lines: []basket.Line{lantern(3)}}}).
		When(order.Place(two)).ThenRejected("AlreadyPlaced").
		When(place()).ThenRejected("AlreadyPlaced")
}

func TestPay(t *testing.T) {
	t.Parallel()
	reventlesstest.Aggregate(t, order.Aggregate).
		When(order.Pay{}).ThenRejected("NotFound").
		Given(placed).
		When(order.Pay{}).Then(paid).
		When(order.Pay{}).ThenRejected("AlreadyPaid").
		Given(shipped("lantern"), shipped("mug"), order.Completed{}).
		When(order.Pay{}).ThenRejected("AlreadyPaid")
}

func TestShipLine(t *testing.T) {
	t.Parallel()
	ship := order.ShipLine{ProductID: "lantern"}
	reventlesstest.Aggregate(t, order.Aggregate).
		When(ship).ThenRejected("NotFound").
		Given(placed).
		When(ship).ThenRejected("NotPaid").
		Given(paid).
		When(order.ShipLine{ProductID: "clock"}).ThenRejected("UnknownLine", "clock").
		When(ship).Then(shipped("lantern")).
		When(ship).ThenRejected("AlreadyShipped", "lantern").
		Given(shipped("mug"), order.Completed{}).
		When(ship).ThenRejected("AlreadyShipped", "lantern")
}

func TestComplete(t *testing.T) {
	t.Parallel()
	reventlesstest.Aggregate(t, order.Aggregate).
		When(order.Complete{}).ThenRejected("NotFound").
		Given(placed).
		When(order.Complete{}).ThenRejected("NotPaid").
		Given(paid).
		When(order.Complete{}).ThenNothing().
		Given(shipped("lantern"), shipped("mug")).
		When(order.Complete{}).Then(order.Completed{}).
		When(order.Complete{}).ThenRejected("Completed")
}

func TestCancel(t *testing.T) {
	t.Parallel()
	cancel := order.Cancel{Reason: "changed my mind"}
	reventlesstest.Aggregate(t, order.Aggregate).
		When(cancel).ThenRejected("NotFound").
		Given(placed).
		When(cancel).Then(cancelled).
		When(cancel).ThenRejected("AlreadyCancelled")

	reventlesstest.Aggregate(t, order.Aggregate).
		Given(placed, paid, shipped("mug")).
		When(cancel).Then(cancelled)

	reventlesstest.Aggregate(t, order.Aggregate).
		Given(placed, paid, shipped("lantern"), shipped("mug"), order.Completed{}).
		When(cancel).ThenRejected("Completed")
}

func TestNothingHappensToACancelledOrder(t *testing.T) {
	t.Parallel()
	for _, c := range []order.Command{
		order.Pay{}, order.ShipLine{ProductID: "mug"}, order.Complete{}, order.Cancel{}, order.Expire{},
	} {
		reventlesstest.Aggregate(t, order.Aggregate).
			Given(placed, cancelled).
			When(c).ThenRejected("AlreadyCancelled").
			When(order.Place(two)).ThenRejected("AlreadyPlaced")
	}
}

func TestExpire(t *testing.T) {
	t.Parallel()
	reventlesstest.Aggregate(t, order.Aggregate).
		When(order.Expire{}).ThenRejected("NotFound").
		Given(placed).
		When(order.Expire{}).Then(order.Cancelled{Reason: "not paid in time", Basket: two})
}

// A payment that crosses the deadline wins.
func TestPaidOrderDoesNotExpire(t *testing.T) {
	t.Parallel()
	reventlesstest.Aggregate(t, order.Aggregate).
		Given(placed, paid).
		When(order.Expire{}).ThenRejected("AlreadyPaid").
		Given(shipped("lantern"), shipped("mug"), order.Completed{}).
		When(order.Expire{}).ThenRejected("AlreadyPaid")
}

func TestHandles(t *testing.T) {
	t.Parallel()
	reventlesstest.Handles(t, order.Aggregate)
}
