package sqlite

import (
	"context"
	sqldriver "database/sql/driver"
	"fmt"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/rows"
)

// queryDb is the store of one read model.
type queryDb struct {
	watermarks
	t *table
	// ownRow is checked but not stored: watermarks are in a separate table anyway.
	ownRow bool
}

var _ driver.QueryDb = queryDb{}

// OpenQueryDb implements [driver.Provider]. Existing rows that do not fit a new
// index are omitted from it. Rows keep their sub id field until a [driver.Shadow] is
// swapped.
func (p *Provider) OpenQueryDb(ctx context.Context, spec driver.TableSpec) (driver.QueryDb, error) {
	if err := p.enter(ctx); err != nil {
		return nil, err
	}
	defer p.leave()
	t, err := p.table(ctx, spec)
	if err == nil {
		err = t.alter(ctx, spec)
	}
	if err != nil {
		return nil, fmt.Errorf("querydb: open: %w", err)
	}
	return queryDb{t.watermarks, t, spec.OwnRow}, nil
}

func (db queryDb) wrap(err error, verb string, what any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("querydb %q: %s %q: %w", db.t.name, verb, what, err)
}

// Load implements [driver.QueryDb].
func (db queryDb) Load(ctx context.Context, id string) ([]driver.Row, error) {
	var found []driver.Row
	err := db.p.call(ctx, func() error {
		return db.p.read(ctx, func(c *conn) error {
			return c.query("SELECT "+rowColumns+" FROM rows WHERE tbl = ? AND id = ? ORDER BY sub",
				[]any{db.t.id, id}, func(row []sqldriver.Value) error {
					r := db.t.stored(row)
					found = append(found, r.row())
					return r.damage
				})
		})
	})
	if err != nil {
		return nil, db.wrap(err, "load", short(id))
	}
	return found, nil
}

// LoadRow implements [driver.QueryDb].
func (db queryDb) LoadRow(ctx context.Context, key driver.Key) (row driver.Row, err error) {
	if err := db.p.enter(ctx); err != nil {
		return driver.Row{}, err
	}
	defer db.p.leave()
	err = db.p.read(ctx, func(c *conn) error {
		var ok bool
		row, ok, err = db.t.load(c, key)
		if err == nil && (!ok || rows.Expired(rows.Deadline(row.ExpiresAt), db.p.now())) {
			return driver.ErrNotFound
		}
		return err
	})
	if err != nil {
		return driver.Row{}, db.wrap(err, "load row", short(key.String()))
	}
	return row, nil
}

