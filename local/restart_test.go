package local_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/automation"
	"github.com/reventless-go/reventless/counter"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/local"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/readmodel"
	"github.com/reventless-go/reventless/reventlesstest"
	"github.com/reventless-go/reventless/schedule"
	"github.com/reventless-go/reventless/task"
)

// The App of the restart tests has two aggregates that record notes: Desk is
// synchronous, Post is asynchronous.

type (
	noteCommand interface{ message.Typed }
	noteEvent   interface{ message.Typed }
	// note is a command that leads to noted. With the text "panic", Decide panics while the
	// depot is broken.
	note  struct{ Text string }
	noted struct{ Text string }
	// notes is the state: the number of notes.
	notes struct{ Count int }
)

func (note) MessageType() string  { return "Note" }
func (noted) MessageType() string { return "Noted" }

// depot is the App with the recorded calls of its functions. It belongs to the test
// and outlives the restarts of the host.
type depot struct {
	app        *reventless.App
	desk, post *aggregate.Aggregate[notes, noteCommand, noteEvent]
	rows       *readmodel.ReadModel[noteRow]
	drop       *task.Bucket

	broken  atomic.Bool
	mu      sync.Mutex
	effects []string // the idempotency keys of the calls of the side effect
	files   []string // the calls of the task
}

type noteRow struct{ Texts []string }

func newDepot() *depot {
	d := &depot{drop: task.NewBucket(task.BucketSpec{Name: "Drop"})}
	notesOf := func(name string, async bool) *aggregate.Aggregate[notes, noteCommand, noteEvent] {
		return aggregate.New(aggregate.Spec[notes, noteCommand, noteEvent]{
			Name: name, Async: async,
			Commands: message.NewSet[noteCommand](note{}), Events: message.NewSet[noteEvent](noted{}),
			Decide: func(_ notes, c noteCommand) ([]noteEvent, error) {
				if c == (note{"panic"}) && d.broken.Load() {
					panic("broken")
				}
				return []noteEvent{noted(c.(note))}, nil
			},
			Evolve: func(s notes, _ noteEvent) notes { return notes{s.Count + 1} },
		})
	}
	d.desk, d.post = notesOf("Desk", false), notesOf("Post", true)
	d.rows = readmodel.New(readmodel.Spec[noteRow]{
		Name: "Notes",
		Projections: readmodel.Projections[noteRow]{
			readmodel.On(d.desk, d.project), readmodel.On(d.post, d.project),
		},
	})
	latch := counter.New(counter.Spec{Name: "Latch"})
	policy := automation.New(automation.Spec{
		Name: "Policy",
		Rules: automation.Rules{
			automation.On(d.desk, func(e message.Event[noteEvent]) message.Actions {
				verb, _, _ := strings.Cut(e.Data.(noted).Text, " ")
				switch verb {
				case "forward":
					return message.Actions{d.post.To(e.EntityID, note{"forwarded"})}
				case "remind":
					return message.Actions{schedule.Create(e.EntityID, schedule.At(e.RecordedAt.Add(time.Hour)), d.post.To(e.EntityID, note{"reminder"}))}
				case "forget":
					return message.Actions{schedule.Delete(e.EntityID)}
				case "later":
					return message.Actions{d.post.To(e.EntityID, note{"at last"}).After(2 * time.Hour)}
				case "expect":
					return message.Actions{latch.AddTarget(e.EntityID, e.Position.String(), 3)}
				case "count":
					return message.Actions{latch.Count(e.EntityID, e.Position.String(), 1)}
				}
				return nil
			}),
			automation.On(latch, func(e message.Event[counter.Finished]) message.Actions {
				return message.Actions{d.desk.To(e.EntityID, note{"finished"})}
			}),
		},
		Sends: plugin.Components{d.desk, d.post, latch},
	})
	effect := automation.NewSideEffect(automation.SideEffectSpec{
		Name: "Effect",
		Effects: automation.Effects{automation.Do(d.desk, func(_ context.Context, env plugin.Env, _ message.Event[noteEvent]) error {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.effects = append(d.effects, env.IdempotencyKey())
			return nil
		})},
	})
	intake := task.New(task.Spec{
		Name: "Intake", Bucket: d.drop, Suffix: ".txt", Sends: plugin.Components{d.post},
		Created: func(ctx context.Context, env plugin.Env, o task.Object) (message.Actions, error) {
			body, err := d.drop.Open(env).Get(ctx, o.Key)
			if errors.Is(err, driver.ErrNotFound) {
				return nil, nil
			}
			if err != nil {
				return nil, err
			}
			defer body.Close()
			var actions message.Actions
			for lines := bufio.NewScanner(body); lines.Scan(); {
				actions = append(actions, d.post.To(strings.TrimSuffix(o.Key, ".txt"), note{lines.Text()}))
			}
			d.saw("created " + o.Key)
			return actions, nil
		},
		Removed: func(_ context.Context, _ plugin.Env, o task.Object) (message.Actions, error) {
			d.saw("removed " + o.Key)
			return nil, nil
		},
	})
	hourly := schedule.New(schedule.Spec{Name: "Hourly", Rate: schedule.Every(time.Hour), Send: d.post.To("clock", note{"tick"})})
	d.app = reventless.New("depot", plugin.New(plugin.Spec{
		Name: "Test", Heartbeat: -1, Components: plugin.Components{d.desk, d.post, d.rows, latch, policy, effect, d.drop, intake, hourly},
	}))
	return d
}

