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

// scheduler keeps schedules in the table of that name. Leases of firings and
// times of retries exist in memory only.
type scheduler struct {
	p *Provider

	receiving sync.Mutex // one Receive at a time

	mu       sync.Mutex
	firings  map[string]*firing // delivered and not settled, by schedule name
	leased   map[string]*firing // by delivery id
	deleting map[string]int     // calls of Delete by name; such a name is not delivered
	serial   uint64
}

// firing is a delivered firing of a schedule.
type firing struct {
	name     string
	gen, due int64 // of the schedule's row; a row with others is another firing
	attempt  int
	id       string    // of the delivery that leases it, or empty
	until    time.Time // end of the lease or time of the retry
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
		return &scheduler{p: p, firings: map[string]*firing{}, leased: map[string]*firing{}, deleting: map[string]int{}}, nil
	})
}

// micros converts a due time for storage. It rounds up, so that nothing is due early.
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
		return fmt.Errorf("the expression never fires: %w", driver.ErrInvalid)
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
			// Readers see the schedule once it is committed: its firing may have
			// been delivered before this runs.
			if f := s.firings[sched.Name]; f != nil && f.gen < gen {
				s.forget(f)
			}
		})
		t.notify(schedulerReceiver)
		_, _, err = t.exec("INSERT OR REPLACE INTO schedules (name, gen, expression, zone, payload, due, deleted, crc) VALUES (?, ?, ?, ?, ?, ?, 0, ?)",
			sched.Name, gen, sched.Expression, sched.Zone, payload, micros(due), scheduleSum(sched.Name, gen, sched.Expression, sched.Zone, payload, micros(due)))
		return err
	})
}

// forget removes a firing from memory; f may be nil.
func (s *scheduler) forget(f *firing) {
	if f == nil {
		return
	}
	delete(s.leased, f.id)
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
			f = nil // not leased
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
		// Wait for the result even if ctx ends: until then the name is not delivered.
		return s.p.write(context.WithoutCancel(ctx), func(t *tx) error {
			if f != nil {
				kept, _, err := t.exec("UPDATE schedules SET deleted = 1, crc = (crc & ?) + ? WHERE name = ? AND gen = ? AND due = ?",
					int64(lowerHalf), flagged(0, 1), name, f.gen, f.due)
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
			return c.query("SELECT "+scheduleColumns+" FROM schedules WHERE deleted = 0 ORDER BY name", nil, func(row []sqldriver.Value) error {
				list = append(list, driver.Schedule{Name: text(row[0]), Expression: text(row[3]), Zone: text(row[4]), Payload: payload(row[5])})
				return checkSchedule(row)
			})
		})
	})
	if err != nil {
		return nil, fmt.Errorf("scheduler: list: %w", err)
	}
	return list, nil
}

const scheduleColumns = "name, gen, due, expression, zone, payload, deleted, crc"

// checkSchedule compares a schedule, of which it has scheduleColumns, with its checksum.
func checkSchedule(row []sqldriver.Value) error {
	name := text(row[0])
	if flagged(scheduleSum(name, number(row[1]), text(row[3]), text(row[4]), row[5], number(row[2])), number(row[6])) != number(row[7]) {
		return damage("schedules", "", name, "%w", errChecksum)
	}
	return nil
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
			var messages []driver.Delivery[driver.Firing]
			err := c.query("SELECT "+scheduleColumns+" FROM schedules WHERE due <= ? AND (due, name) > (?, ?) ORDER BY due, name LIMIT 256",
				[]any{now.UnixMicro(), due, name}, func(row []sqldriver.Value) error {
					seen++
					name, due = text(row[0]), number(row[2])
					if f := s.lease(name, number(row[1]), due, now); f != nil {
						taken = append(taken, f)
						d := driver.Delivery[driver.Firing]{ID: f.id, Attempt: f.attempt}
						if d.Err = checkSchedule(row); d.Err != nil {
							d.Raw = []byte(text(row[5]))
						} else {
							d.Message = driver.Firing{Name: name, Due: time.UnixMicro(due).UTC(), Payload: payload(row[5])}
						}
						messages = append(messages, d)
					}
					if len(batch.Deliveries)+len(taken) == limit {
						return errStop
					}
					return nil
				})
			for i, f := range taken {
				// Skip a schedule that was replaced or deleted since the query: Delete
				// could not see the lease before.
				exists := int64(0)
				if err == nil {
					exists, err = c.integer("SELECT count(*) FROM schedules WHERE name = ? AND gen = ? AND due = ?", f.name, f.gen, f.due)
				}
				if err != nil || exists == 0 {
					s.mu.Lock()
					s.forget(f)
					s.mu.Unlock()
					continue
				}
				batch.Deliveries = append(batch.Deliveries, messages[i])
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
			if f := s.leased[d.ID]; f != nil {
				delete(s.leased, f.id)
				f.id, f.until = "", time.Time{}
			}
		}
	}
	return batch, err
}

// lease leases the firing of a schedule. It returns nil if the firing is leased,
// waits for a retry, or is being deleted.
func (s *scheduler) lease(name string, gen, due int64, now time.Time) *firing {
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
	delete(s.leased, f.id)
	s.serial++
	f.id = s.p.epoch + "-" + strconv.FormatUint(s.serial, 36)
	f.until = now.Add(leases.Default)
	f.attempt++
	s.firings[name], s.leased[f.id] = f, f
	return f
}

// next returns the earliest of due, which is the next due time in the table or 0,
// and the times at which leases end or firings are retried.
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
	s.p.notify([]string{schedulerReceiver})
	return nil
}

func (s *scheduler) settle(ctx context.Context, settlements []driver.Settlement) error {
	now := s.p.now()
	var done []firing
	s.mu.Lock()
	for _, st := range settlements {
		f := s.leased[st.ID]
		switch {
		case f == nil || !f.until.After(now): // unknown, or the lease has ended
		case st.Retry:
			delete(s.leased, f.id)
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

// finish settles a firing: it moves the schedule to its next firing, or removes it.
func (s *scheduler) finish(t *tx, f firing, now time.Time) error {
	t.after(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.forget(s.leased[f.id])
	})
	var expression, zone string
	var body sqldriver.Value
	var remove bool
	found, err := t.first("SELECT "+scheduleColumns+" FROM schedules WHERE name = ? AND gen = ? AND due = ?", []any{f.name, f.gen, f.due},
		func(row []sqldriver.Value) error {
			expression, zone, body = text(row[3]), text(row[4]), row[5]
			remove = number(row[6]) != 0 || checkSchedule(row) != nil // a damaged one was parked
			return nil
		})
	if err != nil || !found {
		return err // not found: it was replaced in the meantime
	}
	if remove {
		_, _, err = t.exec("DELETE FROM schedules WHERE name = ?", f.name)
		return err
	}
	rate, err := schedule.Parse(expression, zone)
	if err != nil {
		return damage("schedules", "", f.name, "the expression: %v", err)
	}
	if !rate.Recurring() {
		_, _, err = t.exec("DELETE FROM schedules WHERE name = ?", f.name)
		return err
	}
	due := int64(never)
	// If the clock went back, the next firing is still later than this one.
	if at := time.UnixMicro(f.due); at.After(now) {
		now = at
	}
	if next, ok := rate.Next(now); ok {
		due = micros(next)
	}
	_, _, err = t.exec("UPDATE schedules SET due = ?, crc = ? WHERE name = ?", due, scheduleSum(f.name, f.gen, expression, zone, body, due), f.name)
	return err
}
