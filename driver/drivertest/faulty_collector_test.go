package drivertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/faults"
)

// onCollector changes the collectors of feeds or of topics.
func onCollector(topic bool, change func(h *faults.Receiver[driver.Record], w *faulty)) plant {
	return on(func(h *faults.Receiver[driver.Record], w *faulty) {
		if h.Spec.Source.Topic == topic {
			change(h, w)
		}
	})
}

// onRecords changes what collectors return, or drops it.
func onRecords(topic bool, change func(r *driver.Record) (drop bool)) plant {
	return onCollector(topic, func(h *faults.Receiver[driver.Record], w *faulty) {
		h.OnReceive = changed(h, w, func(r *driver.Record, _ *faulty) bool { return change(r) })
	})
}

// openedAs opens collectors other than the requested ones.
func openedAs(topic bool, other func(spec driver.CollectorSpec, w *faulty) driver.CollectorSpec) plant {
	return onCollector(topic, func(h *faults.Receiver[driver.Record], w *faulty) {
		if o, err := w.p.PullProvider.OpenEventCollector(context.Background(), other(h.Spec, w)); err == nil {
			h.OnReceive, h.OnSettle = o.Receive, o.Settle
		}
	})
}

// publishing changes what a topic is given.
func publishing(change func(es []driver.Envelope) []driver.Envelope) plant {
	return on(func(h *faults.EventTopic, _ *faulty) {
		h.OnPublish = func(ctx context.Context, es []driver.Envelope) error {
			return h.EventTopic.Publish(ctx, change(slices.Clone(es)))
		}
	})
}

