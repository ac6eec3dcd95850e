package drivertest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// stepProperties are about [driver.QueryDb]'s Apply and Clear.
func stepProperties() []property {
	return []property{
		{"ApplyWritesRowsAndWatermarksTogether", applyWritesRowsAndWatermarksTogether},
		{"ApplyIsAllOrNothingUnderConflict", applyIsAllOrNothingUnderConflict},
		{"ApplyHonoursGuards", applyHonoursGuards},
		{"ApplyRefusesInvalidSteps", applyRefusesInvalidSteps},
		{"ApplyTakesStepsUpToTheLimit", applyTakesStepsUpToTheLimit},
		{"NoReaderSeesAPartOfAStep", noReaderSeesAPartOfAStep},
		{"ProjectorsOfDisjointRowsDoNotConflict", projectorsOfDisjointRowsDoNotConflict},
		{"ProjectorsOfOneRowLoseNothing", projectorsOfOneRowLoseNothing},
		{"ProjectorsWithTheirOwnHandlesLoseNothing", projectorsWithTheirOwnHandlesLoseNothing},
		{"RepeatedProjectorsApplyEachCommitOnce", repeatedProjectorsApplyEachCommitOnce},
		{"OwnRowStepsKeepTheWatermark", ownRowStepsKeepTheWatermark},
		{"OwnRowStepsAreAllOrNothing", ownRowStepsAreAllOrNothing},
		{"OwnRowWatermarksAreInvisible", ownRowWatermarksAreInvisible},
		{"OwnRowWatermarksOutliveTheirRow", ownRowWatermarksOutliveTheirRow},
		{"OwnRowWatermarksOfTwoLogsAreKeptApart", ownRowWatermarksOfTwoLogsAreKeptApart},
		{"OwnRowStepsTouchTheirOwnRowOnly", ownRowStepsTouchTheirOwnRowOnly},
		{"OwnRowStepsSurviveReopening", ownRowStepsSurviveReopening},
		{"ClearRemovesRowsAndWatermarks", clearRemovesRowsAndWatermarks},
		{"ClearDuringStepsLosesAndRepeatsNothing", clearDuringStepsLosesAndRepeatsNothing},
	}
}

// ownStep returns a step that moves stream from at to at+1, like the steps of an OwnRow
// read model.
func ownStep(stream string, at uint64, writes ...driver.RowWrite) driver.Step {
	return driver.Step{Advances: []driver.Advance{advance(stream, at, at+1)}, Writes: writes}
}

// picture shows everything that can be read of some rows and streams as a text.
func (e *env) picture(db driver.QueryDb, ids, streams []string) string {
	e.Helper()
	var b strings.Builder
	for _, id := range ids {
		if r := e.row(db, driver.Key{ID: id}); r != nil {
			fmt.Fprintf(&b, "row %s: %s revision %d expires %v\n", id, r.Data, r.Revision, r.ExpiresAt)
		} else {
			fmt.Fprintf(&b, "row %s: absent\n", id)
		}
	}
	for _, s := range streams {
		w, err := db.Watermark(e.ctx, streamKey(s))
		e.try(err, "Watermark(%s)", s)
		fmt.Fprintf(&b, "stream %s: %+v\n", s, w)
	}
	return b.String()
}

// noEffect checks that steps fail with an error of a class and change neither rows nor
// watermarks. The key of a step names its fault.
func (e *env) noEffect(db driver.QueryDb, class error, ids, streams []string, steps map[string]driver.Step) {
	e.Helper()
	before := e.picture(db, ids, streams)
	for name, step := range steps {
		e.wantClass(db.Apply(e.ctx, step), class, "a step with %s", name)
		if after := e.picture(db, ids, streams); after != before {
			e.Fatalf("a step with %s changed something:\nbefore\n%safter\n%s", name, before, after)
		}
	}
}

