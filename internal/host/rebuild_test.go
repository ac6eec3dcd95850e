package host_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/faults"
	"github.com/reventless-go/reventless/internal/host"
	"github.com/reventless-go/reventless/readmodel"
)

func TestRebuildDuringTrafficEndsEqualToTheLog(t *testing.T) {
	t.Parallel()
	seeds(t, 8, func(t *testing.T, seed uint64, rng *rand.Rand) {
		s := newShelf()
		r := start(t, s.app())
		s.traffic(r, seed, 30)
		r.faults.Disturb(disturbed(seed, rng))
		breakStores(r.faults, rng)
		names := []string{"Shop.Sums", "Shop.Totals", "Shop.Entries", "Shop.Latest", "Shop.Kinds", "Shop.Owners"}
		var wg sync.WaitGroup
		wg.Go(func() { s.traffic(r, seed+1_000_000, 30) })
		for i := range 4 {
			name := names[rng.IntN(len(names))]
			done := 0
			if err := r.insistOn(func() error { return r.Rebuild(t.Context(), name, func(p host.Rebuild) { done = int(p.Done) }) }); err != nil {
				t.Errorf("rebuild %d of %s: %v", i, name, err)
			}
			if done == 0 {
				t.Errorf("rebuild of %s reported no progress", name)
			}
		}
		wg.Wait()
		r.idle()
		r.faults.Calm()
		s.last(r, int(seed))
		r.finish()
		s.check(r)
	})
}

// insistOn calls f until it returns no error.
func (r *run) insistOn(f func() error) (err error) {
	for range 50 {
		if err = f(); err == nil {
			return nil
		}
	}
	return err
}

// startPoisoned starts an App whose read model cannot apply the second of three commits of
// a, and can apply all of b.
func startPoisoned(t *testing.T) (*fragile, *run) {
	t.Helper()
	f := newFragile(poisons["panic in the projection"])
	r := f.start(t)
	for i, note := range []string{"", "poison", ""} {
		r.accept(fmt.Sprint(i), f.jar.To("a", Put{N: i, Note: note}))
		r.accept(fmt.Sprint("b", i), f.jar.To("b", Put{N: i}))
	}
	r.idle()
	return f, r
}

func TestRebuildRetriesParkedCommits(t *testing.T) {
	t.Parallel()
	f, r := startPoisoned(t)
	wantEqual(t, "parked commit", r.deadLetter().SequenceNr, 2)
	// The commit still fails: it is parked again, and the others are applied.
	if err := r.Rebuild(t.Context(), "Shop.Fragile", nil); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "parked commit", r.deadLetter().SequenceNr, 2)
	f.wantSeen(r, map[string]string{"a": "0", "b": "0 1 2"})
	f.fixed.Store(true)
	if err := r.Rebuild(t.Context(), "Shop.Fragile", nil); err != nil {
		t.Fatal(err)
	}
	r.wantNothingParked()
	f.wantSeen(r, map[string]string{"a": "0 1 2", "b": "0 1 2"})
	wantIs(t, r.Rebuild(t.Context(), "Shop.Nothing", nil), driver.ErrNotFound)
}

// A commit that is parked after the swap keeps its dead letter.
func TestRebuildKeepsNewDeadLetters(t *testing.T) {
	t.Parallel()
	f := newFragile(poisons["panic in the projection"])
	r := f.start(t)
	r.accept("0", f.jar.To("a", Put{N: 0}))
	r.idle()
	r.faults.Inject(faults.Rule{Op: "Shadow.Swap", After: true, Do: func() {
		r.accept("1", f.jar.To("b", Put{N: 1, Note: "poison"}))
		r.idle()
	}})
	if err := r.Rebuild(t.Context(), "Shop.Fragile", nil); err != nil {
		t.Fatal(err)
	}
	r.idle()
	l := r.deadLetter()
	wantEqual(t, "stream", l.Stream, "b")
	f.fixed.Store(true)
	r.redrive(l.ID)
	f.wantSeen(r, map[string]string{"a": "0", "b": "1"})
}

