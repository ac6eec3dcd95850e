package views_test

import (
	"testing"
	"time"

	"github.com/reventless-go/reventless/examples/shop/catalog/category"
	"github.com/reventless-go/reventless/examples/shop/catalog/product"
	"github.com/reventless-go/reventless/examples/shop/catalog/views"
	"github.com/reventless-go/reventless/reventlesstest"
)

func ofCategory(id string, events ...category.Event) reventlesstest.Fact {
	return reventlesstest.Events(category.Aggregate, id, events...)
}

func ofProduct(id string, events ...product.Event) reventlesstest.Fact {
	return reventlesstest.Events(product.Aggregate, id, events...)
}
