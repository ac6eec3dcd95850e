package views

import (
	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/examples/shop/catalog/product"
	"github.com/reventless-go/reventless/examples/shop/money"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/readmodel"
)

// Product is a row of [Products].
type Product struct {
	ProductID    string      `json:"productId"`
	Name         string      `json:"name"`
	Price        money.Pence `json:"price"`
	CategoryID   *string     `json:"categoryId,omitempty"`
	Discontinued bool        `json:"discontinued"`
}

// Products has all products, including discontinued ones.
var Products = readmodel.New(readmodel.Spec[Product]{
	Name:        "Products",
	Doc:         "The products of the catalog.",
	Projections: readmodel.Projections[Product]{readmodel.On(product.Aggregate, projectProduct)},
	Indexes: []readmodel.Index{
		{Name: "categoryId", Key: "categoryId", Sort: "name"},
		{Name: "name", Key: "name"},
	},
	OwnRow: true,
	Access: access.Anyone,
})

func projectProduct(e message.Event[product.Event]) readmodel.Changes[Product] {
	switch d := e.Data.(type) {
	case product.Added:
		return readmodel.Put(e.EntityID, Product{
			ProductID: e.EntityID, Name: d.Name, Price: d.Price, CategoryID: d.CategoryID,
		})
	case product.Renamed:
		return readmodel.Update(e.EntityID, func(r *Product) { r.Name = d.Name })
	case product.PriceChanged:
		return readmodel.Update(e.EntityID, func(r *Product) { r.Price = d.Price })
	case product.Discontinued:
		return readmodel.Update(e.EntityID, func(r *Product) { r.Discontinued = true })
	}
	return nil
}