func TestRebuildThatFailsCanBeRepeated(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"Shadow.Drop", "Shadow.SetRecord", "EventLog.Scan", "Shadow.Watermarks", "Shadow.Apply", "Shadow.Swap", "DeadLetters.Remove"} {
		for _, w := range lostWays {
			t.Run(op+" "+w.name, func(t *testing.T) {
				t.Parallel()
				f := newFragile(poisons["panic in the projection"])
				r := f.start(t)
				for i, note := range []string{"", "poison", ""} {
					r.accept(fmt.Sprint(i), f.jar.To("a", Put{N: i, Note: note}))
				}
				r.idle()
				f.fixed.Store(true)
				r.faults.Inject(faults.Rule{Op: op, Times: 2, Err: w.err, After: w.after, Yield: 1})
				if err := r.insistOn(func() error { return r.Rebuild(t.Context(), "Shop.Fragile", nil) }); err != nil {
					t.Error(err)
				}
				r.idle()
				f.wantSeen(r, map[string]string{"a": "0 1 2"})
				r.wantNothingParked()
			})
		}
	}
}

// A rebuild that was stopped left the rows of the commits done so far, for ever.
func TestStoppedRebuildServesTheOldRowsAndContinues(t *testing.T) {
	t.Parallel()
	f := newFragile(poisons["panic in the projection"])
	r := f.start(t)
	want := map[string]string{}
	for i := range 40 {
		id := fmt.Sprint("id", i)
		r.accept(id, f.jar.To(id, Put{N: i}))
		want[id] = fmt.Sprint(i)
	}
	r.idle()
	ctx, cancel := context.WithCancel(t.Context())
	r.faults.Inject(faults.Rule{Op: "Shadow.Apply", Times: -1, After: true, Do: cancel})
	wantIs(t, r.Rebuild(ctx, "Shop.Fragile", nil), context.Canceled)
	f.wantSeen(r, want)
	states, err := r.Rebuilds(t.Context())
	if err != nil || len(states) != 1 || states[0].ReadModel != "Shop.Fragile" || states[0].StartedAt.IsZero() {
		t.Errorf("got the rebuilds %+v, %v, want that of Shop.Fragile", states, err)
	}
	r.stop()
	second := f.start(t, on(r))
	second.idle()
	f.wantSeen(second, want)
	wantEqual(t, "swaps after the restart", second.faults.Calls("Shadow.Swap", ""), 1)
	if states, err := second.Rebuilds(t.Context()); err != nil || len(states) > 0 {
		t.Errorf("got the rebuilds %+v, %v after the end", states, err)
	}
}

// The process ends at each write of a rebuild, before or after it takes effect.
func TestRebuildSurvivesTheEndOfItsProcessAtEachWrite(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		for at := 1; ; at++ {
			f, r := startPoisoned(t)
			f.fixed.Store(true)
			r.stop()

			second := f.start(t, on(r), asleep)
			ctx, end := context.WithCancel(t.Context())
			second.faults.EndAtWrite(at, after, end)
			err := second.Rebuild(ctx, "Shop.Fragile", nil)
			end()
			second.stop()
			third := f.start(t, on(r))
			third.idle()
			got := f.seen(third)
			want := map[string]string{"a": "0 1 2", "b": "0 1 2"}
			if len(third.deadLetters()) > 0 { // the rebuild had not begun
				want["a"] = "0"
			}
			if fmt.Sprint(got) != fmt.Sprint(want) || len(third.deadLetters()) > 0 && at > 2 {
				t.Errorf("end at write %d (after it: %t): got %v, %d dead letters", at, after, got, len(third.deadLetters()))
			}
			if err == nil {
				if at < 6 {
					t.Errorf("the rebuild had %d writes only", at-1)
				}
				break
			}
		}
	}
}

// A rebuild with a damaged or failing commit emptied the read model.
func TestRebuildThatCannotApplyACommitLeavesTheRows(t *testing.T) {
	t.Parallel()
	f := newFragile(poisons["panic in the projection"])
	f.fixed.Store(true)
	r := f.start(t)
	r.accept("0", f.jar.To("a", Put{N: 0, Note: "poison"}))
	r.accept("1", f.jar.To("b", Put{N: 1}))
	r.idle()
	f.fixed.Store(false)
	err := r.Rebuild(t.Context(), "Shop.Fragile", nil)
	wantIs(t, err, host.ErrWaits)
	wantText(t, err.Error(), "Shop.Jar/a")
	f.wantSeen(r, map[string]string{"a": "0", "b": "1"})
	r.wantNothingParked()
	states, err := r.Rebuilds(t.Context())
	if err != nil || len(states) != 1 {
		t.Fatalf("got the rebuilds %+v, %v", states, err)
	}
	wantText(t, states[0].Waits, "Shop.Jar/a")
	if err := r.CancelRebuild(t.Context(), "Shop.Fragile"); err != nil {
		t.Error(err)
	}
	if states, err := r.Rebuilds(t.Context()); err != nil || len(states) > 0 {
		t.Errorf("got the rebuilds %+v, %v after the cancellation", states, err)
	}
	r.faults.Inject(faults.Rule{Op: "EventLog.Scan", Yield: 1, Err: driver.ErrInvalid})
	wantIs(t, r.Rebuild(t.Context(), "Shop.Fragile", nil), driver.ErrInvalid)
	f.wantSeen(r, map[string]string{"a": "0", "b": "1"})
}

