package host_test

import (
	"testing"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/memory"
)

// A host that is called runs no workers: each message it is handed is handled
// then, and settled by its delivery's id.
func TestAHostThatIsCalledHandlesWhatItIsHanded(t *testing.T) {
	t.Parallel()
	jar := newJar()
	totals := sums(jar)
	h := open(t, app(jar, totals), memory.New(nil), nil)
	settled := func(settlements []driver.Settlement, err error) map[string]bool {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		again := map[string]bool{}
		for _, s := range settlements {
			again[s.ID] = s.Retry
		}
		return again
	}
	undecodable := command("3", "a", Put{N: 1})
	undecodable.Type = "Unheard"
	wantEqual(t, "commands", settled(h.HandleCommands(t.Context(), "Shop.Jar", []driver.Delivery[driver.Command]{
		{ID: "x", Attempt: 1, Message: command("1", "a", Put{N: 2})},
		{ID: "y", Attempt: 1, Message: undecodable},
		{ID: "z", Attempt: 1, Message: command("2", "a", Put{N: 3})},
	})), map[string]bool{"x": false, "y": false, "z": false})
	letters, err := h.DeadLetters().List(t.Context(), "Shop.Jar", "", 10)
	if err != nil || len(letters) != 1 {
		t.Errorf("parked are %v, %v, want the one that is unheard of", letters, err)
	}
	wantEqual(t, "records", settled(h.HandleRecords(t.Context(), "Shop.Sums", "Shop.Jar", []driver.Delivery[driver.Record]{record("a", 1)})), map[string]bool{"a1": false})
	row, ok, err := totals.Open(h.Env()).Get(t.Context(), "a")
	if err != nil || !ok || row.Sum != 5 {
		t.Errorf("the row is %v, %v, %v, want the sum of both", row, ok, err)
	}

	_, err = h.HandleCommands(t.Context(), "Shop.Nothing", nil)
	wantIs(t, err, driver.ErrNotFound)
	_, err = h.HandleRecords(t.Context(), "Shop.Sums", "Shop.Nothing", nil)
	wantIs(t, err, driver.ErrNotFound)
	_, err = h.HandleRelayed(t.Context(), "Shop.Jar", nil)
	wantIs(t, err, driver.ErrNotFound)
	_, err = h.HandleObjects(t.Context(), "Shop.Sums", nil)
	wantIs(t, err, driver.ErrNotFound)
	_, err = h.HandleFinished(t.Context(), "Shop.Jar", nil)
	wantIs(t, err, driver.ErrNotFound)
}
