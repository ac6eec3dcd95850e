package drivertest

import (
	"fmt"
	"testing"

	"github.com/reventless-go/reventless/driver"
)

// TestWatermarks runs the suite of [driver.Watermarks] on those of a consumer.
// [TestQueryDb] runs it on those of a read model.
func TestWatermarks(t *testing.T, open Open) { watermarksSuite().run(t, open) }

func watermarksSuite() suite {
	return suite{"Watermarks", append(watermarksProperties(func(e *env) driver.Watermarks {
		return e.watermarks("Test.Consumer")
	}), cancelledCallsFail(consumerCalls))}
}

func (e *env) watermarks(consumer string) driver.Watermarks {
	e.Helper()
	c, err := e.Provider.OpenWatermarks(e.ctx, consumer)
	return opened(e, c, err)
}

// watermarksProperties returns the properties of watermarks. Each property checks all
// kinds.
func watermarksProperties(kinds ...func(e *env) driver.Watermarks) []property {
	with := func(check func(e *env, c driver.Watermarks)) func(*env) {
		return func(e *env) {
			for _, opened := range kinds {
				check(e, opened(e))
			}
		}
	}
	return []property{
		{"AStreamNeverSeenIsAtZero", with(aStreamNeverSeenIsAtZero)},
		{"AdvanceMovesWatermarks", with(advanceMovesWatermarks)},
		{"AdvanceFromElsewhereConflicts", with(advanceFromElsewhereConflicts)},
		{"AnAdvanceThatStaysIsACondition", with(anAdvanceThatStaysIsACondition)},
		{"AdvanceIsAllOrNothing", with(advanceIsAllOrNothing)},
		{"OneWinnerOfEightConcurrentAdvances", with(oneWinnerOfEightConcurrentAdvances)},
		{"ABlockedStreamDoesNotAdvance", with(aBlockedStreamDoesNotAdvance)},
		{"BlockNeedsTheWatermark", with(blockNeedsTheWatermark)},
		{"WatermarksHasEveryKey", with(watermarksHasEveryKey)},
		{"StreamsAreKeptApart", with(watermarksOfStreamsAreKeptApart)},
		{"WatermarksSurviveReopening", func(e *env) {
			for _, opened := range kinds {
				watermarksSurviveReopening(e, opened)
			}
		}},
	}
}

func streamKey(stream string) driver.StreamKey {
	return driver.StreamKey{Log: "Test.Log", Stream: stream}
}

func advance(stream string, from, to uint64) driver.Advance {
	return driver.Advance{StreamKey: streamKey(stream), From: from, To: to}
}

// wantWatermark checks what both methods say of a stream.
func (e *env) wantWatermark(c driver.Watermarks, stream driver.StreamKey, at uint64, blocked bool) {
	e.Helper()
	want := driver.Watermark{SequenceNr: at, Blocked: blocked}
	got, err := c.Watermark(e.ctx, stream)
	e.errorIf(e.try(err, "Watermark(%s)", short(stream.Stream)) && got != want, "Watermark(%s) = %+v, want %+v", short(stream.Stream), got, want)
	many, err := c.Watermarks(e.ctx, []driver.StreamKey{stream})
	if e.try(err, "Watermarks(%s)", short(stream.Stream)) && many[stream] != want {
		e.Errorf("Watermarks(%s) = %+v, want %+v", short(stream.Stream), many[stream], want)
	}
}

func aStreamNeverSeenIsAtZero(e *env, c driver.Watermarks) {
	e.wantWatermark(c, streamKey("nobody"), 0, false)
	e.must(c.Advance(e.ctx, []driver.Advance{advance("s", 0, 1)}), "Advance")
	e.wantWatermark(c, streamKey("nobody"), 0, false)
	e.wantWatermark(c, driver.StreamKey{Log: "Test.Other", Stream: "s"}, 0, false)
}