// Rows of another version are rebuilt by the next start; a changed SubID kept the App
// from starting.
func TestRowsOfAnotherVersionAreRebuilt(t *testing.T) {
	t.Parallel()
	jar := newJar()
	first := start(t, app(jar, sums(jar)))
	for i := range 6 {
		first.accept(fmt.Sprint(i), jar.To(string("ab"[i%2]), Put{N: i}))
	}
	first.idle()
	first.stop()

	type line struct {
		Slot string `json:"slot"`
		Sum  int    `json:"sum"`
	}
	lines := func(version, factor int) *readmodel.ReadModel[line] {
		return readmodel.New(readmodel.Spec[line]{Name: "Sums", SubID: "slot", Version: version, Projections: readmodel.Projections[line]{
			readmodel.On(jar, func(e jarEvent) readmodel.Changes[line] {
				return readmodel.UpdateOrCreate(e.EntityID, line{Slot: slot(e.Data.(Added).N)}, func(l *line) { l.Sum += factor * e.Data.(Added).N })
			}),
		}})
	}
	changed := lines(0, 1)
	second := start(t, app(jar, changed), on(first), asleep)
	states, err := second.Rebuilds(t.Context())
	if err != nil || len(states) != 1 || !states[0].Stale {
		t.Errorf("got %+v, %v, want that Shop.Sums is stale", states, err)
	}
	// A commit is settled after the shadow has read the log, and the process ends before
	// it is caught up with.
	settled := make(chan struct{})
	second.faults.Inject(faults.Rule{Op: "Shadow.Swap", Do: func() {
		second.faults.Inject(faults.Rule{Op: "EventCollector.Settle", Name: "Shop.Sums", After: true, Do: func() { close(settled) }})
		second.accept("6", jar.To("a", Put{N: 6}))
		<-settled
	}})
	ended := second.faults.Inject(faults.Rule{Op: "EventLog.Scan", Skip: 1, Times: -1, Err: driver.ErrInvalid})
	second.wake()
	wantText(t, strings.Join(second.lines.all(), "\n"), "filled by another version")
	for ended.Hits() < 2 {
		runtime.Gosched()
	}
	second.stop()
	second = start(t, app(jar, changed), on(first))
	second.accept("7", jar.To("b", Put{N: 7}))
	second.finish()
	wantRows(second, changed, map[string]line{"a/0": {"0", 4}, "a/2": {"2", 8}, "b/1": {"1", 6}, "b/3": {"3", 10}})
	second.stop()

	// The same version again is not rebuilt; a raised one is.
	third := start(t, app(jar, lines(0, 10)), on(first))
	third.idle()
	wantEqual(t, "swaps", third.faults.Calls("Shadow.Swap", ""), 0)
	third.stop()
	raised := lines(1, 10)
	fourth := start(t, app(jar, raised), on(first))
	fourth.finish()
	wantRows(fourth, raised, map[string]line{"a/0": {"0", 40}, "a/2": {"2", 80}, "b/1": {"1", 60}, "b/3": {"3", 100}})
	if states, err := fourth.Rebuilds(t.Context()); err != nil || len(states) > 0 {
		t.Errorf("got the rebuilds %+v, %v after the end", states, err)
	}
}

func TestChangedOwnRowRebuildsTheRows(t *testing.T) {
	t.Parallel()
	jar := newJar()
	for _, own := range []bool{false, true} {
		first := start(t, app(jar, sums(jar, func(s *readmodel.Spec[SumRow]) { s.OwnRow = own })))
		first.accept("1", jar.To("a", Put{N: 1}))
		first.idle()
		first.stop()
		changed := sums(jar, func(s *readmodel.Spec[SumRow]) { s.OwnRow = !own })
		second := start(t, app(jar, changed), on(first))
		second.accept("2", jar.To("a", Put{N: 2}))
		second.finish()
		wantRows(second, changed, map[string]SumRow{"a": {3, 2}})
		wantEqual(t, "swaps", second.faults.Calls("Shadow.Swap", ""), 1)
	}
}
