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
	"github.com/reventless-go/reventless/internal/faults"
)

// everyReceiver returns one fault for each property of receivers, for one kind.
func everyReceiver[T any](suite string, several, topic bool, placeOf func(T) place) []fault {
	// receiver changes the receivers of the kind: those of change feeds and those of
	// topics are apart.
	receiver := func(change func(r *faults.Receiver[T], w *faulty)) plant {
		return on(func(r *faults.Receiver[T], w *faulty) {
			if r.Spec.Source.Topic == topic {
				change(r, w)
			}
		})
	}
	received := func(change func(b *driver.Batch[T])) plant {
		return receiver(func(r *faults.Receiver[T], _ *faulty) {
			r.OnReceive = func(ctx context.Context, max int) (driver.Batch[T], error) {
				b, err := r.Receiver.Receive(ctx, max)
				change(&b)
				return b, err
			}
		})
	}
	settled := func(change func(s *driver.Settlement)) plant {
		return receiver(func(r *faults.Receiver[T], _ *faulty) {
			r.OnSettle = func(ctx context.Context, ss []driver.Settlement) error {
				ss = slices.Clone(ss)
				for i := range ss {
					change(&ss[i])
				}
				return r.Receiver.Settle(ctx, ss)
			}
		})
	}
	fs := []fault{
		{"ReportsNextOfNothing", "AnEmptyReceiverDeliversNothing", received(func(b *driver.Batch[T]) {
			if len(b.Deliveries) == 0 && b.Next.IsZero() {
				b.Next = time.Now()
			}
		})},
		{"DeliversEverythingTwice", "SettledMessagesAreNotRedelivered", receiver(func(r *faults.Receiver[T], _ *faulty) {
			first := map[string]bool{}
			r.OnReceive = func(ctx context.Context, max int) (driver.Batch[T], error) {
				b, err := r.Receiver.Receive(ctx, max)
				for _, d := range b.Deliveries {
					first[d.ID] = d.Attempt == 1
				}
				return b, err
			}
			r.OnSettle = func(ctx context.Context, ss []driver.Settlement) error {
				ss = slices.Clone(ss)
				for i := range ss {
					ss[i].Retry = ss[i].Retry || first[ss[i].ID]
				}
				return r.Receiver.Settle(ctx, ss)
			}
		})},
		{"IgnoresMax", "MaxBoundsABatch", receiver(func(r *faults.Receiver[T], _ *faulty) {
			r.OnReceive = func(ctx context.Context, max int) (driver.Batch[T], error) { return r.Receiver.Receive(ctx, max+1) }
		})},
		{"MatchesByPosition", "DeliveryIDsAreUnique", receiver(func(r *faults.Receiver[T], _ *faulty) {
			var order []string
			r.OnReceive = func(ctx context.Context, max int) (driver.Batch[T], error) {
				b, err := r.Receiver.Receive(ctx, max)
				for _, d := range b.Deliveries {
					order = append(order, d.ID)
				}
				return b, err
			}
			r.OnSettle = func(ctx context.Context, ss []driver.Settlement) error {
				ss = slices.Clone(ss)
				for i := range ss {
					if len(order) > 0 {
						ss[i].ID, order = order[0], order[1:]
					}
				}
				return r.Receiver.Settle(ctx, ss)
			}
		})},
		{"DeliversWhatIsLeased", "LeasedMessagesAreNotDeliveredTwice", receiver(deliversWhatIsLeased[T])},
		{"DeliversToTwo", "NoTwoCallersLeaseOneGroup", receiver(deliversWhatIsLeased[T])},
		{"LosesWhatIsRetried", "RetriedMessagesAreRedelivered", settled(func(s *driver.Settlement) { s.Retry = false })},
		{"IgnoresAfter", "RetriesWaitForAfter", settled(func(s *driver.Settlement) { s.After = 0 })},
		{"NeverReportsNext", "NextIsWhenARetryIsDue", received(func(b *driver.Batch[T]) { b.Next = time.Time{} })},
		{"RefusesUnknownSettlements", "UnknownSettlementsAreIgnored", receiver(func(r *faults.Receiver[T], _ *faulty) {
			r.OnSettle = func(ctx context.Context, ss []driver.Settlement) error {
				if slices.ContainsFunc(ss, func(s driver.Settlement) bool { return s.ID == "nobody" }) {
					return driver.ErrNotFound
				}
				return r.Receiver.Settle(ctx, ss)
			}
		})},
		{"NamesDeliveriesByMessage", "LeasesExpire", receiver(func(r *faults.Receiver[T], _ *faulty) {
			real := map[string]string{}
			r.OnReceive = func(ctx context.Context, max int) (driver.Batch[T], error) {
				b, err := r.Receiver.Receive(ctx, max)
				for i := range b.Deliveries {
					name := fmt.Sprint(placeOf(b.Deliveries[i].Message))
					real[name] = b.Deliveries[i].ID
					b.Deliveries[i].ID = name
				}
				return b, err
			}
			r.OnSettle = func(ctx context.Context, ss []driver.Settlement) error {
				ss = slices.Clone(ss)
				for i := range ss {
					ss[i].ID = real[ss[i].ID]
				}
				return r.Receiver.Settle(ctx, ss)
			}
		})},
		{"LosesWhatIsLeasedWhenClosed", "UnsettledMessagesSurviveReopening", receiver(func(r *faults.Receiver[T], w *faulty) {
			leased := memoOf(w, "leased", func() map[place]bool { return map[place]bool{} })
			r.OnReceive = func(ctx context.Context, max int) (driver.Batch[T], error) {
				b, err := r.Receiver.Receive(ctx, max)
				b.Deliveries = slices.DeleteFunc(b.Deliveries, func(d driver.Delivery[T]) bool {
					p := placeOf(d.Message)
					if w.session > 1 && leased[p] {
						_ = r.Receiver.Settle(ctx, []driver.Settlement{{ID: d.ID}})
						return true
					}
					leased[p] = true
					return false
				})
				return b, err
			}
		})},
	}
	if several {
		fs = append(fs,
			fault{"DeliversTheLastFirst", "GroupsAreDeliveredInOrder", received(func(b *driver.Batch[T]) { slices.Reverse(b.Deliveries) })},
			fault{"PartialSettlementFreesTheGroup", "ALeasedMessageBlocksItsGroup", receiver(func(r *faults.Receiver[T], _ *faulty) {
				var leased []string
				r.OnReceive = func(ctx context.Context, max int) (driver.Batch[T], error) {
					b, err := r.Receiver.Receive(ctx, max)
					for _, d := range b.Deliveries {
						leased = append(leased, d.ID)
					}
					return b, err
				}
				r.OnSettle = func(ctx context.Context, ss []driver.Settlement) error {
					for _, id := range leased {
						if !slices.ContainsFunc(ss, func(s driver.Settlement) bool { return s.ID == id }) {
							ss = append(ss, driver.Settlement{ID: id, Retry: true})
						}
					}
					leased = nil
					return r.Receiver.Settle(ctx, ss)
				}
			})},
			fault{"RetriesGoToTheEnd", "RetriesKeepTheOrder", receiver(retriesLeave[T])},
			fault{"CountsEveryDelivery", "OnlyTheFirstRetryOfAGroupIsAnAttempt", receiver(func(r *faults.Receiver[T], _ *faulty) {
				deliveries := map[place]int{}
				r.OnReceive = func(ctx context.Context, max int) (driver.Batch[T], error) {
					b, err := r.Receiver.Receive(ctx, max)
					for i, d := range b.Deliveries {
						deliveries[placeOf(d.Message)]++
						b.Deliveries[i].Attempt = deliveries[placeOf(d.Message)]
					}
					return b, err
				}
			})},
			fault{"WaitingRetriesLeaveTheirGroup", "AWaitingRetryBlocksItsGroup", receiver(retriesLeave[T])})
	}
	for i := range fs {
		fs[i].property = suite + "/" + fs[i].property
	}
	return fs
}

