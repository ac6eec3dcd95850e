package querydb

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/internal/dynamo"
	"github.com/reventless-go/reventless/aws/watermarks"
	"github.com/reventless-go/reventless/driver"
)

const (
	// segments is the number of parts of a table that are cleared concurrently.
	segments = 8
	// holders is the number of watermarks of a part that are written concurrently.
	holders = 4
	// maxRounds bounds how often Clear starts over because new streams have begun.
	maxRounds = 100
	// maxPauses bounds the retries of a throttled write of a watermark.
	maxPauses = 8
)

// Clear implements [driver.QueryDb].
//
// A row must be deleted together with the watermarks of all streams that contribute to
// it, which takes several requests. Clear therefore first locks all watermarks, so that
// steps of their streams conflict. It then deletes the rows, and then the watermarks that
// stayed locked. A stream without a watermark cannot be locked: when such a stream has
// begun meanwhile, some of its rows may have been deleted, and Clear starts over. A lock
// ends only when its watermark is deleted. An interrupted Clear leaves streams locked; the
// next Clear continues with them.
func (db *Db) Clear(ctx context.Context) error {
	err := error(nil)
	if db.rows.Spec.OwnRow { // each row and its watermarks are one item
		err = db.clearRows(ctx)
	} else {
		err = db.clear(ctx)
	}
	if err != nil {
		return fmt.Errorf("querydb %s: clear: %w", db.rows.Name, err)
	}
	return nil
}

func (db *Db) clear(ctx context.Context) error {
	held, _, err := db.hold(ctx)
	if err != nil {
		return err
	}
	for range maxRounds {
		if err := db.clearRows(ctx); err != nil {
			return err
		}
		now, began, err := db.hold(ctx)
		if err != nil {
			return err
		}
		if !began && held.have(now) {
			return db.release(ctx, now)
		}
		held = now
	}
	return fmt.Errorf("new streams began during each of %d rounds: %w", maxRounds, driver.ErrThrottled)
}

// clearRows deletes the rows that exist when it begins. Rows that are written later may
// remain.
func (db *Db) clearRows(ctx context.Context) error {
	var keys dynamo.Expression
	for _, name := range db.rows.KeyAttributes() {
		keys.Name(name)
	}
	return db.sweep(ctx, db.rows.Name, &keys, func(ctx context.Context, items []dynamo.Item) error {
		first := error(nil)
		db.call.BatchDelete(ctx, db.rows.Name, items, func(_ int, err error) {
			if first == nil {
				first = err
			}
		})
		return first
	})
}

// holds are watermarks, each with the name of its lock. There may be millions, so they
// are kept as hashes.
type holds map[uint64]struct{}

var seed = maphash.MakeSeed()

func hashOf(s driver.StreamKey, name string) uint64 {
	return maphash.Comparable(seed, struct {
		driver.StreamKey
		name string
	}{s, name})
}

// have reports whether h contains all of others.
func (h holds) have(some holds) bool {
	for hash := range some {
		if _, ok := h[hash]; !ok {
			return false
		}
	}
	return true
}

// hold locks all watermarks that no Clear has locked, and reports whether there were
// any.
func (db *Db) hold(ctx context.Context) (held holds, began bool, err error) {
	// A watermark that was deleted and written again never has its previous lock.
	name := rand.Text()
	held = make(holds)
	var mu sync.Mutex
	err = db.eachMark(ctx, func(ctx context.Context, s driver.StreamKey, by string) error {
		free := by == ""
		if free {
			err := db.patiently(ctx, db.Hold(s, name))
			if errors.Is(err, driver.ErrConflict) {
				by = "" // it is deleted or locked: the next pass finds out
			} else if err != nil {
				return err
			} else {
				by = name
			}
		}
		mu.Lock()
		defer mu.Unlock()
		began = began || free
		if by != "" {
			held[hashOf(s, by)] = struct{}{}
		}
		return nil
	})
	return held, began, err
}

// release deletes the watermarks that still have their lock. Another Clear has deleted
// the others.
func (db *Db) release(ctx context.Context, held holds) error {
	return db.eachMark(ctx, func(ctx context.Context, s driver.StreamKey, by string) error {
		if _, ok := held[hashOf(s, by)]; !ok {
			return nil
		}
		err := db.patiently(ctx, db.Remove(s, by))
		if errors.Is(err, driver.ErrConflict) {
			return nil
		}
		return err
	})
}

// eachMark calls f for each watermark with the name of its lock, concurrently.
func (db *Db) eachMark(ctx context.Context, f func(ctx context.Context, s driver.StreamKey, by string) error) error {
	return db.sweep(ctx, db.marks, watermarks.KeysAndHolds(), func(ctx context.Context, items []dynamo.Item) error {
		return together(ctx, holders, items, func(ctx context.Context, item dynamo.Item) error {
			s, by, err := watermarks.Held(item)
			if err != nil {
				return err
			}
			return f(ctx, s, by)
		})
	})
}

// patiently writes one item and retries after a pause while the table is throttled.
func (db *Db) patiently(ctx context.Context, write types.TransactWriteItem) error {
	for attempt := 1; ; attempt++ {
		err := db.call.Write(ctx, []types.TransactWriteItem{write})
		if !errors.Is(err, driver.ErrThrottled) || attempt == maxPauses {
			return err
		}
		if err := dynamo.Pause(ctx, attempt); err != nil {
			return err
		}
	}
}

// sweep calls f for the items of a table, for several pages concurrently. An item that is
// written or deleted meanwhile may or may not be included.
func (db *Db) sweep(ctx context.Context, table string, wanted *dynamo.Expression, f func(context.Context, []dynamo.Item) error) error {
	parts := make([]int32, segments)
	for i := range parts {
		parts[i] = int32(i) //nolint:gosec // it is small
	}
	return together(ctx, segments, parts, func(ctx context.Context, part int32) error {
		return db.scan(ctx, &dynamodb.ScanInput{
			TableName: &table, Segment: &part, TotalSegments: aws.Int32(segments),
			ProjectionExpression: wanted.Projection(), ExpressionAttributeNames: wanted.Names(),
		}, func(items []dynamo.Item) error { return f(ctx, items) })
	})
}

// scan calls f for the items of a table, or of a part of it, page by page.
func (db *Db) scan(ctx context.Context, in *dynamodb.ScanInput, f func([]dynamo.Item) error) error {
	in.ConsistentRead, in.ReturnConsumedCapacity = aws.Bool(true), types.ReturnConsumedCapacityTotal
	for {
		out, err := db.call.Client.Scan(ctx, in)
		if err != nil {
			return dynamo.Classify(err)
		}
		db.call.Spent("Scan", out.ConsumedCapacity)
		if err := f(out.Items); err != nil {
			return err
		}
		if len(out.LastEvaluatedKey) == 0 {
			return nil
		}
		in.ExclusiveStartKey = out.LastEvaluatedKey
	}
}

// together calls f for each of all, at most limit concurrently, up to the first error.
func together[T any](ctx context.Context, limit int, all []T, f func(context.Context, T) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var once sync.Once
	first := error(nil)
	fail := func(err error) {
		if err != nil {
			once.Do(func() { first = err })
			cancel()
		}
	}
	slots := make(chan struct{}, limit)
	var wg sync.WaitGroup
	for _, v := range all {
		slots <- struct{}{}
		if ctx.Err() != nil {
			fail(ctx.Err())
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			fail(f(ctx, v))
		})
	}
	wg.Wait()
	return first
}
