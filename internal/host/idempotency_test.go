package host_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/faults"
)

func TestCommandDeliveredThreeTimesIsOneCommitAndThreeEqualOutcomes(t *testing.T) {
	t.Parallel()
	for _, w := range append(lostWays[:0:0], lostWays...) {
		for _, kind := range []string{"same host", "without cache", "second host", "second host that is warm"} {
			t.Run(w.name+", "+kind, func(t *testing.T) {
				t.Parallel()
				jar := newJar()
				var mods []func(*setup)
				if kind == "without cache" {
					mods = append(mods, cold)
				}
				one := start(t, app(jar), mods...)
				other := one
				one.accept("before", jar.To("a", Put{N: 1}))
				if kind == "second host" || kind == "second host that is warm" {
					other = start(t, app(jar), on(one), asleep)
				}
				if kind == "second host that is warm" {
					other.accept("before", jar.To("a", Put{N: 1}))
				}
				fault := one.faults.Inject(faults.Rule{Op: "EventLog.Append", Key: "a", Err: w.err, After: w.after})
				send := jar.To("a", Burst{N: 3})
				first, err := one.try("1", send)
				if err != nil { // an unknown failure is the caller's to repeat
					first = one.send("1", send)
				}
				want := driver.Outcome{Kind: driver.Accepted, CommandID: "1", EntityID: "a", Target: "Shop.Jar", SequenceNr: 2, EventCount: 3}
				wantEqual(t, "first outcome", first, want)
				wantEqual(t, "second outcome", other.send("1", send), want)
				one.enqueue(command("1", "a", Burst{N: 3}))
				one.idle()
				wantEqual(t, "third outcome", other.send("1", send), want)
				wantEqual(t, "faults", fault.Hits(), 1)
				wantEqual(t, "commits", len(one.commits("Shop.Jar", "a")), 2)
			})
		}
	}
}

// The command is refused on the state that it led to itself: what is remembered
// must be asked first, also by a host that has not seen it.
func TestRedeliveredCommandIsNotRefusedByItsOwnEffect(t *testing.T) {
	t.Parallel()
	jar := newJar()
	one := start(t, app(jar))
	two := start(t, app(jar), on(one), asleep)
	two.send("before", jar.To("a", Release{})) // warm, and out of date
	want := one.accept("1", jar.To("a", Claim{By: "ada"}))
	for i, r := range []*run{one, two, one, two} {
		wantEqual(t, fmt.Sprint("repetition ", i), r.send("1", jar.To("a", Claim{By: "ada"})), want)
	}
}

func TestAnswerThatIsLostWithinAGroupIsFoundForEachCommand(t *testing.T) {
	t.Parallel()
	r := start(t, app(newJar(func(s *jarSpec) { s.Async = true })), asleep)
	r.faults.Inject(faults.Rule{Op: "EventLog.Append", Err: driver.ErrUnavailable, After: true})
	r.enqueue(command("1", "a", Put{N: 1}), command("2", "a", Burst{N: 2}), command("3", "a", Claim{By: "ada"}), command("4", "a", Claim{By: "bob"}))
	r.wake()
	r.idle()
	wantEqual(t, "events", r.history("Shop.Jar", "a"), []string{`Added{"n":1}`, `Added{"n":1}`, `Added{"n":1}`, `Claimed{"by":"ada"}`})
	for id, want := range map[string]string{"1": "Accepted 1", "2": "Accepted 2", "3": "Accepted 1", "4": "Rejected 0"} {
		o, err := r.Outcome(t.Context(), id)
		if got := fmt.Sprint(o.Kind, " ", o.EventCount); err != nil || got != want {
			t.Errorf("outcome of %s: got %s, %v, want %s", id, got, err, want)
		}
	}
}

func TestSameCommandTwiceInOneBatchRunsOnce(t *testing.T) {
	t.Parallel()
	// The queue would recognise the second within five minutes; a queue that was
	// started anew or is another one does not.
	r := start(t, app(newJar()), asleep)
	r.faults.Disturb(faults.Deliveries{Double: 1, Commands: true})
	r.enqueue(command("1", "a", Put{N: 1}), command("2", "a", Put{N: 2}), command("3", "b", Put{N: 3}))
	r.wake()
	r.idle()
	r.noLetters()
	wantEqual(t, "events", r.history("Shop.Jar", "a"), []string{`Added{"n":1}`, `Added{"n":2}`})
	wantEqual(t, "events of the other", r.history("Shop.Jar", "b"), []string{`Added{"n":3}`})
}

