package host_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/internal/faults"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/readmodel"
)

// added3 is the third shape of Added. The first had {"amount": "7"}, the second
// {"number": 7}.
type added3 struct {
	N    int    `json:"n"`
	Note string `json:"note"`
}

func (added3) MessageType() string { return "Added" }
func (added3) isEvent()            {}

func (added3) Upcasts() map[int]message.Upcast {
	return map[int]message.Upcast{
		1: func(old json.RawMessage) (json.RawMessage, error) {
			var v struct {
				Amount json.Number `json:"amount"`
			}
			if err := json.Unmarshal(old, &v); err != nil {
				return nil, err
			}
			if v.Amount == "" {
				return nil, errors.New("no amount")
			}
			return fmt.Appendf(nil, `{"number":%s}`, v.Amount), nil
		},
		2: func(old json.RawMessage) (json.RawMessage, error) {
			return bytes.Replace(old, []byte(`"number"`), []byte(`"n"`), 1), nil
		},
	}
}

// claimed2 was called Grabbed.
type claimed2 struct {
	By string `json:"by"`
}

func (claimed2) MessageType() string      { return "Claimed" }
func (claimed2) MessageAliases() []string { return []string{"Grabbed"} }
func (claimed2) isEvent()                 {}

// newer returns the current Jar, which reads old events.
func newer(mods ...func(*jarSpec)) *jarAggregate {
	return newJar(append([]func(*jarSpec){func(s *jarSpec) {
		s.Events = message.NewSet[Event](added3{}, claimed2{}, Released{})
		s.StateVersion = 2
		s.Decide = func(j Jar, c Command) ([]Event, error) {
			switch c := c.(type) {
			case Put:
				return []Event{added3(c)}, nil
			case Claim:
				if j.By != "" {
					return nil, message.Reject("Taken", j.By)
				}
				return []Event{claimed2(c)}, nil
			case Refuse: // the rejection contains the state
				return nil, message.Reject("State", j)
			}
			return nil, nil
		}
		s.Evolve = func(j Jar, e Event) Jar {
			switch e := e.(type) {
			case added3:
				return evolve(j, Added(e))
			case claimed2:
				return evolve(j, Claimed(e))
			}
			return evolve(j, e)
		}
	}}, mods...)...)
}

// golden appends the commits of a file to a log.
func (r *run) golden(log, file string) {
	r.t.Helper()
	f, err := os.Open(filepath.Join("testdata", file))
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var stored driver.StoredCommit
		if err := json.Unmarshal(lines.Bytes(), &stored); err != nil {
			r.t.Fatalf("%s: %v", file, err)
		}
		c, err := stored.Commit()
		if err != nil {
			r.t.Fatalf("%s: %v", file, err)
		}
		r.store(log, c)
	}
}

