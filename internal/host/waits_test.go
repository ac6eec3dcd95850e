package host_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/memory"
	"github.com/reventless-go/reventless/internal/faults"
	"github.com/reventless-go/reventless/internal/host"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/readmodel"
)

// wait is a waiting call on its own goroutine.
type wait struct {
	ended   atomic.Bool
	err     error
	outcome driver.Outcome
	took    time.Duration
}

func waiting(f func(w *wait) error) *wait {
	w, began := &wait{}, time.Now()
	go func() {
		w.err = f(w)
		w.took = time.Since(began)
		w.ended.Store(true)
	}()
	return w
}

// applied waits until Shop.Sums has applied a commit of a jar.
func (r *run) applied(stream string, sequenceNr uint64) *wait {
	return waiting(func(*wait) error {
		return r.WaitApplied(r.t.Context(), "Shop.Sums", host.Position{Log: "Shop.Jar", Stream: stream, SequenceNr: sequenceNr})
	})
}

// outcomeOf waits for the outcome of a command.
func (r *run) outcomeOf(id string) *wait {
	return waiting(func(w *wait) (err error) {
		w.outcome, err = r.WaitOutcome(r.t.Context(), "Shop.Jar", id)
		return err
	})
}

// wantWaits checks, in a bubble, that all waits are still waiting.
func wantWaits(t testing.TB, waits ...*wait) {
	t.Helper()
	synctest.Wait()
	for i, w := range waits {
		if w.ended.Load() {
			t.Errorf("wait %d has ended with %v", i, w.err)
		}
	}
}

// wantOver checks, in a bubble, that all waits have ended without polling.
func wantOver(t testing.TB, class error, waits ...*wait) {
	t.Helper()
	synctest.Wait()
	for i, w := range waits {
		if !w.ended.Load() {
			t.Errorf("wait %d has not ended", i)
			continue
		}
		if w.took != 0 {
			t.Errorf("wait %d took %v", i, w.took)
		}
		if class == nil && w.err != nil {
			t.Errorf("wait %d: %v", i, w.err)
		} else if class != nil {
			wantIs(t, w.err, class)
		}
	}
}

func TestWaitAppliedEndsWhenTheCommitIsApplied(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		jar := newJar()
		r := start(t, app(jar, sums(jar)), asleep)
		for i := range 3 {
			r.accept(fmt.Sprint(i), jar.To("a", Put{N: 1}))
		}
		early := []*wait{r.applied("a", 1), r.applied("a", 2), r.applied("a", 3), r.applied("a", 3)}
		next, other, none := r.applied("a", 4), r.applied("b", 1), r.applied("b", 0)
		wantWaits(t, append(early, next, other)...)
		wantOver(t, nil, none) // nothing precedes the first commit
		r.wake()
		wantOver(t, nil, early...)
		wantWaits(t, next, other)
		r.accept("4", jar.To("b", Put{N: 1}))
		wantOver(t, nil, other)
		wantWaits(t, next)
		r.accept("5", jar.To("a", Put{N: 1}))
		wantOver(t, nil, next, r.applied("a", 4), r.applied("a", 1))
	})
}

func TestWaitAppliedOfUnknownAndUnrelatedLogs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMarket()
		r := start(t, m.app, asleep)
		r.accept("1", m.jar.To("a", Put{N: 1}))
		at := func(name, log, stream string) *wait {
			return waiting(func(*wait) error {
				return r.WaitApplied(t.Context(), name, host.Position{Log: log, Stream: stream, SequenceNr: 1})
			})
		}
		wantOver(t, nil, at("Shop.Sums", "Ordering.Crate", "a"), at("Shop.Sums", "Shop.Nothing", "a"))
		wantOver(t, driver.ErrNotFound, at("Shop.Nothing", "Shop.Jar", "a"), at("Shop.Jar", "Shop.Jar", "a"), at("Ordering.Follow", "Shop.Jar", "a"))
		wantOver(t, driver.ErrInvalid, at("Shop.Sums", "Shop.Jar", ""), at("Shop.Sums", "Shop.Jar", strings.Repeat("x", 2000)))
		crossing := at("Ordering.Fillings", "Shop.Jar", "a") // through the extension point
		wantWaits(t, crossing)
		r.wake()
		wantOver(t, nil, crossing)
		wantRows(r, m.rows, map[string]SumRow{"a": {1, 2}})
	})
}

