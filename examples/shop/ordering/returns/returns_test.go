package returns_test

import (
	"testing"

	"github.com/reventless-go/reventless/examples/shop/ordering/basket"
	"github.com/reventless-go/reventless/examples/shop/ordering/returns"
	"github.com/reventless-go/reventless/reventlesstest"
)

func TestRecord(t *testing.T) {
	t.Parallel()
	mugs := func(quantity int32) basket.Line {
		return basket.Line{ProductID: "mug", Quantity: quantity, UnitPrice: 165}
	}
	record := func(lines ...basket.Line) returns.Record {
		return returns.Record{CustomerID: "ada", Country: "France", Lines: lines}
	}
	reventlesstest.Aggregate(t, returns.Aggregate).
		When(record()).ThenRejected("Empty").
		When(record(mugs(-1))).ThenRejected("InvalidQuantity").
		When(record(mugs(1), mugs(2))).
		Then(returns.Recorded{Basket: basket.Basket{CustomerID: "ada", Country: "France", Lines: []basket.Line{mugs(3)}}}).
		When(record(mugs(1))).ThenRejected("AlreadyRecorded").
		When(record()).ThenRejected("AlreadyRecorded")
}

func TestHandles(t *testing.T) {
	t.Parallel()
	reventlesstest.Handles(t, returns.Aggregate)
}
