package product_test

import (
	"testing"

	"github.com/reventless-go/reventless/examples/shop/catalog/product"
	"github.com/reventless-go/reventless/examples/shop/money"
	"github.com/reventless-go/reventless/reventlesstest"
)

var lantern = product.Added{Name: "Lantern", Description: "White metal lantern", Price: 339}

func TestAdd(t *testing.T) {
	t.Parallel()
	reventlesstest.Aggregate(t, product.Aggregate).
		When(product.Add{Name: "Lantern", Price: -1}).ThenRejected("InvalidPrice", -1).
		When(product.Add{Name: "Lantern", Price: money.Max + 1}).ThenRejected("InvalidPrice").
		When(product.Add(lantern)).Then(lantern).
		When(product.Add(lantern)).ThenRejected("AlreadyExists")
}

func TestAddToCategory(t *testing.T) {
	t.Parallel()
	reventlesstest.Aggregate(t, product.Aggregate).
		When(product.Add{Name: "Lantern", CategoryID: new("light")}).
		Then(product.Added{Name: "Lantern", CategoryID: new("light")})
}

func TestRename(t *testing.T) {
	t.Parallel()
	reventlesstest.Aggregate(t, product.Aggregate).
		When(product.Rename{Name: "Lamp"}).ThenRejected("NotFound").
		Given(lantern).
		When(product.Rename{Name: "Lantern"}).ThenNothing().
		When(product.Rename{Name: "Lamp"}).Then(product.Renamed{Name: "Lamp"}).
		When(product.Rename{Name: "Lamp"}).ThenNothing().
		Given(product.Discontinued{}).
		When(product.Rename{Name: "Lamp"}).ThenRejected("Discontinued")
}

func TestChangePrice(t *testing.T) {
	t.Parallel()
	reventlesstest.Aggregate(t, product.Aggregate).
		When(product.ChangePrice{Price: 375}).ThenRejected("NotFound").
		Given(lantern).
		When(product.ChangePrice{Price: 339}).ThenNothing().
		When(product.ChangePrice{Price: -1}).ThenRejected("InvalidPrice", -1).
		When(product.ChangePrice{Price: 375}).Then(product.PriceChanged{Price: 375}).
		When(product.ChangePrice{Price: 375}).ThenNothing().
		When(product.ChangePrice{Price: 0}).Then(product.PriceChanged{Price: 0}).
		Given(product.Discontinued{}).
		When(product.ChangePrice{Price: 339}).ThenRejected("Discontinued")
}

func TestDiscontinue(t *testing.T) {
	t.Parallel()
	reventlesstest.Aggregate(t, product.Aggregate).
		When(product.Discontinue{}).ThenRejected("NotFound").
		Given(lantern).
		When(product.Discontinue{}).Then(product.Discontinued{}).
		When(product.Discontinue{}).ThenRejected("Discontinued").
		When(product.Add(lantern)).ThenRejected("AlreadyExists")
}

func TestHandles(t *testing.T) {
	t.Parallel()
	reventlesstest.Handles(t, product.Aggregate)
}
