package basket_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/reventless-go/reventless/examples/shop/money"
	"github.com/reventless-go/reventless/examples/shop/ordering/basket"
)

func of(lines ...basket.Line) basket.Basket {
	return basket.Basket{CustomerID: "ada", Country: "France", Lines: lines}
}

func TestLinesOfOneProductBecomeOne(t *testing.T) {
	t.Parallel()
	given := of(basket.Line{"lantern", 2, 339}, basket.Line{"mug", 1, 165}, basket.Line{"lantern", 3, 339})
	got, err := given.Checked()
	if err != nil {
		t.Fatal(err)
	}
	if want := of(basket.Line{"lantern", 5, 339}, basket.Line{"mug", 1, 165}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, want := got.Total(), money.Pence(5*339+165); got != want {
		t.Errorf("total: got %v, want %v", got, want)
	}
	if got := given.Lines[0].Quantity; got != 2 {
		t.Errorf("the basket that was given has changed: got %d lanterns, want 2", got)
	}
}

func TestRejections(t *testing.T) {
	t.Parallel()
	const most = basket.MaxQuantity
	one := basket.Line{"lantern", 1, 339}
	for name, test := range map[string]struct {
		basket basket.Basket
		want   error
	}{
		"no lines":               {of(), basket.ErrEmpty},
		"none of a product":      {of(one, basket.Line{"mug", 0, 165}), basket.ErrInvalidQuantity},
		"fewer than none":        {of(one, basket.Line{"lantern", -1, 339}), basket.ErrInvalidQuantity},
		"too many":               {of(basket.Line{"lantern", most + 1, 0}), basket.ErrInvalidQuantity},
		"too many together":      {of(basket.Line{"lantern", most, 0}, basket.Line{"lantern", most, 0}), basket.ErrInvalidQuantity},
		"negative price":         {of(basket.Line{"lantern", 1, -1}), basket.ErrInvalidPrice},
		"price beyond reason":    {of(basket.Line{"lantern", 1, money.Max + 1}), basket.ErrInvalidPrice},
		"sum beyond reason":      {of(basket.Line{"lantern", 1, money.Max}, one), basket.ErrInvalidPrice},
		"largest sum of a line":  {of(basket.Line{"lantern", most, money.Max}), basket.ErrInvalidPrice},
		"two prices":             {of(one, basket.Line{"lantern", 1, 375}), basket.ErrInvalidPrice},
		"product without id":     {of(basket.Line{"", 1, 339}), basket.ErrInvalidID},
		"product with a bad id":  {of(basket.Line{"a\nb", 1, 339}), basket.ErrInvalidID},
		"customer without id":    {basket.Basket{Country: "France", Lines: []basket.Line{one}}, basket.ErrInvalidID},
		"customer with a bad id": {basket.Basket{CustomerID: strings.Repeat("a", 1025), Country: "France"}, basket.ErrInvalidID},
		"no country":             {basket.Basket{CustomerID: "ada", Lines: []basket.Line{one}}, basket.ErrInvalidID},
	} {
		if _, err := test.basket.Checked(); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
	}
}

func TestLimitsAreAllowed(t *testing.T) {
	t.Parallel()
	for _, b := range []basket.Basket{
		of(basket.Line{"lantern", basket.MaxQuantity, 0}),
		of(basket.Line{"lantern", 1, money.Max}),
		of(basket.Line{"lantern", 1, money.Max - 1}, basket.Line{"mug", 1, 1}),
	} {
		if _, err := b.Checked(); err != nil {
			t.Errorf("%v: %v", b, err)
		}
	}
}
