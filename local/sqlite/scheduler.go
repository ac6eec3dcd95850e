package sqlite

import (
	"context"
	sqldriver "database/sql/driver"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/leases"
	"github.com/reventless-go/reventless/schedule"
)

// scheduler is the schedules of the table of that name. Which firings are held
// or wait for a retry is known in memory only.
type scheduler struct {
	p *Provider

	receiving sync.Mutex // one Receive at a time

	mu       sync.Mutex
	firings  map[string]*firing // by name, as far as they were delivered
	held     map[string]*firing // by delivery
	deleting map[string]int     // names that are being deleted are not delivered
	serial   uint64
}

// firing is one firing of a schedule that was delivered.
type firing struct {
	name     string
	gen, due int64 // of the schedule's row, which tell whether it is still the same
	attempt  int
	id       string // of the delivery that holds it, if any
	until    time.Time
}

const (
	kindScheduler = "scheduler"
	// never is the due time of a schedule that has no next time.
	never = math.MaxInt64
)

var schedulerReceiver = driver.ReceiverOf("Scheduler", "")

// OpenScheduler implements [driver.Provider].
func (p *Provider) OpenScheduler(ctx context.Context) (driver.Scheduler, error) {
	return p.openScheduler(ctx)
}

// OpenScheduleReceiver implements [driver.Sources].
func (p *Provider) OpenScheduleReceiver(ctx context.Context) (driver.Receiver[driver.Firing], error) {
	return p.openScheduler(ctx)
}

func (p *Provider) openScheduler(ctx context.Context) (*scheduler, error) {
	if err := p.enter(ctx); err != nil {
		return nil, err
	}
	defer p.leave()
	return share(p, kindScheduler, "schedules", func() (*scheduler, error) {
		return &scheduler{p: p, firings: map[string]*firing{}, held: map[string]*firing{}, deleting: map[string]int{}}, nil
	})
}

// micros is a time in the table; never early.
func micros(t time.Time) int64 {
	m := t.UnixMicro()
	if t.Nanosecond()%1000 != 0 {
		m++
	}
	return m
}

// Create implements [driver.Scheduler].
func (s *scheduler) Create(ctx context.Context, sched driver.Schedule) error {
	if err := s.p.call(ctx, func() error { return s.create(ctx, sched) }); err != nil {
		return fmt.Errorf("scheduler: create %q: %w", short(sched.Name), err)
	}
	return nil
}

func (s *scheduler) create(ctx context.Context, sched driver.Schedule) error {
	if err := driver.CheckID("schedule", sched.Name); err != nil {
		return err
	}
	if len(sched.Payload) > 0 && !json.Valid(sched.Payload) {
		return fmt.Errorf("the payload is not JSON: %w", driver.ErrInvalid)
	}
	rate, err := schedule.Parse(sched.Expression, sched.Zone)
	if err != nil {
		return fmt.Errorf("%w: %w", driver.ErrInvalid, err)
	}
	due, ok := rate.Time()
	if rate.Recurring() {
		due, ok = rate.Next(s.p.now())
	}
	if !ok {
		return fmt.Errorf("it never fires: %w", driver.ErrInvalid)
	}
	var payload any
	if sched.Payload != nil {
		payload = string(sched.Payload)
	}
	return s.p.write(ctx, func(t *tx) error {
		gen, err := t.next()
		if err != nil {
			return err
		}
		t.after(func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			// Readers see the schedule from the commit on: it may have been
			// received before this runs.
			if f := s.firings[sched.Name]; f != nil && f.gen < gen {
				s.forget(f)
			}
		})
		t.notify(schedulerReceiver)
		_, _, err = t.exec("INSERT OR REPLACE INTO schedules (name, gen, expression, zone, payload, due, gone) VALUES (?, ?, ?, ?, ?, ?, 0)",
			sched.Name, gen, sched.Expression, sched.Zone, payload, micros(due))
		return err
	})
}

// forget drops what is known of a firing, if it is still known.
func (s *scheduler) forget(f *firing) {
	if f == nil {
		return
	}
	delete(s.held, f.id)
	if s.firings[f.name] == f {
		delete(s.firings, f.name)
	}
}

