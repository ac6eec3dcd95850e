package host_test

import (
	"context"
	"runtime"
	"testing"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/readmodel"
)

// Code that ends its goroutine, for example by a FailNow of a test library, counts like
// a panic: its message is parked, and everything else goes on.
func TestGoexitInApplicationCodeIsAPanic(t *testing.T) {
	t.Parallel()
	exit := func(id string) {
		if id == "bad" {
			runtime.Goexit()
		}
	}
	jar := newJar(func(s *jarSpec) {
		s.Async = true
		s.Decide = func(j Jar, c Command) ([]Event, error) {
			if _, ok := c.(Explode); ok {
				runtime.Goexit()
			}
			return decide(j, c)
		}
	})
	crate := newJar(func(s *jarSpec) { s.Name = "Crate" })
	model := sums(jar, func(s *readmodel.Spec[SumRow]) {
		s.Projections = []readmodel.Projection[SumRow]{readmodel.On(jar, func(e jarEvent) readmodel.Changes[SumRow] {
			exit(e.EntityID)
			return addTo(e.EntityID, e)
		})}
	})
	follow := rule("Follow", jar, func(e jarEvent) message.Actions {
		exit(e.EntityID)
		return message.Actions{crate.To(e.EntityID, Put{N: 1})}
	}, crate)
	mail := sideEffect("Mail", func(_ context.Context, _ plugin.Env, e jarEvent) error {
		exit(e.EntityID)
		return nil
	}, jar)
	r := start(t, app(jar, crate, model, follow, mail), asleep)
	r.enqueue(command("1", "bad", Put{N: 1}), command("2", "exploding", Explode{}), command("3", "good", Put{N: 3}), command("4", "exploding", Put{N: 4}))
	r.wake()
	r.idle()
	parked := map[string]driver.DeadLetterKind{}
	for _, l := range r.deadLetters() {
		parked[l.Component+" "+l.Stream] = l.Kind
		wantText(t, l.Reason, "Goexit")
		wantEqual(t, "attempts", l.Attempts, 5)
	}
	wantEqual(t, "parked", parked, map[string]driver.DeadLetterKind{
		"Shop.Jar exploding": driver.DeadCommand, "Shop.Sums bad": driver.DeadCommit, "Shop.Follow bad": driver.DeadCommit, "Shop.Mail bad": driver.DeadCommit,
	})
	wantEqual(t, "events after the parked command", r.history("Shop.Jar", "exploding"), []string{`Added{"n":4}`})
	wantEqual(t, "events of the automation", r.history("Shop.Crate", "good"), []string{`Added{"n":1}`})
	db, _ := r.QueryDb("Shop.Sums")
	if _, err := db.LoadRow(t.Context(), driver.Key{ID: "good"}); err != nil {
		t.Errorf("the row of the other entity: %v", err)
	}
}
