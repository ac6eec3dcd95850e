//go:build faults

package drivertest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// tampered are the methods of a receiver with a fault; nil is the receiver's own.
type tampered[T any] struct {
	receive func(ctx context.Context, max int) (driver.Batch[T], error)
	settle  func(ctx context.Context, ss []driver.Settlement) error
}

// everyReceiver returns the faults that every receiver can have, for one kind.
func everyReceiver[T any](suite string, several bool, placeOf func(T) place, on func(tamper func(r driver.Receiver[T], w *faulty) tampered[T]) func(*hooked, *faulty)) []fault {
	received := func(change func(b *driver.Batch[T])) func(*hooked, *faulty) {
		return on(func(r driver.Receiver[T], _ *faulty) tampered[T] {
			return tampered[T]{receive: func(ctx context.Context, max int) (driver.Batch[T], error) {
				b, err := r.Receive(ctx, max)
				change(&b)
				return b, err
			}}
		})
	}
	settled := func(change func(s *driver.Settlement)) func(*hooked, *faulty) {
		return on(func(r driver.Receiver[T], _ *faulty) tampered[T] {
			return tampered[T]{settle: func(ctx context.Context, ss []driver.Settlement) error {
				ss = slices.Clone(ss)
				for i := range ss {
					change(&ss[i])
				}
				return r.Settle(ctx, ss)
			}}
		})
	}
	fs := []fault{
		{"TellsNextOfNothing", "AnEmptyReceiverDeliversNothing", received(func(b *driver.Batch[T]) {
			if len(b.Deliveries) == 0 && b.Next.IsZero() {
				b.Next = time.Now()
			}
		})},
		{"EverythingComesTwice", "SettledMessagesDoNotComeAgain", on(func(r driver.Receiver[T], _ *faulty) tampered[T] {
			first := map[string]bool{}
			return tampered[T]{
				receive: func(ctx context.Context, max int) (driver.Batch[T], error) {
					b, err := r.Receive(ctx, max)
					for _, d := range b.Deliveries {
						first[d.ID] = d.Attempt == 1
					}
					return b, err
				},
				settle: func(ctx context.Context, ss []driver.Settlement) error {
					ss = slices.Clone(ss)
					for i := range ss {
						ss[i].Retry = ss[i].Retry || first[ss[i].ID]
					}
					return r.Settle(ctx, ss)
				},
			}
		})},
		{"IgnoresMax", "MaxBoundsABatch", on(func(r driver.Receiver[T], _ *faulty) tampered[T] {
			return tampered[T]{receive: func(ctx context.Context, max int) (driver.Batch[T], error) { return r.Receive(ctx, max+1) }}
		})},
		{"MatchesByPosition", "DeliveryIDsAreUnique", on(func(r driver.Receiver[T], _ *faulty) tampered[T] {
			var order []string
			return tampered[T]{
				receive: func(ctx context.Context, max int) (driver.Batch[T], error) {
					b, err := r.Receive(ctx, max)
					for _, d := range b.Deliveries {
						order = append(order, d.ID)
					}
					return b, err
				},
				settle: func(ctx context.Context, ss []driver.Settlement) error {
					ss = slices.Clone(ss)
					for i := range ss {
						if len(order) > 0 {
							ss[i].ID, order = order[0], order[1:]
						}
					}
					return r.Settle(ctx, ss)
				},
			}
		})},
		{"DeliversWhatIsHeld", "HeldMessagesAreNotDeliveredTwice", deliversWhatIsHeld(on)},
		{"DeliversToTwo", "NoTwoCallersHoldOneGroup", deliversWhatIsHeld(on)},
		{"LosesWhatIsRetried", "RetriedMessagesComeAgain", settled(func(s *driver.Settlement) { s.Retry = false })},
		{"IgnoresAfter", "RetriesWaitForAfter", settled(func(s *driver.Settlement) { s.After = 0 })},
		{"NeverTellsNext", "NextTellsWhenARetryIsDue", received(func(b *driver.Batch[T]) { b.Next = time.Time{} })},
		{"RefusesUnknownSettlements", "UnknownSettlementsAreIgnored", on(func(r driver.Receiver[T], _ *faulty) tampered[T] {
			return tampered[T]{settle: func(ctx context.Context, ss []driver.Settlement) error {
				if slices.ContainsFunc(ss, func(s driver.Settlement) bool { return s.ID == "nobody" }) {
					return driver.ErrNotFound
				}
				return r.Settle(ctx, ss)
			}}
		})},
		{"NamesDeliveriesByMessage", "HoldsEndAfterTheVisibilityTimeout", on(func(r driver.Receiver[T], _ *faulty) tampered[T] {
			real := map[string]string{}
			return tampered[T]{
				receive: func(ctx context.Context, max int) (driver.Batch[T], error) {
					b, err := r.Receive(ctx, max)
					for i := range b.Deliveries {
						name := fmt.Sprint(placeOf(b.Deliveries[i].Message))
						real[name] = b.Deliveries[i].ID
						b.Deliveries[i].ID = name
					}
					return b, err
				},
				settle: func(ctx context.Context, ss []driver.Settlement) error {
					ss = slices.Clone(ss)
					for i := range ss {
						ss[i].ID = real[ss[i].ID]
					}
					return r.Settle(ctx, ss)
				},
			}
		})},
		{"LosesWhatIsHeldWhenClosed", "UnsettledMessagesSurviveReopening", on(func(r driver.Receiver[T], w *faulty) tampered[T] {
			held := memoOf(w, "held", func() map[place]bool { return map[place]bool{} })
			return tampered[T]{receive: func(ctx context.Context, max int) (driver.Batch[T], error) {
				b, err := r.Receive(ctx, max)
				b.Deliveries = slices.DeleteFunc(b.Deliveries, func(d driver.Delivery[T]) bool {
					p := placeOf(d.Message)
					if w.session > 1 && held[p] {
						_ = r.Settle(ctx, []driver.Settlement{{ID: d.ID}})
						return true
					}
					held[p] = true
					return false
				})
				return b, err
			}}
		})},
	}
	if several {
		fs = append(fs,
			fault{"DeliversTheLastFirst", "GroupsAreDeliveredInOrder", received(func(b *driver.Batch[T]) { slices.Reverse(b.Deliveries) })},
			fault{"PartialSettlementFreesTheGroup", "AHeldMessageBlocksItsGroup", on(func(r driver.Receiver[T], _ *faulty) tampered[T] {
				var held []string
				return tampered[T]{
					receive: func(ctx context.Context, max int) (driver.Batch[T], error) {
						b, err := r.Receive(ctx, max)
						for _, d := range b.Deliveries {
							held = append(held, d.ID)
						}
						return b, err
					},
					settle: func(ctx context.Context, ss []driver.Settlement) error {
						for _, id := range held {
							if !slices.ContainsFunc(ss, func(s driver.Settlement) bool { return s.ID == id }) {
								ss = append(ss, driver.Settlement{ID: id, Retry: true})
							}
						}
						held = nil
						return r.Settle(ctx, ss)
					},
				}
			})},
			fault{"RetriesGoToTheEnd", "RetriesKeepTheOrder", on(retriesLeave[T])},
			fault{"WaitingRetriesLeaveTheirGroup", "AWaitingRetryBlocksItsGroup", on(retriesLeave[T])})
	}
	for i := range fs {
		fs[i].property = suite + "/" + fs[i].property
	}
	return fs
}

