// Package queryengine queries the read models that package querydb stores on
// DynamoDB.
//
// A query by id is a strongly consistent Query of the table, a query by index an
// eventually consistent Query of that index, a scan an eventually consistent Scan
// of the table. Conditions on the sub id or sort field bound what is read; filters
// do not: a row's data is one text, kept byte for byte, which DynamoDB cannot
// filter by, and DynamoDB's filters would not save read units. Package rows evaluates
// filters, orders and cursors, so results are the same as with every other provider.
//
// A page reads its rows and one more. With filters or expired rows, each request reads
// twice as many rows as the one before, up to 1 MB, until the page is full. A scan with an
// order reads the whole table for every page, which costs a read unit for each 8 KB: it is
// meant for tables of some thousand rows. Items that have only watermarks are read as well
// and never returned.
package queryengine

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/internal/dynamo"
	"github.com/reventless-go/reventless/aws/internal/rowtable"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/rows"
)

// mostItems is the largest limit of a request. Larger pages are limited by DynamoDB's
// 1 MB.
const mostItems = 1 << 14

// Table is a read model with the table of its rows.
type Table struct {
	Spec driver.TableSpec
	// Name is the table's physical name.
	Name string
}

// Engine queries the read models that it was opened with. It keeps no state in memory:
// any number of processes may have it open.
type Engine struct {
	client *dynamodb.Client
	tables map[string]rowtable.Table // by logical name
	now    func() time.Time
	spent  func(operation string, c *types.ConsumedCapacity)
}

var _ driver.QueryEngine = (*Engine)(nil)

// Options configure an [Engine]; nil fields are the defaults.
type Options struct {
	// Now is the clock for expiry. Nil is time.Now.
	Now func() time.Time
	// Spent is called with the name of each operation and what its request consumed.
	Spent func(operation string, c *types.ConsumedCapacity)
}

// Open returns an engine for read models. It makes no request: a missing table is [driver.ErrUnavailable] at the first call.
func Open(client *dynamodb.Client, tables []Table, opts *Options) (*Engine, error) {
	e := &Engine{client: client, tables: make(map[string]rowtable.Table, len(tables)), spent: func(string, *types.ConsumedCapacity) {}}
	if opts != nil {
		e.now = opts.Now
	}
	if e.now == nil {
		e.now = time.Now
	}
	if opts != nil && opts.Spent != nil {
		e.spent = opts.Spent
	}
	for _, t := range tables {
		if err := rows.CheckSpec(t.Spec); err != nil {
			return nil, fmt.Errorf("queryengine: %w", err)
		}
		t.Spec.Indexes = slices.Clone(t.Spec.Indexes)
		e.tables[t.Spec.Name] = rowtable.Table{Spec: t.Spec, Name: t.Name}
	}
	return e, nil
}

// Query implements [driver.QueryEngine].
func (e *Engine) Query(ctx context.Context, q driver.Query) (driver.Page, error) {
	t, ok := e.tables[q.ReadModel]
	if !ok {
		return driver.Page{}, fmt.Errorf("query %.100q: %w", q.ReadModel, driver.ErrNotFound)
	}
	plan, err := rows.CheckQuery(t.Spec, q)
	if err != nil {
		return driver.Page{}, err
	}
	r := reading{e: e, t: t, plan: plan, filters: q.Filters, sort: q.Sort, follows: true}
	page, err := r.query(ctx)
	if err != nil {
		return driver.Page{}, fmt.Errorf("query %q in table %s: %w", q.ReadModel, t.Name, err)
	}
	return page, nil
}

// Scan implements [driver.QueryEngine].
func (e *Engine) Scan(ctx context.Context, s driver.Scan) (driver.Page, error) {
	t, ok := e.tables[s.ReadModel]
	if !ok {
		return driver.Page{}, fmt.Errorf("scan %.100q: %w", s.ReadModel, driver.ErrNotFound)
	}
	plan, err := rows.CheckScan(s)
	if err != nil {
		return driver.Page{}, err
	}
	r := reading{e: e, t: t, plan: plan, filters: s.Filters}
	page, err := r.scan(ctx, s.Order != nil)
	if err != nil {
		return driver.Page{}, fmt.Errorf("scan %q of table %s: %w", s.ReadModel, t.Name, err)
	}
	return page, nil
}

