package host_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/internal/faults"
	"github.com/reventless-go/reventless/internal/platform"
	"github.com/reventless-go/reventless/plugin"
)

// beating returns an App with one plugin, which has a heartbeat.
func beating(every time.Duration, components ...plugin.Component) *reventless.App {
	return reventless.New("test", plugin.New(plugin.Spec{Name: "Shop", Heartbeat: every, Components: components}))
}

// life returns the events of the plugin Shop.
func life(r *run) []string {
	r.t.Helper()
	var out []string
	for _, c := range r.commits("Platform.Plugin", "Shop") {
		for _, e := range c.Events {
			out = append(out, e.Type)
		}
	}
	return out
}

func status(r *run) string {
	r.t.Helper()
	return rows(r, platform.Plugins)["Shop"].Status
}

func TestPluginIsDetectedAndStaysConnectedWithItsHeartbeats(t *testing.T) {
	t.Parallel()
	r := start(t, beating(2*time.Minute, newJar()))
	r.idle()
	wantEqual(t, "life", life(r), []string{"PluginDetected", "PluginConnected"})
	r.advance(24 * time.Hour)
	wantEqual(t, "life after a day", life(r), []string{"PluginDetected", "PluginConnected"})
	wantEqual(t, "status", status(r), "connected")
	wantEqual(t, "history", len(rows(r, platform.History)), 2)
	r.wantNothingParked()
}

func TestSilentPluginIsDisconnectedAndReconnects(t *testing.T) {
	t.Parallel()
	r := start(t, beating(2*time.Minute, newJar()))
	r.idle()
	// The host runs on, but without the heartbeat.
	if err := r.Scheduler().Delete(t.Context(), "declared/heartbeat/Shop"); err != nil {
		t.Fatal(err)
	}
	r.advance(2*time.Minute + 30*time.Second)
	wantEqual(t, "status within the grace", status(r), "connected")
	r.advance(time.Minute)
	wantEqual(t, "status after the grace", status(r), "disconnected")
	r.advance(time.Hour)
	wantEqual(t, "life", life(r), []string{"PluginDetected", "PluginConnected", "PluginDisconnected"})

	r.stop()
	again := start(t, beating(2*time.Minute, newJar()), on(r))
	again.idle()
	wantEqual(t, "life", life(again), []string{"PluginDetected", "PluginConnected", "PluginDisconnected", "PluginConnected"})
	wantEqual(t, "status", status(again), "connected")
}

func TestPluginConnectsAgainAfterAPauseAndWithAnotherDefinition(t *testing.T) {
	t.Parallel()
	r := start(t, beating(5*time.Minute, newJar()))
	r.idle()
	r.stop()
	r = start(t, beating(5*time.Minute, newJar()), on(r))
	r.idle()
	wantEqual(t, "life with the same definition", life(r), []string{"PluginDetected", "PluginConnected"})
	r.stop()
	r = start(t, beating(5*time.Minute, newJar(), newJar(named("Crate"))), on(r))
	r.idle()
	wantEqual(t, "life with another definition", life(r), []string{"PluginDetected", "PluginConnected", "PluginConnected"})
	wantEqual(t, "components", rows(r, platform.Plugins)["Shop"].Components, []string{"Jar", "Crate"})
	r.stop()
	r.clock.Advance(time.Hour) // no process runs
	r = start(t, beating(5*time.Minute, newJar(), newJar(named("Crate"))), on(r), asleep)
	// A worker that received the overdue schedule before the heartbeat was sent reported
	// the silence once more after it.
	r.faults.Inject(faults.Rule{Op: "Scheduler.List", Skip: 1, Do: func() {
		for range 10_000 { // time for a worker that runs already
			runtime.Gosched()
		}
	}})
	r.faults.Inject(faults.Rule{Op: "Scheduler.Receive", After: true, Do: func() {
		for r.faults.Calls("CommandTopic.Send", "Platform.Plugin") < 2 {
			runtime.Gosched()
		}
	}})
	r.work()
	wantEqual(t, "life after a pause", life(r)[3:], []string{"PluginDisconnected", "PluginConnected"})
	wantEqual(t, "status after a pause", status(r), "connected")
}

func TestHeartbeatIsRetriedUntilItSucceeds(t *testing.T) {
	t.Parallel()
	for _, w := range lostWays {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, beating(2*time.Minute, newJar()))
			r.idle()
			r.faults.Inject(faults.Rule{Op: "EventLog.Append", Name: "Platform.Plugin", Times: 4, Err: w.err, After: w.after})
			r.faults.Inject(faults.Rule{Op: "CommandTopic.Send", Name: "Platform.Plugin", Times: 4, Err: w.err, After: w.after})
			r.faults.Inject(faults.Rule{Op: "Scheduler.Create", Times: 4, Err: w.err, After: w.after})
			r.advance(20 * time.Minute)
			wantEqual(t, "status", status(r), "connected")
			r.wantNothingParked()
		})
	}
}
