package driver

import "context"

// QueryEngine queries the rows of the read models it was opened with.
//
// It may lag behind the [QueryDb]; embedded providers do not. The results of
// one query are the same on every provider. An unknown read model or index is
// [ErrNotFound]; a malformed query (unknown comparator, a value of the wrong
// type for the key, a negative limit, a cursor that is not from the same query)
// is [ErrInvalid]. A failure anywhere fails the call: an empty page always
// means that nothing matches.
type QueryEngine interface {
	// Query returns the rows whose id, or whose index key, equals q.Value:
	// ordered by sub id, or by the index's sort field and then by id and sub id.
	// Numbers order by value, strings by their UTF-8 bytes.
	Query(ctx context.Context, q Query) (Page, error)

	// Scan returns the rows of the whole read model that match, ordered by
	// s.Order; without one in an order that is the same for all pages of one scan
	// but otherwise unspecified.
	Scan(ctx context.Context, s Scan) (Page, error)
}

// Query asks for the rows of one key.
type Query struct {
	// ReadModel is the logical name.
	ReadModel string
	// Index names a secondary index; empty queries by id.
	Index string
	// Value is what the id or the index key must equal: a string, or a float64
	// or int64 for a number key.
	Value any
	// Sort, if not nil, is a condition on the sub id (query by id) or on the
	// sort field (query by index). Its Field is ignored. Comparators: Equal,
	// Less, LessOrEqual, Greater, GreaterOrEqual, BeginsWith, Between.
	Sort *Filter
	// Filters must all hold. They see the whole row, whatever the index includes.
	Filters []Filter
	// Descending turns the order around.
	Descending bool
	// Limit bounds the rows of the page, after filtering; 0 is 100.
	Limit int
	// Cursor continues after the row that it was returned for, see [Page]; empty
	// starts.
	Cursor string
}

// Scan asks for all rows that match.
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
// Rows in which the field is absent or null come first, then false, true,
// numbers by value and strings by their UTF-8 bytes. Lists and objects count as
// absent. Numbers are compared as float64. Of a name that a row has twice the
// last value counts.
type Order struct {
	// Field is the name of the field; empty orders by id and sub id alone.
	Field string
	// Descending turns the order around, also that by id and sub id.
	Descending bool
}

// Page is a page of rows.
//
// Its cursors fit every query or scan that differs from their own in Descending
// and Limit only. In the other direction a cursor continues with what lies on
// the other side of its row: it pages backwards. The row need not exist any
// more, its position counts. A cursor of a scan with an order does not fit one
// without or with that of another field, nor the other way round.
type Page struct {
	Rows []Row
	// Cursor continues after the last row; empty when there are no more rows.
	// A page may be followed by an empty last page. Rows that are written or
	// deleted between pages may or may not be seen, and one whose place in the
	// order changes may be seen twice; no other row is skipped or repeated, also
	// among rows with equal sort values.
	Cursor string
	// Cursors has one cursor for each row of Rows: Cursors[i] continues after
	// Rows[i], also after the last row and also when Cursor is empty.
	Cursors []string
}

// Comparator compares a field with values.
type Comparator string

// The comparators. A comparison between values of different JSON types is
// false, except for Unequal, which is the negation of Equal. A field that is
// absent fails every comparator but Unequal and NotExists and NotContains;
// null counts as absent.
const (
	Equal          Comparator = "equal"
	Unequal        Comparator = "unequal"
	Less           Comparator = "less"
	LessOrEqual    Comparator = "lessOrEqual"
	Greater        Comparator = "greater"
	GreaterOrEqual Comparator = "greaterOrEqual"
	// Between includes both ends; it takes two values.
	Between Comparator = "between"
	// BeginsWith is for strings.
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
