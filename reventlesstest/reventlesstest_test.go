package reventlesstest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/automation"
	"github.com/reventless-go/reventless/counter"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/readmodel"
	"github.com/reventless-go/reventless/reventlesstest"
	"github.com/reventless-go/reventless/schedule"
)

// event is a short form of Event for Book.
func event(id string, events ...message.Typed) reventlesstest.Fact {
	return reventlesstest.Event(Book, id, events...)
}

// recorder is a test that may fail without failing the test around it.
type recorder struct {
	testing.TB
	ctx      context.Context
	helpers  map[string]bool
	cleanups []func()
	failed   bool
	output   strings.Builder
	lines    []string // the files that testing would report for the failures
}

// record runs a test and returns its result.
func record(t *testing.T, test func(t testing.TB)) *recorder {
	t.Helper()
	r := &recorder{ctx: t.Context(), helpers: map[string]bool{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		test(r)
	}()
	<-done
	for i := len(r.cleanups) - 1; i >= 0; i-- {
		r.cleanups[i]()
	}
	return r
}

// fails runs a test that must fail in the test file with all of parts in its output.
func fails(t *testing.T, test func(t testing.TB), parts ...string) {
	t.Helper()
	r := record(t, test)
	if !r.failed {
		t.Errorf("the test passes, want a failure with %q", parts)
		return
	}
	for _, p := range parts {
		if !strings.Contains(r.output.String(), p) {
			t.Errorf("the failure does not contain %q:\n%s", p, r.output.String())
		}
	}
	for _, l := range r.lines {
		if !strings.HasSuffix(l, "_test.go") {
			t.Errorf("the failure is reported at %s, want the line of the step", l)
		}
	}
}

// passes runs a test that must not fail.
func passes(t *testing.T, test func(t testing.TB)) {
	t.Helper()
	if r := record(t, test); r.failed {
		t.Errorf("the test fails:\n%s", r.output.String())
	}
}

func (r *recorder) Helper() {
	pc, _, _, _ := runtime.Caller(1)
	frame, _ := runtime.CallersFrames([]uintptr{pc}).Next()
	r.helpers[frame.Function] = true
}

func (r *recorder) fail(text string) {
	r.failed = true
	fmt.Fprintln(&r.output, text)
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	for {
		frame, more := frames.Next()
		if !r.helpers[frame.Function] || !more {
			r.lines = append(r.lines, frame.File)
			return
		}
	}
}

func (r *recorder) Error(a ...any) { // only at the end of a test, when no step is running
	r.failed = true
	fmt.Fprintln(&r.output, a...)
}

func (r *recorder) Errorf(f string, a ...any) { r.fail(fmt.Sprintf(f, a...)) }

func (r *recorder) Fatalf(f string, a ...any) {
	r.fail(fmt.Sprintf(f, a...))
	runtime.Goexit()
}

func (r *recorder) Failed() bool             { return r.failed }
func (r *recorder) Cleanup(f func())         { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Context() context.Context { return r.ctx }

func TestEventsAreNumberedAndTimed(t *testing.T) {
	t.Parallel()
	var seen []message.Event[BookEvent]
	monday := time.Date(2026, time.March, 2, 10, 0, 0, 0, time.FixedZone("", 3600))
	reventlesstest.ReadModel(t, spy(&seen)).Given(
		event("dune", Lent{Member: "ada"}, Returned{Member: "ada"}),
		event("emma", Lent{Member: "bob"}).At(monday).With(func(m *message.Meta) { m.User = "bob" }),
		event("dune", Lent{Member: "joe"}),
	)
	type row struct {
		id, position, event string
		at                  time.Time
		user                string
	}
	start := time.Date(2026, time.January, 1, 9, 0, 0, 0, time.UTC)
	want := []row{
		{"dune", "000000000001.0000", "Book/dune/1.0", start.Add(time.Second), ""},
		{"dune", "000000000001.0001", "Book/dune/1.1", start.Add(time.Second), ""},
		{"emma", "000000000001.0000", "Book/emma/1.0", monday.UTC(), "bob"},
		{"dune", "000000000002.0000", "Book/dune/2.0", monday.UTC().Add(time.Second), ""},
	}
	var got []row
	for _, e := range seen {
		r := row{e.EntityID, e.Position.String(), e.Meta.ID, e.RecordedAt, e.Meta.User}
		if len(got) == 0 || got[len(got)-1] != r && !contains(got, r) {
			got = append(got, r)
		}
		if e.Meta.Time != e.RecordedAt || e.Meta.Service != "Book" || e.Meta.CausationID == "" || e.Meta.CorrelationID != e.Meta.CausationID {
			t.Errorf("meta of %s is %+v", e.Meta.ID, e.Meta)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got\n%v, want\n%v", got, want)
	}
}

func contains[T comparable](list []T, v T) bool {
	for _, x := range list {
		if x == v {
			return true
		}
	}
	return false
}

func TestInvalidFacts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fact reventlesstest.Fact
		want string
	}{
		"of another source": {event("dune", counter.Finished{}), `counter.Finished is not an event of Book, which are: Lent, Returned`},
		"without event":     {event("dune"), "no events"},
		"without id":        {event("", Returned{}), "entity id is empty"},
		"zero":              {reventlesstest.Fact{}, "a fact is empty; use Event"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fails(t, func(t testing.TB) { reventlesstest.ReadModel(t, Loans).Given(c.fact) }, "read model Loans, step 1 (Given)", c.want)
			fails(t, func(t testing.TB) { reventlesstest.Automation(t, Remind).When(c.fact) }, "automation Remind, step 1 (When)", c.want)
			fails(t, func(t testing.TB) { reventlesstest.Offer(t, LendingOffer).When(c.fact) }, "offer Lending, step 1 (When)", c.want)
		})
	}
}