func TestWaitsEndWithTheirContextAndNameTheirKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		jar := newJar(asynchronous)
		r := start(t, app(jar, sums(jar)), asleep)
		r.accept("known", jar.To("a", Put{N: 1}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		waits := []*wait{
			waiting(func(*wait) error {
				return r.WaitApplied(ctx, "Shop.Sums", host.Position{Log: "Shop.Jar", Stream: "a", SequenceNr: 7})
			}),
			waiting(func(*wait) error { _, err := r.WaitOutcome(ctx, "Shop.Jar", "known"); return err }),
			waiting(func(*wait) error { _, err := r.WaitOutcome(ctx, "Shop.Jar", "unknown"); return err }),
		}
		texts := [][]string{{"Shop.Sums", "Shop.Jar/a/7"}, {"known"}, {"unknown"}}
		time.Sleep(59 * time.Minute) //nolint:forbidigo // the time of the bubble
		wantWaits(t, waits...)
		// This process sends notices: polling is only needed for other processes.
		if n := r.faults.Calls("QueryDb.Watermark", ""); n > 1+59*60/10 {
			t.Errorf("the store was read %d times in an hour", n)
		}
		time.Sleep(2 * time.Minute) //nolint:forbidigo // the time of the bubble
		synctest.Wait()
		for i, w := range waits {
			wantIs(t, w.err, context.DeadlineExceeded)
			wantEqual(t, "duration", w.took, time.Hour)
			wantText(t, w.err.Error(), texts[i]...)
		}
		for _, w := range []*wait{
			waiting(func(*wait) error {
				return r.WaitApplied(ctx, "Shop.Sums", host.Position{Log: "Shop.Jar", Stream: "a", SequenceNr: 7})
			}),
			waiting(func(*wait) error { _, err := r.WaitOutcome(ctx, "Shop.Jar", "known"); return err }),
		} {
			wantOver(t, context.DeadlineExceeded, w)
		}
	})
}

func TestWaitsEndWhenTheHostIsClosed(t *testing.T) {
	t.Parallel()
	for _, with := range map[string][]func(*setup){"started": nil, "not started": {asleep}} {
		synctest.Test(t, func(t *testing.T) {
			jar := newJar(asynchronous)
			r := start(t, app(jar, sums(jar)), with...)
			waits := []*wait{r.applied("a", 1), r.applied("a", 1), r.outcomeOf("1")}
			wantWaits(t, waits...)
			r.stop()
			wantOver(t, driver.ErrUnavailable, append(waits, r.applied("a", 1), r.outcomeOf("1"))...)
		})
	}
}

