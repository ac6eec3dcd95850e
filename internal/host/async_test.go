package host_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/memory"
	"github.com/reventless-go/reventless/internal/host"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/schedule"
)

func asynchronous(s *jarSpec) { s.Async = true }

func TestAsyncCommandIsPendingThenItsOutcomeIsKept(t *testing.T) {
	t.Parallel()
	jar := newJar(asynchronous)
	r := start(t, app(jar), asleep)
	_, err := r.Outcome(t.Context(), "Shop.Jar", "1")
	wantIs(t, err, driver.ErrNotFound)
	want := driver.Outcome{Kind: driver.Pending, CommandID: "1", EntityID: "a", Target: "Shop.Jar"}
	wantEqual(t, "outcome", r.send("1", jar.To("a", Claim{By: "ada"})), want)
	r.send("2", jar.To("a", Claim{By: "bob"}))
	o, err := r.Outcome(t.Context(), "Shop.Jar", "1")
	if err != nil {
		t.Error(err)
	}
	wantEqual(t, "outcome while it waits", o, want)
	r.work()
	final := driver.Outcome{Kind: driver.Accepted, CommandID: "1", EntityID: "a", Target: "Shop.Jar", SequenceNr: 1, EventCount: 1}
	o, err = r.Outcome(t.Context(), "Shop.Jar", "1")
	if err != nil {
		t.Error(err)
	}
	wantEqual(t, "outcome", o, final)
	// A repetition is pending for the caller; the stored outcome stays.
	wantEqual(t, "outcome of the repetition", r.send("1", jar.To("a", Claim{By: "ada"})), want)
	r.idle()
	o, _ = r.Outcome(t.Context(), "Shop.Jar", "1")
	wantEqual(t, "outcome after the repetition", o, final)
	if o, err := r.Outcome(t.Context(), "Shop.Jar", "2"); err != nil || o.Kind != driver.Rejected || o.Code != "Taken" || string(o.Detail) != `"ada"` {
		t.Errorf("outcome of the rejected command: got %+v, %v", o, err)
	}
	r.advance(25 * time.Hour)
	_, err = r.Outcome(t.Context(), "Shop.Jar", "1")
	wantIs(t, err, driver.ErrNotFound)
}

// A command was parked, and its sender waited for an outcome for ever. The queue took the
// same command, sent again, for a repetition.
func TestParkedCommandHasFailedUntilItIsRedrivenOrSentAgain(t *testing.T) {
	t.Parallel()
	var fixed atomic.Bool
	jar := newJar(asynchronous, func(s *jarSpec) {
		s.Decide = func(j Jar, c Command) ([]Event, error) {
			if !fixed.Load() {
				panic("not yet")
			}
			return decide(j, c)
		}
	})
	r := start(t, app(jar))
	outcome := func(id string, want driver.OutcomeKind) driver.Outcome {
		t.Helper()
		o, err := r.WaitOutcome(t.Context(), "Shop.Jar", id)
		if err != nil || o.Kind != want {
			t.Fatalf("the outcome of %s is %+v, %v, want %s", id, o, err, want)
		}
		return o
	}
	for _, id := range []string{"1", "2"} {
		r.accept(id, jar.To("a", Put{N: 1}))
		wantText(t, outcome(id, driver.Failed).Message, "not yet")
	}
	for range 3 { // within five minutes
		wantEqual(t, "answer", r.send("1", jar.To("a", Put{N: 1})).Kind, driver.Pending)
		outcome("1", driver.Failed)
	}
	r.idle()
	wantEqual(t, "dead letters", len(r.deadLetters()), 2)
	fixed.Store(true)
	r.accept("1", jar.To("a", Put{N: 1}))
	wantEqual(t, "commit", outcome("1", driver.Accepted).SequenceNr, uint64(1))
	r.idle()
	r.redrive(r.deadLetter().ID) // that of the other command
	wantEqual(t, "commit", outcome("2", driver.Accepted).SequenceNr, uint64(2))
	r.wantNothingParked()
	wantEqual(t, "events", len(r.history("Shop.Jar", "a")), 2)
}

