package policy

import (
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/reventless-go/reventless/examples/shop/ordering/views"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/schedule"
	"github.com/reventless-go/reventless/task"
)

// Reports has a file for each day: sales-YYYY-MM-DD.csv.
var Reports = task.NewBucket(task.BucketSpec{Name: "Reports", Doc: "A sales report for each day."})

// DailySalesReport writes the sales of each country, once a day.
var DailySalesReport = task.New(task.Spec{
	Name: "DailySalesReport",
	Doc:  "Writes the sales of each country, once a day.",
	Rate: schedule.Daily(6, 0, "Europe/London"),
	Run:  report,
	Uses: plugin.Components{views.SalesByCountry, Reports},
})

func report(ctx context.Context, env plugin.Env, due time.Time) (message.Actions, error) {
	var sales []views.CountrySales
	for row, err := range views.SalesByCountry.Open(env).All(ctx) {
		if err != nil {
			return nil, err
		}
		sales = append(sales, row)
	}
	file, err := table(sales)
	if err != nil {
		return nil, err
	}
	key := "sales-" + due.Format(time.DateOnly) + ".csv"
	return nil, Reports.Open(env).Put(ctx, key, file)
}

// table returns the rows as CSV, ordered by country, with sums in pence.
func table(sales []views.CountrySales) (io.Reader, error) {
	slices.SortFunc(sales, func(a, b views.CountrySales) int { return cmp.Compare(a.Country, b.Country) })
	rows := [][]string{{"country", "orders", "revenue", "returned"}}
	for _, r := range sales {
		rows = append(rows, []string{
			r.Country, strconv.FormatInt(r.Orders, 10),
			strconv.FormatInt(int64(r.Revenue), 10), strconv.FormatInt(int64(r.Returned), 10),
		})
	}
	var b bytes.Buffer
	err := csv.NewWriter(&b).WriteAll(rows)
	return &b, err
}
