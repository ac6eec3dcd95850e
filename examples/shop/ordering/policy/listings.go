package policy

import (
	"github.com/reventless-go/reventless/examples/shop/catalog/catalogapi"
	"github.com/reventless-go/reventless/examples/shop/ordering/listing"
	"github.com/reventless-go/reventless/extension"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
)

// CatalogListings keeps the listings in step with the catalog.
var CatalogListings = extension.New(catalogapi.Products, extension.Spec[catalogapi.Event]{
	Name:  "CatalogListings",
	Doc:   "Keeps the listings in step with the catalog.",
	React: follow,
	Sends: plugin.Components{listing.Aggregate},
})

func follow(e message.Event[catalogapi.Event]) message.Actions {
	switch d := e.Data.(type) {
	case catalogapi.ProductListed:
		return message.Actions{listing.Aggregate.To(d.ProductID, listing.List{Name: d.Name, Price: d.Price})}
	case catalogapi.ProductRenamed:
		return message.Actions{listing.Aggregate.To(d.ProductID, listing.Rename{Name: d.Name})}
	case catalogapi.ProductPriceChanged:
		return message.Actions{listing.Aggregate.To(d.ProductID, listing.Reprice{Price: d.Price})}
	case catalogapi.ProductWithdrawn:
		return message.Actions{listing.Aggregate.To(d.ProductID, listing.Withdraw{})}
	}
	return nil
}
