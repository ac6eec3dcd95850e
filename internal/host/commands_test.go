package host_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/internal/faults"
	"github.com/reventless-go/reventless/internal/typed"
	"github.com/reventless-go/reventless/message"
)

var errUnknown = errors.New("the disk is on fire")

// lostWays are the ways in which a call can fail.
var lostWays = []struct {
	name  string
	err   error
	after bool
}{
	{"unavailable before", driver.ErrUnavailable, false},
	{"unavailable after", driver.ErrUnavailable, true},
	{"throttled before", driver.ErrThrottled, false},
	{"throttled after", driver.ErrThrottled, true},
	{"unknown before", errUnknown, false},
	{"unknown after", errUnknown, true},
	{"deadline before", context.DeadlineExceeded, false},
	{"deadline after", context.DeadlineExceeded, true},
}

func TestBatchWithOneOfEverythingHandlesEachCommandByItself(t *testing.T) {
	t.Parallel()
	jar := newJar(func(s *jarSpec) { s.Async = true })
	r := start(t, app(jar), limited(driver.Limits{MaxCommitBytes: 4 << 10}), asleep)
	failing := r.faults.Inject(faults.Rule{Op: "EventLog.Append", Key: "failing", Times: 3, Err: errUnknown})

	broken := command("undecodable", "b", Put{})
	broken.Data = []byte(`{"n":"many"}`)
	stray := command("unroutable", "c", Put{N: 1})
	stray.Target = "Shop.Elsewhere"
	batch := []driver.Command{
		command("1", "a", Put{N: 1}), command("oversized", "a", Put{N: 9, Note: strings.Repeat("x", 6<<10)}), broken, stray, command("rejected", "d", Refuse{Code: "No"}),
		command("failing", "failing", Put{N: 7}), command("2", "a", Put{N: 2}), command("3", "e", Put{N: 3}),
		command("behind", "failing", Put{N: 8}), command("4", "b", Put{N: 4}), command("idle", "f", Release{}),
	}
	r.enqueue(batch...)
	r.work()

	for stream, want := range map[string]string{
		"a": `[Added{"n":1} Added{"n":2}]`, "b": `[Added{"n":4}]`, "c": "[]", "d": "[]", "e": `[Added{"n":3}]`, "f": "[]",
		"failing": `[Added{"n":7} Added{"n":8}]`,
	} {
		wantEqual(t, "events of "+stream, fmt.Sprint(r.history("Shop.Jar", stream)), want)
	}
	if failing.Hits() != 3 {
		t.Errorf("the failing append was tried %d times before it succeeded, want 3", failing.Hits())
	}
	letters := r.deadLetters()
	if len(letters) != 3 {
		t.Fatalf("got %d dead letters, want those of the oversized, the undecodable and the unroutable command: %+v", len(letters), letters)
	}
	wantText(t, letters[0].ID+letters[0].Reason, "oversized", "limit of 4096")
	wantText(t, letters[1].Reason, "undecodable", "malformed payload")
	wantText(t, letters[2].Reason, "unroutable", "Shop.Elsewhere")
	for _, l := range letters {
		if l.Component != "Shop.Jar" || l.Kind != driver.DeadCommand || l.Attempts != 1 {
			t.Errorf("got dead letter %+v, want it parked at once", l)
		}
	}
	o, err := r.Outcome(t.Context(), "Shop.Jar", "rejected")
	if err != nil || o.Kind != driver.Rejected || o.Code != "No" {
		t.Errorf("outcome of the rejected command: got %+v, %v", o, err)
	}
	for _, id := range []string{"1", "2", "3", "4", "failing", "behind", "idle"} {
		if o, err := r.Outcome(t.Context(), "Shop.Jar", id); err != nil || o.Kind != driver.Accepted || o.CommandID != id {
			t.Errorf("outcome of %s: got %+v, %v", id, o, err)
		}
	}
}

func TestStoreFailureIsNeverAReasonToParkACommand(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"EventLog.Append", "EventLog.Load"} {
		for _, err := range []error{driver.ErrUnavailable, driver.ErrThrottled, errUnknown, context.DeadlineExceeded} {
			t.Run(op+" "+err.Error(), func(t *testing.T) {
				t.Parallel()
				r := start(t, app(newJar()), func(s *setup) { s.options.Budget = time.Millisecond })
				fault := r.faults.Inject(faults.Rule{Op: op, Name: "Shop.Jar", Times: 50, Err: err})
				r.enqueue(command("1", "a", Put{N: 1}))
				for fault.Hits() < 50 {
					r.idle()
				}
				r.finish()
				wantEqual(t, "events", r.history("Shop.Jar", "a"), []string{`Added{"n":1}`})
			})
		}
	}
}

