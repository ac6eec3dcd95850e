package drivertest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// TestShadow runs the suite of [driver.Shadow].
func TestShadow(t *testing.T, open Open) { shadowSuite().run(t, open) }

func shadowSuite() suite {
	return suite{"Shadow", []property{
		{"NoReaderSeesTheShadow", noReaderSeesTheShadow},
		{"SwapExchangesRowsAndWatermarks", swapExchangesRowsAndWatermarks},
		{"SwapReusesNoRevision", swapReusesNoRevision},
		{"SwapHidesNoCommit", swapHidesNoCommit},
		{"SwapKeepsExpiredRowsForProjections", swapKeepsExpiredRowsForProjections},
		{"SwapChangesTheSubID", swapChangesTheSubID},
		{"DropKeepsTheServedRowsAndTheRecord", dropKeepsTheServedRowsAndTheRecord},
		{"TheShadowSurvivesReopening", theShadowSurvivesReopening},
	}}
}

var logsOfTest = []string{"Test.Log"}

// filled returns a read model and its shadow. The served rows are a, b and c, from commit 1
// of their streams. The shadow has the same row a, a different row b, no row c, and a row d.
func (e *env) filled(spec driver.TableSpec) (driver.QueryDb, driver.Shadow) {
	e.Helper()
	db := e.table(spec)
	s := db.Shadow()
	apply := func(to driver.RowStore, id string, n, by int) {
		e.must(to.Apply(e.ctx, ownStep(id, 0, put(rowOf(id, fmt.Sprintf(`{"n":%d,"by":%d}`, n, by))))), "Apply of %s", id)
	}
	for i, id := range []string{"a", "b", "c"} {
		apply(db, id, i, 1)
	}
	apply(s, "a", 0, 1)
	apply(s, "b", 10, 2)
	e.must(s.Apply(e.ctx, ownStep("c", 0)), "Apply without rows")
	apply(s, "d", 11, 2)
	return db, s
}

func shadowTable(own bool) driver.TableSpec {
	return driver.TableSpec{Name: fmt.Sprintf("Test.Shadowed%t", own), OwnRow: own, Indexes: []driver.Index{{Name: "by", Key: driver.Field{Name: "by", Number: true}}}}
}

func (e *env) swap(s driver.Shadow, record string) int {
	e.Helper()
	n, err := s.Swap(e.ctx, []byte(record), logsOfTest)
	e.must(err, "Swap")
	return n
}

func noReaderSeesTheShadow(e *env) {
	for _, own := range []bool{false, true} {
		spec := shadowTable(own)
		l := e.listen(spec)
		db, _ := e.filled(spec)
		q := e.engine(spec)
		e.wantNoRow(db, driver.Key{ID: "d"}, "though it is only in the shadow")
		e.wantNumber(db, "b", "n", 1)
		e.wantWatermark(db, streamKey("d"), 0, false)
		e.wantScanIDs(q, driver.Scan{ReadModel: spec.Name}, "a", "b", "c")
		e.wantIDs(q, driver.Query{ReadModel: spec.Name, Index: "by", Value: 2.0})
		for _, id := range []string{"a", "b", "c"} {
			e.errorIf(l.next().ID != id, "the state topic published something else than the served rows")
		}
		e.must(db.Apply(e.ctx, ownStep("z", 0, put(numbered("z", 0)))), "Apply")
		l.want(driver.Added, driver.Key{ID: "z"}, `{"n":0}`)
	}
}

