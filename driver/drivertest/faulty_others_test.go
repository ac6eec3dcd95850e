//go:build faults

package drivertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// onChanges changes what subscribers are told: nothing, or several changes.
func onChanges(change func(c driver.StateChange) []driver.StateChange) func(*hooked, *faulty) {
	return onSubscribe(func(ctx context.Context, t driver.StateTopic) (iter.Seq2[driver.StateChange, error], error) {
		seq, err := t.Subscribe(ctx)
		if err != nil {
			return nil, err
		}
		return func(yield func(driver.StateChange, error) bool) {
			for c, err := range seq {
				if err != nil {
					yield(c, err)
					return
				}
				for _, c := range change(c) {
					if !yield(c, nil) {
						return
					}
				}
			}
		}, nil
	})
}

func onSubscribe(subscribe func(ctx context.Context, t driver.StateTopic) (iter.Seq2[driver.StateChange, error], error)) func(*hooked, *faulty) {
	return func(p *hooked, _ *faulty) {
		p.stateTopic = func(t driver.StateTopic, _ driver.TableSpec) driver.StateTopic {
			return &stateTopicHook{StateTopic: t, subscribe: func(ctx context.Context) (iter.Seq2[driver.StateChange, error], error) {
				return subscribe(ctx, t)
			}}
		}
	}
}

func stateTopicFaults() []fault {
	one := func(change func(c *driver.StateChange)) func(*hooked, *faulty) {
		return onChanges(func(c driver.StateChange) []driver.StateChange {
			change(&c)
			return []driver.StateChange{c}
		})
	}
	without := func(drop func(c driver.StateChange) bool) func(*hooked, *faulty) {
		return onChanges(func(c driver.StateChange) []driver.StateChange {
			if drop(c) {
				return nil
			}
			return []driver.StateChange{c}
		})
	}
	return []fault{
		{"DoesNotTellRemovals", "StateTopic/EveryWriteIsTold", without(func(c driver.StateChange) bool { return c.Kind == driver.Removed })},
		{"TellsAddedAsUpdated", "StateTopic/EveryWriteIsTold", one(func(c *driver.StateChange) {
			if c.Kind == driver.Added {
				c.Kind = driver.Updated
			}
		})},
		{"DoesNotTellCounts", "StateTopic/EveryWriteIsTold", without(func(c driver.StateChange) bool { return string(c.Row) == `{"n":5}` })},
		{"ClearTellsNothing", "StateTopic/EveryWriteIsTold", func(p *hooked, w *faulty) {
			var clearing atomic.Bool
			onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
				h.clear = func(ctx context.Context) error {
					clearing.Store(true)
					return h.QueryDb.Clear(ctx)
				}
			})(p, w)
			without(func(driver.StateChange) bool { return clearing.Load() })(p, w)
		}},
		{"CompactsRows", "StateTopic/ChangesAreWhole", one(func(c *driver.StateChange) { c.Row = compact(c.Row) })},
		{"TellsNoSubID", "StateTopic/ChangesAreWhole", one(func(c *driver.StateChange) { c.SubID = "" })},
		{"TellsTheRevisionBefore", "StateTopic/ChangesAreWhole", one(func(c *driver.StateChange) { c.Revision-- })},
		{"DoesNotSayWhichReadModel", "StateTopic/ChangesAreWhole", one(func(c *driver.StateChange) { c.ReadModel = "" })},
		{"TellsRemovalsWithoutTheRow", "StateTopic/RemovalsTellTheRowBefore", one(func(c *driver.StateChange) {
			if c.Kind == driver.Removed {
				c.Row = nil
			}
		})},
		{"TellsRemovalsWithTheFirstRow", "StateTopic/RemovalsTellTheRowBefore", func(p *hooked, w *faulty) {
			first := map[string]driver.StateChange{}
			one(func(c *driver.StateChange) {
				if c.Kind == driver.Added {
					first[c.ID] = *c
				}
				if c.Kind == driver.Removed {
					c.Row = first[c.ID].Row
				}
			})(p, w)
		}},
		{"TellsRemovalsWithTheKeysOnly", "StateTopic/RemovalsTellTheRowBefore", one(func(c *driver.StateChange) {
			if c.Kind == driver.Removed && c.SubID != "" {
				c.Row = []byte(fmt.Sprintf(`{"line":%q}`, c.SubID))
			}
		})},
		{"TellsClearedRowsWithoutThem", "StateTopic/RemovalsTellTheRowBefore", func(p *hooked, w *faulty) {
			var clearing atomic.Bool
			onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
				h.clear = func(ctx context.Context) error {
					clearing.Store(true)
					return h.QueryDb.Clear(ctx)
				}
			})(p, w)
			one(func(c *driver.StateChange) {
				if c.Kind == driver.Removed && clearing.Load() {
					c.Row = nil
				}
			})(p, w)
		}},
		{"TellsDeletesOfNothing", "StateTopic/WhatChangesNothingIsNotTold", func(p *hooked, w *faulty) {
			extra := make(chan driver.StateChange, 100)
			onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
				h.delete = func(ctx context.Context, key driver.Key) error {
					extra <- driver.StateChange{Kind: driver.Removed, ReadModel: plainTable.Name, ID: key.ID, Revision: 1}
					return h.QueryDb.Delete(ctx, key)
				}
			})(p, w)
			onChanges(func(c driver.StateChange) []driver.StateChange {
				all := []driver.StateChange{}
				for len(extra) > 0 {
					all = append(all, <-extra)
				}
				return append(all, c)
			})(p, w)
		}},
		{"TellsExpiredRowsAsUpdated", "StateTopic/ExpiredRowsComeAgainAsAdded", func(p *hooked, w *faulty) {
			known := map[string]bool{}
			one(func(c *driver.StateChange) {
				if known[c.ID] && c.Kind == driver.Added {
					c.Kind = driver.Updated
				}
				known[c.ID] = true
			})(p, w)
		}},
		{"TellsExpiries", "StateTopic/ExpiredRowsComeAgainAsAdded", func(p *hooked, w *faulty) {
			known := map[string]bool{}
			onChanges(func(c driver.StateChange) []driver.StateChange {
				if again := known[c.ID] && c.Kind == driver.Added; again {
					gone := c
					gone.Kind = driver.Removed
					return []driver.StateChange{gone, c}
				}
				known[c.ID] = true
				return []driver.StateChange{c}
			})(p, w)
		}},
		{"DoesNotTellOwnRows", "StateTopic/OwnRowStepsAreTold", without(func(c driver.StateChange) bool { return string(c.Row) == `{"n":2}` })},
		{"TellsTombstonesAsUpdated", "StateTopic/OwnRowStepsAreTold", one(func(c *driver.StateChange) {
			if c.Kind == driver.Removed {
				c.Kind = driver.Updated
			}
		})},
		{"TellsInAnyOrder", "StateTopic/ChangesOfARowComeInOrder", func(p *hooked, w *faulty) {
			var kept *driver.StateChange
			onChanges(func(c driver.StateChange) []driver.StateChange {
				if kept == nil {
					kept = &c
					return nil
				}
				first := *kept
				kept = nil
				return []driver.StateChange{c, first}
			})(p, w)
		}},
		{"SubscribersCompete", "StateTopic/EverySubscriberGetsEveryChange", func(p *hooked, w *faulty) {
			var mu sync.Mutex
			seen := map[string]bool{}
			without(func(c driver.StateChange) bool {
				mu.Lock()
				defer mu.Unlock()
				key := c.ID + fmt.Sprint(c.Revision)
				again := seen[key]
				seen[key] = true
				return again
			})(p, w)
		}},
		{"SubscribesWhenItIsRangedOver", "StateTopic/ASubscriptionBeginsWhenItIsMade", onSubscribe(func(ctx context.Context, t driver.StateTopic) (iter.Seq2[driver.StateChange, error], error) {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			return func(yield func(driver.StateChange, error) bool) {
				seq, err := t.Subscribe(ctx)
				if err != nil {
					yield(driver.StateChange{}, err)
					return
				}
				seq(yield)
			}, nil
		})},
		{"TellsWhatWasBefore", "StateTopic/ASubscriptionBeginsWhenItIsMade", func(p *hooked, w *faulty) {
			var before []driver.StateChange
			onDb(func(h *dbHook, spec driver.TableSpec, _ *faulty) {
				h.save = func(ctx context.Context, r driver.Row, mode driver.SaveMode) error {
					err := h.QueryDb.Save(ctx, r, mode)
					before = append(before, driver.StateChange{Kind: driver.Added, ReadModel: spec.Name, ID: r.ID, Revision: 1, Row: r.Data})
					return err
				}
			})(p, w)
			first := true
			onChanges(func(c driver.StateChange) []driver.StateChange {
				if first {
					first = false
					return append(slices.Clone(before[:1]), c)
				}
				return []driver.StateChange{c}
			})(p, w)
		}},
		{"TellsOfAllReadModels", "StateTopic/ReadModelsAreToldApart", func(p *hooked, _ *faulty) {
			p.stateTopic = func(t driver.StateTopic, spec driver.TableSpec) driver.StateTopic {
				spec.Name = "Test.One"
				if o, err := p.Provider.OpenStateTopic(context.Background(), spec); err == nil {
					return o
				}
				return t
			}
		}},
		{"ACancelledSubscriptionIsAnError", "StateTopic/ACancelledSubscriptionEnds", onSubscribe(func(ctx context.Context, t driver.StateTopic) (iter.Seq2[driver.StateChange, error], error) {
			seq, err := t.Subscribe(ctx)
			return func(yield func(driver.StateChange, error) bool) {
				seq(yield)
				yield(driver.StateChange{}, ctx.Err())
			}, err
		})},
		{"DoesNotEndWhenCancelled", "StateTopic/ACancelledSubscriptionEnds", onSubscribe(func(ctx context.Context, t driver.StateTopic) (iter.Seq2[driver.StateChange, error], error) {
			seq, err := t.Subscribe(ctx)
			return func(yield func(driver.StateChange, error) bool) {
				seq(yield)
				pause(400 * time.Millisecond) // for ever, but for the test's sake
			}, err
		})},
		{"ASlowSubscriberBlocksWriters", "StateTopic/ASlowSubscriberDelaysNoWriter", func(p *hooked, w *faulty) {
			line := make(chan struct{}, 500)
			onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
				h.saveBatch = func(ctx context.Context, rows []driver.Row) error {
					if err := h.QueryDb.SaveBatch(ctx, rows); err != nil {
						return err
					}
					for range rows {
						select {
						case line <- struct{}{}:
						case <-ctx.Done():
							return ctx.Err()
						}
					}
					return nil
				}
			})(p, w)
			one(func(*driver.StateChange) {
				select {
				case <-line:
				default:
				}
			})(p, w)
		}},
		{"DropsChangesQuietly", "StateTopic/ASlowSubscriberDelaysNoWriter", func(p *hooked, w *faulty) {
			n := 0
			without(func(driver.StateChange) bool {
				n++
				return n%100 == 0
			})(p, w)
		}},
		{"EndsQuietlyWhenItDrops", "StateTopic/ASlowSubscriberDelaysNoWriter", onSubscribe(func(ctx context.Context, t driver.StateTopic) (iter.Seq2[driver.StateChange, error], error) {
			seq, err := t.Subscribe(ctx)
			return func(yield func(driver.StateChange, error) bool) {
				for c, err := range seq {
					if err != nil || !yield(c, nil) {
						return
					}
				}
			}, err
		})},
		{"KeepsThoseWhoLeft", "StateTopic/ASubscriberMayStopListening", func(p *hooked, w *faulty) {
			var left atomic.Bool
			onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
				h.save = func(ctx context.Context, r driver.Row, mode driver.SaveMode) error {
					if left.Load() {
						<-ctx.Done() // nobody reads the channel any more
						return ctx.Err()
					}
					return h.QueryDb.Save(ctx, r, mode)
				}
			})(p, w)
			onSubscribe(func(ctx context.Context, t driver.StateTopic) (iter.Seq2[driver.StateChange, error], error) {
				seq, err := t.Subscribe(ctx)
				return func(yield func(driver.StateChange, error) bool) {
					seq(yield)
					left.Store(true)
				}, err
			})(p, w)
		}},
		{"SharesItsChanges", "StateTopic/ChangesBelongToTheCaller", func(p *hooked, w *faulty) {
			var mu sync.Mutex
			rows := map[string][]byte{}
			one(func(c *driver.StateChange) {
				mu.Lock()
				defer mu.Unlock()
				if rows[c.ID] == nil {
					rows[c.ID] = c.Row
				}
				c.Row = rows[c.ID]
			})(p, w)
		}},
	}
}