func TestPanicFailsOnlyItsCommandAndLaterOnesRunInOrder(t *testing.T) {
	t.Parallel()
	for _, bad := range []Command{Explode{Text: "boom"}, Crack{}} {
		t.Run(bad.MessageType(), func(t *testing.T) {
			t.Parallel()
			r := start(t, app(newJar()), asleep)
			r.enqueue(
				command("1", "a", Put{N: 1}), command("bad", "a", bad), command("2", "a", Put{N: 2}),
				command("3", "b", Put{N: 3}), command("4", "a", Put{N: 4}),
			)
			r.work()
			wantEqual(t, "events", r.history("Shop.Jar", "a"), []string{`Added{"n":1}`, `Added{"n":2}`, `Added{"n":4}`})
			wantEqual(t, "events of the other entity", r.history("Shop.Jar", "b"), []string{`Added{"n":3}`})
			l := r.deadLetter()
			wantText(t, l.ID, "bad")
			wantText(t, l.Reason, "panic")
			wantEqual(t, "attempts", l.Attempts, 5)
		})
	}
}

func TestRejectionThatDependsOnAnUnsavedEventWaitsForIt(t *testing.T) {
	t.Parallel()
	// The second claim is rejected because of the first. The first loses a race against
	// a rival, so the rejection must name the rival.
	r := start(t, app(newJar(func(s *jarSpec) { s.Async = true })), asleep)
	rival := start(t, app(newJar()), on(r), asleep)
	r.faults.Inject(faults.Rule{Op: "EventLog.Append", Key: "a", Do: func() {
		rival.accept("rival", newSend(rival, "a", Claim{By: "rival"}))
	}})
	r.enqueue(command("1", "a", Claim{By: "ada"}), command("2", "a", Claim{By: "bob"}))
	r.work()
	for _, id := range []string{"1", "2"} {
		o, err := r.Outcome(t.Context(), "Shop.Jar", id)
		if err != nil || o.Kind != driver.Rejected || string(o.Detail) != `"rival"` {
			t.Errorf("outcome of %s: got %+v, %v", id, o, err)
		}
	}
}

// newSend addresses a command to the Jar of the App that r runs.
func newSend(r *run, id string, c Command) message.Send {
	d, _ := r.App().Lookup("Shop.Jar")
	return typed.Send(d, id, newJar().Spec().Commands.Erased(), c)
}

func TestWarmCommandIsOneCallAndColdOneTwo(t *testing.T) {
	t.Parallel()
	jar := newJar()
	r := start(t, app(jar))
	calls := func() (n int) {
		for _, op := range []string{"Append", "Load", "Read", "Scan"} {
			n += r.faults.Calls("EventLog."+op, "Shop.Jar")
		}
		return n
	}
	for i, want := range []int{2, 3, 4, 5} {
		r.accept(fmt.Sprint(i), jar.To("a", Put{N: 1}))
		wantEqual(t, fmt.Sprintf("calls after command %d", i), calls(), want)
	}
	// The error of a lost append contains the commit of the other writer: one more
	// append, but no read.
	rival := start(t, app(newJar()), on(r), asleep)
	rival.accept("rival", newSend(rival, "a", Put{N: 10}))
	r.accept("lost", jar.To("a", Put{N: 1}))
	wantEqual(t, "calls after a lost condition", calls(), 5+2)
	wantEqual(t, "appends", r.faults.Calls("EventLog.Append", "Shop.Jar"), 6)
	wantEqual(t, "events", len(r.history("Shop.Jar", "a")), 6)
	// A rejection is one read.
	r.send("no", jar.To("a", Refuse{Code: "No"}))
	wantEqual(t, "calls after a rejection", calls(), 5+2+1)
}

func TestRejectionIsDecidedOnTheLatestState(t *testing.T) {
	t.Parallel()
	// One of two warm hosts has an outdated state. A rejection or a no-op appends
	// nothing, so no conflict shows that the state is outdated.
	jar := newJar()
	one := start(t, app(jar))
	two := start(t, app(jar), on(one))
	one.accept("1", jar.To("a", Claim{By: "ada"}))
	two.accept("2", jar.To("a", Put{N: 1}))
	two.accept("3", jar.To("a", Release{}))
	if o := one.send("4", jar.To("a", Claim{By: "bob"})); o.Kind != driver.Accepted {
		t.Errorf("claim of a free jar: got %+v, want it accepted", o)
	}
	if o := two.send("5", jar.To("a", Release{})); o.EventCount != 1 {
		t.Errorf("release of a taken jar: got %+v, want one event", o)
	}
}

