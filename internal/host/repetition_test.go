package host_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/host"
	"github.com/reventless-go/reventless/internal/ids"
)

// everySo sends commands to an entity, one after each pause.
func (r *run) everySo(pause time.Duration, n int, send func(i int)) {
	for i := range n {
		send(i)
		r.clock.Advance(pause)
	}
}

func TestCommandIsRecognisedForAnHourWhateverHappenedMeanwhile(t *testing.T) {
	t.Parallel()
	for _, every := range []int{30, -1} {
		for _, kind := range []string{"warm", "cold", "without cache"} {
			t.Run(fmt.Sprint(kind, every), func(t *testing.T) {
				t.Parallel()
				jar := newJar(func(s *jarSpec) { s.SnapshotEvery = every })
				r := start(t, app(jar), asleep)
				const n = 700
				r.everySo(5*time.Second, n, func(i int) { r.accept(fmt.Sprint(i), jar.To("a", Put{N: 1})) }) // 3,500 seconds
				next := r
				switch kind {
				case "cold":
					next = start(t, app(jar), on(r), asleep)
				case "without cache":
					next = start(t, app(jar), on(r), asleep, cold)
				}
				for _, i := range []int{0, 300, n - 257, n - 256, n - 1} {
					if o := next.accept(fmt.Sprint(i), jar.To("a", Put{N: 1})); o.SequenceNr != uint64(i+1) {
						t.Errorf("command %d again: it is answered by commit %d, want %d", i, o.SequenceNr, i+1)
					}
				}
				wantEqual(t, "commits", len(r.commits("Shop.Jar", "a")), n)
				next.accept("new", jar.To("a", Put{N: 1}))
				wantEqual(t, "commits", len(r.commits("Shop.Jar", "a")), n+1)
			})
		}
	}
}

func TestCommandWhoseIDHasItsTimeIsRecognisedWithoutLimit(t *testing.T) {
	t.Parallel()
	jar := newJar(func(s *jarSpec) { s.SnapshotEvery = 20 })
	r := start(t, app(jar), asleep)
	first := ids.New(r.clock.Now().Add(-time.Minute)) // the clock of the sender is behind
	r.accept(first, jar.To("a", Put{N: 1}))
	r.everySo(time.Hour, 900, func(i int) { r.accept(ids.New(r.clock.Now()), jar.To("a", Put{N: 1})) })
	again := start(t, app(jar), on(r), asleep)
	for _, next := range []*run{again, r, again} {
		wantEqual(t, "commit", next.accept(first, jar.To("a", Put{N: 1})).SequenceNr, uint64(1))
	}
	wantEqual(t, "commits", len(r.commits("Shop.Jar", "a")), 901)
}

// The clock of a sender may be minutes ahead. An id from the future has no usable time.
func TestCommandOfASenderWhoseClockIsAheadIsRecognised(t *testing.T) {
	t.Parallel()
	jar := newJar(func(s *jarSpec) { s.SnapshotEvery = 20 })
	r := start(t, app(jar), asleep)
	ahead := ids.New(r.clock.Now().Add(4 * time.Minute))
	r.accept(ahead, jar.To("a", Put{N: 1}))
	for range 2 {
		r.everySo(time.Second, 400, func(i int) { r.accept(ids.New(r.clock.Now()), jar.To("a", Put{N: 1})) })
		wantEqual(t, "commit", start(t, app(jar), on(r), asleep).accept(ahead, jar.To("a", Put{N: 1})).SequenceNr, uint64(1))
	}
}

// A sender can choose the time in an id. Old times must not make the host read or remember
// whole streams.
func TestIDWithAChosenPastCostsABoundedNumberOfCommits(t *testing.T) {
	t.Parallel()
	jar := newJar(func(s *jarSpec) { s.SnapshotEvery = 10 })
	r := start(t, app(jar), asleep)
	old := ids.New(r.clock.Now().Add(-time.Hour))
	r.everySo(time.Second, 6000, func(i int) { r.accept(ids.New(r.clock.Now()), jar.To("a", Put{N: 1})) })
	next := start(t, app(jar), on(r), asleep)
	for range 2 {
		read := next.faults.Commits("Shop.Jar")
		if _, err := next.try(old, jar.To("a", Put{N: 1})); !errors.Is(err, host.ErrUnverified) {
			t.Fatalf("an id with an old time: %v, want ErrUnverified", err)
		}
		if n := next.faults.Commits("Shop.Jar") - read; n < 4000 || n > 4800 {
			t.Errorf("it has read %d commits, want about 4,096", n)
		}
		read = next.faults.Commits("Shop.Jar")
		next.accept(ids.New(next.clock.Now()), jar.To("a", Put{N: 1}))
		if n := next.faults.Commits("Shop.Jar") - read; n > 512 {
			t.Errorf("a new command has read %d commits", n)
		}
	}
	// An old id within the bound is answered.
	recent := ids.New(next.clock.Now().Add(-30 * time.Minute))
	wantEqual(t, "events", next.accept(recent, jar.To("a", Put{N: 1})).SequenceNr, uint64(6003))
}

