package driver

import "context"

// QueryEngine queries the rows of the read models that it was opened with.
//
// It may lag behind the [QueryDb]; embedded providers do not. The results of a query
// are the same on every provider. An unknown read model or index is [ErrNotFound]. A
// malformed query (unknown comparator, a value of the wrong type for the key, a
// negative limit, a cursor of another query) is [ErrInvalid]. Any failure fails the
// call: an empty page always means that no row matches.
type QueryEngine interface {
	// Query returns the rows whose id or index key equals q.Value, ordered by sub id,
	// or by the index's sort field and then by id and sub id. Numbers are ordered by
	// value, strings by their UTF-8 bytes.
	Query(ctx context.Context, q Query) (Page, error)

	// Scan returns the matching rows of the whole read model, ordered by s.Order.
	// Without an order, their order is unspecified but the same for all pages of a
	// scan.
	Scan(ctx context.Context, s Scan) (Page, error)
}

// Query selects the rows of one key.
type Query struct {
	// ReadModel is the logical name.
	ReadModel string
	// Index is the name of a secondary index; empty queries by id.
	Index string
	// Value is the id or the index key: a string, or a float64 or int64 for a number
	// key.
	Value any
	// Sort, if not nil, is a condition on the sub id (query by id) or on the
	// sort field (query by index). Its Field is ignored. Comparators: Equal,
	// Less, LessOrEqual, Greater, GreaterOrEqual, BeginsWith, Between.
	Sort *Filter
	// Filters must all match. They see the whole row, even fields that the index does
	// not include.
	Filters []Filter
	// Descending reverses the order.
	Descending bool
	// Limit bounds the rows of the page, after filtering; 0 is 100.
	Limit int
	// Cursor continues after the row that it was returned for, see [Page]; empty
	// starts at the first row.
	Cursor string
}

// Scan selects all matching rows.
type Scan struct {
	ReadModel string
	Filters   []Filter
	// Order, if not nil, orders the rows.
	Order *Order
	// Limit and Cursor are as in [Query].
	Limit  int
	Cursor string
}

// Order orders the rows of a scan by a top-level field, then by id, then by sub
// id.
//
// Rows in which the field is absent or null come first, then false, true, numbers by
// value and strings by their UTF-8 bytes. Lists and objects count as absent. Numbers
// are compared as float64. If a row has a field more than once, its last value counts.
type Order struct {
	// Field is the name of the field; empty orders by id and sub id only.
	Field string
	// Descending reverses the order, including that by id and sub id.
	Descending bool
}

// Page is a page of rows.
//
// Its cursors are valid for every query or scan that differs only in Descending and
// Limit. With the opposite direction, a cursor pages backwards from its row. The row
// may have been removed: a cursor is a position in the order. A cursor of a scan is
// valid only for scans with the same Order.Field, and a cursor of a scan without an
// order only for scans without one.
type Page struct {
	Rows []Row
	// Cursor continues after the last row; empty if there are no more rows. A page with
	// a Cursor has as many rows as its limit allows; the last page may be empty. Rows that are written or deleted between pages may or may
	// not be returned, and a row whose position in the order changes may be returned
	// twice. No other row is skipped or repeated, even among equal sort values.
	Cursor string
	// Cursors has one cursor for each row of Rows: Cursors[i] continues after
	// Rows[i], even after the last row and even if Cursor is empty.
	Cursors []string
}

// Comparator compares a field with values.
type Comparator string

// The comparators. A comparison between values of different JSON types is false,
// except with Unequal, which is the negation of Equal. An absent field matches only
// Unequal, NotExists and NotContains; null counts as absent.
const (
	Equal          Comparator = "equal"
	Unequal        Comparator = "unequal"
	Less           Comparator = "less"
	LessOrEqual    Comparator = "lessOrEqual"
	Greater        Comparator = "greater"
	GreaterOrEqual Comparator = "greaterOrEqual"
	// Between includes both ends; it takes two values.
	Between Comparator = "between"
	// BeginsWith applies to strings.
	BeginsWith Comparator = "beginsWith"
	// Exists and NotExists take no value.
	Exists    Comparator = "exists"
	NotExists Comparator = "notExists"
	// Contains is true when a string field contains the string value, or a list
	// field has an element equal to the value. NotContains is its negation.
	Contains    Comparator = "contains"
	NotContains Comparator = "notContains"
)

// Filter is a condition on a top-level field.
type Filter struct {
	Field      string
	Comparator Comparator
	// Values are string, bool, float64 or int64; ordering comparators take
	// strings and numbers only.
	Values []any
}
