package reventless_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/automation"
	"github.com/reventless-go/reventless/counter"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/memory"
	"github.com/reventless-go/reventless/extension"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/internal/host"
	"github.com/reventless-go/reventless/internal/platform"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/readmodel"
	"github.com/reventless-go/reventless/reventlesstest"
	"github.com/reventless-go/reventless/schedule"
	"github.com/reventless-go/reventless/task"
)

// A tally counts what it is told: the simplest aggregate with a history.
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
		Decide: func(s tally, c tallyMsg) ([]tallyMsg, error) {
			if a := c.(add); s.Sum+a.N < 0 {
				return nil, message.Reject("Negative", s.Sum)
			} else if a.N != 0 {
				return []tallyMsg{added(a)}, nil
			}
			return nil, nil
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

func TestDelayedCommandComesWhenItsTimeHasCome(t *testing.T) {
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

func TestScheduleOfAnAutomationIsReplacedAndDeletedByItsName(t *testing.T) {
	t.Parallel()
	from, to := aggregate.New(tallySpec("From")), aggregate.New(tallySpec("To"))
	sums := sumsOf("Sums", to)
	plan := automation.New(automation.Spec{
		Name: "Plan",
		Rules: automation.Rules{automation.On(from, func(e message.Event[tallyMsg]) message.Actions {
			if n := e.Data.(added).N; n < 100 {
				return message.Actions{schedule.Create(e.EntityID, schedule.At(e.RecordedAt.Add(time.Duration(n)*time.Minute)), to.To(e.EntityID, add{n}))}
			}
			return message.Actions{schedule.Delete(e.EntityID)}
		})},
		Sends: plugin.Components{to},
	})
	app := reventlesstest.Start(t, reventless.New("test", in("Main", from, to, sums, plan)))
	app.Send(from.To("replaced", add{10}))
	app.Send(from.To("deleted", add{10}))
	app.WaitIdle()
	app.Send(from.To("replaced", add{20}))
	app.Send(from.To("deleted", add{100}))
	app.Advance(15 * time.Minute)
	want(t, app, sums, "replaced", sum{})
	app.Advance(time.Hour)
	want(t, app, sums, "replaced", sum{"replaced", 20})
	want(t, app, sums, "deleted", sum{})
}

func TestDeclaredScheduleSendsAtItsRate(t *testing.T) {
	t.Parallel()
	to := aggregate.New(tallySpec("To"))
	sums := sumsOf("Sums", to)
	app := reventlesstest.Start(t, reventless.New("test", in("Main", to, sums, schedule.New(schedule.Spec{Name: "Hourly", Rate: schedule.Every(time.Hour), Send: to.To("a", add{1})}))))
	app.Advance(59 * time.Minute)
	want(t, app, sums, "a", sum{})
	app.Advance(time.Minute)
	want(t, app, sums, "a", sum{"a", 1})
	app.Advance(5 * time.Hour)
	want(t, app, sums, "a", sum{"a", 6})
}

func TestCounterFinishesOnceAndIsASource(t *testing.T) {
	t.Parallel()
	parts, done := aggregate.New(tallySpec("Parts")), aggregate.New(tallySpec("Done"))
	latch := counter.New(counter.Spec{Name: "Latch"})
	sums := sumsOf("Sums", done)
	finished := readmodel.New(readmodel.Spec[sum]{Name: "Finished", Projections: readmodel.Projections[sum]{
		readmodel.On(latch, func(e message.Event[counter.Finished]) readmodel.Changes[sum] {
			return readmodel.Put(e.EntityID, sum{e.EntityID, int(e.Data.Target)})
		}),
	}})
	count := automation.New(automation.Spec{
		Name: "Count",
		Rules: automation.Rules{
			automation.On(parts, func(e message.Event[tallyMsg]) message.Actions {
				if n := e.Data.(added).N; n > 10 {
					return message.Actions{latch.AddTarget(e.EntityID, "target", int64(n-10))}
				}
				return message.Actions{latch.Count(e.EntityID, e.Position.String(), 1)}
			}),
			automation.On(latch, func(e message.Event[counter.Finished]) message.Actions {
				return message.Actions{done.To(e.EntityID, add{1})}
			}),
		},
		Sends: plugin.Components{latch, done},
	})
	app := reventlesstest.Start(t, reventless.New("test", in("Main", parts, done, latch, count, sums, finished)))
	for range 2 {
		app.Send(parts.To("a", add{1})) // before the target
	}
	app.Send(parts.To("a", add{13})) // a target of three
	want(t, app, sums, "a", sum{})
	app.Send(parts.To("a", add{1}))
	want(t, app, sums, "a", sum{"a", 1})
	want(t, app, finished, "a", sum{"a", 3})
	app.Send(parts.To("a", add{1})) // beyond
	want(t, app, sums, "a", sum{"a", 1})
}

func TestAutomationsThatTriggerOneAnotherFinish(t *testing.T) {
	t.Parallel()
	ping, pong := aggregate.New(tallySpec("Ping")), aggregate.New(tallySpec("Pong"))
	hit := func(to *aggregate.Aggregate[tally, tallyMsg, tallyMsg]) func(message.Event[tallyMsg]) message.Actions {
		return func(e message.Event[tallyMsg]) message.Actions {
			if n := e.Data.(added).N; n > 1 {
				return message.Actions{to.To(e.EntityID, add{n - 1})}
			}
			return nil
		}
	}
	sums := sumsOf("Sums", pong)
	app := reventlesstest.Start(t, reventless.New("test", in("Main", ping, pong, sums,
		automation.New(automation.Spec{Name: "There", Rules: automation.Rules{automation.On(ping, hit(pong))}, Sends: plugin.Components{pong}}),
		automation.New(automation.Spec{Name: "Back", Rules: automation.Rules{automation.On(pong, hit(ping))}, Sends: plugin.Components{ping}}))))
	app.Send(ping.To("a", add{10}))
	want(t, app, sums, "a", sum{"a", 9 + 7 + 5 + 3 + 1})
}

func TestUndeclaredTargetIsParkedWithBothNames(t *testing.T) {
	t.Parallel()
	from, to := aggregate.New(tallySpec("From")), aggregate.New(tallySpec("Elsewhere"))
	app := reventlesstest.Start(t, reventless.New("test", in("Main", from, to,
		automation.New(automation.Spec{
			Name: "Sneak",
			Rules: automation.Rules{automation.On(from, func(e message.Event[tallyMsg]) message.Actions {
				return message.Actions{to.To(e.EntityID, add{1})}
			})},
		}))))
	app.Send(from.To("a", add{1}))
	app.WaitIdle()
	parked := app.Parked()
	if len(parked) != 1 || !strings.Contains(parked[0].Reason, "Elsewhere") || !strings.Contains(parked[0].Reason, "Main.Sneak") {
		t.Errorf("parked = %+v, want one letter that names Elsewhere and Main.Sneak", parked)
	}
}

func TestPluginsMeetAtExtensionPoints(t *testing.T) {
	t.Parallel()
	type public interface{ message.Typed }
	inner, outer := aggregate.New(tallySpec("Inner")), aggregate.New(tallySpec("Outer"))
	point := extension.NewPoint(extension.PointSpec[public, public]{
		Name: "Tallies", Commands: message.NewSet[public](add{}), Events: message.NewSet[public](added{}),
	})
	offer := extension.NewOffer(point,
		extension.Publish(point, inner, func(e message.Event[tallyMsg]) []public {
			switch n := e.Data.(added).N; {
			case n == 1:
				return nil // not told: the sequence has gaps for the other side
			case n == 2:
				return []public{added{20}, added{21}} // two for one
			default:
				return []public{added{n * 10}}
			}
		}),
		extension.Accept(point, func(id string, c public) []message.Send {
			return []message.Send{inner.To(id, add{c.(add).N + 100})}
		}, inner))
	sums, direct := sumsOf("Sums", outer), readmodel.New(readmodel.Spec[sum]{Name: "Direct", Projections: readmodel.Projections[sum]{
		readmodel.On(point, func(e message.Event[public]) readmodel.Changes[sum] {
			return readmodel.UpdateOrCreate(e.EntityID, sum{ID: e.EntityID}, func(r *sum) { r.Sum += e.Data.(added).N })
		}),
	}})
	ask := aggregate.New(tallySpec("Ask"))
	for _, readers := range []int{0, 1} { // by the change feed, and by relay and topic
		t.Run(fmt.Sprintf("MaxFeedReaders=%d", readers), func(t *testing.T) {
			t.Parallel()
			app := reventless.New("test",
				in("A", inner, offer),
				in("B", outer, ask, sums, direct,
					extension.New(point, extension.Spec[public]{
						Name: "Follow",
						React: func(e message.Event[public]) message.Actions {
							return message.Actions{outer.To(e.EntityID, add(e.Data.(added)))}
						},
						Sends: plugin.Components{outer},
					}),
					automation.New(automation.Spec{
						Name: "Forward",
						Rules: automation.Rules{automation.On(ask, func(e message.Event[tallyMsg]) message.Actions {
							return message.Actions{point.To(e.EntityID, add(e.Data.(added)))}
						})},
						Sends: plugin.Components{point},
					})))
			h, p := startHost(t, app, &memory.Options{Limits: driver.Limits{MaxFeedReaders: readers}})
			for _, n := range []int{1, 2, 3} {
				sendTo(t, h, inner.To("a", add{n}))
			}
			sendTo(t, h, ask.To("a", add{4})) // 104 inside, 1040 in public
			idle(t, h)
			for _, name := range []string{"B.Sums", "B.Direct"} {
				db, err := p.OpenQueryDb(t.Context(), driver.TableSpec{Name: name})
				if err != nil {
					t.Fatal(err)
				}
				r, err := db.LoadRow(t.Context(), driver.Key{ID: "a"})
				if want := `{"id":"a","sum":1111}`; err != nil || string(r.Data) != want {
					t.Errorf("%s = %s, %v, want %s", name, r.Data, err, want)
				}
			}
		})
	}
}

func startHost(t *testing.T, app *reventless.App, opts *memory.Options) (*host.Host, *memory.Provider) {
	t.Helper()
	p := memory.New(opts)
	return startOn(t, app, p, opts.Now, true), p
}

func startOn(t *testing.T, app *reventless.App, p driver.Provider, now func() time.Time, closeAtEnd bool) *host.Host {
	t.Helper()
	h, err := host.Open(t.Context(), app.Assembled(), p, &host.Options{
		Now: now, Logger: slog.New(slog.DiscardHandler), Backoff: func(int) time.Duration { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if closeAtEnd {
		t.Cleanup(func() { _ = h.Close() })
	}
	return h
}

func sendTo(t *testing.T, h *host.Host, s message.Send) driver.Outcome {
	t.Helper()
	o, err := h.SendAction(t.Context(), "", driver.Meta{}, s.Erased())
	if err != nil {
		t.Fatalf("send: %v", err)
	}
	return o
}

func idle(t *testing.T, h *host.Host) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := h.WaitIdle(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestPluginIsDetectedConnectedSilentAndBack(t *testing.T) {
	t.Parallel()
	clock := reventlesstest.NewClock(time.Time{})
	p := memory.New(&memory.Options{Now: clock.Now})
	version := func(components ...plugin.Component) *reventless.App {
		return reventless.New("test", plugin.New(plugin.Spec{Name: "Main", Heartbeat: 5 * time.Minute, Components: components}))
	}
	note := aggregate.New(tallySpec("Tally"))
	run := func(app *reventless.App, advance time.Duration) {
		h := startOn(t, app, p, clock.Now, false)
		idle(t, h)
		for ; advance > 0; advance -= time.Minute {
			clock.Advance(time.Minute)
			h.Wake()
			idle(t, h)
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
	}
	run(version(), time.Hour) // heartbeats in time tell nothing new
	run(version(), 0)
	clock.Advance(time.Hour) // nobody runs
	run(version(), 0)
	run(version(note), 0) // another definition

	h := startOn(t, version(note), p, clock.Now, true)
	idle(t, h)
	var what []string
	for r, err := range platform.History.Open(h.Env()).Rows(t.Context(), readmodel.Query{Value: "Main"}) {
		if err != nil {
			t.Fatal(err)
		}
		what = append(what, r.What)
	}
	if want := []string{"PluginDetected", "PluginConnected", "PluginDisconnected", "PluginConnected", "PluginConnected"}; !slices.Equal(what, want) {
		t.Errorf("history = %v, want %v", what, want)
	}
	row, ok, err := platform.Plugins.Open(h.Env()).Get(t.Context(), "Main")
	if err != nil || !ok || row.Status != "connected" || !slices.Equal(row.Components, []string{"Tally"}) {
		t.Errorf("plugin = %+v, %v, %v", row, ok, err)
	}
}

func TestTaskIsCalledForEachFileAndABadOneIsParked(t *testing.T) {
	t.Parallel()
	to := aggregate.New(tallySpec("To"))
	sums := sumsOf("Sums", to)
	files := task.NewBucket(task.BucketSpec{Name: "Files"})
	var mu sync.Mutex
	broken, calls := true, map[string]int{}
	load := task.New(task.Spec{
		Name: "Load", Bucket: files, Suffix: ".txt", Sends: plugin.Components{to},
		Created: func(ctx context.Context, env plugin.Env, o task.Object) (message.Actions, error) {
			mu.Lock()
			defer mu.Unlock()
			calls[o.Key]++
			if o.Key == "bad.txt" && broken {
				return nil, errors.New("unreadable")
			}
			body, err := files.Open(env).Get(ctx, o.Key)
			if err != nil {
				return nil, err
			}
			defer body.Close()
			text, err := io.ReadAll(body)
			return message.Actions{to.To(o.Key, add{len(text)})}, err
		},
		Removed: func(_ context.Context, _ plugin.Env, o task.Object) (message.Actions, error) {
			return message.Actions{to.To(o.Key, add{100})}, nil
		},
	})
	app := reventlesstest.Start(t, reventless.New("test", in("Main", to, sums, files, load)))
	put := func(key, text string) {
		t.Helper()
		if err := files.Open(app.Env()).Put(t.Context(), key, strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	put("a b+c.txt", "four")
	put("bad.txt", "12345")
	put("other.csv", "not mine")
	put("z.txt", "1")
	want(t, app, sums, "a b+c.txt", sum{"a b+c.txt", 4})
	want(t, app, sums, "z.txt", sum{"z.txt", 1})
	want(t, app, sums, "bad.txt", sum{})
	want(t, app, sums, "other.csv", sum{})
	parked := app.Parked()
	if len(parked) != 1 || parked[0].Kind != driver.DeadObject || parked[0].Stream != "bad.txt" || !strings.Contains(parked[0].Reason, "unreadable") {
		t.Fatalf("parked = %+v, want bad.txt", parked)
	}
	if calls["bad.txt"] != 5 {
		t.Errorf("the bad file was tried %d times, want 5", calls["bad.txt"])
	}
	if err := app.Redrive(parked[0].ID); err == nil || len(app.Parked()) != 1 {
		t.Errorf("redrive of what is still broken: %v, %d letters; want an error and the letter", err, len(app.Parked()))
	}
	mu.Lock()
	broken = false
	mu.Unlock()
	if err := app.Redrive(parked[0].ID); err != nil || len(app.Parked()) != 0 {
		t.Errorf("redrive: %v, %d letters", err, len(app.Parked()))
	}
	want(t, app, sums, "bad.txt", sum{"bad.txt", 5})
	if err := files.Open(app.Env()).Delete(t.Context(), "z.txt"); err != nil {
		t.Fatal(err)
	}
	want(t, app, sums, "z.txt", sum{"z.txt", 101})
}

func TestSideEffectHasOneKeyForAllItsAttempts(t *testing.T) {
	t.Parallel()
	from := aggregate.New(tallySpec("From"))
	var mu sync.Mutex
	var seen []string
	effect := automation.NewSideEffect(automation.SideEffectSpec{
		Name: "Mail",
		Effects: automation.Effects{automation.Do(from, func(_ context.Context, env plugin.Env, e message.Event[tallyMsg]) error {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, env.IdempotencyKey())
			if len(seen) == 1 {
				return errors.New("the mail server is away")
			}
			return nil
		})},
	})
	app := reventlesstest.Start(t, reventless.New("test", in("Main", from, effect)))
	app.Send(from.To("a", add{1}))
	app.Send(from.To("a", add{2}))
	app.WaitIdle()
	if want := []string{"Main.From/a/1.0", "Main.From/a/1.0", "Main.From/a/2.0"}; !slices.Equal(seen, want) {
		t.Errorf("keys = %v, want %v", seen, want)
	}
}

func TestAsyncCommandIsPendingAndThenItsOutcomeIsKept(t *testing.T) {
	t.Parallel()
	s := tallySpec("Slow")
	s.Async = true
	slow := aggregate.New(s)
	h, _ := startHost(t, reventless.New("test", in("Main", slow)), &memory.Options{})
	for n, want := range map[int]driver.OutcomeKind{5: driver.Accepted, -500: driver.Rejected} {
		o := sendTo(t, h, slow.To(fmt.Sprint("e", n), add{n}))
		if o.Kind != driver.Pending || o.CommandID == "" {
			t.Fatalf("outcome = %+v, want pending", o)
		}
		idle(t, h)
		got, err := h.Outcome(t.Context(), o.CommandID)
		if err != nil || got.Kind != want {
			t.Errorf("kept outcome = %+v, %v, want %s", got, err, want)
		}
	}
}

// counted counts the calls of a log.
type counted struct {
	driver.Provider
	mu    sync.Mutex
	calls []string
	reads int // commits that Load returned
}

type countedLog struct {
	driver.EventLog
	c *counted
}

func (c *counted) OpenEventLog(ctx context.Context, name string) (driver.EventLog, error) {
	l, err := c.Provider.OpenEventLog(ctx, name)
	return countedLog{l, c}, err
}

func (l countedLog) Append(ctx context.Context, c driver.Commit) error {
	l.c.note("Append", 0)
	return l.EventLog.Append(ctx, c)
}

func (l countedLog) Load(ctx context.Context, stream string, fold int) ([]driver.Commit, error) {
	commits, err := l.EventLog.Load(ctx, stream, fold)
	l.c.note("Load", len(commits))
	return commits, err
}

func (c *counted) note(call string, commits int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls, c.reads = append(c.calls, call), c.reads+commits
}

func (c *counted) reset() (calls []string, reads int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	calls, reads = c.calls, c.reads
	c.calls, c.reads = nil, 0
	return calls, reads
}

func openOn(t *testing.T, p driver.Provider, components ...plugin.Component) *host.Host {
	t.Helper()
	h, err := host.Open(t.Context(), reventless.New("test", in("Main", components...)).Assembled(), p, &host.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

func TestSnapshotsBoundWhatAColdCommandReads(t *testing.T) {
	t.Parallel()
	p := &counted{Provider: memory.New(nil)}
	s := tallySpec("Tally")
	s.SnapshotEvery = 10
	tallies := aggregate.New(s)
	h := openOn(t, p, tallies)
	for i := range 57 {
		id := fmt.Sprint("c", i)
		if _, err := h.SendAction(t.Context(), id, driver.Meta{}, tallies.To("a", add{1}).Erased()); err != nil {
			t.Fatal(err)
		}
	}
	p.reset()
	sendTo(t, h, tallies.To("a", add{1}))
	if calls, _ := p.reset(); !slices.Equal(calls, []string{"Append"}) {
		t.Errorf("a warm command calls %v, want one Append", calls)
	}
	cold := openOn(t, p, tallies)
	if o := sendTo(t, cold, tallies.To("a", add{-59})); o.Code != "Negative" || string(o.Detail) != "58" {
		t.Errorf("outcome = %+v, want a rejection at 58", o)
	}
	if calls, reads := p.reset(); !slices.Equal(calls, []string{"Load"}) || reads > 10 {
		t.Errorf("a cold rejection calls %v and reads %d commits, want one Load of 10 at most", calls, reads)
	}
	// A command answered before the snapshot is still known.
	again, err := openOn(t, p, tallies).SendAction(t.Context(), "c3", driver.Meta{}, tallies.To("a", add{1}).Erased())
	if err != nil || again.SequenceNr != 4 || again.EventCount != 1 {
		t.Errorf("a repeated command = %+v, %v, want the outcome of commit 4", again, err)
	}
	if calls, _ := p.reset(); !slices.Equal(calls, []string{"Load"}) {
		t.Errorf("a repeated command calls %v, want one Load and no Append", calls)
	}
}

func TestChangedFoldIsNotMadeFromAnOldSnapshot(t *testing.T) {
	t.Parallel()
	p := memory.New(nil)
	s := tallySpec("Tally")
	s.SnapshotEvery = 2
	old := aggregate.New(s)
	h := openOn(t, p, old)
	for range 5 {
		sendTo(t, h, old.To("a", add{1}))
	}
	s.Evolve = func(st tally, e tallyMsg) tally { st.Sum += 10 * e.(added).N; return st }
	s.StateVersion = 1
	changed := aggregate.New(s)
	h = openOn(t, p, changed)
	if o := sendTo(t, h, changed.To("a", add{-60})); string(o.Detail) != "50" {
		t.Errorf("outcome = %+v, want a rejection at 50: five events in the new state", o)
	}
	for range 3 { // writes snapshots of the new version
		sendTo(t, h, changed.To("a", add{1}))
	}
	if o := sendTo(t, openOn(t, p, changed), changed.To("a", add{-999})); string(o.Detail) != "80" {
		t.Errorf("outcome = %+v, want a rejection at 80", o)
	}
}

// The shapes that an event had over the years.
type renamedEvent struct {
	Amount   int    `json:"amount"`
	Currency string `json:"currency"`
}

func (renamedEvent) MessageType() string      { return "Credited" }
func (renamedEvent) MessageAliases() []string { return []string{"Paid"} }
func (renamedEvent) Upcasts() map[int]message.Upcast {
	return map[int]message.Upcast{
		1: func(old json.RawMessage) (json.RawMessage, error) { // {"pounds": 3}
			var v struct{ Pounds int }
			if err := json.Unmarshal(old, &v); err != nil {
				return nil, err
			}
			return json.Marshal(map[string]int{"amount": v.Pounds * 100})
		},
		2: func(old json.RawMessage) (json.RawMessage, error) { // {"amount": 300}
			var v renamedEvent
			if err := json.Unmarshal(old, &v); err != nil {
				return nil, err
			}
			v.Currency = "GBP"
			return json.Marshal(v)
		},
	}
}

func TestEventsOfEarlierVersionsAreReadAsTheyAreNow(t *testing.T) {
	t.Parallel()
	type msg interface{ message.Typed }
	account := aggregate.New(aggregate.Spec[map[string]int, msg, msg]{
		Name: "Account", Commands: message.NewSet[msg](renamedEvent{}), Events: message.NewSet[msg](renamedEvent{}), Initial: nil,
		Decide: func(s map[string]int, _ msg) ([]msg, error) { return nil, message.Reject("Balance", s) },
		Evolve: func(s map[string]int, e msg) map[string]int {
			next := map[string]int{}
			for k, v := range s {
				next[k] = v
			}
			r := e.(renamedEvent)
			next[r.Currency] += r.Amount
			return next
		},
	})
	rows := readmodel.New(readmodel.Spec[sum]{Name: "Sums", Projections: readmodel.Projections[sum]{
		readmodel.On(account, func(e message.Event[msg]) readmodel.Changes[sum] {
			return readmodel.UpdateOrCreate(e.EntityID, sum{ID: e.EntityID}, func(r *sum) { r.Sum += e.Data.(renamedEvent).Amount })
		}),
	}})
	p := memory.New(nil)
	log, err := p.OpenEventLog(t.Context(), "Main.Account")
	if err != nil {
		t.Fatal(err)
	}
	store := func(stream string, seq uint64, typ string, version int, data string) {
		t.Helper()
		if err := log.Append(t.Context(), driver.Commit{
			Stream: stream, SequenceNr: seq, Events: []driver.Event{{Type: typ, Version: version, Data: json.RawMessage(data)}},
			Commands: []driver.AnsweredCommand{{Meta: driver.Meta{ID: fmt.Sprint(stream, seq)}, EventCount: 1}},
		}); err != nil {
			t.Fatal(err)
		}
	}
	store("a", 1, "Paid", 1, `{"pounds":3}`)
	store("a", 2, "Credited", 2, `{"amount":40}`)
	store("a", 3, "Credited", 3, `{"amount":5,"currency":"GBP","unknown":true}`)
	store("unknown", 1, "Vanished", 1, `{}`)
	store("future", 1, "Credited", 4, `{}`)
	store("broken", 1, "Credited", 3, `{"amount":"much"}`)
	app := reventless.New("test", in("Main", account, rows))
	h := startOn(t, app, p, nil, true)
	idle(t, h)
	if o := sendTo(t, h, account.To("a", renamedEvent{})); string(o.Detail) != `{"GBP":345}` {
		t.Errorf("folded balance = %s, want 345", o.Detail)
	}
	db, _ := h.QueryDb("Main.Sums")
	if r, err := db.LoadRow(t.Context(), driver.Key{ID: "a"}); err != nil || string(r.Data) != `{"id":"a","sum":345}` {
		t.Errorf("projected row = %s, %v", r.Data, err)
	}
	for stream, class := range map[string]error{"unknown": component.ErrUnknownType, "future": component.ErrFutureVersion, "broken": component.ErrMalformed} {
		_, err := h.SendAction(t.Context(), "", driver.Meta{}, account.To(stream, renamedEvent{}).Erased())
		if !errors.Is(err, class) || !strings.Contains(fmt.Sprint(err), "Main.Account/"+stream+"/1.0") {
			t.Errorf("command on %s: %v, want %v naming Main.Account/%s/1.0", stream, err, class, stream)
		}
		letter, err := h.DeadLetters().Get(t.Context(), "commit/Main.Sums/Main.Account/"+stream)
		if err != nil || !strings.Contains(letter.Reason, "Main.Account/"+stream+"/1.0") {
			t.Errorf("letter of %s: %+v, %v", stream, letter, err)
		}
	}
}

func TestRebuildBesideTrafficEndsAtTheFoldOfTheLog(t *testing.T) {
	t.Parallel()
	tallies := aggregate.New(tallySpec("Tally"))
	sums := sumsOf("Sums", tallies)
	h, _ := startHost(t, reventless.New("test", in("Main", tallies, sums)), &memory.Options{})
	var writers sync.WaitGroup
	const streams, each = 8, 60
	for s := range streams {
		writers.Go(func() {
			for range each {
				if _, err := h.SendAction(t.Context(), "", driver.Meta{}, tallies.To(fmt.Sprint("s", s), add{1}).Erased()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 5 {
		if err := h.Rebuild(t.Context(), "Main.Sums", nil); err != nil {
			t.Error(err)
		}
	}
	writers.Wait()
	idle(t, h)
	for s := range streams {
		row, _, err := sums.Open(h.Env()).Get(t.Context(), fmt.Sprint("s", s))
		if err != nil || row.Sum != each {
			t.Errorf("s%d = %+v, %v, want %d", s, row, err, each)
		}
	}
}

func TestOwnRowRefusesOtherRows(t *testing.T) {
	t.Parallel()
	tallies := aggregate.New(tallySpec("Tally"))
	own := readmodel.New(readmodel.Spec[sum]{Name: "Own", OwnRow: true, Projections: readmodel.Projections[sum]{
		readmodel.On(tallies, func(e message.Event[tallyMsg]) readmodel.Changes[sum] {
			if e.Data.(added).N > 1 {
				return readmodel.Put("other", sum{ID: "other"})
			}
			return readmodel.Put(e.EntityID, sum{ID: e.EntityID, Sum: 1})
		}),
	}})
	app := reventlesstest.Start(t, reventless.New("test", in("Main", tallies, own)))
	app.Send(tallies.To("a", add{1}))
	app.Send(tallies.To("b", add{2}))
	want(t, app, own, "a", sum{"a", 1})
	want(t, app, own, "other", sum{})
	if parked := app.Parked(); len(parked) != 1 || parked[0].Stream != "b" || !strings.Contains(parked[0].Reason, "OwnRow") {
		t.Errorf("parked = %+v, want the commit of b, for OwnRow", parked)
	}
}

func TestBadInputIsRefusedByName(t *testing.T) {
	t.Parallel()
	tallies := aggregate.New(tallySpec("Tally"))
	h, p := startHost(t, reventless.New("test", in("Main", tallies)), &memory.Options{Limits: driver.Limits{MaxCommandBytes: 2000, MaxCommitBytes: 3000}})
	good := driver.Command{Target: "Main.Tally", Entity: "a", Type: "Add", Version: 1, Data: json.RawMessage(`{"N":1}`), Meta: driver.Meta{ID: "c1"}}
	for name, tc := range map[string]struct {
		edit  func(*driver.Command)
		class error
		says  string
	}{
		"empty id":           {func(c *driver.Command) { c.Entity = "" }, driver.ErrInvalid, "entity id is empty"},
		"id of 10 KB":        {func(c *driver.Command) { c.Entity = strings.Repeat("x", 10<<10) }, driver.ErrInvalid, "10240 bytes"},
		"invalid UTF-8":      {func(c *driver.Command) { c.Entity = "a\xff" }, driver.ErrInvalid, "UTF-8"},
		"control character":  {func(c *driver.Command) { c.Entity = "a\n" }, driver.ErrInvalid, "control"},
		"command id of 2 KB": {func(c *driver.Command) { c.Meta.ID = strings.Repeat("x", 2<<10) }, driver.ErrInvalid, "command id"},
		"unknown aggregate":  {func(c *driver.Command) { c.Target = "Main.Nobody" }, driver.ErrNotFound, "Main.Nobody"},
		"unknown type":       {func(c *driver.Command) { c.Type = "Subtract" }, component.ErrUnknownType, "Subtract"},
		"future version":     {func(c *driver.Command) { c.Version = 7 }, component.ErrFutureVersion, "version 7"},
		"no JSON":            {func(c *driver.Command) { c.Data = json.RawMessage(`{"N":`) }, component.ErrMalformed, "Add"},
		"another shape":      {func(c *driver.Command) { c.Data = json.RawMessage(`{"N":"one"}`) }, component.ErrMalformed, "N"},
		"too large":          {func(c *driver.Command) { c.Data = json.RawMessage(`{"N":1,"x":"` + strings.Repeat("x", 3000) + `"}`) }, driver.ErrTooLarge, "2000"},
	} {
		c := good
		tc.edit(&c)
		o, err := h.Send(t.Context(), c)
		if !errors.Is(err, tc.class) || !strings.Contains(fmt.Sprint(err), tc.says) || len(fmt.Sprint(err)) > 600 {
			t.Errorf("%s: %+v, %v; want %v, saying %q in a line", name, o, err, tc.class, tc.says)
		}
	}
	log, _ := p.OpenEventLog(t.Context(), "Main.Tally")
	for c, err := range log.Scan(t.Context(), 0, 1) {
		t.Errorf("stored: %+v, %v", c, err)
	}
	if o, err := h.Send(t.Context(), good); err != nil || o.Kind != driver.Accepted {
		t.Errorf("a good command afterwards: %+v, %v", o, err)
	}
}