func TestWritersWithClocksHoursApartLoseNoUpdate(t *testing.T) {
	t.Parallel()
	jar := newJar(func(s *jarSpec) { s.SnapshotEvery = 7 })
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	clock := func(offset time.Duration) func(*setup) {
		return func(s *setup) { s.options.Now = func() time.Time { return now.Add(offset) } }
	}
	one := start(t, app(jar), clock(-5*time.Hour))
	two := start(t, app(jar), on(one), clock(7*time.Hour))
	const each = 60
	var wg sync.WaitGroup
	numbers := make([][]uint64, 2)
	for i, r := range []*run{one, two} {
		wg.Go(func() {
			for n := range each {
				o, err := r.try(fmt.Sprintf("%d-%d", i, n), jar.To("a", Put{N: 1}))
				if err != nil || o.Kind != driver.Accepted {
					t.Errorf("got %+v, %v", o, err)
				}
				numbers[i] = append(numbers[i], o.SequenceNr)
			}
		})
	}
	wg.Wait()
	commits := one.commits("Shop.Jar", "a")
	if len(commits) != 2*each {
		t.Errorf("got %d commits, want %d", len(commits), 2*each)
	}
	for i, n := range numbers {
		if !slices.IsSorted(n) {
			t.Errorf("writer %d got the sequence numbers %v, which are not ascending", i, n)
		}
	}
	both := slices.Concat(numbers...)
	slices.Sort(both)
	if both = slices.Compact(both); len(both) != 2*each || both[0] != 1 || both[len(both)-1] != 2*each {
		t.Errorf("the sequence numbers are not 1 to %d, each once: %v", 2*each, both)
	}
	// The last snapshot contains all of them.
	for _, c := range slices.Backward(commits) {
		if c.Snapshot != nil {
			wantEqual(t, "snapshot", string(c.Snapshot.State), fmt.Sprintf(`{"sum":%d,"count":%[1]d,"by":""}`, c.SequenceNr))
			return
		}
	}
	t.Error("no snapshot was taken")
}

func TestClosedHostRefusesCommands(t *testing.T) {
	t.Parallel()
	jar := newJar()
	r := start(t, app(jar))
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := 0; ; n++ {
				if o, err := r.try(fmt.Sprintf("%d-%d", i, n), jar.To(fmt.Sprint(n%5), Put{N: 1})); err != nil {
					return
				} else if o.Kind != driver.Accepted {
					t.Errorf("got %+v", o)
				}
			}
		})
	}
	r.accept("before", jar.To("z", Put{N: 1}))
	r.stop()
	wg.Wait()
	_, err := r.try("after", jar.To("a", Put{N: 1}))
	wantIs(t, err, driver.ErrUnavailable)
}

func TestCanceledCommandMayTakeEffectOnce(t *testing.T) {
	t.Parallel()
	jar := newJar()
	r := start(t, app(jar))
	ctx, cancel := context.WithCancel(t.Context())
	entered, leave := make(chan struct{}), make(chan struct{})
	r.faults.Inject(faults.Rule{Op: "EventLog.Append", Do: func() {
		close(entered)
		<-leave
	}})
	errs := make(chan error)
	go func() {
		_, err := r.SendAction(ctx, "1", driver.Meta{}, jar.To("a", Put{N: 1}).Erased())
		errs <- err
	}()
	<-entered
	cancel()
	err := <-errs
	wantIs(t, err, context.Canceled)
	close(leave)
	if o := r.accept("1", jar.To("a", Put{N: 1})); o.SequenceNr != 1 {
		t.Errorf("the repetition got %+v, want commit 1", o)
	}
	wantEqual(t, "events", r.history("Shop.Jar", "a"), []string{`Added{"n":1}`})
}