func (d *depot) project(e message.Event[noteEvent]) readmodel.Changes[noteRow] {
	text := e.Data.(noted).Text
	if text == "spoilt" && d.broken.Load() {
		panic("broken")
	}
	return readmodel.UpdateOrCreate(e.EntityID, noteRow{}, func(r *noteRow) { r.Texts = append(r.Texts, text) })
}

func (d *depot) saw(file string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.files = append(d.files, file)
}

// life is an App whose host is stopped and started again.
type life struct {
	*local.Host
	*depot
	t     *testing.T
	clock *reventlesstest.Clock
	path  string
	// stop ends the process and returns the path of the database for the next process.
	stop func() (path string)
}

// inEveryWay runs a test twice: with processes that are closed and with processes that
// crash.
func inEveryWay(t *testing.T, f func(l *life)) {
	for name, crash := range map[string]bool{"closed": false, "crashed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &life{t: t, depot: newDepot(), clock: reventlesstest.NewClock(time.Time{}), path: filepath.Join(t.TempDir(), "app.db")}
			l.stop = func() string {
				if !crash {
					l.close()
					return l.path
				}
				// The next process gets a copy of the files as they are now. The old process is
				// closed later and changes only the original files.
				copied := snapshotOf(t, l.path)
				l.close()
				return copied
			}
			l.open()
			t.Cleanup(l.close)
			f(l)
		})
	}
}

func (l *life) open() {
	l.t.Helper()
	var err error
	l.Host, err = local.Open(l.t.Context(), l.app, l.path, &local.Options{Now: l.clock.Now, Logger: silent, Backoff: atOnce, MaxAttempts: 3})
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *life) close() {
	l.t.Helper()
	if err := l.Host.Close(); err != nil {
		l.t.Errorf("close: %v", err)
	}
}

// run starts the consumers and waits until the host is idle.
func (l *life) run() {
	l.t.Helper()
	if err := l.Start(l.t.Context()); err != nil {
		l.t.Fatal(err)
	}
	l.idle()
}

func (l *life) idle() {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), patience)
	defer cancel()
	if err := l.WaitIdle(ctx); err != nil {
		l.t.Fatal(err)
	}
}

// restart stops the process, advances the clock and starts the next process.
func (l *life) restart(pass time.Duration) {
	l.t.Helper()
	l.path = l.stop()
	l.clock.Advance(pass)
	l.open()
	l.run()
}

func (l *life) note(a *aggregate.Aggregate[notes, noteCommand, noteEvent], id, text string) message.Outcome {
	l.t.Helper()
	o, err := l.Send(l.t.Context(), "", a.To(id, note{text}))
	if err != nil {
		l.t.Fatal(err)
	}
	return o
}

// history returns the notes of an entity.
func (l *life) history(aggregate, id string) (texts []string) {
	l.t.Helper()
	for c, err := range l.Events(l.t.Context(), aggregate, id) {
		if err != nil {
			l.t.Fatal(err)
		}
		for _, e := range c.Events {
			texts = append(texts, strings.TrimSuffix(strings.TrimPrefix(string(e.Data), `{"Text":"`), `"}`))
		}
	}
	return texts
}

func (l *life) want(aggregate, id string, want ...string) {
	l.t.Helper()
	if got := l.history(aggregate, id); !slices.Equal(got, want) {
		l.t.Errorf("%s %s has %q, want %q", aggregate, id, got, want)
	}
}

func (l *life) wantRow(id string, want ...string) {
	l.t.Helper()
	row, _, err := l.rows.Open(l.Env()).Get(l.t.Context(), id)
	if err != nil {
		l.t.Fatal(err)
	}
	if !slices.Equal(row.Texts, want) {
		l.t.Errorf("the row of %s has %q, want %q", id, row.Texts, want)
	}
}

func (l *life) deadLetters() []driver.DeadLetter {
	l.t.Helper()
	letters, err := l.Parked(l.t.Context(), "")
	if err != nil {
		l.t.Fatal(err)
	}
	return letters
}