// onMessages changes messages on their way out of receivers, or drops them.
func onMessages[T any](change func(m *T, w *faulty) (drop bool)) plant {
	return on(func(r *faults.Receiver[T], w *faulty) { r.OnReceive = changed(r, w, change) })
}

func changed[T any](r *faults.Receiver[T], w *faulty, change func(m *T, w *faulty) (drop bool)) func(context.Context, int) (driver.Batch[T], error) {
	return func(ctx context.Context, max int) (driver.Batch[T], error) {
		b, err := r.Receiver.Receive(ctx, max)
		kept := b.Deliveries[:0:0]
		for _, d := range b.Deliveries {
			if change(&d.Message, w) {
				_ = r.Receiver.Settle(ctx, []driver.Settlement{{ID: d.ID}})
				continue
			}
			kept = append(kept, d)
		}
		b.Deliveries = kept
		return b, err
	}
}

// extras lets a receiver deliver messages that the wrapped one does not have.
func extras[T any](r *faults.Receiver[T]) (add func(m T)) {
	var mu sync.Mutex
	var line []T
	n := 0
	receive := r.OnReceive
	r.OnReceive = func(ctx context.Context, max int) (driver.Batch[T], error) {
		b, err := receive(ctx, max)
		mu.Lock()
		defer mu.Unlock()
		for ; len(line) > 0 && len(b.Deliveries) < max; line = line[1:] {
			n++
			b.Deliveries = append(b.Deliveries, driver.Delivery[T]{ID: fmt.Sprintf("extra-%d", n), Attempt: 1, Message: line[0]})
			b.Next = time.Time{}
		}
		return b, err
	}
	return func(m T) {
		mu.Lock()
		defer mu.Unlock()
		line = append(line, m)
	}
}

