package sqlite

import (
	"context"
	sqldriver "database/sql/driver"
	"fmt"
	"math"

	"github.com/reventless-go/reventless/driver"
)

// watermarks stores the watermarks of one consumer in the table watermarks.
type watermarks struct {
	p        *Provider
	consumer int64
}

var _ driver.Watermarks = watermarks{}

// OpenWatermarks implements [driver.Provider].
func (p *Provider) OpenWatermarks(ctx context.Context, consumer string) (driver.Watermarks, error) {
	if err := p.enter(ctx); err != nil {
		return nil, err
	}
	defer p.leave()
	var err error
	if consumer == "" {
		err = fmt.Errorf("no consumer: %w", driver.ErrInvalid)
	}
	var id int64
	if err == nil {
		id, err = p.intern(ctx, kindWatermarks, "consumer "+consumer)
	}
	if err != nil {
		return nil, fmt.Errorf("watermarks: open %q: %w", consumer, err)
	}
	return watermarks{p, id}, nil
}

// Watermark implements [driver.Watermarks].
func (w watermarks) Watermark(ctx context.Context, stream driver.StreamKey) (driver.Watermark, error) {
	found, err := w.Watermarks(ctx, []driver.StreamKey{stream})
	return found[stream], err
}

// Watermarks implements [driver.Watermarks].
func (w watermarks) Watermarks(ctx context.Context, streams []driver.StreamKey) (map[driver.StreamKey]driver.Watermark, error) {
	if err := w.p.enter(ctx); err != nil {
		return nil, err
	}
	defer w.p.leave()
	found := make(map[driver.StreamKey]driver.Watermark, len(streams))
	if len(streams) == 0 {
		return found, nil
	}
	err := w.p.read(ctx, func(c *conn) error {
		for _, s := range streams {
			log, ok := w.p.names.known(kindLog, s.Log)
			if !ok {
				found[s] = driver.Watermark{}
				continue
			}
			watermark, err := w.get(c, log, s.Stream)
			if err != nil {
				return err
			}
			found[s] = watermark
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("watermarks: read %d watermarks: %w", len(streams), err)
	}
	return found, nil
}

func (w watermarks) get(c *conn, log int64, stream string) (watermark driver.Watermark, err error) {
	_, err = c.first("SELECT seq, blocked, crc FROM watermarks WHERE consumer = ? AND log = ? AND stream = ?", []any{w.consumer, log, stream},
		func(row []sqldriver.Value) error {
			watermark = driver.Watermark{SequenceNr: uint64(number(row[0])), Blocked: number(row[1]) != 0}
			if flagged(watermarkSum(w.consumer, log, stream, number(row[0])), number(row[1])) != number(row[2]) {
				return w.damaged(stream)
			}
			return nil
		})
	return watermark, err
}

func (w watermarks) damaged(stream string) error {
	return damage("watermarks", w.p.names.of(w.consumer), stream, "%w", errChecksum)
}

// advance is a checked advance with the number of its log.
type advance struct {
	driver.Advance
	log int64
}

// prepare checks advances and looks up their logs.
func (w watermarks) prepare(ctx context.Context, advances []driver.Advance) ([]advance, error) {
	prepared := make([]advance, len(advances))
	seen := make(map[driver.StreamKey]bool, len(advances))
	for i, a := range advances {
		if a.To < a.From || a.To > math.MaxInt64 {
			return nil, fmt.Errorf("advance of %q from %d to %d: %w", a.Stream, a.From, a.To, driver.ErrInvalid)
		}
		if seen[a.StreamKey] {
			return nil, fmt.Errorf("two advances of %q: %w", a.Stream, driver.ErrInvalid)
		}
		seen[a.StreamKey] = true
		log, err := w.p.intern(ctx, kindLog, a.Log)
		if err != nil {
			return nil, err
		}
		prepared[i] = advance{a, log}
	}
	return prepared, nil
}

// move moves watermarks. After a conflict some of them may have moved: the caller
// needs a savepoint for more than one.
func (w watermarks) move(t *tx, advances []advance) error {
	for _, a := range advances {
		var moved int64
		var err error
		crc := watermarkSum(w.consumer, a.log, a.Stream, int64(a.To))
		if a.From == 0 {
			moved, _, err = t.exec(`INSERT INTO watermarks (consumer, log, stream, seq, blocked, crc) VALUES (?, ?, ?, ?, 0, ?)
				ON CONFLICT DO UPDATE SET seq = excluded.seq, crc = excluded.crc WHERE seq = 0 AND blocked = 0`, w.consumer, a.log, a.Stream, int64(a.To), crc)
		} else {
			moved, _, err = t.exec("UPDATE watermarks SET seq = ?, crc = ? WHERE consumer = ? AND log = ? AND stream = ? AND seq = ? AND blocked = 0",
				int64(a.To), crc, w.consumer, a.log, a.Stream, int64(a.From))
		}
		if err != nil {
			return err
		}
		if moved == 0 {
			return fmt.Errorf("the watermark of %q is not at %d or is blocked: %w", a.Stream, a.From, driver.ErrConflict)
		}
	}
	return nil
}

// Advance implements [driver.Watermarks].
func (w watermarks) Advance(ctx context.Context, advances []driver.Advance) error {
	if err := w.p.enter(ctx); err != nil {
		return err
	}
	defer w.p.leave()
	prepared, err := w.prepare(ctx, advances)
	if err == nil && len(prepared) > 0 {
		err = w.p.writer.do(ctx, &request{
			savepoint: len(prepared) > 1,
			run:       func(t *tx) error { return w.move(t, prepared) },
		})
	}
	if err != nil {
		return fmt.Errorf("watermarks: advance: %w", err)
	}
	return nil
}

// Block implements [driver.Watermarks].
func (w watermarks) Block(ctx context.Context, stream driver.StreamKey, at uint64) error {
	return w.setBlocked(ctx, stream, "block", func(current driver.Watermark) (bool, error) {
		if current.SequenceNr != at {
			return false, fmt.Errorf("the watermark is at %d, not at %d: %w", current.SequenceNr, at, driver.ErrConflict)
		}
		return true, nil
	})
}

// Unblock implements [driver.Watermarks].
func (w watermarks) Unblock(ctx context.Context, stream driver.StreamKey) error {
	return w.setBlocked(ctx, stream, "unblock", func(driver.Watermark) (bool, error) { return false, nil })
}

func (w watermarks) setBlocked(ctx context.Context, stream driver.StreamKey, verb string, decide func(driver.Watermark) (bool, error)) error {
	if err := w.p.enter(ctx); err != nil {
		return err
	}
	defer w.p.leave()
	err := func() error {
		log, err := w.p.intern(ctx, kindLog, stream.Log)
		if err != nil {
			return err
		}
		return w.p.write(ctx, func(t *tx) error {
			current, err := w.get(t.conn, log, stream.Stream)
			if err != nil {
				return err
			}
			blocked, err := decide(current)
			if err != nil || blocked == current.Blocked {
				return err
			}
			n := int64(0)
			if blocked {
				n = 1
			}
			_, _, err = t.exec(`INSERT INTO watermarks (consumer, log, stream, seq, blocked, crc) VALUES (?, ?, ?, ?, ?, ?)
				ON CONFLICT DO UPDATE SET blocked = excluded.blocked, crc = excluded.crc`,
				w.consumer, log, stream.Stream, int64(current.SequenceNr), n, flagged(watermarkSum(w.consumer, log, stream.Stream, int64(current.SequenceNr)), n))
			return err
		})
	}()
	if err != nil {
		return fmt.Errorf("watermarks: %s %q: %w", verb, short(stream.Stream), err)
	}
	return nil
}
