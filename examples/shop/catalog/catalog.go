// Package catalog declares the plugin Catalog: the products that the shop sells, their
// categories and prices.
package catalog

import (
	"github.com/reventless-go/reventless/examples/shop/catalog/category"
	"github.com/reventless-go/reventless/examples/shop/catalog/imports"
	"github.com/reventless-go/reventless/examples/shop/catalog/product"
	"github.com/reventless-go/reventless/examples/shop/catalog/views"
	"github.com/reventless-go/reventless/plugin"
)

// Plugin is the catalog.
var Plugin = plugin.New(plugin.Spec{
	Name: "Catalog",
	Doc:  "What the shop sells.",
	Components: plugin.Components{
		category.Aggregate, product.Aggregate,
		views.Categories, views.Products, views.PriceHistory,
		imports.Bucket, imports.Task,
		offer,
	},
})