func onCounter(tamper func(h *counterHook, w *faulty)) func(*hooked, *faulty) {
	return func(p *hooked, w *faulty) {
		p.counter = func(c driver.Counter, _ string) driver.Counter {
			h := &counterHook{Counter: c}
			tamper(h, w)
			return h
		}
	}
}

func counterFaults() []fault {
	finishing := func(drop func(f *driver.CounterFinished) bool) func(*hooked, *faulty) {
		return onCounter(func(h *counterHook, _ *faulty) {
			h.receive = func(ctx context.Context, max int) (driver.Batch[driver.CounterFinished], error) {
				b, err := h.Counter.Receive(ctx, max)
				b.Deliveries = slices.DeleteFunc(b.Deliveries, func(d driver.Delivery[driver.CounterFinished]) bool {
					if drop(&d.Message) {
						_ = h.Counter.Settle(ctx, []driver.Settlement{{ID: d.ID}})
						return true
					}
					return false
				})
				for i := range b.Deliveries {
					drop(&b.Deliveries[i].Message)
				}
				return b, err
			}
		})
	}
	// forgetful hides repeats from the store unless known says so.
	forgetful := func(known func(w *faulty, ref string) bool) func(*hooked, *faulty) {
		return onCounter(func(h *counterHook, w *faulty) {
			var n atomic.Int64
			h.count = func(ctx context.Context, id, ref string, inc int64) error {
				if driver.CheckID("reference", ref) == nil {
					if known(w, id+"|"+ref) {
						return nil
					}
					ref = fmt.Sprintf("r%d", n.Add(1))
				}
				return h.Counter.Count(ctx, id, ref, inc)
			}
		})
	}
	return []fault{
		{"ACounterNeverUsedIsNotFound", "Counter/ACounterNeverUsedIsZero", onCounter(func(h *counterHook, _ *faulty) {
			h.state = func(ctx context.Context, id string) (driver.CounterState, error) {
				s, err := h.Counter.State(ctx, id)
				if err == nil && s == (driver.CounterState{}) {
					err = driver.ErrNotFound
				}
				return s, err
			}
		})},
		{"TheLastTargetCounts", "Counter/CountsAndTargetsAddUp", onCounter(func(h *counterHook, _ *faulty) {
			h.addTarget = func(ctx context.Context, id, ref string, n int64) error {
				s, err := h.Counter.State(ctx, id)
				if err != nil {
					return err
				}
				return h.Counter.AddTarget(ctx, id, ref, n-s.Target)
			}
		})},
		{"SharesReferences", "Counter/CountsAndTargetsAddUp", onCounter(func(h *counterHook, _ *faulty) {
			used := map[string]bool{}
			h.count = func(ctx context.Context, id, ref string, n int64) error {
				used[id+"|"+ref] = true
				return h.Counter.Count(ctx, id, ref, n)
			}
			h.addTarget = func(ctx context.Context, id, ref string, n int64) error {
				if used[id+"|"+ref] {
					return nil
				}
				return h.Counter.AddTarget(ctx, id, ref, n)
			}
		})},
		{"CountsTwice", "Counter/ReferencesCountOnce", forgetful(func(*faulty, string) bool { return false })},
		{"AddsTargetsTwice", "Counter/ReferencesCountOnce", onCounter(func(h *counterHook, _ *faulty) {
			var n atomic.Int64
			h.addTarget = func(ctx context.Context, id, _ string, target int64) error {
				return h.Counter.AddTarget(ctx, id, fmt.Sprint(n.Add(1)), target)
			}
		})},
		{"ReferencesGoWithTheirNumber", "Counter/ReferencesCountOnce", onCounter(func(h *counterHook, _ *faulty) {
			h.count = func(ctx context.Context, id, ref string, n int64) error {
				if driver.CheckID("reference", ref) == nil && n != 2 && len(ref) < 10 {
					ref = fmt.Sprintf("%s by %d", ref, n)
				}
				return h.Counter.Count(ctx, id, ref, n)
			}
		})},
		{"ForgetsReferencesAfterADay", "Counter/ReferencesCountOnceForAWeek", forgetful(func(w *faulty, ref string) bool {
			used := memoOf(w, "used", func() map[string]time.Time { return map[string]time.Time{} })
			at, ok := used[ref]
			used[ref] = w.Now()
			return ok && w.Now().Sub(at) < 24*time.Hour
		})},
		{"FinishesTwice", "Counter/ReachingTheTargetFinishesOnce", onCounter(func(h *counterHook, _ *faulty) {
			twice := map[string]bool{}
			h.receive = func(ctx context.Context, max int) (driver.Batch[driver.CounterFinished], error) {
				b, err := h.Counter.Receive(ctx, max)
				for _, d := range b.Deliveries {
					twice[d.ID] = d.Attempt == 1
				}
				return b, err
			}
			h.settle = func(ctx context.Context, ss []driver.Settlement) error {
				ss = slices.Clone(ss)
				for i := range ss {
					ss[i].Retry = ss[i].Retry || twice[ss[i].ID]
				}
				return h.Counter.Settle(ctx, ss)
			}
		})},
		{"FinishesOnlyAtTheExactTarget", "Counter/ReachingTheTargetFinishesOnce", finishing(func(f *driver.CounterFinished) bool { return f.CounterID == "b" })},
		{"DoesNotLookWhenTheTargetComes", "Counter/CountsMayComeBeforeTheTarget", func(p *hooked, w *faulty) {
			late := map[string]bool{}
			onCounter(func(h *counterHook, _ *faulty) {
				h.addTarget = func(ctx context.Context, id, ref string, n int64) error {
					err := h.Counter.AddTarget(ctx, id, ref, n)
					s, _ := h.Counter.State(ctx, id)
					late[id] = s.Finished > 0
					return err
				}
				h.receive = func(ctx context.Context, max int) (driver.Batch[driver.CounterFinished], error) {
					b, err := h.Counter.Receive(ctx, max)
					b.Deliveries = slices.DeleteFunc(b.Deliveries, func(d driver.Delivery[driver.CounterFinished]) bool { return late[d.Message.CounterID] })
					return b, err
				}
			})(p, w)
		}},
		{"FinishesOnceForAll", "Counter/EveryReachedTargetFinishes", finishing(func(f *driver.CounterFinished) bool { return f.Ordinal > 1 })},
		{"TellsTheLatestTarget", "Counter/EveryReachedTargetFinishes", finishing(func(f *driver.CounterFinished) bool {
			f.Target = max(f.Target, 10)
			return false
		})},
		{"ChecksReferencesThenCounts", "Counter/ConcurrentCountsFinishExactlyOnce", forgetful(func(w *faulty, ref string) bool {
			used := memoOf(w, "used", func() *sync.Map { return new(sync.Map) })
			if _, ok := used.Load(ref); ok {
				return true
			}
			others()
			used.Store(ref, true)
			return false
		})},
		{"JoinsIDAndReference", "Counter/CountersAreKeptApart", func(p *hooked, w *faulty) {
			used := map[string]bool{}
			onCounter(func(h *counterHook, _ *faulty) {
				h.count = func(ctx context.Context, id, ref string, n int64) error {
					if used[id+"/"+ref] {
						return nil
					}
					used[id+"/"+ref] = true
					return h.Counter.Count(ctx, id, ref, n)
				}
			})(p, w)
		}},
		{"CountsAnything", "Counter/BadArgumentsAreRefused", onCounter(func(h *counterHook, _ *faulty) {
			h.count = func(ctx context.Context, id, ref string, n int64) error {
				if n < 1 {
					return nil
				}
				return h.Counter.Count(ctx, id, ref, n)
			}
		})},
		{"UsesUpRefusedReferences", "Counter/BadArgumentsAreRefused", onCounter(func(h *counterHook, _ *faulty) {
			used := map[string]bool{}
			h.count = func(ctx context.Context, id, ref string, n int64) error {
				if used[id+ref] && n > 0 {
					return nil
				}
				used[id+ref] = true
				return h.Counter.Count(ctx, id, ref, n)
			}
		})},
		{"LosesFinishesWhenClosed", "Counter/FinishesSurviveReopening", func(p *hooked, w *faulty) {
			finishing(func(f *driver.CounterFinished) bool { return w.session == 2 && f.CounterID == "a" })(p, w)
		}},
		{"StateIgnoresTheContext", "Counter/CancelledCallsFail", onCounter(func(h *counterHook, _ *faulty) {
			h.state = func(ctx context.Context, id string) (driver.CounterState, error) {
				return h.Counter.State(context.WithoutCancel(ctx), id)
			}
		})},
	}
}

