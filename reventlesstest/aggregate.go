package reventlesstest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/internal/typed"
	"github.com/reventless-go/reventless/message"
)

// AggregateTest tests an aggregate with the history of one entity. [Aggregate] creates
// it.
type AggregateTest[S any, C, E message.Typed] struct {
	story
	spec   aggregate.Spec[S, C, E]
	state  S
	frozen S // the state after a round trip through a snapshot
	answer *answer
	asked  bool // whether a Then has checked the answer
}

// answer is what Decide returned for a command.
type answer struct {
	events    []driver.Event
	rejection *component.Rejection
}

func (a *answer) show() []string {
	if a.rejection != nil {
		return []string{showRejection(a.rejection)}
	}
	return showEvents(a.events)
}

// Aggregate starts a test with an entity that has no events.
func Aggregate[S any, C, E message.Typed](t testing.TB, a *aggregate.Aggregate[S, C, E]) *AggregateTest[S, C, E] {
	t.Helper()
	s := a.Spec()
	out := &AggregateTest[S, C, E]{
		story: story{t: t, name: "aggregate " + s.Name}, spec: s, state: s.Initial, frozen: s.Initial,
	}
	t.Cleanup(func() {
		if !t.Failed() && out.unasked() {
			t.Error(out.text("the command was rejected, and no Then expects it: " + showRejection(out.answer.rejection)))
		}
	})
	return out
}

// Given applies events to the entity.
func (a *AggregateTest[S, C, E]) Given(events ...E) *AggregateTest[S, C, E] {
	a.t.Helper()
	a.settle()
	wires := make([]driver.Event, len(events))
	for i, e := range events {
		var err error
		if wires[i], _, err = throughWire(a.spec.Events.Erased(), e); err != nil {
			a.step("Given")
			a.fatal("event %d: %v", i+1, err)
		}
	}
	a.step("Given", showEvents(wires)...)
	a.apply(wires)
	return a
}

// When sends a command to the entity. If it is accepted, its events are applied to the
// entity before the next step.
func (a *AggregateTest[S, C, E]) When(command C) *AggregateTest[S, C, E] {
	a.t.Helper()
	a.settle()
	wire, _, err := throughWire(a.spec.Commands.Erased(), command)
	if err != nil {
		a.step("When")
		a.fatal("%v", err)
	}
	a.step("When", showEvent(wire))
	a.asked = false
	a.answer = a.decide(a.state, wire, "the result")
	if again := a.decide(a.state, wire, "the second result"); !slices.Equal(a.answer.show(), again.show()) {
		a.t.Fatalf("%s", a.text("Decide is not pure, a second call with the same command returns another result\n"+
			mismatch("first", "second", a.answer.show(), again.show())))
	}
	if cold := a.decide(a.frozen, wire, "the result from a snapshot"); !slices.Equal(a.answer.show(), cold.show()) {
		a.t.Fatalf("%s", a.text("Decide returns another result when the state comes from a snapshot\n"+
			mismatch("from events", "from snapshot", a.answer.show(), cold.show())))
	}
	a.apply(a.answer.events)
	return a
}

// Then expects that the command led to exactly these events, in this order.
func (a *AggregateTest[S, C, E]) Then(events ...E) *AggregateTest[S, C, E] {
	a.t.Helper()
	got := a.ask("Then").show()
	want := make([]string, len(events))
	for i, e := range events {
		wire, err := a.spec.Events.Encode(e)
		if err != nil {
			a.fatal("event %d of Then: %v", i+1, err)
		}
		want[i] = showEvent(wire)
	}
	if !slices.Equal(want, got) {
		a.differs("the result differs", want, got)
	}
	return a
}

// ThenNothing expects that the command was accepted and led to no events.
func (a *AggregateTest[S, C, E]) ThenNothing() *AggregateTest[S, C, E] {
	a.t.Helper()
	return a.Then()
}

// ThenRejected expects that the command was rejected with this code and, if given, this
// detail. An error that is not from [message.Reject] has the code "Rejected".
func (a *AggregateTest[S, C, E]) ThenRejected(code string, detail ...any) *AggregateTest[S, C, E] {
	a.t.Helper()
	got := a.ask("ThenRejected")
	want := &component.Rejection{Code: code, Message: code}
	if len(detail) > 1 {
		a.fatal("ThenRejected takes at most one detail")
	}
	if len(detail) == 1 {
		data, err := json.Marshal(detail[0])
		if err != nil {
			a.fatal("detail of ThenRejected: %v", err)
		}
		want.Detail = data
	}
	r := got.rejection
	if r == nil || r.Code != code || len(detail) == 1 && canonical(r.Detail) != canonical(want.Detail) {
		a.differs("the result differs", []string{showRejection(want)}, got.show())
	}
	return a
}

