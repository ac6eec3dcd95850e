package host_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/faults"
	"github.com/reventless-go/reventless/readmodel"
)

// Mood is a string, but encodes as a number if it is bad, which no index accepts.
type Mood string

func (m Mood) MarshalJSON() ([]byte, error) {
	if m == "bad" {
		return []byte("7"), nil
	}
	return json.Marshal(string(m))
}

// FragileRow remembers the order in which it was changed.
type FragileRow struct {
	Sub  string  `json:"sub"`
	Seen string  `json:"seen"`
	X    float64 `json:"x"`
	Mood Mood    `json:"mood"`
}

// poisons are the ways in which a projection can fail.
var poisons = map[string]func(id string) readmodel.Changes[FragileRow]{
	"panic in the projection": func(string) readmodel.Changes[FragileRow] { panic("poison") },
	"panic in a change": func(id string) readmodel.Changes[FragileRow] {
		return readmodel.UpdateOrCreate(id, FragileRow{Sub: "s"}, func(*FragileRow) { panic("poison") })
	},
	"update of a missing row": func(id string) readmodel.Changes[FragileRow] {
		return readmodel.UpdateRow(id, "missing", func(*FragileRow) {})
	},
	"creation of an existing row": func(id string) readmodel.Changes[FragileRow] {
		return readmodel.Create(id, FragileRow{Sub: "s"})
	},
	"a number without JSON form": func(id string) readmodel.Changes[FragileRow] {
		return readmodel.UpdateRow(id, "s", func(r *FragileRow) { r.X = math.NaN() })
	},
	"oversized row": func(id string) readmodel.Changes[FragileRow] {
		return readmodel.UpdateRow(id, "s", func(r *FragileRow) { r.Seen = strings.Repeat("x", 10<<10) })
	},
	"bad index field": func(id string) readmodel.Changes[FragileRow] {
		return readmodel.UpdateRow(id, "s", func(r *FragileRow) { r.Mood = "bad" })
	},
	"empty sub id": func(id string) readmodel.Changes[FragileRow] {
		return readmodel.Put(id, FragileRow{})
	},
	"changed sub id": func(id string) readmodel.Changes[FragileRow] {
		return readmodel.UpdateRow(id, "s", func(r *FragileRow) { r.Sub = "t" })
	},
	"bad row id": func(string) readmodel.Changes[FragileRow] {
		return readmodel.Put("a\nb", FragileRow{Sub: "s"})
	},
	"one sub id twice": func(id string) readmodel.Changes[FragileRow] {
		return readmodel.UpdateRows(id, func(rows []FragileRow) []FragileRow { return append(rows, rows...) })
	},
	"too many rows": func(id string) readmodel.Changes[FragileRow] {
		var rows []FragileRow
		for i := range 100 {
			rows = append(rows, FragileRow{Sub: fmt.Sprint(i)})
		}
		return readmodel.PutRows(id, rows...)
	},
}

// fragile is an App with a projection that fails for some events until it is fixed, and
// another one that counts its calls.
type fragile struct {
	jar     *jarAggregate
	fragile *readmodel.ReadModel[FragileRow]
	sibling *readmodel.ReadModel[SumRow]
	fixed   atomic.Bool
	tried   atomic.Int64 // attempts at the poison events

	mu     sync.Mutex
	called map[string]int // calls of the sibling, by event
}

func newFragile(poison func(id string) readmodel.Changes[FragileRow]) *fragile {
	f := &fragile{jar: newJar(), called: map[string]int{}}
	f.fragile = readmodel.New(readmodel.Spec[FragileRow]{
		Name: "Fragile", SubID: "sub", Indexes: []readmodel.Index{{Name: "byMood", Key: "mood"}},
		Access: access.Internal, // the API has no type for Mood
		Projections: []readmodel.Projection[FragileRow]{readmodel.On(f.jar, func(e jarEvent) readmodel.Changes[FragileRow] {
			a := e.Data.(Added)
			if a.Note == "poison" && !f.fixed.Load() {
				f.tried.Add(1)
				return poison(e.EntityID)
			}
			return readmodel.UpdateOrCreate(e.EntityID, FragileRow{Sub: "s"}, func(r *FragileRow) {
				r.Seen += fmt.Sprint(a.N, " ")
			})
		})},
	})
	f.sibling = sums(f.jar, func(s *readmodel.Spec[SumRow]) {
		s.Projections = []readmodel.Projection[SumRow]{readmodel.On(f.jar, func(e jarEvent) readmodel.Changes[SumRow] {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.called[e.Meta.ID]++
			return addTo(e.EntityID, e)
		})}
	})
	return f
}

