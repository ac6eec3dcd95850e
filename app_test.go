package reventless_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/automation"
	"github.com/reventless-go/reventless/counter"
	"github.com/reventless-go/reventless/extension"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/readmodel"
	"github.com/reventless-go/reventless/schedule"
	"github.com/reventless-go/reventless/task"
)

type note interface{ message.Typed }

type written struct {
	Text string `json:"text"`
}

type namesake struct{}

type badVersions struct{}

func (written) MessageType() string  { return "Written" }
func (namesake) MessageType() string { return "Written" }

func (badVersions) MessageType() string             { return "BadVersions" }
func (badVersions) Upcasts() map[int]message.Upcast { return map[int]message.Upcast{2: nil} }
func notes(name string) *aggregate.Aggregate[struct{}, note, note] {
	return aggregate.New(spec[struct{}](name))
}

func spec[S any](name string) aggregate.Spec[S, note, note] {
	return aggregate.Spec[S, note, note]{
		Name: name, Commands: message.NewSet[note](written{}), Events: message.NewSet[note](written{}),
		Decide: func(S, note) ([]note, error) { return nil, nil },
		Evolve: func(s S, _ note) S { return s },
	}
}

type row struct {
	ID    string    `json:"id"`
	Size  int       `json:"size"`
	Tags  []string  `json:"tags"`
	At    time.Time `json:"at"`
	inner string    //nolint:unused // shows that it is not a field of the row
}

func rowsOf(name string, source message.Source[note], edit func(*readmodel.Spec[row])) *readmodel.ReadModel[row] {
	s := readmodel.Spec[row]{
		Name: name,
		Projections: readmodel.Projections[row]{
			readmodel.On(source, func(message.Event[note]) readmodel.Changes[row] { return nil }),
		},
	}
	if edit != nil {
		edit(&s)
	}
	return readmodel.New(s)
}

func app(components ...plugin.Component) {
	reventless.New("test", plugin.New(plugin.Spec{Name: "Main", Components: components}))
}

func nothing(message.Event[note]) message.Actions { return nil }

