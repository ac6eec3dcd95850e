package views

import (
	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/examples/shop/money"
	"github.com/reventless-go/reventless/examples/shop/ordering/basket"
	"github.com/reventless-go/reventless/examples/shop/ordering/order"
	"github.com/reventless-go/reventless/examples/shop/ordering/returns"
	"github.com/reventless-go/reventless/readmodel"
)

// CountrySales is a row of [SalesByCountry].
type CountrySales struct {
	Country  string      `json:"country"`
	Orders   int64       `json:"orders"`
	Revenue  money.Pence `json:"revenue"`
	Returned money.Pence `json:"returned"`
}

// SalesByCountry has the sales of each country in total: few rows with many updates.
var SalesByCountry = readmodel.New(readmodel.Spec[CountrySales]{
	Name: "SalesByCountry",
	Doc:  "The total sales and returns of each country, excluding cancelled orders.",
	Projections: readmodel.Projections[CountrySales]{
		readmodel.On(order.Aggregate, onOrder(countryOrdered)),
		readmodel.On(returns.Aggregate, onReturn(countryReturned)),
	},
	Access: access.Roles(access.Admin),
})

func countryOrdered(b basket.Basket, sign int64) readmodel.Changes[CountrySales] {
	return country(b, func(r *CountrySales) {
		r.Orders += sign
		r.Revenue += money.Pence(sign) * b.Total()
	})
}

func countryReturned(b basket.Basket) readmodel.Changes[CountrySales] {
	return country(b, func(r *CountrySales) { r.Returned += b.Total() })
}

func country(b basket.Basket, add func(*CountrySales)) readmodel.Changes[CountrySales] {
	return readmodel.UpdateOrCreate(b.Country, CountrySales{Country: b.Country}, add)
}
