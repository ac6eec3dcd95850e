package host_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/memory"
	"github.com/reventless-go/reventless/internal/host"
	"github.com/reventless-go/reventless/readmodel"
)

// meanwhile is a provider that calls beforePark before it parks its first dead letter,
// and beforeRemove before it removes its first one.
type meanwhile struct {
	driver.Provider
	beforePark, beforeRemove func()
}

type meanwhileDeadLetters struct {
	driver.DeadLetters
	of *meanwhile
}

func (m *meanwhile) OpenDeadLetters(ctx context.Context) (driver.DeadLetters, error) {
	l, err := m.Provider.OpenDeadLetters(ctx)
	return meanwhileDeadLetters{l, m}, err
}

func once(f *func()) {
	if g := *f; g != nil {
		*f = nil
		g()
	}
}

func (l meanwhileDeadLetters) Park(ctx context.Context, letter driver.DeadLetter) error {
	once(&l.of.beforePark)
	return l.DeadLetters.Park(ctx, letter)
}

func (l meanwhileDeadLetters) Remove(ctx context.Context, id string) error {
	once(&l.of.beforeRemove)
	return l.DeadLetters.Remove(ctx, id)
}

// worker is one of several processes of an App. Its read model fails at the commits that
// newWorker lists as bad.
type worker struct {
	*host.Host
	t *testing.T
}

func newWorker(t *testing.T, provider driver.Provider, bad ...uint64) *worker {
	t.Helper()
	jar := newJar()
	model := sums(jar, func(s *readmodel.Spec[SumRow]) {
		s.Projections = []readmodel.Projection[SumRow]{readmodel.On(jar, func(e jarEvent) readmodel.Changes[SumRow] {
			for _, n := range bad {
				if e.Position.SequenceNr == n {
					panic(fmt.Sprintf("commit %d", n))
				}
			}
			return addTo(e.EntityID, e)
		})}
	})
	return &worker{open(t, app(jar, model), provider, &host.Options{MaxAttempts: 1}), t}
}

func (w *worker) records(deliveries ...driver.Delivery[driver.Record]) {
	w.t.Helper()
	if _, err := w.HandleRecords(w.t.Context(), "Shop.Sums", "Shop.Jar", deliveries); err != nil {
		w.t.Error(err)
	}
}

// wantParked wants the stream to be blocked at a commit, with a dead letter.
func (w *worker) wantParked(sequenceNr uint64) {
	w.t.Helper()
	wantEqual(w.t, "parked commit", wantParked(w.t, w.Host, 1)[0].SequenceNr, sequenceNr)
	db, _ := w.QueryDb("Shop.Sums")
	at, err := db.Watermark(w.t.Context(), driver.StreamKey{Log: "Shop.Jar", Stream: "a"})
	if err != nil || !at.Blocked || at.SequenceNr != sequenceNr-1 {
		w.t.Errorf("the watermark is %+v, %v, want it blocked before %d", at, err, sequenceNr)
	}
}

// All dead letters of a stream have the same id. When one worker parks an earlier commit
// while another parks a later one, the dead letter of the later one must stay: without it,
// the stream would wait forever, and no operator would see it.
func TestBlockedStreamKeepsItsDeadLetterWhileOthersParkAndRemove(t *testing.T) {
	t.Parallel()
	provider := memory.New(nil)
	t.Cleanup(func() {
		if err := provider.Close(); err != nil {
			t.Error(err)
		}
	})
	fixed, second := newWorker(t, provider), newWorker(t, provider, 2)
	for i := range 3 {
		if _, err := fixed.Send(t.Context(), command(fmt.Sprint(i), "a", Put{N: 1})); err != nil {
			t.Fatal(err)
		}
	}
	hooks := &meanwhile{Provider: provider}
	hooks.beforePark = func() { second.records(record("a", 1), record("a", 2)) }
	newWorker(t, hooks, 1).records(record("a", 1))
	fixed.wantParked(2)

	// The dead letter is redriven. While it is removed, the next commit is parked.
	third := newWorker(t, provider, 4)
	hooks = &meanwhile{Provider: provider}
	hooks.beforeRemove = func() {
		if _, err := fixed.Send(t.Context(), command("3", "a", Put{N: 1})); err != nil {
			t.Error(err)
		}
		third.records(record("a", 4))
	}
	if err := newWorker(t, hooks).Redrive(t.Context(), "commit/Shop.Sums/Shop.Jar/a"); err != nil {
		t.Error(err)
	}
	fixed.wantParked(4)
	if err := fixed.Redrive(t.Context(), "commit/Shop.Sums/Shop.Jar/a"); err != nil {
		t.Error(err)
	}
	db, _ := fixed.QueryDb("Shop.Sums")
	if row, err := db.LoadRow(t.Context(), driver.Key{ID: "a"}); err != nil || string(row.Data) != `{"sum":4,"count":4}` {
		t.Errorf("the final row is %s, %v", row.Data, err)
	}
	wantParked(t, fixed.Host, 0)
}