func applyWritesRowsAndWatermarksTogether(e *env) {
	db := e.table(plainTable)
	e.save(db, numbered("old", 1), numbered("gone", 1))
	e.must(db.Apply(e.ctx, driver.Step{
		Advances: []driver.Advance{advance("s", 0, 2), advance("t", 0, 1)},
		Writes:   []driver.RowWrite{put(numbered("new", 1)), put(numbered("old", 2)), remove("gone"), remove("nobody")},
	}), "Apply")
	e.wantRow(db, numbered("new", 1))
	e.wantRow(db, numbered("old", 2))
	e.wantNoRow(db, driver.Key{ID: "gone"}, "though the step removed it")
	e.wantNoRow(db, driver.Key{ID: "nobody"}, "though the step removed it")
	e.wantWatermark(db, streamKey("s"), 2, false)
	e.wantWatermark(db, streamKey("t"), 1, false)
	e.must(db.Apply(e.ctx, driver.Step{Advances: []driver.Advance{advance("s", 2, 3)}}), "Apply without writes")
	e.wantWatermark(db, streamKey("s"), 3, false)
	e.must(db.Apply(e.ctx, driver.Step{Writes: []driver.RowWrite{put(numbered("new", 3))}}), "Apply without advances")
	e.wantRow(db, numbered("new", 3))
	e.must(db.Advance(e.ctx, []driver.Advance{advance("s", 3, 4)}), "Advance continues where Apply ended")
	e.must(db.Apply(e.ctx, driver.Step{Advances: []driver.Advance{advance("s", 4, 4)}, Writes: []driver.RowWrite{put(numbered("new", 4))}}), "Apply together with an advance that stays")
	e.wantWatermark(db, streamKey("s"), 4, false)
	e.wantRow(db, numbered("new", 4))
	e.must(db.Apply(e.ctx, driver.Step{Advances: []driver.Advance{advance("s", 4, 5)}}), "Apply continues where Advance ended")
	e.must(db.Block(e.ctx, streamKey("s"), 5), "Block")
	e.must(db.Apply(e.ctx, driver.Step{Advances: []driver.Advance{advance("t", 1, 2)}, Writes: []driver.RowWrite{put(numbered("new", 5))}}), "Apply of another stream than a blocked one")
	e.must(db.Unblock(e.ctx, streamKey("s")), "Unblock")
	e.must(db.Apply(e.ctx, driver.Step{Advances: []driver.Advance{advance("s", 5, 6)}}), "Apply after Unblock")

	sub := e.table(subTable)
	e.save(sub, lineOf("id", "a", 1), lineOf("id", "b", 1))
	e.must(sub.Apply(e.ctx, driver.Step{
		Advances: []driver.Advance{advance("s", 0, 1)},
		Writes:   []driver.RowWrite{{Row: driver.Row{Key: driver.Key{ID: "id", Sub: "a"}}, Delete: true}, put(lineOf("id", "b", 2)), put(lineOf("id", "c", 3))},
	}), "Apply to sub ids")
	e.wantNoRow(sub, driver.Key{ID: "id", Sub: "a"}, "though the step removed it")
	e.wantRow(sub, lineOf("id", "b", 2))
	e.wantRow(sub, lineOf("id", "c", 3))
}

// conflicting returns steps that must conflict, by what is wrong with them. The
// read model has the row "there" with the revision given, the stream "s" at 3
// and the stream "blocked" blocked at 1.
func conflicting(there uint64) map[string]driver.Step {
	good := []driver.RowWrite{put(numbered("new", 9)), put(numbered("other", 9))}
	with := func(w driver.RowWrite) []driver.RowWrite { return append(append([]driver.RowWrite(nil), good...), w) }
	as := func(a ...driver.Advance) []driver.Advance { return append([]driver.Advance{advance("t", 0, 1)}, a...) }
	return map[string]driver.Step{
		"a watermark beyond From":             {Advances: as(advance("s", 2, 4)), Writes: good},
		"a watermark before From":             {Advances: as(advance("s", 4, 5)), Writes: good},
		"a new stream not from 0":             {Advances: as(advance("u", 1, 2)), Writes: good},
		"a repeated commit":                   {Advances: []driver.Advance{advance("s", 2, 3)}, Writes: good},
		"an advance that stays before":        {Advances: as(advance("s", 2, 2)), Writes: good},
		"an advance that stays beyond":        {Advances: as(advance("s", 4, 4)), Writes: good},
		"a blocked stream":                    {Advances: as(advance("blocked", 1, 2)), Writes: good},
		"a blocked stream at the head":        {Advances: []driver.Advance{advance("blocked", 1, 2), advance("t", 0, 1)}, Writes: good},
		"another revision":                    {Advances: as(), Writes: with(guardedBy(put(numbered("there", 9)), there+1))},
		"an old revision":                     {Advances: as(), Writes: with(guardedBy(put(numbered("there", 9)), there-1))},
		"a row that should be absent":         {Advances: as(), Writes: with(guardedBy(put(numbered("there", 9)), 0))},
		"an absent row with a revision":       {Advances: as(), Writes: with(guardedBy(put(numbered("absent", 9)), 1))},
		"a delete of another revision":        {Advances: as(), Writes: with(guardedBy(remove("there"), there+1))},
		"a delete of an absent row":           {Advances: as(), Writes: with(guardedBy(remove("absent"), there))},
		"a guard at the head":                 {Advances: as(), Writes: append([]driver.RowWrite{guardedBy(put(numbered("there", 9)), there+1)}, good...)},
		"a guard without any advance":         {Writes: with(guardedBy(put(numbered("there", 9)), there+1))},
		"a guard that holds, a watermark not": {Advances: as(advance("s", 4, 5)), Writes: with(guardedBy(put(numbered("there", 9)), there))},
		"a watermark that holds, a guard not": {Advances: as(advance("s", 3, 4)), Writes: with(guardedBy(put(numbered("there", 9)), there+5))},
		"only a watermark that is elsewhere":  {Advances: []driver.Advance{advance("s", 0, 1)}},
		"only a delete with a wrong revision": {Writes: []driver.RowWrite{guardedBy(remove("there"), there+1)}},
	}
}

