package host_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/memory"
	"github.com/reventless-go/reventless/internal/host"
	"github.com/reventless-go/reventless/reventlesstest"
)

// While a deployment replaces one process after the other, old processes get messages
// that only newer code knows. Such a message is retried, and parked when it is older than
// a deployment takes.
func TestWhatOnlyNewerCodeKnowsWaitsForIt(t *testing.T) {
	t.Parallel()
	const rollout = 5 * time.Minute
	clock := reventlesstest.NewClock(time.Time{})
	provider := memory.New(&memory.Options{Now: clock.Now})
	jar := newJar()
	h := open(t, app(jar, sums(jar)), provider, &host.Options{Now: clock.Now, MaxAttempts: 1, Rollout: rollout})
	sent := clock.Now()
	unheard := command("1", "a", Put{N: 1})
	unheard.Type, unheard.Meta.Time = "Unheard", sent
	log, err := provider.OpenEventLog(t.Context(), "Shop.Jar")
	if err != nil {
		t.Fatal(err)
	}
	for stream, e := range map[string]driver.Event{
		"unheard": {Type: "Unheard", Version: 1, Data: json.RawMessage(`{}`)},
		"newer":   {Type: "Added", Version: 99, Data: json.RawMessage(`{}`)},
	} {
		if err := log.Append(t.Context(), driver.Commit{Stream: stream, SequenceNr: 1, Events: []driver.Event{e}, Commands: []driver.AnsweredCommand{{Meta: driver.Meta{ID: stream}, EventCount: 1}}}); err != nil {
			t.Fatal(err)
		}
	}
	handle := func() map[string]bool {
		t.Helper()
		again := map[string]bool{}
		note := func(settlements []driver.Settlement, err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range settlements {
				if again[s.ID] = s.Retry; s.Retry && s.After == 0 {
					t.Errorf("%s is retried at once", s.ID)
				}
			}
		}
		note(h.HandleCommands(t.Context(), "Shop.Jar", []driver.Delivery[driver.Command]{
			{ID: "command", Attempt: 9, Message: unheard}, {ID: "known", Attempt: 1, Message: command("2", "b", Put{N: 1})},
		}))
		// Its state has what is not known, too.
		blocked := command("3", "unheard", Put{N: 1})
		blocked.Meta.Time = sent
		note(h.HandleCommands(t.Context(), "Shop.Jar", []driver.Delivery[driver.Command]{{ID: "state", Attempt: 9, Message: blocked}}))
		note(h.HandleRecords(t.Context(), "Shop.Sums", "Shop.Jar", []driver.Delivery[driver.Record]{record("unheard", 1), record("newer", 1)}))
		note(h.HandleFirings(t.Context(), []driver.Delivery[driver.Firing]{
			{ID: "task", Attempt: 9, Message: driver.Firing{Name: "dynamic/x", Due: sent, Payload: json.RawMessage(`{"task":"Shop.Gone"}`)}},
			{ID: "target", Attempt: 9, Message: driver.Firing{Name: "dynamic/y", Due: sent, Payload: json.RawMessage(`{"commands":[{"target":"Shop.Gone","entity":"a"}]}`)}},
		}), nil)
		return again
	}
	all := func(again bool) map[string]bool {
		return map[string]bool{"command": again, "known": false, "state": again, "unheard1": again, "newer1": again, "task": again, "target": again}
	}
	wantEqual(t, "retried at first", handle(), all(true))
	clock.Advance(rollout - time.Second)
	wantEqual(t, "retried in the end", handle(), all(true))
	if letters, err := h.DeadLetters().List(t.Context(), "", "", 10); err != nil || len(letters) != 0 {
		t.Errorf("parked are %v, %v, and newer code may come", letters, err)
	}
	clock.Advance(time.Second)
	wantEqual(t, "retried afterwards", handle(), all(false))
	coming := unheard
	coming.Meta = driver.Meta{ID: "coming", Time: clock.Now().Add(time.Hour)}
	settlements, err := h.HandleCommands(t.Context(), "Shop.Jar", []driver.Delivery[driver.Command]{{ID: "coming", Attempt: 1, Message: coming}})
	if err != nil || len(settlements) != 1 || settlements[0].Retry {
		t.Errorf("a command of a time to come is settled by %v, %v, want it parked", settlements, err)
	}
	if letters, err := h.DeadLetters().List(t.Context(), "", "", 10); err != nil || len(letters) != 7 {
		t.Errorf("parked are %d, %v, want all of them", len(letters), err)
	}
}
