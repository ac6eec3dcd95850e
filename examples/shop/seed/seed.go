// Package seed replays a day of a real shop through commands: the invoice lines
// of the UCI data set Online Retail, whose attribution is in ../testdata.
//
// The id of every command is derived from what the file says, so a replay that
// was interrupted can be run again, and one that was not changes nothing: the log
// answers a command id that it knows with the outcome of the first time. This
// matters for prices, which the file changes to and fro; all else refuses to be
// done twice by itself. A log knows, for each stream, the last 256 command ids
// that led to events. So an old price could come back only if a product had that
// many changes since, or if the command had nothing to do the first time because
// somebody else had set that price already.
package seed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/reventless-go/reventless/examples/shop/catalog/product"
	"github.com/reventless-go/reventless/examples/shop/money"
	"github.com/reventless-go/reventless/examples/shop/ordering/basket"
	"github.com/reventless-go/reventless/examples/shop/ordering/customer"
	"github.com/reventless-go/reventless/examples/shop/ordering/order"
	"github.com/reventless-go/reventless/examples/shop/ordering/returns"
	"github.com/reventless-go/reventless/message"
)

// Send hands a command to the shop and returns its outcome. The error is that
// the shop could not be asked.
type Send func(ctx context.Context, commandID string, s message.Send) (message.Outcome, error)

// Progress tells how far a replay is.
type Progress struct {
	// Done of Lines lines are replayed.
	Done, Lines int
}

// Report tells what the shop holds of the file after a replay, be it from this
// one or from an earlier one.
type Report struct {
	Products, PriceChanges, Customers, Orders, Returns int
	// Skipped are the invoices that are not sales.
	Skipped []Skipped
	// Rejected are the commands that the shop refused.
	Rejected []Rejected
}

// String returns the report as text of a few lines.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d products, %d price changes, %d customers, %d orders, %d returns\n",
		r.Products, r.PriceChanges, r.Customers, r.Orders, r.Returns)
	for _, s := range r.Skipped {
		fmt.Fprintf(&b, "skipped: line %d, invoice %s: %s\n", s.Line, s.Invoice, s.Reason)
	}
	for _, c := range r.Rejected {
		fmt.Fprintf(&b, "rejected: line %d, command %s: %s\n", c.Line, c.CommandID, c.Message)
	}
	return b.String()
}

// Skipped is an invoice that was left out.
type Skipped struct {
	// Line is the invoice's first line in the file.
	Line    int
	Invoice string
	Reason  string
}

// Rejected is a command that the shop refused.
type Rejected struct {
	// Line is the line of the file that led to the command.
	Line      int
	CommandID string
	Code      string
	Message   string
}

// Replay sends what the file says, in the order of the file. The whole file is
// checked before the first command is sent; the error then names each bad line,
// its column and what was found there.
//
//   - A stock code becomes a product at its first line; a later line with another
//     price changes the price.
//   - A customer is registered at the first invoice.
//   - An invoice becomes an order, which is placed, paid and shipped line by line,
//     once its last line is read; one beginning with C becomes a return.
//   - An invoice without a customer is skipped, with all its lines.
//
// A refused command is reported, and nothing that depends on it is sent. An
// error of send ends the replay. progress may be nil.
func Replay(ctx context.Context, file io.Reader, send Send, progress func(Progress)) (Report, error) {
	lines, err := read(file)
	if err != nil {
		return Report{}, fmt.Errorf("seed: %w", err)
	}
	r := replay{
		send: send, invoices: map[string]*invoice{},
		prices: map[string]money.Pence{}, customers: map[string]bool{},
	}
	for _, l := range lines {
		in, known := r.invoices[l.invoice]
		if !known {
			in = &invoice{}
			r.invoices[l.invoice] = in
		}
		in.lines = append(in.lines, l)
	}
	for i, l := range lines {
		if err := r.line(ctx, l); err != nil {
			return r.report, fmt.Errorf("seed: line %d: %w", l.number, err)
		}
		if progress != nil {
			progress(Progress{Done: i + 1, Lines: len(lines)})
		}
	}
	return r.report, nil
}

// replay is a replay under way.
type replay struct {
	send      Send
	report    Report
	invoices  map[string]*invoice
	prices    map[string]money.Pence // by stock code
	customers map[string]bool
}

type invoice struct {
	lines []line
	read  int // how many of the lines are replayed
}