func onScheduler(tamper func(h *schedulerHook, w *faulty)) func(*hooked, *faulty) {
	return func(p *hooked, w *faulty) {
		p.scheduler = func(s driver.Scheduler) driver.Scheduler {
			h := &schedulerHook{Scheduler: s}
			tamper(h, w)
			return h
		}
	}
}

func schedulerFaults() []fault {
	creating := func(change func(s *driver.Schedule)) func(*hooked, *faulty) {
		return onScheduler(func(h *schedulerHook, _ *faulty) {
			h.create = func(ctx context.Context, s driver.Schedule) error {
				change(&s)
				return h.Scheduler.Create(ctx, s)
			}
		})
	}
	firing := func(change func(f *driver.Firing, w *faulty)) func(*hooked, *faulty) {
		return onScheduler(func(h *schedulerHook, w *faulty) {
			h.receive = func(ctx context.Context, max int) (driver.Batch[driver.Firing], error) {
				b, err := h.Scheduler.Receive(ctx, max)
				for i := range b.Deliveries {
					change(&b.Deliveries[i].Message, w)
				}
				return b, err
			}
		})
	}
	moved := func(d time.Duration) func(*hooked, *faulty) {
		return creating(func(s *driver.Schedule) {
			if t, err := time.Parse("at(2006-01-02T15:04:05)", s.Expression); err == nil && s.Zone == "" {
				s.Expression = at(t.Add(d))
			}
		})
	}
	once := func(expression string) bool { return strings.HasPrefix(expression, "at(") }
	return []fault{
		{"APastTimeIsForgotten", "Scheduler/APastTimeFiresAtOnce", onScheduler(func(h *schedulerHook, w *faulty) {
			h.create = func(ctx context.Context, s driver.Schedule) error {
				if t, err := time.Parse("at(2006-01-02T15:04:05)", s.Expression); err == nil && t.Before(w.Now()) {
					return nil
				}
				return h.Scheduler.Create(ctx, s)
			}
		})},
		{"APastTimeIsNow", "Scheduler/APastTimeFiresAtOnce", firing(func(f *driver.Firing, w *faulty) { f.Due = w.Now() })},
		{"FiresTwoMinutesEarly", "Scheduler/NothingFiresEarly", moved(-2 * time.Minute)},
		{"FiresTwoMinutesLate", "Scheduler/NothingFiresEarly", moved(2 * time.Minute)},
		{"RoundsDownToTheMinute", "Scheduler/NothingFiresEarly", creating(func(s *driver.Schedule) {
			if t, err := time.Parse("at(2006-01-02T15:04:05)", s.Expression); err == nil {
				s.Expression = at(t.Truncate(time.Minute))
			}
		})},
		{"IgnoresZones", "Scheduler/ZonesAreHonoured", creating(func(s *driver.Schedule) { s.Zone = "" })},
		{"KeepsOneTimeSchedules", "Scheduler/AOneTimeScheduleRemovesItself", onScheduler(func(h *schedulerHook, _ *faulty) {
			var kept []driver.Schedule
			h.create = func(ctx context.Context, s driver.Schedule) error {
				kept = append(kept, s)
				return h.Scheduler.Create(ctx, s)
			}
			h.list = func(ctx context.Context) ([]driver.Schedule, error) { return kept, ctx.Err() }
		})},
		{"RemovesWhenItFires", "Scheduler/AOneTimeScheduleRemovesItself", onScheduler(func(h *schedulerHook, _ *faulty) {
			fired := map[string]bool{}
			h.receive = func(ctx context.Context, max int) (driver.Batch[driver.Firing], error) {
				b, err := h.Scheduler.Receive(ctx, max)
				for _, d := range b.Deliveries {
					fired[d.Message.Name] = true
				}
				return b, err
			}
			h.list = func(ctx context.Context) ([]driver.Schedule, error) {
				all, err := h.Scheduler.List(ctx)
				return slices.DeleteFunc(all, func(s driver.Schedule) bool { return fired[s.Name] }), err
			}
		})},
		{"FiresOnce", "Scheduler/ARecurringScheduleGoesOn", onScheduler(func(h *schedulerHook, _ *faulty) {
			names := map[string]string{}
			h.receive = func(ctx context.Context, max int) (driver.Batch[driver.Firing], error) {
				b, err := h.Scheduler.Receive(ctx, max)
				for _, d := range b.Deliveries {
					names[d.ID] = d.Message.Name
				}
				return b, err
			}
			h.settle = func(ctx context.Context, ss []driver.Settlement) error {
				err := h.Scheduler.Settle(ctx, ss)
				for _, s := range ss {
					err = errors.Join(err, h.Scheduler.Delete(ctx, names[s.ID]))
				}
				return err
			}
		})},
		{"RatesGoOnFromTheirDue", "Scheduler/RatesGoOnFromTheSettlement", repeatsFirings},
		{"FiresForEveryMissedTime", "Scheduler/MissedTimesAreOneFiring", repeatsFirings},
		{"ARetryIsDueNow", "Scheduler/ARetryHasTheSameDue", firing(func(f *driver.Firing, w *faulty) { f.Due = w.Now().Truncate(time.Minute) })},
		{"CreateDoesNotReplace", "Scheduler/CreateReplaces", onScheduler(func(h *schedulerHook, _ *faulty) {
			known := map[string]bool{}
			h.create = func(ctx context.Context, s driver.Schedule) error {
				if known[s.Name] {
					return driver.ErrExists
				}
				known[s.Name] = true
				return h.Scheduler.Create(ctx, s)
			}
		})},
		{"CreateReplacesThePayloadOnly", "Scheduler/CreateReplaces", onScheduler(func(h *schedulerHook, _ *faulty) {
			known := map[string]string{}
			h.create = func(ctx context.Context, s driver.Schedule) error {
				if x, ok := known[s.Name]; ok {
					s.Expression = x
				}
				known[s.Name] = s.Expression
				return h.Scheduler.Create(ctx, s)
			}
		})},
		{"OldFiringsRemoveNewSchedules", "Scheduler/AReplacedFiringIsGone", onScheduler(func(h *schedulerHook, _ *faulty) {
			names := map[string]string{}
			h.receive = func(ctx context.Context, max int) (driver.Batch[driver.Firing], error) {
				b, err := h.Scheduler.Receive(ctx, max)
				for _, d := range b.Deliveries {
					names[d.ID] = d.Message.Name
				}
				return b, err
			}
			h.settle = func(ctx context.Context, ss []driver.Settlement) error {
				err := h.Scheduler.Settle(ctx, ss)
				for _, s := range ss {
					if !s.Retry {
						err = errors.Join(err, h.Scheduler.Delete(ctx, names[s.ID]))
					}
				}
				return err
			}
		})},
		{"ReplacedFiringsAreDelivered", "Scheduler/AReplacedFiringIsGone", keepsFirings},
		{"ReplacesFiringsOneByOne", "Scheduler/ConcurrentCreatesLeaveOneSchedule", onScheduler(func(h *schedulerHook, w *faulty) {
			var mu sync.Mutex
			created := map[string]int{}
			var more []driver.Firing
			h.create = func(ctx context.Context, s driver.Schedule) error {
				mu.Lock()
				if created[s.Name]++; created[s.Name] == 2 {
					more = append(more, driver.Firing{Name: s.Name, Due: w.Now(), Payload: s.Payload})
				}
				mu.Unlock()
				return h.Scheduler.Create(ctx, s)
			}
			h.receive = func(ctx context.Context, max int) (driver.Batch[driver.Firing], error) {
				b, err := h.Scheduler.Receive(ctx, max)
				if len(b.Deliveries) == 0 && len(more) > 0 {
					b.Deliveries, more = []driver.Delivery[driver.Firing]{{ID: "more", Attempt: 1, Message: more[0]}}, more[1:]
					b.Next = time.Time{}
				}
				return b, err
			}
		})},
		{"DeletedFiringsAreDelivered", "Scheduler/DeleteRemovesTheFiring", keepsFirings},
		{"DeleteNeedsTheSchedule", "Scheduler/DeleteRemovesTheFiring", onScheduler(func(h *schedulerHook, _ *faulty) {
			h.delete = func(ctx context.Context, name string) error {
				all, err := h.Scheduler.List(ctx)
				if err == nil && !slices.ContainsFunc(all, func(s driver.Schedule) bool { return s.Name == name }) {
					return driver.ErrNotFound
				}
				return errors.Join(err, h.Scheduler.Delete(ctx, name))
			}
		})},
		{"ListsInAnyOrder", "Scheduler/ListIsAscendingAndWhole", onScheduler(func(h *schedulerHook, _ *faulty) {
			h.list = func(ctx context.Context) ([]driver.Schedule, error) {
				all, err := h.Scheduler.List(ctx)
				slices.Reverse(all)
				return all, err
			}
		})},
		{"ListsOnePage", "Scheduler/ListIsAscendingAndWhole", onScheduler(func(h *schedulerHook, _ *faulty) {
			h.list = func(ctx context.Context) ([]driver.Schedule, error) {
				all, err := h.Scheduler.List(ctx)
				return all[:min(len(all), 50)], err
			}
		})},
		{"CompactsPayloads", "Scheduler/ListIsAscendingAndWhole", creating(func(s *driver.Schedule) { s.Payload = compact(s.Payload) })},
		{"AcceptsAnyExpression", "Scheduler/InvalidSchedulesAreRefused", onScheduler(func(h *schedulerHook, _ *faulty) {
			h.create = func(ctx context.Context, s driver.Schedule) error {
				if err := h.Scheduler.Create(ctx, s); err == nil || !strings.HasPrefix(s.Expression, "cron(") {
					return err
				}
				return nil
			}
		})},
		{"AcceptsWhatNeverFires", "Scheduler/InvalidSchedulesAreRefused", onScheduler(func(h *schedulerHook, _ *faulty) {
			h.create = func(ctx context.Context, s driver.Schedule) error {
				if s.Expression == "cron(0 0 30 2 ? *)" {
					return nil
				}
				return h.Scheduler.Create(ctx, s)
			}
		})},
		{"ARefusedScheduleReplaces", "Scheduler/InvalidSchedulesAreRefused", onScheduler(func(h *schedulerHook, _ *faulty) {
			h.create = func(ctx context.Context, s driver.Schedule) error {
				err := h.Scheduler.Create(ctx, s)
				if errors.Is(err, driver.ErrInvalid) {
					_ = h.Scheduler.Delete(ctx, s.Name)
				}
				return err
			}
		})},
		{"KnowsNoSharp", "Scheduler/ValidSchedulesAreAccepted", onScheduler(func(h *schedulerHook, _ *faulty) {
			h.create = func(ctx context.Context, s driver.Schedule) error {
				if strings.Contains(s.Expression, "#") {
					return driver.ErrInvalid
				}
				return h.Scheduler.Create(ctx, s)
			}
		})},
		{"ForgetsSchedulesWhenClosed", "Scheduler/SchedulesSurviveReopening", onScheduler(func(h *schedulerHook, w *faulty) {
			if w.session > 1 {
				_ = h.Scheduler.Delete(context.Background(), "once")
			}
		})},
		{"CatchesUpWhenOpened", "Scheduler/SchedulesSurviveReopening", repeatsFirings},
		{"IgnoresTheContext", "Scheduler/CancelledCallsFail", onScheduler(func(h *schedulerHook, _ *faulty) {
			h.list = func(ctx context.Context) ([]driver.Schedule, error) {
				return h.Scheduler.List(context.WithoutCancel(ctx))
			}
		})},
		{"SharesItsPayloads", "Scheduler/ArgumentsAreNotKept", onScheduler(func(h *schedulerHook, _ *faulty) {
			var kept []byte
			h.create = func(ctx context.Context, s driver.Schedule) error {
				kept = s.Payload
				return h.Scheduler.Create(ctx, s)
			}
			h.list = func(ctx context.Context) ([]driver.Schedule, error) {
				all, err := h.Scheduler.List(ctx)
				for i := range all {
					all[i].Payload = kept
				}
				return all, err
			}
		})},
		{"OneTimeFiresTwice", "Scheduler/SettledMessagesDoNotComeAgain", onScheduler(func(h *schedulerHook, _ *faulty) {
			created := map[string]driver.Schedule{}
			names := map[string]string{}
			h.create = func(ctx context.Context, s driver.Schedule) error {
				if once(s.Expression) {
					created[s.Name] = s
				}
				return h.Scheduler.Create(ctx, s)
			}
			h.receive = func(ctx context.Context, max int) (driver.Batch[driver.Firing], error) {
				b, err := h.Scheduler.Receive(ctx, max)
				for _, d := range b.Deliveries {
					names[d.ID] = d.Message.Name
				}
				return b, err
			}
			h.settle = func(ctx context.Context, ss []driver.Settlement) error {
				err := h.Scheduler.Settle(ctx, ss)
				for _, s := range ss {
					if x, ok := created[names[s.ID]]; ok && !s.Retry {
						delete(created, x.Name)
						err = errors.Join(err, h.Scheduler.Create(ctx, x))
					}
				}
				return err
			}
		})},
	}
}

