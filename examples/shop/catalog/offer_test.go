package catalog

import (
	"testing"

	"github.com/reventless-go/reventless/examples/shop/catalog/catalogapi"
	"github.com/reventless-go/reventless/examples/shop/catalog/product"
	"github.com/reventless-go/reventless/reventlesstest"
)

func TestOffer(t *testing.T) {
	t.Parallel()
	reventlesstest.Offer(t, offer).
		When(reventlesstest.Event(product.Aggregate, "mug", product.Added{Name: "Mug", Description: "A mug", Price: 165})).
		ThenPublishes(catalogapi.ProductListed{ProductID: "mug", Name: "Mug", Price: 165}).
		When(reventlesstest.Event(product.Aggregate, "mug", product.Renamed{Name: "Cup"})).
		ThenPublishes(catalogapi.ProductRenamed{ProductID: "mug", Name: "Cup"}).
		When(reventlesstest.Event(product.Aggregate, "mug", product.PriceChanged{Price: 185})).
		ThenPublishes(catalogapi.ProductPriceChanged{ProductID: "mug", Price: 185}).
		When(reventlesstest.Event(product.Aggregate, "mug", product.Discontinued{})).
		ThenPublishes(catalogapi.ProductWithdrawn{ProductID: "mug"})
}
