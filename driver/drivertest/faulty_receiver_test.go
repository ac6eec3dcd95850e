//go:build faults

package drivertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// onTopic injects a fault into every command topic.
func onTopic(tamper func(h *topicHook, w *faulty)) func(*hooked, *faulty) {
	return func(p *hooked, w *faulty) {
		p.commandTopic = func(t driver.CommandTopic, _ string) driver.CommandTopic {
			h := &topicHook{CommandTopic: t}
			tamper(h, w)
			return h
		}
	}
}

// onReceived changes what a topic's Receive returns.
func onReceived(change func(b *driver.Batch[driver.Command], max int)) func(*hooked, *faulty) {
	return onTopic(func(h *topicHook, _ *faulty) {
		h.receive = func(ctx context.Context, max int) (driver.Batch[driver.Command], error) {
			b, err := h.CommandTopic.Receive(ctx, max)
			change(&b, max)
			return b, err
		}
	})
}

// onSettled changes what a topic's Settle is given.
func onSettled(change func(ss []driver.Settlement) []driver.Settlement) func(*hooked, *faulty) {
	return onTopic(func(h *topicHook, _ *faulty) {
		h.settle = func(ctx context.Context, ss []driver.Settlement) error {
			return h.CommandTopic.Settle(ctx, change(slices.Clone(ss)))
		}
	})
}

// noGroups sends each command to a group of its own.
func noGroups(h *topicHook, _ *faulty) {
	h.send = func(ctx context.Context, cs []driver.Command) error {
		cs = slices.Clone(cs)
		for i := range cs {
			if cs[i].Entity != "" {
				cs[i].Entity += "\u2063" + cs[i].Meta.ID
			}
		}
		return h.CommandTopic.Send(ctx, cs)
	}
	h.receive = func(ctx context.Context, max int) (driver.Batch[driver.Command], error) {
		b, err := h.CommandTopic.Receive(ctx, max)
		for i := range b.Deliveries {
			m := &b.Deliveries[i].Message
			m.Entity, _, _ = strings.Cut(m.Entity, "\u2063")
		}
		return b, err
	}
}