// repeatsFirings delivers each recurring firing once more after it was settled,
// as a scheduler does that goes on from the last due time.
func repeatsFirings(p *hooked, w *faulty) {
	onScheduler(func(h *schedulerHook, w *faulty) {
		firings := map[string]driver.Firing{}
		var line []driver.Firing
		n := 0
		h.receive = func(ctx context.Context, max int) (driver.Batch[driver.Firing], error) {
			b, err := h.Scheduler.Receive(ctx, max)
			for _, d := range b.Deliveries {
				firings[d.ID] = d.Message
			}
			for len(line) > 0 && len(b.Deliveries) < max {
				n++
				b.Deliveries = append(b.Deliveries, driver.Delivery[driver.Firing]{ID: fmt.Sprintf("more-%d", n), Attempt: 1, Message: line[0]})
				line = line[1:]
			}
			if len(b.Deliveries) > 0 {
				b.Next = time.Time{}
			}
			return b, err
		}
		h.settle = func(ctx context.Context, ss []driver.Settlement) error {
			all, err := h.Scheduler.List(ctx)
			for _, s := range ss {
				f, ok := firings[s.ID]
				i := slices.IndexFunc(all, func(x driver.Schedule) bool { return x.Name == f.Name })
				if !ok || s.Retry || i < 0 || strings.HasPrefix(all[i].Expression, "at(") {
					continue
				}
				if w.Now().Sub(f.Due) > 20*time.Minute {
					f.Due = f.Due.Add(20 * time.Minute)
					line = append(line, f)
				}
				delete(firings, s.ID)
			}
			return errors.Join(err, h.Scheduler.Settle(ctx, ss))
		}
	})(p, w)
}

