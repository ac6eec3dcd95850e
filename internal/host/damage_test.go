package host_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/faults"
	"github.com/reventless-go/reventless/internal/host"
)

// damageLines returns the lines of the log about damage.
func (r *run) damageLines() []map[string]any {
	r.t.Helper()
	var out []map[string]any
	for _, line := range r.lines.all() {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			r.t.Fatal(err)
		}
		if fields["msg"] == "stored data is damaged" {
			out = append(out, fields)
		}
	}
	return out
}

func place(line map[string]any) string {
	return fmt.Sprintf("%v %v %v %v %v", line["level"], line["table"], line["name"], line["key"], line["sequenceNr"])
}

// A damaged commit blocks its stream, whatever its place in it, with a dead letter that
// says so, and the commits before it are applied. It is reported once.
func TestDamagedCommitBlocksItsStreamAndIsReported(t *testing.T) {
	t.Parallel()
	f := newFragile(nil)
	r := f.start(t, asleep)
	for i := range 5 {
		for _, id := range []string{"a", "bad", "b"} {
			r.accept(fmt.Sprint(id, i), f.jar.To(id, Put{N: i}))
		}
	}
	r.faults.DamageCommit("Shop.Jar", "bad", 4)
	r.work()
	f.wantSeen(r, map[string]string{"a": "0 1 2 3 4", "bad": "0 1 2", "b": "0 1 2 3 4"})
	letters := r.deadLetters()
	wantEqual(t, "dead letters", len(letters), 2) // of the two read models
	for _, l := range letters {
		wantEqual(t, "kind", l.Kind, driver.DeadCommit)
		wantEqual(t, "stream", l.Stream, "bad")
		wantEqual(t, "sequence number", l.SequenceNr, 4)
		wantText(t, l.Reason, "stored data is damaged")
	}
	lines := r.damageLines()
	wantEqual(t, "lines about it", len(lines), 1)
	wantEqual(t, "line", place(lines[0]), "ERROR commits Shop.Jar bad 4")
	wantEqual(t, "damaged places", r.Counts().Damaged, 1)
	wantIs(t, r.Redrive(t.Context(), letters[0].ID), driver.ErrDamaged)
	wantEqual(t, "dead letters after a redrive", len(r.deadLetters()), 2)
	for _, l := range letters {
		r.discard(l.ID)
	}
	r.wantNothingParked()
	f.wantSeen(r, map[string]string{"a": "0 1 2 3 4", "bad": "0 1 2 4", "b": "0 1 2 3 4"})
}

// A rebuild does not end at a damaged commit, and hides none: the old rows, which have it,
// stay, and the rebuild waits.
func TestRebuildOverADamagedCommitWaits(t *testing.T) {
	t.Parallel()
	f := newFragile(nil)
	r := f.start(t)
	for i := range 3 {
		for _, id := range []string{"a", "bad", "b"} {
			r.accept(fmt.Sprint(id, i), f.jar.To(id, Put{N: i}))
		}
	}
	r.idle()
	r.faults.DamageCommit("Shop.Jar", "bad", 2)
	err := r.Rebuild(t.Context(), "Shop.Fragile", nil)
	wantIs(t, err, host.ErrWaits)
	wantText(t, err.Error(), "Shop.Jar/bad")
	if strings.Contains(err.Error(), "Jar/a") || strings.Contains(err.Error(), "Jar/b ") {
		t.Errorf("other streams wait too: %v", err)
	}
	f.wantSeen(r, map[string]string{"a": "0 1 2", "bad": "0 1 2", "b": "0 1 2"})
	r.wantNothingParked()
	wantEqual(t, "lines about it", len(r.damageLines()), 1)
}

// An entity whose log is damaged fails with the class, not as if the command were wrong,
// and other entities work.
func TestCommandOfADamagedEntityFails(t *testing.T) {
	t.Parallel()
	jar := newJar(func(s *jarSpec) { s.Async = false })
	r := start(t, app(jar), cold, asleep)
	r.accept("1", jar.To("a", Put{N: 1}))
	r.accept("2", jar.To("a", Put{N: 1}))
	r.accept("3", jar.To("b", Put{N: 1}))
	r.faults.DamageCommit("Shop.Jar", "a", 2)
	_, err := r.try("4", jar.To("a", Put{N: 1}))
	wantIs(t, err, driver.ErrDamaged)
	if errors.Is(err, driver.ErrInvalid) {
		t.Errorf("the command counts as invalid: %v", err)
	}
	r.accept("5", jar.To("b", Put{N: 1}))
	wantEqual(t, "lines about it", len(r.damageLines()), 1)
	// A place that is still damaged after an hour is reported again.
	r.advance(time.Hour)
	_, err = r.try("6", jar.To("a", Put{N: 1}))
	wantIs(t, err, driver.ErrDamaged)
	wantEqual(t, "lines about it after an hour", len(r.damageLines()), 2)
}

