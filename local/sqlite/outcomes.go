package sqlite

import (
	"context"
	sqldriver "database/sql/driver"
	"fmt"
	"time"

	"github.com/reventless-go/reventless/driver"
)

type outcomes struct{ p *Provider }

var _ driver.Outcomes = outcomes{}

// OpenOutcomes implements [driver.Provider].
func (p *Provider) OpenOutcomes(ctx context.Context) (driver.Outcomes, error) {
	if err := p.enter(ctx); err != nil {
		return nil, err
	}
	p.leave()
	return outcomes{p}, nil
}

// Put implements [driver.Outcomes].
func (o outcomes) Put(ctx context.Context, out driver.Outcome, expires time.Time) error {
	err := o.p.call(ctx, func() error {
		if err := driver.CheckID("command", out.CommandID); err != nil {
			return err
		}
		args := []any{
			out.CommandID, string(out.Kind), out.EntityID, int64(out.SequenceNr), int64(out.EventCount), out.Code, out.Message, nil, expires.UnixMicro(), out.Target, out.User,
		}
		if out.Detail != nil {
			args[7] = string(out.Detail)
		}
		args = append(args, outcomeSum(out, args[7], expires.UnixMicro()))
		text := `INSERT INTO outcomes (command, kind, entity, seq, events, code, message, detail, expires, target, user, crc) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET kind = excluded.kind, entity = excluded.entity, seq = excluded.seq, events = excluded.events,
			code = excluded.code, message = excluded.message, detail = excluded.detail, expires = excluded.expires, target = excluded.target, user = excluded.user, crc = excluded.crc`
		now := o.p.now().UnixMicro()
		if out.Kind == driver.Pending {
			text += " WHERE expires <= ?"
			args = append(args, now)
		}
		return o.p.write(ctx, func(t *tx) error {
			// Delete up to two expired outcomes with each write, so that few are kept.
			if _, _, err := t.exec("DELETE FROM outcomes WHERE command IN (SELECT command FROM outcomes WHERE expires <= ? LIMIT 2)", now); err != nil {
				return err
			}
			_, _, err := t.exec(text, args...)
			return err
		})
	})
	if err != nil {
		return fmt.Errorf("outcomes: put %q: %w", short(out.CommandID), err)
	}
	return nil
}

// Get implements [driver.Outcomes].
func (o outcomes) Get(ctx context.Context, commandID string) (out driver.Outcome, err error) {
	err = o.p.call(ctx, func() error {
		return o.p.read(ctx, func(c *conn) error {
			found, err := c.first("SELECT "+outcomeColumns+" FROM outcomes WHERE command = ? AND expires > ?",
				[]any{commandID, o.p.now().UnixMicro()}, func(row []sqldriver.Value) error {
					if out = outcomeOf(row); outcomeSum(out, row[7], number(row[10])) != number(row[11]) {
						return damage("outcomes", "", commandID, "%w", errChecksum)
					}
					return nil
				})
			if err == nil && !found {
				err = driver.ErrNotFound
			}
			return err
		})
	})
	if err != nil {
		return driver.Outcome{}, fmt.Errorf("outcomes: get %q: %w", short(commandID), err)
	}
	return out, nil
}

const outcomeColumns = "command, kind, entity, seq, events, code, message, detail, target, user, expires, crc"

// outcomeOf reads outcomeColumns.
func outcomeOf(row []sqldriver.Value) driver.Outcome {
	out := driver.Outcome{
		CommandID: text(row[0]), Kind: driver.OutcomeKind(text(row[1])), EntityID: text(row[2]), SequenceNr: uint64(number(row[3])),
		EventCount: int(number(row[4])), Code: text(row[5]), Message: text(row[6]), Target: text(row[8]), User: text(row[9]),
	}
	if row[7] != nil {
		out.Detail = []byte(text(row[7]))
	}
	return out
}