func applyIsAllOrNothingUnderConflict(e *env) {
	db := e.table(plainTable)
	e.save(db, numbered("other", 1), numbered("there", 1), numbered("there", 2))
	e.must(db.Advance(e.ctx, []driver.Advance{advance("s", 0, 3), advance("blocked", 0, 1)}), "Advance")
	e.must(db.Block(e.ctx, streamKey("blocked"), 1), "Block")
	ids := []string{"new", "other", "there", "absent"}
	streams := []string{"s", "t", "u", "blocked"}
	e.noEffect(db, driver.ErrConflict, ids, streams, conflicting(e.revision(db, "there")))
}

func applyHonoursGuards(e *env) {
	db := e.table(plainTable)
	apply := func(w driver.RowWrite) error {
		return db.Apply(e.ctx, driver.Step{Writes: []driver.RowWrite{w}})
	}
	e.must(apply(guardedBy(put(numbered("id", 1)), 0)), "a guard of absence on an absent row")
	rev := e.wantRow(db, numbered("id", 1))
	e.must(apply(guardedBy(put(numbered("id", 2)), rev)), "a guard of the revision")
	next := e.wantRow(db, numbered("id", 2))
	e.wantClass(apply(guardedBy(put(numbered("id", 3)), rev)), driver.ErrConflict, "a guard of the revision before")
	e.save(db, numbered("id", 4))
	e.wantClass(apply(guardedBy(put(numbered("id", 5)), next)), driver.ErrConflict, "a guard of the revision before another write")
	next = e.wantRow(db, numbered("id", 4))
	e.must(apply(put(numbered("id", 7))), "a blind write")
	e.wantClass(apply(guardedBy(remove("id"), next)), driver.ErrConflict, "a delete guarded by the revision before")
	next = e.wantRow(db, numbered("id", 7))
	e.must(apply(guardedBy(remove("id"), next)), "a delete guarded by the revision")
	e.wantNoRow(db, driver.Key{ID: "id"}, "though it was deleted")
	e.wantClass(apply(guardedBy(put(numbered("id", 8)), next)), driver.ErrConflict, "a guard of the revision of a deleted row")
	e.must(apply(guardedBy(put(numbered("id", 9)), 0)), "a guard of absence on a deleted row")
	e.wantRow(db, numbered("id", 9))
	e.must(apply(guardedBy(remove("nobody"), 0)), "a delete guarded by absence")
}

func applyRefusesInvalidSteps(e *env) {
	db := e.table(plainTable)
	e.save(db, numbered("other", 1))
	a := []driver.Advance{advance("s", 0, 1)}
	e.noEffect(db, driver.ErrInvalid, []string{"a", "b", "other"}, []string{"s", "t"}, map[string]driver.Step{
		"two writes to one key":                {Advances: a, Writes: []driver.RowWrite{put(numbered("a", 1)), put(numbered("b", 1)), put(numbered("a", 2))}},
		"a write and a delete of one key":      {Advances: a, Writes: []driver.RowWrite{put(numbered("other", 9)), remove("other")}},
		"two deletes of one key":               {Advances: a, Writes: []driver.RowWrite{remove("other"), put(numbered("a", 1)), remove("other")}},
		"two advances of one stream":           {Advances: []driver.Advance{advance("s", 0, 1), advance("t", 0, 1), advance("s", 1, 2)}, Writes: []driver.RowWrite{put(numbered("a", 1))}},
		"the same advance twice":               {Advances: []driver.Advance{advance("s", 0, 1), advance("s", 0, 1)}, Writes: []driver.RowWrite{put(numbered("a", 1))}},
		"a row with a bad id":                  {Advances: a, Writes: []driver.RowWrite{put(numbered("a", 1)), put(numbered("", 1))}},
		"a row with data that is no object":    {Advances: a, Writes: []driver.RowWrite{put(numbered("a", 1)), put(rowOf("b", `[]`))}},
		"a row with a sub id in a plain table": {Advances: a, Writes: []driver.RowWrite{put(lineOf("a", "s", 1))}},
	})
	// One stream id in two logs names two streams, one sub id of two ids two rows.
	e.must(db.Apply(e.ctx, driver.Step{Advances: []driver.Advance{advance("s", 0, 1), {StreamKey: driver.StreamKey{Log: "Test.Other", Stream: "s"}, To: 1}}}), "Apply")
	e.must(e.table(subTable).Apply(e.ctx, driver.Step{Writes: []driver.RowWrite{put(lineOf("a", "s", 1)), put(lineOf("b", "s", 1)), put(lineOf("a", "t", 1))}}), "Apply")
}

