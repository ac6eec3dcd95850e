package shop_test

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/examples/shop"
	"github.com/reventless-go/reventless/examples/shop/catalog/category"
	"github.com/reventless-go/reventless/examples/shop/catalog/imports"
	"github.com/reventless-go/reventless/examples/shop/catalog/product"
	catalogviews "github.com/reventless-go/reventless/examples/shop/catalog/views"
	"github.com/reventless-go/reventless/examples/shop/ordering/basket"
	"github.com/reventless-go/reventless/examples/shop/ordering/order"
	"github.com/reventless-go/reventless/examples/shop/ordering/policy"
	"github.com/reventless-go/reventless/examples/shop/ordering/views"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/readmodel"
	"github.com/reventless-go/reventless/reventlesstest"
	"github.com/reventless-go/reventless/task"
)

// accept sends commands that must be accepted and waits until the App is idle.
func accept(t *testing.T, app *reventlesstest.App, sends ...message.Send) {
	t.Helper()
	for _, s := range sends {
		if o := app.Send(s); o.Kind != driver.Accepted {
			t.Fatalf("got %+v, want it accepted", o)
		}
	}
	app.WaitIdle()
}

func place(id string) message.Send {
	return order.Aggregate.To(id, order.Place{CustomerID: "ada", Country: "France", Lines: []basket.Line{
		{ProductID: "lantern", Quantity: 6, UnitPrice: 339},
		{ProductID: "mug", Quantity: 1, UnitPrice: 165},
	}})
}

func wantStatus(t *testing.T, app *reventlesstest.App, id string, want views.Status) {
	t.Helper()
	row, _, err := views.Orders.Open(app.Env()).Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if row.Status != want {
		t.Errorf("order %s: got status %q, want %q", id, row.Status, want)
	}
}

func wantFile(t *testing.T, app *reventlesstest.App, bucket *task.Bucket, key, want string) {
	t.Helper()
	file, err := bucket.Open(app.Env()).Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(file)
	if err := errors.Join(err, file.Close()); err != nil || string(got) != want {
		t.Errorf("file %s: got %q, %v, want %q", key, got, err, want)
	}
}

func TestUnpaidOrderIsCancelled(t *testing.T) {
	t.Parallel()
	app := reventlesstest.Start(t, shop.App())
	accept(t, app, place("unpaid"), place("paid"))
	app.Advance(14 * time.Minute)
	accept(t, app, order.Aggregate.To("paid", order.Pay{}))
	wantStatus(t, app, "unpaid", views.Placed)
	app.Advance(time.Minute)
	wantStatus(t, app, "unpaid", views.Cancelled)
	wantStatus(t, app, "paid", views.Paid)

	row, _, err := views.CustomerTotals.Open(app.Env()).Get(t.Context(), "ada")
	if want := (views.CustomerTotal{CustomerID: "ada", Orders: 1, Spent: 2199}); err != nil || row != want {
		t.Errorf("totals: got %+v, %v, want %+v", row, err, want)
	}
}

func TestOrderIsCompletedWithItsLastLine(t *testing.T) {
	t.Parallel()
	app := reventlesstest.Start(t, shop.App())
	accept(t, app, place("o1"), order.Aggregate.To("o1", order.Pay{}))
	accept(t, app, order.Aggregate.To("o1", order.ShipLine{ProductID: "mug"}))
	wantStatus(t, app, "o1", views.Paid)
	accept(t, app, order.Aggregate.To("o1", order.ShipLine{ProductID: "lantern"}))
	wantStatus(t, app, "o1", views.Completed)
}