// receiverFaults are about what all receivers have in common, shown on the
// command topic. [everyReceiver] has those that are shown on all.
func receiverFaults() []fault {
	return []fault{
		{"AnEmptyQueueIsAnError", "CommandTopic/AnEmptyReceiverDeliversNothing", onTopic(func(h *topicHook, _ *faulty) {
			h.receive = func(ctx context.Context, max int) (driver.Batch[driver.Command], error) {
				b, err := h.CommandTopic.Receive(ctx, max)
				if len(b.Deliveries) == 0 && err == nil {
					err = driver.ErrNotFound
				}
				return b, err
			}
		})},
		{"NamesDeliveriesByPosition", "CommandTopic/DeliveryIDsAreUnique", onTopic(func(h *topicHook, _ *faulty) {
			var names []string
			h.receive = func(ctx context.Context, max int) (driver.Batch[driver.Command], error) {
				b, err := h.CommandTopic.Receive(ctx, min(max, 10))
				if len(b.Deliveries) > 0 {
					names = nil
				}
				for i := range b.Deliveries {
					names = append(names, b.Deliveries[i].ID)
					b.Deliveries[i].ID = strconv.Itoa(i)
				}
				return b, err
			}
			h.settle = func(ctx context.Context, ss []driver.Settlement) error {
				ss = slices.Clone(ss)
				for i := range ss {
					if n, err := strconv.Atoi(ss[i].ID); err == nil && n < len(names) {
						ss[i].ID = names[n]
					}
				}
				return h.CommandTopic.Settle(ctx, ss)
			}
		})},
		{"LosesTheFifthRetry", "CommandTopic/RetriedMessagesComeAgain", onTopic(func(h *topicHook, _ *faulty) {
			attempts := map[string]int{}
			h.receive = func(ctx context.Context, max int) (driver.Batch[driver.Command], error) {
				b, err := h.CommandTopic.Receive(ctx, max)
				for _, d := range b.Deliveries {
					attempts[d.ID] = d.Attempt
				}
				return b, err
			}
			h.settle = func(ctx context.Context, ss []driver.Settlement) error {
				ss = slices.Clone(ss)
				for i := range ss { // dropped, not parked
					ss[i].Retry = ss[i].Retry && attempts[ss[i].ID] < 5
				}
				return h.CommandTopic.Settle(ctx, ss)
			}
		})},
		{"CountsAttemptsFromZero", "CommandTopic/RetriedMessagesComeAgain", onReceived(func(b *driver.Batch[driver.Command], _ int) {
			for i := range b.Deliveries {
				b.Deliveries[i].Attempt--
			}
		})},
		{"ClampsAfter", "CommandTopic/RetriesWaitForAfter", onSettled(func(ss []driver.Settlement) []driver.Settlement {
			for i := range ss {
				ss[i].After = min(ss[i].After, 5*time.Minute)
			}
			return ss
		})},
		{"TellsNextTooLate", "CommandTopic/NextTellsWhenARetryIsDue", onReceived(func(b *driver.Batch[driver.Command], _ int) {
			if !b.Next.IsZero() {
				b.Next = b.Next.Add(time.Hour)
			}
		})},
		{"StopsAtUnknownSettlements", "CommandTopic/UnknownSettlementsAreIgnored", onSettled(func(ss []driver.Settlement) []driver.Settlement {
			for i, s := range ss {
				if s.ID == "" {
					return ss[:i]
				}
			}
			return ss
		})},
		{"HoldsForEver", "CommandTopic/HoldsEndAfterTheVisibilityTimeout", onTopic(func(h *topicHook, _ *faulty) {
			var held atomic.Bool
			h.receive = func(ctx context.Context, max int) (driver.Batch[driver.Command], error) {
				if held.Load() {
					return driver.Batch[driver.Command]{}, nil
				}
				b, err := h.CommandTopic.Receive(ctx, max)
				held.Store(len(b.Deliveries) > 0)
				return b, err
			}
			h.settle = func(ctx context.Context, ss []driver.Settlement) error { return h.CommandTopic.Settle(ctx, ss) }
		})},
		{"HasNoGroupLock", "CommandTopic/NoTwoCallersHoldOneGroup", onTopic(noGroups)},
		{"HasNoGroups", "CommandTopic/AHeldMessageBlocksItsGroup", onTopic(noGroups)},
		{"LocksAllGroups", "CommandTopic/AHeldMessageBlocksItsGroup", onTopic(func(h *topicHook, _ *faulty) {
			held := map[string]bool{}
			h.receive = func(ctx context.Context, max int) (driver.Batch[driver.Command], error) {
				if len(held) > 0 {
					return driver.Batch[driver.Command]{}, nil
				}
				b, err := h.CommandTopic.Receive(ctx, max)
				for _, d := range b.Deliveries {
					held[d.ID] = true
				}
				return b, err
			}
			h.settle = func(ctx context.Context, ss []driver.Settlement) error {
				for _, s := range ss {
					delete(held, s.ID)
				}
				return h.CommandTopic.Settle(ctx, ss)
			}
		})},
		{"KeepsHoldsWhenClosed", "CommandTopic/UnsettledMessagesSurviveReopening", onTopic(func(h *topicHook, w *faulty) {
			h.receive = func(ctx context.Context, max int) (driver.Batch[driver.Command], error) {
				b, err := h.CommandTopic.Receive(ctx, max)
				if w.session > 1 {
					b.Deliveries = slices.DeleteFunc(b.Deliveries, func(d driver.Delivery[driver.Command]) bool { return d.Message.Entity == "held" })
				}
				return b, err
			}
		})},
		{"RetriesOneByOne", "CommandTopic/RetriesKeepTheOrder", onTopic(func(h *topicHook, _ *faulty) {
			// Each settlement by itself, in the order given: a later message of a
			// group may be settled before an earlier one is retried.
			n := 0
			h.settle = func(ctx context.Context, ss []driver.Settlement) error {
				for _, s := range ss {
					if n++; s.Retry && n%5 == 0 {
						s.Retry = false // lost on the way
					}
					if err := h.CommandTopic.Settle(ctx, []driver.Settlement{s}); err != nil {
						return err
					}
				}
				return nil
			}
		})},
	}
}

