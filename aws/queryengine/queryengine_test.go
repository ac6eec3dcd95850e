package queryengine_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/queryengine"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/drivertest"
	"github.com/reventless-go/reventless/driver/memory"
)

func TestMain(m *testing.M) { os.Exit(awstest.Run(m)) }

func TestQueryEngine(t *testing.T) {
	suite := func(t *testing.T, open drivertest.Open) {
		drivertest.TestQueryEngine(t, func(t *testing.T) *drivertest.Fixture {
			if path.Base(t.Name()) == "ANewIndexHasTheOldRows" {
				t.Skip("existing rows enter a new index only when the read model is rebuilt")
			}
			return open(t)
		})
	}
	awstest.TestStores(t, suite, 1, awstest.Mix(), awstest.Repeats)
}

var goods = driver.TableSpec{Name: "Test.Goods", Indexes: []driver.Index{
	{Name: "byShop", Key: driver.Field{Name: "shop"}, Sort: &driver.Field{Name: "price", Number: true}},
	{Name: "byLabel", Key: driver.Field{Name: "shop"}, Sort: &driver.Field{Name: "label"}},
}}

var lines = driver.TableSpec{Name: "Test.Lines", SubID: "line"}

// metered is an engine and what its calls cost.
type metered struct {
	*queryengine.Engine
	requests *awstest.Counter
	units    float64
}

func open(t *testing.T, s *awstest.ReadModels, through http.RoundTripper, specs ...driver.TableSpec) *metered {
	t.Helper()
	m := &metered{requests: awstest.NewCounter(through)}
	m.Engine = s.Engine(t, m.requests, func(_ string, c *types.ConsumedCapacity) { m.units += aws.ToFloat64(c.CapacityUnits) }, specs...)
	return m
}

func fill(t *testing.T, s *awstest.ReadModels, spec driver.TableSpec, rows []driver.Row) {
	t.Helper()
	awstest.Fill(t, s.Db(t, nil, spec, nil), rows)
}

