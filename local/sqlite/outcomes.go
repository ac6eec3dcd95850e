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
func (o outcomes) Put(ctx context.Context, out driver.StoredOutcome, expires time.Time) error {
	err := o.p.call(ctx, func() error {
		if err := checkOutcome(out); err != nil {
			return err
		}
		args := []any{
			out.CommandID, string(out.Kind), out.EntityID, int64(out.SequenceNr), int64(out.EventCount), out.Code, out.Message, nil, expires.UnixMicro(), out.Target, out.User,
			int64(out.Fingerprint), int64(out.Resend),
		}
		if out.Detail != nil {
			args[7] = string(out.Detail)
		}
		args = append(args, outcomeSum(out, args[7], expires.UnixMicro()))
		text := `INSERT INTO outcomes (command, kind, entity, seq, events, code, message, detail, expires, target, user, fingerprint, resend, crc)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET kind = excluded.kind, entity = excluded.entity, seq = excluded.seq, events = excluded.events,
			code = excluded.code, message = excluded.message, detail = excluded.detail, expires = excluded.expires, user = excluded.user,
			fingerprint = excluded.fingerprint, resend = excluded.resend, crc = excluded.crc`
		now := o.p.now().UnixMicro()
		switch out.Kind {
		case driver.Pending:
			text += " WHERE expires <= ? OR kind = ? AND resend < excluded.resend"
			args = append(args, now, string(driver.Failed))
		case driver.Failed:
			text += " WHERE expires <= ? OR kind <> ?"
			args = append(args, now, string(driver.Accepted))
		}
		return o.p.write(ctx, func(t *tx) error {
			// Delete up to two expired outcomes with each write, so that few are kept.
			if _, _, err := t.exec("DELETE FROM outcomes WHERE (command, target) IN (SELECT command, target FROM outcomes WHERE expires <= ? LIMIT 2)", now); err != nil {
				return err
			}
			_, _, err := t.exec(text, args...)
			return err
		})
	})
	if err != nil {
		return fmt.Errorf("outcomes: put %q of %q: %w", short(out.CommandID), short(out.Target), err)
	}
	return nil
}

func checkOutcome(out driver.StoredOutcome) error {
	if err := driver.CheckID("command", out.CommandID); err != nil {
		return err
	}
	return driver.CheckID("target", out.Target)
}

// Get implements [driver.Outcomes].
func (o outcomes) Get(ctx context.Context, target, commandID string) (out driver.StoredOutcome, err error) {
	err = o.p.call(ctx, func() error {
		return o.p.read(ctx, func(c *conn) error {
			found, err := c.first("SELECT "+outcomeColumns+" FROM outcomes WHERE command = ? AND target = ? AND expires > ?",
				[]any{commandID, target, o.p.now().UnixMicro()}, func(row []sqldriver.Value) error {
					if out = outcomeOf(row); outcomeSum(out, row[7], number(row[10])) != number(row[13]) {
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
		return driver.StoredOutcome{}, fmt.Errorf("outcomes: get %q of %q: %w", short(commandID), short(target), err)
	}
	return out, nil
}

const outcomeColumns = "command, kind, entity, seq, events, code, message, detail, target, user, expires, fingerprint, resend, crc"

// outcomeOf reads outcomeColumns.
func outcomeOf(row []sqldriver.Value) driver.StoredOutcome {
	out := driver.StoredOutcome{Fingerprint: uint32(number(row[11])), Resend: int(number(row[12]))}
	out.Outcome = driver.Outcome{
		CommandID: text(row[0]), Kind: driver.OutcomeKind(text(row[1])), EntityID: text(row[2]), SequenceNr: uint64(number(row[3])),
		EventCount: int(number(row[4])), Code: text(row[5]), Message: text(row[6]), Target: text(row[8]), User: text(row[9]),
	}
	if row[7] != nil {
		out.Detail = []byte(text(row[7]))
	}
	return out
}
