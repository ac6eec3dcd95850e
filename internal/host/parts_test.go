package host_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/faults"
	"github.com/reventless-go/reventless/readmodel"
)

// wide is a read model in which each thing that is put into a jar changes n rows,
// which all jars share.
func wide(jar *jarAggregate, n int) *readmodel.ReadModel[SumRow] {
	return readmodel.New(readmodel.Spec[SumRow]{Name: "Wide", Projections: []readmodel.Projection[SumRow]{
		readmodel.On(jar, func(e jarEvent) []readmodel.Change[SumRow] {
			var out []readmodel.Change[SumRow]
			for i := range n {
				out = append(out, addTo(fmt.Sprint(e.Data.(Added).Note, i), e)...)
			}
			return out
		}),
	}})
}

// Commands that come together are one commit. That may change more rows than a step
// can, although none of its events does: it is applied all the same, once, also when
// the process ends between two of its parts.
func TestCommitThatIsTooLargeForAStepIsAppliedInParts(t *testing.T) {
	t.Parallel()
	const commands, rows = 10, 12
	for crashes := range 4 {
		for _, after := range []bool{false, true} { // it took effect, or not
			jar := newJar()
			model := wide(jar, rows)
			r := start(t, app(jar, model), asleep, limited(driver.Limits{MaxStep: 100}))
			var queued []driver.Command
			for i := range commands {
				queued = append(queued, command(fmt.Sprint(i), "a", Put{N: 1, Note: string(rune('a' + i))}))
			}
			r.enqueue(queued...)
			r.faults.Inject(faults.Rule{Op: "QueryDb.Apply", Skip: 1, Times: crashes, After: after, Err: errors.New("the process ends here")})
			for range crashes + 1 { // each loses what the one before it had in memory
				r.wake()
				r.idle()
				r.stop()
				r = start(t, app(jar, model), on(r), asleep)
			}
			if n := len(r.commits("Shop.Jar", "a")); n != 1 {
				t.Fatalf("the commands are %d commits, want one", n)
			}
			r.noLetters()
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

// An event that changes more rows than a step can is parked, as nothing else can be
// done about it.
func TestEventThatIsTooLargeForAStepIsParked(t *testing.T) {
	t.Parallel()
	jar := newJar()
	model := wide(jar, 12)
	r := start(t, app(jar, model), limited(driver.Limits{MaxStep: 10}))
	r.accept("1", jar.To("a", Put{N: 1}))
	r.accept("2", jar.To("b", Burst{N: 2}))
	r.idle()
	if got := r.letters(); len(got) != 2 {
		t.Errorf("parked are %v, want both", got)
	}
}