func (f *fragile) start(t *testing.T, with ...func(*setup)) *run {
	return start(t, app(f.jar, f.fragile, f.sibling),
		append(with, limited(driver.Limits{MaxRowBytes: 8 << 10, MaxStep: 60}))...)
}

// seen returns the field Seen of the rows of the fragile read model, by entity.
func (f *fragile) seen(r *run) map[string]string {
	out := map[string]string{}
	for k, row := range rows(r, f.fragile) {
		out[strings.TrimSuffix(k, "/s")] = strings.TrimSpace(row.Seen)
	}
	return out
}

func (f *fragile) wantSeen(r *run, want map[string]string) {
	r.t.Helper()
	wantEqual(r.t, "seen", f.seen(r), want)
}

func TestFailingCommitIsParkedAndOnlyItsStreamWaits(t *testing.T) {
	t.Parallel()
	for name, poison := range poisons {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFragile(poison)
			r := f.start(t, asleep)
			n := 0
			put := func(id, note string) {
				n++
				r.accept(fmt.Sprint(n), f.jar.To(id, Put{N: n, Note: note}))
			}
			for _, id := range []string{"a", "bad", "b", "c"} {
				put(id, "") // 1 to 4
			}
			put("bad", "poison") // 5
			for _, id := range []string{"a", "bad", "b", "c"} {
				put(id, "") // 6 to 9
			}
			r.work()
			f.wantSeen(r, map[string]string{"a": "1 6", "bad": "2", "b": "3 8", "c": "4 9"})
			l := r.deadLetter()
			if l.Kind != driver.DeadCommit || l.Component != "Shop.Fragile" || l.Log != "Shop.Jar" || l.Stream != "bad" || l.SequenceNr != 2 || l.Attempts != 5 {
				t.Errorf("got dead letter %+v, want commit 2 of bad, after 5 attempts", l)
			}
			if l.Reason == "" || len(l.Reason) > 600 {
				t.Errorf("got the reason %q", l.Reason)
			}
			wantEqual(t, "sum of the sibling", rows(r, f.sibling)["bad"], SumRow{2 + 5 + 7, 3})
			for id, calls := range f.called {
				if calls != 1 {
					t.Errorf("the sibling was called %d times for %s", calls, id)
				}
			}

			// Later commits of the blocked stream wait without attempts.
			tried := f.tried.Load()
			put("bad", "") // 10
			put("a", "")   // 11
			r.idle()
			f.wantSeen(r, map[string]string{"a": "1 6 11", "bad": "2", "b": "3 8", "c": "4 9"})
			wantEqual(t, "attempts while blocked", f.tried.Load(), tried)

			// A redrive before the fix adds one attempt.
			if err := r.Redrive(t.Context(), l.ID); err == nil {
				t.Error("redrive of what still fails: no error")
			}
			wantEqual(t, "attempts", r.deadLetter().Attempts, 6)
			f.wantSeen(r, map[string]string{"a": "1 6 11", "bad": "2", "b": "3 8", "c": "4 9"})

			// After the fix, a redrive applies all waiting commits in order.
			f.fixed.Store(true)
			r.redrive(l.ID)
			r.wantNothingParked()
			put("bad", "") // 12
			r.idle()
			f.wantSeen(r, map[string]string{"a": "1 6 11", "bad": "2 5 7 10 12", "b": "3 8", "c": "4 9"})
			r.wantNothingParked()
		})
	}
}

func TestDiscardSkipsTheCommitAndAppliesTheWaitingOnes(t *testing.T) {
	t.Parallel()
	f := newFragile(poisons["panic in the projection"])
	r := f.start(t)
	for i, note := range []string{"", "poison", "", "", "poison", ""} {
		r.accept(fmt.Sprint(i), f.jar.To("a", Put{N: i, Note: note}))
	}
	r.idle()
	l := r.deadLetter()
	wantEqual(t, "parked commit", l.SequenceNr, 2)
	r.discard(l.ID)
	r.idle()
	f.wantSeen(r, map[string]string{"a": "0 2 3"})
	// A later commit that fails is parked, too.
	l = r.deadLetter()
	wantEqual(t, "parked commit", l.SequenceNr, 5)
	r.discard(l.ID)
	r.accept("more", f.jar.To("a", Put{N: 6}))
	r.idle()
	f.wantSeen(r, map[string]string{"a": "0 2 3 5 6"})
	r.wantNothingParked()
}

