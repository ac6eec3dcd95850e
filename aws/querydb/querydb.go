// Package querydb is the store of a read model on DynamoDB: a table of rows and,
// unless the rows hold them, a table of watermarks.
//
// The form of the rows is that of package rowtable, that of the watermarks that
// of package marks. A row's data is one text, kept byte for byte. All reads are
// strongly consistent, and every write of a row is one update with its condition,
// which gives the row its next revision. What it costs:
//
//   - A step of a read model with OwnRow is one update, of one write unit for
//     each KB of the row.
//   - Any other step is a transaction of two units for each KB of each row, and
//     two for each watermark.
//   - LoadRow and Watermark are one request; LoadRows and Watermarks one for 100.
//   - Clear reads the table of rows once and that of watermarks three times, both
//     more often beside streams that begin, and writes each watermark twice.
//
// A row that has ended is absent at once, by the clock of [Options]; DynamoDB
// removes it some days later. Where rows hold their watermarks it does not: there
// what ended, or was deleted, stays as an item without a row.
//
// A write whose answer was lost is sent again by the SDK and may then meet
// itself: Save fails with [driver.ErrExists] or Apply with [driver.ErrConflict]
// although it took effect. Whoever applies steps reads the watermark again.
package querydb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/internal/dynamo"
	"github.com/reventless-go/reventless/aws/internal/marks"
	"github.com/reventless-go/reventless/aws/internal/rowtable"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/rows"
)

// The limits of a read model.
const (
	// MaxRowBytes is the most that a row may have. With many indexes it may be
	// less: see [driver.ErrTooLarge] of Save. Each index takes keys of 2,048 bytes
	// and, together with the ids of the row, sort values of about 1,020.
	MaxRowBytes = rowtable.MaxRowBytes
	// MaxStep is the most writes and advances of one step. Its rows together may
	// have 4 MB.
	MaxStep = dynamo.MaxActions
)

const (
	// parallel is how many updates of a batch are under way.
	parallel = 16
	// maxCounts bounds how often a count is tried that loses to other writers.
	maxCounts = 200
)

// Db is the store of one read model. It holds no state: any number of processes
// may have it open.
type Db struct {
	*marks.Marks
	rows  rowtable.Table
	marks string // the table of watermarks; empty when the rows hold them
	call  dynamo.Caller
	now   func() time.Time
}

var _ driver.QueryDb = (*Db)(nil)

// Options configure a [Db]; nil fields are the defaults.
type Options struct {
	// Now is the clock that ends rows and numbers revisions. Nil is time.Now.
	Now func() time.Time
	// Spent is told what each request consumed, by the name of its operation.
	Spent func(operation string, c *types.ConsumedCapacity)
}

// Open returns the store of a read model with its rows and watermarks in the
// tables given; with spec.OwnRow there is none of watermarks. Nothing is asked of
// the service: a missing table is [driver.ErrUnavailable] at the first call.
//
// Rows that were written under other indexes are in those of spec after
// [Db.Reindex].
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
		db.Marks = marks.InRows(db.call, rowTable, what)
	} else {
		db.marks = markTable
		db.Marks = marks.Apart(db.call, markTable, what)
	}
	return db, nil
}

