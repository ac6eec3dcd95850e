package host_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/automation"
	"github.com/reventless-go/reventless/counter"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/faults"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/readmodel"
	"github.com/reventless-go/reventless/schedule"
)

// copying copies what is put into a jar to a crate of the same name.
func copying(jar, crate *jarAggregate) *automation.Automation {
	return rule("Copying", jar, func(e jarEvent) message.Actions {
		if a, ok := e.Data.(Added); ok {
			return message.Actions{crate.To(e.EntityID, Put(a))}
		}
		return nil
	}, crate)
}

// wantCopies checks that each crate has what its jar has, in the same order.
func wantCopies(r *run) {
	r.t.Helper()
	streams := map[string]bool{}
	for _, c := range r.commits("Shop.Jar", "") {
		streams[c.Stream] = true
	}
	for id := range streams {
		added := func(log string) (out []string) {
			for _, e := range r.history(log, id) {
				if strings.HasPrefix(e, "Added") {
					out = append(out, e)
				}
			}
			return out
		}
		wantEqual(r.t, "events of crate "+id, added("Shop.Crate"), added("Shop.Jar"))
	}
}

func TestAutomationSendsOncePerEventWhateverTheTransportDoes(t *testing.T) {
	t.Parallel()
	seeds(t, 10, func(t *testing.T, seed uint64, rng *rand.Rand) {
		jar, crate := newJar(), newJar(named("Crate"))
		r := start(t, app(jar, crate, copying(jar, crate)))
		d := disturbed(seed, rng)
		d.Commands = true
		r.faults.Disturb(d)
		ops := []string{
			"CommandTopic.Send", "CommandTopic.Send", "Watermarks.Advance", "Watermarks.Watermarks", "EventLog.Append",
			"EventLog.Read", "EventCollector.Receive",
		}
		for range 30 {
			w, op := lostWays[rng.IntN(len(lostWays))], ops[rng.IntN(len(ops))]
			r.faults.Inject(faults.Rule{
				Op: op, Skip: rng.IntN(25), Times: 1 + rng.IntN(3), Err: w.err, After: w.after && op != "EventCollector.Receive",
			})
		}
		for _, id := range []string{"a", "b", "c"} { // sends of these entities fail within a batch
			r.faults.Inject(faults.Rule{Op: "CommandTopic.Send", Key: id, Member: true, Skip: rng.IntN(10), Times: 2, Err: driver.ErrThrottled})
		}
		for i := range 60 {
			c := Command(Put{N: i})
			if i%7 == 0 {
				c = Burst{N: 1 + i%3}
			}
			r.insist(fmt.Sprint(i), jar.To(string("abc"[i%3]), c))
		}
		r.idle()
		r.faults.Calm()
		for i, id := range []string{"a", "b", "c"} {
			r.insist(fmt.Sprint("last", i), jar.To(id, Put{N: 1000}))
		}
		r.finish()
		wantCopies(r)
	})
}

func TestActionForAnUndeclaredTargetIsParkedWithBothNames(t *testing.T) {
	t.Parallel()
	jar, crate, box := newJar(), newJar(named("Crate")), newJar(named("Box"))
	count := counter.New(counter.Spec{Name: "Parcels"})
	for name, act := range map[string]func(id string) message.Action{
		"Crate":   func(id string) message.Action { return crate.To(id, Put{N: 1}) },
		"Parcels": func(id string) message.Action { return count.Count(id, "ref", 1) },
		"Box": func(id string) message.Action {
			return schedule.Create("s", schedule.Every(time.Hour), box.To(id, Put{N: 1}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, app(jar, crate, box, count, rule("Sneaky", jar, func(e jarEvent) message.Actions {
				return message.Actions{act(e.EntityID)}
			}, jar)))
			r.accept("1", jar.To("a", Put{N: 1}))
			r.idle()
			wantText(t, r.deadLetter().Reason, "Shop.Sneaky", name)
			wantEqual(t, "commits", len(r.commits("Shop.Crate", ""))+len(r.commits("Shop.Box", "")), 0)
		})
	}
}