// ask returns the answer to the last command.
func (a *AggregateTest[S, C, E]) ask(then string) *answer {
	a.t.Helper()
	if a.answer == nil {
		a.fatal("%s needs a When before it", then)
	}
	a.asked = true
	return a.answer
}

// unasked reports whether a rejection has not been checked.
func (a *AggregateTest[S, C, E]) unasked() bool {
	return a.answer != nil && a.answer.rejection != nil && !a.asked
}

// settle ends the previous step.
func (a *AggregateTest[S, C, E]) settle() {
	a.t.Helper()
	if a.unasked() {
		a.fatal("the command was rejected, and no Then expects it: %s", showRejection(a.answer.rejection))
	}
	a.answer = nil
}

// decide runs Decide on state, and checks that it does not change the state.
func (a *AggregateTest[S, C, E]) decide(state S, wire driver.Event, what string) *answer {
	a.t.Helper()
	out, err := decide(&a.spec, state, wire)
	if err != nil {
		a.fatal("%s: %v", what, err)
	}
	return out
}

// apply applies events to the state, and to the state from a snapshot.
func (a *AggregateTest[S, C, E]) apply(events []driver.Event) {
	a.t.Helper()
	for _, wire := range events {
		next, err := evolve(&a.spec, a.state, wire)
		if err != nil {
			a.fatal("%v", err)
		}
		a.state = next
		if a.spec.SnapshotEvery < 0 {
			a.frozen = next
			continue
		}
		if a.frozen, err = evolve(&a.spec, a.frozen, wire); err == nil {
			a.frozen, err = thaw(a.frozen)
		}
		if err != nil {
			a.fatal("the state from a snapshot: %v", err)
		}
		if want, got := dump(reflect.ValueOf(a.state)), dump(reflect.ValueOf(a.frozen)); want != got {
			a.t.Fatalf("%s", a.text("after "+wire.Type+" the state from a snapshot is not the state from the events\n"+
				mismatch("from events", "from snapshot", []string{want}, []string{got})))
		}
	}
}

// decide runs Decide on an encoded command. The error names the rule that Decide violates.
func decide[S any, C, E message.Typed](spec *aggregate.Spec[S, C, E], state S, wire driver.Event) (*answer, error) {
	command, err := spec.Commands.Decode(wire)
	if err != nil {
		return nil, err
	}
	before := dump(reflect.ValueOf(state))
	events, rejected := spec.Decide(state, command)
	if after := dump(reflect.ValueOf(state)); after != before {
		return nil, fmt.Errorf("Decide of %s changes the state that it gets\n%s", wire.Type,
			mismatch("before", "after", []string{before}, []string{after}))
	}
	out := &answer{}
	if rejected != nil {
		if len(events) > 0 {
			return nil, fmt.Errorf("Decide of %s returns %d events together with the rejection %w", wire.Type, len(events), rejected)
		}
		out.rejection, err = typed.Rejection(rejected)
		return out, err
	}
	for i, e := range events {
		event, _, err := throughWire(spec.Events.Erased(), e)
		if err != nil {
			return nil, fmt.Errorf("event %d that Decide of %s returns: %w", i+1, wire.Type, err)
		}
		out.events = append(out.events, event)
	}
	return out, nil
}

// evolve runs Evolve on an encoded event. The error names the rule that Evolve violates.
func evolve[S any, C, E message.Typed](spec *aggregate.Spec[S, C, E], state S, wire driver.Event) (S, error) {
	before := dump(reflect.ValueOf(state))
	results := [2]S{}
	for i := range results {
		event, err := spec.Events.Decode(wire)
		if err != nil {
			return state, err
		}
		results[i] = spec.Evolve(state, event)
		if after := dump(reflect.ValueOf(state)); after != before {
			return state, fmt.Errorf("Evolve of %s changes the state that it gets; copy maps and slices before you change them\n%s", wire.Type,
				mismatch("before", "after", []string{before}, []string{after}))
		}
	}
	first, second := dump(reflect.ValueOf(results[0])), dump(reflect.ValueOf(results[1]))
	if first != second {
		return state, fmt.Errorf("Evolve of %s is not pure: the same event leads to another state the second time\n%s", wire.Type,
			mismatch("first", "second", []string{first}, []string{second}))
	}
	return results[0], nil
}

// thaw returns the state after a round trip through a snapshot.
func thaw[S any](state S) (S, error) {
	var out S
	data, err := json.Marshal(state)
	if err == nil {
		err = json.Unmarshal(data, &out)
	}
	return out, err
}
