package drivertest

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"

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
		{"CompactsRows", "StateTopic/ChangesKeepTheBytesOfRows", one(func(c *driver.StateChange) { c.Row = compact(c.Row) })},
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
						<-ctx.Done() // the channel has no reader any more
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
