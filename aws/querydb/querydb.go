// Package querydb is the store of a read model on DynamoDB: a table of rows and,
// unless the rows hold them, a table of watermarks.
//
// The form of the rows is that of package rowtable, that of the watermarks that
// of package watermarks. A row's data is one text, kept byte for byte. All reads are
// strongly consistent, and every write of a row is one update with its condition,
// which gives the row its next revision. What it costs:
//
//   - A step of a read model with OwnRow is one update, of one write unit for
//     each KB of the row.
//   - Any other step is a transaction of two units for each KB of each row, and
//     two for each watermark.
//   - LoadRow and Watermark are one request; LoadRows and Watermarks one for 100.
//   - Clear reads the table of rows once and the table of watermarks three times, more
//     often when streams begin meanwhile, and writes each watermark twice.
//
// A row is absent as soon as it expires, by the clock of [Options]; DynamoDB deletes it
// within days. With OwnRow an expired or deleted row remains as an item that has only
// its watermarks.
//
// The SDK retries a write whose answer was lost. When the first attempt took effect, the
// second fails: Apply returns [driver.ErrConflict] although the step was applied. The
// caller reads the watermark again.
package querydb

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/internal/dynamo"
	"github.com/reventless-go/reventless/aws/internal/rowtable"
	"github.com/reventless-go/reventless/aws/watermarks"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/rows"
)

// The limits of a read model.
const (
	// MaxRowBytes is the maximum size of a row. With many indexes it may be less: Apply
	// then returns [driver.ErrTooLarge]. An index accepts keys of 2,048 bytes and sort
	// values of about 1,020 bytes together with the ids of the row.
	MaxRowBytes = rowtable.MaxRowBytes
	// MaxStep is the maximum number of writes and advances of one step. Its rows may
	// have 4 MB together.
	MaxStep = dynamo.MaxActions
)

// Db is the store of one read model. It keeps no state in memory: any number of processes
// may have it open.
type Db struct {
	*watermarks.Store
	rows  rowtable.Table
	marks string // the table of watermarks; empty with OwnRow
	call  dynamo.Caller
	now   func() time.Time
}

var _ driver.QueryDb = (*Db)(nil)

// Options configure a [Db]; nil fields are the defaults.
type Options struct {
	// Now is the clock for expiry and revisions. Nil is time.Now.
	Now func() time.Time
	// Spent is called with the name of each operation and what its request consumed.
	Spent func(operation string, c *types.ConsumedCapacity)
}

// Open returns the store of a read model with its rows and watermarks in the
// given tables; with spec.OwnRow there is no table of watermarks. It makes no request: a
// missing table is [driver.ErrUnavailable] at the first call.
//
// A row is in the indexes of the spec that it was last written with.
func Open(client *dynamodb.Client, rowTable, markTable string, spec driver.TableSpec, opts *Options) (*Db, error) {
	if err := rows.CheckSpec(spec); err != nil {
		return nil, fmt.Errorf("querydb %s: %w", rowTable, err)
	}
	spec.Indexes = slices.Clone(spec.Indexes)
	db := &Db{
		rows: rowtable.Table{Spec: spec, Name: rowTable},
		call: dynamo.Caller{Client: client, Spent: func(string, *types.ConsumedCapacity) {}},
	}
	if opts != nil {
		db.now = opts.Now
	}
	if db.now == nil {
		db.now = time.Now
	}
	if opts != nil && opts.Spent != nil {
		db.call.Spent = opts.Spent
	}
	if what := "querydb " + rowTable; spec.OwnRow {
		db.Store = watermarks.InRows(db.call, rowTable, what)
	} else {
		db.marks = markTable
		db.Store = watermarks.InTable(db.call, markTable, what)
	}
	return db, nil
}

// Shadow implements [driver.QueryDb].
func (db *Db) Shadow() driver.Shadow { return noShadow{db} }

// noShadow has no rows: a read model on DynamoDB is cleared and filled again.
type noShadow struct{ driver.RowStore }

var errNoShadow = fmt.Errorf("a read model on DynamoDB has no shadow: %w", driver.ErrUnsupported)

// Record implements [driver.Shadow].
func (noShadow) Record(context.Context) ([]byte, error) { return nil, errNoShadow }

// SetRecord implements [driver.Shadow].
func (noShadow) SetRecord(context.Context, []byte) error { return errNoShadow }

// Swap implements [driver.Shadow].
func (noShadow) Swap(context.Context, []byte, []string) (int, error) { return 0, errNoShadow }

// Drop implements [driver.Shadow].
func (noShadow) Drop(context.Context) error { return errNoShadow }

