// Package money represents sums of money.
package money

import (
	"fmt"
	"strconv"
	"strings"
)

// Pence is a sum in whole pence. It is always an integer, so sums are never rounded.
type Pence int64

// Max is the maximum price: ten billion pounds. Sums of prices stay far below the limits
// of integers, in Go and in JSON parsers.
const Max Pence = 1_000_000_000_000

// Valid reports whether p is a valid price: from 0 to [Max].
func (p Pence) Valid() bool { return 0 <= p && p <= Max }

// String returns the sum in pounds, such as "£2.55".
func (p Pence) String() string {
	if p < 0 {
		return "-" + (-p).String()
	}
	return fmt.Sprintf("£%d.%02d", p/100, p%100)
}

// Parse parses a decimal number of pounds with at most two decimals: "2.55", "2.5",
// "18". It does not use floating-point numbers.
func Parse(pounds string) (Pence, error) {
	digits, negative := strings.CutPrefix(pounds, "-")
	whole, decimals, point := strings.Cut(digits, ".")
	if whole == "" || point && decimals == "" || len(decimals) > 2 {
		return 0, fmt.Errorf("%q is not a number of pounds with at most two decimals", pounds)
	}
	n, err := strconv.ParseUint(whole+decimals+"00"[len(decimals):], 10, 63)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number of pounds with at most two decimals", pounds)
	}
	if negative {
		return -Pence(n), nil
	}
	return Pence(n), nil
}