func TestWaitAppliedEndsWhenItsStreamIsBlocked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		jar, bad := newJar(), true
		m := sums(jar, func(s *readmodel.Spec[SumRow]) {
			s.Projections[0] = readmodel.On(jar, func(e jarEvent) readmodel.Changes[SumRow] {
				if a, ok := e.Data.(Added); bad && ok && a.N == 2 {
					panic("poison")
				}
				return addTo(e.EntityID, e)
			})
		})
		r := start(t, app(jar, m), asleep)
		waits := []*wait{r.applied("a", 2), r.applied("a", 3), r.applied("a", 9)}
		fine := []*wait{r.applied("a", 1), r.applied("b", 1)}
		for i := range 3 {
			r.accept(fmt.Sprint(i), jar.To("a", Put{N: i + 1}))
		}
		r.accept("b", jar.To("b", Put{N: 1}))
		wantWaits(t, append(waits, fine...)...)
		r.wake()
		wantOver(t, nil, fine...)
		wantOver(t, host.ErrBlocked, waits...)
		wantOver(t, host.ErrBlocked, r.applied("a", 2), r.applied("a", 3))
		wantOver(t, nil, r.applied("a", 1))
		wantText(t, waits[1].err.Error(), "Shop.Sums", "Shop.Jar/a/3")
		// After a failed redrive the stream is still blocked; after a successful one it
		// is not.
		if err := r.Redrive(t.Context(), r.deadLetter().ID); err == nil {
			t.Error("the redrive of poison succeeds")
		}
		wantOver(t, host.ErrBlocked, r.applied("a", 3))
		bad = false
		during := waiting(func(*wait) error { return nil })
		r.faults.Inject(faults.Rule{Op: "QueryDb.Apply", Name: "Shop.Sums", Do: func() { during = r.applied("a", 3); wantWaits(t, during) }})
		r.redrive(r.deadLetter().ID)
		wantOver(t, nil, during, r.applied("a", 3))
	})
}

// A step that took effect wakes the waiters even if its response is lost. A wait
// continues while a store is unavailable.
func TestWaitsContinueAfterFailuresOfTheStore(t *testing.T) {
	t.Parallel()
	for _, way := range lostWays {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				jar := newJar(asynchronous)
				r := start(t, app(jar, sums(jar)), asleep)
				r.accept("1", jar.To("a", Put{N: 1}))
				for _, op := range []string{"QueryDb.Apply", "Outcomes.Put"} {
					r.faults.Inject(faults.Rule{Op: op, Times: 3, Err: way.err, After: way.after})
				}
				waits := []*wait{r.applied("a", 1), r.outcomeOf("1")}
				wantWaits(t, waits...)
				r.wake()
				wantOver(t, nil, waits...)
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		jar := newJar(asynchronous)
		r := start(t, app(jar, sums(jar)), func(s *setup) { s.options.Backoff = func(int) time.Duration { return time.Millisecond } })
		r.accept("1", jar.To("a", Put{N: 1}))
		r.idle()
		for _, op := range []string{"QueryDb.Watermark", "Outcomes.Get"} {
			r.faults.Inject(faults.Rule{Op: op, Times: 3, Err: driver.ErrThrottled})
		}
		waits := []*wait{r.applied("a", 1), r.outcomeOf("1")}
		time.Sleep(3 * time.Millisecond) //nolint:forbidigo // the time of the bubble
		synctest.Wait()
		for _, w := range waits {
			if !w.ended.Load() || w.err != nil {
				t.Errorf("got %v, %v, want the wait to continue after the store was busy", w.ended.Load(), w.err)
			}
		}
		// An error that is not retryable ends the wait.
		broken := fmt.Errorf("disk: %w", driver.ErrInvalid)
		for _, op := range []string{"QueryDb.Watermark", "Outcomes.Get"} {
			r.faults.Inject(faults.Rule{Op: op, Err: broken})
		}
		wantOver(t, broken, r.applied("a", 1), r.outcomeOf("1"))
	})
}

// A host that is called gets no notices from other hosts, so it polls.
func TestWaitsPollForWhatAnotherHostApplies(t *testing.T) {
	t.Parallel()
	for _, poll := range []time.Duration{0, 3 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			jar := newJar(asynchronous)
			provider := memory.New(nil)
			called := open(t, app(jar, sums(jar)), struct{ driver.Provider }{provider}, &host.Options{Poll: poll})
			pulls := open(t, app(jar, sums(jar)), provider, &host.Options{Poll: poll})
			poll := max(poll, time.Second)
			if _, err := called.SendAction(t.Context(), "1", driver.Meta{}, jar.To("a", Put{N: 1}).Erased()); err != nil {
				t.Fatal(err)
			}
			waits := []*wait{
				waiting(func(*wait) error {
					return called.WaitApplied(t.Context(), "Shop.Sums", host.Position{Log: "Shop.Jar", Stream: "a", SequenceNr: 1})
				}),
				waiting(func(*wait) error { _, err := called.WaitOutcome(t.Context(), "Shop.Jar", "1"); return err }),
			}
			wantWaits(t, waits...)
			if err := pulls.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2*poll + time.Millisecond) //nolint:forbidigo // the time of the bubble
			synctest.Wait()
			for _, w := range waits {
				if !w.ended.Load() || w.err != nil || w.took > 2*poll {
					t.Errorf("got %v, %v after %v, want it to end within twice %v", w.ended.Load(), w.err, w.took, poll)
				}
			}
		})
	}
}