// A damaged snapshot is passed over: the commits lead to the same state.
func TestDamagedSnapshotIsNotUsed(t *testing.T) {
	t.Parallel()
	jar := newJar(func(s *jarSpec) { s.SnapshotEvery = 2 })
	r := start(t, app(jar), cold, asleep)
	for n := range 3 {
		c := stored("a", uint64(n+1), driver.Event{Type: "Added", Version: 1, Data: []byte(`{"n":1}`)})
		if n == 1 {
			c.Snapshot = &driver.Snapshot{SnapshotHead: driver.SnapshotHead{Shape: jar.Definition().Aggregate.Shape}, State: []byte(`{"sum":"one"}`)}
		}
		r.store("Shop.Jar", c)
	}
	r.accept("1", jar.To("a", Put{N: 1}))
	commits := r.commits("Shop.Jar", "a")
	last := commits[len(commits)-1]
	if last.Snapshot == nil || !strings.Contains(string(last.Snapshot.State), `"sum":4`) {
		t.Errorf("the state after a damaged snapshot is %+v, want the sum 4", last.Snapshot)
	}
	lines := r.damageLines()
	wantEqual(t, "lines about it", len(lines), 1)
	wantEqual(t, "line", place(lines[0]), "ERROR snapshots Shop.Jar a 2")
}

// A stream whose watermark is damaged can be neither applied nor blocked. Its records are
// retried, and other streams go on.
func TestDamagedWatermarkHoldsUpItsStreamOnly(t *testing.T) {
	t.Parallel()
	f := newFragile(nil)
	r := f.start(t, asleep)
	for _, id := range []string{"a", "bad", "b"} {
		r.accept(id, f.jar.To(id, Put{N: 1}))
	}
	for _, op := range []string{"QueryDb.Watermarks", "QueryDb.Watermark"} {
		r.faults.Inject(faults.Rule{Op: op, Key: "bad", Times: 30, Err: &driver.DamageError{Table: "watermarks", Name: "Shop.Fragile", Key: "bad", Cause: errUnknown}})
	}
	r.wake()
	r.finish()
	r.wantNothingParked()
	f.wantSeen(r, map[string]string{"a": "1", "b": "1", "bad": "1"})
	if lines := r.damageLines(); len(lines) != 1 || lines[0]["table"] != "watermarks" {
		t.Errorf("the lines are %v", lines)
	}
}

// A queued message that cannot be read is parked with its bytes. Those behind it are
// handled.
func TestDamagedMessageIsParked(t *testing.T) {
	t.Parallel()
	jar := newJar(func(s *jarSpec) { s.Async = true })
	damage := &driver.DamageError{Table: "messages", Name: "CommandTopic/Shop.Jar", Key: "a", Cause: errUnknown}
	r := start(t, app(jar), asleep, func(s *setup) {
		s.changes = append(s.changes, func(p *faults.Provider) {
			faults.Change(p, func(rec *faults.Receiver[driver.Command]) {
				receive := rec.OnReceive
				rec.OnReceive = func(ctx context.Context, n int) (driver.Batch[driver.Command], error) {
					b, err := receive(ctx, n)
					for i, d := range b.Deliveries {
						if d.Message.Meta.ID == "2" {
							b.Deliveries[i] = driver.Delivery[driver.Command]{ID: d.ID, Attempt: d.Attempt, Err: damage, Raw: []byte("torn")}
						}
					}
					return b, err
				}
			})
		})
	})
	for i := range 4 {
		r.send(fmt.Sprint(i), jar.To("a", Put{N: i}))
	}
	r.work()
	l := r.deadLetter()
	wantEqual(t, "letter", fmt.Sprint(l.Kind, l.Component, string(l.Body)), fmt.Sprint(driver.DeadRaw, "Shop.Jar", "torn"))
	wantText(t, l.Reason, "stored data is damaged", "messages")
	var sent []string
	for _, c := range r.commits("Shop.Jar", "a") {
		for _, a := range c.Commands {
			sent = append(sent, a.Meta.ID)
		}
	}
	if !slices.Equal(sent, []string{"0", "1", "3"}) {
		t.Errorf("the handled commands are %v", sent)
	}
}