// wrap says what failed with which row or id.
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
		return nil, ctx.Err() // nobody can have saved it
	}
	err = db.query(ctx, id, nil, func(item dynamo.Item) error {
		row, there, err := db.rows.Decode(item, db.now())
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

// get returns one row, and whether it is there.
func (db *Db) get(ctx context.Context, key driver.Key) (driver.Row, bool, error) {
	if rows.CheckKey(db.rows.Spec, key) != nil {
		return driver.Row{}, false, ctx.Err() // nobody can have saved it
	}
	item, err := db.call.Get(ctx, db.rows.Name, db.rows.Key(key), nil)
	if err != nil || item == nil {
		return driver.Row{}, false, err
	}
	return db.rows.Decode(item, db.now())
}

// LoadRow implements [driver.QueryDb].
func (db *Db) LoadRow(ctx context.Context, key driver.Key) (driver.Row, error) {
	row, there, err := db.get(ctx, key)
	if err == nil && !there {
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
		row, there, err := db.rows.Decode(item, db.now())
		if err != nil {
			return nil, err
		}
		if there {
			found = append(found, row)
		}
	}
	return found, nil
}

// items returns the items' keys of keys that rows can have, each once, with the
// keys in the same order.
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

// Save implements [driver.QueryDb]. It is one request.
func (db *Db) Save(ctx context.Context, row driver.Row, mode driver.SaveMode) error {
	return db.wrap(db.save(ctx, row, mode), "save row", row.Key.String())
}

func (db *Db) save(ctx context.Context, row driver.Row, mode driver.SaveMode) error {
	now := db.now()
	var e dynamo.Expression
	if _, err := db.rows.Put(&e, row, now); err != nil {
		return err
	}
	lost := driver.ErrConflict
	switch mode {
	case driver.Any:
	case driver.Init:
		e.Where(db.rows.Absent(&e, now))
		lost = driver.ErrExists
	case driver.Overwrite:
		e.Where(db.rows.Present(&e, now))
		lost = driver.ErrNotFound
	default:
		return fmt.Errorf("mode %q: %w", mode, driver.ErrInvalid)
	}
	err := db.write(ctx, row.Key, &e)
	if errors.Is(err, driver.ErrConflict) {
		return lost
	}
	return err
}

// write updates the item of a row.
func (db *Db) write(ctx context.Context, key driver.Key, e *dynamo.Expression) error {
	return db.call.Write(ctx, []types.TransactWriteItem{e.Update(db.rows.Name, db.rows.Key(key))})
}

// SaveBatch implements [driver.QueryDb]. It is one request for each row: the
// batches of DynamoDB have no revisions.
func (db *Db) SaveBatch(ctx context.Context, batch []driver.Row) error {
	last := make(map[driver.Key]driver.Row, len(batch))
	keys := make([]driver.Key, 0, len(batch))
	for _, row := range batch {
		if _, ok := last[row.Key]; !ok {
			keys = append(keys, row.Key)
		}
		last[row.Key] = row
	}
	return db.each(keys, func(key driver.Key) error {
		return db.save(ctx, last[key], driver.Any)
	})
}

// each calls f for different keys, some at the same time. The error is a
// *[driver.BatchError].
func (db *Db) each(keys []driver.Key, f func(driver.Key) error) error {
	var failed failures
	limit := make(chan struct{}, parallel)
	var wg sync.WaitGroup
	for _, key := range keys {
		limit <- struct{}{}
		wg.Go(func() {
			defer func() { <-limit }()
			if err := f(key); err != nil {
				failed.add(key, err)
			}
		})
	}
	wg.Wait()
	return failed.err()
}

// failures collects what failed of a batch.
type failures struct {
	mu     sync.Mutex
	failed map[string]error
}

func (f *failures) add(key driver.Key, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failed == nil {
		f.failed = make(map[string]error)
	}
	f.failed[key.String()] = err
}

func (f *failures) err() error {
	if len(f.failed) == 0 {
		return nil
	}
	return &driver.BatchError{Failed: f.failed}
}

// Count implements [driver.QueryDb]. It reads the row and replaces it as long as
// nobody else did: two requests, and one more for each lost race.
//
// The SDK does not send the update again: one whose answer was lost may have
// taken effect, which is the caller's to weigh.
func (db *Db) Count(ctx context.Context, key driver.Key, field string, inc int64) (int64, error) {
	value, err := db.count(ctx, key, field, inc)
	if err != nil {
		return 0, db.wrap(err, "count "+field+" of row", key.String())
	}
	return value, nil
}

func (db *Db) count(ctx context.Context, key driver.Key, field string, inc int64) (int64, error) {
	row, there, err := db.get(ctx, key)
	if err != nil {
		return 0, err
	}
	for attempt := 1; ; attempt++ {
		if !there {
			row = driver.Row{Key: key, Data: rows.Blank(db.rows.Spec, key)}
		}
		data, value, err := rows.AddCount(row.Data, field, inc)
		if err != nil {
			return 0, err
		}
		row.Data = data
		now := db.now()
		var e dynamo.Expression
		if _, err := db.rows.Put(&e, row, now); err != nil {
			return 0, err
		}
		e.Where(db.rows.At(&e, row.Revision, now))
		update := e.Update(db.rows.Name, db.rows.Key(key))
		update.Update.ReturnValuesOnConditionCheckFailure = types.ReturnValuesOnConditionCheckFailureAllOld
		err = db.call.Write(ctx, []types.TransactWriteItem{update}, func(o *dynamodb.Options) { o.Retryer = aws.NopRetryer{} })
		if err == nil {
			return value, nil
		}
		var lost *types.ConditionalCheckFailedException
		throttled := errors.Is(err, driver.ErrThrottled)
		if !throttled && !errors.As(err, &lost) {
			return 0, err
		}
		if attempt == maxCounts {
			return 0, fmt.Errorf("lost %d times to other writers: %w", attempt, driver.ErrThrottled)
		}
		// The row comes with the lost condition. Nobody waits between it and the next
		// attempt: it would only be older.
		switch {
		case throttled:
			if err = dynamo.Pause(ctx, attempt); err == nil {
				row, there, err = db.get(ctx, key)
			}
		case lost.Item == nil:
			there, err = false, nil
		default:
			row, there, err = db.rows.Decode(lost.Item, db.now())
		}
		if err != nil {
			return 0, err
		}
	}
}

// Delete implements [driver.QueryDb].
func (db *Db) Delete(ctx context.Context, key driver.Key) error {
	if rows.CheckKey(db.rows.Spec, key) != nil {
		return db.wrap(ctx.Err(), "delete row", key.String()) // nobody can have saved it
	}
	return db.wrap(db.drop(ctx, key), "delete row", key.String())
}

// drop removes a row, or leaves its watermark.
func (db *Db) drop(ctx context.Context, key driver.Key) error {
	var e dynamo.Expression
	if !db.rows.Spec.OwnRow {
		return db.call.Write(ctx, []types.TransactWriteItem{e.Delete(db.rows.Name, db.rows.Key(key))})
	}
	e.Where(e.Present(rowtable.Data)) // makes no item where there is none
	db.rows.Drop(&e)
	if err := db.write(ctx, key, &e); !errors.Is(err, driver.ErrConflict) {
		return err
	}
	return nil
}

// DeleteAll implements [driver.QueryDb].
func (db *Db) DeleteAll(ctx context.Context, id string) error {
	if db.rows.Spec.SubID == "" {
		return db.Delete(ctx, driver.Key{ID: id})
	}
	if driver.CheckID("row", id) != nil {
		return db.wrap(ctx.Err(), "delete all of", id)
	}
	var wanted dynamo.Expression
	wanted.Name(rowtable.ID)
	wanted.Name(rowtable.Sub)
	var keys []driver.Key
	err := db.query(ctx, id, &wanted, func(item dynamo.Item) error {
		key, err := db.rows.KeyOf(item)
		keys = append(keys, key)
		return err
	})
	if err == nil {
		err = db.deleteBatch(ctx, keys)
	}
	return db.wrap(err, "delete all of", id)
}

// DeleteBatch implements [driver.QueryDb]. It is one request for 25 rows, or one
// for each where rows hold their watermarks.
func (db *Db) DeleteBatch(ctx context.Context, keys []driver.Key) error {
	return db.deleteBatch(ctx, keys)
}

func (db *Db) deleteBatch(ctx context.Context, keys []driver.Key) error {
	items, of := db.items(keys)
	if db.rows.Spec.OwnRow {
		return db.each(of, func(key driver.Key) error { return db.drop(ctx, key) })
	}
	var failed failures
	db.call.BatchDelete(ctx, db.rows.Name, items, func(i int, err error) { failed.add(of[i], err) })
	return failed.err()
}

// Reindex puts the rows into the indexes of the spec that the Db was opened with,
// and rows that do not fit one out of it. A deployment calls it when an index has
// come or has become another one; until it returns, queries of that index miss
// rows. It reads the table whole and writes the rows that change, which keep their
// revision. It may be called beside other writers, and again after an error.
func (db *Db) Reindex(ctx context.Context) error {
	err := db.scan(ctx, &dynamodb.ScanInput{TableName: &db.rows.Name}, func(items []dynamo.Item) error {
		stale := make(map[driver.Key]dynamo.Item)
		var keys []driver.Key
		for _, item := range items {
			row, there, err := db.rows.Decode(item, db.now())
			if err != nil {
				return err
			}
			if there {
				keys = append(keys, row.Key)
				stale[row.Key] = item
			}
		}
		return db.each(keys, func(key driver.Key) error { return db.reindex(ctx, stale[key]) })
	})
	if err != nil {
		return fmt.Errorf("querydb %s: reindex: %w", db.rows.Name, err)
	}
	return nil
}

func (db *Db) reindex(ctx context.Context, item dynamo.Item) error {
	now := db.now()
	row, there, err := db.rows.Decode(item, now)
	if err != nil || !there {
		return err
	}
	var e dynamo.Expression
	if !db.rows.Reenter(&e, item, row) {
		return nil
	}
	e.Where(db.rows.At(&e, row.Revision, now))
	if err := db.write(ctx, row.Key, &e); !errors.Is(err, driver.ErrConflict) {
		return err
	}
	return nil // who wrote it meanwhile knew the indexes
}
