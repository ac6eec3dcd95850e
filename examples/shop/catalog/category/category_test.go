package category_test

import (
	"testing"

	"github.com/reventless-go/reventless/examples/shop/catalog/category"
	"github.com/reventless-go/reventless/reventlesstest"
)

func TestAdd(t *testing.T) {
	t.Parallel()
	reventlesstest.Aggregate(t, category.Aggregate).
		When(category.Add{Name: "Toys"}).Then(category.Added{Name: "Toys"}).
		When(category.Add{Name: "Toys"}).ThenRejected("AlreadyExists")
}

func TestRename(t *testing.T) {
	t.Parallel()
	reventlesstest.Aggregate(t, category.Aggregate).
		When(category.Rename{Name: "Games"}).ThenRejected("NotFound").
		Given(category.Added{Name: "Toys"}).
		When(category.Rename{Name: "Toys"}).ThenNothing().
		When(category.Rename{Name: "Games"}).Then(category.Renamed{Name: "Games"}).
		When(category.Rename{Name: "Games"}).ThenNothing().
		Given(category.Archived{}).
		When(category.Rename{Name: "Toys"}).ThenRejected("AlreadyArchived").
		When(category.Rename{Name: "Games"}).ThenRejected("AlreadyArchived")
}

func TestArchive(t *testing.T) {
	t.Parallel()
	reventlesstest.Aggregate(t, category.Aggregate).
		When(category.Archive{}).ThenRejected("NotFound").
		Given(category.Added{Name: "Toys"}).
		When(category.Archive{}).Then(category.Archived{}).
		When(category.Archive{}).ThenNothing().
		When(category.Add{Name: "Toys"}).ThenRejected("AlreadyExists")
}

func TestHandles(t *testing.T) {
	t.Parallel()
	reventlesstest.Handles(t, category.Aggregate)
}
