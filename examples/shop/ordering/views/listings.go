package views

import (
	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/examples/shop/money"
	"github.com/reventless-go/reventless/examples/shop/ordering/listing"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/readmodel"
)

// Listing is a row of [Listings].
type Listing struct {
	ProductID string      `json:"productId"`
	Name      string      `json:"name"`
	Price     money.Pence `json:"price"`
}

// Listings contains the products that can be ordered.
var Listings = readmodel.New(readmodel.Spec[Listing]{
	Name:        "Listings",
	Doc:         "The products that can be ordered.",
	Projections: readmodel.Projections[Listing]{readmodel.On(listing.Aggregate, projectListing)},
	OwnRow:      true,
	Access:      access.Anyone,
})

func projectListing(e message.Event[listing.Event]) readmodel.Changes[Listing] {
	switch d := e.Data.(type) {
	case listing.Listed:
		return readmodel.Put(e.EntityID, Listing{ProductID: e.EntityID, Name: d.Name, Price: d.Price})
	case listing.Renamed:
		return readmodel.Update(e.EntityID, func(r *Listing) { r.Name = d.Name })
	case listing.Repriced:
		return readmodel.Update(e.EntityID, func(r *Listing) { r.Price = d.Price })
	case listing.Withdrawn:
		return readmodel.Delete[Listing](e.EntityID)
	}
	return nil
}