func TestClock(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, time.March, 2, 10, 0, 0, 0, time.FixedZone("", 3600))
	clock := reventlesstest.NewClock(start)
	if got := clock.Now(); !got.Equal(start) || got.Location() != time.UTC {
		t.Errorf("Now is %v, want %v in UTC", got, start)
	}
	var wg sync.WaitGroup
	for range 60 {
		wg.Go(func() {
			clock.Advance(time.Second)
			clock.Now()
		})
	}
	wg.Wait()
	if got, want := clock.Now(), start.Add(time.Minute); !got.Equal(want) {
		t.Errorf("Now is %v after a minute, want %v", got, want)
	}
	if got := reventlesstest.NewClock(time.Time{}).Now(); got.IsZero() {
		t.Error("the clock has the zero time")
	}
	defer func() {
		if recover() == nil {
			t.Error("Advance by a negative duration does not panic")
		}
	}()
	clock.Advance(-1)
}

func TestAutomation(t *testing.T) {
	t.Parallel()
	due := time.Date(2026, time.March, 9, 10, 0, 0, 0, time.UTC)
	lent := event("dune", Lent{Member: "ada", Days: 7}).At(due.AddDate(0, 0, -7))
	finished := reventlesstest.Event(Returns, "ada", counter.Finished{Target: 3})
	plan := func(at time.Time) message.Action {
		return schedule.Create("dune", schedule.At(at), Book.To("dune", TakeBack{}))
	}
	passes(t, func(t testing.TB) {
		reventlesstest.Automation(t, Remind).
			When(lent).Then(plan(due)).
			When(lent, event("dune", Returned{Member: "ada"})).
			Then(plan(due), schedule.Delete("dune"), Returns.Count("ada", "000000000003.0000", 1)).
			When(finished).ThenNothing().
			Given(reventlesstest.Rows(Loans, "prize", Loan{Member: "bob"})).
			When(finished).Then(Book.To("prize", TakeBack{}).After(time.Hour)).
			Given(reventlesstest.Rows(Loans, "prize", Loan{Member: "ada"})).
			When(finished).ThenNothing()
		reventlesstest.Automation(t, Recaller).
			When(reventlesstest.Event(Lending, "dune", BookGone{Days: 21})).Then(Lending.To("dune", Recall{})).
			When(reventlesstest.Event(Lending, "dune", BookGone{Days: 20})).ThenNothing()
	})
	fails(t, func(t testing.TB) { reventlesstest.Automation(t, Remind).When(lent).Then(plan(due.Add(time.Hour))) },
		`want: create schedule "dune" at(2026-03-09T11:00:00)`, `got:  create schedule "dune" at(2026-03-09T10:00:00)`, `send Book "dune": TakeBack {}`)
	fails(t, func(t testing.TB) { reventlesstest.Automation(t, Remind).When(lent).ThenNothing() }, "want: nothing", "got:  create schedule")
	fails(t, func(t testing.TB) {
		reventlesstest.Automation(t, Remind).
			Given(reventlesstest.Rows(Loans, "prize", Loan{Member: "bob"})).
			When(finished).Then(Book.To("prize", TakeBack{}))
	}, `want: send Book "prize": TakeBack {}`, `got:  after 1h0m0s send Book "prize": TakeBack {}`, `1. Given 1 rows of Loans "prize"`)
	fails(t, func(t testing.TB) { reventlesstest.Automation(t, Remind).ThenNothing() }, "automation Remind: ThenNothing needs a When before it")
	fails(t, func(t testing.TB) { reventlesstest.Automation(t, Remind).When(lent).Then(nil) }, "action 1 of Then is nil")
	fails(t, func(t testing.TB) { reventlesstest.Automation(t, Remind).When(lent).Then(Book.To("", TakeBack{})) }, "entity id is empty")
	fails(t, func(t testing.TB) {
		reventlesstest.Automation(t, Remind).When(reventlesstest.Event(Lending, "dune", BookBack{}))
	},
		"it does not react to extension point Lending")
	fails(t, func(t testing.TB) {
		reventlesstest.Automation(t, Remind).Given(reventlesstest.Rows(Readings, "ada", Reading{Book: "dune"}))
	}, "the component does not declare that it uses read model Readings")
	fails(t, func(t testing.TB) { reventlesstest.Automation(t, Remind).Given(reventlesstest.Fixture{}) }, "a fixture is empty")
	fails(t, func(t testing.TB) {
		reventlesstest.Automation(t, Remind).Given(reventlesstest.Rows(Loans, "a", Loan{}, Loan{}))
	},
		"2 rows in a read model without sub ids")
	fails(t, func(t testing.TB) { reventlesstest.Automation(t, LendList) }, "LendList has the kind task, want an automation")
}

