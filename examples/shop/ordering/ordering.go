// Package ordering declares the plugin Ordering: customers, orders and returns.
package ordering

import (
	"github.com/reventless-go/reventless/examples/shop/ordering/customer"
	"github.com/reventless-go/reventless/examples/shop/ordering/listing"
	"github.com/reventless-go/reventless/examples/shop/ordering/order"
	"github.com/reventless-go/reventless/examples/shop/ordering/policy"
	"github.com/reventless-go/reventless/examples/shop/ordering/returns"
	"github.com/reventless-go/reventless/examples/shop/ordering/views"
	"github.com/reventless-go/reventless/plugin"
)

// Plugin is the ordering plugin.
var Plugin = plugin.New(plugin.Spec{
	Name: "Ordering",
	Doc:  "Customers, their orders and their returns.",
	Components: plugin.Components{
		customer.Aggregate, order.Aggregate, returns.Aggregate, listing.Aggregate,
		views.Orders, views.OrderLines, views.Listings,
		views.CustomerTotals, views.ProductDemand, views.SalesByCountry,
		policy.CancelUnpaid, policy.CompleteShipped, policy.ShippedLines,
		policy.CatalogListings, policy.OrderConfirmation, policy.Outbox,
		policy.DailySalesReport, policy.Reports,
	},
})