func collectorFaults() []fault {
	return []fault{
		{"DropsDamagedCommits", "EventCollector/DamagedCommitsAreDelivered", onRecords(false, func(r *driver.Record) bool { return r.Stream == "s" && r.SequenceNr == 3 })},
		{"StartsAtTheEnd", "EventCollector/ANewConsumerStartsAtTheFirstCommit", onCollector(false, func(h *faults.Receiver[driver.Record], _ *faulty) {
			for h.Spec.Consumer == "Test.Late" {
				b, err := h.Receiver.Receive(context.Background(), 100)
				if err != nil || len(b.Deliveries) == 0 {
					return
				}
				for _, d := range b.Deliveries {
					_ = h.Receiver.Settle(context.Background(), []driver.Settlement{{ID: d.ID}})
				}
			}
		})},
		{"MixesUpCommits", "EventCollector/RecordsCarryTheirCommit", onCollector(false, func(h *faults.Receiver[driver.Record], _ *faulty) {
			h.OnReceive = func(ctx context.Context, max int) (driver.Batch[driver.Record], error) {
				b, err := h.Receiver.Receive(ctx, max)
				for i := range b.Deliveries {
					b.Deliveries[i].Message.Commit = b.Deliveries[0].Message.Commit
				}
				return b, err
			}
		})},
		{"SkipsWhatFinishesLate", "EventCollector/AConsumerMissesNothingDuringWrites", skipsWhatFinishesLate},
		{"SortsByTheTimeOfBeginning", "EventCollector/CommitsThatFinishOutOfOrderAreNotSkipped", skipsWhatFinishesLate},
		{"SharesOneCheckpoint", "EventCollector/ConsumersAreIndependent", openedAs(false, func(spec driver.CollectorSpec, _ *faulty) driver.CollectorSpec {
			spec.Consumer = "everybody"
			return spec
		})},
		{"DoesNotSayWhichLog", "EventCollector/LogsAreCollectedApart", onRecords(false, func(r *driver.Record) bool {
			r.Log = "Test.One"
			return false
		})},
		{"EachHandleHasItsCheckpoint", "EventCollector/HandlesOfAConsumerShareItsCheckpoint", openedAs(false, func(spec driver.CollectorSpec, w *faulty) driver.CollectorSpec {
			n := memoOf(w, "n", func() *int { return new(int) })
			*n++
			spec.Consumer = fmt.Sprintf("%s%d", spec.Consumer, *n)
			return spec
		})},
		{"KeepsTheCheckpointInMemory", "EventCollector/TheCheckpointIsDurable", openedAs(false, func(spec driver.CollectorSpec, w *faulty) driver.CollectorSpec {
			spec.Consumer = fmt.Sprintf("%s-%d", spec.Consumer, w.session)
			return spec
		})},
		{"DeliversRefusedAppends", "EventCollector/RefusedAppendsAreNotDelivered", func(w *faulty) {
			var add func(driver.Record)
			faults.Change(w.p, func(h *faults.Receiver[driver.Record]) { add = extras(h) })
			faults.Change(w.p, func(h *faults.EventLog) {
				h.OnAppend = func(ctx context.Context, c driver.Commit) error {
					err := h.EventLog.Append(ctx, c)
					if errors.Is(err, driver.ErrConflict) {
						c.SequenceNr += 10
						add(driver.Record{Log: "Test.Log", Stream: c.Stream, SequenceNr: c.SequenceNr, Commit: &c})
					}
					return err
				}
			})
		}},
		{"ConfusesStreams", "EventCollector/StreamIDsAreKept", onRecords(false, func(r *driver.Record) bool {
			r.Stream = strings.ToLower(r.Stream)
			return false
		})},
		{"DropsLargeCommits", "EventCollector/LargeCommitsAreDelivered", onRecords(false, func(r *driver.Record) bool {
			return r.Commit != nil && len(r.Commit.Events[0].Data) > 100_000
		})},
		{"CountsOneStream", "EventCollector/CountCommitsCountsAllStreams", on(func(l *faults.EventLog, _ *faulty) {
			l.OnCount = func(ctx context.Context) (n int64, err error) {
				for _, err = range l.EventLog.Read(ctx, "a", 0, 1<<60) {
					n++
				}
				return n, err
			}
		})},
		{"LagForgetsWhatIsLeased", "EventCollector/LagCountsWhatIsNotSettled", lagging(func(l *driver.Lag, leased int) { l.Commits -= int64(leased) })},
		{"SharesItsCommits", "EventCollector/RecordsBelongToTheCaller", onCollector(false, func(h *faults.Receiver[driver.Record], w *faulty) {
			kept := memoOf(w, "kept", func() map[string]*driver.Commit { return map[string]*driver.Commit{} })
			h.OnReceive = func(ctx context.Context, max int) (driver.Batch[driver.Record], error) {
				b, err := h.Receiver.Receive(ctx, max)
				for i := range b.Deliveries {
					r := &b.Deliveries[i].Message
					if c, ok := kept[r.Stream]; ok {
						r.Commit = c
					}
					kept[r.Stream] = r.Commit
				}
				return b, err
			}
		})},
	}
}

