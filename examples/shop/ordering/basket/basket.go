// Package basket defines the contents of orders and returns.
package basket

import (
	"cmp"
	"fmt"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/examples/shop/money"
	"github.com/reventless-go/reventless/message"
)

// Basket is what a customer in a country buys or returns. Events contain the whole basket,
// so that projections need no other data.
type Basket struct {
	CustomerID string `json:"customerId"`
	Country    string `json:"country"`
	Lines      []Line `json:"lines"`
}

// Line is a quantity of a product with its price per piece.
type Line struct {
	ProductID string      `json:"productId"`
	Quantity  int32       `json:"quantity"`
	UnitPrice money.Pence `json:"unitPrice"`
}

// MaxQuantity is the maximum quantity of a product in a basket.
const MaxQuantity = 1_000_000

// The rejections.
var (
	ErrEmpty           = message.Reject("Empty")
	ErrInvalidID       = message.Reject("InvalidID")
	ErrInvalidQuantity = message.Reject("InvalidQuantity")
	ErrInvalidPrice    = message.Reject("InvalidPrice")
)

// Total returns the price of the line.
func (l Line) Total() money.Pence { return money.Pence(l.Quantity) * l.UnitPrice }

// Total returns the price of all lines.
func (b Basket) Total() money.Pence {
	var total money.Pence
	for _, l := range b.Lines {
		total += l.Total()
	}
	return total
}

// Checked returns the basket with one line per product, in the order of their first
// lines, or the rejection of an invalid basket.
func (b Basket) Checked() (Basket, error) {
	// Customers, countries and products are row ids.
	if err := cmp.Or(driver.CheckID("customer", b.CustomerID), driver.CheckID("country", b.Country)); err != nil {
		return Basket{}, message.Reject("InvalidID", err.Error())
	}
	if len(b.Lines) == 0 {
		return Basket{}, ErrEmpty
	}
	var merged []Line
	var total money.Pence
	place := make(map[string]int, len(b.Lines))
	for _, l := range b.Lines {
		if err := l.check(); err != nil {
			return Basket{}, err
		}
		i, known := place[l.ProductID]
		if !known {
			place[l.ProductID] = len(merged)
			merged = append(merged, l)
		} else {
			if merged[i].UnitPrice != l.UnitPrice {
				return Basket{}, message.Reject("InvalidPrice", fmt.Sprintf("product %q has two prices", l.ProductID))
			}
			merged[i].Quantity += l.Quantity
			if err := merged[i].check(); err != nil {
				return Basket{}, err
			}
		}
		if total += l.Total(); !total.Valid() {
			return Basket{}, message.Reject("InvalidPrice", fmt.Sprintf("the sum is more than %v", money.Max))
		}
	}
	b.Lines = merged
	return b, nil
}

func (l Line) check() error {
	err := driver.CheckID("product", l.ProductID)
	switch {
	case err != nil:
		return message.Reject("InvalidID", err.Error())
	case l.Quantity < 1 || l.Quantity > MaxQuantity:
		return message.Reject("InvalidQuantity", fmt.Sprintf("%d of product %q", l.Quantity, l.ProductID))
	case !l.UnitPrice.Valid():
		return message.Reject("InvalidPrice", fmt.Sprintf("%d for product %q", l.UnitPrice, l.ProductID))
	}
	return nil
}
