package host_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/memory"
	"github.com/reventless-go/reventless/internal/faults"
	"github.com/reventless-go/reventless/internal/host"
	"github.com/reventless-go/reventless/readmodel"
)

// wide returns a read model in which each thing that is put into a jar changes n rows,
// which all jars share.
func wide(jar *jarAggregate, n int) *readmodel.ReadModel[SumRow] {
	return readmodel.New(readmodel.Spec[SumRow]{Name: "Wide", Projections: []readmodel.Projection[SumRow]{
		readmodel.On(jar, func(e jarEvent) readmodel.Changes[SumRow] {
			var out readmodel.Changes[SumRow]
			for i := range n {
				out = append(out, addTo(fmt.Sprint(e.Data.(Added).Note, i), e)...)
			}
			return out
		}),
	}})
}

// Commands that are handled together become one commit. It may change more rows than fit
// into a step, although each of its events fits. It is applied once, even if the process
// ends between two of its parts.
func TestCommitThatIsTooLargeForAStepIsAppliedInParts(t *testing.T) {
	t.Parallel()
	const commands, rows = 10, 12
	for crashes := range 4 {
		for _, after := range []bool{false, true} { // whether the failed step took effect
			jar := newJar()
			model := wide(jar, rows)
			r := start(t, app(jar, model), asleep, limited(driver.Limits{MaxStep: 100}))
			var queued []driver.Command
			for i := range commands {
				queued = append(queued, command(fmt.Sprint(i), "a", Put{N: 1, Note: string(rune('a' + i))}))
			}
			r.enqueue(queued...)
			r.faults.Inject(faults.Rule{Op: "QueryDb.Apply", Skip: 1, Times: crashes, After: after, Err: errors.New("the process ends here")})
			for range crashes + 1 { // each starts with an empty memory
				r.work()
				r.stop()
				r = start(t, app(jar, model), on(r), asleep)
			}
			if n := len(r.commits("Shop.Jar", "a")); n != 1 {
				t.Fatalf("the commands are %d commits, want one", n)
			}
			r.wantNothingParked()
			want := map[string]SumRow{}
			for i := range commands {
				for n := range rows {
					want[fmt.Sprint(string(rune('a'+i)), n)] = SumRow{Sum: 1, Count: 1}
				}
			}
			wantRows(r, model, want)
		}
	}
}

// A change of all rows of an id writes as many rows as there are. A part that becomes too
// large by it is halved.
func TestPartThatIsTooLargeIsHalved(t *testing.T) {
	t.Parallel()
	jar := newJar()
	model := readmodel.New(readmodel.Spec[EntryRow]{
		Name: "Entries", SubID: "at",
		Projections: []readmodel.Projection[EntryRow]{readmodel.On(jar, func(e jarEvent) readmodel.Changes[EntryRow] {
			a := e.Data.(Added)
			var rows []EntryRow
			var puts readmodel.Changes[EntryRow]
			for i := range a.N {
				row := EntryRow{At: fmt.Sprint(i), N: i}
				rows, puts = append(rows, row), append(puts, readmodel.Put(a.Note, row)...)
			}
			if a.Note == "all" {
				return readmodel.UpdateRows(a.Note, func([]EntryRow) []EntryRow { return rows })
			}
			return puts
		})},
	})
	r := start(t, app(jar, model), asleep, limited(driver.Limits{MaxStep: 10}))
	r.enqueue(command("1", "a", Put{N: 6, Note: "all"}), command("2", "a", Put{N: 3, Note: "x"}), command("3", "a", Put{N: 3, Note: "y"}))
	r.wake()
	r.finish()
	if got := len(rows(r, model)); got != 12 {
		t.Errorf("got %d rows, want 12", got)
	}
}

// beforeParts is a provider that calls a function before it returns the first watermark of
// parts.
type beforeParts struct {
	driver.Provider
	f func()
}

type beforePartsDb struct {
	driver.QueryDb
	of *beforeParts
}