// snapshotOf copies an idle, open database and its buckets, as a power failure would
// leave them.
func snapshotOf(t *testing.T, path string) string {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "app.db")
	for _, suffix := range []string{"", "-wal"} {
		data, err := os.ReadFile(path + suffix)
		if err == nil {
			err = os.WriteFile(copied+suffix, data, 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	from, to := path+".buckets", copied+".buckets"
	err := os.CopyFS(to, os.DirFS(from))
	if err == nil { // the copies need the same modification times to be the same objects
		err = filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			return os.Chtimes(filepath.Join(to, strings.TrimPrefix(path, from)), info.ModTime(), info.ModTime())
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return copied
}

func TestQueuedCommandsSurvive(t *testing.T) {
	t.Parallel()
	inEveryWay(t, func(l *life) {
		const n = 70 // more than one batch
		var sent []string
		outcomes := map[string]message.Outcome{}
		for i := range n { // not started: they stay in the queue
			o := l.note(l.post, "p", fmt.Sprint(i))
			if o.Kind != driver.Pending {
				t.Fatalf("got %+v, want it pending", o)
			}
			outcomes[o.CommandID] = o
			sent = append(sent, fmt.Sprint(i))
		}
		l.path = l.stop()
		l.open()
		for id := range outcomes {
			if o, err := l.Outcome(t.Context(), outcomes[id].Target, id); err != nil || o.Kind != driver.Pending {
				t.Errorf("before the start: got %+v, %v, want it pending", o, err)
			}
		}
		l.want("Post", "p")
		l.run()
		for range 2 {
			l.want("Post", "p", sent...)
			for id := range outcomes {
				if o, err := l.Outcome(t.Context(), outcomes[id].Target, id); err != nil || o.Kind != driver.Accepted || o.EventCount != 1 || o.SequenceNr == 0 {
					t.Errorf("got %+v, %v, want it accepted", o, err)
				}
			}
			l.restart(time.Hour)
		}
		l.restart(24 * time.Hour)
		for id := range outcomes {
			if o, err := l.Outcome(t.Context(), outcomes[id].Target, id); !errors.Is(err, driver.ErrNotFound) {
				t.Errorf("after a day: got %+v, %v, want ErrNotFound", o, err)
			}
		}
	})
}

func TestSchedulesSurvive(t *testing.T) {
	t.Parallel()
	inEveryWay(t, func(l *life) {
		l.run()
		l.note(l.desk, "a", "remind me")
		l.note(l.desk, "b", "remind me")
		l.note(l.desk, "c", "later")
		l.idle()
		l.restart(50 * time.Minute)
		l.note(l.desk, "b", "forget it")
		l.idle()
		l.want("Post", "a")
		l.want("Post", "clock")
		l.restart(11 * time.Minute)
		l.want("Post", "a", "reminder")
		l.want("Post", "b")
		l.want("Post", "c")
		l.want("Post", "clock", "tick")
		// After a long pause each overdue schedule fires once.
		l.restart(10 * time.Hour)
		l.want("Post", "a", "reminder")
		l.want("Post", "b")
		l.want("Post", "c", "at last")
		l.want("Post", "clock", "tick", "tick")
		l.restart(30 * time.Minute)
		l.want("Post", "c", "at last")
		l.want("Post", "clock", "tick", "tick")
		l.restart(30 * time.Minute)
		l.want("Post", "clock", "tick", "tick", "tick")
		if letters := l.deadLetters(); len(letters) > 0 {
			t.Errorf("parked: %+v", letters)
		}
	})
}

func TestEventsAreNotConsumedTwice(t *testing.T) {
	t.Parallel()
	inEveryWay(t, func(l *life) {
		l.run()
		want := map[string][]string{}
		var forwarded []string
		for round := range 4 {
			for _, id := range []string{"a", "b"} {
				l.note(l.desk, id, fmt.Sprintf("forward %d", round))
				want[id] = append(want[id], fmt.Sprintf("forward %d", round))
			}
			l.idle()
			forwarded = append(forwarded, "forwarded")
			l.restart(0)
			for id := range want {
				l.want("Desk", id, want[id]...)
				l.want("Post", id, forwarded...)
				row, _, err := l.rows.Open(l.Env()).Get(t.Context(), id)
				if err != nil || len(row.Texts) != 2*len(want[id]) {
					t.Errorf("round %d: the row of %s has %q, %v", round, id, row.Texts, err)
				}
			}
			l.mu.Lock()
			once := slices.Compact(slices.Sorted(slices.Values(l.effects)))
			if len(l.effects) != 2*(round+1) || len(once) != len(l.effects) {
				t.Errorf("round %d: the side effect was called with %q", round, l.effects)
			}
			l.mu.Unlock()
		}
	})
}

func TestCountersSurvive(t *testing.T) {
	t.Parallel()
	inEveryWay(t, func(l *life) {
		l.run()
		want := []string{"count 1", "expect 3", "count 2", "count 3"}
		for _, text := range want {
			l.want("Latch", "a")
			l.note(l.desk, "a", text)
			l.idle()
			l.restart(0)
		}
		l.want("Desk", "a", append(want, "finished")...)
		l.want("Latch", "a", `{"target":3}`)
		l.note(l.desk, "a", "count 4")
		l.restart(0)
		l.want("Desk", "a", append(want, "finished", "count 4")...)
	})
}

func TestDeadLettersSurvive(t *testing.T) {
	t.Parallel()
	inEveryWay(t, func(l *life) {
		l.run()
		l.broken.Store(true)
		l.note(l.desk, "good", "one")
		for _, text := range []string{"one", "spoilt", "three"} {
			l.note(l.desk, "bad", text)
			l.note(l.desk, "worse", text)
		}
		queued := l.note(l.post, "q", "panic")
		l.idle()

		letters := l.deadLetters()
		kinds := map[string]string{}
		for _, p := range letters {
			kinds[p.ID] = fmt.Sprintf("%s %s %s %d %d", p.Component, p.Kind, p.Stream, p.SequenceNr, p.Attempts)
		}
		want := []string{"Test.Notes Commit bad 2 3", "Test.Notes Commit worse 2 3", "Test.Post Command q 0 3"}
		if got := slices.Sorted(maps.Values(kinds)); !slices.Equal(got, want) {
			t.Fatalf("parked: %q, want %q", got, want)
		}
		l.restart(0)
		if again := l.deadLetters(); !reflect.DeepEqual(again, letters) {
			t.Errorf("after the restart %+v are parked, before it %+v", again, letters)
		}
		// Only the streams behind the dead letters are blocked.
		l.note(l.desk, "bad", "four")
		l.note(l.desk, "good", "two")
		l.idle()
		l.wantRow("bad", "one")
		l.wantRow("good", "one", "two")
		id := func(stream string) string {
			for id, kind := range kinds {
				if strings.Contains(kind, " "+stream+" ") {
					return id
				}
			}
			t.Fatalf("no dead letter for %s in %v", stream, kinds)
			return ""
		}
		if err := l.Redrive(t.Context(), id("bad")); err == nil {
			t.Error("a redrive with the cause still there succeeds")
		}
		l.broken.Store(false)
		l.restart(0)
		l.wantRow("bad", "one") // repaired, but not redriven
		for _, stream := range []string{"bad", "q"} {
			if err := l.Redrive(t.Context(), id(stream)); err != nil {
				t.Error(err)
			}
		}
		if err := l.Discard(t.Context(), id("worse")); err != nil {
			t.Error(err)
		}
		l.note(l.desk, "bad", "five")
		for range 2 {
			l.idle()
			l.wantRow("bad", "one", "spoilt", "three", "four", "five")
			l.wantRow("worse", "one", "three")
			l.want("Post", "q", "panic")
			if o, err := l.Outcome(t.Context(), queued.Target, queued.CommandID); err != nil || o.Kind != driver.Accepted {
				t.Errorf("the redriven command: got %+v, %v, want it accepted", o, err)
			}
			if letters := l.deadLetters(); len(letters) > 0 {
				t.Errorf("parked: %+v", letters)
			}
			l.restart(0)
		}
	})
}

func TestFilesDroppedInTheMeantime(t *testing.T) {
	t.Parallel()
	inEveryWay(t, func(l *life) {
		l.run()
		file := func(path string) string { return filepath.Join(path+".buckets", "Test.Drop", "in.txt") }
		put := func(text string) {
			t.Helper()
			if err := os.WriteFile(file(l.path), []byte(text), 0o666); err != nil {
				t.Fatal(err)
			}
			// Changes within one tick of the file system's clock cannot be distinguished.
			l.clock.Advance(time.Second)
			if err := os.Chtimes(file(l.path), l.clock.Now(), l.clock.Now()); err != nil {
				t.Fatal(err)
			}
		}
		l.path = l.stop()
		put("one\ntwo\n")
		l.open()
		l.run()
		l.want("Post", "in", "one", "two")
		l.restart(0) // reported once
		l.want("Post", "in", "one", "two")

		l.path = l.stop()
		put("three\n")
		l.open()
		l.run()
		l.want("Post", "in", "one", "two", "three")

		l.path = l.stop()
		if err := os.Remove(file(l.path)); err != nil {
			t.Fatal(err)
		}
		l.open()
		l.run()
		l.restart(0)
		l.want("Post", "in", "one", "two", "three")
		if want := []string{"created in.txt", "created in.txt", "removed in.txt"}; !slices.Equal(l.files, want) {
			t.Errorf("the task was called with %q, want %q", l.files, want)
		}
	})
}
