// Package catalogapi declares the extension point of the plugin Catalog: the only package
// of the catalog that other plugins import.
package catalogapi

import (
	"github.com/reventless-go/reventless/examples/shop/money"
	"github.com/reventless-go/reventless/extension"
	"github.com/reventless-go/reventless/message"
)

// Event is the closed set of public events. Their entity is the product.
//
//sumtype:decl
type Event interface {
	message.Typed
	isEvent()
}

// ProductListed happens when a product can be ordered.
type ProductListed struct {
	ProductID string      `json:"productId"`
	Name      string      `json:"name"`
	Price     money.Pence `json:"price"`
}

// ProductRenamed happens when a product gets a new name.
type ProductRenamed struct {
	ProductID string `json:"productId"`
	Name      string `json:"name"`
}

// ProductPriceChanged happens when a product gets a new price.
type ProductPriceChanged struct {
	ProductID string      `json:"productId"`
	Price     money.Pence `json:"price"`
}

// ProductWithdrawn happens when a product can no longer be ordered.
type ProductWithdrawn struct {
	ProductID string `json:"productId"`
}

func (ProductListed) MessageType() string       { return "ProductListed" }
func (ProductRenamed) MessageType() string      { return "ProductRenamed" }
func (ProductPriceChanged) MessageType() string { return "ProductPriceChanged" }
func (ProductWithdrawn) MessageType() string    { return "ProductWithdrawn" }

func (ProductListed) isEvent()       {}
func (ProductRenamed) isEvent()      {}
func (ProductPriceChanged) isEvent() {}
func (ProductWithdrawn) isEvent()    {}

// Products is the extension point: the products that can be ordered.
var Products = extension.NewPoint(extension.PointSpec[extension.NoCommand, Event]{
	Name:   "PublicProducts",
	Doc:    "The products that can be ordered, and their prices.",
	Events: message.NewSet[Event](ProductListed{}, ProductRenamed{}, ProductPriceChanged{}, ProductWithdrawn{}),
})