// A broken declaration panics with a message that names the component.
func TestBrokenDeclarationsNameTheComponent(t *testing.T) {
	t.Parallel()
	point := extension.NewPoint(extension.PointSpec[extension.NoCommand, written]{Name: "Notes", Events: message.NewSet(written{})})
	offer := func(source message.Source[note]) *extension.Offer {
		return extension.NewOffer(point, extension.Publish(point, source, func(message.Event[note]) []written { return nil }))
	}
	created := func(context.Context, plugin.Env, task.Object) (message.Actions, error) { return nil, nil }
	index := func(x ...readmodel.Index) func() {
		return func() { rowsOf("Rows", notes("Note"), func(s *readmodel.Spec[row]) { s.Indexes = x }) }
	}
	for name, tc := range map[string]struct {
		declare func()
		want    []string
	}{
		"two components with the same name": {
			func() { n := notes("Note"); app(n, rowsOf("Note", n, nil)) },
			[]string{"plugin Main", "Note", "Aggregate", "ReadModel"},
		},
		"two plugins with the same name": {
			func() {
				p := func() *plugin.Plugin { return plugin.New(plugin.Spec{Name: "Main"}) }
				reventless.New("test", p(), p())
			},
			[]string{"two plugins are named Main"},
		},
		"a plugin with the platform's name": {
			func() { reventless.New("test", plugin.New(plugin.Spec{Name: "Platform"})) },
			[]string{"two plugins are named Platform"},
		},
		"a nil plugin":    {func() { reventless.New("test", nil) }, []string{"app test", "plugin 1 is nil"}},
		"a nil component": {func() { app(notes("Note"), nil) }, []string{"plugin Main", "component 2 is nil"}},
		"a message type listed twice": {
			func() { message.NewSet[note](written{}, written{}) }, []string{"Written", "written"},
		},
		"two message types with the same name": {
			func() { message.NewSet[note](written{}, namesake{}) }, []string{"Written", "written", "namesake"},
		},
		"a pointer as a member": {
			func() { message.NewSet[note](&written{}) }, []string{"*reventless_test.written"},
		},
		"a missing upcast": {
			func() { message.NewSet[note](badVersions{}) }, []string{"badVersions", "version 1"},
		},
		"an extension of a point that no plugin offers": {
			func() {
				n := notes("Note")
				app(n, extension.New(point, extension.Spec[written]{Name: "Follow", React: func(message.Event[written]) message.Actions { return nil }, Sends: plugin.Components{n}}))
			},
			[]string{"Main.Follow", "extension point Notes", "no plugin offers"},
		},
		"an extension point offered twice": {
			func() {
				a, b := notes("Note"), notes("Note")
				reventless.New("test",
					plugin.New(plugin.Spec{Name: "A", Components: plugin.Components{a, offer(a)}}),
					plugin.New(plugin.Spec{Name: "B", Components: plugin.Components{b, offer(b)}}))
			},
			[]string{"Notes", "A.Notes", "B.Notes"},
		},
		"a source that is in no plugin": {
			func() { app(rowsOf("Rows", notes("Note"), nil)) },
			[]string{"ReadModel Main.Rows", "Aggregate Note", "belongs to no plugin"},
		},
		"a source in another plugin": {
			func() {
				n := notes("Note")
				reventless.New("test",
					plugin.New(plugin.Spec{Name: "A", Components: plugin.Components{n}}),
					plugin.New(plugin.Spec{Name: "B", Components: plugin.Components{rowsOf("Rows", n, nil)}}))
			},
			[]string{"ReadModel B.Rows", "A.Note", "use an extension point"},
		},
		"a component in two plugins": {
			func() {
				n := notes("Note")
				reventless.New("test",
					plugin.New(plugin.Spec{Name: "A", Components: plugin.Components{n}}),
					plugin.New(plugin.Spec{Name: "B", Components: plugin.Components{n}}))
			},
			[]string{"B.Note", "plugin A"},
		},
		"a target that takes no commands": {
			func() {
				n := notes("Note")
				r := rowsOf("Rows", n, nil)
				app(n, r, automation.New(automation.Spec{Name: "React", Rules: automation.Rules{automation.On(n, nothing)}, Sends: plugin.Components{r}}))
			},
			[]string{"Automation Main.React", "Rows", "ReadModel"},
		},
		"a target that is in no plugin": {
			func() {
				n := notes("Note")
				app(n, automation.New(automation.Spec{Name: "React", Rules: automation.Rules{automation.On(n, nothing)}, Sends: plugin.Components{counter.New(counter.Spec{Name: "Count"})}}))
			},
			[]string{"Automation Main.React", "Counter Count"},
		},
		"two tasks on one bucket": {
			func() {
				b := task.NewBucket(task.BucketSpec{Name: "Files"})
				app(b, task.New(task.Spec{Name: "One", Bucket: b, Created: created}), task.New(task.Spec{Name: "Two", Bucket: b, Created: created}))
			},
			[]string{"bucket Files", "Main.One", "Main.Two"},
		},
		"a bucket that is in no plugin": {
			func() {
				app(task.New(task.Spec{Name: "One", Bucket: task.NewBucket(task.BucketSpec{Name: "Files"}), Created: created}))
			},
			[]string{"Task Main.One", "Bucket Files"},
		},
		"a task that does nothing":        {func() { task.New(task.Spec{Name: "Idle"}) }, []string{"task Idle"}},
		"a task without a bucket":         {func() { task.New(task.Spec{Name: "Blind", Created: created}) }, []string{"task Blind", "Bucket"}},
		"an index on an unknown field":    {index(readmodel.Index{Name: "byName", Key: "name"}), []string{"read model Rows", "byName", `"name"`}},
		"an index on an unexported field": {index(readmodel.Index{Name: "byInner", Key: "inner"}), []string{"read model Rows", "byInner"}},
		"an index on a list":              {index(readmodel.Index{Name: "byTags", Key: "tags"}), []string{"read model Rows", "byTags", "[]string"}},
		"a sort on an unknown field":      {index(readmodel.Index{Name: "byID", Key: "id", Sort: "age"}), []string{"read model Rows", "byID", `"age"`}},
		"two indexes with the same name": {
			index(readmodel.Index{Name: "byID", Key: "id"}, readmodel.Index{Name: "byID", Key: "size"}), []string{"read model Rows", "byID"},
		},
		"a sub id that is not a string": {
			func() { rowsOf("Rows", notes("Note"), func(s *readmodel.Spec[row]) { s.SubID = "size" }) }, []string{"read model Rows", `"size"`},
		},
		"a read model without projections": {
			func() { readmodel.New(readmodel.Spec[row]{Name: "Rows"}) }, []string{"read model Rows"},
		},
		"a state that a snapshot would lose": {
			func() { aggregate.New(spec[struct{ secret int }]("Note")) }, []string{"aggregate Note", "State.secret", "not exported"},
		},
		"a state with an interface deep inside": {
			func() { aggregate.New(spec[struct{ M map[string][]struct{ V any } }]("Note")) }, []string{"aggregate Note", "State.M[].V", "interface"},
		},
		"an aggregate without Decide": {
			func() { s := spec[struct{}]("Note"); s.Decide = nil; aggregate.New(s) }, []string{"aggregate Note", "Decide"},
		},
		"an invalid name":             {func() { notes("my notes") }, []string{"Aggregate", "my notes"}},
		"an automation without rules": {func() { automation.New(automation.Spec{Name: "Idle"}) }, []string{"Automation Idle"}},
		"a schedule that is not valid": {
			func() {
				schedule.New(schedule.Spec{Name: "Often", Rate: schedule.Every(time.Second), Send: notes("Note").To("1", written{})})
			}, []string{"schedule Often"},
		},
		"a schedule of a message that is not listed": {
			func() {
				schedule.New(schedule.Spec{Name: "Daily", Rate: schedule.Daily(1, 0, ""), Send: notes("Note").To("1", badVersions{})})
			}, []string{"schedule Daily", "badVersions"},
		},
		"a schedule without a command": {
			func() { schedule.New(schedule.Spec{Name: "Daily", Rate: schedule.Daily(1, 0, "")}) }, []string{"schedule Daily: Send is required"},
		},
		"two findings in one App": {
			func() {
				lost := notes("Lost")
				app(rowsOf("One", lost, nil), rowsOf("Two", lost, nil))
			}, []string{"Main.One", "Main.Two"},
		},
		"a heartbeat in seconds": {
			func() { plugin.New(plugin.Spec{Name: "Main", Heartbeat: 90 * time.Second}) }, []string{"plugin Main", "1m30s"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			defer func() {
				said := fmt.Sprint(recover())
				for _, want := range tc.want {
					if !strings.Contains(said, want) {
						t.Errorf("the panic says %q, want %q in it", said, want)
					}
				}
			}()
			tc.declare()
		})
	}
}