func TestTask(t *testing.T) {
	t.Parallel()
	due := time.Date(2026, time.March, 9, 8, 0, 0, 0, time.UTC)
	passes(t, func(t testing.TB) {
		reventlesstest.Task(t, LendList).
			WhenCreated("a.lst", "ada dune").Then(Book.To("dune", Lend{Member: "ada", Days: 14})).
			ThenFile(Desk, "a.lst.done", "1 books\n").ThenFile(Desk, "a.lst", "ada dune").
			ThenFileContains(Desk, "a.lst.done", "1", "book").
			WhenRemoved("a.lst").ThenNothing().ThenNoFile(Desk, "a.lst").ThenNoFile(Desk, "a.lst.done").
			WhenCreated("b.lst", "").ThenError(errEOF).ThenNoFile(Desk, "b.lst.done").
			WhenCreated("b.txt", "").ThenNothing().
			Given(reventlesstest.Rows(Loans, "dune", Loan{Member: "ada", Due: due.Add(-1)}), reventlesstest.Rows(Loans, "emma", Loan{Member: "bob", Due: due})).
			WhenDue(due).Then(Returns.AddTarget("ada", "2026-03-09", 1))
	})
	fails(t, func(t testing.TB) { reventlesstest.Task(t, LendList).WhenCreated("b.lst", "").ThenNothing() },
		`task LendList, step 1 (WhenCreated): unexpected EOF`, `1. WhenCreated "b.lst" (0 bytes)`)
	fails(t, func(t testing.TB) { reventlesstest.Task(t, LendList).WhenCreated("b.lst", "") }, "no Then expects it: unexpected EOF")
	fails(t, func(t testing.TB) { reventlesstest.Task(t, LendList).WhenCreated("b.lst", "").WhenDue(due) }, "no Then expects it: unexpected EOF")
	fails(t, func(t testing.TB) { reventlesstest.Task(t, LendList).WhenCreated("a.lst", "ada").ThenError(errEOF) },
		"want: error: unexpected EOF", "got:  no error")
	fails(t, func(t testing.TB) {
		reventlesstest.Task(t, LendList).WhenCreated("a.lst", "ada").ThenFile(Desk, "a.lst.done", "1 books\n")
	}, `file "a.lst.done" in Desk has different content`, "want: 1 books\u21b5", "got:  0 books\u21b5")
	fails(t, func(t testing.TB) {
		reventlesstest.Task(t, LendList).WhenCreated("a.lst", "ada").ThenFile(Desk, "a.done", "0 books\n")
	}, `file "a.done" is not in Desk, which has "a.lst", "a.lst.done"`)
	fails(t, func(t testing.TB) {
		reventlesstest.Task(t, LendList).WhenCreated("a.lst", "ada").ThenFileContains(Desk, "a.lst.done", "0 books", "ada")
	}, `does not contain "ada", it is:`, "    0 books")
	fails(t, func(t testing.TB) {
		reventlesstest.Task(t, LendList).WhenCreated("a.lst", "ada").ThenNoFile(Desk, "a.lst.done")
	}, `file "a.lst.done" is in Desk`)
	fails(t, func(t testing.TB) { reventlesstest.Task(t, LendList).WhenDue(due).ThenNoFile(Outbox, "a") },
		"does not declare that it uses bucket Outbox")
}