// delivered remembers the messages of deliveries by their ids.
func delivered[T any](r *faults.Receiver[T]) map[string]T {
	known := map[string]T{}
	receive := r.OnReceive
	r.OnReceive = func(ctx context.Context, max int) (driver.Batch[T], error) {
		b, err := receive(ctx, max)
		for _, d := range b.Deliveries {
			known[d.ID] = d.Message
		}
		return b, err
	}
	return known
}

// deliversWhatIsLeased delivers the last batch again when there is nothing else.
func deliversWhatIsLeased[T any](r *faults.Receiver[T], _ *faulty) {
	var mu sync.Mutex
	var last []driver.Delivery[T]
	r.OnReceive = func(ctx context.Context, max int) (driver.Batch[T], error) {
		b, err := r.Receiver.Receive(ctx, max)
		mu.Lock()
		defer mu.Unlock()
		if len(b.Deliveries) > 0 {
			last = slices.Clone(b.Deliveries)
		} else if err == nil {
			b.Deliveries, b.Next, last = last[:min(max, len(last))], time.Time{}, nil
		}
		return b, err
	}
}

// retriesLeave settles each retried delivery and delivers its message again on its own.
func retriesLeave[T any](r *faults.Receiver[T], w *faulty) {
	type waiting struct {
		m   T
		due time.Time
		n   int
	}
	var mu sync.Mutex
	leased := map[string]waiting{}
	var line []waiting
	ids := 0
	r.OnReceive = func(ctx context.Context, max int) (driver.Batch[T], error) {
		b, err := r.Receiver.Receive(ctx, max)
		mu.Lock()
		defer mu.Unlock()
		for _, d := range b.Deliveries {
			leased[d.ID] = waiting{m: d.Message, n: d.Attempt}
		}
		for i := 0; i < len(line) && len(b.Deliveries) < max; i++ {
			if x := line[i]; !x.due.After(w.Now()) {
				ids++
				x.n++
				id := fmt.Sprintf("again-%d", ids)
				leased[id] = x
				b.Deliveries = append(b.Deliveries, driver.Delivery[T]{ID: id, Attempt: x.n, Message: x.m})
				line = slices.Delete(line, i, i+1)
				i--
			}
		}
		if len(b.Deliveries) > 0 {
			b.Next = time.Time{}
		}
		return b, err
	}
	r.OnSettle = func(ctx context.Context, ss []driver.Settlement) error {
		mu.Lock()
		var done []driver.Settlement
		for _, s := range ss {
			if x, ok := leased[s.ID]; ok && s.Retry {
				x.due = w.Now().Add(s.After)
				line = append(line, x)
			}
			delete(leased, s.ID)
			done = append(done, driver.Settlement{ID: s.ID})
		}
		mu.Unlock()
		return r.Receiver.Settle(ctx, done)
	}
}

