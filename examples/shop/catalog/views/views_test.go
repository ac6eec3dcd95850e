package views_test

import (
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/examples/shop/catalog/category"
	"github.com/reventless-go/reventless/examples/shop/catalog/product"
	"github.com/reventless-go/reventless/examples/shop/catalog/views"
	"github.com/reventless-go/reventless/reventlesstest"
)

var (
	noon    = time.Date(2026, time.May, 1, 12, 0, 0, 0, time.UTC)
	lantern = product.Added{Name: "Lantern", Description: "White metal lantern", Price: 339, CategoryID: new("light")}
	mug     = product.Added{Name: "Mug", Price: 165}
)

func TestCategories(t *testing.T) {
	t.Parallel()
	reventlesstest.ReadModel(t, views.Categories).
		Given(
			reventlesstest.Event(category.Aggregate, "light", category.Added{Name: "Lamps"}),
			reventlesstest.Event(category.Aggregate, "toys", category.Added{Name: "Toys"}),
		).
		Then(map[string]views.Category{
			"light": {CategoryID: "light", Name: "Lamps"},
			"toys":  {CategoryID: "toys", Name: "Toys"},
		}).
		Given(
			reventlesstest.Event(category.Aggregate, "light", category.Renamed{Name: "Light"}),
			reventlesstest.Event(category.Aggregate, "toys", category.Archived{}),
		).
		Then(map[string]views.Category{
			"light": {CategoryID: "light", Name: "Light"},
			"toys":  {CategoryID: "toys", Name: "Toys", Archived: true},
		})
}

func TestProducts(t *testing.T) {
	t.Parallel()
	reventlesstest.ReadModel(t, views.Products).
		Given(
			reventlesstest.Event(product.Aggregate, "lantern", lantern),
			reventlesstest.Event(product.Aggregate, "mug", mug),
		).
		Then(map[string]views.Product{
			"lantern": {ProductID: "lantern", Name: "Lantern", Price: 339, CategoryID: new("light")},
			"mug":     {ProductID: "mug", Name: "Mug", Price: 165},
		}).
		Given(
			reventlesstest.Event(product.Aggregate, "lantern", product.PriceChanged{Price: 375}, product.Renamed{Name: "Lamp"}),
			reventlesstest.Event(product.Aggregate, "mug", product.Discontinued{}),
		).
		Then(map[string]views.Product{
			"lantern": {ProductID: "lantern", Name: "Lamp", Price: 375, CategoryID: new("light")},
			"mug":     {ProductID: "mug", Name: "Mug", Price: 165, Discontinued: true},
		})
}

// The events of a product are projected in order, so a change of a missing row is an
// error.
func TestChangeOfAMissingRow(t *testing.T) {
	t.Parallel()
	reventlesstest.ReadModel(t, views.Products).
		Given(reventlesstest.Event(product.Aggregate, "mug", product.Renamed{Name: "Cup"})).
		ThenError(driver.ErrNotFound)
}