func applyTakesStepsUpToTheLimit(e *env) {
	db := e.table(plainTable)
	limit := e.Provider.Limits().MaxStep
	e.fatalIf(limit <= 1, "Limits.MaxStep = %d, want more than 1", limit)
	if limit > 5000 {
		e.Skipf("Limits.MaxStep = %d is more than the 5000 that are tried", limit)
	}
	step := func(writes, advances int) driver.Step {
		var s driver.Step
		for i := range writes {
			s.Writes = append(s.Writes, put(numbered(fmt.Sprintf("id%d", i), 1)))
		}
		for i := range advances {
			s.Advances = append(s.Advances, advance(fmt.Sprintf("s%d", i), 0, 1))
		}
		return s
	}
	tooMany := func(s driver.Step, what string) {
		e.wantTooLarge(db.Apply(e.ctx, s), "step", limit, "%s over the limit", what)
		e.wantNoRow(db, driver.Key{ID: "id0"}, "though its step was refused")
		e.wantWatermark(db, streamKey("s0"), 0, false)
	}
	tooMany(step(limit, 1), "writes and an advance")
	tooMany(step(limit+1, 0), "writes")
	tooMany(step(1, limit), "a write and advances")
	e.must(db.Apply(e.ctx, step(limit-1, 1)), "a step at the limit of %d", limit)
	e.wantRow(db, numbered("id0", 1))
	e.wantRow(db, numbered(fmt.Sprintf("id%d", limit-2), 1))
	e.wantWatermark(db, streamKey("s0"), 1, false)
	half := limit / 2
	s := step(half, limit-half)
	s.Advances[0].From, s.Advances[0].To = 1, 2
	e.must(db.Apply(e.ctx, s), "half writes, half advances")
	e.wantWatermark(db, streamKey(fmt.Sprintf("s%d", limit-half-1)), 1, false)
}

func noReaderSeesAPartOfAStep(e *env) {
	db := e.table(plainTable)
	write := func(n int) bool {
		return e.try(db.Apply(e.ctx, ownStep("s", uint64(n-1), put(numbered("a", n)), put(numbered("b", n)), put(numbered("c", n)))), "Apply")
	}
	number := func(id string) func() int {
		return func() int {
			r, err := db.LoadRow(e.ctx, driver.Key{ID: id})
			if errors.Is(err, driver.ErrNotFound) {
				return 0
			}
			var v struct{ N int }
			if e.try(err, "LoadRow") {
				e.try(json.Unmarshal(r.Data, &v), "decode")
			}
			return v.N
		}
	}
	a, b, c := number("a"), number("b"), number("c")
	w := func() int {
		w, err := db.Watermark(e.ctx, streamKey("s"))
		e.try(err, "Watermark")
		return int(w.SequenceNr)
	}
	// A reader that sees step n in one place sees it, or a later one, in every place
	// that it reads afterwards.
	look := func(order ...func() int) func() bool {
		return func() bool {
			seen := 0
			for i, f := range order {
				n := f()
				e.errorIf(n < seen, "a reader saw step %d and then, at place %d, step %d", seen, i, n)
				seen = n
			}
			return !e.Failed()
		}
	}
	e.beside(40, 2000, write, look(a, b, c, w), look(w, c, b, a), look(c, w, a, b), look(b, a, w, c))
}

func projectorsOfDisjointRowsDoNotConflict(e *env) {
	db := e.table(plainTable)
	const projectors = 8
	commits := uint64(e.times(20))
	race(projectors, func(i int) {
		id := fmt.Sprintf("row%d", i)
		for n := range commits {
			if !e.try(db.Apply(e.ctx, ownStep(id, n, put(numbered(id, int(n)+1)))), "Apply of %s", id) {
				return
			}
		}
	})
	for i := range projectors {
		id := fmt.Sprintf("row%d", i)
		e.wantRow(db, numbered(id, int(commits)))
		e.wantWatermark(db, streamKey(id), commits, false)
	}
}

func (e *env) wantNumber(db driver.QueryDb, id, field string, want int64) {
	e.Helper()
	r := e.row(db, driver.Key{ID: id})
	if r == nil {
		e.Errorf("the row %s is absent", id)
		return
	}
	var v map[string]json.Number
	e.must(json.Unmarshal(r.Data, &v), "decode %s", r.Data)
	if got, err := v[field].Int64(); err != nil || got != want {
		e.Errorf("the field %s of %s is %q, want %d", field, id, v[field], want)
	}
}

func projectorsOfOneRowLoseNothing(e *env) {
	db := e.table(plainTable)
	const projectors = 8
	commits := e.times(12)
	race(projectors, func(i int) {
		stream := streamKey(fmt.Sprintf("s%d", i))
		for range commits {
			if !e.guarded(db, driver.Key{ID: "shared"}, &stream, func(v map[string]json.Number) { v["sum"] = plusOne(v["sum"]) }) {
				return
			}
		}
	})
	e.wantNumber(db, "shared", "sum", int64(projectors*commits))
	for i := range projectors {
		e.wantWatermark(db, streamKey(fmt.Sprintf("s%d", i)), uint64(commits), false)
	}
}