// A page reads its rows, not the table.
func TestALimitBoundsWhatIsRead(t *testing.T) {
	t.Parallel()
	s := awstest.NewReadModels(t)
	const many = 800 // of 1 KB
	var all, parts []driver.Row
	for i := range many {
		rest := fmt.Sprintf(`"n":%d,"fill":"%s"}`, i, strings.Repeat("x", 800))
		all = append(all, driver.Row{Key: driver.Key{ID: fmt.Sprintf("id%04d", i)}, Data: json.RawMessage(fmt.Sprintf(`{"shop":"s","price":%d,%s`, i, rest))})
		parts = append(parts, driver.Row{Key: driver.Key{ID: "id", Sub: fmt.Sprintf("%04d", i)}, Data: json.RawMessage(fmt.Sprintf(`{"line":"%04d",%s`, i, rest))})
	}
	fill(t, s, goods, all)
	fill(t, s, lines, parts)
	q := open(t, s, nil, goods, lines)
	has := func(n int) []driver.Filter {
		return []driver.Filter{{Field: "n", Comparator: driver.Less, Values: []any{float64(n)}}}
	}
	byShop := driver.Query{ReadModel: goods.Name, Index: "byShop", Value: "s", Limit: 10}
	for _, c := range []struct {
		what     string
		requests int
		units    float64 // at most
		rows     int
		page     func() (driver.Page, error)
	}{
		{"an index", 1, 2.5, 10, func() (driver.Page, error) { return q.Query(t.Context(), byShop) }},
		{"an id", 1, 3, 10, func() (driver.Page, error) {
			return q.Query(t.Context(), driver.Query{ReadModel: lines.Name, Value: "id", Limit: 10, Descending: true})
		}},
		{"a scan", 1, 2.5, 10, func() (driver.Page, error) {
			return q.Scan(t.Context(), driver.Scan{ReadModel: goods.Name, Limit: 10})
		}},
		{"a sort condition", 1, 2.5, 10, func() (driver.Page, error) {
			query := byShop
			query.Sort = &driver.Filter{Comparator: driver.GreaterOrEqual, Values: []any{700.0}}
			return q.Query(t.Context(), query)
		}},
		{"a sort condition on few", 1, 1, 3, func() (driver.Page, error) {
			query := byShop
			query.Sort = &driver.Filter{Comparator: driver.Between, Values: []any{7.0, int64(9)}}
			return q.Query(t.Context(), query)
		}},
		{"a filter that all pass", 1, 2.5, 10, func() (driver.Page, error) {
			query := byShop
			query.Filters = has(many)
			return q.Query(t.Context(), query)
		}},
		{"a filter that none passes", 8, 200, 0, func() (driver.Page, error) {
			query := byShop
			query.Filters = has(0)
			return q.Query(t.Context(), query)
		}},
		{"an order", 2, 200, 10, func() (driver.Page, error) {
			return q.Scan(t.Context(), driver.Scan{ReadModel: goods.Name, Order: &driver.Order{Field: "n", Descending: true}, Limit: 10})
		}},
		{"a value that no row can have", 0, 0, 0, func() (driver.Page, error) {
			return q.Query(t.Context(), driver.Query{ReadModel: goods.Name, Index: "byShop", Value: ""})
		}},
		{"a range without values", 0, 0, 0, func() (driver.Page, error) {
			query := byShop
			query.Sort = &driver.Filter{Comparator: driver.Between, Values: []any{9.0, 7.0}}
			return q.Query(t.Context(), query)
		}},
	} {
		q.requests.Reset()
		q.units = 0
		p, err := c.page()
		if err != nil || len(p.Rows) != c.rows {
			t.Errorf("%s: %d rows, %v, want %d", c.what, len(p.Rows), err, c.rows)
		}
		if n := q.requests.Of(); n > c.requests || c.requests > 0 && n == 0 || q.units > c.units {
			t.Errorf("%s took %d requests of %v units, want %d of %v at most", c.what, n, q.units, c.requests, c.units)
		}
	}
	// All pages read each row about once.
	q.requests.Reset()
	q.units = 0
	n := 0
	for query := byShop; ; {
		query.Limit = 100
		p, err := q.Query(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		if n += len(p.Rows); p.Cursor == "" {
			break
		}
		query.Cursor = p.Cursor
	}
	if got := q.requests.Of(); n != many || got > many/100+1 || q.units > 1.3*many/8 {
		t.Errorf("%d rows in pages of 100 took %d requests of %v units", n, got, q.units)
	}
}

// Unknown names are reported without a request.
func TestUnknownNamesTakeNoRequest(t *testing.T) {
	t.Parallel()
	q := open(t, awstest.NewReadModels(t), nil, goods)
	_, one := q.Query(t.Context(), driver.Query{ReadModel: "Test.Unknown", Value: "a"})
	_, two := q.Query(t.Context(), driver.Query{ReadModel: goods.Name, Index: "byUnknown", Value: "a"})
	_, three := q.Scan(t.Context(), driver.Scan{ReadModel: "Test.Unknown"})
	for _, err := range []error{one, two, three} {
		if !errors.Is(err, driver.ErrNotFound) {
			t.Errorf("got %v, want not found", err)
		}
	}
	if n := q.requests.Of(); n != 0 {
		t.Errorf("%d requests were made", n)
	}
}

// A failure on any page fails the call, however many rows there are already.
func TestAFailureOnAnyPageFailsTheCall(t *testing.T) {
	t.Parallel()
	s := awstest.NewReadModels(t)
	var all []driver.Row
	for i := range 200 {
		all = append(all, driver.Row{Key: driver.Key{ID: fmt.Sprintf("id%04d", i)}, Data: json.RawMessage(fmt.Sprintf(`{"shop":"s","price":%d}`, i))})
	}
	fill(t, s, goods, all)
	odd := []driver.Filter{{Field: "price", Comparator: driver.GreaterOrEqual, Values: []any{3.0}}}
	for call := 1; call <= 3; call++ {
		for _, operation := range []string{"DynamoDB.Query", "DynamoDB.Scan"} {
			q := open(t, s, awstest.NewFaults(nil, 1, awstest.Rule{Fault: awstest.Internal, Operations: []string{operation}, Calls: []int{call}}), goods)
			var p driver.Page
			var err error
			if operation == "DynamoDB.Query" {
				p, err = q.Query(t.Context(), driver.Query{ReadModel: goods.Name, Index: "byShop", Value: "s", Limit: 4, Filters: []driver.Filter{{Field: "price", Comparator: driver.Greater, Values: []any{40.0}}}})
			} else {
				p, err = q.Scan(t.Context(), driver.Scan{ReadModel: goods.Name, Limit: 190, Filters: odd})
			}
			if q.requests.Of(operation) < call {
				continue // it was not needed
			}
			if !errors.Is(err, driver.ErrUnavailable) || len(p.Rows) != 0 {
				t.Errorf("%s failing in call %d: %d rows, %v, want unavailable", operation, call, len(p.Rows), err)
			}
		}
	}
}

// Texts with the bytes that index keys escape.
func TestAnyTextCanBeSortedBy(t *testing.T) {
	t.Parallel()
	s := awstest.NewReadModels(t)
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	runes := []rune{0, 1, 2, 'a', 'b', 0x7f, 'é', 0xffff, 0x10000}
	var all []driver.Row
	var labels []string
	for i := range 150 {
		var b strings.Builder
		for range 1 + random.IntN(4) {
			b.WriteRune(runes[random.IntN(len(runes))])
		}
		label, err := json.Marshal(b.String())
		if err != nil {
			t.Fatal(err)
		}
		labels = append(labels, b.String())
		all = append(all, driver.Row{Key: driver.Key{ID: fmt.Sprintf("id%d", random.IntN(1000)*1000+i)}, Data: json.RawMessage(fmt.Sprintf(`{"shop":"s","label":%s}`, label))})
	}
	fill(t, s, goods, all)
	provider := memory.New(nil)
	db, err := provider.OpenQueryDb(t.Context(), goods)
	if err != nil {
		t.Fatal(err)
	}
	awstest.Fill(t, db, all)
	model, err := provider.OpenQueryEngine(t.Context(), []driver.TableSpec{goods})
	if err != nil {
		t.Fatal(err)
	}
	q := open(t, s, nil, goods)
	comparators := []driver.Comparator{driver.Equal, driver.Less, driver.LessOrEqual, driver.Greater, driver.GreaterOrEqual, driver.Between, driver.BeginsWith}
	for i := range 70 {
		query := driver.Query{ReadModel: goods.Name, Index: "byLabel", Value: "s", Limit: 5 + random.IntN(20), Descending: i%2 == 0}
		query.Sort = &driver.Filter{Comparator: comparators[i%len(comparators)], Values: []any{labels[random.IntN(len(labels))]}}
		if query.Sort.Comparator == driver.Between {
			query.Sort.Values = append(query.Sort.Values, labels[random.IntN(len(labels))])
		}
		for page := 0; ; page++ {
			want, err := model.Query(t.Context(), query)
			if err != nil {
				t.Fatal(err)
			}
			got, err := q.Query(t.Context(), query)
			if err != nil {
				t.Fatalf("%+v: %v (seed %d)", query, err, seed)
			}
			if !slices.Equal(got.Cursors, want.Cursors) || got.Cursor != want.Cursor {
				t.Fatalf("page %d of %+v has %d rows, in memory %d, or others (seed %d)", page, query, len(got.Rows), len(want.Rows), seed)
			}
			if got.Cursor == "" {
				break
			}
			query.Cursor = got.Cursor
		}
	}
}