// keepsFirings delivers firings of schedules that were replaced or deleted.
func keepsFirings(p *hooked, w *faulty) {
	onScheduler(func(h *schedulerHook, w *faulty) {
		var line []driver.Firing
		n := 0
		past := map[string]driver.Firing{}
		gone := func(name string) {
			if f, ok := past[name]; ok {
				line = append(line, f)
				delete(past, name)
			}
		}
		h.create = func(ctx context.Context, s driver.Schedule) error {
			gone(s.Name)
			if t, err := time.Parse("at(2006-01-02T15:04:05)", s.Expression); err == nil && t.Before(w.Now()) {
				past[s.Name] = driver.Firing{Name: s.Name, Due: t, Payload: s.Payload}
			}
			return h.Scheduler.Create(ctx, s)
		}
		h.delete = func(ctx context.Context, name string) error {
			gone(name)
			return h.Scheduler.Delete(ctx, name)
		}
		h.receive = func(ctx context.Context, max int) (driver.Batch[driver.Firing], error) {
			b, err := h.Scheduler.Receive(ctx, max)
			for len(line) > 0 && len(b.Deliveries) < max {
				n++
				b.Deliveries = append(b.Deliveries, driver.Delivery[driver.Firing]{ID: fmt.Sprintf("gone-%d", n), Attempt: 1, Message: line[0]})
				line = line[1:]
			}
			if len(b.Deliveries) > 0 {
				b.Next = time.Time{}
			}
			return b, err
		}
	})(p, w)
}

func onBucket(tamper func(h *bucketHook, w *faulty)) func(*hooked, *faulty) {
	return func(p *hooked, w *faulty) {
		p.bucket = func(b driver.Bucket, _ string) driver.Bucket {
			h := &bucketHook{Bucket: b}
			tamper(h, w)
			return h
		}
	}
}