func TestShelfFollowsCatalog(t *testing.T) {
	t.Parallel()
	app := reventlesstest.Start(t, shop.App())
	listing := func() (views.Listing, bool) {
		row, ok, err := views.Listings.Open(app.Env()).Get(t.Context(), "mug")
		if err != nil {
			t.Fatal(err)
		}
		return row, ok
	}
	accept(t, app,
		product.Aggregate.To("mug", product.Add{Name: "Mug", Price: 165}),
		product.Aggregate.To("mug", product.Rename{Name: "Cup"}),
		product.Aggregate.To("mug", product.ChangePrice{Price: 185}))
	if got, _ := listing(); got != (views.Listing{ProductID: "mug", Name: "Cup", Price: 185}) {
		t.Errorf("got %+v", got)
	}
	accept(t, app, product.Aggregate.To("mug", product.Discontinue{}))
	if got, ok := listing(); ok {
		t.Errorf("got %+v, want it withdrawn", got)
	}
}

func TestImport(t *testing.T) {
	t.Parallel()
	app := reventlesstest.Start(t, shop.App())
	file := "productId,name,description,price\nmug,Mug,A mug,165\nlantern,Lantern,\"A lantern,339\nbell,Bell,A bell,95\n"
	if err := imports.Bucket.Open(app.Env()).Put(t.Context(), "new.csv", strings.NewReader(file)); err != nil {
		t.Fatal(err)
	}
	app.WaitIdle()
	wantFile(t, app, imports.Bucket, "new.csv.result.txt",
		"rows imported: 2, refused: 1\nline 3: at byte 31: a quote is not closed, or not followed by a comma\n")
	for id, want := range map[string]bool{"mug": true, "lantern": false, "bell": true} {
		if _, ok, err := catalogviews.Products.Open(app.Env()).Get(t.Context(), id); err != nil || ok != want {
			t.Errorf("product %s: got %v, %v, want %v", id, ok, err, want)
		}
	}
}

func TestDailySalesReport(t *testing.T) {
	t.Parallel()
	app := reventlesstest.Start(t, shop.App())
	accept(t, app, place("o1"), order.Aggregate.To("o1", order.Pay{}))
	app.Advance(24 * time.Hour)
	key := "sales-" + app.Now().Format(time.DateOnly) + ".csv"
	wantFile(t, app, policy.Reports, key, "country,orders,revenue,returned\nFrance,1,2199,0\n")
}

func TestIndexes(t *testing.T) {
	t.Parallel()
	app := reventlesstest.Start(t, shop.App())
	accept(t, app,
		category.Aggregate.To("light", category.Add{Name: "Light"}),
		product.Aggregate.To("p1", product.Add{Name: "Lantern", CategoryID: new("light")}),
		product.Aggregate.To("p2", product.Add{Name: "Candle", CategoryID: new("light")}),
		product.Aggregate.To("p3", product.Add{Name: "Mug"}))
	accept(t, app, place("o2"))
	app.Advance(time.Minute)
	accept(t, app, place("o1"))

	products := catalogviews.Products.Open(app.Env())
	orders := views.Orders.Open(app.Env())
	for name, test := range map[string]struct{ got, want []string }{
		"products of a category, by name": {
			ids(t, products, readmodel.Query{Index: "categoryId", Value: "light"}, func(r catalogviews.Product) string { return r.ProductID }),
			[]string{"p2", "p1"},
		},
		"products of a name": {
			ids(t, products, readmodel.Query{Index: "name", Value: "Mug"}, func(r catalogviews.Product) string { return r.ProductID }),
			[]string{"p3"},
		},
		"orders of a customer, by time": {
			ids(t, orders, readmodel.Query{Index: "customerId", Value: "ada"}, func(r views.Order) string { return r.OrderID }),
			[]string{"o2", "o1"},
		},
	} {
		if !slices.Equal(test.got, test.want) {
			t.Errorf("%s: got %v, want %v", name, test.got, test.want)
		}
	}
}

func ids[R any](t *testing.T, v readmodel.View[R], q readmodel.Query, id func(R) string) (out []string) {
	t.Helper()
	for row, err := range v.Rows(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, id(row))
	}
	return out
}