func TestWaitersReadTheStoreOnlyWhenTheirOwnStreamMoves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const streams, each = 40, 25
		jar := newJar()
		r := start(t, app(jar, sums(jar)))
		var waits []*wait
		for s := range streams {
			for range each {
				waits = append(waits, r.applied(fmt.Sprint("jar", s), 1))
			}
		}
		wantWaits(t, waits...)
		for i := range 100 {
			r.accept(fmt.Sprint("other", i), jar.To("other", Put{N: 1}))
		}
		wantWaits(t, waits...)
		wantEqual(t, "reads", r.faults.Calls("QueryDb.Watermark", "Shop.Sums"), len(waits))
		for s := range streams {
			r.accept(fmt.Sprint(s), jar.To(fmt.Sprint("jar", s), Put{N: 1}))
		}
		wantOver(t, nil, waits...)
		if n := r.faults.Calls("QueryDb.Watermark", "Shop.Sums"); n > 3*len(waits) {
			t.Errorf("the store was read %d times for %d waiters", n, len(waits))
		}
	})
}

func TestWaiterReadsItsOwnWrite(t *testing.T) {
	t.Parallel()
	seeds(t, 4, func(t *testing.T, seed uint64, rng *rand.Rand) {
		jar := newJar(func(s *jarSpec) { s.Async = seed%2 == 0 })
		m := sums(jar, func(s *readmodel.Spec[SumRow]) { s.OwnRow = rng.IntN(2) == 0 })
		// After a lost notice, only the context would end the wait.
		r := start(t, app(jar, m), func(s *setup) { s.options.Poll = time.Hour })
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		db, _ := r.QueryDb("Shop.Sums")
		var wg sync.WaitGroup
		for g := range 8 {
			rng := rand.New(rand.NewPCG(seed, uint64(g)))
			wg.Go(func() {
				sent := map[string]int{}
				for i := range 40 {
					stream, id := fmt.Sprint("jar", rng.IntN(5)), fmt.Sprint(g, "-", i)
					o, err := r.SendAction(ctx, id, driver.Meta{}, jar.To(stream, Put{N: 1}).Erased())
					if err == nil && o.Kind == driver.Pending {
						o, err = r.WaitOutcome(ctx, "Shop.Jar", id)
					}
					if err == nil {
						err = r.WaitApplied(ctx, "Shop.Sums", host.Position{Log: "Shop.Jar", Stream: o.EntityID, SequenceNr: o.SequenceNr})
					}
					if err != nil || o.Kind != driver.Accepted {
						t.Errorf("command %s: %+v, %v", id, o, err)
						return
					}
					sent[stream]++
					var row SumRow
					stored, err := db.LoadRow(ctx, driver.Key{ID: stream})
					if err == nil {
						err = json.Unmarshal(stored.Data, &row)
					}
					if err != nil || row.Count < sent[stream] {
						t.Errorf("the row of %s has %d (%v), and this writer waited for %d", stream, row.Count, err, sent[stream])
					}
				}
			})
		}
		wg.Wait()
	})
}