// Delete implements [driver.Scheduler].
func (s *scheduler) Delete(ctx context.Context, name string) error {
	err := s.p.call(ctx, func() error {
		s.mu.Lock()
		f := s.firings[name]
		if f != nil && (f.id == "" || !f.until.After(s.p.now())) {
			f = nil // not held
		}
		s.deleting[name]++
		s.mu.Unlock()
		defer func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.deleting[name]--; s.deleting[name] == 0 {
				delete(s.deleting, name)
			}
		}()
		// The end must be known, for until then the name is not delivered.
		return s.p.write(context.WithoutCancel(ctx), func(t *tx) error {
			if f != nil {
				kept, _, err := t.exec("UPDATE schedules SET gone = 1 WHERE name = ? AND gen = ? AND due = ?", name, f.gen, f.due)
				if err != nil || kept > 0 {
					return err
				}
			}
			t.after(func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.forget(s.firings[name])
			})
			_, _, err := t.exec("DELETE FROM schedules WHERE name = ?", name)
			return err
		})
	})
	if err != nil {
		return fmt.Errorf("scheduler: delete %q: %w", short(name), err)
	}
	return nil
}

// List implements [driver.Scheduler].
func (s *scheduler) List(ctx context.Context) ([]driver.Schedule, error) {
	var list []driver.Schedule
	err := s.p.call(ctx, func() error {
		return s.p.read(ctx, func(c *conn) error {
			return c.query("SELECT name, expression, zone, payload FROM schedules WHERE gone = 0 ORDER BY name", nil, func(row []sqldriver.Value) error {
				list = append(list, driver.Schedule{Name: text(row[0]), Expression: text(row[1]), Zone: text(row[2]), Payload: payload(row[3])})
				return nil
			})
		})
	})
	if err != nil {
		return nil, fmt.Errorf("scheduler: list: %w", err)
	}
	return list, nil
}

func payload(v sqldriver.Value) json.RawMessage {
	if v == nil {
		return nil
	}
	return json.RawMessage(text(v))
}

// Receive implements [driver.Receiver].
func (s *scheduler) Receive(ctx context.Context, limit int) (driver.Batch[driver.Firing], error) {
	var batch driver.Batch[driver.Firing]
	err := s.p.call(ctx, func() (err error) {
		if err := leases.CheckMax(limit); err != nil {
			return err
		}
		batch, err = s.receive(ctx, limit)
		return err
	})
	if err != nil {
		return driver.Batch[driver.Firing]{}, fmt.Errorf("scheduler: receive: %w", err)
	}
	return batch, nil
}

func (s *scheduler) receive(ctx context.Context, limit int) (batch driver.Batch[driver.Firing], err error) {
	s.receiving.Lock()
	defer s.receiving.Unlock()
	now := s.p.now()
	err = s.p.read(ctx, func(c *conn) error {
		var due int64 = math.MinInt64
		name := ""
		for seen := -1; seen != 0 && len(batch.Deliveries) < limit; {
			seen = 0
			var taken []*firing
			var found []driver.Firing
			err := c.query("SELECT name, gen, due, payload FROM schedules WHERE due <= ? AND (due, name) > (?, ?) ORDER BY due, name LIMIT 256",
				[]any{now.UnixMicro(), due, name}, func(row []sqldriver.Value) error {
					seen++
					name, due = text(row[0]), number(row[2])
					if f := s.take(name, number(row[1]), due, now); f != nil {
						taken = append(taken, f)
						found = append(found, driver.Firing{Name: name, Due: time.UnixMicro(due).UTC(), Payload: payload(row[3])})
					}
					if len(batch.Deliveries)+len(taken) == limit {
						return errStop
					}
					return nil
				})
			for i, f := range taken {
				// Replaced or deleted since: what is held is known to Delete only from now on.
				still := int64(0)
				if err == nil {
					still, err = c.integer("SELECT count(*) FROM schedules WHERE name = ? AND gen = ? AND due = ?", f.name, f.gen, f.due)
				}
				if err != nil || still == 0 {
					s.giveBack(f)
					continue
				}
				batch.Deliveries = append(batch.Deliveries, driver.Delivery[driver.Firing]{ID: f.id, Attempt: f.attempt, Message: found[i]})
			}
			if err != nil {
				return err
			}
		}
		if len(batch.Deliveries) == 0 {
			next, err := c.integer("SELECT min(due) FROM schedules WHERE due > ? AND due < ?", now.UnixMicro(), int64(never))
			batch.Next = s.next(next, now)
			return err
		}
		return nil
	})
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, d := range batch.Deliveries {
			if f := s.held[d.ID]; f != nil {
				delete(s.held, f.id)
				f.id, f.until = "", time.Time{}
			}
		}
	}
	return batch, err
}