func TestSideEffect(t *testing.T) {
	t.Parallel()
	passes(t, func(t testing.TB) {
		reventlesstest.SideEffect(t, Receipt).
			When(event("dune", Lent{Member: "ada", Days: 1})).ThenFile(Outbox, "dune.txt", "ada has dune\nfor 1 days\n").
			When(event("emma", Returned{})).ThenNothing().ThenNoFile(Outbox, "emma.txt")
	})
	fails(t, func(t testing.TB) {
		reventlesstest.SideEffect(t, Receipt).
			When(event("dune", Lent{Member: "ada", Days: 1})).ThenFile(Outbox, "dune.txt", "ada has dune\nfor 2 days\n")
	}, "want (-), got (+):", "    ada has dune", "  - for 2 days", "  + for 1 days")
}

func TestOffer(t *testing.T) {
	t.Parallel()
	lent := event("dune", Lent{Member: "ada", Days: 7})
	passes(t, func(t testing.TB) {
		reventlesstest.Offer(t, LendingOffer).
			When(lent, event("dune", Returned{})).ThenPublishes(BookGone{7}, BookBack{}).
			When().ThenNothing().
			WhenCommand(Lending.To("dune", Recall{})).ThenSends(Book.To("dune", TakeBack{}))
	})
	fails(t, func(t testing.TB) { reventlesstest.Offer(t, LendingOffer).When(lent).ThenPublishes(BookGone{8}) },
		`want: BookGone {"days":8}`, `got:  BookGone {"days":7}`, `1. When Book "dune": Lent`)
	fails(t, func(t testing.TB) { reventlesstest.Offer(t, LendingOffer).When(lent).ThenPublishes(Lent{}) },
		"event 1 of ThenPublishes: reventlesstest_test.Lent is not an event of the extension point")
	fails(t, func(t testing.TB) { reventlesstest.Offer(t, LendingOffer).When(lent).ThenNothing() }, "want: nothing", `got:  BookGone`)
	fails(t, func(t testing.TB) {
		reventlesstest.Offer(t, LendingOffer).WhenCommand(Lending.To("dune", Recall{})).ThenNothing()
	}, "want: nothing", `got:  send Book "dune": TakeBack {}`)
	fails(t, func(t testing.TB) { reventlesstest.Offer(t, LendingOffer).When(lent).ThenSends() }, "ThenSends needs a WhenCommand before it")
	fails(t, func(t testing.TB) { reventlesstest.Offer(t, LendingOffer).ThenNothing() }, "ThenPublishes needs a When before it")
	fails(t, func(t testing.TB) { reventlesstest.Offer(t, LendingOffer).WhenCommand(Book.To("dune", TakeBack{})) },
		"the command is for aggregate Book")
	fails(t, func(t testing.TB) {
		reventlesstest.Offer(t, LendingOffer).When(reventlesstest.Event(Returns, "ada", counter.Finished{}))
	}, "it publishes nothing of counter Returns")
}