// reading is one call.
type reading struct {
	e       *Engine
	t       rowtable.Table
	plan    rows.Plan
	filters []driver.Filter
	sort    *driver.Filter
	// follows is true when rows are returned in the order of their positions.
	follows bool
}

// answer is the result of a request.
type answer struct {
	items []dynamo.Item
	last  dynamo.Item
}

// request asks for at most limit items behind start; nil is no limit, and the start.
type request func(ctx context.Context, start dynamo.Item, limit *int32) (answer, error)

func (r *reading) query(ctx context.Context) (driver.Page, error) {
	in := &dynamodb.QueryInput{
		TableName: &r.t.Name, ScanIndexForward: aws.Bool(!r.plan.Descending), ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal,
	}
	key, sort := rowtable.ID, rowtable.Sub
	value, between := "", rowtable.Range{}
	if r.plan.Index == nil {
		if id, _ := r.plan.Value.(string); driver.CheckID("row", id) == nil {
			value = id
		}
		between = rowtable.SubRange(r.sort)
		in.ConsistentRead = aws.Bool(true)
	} else {
		in.IndexName = aws.String(rowtable.IndexName(r.plan.Index.Name))
		key, sort = rowtable.KeyAttribute(r.plan.Index.Name), rowtable.SortAttribute(r.plan.Index.Name)
		value, between = rowtable.KeyOf(r.plan.Value), rowtable.SortRange(r.sort)
	}
	if value == "" || between.Empty {
		return driver.Page{}, ctx.Err() // no row can have this value
	}
	var e dynamo.Expression
	condition := e.Name(key) + " = " + e.Value(dynamo.Text(value))
	if between != (rowtable.Range{}) {
		condition += " AND " + e.Name(sort)
		switch from, to := dynamo.Text(between.From), dynamo.Text(between.To); {
		case between.To == "":
			condition += " >= " + e.Value(from)
		case between.From == "":
			condition += " < " + e.Value(to)
		default: // the end of the range, which no row has or for which the condition does not hold
			condition += " BETWEEN " + e.Value(from) + " AND " + e.Value(to)
		}
	}
	in.KeyConditionExpression, in.ExpressionAttributeNames, in.ExpressionAttributeValues = &condition, e.Names(), e.Values()
	var start dynamo.Item
	if after := r.plan.After; after != nil {
		var err error
		if start, err = r.start(*after); err != nil {
			return driver.Page{}, err
		}
	}
	return r.page(ctx, start, func(ctx context.Context, start dynamo.Item, limit *int32) (answer, error) {
		in.ExclusiveStartKey, in.Limit = start, limit
		out, err := r.e.client.Query(ctx, in)
		if err != nil {
			return answer{}, dynamo.Classify(err)
		}
		r.e.spent("Query", out.ConsumedCapacity)
		return answer{out.Items, out.LastEvaluatedKey}, nil
	})
}

// start returns the key of a position. DynamoDB continues after it whether or not the
// item exists. A key that DynamoDB would refuse cannot come from a cursor of ours.
func (r *reading) start(at rows.Position) (dynamo.Item, error) {
	bad := func(what string) (dynamo.Item, error) {
		return nil, fmt.Errorf("a cursor %s: %w", what, driver.ErrInvalid)
	}
	if err := rows.CheckKey(r.t.Spec, at.Key); err != nil {
		return bad("without a row")
	}
	key := r.t.Key(at.Key)
	if r.plan.Index == nil {
		if id, ok := r.plan.Value.(string); ok && (id != at.ID || !rows.MatchSort(r.sort, at.Sub)) {
			return bad("outside of its query")
		}
		return key, nil
	}
	sort := rowtable.SortOf(at)
	if len(sort) > rowtable.MaxSortBytes || !rows.MatchSort(r.sort, at.Sort) {
		return bad("outside of its query")
	}
	key[rowtable.KeyAttribute(r.plan.Index.Name)] = dynamo.Text(rowtable.KeyOf(r.plan.Value))
	key[rowtable.SortAttribute(r.plan.Index.Name)] = dynamo.Text(sort)
	return key, nil
}

