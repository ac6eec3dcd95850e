package drivertest

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/faults"
)

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
		{"LosesAcknowledgedCallsDuringClose", "Provider/CloseLosesNoAcknowledgedCall", on(func(l *faults.EventLog, w *faulty) {
			l.OnRead = func(ctx context.Context, stream string, after, through uint64) iter.Seq2[driver.Commit, error] {
				cs, err := stored(l.EventLog.Read(ctx, stream, after, through))
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