func advanceMovesWatermarks(e *env, c driver.Watermarks) {
	e.must(c.Advance(e.ctx, []driver.Advance{advance("a", 0, 1)}), "Advance")
	e.wantWatermark(c, streamKey("a"), 1, false)
	e.must(c.Advance(e.ctx, []driver.Advance{advance("a", 1, 5), advance("b", 0, 3)}), "Advance")
	e.wantWatermark(c, streamKey("a"), 5, false)
	e.wantWatermark(c, streamKey("b"), 3, false)
	// Beyond 32 bits, and beyond the exact integers of a float64.
	e.must(c.Advance(e.ctx, []driver.Advance{advance("b", 3, 1<<40+7)}), "Advance")
	e.must(c.Advance(e.ctx, []driver.Advance{advance("b", 1<<40+7, 1<<53+3)}), "Advance")
	e.wantWatermark(c, streamKey("b"), 1<<53+3, false)
	e.wantClass(c.Advance(e.ctx, []driver.Advance{advance("b", 1<<53+2, 1<<53+4)}), driver.ErrConflict, "Advance from one below")
}

func advanceFromElsewhereConflicts(e *env, c driver.Watermarks) {
	e.wantClass(c.Advance(e.ctx, []driver.Advance{advance("s", 1, 2)}), driver.ErrConflict, "Advance of a new stream from 1")
	e.wantWatermark(c, streamKey("s"), 0, false)
	e.must(c.Advance(e.ctx, []driver.Advance{advance("s", 0, 3)}), "Advance")
	for _, from := range []uint64{0, 1, 2, 4, 5} {
		e.wantClass(c.Advance(e.ctx, []driver.Advance{advance("s", from, 9)}), driver.ErrConflict, "Advance from %d of a stream at 3", from)
	}
	e.wantWatermark(c, streamKey("s"), 3, false)
}

func anAdvanceThatStaysIsACondition(e *env, c driver.Watermarks) {
	stay := func(stream string, at uint64) driver.Advance { return advance(stream, at, at) }
	e.must(c.Advance(e.ctx, []driver.Advance{stay("new", 0)}), "Advance of a new stream from 0 to 0")
	e.wantWatermark(c, streamKey("new"), 0, false)
	e.must(c.Advance(e.ctx, []driver.Advance{advance("s", 0, 3), stay("new", 0)}), "Advance beside one that stays")
	e.must(c.Advance(e.ctx, []driver.Advance{stay("s", 3)}), "Advance from 3 to 3")
	e.wantWatermark(c, streamKey("s"), 3, false)
	for _, at := range []uint64{0, 2, 4} {
		e.wantClass(c.Advance(e.ctx, []driver.Advance{stay("s", at), advance("new", 0, 1)}), driver.ErrConflict, "Advance beside one that stays at %d, of a stream at 3", at)
	}
	e.wantClass(c.Advance(e.ctx, []driver.Advance{stay("new", 1)}), driver.ErrConflict, "Advance from 1 to 1 of a new stream")
	e.must(c.Block(e.ctx, streamKey("s"), 3), "Block")
	e.wantClass(c.Advance(e.ctx, []driver.Advance{stay("s", 3)}), driver.ErrConflict, "Advance that stays, of a blocked stream")
	e.wantWatermark(c, streamKey("s"), 3, true)
	e.wantWatermark(c, streamKey("new"), 0, false)
	e.must(c.Block(e.ctx, streamKey("new"), 0), "Block of a stream that only stayed")
	e.wantClass(c.Advance(e.ctx, []driver.Advance{stay("new", 0)}), driver.ErrConflict, "Advance that stays at 0, of a blocked stream")
	e.must(c.Unblock(e.ctx, streamKey("new")), "Unblock")
	e.must(c.Advance(e.ctx, []driver.Advance{advance("new", 0, 1)}), "Advance of a stream that only stayed")
	e.wantWatermark(c, streamKey("new"), 1, false)
}

func advanceIsAllOrNothing(e *env, c driver.Watermarks) {
	e.must(c.Advance(e.ctx, []driver.Advance{advance("a", 0, 1), advance("b", 0, 1), advance("c", 0, 1), advance("d", 0, 1)}), "Advance")
	e.must(c.Block(e.ctx, streamKey("d"), 1), "Block")
	check := func(what string, as ...driver.Advance) {
		e.wantClass(c.Advance(e.ctx, as), driver.ErrConflict, "%s", what)
		for _, s := range []string{"a", "b", "c"} {
			e.wantWatermark(c, streamKey(s), 1, false)
		}
		e.wantWatermark(c, streamKey("d"), 1, true)
		e.wantWatermark(c, streamKey("new"), 0, false)
	}
	check("the last one elsewhere", advance("a", 1, 2), advance("b", 1, 2), advance("c", 7, 8))
	check("the first one elsewhere", advance("c", 0, 8), advance("a", 1, 2), advance("new", 0, 1))
	check("the last one blocked", advance("a", 1, 2), advance("new", 0, 1), advance("d", 1, 2))
	check("the first one blocked", advance("d", 1, 2), advance("a", 1, 2))
}

