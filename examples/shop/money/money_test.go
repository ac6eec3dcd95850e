package money_test

import (
	"math"
	"testing"

	"github.com/reventless-go/reventless/examples/shop/money"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]money.Pence{
		"2.55": 255, "2.5": 250, "18": 1800, "0": 0, "0.07": 7, "-27.5": -2750, "1.15": 115, "19.99": 1999,
		"0018.00": 1800, "92233720368547758.07": math.MaxInt64,
	} {
		got, err := money.Parse(text)
		if got != want || err != nil {
			t.Errorf("Parse(%q): got %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "-", ".", ".5", "5.", "1.234", "1,5", "1.2.3", "1e3", "+1", "--1", "1.-5", "1_0", " 1", "£1", "NaN", "١", "92233720368547758.08",
	} {
		if got, err := money.Parse(text); err == nil {
			t.Errorf("Parse(%q): got %d, want an error", text, got)
		}
	}
}

func TestString(t *testing.T) {
	t.Parallel()
	for p, want := range map[money.Pence]string{0: "£0.00", 7: "£0.07", 255: "£2.55", -2750: "-£27.50"} {
		if got := p.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestValid(t *testing.T) {
	t.Parallel()
	for p, want := range map[money.Pence]bool{-1: false, 0: true, money.Max: true, money.Max + 1: false} {
		if got := p.Valid(); got != want {
			t.Errorf("%d.Valid(): got %v, want %v", p, got, want)
		}
	}
}
