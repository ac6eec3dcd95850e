package policy_test

import (
	"testing"
	"time"

	"github.com/reventless-go/reventless/counter"
	"github.com/reventless-go/reventless/examples/shop/ordering/basket"
	"github.com/reventless-go/reventless/examples/shop/ordering/order"
	"github.com/reventless-go/reventless/examples/shop/ordering/policy"
	"github.com/reventless-go/reventless/examples/shop/ordering/views"
	"github.com/reventless-go/reventless/reventlesstest"
	"github.com/reventless-go/reventless/schedule"
)

var (
	noon = time.Date(2026, time.May, 1, 12, 0, 0, 0, time.UTC)
	two  = basket.Basket{CustomerID: "ada", Country: "France", Lines: []basket.Line{
		{ProductID: "lantern", Quantity: 6, UnitPrice: 339},
		{ProductID: "mug", Quantity: 1, UnitPrice: 165},
	}}
	placed    = reventlesstest.Event(order.Aggregate, "o1", order.Placed{Basket: two}).At(noon)
	paid      = reventlesstest.Event(order.Aggregate, "o1", order.Paid{Lines: 2})
	shipped   = reventlesstest.Event(order.Aggregate, "o1", order.LineShipped{ProductID: "mug"})
	completed = reventlesstest.Event(order.Aggregate, "o1", order.Completed{})
	cancelled = reventlesstest.Event(order.Aggregate, "o1", order.Cancelled{Basket: two})
)

func TestCancelUnpaid(t *testing.T) {
	t.Parallel()
	deadline := schedule.At(noon.Add(15 * time.Minute))
	reventlesstest.Automation(t, policy.CancelUnpaid).
		When(placed).Then(schedule.Create("o1", deadline, order.Aggregate.To("o1", order.Expire{}))).
		When(paid).Then(schedule.Delete("o1")).
		When(shipped).ThenNothing().
		When(cancelled).Then(schedule.Delete("o1"))
	reventlesstest.Automation(t, policy.CancelUnpaid).
		When(completed).ThenNothing()
}

func TestCompleteShipped(t *testing.T) {
	t.Parallel()
	reventlesstest.Automation(t, policy.CompleteShipped).
		When(placed).ThenNothing().
		When(paid).Then(policy.ShippedLines.AddTarget("o1", "000000000002.0000", 2)).
		When(shipped).Then(policy.ShippedLines.Count("o1", "000000000003.0000", 1)).
		When(reventlesstest.Event(policy.ShippedLines, "o1", counter.Finished{Target: 2})).
		Then(order.Aggregate.To("o1", order.Complete{})).
		When(completed).ThenNothing().
		When(cancelled).ThenNothing()
}

func TestOrderConfirmation(t *testing.T) {
	t.Parallel()
	reventlesstest.SideEffect(t, policy.OrderConfirmation).
		When(placed).
		ThenFile(policy.Outbox, "o1.eml", "From: <orders@shop.example>\r\n"+
			"To: <ada@customers.shop.example>\r\n"+
			"Subject: Your order o1\r\n"+
			"Date: Fri, 01 May 2026 12:00:00 +0000\r\n"+
			"MIME-Version: 1.0\r\n"+
			"Content-Type: text/plain; charset=utf-8\r\n"+
			"Content-Transfer-Encoding: 8bit\r\n"+
			"\r\n"+
			"Thank you for your order.\r\n"+
			"\r\n"+
			"     6 x lantern             £3.39         £20.34\r\n"+
			"     1 x mug                 £1.65          £1.65\r\n"+
			"\r\n"+
			"Total £21.99\r\n").
		When(paid, shipped, completed).ThenNothing()
}

// Clients choose the ids. An id adds neither a folder to a path nor a header to a mail.
func TestOrderConfirmationOfOddIDs(t *testing.T) {
	t.Parallel()
	odd := two
	odd.CustomerID = `a"b, <eve@example.com>`
	reventlesstest.SideEffect(t, policy.OrderConfirmation).
		When(reventlesstest.Event(order.Aggregate, "../ö/1", order.Placed{Basket: odd})).
		ThenFileContains(policy.Outbox, "..%2F%C3%B6%2F1.eml",
			`To: <"a\"b, <eve@example.com>"@customers.shop.example>`+"\r\n",
			"Subject: =?utf-8?q?Your_order_../=C3=B6/1?=\r\n")
}

func TestDailySalesReport(t *testing.T) {
	t.Parallel()
	reventlesstest.Task(t, policy.DailySalesReport).
		Given(
			reventlesstest.Rows(views.SalesByCountry, "Spain", views.CountrySales{Country: "Spain", Orders: 1, Revenue: 330}),
			reventlesstest.Rows(views.SalesByCountry, "France", views.CountrySales{Country: "France", Orders: 2, Revenue: 2529, Returned: 330}),
		).
		WhenDue(noon).
		ThenFile(policy.Reports, "sales-2026-05-01.csv", "country,orders,revenue,returned\nFrance,2,2529,330\nSpain,1,330,0\n")
}
