//go:build faults

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
)

// onCollector injects a fault into every collector, of feeds or of topics.
func onCollector(topic bool, tamper func(h *collectorHook, spec driver.CollectorSpec, w *faulty)) func(*hooked, *faulty) {
	return func(p *hooked, w *faulty) {
		p.collector = func(c driver.EventCollector, spec driver.CollectorSpec) driver.EventCollector {
			h := &collectorHook{EventCollector: c}
			if spec.Source.Topic == topic {
				tamper(h, spec, w)
			}
			return h
		}
	}
}

// onRecords changes what collectors return.
func onRecords(topic bool, change func(r *driver.Record) (drop bool)) func(*hooked, *faulty) {
	return onCollector(topic, func(h *collectorHook, _ driver.CollectorSpec, _ *faulty) {
		h.receive = func(ctx context.Context, max int) (driver.Batch[driver.Record], error) {
			b, err := h.EventCollector.Receive(ctx, max)
			b.Deliveries = slices.DeleteFunc(b.Deliveries, func(d driver.Delivery[driver.Record]) bool {
				r := d.Message
				if change(&r) {
					_ = h.EventCollector.Settle(ctx, []driver.Settlement{{ID: d.ID}})
					return true
				}
				return false
			})
			for i := range b.Deliveries {
				change(&b.Deliveries[i].Message)
			}
			return b, err
		}
	})
}

// openedAs opens other collectors than those that are asked for.
func openedAs(topic bool, other func(spec driver.CollectorSpec, w *faulty) driver.CollectorSpec) func(*hooked, *faulty) {
	return func(p *hooked, w *faulty) {
		p.collector = func(c driver.EventCollector, spec driver.CollectorSpec) driver.EventCollector {
			if spec.Source.Topic != topic {
				return c
			}
			o, err := p.Provider.OpenEventCollector(context.Background(), other(spec, w))
			if err != nil {
				return c
			}
			return o
		}
	}
}

