// Package catalogapi is what the plugin Catalog shows to other plugins. It is
// all of the catalog that they import.
package catalogapi

import (
	"github.com/reventless-go/reventless/examples/shop/money"
	"github.com/reventless-go/reventless/extension"
	"github.com/reventless-go/reventless/message"
)

// Event is the closed set of what the catalog tells about a product. The entity
// is the product.
//
//sumtype:decl
type Event interface {
	message.Typed
	isEvent()
}

// ProductListed says that a product can be ordered.
type ProductListed struct {
	ProductID string      `json:"productId"`
	Name      string      `json:"name"`
	Price     money.Pence `json:"price"`
}

// ProductRenamed says what a product is called from now on.
type ProductRenamed struct {
	ProductID string `json:"productId"`
	Name      string `json:"name"`
}

// ProductPriceChanged says what a product costs from now on.
type ProductPriceChanged struct {
	ProductID string      `json:"productId"`
	Price     money.Pence `json:"price"`
}

// ProductWithdrawn says that a product can no longer be ordered.
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

// Products is the extension point: what is on offer, for whoever wants to know.
var Products = extension.NewPoint(extension.PointSpec[extension.NoCommand, Event]{
	Name:   "PublicProducts",
	Doc:    "Which products are on offer, and at what price.",
	Events: message.NewSet[Event](ProductListed{}, ProductRenamed{}, ProductPriceChanged{}, ProductWithdrawn{}),
})
