package drivertest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/faults"
)

func schedulerFaults() []fault {
	creating := func(change func(s *driver.Schedule)) plant {
		return on(func(h *faults.Scheduler, _ *faulty) {
			h.OnCreate = func(ctx context.Context, s driver.Schedule) error {
				change(&s)
				return h.Scheduler.Create(ctx, s)
			}
		})
	}
	moved := func(d time.Duration) plant {
		return creating(func(s *driver.Schedule) {
			if t, err := time.Parse("at(2006-01-02T15:04:05)", s.Expression); err == nil && s.Zone == "" {
				s.Expression = at(t.Add(d))
			}
		})
	}
	return []fault{
		{"APastTimeIsForgotten", "Scheduler/APastTimeFiresAtOnce", on(func(h *faults.Scheduler, w *faulty) {
			h.OnCreate = func(ctx context.Context, s driver.Schedule) error {
				if t, err := time.Parse("at(2006-01-02T15:04:05)", s.Expression); err == nil && t.Before(w.Now()) {
					return nil
				}
				return h.Scheduler.Create(ctx, s)
			}
		})},
		{"FiresTwoMinutesEarly", "Scheduler/NothingFiresEarly", moved(-2 * time.Minute)},
		{"IgnoresZones", "Scheduler/ZonesAreHonoured", creating(func(s *driver.Schedule) { s.Zone = "" })},
		{"KeepsOneTimeSchedules", "Scheduler/AOneTimeScheduleRemovesItself", on(func(h *faults.Scheduler, _ *faulty) {
			var kept []driver.Schedule
			h.OnCreate = func(ctx context.Context, s driver.Schedule) error {
				kept = append(kept, s)
				return h.Scheduler.Create(ctx, s)
			}
			h.OnList = func(ctx context.Context) ([]driver.Schedule, error) { return kept, ctx.Err() }
		})},
		{"FiresOnce", "Scheduler/ARecurringScheduleFiresAgain", onEnds(func(h *faults.Scheduler, r *faults.Receiver[driver.Firing], _ *faulty) {
			firings := delivered(r)
			r.OnSettle = func(ctx context.Context, ss []driver.Settlement) error {
				err := r.Receiver.Settle(ctx, ss)
				for _, s := range ss {
					err = errors.Join(err, h.Scheduler.Delete(ctx, firings[s.ID].Name))
				}
				return err
			}
		})},
		{"RatesContinueFromTheDueTime", "Scheduler/RatesContinueFromTheSettlement", repeatsFirings},
		{"FiresForEveryMissedTime", "Scheduler/MissedTimesFireOnce", repeatsFirings},
		{"ARetryIsDueNow", "Scheduler/ARetryHasTheSameDue", onMessages(func(f *driver.Firing, w *faulty) bool {
			f.Due = w.Now().Truncate(time.Minute)
			return false
		})},
		{"CreateReplacesThePayloadOnly", "Scheduler/CreateReplaces", on(func(h *faults.Scheduler, _ *faulty) {
			known := map[string]string{}
			h.OnCreate = func(ctx context.Context, s driver.Schedule) error {
				if x, ok := known[s.Name]; ok {
					s.Expression = x
				}
				known[s.Name] = s.Expression
				return h.Scheduler.Create(ctx, s)
			}
		})},
		{"ReplacedFiringsAreDelivered", "Scheduler/AReplacedFiringIsGone", keepsFirings},
		{"ReplacesFiringsOneByOne", "Scheduler/ConcurrentCreatesLeaveOneSchedule", onEnds(func(h *faults.Scheduler, r *faults.Receiver[driver.Firing], w *faulty) {
			add := extras(r)
			var created sync.Map
			h.OnCreate = func(ctx context.Context, s driver.Schedule) error {
				if _, again := created.LoadOrStore(s.Name, true); again {
					add(driver.Firing{Name: s.Name, Due: w.Now(), Payload: s.Payload})
				}
				return h.Scheduler.Create(ctx, s)
			}
		})},
		{"DeletedFiringsAreDelivered", "Scheduler/DeleteRemovesTheFiring", keepsFirings},
		{"ListsInAnyOrder", "Scheduler/ListIsAscendingAndComplete", on(func(h *faults.Scheduler, _ *faulty) {
			h.OnList = func(ctx context.Context) ([]driver.Schedule, error) {
				all, err := h.Scheduler.List(ctx)
				slices.Reverse(all)
				return all, err
			}
		})},
		{"AcceptsAnyExpression", "Scheduler/InvalidSchedulesAreRefused", answers("Scheduler.Create", driver.ErrInvalid, nil)},
		{"RefusesTheNumberSign", "Scheduler/ValidSchedulesAreAccepted", on(func(h *faults.Scheduler, _ *faulty) {
			h.OnCreate = func(ctx context.Context, s driver.Schedule) error {
				if strings.Contains(s.Expression, "#") {
					return driver.ErrInvalid
				}
				return h.Scheduler.Create(ctx, s)
			}
		})},
		{"ForgetsSchedulesWhenClosed", "Scheduler/SchedulesSurviveReopening", on(func(h *faults.Scheduler, w *faulty) {
			if w.session > 1 {
				_ = h.Scheduler.Delete(context.Background(), "once")
			}
		})},
		{"SharesItsPayloads", "Scheduler/ArgumentsAreNotKept", on(func(h *faults.Scheduler, _ *faulty) {
			var kept []byte
			h.OnCreate = func(ctx context.Context, s driver.Schedule) error {
				kept = s.Payload
				return h.Scheduler.Create(ctx, s)
			}
			h.OnList = func(ctx context.Context) ([]driver.Schedule, error) {
				all, err := h.Scheduler.List(ctx)
				for i := range all {
					all[i].Payload = kept
				}
				return all, err
			}
		})},
	}
}