// Components refer to each other by pointer, not by name.
func TestTwoPluginsMayUseTheSameComponentName(t *testing.T) {
	t.Parallel()
	a, b := notes("Note"), notes("Note")
	top := reventless.New("test",
		plugin.New(plugin.Spec{Name: "A", Components: plugin.Components{a, rowsOf("Rows", a, nil)}}),
		plugin.New(plugin.Spec{Name: "B", Components: plugin.Components{b, rowsOf("Rows", b, nil)}})).Topology()
	var got []string
	for _, p := range top.Plugins[:2] {
		for _, c := range p.Components {
			for _, s := range c.Sources {
				got = append(got, c.Name+"<"+s.Log)
			}
		}
	}
	if want := []string{"A.Rows<A.Note", "B.Rows<B.Note"}; !slices.Equal(got, want) {
		t.Errorf("sources = %v, want %v", got, want)
	}
}

func TestTopologyHasTheDocOfEachComponent(t *testing.T) {
	t.Parallel()
	s := spec[struct{}]("Note")
	s.Doc = "Note"
	n := aggregate.New(s)
	point := extension.NewPoint(extension.PointSpec[extension.NoCommand, written]{Name: "Point", Doc: "Point", Events: message.NewSet(written{})})
	described := reventless.New("test", plugin.New(plugin.Spec{Name: "Main", Doc: "Main", Components: plugin.Components{
		n,
		rowsOf("Rows", n, func(s *readmodel.Spec[row]) { s.Doc = "Rows" }),
		automation.New(automation.Spec{Name: "React", Doc: "React", Rules: automation.Rules{automation.On(n, nothing)}}),
		automation.NewSideEffect(automation.SideEffectSpec{
			Name: "Mail", Doc: "Mail",
			Effects: automation.Effects{automation.Do(n, func(context.Context, plugin.Env, message.Event[note]) error { return nil })},
		}),
		counter.New(counter.Spec{Name: "Count", Doc: "Count"}),
		schedule.New(schedule.Spec{Name: "Daily", Doc: "Daily", Rate: schedule.Daily(1, 0, ""), Send: n.To("1", written{})}),
		task.NewBucket(task.BucketSpec{Name: "Files", Doc: "Files"}),
		task.New(task.Spec{
			Name: "Report", Doc: "Report", Rate: schedule.Daily(1, 0, ""),
			Run: func(context.Context, plugin.Env, time.Time) (message.Actions, error) { return nil, nil },
		}),
		extension.NewOffer(point, extension.Publish(point, n, func(message.Event[note]) []written { return nil })),
		extension.New(point, extension.Spec[written]{Name: "Follow", Doc: "Follow", React: func(message.Event[written]) message.Actions { return nil }}),
	}})).Topology()
	for _, c := range described.Plugins[0].Components {
		if c.Name != "Main."+c.Doc {
			t.Errorf("%s %s has the doc %q", c.Kind, c.Name, c.Doc)
		}
	}
}
