package shop_test

import (
	"bytes"
	"context"
	"maps"
	"os"
	"reflect"
	"testing"

	"github.com/reventless-go/reventless/examples/shop"
	"github.com/reventless-go/reventless/examples/shop/ordering/views"
	"github.com/reventless-go/reventless/examples/shop/seed"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/reventlesstest"
)

// replay seeds the App with the sample and waits until it is idle.
func replay(t *testing.T, app *reventlesstest.App) seed.Report {
	t.Helper()
	file, err := os.ReadFile("testdata/online-retail-sample.csv")
	if err != nil {
		t.Fatal(err)
	}
	report, err := seed.Replay(t.Context(), bytes.NewReader(file), func(_ context.Context, id string, s message.Send) (message.Outcome, error) {
		return app.SendAs(id, s), nil
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	app.WaitIdle()
	for _, letter := range app.Parked() {
		t.Errorf("parked: %+v", letter)
	}
	return report
}

// TestSeed checks the report and a few known results. The tests of cmd/dev compare all
// read models with the results of a script.
func TestSeed(t *testing.T) {
	t.Parallel()
	app := reventlesstest.Start(t, shop.App())
	want := seed.Report{
		Products: 589, PriceChanges: 61, Customers: 48, Orders: 61, Returns: 4,
		Skipped: []seed.Skipped{{Line: 624, Invoice: "536414", Reason: "it has no customer"}},
	}
	for range 2 { // the second replay has the same report and no effect
		if report := replay(t, app); !reflect.DeepEqual(report, want) {
			t.Errorf("report: got %+v, want %+v", report, want)
		}
		sales := map[string]views.CountrySales{}
		for row, err := range views.SalesByCountry.Open(app.Env()).All(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			sales[row.Country] = row
		}
		if want := map[string]views.CountrySales{
			"Australia":      {Country: "Australia", Orders: 1, Revenue: 35825},
			"France":         {Country: "France", Orders: 1, Revenue: 85586},
			"Netherlands":    {Country: "Netherlands", Orders: 1, Revenue: 19260},
			"United Kingdom": {Country: "United Kingdom", Orders: 58, Revenue: 2329617, Returned: 19913},
		}; !maps.Equal(sales, want) {
			t.Errorf("sales by country: got %v, want %v", sales, want)
		}
	}
}
