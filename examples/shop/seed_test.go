package shop_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"testing"

	"github.com/reventless-go/reventless/examples/shop"
	catalogviews "github.com/reventless-go/reventless/examples/shop/catalog/views"
	"github.com/reventless-go/reventless/examples/shop/ordering/policy"
	"github.com/reventless-go/reventless/examples/shop/ordering/views"
	"github.com/reventless-go/reventless/examples/shop/seed"
	"github.com/reventless-go/reventless/internal/testenv"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/readmodel"
	"github.com/reventless-go/reventless/reventlesstest"
)

// replay seeds the App with the sample and waits until nothing is left to do.
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

// record is a row as its JSON says.
type record map[string]any

// tables returns all rows of the read models that the seed fills, sorted by id.
func tables(t *testing.T, app *reventlesstest.App) map[string][]record {
	t.Helper()
	products := table(t, app, catalogviews.Products, "productId")
	var history []record
	for _, p := range products {
		rows := catalogviews.PriceHistory.Open(app.Env()).Rows(t.Context(), readmodel.Query{Value: p["productId"]})
		for row, err := range rows {
			if err != nil {
				t.Fatal(err)
			}
			r := toRecord(t, row)
			r["productId"] = p["productId"]
			history = append(history, r)
		}
	}
	return map[string][]record{
		"Products":       products,
		"PriceHistory":   history,
		"Orders":         table(t, app, views.Orders, "orderId"),
		"OrderLines":     table(t, app, views.OrderLines, "orderId", "productId"),
		"CustomerTotals": table(t, app, views.CustomerTotals, "customerId"),
		"ProductDemand":  table(t, app, views.ProductDemand, "productId"),
		"SalesByCountry": table(t, app, views.SalesByCountry, "country"),
		"Listings":       table(t, app, views.Listings, "productId"),
	}
}

func table[R any](t *testing.T, app *reventlesstest.App, m *readmodel.ReadModel[R], key ...string) []record {
	t.Helper()
	var out []record
	for row, err := range m.Open(app.Env()).All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, toRecord(t, row))
	}
	slices.SortFunc(out, func(a, b record) int {
		for _, k := range key {
			if c := cmp.Compare(a[k].(string), b[k].(string)); c != 0 {
				return c
			}
		}
		return 0
	})
	return out
}

func toRecord(t *testing.T, row any) (r record) {
	t.Helper()
	data, err := json.Marshal(row)
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSeed(t *testing.T) {
	t.Parallel()
	app := reventlesstest.Start(t, shop.App())
	report := replay(t, app)
	rows := tables(t, app)

	want := seed.Report{
		Products: 589, PriceChanges: 61, Customers: 48, Orders: 61, Returns: 4,
		Skipped: []seed.Skipped{{Line: 624, Invoice: "536414", Reason: "it has no customer"}},
	}
	if !reflect.DeepEqual(report, want) {
		t.Errorf("report: got %+v, want %+v", report, want)
	}

	// Four rows that are known without any program.
	sales := map[string][]record{"SalesByCountry": {
		{"country": "Australia", "orders": 1., "revenue": 35825., "returned": 0.},
		{"country": "France", "orders": 1., "revenue": 85586., "returned": 0.},
		{"country": "Netherlands", "orders": 1., "revenue": 19260., "returned": 0.},
		{"country": "United Kingdom", "orders": 58., "revenue": 2329617., "returned": 19913.},
	}}
	compare(t, map[string][]record{"SalesByCountry": rows["SalesByCountry"]}, sales)

	mails := 0
	for _, err := range policy.Outbox.Open(app.Env()).List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		mails++
	}
	if mails != report.Orders {
		t.Errorf("got %d mails in the outbox, want one for each of %d orders", mails, report.Orders)
	}

	// The read models equal what a script in another language computes straight
	// from the file.
	t.Run("agrees with script", func(t *testing.T) {
		testenv.Needs(t, "python3")
		output, err := exec.CommandContext(t.Context(), "python3", "testdata/expected.py").Output()
		if err != nil {
			t.Fatal(err)
		}
		var want map[string][]record
		if err := json.Unmarshal(output, &want); err != nil {
			t.Fatal(err)
		}
		compare(t, withoutTimes(rows), want)
	})

	t.Run("again changes nothing", func(t *testing.T) {
		if again := replay(t, app); !reflect.DeepEqual(again, report) {
			t.Errorf("report: got %+v, want %+v", again, report)
		}
		compare(t, tables(t, app), rows)
	})
}

// withoutTimes leaves out what depends on when the rows were made.
func withoutTimes(tables map[string][]record) map[string][]record {
	out := map[string][]record{}
	for name, rows := range tables {
		for _, r := range rows {
			r = maps.Clone(r)
			maps.DeleteFunc(r, func(field string, _ any) bool {
				return field == "placedAt" || field == "position" || field == "at"
			})
			out[name] = append(out[name], r)
		}
	}
	return out
}

func compare(t *testing.T, got, want map[string][]record) {
	t.Helper()
	if g, w := slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)); !slices.Equal(g, w) {
		t.Fatalf("read models: got %v, want %v", g, w)
	}
	for name := range want {
		if len(got[name]) != len(want[name]) || len(want[name]) == 0 {
			t.Errorf("%s: got %d rows, want %d", name, len(got[name]), len(want[name]))
			continue
		}
		for i, w := range want[name] {
			if g := got[name][i]; !reflect.DeepEqual(g, w) {
				t.Errorf("%s: row %d: got %v, want %v", name, i+1, g, w)
				break
			}
		}
	}
}