// projectorsWithTheirOwnHandlesLoseNothing opens the read model once for each projector,
// as several processes do.
func projectorsWithTheirOwnHandlesLoseNothing(e *env) {
	const projectors = 4
	commits := e.times(12)
	race(projectors, func(i int) {
		db, err := e.Provider.OpenQueryDb(e.ctx, plainTable)
		if !e.try(err, "OpenQueryDb") {
			return
		}
		stream := streamKey(fmt.Sprintf("s%d", i))
		for range commits {
			if !e.guarded(db, driver.Key{ID: "shared"}, &stream, func(v map[string]json.Number) { v["sum"] = plusOne(v["sum"]) }) {
				return
			}
		}
	})
	db := e.table(plainTable)
	e.wantNumber(db, "shared", "sum", int64(projectors*commits))
	for i := range projectors {
		e.wantWatermark(db, streamKey(fmt.Sprintf("s%d", i)), uint64(commits), false)
	}
}

// repeatedProjectorsApplyEachCommitOnce has several projectors of each stream, as when
// a message is delivered twice; some of them guard their writes.
func repeatedProjectorsApplyEachCommitOnce(e *env) {
	for _, spec := range []driver.TableSpec{plainTable, ownTable} {
		e.projectRepeatedly(e.table(spec))
	}
}

func (e *env) projectRepeatedly(db driver.QueryDb) {
	const streams, most = 3, 15
	commits := uint64(e.times(most))
	var applied [streams][most + 1]atomic.Int32
	race(3*streams, func(i int) {
		i, blind := i%streams, i < streams
		id := fmt.Sprintf("row%d", i)
		e.poll("the stream to be projected", func() (bool, bool) {
			w, err := db.Watermark(e.ctx, streamKey(id))
			if !e.try(err, "Watermark") || w.SequenceNr == commits {
				return true, false
			}
			n := w.SequenceNr + 1
			write := put(numbered(id, int(n)))
			if !blind {
				r, err := db.LoadRow(e.ctx, driver.Key{ID: id})
				if err != nil && !errors.Is(err, driver.ErrNotFound) {
					e.Errorf("LoadRow: %v", err)
					return true, false
				}
				write = guardedBy(write, r.Revision)
			}
			if err = db.Apply(e.ctx, ownStep(id, w.SequenceNr, write)); err == nil {
				applied[i][n].Add(1)
			} else {
				e.wantClass(err, driver.ErrConflict, "Apply")
			}
			return false, true
		})
	})
	for i := range streams {
		id := fmt.Sprintf("row%d", i)
		e.wantNumber(db, id, "n", int64(commits))
		e.wantWatermark(db, streamKey(id), commits, false)
		for n := range commits {
			got := applied[i][n+1].Load()
			e.errorIf(got != 1, "commit %d of %s was applied %d times, want once", n+1, id, got)
		}
	}
}