// The store fails during a redrive or a discard: no commit may be lost, and a
// repetition must succeed.
func TestRedriveAndDiscardLoseNoCommitWhenAStoreFails(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"redrive", "discard"} {
		for _, op := range []string{
			"QueryDb.Unblock", "QueryDb.Watermark", "QueryDb.Advance", "QueryDb.Apply", "QueryDb.LoadRows", "QueryDb.Block",
			"EventLog.Read", "DeadLetters.Park", "DeadLetters.Remove",
		} {
			for _, after := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %s, after %v", what, op, after), func(t *testing.T) {
					t.Parallel()
					f := newFragile(poisons["panic in the projection"])
					r := f.start(t)
					for i, note := range []string{"", "poison", "", ""} {
						r.accept(fmt.Sprint(i), f.jar.To("a", Put{N: i, Note: note}))
					}
					r.idle()
					id := r.deadLetter().ID
					if what == "redrive" {
						f.fixed.Store(true)
					}
					do := func() {
						for _, l := range r.deadLetters() {
							if what == "discard" && l.SequenceNr == 2 {
								_ = r.Discard(t.Context(), l.ID)
							} else {
								_ = r.Redrive(t.Context(), l.ID)
							}
						}
					}
					fault := r.faults.Inject(faults.Rule{Op: op, Times: 2, Err: driver.ErrUnavailable, After: after})
					do()
					r.idle()
					fault.Stop()
					// While commits wait, there is a dead letter to redrive or discard.
					for range 3 {
						do()
						r.idle()
					}
					want := "0 1 2 3"
					if what == "discard" {
						want = "0 2 3"
					}
					f.wantSeen(r, map[string]string{"a": want})
					r.wantNothingParked()
					r.accept("more", f.jar.To("a", Put{N: 9}))
					r.idle()
					f.wantSeen(r, map[string]string{"a": want + " 9"})
					if _, err := r.DeadLetters().Get(t.Context(), id); err == nil {
						t.Error("the dead letter still exists")
					}
				})
			}
		}
	}
}

// A stored commit that cannot be read blocks its stream, not the batch.
func TestUnreadableStreamIsParkedAndOthersAreApplied(t *testing.T) {
	t.Parallel()
	f := newFragile(nil)
	r := f.start(t, asleep)
	r.faults.Disturb(faults.Deliveries{Doorbell: 1})
	fault := r.faults.Inject(faults.Rule{Op: "EventLog.Read", Name: "Shop.Jar", Key: "bad", Times: -1, Yield: 1, Err: driver.ErrInvalid})
	for i := range 4 {
		for _, id := range []string{"a", "bad", "b"} {
			r.accept(fmt.Sprint(id, i), f.jar.To(id, Put{N: i}))
		}
	}
	r.work()
	seen := f.seen(r)
	wantEqual(t, "others", []string{seen["a"], seen["b"]}, []string{"0 1 2 3", "0 1 2 3"})
	letters := r.deadLetters()
	wantEqual(t, "dead letters", len(letters), 2)
	for _, l := range letters {
		wantEqual(t, "stream", l.Stream, "bad")
		wantText(t, l.Reason, "read Shop.Jar/bad", "invalid")
	}
	fault.Stop()
	for _, l := range letters {
		r.redrive(l.ID)
	}
	r.wantNothingParked()
	f.wantSeen(r, map[string]string{"a": "0 1 2 3", "bad": "0 1 2 3", "b": "0 1 2 3"})
	wantEqual(t, "sum of the sibling", rows(r, f.sibling)["bad"], SumRow{6, 4})
}

func TestStoreFailureIsNeverAReasonToParkACommit(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"QueryDb.Apply", "QueryDb.LoadRows", "QueryDb.Watermarks", "EventLog.Read"} {
		for _, err := range []error{driver.ErrUnavailable, driver.ErrThrottled, errUnknown} {
			t.Run(op+" "+err.Error(), func(t *testing.T) {
				t.Parallel()
				f := newFragile(nil)
				r := f.start(t, asleep)
				r.faults.Disturb(faults.Deliveries{Doorbell: 1})
				fault := r.faults.Inject(faults.Rule{Op: op, Times: 30, Err: err})
				for i := range 3 {
					r.accept(fmt.Sprint(i), f.jar.To("a", Put{N: i}))
				}
				r.wake()
				r.finish()
				wantEqual(t, "faults", fault.Hits(), 30)
				f.wantSeen(r, map[string]string{"a": "0 1 2"})
			})
		}
	}
}