func oneWinnerOfEightConcurrentAdvances(e *env, c driver.Watermarks) {
	var own [8]uint64 // each racer moves the contended stream and one of its own
	for n := range uint64(e.times(20)) {
		errs := make([]error, 8)
		race(8, func(i int) {
			errs[i] = c.Advance(e.ctx, []driver.Advance{advance("contended", n, n+1), advance(fmt.Sprintf("own%d", i), own[i], own[i]+1)})
		})
		won := 0
		for i, err := range errs {
			if err == nil {
				won++
				own[i]++
				continue
			}
			e.wantClass(err, driver.ErrConflict, "racer %d at %d", i, n)
		}
		e.fatalIf(won != 1, "at %d %d of 8 racers won, want 1", n, won)
		e.wantWatermark(c, streamKey("contended"), n+1, false)
		for i := range own {
			e.wantWatermark(c, streamKey(fmt.Sprintf("own%d", i)), own[i], false)
		}
	}
}

func aBlockedStreamDoesNotAdvance(e *env, c driver.Watermarks) {
	s := streamKey("s")
	e.must(c.Advance(e.ctx, []driver.Advance{advance("s", 0, 4), advance("other", 0, 1)}), "Advance")
	e.must(c.Block(e.ctx, s, 4), "Block")
	e.wantWatermark(c, s, 4, true)
	e.must(c.Block(e.ctx, s, 4), "Block of a blocked stream")
	e.wantClass(c.Advance(e.ctx, []driver.Advance{advance("s", 4, 5)}), driver.ErrConflict, "Advance of a blocked stream")
	e.wantWatermark(c, s, 4, true)
	e.must(c.Advance(e.ctx, []driver.Advance{advance("other", 1, 2)}), "Advance of another stream")
	e.wantWatermark(c, streamKey("other"), 2, false)
	e.must(c.Unblock(e.ctx, s), "Unblock")
	e.wantWatermark(c, s, 4, false)
	e.must(c.Advance(e.ctx, []driver.Advance{advance("s", 4, 5)}), "Advance after Unblock")
	e.must(c.Unblock(e.ctx, s), "Unblock of a stream that is not blocked")
	e.wantWatermark(c, s, 5, false)
	e.must(c.Unblock(e.ctx, streamKey("nobody")), "Unblock of a stream never seen")
	e.wantWatermark(c, streamKey("nobody"), 0, false)
	// The first commit of a stream may be parked, too.
	e.must(c.Block(e.ctx, streamKey("first"), 0), "Block at 0")
	e.wantWatermark(c, streamKey("first"), 0, true)
	e.wantClass(c.Advance(e.ctx, []driver.Advance{advance("first", 0, 1)}), driver.ErrConflict, "Advance of a stream blocked at 0")
	e.must(c.Unblock(e.ctx, streamKey("first")), "Unblock")
	e.must(c.Advance(e.ctx, []driver.Advance{advance("first", 0, 1)}), "Advance after Unblock")
	e.wantWatermark(c, streamKey("first"), 1, false)
}

