package host_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// parked is an App with one dead letter, and what becomes of it.
type parked struct {
	open  func(t *testing.T, with ...func(*setup)) *run
	fix   func()                                  // what parked the message
	send  func(ctx context.Context, r *run) error // sends the message again
	check func(r *run, redriven bool)
}

// parkedCommit has the commit of an entity in the dead letters, and a later one behind it.
func parkedCommit(t *testing.T) (parked, *run) {
	t.Helper()
	f, r := startPoisoned(t)
	return parked{f.start, func() { f.fixed.Store(true) }, nil, func(r *run, redriven bool) {
		r.t.Helper()
		want := map[string]string{"a": "0 2", "b": "0 1 2"}
		if redriven {
			want["a"] = "0 1 2"
		}
		f.wantSeen(r, want)
	}}, r
}

// parkedCommand has the command of an asynchronous aggregate in the dead letters.
func parkedCommand(t *testing.T) (parked, *run) {
	t.Helper()
	var fixed atomic.Bool
	jar := newJar(asynchronous, func(s *jarSpec) {
		s.Decide = func(j Jar, c Command) ([]Event, error) {
			if !fixed.Load() {
				panic("not yet")
			}
			return decide(j, c)
		}
	})
	open := func(t *testing.T, with ...func(*setup)) *run { return start(t, app(jar), with...) }
	r := open(t)
	r.accept("1", jar.To("a", Put{N: 1}))
	r.idle()
	send := func(ctx context.Context, r *run) error {
		_, err := r.SendAction(ctx, "1", driver.Meta{}, jar.To("a", Put{N: 1}).Erased())
		return err
	}
	return parked{open, func() { fixed.Store(true) }, send, func(r *run, redriven bool) {
		r.t.Helper()
		kind, events := driver.Failed, 0
		if redriven {
			kind, events = driver.Accepted, 1
		}
		if o, err := r.Outcome(r.t.Context(), "Shop.Jar", "1"); err != nil || o.Kind != kind {
			r.t.Errorf("the outcome is %+v, %v, want %s", o, err, kind)
		}
		wantEqual(r.t, "events", len(r.history("Shop.Jar", "a")), events)
	}}, r
}

// The process of an operator, or of a sender, ends at each write, before or after it takes
// effect. What was begun can then be repeated until it is done, and is done once.
func TestOperatorsSurviveTheEndOfTheirProcessAtEachWrite(t *testing.T) {
	t.Parallel()
	redrive := func(ctx context.Context, _ parked, r *run, id string) error { return r.Redrive(ctx, id) }
	discard := func(ctx context.Context, _ parked, r *run, id string) error { return r.Discard(ctx, id) }
	send := func(ctx context.Context, p parked, r *run, _ string) error {
		if err := p.send(ctx, r); err != nil {
			return err
		}
		return r.WaitIdle(ctx)
	}
	for _, tt := range []struct {
		name     string
		park     func(*testing.T) (parked, *run)
		operate  func(ctx context.Context, p parked, r *run, id string) error
		redriven bool
		with     func(*setup) // of the process that ends
	}{
		{"redrive a commit", parkedCommit, redrive, true, asleep},
		{"discard a commit", parkedCommit, discard, false, asleep},
		{"redrive a command", parkedCommand, redrive, true, asleep},
		{"discard a command", parkedCommand, discard, false, asleep},
		{"send a command again", parkedCommand, send, true, func(*setup) {}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for at, after := 1, false; ; after = !after {
				p, first := tt.park(t)
				id := first.deadLetter().ID
				first.stop()
				p.fix()

				second := p.open(t, on(first), tt.with)
				ctx, end := context.WithCancel(t.Context())
				second.faults.EndAtWrite(at, after, end)
				err := tt.operate(ctx, p, second, id)
				end()
				ended := second.faults.Ended()
				second.stop()
				if !ended && err != nil {
					t.Errorf("without an end: %v", err)
				}

				first.clock.Advance(10 * time.Minute) // leases of the ended process expire
				third := p.open(t, on(first))
				third.idle()
				if len(third.deadLetters()) > 0 {
					if err := tt.operate(t.Context(), p, third, id); err != nil {
						t.Errorf("repeated after the end at write %d (after it: %t): %v", at, after, err)
					}
				}
				third.finish()
				p.check(third, tt.redriven)
				if t.Failed() {
					t.Fatalf("the end was at write %d (after it: %t)", at, after)
				}
				if !ended {
					if t.Logf("%d writes", at-1); at == 1 {
						t.Error("there was no write")
					}
					return
				}
				if after {
					at++
				}
			}
		})
	}
}