// deliversWhatIsHeld delivers the last batch again when there is nothing else.
func deliversWhatIsHeld[T any](on func(tamper func(r driver.Receiver[T], w *faulty) tampered[T]) func(*hooked, *faulty)) func(*hooked, *faulty) {
	return on(func(r driver.Receiver[T], _ *faulty) tampered[T] {
		var mu sync.Mutex
		var last []driver.Delivery[T]
		return tampered[T]{receive: func(ctx context.Context, max int) (driver.Batch[T], error) {
			b, err := r.Receive(ctx, max)
			mu.Lock()
			defer mu.Unlock()
			if len(b.Deliveries) > 0 {
				last = slices.Clone(b.Deliveries)
			} else if err == nil {
				b.Deliveries, b.Next, last = last[:min(max, len(last))], time.Time{}, nil
			}
			return b, err
		}}
	})
}

// retriesLeave settles what is retried and delivers it again by itself.
func retriesLeave[T any](r driver.Receiver[T], w *faulty) tampered[T] {
	type waiting struct {
		m   T
		due time.Time
		n   int
	}
	var mu sync.Mutex
	held := map[string]waiting{}
	var line []waiting
	ids := 0
	return tampered[T]{
		receive: func(ctx context.Context, max int) (driver.Batch[T], error) {
			b, err := r.Receive(ctx, max)
			mu.Lock()
			defer mu.Unlock()
			for _, d := range b.Deliveries {
				held[d.ID] = waiting{m: d.Message, n: d.Attempt}
			}
			for i := 0; i < len(line) && len(b.Deliveries) < max; i++ {
				if x := line[i]; !x.due.After(w.Now()) {
					ids++
					x.n++
					id := fmt.Sprintf("again-%d", ids)
					held[id] = x
					b.Deliveries = append(b.Deliveries, driver.Delivery[T]{ID: id, Attempt: x.n, Message: x.m})
					line = slices.Delete(line, i, i+1)
					i--
				}
			}
			if len(b.Deliveries) > 0 {
				b.Next = time.Time{}
			}
			return b, err
		},
		settle: func(ctx context.Context, ss []driver.Settlement) error {
			mu.Lock()
			var done []driver.Settlement
			for _, s := range ss {
				if x, ok := held[s.ID]; ok && s.Retry {
					x.due = w.Now().Add(s.After)
					line = append(line, x)
				}
				delete(held, s.ID)
				done = append(done, driver.Settlement{ID: s.ID})
			}
			mu.Unlock()
			return r.Settle(ctx, done)
		},
	}
}

