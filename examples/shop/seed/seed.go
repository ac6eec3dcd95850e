// Package seed fills the shop with a day of a real shop, by commands. The data are
// invoice lines of the UCI data set Online Retail; see ../testdata for its attribution.
//
// The id of each command is derived from the file. So an interrupted replay can be
// repeated, and repeating a complete one changes nothing: the aggregate answers a known
// command id with the first outcome. This matters for prices, which the file changes back
// and forth; all other commands are rejected when they are repeated. A stream knows the
// last 256 command ids that led to events. So a repetition could restore an old price
// only if the product has had that many changes since, or if the command led to no event
// the first time, because the price was already set.
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

// Send sends a command to the shop and returns its outcome. A rejection is not an error.
type Send func(ctx context.Context, commandID string, s message.Send) (message.Outcome, error)

// Progress is the progress of a replay.
type Progress struct {
	// Done is the number of replayed lines, Lines that of all lines.
	Done, Lines int
}

// Report counts the entities of the file that exist after a replay, including those from
// earlier replays.
type Report struct {
	Products, PriceChanges, Customers, Orders, Returns int
	// Skipped are the invoices without a customer.
	Skipped []Skipped
	// Rejected are the commands that the shop rejected.
	Rejected []Rejected
}

// String returns the report as text.
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

// Skipped is an invoice that was skipped.
type Skipped struct {
	// Line is the invoice's first line in the file.
	Line    int
	Invoice string
	Reason  string
}

// Rejected is a command that the shop rejected.
type Rejected struct {
	// Line is the line of the file that led to the command.
	Line      int
	CommandID string
	Code      string
	Message   string
}

// Replay sends the commands of a file, in the order of its lines. It checks the whole file
// before it sends the first command; the error names each invalid line and column.
//
//   - A stock code becomes a product at its first line. A later line with another price
//     changes the price.
//   - A customer is registered at the first invoice.
//   - After its last line, an invoice becomes an order, which is placed, paid and shipped
//     line by line. An invoice that begins with C becomes a return.
//   - An invoice without a customer is skipped, with all its lines.
//
// A rejected command is reported, and commands that depend on it are not sent. An error
// of send ends the replay. progress may be nil.
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

// replay is a running replay.
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
			continue // the order has one line per product
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