func TestBadInputIsRefusedAndNothingIsStored(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 10<<10)
	good := command("id", "a", Put{N: 1})
	with := func(f func(*driver.Command)) driver.Command {
		c := good
		f(&c)
		return c
	}
	for name, tc := range map[string]struct {
		command driver.Command
		class   error
		also    error
	}{
		"empty entity":          {with(func(c *driver.Command) { c.Entity = "" }), driver.ErrInvalid, nil},
		"10 KB entity":          {with(func(c *driver.Command) { c.Entity = long }), driver.ErrInvalid, nil},
		"entity not UTF-8":      {with(func(c *driver.Command) { c.Entity = "a\xff" }), driver.ErrInvalid, nil},
		"entity with a newline": {with(func(c *driver.Command) { c.Entity = "a\nb" }), driver.ErrInvalid, nil},
		"10 KB command id":      {with(func(c *driver.Command) { c.Meta.ID = long }), driver.ErrInvalid, nil},
		"command id not UTF-8":  {with(func(c *driver.Command) { c.Meta.ID = "\xff" }), driver.ErrInvalid, nil},
		"unknown type":          {with(func(c *driver.Command) { c.Type = "Smash" }), driver.ErrInvalid, component.ErrUnknownType},
		"no type":               {with(func(c *driver.Command) { c.Type = "" }), driver.ErrInvalid, component.ErrUnknownType},
		"future version":        {with(func(c *driver.Command) { c.Version = 2 }), driver.ErrInvalid, component.ErrFutureVersion},
		"no JSON":               {with(func(c *driver.Command) { c.Data = []byte(`{"n":`) }), driver.ErrInvalid, component.ErrMalformed},
		"other JSON":            {with(func(c *driver.Command) { c.Data = []byte(`[]`) }), driver.ErrInvalid, component.ErrMalformed},
		"deep JSON":             {with(func(c *driver.Command) { c.Data = []byte(strings.Repeat("[", 20_000)) }), driver.ErrInvalid, component.ErrMalformed},
		"oversized": {with(func(c *driver.Command) {
			c.Data = fmt.Appendf(nil, `{"n":1,"note":%q}`, strings.Repeat("x", 70<<10))
		}), driver.ErrTooLarge, nil},
		"unknown target": {with(func(c *driver.Command) { c.Target = "Shop.Box" }), driver.ErrNotFound, nil},
	} {
		for _, async := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, async %v", name, async), func(t *testing.T) {
				t.Parallel()
				r := start(t, app(newJar(func(s *jarSpec) { s.Async = async })), limited(driver.Limits{MaxCommandBytes: 64 << 10}))
				o, err := r.Send(t.Context(), tc.command)
				if err == nil {
					t.Fatalf("got %+v, want an error", o)
				}
				wantIs(t, err, tc.class)
				if tc.also != nil {
					wantIs(t, err, tc.also)
				}
				if len(err.Error()) > 500 {
					t.Errorf("the error has %d bytes", len(err.Error()))
				}
				r.idle()
				if c := r.commits("Shop.Jar", ""); len(c) > 0 {
					t.Errorf("%d commits are stored", len(c))
				}
				r.wantNothingParked()
			})
		}
	}
}

func TestGroupCommitThatIsTooLargeIsSplit(t *testing.T) {
	t.Parallel()
	r := start(t, app(newJar()), limited(driver.Limits{MaxCommitBytes: 4 << 10}), asleep)
	var batch []driver.Command
	for i := range 20 {
		batch = append(batch, command(fmt.Sprint(i), "a", Put{N: i, Note: strings.Repeat("x", 500)}))
	}
	r.enqueue(batch...)
	r.wake()
	r.finish()
	commits := r.commits("Shop.Jar", "a")
	if len(commits) < 4 || len(commits) > 10 {
		t.Errorf("got %d commits, want 4 to 10", len(commits))
	}
	n := 0
	for _, c := range commits {
		for _, a := range c.Commands {
			wantEqual(t, "command", a.Meta.ID, fmt.Sprint(n))
			n++
		}
	}
	wantEqual(t, "commands", n, 20)
}

func TestSnapshotThatDoesNotFitIsLeftOut(t *testing.T) {
	t.Parallel()
	jar := newJar(func(s *jarSpec) {
		s.SnapshotEvery = 1
		s.Evolve = func(s Jar, e Event) Jar {
			s = evolve(s, e)
			s.By = strings.Repeat("y", 3<<10) // a state that is larger than the events
			return s
		}
	})
	r := start(t, app(jar), limited(driver.Limits{MaxCommitBytes: 3 << 10}), asleep)
	r.enqueue(command("1", "a", Put{N: 1}), command("2", "a", Put{N: 2}), command("3", "b", Put{N: 3}))
	r.wake()
	r.finish()
	r.accept("4", jar.To("a", Put{N: 4}))
	wantEqual(t, "events", r.history("Shop.Jar", "a"), []string{`Added{"n":1}`, `Added{"n":2}`, `Added{"n":4}`})
	for _, c := range r.commits("Shop.Jar", "") {
		if c.Snapshot != nil {
			t.Errorf("commit %d of %s has a snapshot", c.SequenceNr, c.Stream)
		}
	}
	// A cold host reads all commits and returns the same outcome.
	again := start(t, app(jar), on(r), asleep)
	if o := again.accept("2", jar.To("a", Put{N: 2})); o.SequenceNr != 1 && o.SequenceNr != 2 {
		t.Errorf("repetition: got %+v", o)
	}
}
