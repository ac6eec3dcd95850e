package host_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/readmodel"
)

// LeaseRow is a row that every event may extend.
type LeaseRow struct {
	Events []int     `json:"events"`
	Until  time.Time `json:"until"`
}

// leases returns a read model whose rows expire. The number in an event says what it
// does: created, extended, extended if there, replaced or deleted, and for how long.
func leases(source message.Source[Event], name string, own bool) *readmodel.ReadModel[LeaseRow] {
	return readmodel.New(readmodel.Spec[LeaseRow]{
		Name: name, OwnRow: own, Expires: func(r LeaseRow) time.Time { return r.Until },
		Projections: []readmodel.Projection[LeaseRow]{readmodel.On(source, func(e jarEvent) readmodel.Changes[LeaseRow] {
			a, ok := e.Data.(Added)
			if !ok {
				return nil
			}
			until := e.RecordedAt.Add(time.Duration(a.N/10) * time.Minute)
			touch := func(r *LeaseRow) { r.Events, r.Until = append(slices.Clone(r.Events), a.N), until }
			switch a.N % 10 {
			case 0:
				return readmodel.Put(e.EntityID, LeaseRow{Events: []int{a.N}, Until: until})
			case 1:
				return readmodel.Update(e.EntityID, touch)
			case 2:
				return readmodel.Update(e.EntityID, func(r *LeaseRow) { r.Events = append(slices.Clone(r.Events), a.N) })
			case 3:
				return readmodel.DeleteIf(e.EntityID, func(r LeaseRow) bool { return len(r.Events) > 3 })
			case 4:
				return readmodel.Delete[LeaseRow](e.EntityID)
			}
			return readmodel.UpdateOrCreate(e.EntityID, LeaseRow{}, touch)
		})},
	})
}

// rows returns the rows that a projection sees at the present, by id.
func (r *run) leases(name string) map[string]string {
	r.t.Helper()
	db, _ := r.QueryDb("Shop." + name)
	out := map[string]string{}
	for i := range 5 {
		id := fmt.Sprint("jar", i)
		row, err := db.LoadRow(r.t.Context(), driver.Key{ID: id})
		if err == nil {
			out[id] = string(row.Data)
		}
	}
	return out
}

// A row is put for an hour and extended in time; two hours later it is projected again.
// What has expired is decided by the times of the commits, not by today's clock.
func TestRowsThatExpireAreTheSameAfterARebuild(t *testing.T) {
	t.Parallel()
	seeds(t, 20, func(t *testing.T, _ uint64, rng *rand.Rand) {
		jar := newJar()
		parts := []*readmodel.ReadModel[LeaseRow]{leases(jar, "Shared", false), leases(jar, "Own", true)}
		r := start(t, app(jar, parts[0], parts[1]))
		for i := range 60 {
			n := rng.IntN(6) + 10*(1+rng.IntN(90))
			r.accept(fmt.Sprint(i), jar.To(fmt.Sprint("jar", rng.IntN(5)), Put{N: n}))
			if rng.IntN(2) == 0 { // otherwise several commits are projected in one batch
				r.idle()
			}
			r.clock.Advance(time.Duration(rng.IntN(40)) * time.Minute)
		}
		r.idle()
		r.wantNothingParked()
		r.clock.Advance(time.Duration(rng.IntN(300)) * time.Minute)
		for _, name := range []string{"Shared", "Own"} {
			live := r.leases(name)
			for range 2 {
				if err := r.Rebuild(t.Context(), "Shop."+name, nil); err != nil {
					t.Fatal(err)
				}
				r.idle()
				wantEqual(t, "rows of "+name+" after a rebuild", r.leases(name), live)
			}
		}
	})
}

func TestRowThatIsExtendedInTimeSurvivesALateRebuild(t *testing.T) {
	t.Parallel()
	jar := newJar()
	r := start(t, app(jar, leases(jar, "Shared", false)))
	r.accept("put", jar.To("jar0", Put{N: 600})) // for an hour
	for i := range 12 {
		r.clock.Advance(30 * time.Minute)
		r.accept(fmt.Sprint(i), jar.To("jar0", Put{N: 601}))
	}
	r.accept("last", jar.To("jar0", Put{N: 100_001})) // for long
	r.idle()
	live := r.leases("Shared")
	r.clock.Advance(48 * time.Hour)
	if err := r.Rebuild(t.Context(), "Shop.Shared", nil); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "rows", r.leases("Shared"), live)
	// An update of an expired row does nothing, and parks nothing.
	r.accept("short", jar.To("jar1", Put{N: 10}))
	r.idle()
	r.clock.Advance(time.Hour)
	r.accept("too late", jar.To("jar1", Put{N: 601}))
	r.idle()
	r.clock.Advance(100 * 24 * time.Hour) // the row is removed
	r.accept("much too late", jar.To("jar1", Put{N: 601}))
	r.accept("never there", jar.To("jar2", Put{N: 601}))
	r.idle()
	r.wantNothingParked()
	wantEqual(t, "rows", r.leases("Shared"), map[string]string{})
}
