package host_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/faults"
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
			if err := r.insistOn(func() error { return r.Rebuild(t.Context(), name, func(n int) { done = n }) }); err != nil {
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

func TestRebuildRetriesParkedCommits(t *testing.T) {
	t.Parallel()
	f := newFragile(poisons["panic in the projection"])
	r := f.start(t)
	for i, note := range []string{"", "poison", ""} {
		r.accept(fmt.Sprint(i), f.jar.To("a", Put{N: i, Note: note}))
		r.accept(fmt.Sprint("b", i), f.jar.To("b", Put{N: i}))
	}
	r.idle()
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

// A commit that is parked after the clear keeps its dead letter.
func TestRebuildKeepsNewDeadLetters(t *testing.T) {
	t.Parallel()
	f := newFragile(poisons["panic in the projection"])
	r := f.start(t)
	r.accept("0", f.jar.To("a", Put{N: 0}))
	r.idle()
	r.faults.Inject(faults.Rule{Op: "QueryDb.Clear", After: true, Do: func() {
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
	for _, op := range []string{"QueryDb.Clear", "EventLog.Scan", "QueryDb.Watermarks", "QueryDb.Apply", "DeadLetters.Remove"} {
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