func TestReadModel(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, time.March, 2, 10, 0, 0, 0, time.UTC)
	lent := event("dune", Lent{Member: "ada", Days: 1}).At(at)
	row := Loan{Member: "ada", Due: at.AddDate(0, 0, 1)}
	passes(t, func(t testing.TB) {
		reventlesstest.ReadModel(t, Loans).
			Then(nil).ThenRowCount(0).
			Given(lent, event("emma", Lent{}, Returned{})).
			Then(map[string]Loan{"dune": row}).ThenRow("dune", row).ThenRows("dune", row).ThenRowCount(1).ThenNoRow("emma").
			Given(lent).ThenError(driver.ErrExists).ThenRow("dune", row).
			Given(event("dune", Returned{})).ThenRowCount(0)
		reventlesstest.ReadModel(t, Readings).
			Given(event("emma", Lent{Member: "ada"}), event("dune", Lent{Member: "ada"}, Lent{Member: "ada"}), event("dune", Lent{Member: "bob"})).
			ThenRow("ada", Reading{"dune", 2}).ThenRows("ada", Reading{"emma", 1}, Reading{"dune", 2}).
			ThenRows("bob", Reading{"dune", 1}).ThenNoRow("joe").ThenRowCount(3)
	})
	fails(t, func(t testing.TB) { reventlesstest.ReadModel(t, Loans).Given(lent, lent).ThenRowCount(1) },
		"read model Loans, step 1 (Given)", `Book "dune": Lent {"days":1,"member":"ada"}: row "dune": create: already exists`)
	fails(t, func(t testing.TB) { reventlesstest.ReadModel(t, Loans).Given(lent, lent) }, "no Then expects it", "already exists")
	fails(t, func(t testing.TB) { reventlesstest.ReadModel(t, Loans).Given(lent, lent).Given() }, "no Then expects it", "already exists")
	fails(t, func(t testing.TB) { reventlesstest.ReadModel(t, Loans).Given(lent).ThenError(driver.ErrExists) },
		"want: error: already exists", "got:  no error")
	fails(t, func(t testing.TB) {
		reventlesstest.ReadModel(t, Loans).Given(lent, lent).ThenError(driver.ErrNotFound)
	}, "want: error: not found", "got:  error: Book")
	fails(t, func(t testing.TB) {
		reventlesstest.ReadModel(t, Loans).Given(lent).ThenRow("dune", Loan{Member: "bob", Due: row.Due})
	},
		"the row differs", `want: "dune": {"due":"2026-03-03T10:00:00Z","member":"bob"}`, `got:  "dune": {"due":"2026-03-03T10:00:00Z","member":"ada"}`)
	fails(t, func(t testing.TB) { reventlesstest.ReadModel(t, Loans).Given(lent).ThenRow("emma", row) },
		`row "emma" does not exist`, `all rows: "dune"`)
	fails(t, func(t testing.TB) { reventlesstest.ReadModel(t, Loans).Given(lent).ThenNoRow("dune") }, `"dune" has rows`, `got:  "dune": {`)
	fails(t, func(t testing.TB) { reventlesstest.ReadModel(t, Loans).Given(lent).ThenRowCount(2) }, `there are 1 rows, not 2`, `    "dune": {`)
	fails(t, func(t testing.TB) { reventlesstest.ReadModel(t, Loans).Given(lent).Then(nil) }, "the rows differ", "want: nothing")
	fails(t, func(t testing.TB) { reventlesstest.ReadModel(t, Readings).Then(nil) }, "use ThenRows")
	fails(t, func(t testing.TB) {
		reventlesstest.ReadModel(t, Readings).
			Given(event("emma", Lent{Member: "ada"}), event("dune", Lent{Member: "ada"})).
			ThenRows("ada", Reading{"dune", 1}, Reading{"emma", 2})
	}, `the rows of "ada" differ`, `    "ada"/"dune": {"book":"dune","times":1}`, `- "ada"/"emma": {"book":"emma","times":2}`, `+ "ada"/"emma": {"book":"emma","times":1}`)
	fails(t, func(t testing.TB) {
		reventlesstest.ReadModel(t, Loans).Given(reventlesstest.Event(Lending, "dune", BookBack{}))
	},
		"it has no projection of extension point Lending")
}

