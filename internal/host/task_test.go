package host_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/faults"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/reventlesstest"
	"github.com/reventless-go/reventless/schedule"
	"github.com/reventless-go/reventless/task"
)

// inbox is an App with a task that puts numbers into the jars that files name.
type inbox struct {
	jar    *jarAggregate
	bucket *task.Bucket
	task   *task.Task

	mu    sync.Mutex
	calls []string
	keys  []string
	fail  func(what string) error
}

func newInbox() *inbox { return inboxOf(newJar()) }

func inboxOf(jar *jarAggregate) *inbox {
	b := &inbox{jar: jar, bucket: task.NewBucket(task.BucketSpec{Name: "Inbox"})}
	call := func(what string, o task.Object, env plugin.Env) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.calls = append(b.calls, what+" "+o.Key)
		b.keys = append(b.keys, env.IdempotencyKey())
		if b.fail != nil {
			return b.fail(what + " " + o.Key)
		}
		return nil
	}
	b.task = task.New(task.Spec{
		Name: "Reader", Bucket: b.bucket, Prefix: "in/", Suffix: ".txt", Sends: plugin.Components{b.jar},
		Created: func(ctx context.Context, env plugin.Env, o task.Object) ([]message.Action, error) {
			if err := call("created", o, env); err != nil {
				return nil, err
			}
			f, err := b.bucket.Open(env).Get(ctx, o.Key)
			if errors.Is(err, driver.ErrNotFound) {
				return nil, nil
			} else if err != nil {
				return nil, err
			}
			text, err := io.ReadAll(f)
			if err := errors.Join(err, f.Close()); err != nil {
				return nil, err
			}
			return []message.Action{b.jar.To(string(text), Put{N: 1}), b.jar.To(string(text), Put{N: 2})}, nil
		},
		Removed: func(_ context.Context, env plugin.Env, o task.Object) ([]message.Action, error) {
			return []message.Action{b.jar.To("removed", Put{N: 1})}, call("removed", o, env)
		},
	})
	return b
}

func (b *inbox) start(t *testing.T, with ...func(*setup)) *run {
	return start(t, app(b.jar, b.bucket, b.task), with...)
}

func (b *inbox) put(r *run, key, text string) {
	r.t.Helper()
	files, _ := r.Bucket(b.bucket.Definition())
	if err := files.Put(r.t.Context(), key, strings.NewReader(text)); err != nil {
		r.t.Fatal(err)
	}
}

func (b *inbox) remove(r *run, key string) {
	r.t.Helper()
	files, _ := r.Bucket(b.bucket.Definition())
	if err := files.Delete(r.t.Context(), key); err != nil {
		r.t.Fatal(err)
	}
}

// of returns the calls for a key.
func (b *inbox) of(key string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []string
	for _, c := range b.calls {
		if strings.HasSuffix(c, " "+key) {
			out = append(out, strings.TrimSuffix(c, " "+key))
		}
	}
	return out
}

func TestTaskIsCalledForCreatedAndRemovedObjects(t *testing.T) {
	t.Parallel()
	b := newInbox()
	r := b.start(t)
	b.put(r, "in/1 +ü.txt", "a")
	b.put(r, "in/other.csv", "b")
	b.put(r, "out/2.txt", "c")
	r.idle()
	b.remove(r, "in/1 +ü.txt")
	r.idle()
	wantEqual(t, "calls", fmt.Sprint(b.calls), "[created in/1 +ü.txt removed in/1 +ü.txt]")
	wantEqual(t, "events", r.history("Shop.Jar", "a"), []string{`Added{"n":1}`, `Added{"n":2}`})
	wantEqual(t, "events", len(r.history("Shop.Jar", "removed")), 1)
	wantEqual(t, "commits", len(r.commits("Shop.Jar", "")), 2)
	r.wantNothingParked()
}

func TestFailingObjectIsParkedAndRedrivenAndOthersAreHandled(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"error", "panic", "undeclared target"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			b := newInbox()
			b.fail = func(what string) error {
				switch {
				case what != "created in/bad.txt":
				case kind == "error":
					return errors.New("cannot be read")
				case kind == "panic":
					panic("cannot be read")
				}
				return nil
			}
			if kind == "undeclared target" {
				other := newJar(named("Other"))
				b.task = task.New(task.Spec{
					Name: "Reader", Bucket: b.bucket, Sends: plugin.Components{b.jar},
					Created: func(_ context.Context, env plugin.Env, o task.Object) ([]message.Action, error) {
						b.mu.Lock()
						defer b.mu.Unlock()
						b.calls = append(b.calls, "created "+o.Key)
						if o.Key == "in/bad.txt" && b.fail != nil {
							return []message.Action{other.To("x", Put{})}, nil
						}
						return []message.Action{b.jar.To(o.Key[3:5], Put{N: 1}), b.jar.To(o.Key[3:5], Put{N: 2})}, nil
					},
				})
			}
			r := b.start(t)
			for _, key := range []string{"in/g1.txt", "in/bad.txt", "in/g2.txt"} {
				b.put(r, key, key[3:5])
			}
			r.idle()
			wantEqual(t, "attempts of the bad one", len(b.of("in/bad.txt")), 5)
			for _, good := range []string{"g1", "g2"} {
				wantEqual(t, "calls of "+good, len(b.of("in/"+good+".txt")), 1)
				wantEqual(t, "events of "+good, len(r.history("Shop.Jar", good)), 2)
			}
			l := r.deadLetter()
			if l.Kind != driver.DeadObject || l.Component != "Shop.Reader" || l.Stream != "in/bad.txt" || l.Attempts != 5 {
				t.Errorf("got dead letter %+v", l)
			}
			if kind == "undeclared target" {
				wantText(t, l.Reason, "Shop.Reader", "Other")
			}
			if err := r.Redrive(t.Context(), l.ID); err == nil {
				t.Error("redrive of what still fails: no error")
			}
			b.mu.Lock()
			b.fail = nil
			b.mu.Unlock()
			r.redrive(l.ID)
			r.finish()
			wantEqual(t, "events", len(r.history("Shop.Jar", "ba")), 2)
			if kind == "error" {
				if keys := slices.Compact(slices.Clone(b.keys)); len(keys) != 3+1 && len(keys) != 3 {
					t.Errorf("got keys %v, want the same at every repetition", b.keys)
				}
			}
		})
	}
}

