package reventlesstest

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/memory"
	"github.com/reventless-go/reventless/internal/host"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
)

// App is an application that runs in memory with everything that other hosts run:
// queues, projections, automations, schedules and tasks. Its clock moves only by
// [App.Advance].
type App struct {
	t     testing.TB
	clock *Clock
	host  *host.Host
}

// idleLimit is the time limit of WaitIdle, in real time.
const idleLimit = 30 * time.Second

// Start runs app in memory until the test ends.
func Start(t testing.TB, app *reventless.App) *App {
	t.Helper()
	clock := NewClock(time.Time{})
	provider := memory.New(&memory.Options{Now: clock.Now})
	h, err := host.Open(t.Context(), app.Assembled(), provider, &host.Options{
		Now: clock.Now, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Backoff: func(int) time.Duration { return 0 },
	})
	if err != nil {
		t.Fatalf("start %s: %v", app.Name(), err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("close %s: %v", app.Name(), err)
		}
		if err := provider.Close(); err != nil {
			t.Errorf("close %s: %v", app.Name(), err)
		}
	})
	if err := h.Start(t.Context()); err != nil {
		t.Fatalf("start %s: %v", app.Name(), err)
	}
	a := &App{t, clock, h}
	a.WaitIdle()
	return a
}

// Send sends a command and returns its outcome. Projections and automations may not have
// processed its events yet; see [App.WaitIdle]. An error, which is not a rejection, fails
// the test.
func (a *App) Send(s message.Send) message.Outcome {
	a.t.Helper()
	return a.SendAs("", s)
}

// SendAs is [App.Send] with a command id, the command's idempotency key.
func (a *App) SendAs(commandID string, s message.Send) message.Outcome {
	a.t.Helper()
	o, err := a.host.SendAction(a.t.Context(), commandID, driver.Meta{}, s.Erased())
	if err != nil {
		a.t.Fatalf("send: %v", err)
	}
	return message.Outcome(o)
}

// WaitIdle waits until the App is idle: it has no work at the current time of the
// clock.
func (a *App) WaitIdle() {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), idleLimit)
	defer cancel()
	if err := a.host.WaitIdle(ctx); err != nil {
		a.t.Fatalf("the app does not become idle: %v", err)
	}
}

// Advance moves the clock by d. It stops at each time at which something is due, and
// waits until that is handled.
func (a *App) Advance(d time.Duration) {
	a.t.Helper()
	end := a.clock.Now().Add(d)
	for {
		a.WaitIdle()
		next, ok := a.host.Next()
		if !ok || next.After(end) {
			break
		}
		a.clock.set(later(next, a.clock.Now()))
		a.host.Wake()
	}
	a.clock.set(end)
	a.host.Wake()
	a.WaitIdle()
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Now returns the time of the App's clock.
func (a *App) Now() time.Time { return a.clock.Now() }

// Env returns an env that opens all read models and buckets of the App:
// views.Orders.Open(app.Env()).
func (a *App) Env() plugin.Env { return a.host.Env() }

// Parked returns all dead letters.
func (a *App) Parked() []driver.DeadLetter {
	a.t.Helper()
	letters, err := a.host.DeadLetters().List(a.t.Context(), "", "", 1000)
	if err != nil {
		a.t.Fatalf("dead letters: %v", err)
	}
	return letters
}

// Redrive handles a dead letter again. If that fails, the error says why.
func (a *App) Redrive(id string) error { return a.host.Redrive(a.t.Context(), id) }