// LoadRows implements [driver.QueryDb].
func (db queryDb) LoadRows(ctx context.Context, keys []driver.Key) ([]driver.Row, error) {
	if err := db.p.enter(ctx); err != nil {
		return nil, err
	}
	defer db.p.leave()
	if len(keys) == 0 {
		return nil, nil
	}
	seen := make(map[driver.Key]bool, len(keys))
	var found []driver.Row
	err := db.p.read(ctx, func(c *conn) error {
		for _, key := range keys {
			if seen[key] {
				continue
			}
			seen[key] = true
			row, ok, err := db.t.load(c, key)
			if err != nil {
				return err
			}
			if ok {
				found = append(found, row)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("querydb %q: load %d rows: %w", db.t.name, len(keys), err)
	}
	return found, nil
}

// rowsPerRequest bounds the rows that Clear removes, or that an index build reads,
// in one write request.
const rowsPerRequest = 500

// Apply implements [driver.QueryDb].
func (db queryDb) Apply(ctx context.Context, step driver.Step) error {
	if err := db.p.enter(ctx); err != nil {
		return err
	}
	defer db.p.leave()
	if err := db.apply(ctx, step); err != nil {
		return fmt.Errorf("querydb %q: apply: %w", db.t.name, err)
	}
	return nil
}

// change is the checked change of one row in a step.
type change struct {
	draft
	remove, guard bool
	expect        uint64
}

func (db queryDb) apply(ctx context.Context, step driver.Step) error {
	changes, err := db.prepare(step)
	if err != nil {
		return err
	}
	advances, err := db.watermarks.prepare(ctx, step.Advances)
	if err != nil {
		return err
	}
	return db.p.writer.do(ctx, &request{
		// A single advance that conflicts writes nothing.
		savepoint: len(advances) > 1,
		run: func(x *tx) error {
			now := db.p.now()
			blind := db.t.blind()
			olds := make([]stored, len(changes))
			for i, ch := range changes {
				if blind && !ch.guard && !ch.remove {
					continue
				}
				old, err := db.t.get(x.conn, ch.key)
				if err != nil {
					return err
				}
				olds[i] = old
				if !ch.guard {
					continue
				}
				if old.damage != nil {
					return old.damage
				}
				if revision := uint64(old.revision); revision != ch.expect {
					return fmt.Errorf("row %q has revision %d, not %d: %w", short(ch.key.String()), revision, ch.expect, driver.ErrConflict)
				}
			}
			if err := db.move(x, advances); err != nil {
				return err
			}
			for i, ch := range changes {
				var err error
				switch {
				case ch.remove:
					err = db.t.remove(x, olds[i], now)
				case blind && !ch.guard:
					err = db.t.putBlind(x, ch.draft)
				default:
					err = db.t.put(x, ch.draft, olds[i], now)
				}
				if err != nil {
					return err
				}
			}
			return db.t.sweep(x, now)
		},
	})
}

// prepare checks a step.
func (db queryDb) prepare(step driver.Step) ([]change, error) {
	if size, limit := len(step.Writes)+len(step.Advances), db.p.limits.MaxStep; size > limit {
		return nil, &driver.TooLargeError{What: "step", Size: size, Limit: limit}
	}
	if db.ownRow && len(step.Advances) != 1 {
		return nil, fmt.Errorf("OwnRow: the step has %d advances, want 1: %w", len(step.Advances), driver.ErrInvalid)
	}
	if db.ownRow && step.Advances[0].To == step.Advances[0].From {
		return nil, fmt.Errorf("OwnRow: the step does not advance its watermark: %w", driver.ErrInvalid)
	}
	changes := make([]change, len(step.Writes))
	seen := make(map[driver.Key]bool, len(step.Writes))
	for i, w := range step.Writes {
		key := w.Row.Key
		if seen[key] {
			return nil, fmt.Errorf("two writes to row %q: %w", short(key.String()), driver.ErrInvalid)
		}
		seen[key] = true
		if db.ownRow && key.ID != step.Advances[0].Stream {
			return nil, fmt.Errorf("OwnRow: row %q is not the row of stream %q: %w", short(key.String()), short(step.Advances[0].Stream), driver.ErrInvalid)
		}
		changes[i] = change{draft: draft{key: key}, remove: w.Delete, guard: w.Guard, expect: w.Expect}
		if w.Delete {
			continue
		}
		d, err := db.t.draft(w.Row)
		if err != nil {
			return nil, err
		}
		changes[i].draft = d
	}
	return changes, nil
}

// Clear implements [driver.QueryDb]. It publishes the removal of every row.
func (db queryDb) Clear(ctx context.Context) error {
	if err := db.p.enter(ctx); err != nil {
		return err
	}
	defer db.p.leave()
	if err := db.clear(ctx); err != nil {
		return fmt.Errorf("querydb %q: clear: %w", db.t.name, err)
	}
	return nil
}

// clear removes the rows in several requests, so that other writers can proceed.
// The last request removes, together with all watermarks, the rows that steps
// wrote in the meantime.
func (db queryDb) clear(ctx context.Context) error {
	// Known streams are blocked, because their steps would read an incomplete set
	// of rows. They stay blocked if the process ends before the last request.
	if err := db.p.write(ctx, func(x *tx) error {
		_, _, err := x.exec("UPDATE watermarks SET blocked = 1, crc = crc + ? WHERE consumer = ? AND blocked = 0", flagged(0, 1), db.consumer)
		return err
	}); err != nil {
		return err
	}
	after := driver.Key{}
	for {
		var page []stored
		if err := db.p.writeWhole(ctx, func(x *tx) (err error) {
			page, err = db.removePage(x, after)
			return err
		}); err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		after = page[len(page)-1].key
	}
	return db.p.writeWhole(ctx, func(x *tx) error {
		for more := true; more; {
			page, err := db.removePage(x, driver.Key{})
			if err != nil {
				return err
			}
			more = len(page) > 0
		}
		_, _, err := x.exec("DELETE FROM watermarks WHERE consumer = ?", db.consumer)
		return err
	})
}

// removePage removes and returns the next rows after a key.
func (db queryDb) removePage(x *tx, after driver.Key) (page []stored, err error) {
	now := db.p.now()
	if page, err = db.t.page(x.conn, after, rowsPerRequest); err != nil {
		return nil, err
	}
	for _, r := range page {
		if err := db.t.remove(x, r, now); err != nil {
			return nil, err
		}
	}
	return page, nil
}
