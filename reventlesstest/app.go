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

// App is an App that runs in memory, with everything that a real host runs:
// queues, projections, automations, schedules, tasks. Its clock stands still
// until [App.Advance].
type App struct {
	t     testing.TB
	clock *Clock
	host  *host.Host
}

// idleLimit is how long a test waits for an App to come to rest. It is real
// time and only ever used up by an App that never does.
const idleLimit = 30 * time.Second

// Start runs app in memory until the end of the test.
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

// Send sends a command and returns its outcome; what it leads to has not
// necessarily happened yet. A failure, which is not a rejection, ends the test.
func (a *App) Send(s message.Send) message.Outcome {
	a.t.Helper()
	return a.SendAs("", s)
}

// SendAs is [App.Send] with a command id, the idempotency key.
func (a *App) SendAs(commandID string, s message.Send) message.Outcome {
	a.t.Helper()
	o, err := a.host.SendAction(a.t.Context(), commandID, driver.Meta{}, s.Erased())
	if err != nil {
		a.t.Fatalf("send: %v", err)
	}
	return message.Outcome(o)
}

// WaitIdle returns when nothing is left to do at the present time of the clock.
func (a *App) WaitIdle() {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), idleLimit)
	defer cancel()
	if err := a.host.WaitIdle(ctx); err != nil {
		a.t.Fatalf("the app does not come to rest: %v", err)
	}
}

// Advance moves the clock by d and lets everything happen that becomes due on
// the way, each at its time.
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

// Env opens the App's read models and buckets: views.Orders.Open(app.Env()).
func (a *App) Env() plugin.Env { return a.host.Env() }

// Parked returns what could not be handled.
func (a *App) Parked() []driver.DeadLetter {
	a.t.Helper()
	letters, err := a.host.DeadLetters().List(a.t.Context(), "", "", 1000)
	if err != nil {
		a.t.Fatalf("dead letters: %v", err)
	}
	return letters
}

// Redrive handles a parked letter again; the error is why it fails again.
func (a *App) Redrive(id string) error { return a.host.Redrive(a.t.Context(), id) }
