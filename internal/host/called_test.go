package host_test

import (
	"testing"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/memory"
)

// A host that is called runs no workers: each call handles its messages and settles them
// by their delivery ids.
func TestCalledHostSettlesEachDelivery(t *testing.T) {
	t.Parallel()
	jar := newJar()
	totals := sums(jar)
	h := open(t, app(jar, totals), memory.New(nil), nil)
	undecodable := command("3", "a", Put{N: 1})
	undecodable.Type = "Unknown"
	wantEqual(t, "commands", retried(h.HandleCommands(t.Context(), "Shop.Jar", []driver.Delivery[driver.Command]{
		{ID: "x", Attempt: 1, Message: command("1", "a", Put{N: 2})},
		{ID: "y", Attempt: 1, Message: undecodable},
		{ID: "z", Attempt: 1, Message: command("2", "a", Put{N: 3})},
	})), map[string]bool{"x": false, "y": false, "z": false})
	wantParked(t, h, 1)
	wantEqual(t, "records", retried(h.HandleRecords(t.Context(), "Shop.Sums", "Shop.Jar", []driver.Delivery[driver.Record]{record("a", 1)})), map[string]bool{"a1": false})
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