func TestAggregate(t *testing.T) {
	t.Parallel()
	passes(t, func(t testing.TB) {
		reventlesstest.Aggregate(t, Book).
			When(Lend{"ada", 40}).ThenRejected("Rejected").
			When(Lend{"ada", 7}).When(Lend{"ada", 8}).ThenNothing().
			When(Lend{"bob", 7}).ThenRejected("NotHere").ThenRejected("NotHere", "ada").
			Given(Returned{"ada"}, Lent{"joe", 3}).
			When(TakeBack{}).Then(Returned{"joe"})
	})
	lent := func(t testing.TB) *reventlesstest.AggregateTest[BookState, BookCommand, BookEvent] {
		return reventlesstest.Aggregate(t, Book).Given(Lent{"ada", 7})
	}
	fails(t, func(t testing.TB) { lent(t).When(Lend{"bob", 7}).Then(Lent{"bob", 7}) },
		`want: Lent {"days":7,"member":"bob"}`, `got:  rejected NotHere "ada"`, `1. Given Lent {"days":7,"member":"ada"}`)
	fails(t, func(t testing.TB) { lent(t).When(TakeBack{}).ThenRejected("Here") }, "want: rejected Here", `got:  Returned {"member":"ada"}`)
	fails(t, func(t testing.TB) { lent(t).When(TakeBack{}).ThenNothing() }, "want: nothing", `got:  Returned`)
	fails(t, func(t testing.TB) { lent(t).When(Lend{"bob", 7}).ThenRejected("NotHere", "bob") },
		`want: rejected NotHere "bob"`, `got:  rejected NotHere "ada"`)
	fails(t, func(t testing.TB) { lent(t).When(Lend{"bob", 40}).ThenRejected("NotThere") }, `want: rejected NotThere`)
	fails(t, func(t testing.TB) { reventlesstest.Aggregate(t, Book).When(Lend{"bob", 40}).ThenNothing() }, `got:  rejected Rejected (too long)`)
	fails(t, func(t testing.TB) { lent(t).When(TakeBack{}).Then(Returned{"ada"}, Returned{"ada"}) },
		"want (-), got (+):", `    Returned {"member":"ada"}`, `- Returned {"member":"ada"}`)
	fails(t, func(t testing.TB) { lent(t).Then() }, "Then needs a When before it")
	fails(t, func(t testing.TB) { lent(t).When(Lend{"bob", 7}) }, "step 2 (When)", `no Then expects it: rejected NotHere "ada"`)
	fails(t, func(t testing.TB) { lent(t).When(Lend{"bob", 7}).When(TakeBack{}) }, `no Then expects it: rejected NotHere "ada"`)
	fails(t, func(t testing.TB) { lent(t).When(Lend{"bob", 7}).ThenRejected("NotHere", 1, 2) }, "takes at most one detail")
}

// Long is longer than a line.
type Long struct {
	Names []string       `json:"names"`
	Pages map[string]int `json:"pages"`
}

func (Long) MessageType() string { return "Long" }
func (Long) isBookEvent()        {}

func TestLongDifferences(t *testing.T) {
	t.Parallel()
	long := func(changed string) Long {
		l := Long{Pages: map[string]int{changed: 1}}
		for i := range 12 {
			l.Names = append(l.Names, fmt.Sprintf("a reader of some renown %d", i))
		}
		return l
	}
	spec := bookSpec()
	spec.Events = message.NewSet[BookEvent](Long{})
	spec.Decide = func(BookState, BookCommand) ([]BookEvent, error) { return []BookEvent{long("now")}, nil }
	a := aggregate.New(spec)
	r := record(t, func(t testing.TB) { reventlesstest.Aggregate(t, a).When(TakeBack{}).Then(long("then")) })
	const want = `aggregate Book, step 1 (When): the result differs
  want (-), got (+):
    Long {
    ... 12 equal lines
        "a reader of some renown 11"
      ],
      "pages": {
  -     "then": 1
  +     "now": 1
      }
    }
  the steps so far:
    1. When TakeBack {}
`
	if got := r.output.String(); got != want {
		t.Errorf("the failure is\n%swant\n%s", got, want)
	}
}