func swapExchangesRowsAndWatermarks(e *env) {
	for _, own := range []bool{false, true} {
		spec := shadowTable(own)
		db, s := e.filled(spec)
		q, l := e.engine(spec), e.listen(spec)
		kept := e.revision(db, "a")
		n := e.swap(s, `{"after":1}`)
		e.errorIf(n != 3, "Swap changed %d rows, want 3", n)
		e.errorIf(e.revision(db, "a") != kept, "an equal row has another revision")
		e.wantNumber(db, "b", "n", 10)
		e.wantNoRow(db, driver.Key{ID: "c"}, "though the shadow did not have it")
		for _, id := range []string{"a", "b", "c", "d"} {
			e.wantWatermark(db, streamKey(id), 1, false)
			e.wantWatermark(s, streamKey(id), 0, false)
			rows, err := s.Load(e.ctx, id)
			e.errorIf(err != nil || rows != nil, "after Swap the shadow has the rows %v of %s, %v", rows, id, err)
		}
		e.wantScanIDs(q, driver.Scan{ReadModel: spec.Name}, "a", "b", "d")
		e.wantIDs(q, driver.Query{ReadModel: spec.Name, Index: "by", Value: 2.0}, "b", "d")
		e.wantIDs(q, driver.Query{ReadModel: spec.Name, Index: "by", Value: 1.0}, "a")
		var got []string
		for range 3 {
			c := l.next()
			got = append(got, string(c.Kind)+" "+c.ID)
		}
		slices.Sort(got)
		e.errorIf(fmt.Sprint(got) != "[Added d Removed c Updated b]", "Swap published %v", got)
		e.must(db.Apply(e.ctx, ownStep("z", 0, put(numbered("z", 0)))), "Apply")
		l.want(driver.Added, driver.Key{ID: "z"}, `{"n":0}`)
		record, err := s.Record(e.ctx)
		e.errorIf(err != nil || string(record) != `{"after":1}`, "the record is %s, %v", record, err)
	}
}

func swapReusesNoRevision(e *env) {
	db, s := e.filled(shadowTable(false))
	last := uint64(0)
	for i := range 5 { // so that the served revisions are higher than those of the shadow
		e.save(db, rowOf("b", fmt.Sprintf(`{"n":%d}`, i)))
		last = e.revision(db, "b")
	}
	e.save(db, rowOf("d", `{"n":1}`))
	before := e.revision(db, "d")
	e.delete(db, driver.Key{ID: "d"})
	e.swap(s, `{}`)
	e.errorIf(e.revision(db, "b") <= last, "the revision of b went from %d to %d", last, e.revision(db, "b"))
	e.errorIf(e.revision(db, "d") <= before, "the deleted row d had revision %d, the new one has %d", before, e.revision(db, "d"))
}

func swapHidesNoCommit(e *env) {
	db, s := e.filled(shadowTable(false))
	refused := func(behind, blocked []string) {
		e.Helper()
		_, err := s.Swap(e.ctx, []byte(`{}`), logsOfTest)
		var b *driver.BehindError
		if !e.wantClass(err, driver.ErrConflict, "Swap") || !errors.As(err, &b) {
			e.Errorf("Swap returns the error %v, want a BehindError", err)
			return
		}
		names := func(keys []driver.StreamKey) (out []string) {
			for _, k := range keys {
				out = append(out, k.Stream)
			}
			return out
		}
		e.errorIf(!slices.Equal(names(b.Behind), behind) || !slices.Equal(names(b.Blocked), blocked), "Swap: behind %v, blocked %v, want %v, %v", b.Behind, b.Blocked, behind, blocked)
		e.wantNumber(db, "b", "n", 1)
	}
	e.must(db.Advance(e.ctx, []driver.Advance{advance("a", 1, 2)}), "Advance")
	refused([]string{"a"}, nil)
	e.must(s.Advance(e.ctx, []driver.Advance{advance("a", 1, 2)}), "Advance")
	e.must(s.Block(e.ctx, streamKey("b"), 1), "Block")
	refused(nil, []string{"b"})
	e.must(db.Block(e.ctx, streamKey("b"), 1), "Block")
	e.must(db.Block(e.ctx, streamKey("c"), 1), "Block") // only in the served rows
	// Logs that are not passed to Swap are ignored.
	e.must(db.Advance(e.ctx, []driver.Advance{{StreamKey: driver.StreamKey{Log: "Test.Other", Stream: "s"}, To: 5}}), "Advance")
	e.swap(s, `{}`)
	e.wantWatermark(db, streamKey("b"), 1, true)
	e.wantWatermark(db, streamKey("c"), 1, false)
	e.wantNumber(db, "b", "n", 10)
}

