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

// stuck is application code that waits for the outside without a bound, until it is
// freed.
type stuck struct {
	freed chan struct{}

	mu     sync.Mutex
	called map[string]int
}

func newStuck() *stuck { return &stuck{freed: make(chan struct{}), called: map[string]int{}} }

// call is called for what is named; what begins with "stuck" waits.
func (s *stuck) call(name string) {
	s.mu.Lock()
	s.called[name]++
	s.mu.Unlock()
	if strings.HasPrefix(name, "stuck") {
		<-s.freed
	}
}

func (s *stuck) calls(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.called[name]
}

// handed calls handle three times with half a minute each, as a function is called. It
// wants what is stuck to be retried until it is parked, and all else to be done at once.
func (s *stuck) handed(t *testing.T, h *host.Host, component string, handle func(ctx context.Context, attempt int) ([]driver.Settlement, error)) {
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
	letters, err := h.DeadLetters().List(t.Context(), component, "", 10)
	if err != nil || len(letters) != 1 || letters[0].Attempts != attempts || !strings.Contains(letters[0].Reason, "did not end") {
		t.Errorf("parked are %+v, %v, want what is stuck, after %d attempts", letters, err, attempts)
	}
}

func openStuck(t *testing.T, components ...plugin.Component) (*host.Host, driver.PullProvider) {
	t.Helper()
	provider := memory.New(nil)
	return open(t, app(components...), provider, nil), provider
}

// Code that does not return is abandoned with its message: the rest of the batch is
// done, and the message is parked in the end. Otherwise a function runs into its timeout
// again and again, and its whole batch ends among the dead letters.
func TestAnEffectThatDoesNotReturnIsAloneWithIt(t *testing.T) {
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
		s.handed(t, h, "Shop.Effect", func(ctx context.Context, _ int) ([]driver.Settlement, error) {
			return h.HandleRecords(ctx, "Shop.Effect", "Shop.Jar", []driver.Delivery[driver.Record]{record("b", 1), record("stuck", 1), record("c", 1)})
		})
		for _, id := range []string{"b", "c"} {
			if n := s.calls(id); n != 1 {
				t.Errorf("%s was called for %d times, want once", id, n)
			}
		}
		// It is redriven, and does not return again: its stream waits as before.
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := h.Redrive(ctx, "commit/Shop.Effect/Shop.Jar/stuck"); err == nil {
			t.Error("it is done, though it does not return")
		}
		if l, err := h.DeadLetters().Get(t.Context(), "commit/Shop.Effect/Shop.Jar/stuck"); err != nil || l.Attempts != 4 {
			t.Errorf("the letter is %+v, %v, want one attempt more", l, err)
		}
		marks, err := provider.OpenWatermarks(t.Context(), "Shop.Effect")
		if err != nil {
			t.Fatal(err)
		}
		if w, err := marks.Watermark(t.Context(), driver.StreamKey{Log: "Shop.Jar", Stream: "stuck"}); err != nil || !w.Blocked {
			t.Errorf("the watermark is %+v, %v, want it blocked", w, err)
		}
		close(s.freed)
		synctest.Wait()
		letters, err := h.DeadLetters().List(t.Context(), "", "", 10)
		if err != nil || len(letters) != 1 {
			t.Errorf("after they returned at last, parked are %v, %v", letters, err)
		}
		before := s.calls("stuck")
		if err := h.Redrive(t.Context(), letters[0].ID); err != nil || s.calls("stuck") != before+1 {
			t.Errorf("redriven it is called %d times more, %v", s.calls("stuck")-before, err)
		}
	})
}

// Code that waits until its context ends has used its time, too. Code that had little
// time has not failed: it is retried without limit.
func TestWhatWaitsForItsTimeToEndIsParkedWhenItHadSome(t *testing.T) {
	t.Parallel()
	for budget, parked := range map[time.Duration]int{30 * time.Second: 1, time.Second: 0} {
		synctest.Test(t, func(t *testing.T) {
			jar := newJar()
			h, _ := openStuck(t, jar, sideEffect("Effect", func(ctx context.Context, _ plugin.Env, _ jarEvent) error {
				<-ctx.Done()
				return fmt.Errorf("ask the outside: %w", ctx.Err())
			}, jar))
			if _, err := h.Send(t.Context(), command("1", "a", Put{N: 1})); err != nil {
				t.Fatal(err)
			}
			for attempt := 1; attempt <= 3; attempt++ {
				ctx, cancel := context.WithTimeout(t.Context(), budget)
				settlements, err := h.HandleRecords(ctx, "Shop.Effect", "Shop.Jar", []driver.Delivery[driver.Record]{record("a", 1)})
				cancel()
				if want := parked == 0 || attempt < 3; err != nil || len(settlements) != 1 || settlements[0].Retry != want {
					t.Errorf("with %v, attempt %d: settled by %v, %v, want it again: %v", budget, attempt, settlements, err, want)
				}
			}
			letters, err := h.DeadLetters().List(t.Context(), "", "", 10)
			if err != nil || len(letters) != parked {
				t.Errorf("with %v, parked are %v, %v, want %d", budget, letters, err, parked)
			}
		})
	}
}

