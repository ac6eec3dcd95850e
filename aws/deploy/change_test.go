package deploy

import (
	"slices"
	"strings"
	"testing"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/readmodel"
)

type (
	command interface {
		message.Typed
		isCommand()
	}
	event interface {
		message.Typed
		isEvent()
	}
	set   struct{ Name, Group string }
	isSet struct{ Name, Group string }
	state struct{ Name string }
	row   struct {
		Name  string `json:"name"`
		Group string `json:"group"`
	}
)

func (set) MessageType() string   { return "Set" }
func (set) isCommand()            {}
func (isSet) MessageType() string { return "IsSet" }
func (isSet) isEvent()            {}

// declared returns an App with an aggregate and read models of it, declared as in an
// application.
func declared(name string, models ...readmodel.Spec[row]) *reventless.App {
	item := aggregate.New(aggregate.Spec[state, command, event]{
		Name: name, Commands: message.NewSet[command](set{}), Events: message.NewSet[event](isSet{}),
		Decide: func(_ state, c command) ([]event, error) { return []event{isSet(c.(set))}, nil },
		Evolve: func(_ state, e event) state { return state{e.(isSet).Name} },
	})
	components := plugin.Components{item}
	for _, m := range models {
		m.Projections = readmodel.Projections[row]{readmodel.On(item, func(e message.Event[event]) readmodel.Changes[row] {
			return readmodel.Put(e.EntityID, row{})
		})}
		components = append(components, readmodel.New(m))
	}
	return reventless.New("app", plugin.New(plugin.Spec{Name: "P", Heartbeat: -1, Components: components}))
}

// change returns the differences between the graphs of two Apps, one per line. An added
// or removed resource is one line without its properties.
func change(t *testing.T, a, b *reventless.App, args ...*AppArgs) []string {
	t.Helper()
	of := [2]*AppArgs{}
	copy(of[:], args)
	left, right := graphOf(t, a, of[0]).String(), graphOf(t, b, of[1]).String()
	has := func(all string, line string) bool {
		_, name, _ := strings.Cut(line, " ")
		resource, _, _ := strings.Cut(name, ": ")
		return strings.HasPrefix(all, resource+"\n") || strings.Contains(all, "\n"+resource+"\n")
	}
	var out []string
	for _, line := range diff(left, right) {
		switch whole := strings.HasSuffix(line, ": resource"); {
		case whole:
			out = append(out, strings.TrimSuffix(line, ": resource"))
		case has(left, line) && has(right, line):
			out = append(out, line)
		}
	}
	slices.Sort(out)
	return out
}

// Renaming an aggregate would orphan its log. Pulumi refuses to delete the protected
// table. If there is a stateful file, the deploy program already refuses the rename.
func TestChangeRenamedAggregate(t *testing.T) {
	t.Parallel()
	a, b := declared("Item"), declared("Thing")
	got := change(t, a, b)
	for _, want := range []string{"- aws:dynamodb/table:Table app-P.Item-log", "+ aws:dynamodb/table:Table app-P.Thing-log"} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is not in\n%s", want, strings.Join(got, "\n"))
		}
	}
	if x := find(t, graphOf(t, a, nil), tableType, "app-P.Item-log"); !x.Protect || x.Inputs["deletionProtectionEnabled"] != true {
		t.Errorf("%s is not protected from deletion", x)
	}
	args := &AppArgs{Stateful: t.TempDir() + "/stateful.json"}
	graphOf(t, a, args)
	refused(t, b.Topology(), args, nil, "P.Item (Aggregate) has events")
}

// A change of the strategy affects functions, but neither data nor queues.
func TestChangeStrategy(t *testing.T) {
	t.Parallel()
	a := func() *reventless.App {
		return declared("Item", readmodel.Spec[row]{Name: "A"}, readmodel.Spec[row]{Name: "B"})
	}
	for _, line := range change(t, a(), a(), &AppArgs{}, &AppArgs{Strategy: PerComponent}) {
		ofFunctions := false
		for _, kind := range []string{"logGroup", "metricAlarm", "role:", "rolePolicy", "function:", "eventSourceMapping", "aws:Runtime"} {
			ofFunctions = ofFunctions || strings.Contains(strings.SplitN(line, " ", 3)[1], kind)
		}
		if !ofFunctions || strings.Contains(line, "dlq") {
			t.Errorf("the strategy also changes %s", line)
		}
	}
}
