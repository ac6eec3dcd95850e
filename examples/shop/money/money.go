// Package money holds sums of money.
package money

import (
	"fmt"
	"strconv"
	"strings"
)

// Pence is a sum in whole pence. It is an integer everywhere, so that no sum is
// ever rounded.
type Pence int64

// Max is the most that one thing may cost: ten billion pounds. It keeps every sum
// of such sums far from the limits of an integer, here and in a JSON reader.
const Max Pence = 1_000_000_000_000

// Valid reports whether p can be a price: neither negative nor above [Max].
func (p Pence) Valid() bool { return 0 <= p && p <= Max }

// String returns the sum as it is written on a bill, such as "£2.55".
func (p Pence) String() string {
	if p < 0 {
		return "-" + (-p).String()
	}
	return fmt.Sprintf("£%d.%02d", p/100, p%100)
}

// Parse returns the sum of a decimal number of pounds with at most two decimals:
// "2.55", "2.5", "18". It computes with digits, never with floating point.
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