func (r *replay) line(ctx context.Context, l line) error {
	in := r.invoices[l.invoice]
	in.read++
	if l.customer == "" {
		if in.read == 1 {
			r.report.Skipped = append(r.report.Skipped, Skipped{l.number, l.invoice, "it has no customer"})
		}
		return nil
	}
	if err := r.product(ctx, l, in.read); err != nil {
		return err
	}
	if in.read < len(in.lines) {
		return nil
	}
	if err := r.customer(ctx, l); err != nil {
		return err
	}
	if strings.HasPrefix(l.invoice, "C") {
		return r.goodsBack(ctx, in.lines)
	}
	return r.order(ctx, in.lines)
}

// product adds the product of a line, the n-th of its invoice, or changes its price.
func (r *replay) product(ctx context.Context, l line, n int) error {
	price, known := r.prices[l.stockCode]
	switch {
	case !known:
		add := product.Add{Name: l.description, Description: l.description, Price: l.unitPrice}
		done, err := r.do(ctx, l, fmt.Sprintf("%d-add", n), product.Aggregate.To(l.stockCode, add), product.ErrAlreadyExists)
		if done {
			r.prices[l.stockCode] = l.unitPrice
			r.report.Products++
		}
		return err

	case price != l.unitPrice:
		change := product.ChangePrice{Price: l.unitPrice}
		done, err := r.do(ctx, l, fmt.Sprintf("%d-price", n), product.Aggregate.To(l.stockCode, change), nil)
		if done {
			r.prices[l.stockCode] = l.unitPrice
			r.report.PriceChanges++
		}
		return err
	}
	return nil
}

func (r *replay) customer(ctx context.Context, l line) error {
	if r.customers[l.customer] {
		return nil
	}
	register := customer.Register{Email: l.customer + "@example.com", Country: l.country}
	done, err := r.do(ctx, l, "register", customer.Aggregate.To(l.customer, register), customer.ErrAlreadyRegistered)
	if done {
		r.customers[l.customer] = true
		r.report.Customers++
	}
	return err
}

func (r *replay) order(ctx context.Context, lines []line) error {
	first := lines[0]
	do := func(step string, c order.Command, repeated error) (bool, error) {
		return r.do(ctx, first, step, order.Aggregate.To(first.invoice, c), repeated)
	}
	place := order.Place{CustomerID: first.customer, Country: first.country}
	for _, l := range lines {
		place.Lines = append(place.Lines, basket.Line{ProductID: l.stockCode, Quantity: l.quantity, UnitPrice: l.unitPrice})
	}
	if done, err := do("place", place, order.ErrAlreadyPlaced); !done {
		return err
	}
	r.report.Orders++
	if done, err := do("pay", order.Pay{}, order.ErrAlreadyPaid); !done {
		return err
	}
	shipped := map[string]bool{}
	for _, l := range lines {
		if shipped[l.stockCode] {
			continue // it is the same line of the order
		}
		shipped[l.stockCode] = true
		if _, err := do("ship-"+l.stockCode, order.ShipLine{ProductID: l.stockCode}, order.ErrAlreadyShipped); err != nil {
			return err
		}
	}
	return nil
}

func (r *replay) goodsBack(ctx context.Context, lines []line) error {
	first := lines[0]
	record := returns.Record{CustomerID: first.customer, Country: first.country}
	for _, l := range lines {
		record.Lines = append(record.Lines, basket.Line{ProductID: l.stockCode, Quantity: -l.quantity, UnitPrice: l.unitPrice})
	}
	done, err := r.do(ctx, first, "record", returns.Aggregate.To(first.invoice, record), returns.ErrAlreadyRecorded)
	if done {
		r.report.Returns++
	}
	return err
}

// do sends the command of a step. done reports whether the command has taken effect:
// now or, if the shop rejects it with repeated, earlier.
func (r *replay) do(ctx context.Context, l line, step string, s message.Send, repeated error) (done bool, err error) {
	id := "seed-" + l.invoice + "-" + step
	outcome, err := r.send(ctx, id, s)
	if err != nil {
		return false, fmt.Errorf("%s: %w", id, err)
	}
	if rejection := outcome.Rejection(); rejection == nil || errors.Is(rejection, repeated) {
		return true, nil
	}
	r.report.Rejected = append(r.report.Rejected, Rejected{l.number, id, outcome.Code, outcome.Message})
	return false, nil
}
