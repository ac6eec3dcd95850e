package memory

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestSortedIsASet compares with a map that is sorted when it is looked at.
func TestSortedIsASet(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	set := sorted[int]{compare: cmp.Compare[int]}
	model := map[int]bool{}
	for step := range 30_000 {
		n := r.IntN(4000)
		if step%10_000 < 6_000 {
			set.insert(n)
			model[n] = true
		} else {
			set.remove(n)
			delete(model, n)
		}
		if step%1_000 != 999 {
			continue
		}
		want := slices.Sorted(maps.Keys(model))
		from := r.IntN(4200) - 100
		i, _ := slices.BinarySearch(want, from)
		at := func(x int) bool { return x >= from }
		if got := slices.Collect(set.ascend(at)); !slices.Equal(got, want[i:]) {
			t.Fatalf("step %d: ascend from %d: got %d elements, want %d", step, from, len(got), len(want[i:]))
		}
		below := slices.Clone(want[:i])
		slices.Reverse(below)
		if got := slices.Collect(set.descend(at)); !slices.Equal(got, below) {
			t.Fatalf("step %d: descend from %d: got %d elements, want %d", step, from, len(got), len(below))
		}
	}
	for n := range 4000 {
		set.remove(n)
	}
	if len(set.chunks) != 0 {
		t.Errorf("an empty set has %d chunks", len(set.chunks))
	}
}

func TestSortedStopsEarly(t *testing.T) {
	t.Parallel()
	set := sorted[int]{compare: cmp.Compare[int]}
	for n := range 1000 {
		set.insert(n)
	}
	for n := range set.ascend(func(n int) bool { return n >= 500 }) {
		if n != 500 {
			t.Errorf("got %d, want 500", n)
		}
		break
	}
	for n := range set.descend(func(n int) bool { return n >= 500 }) {
		if n != 499 {
			t.Errorf("got %d, want 499", n)
		}
		break
	}
}