func ownRowStepsKeepTheWatermark(e *env) {
	db := e.table(ownTable)
	e.must(db.Apply(e.ctx, ownStep("a", 0, put(rowOf("a", `{ "n" : 1 }`)))), "the first step")
	e.wantRow(db, rowOf("a", `{ "n" : 1 }`))
	e.wantWatermark(db, streamKey("a"), 1, false)
	e.must(db.Apply(e.ctx, ownStep("a", 1)), "a step that changes no row")
	e.wantRow(db, rowOf("a", `{ "n" : 1 }`))
	e.wantWatermark(db, streamKey("a"), 2, false)
	e.must(db.Apply(e.ctx, ownStep("a", 2, put(rowOf("a", `{ "n" : 3 }`)))), "an update")
	rev := e.wantRow(db, rowOf("a", `{ "n" : 3 }`))
	e.wantWatermark(db, streamKey("a"), 3, false)
	e.must(db.Apply(e.ctx, ownStep("a", 3, guardedBy(put(numbered("a", 4)), rev))), "a guarded update")
	e.wantRow(db, numbered("a", 4))
	e.must(db.Apply(e.ctx, ownStep("a", 4, remove("a"))), "a delete")
	e.wantNoRow(db, driver.Key{ID: "a"}, "though its step removed it")
	e.wantWatermark(db, streamKey("a"), 5, false)
	e.must(db.Apply(e.ctx, ownStep("a", 5, guardedBy(put(numbered("a", 6)), 0))), "a guard of absence on a deleted row")
	now := e.wantRow(db, numbered("a", 6))
	e.errorIf(now <= rev, "the row that was written again has revision %d, had %d before", now, rev)
	e.wantWatermark(db, streamKey("a"), 6, false)
	// The stream begins without a row.
	e.must(db.Apply(e.ctx, ownStep("b", 0)), "a first step that changes no row")
	e.wantNoRow(db, driver.Key{ID: "b"}, "though no step wrote it")
	e.wantWatermark(db, streamKey("b"), 1, false)
	e.must(db.Apply(e.ctx, ownStep("b", 1, guardedBy(put(numbered("b", 1)), 0))), "a guard of absence where only a watermark is")
	e.wantRow(db, numbered("b", 1))
	// Advance and Block see the same watermark.
	e.must(db.Advance(e.ctx, []driver.Advance{advance("b", 2, 3)}), "Advance")
	e.wantRow(db, numbered("b", 1))
	e.wantClass(db.Apply(e.ctx, ownStep("b", 2, put(numbered("b", 9)))), driver.ErrConflict, "a step from before Advance")
	e.must(db.Block(e.ctx, streamKey("b"), 3), "Block")
	e.wantRow(db, numbered("b", 1))
	e.wantClass(db.Apply(e.ctx, ownStep("b", 3, put(numbered("b", 9)))), driver.ErrConflict, "a step of a blocked stream")
	e.wantRow(db, numbered("b", 1))
	e.must(db.Unblock(e.ctx, streamKey("b")), "Unblock")
	e.must(db.Apply(e.ctx, ownStep("b", 3, put(numbered("b", 4)))), "a step after Unblock")
	e.wantRow(db, numbered("b", 4))
	// A stream blocked before it has a row.
	e.must(db.Block(e.ctx, streamKey("c"), 0), "Block")
	e.wantNoRow(db, driver.Key{ID: "c"}, "though no step wrote it")
	e.wantClass(db.Apply(e.ctx, ownStep("c", 0, put(numbered("c", 1)))), driver.ErrConflict, "a step of a blocked stream")
	e.wantNoRow(db, driver.Key{ID: "c"}, "though its stream is blocked")
	e.must(db.Unblock(e.ctx, streamKey("c")), "Unblock")
	e.must(db.Apply(e.ctx, ownStep("c", 0, put(numbered("c", 1)))), "a step after Unblock")
	e.wantRow(db, numbered("c", 1))
}

func ownRowStepsAreAllOrNothing(e *env) {
	db := e.table(ownTable)
	e.must(db.Apply(e.ctx, ownStep("a", 0, put(numbered("a", 1)))), "Apply")
	e.must(db.Apply(e.ctx, ownStep("a", 1, put(numbered("a", 2)))), "Apply")
	e.must(db.Apply(e.ctx, ownStep("dead", 0, put(numbered("dead", 1)))), "Apply")
	rev := e.revision(db, "a")
	dead := e.revision(db, "dead")
	e.must(db.Apply(e.ctx, ownStep("dead", 1, remove("dead"))), "Apply")
	e.must(db.Apply(e.ctx, ownStep("held", 0, put(numbered("held", 1)))), "Apply")
	e.must(db.Block(e.ctx, streamKey("held"), 1), "Block")
	ids := []string{"a", "dead", "held", "new"}
	e.noEffect(db, driver.ErrConflict, ids, ids, map[string]driver.Step{
		"a repeated commit":                   ownStep("a", 1, put(numbered("a", 9))),
		"a much earlier commit":               ownStep("a", 0, put(numbered("a", 9))),
		"a commit beyond the next":            ownStep("a", 3, put(numbered("a", 9))),
		"another revision":                    ownStep("a", 2, guardedBy(put(numbered("a", 9)), rev+1)),
		"an old revision":                     ownStep("a", 2, guardedBy(put(numbered("a", 9)), rev-1)),
		"a row that should be absent":         ownStep("a", 2, guardedBy(put(numbered("a", 9)), 0)),
		"a delete of another revision":        ownStep("a", 2, guardedBy(remove("a"), rev+1)),
		"a new stream not from 0":             ownStep("new", 1, put(numbered("new", 9))),
		"an absent row with a revision":       ownStep("new", 0, guardedBy(put(numbered("new", 9)), 1)),
		"a deleted row with its old revision": ownStep("dead", 2, guardedBy(put(numbered("dead", 9)), dead)),
		"a repeated commit after the delete":  ownStep("dead", 0, put(numbered("dead", 9))),
		"a blocked stream":                    ownStep("held", 1, put(numbered("held", 9))),
		"a blocked stream and a delete":       ownStep("held", 1, remove("held")),
		"a blocked stream and no write":       ownStep("held", 1),
		"a repeated commit and no write":      ownStep("a", 0),
	})
}

