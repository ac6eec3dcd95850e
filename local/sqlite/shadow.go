package sqlite

import (
	"context"
	sqldriver "database/sql/driver"
	"fmt"
	"slices"

	"github.com/reventless-go/reventless/driver"
)

// shadow is a [driver.Shadow]: a second table without indexes and subscribers.
type shadow struct {
	queryDb
	served *table
}

var _ driver.Shadow = shadow{}

// newShadow returns the table of the shadow of a read model.
func (p *Provider) newShadow(ctx context.Context, name string) (*table, error) {
	id, err := p.intern(ctx, kindTable, "shadow "+name) // no read model has such a name
	if err != nil {
		return nil, err
	}
	consumer, err := p.intern(ctx, kindWatermarks, "shadow "+name)
	if err != nil {
		return nil, err
	}
	return &table{p: p, name: name, id: id, watermarks: watermarks{p, consumer}, hub: newHub(), writing: &shape{}}, nil
}

// Shadow implements [driver.QueryDb].
func (db queryDb) Shadow() driver.Shadow {
	t := db.t.shadow
	return shadow{queryDb{t.watermarks, t, db.ownRow}, db.t}
}

// Record implements [driver.Shadow].
func (s shadow) Record(ctx context.Context) (record []byte, err error) {
	err = s.p.call(ctx, func() error {
		return s.p.read(ctx, func(c *conn) error {
			_, err := c.first("SELECT record, crc FROM records WHERE tbl = ?", []any{s.served.id}, func(row []sqldriver.Value) error {
				record = []byte(text(row[0]))
				if recordSum(s.served.id, text(row[0])) != number(row[1]) {
					return damage("records", s.t.name, "", "%w", errChecksum)
				}
				return nil
			})
			return err
		})
	})
	return record, s.wrapShadow(err, "record")
}

func (s shadow) wrapShadow(err error, verb string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("querydb %q: shadow: %s: %w", s.t.name, verb, err)
}

// SetRecord implements [driver.Shadow].
func (s shadow) SetRecord(ctx context.Context, record []byte) error {
	stored := string(record)
	return s.wrapShadow(s.p.call(ctx, func() error {
		return s.p.write(ctx, func(x *tx) error { return s.setRecord(x, stored) })
	}), "set record")
}

func (s shadow) setRecord(x *tx, record string) error {
	_, _, err := x.exec("INSERT INTO records (tbl, record, crc) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET record = excluded.record, crc = excluded.crc",
		s.served.id, record, recordSum(s.served.id, record))
	return err
}

// Swap implements [driver.Shadow]. It is one transaction, which other writers wait for:
// it compares all rows and writes those that differ.
func (s shadow) Swap(ctx context.Context, record []byte, logs []string) (changed int, err error) {
	err = s.p.call(ctx, func() error {
		s.served.altering.Lock()
		defer s.served.altering.Unlock()
		damaged, err := s.served.damagedRows(ctx)
		if err != nil {
			return err
		}
		next := s.served.spec
		next.SubID = s.t.readable.Load().SubID
		stored, logs := string(record), slices.Clone(logs)
		// A swap that has begun is finished, so that the specs in memory equal the stored ones.
		err = s.p.writeWhole(context.WithoutCancel(ctx), func(x *tx) (err error) {
			if changed, err = s.swap(x, logs, damaged); err != nil {
				return err
			}
			if err := s.setRecord(x, stored); err != nil {
				return err
			}
			return s.served.store(x, next)
		})
		if err == nil {
			s.served.spec = next
			s.served.readable.Store(s.served.shapeOf(next, false))
		}
		return err
	})
	return changed, s.wrapShadow(err, "swap")
}

func (s shadow) swap(x *tx, logs []string, damaged []driver.Key) (changed int, err error) {
	if err := s.behind(x, logs); err != nil {
		return 0, err
	}
	now, old := s.p.now(), s.served
	for _, key := range damaged { // the comparison below may find them equal
		r, err := old.get(x.conn, key)
		if err == nil && r.n != 0 {
			changed++
			err = old.removeDamaged(x, r.n)
		}
		if err != nil {
			return 0, err
		}
	}
	// First the rows that the shadow does not have.
	err = old.each(x, `SELECT `+rowColumns+` FROM rows o WHERE tbl = ?1 AND (id, sub) > (?3, ?4)
		AND NOT EXISTS (SELECT 1 FROM rows s WHERE s.tbl = ?2 AND s.id = o.id AND s.sub = o.sub)
		ORDER BY id, sub LIMIT ?5`, old.id, s.t.id, func(r stored) error {
		if r.damage != nil || r.alive(now) {
			changed++
		}
		return old.remove(x, r, now)
	})
	if err != nil {
		return 0, err
	}
	err = s.t.each(x, `SELECT `+rowColumns+` FROM rows s WHERE tbl = ?2 AND (id, sub) > (?3, ?4)
		AND NOT EXISTS (SELECT 1 FROM rows o WHERE o.tbl = ?1 AND o.id = s.id AND o.sub = s.sub AND o.data = s.data AND o.expires = s.expires)
		ORDER BY id, sub LIMIT ?5`, old.id, s.t.id, func(r stored) error {
		if r.damage != nil {
			return r.damage
		}
		before, err := old.get(x.conn, r.key)
		if err != nil {
			return err
		}
		if r.alive(now) || before.alive(now) {
			changed++
		}
		if !r.alive(now) { // it is kept for a projection that extends it
			if err := old.remove(x, before, now); err != nil {
				return err
			}
			before = stored{}
		}
		d := draft{silent: !r.alive(now), key: r.key, data: r.data, deadline: r.deadline, shape: old.writing, entries: old.writing.entries(r.data)}
		return old.put(x, d, before, now)
	})
	if err != nil {
		return 0, err
	}
	if _, _, err := x.exec("DELETE FROM rows WHERE tbl = ?", s.t.id); err != nil {
		return 0, err
	}
	if _, _, err := x.exec("DELETE FROM watermarks WHERE consumer = ?", old.watermarks.consumer); err != nil {
		return 0, err
	}
	if _, _, err := x.exec("UPDATE watermarks SET consumer = ?1, crc = crc - (crc & ?4) + ((crc + ?3) & ?4) WHERE consumer = ?2",
		old.watermarks.consumer, s.consumer, movedBy(s.consumer, old.watermarks.consumer), int64(lowerHalf)); err != nil {
		return 0, err
	}
	return changed, nil
}