// take holds the firing of a schedule, if nobody does and it need not wait.
func (s *scheduler) take(name string, gen, due int64, now time.Time) *firing {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.firings[name]
	if f == nil || f.gen != gen || f.due != due {
		s.forget(f)
		f = &firing{name: name, gen: gen, due: due}
	} else if f.until.After(now) {
		return nil
	}
	if s.deleting[name] > 0 {
		return nil
	}
	delete(s.held, f.id)
	s.serial++
	f.id = s.p.epoch + "-" + strconv.FormatUint(s.serial, 36)
	f.until = now.Add(leases.Default)
	f.attempt++
	s.firings[name], s.held[f.id] = f, f
	return f
}

// giveBack ends a hold that was not delivered.
func (s *scheduler) giveBack(f *firing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(f)
}

// next returns the earliest time at which something is due, of those in the
// table and those that wait or are held.
func (s *scheduler) next(due int64, now time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	var at time.Time
	if due != 0 {
		at = time.UnixMicro(due).UTC()
	}
	for _, f := range s.firings {
		if f.until.After(now) && (at.IsZero() || f.until.Before(at)) {
			at = f.until
		}
	}
	return at
}

// Settle implements [driver.Receiver].
func (s *scheduler) Settle(ctx context.Context, settlements []driver.Settlement) error {
	err := s.p.call(ctx, func() error { return s.settle(ctx, settlements) })
	if err != nil {
		return fmt.Errorf("scheduler: settle: %w", err)
	}
	s.p.tell([]string{schedulerReceiver})
	return nil
}

func (s *scheduler) settle(ctx context.Context, settlements []driver.Settlement) error {
	now := s.p.now()
	var done []firing
	s.mu.Lock()
	for _, st := range settlements {
		f := s.held[st.ID]
		switch {
		case f == nil || !f.until.After(now): // unknown, or the hold has ended
		case st.Retry:
			delete(s.held, f.id)
			f.id, f.until = "", now.Add(max(0, st.After))
		default:
			done = append(done, *f)
		}
	}
	s.mu.Unlock()
	if len(done) == 0 {
		return nil
	}
	return s.p.writeWhole(ctx, func(t *tx) error {
		for _, f := range done {
			if err := s.finish(t, f, now); err != nil {
				return err
			}
		}
		return nil
	})
}

// finish ends a firing: the schedule goes on to its next one, or goes.
func (s *scheduler) finish(t *tx, f firing, now time.Time) error {
	t.after(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.forget(s.held[f.id])
	})
	var expression, zone string
	var gone bool
	found, err := t.first("SELECT expression, zone, gone FROM schedules WHERE name = ? AND gen = ? AND due = ?", []any{f.name, f.gen, f.due},
		func(row []sqldriver.Value) error {
			expression, zone, gone = text(row[0]), text(row[1]), number(row[2]) != 0
			return nil
		})
	if err != nil || !found {
		return err // replaced meanwhile
	}
	rate, err := schedule.Parse(expression, zone)
	if err != nil {
		return corrupt("schedule %q: %v", f.name, err)
	}
	if gone || !rate.Recurring() {
		_, _, err = t.exec("DELETE FROM schedules WHERE name = ?", f.name)
		return err
	}
	due := int64(never)
	// Not before the firing that is settled, should the clock go back.
	if at := time.UnixMicro(f.due); at.After(now) {
		now = at
	}
	if next, ok := rate.Next(now); ok {
		due = micros(next)
	}
	_, _, err = t.exec("UPDATE schedules SET due = ? WHERE name = ?", due, f.name)
	return err
}
