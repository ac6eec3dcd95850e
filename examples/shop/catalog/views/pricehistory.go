package views

import (
	"time"

	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/examples/shop/catalog/product"
	"github.com/reventless-go/reventless/examples/shop/money"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/readmodel"
)

// Price is a row of [PriceHistory]: a price, and the time from which it applies.
type Price struct {
	// Position is the position of the event in its stream, as text. The rows of a
	// product sort by it, oldest first.
	Position string      `json:"position"`
	Price    money.Pence `json:"price"`
	At       time.Time   `json:"at"`
}

// PriceHistory contains all prices that a product has had, under the product's id.
var PriceHistory = readmodel.New(readmodel.Spec[Price]{
	Name:        "PriceHistory",
	Doc:         "All prices that a product has had, oldest first.",
	Projections: readmodel.Projections[Price]{readmodel.On(product.Aggregate, projectPrice)},
	SubID:       "position",
	Access:      access.Anyone,
})

func projectPrice(e message.Event[product.Event]) readmodel.Changes[Price] {
	switch d := e.Data.(type) {
	case product.Added:
		return readmodel.Put(e.EntityID, Price{e.Position.String(), d.Price, e.RecordedAt})
	case product.PriceChanged:
		return readmodel.Put(e.EntityID, Price{e.Position.String(), d.Price, e.RecordedAt})
	case product.Renamed, product.Discontinued:
	}
	return nil
}