func bucketFaults() []fault {
	// keyed maps keys to other ones.
	keyed := func(to func(string) string) func(*hooked, *faulty) {
		return onBucket(func(h *bucketHook, _ *faulty) {
			h.put = func(ctx context.Context, key string, body io.Reader) error { return h.Bucket.Put(ctx, to(key), body) }
			h.get = func(ctx context.Context, key string) (io.ReadCloser, driver.Object, error) {
				r, o, err := h.Bucket.Get(ctx, to(key))
				o.Key = key
				return r, o, err
			}
			h.delete = func(ctx context.Context, key string) error { return h.Bucket.Delete(ctx, to(key)) }
		})
	}
	listing := func(list func(ctx context.Context, b driver.Bucket, prefix, after string, limit int) ([]driver.Object, error)) func(*hooked, *faulty) {
		return onBucket(func(h *bucketHook, _ *faulty) {
			h.list = func(ctx context.Context, prefix, after string, limit int) ([]driver.Object, error) {
				return list(ctx, h.Bucket, prefix, after, limit)
			}
		})
	}
	events := func(drop func(o *driver.ObjectEvent) bool) func(*hooked, *faulty) {
		return onBucket(func(h *bucketHook, _ *faulty) {
			h.receive = func(ctx context.Context, max int) (driver.Batch[driver.ObjectEvent], error) {
				b, err := h.Bucket.Receive(ctx, max)
				b.Deliveries = slices.DeleteFunc(b.Deliveries, func(d driver.Delivery[driver.ObjectEvent]) bool {
					o := d.Message
					if drop(&o) {
						_ = h.Bucket.Settle(ctx, []driver.Settlement{{ID: d.ID}})
						return true
					}
					return false
				})
				for i := range b.Deliveries {
					drop(&b.Deliveries[i].Message)
				}
				return b, err
			}
		})
	}
	return []fault{
		{"EndsAtAZero", "Bucket/PutThenGet", onBucket(func(h *bucketHook, _ *faulty) {
			h.put = func(ctx context.Context, key string, body io.Reader) error {
				all, err := io.ReadAll(body)
				if err != nil {
					return err
				}
				text, _, _ := bytes.Cut(all, []byte{0})
				return h.Bucket.Put(ctx, key, bytes.NewReader(text))
			}
		})},
		{"ReadsOnce", "Bucket/PutThenGet", onBucket(func(h *bucketHook, _ *faulty) {
			h.put = func(ctx context.Context, key string, body io.Reader) error {
				buf := make([]byte, 4<<20)
				n, err := body.Read(buf)
				if err != nil && err != io.EOF {
					return err
				}
				return h.Bucket.Put(ctx, key, bytes.NewReader(buf[:n]))
			}
		})},
		{"PutCreatesOnly", "Bucket/PutReplaces", onBucket(func(h *bucketHook, _ *faulty) {
			h.put = func(ctx context.Context, key string, body io.Reader) error {
				if r, _, err := h.Bucket.Get(ctx, key); err == nil {
					_ = r.Close()
					return driver.ErrExists
				}
				return h.Bucket.Put(ctx, key, body)
			}
		})},
		{"WritesOver", "Bucket/PutReplaces", onBucket(func(h *bucketHook, _ *faulty) {
			h.put = func(ctx context.Context, key string, body io.Reader) error { // without cutting the rest off
				all, err := io.ReadAll(body)
				if r, _, err2 := h.Bucket.Get(ctx, key); err2 == nil && err == nil {
					old, _ := io.ReadAll(r)
					_ = r.Close()
					if len(old) > len(all) {
						all = append(all, old[len(all):]...)
					}
				}
				return errors.Join(err, h.Bucket.Put(ctx, key, bytes.NewReader(all)))
			}
		})},
		{"KeepsAPart", "Bucket/AFailedPutChangesNothing", onBucket(func(h *bucketHook, _ *faulty) {
			h.put = func(ctx context.Context, key string, body io.Reader) error {
				all, err := io.ReadAll(body)
				return errors.Join(h.Bucket.Put(ctx, key, bytes.NewReader(all)), err)
			}
		})},
		{"RemovesFirst", "Bucket/AFailedPutChangesNothing", onBucket(func(h *bucketHook, _ *faulty) {
			h.put = func(ctx context.Context, key string, body io.Reader) error {
				all, err := io.ReadAll(body)
				if err != nil {
					return errors.Join(h.Bucket.Delete(ctx, key), err)
				}
				return h.Bucket.Put(ctx, key, bytes.NewReader(all))
			}
		})},
		{"HidesTheBodysError", "Bucket/AFailedPutChangesNothing", onBucket(func(h *bucketHook, _ *faulty) {
			h.put = func(ctx context.Context, key string, body io.Reader) error {
				err := h.Bucket.Put(ctx, key, body)
				if classOf(err) == "none" {
					return errors.New("put failed")
				}
				return err
			}
		})},
		{"WritesInPlace", "Bucket/ReadersSeeWholeObjects", onBucket(func(h *bucketHook, _ *faulty) {
			h.put = func(ctx context.Context, key string, body io.Reader) error {
				all, err := io.ReadAll(body)
				if err != nil {
					return err
				}
				if r, _, err := h.Bucket.Get(ctx, key); err == nil {
					old, _ := io.ReadAll(r)
					_ = r.Close()
					half := min(len(all), len(old)) / 2
					_ = h.Bucket.Put(ctx, key, bytes.NewReader(slices.Concat(all[:half], old[half:])))
					others()
				}
				return h.Bucket.Put(ctx, key, bytes.NewReader(all))
			}
		})},
		{"ReadsWhatIsThereNow", "Bucket/AnOpenObjectStaysWhole", onBucket(func(h *bucketHook, _ *faulty) {
			h.get = func(ctx context.Context, key string) (io.ReadCloser, driver.Object, error) {
				r, o, err := h.Bucket.Get(ctx, key)
				if err != nil {
					return nil, o, err
				}
				return &livingObject{ctx: ctx, b: h.Bucket, key: key, old: r}, o, nil
			}
		})},
		{"DeleteNeedsTheObject", "Bucket/DeleteRemovesAnObject", onBucket(func(h *bucketHook, _ *faulty) {
			h.delete = func(ctx context.Context, key string) error {
				r, _, err := h.Bucket.Get(ctx, key)
				if err != nil {
					return err
				}
				_ = r.Close()
				return h.Bucket.Delete(ctx, key)
			}
		})},
		{"DeleteRemovesTheFolder", "Bucket/DeleteRemovesAnObject", onBucket(func(h *bucketHook, _ *faulty) {
			h.delete = func(ctx context.Context, key string) error {
				all, err := h.Bucket.List(ctx, key+"/", "", 100)
				for _, o := range all {
					err = errors.Join(err, h.Bucket.Delete(ctx, o.Key))
				}
				return errors.Join(err, h.Bucket.Delete(ctx, key))
			}
		})},
		{"DecodesPlus", "Bucket/KeysAreKeptApart", keyed(func(k string) string { return strings.ReplaceAll(k, "+", " ") })},
		{"IgnoresTheCase", "Bucket/KeysAreKeptApart", keyed(strings.ToLower)},
		{"EventsHaveEncodedKeys", "Bucket/KeysAreKeptApart", events(func(o *driver.ObjectEvent) bool {
			o.Key = strings.ReplaceAll(o.Key, " ", "+")
			return false
		})},
		{"CleansKeys", "Bucket/BadKeysAreRefused", keyed(func(k string) string { return strings.TrimPrefix(k, "/") })},
		{"FollowsDots", "Bucket/BadKeysAreRefused", keyed(func(k string) string { return strings.ReplaceAll(k, "/./", "/") })},
		{"RefusedReadsAreNotFound", "Bucket/BadKeysAreRefused", onBucket(func(h *bucketHook, _ *faulty) {
			h.get = func(ctx context.Context, key string) (io.ReadCloser, driver.Object, error) {
				r, o, err := h.Bucket.Get(ctx, key)
				if errors.Is(err, driver.ErrInvalid) {
					err = driver.ErrNotFound
				}
				return r, o, err
			}
		})},
		{"ListsWhatIsAfterToo", "Bucket/ListIsAscendingAndBounded", listing(func(ctx context.Context, b driver.Bucket, prefix, after string, limit int) ([]driver.Object, error) {
			all, err := b.List(ctx, prefix, "", 1000)
			all = slices.DeleteFunc(all, func(o driver.Object) bool { return o.Key < after })
			return all[:min(limit, len(all))], err
		})},
		{"ListsFolders", "Bucket/ListIsAscendingAndBounded", listing(func(ctx context.Context, b driver.Bucket, prefix, after string, limit int) ([]driver.Object, error) {
			if prefix != "" && !strings.HasSuffix(prefix, "/") {
				prefix += "/"
			}
			return b.List(ctx, prefix, after, limit)
		})},
		{"LimitsBeforeThePrefix", "Bucket/ListIsAscendingAndBounded", listing(func(ctx context.Context, b driver.Bucket, prefix, after string, limit int) ([]driver.Object, error) {
			all, err := b.List(ctx, "", after, limit)
			return slices.DeleteFunc(all, func(o driver.Object) bool { return !strings.HasPrefix(o.Key, prefix) }), err
		})},
		{"ListsPatterns", "Bucket/ListIsAscendingAndBounded", listing(func(ctx context.Context, b driver.Bucket, prefix, after string, limit int) ([]driver.Object, error) {
			return b.List(ctx, strings.TrimRight(prefix, "%_"), after, limit)
		})},
		{"ListSaysNoSize", "Bucket/ObjectsAreDescribed", listing(func(ctx context.Context, b driver.Bucket, prefix, after string, limit int) ([]driver.Object, error) {
			all, err := b.List(ctx, prefix, after, limit)
			for i := range all {
				all[i].Size = 0
			}
			return all, err
		})},
		{"DoesNotTellRemovals", "Bucket/EveryChangeIsTold", events(func(o *driver.ObjectEvent) bool { return o.Kind == driver.ObjectRemoved })},
		{"DoesNotTellReplacements", "Bucket/EveryChangeIsTold", func(p *hooked, w *faulty) {
			there := map[string]bool{}
			events(func(o *driver.ObjectEvent) bool {
				drop := there[o.Key+o.Version+"-"] || there[o.Key] && o.Kind == driver.ObjectCreated && !there[o.Version]
				there[o.Key] = o.Kind == driver.ObjectCreated
				there[o.Version] = true
				return drop
			})(p, w)
		}},
		{"VersionsAreContents", "Bucket/EveryChangeIsTold", onBucket(func(h *bucketHook, _ *faulty) {
			h.receive = func(ctx context.Context, max int) (driver.Batch[driver.ObjectEvent], error) {
				b, err := h.Bucket.Receive(ctx, max)
				for i := range b.Deliveries {
					o := &b.Deliveries[i].Message
					o.Version = "none"
					if r, _, err := h.Bucket.Get(ctx, o.Key); err == nil {
						text, _ := io.ReadAll(r)
						_ = r.Close()
						o.Version = string(text)
					}
				}
				return b, err
			}
		})},
		{"TellsTheFirstOfQuickChanges", "Bucket/TheLastOfQuickChangesIsTold", func(p *hooked, w *faulty) {
			told := map[string]bool{}
			events(func(o *driver.ObjectEvent) bool {
				again := told[o.Key] && o.Version != "kept"
				told[o.Key] = true
				return again && o.Kind == driver.ObjectRemoved
			})(p, w)
		}},
		{"SharesAllBuckets", "Bucket/BucketsAreKeptApart", func(p *hooked, _ *faulty) {
			p.bucket = func(b driver.Bucket, _ string) driver.Bucket {
				if o, err := p.Provider.OpenBucket(context.Background(), "Test.All"); err == nil {
					return o
				}
				return b
			}
		}},
		{"LosesEventsWhenClosed", "Bucket/ObjectsSurviveReopening", func(p *hooked, w *faulty) {
			events(func(o *driver.ObjectEvent) bool { return w.session > 1 && o.Kind == driver.ObjectRemoved })(p, w)
		}},
		{"IgnoresTheContext", "Bucket/CancelledCallsFail", onBucket(func(h *bucketHook, _ *faulty) {
			h.put = func(ctx context.Context, key string, body io.Reader) error {
				return h.Bucket.Put(context.WithoutCancel(ctx), key, body)
			}
		})},
	}
}

// livingObject reads what is stored when it is read.
type livingObject struct {
	ctx  context.Context
	b    driver.Bucket
	key  string
	old  io.ReadCloser
	read int
}

func (l *livingObject) Read(p []byte) (int, error) {
	if l.read == 0 {
		n, err := l.old.Read(p)
		l.read += n
		return n, err
	}
	r, _, err := l.b.Get(l.ctx, l.key)
	if err != nil {
		return 0, io.EOF
	}
	all, err := io.ReadAll(r)
	_ = r.Close()
	if err != nil || l.read >= len(all) {
		return 0, io.EOF
	}
	n := copy(p, all[l.read:])
	l.read += n
	return n, nil
}

func (l *livingObject) Close() error { return l.old.Close() }

func onLetters(tamper func(h *lettersHook, w *faulty)) func(*hooked, *faulty) {
	return func(p *hooked, w *faulty) {
		p.deadLetters = func(d driver.DeadLetters) driver.DeadLetters {
			h := &lettersHook{DeadLetters: d}
			tamper(h, w)
			return h
		}
	}
}

