package host_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/faults"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/readmodel"
)

const (
	secret       = "TOPSECRET"
	secretNumber = "481516234200000000000000" // over the range of an int
)

// picky is a message whose decoder fails with the payload in its error.
type picky struct {
	At Picked `json:"at"`
}

// Picked cannot be decoded.
type Picked struct{}

func (*Picked) UnmarshalJSON(data []byte) error { return fmt.Errorf("cannot read %s", data) }

func (picky) MessageType() string { return "Picky" }
func (picky) isCommand()          {}
func (picky) isEvent()            {}

func TestLogLinesAreBoundedAndHoldNoPayloads(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 20<<10)
	jar := newJar(func(s *jarSpec) {
		s.Commands = message.NewSet[Command](Put{}, Explode{}, Crack{}, Refuse{}, Claim{}, picky{})
		s.Events = message.NewSet[Event](Added{}, Claimed{}, Cracked{}, picky{})
		s.Access = access.Rules{access.Internal} // the API has no type for Picked
		s.Evolve = func(j Jar, e Event) Jar {
			if a, ok := e.(Added); ok && strings.HasPrefix(a.Note, "evolve") {
				panic(fmt.Sprintf("cannot evolve by %+v", e))
			}
			return evolve(j, e)
		}
	})
	bad := func(what string, e jarEvent) {
		if a, ok := e.Data.(Added); ok && a.Note == what+secret {
			panic(fmt.Errorf("cannot %s %+v", what, e.Data))
		}
	}
	model := sums(jar, func(s *readmodel.Spec[SumRow]) {
		s.Projections = []readmodel.Projection[SumRow]{readmodel.On(jar, func(e jarEvent) readmodel.Changes[SumRow] {
			bad("project", e)
			return readmodel.UpdateOrCreate(e.EntityID, SumRow{}, func(*SumRow) { bad("change", e) })
		})}
	})
	automat := rule("Automat", jar, func(e jarEvent) message.Actions {
		bad("react", e)
		return nil
	})
	effect := sideEffect("Effect", func(_ context.Context, _ plugin.Env, e jarEvent) error {
		bad("do", e)
		if a, ok := e.Data.(Added); ok && a.Note == "error"+secret {
			return errors.New(long) // the application chooses the text of its errors, but not its length
		}
		return nil
	}, jar)
	r := start(t, app(jar, model, automat, effect))
	n := 0
	for _, note := range []string{"", "evolve", "project", "change", "react", "do", "error"} {
		n++
		r.enqueue(command(fmt.Sprint(n), "e-"+note, Put{N: 77_777_777, Note: note + secret}))
	}
	raw := func(typ, data string) driver.Command {
		n++
		return driver.Command{Target: "Shop.Jar", Entity: "raw", Type: typ, Version: 1, Data: json.RawMessage(data), Meta: driver.Meta{ID: fmt.Sprint(n)}}
	}
	foreign := raw("Put", `{"n":1}`)
	foreign.Target, foreign.Meta.User = "Shop."+long, long
	deep := raw("Put", `{"n":1}`)
	deep.Type = long
	r.enqueue(
		command("explode", "a", Explode{Text: secret}), command("refuse", "a", Refuse{Code: "No"}),
		raw("Put", `{"n":"`+secret+`"}`), raw("Put", `{"n":`+secretNumber+`}`), raw("Picky", `{"at":"`+secret+`"}`), raw("Put", `"`+secret+`"`),
		foreign, deep,
	)
	r.idle()
	r.store("Shop.Jar", stored("broken", 1, driver.Event{Type: "Picky", Version: 1, Data: []byte(`{"at":"` + secret + `"}`)}))
	r.store("Shop.Jar", stored("broken too", 1, driver.Event{Type: "Added", Version: 1, Data: []byte(`{"n":` + secretNumber + `}`)}))
	r.enqueue(command("on broken", "broken", Put{N: 1}))
	r.faults.Inject(faults.Rule{Op: "QueryDb.Apply", Times: 2, Err: driver.ErrUnavailable})
	r.Wake()
	r.accept("last", jar.To("z", Put{N: 1, Note: secret}))
	r.idle()
	if got := len(r.deadLetters()); got < 12 {
		t.Errorf("got %d dead letters, want 12 or more", got)
	}

	seen := strings.Join(r.lines.all(), "\n")
	for _, hidden := range []string{secret, secretNumber, "77777777"} {
		if i := strings.Index(seen, hidden); i >= 0 {
			t.Errorf("the payload %s is in the log: ...%s...", hidden, seen[max(0, i-300):min(len(seen), i+100)])
		}
	}
	for _, line := range r.lines.all() {
		if len(line) > 6<<10 {
			t.Errorf("a line has %d bytes: %s...", len(line), line[:300])
		}
	}
	// The lines name the event and the place.
	wantText(t, seen, `"msg":"panic"`, "a value of type string", "decideOne decide.go", "host_test.")
	wantText(t, seen, "malformed payload", "Shop.Jar/broken/1.0", `"msg":"parked"`, `"msg":"commit is retried"`, `"msg":"command is retried"`)

	// The dead letters, which are stored with the payloads, contain the whole reason.
	reasons := ""
	for _, l := range r.deadLetters() {
		reasons += l.Reason + "\n"
		if len(l.Reason) > 600 || strings.ContainsAny(l.Reason, "\n\r") || len(l.ID) > 1500 {
			t.Errorf("dead letter %s...: the reason has %d bytes", l.ID[:20], len(l.Reason))
		}
	}
	wantText(t, reasons, "panic: "+secret, secretNumber)
}

func TestRuntimePanicIsLoggedInFull(t *testing.T) {
	t.Parallel()
	jar := newJar(func(s *jarSpec) {
		s.Decide = func(j Jar, c Command) ([]Event, error) {
			var none []Event
			return none[len(c.MessageType()):4], nil
		}
	})
	r := start(t, app(jar))
	if _, err := r.try("1", jar.To("a", Put{N: 1})); err == nil {
		t.Fatal("no error")
	}
	wantText(t, strings.Join(r.lines.all(), "\n"), "slice bounds out of range", "log_test.go")
}

// A command that another program put into the queue can have any id. It is parked under
// an id that every store accepts.
func TestCommandWithAHugeIDIsParkedUnderABoundedID(t *testing.T) {
	t.Parallel()
	r := start(t, app(newJar()), func(s *setup) {})
	huge := strings.Repeat("ü", 500)
	r.enqueue(command(huge, huge, Explode{}), command(huge+"2", huge, Explode{}))
	r.idle()
	letters := r.deadLetters()
	wantEqual(t, "dead letters", len(letters), 2)
	for _, l := range letters {
		if len(l.ID) > 1500 {
			t.Errorf("the dead letter's id has %d bytes", len(l.ID))
		}
		r.discard(l.ID)
	}
	r.wantNothingParked()
}

func TestWaitIdleEndsWithItsContextAndNamesABusyWorker(t *testing.T) {
	t.Parallel()
	jar := newJar()
	block := make(chan struct{})
	r := start(t, app(jar, sideEffect("Slow", func(context.Context, plugin.Env, jarEvent) error {
		<-block
		return nil
	}, jar)))
	r.accept("1", jar.To("a", Put{N: 1}))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	err := r.WaitIdle(ctx)
	wantIs(t, err, context.DeadlineExceeded)
	wantText(t, err.Error(), "Shop.Slow")
	close(block)
	r.idle()
}