func TestReadModelThatIsNotDeclaredCannotBeOpened(t *testing.T) {
	t.Parallel()
	jar := newJar()
	declared := sums(jar)
	hidden := sums(jar, func(s *readmodel.Spec[SumRow]) { s.Name = "Hidden" })
	opens := func(name string, m *readmodel.ReadModel[SumRow]) *automation.Automation {
		return automation.New(automation.Spec{
			Name: name,
			Rules: automation.Rules{automation.OnWith(jar, func(ctx context.Context, env plugin.Env, e jarEvent) (message.Actions, error) {
				_, _, err := m.Open(env).Get(ctx, e.EntityID)
				return nil, err
			})},
			Uses: plugin.Components{declared},
		})
	}
	r := start(t, app(jar, declared, hidden, opens("Open", declared), opens("Peeping", hidden)))
	r.accept("1", jar.To("a", Put{N: 1}))
	r.idle()
	l := r.deadLetter()
	wantEqual(t, "component", l.Component, "Shop.Peeping")
	wantText(t, l.Reason, "Shop.Peeping", "Hidden")
}

func TestFailingEventBlocksOnlyItsStreamOfTheAutomation(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"error", "panic", "bad action", "oversized send"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			var fixed atomic.Bool
			jar, crate := newJar(), newJar(named("Crate"))
			other := &seen{}
			bad := automation.New(automation.Spec{
				Name: "Bad",
				Rules: automation.Rules{automation.OnWith(jar, func(_ context.Context, _ plugin.Env, e jarEvent) (message.Actions, error) {
					a := e.Data.(Added)
					if a.Note == "poison" && !fixed.Load() {
						switch kind {
						case "error":
							return nil, errors.New("no idea")
						case "panic":
							panic("poison")
						case "bad action":
							return message.Actions{crate.To("", Put{N: 1})}, nil
						default:
							return message.Actions{crate.To(e.EntityID, Put{Note: strings.Repeat("x", 20<<10)})}, nil
						}
					}
					return message.Actions{crate.To(e.EntityID, Put{N: a.N})}, nil
				})},
				Sends: plugin.Components{crate},
			})
			r := start(t, app(jar, crate, bad, sideEffect("Other", other.effect, jar)),
				limited(driver.Limits{MaxCommandBytes: 10 << 10}), asleep)
			for i := range 4 {
				note := ""
				if i == 1 {
					note = "poison"
				}
				r.accept(fmt.Sprint("a", i), jar.To("a", Put{N: i, Note: note}))
				r.accept(fmt.Sprint("b", i), jar.To("b", Put{N: i}))
			}
			r.work()
			wantEqual(t, "of the stream", r.history("Shop.Crate", "a"), []string{`Added{"n":0}`})
			wantEqual(t, "of the other", len(r.history("Shop.Crate", "b")), 4)
			wantEqual(t, "of the sibling", len(other.of("a")), 4)
			l := r.deadLetter()
			if l.Component != "Shop.Bad" || l.Stream != "a" || l.SequenceNr != 2 || l.Attempts != 5 {
				t.Errorf("got dead letter %+v", l)
			}
			fixed.Store(true)
			r.redrive(l.ID)
			r.finish()
			wantEqual(t, "of the stream", len(r.history("Shop.Crate", "a")), 4)
			wantEqual(t, "of the sibling", len(other.of("a")), 4)
		})
	}
}

