package memory

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/leases"
	"github.com/reventless-go/reventless/schedule"
)

// scheduler is a [driver.Scheduler].
type scheduler struct {
	p *Provider

	mu         sync.Mutex
	plans      map[string]*plan
	leased     map[string]*plan // by delivery id
	deliveries uint64
}

// plan is a schedule with its next firing.
type plan struct {
	driver.Schedule
	rate schedule.Rate
	// due is the next firing; zero means never.
	due time.Time
	// deleted is set if the schedule was deleted while its firing was leased. It is
	// removed when that firing is settled.
	deleted bool

	delivery string    // of the delivery that leases the firing, or empty
	until    time.Time // end of the lease or time of the retry
	attempt  int
}

func newScheduler(p *Provider) *scheduler {
	return &scheduler{p: p, plans: make(map[string]*plan), leased: make(map[string]*plan)}
}

// Create implements [driver.Scheduler].
func (s *scheduler) Create(ctx context.Context, sched driver.Schedule) error {
	if err := s.create(ctx, sched); err != nil {
		return err
	}
	s.p.notify(driver.ReceiverOf("Scheduler", ""))
	return nil
}

func (s *scheduler) create(ctx context.Context, sched driver.Schedule) error {
	if err := s.p.begin(ctx); err != nil {
		return err
	}
	defer s.p.end()
	if err := driver.CheckID("schedule", sched.Name); err != nil {
		return fmt.Errorf("scheduler: %w", err)
	}
	if len(sched.Payload) > 0 && !json.Valid(sched.Payload) {
		return fmt.Errorf("scheduler: payload of %q is not JSON: %w", sched.Name, driver.ErrInvalid)
	}
	rate, err := schedule.Parse(sched.Expression, sched.Zone)
	if err != nil {
		return fmt.Errorf("scheduler: create %q: %w: %w", sched.Name, driver.ErrInvalid, err)
	}
	pl := &plan{Schedule: copySchedule(sched), rate: rate}
	var ok bool
	if rate.Recurring() {
		pl.due, ok = rate.Next(s.p.now())
	} else {
		pl.due, ok = rate.Time()
	}
	if !ok {
		return fmt.Errorf("scheduler: create %q: the expression never fires: %w", sched.Name, driver.ErrInvalid)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(sched.Name)
	s.plans[sched.Name] = pl
	return nil
}

// Delete implements [driver.Scheduler].
func (s *scheduler) Delete(ctx context.Context, name string) error {
	if err := s.p.begin(ctx); err != nil {
		return err
	}
	defer s.p.end()
	s.mu.Lock()
	defer s.mu.Unlock()
	if pl := s.plans[name]; pl != nil && pl.delivery != "" && pl.until.After(s.p.now()) {
		pl.deleted = true
		return nil
	}
	s.remove(name)
	return nil
}

// remove removes a schedule and its firing.
func (s *scheduler) remove(name string) {
	if pl := s.plans[name]; pl != nil {
		delete(s.leased, pl.delivery)
		delete(s.plans, name)
	}
}

// List implements [driver.Scheduler].
func (s *scheduler) List(ctx context.Context) ([]driver.Schedule, error) {
	if err := s.p.begin(ctx); err != nil {
		return nil, err
	}
	defer s.p.end()
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []driver.Schedule
	for _, name := range slices.Sorted(maps.Keys(s.plans)) {
		if pl := s.plans[name]; !pl.deleted {
			list = append(list, copySchedule(pl.Schedule))
		}
	}
	return list, nil
}

// Receive implements [driver.Receiver].
func (s *scheduler) Receive(ctx context.Context, max int) (driver.Batch[driver.Firing], error) {
	var batch driver.Batch[driver.Firing]
	if err := s.p.begin(ctx); err != nil {
		return batch, err
	}
	defer s.p.end()
	if err := leases.CheckMax(max); err != nil {
		return batch, fmt.Errorf("memory: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.p.now()
	var due []*plan
	for _, pl := range s.plans {
		if pl.due.IsZero() {
			continue
		}
		at := later(pl.due, pl.until)
		if !at.After(now) {
			due = append(due, pl)
		} else if batch.Next.IsZero() || at.Before(batch.Next) {
			batch.Next = at
		}
	}
	slices.SortFunc(due, func(a, b *plan) int {
		return cmp.Or(a.due.Compare(b.due), cmp.Compare(a.Name, b.Name))
	})
	for _, pl := range due[:min(len(due), max)] {
		delete(s.leased, pl.delivery) // an expired lease
		s.deliveries++
		pl.delivery = strconv.FormatUint(s.deliveries, 10)
		pl.until = now.Add(leases.Default)
		pl.attempt++
		s.leased[pl.delivery] = pl
		batch.Deliveries = append(batch.Deliveries, driver.Delivery[driver.Firing]{
			ID: pl.delivery, Attempt: pl.attempt,
			Message: driver.Firing{Name: pl.Name, Due: pl.due, Payload: bytes.Clone(pl.Payload)},
		})
	}
	if len(batch.Deliveries) > 0 {
		batch.Next = time.Time{}
	}
	return batch, nil
}

// Settle implements [driver.Receiver].
func (s *scheduler) Settle(ctx context.Context, settlements []driver.Settlement) error {
	if err := s.p.begin(ctx); err != nil {
		return err
	}
	more := s.settle(settlements)
	s.p.end()
	if more {
		s.p.notify(driver.ReceiverOf("Scheduler", ""))
	}
	return nil
}

func (s *scheduler) settle(settlements []driver.Settlement) (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.p.now()
	for _, settlement := range settlements {
		pl := s.leased[settlement.ID]
		if pl == nil || !pl.until.After(now) { // unknown, or its lease has expired
			continue
		}
		delete(s.leased, settlement.ID)
		pl.delivery, pl.until = "", time.Time{}
		switch {
		case settlement.Retry:
			if settlement.After > 0 {
				pl.until = now.Add(settlement.After)
			}
		case pl.deleted || !pl.rate.Recurring():
			s.remove(pl.Name)
			continue
		default:
			pl.attempt = 0
			// If the clock went back, the next firing is still later than this one.
			if next, ok := pl.rate.Next(later(now, pl.due)); ok {
				pl.due = next
			} else {
				pl.due = time.Time{}
			}
		}
		more = true
	}
	return more
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