func swapChangesTheSubID(e *env) {
	old := driver.TableSpec{Name: "Test.Changed"}
	e.save(e.table(old), numbered("a", 1))
	spec := driver.TableSpec{Name: old.Name, SubID: "line"}
	db := e.table(spec)
	e.wantRow(db, numbered("a", 1))
	s := db.Shadow()
	e.must(s.Apply(e.ctx, driver.Step{Writes: []driver.RowWrite{put(lineOf("a", "x", 1)), put(lineOf("a", "y", 2))}}), "Apply")
	e.swap(s, `{}`)
	e.wantNoRow(db, driver.Key{ID: "a"}, "though the sub id field changed")
	e.wantRow(db, lineOf("a", "y", 2))
	e.save(db, lineOf("a", "z", 3))
	e.wantIDs(e.engine(spec), driver.Query{ReadModel: spec.Name, Value: "a"}, "a/x", "a/y", "a/z")
}

func dropKeepsTheServedRowsAndTheRecord(e *env) {
	db, s := e.filled(shadowTable(false))
	e.must(s.Block(e.ctx, streamKey("d"), 1), "Block")
	e.must(s.SetRecord(e.ctx, []byte(`{"n":1}`)), "SetRecord")
	e.must(s.Drop(e.ctx), "Drop")
	e.must(s.Drop(e.ctx), "Drop again")
	e.wantWatermark(s, streamKey("d"), 0, false)
	rows, err := s.LoadRows(e.ctx, []driver.Key{{ID: "a"}, {ID: "d"}})
	e.errorIf(err != nil || rows != nil, "after Drop the shadow has the rows %v, %v", rows, err)
	e.wantNumber(db, "c", "n", 2)
	e.wantWatermark(db, streamKey("c"), 1, false)
	record, err := s.Record(e.ctx)
	e.errorIf(err != nil || string(record) != `{"n":1}`, "the record is %s, %v", record, err)
}

func theShadowSurvivesReopening(e *env) {
	spec := shadowTable(false)
	_, s := e.filled(spec)
	record, err := s.Record(e.ctx)
	e.errorIf(err != nil || record != nil, "the record of a new read model is %s, %v", record, err)
	e.must(s.SetRecord(e.ctx, []byte(`{"n":1}`)), "SetRecord")
	if e.Reopen == nil {
		e.Skip("nothing survives a Close")
	}
	e.reopen()
	db := e.table(spec)
	s = db.Shadow()
	record, err = s.Record(e.ctx)
	e.errorIf(err != nil || string(record) != `{"n":1}`, "the record is %s, %v", record, err)
	e.wantWatermark(s, streamKey("d"), 1, false)
	e.swap(s, `{}`)
	e.wantNumber(db, "d", "n", 11)
}

func swapKeepsExpiredRowsForProjections(e *env) {
	if e.Advance == nil {
		e.Skip("the clock cannot be moved")
	}
	db := e.table(plainTable)
	s := db.Shadow()
	ending := func(id string, n int) driver.RowWrite {
		r := numbered(id, n)
		r.ExpiresAt = e.Now().Add(time.Minute).Truncate(time.Second)
		return put(r)
	}
	e.must(e.write(db, put(numbered("a", 1)), put(numbered("b", 1))), "write")
	e.must(s.Apply(e.ctx, driver.Step{Writes: []driver.RowWrite{ending("a", 2), put(numbered("b", 1)), ending("c", 3)}}), "Apply")
	e.Advance(2 * time.Minute)
	l := e.listen(plainTable)
	n := e.swap(s, `{}`)
	e.errorIf(n != 1, "Swap changed %d rows, want 1: a has expired, c was never seen", n)
	l.want(driver.Removed, driver.Key{ID: "a"}, "")
	rows, err := db.LoadRows(e.ctx, []driver.Key{{ID: "a"}, {ID: "c"}})
	e.errorIf(err != nil || len(rows) != 2, "a projection gets the rows %v, %v, want a and c", rows, err)
	l.fence(db, driver.Key{ID: "z"}, `{"n":0}`)
}
