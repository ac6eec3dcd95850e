// Command dev runs the shop in one process on one SQLite file.
package main

import (
	"context"
	_ "embed" // the licences
	"fmt"
	"io"

	"github.com/reventless-go/reventless/examples/shop"
	"github.com/reventless-go/reventless/examples/shop/seed"
	"github.com/reventless-go/reventless/local"
)

//go:generate go run github.com/reventless-go/reventless/cmd/notices -o NOTICES .
//go:embed NOTICES
var licences string

func main() {
	local.Main(shop.App(), &local.Options{Seed: replay, Examples: examples, Licences: licences})
}

// examples are the documents on the start page of the API.
var examples = []local.Example{
	{Title: "The dearest products", Query: `
query {
  catalogProducts(first: 5, orderBy: {field: price, direction: DESC}) {
    edges {
      node { id name price }
    }
    pageInfo { hasNextPage endCursor }
  }
}`},
	{Title: "A price is changed", Query: `
mutation {
  catalogProductChangePrice(id: "22752", price: 799) {
    ... on CommandAccepted { eventCount position }
    ... on CommandRejected { code message }
  }
}`},
	{Title: "Every price, as it changes", Query: `
subscription {
  catalogProductChanged {
    kind
    row { id name price }
  }
}`},
	{Title: "The orders of a customer", Query: `
query {
  orderingOrdersByCustomerId(customerId: "17850", first: 10) {
    edges {
      node { id status total placedAt }
    }
  }
}`},
}

// replay fills the shop with a day of real sales and prints a report.
func replay(ctx context.Context, h *local.Host, file io.Reader, out io.Writer) error {
	percent := -1
	report, err := seed.Replay(ctx, file, h.Send, func(p seed.Progress) {
		if now := 100 * p.Done / p.Lines; now != percent {
			percent = now
			_, _ = fmt.Fprintf(out, "\rseeding: line %d of %d (%d%%)", p.Done, p.Lines, percent)
		}
	})
	_, _ = fmt.Fprintln(out)
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(out, report)
	return err
}