func TestSideEffectIsSequentialPerStreamWithStableKeys(t *testing.T) {
	t.Parallel()
	jar := newJar()
	var running, overlaps atomic.Int64
	fails := map[string]int{}
	s := &seen{}
	s.fail = func(e jarEvent) error { // under the lock of seen
		key := e.Meta.ID
		if fails[key]++; fails[key] <= 2 && e.Data.(Added).N%3 == 0 {
			return errors.New("the other system is unavailable")
		}
		return nil
	}
	busy := map[string]*atomic.Int64{"a": {}, "b": {}, "c": {}}
	effect := func(ctx context.Context, env plugin.Env, e jarEvent) error {
		running.Add(1)
		if busy[e.EntityID].Add(1) > 1 {
			overlaps.Add(1)
		}
		defer busy[e.EntityID].Add(-1)
		return s.effect(ctx, env, e)
	}
	r := start(t, app(jar, sideEffect("Effect", effect, jar)), asleep)
	for i := range 12 {
		r.accept(fmt.Sprint(i), jar.To(string("abc"[i%3]), Put{N: i}))
	}
	r.faults.Disturb(faults.Deliveries{Seed: 5, Double: 0.5, Shuffle: true})
	r.faults.Inject(faults.Rule{Op: "Watermarks.Advance", Name: "Shop.Effect", Skip: 2, Times: 2, Err: driver.ErrUnavailable})
	r.wake()
	r.finish()
	if overlaps.Load() > 0 {
		t.Errorf("%d calls of one stream ran at the same time", overlaps.Load())
	}
	for _, id := range []string{"a", "b", "c"} {
		// Each key is the event's id; the calls with one key are consecutive.
		var distinct []string
		for _, k := range s.keysOf(id) {
			if len(distinct) == 0 || distinct[len(distinct)-1] != k {
				distinct = append(distinct, k)
			}
		}
		want := []string{}
		for n := 1; n <= 4; n++ {
			want = append(want, fmt.Sprintf("Shop.Jar/%s/%d.0", id, n))
		}
		wantEqual(t, "keys of "+id, distinct, want)
	}
}

func TestDelayedCommandIsSentOnceAtItsTimeAcrossRestarts(t *testing.T) {
	t.Parallel()
	jar, crate := newJar(), newJar(named("Crate"))
	later := automation.New(automation.Spec{
		Name: "Later",
		Rules: automation.Rules{automation.On(jar, func(e jarEvent) message.Actions {
			return message.Actions{crate.To(e.EntityID, Put{N: 1}).After(10 * time.Minute), crate.To(e.EntityID, Put{N: 0})}
		})},
		Sends: plugin.Components{crate},
	})
	build := func() *run { return start(t, app(jar, crate, later)) }
	r := build()
	r.faults.Disturb(faults.Deliveries{Seed: 1, Double: 1})
	r.faults.Inject(faults.Rule{Op: "Scheduler.Create", Err: driver.ErrUnavailable, After: true})
	r.accept("1", jar.To("a", Put{N: 1}))
	r.idle()
	wantEqual(t, "events", r.history("Shop.Crate", "a"), []string{`Added{"n":0}`})
	r.advance(9*time.Minute + 59*time.Second)
	wantEqual(t, "events after 9:59", r.history("Shop.Crate", "a"), []string{`Added{"n":0}`})
	r.stop()

	again := start(t, app(jar, crate, later), on(r))
	again.faults.Inject(faults.Rule{Op: "CommandTopic.Send", Name: "Shop.Crate", Times: 2, Err: errUnknown, After: true})
	again.advance(time.Second)
	wantEqual(t, "events after 10:00", again.history("Shop.Crate", "a"), []string{`Added{"n":0}`, `Added{"n":1}`})
	again.advance(time.Hour)
	wantEqual(t, "events after an hour", len(again.history("Shop.Crate", "a")), 2)
	again.wantNothingParked()
	wantEqual(t, "schedules left", schedules(again, ""), "[]")
}

func TestScheduleOfADelayedCommandIsRefused(t *testing.T) {
	t.Parallel()
	jar := newJar()
	r := start(t, app(jar, schedule.New(schedule.Spec{Name: "Tick", Rate: schedule.Every(time.Minute), Send: jar.To("a", Put{N: 1}).After(time.Minute)})), asleep)
	err := r.Start(t.Context())
	wantIs(t, err, driver.ErrInvalid)
	wantText(t, err.Error(), "Shop.Tick", "delayed")
}

