package catalog

import (
	"github.com/reventless-go/reventless/examples/shop/catalog/catalogapi"
	"github.com/reventless-go/reventless/examples/shop/catalog/product"
	"github.com/reventless-go/reventless/extension"
	"github.com/reventless-go/reventless/message"
)

// offer publishes the public data of product events.
var offer = extension.NewOffer(catalogapi.Products,
	extension.Publish(catalogapi.Products, product.Aggregate, publish))

func publish(e message.Event[product.Event]) []catalogapi.Event {
	switch d := e.Data.(type) {
	case product.Added:
		return []catalogapi.Event{catalogapi.ProductListed{ProductID: e.EntityID, Name: d.Name, Price: d.Price}}
	case product.Renamed:
		return []catalogapi.Event{catalogapi.ProductRenamed{ProductID: e.EntityID, Name: d.Name}}
	case product.PriceChanged:
		return []catalogapi.Event{catalogapi.ProductPriceChanged{ProductID: e.EntityID, Price: d.Price}}
	case product.Discontinued:
		return []catalogapi.Event{catalogapi.ProductWithdrawn{ProductID: e.EntityID}}
	}
	return nil
}