func eventTopicFaults() []fault {
	return []fault{
		{"SubscribersCompete", "EventTopic/EverySubscriptionGetsEveryCommit", openedAs(true, func(spec driver.CollectorSpec, _ *faulty) driver.CollectorSpec {
			spec.Consumer = "Test.A"
			return spec
		})},
		{"RefusesEmptyBatches", "EventTopic/AnEmptyBatchIsNothing", on(func(h *faults.EventTopic, _ *faulty) {
			h.OnPublish = func(ctx context.Context, es []driver.Envelope) error {
				if len(es) == 0 {
					return driver.ErrInvalid
				}
				return h.EventTopic.Publish(ctx, es)
			}
		})},
		{"CompactsJSON", "EventTopic/RecordsCarryTheirCommit", publishing(func(es []driver.Envelope) []driver.Envelope {
			for i := range es {
				es[i].Commit.Events = slices.Clone(es[i].Commit.Events)
				for j := range es[i].Commit.Events {
					es[i].Commit.Events[j].Data = compact(es[i].Commit.Events[j].Data)
				}
			}
			return es
		})},
		{"PublishesInAnyOrder", "EventTopic/LargeBatchesKeepTheirOrder", publishing(func(es []driver.Envelope) []driver.Envelope {
			slices.Reverse(es)
			return es
		})},
		{"DropsLargeCommits", "EventTopic/LargeCommitsAreDelivered", publishing(func(es []driver.Envelope) []driver.Envelope {
			return slices.DeleteFunc(es, func(e driver.Envelope) bool { return len(e.Commit.Events[0].Data) > 256<<10 })
		})},
		{"RefusesRepeats", "EventTopic/ARepeatedEnvelopeIsAccepted", on(func(h *faults.EventTopic, _ *faulty) {
			seen := map[string]bool{}
			h.OnPublish = func(ctx context.Context, es []driver.Envelope) error {
				for _, e := range es {
					if seen[e.Key()] {
						return &driver.BatchError{Failed: map[string]error{e.Key(): driver.ErrExists}}
					}
					seen[e.Key()] = true
				}
				return h.EventTopic.Publish(ctx, es)
			}
		})},
		{"ForgetsSubscriptionsWhenClosed", "EventTopic/SubscriptionsSurviveReopening", func(w *faulty) {
			onRecords(true, func(r *driver.Record) bool { return w.session > 1 && r.SequenceNr < 3 })(w)
		}},
		{"ANewSubscriptionStartsAtTheBeginning", "EventTopic/ANewSubscriptionStartsWhenItIsMade", openedAs(true, func(spec driver.CollectorSpec, _ *faulty) driver.CollectorSpec {
			spec.Source.Topic = false
			return spec
		})},
		{"PublishesWhatIsAppended", "EventTopic/OnlyTheRelayFeedsATopic", func(w *faulty) {
			var topic driver.EventTopic
			faults.Change(w.p, func(h *faults.EventTopic) { topic = h })
			faults.Change(w.p, func(h *faults.EventLog) {
				h.OnAppend = func(ctx context.Context, c driver.Commit) error {
					return errors.Join(h.EventLog.Append(ctx, c), topic.Publish(ctx, []driver.Envelope{{Log: "Test.Log", Commit: c}}))
				}
			})
		}},
		{"ConfusesStreams", "EventTopic/StreamIDsAreKept", onRecords(true, func(r *driver.Record) bool {
			r.Stream = strings.TrimSpace(r.Stream)
			return false
		})},
		{"SharesItsCommits", "EventTopic/ArgumentsAreNotKept", func(w *faulty) {
			var kept driver.Commit
			publishing(func(es []driver.Envelope) []driver.Envelope {
				kept = es[0].Commit
				return es
			})(w)
			onRecords(true, func(r *driver.Record) bool {
				c := kept
				r.Commit = &c
				return false
			})(w)
		}},
	}
}

// lagging changes what a collector says of its lag.
func lagging(change func(l *driver.Lag, leased int)) plant {
	return onCollector(false, func(h *faults.Receiver[driver.Record], _ *faulty) {
		leased := 0
		h.OnReceive = func(ctx context.Context, max int) (driver.Batch[driver.Record], error) {
			b, err := h.Receiver.Receive(ctx, max)
			leased += len(b.Deliveries)
			return b, err
		}
		h.OnSettle = func(ctx context.Context, ss []driver.Settlement) error {
			leased -= len(ss)
			return h.Receiver.Settle(ctx, ss)
		}
		h.OnLag = func(ctx context.Context) (driver.Lag, error) {
			l, err := h.Receiver.(driver.Lagger).Lag(ctx)
			change(&l, leased)
			return l, err
		}
	})
}

// skipsWhatFinishesLate numbers commits when their append begins, and has a feed
// that remembers the highest number it has seen.
func skipsWhatFinishesLate(w *faulty) {
	type at struct {
		stream string
		n      uint64
	}
	var mu sync.Mutex
	position := map[at]int{}
	next := 0
	on(func(h *faults.EventLog, _ *faulty) {
		h.OnAppend = func(ctx context.Context, c driver.Commit) error {
			mu.Lock()
			next++
			position[at{c.Stream, c.SequenceNr}] = next
			mu.Unlock()
			others()
			if len(c.Events[0].Data) > 1000 { // a large one takes its time
				pause(50 * time.Microsecond)
			}
			return h.EventLog.Append(ctx, c)
		}
	})(w)
	seen := 0
	onRecords(false, func(r *driver.Record) bool {
		mu.Lock()
		defer mu.Unlock()
		here := position[at{r.Stream, r.SequenceNr}]
		if here < seen {
			return true
		}
		seen = here
		return false
	})(w)
}
