package sqlite

import (
	"context"
	sqldriver "database/sql/driver"
	"fmt"
	"time"

	"github.com/reventless-go/reventless/driver"
)

type deadLetters struct{ p *Provider }

var _ driver.DeadLetters = deadLetters{}

// OpenDeadLetters implements [driver.Provider].
func (p *Provider) OpenDeadLetters(ctx context.Context) (driver.DeadLetters, error) {
	if err := p.enter(ctx); err != nil {
		return nil, err
	}
	p.leave()
	return deadLetters{p}, nil
}

// Park implements [driver.DeadLetters].
func (d deadLetters) Park(ctx context.Context, l driver.DeadLetter) error {
	err := d.p.call(ctx, func() error {
		if l.ID == "" || l.Component == "" {
			return fmt.Errorf("no id or no component: %w", driver.ErrInvalid)
		}
		at, err := l.ParkedAt.MarshalText()
		if err != nil {
			return fmt.Errorf("%w: %w", driver.ErrInvalid, err)
		}
		args := []any{
			l.ID, l.Component, string(l.Kind), l.Log, l.Stream, int64(l.SequenceNr), []byte(nil), l.Reason, int64(l.Attempts), string(at),
		}
		if l.Body != nil {
			args[6] = append([]byte{}, l.Body...) // the caller may return first and change it
		}
		args = append(args, letterSum(l, string(at)))
		return d.p.write(ctx, func(t *tx) error {
			_, _, err := t.exec("INSERT OR REPLACE INTO dead_letters (id, component, kind, log, stream, seq, body, reason, attempts, at, crc) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", args...)
			return err
		})
	})
	if err != nil {
		return fmt.Errorf("deadletters: park %q of %q: %w", short(l.ID), l.Component, err)
	}
	return nil
}

const deadLetterColumns = "id, component, kind, log, stream, seq, body, reason, attempts, at, crc"

// deadLetter reads deadLetterColumns. A damaged dead letter is returned all the same, as
// far as it can be read, with a reason that says so: otherwise it could not be discarded.
// Only that of a commit keeps its kind, because redriving it does not use its body.
func (d deadLetters) deadLetter(row []sqldriver.Value) driver.DeadLetter {
	l := letterOf(row)
	err := errChecksum
	if letterSum(l, text(row[9])) == number(row[10]) {
		err = l.ParkedAt.UnmarshalText([]byte(text(row[9])))
	}
	if err != nil {
		err = damage("dead_letters", l.Component, l.ID, "%w", err)
		d.p.found(err)
		l.Reason, l.ParkedAt = err.Error(), time.Time{}
		if l.Kind != driver.DeadCommit {
			l.Kind = driver.DeadRaw
		}
	}
	return l
}

// letterOf reads deadLetterColumns, apart from the time.
func letterOf(row []sqldriver.Value) driver.DeadLetter {
	return driver.DeadLetter{
		ID: text(row[0]), Component: text(row[1]), Kind: driver.DeadLetterKind(text(row[2])), Log: text(row[3]), Stream: text(row[4]),
		SequenceNr: uint64(number(row[5])), Body: blob(row[6]), Reason: text(row[7]), Attempts: int(number(row[8])),
	}
}

// Get implements [driver.DeadLetters].
func (d deadLetters) Get(ctx context.Context, id string) (l driver.DeadLetter, err error) {
	err = d.p.call(ctx, func() error {
		return d.p.read(ctx, func(c *conn) error {
			found, err := c.first("SELECT "+deadLetterColumns+" FROM dead_letters WHERE id = ?", []any{id}, func(row []sqldriver.Value) error {
				l = d.deadLetter(row)
				return nil
			})
			if err == nil && !found {
				err = driver.ErrNotFound
			}
			return err
		})
	})
	if err != nil {
		return driver.DeadLetter{}, fmt.Errorf("deadletters: get %q: %w", short(id), err)
	}
	return l, nil
}

// List implements [driver.DeadLetters].
func (d deadLetters) List(ctx context.Context, component, after string, limit int) ([]driver.DeadLetter, error) {
	var list []driver.DeadLetter
	err := d.p.call(ctx, func() error {
		if err := checkLimit(limit); err != nil {
			return err
		}
		where, args := "id > ?", []any{after, int64(limit)}
		if component != "" {
			where, args = "component = ? AND id > ?", []any{component, after, int64(limit)}
		}
		return d.p.read(ctx, func(c *conn) error {
			return c.query("SELECT "+deadLetterColumns+" FROM dead_letters WHERE "+where+" ORDER BY id LIMIT ?", args, func(row []sqldriver.Value) error {
				list = append(list, d.deadLetter(row))
				return nil
			})
		})
	})
	if err != nil {
		return nil, fmt.Errorf("deadletters: list: %w", err)
	}
	return list, nil
}

// Remove implements [driver.DeadLetters].
func (d deadLetters) Remove(ctx context.Context, id string) error {
	err := d.p.call(ctx, func() error {
		return d.p.write(ctx, func(t *tx) error {
			_, _, err := t.exec("DELETE FROM dead_letters WHERE id = ?", id)
			return err
		})
	})
	if err != nil {
		return fmt.Errorf("deadletters: remove %q: %w", short(id), err)
	}
	return nil
}