func (r *run) store(log string, commits ...driver.Commit) {
	r.t.Helper()
	l, err := r.memory.OpenEventLog(r.t.Context(), log)
	for _, c := range commits {
		if err == nil {
			err = l.Append(r.t.Context(), c)
		}
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func TestLogOfAnEarlierVersionIsReplayed(t *testing.T) {
	t.Parallel()
	jar := newer()
	totals := readmodel.New(readmodel.Spec[SumRow]{
		Name: "Totals",
		Projections: []readmodel.Projection[SumRow]{readmodel.On(jar, func(e jarEvent) readmodel.Changes[SumRow] {
			if a, ok := e.Data.(added3); ok {
				e.Data = Added(a)
			}
			return addTo(e.EntityID, e)
		})},
	})
	seen := &seen{}
	watch := sideEffect("Watch", seen.effect, jar)
	r := start(t, app(jar, totals, watch), asleep)
	r.golden("Shop.Jar", "earlier/jar.jsonl")
	r.wake()
	r.finish()

	state := func(id string) string { return string(r.send("state of "+id, jar.To(id, Refuse{})).Detail) }
	wantEqual(t, "state of a", state("a"), `{"sum":42,"count":3,"by":"ada"}`)
	wantEqual(t, "state of b", state("b"), `{"sum":1,"count":1,"by":""}`)
	wantRows(r, totals, map[string]SumRow{"a": {42, 3}, "b": {1, 1}})
	wantEqual(t, "events of a", seen.of("a"), []string{"host_test.added3{7 }", "host_test.claimed2{ada}", "host_test.added3{5 }", "host_test.added3{30 new}"})

	// Old commands are recognised, too.
	if o := r.accept("old-2", jar.To("a", Claim{By: "ada"})); o.SequenceNr != 1 || o.EventCount != 1 {
		t.Errorf("repetition of an old command: got %+v", o)
	}
	r.accept("new", jar.To("a", Put{N: 1}))
	c := r.commits("Shop.Jar", "a")
	wantEqual(t, "stored version", c[len(c)-1].Events[0].Version, 3)
}

func TestUnreadableEventFailsOnlyItsEntity(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		event driver.Event
		class error
	}{
		"unknown type":      {driver.Event{Type: "Melted", Version: 1, Data: []byte(`{}`)}, component.ErrUnknownType},
		"future version":    {driver.Event{Type: "Added", Version: 4, Data: []byte(`{}`)}, component.ErrFutureVersion},
		"other shape":       {driver.Event{Type: "Added", Version: 3, Data: []byte(`{"n":"many"}`)}, component.ErrMalformed},
		"upcast that fails": {driver.Event{Type: "Added", Version: 1, Data: []byte(`{}`)}, component.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			jar := newer()
			watch := &seen{}
			r := start(t, app(jar, sideEffect("Watch", watch.effect, jar)), asleep)
			good := driver.Event{Type: "Added", Version: 3, Data: []byte(`{"n":1}`)}
			r.store("Shop.Jar",
				stored("bad", 1, good), stored("good", 1, good), stored("bad", 2, good, tc.event), stored("bad", 3, good), stored("good", 2, good))
			r.work()
			for _, id := range []string{"1", "2"} {
				_, err := r.try(id, jar.To("bad", Put{N: 1}))
				wantIs(t, err, tc.class)
				wantText(t, err.Error(), "Shop.Jar/bad/2.1")
				r.accept("other"+id, jar.To("good", Put{N: 1}))
			}
			r.idle()
			// Its consumer got the events before it, and waits.
			wantEqual(t, "events of the other", len(watch.of("good")), 4)
			wantEqual(t, "events of the entity", len(watch.of("bad")), 1+1*5) // every attempt repeats the first event of commit 2
			l := r.deadLetter()
			if l.Kind != driver.DeadCommit || l.Stream != "bad" || l.SequenceNr != 2 {
				t.Errorf("got dead letter %+v, want commit 2 of bad", l)
			}
			wantText(t, l.Reason, "Shop.Jar/bad/2.1")

			// A queued command is parked, not lost.
			r.enqueue(command("queued", "bad", Put{N: 1}), command("queued too", "good", Put{N: 1}))
			r.idle()
			wantEqual(t, "events of the other", len(watch.of("good")), 5)
			wantEqual(t, "dead letters", len(r.deadLetters()), 2)
		})
	}
}

func stored(stream string, nr uint64, events ...driver.Event) driver.Commit {
	return driver.Commit{
		Stream: stream, SequenceNr: nr, Events: events,
		Commands: []driver.AnsweredCommand{{Meta: driver.Meta{ID: fmt.Sprint(stream, nr)}, EventCount: len(events)}},
	}
}

func TestSnapshotBoundsWhatAColdLoadReads(t *testing.T) {
	t.Parallel()
	const every = 10
	jar := newJar(func(s *jarSpec) { s.SnapshotEvery = every })
	r := start(t, app(jar), asleep)
	total := 0
	for i := range 57 {
		n := 1 + i%3
		r.accept(fmt.Sprint(i), jar.To("a", Burst{N: n}))
		total += n
		again := start(t, app(jar), on(r), asleep)
		before := again.faults.Commits("Shop.Jar")
		if o := again.accept(fmt.Sprint(i), jar.To("a", Burst{N: n})); o.SequenceNr != uint64(i+1) {
			t.Errorf("repetition %d: got %+v", i, o)
		}
		if read := again.faults.Commits("Shop.Jar") - before; read > every {
			t.Errorf("after %d commits a cold load has read %d, want no more than %d", i+1, read, every)
		}
	}
	since, snapshots := 0, 0
	for _, c := range r.commits("Shop.Jar", "a") {
		since += len(c.Events)
		if c.Snapshot != nil {
			snapshots++
			if since < every || since > every+2 {
				t.Errorf("a snapshot after %d events, want one every %d", since, every)
			}
			since = 0
		}
	}
	if want := total / (every + 2); snapshots < want {
		t.Errorf("%d snapshots, want %d or more", snapshots, want)
	}
}