func TestRandomFaultsAndRepetitionsLoseAndDoubleNoCommand(t *testing.T) {
	t.Parallel()
	seeds(t, 10, func(t *testing.T, seed uint64, rng *rand.Rand) {
		jar := newJar(func(s *jarSpec) { s.SnapshotEvery = 6 })
		one := start(t, app(jar), asleep)
		two := start(t, app(jar), on(one), asleep)
		one.faults.Disturb(faults.Deliveries{Seed: seed, Double: 0.4, Commands: true})
		for range 25 {
			w, r := lostWays[rng.IntN(len(lostWays))], []*run{one, two}[rng.IntN(2)]
			ops := []string{"EventLog.Append", "EventLog.Append", "EventLog.Load", "EventLog.Read", "CommandTopic.Receive", "CommandTopic.Settle"}
			op := ops[rng.IntN(len(ops))]
			after := w.after
			switch op { // what was handed out and is not settled is held for minutes
			case "CommandTopic.Receive":
				after = false
			case "CommandTopic.Settle":
				after = true
			}
			r.faults.Inject(faults.Rule{Op: op, Name: "Shop.Jar", Skip: rng.IntN(20), Times: 1 + rng.IntN(3), Err: w.err, After: after})
		}
		want := map[string][]string{}
		var batch []driver.Command
		for i := range 120 {
			entity := fmt.Sprint("jar", rng.IntN(4))
			batch = append(batch, command(fmt.Sprint(i), entity, Put{N: i}))
			want[entity] = append(want[entity], fmt.Sprintf(`Added{"n":%d}`, i))
		}
		one.wake()
		two.wake()
		for len(batch) > 0 {
			n := min(1+rng.IntN(20), len(batch))
			one.enqueue(batch[:n]...)
			batch = batch[n:]
		}
		rest(one, two)
		one.noLetters()
		for entity, w := range want {
			wantEqual(t, "events of "+entity, one.history("Shop.Jar", entity), w)
		}
	})
}

func TestBatchWhoseSettlementIsLostComesAgainAndRunsOnce(t *testing.T) {
	t.Parallel()
	r := start(t, app(newJar()), asleep)
	r.faults.Inject(faults.Rule{Op: "CommandTopic.Settle", Name: "Shop.Jar", Err: driver.ErrUnavailable})
	r.enqueue(command("1", "a", Put{N: 1}), command("2", "b", Put{N: 2}), command("3", "a", Put{N: 3}))
	r.wake()
	r.untilHeld()
	r.clock.Advance(6 * time.Minute)
	r.Wake()
	r.idle()
	wantEqual(t, "events", r.history("Shop.Jar", "a"), []string{`Added{"n":1}`, `Added{"n":3}`})
	wantEqual(t, "events of the other", r.history("Shop.Jar", "b"), []string{`Added{"n":2}`})
	wantEqual(t, "batches", r.faults.Calls("CommandTopic.Settle", "Shop.Jar"), 2)
}

func TestHostFarBehindCatchesUpInOneRead(t *testing.T) {
	t.Parallel()
	jar := newJar()
	one := start(t, app(jar), asleep)
	two := start(t, app(jar), on(one), asleep)
	one.accept("first", jar.To("a", Put{N: 1}))
	for i := range 40 {
		two.accept(fmt.Sprint(i), jar.To("a", Put{N: 1}))
	}
	appends := one.faults.Calls("EventLog.Append", "Shop.Jar")
	one.accept("last", jar.To("a", Put{N: 1}))
	if n := one.faults.Calls("EventLog.Append", "Shop.Jar") - appends; n > 3 {
		t.Errorf("%d appends, want no more than 3", n)
	}
	wantEqual(t, "reads", one.faults.Calls("EventLog.Read", "Shop.Jar"), 1)
	wantEqual(t, "commits", len(one.commits("Shop.Jar", "a")), 42)
}