// repeatsFirings delivers another firing, due 20 minutes later, after a recurring firing
// is settled late, like a scheduler that continues from the last due time instead of the
// time of settlement.
func repeatsFirings(w *faulty) {
	onEnds(func(h *faults.Scheduler, r *faults.Receiver[driver.Firing], w *faulty) {
		firings, add := delivered(r), extras(r)
		r.OnSettle = func(ctx context.Context, ss []driver.Settlement) error {
			all, err := h.Scheduler.List(ctx)
			for _, s := range ss {
				f, ok := firings[s.ID]
				i := slices.IndexFunc(all, func(x driver.Schedule) bool { return x.Name == f.Name })
				if !ok || s.Retry || i < 0 || strings.HasPrefix(all[i].Expression, "at(") {
					continue
				}
				if w.Now().Sub(f.Due) > 20*time.Minute {
					f.Due = f.Due.Add(20 * time.Minute)
					add(f)
				}
				delete(firings, s.ID)
			}
			return errors.Join(err, r.Receiver.Settle(ctx, ss))
		}
	})(w)
}

// keepsFirings delivers the due firing of a schedule after the schedule is replaced or
// deleted.
func keepsFirings(w *faulty) {
	onEnds(func(h *faults.Scheduler, r *faults.Receiver[driver.Firing], w *faulty) {
		add := extras(r)
		past := map[string]driver.Firing{}
		gone := func(name string) {
			if f, ok := past[name]; ok {
				add(f)
				delete(past, name)
			}
		}
		h.OnCreate = func(ctx context.Context, s driver.Schedule) error {
			gone(s.Name)
			if t, err := time.Parse("at(2006-01-02T15:04:05)", s.Expression); err == nil && t.Before(w.Now()) {
				past[s.Name] = driver.Firing{Name: s.Name, Due: t, Payload: s.Payload}
			}
			return h.Scheduler.Create(ctx, s)
		}
		h.OnDelete = func(ctx context.Context, name string) error {
			gone(name)
			return h.Scheduler.Delete(ctx, name)
		}
	})(w)
}