// After a restart, an entity with many commands a second must accept new ones at once.
func TestBusyEntityAcceptsNewCommandsAfterARestart(t *testing.T) {
	t.Parallel()
	jar := newJar(func(s *jarSpec) { s.SnapshotEvery = 50 })
	r := start(t, app(jar), asleep)
	var repeated string
	r.everySo(20*time.Millisecond, 10_000, func(i int) { // 50 a second
		id := ids.New(r.clock.Now())
		if i == 5000 {
			repeated = id
		}
		r.accept(id, jar.To("a", Put{N: 1}))
	})
	next := start(t, app(jar), on(r), asleep)
	wantEqual(t, "commit of a new command", next.accept(ids.New(next.clock.Now()), jar.To("a", Put{N: 1})).SequenceNr, uint64(10_001))
	read := next.faults.Commits("Shop.Jar")
	wantEqual(t, "commit of a repeated command", next.accept(repeated, jar.To("a", Put{N: 1})).SequenceNr, uint64(5001))
	wantEqual(t, "commit of a command without a time", next.accept("untimed", jar.To("a", Put{N: 1})).SequenceNr, uint64(10_002))
	for i := range 3 {
		next.accept(ids.New(next.clock.Now()), jar.To("a", Put{N: i}))
	}
	wantEqual(t, "commits read for later commands", next.faults.Commits("Shop.Jar"), read+1) // the repeated one names its sender
}

func TestColdLoadReadsNothingTwiceForNewCommands(t *testing.T) {
	t.Parallel()
	jar := newJar(func(s *jarSpec) { s.SnapshotEvery = 10 })
	r := start(t, app(jar), asleep)
	r.everySo(2*time.Second, 600, func(i int) { r.accept(ids.New(r.clock.Now()), jar.To("a", Put{N: 1})) })
	next := start(t, app(jar), on(r), asleep)
	for range 3 {
		next.accept(ids.New(next.clock.Now()), jar.To("a", Put{N: 1}))
	}
	wantEqual(t, "calls of Load and Read", fmt.Sprint(next.faults.Calls("EventLog.Load", ""), next.faults.Calls("EventLog.Read", "")), "1 0")
}

// A snapshot that does not say what it remembers does not hide a repetition.
func TestSnapshotWithoutRememberedCommandsHidesNoRepetition(t *testing.T) {
	t.Parallel()
	jar := newJar()
	r := start(t, app(jar), asleep)
	added := driver.Event{Type: "Added", Version: 1, Data: json.RawMessage(`{"n":1}`)}
	first, second := stored("a", 1, added), stored("a", 2, added)
	second.Snapshot = &driver.Snapshot{
		SnapshotHead: driver.SnapshotHead{Shape: jar.Definition().Aggregate.Shape, Folded: []string{"Added/1"}}, State: json.RawMessage(`{"sum":2,"count":2}`),
	}
	r.store("Shop.Jar", first, second)
	wantEqual(t, "commit", r.accept(first.Commands[0].Meta.ID, jar.To("a", Put{N: 1})).SequenceNr, uint64(1))
	wantEqual(t, "commits", len(r.commits("Shop.Jar", "a")), 2)
}

func TestIDOfAnotherCommandIsRefused(t *testing.T) {
	t.Parallel()
	jar := newJar()
	r := start(t, app(jar), asleep)
	send := func(data string) error {
		c := command("1", "a", Put{})
		c.Data = json.RawMessage(data)
		_, err := r.Send(t.Context(), c)
		return err
	}
	if err := send(`{"n":10}`); err != nil {
		t.Fatal(err)
	}
	for _, h := range []*run{r, start(t, app(jar), on(r), asleep)} {
		r = h
		for _, same := range []string{` { "n" : 10 } `, `{"\u006e":10}`} {
			if err := send(same); err != nil {
				t.Errorf("the same command as %s: %v", same, err)
			}
		}
		if err := send(`{"n":11}`); !errors.Is(err, host.ErrReusedID) {
			t.Errorf("another payload: %v, want ErrReusedID", err)
		}
		if _, err := r.try("1", jar.To("a", Claim{By: "ada"})); !errors.Is(err, host.ErrReusedID) {
			t.Errorf("another type: %v, want ErrReusedID", err)
		}
	}
	wantEqual(t, "events", r.history("Shop.Jar", "a"), []string{`Added{"n":10}`})
}