func TestIDOfAnotherAsyncCommandIsRefused(t *testing.T) {
	t.Parallel()
	jar, crate := newJar(asynchronous), newJar(asynchronous, named("Crate"))
	r := start(t, app(jar, crate))
	r.accept("1", jar.To("a", Put{N: 1}))
	for _, other := range []message.Send{jar.To("a", Put{N: 2}), jar.To("b", Put{N: 1}), jar.To("a", Burst{N: 1})} {
		_, err := r.try("1", other)
		wantIs(t, err, host.ErrReusedID)
		r.idle()
	}
	r.accept("1", crate.To("a", Put{N: 3})) // another target has ids of its own
	r.finish()
	for target, n := range map[string]int{"Shop.Jar": 1, "Shop.Crate": 3} {
		wantEqual(t, target, r.history(target, "a"), []string{fmt.Sprintf(`Added{"n":%d}`, n)})
		if o, err := r.Outcome(t.Context(), target, "1"); err != nil || o.Kind != driver.Accepted || o.Target != target {
			t.Errorf("the outcome is %+v, %v", o, err)
		}
	}
}

// A synctest bubble fails the test if a goroutine is left, and measures the real
// backoff without waiting.
func TestNoGoroutineIsLeftAfterClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		fails := 0
		jar := newJar(asynchronous, named("Slow"), func(spec *jarSpec) {
			spec.Decide = func(j Jar, c Command) ([]Event, error) {
				if fails++; fails < 4 {
					panic("not yet")
				}
				return decide(j, c)
			}
		})
		inbox := inboxOf(s.jar)
		provider := memory.New(nil)
		all := app(s.jar, s.crate, s.sums, s.totals, s.entries, jar, copying(s.jar, s.crate), inbox.bucket, inbox.task,
			sideEffect("Effect", func(context.Context, plugin.Env, jarEvent) error { return nil }, s.jar),
			schedule.New(schedule.Spec{Name: "Tick", Rate: schedule.Every(time.Hour), Send: jar.To("a", Put{N: 1})}))
		h := open(t, all, provider, nil)
		if err := h.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			if _, err := h.SendAction(t.Context(), "", driver.Meta{}, s.jar.To("a", Put{N: i}).Erased()); err != nil {
				t.Error(err)
			}
			if _, err := h.SendAction(t.Context(), "", driver.Meta{}, jar.To("a", Put{N: i}).Erased()); err != nil {
				t.Error(err)
			}
		}
		began := time.Now()
		if err := h.WaitIdle(t.Context()); err != nil {
			t.Error(err)
		}
		if d := time.Since(began); d < 25*time.Millisecond || d > 10*time.Second {
			t.Errorf("the retries took %v, want some backoff", d)
		}
		time.Sleep(3 * time.Hour) //nolint:forbidigo // the time of the bubble
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		if err := h.WaitIdle(t.Context()); err == nil {
			t.Error("WaitIdle of a closed host: no error")
		}
		if err := h.Close(); err != nil {
			t.Errorf("second close: %v", err)
		}
		n := 0
		log, _ := provider.OpenEventLog(t.Context(), "Shop.Slow")
		for c, err := range log.Read(t.Context(), "a", 0, 0) {
			if err != nil {
				t.Fatal(err)
			}
			n += len(c.Events)
		}
		wantEqual(t, "events", n, 5+3)
	})
}

// If a driver cannot be opened, the error of Open names the component.
func TestOpenNamesTheComponentThatFails(t *testing.T) {
	t.Parallel()
	p := &unopenable{Provider: memory.New(nil)}
	_, err := host.Open(t.Context(), app(newJar(), newJar(named("Crate"))).Assembled(), p, nil)
	wantIs(t, err, driver.ErrNotFound)
	if err == nil || !strings.Contains(err.Error(), "Shop.Crate") {
		t.Errorf("got %v, want it to name Shop.Crate", err)
	}
}

type unopenable struct{ driver.Provider }

func (u *unopenable) OpenEventLog(ctx context.Context, name string) (driver.EventLog, error) {
	if name == "Shop.Crate" {
		return nil, driver.ErrNotFound
	}
	return u.Provider.OpenEventLog(ctx, name)
}
