// Package imports declares the task ImportProducts, which adds the products of each CSV
// file in the bucket Imports to the catalog.
//
// The first line names the columns productId, name, description and price, in any order.
// Each other line is a product, with its price in whole pence. A field may be quoted but
// has no line breaks: so a missing quote invalidates only its own row. The task writes
// the result to another file in the bucket, <key>.result.txt.
package imports

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/examples/shop/catalog/product"
	"github.com/reventless-go/reventless/examples/shop/money"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/task"
)

// Bucket has the files to import and the results.
var Bucket = task.NewBucket(task.BucketSpec{Name: "Imports", Doc: "CSV files of products to add."})

// Task is the import.
var Task = task.New(task.Spec{
	Name:    "ImportProducts",
	Doc:     "Adds the products of a CSV file.",
	Bucket:  Bucket,
	Suffix:  ".csv",
	Created: importFile,
	Sends:   plugin.Components{product.Aggregate},
})

func importFile(ctx context.Context, env plugin.Env, o task.Object) (message.Actions, error) {
	files := Bucket.Open(env)
	body, err := files.Get(ctx, o.Key)
	if errors.Is(err, driver.ErrNotFound) {
		return nil, nil // the file has been deleted in the meantime
	}
	if err != nil {
		return nil, err
	}
	actions, result, err := read(body)
	if err := errors.Join(err, body.Close()); err != nil {
		return nil, err
	}
	return actions, files.Put(ctx, o.Key+".result.txt", strings.NewReader(result))
}

// read returns a command for each valid row of a file, and a report of the result. err is
// an error of reading file.
func read(file io.Reader) (actions message.Actions, result string, err error) {
	var refused strings.Builder
	bad := 0
	refuse := func(line int, reason error) {
		bad++
		fmt.Fprintf(&refused, "line %d: %v\n", line, reason)
	}
	var header columns
	seen := map[string]int{}
	in := bufio.NewReader(file)
	for line := 1; err == nil; line++ {
		var text string
		if text, err = in.ReadString('\n'); err != nil && err != io.EOF {
			return nil, "", err
		}
		if line == 1 {
			var reason error
			if header, reason = parseHeader(text); reason != nil {
				return nil, fmt.Sprintf("nothing imported\nline 1: %v\n", reason), nil
			}
			continue
		}
		if strings.TrimSpace(text) == "" {
			continue
		}
		id, add, reason := header.parse(text)
		if reason == nil && seen[id] != 0 {
			reason = fmt.Errorf("product %q is on line %d already", id, seen[id])
		}
		if reason != nil {
			refuse(line, reason)
			continue
		}
		seen[id] = line
		actions = append(actions, product.Aggregate.To(id, add))
	}
	return actions, fmt.Sprintf("rows imported: %d, refused: %d\n%s", len(actions), bad, refused.String()), nil
}

// columns are the indexes of the columns in a row of width fields.
type columns struct {
	width                        int
	id, name, description, price int
}

func parseHeader(text string) (columns, error) {
	names, err := split(strings.TrimPrefix(text, "\ufeff"))
	if err != nil {
		return columns{}, err
	}
	c := columns{width: len(names)}
	for name, place := range map[string]*int{
		"productId": &c.id, "name": &c.name, "description": &c.description, "price": &c.price,
	} {
		if *place = slices.Index(names, name); *place < 0 {
			return columns{}, errors.New("the columns are productId, name, description and price; found " + strings.Join(names, ", "))
		}
	}
	return c, nil
}

func (c columns) parse(text string) (id string, add product.Add, err error) {
	fields, err := split(text)
	if err != nil {
		return "", product.Add{}, err
	}
	if len(fields) != c.width {
		return "", product.Add{}, fmt.Errorf("found %d columns, not %d", len(fields), c.width)
	}
	id = fields[c.id]
	if err := driver.CheckID("product", id); err != nil {
		return "", product.Add{}, err
	}
	pence, err := strconv.ParseInt(fields[c.price], 10, 64)
	if err != nil {
		return "", product.Add{}, fmt.Errorf("price %q is not a whole number of pence", fields[c.price])
	}
	price := money.Pence(pence)
	switch {
	case price < 0:
		return "", product.Add{}, fmt.Errorf("price %d is negative", price)
	case !price.Valid():
		return "", product.Add{}, fmt.Errorf("price %d is more than %d", price, money.Max)
	}
	return id, product.Add{Name: fields[c.name], Description: fields[c.description], Price: price}, nil
}

// split returns the fields of a line.
func split(line string) ([]string, error) {
	if !utf8.ValidString(line) {
		return nil, errors.New("it is not valid UTF-8")
	}
	fields, err := csv.NewReader(strings.NewReader(strings.TrimRight(line, "\r\n"))).Read()
	var bad *csv.ParseError
	switch {
	case err == io.EOF:
		return nil, errors.New("it is empty")
	case errors.As(err, &bad) && errors.Is(bad.Err, csv.ErrQuote):
		return nil, fmt.Errorf("at byte %d: a quote is not closed, or not followed by a comma", bad.Column)
	case errors.As(err, &bad):
		return nil, fmt.Errorf("at byte %d: %w", bad.Column, bad.Err)
	}
	return fields, err
}