func collectorFaults() []fault {
	publishing := func(change func(es []driver.Envelope) []driver.Envelope) func(*hooked, *faulty) {
		return func(p *hooked, _ *faulty) {
			p.eventTopic = func(t driver.EventTopic, _ driver.TopicSpec) driver.EventTopic {
				return &eventTopicHook{EventTopic: t, publish: func(ctx context.Context, es []driver.Envelope) error {
					return t.Publish(ctx, change(slices.Clone(es)))
				}}
			}
		}
	}
	faults := []fault{
		{"StartsAtTheEnd", "EventCollector/ANewConsumerStartsAtTheFirstCommit", onCollector(false, func(h *collectorHook, spec driver.CollectorSpec, _ *faulty) {
			for spec.Consumer == "Test.Late" {
				b, err := h.EventCollector.Receive(context.Background(), 100)
				if err != nil || len(b.Deliveries) == 0 {
					return
				}
				for _, d := range b.Deliveries {
					_ = h.EventCollector.Settle(context.Background(), []driver.Settlement{{ID: d.ID}})
				}
			}
		})},
		{"CutsTheCommit", "EventCollector/RecordsCarryTheirCommit", onRecords(false, func(r *driver.Record) bool {
			if r.Commit != nil && len(r.Commit.Events) > 0 {
				r.Commit.Events[0].Data = compact(r.Commit.Events[0].Data)
			}
			return false
		})},
		{"MixesUpCommits", "EventCollector/RecordsCarryTheirCommit", onCollector(false, func(h *collectorHook, _ driver.CollectorSpec, _ *faulty) {
			h.receive = func(ctx context.Context, max int) (driver.Batch[driver.Record], error) {
				b, err := h.EventCollector.Receive(ctx, max)
				for i := range b.Deliveries {
					b.Deliveries[i].Message.Commit = b.Deliveries[0].Message.Commit
				}
				return b, err
			}
		})},
		{"SkipsWhatFinishesLate", "EventCollector/AConsumerBesideWritersMissesNothing", skipsWhatFinishesLate},
		{"SortsByTheTimeOfBeginning", "EventCollector/CommitsThatFinishOutOfOrderAreNotSkipped", skipsWhatFinishesLate},
		{"SharesOnePosition", "EventCollector/ConsumersAreIndependent", openedAs(false, func(spec driver.CollectorSpec, _ *faulty) driver.CollectorSpec {
			spec.Consumer = "everybody"
			return spec
		})},
		{"DoesNotSayWhichLog", "EventCollector/LogsAreCollectedApart", onRecords(false, func(r *driver.Record) bool {
			r.Log = "Test.One"
			return false
		})},
		{"EachHandleHasItsPosition", "EventCollector/HandlesOfAConsumerShareItsPosition", openedAs(false, func(spec driver.CollectorSpec, w *faulty) driver.CollectorSpec {
			n := memoOf(w, "n", func() *int { return new(int) })
			*n++
			spec.Consumer = fmt.Sprintf("%s%d", spec.Consumer, *n)
			return spec
		})},
		{"KeepsThePositionInMemory", "EventCollector/ThePositionIsDurable", openedAs(false, func(spec driver.CollectorSpec, w *faulty) driver.CollectorSpec {
			spec.Consumer = fmt.Sprintf("%s-%d", spec.Consumer, w.session)
			return spec
		})},
		{"DeliversRefusedAppends", "EventCollector/RefusedAppendsAreNotDelivered", func(p *hooked, w *faulty) {
			refused := memoOf(w, "refused", func() *[]driver.Record { return new([]driver.Record) })
			onLog(func(h *logHook, _ *faulty) {
				h.append = func(ctx context.Context, c driver.Commit) error {
					err := h.EventLog.Append(ctx, c)
					if errors.Is(err, driver.ErrConflict) {
						c.SequenceNr += 10
						*refused = append(*refused, driver.Record{Log: "Test.Log", Stream: c.Stream, SequenceNr: c.SequenceNr, Commit: &c})
					}
					return err
				}
			})(p, w)
			onCollector(false, func(h *collectorHook, _ driver.CollectorSpec, _ *faulty) {
				h.receive = func(ctx context.Context, max int) (driver.Batch[driver.Record], error) {
					b, err := h.EventCollector.Receive(ctx, max)
					for _, r := range *refused {
						b.Deliveries = append(b.Deliveries, driver.Delivery[driver.Record]{ID: "refused", Attempt: 1, Message: r})
					}
					*refused = nil
					return b, err
				}
			})(p, w)
		}},
		{"ConfusesStreams", "EventCollector/StreamIDsAreKept", onRecords(false, func(r *driver.Record) bool {
			r.Stream = strings.ToLower(r.Stream)
			return false
		})},
		{"DropsLargeCommits", "EventCollector/LargeCommitsAreDelivered", onRecords(false, func(r *driver.Record) bool {
			return r.Commit != nil && len(r.Commit.Events[0].Data) > 100_000
		})},
		{"ACancelledReceiveIsEmpty", "EventCollector/CancelledCallsFail", onCollector(false, func(h *collectorHook, _ driver.CollectorSpec, _ *faulty) {
			h.receive = func(ctx context.Context, max int) (driver.Batch[driver.Record], error) {
				if ctx.Err() != nil {
					return driver.Batch[driver.Record]{}, nil
				}
				return h.EventCollector.Receive(ctx, max)
			}
		})},
		{"LagForgetsWhatIsHeld", "EventCollector/LagCountsWhatIsNotSettled", lagging(func(l *driver.Lag, held int) { l.Commits -= int64(held) })},
		{"LagIsOfTheNewest", "EventCollector/LagCountsWhatIsNotSettled", lagging(func(l *driver.Lag, _ int) { l.Oldest = l.Oldest.Add(10 * time.Second * time.Duration(l.Commits-1)) })},
		{"LagNeverEnds", "EventCollector/LagCountsWhatIsNotSettled", lagging(func(l *driver.Lag, _ int) { l.Commits = max(l.Commits, 1) })},
		{"SharesItsCommits", "EventCollector/RecordsBelongToTheCaller", onCollector(false, func(h *collectorHook, _ driver.CollectorSpec, w *faulty) {
			kept := memoOf(w, "kept", func() map[string]*driver.Commit { return map[string]*driver.Commit{} })
			h.receive = func(ctx context.Context, max int) (driver.Batch[driver.Record], error) {
				b, err := h.EventCollector.Receive(ctx, max)
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

		{"SubscribersCompete", "EventTopic/EverySubscriptionGetsEveryCommit", openedAs(true, func(spec driver.CollectorSpec, _ *faulty) driver.CollectorSpec {
			spec.Consumer = "Test.A"
			return spec
		})},
		{"RefusesEmptyBatches", "EventTopic/AnEmptyBatchIsNothing", func(p *hooked, _ *faulty) {
			p.eventTopic = func(t driver.EventTopic, _ driver.TopicSpec) driver.EventTopic {
				return &eventTopicHook{EventTopic: t, publish: func(ctx context.Context, es []driver.Envelope) error {
					if len(es) == 0 {
						return driver.ErrInvalid
					}
					return t.Publish(ctx, es)
				}}
			}
		}},
		{"CompactsJSON", "EventTopic/PublishedCommitsAreWhole", publishing(func(es []driver.Envelope) []driver.Envelope {
			for i := range es {
				es[i].Commit.Events = slices.Clone(es[i].Commit.Events)
				for j := range es[i].Commit.Events {
					es[i].Commit.Events[j].Data = compact(es[i].Commit.Events[j].Data)
				}
			}
			return es
		})},
		{"BatchesLoseTheirLast", "EventTopic/LargeBatchesKeepTheirOrder", publishing(func(es []driver.Envelope) []driver.Envelope {
			var kept []driver.Envelope
			for i, e := range es {
				if i%10 != 9 {
					kept = append(kept, e)
				}
			}
			return kept
		})},
		{"PublishesInAnyOrder", "EventTopic/LargeBatchesKeepTheirOrder", publishing(func(es []driver.Envelope) []driver.Envelope {
			slices.Reverse(es)
			return es
		})},
		{"DropsLargeCommits", "EventTopic/LargeCommitsAreDelivered", publishing(func(es []driver.Envelope) []driver.Envelope {
			return slices.DeleteFunc(es, func(e driver.Envelope) bool { return len(e.Commit.Events[0].Data) > 256<<10 })
		})},
		{"RefusesRepeats", "EventTopic/ARepeatedEnvelopeIsAccepted", func(p *hooked, _ *faulty) {
			p.eventTopic = func(t driver.EventTopic, _ driver.TopicSpec) driver.EventTopic {
				seen := map[string]bool{}
				return &eventTopicHook{EventTopic: t, publish: func(ctx context.Context, es []driver.Envelope) error {
					for _, e := range es {
						if seen[e.Key()] {
							return &driver.BatchError{Failed: map[string]error{e.Key(): driver.ErrExists}}
						}
						seen[e.Key()] = true
					}
					return t.Publish(ctx, es)
				}}
			}
		}},
		{"ForgetsSubscriptionsWhenClosed", "EventTopic/SubscriptionsSurviveReopening", func(p *hooked, w *faulty) {
			memo := memoOf(w, "old", func() map[string]bool { return map[string]bool{} })
			onRecords(true, func(r *driver.Record) bool {
				if w.session == 1 {
					memo[fmt.Sprint(r.SequenceNr)] = true
				}
				return w.session > 1 && r.SequenceNr < 3
			})(p, w)
		}},
		{"ANewSubscriptionStartsAtTheBeginning", "EventTopic/ANewSubscriptionStartsWhenItIsMade", openedAs(true, func(spec driver.CollectorSpec, _ *faulty) driver.CollectorSpec {
			spec.Source.Topic = false
			return spec
		})},
		{"PublishesWhatIsAppended", "EventTopic/OnlyTheRelayFeedsATopic", func(p *hooked, w *faulty) {
			var topic driver.EventTopic
			p.eventTopic = func(t driver.EventTopic, _ driver.TopicSpec) driver.EventTopic {
				topic = t
				return t
			}
			onLog(func(h *logHook, _ *faulty) {
				h.append = func(ctx context.Context, c driver.Commit) error {
					err := h.EventLog.Append(ctx, c)
					if err == nil && topic != nil {
						err = topic.Publish(ctx, []driver.Envelope{{Log: "Test.Log", Commit: c}})
					}
					return err
				}
			})(p, w)
		}},
		{"ConfusesStreams", "EventTopic/StreamIDsAreKept", onRecords(true, func(r *driver.Record) bool {
			r.Stream = strings.TrimSpace(r.Stream)
			return false
		})},
		{"IgnoresTheContext", "EventTopic/CancelledCallsFail", func(p *hooked, _ *faulty) {
			p.eventTopic = func(t driver.EventTopic, _ driver.TopicSpec) driver.EventTopic {
				return &eventTopicHook{EventTopic: t, publish: func(ctx context.Context, es []driver.Envelope) error {
					return t.Publish(context.WithoutCancel(ctx), es)
				}}
			}
		}},
		{"SharesItsCommits", "EventTopic/ArgumentsAreNotKept", func(p *hooked, w *faulty) {
			var kept driver.Commit
			p.eventTopic = func(t driver.EventTopic, _ driver.TopicSpec) driver.EventTopic {
				return &eventTopicHook{EventTopic: t, publish: func(ctx context.Context, es []driver.Envelope) error {
					kept = es[0].Commit
					return t.Publish(ctx, es)
				}}
			}
			onRecords(true, func(r *driver.Record) bool {
				c := kept
				r.Commit = &c
				return false
			})(p, w)
		}},
	}
	return faults
}

// lagging changes what a collector says of its lag.
func lagging(change func(l *driver.Lag, held int)) func(*hooked, *faulty) {
	return onCollector(false, func(h *collectorHook, _ driver.CollectorSpec, _ *faulty) {
		held := 0
		h.receive = func(ctx context.Context, max int) (driver.Batch[driver.Record], error) {
			b, err := h.EventCollector.Receive(ctx, max)
			held += len(b.Deliveries)
			return b, err
		}
		h.settle = func(ctx context.Context, ss []driver.Settlement) error {
			held -= len(ss)
			return h.EventCollector.Settle(ctx, ss)
		}
		h.lag = func(ctx context.Context) (driver.Lag, error) {
			l, err := h.EventCollector.(driver.Lagger).Lag(ctx)
			change(&l, held)
			return l, err
		}
	})
}

// skipsWhatFinishesLate numbers commits when their append begins, and has a feed
// that remembers the highest number it has seen.
func skipsWhatFinishesLate(p *hooked, w *faulty) {
	type at struct {
		stream string
		n      uint64
	}
	var mu sync.Mutex
	position := map[at]int{}
	next := 0
	onLog(func(h *logHook, _ *faulty) {
		h.append = func(ctx context.Context, c driver.Commit) error {
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
	})(p, w)
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
	})(p, w)
}
