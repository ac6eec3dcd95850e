package sqlite

import (
	"context"
	sqldriver "database/sql/driver"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/reventless-go/reventless/driver"
)

const (
	// referenceWindow is how long a reference is remembered after its last use. It
	// exceeds the promised week because the time of that use may be referenceGrain old.
	referenceWindow = 8 * 24 * time.Hour
	// referenceGrain is how long repeated uses leave the stored time unchanged.
	referenceGrain = 12 * time.Hour
)

type counter struct {
	*queue[driver.CounterFinished]
	name string
}

// OpenCounter implements [driver.Provider].
func (p *Provider) OpenCounter(ctx context.Context, name string) (driver.Counter, error) {
	return p.openCounter(ctx, name)
}

// OpenCounterReceiver implements [driver.Sources].
func (p *Provider) OpenCounterReceiver(ctx context.Context, name string) (driver.Receiver[driver.CounterFinished], error) {
	return p.openCounter(ctx, name)
}

func (p *Provider) openCounter(ctx context.Context, name string) (*counter, error) {
	if err := p.enter(ctx); err != nil {
		return nil, err
	}
	defer p.leave()
	q, err := openQueue(ctx, p, kindCounter, name, driver.ReceiverOf("Counter", name), func(id, head string, _ []byte) (f driver.CounterFinished, err error) {
		err = json.Unmarshal([]byte(head), &f)
		return f, err
	})
	if err != nil {
		return nil, fmt.Errorf("counter: open %q: %w", name, err)
	}
	return &counter{q, name}, nil
}

// Count implements [driver.Counter].
func (ct *counter) Count(ctx context.Context, counterID, reference string, n int64) error {
	return ct.add(ctx, counterID, reference, n, 0)
}

// AddTarget implements [driver.Counter].
func (ct *counter) AddTarget(ctx context.Context, counterID, reference string, target int64) error {
	return ct.add(ctx, counterID, reference, target, 1)
}

// counterState is a row of the table counters.
type counterState struct {
	driver.CounterState
	reached int64 // highest target reached
}

// add adds n to the count, or to the target if target is 1, once per reference.
func (ct *counter) add(ctx context.Context, id, reference string, n, target int64) error {
	err := ct.p.call(ctx, func() error {
		if err := driver.CheckID("counter", id); err != nil {
			return err
		}
		if err := driver.CheckID("reference", reference); err != nil {
			return err
		}
		if n < 1 {
			return fmt.Errorf("cannot add %d: %w", n, driver.ErrInvalid)
		}
		return ct.p.writeWhole(ctx, func(t *tx) error { return ct.change(t, id, reference, n, target) })
	})
	if err != nil {
		return fmt.Errorf("counter %q: %q: %w", ct.name, short(id), err)
	}
	return nil
}

func (ct *counter) change(t *tx, id, reference string, n, target int64) error {
	now := ct.p.now()
	first, err := ct.use(t, id, reference, target, now)
	if err != nil || !first {
		return err
	}
	s, err := ct.state(t.conn, id)
	if err != nil {
		return err
	}
	sum := &s.Count
	if target == 1 {
		sum = &s.Target
	}
	if *sum > math.MaxInt64-n {
		return fmt.Errorf("adding %d to %d overflows: %w", n, *sum, driver.ErrInvalid)
	}
	*sum += n
	if s.Target > s.reached && s.Count >= s.Target {
		s.reached = s.Target
		s.Finished++
		head, err := json.Marshal(driver.CounterFinished{CounterID: id, Ordinal: s.Finished, Target: s.Target})
		if err != nil {
			return err
		}
		if _, err := ct.put(t, message{group: id, head: string(head)}); err != nil {
			return err
		}
	}
	_, _, err = t.exec("INSERT OR REPLACE INTO counters (counter, id, count, target, finished, reached, crc) VALUES (?, ?, ?, ?, ?, ?, ?)",
		ct.id, id, s.Count, s.Target, int64(s.Finished), s.reached, counterSum(ct.id, id, s.Count, s.Target, int64(s.Finished), s.reached))
	return err
}

// use records the use of a reference; first is true for its first use within the
// window.
func (ct *counter) use(t *tx, id, reference string, target int64, now time.Time) (first bool, err error) {
	var n, at int64
	_, err = t.first("SELECT n, at, crc FROM refs WHERE counter = ? AND id = ? AND target = ? AND ref = ?", []any{ct.id, id, target, reference},
		func(row []sqldriver.Value) error {
			n, at = number(row[0]), number(row[1])
			if referenceSum(ct.id, id, target, reference, at) != number(row[2]) {
				return damage("refs", ct.name, id, "%w", errChecksum)
			}
			return nil
		})
	if err != nil {
		return false, err
	}
	past := now.Add(-referenceWindow).UnixNano()
	switch {
	case n == 0:
		_, _, err = t.exec("INSERT INTO refs (counter, id, target, ref, at, crc) VALUES (?, ?, ?, ?, ?, ?)",
			ct.id, id, target, reference, now.UnixNano(), referenceSum(ct.id, id, target, reference, now.UnixNano()))
		first = true
	case now.UnixNano()-at > int64(referenceGrain):
		_, _, err = t.exec("UPDATE refs SET at = ?, crc = ? WHERE n = ?", now.UnixNano(), referenceSum(ct.id, id, target, reference, now.UnixNano()), n)
		first = at < past
	}
	if err == nil {
		// Delete up to two old references with each use, so that few are kept.
		_, _, err = t.exec("DELETE FROM refs WHERE n IN (SELECT n FROM refs WHERE at < ? LIMIT 2)", past)
	}
	return first, err
}

func (ct *counter) state(c *conn, id string) (s counterState, err error) {
	_, err = c.first("SELECT count, target, finished, reached, crc FROM counters WHERE counter = ? AND id = ?", []any{ct.id, id}, func(row []sqldriver.Value) error {
		s.Count, s.Target, s.Finished, s.reached = number(row[0]), number(row[1]), uint64(number(row[2])), number(row[3])
		if counterSum(ct.id, id, s.Count, s.Target, int64(s.Finished), s.reached) != number(row[4]) {
			return damage("counters", ct.name, id, "%w", errChecksum)
		}
		return nil
	})
	return s, err
}

// State implements [driver.Counter].
func (ct *counter) State(ctx context.Context, counterID string) (driver.CounterState, error) {
	var s counterState
	err := ct.p.call(ctx, func() error {
		if err := driver.CheckID("counter", counterID); err != nil {
			return err
		}
		return ct.p.read(ctx, func(c *conn) (err error) {
			s, err = ct.state(c, counterID)
			return err
		})
	})
	if err != nil {
		return driver.CounterState{}, fmt.Errorf("counter %q: state of %q: %w", ct.name, short(counterID), err)
	}
	return s.CounterState, nil
}