func ownRowWatermarksAreInvisible(e *env) {
	spec := driver.TableSpec{Name: "Test.Colors", Indexes: []driver.Index{{Name: "byColor", Key: driver.Field{Name: "color"}}}, OwnRow: true}
	db := e.table(spec)
	q := e.engine(spec)
	red := func(id string) driver.Row { return rowOf(id, `{"color":"red"}`) }
	e.must(db.Apply(e.ctx, ownStep("kept", 0, put(red("kept")))), "Apply")
	e.must(db.Apply(e.ctx, ownStep("dead", 0, put(red("dead")))), "Apply")
	e.must(db.Apply(e.ctx, ownStep("dead", 1, remove("dead"))), "Apply")
	e.must(db.Apply(e.ctx, ownStep("empty", 0)), "Apply")
	e.must(db.Block(e.ctx, streamKey("blocked"), 0), "Block")
	for _, id := range []string{"dead", "empty", "blocked"} {
		key := driver.Key{ID: id}
		e.wantNoRow(db, key, "it has only a watermark")
		e.wantIDs(q, driver.Query{ReadModel: spec.Name, Value: id})
	}
	e.wantIDs(q, driver.Query{ReadModel: spec.Name, Index: "byColor", Value: "red"}, "kept")
	e.wantScanIDs(q, driver.Scan{ReadModel: spec.Name}, "kept")
	e.wantScanIDs(q, driver.Scan{ReadModel: spec.Name, Limit: 1}, "kept")
	for _, f := range []driver.Filter{
		{Field: "color", Comparator: driver.NotExists},
		{Field: "color", Comparator: driver.Unequal, Values: []any{"red"}},
	} {
		e.wantScanIDs(q, driver.Scan{ReadModel: spec.Name, Filters: []driver.Filter{f}})
	}
	e.must(db.Apply(e.ctx, ownStep("dead", 2, guardedBy(put(red("dead")), 0))), "first write of a row that has only a watermark")
	e.wantRow(db, red("dead"))
	e.wantWatermark(db, streamKey("dead"), 3, false)
}

func ownRowWatermarksOutliveTheirRow(e *env) {
	e.needClock()
	db := e.table(ownTable)
	r := numbered("a", 1)
	r.ExpiresAt = e.Now().Add(time.Minute).Truncate(time.Second)
	e.must(db.Apply(e.ctx, ownStep("a", 0, put(r))), "Apply")
	rev := e.wantRow(db, r)
	e.must(db.Apply(e.ctx, ownStep("dead", 0, put(numbered("dead", 1)))), "Apply")
	e.must(db.Apply(e.ctx, ownStep("dead", 1, remove("dead"))), "Apply")
	for _, d := range []time.Duration{2 * time.Minute, 48 * time.Hour, 366 * 24 * time.Hour} {
		e.advance(d)
		e.wantNoRow(db, r.Key, "though it has expired")
		e.wantWatermark(db, streamKey("a"), 1, false)
		e.wantClass(db.Apply(e.ctx, ownStep("a", 0, put(numbered("a", 1)))), driver.ErrConflict, "a repeated step after the row expired")
		e.wantNoRow(db, r.Key, "though it has expired")
		e.wantWatermark(db, streamKey("dead"), 2, false)
		e.wantClass(db.Apply(e.ctx, ownStep("dead", 0, put(numbered("dead", 1)))), driver.ErrConflict, "a repeated step after the row was deleted")
	}
	e.wantClass(db.Apply(e.ctx, ownStep("a", 1, guardedBy(put(numbered("a", 2)), rev+1))), driver.ErrConflict, "a guard of another revision of an expired row")
	stored, err := db.LoadRows(e.ctx, []driver.Key{r.Key})
	e.must(err, "LoadRows")
	now := uint64(0)
	for _, s := range stored { // the store may have removed it
		now = s.Revision
	}
	e.must(db.Apply(e.ctx, ownStep("a", 1, guardedBy(put(numbered("a", 2)), now))), "a guard of the revision of an expired row")
	e.wantRow(db, numbered("a", 2))
	e.wantWatermark(db, streamKey("a"), 2, false)
}

func ownRowWatermarksOfTwoLogsAreKeptApart(e *env) {
	db := e.table(ownTable)
	step := func(log string, from uint64, w driver.RowWrite) driver.Step {
		return driver.Step{Advances: []driver.Advance{{StreamKey: driver.StreamKey{Log: log, Stream: "a"}, From: from, To: from + 1}}, Writes: []driver.RowWrite{w}}
	}
	one, two := driver.StreamKey{Log: "Test.One", Stream: "a"}, driver.StreamKey{Log: "Test.Two", Stream: "a"}
	e.must(db.Apply(e.ctx, step("Test.One", 0, put(numbered("a", 1)))), "Apply")
	e.wantWatermark(db, two, 0, false)
	e.must(db.Apply(e.ctx, step("Test.Two", 0, put(numbered("a", 2)))), "Apply")
	e.must(db.Apply(e.ctx, step("Test.One", 1, put(numbered("a", 3)))), "Apply")
	e.wantWatermark(db, one, 2, false)
	e.wantWatermark(db, two, 1, false)
	e.must(db.Block(e.ctx, one, 2), "Block")
	e.must(db.Apply(e.ctx, step("Test.Two", 1, remove("a"))), "Apply of another log than the blocked one")
	e.wantNoRow(db, driver.Key{ID: "a"}, "though it was deleted")
	e.wantWatermark(db, one, 2, true)
	e.wantWatermark(db, two, 2, false)
}

