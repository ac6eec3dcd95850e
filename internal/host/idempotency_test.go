package host_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/faults"
)

func TestCommandDeliveredThreeTimesIsOneCommitAndThreeEqualOutcomes(t *testing.T) {
	t.Parallel()
	for _, w := range lostWays {
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
				if err != nil { // after an unknown failure, the caller repeats the command
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

func TestRandomFaultsNeitherLoseNorRepeatACommand(t *testing.T) {
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
			switch op { // an unsettled delivery stays leased for minutes
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
		one.wantNothingParked()
		for entity, w := range want {
			wantEqual(t, "events of "+entity, one.history("Shop.Jar", entity), w)
		}
	})
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

// The queue recognises a repetition only within five minutes.
func TestSameCommandTwiceInOneBatchRunsOnce(t *testing.T) {
	t.Parallel()
	r := start(t, app(newJar()), asleep)
	var batch []driver.Delivery[driver.Command]
	for i, c := range []driver.Command{command("1", "a", Put{N: 1}), command("1", "a", Put{N: 1}), command("2", "a", Put{N: 2})} {
		batch = append(batch, driver.Delivery[driver.Command]{ID: fmt.Sprint(i), Attempt: 1, Message: c})
	}
	wantEqual(t, "retried", retried(r.HandleCommands(t.Context(), "Shop.Jar", batch)), map[string]bool{"0": false, "1": false, "2": false})
	wantEqual(t, "events", r.history("Shop.Jar", "a"), []string{`Added{"n":1}`, `Added{"n":2}`})
}

// Later commands of an entity do not overtake one that is retried.
func TestRetriedCommandIsNotOvertaken(t *testing.T) {
	t.Parallel()
	failed := false
	r := start(t, app(newJar(func(s *jarSpec) {
		s.Decide = func(j Jar, c Command) ([]Event, error) {
			if c == (Put{N: 2}) && !failed {
				failed = true
				panic("once")
			}
			return decide(j, c)
		}
	})), asleep)
	r.enqueue(command("1", "a", Put{N: 1}), command("2", "a", Put{N: 2}), command("3", "a", Put{N: 3}))
	r.wake()
	r.finish()
	wantEqual(t, "events", r.history("Shop.Jar", "a"), []string{`Added{"n":1}`, `Added{"n":2}`, `Added{"n":3}`})
}