// An error that says that another system is unavailable never leads to parking. Another
// failure after it has all of its attempts left.
func TestNothingIsParkedBecauseAnotherSystemIsUnavailable(t *testing.T) {
	t.Parallel()
	for _, class := range []error{driver.ErrUnavailable, driver.ErrThrottled} {
		const unavailable, attempts = 50, 5
		jar, calls := newJar(), 0
		h, _ := openStuck(t, jar, sideEffect("Effect", func(context.Context, plugin.Env, jarEvent) error {
			if calls++; calls <= unavailable {
				return fmt.Errorf("post the letter: %w", class)
			}
			return errors.New("there is no such address")
		}, jar))
		if _, err := h.Send(t.Context(), command("1", "a", Put{N: 1})); err != nil {
			t.Fatal(err)
		}
		for call := 1; call <= unavailable+attempts; call++ {
			settlements, err := h.HandleRecords(t.Context(), "Shop.Effect", "Shop.Jar", []driver.Delivery[driver.Record]{record("a", 1)})
			if err != nil || len(settlements) != 1 || settlements[0].Retry != (call < unavailable+attempts) {
				t.Fatalf("%v: call %d is settled by %v, %v", class, call, settlements, err)
			}
		}
		letters, err := h.DeadLetters().List(t.Context(), "", "", 10)
		if err != nil || len(letters) != 1 || !strings.Contains(letters[0].Reason, "no such address") {
			t.Errorf("%v: parked are %v, %v, want the one that failed by itself", class, letters, err)
		}
	}
}

// What an automation returns after it was abandoned is not sent. Its next attempt
// sends it.
func TestWhatReturnsTooLateSendsNothing(t *testing.T) {
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
		settlements, err := h.HandleRecords(ctx, "Shop.Rule", "Shop.Jar", []driver.Delivery[driver.Record]{record("stuck", 1)})
		if err != nil || len(settlements) != 1 || !settlements[0].Retry {
			t.Errorf("it is settled by %v, %v, want it again", settlements, err)
		}
		close(s.freed)
		synctest.Wait()
		topic, err := provider.OpenCommandReceiver(t.Context(), "Shop.Crate")
		if err != nil {
			t.Fatal(err)
		}
		sent, err := topic.Receive(t.Context(), 10)
		if err != nil || len(sent.Deliveries) != 0 {
			t.Errorf("sent were %v, %v, want nothing", sent.Deliveries, err)
		}
	})
}

func TestATaskThatDoesNotReturnIsAloneWithIt(t *testing.T) {
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
		s.handed(t, h, "Shop.Reader", func(ctx context.Context, attempt int) ([]driver.Settlement, error) {
			var deliveries []driver.Delivery[driver.ObjectEvent]
			for _, key := range []string{"a", "stuck", "stuck", "b"} {
				id := key
				if len(deliveries) == 2 {
					id = "stuck, too"
				}
				deliveries = append(deliveries, driver.Delivery[driver.ObjectEvent]{
					ID: id, Attempt: attempt, Message: driver.ObjectEvent{Key: key, Kind: driver.ObjectCreated, Version: "1"},
				})
			}
			if attempt == 3 { // the other one of the key waits for it until then
				deliveries = append(deliveries[:2], deliveries[3])
			}
			return h.HandleObjects(ctx, "Shop.Reader", deliveries)
		})
		if n := s.calls("stuck"); n != 3 {
			t.Errorf("it was called for what is stuck %d times, want 3", n)
		}
		for _, key := range []string{"a", "b"} {
			if n := s.calls(key); n != 3 {
				t.Errorf("%s was called for %d times, want as often as it was handed over", key, n)
			}
		}
		close(s.freed)
	})
}

func TestAScheduledTaskThatDoesNotReturnIsAloneWithIt(t *testing.T) {
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
		s.handed(t, h, "Shop.Stuck", func(ctx context.Context, attempt int) ([]driver.Settlement, error) {
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
		close(s.freed)
	})
}

// A host that is closed waits for code that has no deadline.
func TestCloseWaitsForWhatRuns(t *testing.T) {
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
		time.Sleep(time.Hour) //nolint:forbidigo // of the bubble's clock
		select {
		case err := <-closed:
			t.Errorf("it is closed, %v, and the effect runs", err)
		default:
		}
		close(s.freed)
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
}
