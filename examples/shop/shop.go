// Package shop is the example application of Reventless: a shop with two plugins, which
// together have every kind of component.
//
//   - catalog: the plugin Catalog, with the aggregates category and product, read models
//     (views), a task on files (imports) and an extension point (catalogapi)
//   - ordering: the plugin Ordering, with the aggregates customer, order, returns and
//     listing, read models (views), automations, a side effect, an extension and a task
//     (policy)
//   - money: sums in whole pence
//   - seed: fills the shop with a day of a real shop
//   - cmd: the programs: dev runs the shop in one process, lambda on AWS, and deploy
//     creates it there
package shop

import (
	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/examples/shop/catalog"
	"github.com/reventless-go/reventless/examples/shop/ordering"
)

// App returns the declaration of the shop, which a host runs.
func App() *reventless.App {
	return reventless.New("shop", catalog.Plugin, ordering.Plugin)
}