func TestWaitOutcomeEndsWithTheOutcome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		jar := newJar(asynchronous)
		r := start(t, app(jar), asleep)
		unknown := r.outcomeOf("1")
		wantWaits(t, unknown)
		r.accept("1", jar.To("a", Claim{By: "ada"}))
		r.accept("2", jar.To("a", Claim{By: "bob"}))
		r.accept("3", jar.To("b", Release{}))
		pending := []*wait{r.outcomeOf("1"), r.outcomeOf("2"), r.outcomeOf("3")}
		never := r.outcomeOf("4")
		wantWaits(t, append(pending, unknown, never)...)
		r.wake()
		wantOver(t, nil, append(pending, unknown, r.outcomeOf("2"))...)
		wantWaits(t, never)
		for _, w := range []*wait{unknown, pending[0]} {
			wantEqual(t, "accepted", w.outcome, driver.Outcome{Kind: driver.Accepted, CommandID: "1", EntityID: "a", Target: "Shop.Jar", SequenceNr: 1, EventCount: 1})
		}
		wantEqual(t, "rejected", fmt.Sprint(pending[1].outcome.Kind, pending[1].outcome.Code), "RejectedTaken")
		wantEqual(t, "nothing to do", pending[2].outcome, driver.Outcome{Kind: driver.Accepted, CommandID: "3", EntityID: "b", Target: "Shop.Jar"})
		wantOver(t, driver.ErrInvalid, r.outcomeOf(""), r.outcomeOf(strings.Repeat("x", 2000)))
	})
}

// as sends a command of a user.
func (r *run) as(user, id string, s message.Send) driver.Outcome {
	r.t.Helper()
	o, err := r.SendAction(r.t.Context(), id, driver.Meta{User: user}, s.Erased())
	if err != nil {
		r.t.Fatalf("send %s: %v", id, err)
	}
	return o
}

func TestOutcomesNameTheUser(t *testing.T) {
	t.Parallel()
	for _, async := range []bool{false, true} {
		t.Run(fmt.Sprint("asynchronous ", async), func(t *testing.T) {
			t.Parallel()
			m := newMarket()
			jar := newJar(named("Own"), func(s *jarSpec) { s.Async = async })
			r := start(t, app(jar))
			ask := func(user, id string, s message.Send) driver.Outcome {
				o := r.as(user, id, s)
				if async {
					wantEqual(t, "pending "+id, o, driver.Outcome{Kind: driver.Pending, CommandID: id, EntityID: "a", Target: "Shop.Own", User: user})
					var err error
					if o, err = r.WaitOutcome(t.Context(), "Shop.Own", id); err != nil {
						t.Fatal(err)
					}
				}
				return o
			}
			for _, c := range []struct {
				user, id, want string
				send           message.Send
			}{
				{"ada", "1", "Accepted 1 ada", jar.To("a", Claim{By: "x"})},
				{"bob", "2", "Rejected 0 bob", jar.To("a", Claim{By: "y"})},
				{"bob", "3", "Accepted 1 bob", jar.To("a", Release{})},
				{"cyd", "4", "Accepted 0 cyd", jar.To("a", Release{})},
				{"", "5", "Accepted 1 ", jar.To("a", Put{N: 1})},
			} {
				o := ask(c.user, c.id, c.send)
				wantEqual(t, "outcome", fmt.Sprint(o.Kind, " ", o.EventCount, " ", o.User), c.want)
			}
			wantEqual(t, "delayed", r.as("ada", "6", jar.To("a", Put{N: 1}).After(time.Hour)).User, "ada")
			public := start(t, m.app)
			wantEqual(t, "public command", public.as("ada", "1", m.point.To("a", Order{N: 1, Half: 2})).User, "ada")
		})
	}
}

