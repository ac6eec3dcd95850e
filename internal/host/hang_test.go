package host_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reventless-go/reventless/automation"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/memory"
	"github.com/reventless-go/reventless/internal/host"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/schedule"
	"github.com/reventless-go/reventless/task"
)

// stuck is application code that waits without a bound, until the test releases it.
type stuck struct {
	released chan struct{}

	mu     sync.Mutex
	called map[string]int
}

func newStuck() *stuck { return &stuck{released: make(chan struct{}), called: map[string]int{}} }

// call counts a call for name. It waits if name begins with "stuck".
func (s *stuck) call(name string) {
	s.mu.Lock()
	s.called[name]++
	s.mu.Unlock()
	if strings.HasPrefix(name, "stuck") {
		<-s.released
	}
}

func (s *stuck) calls(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.called[name]
}

// deliver calls handle three times with half a minute each, like a function. It wants
// stuck messages to be retried until they are parked, and all others to be settled in the
// first call.
func (s *stuck) deliver(t *testing.T, h *host.Host, component string, handle func(ctx context.Context, attempt int) ([]driver.Settlement, error)) {
	t.Helper()
	const attempts, budget = 3, 30 * time.Second
	for attempt := 1; attempt <= attempts; attempt++ {
		ctx, cancel := context.WithTimeout(t.Context(), budget)
		began := time.Now()
		settlements, err := handle(ctx, attempt)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > budget+time.Second {
			t.Errorf("attempt %d took %v of %v", attempt, took, budget)
		}
		for _, got := range settlements {
			if want := strings.HasPrefix(got.ID, "stuck") && attempt < attempts; got.Retry != want {
				t.Errorf("attempt %d: %q is retried: %v, want %v", attempt, got.ID, got.Retry, want)
			}
		}
	}
	l := wantParked(t, h, 1)[0]
	wantEqual(t, "component and attempts", fmt.Sprint(l.Component, l.Attempts), fmt.Sprint(component, attempts))
	wantText(t, l.Reason, "did not end")
}

func openStuck(t *testing.T, components ...plugin.Component) (*host.Host, driver.PullProvider) {
	t.Helper()
	provider := memory.New(nil)
	return open(t, app(components...), provider, nil), provider
}

// Code that does not return is abandoned with its message: the rest of the batch is
// settled, and the message is parked after its last attempt. Otherwise every call of the
// function would time out, and the whole batch would become dead letters.
func TestSideEffectThatDoesNotReturnFailsAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStuck()
		jar := newJar()
		h, provider := openStuck(t, jar, sideEffect("Effect", func(_ context.Context, _ plugin.Env, e jarEvent) error {
			s.call(e.EntityID)
			return nil
		}, jar))
		for _, id := range []string{"stuck", "b", "c"} {
			if _, err := h.Send(t.Context(), command("put "+id, id, Put{N: 1})); err != nil {
				t.Fatal(err)
			}
		}
		s.deliver(t, h, "Shop.Effect", func(ctx context.Context, _ int) ([]driver.Settlement, error) {
			return h.HandleRecords(ctx, "Shop.Effect", "Shop.Jar", []driver.Delivery[driver.Record]{record("b", 1), record("stuck", 1), record("c", 1)})
		})
		for _, id := range []string{"b", "c"} {
			if n := s.calls(id); n != 1 {
				t.Errorf("the effect was called %[2]d times for %[1]s, want once", id, n)
			}
		}
		// After a redrive that does not return either, the stream is still blocked.
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := h.Redrive(ctx, "commit/Shop.Effect/Shop.Jar/stuck"); err == nil {
			t.Error("redrive of an effect that does not return: no error")
		}
		if l, err := h.DeadLetters().Get(t.Context(), "commit/Shop.Effect/Shop.Jar/stuck"); err != nil || l.Attempts != 4 {
			t.Errorf("the dead letter is %+v, %v, want one attempt more", l, err)
		}
		marks, err := provider.OpenWatermarks(t.Context(), "Shop.Effect")
		if err != nil {
			t.Fatal(err)
		}
		if w, err := marks.Watermark(t.Context(), driver.StreamKey{Log: "Shop.Jar", Stream: "stuck"}); err != nil || !w.Blocked {
			t.Errorf("the watermark is %+v, %v, want it blocked", w, err)
		}
		close(s.released)
		synctest.Wait()
		letters := wantParked(t, h, 1)
		before := s.calls("stuck")
		if err := h.Redrive(t.Context(), letters[0].ID); err != nil || s.calls("stuck") != before+1 {
			t.Errorf("after the redrive the effect was called %d times more, %v", s.calls("stuck")-before, err)
		}
	})
}