// receiverFaults are those of [everyReceiver] for all kinds of receivers.
func receiverFaults() []fault {
	return slices.Concat(
		everyReceiver("CommandTopic", true, false, commandQueuePlace),
		everyReceiver("EventCollector", true, false, placeOfRecord),
		everyReceiver("EventTopic", true, true, placeOfRecord),
		everyReceiver("Counter", true, false, func(f driver.CounterFinished) place { return place{f.CounterID, int(f.Ordinal)} }),
		everyReceiver("Scheduler", false, false, func(f driver.Firing) place { return place{f.Name, 1} }),
		everyReceiver("Bucket", false, false, func(o driver.ObjectEvent) place { return place{o.Key, 1} }),
	)
}

// cancelledFaults answer one call of each component with a cancelled context as if
// there were nothing.
func cancelledFaults() (fs []fault) {
	for suite, op := range map[string]string{
		"EventLog": "EventLog.Load", "CommandTopic": "CommandTopic.Receive", "EventTopic": "EventTopic.Publish", "EventCollector": "EventCollector.Settle",
		"Watermarks": "Watermarks.Watermark", "QueryDb": "QueryDb.Load", "QueryEngine": "QueryEngine.Scan", "StateTopic": "StateTopic.Subscribe",
		"Counter": "Counter.State", "Scheduler": "Scheduler.List", "Bucket": "Bucket.Put", "DeadLetters": "DeadLetters.List", "Outcomes": "Outcomes.Get",
	} {
		fs = append(fs, fault{"IgnoresTheContext", suite + "/CancelledCallsFail", answers(op, context.Canceled, nil)})
	}
	return fs
}

// TestLaggingReceivers is the control of how the suites wait: a provider on which
// messages take a moment to appear passes, too.
func TestLaggingReceivers(t *testing.T) {
	open := func(t *testing.T) *Fixture {
		f := openFaulty(both(hesitant[driver.Command](), hesitant[driver.Record](), hesitant[driver.CounterFinished](), hesitant[driver.Firing](), hesitant[driver.ObjectEvent]()), "")(t)
		f.Lag, f.Patience = 2*time.Millisecond, 30*time.Second
		return f
	}
	for _, s := range []suite{commandTopicSuite(), eventTopicSuite(), eventCollectorSuite(), counterSuite(), schedulerSuite(), bucketSuite()} {
		t.Run(s.name, func(t *testing.T) { s.run(t, open) })
	}
}

// hesitant receivers find something at their second look only.
func hesitant[T any]() plant {
	return on(func(r *faults.Receiver[T], _ *faulty) {
		var looks atomic.Int64
		r.OnReceive = func(ctx context.Context, max int) (driver.Batch[T], error) {
			if err := ctx.Err(); err != nil || looks.Add(1)%2 == 1 {
				return driver.Batch[T]{}, err
			}
			return r.Receiver.Receive(ctx, max)
		}
	})
}
