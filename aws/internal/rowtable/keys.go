package rowtable

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/rows"
)

// Limits of DynamoDB on keys, in bytes.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
const (
	MaxKeyBytes  = 2048
	MaxSortBytes = 1024
)

// The sort key of an index consists of the sort value, if the index has one, the id and
// the sub id. Each part is escaped so that it contains no byte 0, and ends with one: keys
// have the order of their parts, compared one after the other by their bytes.
const end = "\x00"

var escapes = strings.NewReplacer("\x00", "\x01\x01", "\x01", "\x01\x02")

// text returns a value of a key field as a text with the same order: a string is
// itself, a number 16 hexadecimal digits.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		bits := math.Float64bits(v + 0) // turns -0 into 0
		if bits>>63 != 0 {
			bits = ^bits
		} else {
			bits |= 1 << 63
		}
		digits := strconv.FormatUint(bits, 16)
		return strings.Repeat("0", 16-len(digits)) + digits
	}
	return ""
}

// KeyOf returns the partition key of an index for a value of its key field; empty when no
// row can have it.
func KeyOf(v any) string {
	if s := text(v); len(s) <= MaxKeyBytes && utf8.ValidString(s) {
		return s
	}
	return ""
}

// SortOf returns the sort key of an index for a position.
func SortOf(at rows.Position) string {
	var b strings.Builder
	if at.Sort != nil {
		b.WriteString(escapes.Replace(text(at.Sort)))
		b.WriteString(end)
	}
	b.WriteString(escapes.Replace(at.ID))
	b.WriteString(end)
	b.WriteString(escapes.Replace(at.Sub))
	b.WriteString(end)
	return b.String()
}

// Range is the keys from From up to but not including To; an empty bound is no bound.
type Range struct {
	From, To string
	// Empty is true when no key can be in the range.
	Empty bool
}

// SortRange returns a range that contains the sort keys of all rows that satisfy a
// condition on the sort value. It may contain others.
func SortRange(f *driver.Filter) Range {
	if f == nil {
		return Range{}
	}
	at := func(i int) string { return escapes.Replace(text(number(f.Values[i]))) }
	// The keys of a value begin with the value and a byte 0. The value with a byte 1 sorts
	// after all of them and before the keys of greater values: in a key, a byte 1 is
	// followed by 1 or 2.
	const beyond = "\x01"
	var r Range
	switch f.Comparator {
	case driver.Equal:
		r = Range{From: at(0) + end, To: at(0) + beyond}
	case driver.Less:
		r = Range{To: at(0) + end}
	case driver.LessOrEqual:
		r = Range{To: at(0) + beyond}
	case driver.Greater:
		r = Range{From: at(0) + beyond}
	case driver.GreaterOrEqual:
		r = Range{From: at(0) + end}
	case driver.Between:
		r = Range{From: at(0) + end, To: at(1) + beyond}
	case driver.BeginsWith:
		r = prefixed(at(0))
	}
	return r.fit()
}

// SubRange is the same for a condition on the sub id, which is the sort key of the table.
func SubRange(f *driver.Filter) Range {
	if f == nil {
		return Range{}
	}
	at := func(i int) string { s, _ := f.Values[i].(string); return s }
	// The next string after a string is the string followed by a byte 0.
	var r Range
	switch f.Comparator {
	case driver.Equal:
		r = Range{From: at(0), To: at(0) + "\x00"}
	case driver.Less:
		r = Range{To: at(0), Empty: at(0) == ""}
	case driver.LessOrEqual:
		r = Range{To: at(0) + "\x00"}
	case driver.Greater, driver.GreaterOrEqual:
		r = Range{From: at(0)}
	case driver.Between:
		r = Range{From: at(0), To: at(1) + "\x00"}
	case driver.BeginsWith:
		r = prefixed(at(0))
	}
	return r.fit()
}

// prefixed returns the range of the texts that begin with a prefix.
func prefixed(prefix string) Range {
	runes := []rune(prefix)
	for n := len(runes); n > 0; n-- {
		// The next rune, so that the bound is a text: UTF-8 orders like its runes.
		next := runes[n-1] + 1
		if next == 0xd800 {
			next = 0xe000
		}
		if next <= utf8.MaxRune {
			return Range{From: prefix, To: string(runes[:n-1]) + string(next)}
		}
	}
	return Range{From: prefix}
}

// fit drops bounds that DynamoDB does not accept: the condition is checked again for every
// row.
func (r Range) fit() Range {
	good := func(bound string) bool { return len(bound) <= MaxSortBytes && utf8.ValidString(bound) }
	if !good(r.From) {
		r.From = ""
	}
	if !good(r.To) {
		r.To = ""
	}
	r.Empty = r.Empty || r.To != "" && r.From >= r.To
	return r
}

// number returns a value of a query as package rows understands it.
func number(v any) any {
	if n, ok := v.(int64); ok {
		return float64(n)
	}
	return v
}
