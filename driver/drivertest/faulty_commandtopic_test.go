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
	"github.com/reventless-go/reventless/internal/faults"
)

func commandTopicFaults() []fault {
	sending := func(change func(cs []driver.Command) []driver.Command) plant {
		return on(func(h *faults.CommandTopic, _ *faulty) {
			h.OnSend = func(ctx context.Context, cs []driver.Command) error {
				return h.CommandTopic.Send(ctx, change(slices.Clone(cs)))
			}
		})
	}
	// renamed hides the id from the store's de-duplication unless known says
	// that the command was sent before.
	renamed := func(known func(w *faulty, c driver.Command) bool) plant {
		return onEnds(func(h *faults.CommandTopic, r *faults.Receiver[driver.Command], w *faulty) {
			n := memoOf(w, "n", func() *atomic.Int64 { return new(atomic.Int64) })
			h.OnSend = func(ctx context.Context, cs []driver.Command) error {
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
			r.OnReceive = func(ctx context.Context, max int) (driver.Batch[driver.Command], error) {
				b, err := r.Receiver.Receive(ctx, max)
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
	return []fault{
		{"LosesHeaders", "CommandTopic/EverythingOfACommandIsKept", sending(func(cs []driver.Command) []driver.Command {
			for i := range cs {
				cs[i].Meta.Headers = nil
			}
			return cs
		})},
		{"RefusesEmptyBatches", "CommandTopic/AnEmptyBatchIsNothing", on(func(h *faults.CommandTopic, _ *faulty) {
			h.OnSend = func(ctx context.Context, cs []driver.Command) error {
				if len(cs) == 0 {
					return driver.ErrInvalid
				}
				return h.CommandTopic.Send(ctx, cs)
			}
		})},
		{"SendsChunksInAnyOrder", "CommandTopic/LargeBatchesAreDeliveredCompletely", sending(func(cs []driver.Command) []driver.Command {
			if len(cs) > 10 {
				return slices.Concat(cs[10:], cs[:10])
			}
			return cs
		})},
		{"HasNoDeDuplication", "CommandTopic/ARepeatedCommandIsDeliveredOnce", renamed(func(*faulty, driver.Command) bool { return false })},
		{"DeDuplicatesByIDAlone", "CommandTopic/AnotherFingerprintOrResendIsDelivered", renamed(seenFor(time.Hour, idOf))},
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
		{"StopsAtTheOversized", "CommandTopic/AnOversizedCommandHarmsNoOther", on(func(h *faults.CommandTopic, w *faulty) {
			h.OnSend = func(ctx context.Context, cs []driver.Command) error {
				for i, c := range cs {
					if len(c.Data) > w.Provider.Limits().MaxCommandBytes {
						return h.CommandTopic.Send(ctx, cs[:i+1])
					}
				}
				return h.CommandTopic.Send(ctx, cs)
			}
		})},
		{"HasAHalfLimit", "CommandTopic/CommandsUpToTheLimitAreAccepted", on(func(h *faults.CommandTopic, w *faulty) {
			h.OnSend = func(ctx context.Context, cs []driver.Command) error {
				if len(cs) == 1 && len(cs[0].Data) > w.Provider.Limits().MaxCommandBytes/2 {
					return driver.ErrTooLarge
				}
				return h.CommandTopic.Send(ctx, cs)
			}
		})},
		{"NamesFailuresByPosition", "CommandTopic/BadIDsAreRefused", on(func(h *faults.CommandTopic, _ *faulty) {
			h.OnSend = func(ctx context.Context, cs []driver.Command) error {
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
		{"CutsLongIDs", "CommandTopic/EntitiesAndCommandIDsAreKeptApart", renamed(seenFor(time.Hour, func(c driver.Command) string {
			return c.Entity + "\x00" + c.Meta.ID[:min(len(c.Meta.ID), 128)]
		}))},
		{"KeepsWhatItIsGiven", "CommandTopic/ArgumentsAreNotKept", onEnds(func(h *faults.CommandTopic, r *faults.Receiver[driver.Command], _ *faulty) {
			var data []byte
			h.OnSend = func(ctx context.Context, cs []driver.Command) error {
				data = cs[0].Data
				return h.CommandTopic.Send(ctx, cs)
			}
			r.OnReceive = func(ctx context.Context, max int) (driver.Batch[driver.Command], error) {
				b, err := r.Receiver.Receive(ctx, max)
				for i := range b.Deliveries {
					b.Deliveries[i].Message.Data = data
				}
				return b, err
			}
		})},
	}
}
