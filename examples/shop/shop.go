// Package shop is the example application of Reventless: a shop with a catalog
// and an order book, two plugins that together use every component.
//
//   - money: sums in whole pence
//   - catalog: the plugin Catalog; category and product are its aggregates, views
//     its read models, imports a task on files, catalogapi what other plugins see
//   - ordering: the plugin Ordering; customer, order, returns and listing are its
//     aggregates, views its read models, policy what happens by itself
//   - seed: a day of a real shop, replayed through commands
//   - cmd: the programs that run the same App in different places
package shop

import (
	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/examples/shop/catalog"
	"github.com/reventless-go/reventless/examples/shop/ordering"
)

// App returns the shop. It is a declaration: nothing runs before a host is given it.
func App() *reventless.App {
	return reventless.New("shop", catalog.Plugin, ordering.Plugin)
}
