package host_test

import (
	"fmt"
	"testing"

	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/message"
)

// tally counts the events of type Added in a state of type S and rejects Refuse with
// the count.
func tally[S any](get func(S) int, set func(int) S, events *message.Set[Event]) *aggregate.Aggregate[S, Command, Event] {
	return aggregate.New(aggregate.Spec[S, Command, Event]{
		Name: "Jar", SnapshotEvery: 5, Events: events,
		Commands: message.NewSet[Command](Put{}, Release{}, Refuse{}),
		Decide: func(s S, c Command) ([]Event, error) {
			switch c := c.(type) {
			case Put:
				return []Event{Added{N: c.N}}, nil
			case Release:
				return []Event{Released{}}, nil
			}
			return nil, message.Reject("State", get(s))
		},
		Evolve: func(s S, e Event) S {
			if _, ok := e.(Added); ok {
				return set(get(s) + 1)
			}
			return set(get(s) + 1000)
		},
	})
}

func TestSnapshotOfARenamedFieldIsNotUsed(t *testing.T) {
	t.Parallel()
	type before struct{ Count int }
	type after struct{ Total int }
	events := message.NewSet[Event](Added{}, Released{})
	old := tally(func(s before) int { return s.Count }, func(n int) before { return before{n} }, events)
	renamed := tally(func(s after) int { return s.Total }, func(n int) after { return after{n} }, events)
	r := start(t, app(old), asleep)
	for i := range 5 {
		r.accept(fmt.Sprint(i), old.To("a", Put{}))
	}
	next := start(t, app(renamed), on(r), asleep)
	wantEqual(t, "state", string(next.send("state", renamed.To("a", Refuse{})).Detail), "5")
	// The next commit has a snapshot, so later cold starts do not fold the whole stream.
	next.accept("5", renamed.To("a", Put{}))
	again := start(t, app(renamed), on(r), asleep)
	wantEqual(t, "state", string(again.send("state", renamed.To("a", Refuse{})).Detail), "6")
	wantEqual(t, "commits read", again.faults.Commits("Shop.Jar"), 1)
	// While both versions run, each passes over the other's snapshots.
	back := start(t, app(old), on(r), asleep)
	wantEqual(t, "state of the old version", string(back.send("state", old.To("a", Refuse{})).Detail), "6")
}

// After a rollback, the snapshot of newer code contains an event that the older code
// cannot read. Without the snapshot the stream is refused, so it is refused with it.
func TestSnapshotOverAnEventOfNewerCodeIsNotUsed(t *testing.T) {
	t.Parallel()
	type state struct{ Count int }
	get, set := func(s state) int { return s.Count }, func(n int) state { return state{n} }
	newer := tally(get, set, message.NewSet[Event](Added{}, Released{}))
	older := tally(get, set, message.NewSet[Event](Added{}))
	r := start(t, app(newer), asleep)
	for i := range 5 {
		r.accept(fmt.Sprint(i), newer.To("a", Put{}))
		r.accept(fmt.Sprint(i), newer.To("b", Put{}))
	}
	rolledBack := start(t, app(older), on(r), asleep)
	r.accept("release", newer.To("a", Release{}))
	for i := range 5 {
		r.accept(fmt.Sprint("more", i), newer.To("a", Put{}))
	}
	_, err := rolledBack.try("state", older.To("a", Refuse{}))
	if err == nil {
		t.Fatal("older code has used a snapshot over an event that it cannot read")
	}
	wantText(t, err.Error(), "Shop.Jar", "a/6.0", "Released", "unknown type")
	// A new type of event discards no snapshot: the newer code uses that of the older.
	wantEqual(t, "state of another stream", string(rolledBack.send("state", older.To("b", Refuse{})).Detail), "5")
	wantEqual(t, "commits read", start(t, app(newer), on(r), asleep).reads(func(n *run) { n.send("state", newer.To("b", Refuse{})) }), 1)
}

// reads returns how many commits f reads.
func (r *run) reads(f func(*run)) int {
	before := r.faults.Commits("Shop.Jar")
	f(r)
	return r.faults.Commits("Shop.Jar") - before
}