func commandTopicFaults() []fault {
	sending := func(change func(cs []driver.Command) []driver.Command) func(*hooked, *faulty) {
		return onTopic(func(h *topicHook, _ *faulty) {
			h.send = func(ctx context.Context, cs []driver.Command) error {
				return h.CommandTopic.Send(ctx, change(slices.Clone(cs)))
			}
		})
	}
	// renamed hides the id from the store's de-duplication unless known says
	// that the command was sent before.
	renamed := func(known func(w *faulty, c driver.Command) bool) func(*hooked, *faulty) {
		return onTopic(func(h *topicHook, w *faulty) {
			n := memoOf(w, "n", func() *atomic.Int64 { return new(atomic.Int64) })
			h.send = func(ctx context.Context, cs []driver.Command) error {
				var fresh []driver.Command
				for _, c := range cs {
					if known(w, c) {
						continue
					}
					c.Meta.ID = fmt.Sprintf("%s\u2063%d", c.Meta.ID, n.Add(1))
					fresh = append(fresh, c)
				}
				return h.CommandTopic.Send(ctx, fresh)
			}
			h.receive = func(ctx context.Context, max int) (driver.Batch[driver.Command], error) {
				b, err := h.CommandTopic.Receive(ctx, max)
				for i := range b.Deliveries {
					m := &b.Deliveries[i].Message.Meta
					m.ID, _, _ = strings.Cut(m.ID, "\u2063")
				}
				return b, err
			}
		})
	}
	idOf := func(c driver.Command) string { return c.Entity + "\x00" + c.Meta.ID }
	seenFor := func(d time.Duration, id func(driver.Command) string) func(w *faulty, c driver.Command) bool {
		return func(w *faulty, c driver.Command) bool {
			seen := memoOf(w, "seen", func() map[string]time.Time { return map[string]time.Time{} })
			now := w.Now()
			if at, ok := seen[id(c)]; ok && now.Sub(at) < d {
				return true
			}
			seen[id(c)] = now
			return false
		}
	}
	tooLarge := func(err error) bool { return errors.Is(err, driver.ErrTooLarge) }
	return []fault{
		{"LosesHeaders", "CommandTopic/EverythingOfACommandIsKept", sending(func(cs []driver.Command) []driver.Command {
			for i := range cs {
				cs[i].Meta.Headers = nil
			}
			return cs
		})},
		{"StampsNewIDs", "CommandTopic/EverythingOfACommandIsKept", onReceived(func(b *driver.Batch[driver.Command], _ int) {
			for i := range b.Deliveries {
				b.Deliveries[i].Message.Meta.ID = "new-" + b.Deliveries[i].ID
			}
		})},
		{"RoundsNumbers", "CommandTopic/EverythingOfACommandIsKept", sending(func(cs []driver.Command) []driver.Command {
			for i := range cs {
				cs[i].Data = []byte(strings.ReplaceAll(string(cs[i].Data), "12345678901234567890123456789.5", "1.2345678901234568e28"))
			}
			return cs
		})},
		{"RefusesEmptyBatches", "CommandTopic/AnEmptyBatchIsNothing", onTopic(func(h *topicHook, _ *faulty) {
			h.send = func(ctx context.Context, cs []driver.Command) error {
				if len(cs) == 0 {
					return driver.ErrInvalid
				}
				return h.CommandTopic.Send(ctx, cs)
			}
		})},
		{"BatchesLoseTheirLast", "CommandTopic/LargeBatchesAreDeliveredWhole", sending(func(cs []driver.Command) []driver.Command {
			var kept []driver.Command
			for i, c := range cs {
				if i%10 != 9 || i == len(cs)-1 {
					kept = append(kept, c)
				}
			}
			return kept
		})},
		{"SendsChunksInAnyOrder", "CommandTopic/LargeBatchesAreDeliveredWhole", sending(func(cs []driver.Command) []driver.Command {
			if len(cs) > 10 {
				return slices.Concat(cs[10:], cs[:10])
			}
			return cs
		})},
		{"HasNoDeDuplication", "CommandTopic/ARepeatedCommandIsDeliveredOnce", renamed(func(*faulty, driver.Command) bool { return false })},
		{"DeDuplicatesByContent", "CommandTopic/ARepeatedCommandIsDeliveredOnce", renamed(seenFor(time.Hour, func(c driver.Command) string {
			return idOf(c) + string(c.Data)
		}))},
		{"DeDuplicatesAcrossEntities", "CommandTopic/ACommandIDIsRepeatedPerEntity", renamed(seenFor(time.Hour, func(c driver.Command) string { return c.Meta.ID }))},
		{"ChecksThenSends", "CommandTopic/ConcurrentRepeatsAreDeliveredOnce", renamed(func(w *faulty, c driver.Command) bool {
			seen := memoOf(w, "seen", func() *sync.Map { return new(sync.Map) })
			if _, ok := seen.Load(idOf(c)); ok {
				return true
			}
			others()
			seen.Store(idOf(c), true)
			return false
		})},
		{"DeDuplicatesForAMinute", "CommandTopic/RepeatsAreForgottenAfterFiveMinutes", renamed(seenFor(time.Minute, idOf))},
		{"DeDuplicatesForEver", "CommandTopic/RepeatsAreForgottenAfterFiveMinutes", renamed(seenFor(1000*time.Hour, idOf))},
		{"ForgetsRepeatsWhenClosed", "CommandTopic/RepeatsAreKnownAfterReopening", renamed(func(w *faulty, c driver.Command) bool {
			id := fmt.Sprintf("%d|%s", w.session, idOf(c))
			return seenFor(time.Hour, func(driver.Command) string { return id })(w, c)
		})},
		{"OversizedFailsTheBatch", "CommandTopic/AnOversizedCommandHarmsNoOther", onTopic(func(h *topicHook, w *faulty) {
			h.send = func(ctx context.Context, cs []driver.Command) error {
				for _, c := range cs {
					if len(c.Data) > w.Provider.Limits().MaxCommandBytes {
						return &driver.TooLargeError{What: "command", Size: len(c.Data), Limit: w.Provider.Limits().MaxCommandBytes}
					}
				}
				return h.CommandTopic.Send(ctx, cs)
			}
		})},
		{"OversizedIsDropped", "CommandTopic/AnOversizedCommandHarmsNoOther", onTopic(func(h *topicHook, _ *faulty) {
			h.send = func(ctx context.Context, cs []driver.Command) error {
				if err := h.CommandTopic.Send(ctx, cs); !tooLarge(err) {
					return err
				}
				return nil
			}
		})},
		{"OversizedLoops", "CommandTopic/AnOversizedCommandHarmsNoOther", onTopic(func(h *topicHook, _ *faulty) {
			h.send = func(ctx context.Context, cs []driver.Command) error {
				err := h.CommandTopic.Send(ctx, cs)
				for end := time.Now().Add(300 * time.Millisecond); tooLarge(err) && time.Now().Before(end); {
					pause(10 * time.Millisecond) // for ever, but for the test's sake
				}
				if tooLarge(err) {
					return context.DeadlineExceeded
				}
				return err
			}
		})},
		{"StopsAtTheOversized", "CommandTopic/AnOversizedCommandHarmsNoOther", onTopic(func(h *topicHook, w *faulty) {
			h.send = func(ctx context.Context, cs []driver.Command) error {
				for i, c := range cs {
					if len(c.Data) > w.Provider.Limits().MaxCommandBytes {
						return h.CommandTopic.Send(ctx, cs[:i+1])
					}
				}
				return h.CommandTopic.Send(ctx, cs)
			}
		})},
		{"OversizedUsesUpItsID", "CommandTopic/AnOversizedCommandHarmsNoOther", onTopic(func(h *topicHook, w *faulty) {
			used := map[string]bool{}
			h.send = func(ctx context.Context, cs []driver.Command) error {
				cs = slices.DeleteFunc(slices.Clone(cs), func(c driver.Command) bool { return used[idOf(c)] && len(c.Data) < 1000 })
				err := h.CommandTopic.Send(ctx, cs)
				for _, c := range cs {
					if len(c.Data) > w.Provider.Limits().MaxCommandBytes {
						used[idOf(c)] = true
					}
				}
				return err
			}
		})},
		{"HasAHalfLimit", "CommandTopic/CommandsUpToTheLimitAreAccepted", onTopic(func(h *topicHook, w *faulty) {
			h.send = func(ctx context.Context, cs []driver.Command) error {
				if len(cs) == 1 && len(cs[0].Data) > w.Provider.Limits().MaxCommandBytes/2 {
					return driver.ErrTooLarge
				}
				return h.CommandTopic.Send(ctx, cs)
			}
		})},
		{"NamesFailuresByPosition", "CommandTopic/BadIDsAreRefused", onTopic(func(h *topicHook, _ *faulty) {
			h.send = func(ctx context.Context, cs []driver.Command) error {
				err := h.CommandTopic.Send(ctx, cs)
				var be *driver.BatchError
				if !errors.As(err, &be) {
					return err
				}
				byPosition := &driver.BatchError{Failed: map[string]error{}}
				for i, c := range cs {
					if e := be.Failed[c.Meta.ID]; e != nil {
						byPosition.Failed[strconv.Itoa(i)] = e
					}
				}
				return byPosition
			}
		})},
		{"DropsBadCommands", "CommandTopic/BadIDsAreRefused", onTopic(func(h *topicHook, _ *faulty) {
			h.send = func(ctx context.Context, cs []driver.Command) error {
				if err := h.CommandTopic.Send(ctx, cs); !errors.Is(err, driver.ErrInvalid) {
					return err
				}
				return nil
			}
		})},
		{"CutsLongIDs", "CommandTopic/EntitiesAndCommandIDsAreKeptApart", renamed(seenFor(time.Hour, func(c driver.Command) string {
			return c.Entity + "\x00" + c.Meta.ID[:min(len(c.Meta.ID), 128)]
		}))},
		{"JoinsEntityAndID", "CommandTopic/EntitiesAndCommandIDsAreKeptApart", onTopic(func(h *topicHook, _ *faulty) {
			h.send = func(ctx context.Context, cs []driver.Command) error {
				cs = slices.Clone(cs)
				for i := range cs {
					cs[i].Entity = strings.ToLower(cs[i].Entity)
				}
				return h.CommandTopic.Send(ctx, cs)
			}
		})},
		{"IgnoresTheContext", "CommandTopic/CancelledCallsFail", onTopic(func(h *topicHook, _ *faulty) {
			h.send = func(ctx context.Context, cs []driver.Command) error {
				return h.CommandTopic.Send(context.WithoutCancel(ctx), cs)
			}
		})},
		{"ACancelledReceiveIsEmpty", "CommandTopic/CancelledCallsFail", onTopic(func(h *topicHook, _ *faulty) {
			h.receive = func(ctx context.Context, max int) (driver.Batch[driver.Command], error) {
				b, err := h.CommandTopic.Receive(ctx, max)
				if ctx.Err() != nil {
					err = nil
				}
				return b, err
			}
		})},
		{"KeepsWhatItIsGiven", "CommandTopic/ArgumentsAreNotKept", onTopic(func(h *topicHook, _ *faulty) {
			var data []byte
			h.send = func(ctx context.Context, cs []driver.Command) error {
				data = cs[0].Data
				return h.CommandTopic.Send(ctx, cs)
			}
			h.receive = func(ctx context.Context, max int) (driver.Batch[driver.Command], error) {
				b, err := h.CommandTopic.Receive(ctx, max)
				for i := range b.Deliveries {
					b.Deliveries[i].Message.Data = data
				}
				return b, err
			}
		})},
	}
}