// wrap adds the operation and the row or id to an error.
func (db *Db) wrap(err error, verb, id string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("querydb %s: %s %.100q: %w", db.rows.Name, verb, id, err)
}

// Load implements [driver.QueryDb].
func (db *Db) Load(ctx context.Context, id string) ([]driver.Row, error) {
	found, err := db.load(ctx, id)
	if err != nil {
		return nil, db.wrap(err, "load", id)
	}
	return found, nil
}

func (db *Db) load(ctx context.Context, id string) (found []driver.Row, err error) {
	if db.rows.Spec.SubID == "" {
		row, there, err := db.get(ctx, driver.Key{ID: id})
		if !there {
			return nil, err
		}
		return []driver.Row{row}, nil
	}
	if driver.CheckID("row", id) != nil {
		return nil, ctx.Err() // such a row cannot exist
	}
	err = db.query(ctx, id, nil, func(item dynamo.Item) error {
		row, there, err := db.rows.Decode(item)
		if there {
			found = append(found, row)
		}
		return err
	})
	return found, err
}

// query calls f for the items of an id, ascending by sub id.
func (db *Db) query(ctx context.Context, id string, wanted *dynamo.Expression, f func(dynamo.Item) error) error {
	e := wanted
	if e == nil {
		e = new(dynamo.Expression)
	}
	in := &dynamodb.QueryInput{TableName: &db.rows.Name, ConsistentRead: aws.Bool(true), ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal}
	if wanted != nil {
		in.ProjectionExpression = wanted.Projection()
	}
	in.KeyConditionExpression = aws.String(e.Name(rowtable.ID) + " = " + e.Value(dynamo.Text(id)))
	in.ExpressionAttributeNames, in.ExpressionAttributeValues = e.Names(), e.Values()
	for {
		out, err := db.call.Client.Query(ctx, in)
		if err != nil {
			return dynamo.Classify(err)
		}
		db.call.Spent("Query", out.ConsumedCapacity)
		for _, item := range out.Items {
			if err := f(item); err != nil {
				return err
			}
		}
		if len(out.LastEvaluatedKey) == 0 {
			return nil
		}
		in.ExclusiveStartKey = out.LastEvaluatedKey
	}
}

// get returns one row, and whether it exists.
func (db *Db) get(ctx context.Context, key driver.Key) (driver.Row, bool, error) {
	if rows.CheckKey(db.rows.Spec, key) != nil {
		return driver.Row{}, false, ctx.Err() // such a row cannot exist
	}
	item, err := db.call.Get(ctx, db.rows.Name, db.rows.Key(key), nil)
	if err != nil || item == nil {
		return driver.Row{}, false, err
	}
	return db.rows.Decode(item)
}

// LoadRow implements [driver.QueryDb].
func (db *Db) LoadRow(ctx context.Context, key driver.Key) (driver.Row, error) {
	row, there, err := db.get(ctx, key)
	if err == nil && (!there || rows.Expired(rows.Deadline(row.ExpiresAt), db.now())) {
		err = driver.ErrNotFound
	}
	if err != nil {
		return driver.Row{}, db.wrap(err, "load row", key.String())
	}
	return row, nil
}

// LoadRows implements [driver.QueryDb].
func (db *Db) LoadRows(ctx context.Context, keys []driver.Key) ([]driver.Row, error) {
	found, err := db.loadRows(ctx, keys)
	if err != nil {
		return nil, fmt.Errorf("querydb %s: load %d rows: %w", db.rows.Name, len(keys), err)
	}
	return found, nil
}

func (db *Db) loadRows(ctx context.Context, keys []driver.Key) (found []driver.Row, err error) {
	wanted, _ := db.items(keys)
	items, err := db.call.BatchGet(ctx, db.rows.Name, wanted, nil)
	if err != nil {
		return nil, err
	}
	for _, item := range items {
		row, there, err := db.rows.Decode(item)
		if err != nil {
			return nil, err
		}
		if there {
			found = append(found, row)
		}
	}
	return found, nil
}

// items returns the item keys of those keys that a row can have, each once, and the keys
// in the same order.
func (db *Db) items(keys []driver.Key) (items []dynamo.Item, of []driver.Key) {
	seen := make(map[driver.Key]bool, len(keys))
	for _, key := range keys {
		if seen[key] || rows.CheckKey(db.rows.Spec, key) != nil {
			continue
		}
		seen[key] = true
		items, of = append(items, db.rows.Key(key)), append(of, key)
	}
	return items, of
}

// write updates the item of a row.
func (db *Db) write(ctx context.Context, key driver.Key, e *dynamo.Expression) error {
	return db.call.Write(ctx, []types.TransactWriteItem{e.Update(db.rows.Name, db.rows.Key(key))})
}
