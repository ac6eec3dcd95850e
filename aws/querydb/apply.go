package querydb

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/internal/dynamo"
	"github.com/reventless-go/reventless/aws/watermarks"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/rows"
)

// Apply implements [driver.QueryDb]. Every step is one request.
func (db *Db) Apply(ctx context.Context, step driver.Step) error {
	if err := db.apply(ctx, step); err != nil {
		return fmt.Errorf("querydb %s: apply: %w", db.rows.Name, err)
	}
	return nil
}

func (db *Db) apply(ctx context.Context, step driver.Step) error {
	if n := len(step.Writes) + len(step.Advances); n > MaxStep {
		return &driver.TooLargeError{What: "step", Size: n, Limit: MaxStep}
	}
	if err := watermarks.Check(step.Advances); err != nil {
		return err
	}
	seen := make(map[driver.Key]bool, len(step.Writes))
	for _, w := range step.Writes {
		if seen[w.Row.Key] {
			return fmt.Errorf("two writes to row %.100q: %w", w.Row.Key, driver.ErrInvalid)
		}
		seen[w.Row.Key] = true
		if err := rows.CheckKey(db.rows.Spec, w.Row.Key); err != nil {
			return err
		}
	}
	if db.rows.Spec.OwnRow {
		return db.applyOwn(ctx, step)
	}
	var writes []types.TransactWriteItem
	now, size := db.now(), 0
	for _, w := range step.Writes {
		write, bytes, err := db.change(w, now)
		if err != nil {
			return err
		}
		writes = append(writes, write)
		size += bytes
	}
	if size > dynamo.MaxTransactionBytes {
		return &driver.TooLargeError{What: "step", Size: size, Limit: dynamo.MaxTransactionBytes}
	}
	if writes = append(writes, db.Writes(step.Advances)...); len(writes) == 0 {
		return ctx.Err()
	}
	return db.call.Write(ctx, writes)
}

// change returns one row's part of a step, with the size of its item.
func (db *Db) change(w driver.RowWrite, now time.Time) (types.TransactWriteItem, int, error) {
	var e dynamo.Expression
	if w.Guard {
		e.Where(db.rows.At(&e, w.Expect))
	}
	if w.Delete {
		return e.Delete(db.rows.Name, db.rows.Key(w.Row.Key)), rows.Size(w.Row), nil
	}
	size, err := db.rows.Put(&e, w.Row, now)
	if err != nil {
		return types.TransactWriteItem{}, 0, err
	}
	return e.Update(db.rows.Name, db.rows.Key(w.Row.Key)), size, nil
}

// applyOwn changes the row and its watermark, which are one item.
func (db *Db) applyOwn(ctx context.Context, step driver.Step) error {
	if n := len(step.Advances); n != 1 {
		return fmt.Errorf("step with %d advances, want 1 in a read model with own rows: %w", n, driver.ErrInvalid)
	}
	advance, now := step.Advances[0], db.now()
	if advance.To == advance.From {
		return fmt.Errorf("step of a read model with own rows that advances nothing: %w", driver.ErrInvalid)
	}
	key := driver.Key{ID: advance.Stream}
	var e dynamo.Expression
	db.Move(&e, advance)
	for _, w := range step.Writes { // at most one: there are no sub ids
		if w.Row.Key != key {
			return fmt.Errorf("row %.100q does not belong to stream %.100q: %w", w.Row.Key, advance.Stream, driver.ErrInvalid)
		}
		if w.Guard {
			e.Where(db.rows.At(&e, w.Expect))
		}
		if w.Delete {
			db.rows.Drop(&e)
		} else if _, err := db.rows.Put(&e, w.Row, now); err != nil {
			return err
		}
	}
	return db.write(ctx, key, &e)
}
