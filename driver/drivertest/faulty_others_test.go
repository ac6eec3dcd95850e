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
	"github.com/reventless-go/reventless/internal/faults"
)

// onChanges changes what subscribers receive: nothing, or several changes.
func onChanges(change func(c driver.StateChange) []driver.StateChange) plant {
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

func onSubscribe(subscribe func(ctx context.Context, t driver.StateTopic) (iter.Seq2[driver.StateChange, error], error)) plant {
	return on(func(h *faults.StateTopic, _ *faulty) {
		h.OnSubscribe = func(ctx context.Context) (iter.Seq2[driver.StateChange, error], error) {
			return subscribe(ctx, h.StateTopic)
		}
	})
}

func stateTopicFaults() []fault {
	one := func(change func(c *driver.StateChange)) plant {
		return onChanges(func(c driver.StateChange) []driver.StateChange {
			change(&c)
			return []driver.StateChange{c}
		})
	}
	without := func(drop func(c driver.StateChange) bool) plant {
		return onChanges(func(c driver.StateChange) []driver.StateChange {
			if drop(c) {
				return nil
			}
			return []driver.StateChange{c}
		})
	}
	return []fault{
		{"DoesNotPublishRemovals", "StateTopic/EveryWriteIsPublished", without(func(c driver.StateChange) bool { return c.Kind == driver.Removed })},
		{"CompactsRows", "StateTopic/ChangesAreWhole", one(func(c *driver.StateChange) { c.Row = compact(c.Row) })},
		{"PublishesRemovalsWithoutTheRow", "StateTopic/RemovalsCarryTheRowBefore", one(func(c *driver.StateChange) {
			if c.Kind == driver.Removed {
				c.Row = nil
			}
		})},
		{"PublishesDeletesOfNothing", "StateTopic/WhatChangesNothingIsNotPublished", func(w *faulty) {
			extra := make(chan driver.StateChange, 100)
			on(func(h *faults.QueryDb, _ *faulty) {
				h.OnApply = func(ctx context.Context, step driver.Step) error {
					if w := step.Writes; len(w) > 0 && w[0].Delete {
						extra <- driver.StateChange{Kind: driver.Removed, ReadModel: plainTable.Name, ID: w[0].Row.ID, Revision: 1}
					}
					return h.Inner.Apply(ctx, step)
				}
			})(w)
			onChanges(func(c driver.StateChange) []driver.StateChange {
				all := []driver.StateChange{}
				for len(extra) > 0 {
					all = append(all, <-extra)
				}
				return append(all, c)
			})(w)
		}},
		{"PublishesExpiredRowsAsUpdated", "StateTopic/RowsWrittenAfterExpiryAreAdded", func(w *faulty) {
			known := map[string]bool{}
			one(func(c *driver.StateChange) {
				if known[c.ID] && c.Kind == driver.Added {
					c.Kind = driver.Updated
				}
				known[c.ID] = true
			})(w)
		}},
		{"DoesNotPublishOwnRows", "StateTopic/OwnRowStepsArePublished", without(func(c driver.StateChange) bool { return string(c.Row) == `{"n":2}` })},
		{"PublishesInAnyOrder", "StateTopic/ChangesOfARowComeInOrder", func(w *faulty) {
			var kept *driver.StateChange
			onChanges(func(c driver.StateChange) []driver.StateChange {
				if kept == nil {
					kept = &c
					return nil
				}
				first := *kept
				kept = nil
				return []driver.StateChange{c, first}
			})(w)
		}},
		{"SubscribersCompete", "StateTopic/EverySubscriberGetsEveryChange", func(w *faulty) {
			var mu sync.Mutex
			seen := map[string]bool{}
			without(func(c driver.StateChange) bool {
				mu.Lock()
				defer mu.Unlock()
				key := c.ID + fmt.Sprint(c.Revision)
				again := seen[key]
				seen[key] = true
				return again
			})(w)
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
		{"PublishesAllReadModels", "StateTopic/ReadModelsArePublishedApart", on(func(h *faults.StateTopic, w *faulty) {
			if o, err := w.p.PullProvider.OpenStateTopic(context.Background(), driver.TableSpec{Name: "Test.One"}); err == nil {
				h.OnSubscribe = o.Subscribe
			}
		})},
		{"ACancelledSubscriptionIsAnError", "StateTopic/ACancelledSubscriptionEnds", onSubscribe(func(ctx context.Context, t driver.StateTopic) (iter.Seq2[driver.StateChange, error], error) {
			seq, err := t.Subscribe(ctx)
			return func(yield func(driver.StateChange, error) bool) {
				seq(yield)
				yield(driver.StateChange{}, ctx.Err())
			}, err
		})},
		{"ASlowSubscriberBlocksWriters", "StateTopic/ASlowSubscriberDelaysNoWriter", func(w *faulty) {
			line := make(chan struct{}, 500)
			on(func(h *faults.QueryDb, _ *faulty) {
				h.OnApply = func(ctx context.Context, step driver.Step) error {
					if err := h.Inner.Apply(ctx, step); err != nil {
						return err
					}
					for range step.Writes {
						select {
						case line <- struct{}{}:
						case <-ctx.Done():
							return ctx.Err()
						}
					}
					return nil
				}
			})(w)
			one(func(*driver.StateChange) {
				select {
				case <-line:
				default:
				}
			})(w)
		}},
		{"DropsChangesQuietly", "StateTopic/ASlowSubscriberDelaysNoWriter", func(w *faulty) {
			n := 0
			without(func(driver.StateChange) bool {
				n++
				return n%100 == 0
			})(w)
		}},
		{"KeepsThoseWhoLeft", "StateTopic/ASubscriberMayStopListening", func(w *faulty) {
			var left atomic.Bool
			on(func(h *faults.QueryDb, _ *faulty) {
				h.OnApply = func(ctx context.Context, step driver.Step) error {
					if left.Load() {
						<-ctx.Done() // nobody reads the channel any more
						return ctx.Err()
					}
					return h.Inner.Apply(ctx, step)
				}
			})(w)
			onSubscribe(func(ctx context.Context, t driver.StateTopic) (iter.Seq2[driver.StateChange, error], error) {
				seq, err := t.Subscribe(ctx)
				return func(yield func(driver.StateChange, error) bool) {
					seq(yield)
					left.Store(true)
				}, err
			})(w)
		}},
		{"SharesItsChanges", "StateTopic/ChangesBelongToTheCaller", func(w *faulty) {
			var mu sync.Mutex
			rows := map[string][]byte{}
			one(func(c *driver.StateChange) {
				mu.Lock()
				defer mu.Unlock()
				if rows[c.ID] == nil {
					rows[c.ID] = c.Row
				}
				c.Row = rows[c.ID]
			})(w)
		}},
	}
}

func counterFaults() []fault {
	finishing := func(drop func(f *driver.CounterFinished) bool) plant {
		return onEnds(func(_ *faults.Counter, r *faults.Receiver[driver.CounterFinished], _ *faulty) {
			r.OnReceive = func(ctx context.Context, max int) (driver.Batch[driver.CounterFinished], error) {
				b, err := r.Receiver.Receive(ctx, max)
				b.Deliveries = slices.DeleteFunc(b.Deliveries, func(d driver.Delivery[driver.CounterFinished]) bool {
					if drop(&d.Message) {
						_ = r.Receiver.Settle(ctx, []driver.Settlement{{ID: d.ID}})
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
	forgetful := func(known func(w *faulty, ref string) bool) plant {
		return on(func(h *faults.Counter, w *faulty) {
			var n atomic.Int64
			h.OnCount = func(ctx context.Context, id, ref string, inc int64) error {
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
		{"ACounterNeverUsedIsNotFound", "Counter/ACounterNeverUsedIsZero", on(func(h *faults.Counter, _ *faulty) {
			h.OnState = func(ctx context.Context, id string) (driver.CounterState, error) {
				s, err := h.Counter.State(ctx, id)
				if err == nil && s == (driver.CounterState{}) {
					err = driver.ErrNotFound
				}
				return s, err
			}
		})},
		{"SharesReferences", "Counter/CountsAndTargetsAddUp", on(func(h *faults.Counter, _ *faulty) {
			used := map[string]bool{}
			h.OnCount = func(ctx context.Context, id, ref string, n int64) error {
				used[id+"|"+ref] = true
				return h.Counter.Count(ctx, id, ref, n)
			}
			h.OnAddTarget = func(ctx context.Context, id, ref string, n int64) error {
				if used[id+"|"+ref] {
					return nil
				}
				return h.Counter.AddTarget(ctx, id, ref, n)
			}
		})},
		{"CountsTwice", "Counter/ReferencesCountOnce", forgetful(func(*faulty, string) bool { return false })},
		{"ForgetsReferencesAfterADay", "Counter/ReferencesCountOnceForAWeek", forgetful(func(w *faulty, ref string) bool {
			used := memoOf(w, "used", func() map[string]time.Time { return map[string]time.Time{} })
			at, ok := used[ref]
			used[ref] = w.Now()
			return ok && w.Now().Sub(at) < 24*time.Hour
		})},
		{"FinishesOnlyAtTheExactTarget", "Counter/ReachingTheTargetFinishesOnce", finishing(func(f *driver.CounterFinished) bool { return f.CounterID == "b" })},
		{"DoesNotLookWhenTheTargetComes", "Counter/CountsMayComeBeforeTheTarget", func(w *faulty) {
			late := map[string]bool{}
			onEnds(func(h *faults.Counter, r *faults.Receiver[driver.CounterFinished], _ *faulty) {
				h.OnAddTarget = func(ctx context.Context, id, ref string, n int64) error {
					err := h.Counter.AddTarget(ctx, id, ref, n)
					s, _ := h.Counter.State(ctx, id)
					late[id] = s.Finished > 0
					return err
				}
				r.OnReceive = func(ctx context.Context, max int) (driver.Batch[driver.CounterFinished], error) {
					b, err := r.Receiver.Receive(ctx, max)
					b.Deliveries = slices.DeleteFunc(b.Deliveries, func(d driver.Delivery[driver.CounterFinished]) bool { return late[d.Message.CounterID] })
					return b, err
				}
			})(w)
		}},
		{"FinishesOnceForAll", "Counter/EveryReachedTargetFinishes", finishing(func(f *driver.CounterFinished) bool { return f.Ordinal > 1 })},
		{"ChecksReferencesThenCounts", "Counter/ConcurrentCountsFinishExactlyOnce", forgetful(func(w *faulty, ref string) bool {
			used := memoOf(w, "used", func() *sync.Map { return new(sync.Map) })
			if _, ok := used.Load(ref); ok {
				return true
			}
			others()
			used.Store(ref, true)
			return false
		})},
		{"JoinsIDAndReference", "Counter/CountersAreKeptApart", func(w *faulty) {
			used := map[string]bool{}
			on(func(h *faults.Counter, _ *faulty) {
				h.OnCount = func(ctx context.Context, id, ref string, n int64) error {
					if used[id+"/"+ref] {
						return nil
					}
					used[id+"/"+ref] = true
					return h.Counter.Count(ctx, id, ref, n)
				}
			})(w)
		}},
		{"UsesUpRefusedReferences", "Counter/BadArgumentsAreRefused", on(func(h *faults.Counter, _ *faulty) {
			used := map[string]bool{}
			h.OnCount = func(ctx context.Context, id, ref string, n int64) error {
				if used[id+ref] && n > 0 {
					return nil
				}
				used[id+ref] = true
				return h.Counter.Count(ctx, id, ref, n)
			}
		})},
		{"LosesFinishesWhenClosed", "Counter/FinishesSurviveReopening", func(w *faulty) {
			finishing(func(f *driver.CounterFinished) bool { return w.session == 2 && f.CounterID == "a" })(w)
		}},
	}
}

func schedulerFaults() []fault {
	creating := func(change func(s *driver.Schedule)) plant {
		return on(func(h *faults.Scheduler, _ *faulty) {
			h.OnCreate = func(ctx context.Context, s driver.Schedule) error {
				change(&s)
				return h.Scheduler.Create(ctx, s)
			}
		})
	}
	firing := func(change func(f *driver.Firing, w *faulty)) plant {
		return onEnds(func(_ *faults.Scheduler, r *faults.Receiver[driver.Firing], w *faulty) {
			r.OnReceive = func(ctx context.Context, max int) (driver.Batch[driver.Firing], error) {
				b, err := r.Receiver.Receive(ctx, max)
				for i := range b.Deliveries {
					change(&b.Deliveries[i].Message, w)
				}
				return b, err
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
		{"FiresOnce", "Scheduler/ARecurringScheduleGoesOn", onEnds(func(h *faults.Scheduler, r *faults.Receiver[driver.Firing], _ *faulty) {
			names := map[string]string{}
			r.OnReceive = func(ctx context.Context, max int) (driver.Batch[driver.Firing], error) {
				b, err := r.Receiver.Receive(ctx, max)
				for _, d := range b.Deliveries {
					names[d.ID] = d.Message.Name
				}
				return b, err
			}
			r.OnSettle = func(ctx context.Context, ss []driver.Settlement) error {
				err := r.Receiver.Settle(ctx, ss)
				for _, s := range ss {
					err = errors.Join(err, h.Scheduler.Delete(ctx, names[s.ID]))
				}
				return err
			}
		})},
		{"RatesGoOnFromTheirDue", "Scheduler/RatesGoOnFromTheSettlement", repeatsFirings},
		{"FiresForEveryMissedTime", "Scheduler/MissedTimesAreOneFiring", repeatsFirings},
		{"ARetryIsDueNow", "Scheduler/ARetryHasTheSameDue", firing(func(f *driver.Firing, w *faulty) { f.Due = w.Now().Truncate(time.Minute) })},
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
			var mu sync.Mutex
			created := map[string]int{}
			var more []driver.Firing
			h.OnCreate = func(ctx context.Context, s driver.Schedule) error {
				mu.Lock()
				if created[s.Name]++; created[s.Name] == 2 {
					more = append(more, driver.Firing{Name: s.Name, Due: w.Now(), Payload: s.Payload})
				}
				mu.Unlock()
				return h.Scheduler.Create(ctx, s)
			}
			r.OnReceive = func(ctx context.Context, max int) (driver.Batch[driver.Firing], error) {
				b, err := r.Receiver.Receive(ctx, max)
				if len(b.Deliveries) == 0 && len(more) > 0 {
					b.Deliveries, more = []driver.Delivery[driver.Firing]{{ID: "more", Attempt: 1, Message: more[0]}}, more[1:]
					b.Next = time.Time{}
				}
				return b, err
			}
		})},
		{"DeletedFiringsAreDelivered", "Scheduler/DeleteRemovesTheFiring", keepsFirings},
		{"ListsInAnyOrder", "Scheduler/ListIsAscendingAndWhole", on(func(h *faults.Scheduler, _ *faulty) {
			h.OnList = func(ctx context.Context) ([]driver.Schedule, error) {
				all, err := h.Scheduler.List(ctx)
				slices.Reverse(all)
				return all, err
			}
		})},
		{"AcceptsAnyExpression", "Scheduler/InvalidSchedulesAreRefused", on(func(h *faults.Scheduler, _ *faulty) {
			h.OnCreate = func(ctx context.Context, s driver.Schedule) error {
				if err := h.Scheduler.Create(ctx, s); err == nil || !strings.HasPrefix(s.Expression, "cron(") {
					return err
				}
				return nil
			}
		})},
		{"KnowsNoSharp", "Scheduler/ValidSchedulesAreAccepted", on(func(h *faults.Scheduler, _ *faulty) {
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

// repeatsFirings delivers each recurring firing once more after it was settled,
// as a scheduler does that goes on from the last due time.
func repeatsFirings(w *faulty) {
	onEnds(func(h *faults.Scheduler, r *faults.Receiver[driver.Firing], w *faulty) {
		firings := map[string]driver.Firing{}
		var line []driver.Firing
		n := 0
		r.OnReceive = func(ctx context.Context, max int) (driver.Batch[driver.Firing], error) {
			b, err := r.Receiver.Receive(ctx, max)
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
					line = append(line, f)
				}
				delete(firings, s.ID)
			}
			return errors.Join(err, r.Receiver.Settle(ctx, ss))
		}
	})(w)
}

// keepsFirings delivers firings of schedules that were replaced or deleted.
func keepsFirings(w *faulty) {
	onEnds(func(h *faults.Scheduler, r *faults.Receiver[driver.Firing], w *faulty) {
		var line []driver.Firing
		n := 0
		past := map[string]driver.Firing{}
		gone := func(name string) {
			if f, ok := past[name]; ok {
				line = append(line, f)
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
		r.OnReceive = func(ctx context.Context, max int) (driver.Batch[driver.Firing], error) {
			b, err := r.Receiver.Receive(ctx, max)
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
	})(w)
}

func bucketFaults() []fault {
	// keyed maps keys to other ones.
	keyed := func(to func(string) string) plant {
		return on(func(h *faults.Bucket, _ *faulty) {
			h.OnPut = func(ctx context.Context, key string, body io.Reader) error { return h.Bucket.Put(ctx, to(key), body) }
			h.OnGet = func(ctx context.Context, key string) (io.ReadCloser, driver.Object, error) {
				r, o, err := h.Bucket.Get(ctx, to(key))
				o.Key = key
				return r, o, err
			}
			h.OnDelete = func(ctx context.Context, key string) error { return h.Bucket.Delete(ctx, to(key)) }
		})
	}
	listing := func(list func(ctx context.Context, b driver.Bucket, prefix, after string, limit int) ([]driver.Object, error)) plant {
		return on(func(h *faults.Bucket, _ *faulty) {
			h.OnList = func(ctx context.Context, prefix, after string, limit int) ([]driver.Object, error) {
				return list(ctx, h.Bucket, prefix, after, limit)
			}
		})
	}
	events := func(drop func(o *driver.ObjectEvent) bool) plant {
		return onEnds(func(_ *faults.Bucket, r *faults.Receiver[driver.ObjectEvent], _ *faulty) {
			r.OnReceive = func(ctx context.Context, max int) (driver.Batch[driver.ObjectEvent], error) {
				b, err := r.Receiver.Receive(ctx, max)
				b.Deliveries = slices.DeleteFunc(b.Deliveries, func(d driver.Delivery[driver.ObjectEvent]) bool {
					o := d.Message
					if drop(&o) {
						_ = r.Receiver.Settle(ctx, []driver.Settlement{{ID: d.ID}})
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
		{"ReadsOnce", "Bucket/PutThenGet", on(func(h *faults.Bucket, _ *faulty) {
			h.OnPut = func(ctx context.Context, key string, body io.Reader) error {
				buf := make([]byte, 4<<20)
				n, err := body.Read(buf)
				if err != nil && err != io.EOF {
					return err
				}
				return h.Bucket.Put(ctx, key, bytes.NewReader(buf[:n]))
			}
		})},
		{"PutCreatesOnly", "Bucket/PutReplaces", on(func(h *faults.Bucket, _ *faulty) {
			h.OnPut = func(ctx context.Context, key string, body io.Reader) error {
				if r, _, err := h.Bucket.Get(ctx, key); err == nil {
					_ = r.Close()
					return driver.ErrExists
				}
				return h.Bucket.Put(ctx, key, body)
			}
		})},
		{"KeepsAPart", "Bucket/AFailedPutChangesNothing", on(func(h *faults.Bucket, _ *faulty) {
			h.OnPut = func(ctx context.Context, key string, body io.Reader) error {
				all, err := io.ReadAll(body)
				return errors.Join(h.Bucket.Put(ctx, key, bytes.NewReader(all)), err)
			}
		})},
		{"WritesInPlace", "Bucket/ReadersSeeWholeObjects", on(func(h *faults.Bucket, _ *faulty) {
			h.OnPut = func(ctx context.Context, key string, body io.Reader) error {
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
		{"ReadsWhatIsThereNow", "Bucket/AnOpenObjectStaysWhole", on(func(h *faults.Bucket, _ *faulty) {
			h.OnGet = func(ctx context.Context, key string) (io.ReadCloser, driver.Object, error) {
				r, o, err := h.Bucket.Get(ctx, key)
				if err != nil {
					return nil, o, err
				}
				return &livingObject{ctx: ctx, b: h.Bucket, key: key, old: r}, o, nil
			}
		})},
		{"DeleteRemovesTheFolder", "Bucket/DeleteRemovesAnObject", on(func(h *faults.Bucket, _ *faulty) {
			h.OnDelete = func(ctx context.Context, key string) error {
				all, err := h.Bucket.List(ctx, key+"/", "", 100)
				for _, o := range all {
					err = errors.Join(err, h.Bucket.Delete(ctx, o.Key))
				}
				return errors.Join(err, h.Bucket.Delete(ctx, key))
			}
		})},
		{"DecodesPlus", "Bucket/KeysAreKeptApart", keyed(func(k string) string { return strings.ReplaceAll(k, "+", " ") })},
		{"CleansKeys", "Bucket/BadKeysAreRefused", keyed(func(k string) string { return strings.TrimPrefix(k, "/") })},
		{"LimitsBeforeThePrefix", "Bucket/ListIsAscendingAndBounded", listing(func(ctx context.Context, b driver.Bucket, prefix, after string, limit int) ([]driver.Object, error) {
			all, err := b.List(ctx, "", after, limit)
			return slices.DeleteFunc(all, func(o driver.Object) bool { return !strings.HasPrefix(o.Key, prefix) }), err
		})},
		{"ListSaysNoSize", "Bucket/ObjectsAreDescribed", listing(func(ctx context.Context, b driver.Bucket, prefix, after string, limit int) ([]driver.Object, error) {
			all, err := b.List(ctx, prefix, after, limit)
			for i := range all {
				all[i].Size = 0
			}
			return all, err
		})},
		{"DoesNotPublishRemovals", "Bucket/EveryChangeIsDelivered", events(func(o *driver.ObjectEvent) bool { return o.Kind == driver.ObjectRemoved })},
		{"DeliversTheFirstOfQuickChanges", "Bucket/TheLastOfQuickChangesIsDelivered", func(w *faulty) {
			told := map[string]bool{}
			events(func(o *driver.ObjectEvent) bool {
				again := told[o.Key] && o.Version != "kept"
				told[o.Key] = true
				return again && o.Kind == driver.ObjectRemoved
			})(w)
		}},
		{"SharesAllBuckets", "Bucket/BucketsAreKeptApart", on(func(h *faults.Bucket, w *faulty) {
			if o, err := w.p.PullProvider.OpenBucket(context.Background(), "Test.All"); err == nil {
				h.OnPut, h.OnGet, h.OnDelete, h.OnList = o.Put, o.Get, o.Delete, o.List
			}
		})},
		{"LosesEventsWhenClosed", "Bucket/ObjectsSurviveReopening", func(w *faulty) {
			events(func(o *driver.ObjectEvent) bool { return w.session > 1 && o.Kind == driver.ObjectRemoved })(w)
		}},
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

func deadLettersFaults() []fault {
	parking := func(change func(l *driver.DeadLetter)) plant {
		return on(func(h *faults.DeadLetters, _ *faulty) {
			h.OnPark = func(ctx context.Context, l driver.DeadLetter) error {
				change(&l)
				return h.DeadLetters.Park(ctx, l)
			}
		})
	}
	listing := func(list func(ctx context.Context, d driver.DeadLetters, component, after string, limit int) ([]driver.DeadLetter, error)) plant {
		return on(func(h *faults.DeadLetters, _ *faulty) {
			h.OnList = func(ctx context.Context, component, after string, limit int) ([]driver.DeadLetter, error) {
				return list(ctx, h.DeadLetters, component, after, limit)
			}
		})
	}
	return []fault{
		{"CompactsBodies", "DeadLetters/EverythingOfALetterIsKept", parking(func(l *driver.DeadLetter) { l.Body = compact(l.Body) })},
		{"KeepsTheFirst", "DeadLetters/ParkReplacesTheLetterOfItsID", on(func(h *faults.DeadLetters, _ *faulty) {
			h.OnPark = func(ctx context.Context, l driver.DeadLetter) error {
				if _, err := h.DeadLetters.Get(ctx, l.ID); err == nil {
					return nil
				}
				return h.DeadLetters.Park(ctx, l)
			}
		})},
		{"IgnoresTheComponent", "DeadLetters/LettersAreListedByIDAndComponent", listing(func(ctx context.Context, d driver.DeadLetters, _, after string, limit int) ([]driver.DeadLetter, error) {
			return d.List(ctx, "", after, limit)
		})},
		{"RemoveNeedsTheLetter", "DeadLetters/RemoveRemovesOneLetter", on(func(h *faults.DeadLetters, _ *faulty) {
			h.OnRemove = func(ctx context.Context, id string) error {
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
		{"LettersExpire", "DeadLetters/LettersDoNotExpire", on(func(h *faults.DeadLetters, w *faulty) {
			h.OnGet = func(ctx context.Context, id string) (driver.DeadLetter, error) {
				l, err := h.DeadLetters.Get(ctx, id)
				if err == nil && w.Now().Sub(l.ParkedAt) > 14*24*time.Hour {
					return driver.DeadLetter{}, driver.ErrNotFound
				}
				return l, err
			}
		})},
		{"KeepsWhatItIsGiven", "DeadLetters/ArgumentsAreNotKept", on(func(h *faults.DeadLetters, _ *faulty) {
			var body []byte
			h.OnPark = func(ctx context.Context, l driver.DeadLetter) error {
				body = l.Body
				return h.DeadLetters.Park(ctx, l)
			}
			h.OnGet = func(ctx context.Context, id string) (driver.DeadLetter, error) {
				l, err := h.DeadLetters.Get(ctx, id)
				l.Body = body
				return l, err
			}
		})},
		{"RemovedLettersComeBack", "DeadLetters/LettersSurviveReopening", on(func(h *faults.DeadLetters, w *faulty) {
			if w.session > 1 {
				_ = h.DeadLetters.Park(context.Background(), letterOf("b", "Test.B"))
			}
		})},
	}
}

func outcomesFaults() []fault {
	putting := func(put func(ctx context.Context, o driver.Outcomes, x driver.Outcome, expires time.Time) error) plant {
		return on(func(h *faults.Outcomes, _ *faulty) {
			h.OnPut = func(ctx context.Context, x driver.Outcome, expires time.Time) error {
				return put(ctx, h.Outcomes, x, expires)
			}
		})
	}
	// overwriting stores Pending whatever is there.
	overwriting := func(h *faults.Outcomes, mayOverwrite func(ctx context.Context, id string) bool) {
		var mu sync.Mutex
		shown := map[string]driver.Outcome{}
		h.OnPut = func(ctx context.Context, x driver.Outcome, expires time.Time) error {
			if x.Kind == driver.Pending && !mayOverwrite(ctx, x.CommandID) {
				return nil
			}
			others()
			mu.Lock()
			shown[x.CommandID] = x
			mu.Unlock()
			return h.Outcomes.Put(ctx, x, expires)
		}
		h.OnGet = func(ctx context.Context, id string) (driver.Outcome, error) {
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
		{"PendingOverwrites", "Outcomes/PendingReplacesNoOtherOutcome", on(func(h *faults.Outcomes, _ *faulty) {
			overwriting(h, func(context.Context, string) bool { return true })
		})},
		{"TheFirstOutcomeWins", "Outcomes/AnyOtherOutcomeReplaces", putting(func(ctx context.Context, o driver.Outcomes, x driver.Outcome, expires time.Time) error {
			if old, err := o.Get(ctx, x.CommandID); err == nil && old.Kind != driver.Pending {
				return nil
			}
			return o.Put(ctx, x, expires)
		})},
		{"ChecksThenPuts", "Outcomes/PendingLosesEveryRace", on(func(h *faults.Outcomes, _ *faulty) {
			overwriting(h, func(ctx context.Context, id string) bool {
				_, err := h.Outcomes.Get(ctx, id)
				others()
				return err != nil
			})
		})},
		{"NothingExpires", "Outcomes/OutcomesExpire", putting(func(ctx context.Context, o driver.Outcomes, x driver.Outcome, expires time.Time) error {
			return o.Put(ctx, x, expires.Add(10000*time.Hour))
		})},
		{"IgnoresTheCase", "Outcomes/CommandIDsAreKeptApart", putting(func(ctx context.Context, o driver.Outcomes, x driver.Outcome, expires time.Time) error {
			x.CommandID = strings.ToLower(x.CommandID)
			return o.Put(ctx, x, expires)
		})},
		{"KeepsWhatItIsGiven", "Outcomes/ArgumentsAreNotKept", on(func(h *faults.Outcomes, _ *faulty) {
			overwriting(h, func(context.Context, string) bool { return true })
		})},
		{"ForgetsPendingWhenClosed", "Outcomes/OutcomesSurviveReopening", on(func(h *faults.Outcomes, w *faulty) {
			h.OnGet = func(ctx context.Context, id string) (driver.Outcome, error) {
				o, err := h.Outcomes.Get(ctx, id)
				if w.session > 1 && o.Kind == driver.Pending {
					return driver.Outcome{}, driver.ErrNotFound
				}
				return o, err
			}
		})},
	}
}

func providerFaults() []fault {
	// notified changes whom the provider notifies.
	notified := func(change func(inner driver.PullProvider, f func(string)) func()) plant {
		return func(w *faulty) {
			inner := w.p.PullProvider
			w.p.PullProvider = &changedProvider{PullProvider: inner, notify: func(f func(string)) func() { return change(inner, f) }}
		}
	}
	closed := func(f func(inner driver.PullProvider) error) plant {
		return func(w *faulty) {
			inner := w.p.PullProvider
			w.p.PullProvider = &changedProvider{PullProvider: inner, close: func() error { return f(inner) }}
		}
	}
	return []fault{
		{"HasNoLimits", "Provider/LimitsAreSet", func(w *faulty) {
			w.p.PullProvider = &changedProvider{PullProvider: w.p.PullProvider, limits: &driver.Limits{}}
		}},
		{"OpensANewStoreEachTime", "Provider/OneNameIsOneStore", on(func(h *faults.Counter, w *faulty) {
			n := memoOf(w, "n", func() *int { return new(int) })
			*n++
			if o, err := w.p.PullProvider.OpenCounter(context.Background(), fmt.Sprintf("Test.Other%d", *n)); err == nil {
				h.OnCount, h.OnState = o.Count, o.State
			}
		})},
		{"NamesLoseTheirDot", "Provider/SimilarNamesAreKeptApart", on(func(h *faults.QueryDb, w *faulty) {
			h.Spec.Name = strings.ReplaceAll(h.Spec.Name, ".", "")
			if o, err := w.p.PullProvider.OpenQueryDb(context.Background(), h.Spec); err == nil {
				h.OnApply, h.OnLoad, h.OnLoadRow, h.OnLoadRows = o.Apply, o.Load, o.LoadRow, o.LoadRows
			}
		})},
		{"CloseDoesNothing", "Provider/ClosedDriversAreUnavailable", closed(func(driver.PullProvider) error { return nil })},
		{"ASecondCloseIsAnError", "Provider/ClosingTwiceIsFine", func(w *faulty) {
			done := false
			closed(func(inner driver.PullProvider) error {
				if done {
					return driver.ErrUnavailable
				}
				done = true
				return inner.Close()
			})(w)
		}},
		{"LosesWhatIsAcknowledgedBesideClose", "Provider/CloseLosesNoAcknowledgedCall", on(func(l *faults.EventLog, w *faulty) {
			l.OnRead = func(ctx context.Context, stream string, after uint64) iter.Seq2[driver.Commit, error] {
				cs, err := stored(l.EventLog.Read(ctx, stream, after))
				if w.session > 1 { // they were not flushed
					cs = cs[:max(0, len(cs)-2)]
				}
				return again(cs, err)
			}
		})},
		{"SubscriptionsOutliveTheProvider", "Provider/CloseEndsSubscriptions", closed(func(driver.PullProvider) error { return nil })},
		{"NotifiesOfCommandsOnly", "Provider/NotifyNamesEveryReceiver", notified(func(inner driver.PullProvider, f func(string)) func() {
			return inner.Notify(func(r string) {
				if strings.HasPrefix(r, "CommandTopic/") {
					f(r)
				}
			})
		})},
		{"NeverNotifies", "Provider/NotifyFollowsSettlements", notified(func(driver.PullProvider, func(string)) func() { return func() {} })},
		{"DoesNotStop", "Provider/NotifyStops", notified(func(inner driver.PullProvider, f func(string)) func() {
			inner.Notify(f)
			return func() {}
		})},
	}
}

// changedProvider is a provider with methods of its own replaced.
type changedProvider struct {
	driver.PullProvider
	limits *driver.Limits
	close  func() error
	notify func(f func(string)) func()
}

func (p *changedProvider) Limits() driver.Limits {
	if p.limits != nil {
		return *p.limits
	}
	return p.PullProvider.Limits()
}

func (p *changedProvider) Close() error {
	if p.close != nil {
		return p.close()
	}
	return p.PullProvider.Close()
}

func (p *changedProvider) Notify(f func(string)) func() {
	if p.notify != nil {
		return p.notify(f)
	}
	return p.PullProvider.Notify(f)
}