func ownRowStepsTouchTheirOwnRowOnly(e *env) {
	db := e.table(ownTable)
	e.must(db.Apply(e.ctx, ownStep("a", 0, put(numbered("a", 1)))), "Apply")
	ids := []string{"a", "b"}
	e.noEffect(db, driver.ErrInvalid, ids, ids, map[string]driver.Step{
		"a row of another stream":           ownStep("a", 1, put(numbered("b", 9))),
		"a delete of another stream's row":  ownStep("b", 0, remove("a")),
		"its own row and that of another":   ownStep("a", 1, put(numbered("a", 9)), put(numbered("b", 9))),
		"two advances":                      {Advances: []driver.Advance{advance("a", 1, 2), advance("b", 0, 1)}, Writes: []driver.RowWrite{put(numbered("a", 9))}},
		"no advance":                        {Writes: []driver.RowWrite{put(numbered("a", 9))}},
		"an advance that does not go ahead": {Advances: []driver.Advance{advance("a", 1, 1)}, Writes: []driver.RowWrite{put(numbered("a", 9))}},
	})
	_, err := e.Provider.OpenQueryDb(e.ctx, driver.TableSpec{Name: "Test.OwnLines", SubID: "line", OwnRow: true})
	e.wantClass(err, driver.ErrInvalid, "OpenQueryDb of own rows with sub ids")
}

func ownRowStepsSurviveReopening(e *env) {
	e.needReopen()
	db := e.table(ownTable)
	e.must(db.Apply(e.ctx, ownStep("a", 0, put(numbered("a", 1)))), "Apply")
	e.must(db.Apply(e.ctx, ownStep("dead", 0, put(numbered("dead", 1)))), "Apply")
	rev := e.revision(db, "dead")
	e.must(db.Apply(e.ctx, ownStep("dead", 1, remove("dead"))), "Apply")
	e.must(db.Block(e.ctx, streamKey("a"), 1), "Block")
	e.reopen()
	db = e.table(ownTable)
	e.wantRow(db, numbered("a", 1))
	e.wantWatermark(db, streamKey("a"), 1, true)
	e.wantNoRow(db, driver.Key{ID: "dead"}, "though it was deleted")
	e.wantWatermark(db, streamKey("dead"), 2, false)
	e.must(db.Apply(e.ctx, ownStep("dead", 2, put(numbered("dead", 3)))), "Apply")
	now := e.revision(db, "dead")
	e.errorIf(now <= rev, "the row that was written again has revision %d, had %d before", now, rev)
}

func clearRemovesRowsAndWatermarks(e *env) {
	fill := func(db driver.QueryDb, picks func(i int) bool) {
		e.Helper()
		for i := range 130 {
			if !picks(i) {
				continue
			}
			id := fmt.Sprintf("id%d", i)
			step := driver.Step{Advances: []driver.Advance{advance(id, 0, uint64(i+1))}, Writes: []driver.RowWrite{put(numbered(id, i))}}
			if i%10 == 9 {
				step.Writes = nil
			}
			e.must(db.Apply(e.ctx, step), "Apply of %s", id)
		}
		e.must(db.Block(e.ctx, streamKey("id3"), 4), "Block")
		e.must(db.Block(e.ctx, streamKey("never"), 0), "Block")
	}
	for name, own := range map[string]bool{"Test.Steps": false, "Test.Own": true} {
		spec := driver.TableSpec{Name: name, Indexes: []driver.Index{{Name: "byN", Key: driver.Field{Name: "n", Number: true}}}, OwnRow: own}
		db := e.table(spec)
		q := e.engine(spec)
		e.must(db.Clear(e.ctx), "Clear of an empty read model")
		fill(db, func(int) bool { return true })
		e.must(db.Clear(e.ctx), "Clear")
		e.must(db.Clear(e.ctx), "Clear again")
		for i := range 130 {
			if !e.sampled(i) {
				continue
			}
			id := fmt.Sprintf("id%d", i)
			e.wantNoRow(db, driver.Key{ID: id}, "though the read model was cleared")
			e.wantWatermark(db, streamKey(id), 0, false)
		}
		e.wantWatermark(db, streamKey("never"), 0, false)
		e.wantScanIDs(q, driver.Scan{ReadModel: name})
		e.wantIDs(q, driver.Query{ReadModel: name, Index: "byN", Value: 7.0})
		fill(db, e.sampled) // a rebuild
		e.wantWatermark(db, streamKey("id3"), 4, true)
		e.wantWatermark(db, streamKey("id127"), 128, false)
		e.wantRow(db, numbered("id127", 127))
	}
}