func (r *reading) scan(ctx context.Context, ordered bool) (driver.Page, error) {
	in := &dynamodb.ScanInput{TableName: &r.t.Name, ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal}
	request := func(ctx context.Context, start dynamo.Item, limit *int32) (answer, error) {
		in.ExclusiveStartKey, in.Limit = start, limit
		out, err := r.e.client.Scan(ctx, in)
		if err != nil {
			return answer{}, dynamo.Classify(err)
		}
		r.e.spent("Scan", out.ConsumedCapacity)
		return answer{out.Items, out.LastEvaluatedKey}, nil
	}
	if ordered {
		return r.ordered(ctx, request)
	}
	var start dynamo.Item
	if after := r.plan.After; after != nil {
		var err error
		if start, err = r.start(*after); err != nil {
			return driver.Page{}, err
		}
	}
	return r.page(ctx, start, request)
}

// page returns the first matching rows after start. It reads one more row to know
// whether there is another page.
func (r *reading) page(ctx context.Context, start dynamo.Item, ask request) (page driver.Page, err error) {
	now := r.e.now()
	for n := min(r.plan.Limit, mostItems) + 1; ; n *= 2 {
		var limit *int32
		if n <= mostItems {
			limit = aws.Int32(int32(n)) //nolint:gosec // as compared
		} else {
			n = mostItems
		}
		got, err := ask(ctx, start, limit)
		if err != nil {
			return driver.Page{}, err
		}
		for _, item := range got.items {
			row, at, ok, err := r.match(item, now)
			if err != nil {
				return driver.Page{}, err
			}
			if !ok {
				continue
			}
			if len(page.Rows) == r.plan.Limit {
				page.Cursor = page.Cursors[len(page.Cursors)-1]
				return page, nil
			}
			page.Rows, page.Cursors = append(page.Rows, row), append(page.Cursors, r.plan.Cursor(at))
		}
		if start = got.last; len(start) == 0 {
			return page, nil
		}
	}
}

// ordered returns the page of a scan with an order.
func (r *reading) ordered(ctx context.Context, ask request) (page driver.Page, err error) {
	now := r.e.now()
	top := rows.NewTop[driver.Row](r.plan)
	for start := dynamo.Item(nil); ; {
		got, err := ask(ctx, start, nil)
		if err != nil {
			return driver.Page{}, err
		}
		for _, item := range got.items {
			row, there, err := r.t.Decode(item)
			if err != nil {
				return driver.Page{}, err
			}
			there = there && !rows.Expired(rows.Deadline(row.ExpiresAt), now)
			at := rows.Position{}
			if there {
				at = r.plan.Place(row.Key, row.Data)
			}
			if !there || !top.Wants(at) {
				continue
			}
			if _, ok, err := r.filter(row); err != nil {
				return driver.Page{}, err
			} else if ok {
				top.Add(at, row)
			}
		}
		if start = got.last; len(start) == 0 {
			break
		}
	}
	found, more := top.Page()
	for _, f := range found {
		page.Rows, page.Cursors = append(page.Rows, f.Row), append(page.Cursors, r.plan.Cursor(f.At))
	}
	if more {
		page.Cursor = page.Cursors[len(page.Cursors)-1]
	}
	return page, nil
}

// match returns the row of an item and its position, and whether it is a result.
func (r *reading) match(item dynamo.Item, now time.Time) (row driver.Row, at rows.Position, ok bool, err error) {
	row, ok, err = r.t.Decode(item)
	if err != nil || !ok || rows.Expired(rows.Deadline(row.ExpiresAt), now) {
		return row, at, false, err
	}
	fields, ok, err := r.filter(row)
	if err != nil || !ok {
		return row, at, false, err
	}
	at = rows.Position{Key: row.Key}
	sort := any(row.Sub)
	if index := r.plan.Index; index != nil {
		if at.Sort, ok = r.t.Entry(item, *index, row.Key, fields); !ok {
			return row, at, false, nil
		}
		sort = at.Sort
		if row.Data, err = rows.Project(r.t.Spec, *index, row.Data); err != nil {
			return row, at, false, fmt.Errorf("row %.100q: %w", row.Key, err)
		}
	}
	return row, at, rows.MatchSort(r.sort, sort) && (!r.follows || r.plan.Follows(at)), nil
}

// filter returns the fields of a row, if they are needed, and whether it matches the
// filters.
func (r *reading) filter(row driver.Row) (map[string]json.RawMessage, bool, error) {
	if len(r.filters) == 0 && r.plan.Index == nil {
		return nil, true, nil
	}
	fields, err := rows.Fields(row.Data)
	if err != nil {
		return nil, false, fmt.Errorf("item %.100q is not a row: attribute %q: %w", row.Key, rowtable.Data, err)
	}
	ok, err := rows.Match(fields, r.filters)
	return fields, ok, err
}