// each calls f for the rows of the table that a statement selects, damaged ones included.
// Its parameters are: served table, shadow, id and sub id after which a page begins, size
// of a page.
func (t *table) each(x *tx, statement string, served, shadow int64, f func(stored) error) error {
	for after := (driver.Key{}); ; {
		var page []stored
		size := 0
		if err := x.query(statement, []any{served, shadow, after.ID, after.Sub, int64(rowsPerRequest)}, func(row []sqldriver.Value) error {
			r := t.stored(row)
			page = append(page, r)
			if size += len(r.data); size > pageBytes {
				return errStop
			}
			return nil
		}); err != nil {
			return err
		}
		if len(page) == 0 {
			return nil
		}
		for _, r := range page {
			if err := f(r); err != nil {
				return err
			}
		}
		after = page[len(page)-1].key
	}
}

// damagedRows returns the keys of the rows that are damaged in any column.
func (t *table) damagedRows(ctx context.Context) (keys []driver.Key, err error) {
	for after, more := (driver.Key{}), true; more && err == nil; {
		err = t.p.read(ctx, func(c *conn) error {
			n := 0
			err := c.query("SELECT id, sub, rev, expires, data, purge, crc FROM rows WHERE tbl = ? AND (id, sub) > (?, ?) ORDER BY id, sub LIMIT ?",
				[]any{t.id, after.ID, after.Sub, int64(rowsPerRequest)}, func(row []sqldriver.Value) error {
					n++
					after = driver.Key{ID: text(row[0]), Sub: text(row[1])}
					if rowSum(t.id, after.ID, after.Sub, number(row[2]), number(row[3]), text(row[4]), number(row[5])) != number(row[6]) {
						keys = append(keys, after)
					}
					return nil
				})
			more = n == rowsPerRequest
			return err
		})
	}
	return keys, err
}

// behind returns a [driver.BehindError] if a swap would hide commits.
func (s shadow) behind(x *tx, logs []string) error {
	var e driver.BehindError
	for _, log := range logs {
		id, ok := s.p.names.known(kindLog, log)
		if !ok {
			continue // no watermark has this log
		}
		find := func(to *[]driver.StreamKey, statement string) error {
			return x.query(statement, []any{s.served.watermarks.consumer, s.consumer, id, int64(1000 - len(*to))}, func(row []sqldriver.Value) error {
				*to = append(*to, driver.StreamKey{Log: log, Stream: text(row[0])})
				return nil
			})
		}
		if err := find(&e.Behind, `SELECT stream FROM watermarks o WHERE consumer = ?1 AND log = ?3 AND seq > 0
			AND NOT EXISTS (SELECT 1 FROM watermarks s WHERE s.consumer = ?2 AND s.log = o.log AND s.stream = o.stream AND s.seq >= o.seq) LIMIT ?4`); err != nil {
			return err
		}
		if err := find(&e.Blocked, `SELECT stream FROM watermarks s WHERE consumer = ?2 AND log = ?3 AND blocked = 1
			AND NOT EXISTS (SELECT 1 FROM watermarks o WHERE o.consumer = ?1 AND o.log = s.log AND o.stream = s.stream AND o.seq = s.seq AND o.blocked = 1) LIMIT ?4`); err != nil {
			return err
		}
	}
	if len(e.Behind)+len(e.Blocked) > 0 {
		return &e
	}
	return nil
}

// Drop implements [driver.Shadow]. It removes the watermarks first: without them the
// rest of the rows belongs to no commit.
func (s shadow) Drop(ctx context.Context) error {
	return s.wrapShadow(s.p.call(ctx, func() error {
		for more := true; more; {
			if err := s.p.write(ctx, func(x *tx) error {
				if _, _, err := x.exec("DELETE FROM watermarks WHERE consumer = ?", s.consumer); err != nil {
					return err
				}
				n, _, err := x.exec("DELETE FROM rows WHERE n IN (SELECT n FROM rows WHERE tbl = ? LIMIT ?)", s.t.id, int64(rowsPerRequest))
				more = n > 0
				return err
			}); err != nil {
				return err
			}
		}
		return nil
	}), "drop")
}
