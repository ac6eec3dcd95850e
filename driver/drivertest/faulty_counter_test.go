package drivertest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/faults"
)

func counterFaults() []fault {
	finishing := func(drop func(f *driver.CounterFinished) bool) plant {
		return onMessages(func(f *driver.CounterFinished, _ *faulty) bool { return drop(f) })
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