// genericFaults are those of [everyReceiver] for all kinds of receivers, and
// those of the checkpoints for the ones of a read model.
func genericFaults() []fault {
	collectors := func(topic bool) func(tamper func(r driver.Receiver[driver.Record], w *faulty) tampered[driver.Record]) func(*hooked, *faulty) {
		return func(tamper func(r driver.Receiver[driver.Record], w *faulty) tampered[driver.Record]) func(*hooked, *faulty) {
			return onCollector(topic, func(h *collectorHook, _ driver.CollectorSpec, w *faulty) {
				t := tamper(h.EventCollector, w)
				h.receive, h.settle = t.receive, t.settle
			})
		}
	}
	fs := slices.Concat(
		everyReceiver("CommandTopic", true, commandQueuePlace, func(tamper func(r driver.Receiver[driver.Command], w *faulty) tampered[driver.Command]) func(*hooked, *faulty) {
			return onTopic(func(h *topicHook, w *faulty) {
				t := tamper(h.CommandTopic, w)
				h.receive, h.settle = t.receive, t.settle
			})
		}),
		everyReceiver("EventCollector", true, placeOfRecord, collectors(false)),
		everyReceiver("EventTopic", true, placeOfRecord, collectors(true)),
		everyReceiver("Counter", true, func(f driver.CounterFinished) place { return place{f.CounterID, int(f.Ordinal)} },
			func(tamper func(r driver.Receiver[driver.CounterFinished], w *faulty) tampered[driver.CounterFinished]) func(*hooked, *faulty) {
				return onCounter(func(h *counterHook, w *faulty) {
					t := tamper(h.Counter, w)
					h.receive, h.settle = t.receive, t.settle
				})
			}),
		everyReceiver("Scheduler", false, func(f driver.Firing) place { return place{f.Name, 1} },
			func(tamper func(r driver.Receiver[driver.Firing], w *faulty) tampered[driver.Firing]) func(*hooked, *faulty) {
				return onScheduler(func(h *schedulerHook, w *faulty) {
					t := tamper(h.Scheduler, w)
					h.receive, h.settle = t.receive, t.settle
				})
			}),
		everyReceiver("Bucket", false, func(o driver.ObjectEvent) place { return place{o.Key, 1} },
			func(tamper func(r driver.Receiver[driver.ObjectEvent], w *faulty) tampered[driver.ObjectEvent]) func(*hooked, *faulty) {
				return onBucket(func(h *bucketHook, w *faulty) {
					t := tamper(h.Bucket, w)
					h.receive, h.settle = t.receive, t.settle
				})
			}),
	)
	for _, f := range checkpointsFaults() {
		if f.property == "Checkpoints/ConsumersAreKeptApart" {
			continue
		}
		fs = append(fs, fault{f.name, "QueryDb" + f.property[len("Checkpoints"):], func(p *hooked, w *faulty) {
			var on hooked
			f.inject(&on, w)
			p.queryDb = func(db driver.QueryDb, spec driver.TableSpec) driver.QueryDb {
				return &dbWith{db, on.checkpoints(db, spec.Name)}
			}
		}})
	}
	return fs
}

