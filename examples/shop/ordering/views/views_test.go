package views_test

import (
	"testing"
	"time"

	"github.com/reventless-go/reventless/examples/shop/ordering/basket"
	"github.com/reventless-go/reventless/examples/shop/ordering/order"
	"github.com/reventless-go/reventless/examples/shop/ordering/returns"
	"github.com/reventless-go/reventless/examples/shop/ordering/views"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/reventlesstest"
)

var (
	noon = time.Date(2026, time.May, 1, 12, 0, 0, 0, time.UTC)

	// 6 lanterns and a mug: £21.99.
	ada = basket.Basket{CustomerID: "ada", Country: "France", Lines: []basket.Line{
		{ProductID: "lantern", Quantity: 6, UnitPrice: 339},
		{ProductID: "mug", Quantity: 1, UnitPrice: 165},
	}}
	// 2 mugs: £3.30.
	bob = basket.Basket{CustomerID: "bob", Country: "France", Lines: []basket.Line{
		{ProductID: "mug", Quantity: 2, UnitPrice: 165},
	}}
)

func ordered(id string, events ...message.Typed) reventlesstest.Fact {
	return reventlesstest.Event(order.Aggregate, id, events...)
}

func returned(id string, b basket.Basket) reventlesstest.Fact {
	return reventlesstest.Event(returns.Aggregate, id, returns.Recorded{Basket: b})
}

func TestOrders(t *testing.T) {
	t.Parallel()
	row := views.Order{OrderID: "o1", CustomerID: "ada", Status: views.Placed, Total: 2199, Lines: 2, PlacedAt: noon}
	paid, completed, cancelled := row, row, row
	paid.Status, completed.Status, cancelled.Status = views.Paid, views.Completed, views.Cancelled
	reventlesstest.ReadModel(t, views.Orders).
		Given(ordered("o1", order.Placed{Basket: ada}).At(noon.Add(time.Second-1))).ThenRow("o1", row).
		Given(ordered("o1", order.Paid{Lines: 2})).ThenRow("o1", paid).
		Given(ordered("o1", order.LineShipped{ProductID: "mug"})).ThenRow("o1", paid).
		Given(ordered("o1", order.Completed{})).ThenRow("o1", completed).
		ThenRowCount(1)
	reventlesstest.ReadModel(t, views.Orders).
		Given(ordered("o1", order.Placed{Basket: ada}, order.Cancelled{Basket: ada}).At(noon)).ThenRow("o1", cancelled)
}

// The lines of a cancelled order stay, with what was shipped.
func TestOrderLinesOfACancelledOrder(t *testing.T) {
	t.Parallel()
	reventlesstest.ReadModel(t, views.OrderLines).
		Given(ordered("o1", order.Placed{Basket: ada}, order.LineShipped{ProductID: "mug"}, order.Cancelled{Basket: ada})).
		ThenRows("o1",
			views.OrderLine{OrderID: "o1", CustomerID: "ada", ProductID: "lantern", Quantity: 6, UnitPrice: 339},
			views.OrderLine{OrderID: "o1", CustomerID: "ada", ProductID: "mug", Quantity: 1, UnitPrice: 165, Shipped: true})
}

func TestCustomerTotals(t *testing.T) {
	t.Parallel()
	reventlesstest.ReadModel(t, views.CustomerTotals).
		Given(
			returned("r1", bob),
			ordered("o1", order.Placed{Basket: ada}, order.Paid{Lines: 2}),
			ordered("o2", order.Placed{Basket: ada}),
			ordered("o3", order.Placed{Basket: bob}),
		).
		Then(map[string]views.CustomerTotal{
			"ada": {CustomerID: "ada", Orders: 2, Spent: 2 * 2199},
			"bob": {CustomerID: "bob", Orders: 1, Spent: 330, Returns: 1, Returned: 330},
		}).
		Given(
			ordered("o1", order.LineShipped{ProductID: "mug"}, order.Cancelled{Basket: ada}),
			ordered("o3", order.Cancelled{Basket: bob}),
		).
		Then(map[string]views.CustomerTotal{
			"ada": {CustomerID: "ada", Orders: 1, Spent: 2199},
			"bob": {CustomerID: "bob", Returns: 1, Returned: 330},
		})
}

func TestProductDemand(t *testing.T) {
	t.Parallel()
	reventlesstest.ReadModel(t, views.ProductDemand).
		Given(
			ordered("o1", order.Placed{Basket: ada}),
			ordered("o2", order.Placed{Basket: bob}),
			returned("r1", bob),
		).
		Then(map[string]views.Demand{
			"lantern": {ProductID: "lantern", Sold: 6},
			"mug":     {ProductID: "mug", Sold: 3, Returned: 2},
		}).
		Given(ordered("o1", order.Cancelled{Basket: ada})).
		Then(map[string]views.Demand{
			"lantern": {ProductID: "lantern"},
			"mug":     {ProductID: "mug", Sold: 2, Returned: 2},
		})
}

func TestSalesByCountry(t *testing.T) {
	t.Parallel()
	spain := bob
	spain.Country = "Spain"
	reventlesstest.ReadModel(t, views.SalesByCountry).
		Given(
			ordered("o1", order.Placed{Basket: ada}, order.Paid{Lines: 2}),
			ordered("o2", order.Placed{Basket: bob}),
			ordered("o3", order.Placed{Basket: spain}),
			returned("r1", bob),
		).
		Then(map[string]views.CountrySales{
			"France": {Country: "France", Orders: 2, Revenue: 2199 + 330, Returned: 330},
			"Spain":  {Country: "Spain", Orders: 1, Revenue: 330},
		}).
		Given(ordered("o1", order.Cancelled{Basket: ada}), ordered("o3", order.Cancelled{Basket: spain})).
		Then(map[string]views.CountrySales{
			"France": {Country: "France", Orders: 1, Revenue: 330, Returned: 330},
			"Spain":  {Country: "Spain"},
		})
}