func deadLettersFaults() []fault {
	parking := func(change func(l *driver.DeadLetter)) func(*hooked, *faulty) {
		return onLetters(func(h *lettersHook, _ *faulty) {
			h.park = func(ctx context.Context, l driver.DeadLetter) error {
				change(&l)
				return h.DeadLetters.Park(ctx, l)
			}
		})
	}
	listing := func(list func(ctx context.Context, d driver.DeadLetters, component, after string, limit int) ([]driver.DeadLetter, error)) func(*hooked, *faulty) {
		return onLetters(func(h *lettersHook, _ *faulty) {
			h.list = func(ctx context.Context, component, after string, limit int) ([]driver.DeadLetter, error) {
				return list(ctx, h.DeadLetters, component, after, limit)
			}
		})
	}
	return []fault{
		{"BodiesAreText", "DeadLetters/EverythingOfALetterIsKept", parking(func(l *driver.DeadLetter) { l.Body = bytes.ToValidUTF8(l.Body, []byte("?")) })},
		{"CompactsBodies", "DeadLetters/EverythingOfALetterIsKept", parking(func(l *driver.DeadLetter) { l.Body = compact(l.Body) })},
		{"LosesTheNumber", "DeadLetters/EverythingOfALetterIsKept", parking(func(l *driver.DeadLetter) { l.SequenceNr = uint64(float64(l.SequenceNr)) })},
		{"KeepsTheFirst", "DeadLetters/ParkReplacesTheLetterOfItsID", onLetters(func(h *lettersHook, _ *faulty) {
			h.park = func(ctx context.Context, l driver.DeadLetter) error {
				if _, err := h.DeadLetters.Get(ctx, l.ID); err == nil {
					return nil
				}
				return h.DeadLetters.Park(ctx, l)
			}
		})},
		{"ListsUnderTheOldComponent", "DeadLetters/ParkReplacesTheLetterOfItsID", listing(func(ctx context.Context, d driver.DeadLetters, component, after string, limit int) ([]driver.DeadLetter, error) {
			all, err := d.List(ctx, component, after, limit)
			if l, err2 := d.Get(ctx, "id"); component == "Test.One" && err2 == nil {
				all = append([]driver.DeadLetter{l}, all...)
			}
			return all, err
		})},
		{"IgnoresTheComponent", "DeadLetters/LettersAreListedByIDAndComponent", listing(func(ctx context.Context, d driver.DeadLetters, _, after string, limit int) ([]driver.DeadLetter, error) {
			return d.List(ctx, "", after, limit)
		})},
		{"LimitsBeforeTheComponent", "DeadLetters/LettersAreListedByIDAndComponent", listing(func(ctx context.Context, d driver.DeadLetters, component, after string, limit int) ([]driver.DeadLetter, error) {
			all, err := d.List(ctx, "", after, limit)
			all = slices.DeleteFunc(all, func(l driver.DeadLetter) bool { return component != "" && l.Component != component })
			if len(all) == 0 {
				return nil, err
			}
			return all, err
		})},
		{"ListsByTime", "DeadLetters/LettersAreListedByIDAndComponent", listing(func(ctx context.Context, d driver.DeadLetters, component, after string, limit int) ([]driver.DeadLetter, error) {
			all, err := d.List(ctx, component, after, limit)
			slices.Reverse(all)
			return all, err
		})},
		{"RemoveNeedsTheLetter", "DeadLetters/RemoveRemovesOneLetter", onLetters(func(h *lettersHook, _ *faulty) {
			h.remove = func(ctx context.Context, id string) error {
				if _, err := h.DeadLetters.Get(ctx, id); err != nil {
					return err
				}
				return h.DeadLetters.Remove(ctx, id)
			}
		})},
		{"ParksAnything", "DeadLetters/LettersWithoutIDOrComponentAreRefused", parking(func(l *driver.DeadLetter) {
			if l.Component == "" {
				l.Component = "Unknown"
			}
		})},
		{"IgnoresTheCase", "DeadLetters/LetterIDsAreKeptApart", parking(func(l *driver.DeadLetter) { l.ID = strings.ToLower(l.ID) })},
		{"CutsLargeBodies", "DeadLetters/LargeLettersAreKept", parking(func(l *driver.DeadLetter) { l.Body = l.Body[:min(len(l.Body), 256<<10)] })},
		{"ListsAMegabyte", "DeadLetters/LargeLettersAreKept", listing(func(ctx context.Context, d driver.DeadLetters, component, after string, limit int) ([]driver.DeadLetter, error) {
			all, err := d.List(ctx, component, after, limit)
			size := 0
			for i, l := range all {
				if size += len(l.Body); size > 1<<20 {
					return all[:i], err
				}
			}
			return all, err
		})},
		{"LettersExpire", "DeadLetters/LettersDoNotExpire", onLetters(func(h *lettersHook, w *faulty) {
			h.get = func(ctx context.Context, id string) (driver.DeadLetter, error) {
				l, err := h.DeadLetters.Get(ctx, id)
				if err == nil && w.Now().Sub(l.ParkedAt) > 14*24*time.Hour {
					return driver.DeadLetter{}, driver.ErrNotFound
				}
				return l, err
			}
		})},
		{"ErrorsAreEmpty", "DeadLetters/ErrorsAreNotEmptyLists", listing(func(ctx context.Context, d driver.DeadLetters, component, after string, limit int) ([]driver.DeadLetter, error) {
			all, _ := d.List(ctx, component, after, limit)
			return all, nil
		})},
		{"KeepsWhatItIsGiven", "DeadLetters/ArgumentsAreNotKept", onLetters(func(h *lettersHook, _ *faulty) {
			var body []byte
			h.park = func(ctx context.Context, l driver.DeadLetter) error {
				body = l.Body
				return h.DeadLetters.Park(ctx, l)
			}
			h.get = func(ctx context.Context, id string) (driver.DeadLetter, error) {
				l, err := h.DeadLetters.Get(ctx, id)
				l.Body = body
				return l, err
			}
		})},
		{"RemovedLettersComeBack", "DeadLetters/LettersSurviveReopening", onLetters(func(h *lettersHook, w *faulty) {
			if w.session > 1 {
				_ = h.DeadLetters.Park(context.Background(), letterOf("b", "Test.B"))
			}
		})},
	}
}

func onOutcomes(tamper func(h *outcomesHook, w *faulty)) func(*hooked, *faulty) {
	return func(p *hooked, w *faulty) {
		p.outcomes = func(o driver.Outcomes) driver.Outcomes {
			h := &outcomesHook{Outcomes: o}
			tamper(h, w)
			return h
		}
	}
}