// The outcome of another user's command names that user, so that an API can hide its
// details.
func TestOutcomeOfARepetitionNamesTheFirstSender(t *testing.T) {
	t.Parallel()
	for _, every := range []int{0, 2} {
		t.Run(fmt.Sprint("snapshots every ", every), func(t *testing.T) {
			t.Parallel()
			jar := newJar(func(s *jarSpec) { s.SnapshotEvery = every })
			warm := start(t, app(jar))
			want := map[string]driver.Outcome{}
			for i, user := range []string{"ada", "bob", "", "ada"} {
				id := fmt.Sprint(i)
				want[id] = warm.as(user, id, jar.To("a", Burst{N: 2}))
				wantEqual(t, "user", want[id].User, user)
			}
			for _, r := range []*run{warm, start(t, app(jar), on(warm), asleep, cold)} {
				for id, o := range want {
					for _, user := range []string{"eve", "ada", ""} {
						wantEqual(t, "outcome for "+user, r.as(user, id, jar.To("a", Burst{N: 2})), o)
					}
				}
			}
			wantEqual(t, "commits", len(warm.commits("Shop.Jar", "a")), 4)
			// If the user cannot be read, there is no outcome.
			unknown := fmt.Errorf("torn page")
			warm.faults.Inject(faults.Rule{Op: "EventLog.Read", Key: "a", Err: unknown})
			_, err := warm.SendAction(t.Context(), "1", driver.Meta{User: "eve"}, jar.To("a", Burst{N: 2}).Erased())
			wantIs(t, err, unknown)
			warm.faults.Inject(faults.Rule{Op: "EventLog.Read", Key: "a", Times: 3, Err: driver.ErrThrottled})
			wantEqual(t, "outcome after the store was busy", warm.as("eve", "1", jar.To("a", Burst{N: 2})), want["1"])
		})
	}
}

// One commit may answer commands of several users.
func TestOutcomesOfOneCommitNameTheirOwnUsers(t *testing.T) {
	t.Parallel()
	jar := newJar(asynchronous)
	r := start(t, app(jar), asleep)
	r.faults.Disturb(faults.Deliveries{Double: 1, Commands: true})
	users := []string{"ada", "bob", "cyd"}
	for i, user := range users {
		r.as(user, fmt.Sprint(i), jar.To("a", Put{N: i}))
	}
	r.work()
	wantEqual(t, "commits", len(r.commits("Shop.Jar", "a")), 1)
	for i, user := range users {
		o, err := r.Outcome(t.Context(), "Shop.Jar", fmt.Sprint(i))
		if err != nil || o.User != user {
			t.Errorf("outcome of %d: got %+v, %v, want that of %s", i, o, err, user)
		}
	}
}

// A rejected command is not recognised as a repetition. If another user sent its id, it
// would be decided again, and its outcome would replace the first one.
func TestAsyncCommandWithTheIDOfAnotherUserIsNotRun(t *testing.T) {
	t.Parallel()
	var decided atomic.Int64
	jar := newJar(asynchronous, func(s *jarSpec) {
		s.Decide = func(j Jar, c Command) ([]Event, error) {
			decided.Add(1)
			return decide(j, c)
		}
	})
	r := start(t, app(jar), asleep)
	r.as("ada", "1", jar.To("a", Refuse{Code: "No"}))
	for _, state := range []driver.OutcomeKind{driver.Pending, driver.Rejected} {
		o := r.as("eve", "1", jar.To("b", Put{N: 1}))
		wantEqual(t, "outcome", fmt.Sprint(o.Kind, " ", o.User, " ", o.EntityID), fmt.Sprint(state, " ada a"))
		if state == driver.Pending {
			r.wake()
		}
		r.idle()
	}
	o, err := r.WaitOutcome(t.Context(), "Shop.Jar", "1")
	if err != nil || o.Kind != driver.Rejected || o.User != "ada" {
		t.Errorf("got %+v, %v, want the rejection of ada", o, err)
	}
	wantEqual(t, "events of eve", len(r.history("Shop.Jar", "b")), 0)
	before := decided.Load()
	r.advance(10 * time.Minute) // the queue may recognise the id for so long
	wantEqual(t, "outcome for ada", r.as("ada", "1", jar.To("a", Refuse{Code: "No"})).Kind, driver.Pending)
	r.idle()
	if decided.Load() == before {
		t.Error("the rejected command is not decided again")
	}
}