// schedules lists the schedules with a prefix, except the heartbeats.
func schedules(r *run, prefix string) string {
	r.t.Helper()
	all, err := r.Scheduler().List(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	out := []string{}
	for _, s := range all {
		if strings.HasPrefix(s.Name, prefix) && !strings.Contains(s.Name, "heartbeat") {
			out = append(out, s.Name+" "+s.Expression)
		}
	}
	return fmt.Sprint(out)
}

func TestAutomationCreatesAndDeletesSchedules(t *testing.T) {
	t.Parallel()
	jar, crate := newJar(), newJar(named("Crate"))
	plan := automation.New(automation.Spec{
		Name: "Plan",
		Rules: automation.Rules{automation.On(jar, func(e jarEvent) message.Actions {
			switch d := e.Data.(type) {
			case Claimed:
				return message.Actions{
					schedule.Create("every/"+e.EntityID, schedule.Every(10*time.Minute), crate.To(e.EntityID, Put{N: 1})),
					schedule.Create("once/"+e.EntityID, schedule.At(e.RecordedAt.Add(25*time.Minute)), crate.To(e.EntityID, Put{N: 25})),
				}
			case Added: // another rate under the same name
				return message.Actions{schedule.Create("every/"+e.EntityID, schedule.Every(time.Duration(d.N)*time.Minute), crate.To(e.EntityID, Put{N: 2}))}
			case Released:
				return message.Actions{schedule.Delete("every/" + e.EntityID), schedule.Delete("never there")}
			}
			return nil
		})},
		Sends: plugin.Components{crate},
	})
	r := start(t, app(jar, crate, plan))
	r.faults.Disturb(faults.Deliveries{Seed: 2, Double: 1})
	r.accept("1", jar.To("a", Claim{By: "ada"}))
	r.idle()
	r.advance(30 * time.Minute)
	wantEqual(t, "events", r.history("Shop.Crate", "a"), []string{`Added{"n":1}`, `Added{"n":1}`, `Added{"n":25}`, `Added{"n":1}`})
	r.accept("2", jar.To("a", Put{N: 20}))
	r.advance(40 * time.Minute)
	wantEqual(t, "events", len(r.history("Shop.Crate", "a")), 6)
	r.accept("3", jar.To("a", Release{}))
	r.advance(24 * time.Hour)
	wantEqual(t, "events", len(r.history("Shop.Crate", "a")), 6)
	wantEqual(t, "schedules", schedules(r, ""), "[]")
	r.wantNothingParked()
}

// Names that the application chooses can be long and contain any characters.
func TestLongScheduleNamesAndIDsAreAccepted(t *testing.T) {
	t.Parallel()
	jar, crate := newJar(), newJar(named("Crate"))
	plan := automation.New(automation.Spec{
		Name: "Plan",
		Rules: automation.Rules{automation.On(jar, func(e jarEvent) message.Actions {
			return message.Actions{schedule.Create(e.EntityID, schedule.At(e.RecordedAt.Add(time.Minute)), crate.To(e.EntityID, Put{N: 1}))}
		})},
		Sends: plugin.Components{crate},
	})
	r := start(t, app(jar, crate, plan))
	ids := []string{}
	for i := range 4 { // a shortened name must not end within a character
		ids = append(ids, strings.Repeat("x", i)+strings.Repeat("ü", 510))
	}
	for i, id := range ids {
		r.accept(fmt.Sprint(i), jar.To(id, Put{N: 1}))
	}
	r.finish()
	r.advance(2 * time.Minute)
	for _, id := range ids {
		wantEqual(t, "events", len(r.history("Shop.Crate", id)), 1)
	}
}

func TestDeclaredScheduleIsPlannedKeptChangedAndRemoved(t *testing.T) {
	t.Parallel()
	jar := newJar()
	tick := func(rate schedule.Rate, n int) *schedule.Schedule {
		return schedule.New(schedule.Spec{Name: "Tick", Rate: rate, Send: jar.To("a", Put{N: n})})
	}
	r := start(t, app(jar, tick(schedule.Every(10*time.Minute), 1)))
	r.advance(25 * time.Minute)
	wantEqual(t, "events", r.history("Shop.Jar", "a"), []string{`Added{"n":1}`, `Added{"n":1}`})
	wantEqual(t, "schedules", schedules(r, "declared/"), "[declared/Shop.Tick rate(10 minutes)]")
	r.stop()

	// The same declaration keeps its next time, at minute 30.
	r = start(t, app(jar, tick(schedule.Every(10*time.Minute), 1)), on(r))
	r.advance(5 * time.Minute)
	wantEqual(t, "events", len(r.history("Shop.Jar", "a")), 3)
	r.stop()

	// Another rate and another command replace the first ones.
	r = start(t, app(jar, tick(schedule.Every(20*time.Minute), 2)), on(r))
	wantEqual(t, "schedules", schedules(r, "declared/"), "[declared/Shop.Tick rate(20 minutes)]")
	r.advance(25 * time.Minute)
	wantEqual(t, "events", r.history("Shop.Jar", "a")[3:], []string{`Added{"n":2}`})
	r.stop()

	// The declaration is removed.
	r = start(t, app(jar), on(r))
	wantEqual(t, "schedules", schedules(r, "declared/"), "[]")
	r.advance(24 * time.Hour)
	wantEqual(t, "events", len(r.history("Shop.Jar", "a")), 4)
	r.wantNothingParked()
}

func TestCounterPublishesEachTargetOnce(t *testing.T) {
	t.Parallel()
	seeds(t, 8, func(t *testing.T, seed uint64, rng *rand.Rand) {
		jar, crate := newJar(), newJar(named("Crate"))
		parcels := counter.New(counter.Spec{Name: "Parcels"})
		counting := automation.New(automation.Spec{
			Name: "Counting",
			Rules: automation.Rules{automation.On(jar, func(e jarEvent) message.Actions {
				switch d := e.Data.(type) {
				case Claimed: // the target, which may follow the counts
					return message.Actions{parcels.AddTarget(e.EntityID, d.By, 5)}
				case Added:
					return message.Actions{parcels.Count(e.EntityID, e.Meta.ID, int64(d.N))}
				}
				return nil
			})},
			Sends: plugin.Components{parcels},
		})
		finished := rule("Closing", parcels, func(e message.Event[counter.Finished]) message.Actions {
			return message.Actions{crate.To(e.EntityID, Put{N: int(e.Data.Target)})}
		}, crate)
		done := readmodel.New(readmodel.Spec[SumRow]{Name: "Done", Projections: []readmodel.Projection[SumRow]{
			readmodel.On(parcels, func(e message.Event[counter.Finished]) readmodel.Changes[SumRow] {
				return readmodel.UpdateOrCreate(e.EntityID, SumRow{}, func(r *SumRow) { r.Sum, r.Count = int(e.Data.Target), r.Count+1 })
			}),
		}})
		r := start(t, app(jar, crate, parcels, counting, finished, done))
		d := disturbed(seed, rng)
		d.Drop = 0
		r.faults.Disturb(d)
		for _, op := range []string{"Counter.Count", "Counter.AddTarget", "EventLog.Append", "Watermarks.Advance", "Counter.Receive"} {
			w := lostWays[rng.IntN(len(lostWays))]
			r.faults.Inject(faults.Rule{Op: op, Name: map[bool]string{true: "Shop.Parcels"}[op == "EventLog.Append"], Skip: rng.IntN(4), Times: 3, Err: w.err, After: w.after && op != "Counter.Receive"})
		}
		for i := range 12 {
			id := string("ab"[i%2])
			if i == 4 || i == 5 {
				r.insist(fmt.Sprint("target", i), jar.To(id, Claim{By: "ada"}))
			}
			r.insist(fmt.Sprint(i), jar.To(id, Put{N: 1}))
		}
		r.idle()
		wantEqual(t, "finished", r.history("Shop.Parcels", "a"), []string{`CountFinished{"target":5}`})
		// A second target is published, too.
		r.insist("release", jar.To("a", Release{}))
		r.insist("again", jar.To("a", Claim{By: "bob"}))
		r.insist("much", jar.To("a", Put{N: 7}))
		r.finish()
		wantEqual(t, "finished", r.history("Shop.Parcels", "a"), []string{`CountFinished{"target":5}`, `CountFinished{"target":10}`})
		wantEqual(t, "finished", r.history("Shop.Parcels", "b"), []string{`CountFinished{"target":5}`})
		wantEqual(t, "sent", r.history("Shop.Crate", "a"), []string{`Added{"n":5}`, `Added{"n":10}`})
		wantRows(r, done, map[string]SumRow{"a": {10, 2}, "b": {5, 1}})
	})
}

func TestAutomationThatTriggersItselfIsParkedWithItsChain(t *testing.T) {
	t.Parallel()
	jar := newJar()
	for name, again := range map[string]func(e jarEvent) message.Action{
		"at once":      func(e jarEvent) message.Action { return jar.To(e.EntityID, Put{N: 1}) },
		"1 ns later":   func(e jarEvent) message.Action { return jar.To(e.EntityID, Put{N: 1}).After(time.Nanosecond) },
		"999 ms later": func(e jarEvent) message.Action { return jar.To(e.EntityID, Put{N: 1}).After(999 * time.Millisecond) },
		"by a schedule": func(e jarEvent) message.Action {
			return schedule.Create(e.Position.String(), schedule.At(e.RecordedAt), jar.To(e.EntityID, Put{N: 1}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			echo := rule("Echo", jar, func(e jarEvent) message.Actions { return message.Actions{again(e)} }, jar)
			r := start(t, app(jar, echo))
			r.accept("1", jar.To("a", Put{N: 1}))
			r.advance(time.Hour)
			l := r.deadLetter()
			wantEqual(t, "kind and component", fmt.Sprint(l.Kind, l.Component), "CommandShop.Jar")
			wantText(t, l.Reason, "message 101 of a chain", "<- Shop.Jar/a/101.0 <- Shop.Jar/a/100.0 <- Shop.Jar/a/99.0")
			wantEqual(t, "commits", len(r.commits("Shop.Jar", "a")), 101)
			// An operator can let it go on: the next command is parked again.
			r.redrive(l.ID)
			r.advance(time.Hour)
			wantEqual(t, "commits after the redrive", len(r.commits("Shop.Jar", "a")), 102)
			wantText(t, r.deadLetter().Reason, "message 102 of a chain")
		})
	}
}

func TestMaximumDepthIsSetPerApp(t *testing.T) {
	t.Parallel()
	jar := newJar()
	echo := rule("Echo", jar, func(e jarEvent) message.Actions { return message.Actions{jar.To(e.EntityID, Put{N: 1})} }, jar)
	plain := app(jar, echo)
	for a, want := range map[*reventless.App]int{plain.WithMaxDepth(7): 8, plain: 101} {
		r := start(t, a)
		r.accept("1", jar.To("a", Put{N: 1}))
		r.idle()
		wantEqual(t, "commits", len(r.commits("Shop.Jar", "a")), want)
		wantText(t, r.deadLetter().Reason, fmt.Sprintf("more than %d cause one another", want-1))
	}
}

// A chain with delays is a plan that repeats, not a loop.
func TestChainWithDelaysIsNotBounded(t *testing.T) {
	t.Parallel()
	jar := newJar()
	daily := rule("Daily", jar, func(e jarEvent) message.Actions {
		return message.Actions{jar.To(e.EntityID, Put{N: 1}).After(24 * time.Hour)}
	}, jar)
	r := start(t, app(jar, daily))
	r.accept("1", jar.To("a", Put{N: 1}))
	r.advance(150 * 24 * time.Hour)
	r.wantNothingParked()
	wantEqual(t, "commits", len(r.commits("Shop.Jar", "a")), 151)
}
