package drivertest

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/faults"
)

func outcomesFaults() []fault {
	putting := func(put func(ctx context.Context, o driver.Outcomes, x driver.StoredOutcome, expires time.Time) error) plant {
		return on(func(h *faults.Outcomes, _ *faulty) {
			h.OnPut = func(ctx context.Context, x driver.StoredOutcome, expires time.Time) error {
				return put(ctx, h.Outcomes, x, expires)
			}
		})
	}
	// overwriting stores Pending even if there is another outcome.
	overwriting := func(h *faults.Outcomes, mayOverwrite func(ctx context.Context, target, id string) bool) {
		var mu sync.Mutex
		shown := map[string]driver.StoredOutcome{}
		h.OnPut = func(ctx context.Context, x driver.StoredOutcome, expires time.Time) error {
			if x.Kind == driver.Pending && !mayOverwrite(ctx, x.Target, x.CommandID) {
				return nil
			}
			others()
			mu.Lock()
			shown[x.CommandID] = x
			mu.Unlock()
			return h.Outcomes.Put(ctx, x, expires)
		}
		h.OnGet = func(ctx context.Context, target, id string) (driver.StoredOutcome, error) {
			o, err := h.Outcomes.Get(ctx, target, id)
			mu.Lock()
			defer mu.Unlock()
			if s, ok := shown[id]; ok && err == nil {
				return s, nil
			}
			return o, err
		}
	}
	return []fault{
		{"LosesTheDetail", "Outcomes/EverythingOfAnOutcomeIsKept", putting(func(ctx context.Context, o driver.Outcomes, x driver.StoredOutcome, expires time.Time) error {
			x.Detail = nil
			return o.Put(ctx, x, expires)
		})},
		{"PendingOverwrites", "Outcomes/PendingReplacesNoOtherOutcome", on(func(h *faults.Outcomes, _ *faulty) {
			overwriting(h, func(context.Context, string, string) bool { return true })
		})},
		{"TheFirstOutcomeWins", "Outcomes/AnyOtherOutcomeReplaces", putting(func(ctx context.Context, o driver.Outcomes, x driver.StoredOutcome, expires time.Time) error {
			if old, err := o.Get(ctx, x.Target, x.CommandID); err == nil && old.Kind != driver.Pending {
				return nil
			}
			return o.Put(ctx, x, expires)
		})},
		{"PendingOverwritesNoFailure", "Outcomes/PendingReplacesAnEarlierFailure", putting(func(ctx context.Context, o driver.Outcomes, x driver.StoredOutcome, expires time.Time) error {
			if old, err := o.Get(ctx, x.Target, x.CommandID); err == nil && old.Kind == driver.Failed && x.Kind == driver.Pending {
				return nil
			}
			return o.Put(ctx, x, expires)
		})},
		{"FailureOverwrites", "Outcomes/FailureReplacesNoAcceptance", on(func(h *faults.Outcomes, _ *faulty) {
			var last driver.StoredOutcome
			h.OnPut = func(ctx context.Context, x driver.StoredOutcome, expires time.Time) error {
				last = x
				return h.Outcomes.Put(ctx, x, expires)
			}
			h.OnGet = func(ctx context.Context, target, id string) (driver.StoredOutcome, error) {
				o, err := h.Outcomes.Get(ctx, target, id)
				if err == nil && last.Kind == driver.Failed {
					return last, nil
				}
				return o, err
			}
		})},
		{"IgnoresTheTarget", "Outcomes/TargetsAreKeptApart", putting(func(ctx context.Context, o driver.Outcomes, x driver.StoredOutcome, expires time.Time) error {
			x.Target = "P.Thing"
			return o.Put(ctx, x, expires)
		})},
		{"ChecksThenPuts", "Outcomes/PendingLosesEveryRace", on(func(h *faults.Outcomes, _ *faulty) {
			overwriting(h, func(ctx context.Context, target, id string) bool {
				_, err := h.Outcomes.Get(ctx, target, id)
				others()
				return err != nil
			})
		})},
		{"NothingExpires", "Outcomes/OutcomesExpire", putting(func(ctx context.Context, o driver.Outcomes, x driver.StoredOutcome, expires time.Time) error {
			return o.Put(ctx, x, expires.Add(10000*time.Hour))
		})},
		{"IgnoresTheCase", "Outcomes/CommandIDsAreKeptApart", putting(func(ctx context.Context, o driver.Outcomes, x driver.StoredOutcome, expires time.Time) error {
			x.CommandID = strings.ToLower(x.CommandID)
			return o.Put(ctx, x, expires)
		})},
		{"KeepsWhatItIsGiven", "Outcomes/ArgumentsAreNotKept", on(func(h *faults.Outcomes, _ *faulty) {
			overwriting(h, func(context.Context, string, string) bool { return true })
		})},
		{"ForgetsPendingWhenClosed", "Outcomes/OutcomesSurviveReopening", on(func(h *faults.Outcomes, w *faulty) {
			h.OnGet = func(ctx context.Context, target, id string) (driver.StoredOutcome, error) {
				o, err := h.Outcomes.Get(ctx, target, id)
				if w.session > 1 && o.Kind == driver.Pending {
					return driver.StoredOutcome{}, driver.ErrNotFound
				}
				return o, err
			}
		})},
	}
}