// dbWith is a read model's store with checkpoints of another hand.
type dbWith struct {
	driver.QueryDb
	c driver.Checkpoints
}

func (d *dbWith) Watermark(ctx context.Context, s driver.StreamKey) (driver.Watermark, error) {
	return d.c.Watermark(ctx, s)
}

func (d *dbWith) Watermarks(ctx context.Context, ss []driver.StreamKey) (map[driver.StreamKey]driver.Watermark, error) {
	return d.c.Watermarks(ctx, ss)
}

func (d *dbWith) Advance(ctx context.Context, as []driver.Advance) error { return d.c.Advance(ctx, as) }

func (d *dbWith) Block(ctx context.Context, s driver.StreamKey, at uint64) error {
	return d.c.Block(ctx, s, at)
}

func (d *dbWith) Unblock(ctx context.Context, s driver.StreamKey) error { return d.c.Unblock(ctx, s) }

// TestLaggingReceivers is the control of how the suites wait: a provider on which
// messages take a moment to appear passes, too.
func TestLaggingReceivers(t *testing.T) {
	if underRace {
		t.Skip("it is about waiting only")
	}
	open := func(t *testing.T) *Fixture {
		f := openFaulty(func(p *hooked, w *faulty) {
			p.commandTopic = func(d driver.CommandTopic, _ string) driver.CommandTopic {
				return &topicHook{CommandTopic: d, receive: hesitant(d)}
			}
			p.collector = func(d driver.EventCollector, _ driver.CollectorSpec) driver.EventCollector {
				return &collectorHook{EventCollector: d, receive: hesitant(d)}
			}
			p.counter = func(d driver.Counter, _ string) driver.Counter {
				return &counterHook{Counter: d, receive: hesitant(d)}
			}
			p.scheduler = func(d driver.Scheduler) driver.Scheduler {
				return &schedulerHook{Scheduler: d, receive: hesitant(d)}
			}
			p.bucket = func(d driver.Bucket, _ string) driver.Bucket {
				return &bucketHook{Bucket: d, receive: hesitant(d)}
			}
		})(t)
		f.Lag, f.Patience = 2*time.Millisecond, 5*time.Second
		return f
	}
	for _, s := range []suite{commandTopicSuite(), eventTopicSuite(), eventCollectorSuite(), counterSuite(), schedulerSuite(), bucketSuite()} {
		t.Run(s.name, func(t *testing.T) { s.run(t, open) })
	}
}

// hesitant finds something at its second look only.
func hesitant[T any](r driver.Receiver[T]) func(ctx context.Context, max int) (driver.Batch[T], error) {
	var looks atomic.Int64
	return func(ctx context.Context, max int) (driver.Batch[T], error) {
		if err := ctx.Err(); err != nil || looks.Add(1)%2 == 1 {
			return driver.Batch[T]{}, err
		}
		return r.Receive(ctx, max)
	}
}