func outcomesFaults() []fault {
	putting := func(put func(ctx context.Context, o driver.Outcomes, x driver.Outcome, expires time.Time) error) func(*hooked, *faulty) {
		return onOutcomes(func(h *outcomesHook, _ *faulty) {
			h.put = func(ctx context.Context, x driver.Outcome, expires time.Time) error {
				return put(ctx, h.Outcomes, x, expires)
			}
		})
	}
	// overwriting stores Pending whatever is there.
	overwriting := func(h *outcomesHook, mayOverwrite func(ctx context.Context, id string) bool) {
		var mu sync.Mutex
		shown := map[string]driver.Outcome{}
		h.put = func(ctx context.Context, x driver.Outcome, expires time.Time) error {
			if x.Kind == driver.Pending && !mayOverwrite(ctx, x.CommandID) {
				return nil
			}
			others()
			mu.Lock()
			shown[x.CommandID] = x
			mu.Unlock()
			return h.Outcomes.Put(ctx, x, expires)
		}
		h.get = func(ctx context.Context, id string) (driver.Outcome, error) {
			o, err := h.Outcomes.Get(ctx, id)
			mu.Lock()
			defer mu.Unlock()
			if s, ok := shown[id]; ok && err == nil {
				return s, nil
			}
			return o, err
		}
	}
	return []fault{
		{"LosesTheDetail", "Outcomes/EverythingOfAnOutcomeIsKept", putting(func(ctx context.Context, o driver.Outcomes, x driver.Outcome, expires time.Time) error {
			x.Detail = nil
			return o.Put(ctx, x, expires)
		})},
		{"UnknownIsPending", "Outcomes/EverythingOfAnOutcomeIsKept", onOutcomes(func(h *outcomesHook, _ *faulty) {
			h.get = func(ctx context.Context, id string) (driver.Outcome, error) {
				o, err := h.Outcomes.Get(ctx, id)
				if errors.Is(err, driver.ErrNotFound) {
					return pending(id), nil
				}
				return o, err
			}
		})},
		{"PendingOverwrites", "Outcomes/PendingReplacesNoOtherOutcome", onOutcomes(func(h *outcomesHook, _ *faulty) {
			overwriting(h, func(context.Context, string) bool { return true })
		})},
		{"PendingIsAnError", "Outcomes/PendingReplacesNoOtherOutcome", putting(func(ctx context.Context, o driver.Outcomes, x driver.Outcome, expires time.Time) error {
			if old, err := o.Get(ctx, x.CommandID); x.Kind == driver.Pending && err == nil && old.Kind != driver.Pending {
				return driver.ErrExists
			}
			return o.Put(ctx, x, expires)
		})},
		{"PendingProlongs", "Outcomes/PendingReplacesNoOtherOutcome", putting(func(ctx context.Context, o driver.Outcomes, x driver.Outcome, expires time.Time) error {
			if old, err := o.Get(ctx, x.CommandID); x.Kind == driver.Pending && err == nil {
				x = old
			}
			return o.Put(ctx, x, expires)
		})},
		{"TheFirstOutcomeWins", "Outcomes/AnyOtherOutcomeReplaces", putting(func(ctx context.Context, o driver.Outcomes, x driver.Outcome, expires time.Time) error {
			if old, err := o.Get(ctx, x.CommandID); err == nil && old.Kind != driver.Pending {
				return nil
			}
			return o.Put(ctx, x, expires)
		})},
		{"ChecksThenPuts", "Outcomes/PendingLosesEveryRace", onOutcomes(func(h *outcomesHook, _ *faulty) {
			overwriting(h, func(ctx context.Context, id string) bool {
				_, err := h.Outcomes.Get(ctx, id)
				others()
				return err != nil
			})
		})},
		{"NothingExpires", "Outcomes/OutcomesExpire", putting(func(ctx context.Context, o driver.Outcomes, x driver.Outcome, expires time.Time) error {
			return o.Put(ctx, x, expires.Add(10000*time.Hour))
		})},
		{"TheFirstExpiryHolds", "Outcomes/OutcomesExpire", onOutcomes(func(h *outcomesHook, _ *faulty) {
			first := map[string]time.Time{}
			h.put = func(ctx context.Context, x driver.Outcome, expires time.Time) error {
				if t, ok := first[x.CommandID]; ok && x.Kind != driver.Pending {
					expires = t
				}
				first[x.CommandID] = expires
				return h.Outcomes.Put(ctx, x, expires)
			}
		})},
		{"IgnoresTheCase", "Outcomes/CommandIDsAreKeptApart", putting(func(ctx context.Context, o driver.Outcomes, x driver.Outcome, expires time.Time) error {
			x.CommandID = strings.ToLower(x.CommandID)
			return o.Put(ctx, x, expires)
		})},
		{"ErrorsAreNotFound", "Outcomes/ErrorsAreNotMissingOutcomes", onOutcomes(func(h *outcomesHook, _ *faulty) {
			h.get = func(ctx context.Context, id string) (driver.Outcome, error) {
				o, err := h.Outcomes.Get(ctx, id)
				if err != nil {
					err = driver.ErrNotFound
				}
				return o, err
			}
		})},
		{"KeepsWhatItIsGiven", "Outcomes/ArgumentsAreNotKept", onOutcomes(func(h *outcomesHook, _ *faulty) {
			overwriting(h, func(context.Context, string) bool { return true })
		})},
		{"ForgetsPendingWhenClosed", "Outcomes/OutcomesSurviveReopening", onOutcomes(func(h *outcomesHook, w *faulty) {
			h.get = func(ctx context.Context, id string) (driver.Outcome, error) {
				o, err := h.Outcomes.Get(ctx, id)
				if w.session > 1 && o.Kind == driver.Pending {
					return driver.Outcome{}, driver.ErrNotFound
				}
				return o, err
			}
		})},
	}
}

// tamperedProvider is a provider with methods of its own replaced.
type tamperedProvider struct {
	driver.Provider
	limits *driver.Limits
	close  func() error
	notify func(f func(string)) func()
}

func (p *tamperedProvider) Limits() driver.Limits {
	if p.limits != nil {
		return *p.limits
	}
	return p.Provider.Limits()
}

func (p *tamperedProvider) Close() error {
	if p.close != nil {
		return p.close()
	}
	return p.Provider.Close()
}

func (p *tamperedProvider) Notify(f func(string)) func() {
	if p.notify != nil {
		return p.notify(f)
	}
	return p.Provider.(driver.Notifier).Notify(f)
}

func providerFaults() []fault {
	tampered := func(tamper func(p *tamperedProvider)) func(*hooked, *faulty) {
		return func(h *hooked, _ *faulty) {
			p := &tamperedProvider{Provider: h.Provider}
			tamper(p)
			h.Provider = p
		}
	}
	inner := func(p *tamperedProvider) driver.Notifier { return p.Provider.(driver.Notifier) }
	return []fault{
		{"HasNoLimits", "Provider/LimitsAreSet", tampered(func(p *tamperedProvider) { p.limits = &driver.Limits{} })},
		{"OpensANewStoreEachTime", "Provider/OneNameIsOneStore", func(h *hooked, _ *faulty) {
			n := 0
			h.checkpoints = func(c driver.Checkpoints, consumer string) driver.Checkpoints {
				n++
				if o, err := h.Provider.OpenCheckpoints(context.Background(), fmt.Sprintf("%s%d", consumer, n)); err == nil {
					return o
				}
				return c
			}
		}},
		{"NamesLoseTheirDot", "Provider/SimilarNamesAreKeptApart", func(h *hooked, _ *faulty) {
			h.counter = func(c driver.Counter, name string) driver.Counter {
				if o, err := h.Provider.OpenCounter(context.Background(), strings.ReplaceAll(name, ".", "")); err == nil {
					return o
				}
				return c
			}
		}},
		{"CloseDoesNothing", "Provider/ClosedDriversAreUnavailable", tampered(func(p *tamperedProvider) { p.close = func() error { return nil } })},
		{"ASecondCloseIsAnError", "Provider/ClosingTwiceIsFine", tampered(func(p *tamperedProvider) {
			closed := false
			p.close = func() error {
				if closed {
					return driver.ErrUnavailable
				}
				closed = true
				return p.Provider.Close()
			}
		})},
		{"LosesWhatItWasToldBesideClose", "Provider/CloseLosesNoAcknowledgedCall", func(h *hooked, w *faulty) {
			hidden := memoOf(w, "hidden", func() *sync.Map { return new(sync.Map) })
			onLog(func(l *logHook, _ *faulty) {
				l.append = func(ctx context.Context, c driver.Commit) error {
					hidden.Store(c.Stream, c.SequenceNr) // not flushed yet
					return l.EventLog.Append(ctx, c)
				}
				l.read = func(ctx context.Context, stream string, after uint64) iter.Seq2[driver.Commit, error] {
					cs, err := stored(l.EventLog.Read(ctx, stream, after))
					if _, ok := hidden.Load(stream); ok && w.session > 1 {
						cs = cs[:max(0, len(cs)-2)]
					}
					return again(cs, err)
				}
			})(h, w)
		}},
		{"SubscriptionsOutliveTheProvider", "Provider/CloseEndsSubscriptions", tampered(func(p *tamperedProvider) { p.close = func() error { return nil } })},
		{"TellsCommandsOnly", "Provider/NotifyTellsOfEveryReceiver", tampered(func(p *tamperedProvider) {
			p.notify = func(f func(string)) func() {
				return inner(p).Notify(func(r string) {
					if strings.HasPrefix(r, "CommandTopic/") {
						f(r)
					}
				})
			}
		})},
		{"TellsBeforeItIsDone", "Provider/NotifyTellsOfEveryReceiver", func(h *hooked, w *faulty) {
			var mu sync.Mutex
			var listeners []func(string)
			tampered(func(p *tamperedProvider) {
				p.notify = func(f func(string)) func() {
					mu.Lock()
					defer mu.Unlock()
					listeners = append(listeners, f)
					return func() {}
				}
			})(h, w)
			onLog(func(l *logHook, _ *faulty) {
				l.append = func(context.Context, driver.Commit) error {
					mu.Lock()
					defer mu.Unlock()
					for _, f := range listeners {
						f(driver.ReceiverOf("EventCollector", "Test.Log"))
					}
					return nil // it is appended later
				}
			})(h, w)
		}},
		{"TellsNewMessagesOnly", "Provider/NotifyTellsOfSettlements", tampered(func(p *tamperedProvider) {
			p.notify = func(func(string)) func() { return func() {} }
		})},
		{"DoesNotStop", "Provider/NotifyStops", tampered(func(p *tamperedProvider) {
			p.notify = func(f func(string)) func() {
				inner(p).Notify(f)
				return func() {}
			}
		})},
	}
}