// Rich has fields of every kind that JSON keeps.
type Rich struct {
	Text    string             `json:"text"`
	Yes     bool               `json:"yes,omitempty"`
	Small   int8               `json:"small"`
	Count   uint32             `json:"count"`
	Share   float64            `json:"share,omitzero"`
	At      time.Time          `json:"at"`
	Took    time.Duration      `json:"took"`
	Maybe   *string            `json:"maybe,omitempty"`
	Bytes   []byte             `json:"bytes"`
	Raw     json.RawMessage    `json:"raw,omitempty"`
	Address netip.Addr         `json:"address"`
	Big     *big.Int           `json:"big"`
	Any     any                `json:"any"`
	Parts   []Rich             `json:"parts"`
	Pair    [2]int             `json:"pair"`
	Shares  map[string]float32 `json:"shares"`
	ByPage  map[int][]string   `json:"byPage"`
	Days
}

// Days is embedded, so its fields are promoted.
type Days struct{ From, To int }

func (Rich) MessageType() string { return "Rich" }
func (Rich) isBookEvent()        {}
func (Rich) Upcasts() map[int]message.Upcast {
	return map[int]message.Upcast{1: func(data json.RawMessage) (json.RawMessage, error) { return data, nil }}
}

func TestRichMessages(t *testing.T) {
	t.Parallel()
	spec := bookSpec()
	spec.Events = message.NewSet[BookEvent](Rich{})
	text := "x"
	rich := Rich{
		Text: "<b>", At: time.Now(), Maybe: &text, Raw: json.RawMessage(`{ "a": [1.50] }`), Address: netip.MustParseAddr("::1"),
		Big: big.NewInt(1 << 60), Any: map[string]any{"n": 1, "s": []string{"t"}}, Parts: []Rich{{Text: "part"}, {}}, Shares: map[string]float32{},
		ByPage: map[int][]string{2: {"a"}, 1: nil}, Days: Days{1, 2},
	}
	spec.Decide = func(BookState, BookCommand) ([]BookEvent, error) { return []BookEvent{rich}, nil }
	a := aggregate.New(spec)
	passes(t, func(t testing.TB) {
		reventlesstest.Handles(t, aggregate.New(spec))
		reventlesstest.Aggregate(t, a).Given(rich).When(TakeBack{}).Then(rich)
	})
	fails(t, func(t testing.TB) { reventlesstest.Aggregate(t, a).When(TakeBack{}).Then(Rich{}) },
		"Rich v2 {", `-   "text": ""`, `+   "text": "<b>"`, "+       1.50")
}

func TestTwoComponentsOfOneName(t *testing.T) {
	t.Parallel()
	one, other := newNotes(), newNotes()
	counts := automation.New(automation.Spec{
		Name: "Counts",
		Rules: automation.Rules{automation.OnWith(Book, func(ctx context.Context, env plugin.Env, e message.Event[BookEvent]) (message.Actions, error) {
			var actions message.Actions
			for i, m := range []*readmodel.ReadModel[Loan]{one, other} {
				row, ok, err := m.Open(env).Get(ctx, "dune")
				if err != nil {
					return nil, err
				}
				if ok {
					actions = append(actions, Returns.Count(row.Member, fmt.Sprint(i), 1))
				}
			}
			return actions, nil
		})},
		Uses:  plugin.Components{one, other},
		Sends: plugin.Components{Returns},
	})
	reventlesstest.Automation(t, counts).
		Given(reventlesstest.Rows(other, "dune", Loan{Member: "ada"})).
		When(event("x", Lent{})).Then(Returns.Count("ada", "1", 1)).
		Given(reventlesstest.Rows(one, "dune", Loan{Member: "bob"})).
		When(event("x", Lent{})).Then(Returns.Count("bob", "0", 1), Returns.Count("ada", "1", 1))
}

func newNotes() *readmodel.ReadModel[Loan] {
	return readmodel.New(readmodel.Spec[Loan]{Name: "Notes", Projections: readmodel.Projections[Loan]{
		readmodel.On(Book, func(message.Event[BookEvent]) readmodel.Changes[Loan] { return nil }),
	}})
}

func TestBigFilesAreCompared(t *testing.T) {
	t.Parallel()
	var a, b strings.Builder
	for i := range 5000 {
		fmt.Fprintln(&a, "a", i)
		fmt.Fprintln(&b, "b", i)
	}
	fails(t, func(t testing.TB) {
		reventlesstest.Task(t, LendList).WhenCreated("a.txt", a.String()).ThenFile(Desk, "a.txt", b.String())
	}, "- b 4999", "+ a 0")
}