func TestColdHostKeepsTheSnapshotInterval(t *testing.T) {
	t.Parallel()
	jar := newJar(func(s *jarSpec) { s.SnapshotEvery = 5 })
	r := start(t, app(jar), cold, asleep)
	for i := range 23 {
		r.accept(fmt.Sprint(i), jar.To("a", Put{N: 1}))
	}
	for _, c := range r.commits("Shop.Jar", "a") {
		if got, want := c.Snapshot != nil, c.SequenceNr%5 == 0; got != want {
			t.Errorf("commit %d: snapshot %v, want %v", c.SequenceNr, got, want)
		}
	}
}

func TestSnapshotOfAnotherStateVersionIsNotUsed(t *testing.T) {
	t.Parallel()
	for _, raised := range []bool{true, false} {
		t.Run(fmt.Sprint("raised ", raised), func(t *testing.T) {
			t.Parallel()
			every := func(s *jarSpec) { s.SnapshotEvery = 3 }
			before := newJar(every)
			r := start(t, app(before), asleep)
			for i := range 8 {
				r.accept(fmt.Sprint(i), before.To("a", Put{N: 10}))
			}
			// The new Evolve computes another sum.
			after := newJar(every, func(s *jarSpec) {
				if raised {
					s.StateVersion = 1
				}
				s.Evolve = func(j Jar, e Event) Jar {
					j = evolve(j, e)
					j.Sum = j.Count * 100
					return j
				}
				s.Decide = func(j Jar, c Command) ([]Event, error) {
					if _, ok := c.(Refuse); ok {
						return nil, message.Reject("State", j.Sum)
					}
					return decide(j, c)
				}
			})
			next := start(t, app(after), on(r), asleep)
			got := string(next.send("state", after.To("a", Refuse{})).Detail)
			wantEqual(t, "state", got, "800")
			wantEqual(t, "commits read", next.faults.Commits("Shop.Jar"), map[bool]int{true: 8, false: 3}[raised])
			// The new version writes its own snapshots and uses them.
			for i := range 4 {
				next.accept(fmt.Sprint("new", i), after.To("a", Put{N: 1}))
			}
			again := start(t, app(after), on(r), asleep)
			wantEqual(t, "state", string(again.send("state", after.To("a", Refuse{})).Detail), "1200")
			if n := again.faults.Commits("Shop.Jar"); n > 4 {
				t.Errorf("a cold load has read %d commits, want those since the new snapshot", n)
			}
		})
	}
}

func TestReadErrorDoesNotCountAsTheEndOfAStream(t *testing.T) {
	t.Parallel()
	jar := newJar()
	r := start(t, app(jar), cold)
	r.accept("1", jar.To("a", Claim{By: "ada"}))
	r.faults.Inject(faults.Rule{Op: "EventLog.Load", Err: errUnknown})
	if o, err := r.try("2", jar.To("a", Claim{By: "bob"})); !errors.Is(err, errUnknown) {
		t.Errorf("got %+v, %v, want the error of the load", o, err)
	}
	// A read that fails midway does not count as the end of the stream either.
	warm := start(t, app(jar), on(r))
	warm.accept("3", jar.To("a", Put{N: 1}))
	for i := range 5 {
		r.accept(fmt.Sprint("more", i), jar.To("a", Put{N: 1}))
	}
	r.accept("release", jar.To("a", Release{}))
	warm.faults.Inject(faults.Rule{Op: "EventLog.Read", Yield: 3, Err: driver.ErrUnavailable})
	warm.accept("4", jar.To("a", Claim{By: "bob"}))
	wantEqual(t, "claims", strings.Count(fmt.Sprint(r.history("Shop.Jar", "a")), "Claimed"), 2)
}