// Later events of a key wait while the first one is retried.
func TestEventsOfOneObjectStayInOrderWhenTheFirstFails(t *testing.T) {
	t.Parallel()
	b := newInbox()
	failures := 3
	b.fail = func(what string) error {
		if what == "created in/x.txt" && failures > 0 {
			failures--
			return errors.New("not yet")
		}
		return nil
	}
	r := b.start(t, asleep)
	b.put(r, "in/x.txt", "a")
	b.put(r, "in/y.txt", "b")
	b.remove(r, "in/x.txt")
	r.work()
	wantEqual(t, "calls", b.of("in/x.txt"), []string{"created", "created", "created", "created", "removed"})
	wantEqual(t, "calls of the other", b.of("in/y.txt"), []string{"created"})
	r.wantNothingParked()
}

func TestRepeatedTaskSendsItsCommandsOnce(t *testing.T) {
	t.Parallel()
	for _, w := range lostWays {
		for _, op := range []string{"CommandTopic.Send", "Bucket.Get", "EventLog.Append"} {
			t.Run(op+" "+w.name, func(t *testing.T) {
				t.Parallel()
				b := newInbox()
				r := b.start(t)
				name := map[string]string{"Bucket.Get": "Shop.Inbox"}[op]
				if name == "" {
					name = "Shop.Jar"
				}
				times := 3 // fewer than MaxAttempts: an error of the bucket counts as the task's own
				r.faults.Inject(faults.Rule{Op: op, Name: name, Times: times, Err: w.err, After: w.after})
				b.put(r, "in/1.txt", "a")
				r.finish()
				wantEqual(t, "events", r.history("Shop.Jar", "a"), []string{`Added{"n":1}`, `Added{"n":2}`})
			})
		}
	}
}

func TestScheduledTaskRunsAtItsTimesAndIsParkedAndRedriven(t *testing.T) {
	t.Parallel()
	jar := newJar()
	var mu sync.Mutex
	var dues []string
	keys := map[string]bool{}
	failing := false
	nightly := task.New(task.Spec{
		Name: "Nightly", Rate: schedule.Every(10 * time.Minute), Sends: plugin.Components{jar},
		Run: func(_ context.Context, env plugin.Env, due time.Time) ([]message.Action, error) {
			mu.Lock()
			defer mu.Unlock()
			if len(dues) == 0 || dues[len(dues)-1] != due.Format("15:04") {
				dues = append(dues, due.Format("15:04"))
			}
			keys[env.IdempotencyKey()] = true
			actions := []message.Action{jar.To("a", Put{N: due.Minute()})}
			if failing {
				actions = append(actions, jar.To("", Put{})) // fails after the first action
				return actions, nil
			}
			return actions, nil
		},
	})
	// The start is between two seconds, so the due times have fractions.
	clock := reventlesstest.NewClock(time.Time{})
	clock.Advance(123 * time.Millisecond)
	r := start(t, app(jar, nightly), func(s *setup) { s.clock = clock })
	r.advance(10 * time.Minute)
	mu.Lock()
	failing = true
	mu.Unlock()
	r.advance(10 * time.Minute)
	mu.Lock()
	failing = false
	mu.Unlock()
	r.advance(10 * time.Minute)
	wantEqual(t, "due", dues, []string{"09:10", "09:20", "09:30"})
	wantEqual(t, "keys", len(keys), 3)
	l := r.deadLetter()
	if l.Kind != driver.DeadFiring || l.Component != "Shop.Nightly" || l.Attempts != 5 {
		t.Errorf("got dead letter %+v", l)
	}
	r.redrive(l.ID)
	r.finish()
	wantEqual(t, "keys", len(keys), 3)
	wantEqual(t, "events", r.history("Shop.Jar", "a"), []string{`Added{"n":10}`, `Added{"n":30}`, `Added{"n":20}`})
}
