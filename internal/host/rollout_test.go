package host_test

import (
	"encoding/json"
	"maps"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/memory"
	"github.com/reventless-go/reventless/internal/host"
	"github.com/reventless-go/reventless/reventlesstest"
)

// During a deployment, processes with old code receive messages that only newer code knows.
// Such a message is retried, and parked when it is older than a deployment takes.
func TestMessageOfNewerCodeIsRetriedDuringARollout(t *testing.T) {
	t.Parallel()
	const rollout = 5 * time.Minute
	clock := reventlesstest.NewClock(time.Time{})
	provider := memory.New(&memory.Options{Now: clock.Now})
	jar := newJar()
	h := open(t, app(jar, sums(jar)), provider, &host.Options{Now: clock.Now, MaxAttempts: 1, Rollout: rollout})
	sent := clock.Now()
	unknown := command("1", "a", Put{N: 1})
	unknown.Type, unknown.Meta.Time = "Unknown", sent
	log, err := provider.OpenEventLog(t.Context(), "Shop.Jar")
	if err != nil {
		t.Fatal(err)
	}
	for stream, e := range map[string]driver.Event{
		"unknown": {Type: "Unknown", Version: 1, Data: json.RawMessage(`{}`)},
		"newer":   {Type: "Added", Version: 99, Data: json.RawMessage(`{}`)},
	} {
		if err := log.Append(t.Context(), driver.Commit{Stream: stream, SequenceNr: 1, Events: []driver.Event{e}, Commands: []driver.AnsweredCommand{{Meta: driver.Meta{ID: stream}, EventCount: 1}}}); err != nil {
			t.Fatal(err)
		}
	}
	handle := func() map[string]bool {
		t.Helper()
		got := map[string]bool{}
		note := func(settlements []driver.Settlement, err error) {
			for _, s := range settlements {
				if s.Retry && s.After == 0 {
					t.Errorf("%s is retried at once", s.ID)
				}
			}
			maps.Copy(got, retried(settlements, err))
		}
		note(h.HandleCommands(t.Context(), "Shop.Jar", []driver.Delivery[driver.Command]{
			{ID: "command", Attempt: 9, Message: unknown}, {ID: "known", Attempt: 1, Message: command("2", "b", Put{N: 1})},
		}))
		// The state of this entity contains an unknown event.
		blocked := command("3", "unknown", Put{N: 1})
		blocked.Meta.Time = sent
		note(h.HandleCommands(t.Context(), "Shop.Jar", []driver.Delivery[driver.Command]{{ID: "state", Attempt: 9, Message: blocked}}))
		note(h.HandleRecords(t.Context(), "Shop.Sums", "Shop.Jar", []driver.Delivery[driver.Record]{record("unknown", 1), record("newer", 1)}))
		note(h.HandleFirings(t.Context(), []driver.Delivery[driver.Firing]{
			{ID: "task", Attempt: 9, Message: driver.Firing{Name: "dynamic/x", Due: sent, Payload: json.RawMessage(`{"task":"Shop.Gone"}`)}},
			{ID: "target", Attempt: 9, Message: driver.Firing{Name: "dynamic/y", Due: sent, Payload: json.RawMessage(`{"commands":[{"target":"Shop.Gone","entity":"a"}]}`)}},
		}), nil)
		return got
	}
	all := func(again bool) map[string]bool {
		return map[string]bool{"command": again, "known": false, "state": again, "unknown1": again, "newer1": again, "task": again, "target": again}
	}
	wantEqual(t, "retried at first", handle(), all(true))
	clock.Advance(rollout - time.Second)
	wantEqual(t, "retried at the end", handle(), all(true))
	wantParked(t, h, 0)
	clock.Advance(time.Second)
	wantEqual(t, "retried afterwards", handle(), all(false))
	future := unknown
	future.Meta = driver.Meta{ID: "future", Time: clock.Now().Add(time.Hour)}
	got := retried(h.HandleCommands(t.Context(), "Shop.Jar", []driver.Delivery[driver.Command]{{ID: "future", Attempt: 1, Message: future}}))
	wantEqual(t, "retried", got, map[string]bool{"future": false})
	wantParked(t, h, 7)
}