func TestParkedCommandIsRedrivenAndDiscarded(t *testing.T) {
	t.Parallel()
	var fixed atomic.Bool
	jar := newJar(func(s *jarSpec) {
		s.Async = true
		s.Decide = func(s Jar, c Command) ([]Event, error) {
			if _, ok := c.(Explode); ok && fixed.Load() {
				return []Event{Added{N: 100}}, nil
			}
			return decide(s, c)
		}
	})
	r := start(t, app(jar))
	for _, id := range []string{"1", "2"} {
		r.accept(id, jar.To("a", Explode{Text: id}))
	}
	r.accept("3", jar.To("a", Put{N: 1}))
	r.idle()
	letters := r.deadLetters()
	wantEqual(t, "dead letters", len(letters), 2)
	if err := r.Redrive(t.Context(), letters[0].ID); err == nil {
		t.Error("redrive of what still fails: no error")
	}
	wantEqual(t, "attempts", r.deadLetters()[0].Attempts, 6)
	fixed.Store(true)
	r.redrive(letters[0].ID)
	r.discard(letters[1].ID)
	r.finish()
	wantEqual(t, "events", r.history("Shop.Jar", "a"), []string{`Added{"n":1}`, `Added{"n":100}`})
	if o, err := r.Outcome(t.Context(), "Shop.Jar", "1"); err != nil || o.Kind != driver.Accepted {
		t.Errorf("outcome of the redriven command: got %+v, %v", o, err)
	}
	wantIs(t, r.Redrive(t.Context(), letters[1].ID), driver.ErrNotFound)
	wantIs(t, r.Discard(t.Context(), letters[1].ID), driver.ErrNotFound)
}

// One host has old code, which fails; another has new code, which succeeds. A commit
// that the new one applied is not parked.
func TestCommitThatAnotherHostAppliedIsNotParked(t *testing.T) {
	t.Parallel()
	bad, good := newFragile(poisons["panic in the projection"]), newFragile(nil)
	good.fixed.Store(true)
	one := bad.start(t, asleep)
	two := start(t, app(good.jar, good.fragile, good.sibling), on(one), ownFeed, asleep)
	// The new host applies the commit just before the old one blocks the stream.
	one.faults.Inject(faults.Rule{Op: "QueryDb.Block", Do: func() {
		two.work()
	}})
	one.accept("1", bad.jar.To("a", Put{N: 1, Note: "poison"}))
	one.wake()
	one.finish()
	bad.wantSeen(one, map[string]string{"a": "1"})
	one.accept("2", bad.jar.To("a", Put{N: 2}))
	rest(one, two)
	one.wantNothingParked()
	bad.wantSeen(one, map[string]string{"a": "1 2"})
}

func TestOwnRowRefusesOtherRows(t *testing.T) {
	t.Parallel()
	jar := newJar()
	strict := sums(jar, func(s *readmodel.Spec[SumRow]) {
		s.OwnRow = true
		s.Projections = []readmodel.Projection[SumRow]{readmodel.On(jar, func(e jarEvent) readmodel.Changes[SumRow] {
			if e.Data.(Added).Note == "stray" {
				return slices.Concat(addTo(e.EntityID, e), addTo("other", e))
			}
			return addTo(e.EntityID, e)
		})}
	})
	r := start(t, app(jar, strict))
	r.accept("1", jar.To("a", Put{N: 1}))
	r.accept("2", jar.To("a", Put{N: 2, Note: "stray"}))
	r.accept("3", jar.To("b", Put{N: 3}))
	r.idle()
	wantText(t, r.deadLetter().Reason, "OwnRow", `"other"`)
	wantEqual(t, "parked commit", r.deadLetter().SequenceNr, 2)
	wantRows(r, strict, map[string]SumRow{"a": {1, 1}, "b": {3, 1}})
}

// The App runs without a component for a while. Its stream is blocked in its store, so its
// dead letter stays until the component is there again.
func TestDeadLetterOfAnAbsentComponentStaysWithItsBlockedStream(t *testing.T) {
	t.Parallel()
	jar := newJar()
	broken := true
	model := func(s *readmodel.Spec[SumRow]) {
		s.Projections = []readmodel.Projection[SumRow]{readmodel.On(jar, func(e jarEvent) readmodel.Changes[SumRow] {
			if broken {
				panic("broken")
			}
			return addTo(e.EntityID, e)
		})}
	}
	one := start(t, app(jar, sums(jar, model)))
	one.accept("1", jar.To("a", Put{N: 1}))
	one.idle()
	id := one.deadLetter().ID
	one.stop()

	without := start(t, app(jar), on(one))
	for _, f := range []func(context.Context, string) error{without.Discard, without.Redrive} {
		if err := f(t.Context(), id); err == nil || !strings.Contains(err.Error(), "Shop.Sums") {
			t.Errorf("without the component: %v, want an error that names it", err)
		}
	}
	without.accept("2", jar.To("a", Put{N: 2}))
	without.idle()
	without.stop()

	broken = false
	again := start(t, app(jar, sums(jar, model)), on(one))
	again.discard(id)
	again.idle()
	again.wantNothingParked()
	db, _ := again.QueryDb("Shop.Sums")
	row, err := db.LoadRow(t.Context(), driver.Key{ID: "a"})
	if err != nil || string(row.Data) != `{"sum":2,"count":1}` {
		t.Errorf("the row is %s, %v, want the commit after the discarded one", row.Data, err)
	}
}
