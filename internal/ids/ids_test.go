package ids_test

import (
	"strings"
	"testing"
	"time"

	"github.com/reventless-go/reventless/internal/ids"
)

func TestTimeIsThatOfTheID(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 12, 1, 10, 30, 0, 123_000_000, time.UTC)
	derived := ids.Derive(at, "a", "b")
	if derived != ids.Derive(at, "a", "b") || derived == ids.Derive(at, "ab") {
		t.Error("a derived id does not depend on its arguments alone")
	}
	for id, want := range map[string]bool{ids.New(at): false, derived: true, strings.ToUpper(derived): true} {
		if got, isDerived := ids.Time(id); !got.Equal(at) || isDerived != want {
			t.Errorf("%s: %v, derived %t, want %v, %t", id, got, isDerived, at, want)
		}
	}
	if got, isDerived := ids.Time(ids.Derive(time.Time{}, "a")); !got.IsZero() || !isDerived {
		t.Errorf("a derived id without a time: %v, derived %t", got, isDerived)
	}
	good := ids.New(at)
	for _, id := range []string{
		"", "1", "order-4711", good[1:], good + "0", good[:14] + "4" + good[15:], good[:19] + "0" + good[20:],
		strings.Replace(good, "-", "0", 1), "g" + good[1:], "\x10" + good[1:], strings.ReplaceAll(good, "-", ""), "{" + good[1:],
	} {
		if got, isDerived := ids.Time(id); !got.IsZero() || isDerived {
			t.Errorf("%q: %v, derived %t, want no time", id, got, isDerived)
		}
	}
}
