package seed

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/examples/shop/money"
)

// line is an invoice line of the file.
type line struct {
	number             int // in the file, the header being line 1
	invoice, stockCode string
	description        string
	quantity           int32
	unitPrice          money.Pence
	customer, country  string
}

// The required columns of the file, in any order.
const (
	invoiceNo   = "InvoiceNo"
	stockCode   = "StockCode"
	description = "Description"
	quantity    = "Quantity"
	invoiceDate = "InvoiceDate"
	unitPrice   = "UnitPrice"
	customerID  = "CustomerID"
	country     = "Country"
)

var columns = []string{invoiceNo, stockCode, description, quantity, invoiceDate, unitPrice, customerID, country}

// maxProblems is the maximum number of errors that are reported together.
const maxProblems = 20

// read returns the lines of the file. Its error joins the errors found in the file.
func read(file io.Reader) ([]line, error) {
	in := csv.NewReader(file)
	in.FieldsPerRecord = -1 // counted below
	header, err := in.Read()
	if err == io.EOF {
		return nil, errors.New("the file is empty")
	}
	if err != nil {
		return nil, syntax(err)
	}
	header[0] = strings.TrimPrefix(header[0], "\ufeff")
	place := map[string]int{}
	for _, name := range columns {
		i := slices.Index(header, name)
		if i < 0 {
			return nil, fmt.Errorf("line 1: column %s is missing; found %s", name, strings.Join(header, ","))
		}
		place[name] = i
	}

	var lines []line
	var problems []error
	first := map[string]line{} // of each invoice
	for len(problems) < maxProblems {
		record, err := in.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			problems = append(problems, syntax(err))
			break // the following records would be misread
		}
		number, _ := in.FieldPos(0)
		if len(record) != len(header) {
			problems = append(problems, fmt.Errorf("line %d: found %d columns, not %d", number, len(record), len(header)))
			continue
		}
		p := parser{number: number, record: record, place: place}
		l := p.line()
		start, known := first[l.invoice]
		switch {
		case !known:
			first[l.invoice] = l
		case start.customer != l.customer:
			p.bad(customerID, fmt.Sprintf("is not the customer %q of line %d of the invoice", start.customer, start.number))
		case start.country != l.country:
			p.bad(country, fmt.Sprintf("is not the country %q of line %d of the invoice", start.country, start.number))
		}
		problems = append(problems, p.problems...)
		lines = append(lines, l)
	}
	return lines, errors.Join(problems...)
}

// syntax adds the line and byte in the file to a CSV error.
func syntax(err error) error {
	var bad *csv.ParseError
	if !errors.As(err, &bad) {
		return err
	}
	if bad.StartLine != bad.Line {
		return fmt.Errorf("line %d: a quote in this row is not closed as it should be; found at line %d, byte %d: %w",
			bad.StartLine, bad.Line, bad.Column, bad.Err)
	}
	return fmt.Errorf("line %d, byte %d: %w", bad.Line, bad.Column, bad.Err)
}

// parser parses a CSV record into a line and collects the errors.
type parser struct {
	number   int
	record   []string
	place    map[string]int
	problems []error
}

func (p *parser) line() line {
	l := line{
		number:  p.number,
		invoice: p.id(invoiceNo), stockCode: p.id(stockCode), description: p.get(description),
		customer: p.get(customerID), country: p.get(country),
	}
	n, err := strconv.ParseInt(p.get(quantity), 10, 32)
	if err != nil {
		p.bad(quantity, "is not a whole number")
	}
	l.quantity = int32(n)
	if l.unitPrice, err = money.Parse(p.get(unitPrice)); err != nil {
		p.bad(unitPrice, "is not a number of pounds with at most two decimals")
	}
	if _, err := time.Parse("1/2/06 15:04", p.get(invoiceDate)); err != nil {
		p.bad(invoiceDate, "is not a time such as 12/31/10 8:26")
	}
	if !utf8.ValidString(l.description) {
		p.bad(description, "is not valid UTF-8")
	}
	if l.customer != "" {
		p.id(customerID)
	}
	return l
}

func (p *parser) get(column string) string { return p.record[p.place[column]] }

func (p *parser) id(column string) string {
	id := p.get(column)
	if err := driver.CheckID(column, id); err != nil {
		p.problems = append(p.problems, fmt.Errorf("line %d, column %s: %w", p.number, column, err))
	}
	return id
}

func (p *parser) bad(column, reason string) {
	p.problems = append(p.problems, fmt.Errorf("line %d, column %s: %q %s", p.number, column, p.get(column), reason))
}