// Code that waits until its context ends fails. If it had little time, it is retried
// without limit instead.
func TestCodeThatUsesUpItsTimeIsParkedUnlessItHadLittle(t *testing.T) {
	t.Parallel()
	for budget, parked := range map[time.Duration]int{30 * time.Second: 1, time.Second: 0} {
		synctest.Test(t, func(t *testing.T) {
			jar := newJar()
			h, _ := openStuck(t, jar, sideEffect("Effect", func(ctx context.Context, _ plugin.Env, _ jarEvent) error {
				<-ctx.Done()
				return fmt.Errorf("call another system: %w", ctx.Err())
			}, jar))
			if _, err := h.Send(t.Context(), command("1", "a", Put{N: 1})); err != nil {
				t.Fatal(err)
			}
			for attempt := 1; attempt <= 3; attempt++ {
				ctx, cancel := context.WithTimeout(t.Context(), budget)
				got := retried(h.HandleRecords(ctx, "Shop.Effect", "Shop.Jar", []driver.Delivery[driver.Record]{record("a", 1)}))
				cancel()
				wantEqual(t, fmt.Sprint("retried with ", budget), got, map[string]bool{"a1": parked == 0 || attempt < 3})
			}
			wantParked(t, h, parked)
		})
	}
}

// An error that says that another system is unavailable never leads to parking, and does
// not count as an attempt.
func TestUnavailableOtherSystemIsNeverAReasonToPark(t *testing.T) {
	t.Parallel()
	for _, class := range []error{driver.ErrUnavailable, driver.ErrThrottled} {
		const unavailable, attempts = 50, 5
		jar, calls := newJar(), 0
		h, _ := openStuck(t, jar, sideEffect("Effect", func(context.Context, plugin.Env, jarEvent) error {
			if calls++; calls <= unavailable {
				return fmt.Errorf("post the parcel: %w", class)
			}
			return errors.New("there is no such address")
		}, jar))
		if _, err := h.Send(t.Context(), command("1", "a", Put{N: 1})); err != nil {
			t.Fatal(err)
		}
		for call := 1; call <= unavailable+attempts; call++ {
			got := retried(h.HandleRecords(t.Context(), "Shop.Effect", "Shop.Jar", []driver.Delivery[driver.Record]{record("a", 1)}))
			wantEqual(t, "retried", got, map[string]bool{"a1": call < unavailable+attempts})
		}
		wantText(t, wantParked(t, h, 1)[0].Reason, "no such address")
	}
}

// The actions that an automation returns after it was abandoned are not performed. Its
// next attempt performs them.
func TestActionsReturnedAfterTheDeadlineAreNotPerformed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStuck()
		jar, crate := newJar(), newJar(named("Crate"))
		h, provider := openStuck(t, jar, crate, automation.New(automation.Spec{
			Name: "Rule",
			Rules: automation.Rules{automation.OnWith(jar, func(_ context.Context, _ plugin.Env, e jarEvent) (message.Actions, error) {
				s.call(e.EntityID)
				return message.Actions{crate.To(e.EntityID, Put{N: 1})}, nil
			})},
			Sends: plugin.Components{crate},
		}))
		if _, err := h.Send(t.Context(), command("1", "stuck", Put{N: 1})); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		got := retried(h.HandleRecords(ctx, "Shop.Rule", "Shop.Jar", []driver.Delivery[driver.Record]{record("stuck", 1)}))
		wantEqual(t, "retried", got, map[string]bool{"stuck1": true})
		close(s.released)
		synctest.Wait()
		topic, err := provider.OpenCommandReceiver(t.Context(), "Shop.Crate")
		if err != nil {
			t.Fatal(err)
		}
		sent, err := topic.Receive(t.Context(), 10)
		if err != nil || len(sent.Deliveries) != 0 {
			t.Errorf("got the commands %v, %v, want none", sent.Deliveries, err)
		}
	})
}

func TestTaskThatDoesNotReturnFailsAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStuck()
		bucket := task.NewBucket(task.BucketSpec{Name: "Inbox"})
		h, _ := openStuck(t, bucket, task.New(task.Spec{
			Name: "Reader", Bucket: bucket,
			Created: func(_ context.Context, _ plugin.Env, o task.Object) ([]message.Action, error) {
				s.call(o.Key)
				return nil, nil
			},
		}))
		s.deliver(t, h, "Shop.Reader", func(ctx context.Context, attempt int) ([]driver.Settlement, error) {
			var deliveries []driver.Delivery[driver.ObjectEvent]
			for _, key := range []string{"a", "stuck", "stuck", "b"} {
				id := key
				if len(deliveries) == 2 {
					id = "stuck too"
				}
				deliveries = append(deliveries, driver.Delivery[driver.ObjectEvent]{
					ID: id, Attempt: attempt, Message: driver.ObjectEvent{Key: key, Kind: driver.ObjectCreated, Version: "1"},
				})
			}
			if attempt == 3 { // until then the second change of the key waits for the first
				deliveries = append(deliveries[:2], deliveries[3])
			}
			return h.HandleObjects(ctx, "Shop.Reader", deliveries)
		})
		if n := s.calls("stuck"); n != 3 {
			t.Errorf("the task was called %d times for the stuck object, want 3", n)
		}
		for _, key := range []string{"a", "b"} {
			if n := s.calls(key); n != 3 {
				t.Errorf("the task was called %[2]d times for %[1]s, want once for each delivery", key, n)
			}
		}
		close(s.released)
	})
}

func TestScheduledTaskThatDoesNotReturnFailsAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStuck()
		clock := func(name string) *task.Task {
			return task.New(task.Spec{Name: name, Rate: schedule.Every(time.Hour), Run: func(context.Context, plugin.Env, time.Time) ([]message.Action, error) {
				s.call(strings.ToLower(name))
				return nil, nil
			}})
		}
		h, _ := openStuck(t, clock("Stuck"), clock("Other"))
		s.deliver(t, h, "Shop.Stuck", func(ctx context.Context, attempt int) ([]driver.Settlement, error) {
			var deliveries []driver.Delivery[driver.Firing]
			for _, name := range []string{"Stuck", "Other"} {
				firing, err := h.DeclaredFiring("declared/Shop."+name, time.Now())
				if err != nil {
					return nil, err
				}
				deliveries = append(deliveries, driver.Delivery[driver.Firing]{ID: strings.ToLower(name), Attempt: attempt, Message: firing})
			}
			return h.HandleFirings(ctx, deliveries), nil
		})
		close(s.released)
	})
}

// Close waits for code that has no deadline.
func TestCloseWaitsForRunningCode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStuck()
		jar := newJar()
		r := start(t, app(jar, sideEffect("Effect", func(_ context.Context, _ plugin.Env, e jarEvent) error {
			s.call(e.EntityID)
			return nil
		}, jar)))
		if _, err := r.Send(t.Context(), command("1", "stuck", Put{N: 1})); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		closed := make(chan error)
		go func() { closed <- r.Close() }()
		time.Sleep(time.Hour) //nolint:forbidigo // the bubble's time
		select {
		case err := <-closed:
			t.Errorf("the host is closed (%v) while the effect runs", err)
		default:
		}
		close(s.released)
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
}