func (p *beforeParts) OpenQueryDb(ctx context.Context, spec driver.TableSpec) (driver.QueryDb, error) {
	db, err := p.Provider.OpenQueryDb(ctx, spec)
	return beforePartsDb{db, p}, err
}

func (db beforePartsDb) Watermark(ctx context.Context, s driver.StreamKey) (driver.Watermark, error) {
	if strings.HasSuffix(s.Log, "#part") {
		once(&db.of.f)
	}
	return db.QueryDb.Watermark(ctx, s)
}

// A part applies only at the watermark of its stream. After the read model was cleared, or
// another worker moved the watermark, the remaining parts of a worker have no effect.
func TestPartsOfAClearedStreamHaveNoEffect(t *testing.T) {
	t.Parallel()
	const rows = 12
	for _, commits := range [][]int{{1, 10}, {10, 10}} { // commands of each commit
		provider := memory.New(&memory.Options{Limits: driver.Limits{MaxStep: 100}})
		wideOn := func(p driver.Provider) (*host.Host, *readmodel.ReadModel[SumRow]) {
			jar := newJar()
			model := wide(jar, rows)
			return open(t, app(jar, model), p, nil), model
		}
		one, model := wideOn(provider)
		handle := func(h *host.Host, sequenceNr uint64) {
			t.Helper()
			if _, err := h.HandleRecords(t.Context(), "Shop.Wide", "Shop.Jar", []driver.Delivery[driver.Record]{record("a", sequenceNr)}); err != nil {
				t.Error(err)
			}
		}
		n := 0
		for i, commands := range commits {
			var deliveries []driver.Delivery[driver.Command]
			for range commands {
				deliveries = append(deliveries, driver.Delivery[driver.Command]{ID: fmt.Sprint(n), Attempt: 1, Message: command(fmt.Sprint(n), "a", Put{N: 1, Note: fmt.Sprint(n, "-")})})
				n++
			}
			if _, err := one.HandleCommands(t.Context(), "Shop.Jar", deliveries); err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				handle(one, 1)
			}
		}
		late := &beforeParts{Provider: provider}
		two, _ := wideOn(late)
		late.f = func() {
			if err := one.Clear(t.Context(), "Shop.Wide"); err != nil {
				t.Error(err)
			}
		}
		handle(two, 2)
		if err := one.Replay(t.Context(), "Shop.Wide", 0, 1, nil); err != nil {
			t.Error(err)
		}
		wantParked(t, one, 0)
		for i := range n {
			for r := range rows {
				id := fmt.Sprint(i, "-", r)
				if got, ok, err := model.Open(one.Env()).Get(t.Context(), id); err != nil || !ok || got != (SumRow{1, 1}) {
					t.Fatalf("commits of %v commands: the row %s is %+v, %v, %v, want it once", commits, id, got, ok, err)
				}
			}
		}
	}
}

// A step that is too large is halved. If the first half stops before a commit that is
// applied in parts, the second half must wait.
func TestSecondHalfOfAStepWaitsForTheFirst(t *testing.T) {
	t.Parallel()
	jar := newJar()
	model := wide(jar, 12)
	r := start(t, app(jar, model), asleep, limited(driver.Limits{MaxStep: 20}))
	put := func(notes ...string) {
		var batch []driver.Delivery[driver.Command]
		for _, note := range notes {
			batch = append(batch, driver.Delivery[driver.Command]{ID: note, Attempt: 1, Message: command(note, "a", Put{N: 1, Note: note})})
		}
		if _, err := r.HandleCommands(t.Context(), "Shop.Jar", batch); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]SumRow{}
	for _, notes := range [][]string{{"a"}, {"b"}, {"c", "d"}, {"e"}, {"f"}, {"g"}} {
		put(notes...)
		for _, note := range notes {
			for i := range 12 {
				want[fmt.Sprint(note, i)] = SumRow{Sum: 1, Count: 1}
			}
		}
	}
	r.wake()
	r.finish()
	wantRows(r, model, want)
}