func blockNeedsTheWatermark(e *env, c driver.Watermarks) {
	e.must(c.Advance(e.ctx, []driver.Advance{advance("s", 0, 4)}), "Advance")
	for _, at := range []uint64{0, 3, 5} {
		e.wantClass(c.Block(e.ctx, streamKey("s"), at), driver.ErrConflict, "Block at %d of a stream at 4", at)
	}
	e.wantWatermark(c, streamKey("s"), 4, false)
	e.wantClass(c.Block(e.ctx, streamKey("nobody"), 1), driver.ErrConflict, "Block at 1 of a stream never seen")
	e.wantWatermark(c, streamKey("nobody"), 0, false)
	// Of Block and Advance at the same time exactly one succeeds.
	for i := range 20 {
		s := fmt.Sprintf("race%d", i)
		var blocked, advanced error
		race(2, func(j int) {
			if j == 0 {
				blocked = c.Block(e.ctx, streamKey(s), 0)
			} else {
				advanced = c.Advance(e.ctx, []driver.Advance{advance(s, 0, 1)})
			}
		})
		switch {
		case blocked == nil && advanced != nil:
			e.wantClass(advanced, driver.ErrConflict, "Advance that lost to Block")
			e.wantWatermark(c, streamKey(s), 0, true)
		case blocked != nil && advanced == nil:
			e.wantClass(blocked, driver.ErrConflict, "Block that lost to Advance")
			e.wantWatermark(c, streamKey(s), 1, false)
		default:
			e.Errorf("of Block at 0 and Advance from 0 exactly one can win: got %v and %v", blocked, advanced)
		}
	}
}

func watermarksHasEveryKey(e *env, c driver.Watermarks) {
	var keys []driver.StreamKey
	for i := range 130 { // more than one page of any store
		s := fmt.Sprintf("s%d", i)
		keys = append(keys, streamKey(s))
		if i%3 != 0 {
			e.must(c.Advance(e.ctx, []driver.Advance{advance(s, 0, uint64(i))}), "Advance")
		}
	}
	e.must(c.Block(e.ctx, streamKey("s7"), 7), "Block")
	got, err := c.Watermarks(e.ctx, append(keys, keys[:5]...)) // repeated keys do no harm
	e.must(err, "Watermarks")
	e.errorIf(len(got) != len(keys), "Watermarks of %d keys has %d entries", len(keys), len(got))
	for i, k := range keys {
		want := driver.Watermark{SequenceNr: uint64(i), Blocked: i == 7}
		if i%3 == 0 {
			want = driver.Watermark{}
		}
		w, ok := got[k]
		e.errorIf(!ok || w != want, "Watermarks has %+v, %t for %s, want %+v", w, ok, k.Stream, want)
	}
	got, err = c.Watermarks(e.ctx, nil)
	e.errorIf(err != nil || len(got) != 0, "Watermarks without keys = %v, %v, want none", got, err)
}

func watermarksOfStreamsAreKeptApart(e *env, c driver.Watermarks) {
	var keys []driver.StreamKey
	for _, id := range goodIDs() {
		keys = append(keys, streamKey(id))
	}
	// The same text, split in another place.
	for _, k := range [][2]string{{"A.B", "C"}, {"A", "B.C"}, {"A/B", "C"}, {"A", "B/C"}, {"A#B", "C"}, {"A", "B#C"}, {"A:B", "C"}, {"A", "B:C"}, {"A|B", "C"}, {"A", "B|C"}} {
		keys = append(keys, driver.StreamKey{Log: k[0], Stream: k[1]})
	}
	for i, k := range keys {
		err := c.Advance(e.ctx, []driver.Advance{{StreamKey: k, From: 0, To: uint64(i + 1)}})
		e.try(err, "Advance of %s in %q", short(k.Stream), k.Log)
	}
	for i, k := range keys {
		e.wantWatermark(c, k, uint64(i+1), false)
	}
}

func watermarksSurviveReopening(e *env, opened func(*env) driver.Watermarks) {
	e.needReopen()
	c := opened(e)
	e.must(c.Advance(e.ctx, []driver.Advance{advance("a", 0, 3), advance("b", 0, 5)}), "Advance")
	e.must(c.Block(e.ctx, streamKey("b"), 5), "Block")
	e.reopen()
	c = opened(e)
	e.wantWatermark(c, streamKey("a"), 3, false)
	e.wantWatermark(c, streamKey("b"), 5, true)
	e.wantClass(c.Advance(e.ctx, []driver.Advance{advance("a", 0, 3)}), driver.ErrConflict, "Advance again")
	e.wantClass(c.Advance(e.ctx, []driver.Advance{advance("b", 5, 6)}), driver.ErrConflict, "Advance of a blocked stream")
	e.must(c.Unblock(e.ctx, streamKey("b")), "Unblock")
	e.reopen()
	e.must(opened(e).Advance(e.ctx, []driver.Advance{advance("a", 3, 4), advance("b", 5, 6)}), "Advance")
}
