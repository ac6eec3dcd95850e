// Command dev runs the shop in one process on one SQLite file.
package main

import (
	"context"
	"fmt"
	"io"

	"github.com/reventless-go/reventless/examples/shop"
	"github.com/reventless-go/reventless/examples/shop/seed"
	"github.com/reventless-go/reventless/local"
)

func main() { local.Main(shop.App(), &local.Options{Seed: replay}) }

// replay fills the shop with a day of real sales and says what it did.
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
