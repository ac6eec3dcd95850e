package rowtable_test

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/reventless-go/reventless/aws/internal/rowtable"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/rows"
)

// texts returns a generator of strings that are likely to meet: of few runes,
// among them those that are escaped and those where UTF-16 orders otherwise.
func texts(random *rand.Rand) func() string {
	runes := []rune{0, 1, 2, 'a', 'b', 0x7f, 0x80, 'é', 0xd7ff, 0xe000, 0xffff, 0x10000, 0x10ffff}
	return func() string {
		var b strings.Builder
		for range random.IntN(5) {
			b.WriteRune(runes[random.IntN(len(runes))])
		}
		return b.String()
	}
}

func numbers(random *rand.Rand) func() float64 {
	fixed := []float64{0, math.Copysign(0, -1), 1, -1, 0.1, -0.1, 1 << 53, 1<<53 + 2, -(1 << 53), math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64, -math.SmallestNonzeroFloat64}
	return func() float64 {
		if random.IntN(3) > 0 {
			return fixed[random.IntN(len(fixed))]
		}
		for {
			if f := math.Float64frombits(random.Uint64()); !math.IsNaN(f) && !math.IsInf(f, 0) {
				return f
			}
		}
	}
}

func TestSortKeysOrderLikePositions(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	text, number := texts(random), numbers(random)
	for kind, sort := range map[string]func() any{
		"text":   func() any { return text() },
		"number": func() any { return number() },
		"none":   func() any { return nil },
	} {
		position := func() rows.Position {
			return rows.Position{Sort: sort(), Key: driver.Key{ID: text(), Sub: text()}}
		}
		for range 20000 {
			a, b := position(), position()
			x, y := rowtable.SortOf(a), rowtable.SortOf(b)
			if got, want := cmp.Compare(x, y), a.Compare(b); got != want {
				t.Fatalf("%s: the keys of %#v and %#v, %q and %q, compare as %d, want %d (seed %d)", kind, a, b, x, y, got, want, seed)
			}
			if !utf8.ValidString(x) {
				t.Fatalf("%s: the key %q of %#v is no text (seed %d)", kind, x, a, seed)
			}
		}
	}
}

func FuzzSortKeysOrderLikePositions(f *testing.F) {
	f.Add("a", "b", "", "a\x00", "", "\x01")
	f.Fuzz(func(t *testing.T, sort, id, sub, sort2, id2, sub2 string) {
		a := rows.Position{Sort: sort, Key: driver.Key{ID: id, Sub: sub}}
		b := rows.Position{Sort: sort2, Key: driver.Key{ID: id2, Sub: sub2}}
		if got, want := cmp.Compare(rowtable.SortOf(a), rowtable.SortOf(b)), a.Compare(b); got != want {
			t.Errorf("the keys of %#v and %#v compare as %d, want %d", a, b, got, want)
		}
	})
}

func TestKeysOfNumbersAreEqualLikeThem(t *testing.T) {
	t.Parallel()
	if a, b := rowtable.KeyOf(0.0), rowtable.KeyOf(math.Copysign(0, -1)); a != b || len(a) != 16 {
		t.Errorf("0 and -0 have the keys %q and %q", a, b)
	}
	if rowtable.KeyOf(1.0) == rowtable.KeyOf(-1.0) {
		t.Error("1 and -1 have the same key")
	}
}

// What a condition holds for must be in the range that is read; what it does not
// hold for should not be, apart from the ends.
func TestRangesHaveWhatTheirConditionsHoldFor(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	text, number := texts(random), numbers(random)
	within := func(r rowtable.Range, key string) bool {
		return !r.Empty && key >= r.From && (r.To == "" || key < r.To)
	}
	comparators := []driver.Comparator{driver.Equal, driver.Less, driver.LessOrEqual, driver.Greater, driver.GreaterOrEqual, driver.Between, driver.BeginsWith}
	exact := 0
	for i := range 60000 {
		value := func() any { return text() }
		if i%3 == 0 {
			value = func() any { return number() }
		}
		f := &driver.Filter{Comparator: comparators[random.IntN(len(comparators))], Values: []any{value()}}
		if _, isText := f.Values[0].(string); f.Comparator == driver.BeginsWith && !isText {
			continue
		}
		if f.Comparator == driver.Between {
			f.Values = append(f.Values, value())
		}
		at := rows.Position{Sort: value(), Key: driver.Key{ID: text() + "i", Sub: text()}}
		holds := rows.MatchSort(f, at.Sort)
		about := fmt.Sprintf("%s %#v for %#v (seed %d)", f.Comparator, f.Values, at, seed)
		if got := within(rowtable.SortRange(f), rowtable.SortOf(at)); got != holds {
			t.Fatalf("%s: in the range of the index: %t, the condition holds: %t", about, got, holds)
		}
		sub, isText := at.Sort.(string)
		if !isText {
			continue
		}
		got := within(rowtable.SubRange(f), sub)
		if holds && !got {
			t.Fatalf("%s: not in the range of sub ids", about)
		}
		if got == holds {
			exact++
		}
	}
	if exact < 30000 {
		t.Errorf("only %d ranges of sub ids were exact (seed %d)", exact, seed)
	}
}

func TestOversizeBoundsAreDropped(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 5000)
	for _, f := range []driver.Filter{
		{Comparator: driver.Equal, Values: []any{long}},
		{Comparator: driver.Between, Values: []any{"a", long}},
		{Comparator: driver.BeginsWith, Values: []any{"\xff"}},
	} {
		for _, r := range []rowtable.Range{rowtable.SortRange(&f), rowtable.SubRange(&f)} {
			if len(r.From) > rowtable.MaxSortBytes || len(r.To) > rowtable.MaxSortBytes || !utf8.ValidString(r.From+r.To) {
				t.Errorf("%s: the range has a bound that DynamoDB does not take", f.Comparator)
			}
		}
	}
	if rowtable.KeyOf(long) != "" || rowtable.KeyOf("\xff") != "" {
		t.Error("a value that no row can have has a key")
	}
}
