package reventless_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/automation"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/readmodel"
	"github.com/reventless-go/reventless/reventlesstest"
	"github.com/reventless-go/reventless/task"
)

// A tally adds up numbers.
type (
	tallyMsg interface{ message.Typed }
	add      struct{ N int }
	added    struct{ N int }
	tally    struct{ Sum int }
)

func (add) MessageType() string   { return "Add" }
func (added) MessageType() string { return "Added" }

func tallySpec(name string) aggregate.Spec[tally, tallyMsg, tallyMsg] {
	return aggregate.Spec[tally, tallyMsg, tallyMsg]{
		Name: name, Commands: message.NewSet[tallyMsg](add{}), Events: message.NewSet[tallyMsg](added{}),
		Decide: func(_ tally, c tallyMsg) ([]tallyMsg, error) {
			return []tallyMsg{added(c.(add))}, nil
		},
		Evolve: func(s tally, e tallyMsg) tally { s.Sum += e.(added).N; return s },
	}
}

type sum struct {
	ID  string `json:"id"`
	Sum int    `json:"sum"`
}

func sumsOf(name string, source message.Source[tallyMsg]) *readmodel.ReadModel[sum] {
	return readmodel.New(readmodel.Spec[sum]{Name: name, Projections: readmodel.Projections[sum]{
		readmodel.On(source, func(e message.Event[tallyMsg]) readmodel.Changes[sum] {
			return readmodel.UpdateOrCreate(e.EntityID, sum{ID: e.EntityID}, func(r *sum) { r.Sum += e.Data.(added).N })
		}),
	}})
}

func in(name string, components ...plugin.Component) *plugin.Plugin {
	return plugin.New(plugin.Spec{Name: name, Components: components, Heartbeat: -1})
}

func want[R comparable](t *testing.T, app *reventlesstest.App, m *readmodel.ReadModel[R], id string, row R) {
	t.Helper()
	app.WaitIdle()
	got, ok, err := m.Open(app.Env()).Get(t.Context(), id)
	var zero R
	if err != nil || ok != (row != zero) || got != row {
		t.Errorf("row %q = %+v, %v, %v, want %+v", id, got, ok, err, row)
	}
}

func TestDelayedCommandRunsAfterItsDelay(t *testing.T) {
	t.Parallel()
	from, to := aggregate.New(tallySpec("From")), aggregate.New(tallySpec("To"))
	sums := sumsOf("Sums", to)
	later := automation.New(automation.Spec{
		Name: "Later",
		Rules: automation.Rules{automation.On(from, func(e message.Event[tallyMsg]) message.Actions {
			return message.Actions{to.To(e.EntityID, add(e.Data.(added))).After(10 * time.Minute)}
		})},
		Sends: plugin.Components{to},
	})
	app := reventlesstest.Start(t, reventless.New("test", in("Main", from, to, sums, later)))
	app.Send(from.To("a", add{3}))
	app.Advance(9 * time.Minute)
	want(t, app, sums, "a", sum{})
	app.Advance(time.Minute)
	want(t, app, sums, "a", sum{"a", 3})
	app.Advance(time.Hour)
	want(t, app, sums, "a", sum{"a", 3})
}

func TestFailingFileIsParkedAndRedriven(t *testing.T) {
	t.Parallel()
	to := aggregate.New(tallySpec("To"))
	sums := sumsOf("Sums", to)
	files := task.NewBucket(task.BucketSpec{Name: "Files"})
	var fixed atomic.Bool
	load := task.New(task.Spec{
		Name: "Load", Bucket: files, Sends: plugin.Components{to},
		Created: func(_ context.Context, _ plugin.Env, o task.Object) (message.Actions, error) {
			if !fixed.Load() {
				return nil, errors.New("unreadable")
			}
			return message.Actions{to.To(o.Key, add{1})}, nil
		},
	})
	app := reventlesstest.Start(t, reventless.New("test", in("Main", to, sums, files, load)))
	if err := files.Open(app.Env()).Put(t.Context(), "bad.txt", strings.NewReader("12345")); err != nil {
		t.Fatal(err)
	}
	app.WaitIdle()
	parked := app.Parked()
	if len(parked) != 1 || parked[0].Kind != driver.DeadObject || parked[0].Stream != "bad.txt" || !strings.Contains(parked[0].Reason, "unreadable") {
		t.Fatalf("parked = %+v, want bad.txt", parked)
	}
	if err := app.Redrive(parked[0].ID); err == nil || len(app.Parked()) != 1 {
		t.Errorf("redrive of a file that still fails: %v, %d dead letters; want an error and one dead letter", err, len(app.Parked()))
	}
	fixed.Store(true)
	if err := app.Redrive(parked[0].ID); err != nil || len(app.Parked()) != 0 {
		t.Errorf("redrive: %v, %d dead letters, want none", err, len(app.Parked()))
	}
	want(t, app, sums, "bad.txt", sum{"bad.txt", 1})
}
