package drivertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/faults"
)

func watermarksFaults() []fault {
	advancing := func(tamper func(ctx context.Context, c driver.Watermarks, as []driver.Advance) error) plant {
		return on(func(h *faults.StreamWatermarks, _ *faulty) {
			h.OnAdvance = func(ctx context.Context, as []driver.Advance) error {
				return tamper(ctx, h.Inner, slices.Clone(as))
			}
		})
	}
	// mapped maps streams to other ones.
	mapped := func(to func(s driver.StreamKey) driver.StreamKey) plant {
		return on(func(h *faults.StreamWatermarks, _ *faulty) {
			h.OnWatermark = func(ctx context.Context, s driver.StreamKey) (driver.Watermark, error) {
				return h.Inner.Watermark(ctx, to(s))
			}
			h.OnWatermarks = func(ctx context.Context, ss []driver.StreamKey) (map[driver.StreamKey]driver.Watermark, error) {
				all := map[driver.StreamKey]driver.Watermark{}
				for _, s := range ss {
					m, err := h.Inner.Watermark(ctx, to(s))
					if err != nil {
						return nil, err
					}
					all[s] = m
				}
				return all, nil
			}
			h.OnAdvance = func(ctx context.Context, as []driver.Advance) error {
				as = slices.Clone(as)
				for i := range as {
					as[i].StreamKey = to(as[i].StreamKey)
				}
				return h.Inner.Advance(ctx, as)
			}
		})
	}
	fs := []fault{
		{"AStreamNeverSeenIsAnError", "Watermarks/AStreamNeverSeenIsAtZero", on(func(h *faults.StreamWatermarks, _ *faulty) {
			h.OnWatermark = func(ctx context.Context, s driver.StreamKey) (driver.Watermark, error) {
				m, err := h.Inner.Watermark(ctx, s)
				if err == nil && m == (driver.Watermark{}) {
					err = driver.ErrNotFound
				}
				return m, err
			}
		})},
		{"KeepsDoubles", "Watermarks/AdvanceMovesWatermarks", on(func(h *faults.StreamWatermarks, _ *faulty) {
			h.OnWatermark = func(ctx context.Context, s driver.StreamKey) (driver.Watermark, error) {
				m, err := h.Inner.Watermark(ctx, s)
				m.SequenceNr = uint64(float64(m.SequenceNr))
				return m, err
			}
		})},
		{"IgnoresFrom", "Watermarks/AdvanceFromElsewhereConflicts", advancing(ignoreFrom)},
		{"SkipsAdvancesThatStay", "Watermarks/AnAdvanceThatStaysIsACondition", advancing(func(ctx context.Context, c driver.Watermarks, as []driver.Advance) error {
			return c.Advance(ctx, slices.DeleteFunc(as, func(a driver.Advance) bool { return a.From == a.To }))
		})},
		{"AdvancesOneByOne", "Watermarks/AdvanceIsAllOrNothing", advancing(func(ctx context.Context, c driver.Watermarks, as []driver.Advance) error {
			for _, a := range as {
				if err := c.Advance(ctx, []driver.Advance{a}); err != nil {
					return err
				}
			}
			return nil
		})},
		{"ChecksThenAdvances", "Watermarks/OneWinnerOfEightConcurrentAdvances", advancing(func(ctx context.Context, c driver.Watermarks, as []driver.Advance) error {
			for _, a := range as {
				if m, err := c.Watermark(ctx, a.StreamKey); err != nil || m.SequenceNr != a.From || m.Blocked {
					return errors.Join(driver.ErrConflict, err)
				}
			}
			others()
			return ignoreFrom(ctx, c, as)
		})},
		{"IgnoresBlocks", "Watermarks/ABlockedStreamDoesNotAdvance", advancing(func(ctx context.Context, c driver.Watermarks, as []driver.Advance) error {
			for _, a := range as {
				_ = c.Unblock(ctx, a.StreamKey)
			}
			return c.Advance(ctx, as)
		})},
		{"BlocksAnywhere", "Watermarks/BlockNeedsTheWatermark", on(func(h *faults.StreamWatermarks, _ *faulty) {
			h.OnBlock = func(ctx context.Context, s driver.StreamKey, _ uint64) error {
				m, err := h.Inner.Watermark(ctx, s)
				if err != nil {
					return err
				}
				return h.Inner.Block(ctx, s, m.SequenceNr)
			}
		})},
		{"LeavesOutZeroes", "Watermarks/WatermarksHasEveryKey", on(func(h *faults.StreamWatermarks, _ *faulty) {
			h.OnWatermarks = func(ctx context.Context, ss []driver.StreamKey) (map[driver.StreamKey]driver.Watermark, error) {
				all, err := h.Inner.Watermarks(ctx, ss)
				maps.DeleteFunc(all, func(_ driver.StreamKey, m driver.Watermark) bool { return m.SequenceNr == 0 })
				return all, err
			}
		})},
		{"JoinsLogAndStream", "Watermarks/StreamsAreKeptApart", mapped(func(s driver.StreamKey) driver.StreamKey {
			return driver.StreamKey{Stream: s.Log + "/" + s.Stream}
		})},
		{"ForgetsBlocksWhenClosed", "Watermarks/WatermarksSurviveReopening", on(func(h *faults.StreamWatermarks, w *faulty) {
			if w.session > 1 {
				_ = h.Inner.Unblock(context.Background(), streamKey("b"))
			}
		})},
	}
	for _, f := range slices.Clone(fs) { // the watermarks of a read model keep the same properties
		fs = append(fs, fault{f.name, "QueryDb" + strings.TrimPrefix(f.property, "Watermarks"), f.plant})
	}
	return append(fs, fault{"SharesAllWatermarks", "Provider/SimilarNamesAreKeptApart", on(func(h *faults.StreamWatermarks, w *faulty) {
		if o, err := w.p.PullProvider.OpenWatermarks(context.Background(), "everybody"); err == nil {
			h.OnWatermark, h.OnWatermarks, h.OnAdvance, h.OnBlock, h.OnUnblock = o.Watermark, o.Watermarks, o.Advance, o.Block, o.Unblock
		}
	})})
}

// ignoreFrom moves watermarks wherever they are.
func ignoreFrom(ctx context.Context, c driver.Watermarks, as []driver.Advance) error {
	for i := range as {
		m, err := c.Watermark(ctx, as[i].StreamKey)
		if err != nil {
			return err
		}
		if as[i].From = m.SequenceNr; as[i].To <= as[i].From {
			return nil
		}
	}
	if err := c.Advance(ctx, as); err != nil && !errors.Is(err, driver.ErrConflict) {
		return err
	}
	return nil
}

// onEveryRow changes rows on their way in and out, wherever they are written or read.
func onEveryRow(in, out func(w *faulty, r driver.Row) driver.Row) plant {
	return on(func(h *faults.QueryDb, w *faulty) { everyRow(h, w, in, out) })
}

func everyRow(h *faults.QueryDb, w *faulty, in, out func(w *faulty, r driver.Row) driver.Row) {
	same := func(_ *faulty, r driver.Row) driver.Row { return r }
	if in == nil {
		in = same
	}
	if out == nil {
		out = same
	}
	read := func(rows []driver.Row, err error) ([]driver.Row, error) {
		for i := range rows {
			rows[i] = out(w, rows[i])
		}
		return rows, err
	}
	h.OnApply = func(ctx context.Context, s driver.Step) error {
		s.Writes = slices.Clone(s.Writes)
		for i := range s.Writes {
			if !s.Writes[i].Delete {
				s.Writes[i].Row = in(w, s.Writes[i].Row)
			}
		}
		return h.Inner.Apply(ctx, s)
	}
	h.OnLoad = func(ctx context.Context, id string) ([]driver.Row, error) { return read(h.Inner.Load(ctx, id)) }
	h.OnLoadRow = func(ctx context.Context, key driver.Key) (driver.Row, error) {
		r, err := h.Inner.LoadRow(ctx, key)
		if err == nil {
			r = out(w, r)
		}
		return r, err
	}
	h.OnLoadRows = func(ctx context.Context, keys []driver.Key) ([]driver.Row, error) {
		return read(h.Inner.LoadRows(ctx, keys))
	}
}

// revisionsFrom shows the revisions of a row as if they began again at base.
func revisionsFrom(h *faults.QueryDb, w *faulty, base map[driver.Key]uint64) {
	everyRow(h, w, nil, func(_ *faulty, r driver.Row) driver.Row {
		r.Revision -= min(base[r.Key], r.Revision-1)
		return r
	})
}

// unexpiring keeps expired rows visible: the store does not know when they end.
func unexpiring(h *faults.QueryDb, w *faulty) {
	ends := memoOf(w, "ends", func() *sync.Map { return new(sync.Map) })
	everyRow(h, w, func(_ *faulty, r driver.Row) driver.Row {
		ends.Store(r.Key, r.ExpiresAt)
		r.ExpiresAt = time.Time{}
		return r
	}, func(_ *faulty, r driver.Row) driver.Row {
		if t, ok := ends.Load(r.Key); ok {
			r.ExpiresAt = t.(time.Time)
		}
		return r
	})
}

// onApply replaces Apply. The step is a copy.
func onApply(apply func(ctx context.Context, db driver.QueryDb, s driver.Step) error) plant {
	return on(func(h *faults.QueryDb, _ *faulty) {
		h.OnApply = func(ctx context.Context, s driver.Step) error {
			s.Writes, s.Advances = slices.Clone(s.Writes), slices.Clone(s.Advances)
			return apply(ctx, h.Inner, s)
		}
	})
}

func rowFaults() []fault {
	return []fault{
		{"AbsentIsAnEmptyRow", "QueryDb/AbsentRowsReadAsAbsent", on(func(h *faults.QueryDb, _ *faulty) {
			h.OnLoadRow = func(ctx context.Context, key driver.Key) (driver.Row, error) {
				r, err := h.Inner.LoadRow(ctx, key)
				if errors.Is(err, driver.ErrNotFound) {
					return driver.Row{Key: key, Data: json.RawMessage(`{}`), Revision: 1}, nil
				}
				return r, err
			}
		})},
		{"OrdersByUTF16", "QueryDb/LoadIsAscendingBySubID", on(func(h *faults.QueryDb, _ *faulty) {
			h.OnLoad = func(ctx context.Context, id string) ([]driver.Row, error) {
				rows, err := h.Inner.Load(ctx, id)
				slices.SortFunc(rows, func(a, b driver.Row) int { return compareUTF16(a.Sub, b.Sub) })
				return rows, err
			}
		})},
		{"LoadsRowsTwice", "QueryDb/LoadRowsReturnsEachRowOnce", on(func(h *faults.QueryDb, _ *faulty) {
			h.OnLoadRows = func(ctx context.Context, keys []driver.Key) ([]driver.Row, error) {
				var all []driver.Row
				for _, k := range keys {
					if r, err := h.Inner.LoadRow(ctx, k); err == nil {
						all = append(all, r)
					}
				}
				return all, ctx.Err()
			}
		})},
		{"ReadsMayBeStale", "QueryDb/ReadsSeeEveryWrite", on(func(h *faults.QueryDb, _ *faulty) {
			var cache sync.Map
			h.OnLoadRow = func(ctx context.Context, key driver.Key) (driver.Row, error) {
				r, err := h.Inner.LoadRow(ctx, key)
				if old, ok := cache.Swap(key, r); ok && err == nil && old.(driver.Row).Revision > 0 {
					return old.(driver.Row), nil
				}
				return r, err
			}
		})},
		{"CompactsData", "QueryDb/DataIsKeptByteForByte", onEveryRow(func(_ *faulty, r driver.Row) driver.Row {
			r.Data = compact(r.Data)
			return r
		}, nil)},
		{"NormalisesIDs", "QueryDb/RowIDsAreKeptApart", onEveryRow(func(_ *faulty, r driver.Row) driver.Row {
			r.ID = strings.ReplaceAll(r.ID, "a\u0308", "ä")
			return r
		}, nil)},
		{"DoesNotNameTheField", "QueryDb/BadRowsAreRefused", answers("QueryDb.Apply", driver.ErrInvalid, driver.ErrInvalid)},
		{"RowsMustHaveAllIndexFields", "QueryDb/IndexFieldsMayBeAbsent", onApply(func(ctx context.Context, db driver.QueryDb, s driver.Step) error {
			if bytes.Contains(s.Writes[0].Row.Data, []byte("null")) {
				return driver.ErrInvalid
			}
			return db.Apply(ctx, s)
		})},
		{"LoadsAMegabyte", "QueryDb/RowsUpToTheLimitAreStored", on(func(h *faults.QueryDb, _ *faulty) {
			h.OnLoad = func(ctx context.Context, id string) ([]driver.Row, error) {
				rows, err := h.Inner.Load(ctx, id)
				size := 0
				for i, r := range rows {
					if size += len(r.Data); size > 1<<20 {
						return rows[:i], err
					}
				}
				return rows, err
			}
		})},
		{"DropsLargeRows", "QueryDb/RowsOverTheLimitAreRefused", answers("QueryDb.Apply", driver.ErrTooLarge, nil)},
		{"EqualWritesKeepTheRevision", "QueryDb/RevisionsGrowWithEveryWrite", onApply(func(ctx context.Context, db driver.QueryDb, s driver.Step) error {
			for _, w := range s.Writes {
				if old, err := db.LoadRow(ctx, w.Row.Key); err == nil && bytes.Equal(old.Data, w.Row.Data) {
					return nil
				}
			}
			return db.Apply(ctx, s)
		})},
		{"RevisionsRestartAfterDelete", "QueryDb/RevisionsAreNotReused", on(func(h *faults.QueryDb, w *faulty) {
			base := map[driver.Key]uint64{}
			revisionsFrom(h, w, base)
			h.OnApply = func(ctx context.Context, s driver.Step) error {
				r, err := h.Inner.LoadRow(ctx, s.Writes[0].Row.Key)
				for i := range s.Writes {
					if s.Writes[i].Expect > 0 {
						s.Writes[i].Expect = r.Revision
					}
				}
				if s.Writes[0].Delete && err == nil {
					base[r.Key] = r.Revision
				}
				return h.Inner.Apply(ctx, s)
			}
		})},
		{"RevisionsRestartAfterExpiry", "QueryDb/RevisionsAreNotReused", on(func(h *faults.QueryDb, w *faulty) {
			base, last := map[driver.Key]uint64{}, map[driver.Key]uint64{}
			revisionsFrom(h, w, base)
			load := h.OnLoadRow
			h.OnLoadRow = func(ctx context.Context, key driver.Key) (driver.Row, error) {
				if r, err := h.Inner.LoadRow(ctx, key); err == nil {
					last[key] = r.Revision
				} else {
					base[key] = last[key]
				}
				return load(ctx, key)
			}
			h.OnApply = func(ctx context.Context, s driver.Step) error { return h.Inner.Apply(ctx, unguarded(s)) }
		})},
		{"RevisionsRestartWhenOpened", "QueryDb/RevisionsAreNotReused", onEveryRow(nil, func(w *faulty, r driver.Row) driver.Row {
			r.Revision -= memoOf(w, fmt.Sprintf("first%d", w.session), func() uint64 { return r.Revision }) - 1
			return r
		})},
		{"ExpiredRowsExist", "QueryDb/ExpiredRowsAreAbsentForReaders", on(unexpiring)},
		{"ExpiredRowsAreRemoved", "QueryDb/ExpiredRowsAreKeptForProjections", on(func(h *faults.QueryDb, _ *faulty) {
			h.OnLoadRows = func(ctx context.Context, keys []driver.Key) ([]driver.Row, error) {
				rows, err := h.Inner.LoadRows(ctx, keys)
				return slices.DeleteFunc(rows, func(r driver.Row) bool {
					_, err := h.Inner.LoadRow(ctx, r.Key)
					return errors.Is(err, driver.ErrNotFound)
				}), err
			}
		})},
		{"TheFirstExpiryHolds", "QueryDb/TheLastWriteSetsTheExpiry", on(func(h *faults.QueryDb, w *faulty) {
			ends := map[driver.Key]time.Time{}
			everyRow(h, w, func(_ *faulty, r driver.Row) driver.Row {
				if t, ok := ends[r.Key]; ok && r.ExpiresAt.IsZero() {
					r.ExpiresAt = t
				}
				ends[r.Key] = r.ExpiresAt
				return r
			}, nil)
		})},
		{"KeepsWhatItIsGiven", "QueryDb/ArgumentsAreNotKept", on(func(h *faults.QueryDb, w *faulty) {
			kept := map[driver.Key]json.RawMessage{}
			everyRow(h, w, func(_ *faulty, r driver.Row) driver.Row {
				kept[r.Key] = r.Data
				return r
			}, func(_ *faulty, r driver.Row) driver.Row {
				r.Data = kept[r.Key]
				return r
			})
		})},
		{"LosesTheExpiryWhenClosed", "QueryDb/RowsSurviveReopening", onEveryRow(nil, func(w *faulty, r driver.Row) driver.Row {
			if w.session > 1 {
				r.ExpiresAt = time.Time{}
			}
			return r
		})},
		{"SharesAllRows", "Provider/SimilarNamesAreKeptApart", on(func(h *faults.QueryDb, w *faulty) {
			if o, err := w.p.PullProvider.OpenQueryDb(context.Background(), driver.TableSpec{Name: "Test.Everything"}); err == nil {
				h.OnApply, h.OnLoad, h.OnLoadRow, h.OnLoadRows = o.Apply, o.Load, o.LoadRow, o.LoadRows
			}
		})},
	}
}

// piecewise makes each write of a step a step of its own, the advances last.
func piecewise(ctx context.Context, db driver.QueryDb, s driver.Step) error {
	for _, w := range s.Writes {
		if err := db.Apply(ctx, driver.Step{Writes: []driver.RowWrite{w}}); err != nil {
			return err
		}
		others()
	}
	return db.Apply(ctx, driver.Step{Advances: s.Advances})
}

// checked reports a conflict of s with what is stored now.
func checked(ctx context.Context, db driver.QueryDb, s driver.Step) error {
	for _, a := range s.Advances {
		if m, err := db.Watermark(ctx, a.StreamKey); err != nil || m.Blocked || m.SequenceNr != a.From {
			return errors.Join(driver.ErrConflict, err)
		}
	}
	for _, w := range s.Writes {
		r, err := db.LoadRow(ctx, w.Row.Key)
		if err != nil && !errors.Is(err, driver.ErrNotFound) {
			return err
		}
		if w.Guard && r.Revision != w.Expect {
			return driver.ErrConflict
		}
	}
	return nil
}

func unguarded(s driver.Step) driver.Step {
	s.Writes = slices.Clone(s.Writes)
	for i := range s.Writes {
		s.Writes[i].Guard = false
	}
	return s
}

// checksThenApplies looks for conflicts, then writes and moves the watermark wherever
// it is.
func checksThenApplies(ctx context.Context, db driver.QueryDb, s driver.Step) error {
	if err := checked(ctx, db, s); err != nil {
		return err
	}
	others()
	for i := range s.Advances {
		if m, err := db.Watermark(ctx, s.Advances[i].StreamKey); err == nil && m.SequenceNr < s.Advances[i].To {
			s.Advances[i].From = m.SequenceNr
		} else {
			return err
		}
	}
	if err := db.Apply(ctx, unguarded(s)); !errors.Is(err, driver.ErrConflict) {
		return err
	}
	return nil
}

func stepFaults() []fault {
	// overlaid shows another watermark than the store's.
	overlaid := func(show func(absent bool, s driver.StreamKey, m driver.Watermark, w *faulty) driver.Watermark) plant {
		return on(func(h *faults.QueryDb, w *faulty) {
			h.OnWatermark = func(ctx context.Context, s driver.StreamKey) (driver.Watermark, error) {
				_, missing := h.Inner.LoadRow(ctx, driver.Key{ID: s.Stream})
				m, err := h.Inner.Watermark(ctx, s)
				return show(errors.Is(missing, driver.ErrNotFound), s, m, w), err
			}
		})
	}
	return []fault{
		{"LosesTheLastWrite", "QueryDb/ApplyWritesRowsAndWatermarksTogether", onApply(func(ctx context.Context, db driver.QueryDb, s driver.Step) error {
			if len(s.Writes) > 2 {
				s.Writes = s.Writes[:2]
			}
			return db.Apply(ctx, s)
		})},
		{"RowsFirstThenTheWatermark", "QueryDb/ApplyIsAllOrNothingUnderConflict", onApply(piecewise)},
		{"IgnoresGuards", "QueryDb/ApplyHonoursGuards", onApply(func(ctx context.Context, db driver.QueryDb, s driver.Step) error {
			return db.Apply(ctx, unguarded(s))
		})},
		{"TheLastOfTwoWritesWins", "QueryDb/ApplyRefusesInvalidSteps", onApply(func(ctx context.Context, db driver.QueryDb, s driver.Step) error {
			last := map[driver.Key]int{}
			for i, w := range s.Writes {
				last[w.Row.Key] = i
			}
			i := -1
			s.Writes = slices.DeleteFunc(s.Writes, func(w driver.RowWrite) bool { i++; return last[w.Row.Key] != i })
			return db.Apply(ctx, s)
		})},
		{"RefusesBelowTheLimit", "QueryDb/ApplyTakesStepsUpToTheLimit", both(func(w *faulty) {
			limits := w.p.Limits()
			limits.MaxStep = 100
			w.p.PullProvider = &changedProvider{PullProvider: w.p.PullProvider, limits: &limits}
		}, onApply(func(ctx context.Context, db driver.QueryDb, s driver.Step) error {
			if n := len(s.Writes) + len(s.Advances); n > 90 {
				return &driver.TooLargeError{What: "step", Size: n, Limit: 100}
			}
			return db.Apply(ctx, s)
		}))},
		{"AppliesPiecewise", "QueryDb/NoReaderSeesAPartOfAStep", onApply(piecewise)},
		{"SeesConflictsOfNeighbours", "QueryDb/ProjectorsOfDisjointRowsDoNotConflict", on(func(h *faults.QueryDb, w *faulty) {
			mu := memoOf(w, "mu", func() *sync.Mutex { return new(sync.Mutex) })
			h.OnApply = func(ctx context.Context, s driver.Step) error {
				if !mu.TryLock() {
					return driver.ErrConflict
				}
				defer mu.Unlock()
				others()
				return h.Inner.Apply(ctx, s)
			}
		})},
		{"ChecksGuardsThenWrites", "QueryDb/ProjectorsOfOneRowLoseNothing", onApply(func(ctx context.Context, db driver.QueryDb, s driver.Step) error {
			if err := checked(ctx, db, s); err != nil {
				return err
			}
			others()
			return db.Apply(ctx, unguarded(s))
		})},
		{"LocksEachHandle", "QueryDb/ProjectorsWithTheirOwnHandlesLoseNothing", on(func(h *faults.QueryDb, _ *faulty) {
			var mu sync.Mutex
			h.OnApply = func(ctx context.Context, s driver.Step) error {
				mu.Lock()
				defer mu.Unlock()
				if err := checked(ctx, h.Inner, s); err != nil {
					return err
				}
				others()
				return h.Inner.Apply(ctx, unguarded(s))
			}
		})},
		{"ChecksWatermarksThenWrites", "QueryDb/RepeatedProjectorsApplyEachCommitOnce", onApply(checksThenApplies)},
		{"ADeleteLosesTheWatermark", "QueryDb/OwnRowStepsKeepTheWatermark", overlaid(func(absent bool, s driver.StreamKey, m driver.Watermark, _ *faulty) driver.Watermark {
			if s.Stream == "a" && m.SequenceNr == 5 && absent {
				return driver.Watermark{}
			}
			return m
		})},
		{"OwnRowIgnoresGuards", "QueryDb/OwnRowStepsAreAllOrNothing", onApply(func(ctx context.Context, db driver.QueryDb, s driver.Step) error {
			return db.Apply(ctx, unguarded(s))
		})},
		{"TombstonesAreVisible", "QueryDb/OwnRowWatermarksAreInvisible", onApply(func(ctx context.Context, db driver.QueryDb, s driver.Step) error {
			for i := range s.Writes {
				if s.Writes[i].Delete {
					s.Writes[i] = put(rowOf(s.Writes[i].Row.ID, `{}`))
				}
			}
			return db.Apply(ctx, s)
		})},
		{"TheWatermarkExpiresWithTheRow", "QueryDb/OwnRowWatermarksOutliveTheirRow", overlaid(func(absent bool, s driver.StreamKey, m driver.Watermark, _ *faulty) driver.Watermark {
			if s.Stream == "a" && absent {
				return driver.Watermark{}
			}
			return m
		})},
		{"OneWatermarkPerRow", "QueryDb/OwnRowWatermarksOfTwoLogsAreKeptApart", on(func(h *faults.QueryDb, _ *faulty) {
			h.OnWatermark = func(ctx context.Context, s driver.StreamKey) (driver.Watermark, error) {
				return h.Inner.Watermark(ctx, driver.StreamKey{Stream: s.Stream})
			}
			h.OnApply = func(ctx context.Context, s driver.Step) error {
				s.Advances = slices.Clone(s.Advances)
				for i := range s.Advances {
					s.Advances[i].Log = ""
				}
				return h.Inner.Apply(ctx, s)
			}
		})},
		{"TakesOwnRowStepsWithoutAnAdvance", "QueryDb/OwnRowStepsTouchTheirOwnRowOnly", onApply(func(ctx context.Context, db driver.QueryDb, s driver.Step) error {
			if len(s.Advances) == 0 {
				return nil
			}
			return db.Apply(ctx, s)
		})},
		{"LosesTombstonesWhenClosed", "QueryDb/OwnRowStepsSurviveReopening", overlaid(func(absent bool, _ driver.StreamKey, m driver.Watermark, w *faulty) driver.Watermark {
			if w.session > 1 && absent {
				return driver.Watermark{}
			}
			return m
		})},
		{"ClearKeepsBlocks", "QueryDb/ClearRemovesRowsAndWatermarks", on(func(h *faults.QueryDb, _ *faulty) {
			h.OnClear = func(ctx context.Context) error {
				m, err := h.Inner.Watermark(ctx, streamKey("never"))
				err = errors.Join(err, h.Inner.Clear(ctx))
				if m.Blocked && err == nil {
					err = h.Inner.Block(ctx, streamKey("never"), 0)
				}
				return err
			}
		})},
		{"ClearKeepsNewStreams", "QueryDb/ClearDuringStepsLosesAndRepeatsNothing", on(func(h *faults.QueryDb, _ *faulty) {
			h.OnClear = func(ctx context.Context) error {
				began := map[string]uint64{}
				for i := range 100 {
					if m, err := h.Inner.Watermark(ctx, streamKey(fmt.Sprintf("s%d", i))); err == nil && m.SequenceNr > 0 {
						began[fmt.Sprintf("s%d", i)] = m.SequenceNr
					}
				}
				err := h.Inner.Clear(ctx)
				for id, n := range began {
					_ = h.Inner.Advance(ctx, []driver.Advance{advance(id, 0, n)})
				}
				return err
			}
		})},
	}
}

func shadowFaults() []fault {
	// swapping changes Swap.
	swapping := func(tamper func(ctx context.Context, h *faults.Shadow, db driver.QueryDb, record []byte, logs []string) (int, error)) plant {
		return func(w *faulty) {
			var db driver.QueryDb
			faults.Change(w.p, func(h *faults.QueryDb) { db = h.Inner })
			faults.Change(w.p, func(h *faults.Shadow) {
				of := db
				h.OnSwap = func(ctx context.Context, record []byte, logs []string) (int, error) {
					return tamper(ctx, h, of, record, logs)
				}
			})
		}
	}
	return []fault{
		{"TheShadowIsServed", "Shadow/NoReaderSeesTheShadow", func(w *faulty) {
			var db driver.QueryDb
			faults.Change(w.p, func(h *faults.QueryDb) { db = h.Inner })
			faults.Change(w.p, func(h *faults.Shadow) {
				of := db
				h.OnApply = func(ctx context.Context, s driver.Step) error {
					if len(s.Writes) > 0 && s.Writes[0].Row.ID == "d" {
						return of.Apply(ctx, s)
					}
					return h.RowStore.Inner.Apply(ctx, s)
				}
			})
		}},
		{"SwapLeavesTheWatermarks", "Shadow/SwapExchangesRowsAndWatermarks", swapping(func(ctx context.Context, h *faults.Shadow, db driver.QueryDb, record []byte, logs []string) (int, error) {
			n, err := h.Inner.Swap(ctx, record, logs)
			return n, errors.Join(err, db.Block(ctx, streamKey("d"), 1))
		})},
		{"SwapTakesTheRevisionsOfTheShadow", "Shadow/SwapReusesNoRevision", func(w *faulty) {
			swapped := false
			faults.Change(w.p, func(h *faults.Shadow) {
				h.OnSwap = func(ctx context.Context, record []byte, logs []string) (int, error) {
					swapped = true
					return h.Inner.Swap(ctx, record, logs)
				}
			})
			faults.Change(w.p, func(h *faults.QueryDb) {
				h.OnLoadRow = func(ctx context.Context, key driver.Key) (driver.Row, error) {
					r, err := h.Inner.LoadRow(ctx, key)
					if swapped {
						r.Revision = 2
					}
					return r, err
				}
			})
		}},
		{"SwapLooksAtNoWatermark", "Shadow/SwapHidesNoCommit", swapping(func(ctx context.Context, h *faults.Shadow, _ driver.QueryDb, record []byte, _ []string) (int, error) {
			return h.Inner.Swap(ctx, record, nil)
		})},
		{"SwapLosesExpiredRows", "Shadow/SwapKeepsExpiredRowsForProjections", swapping(func(ctx context.Context, h *faults.Shadow, db driver.QueryDb, record []byte, logs []string) (int, error) {
			n, err := h.Inner.Swap(ctx, record, logs)
			return n, errors.Join(err, db.Apply(ctx, driver.Step{Writes: []driver.RowWrite{remove("c")}}))
		})},
		{"SwapRemovesNoRow", "Shadow/SwapChangesTheSubID", swapping(func(ctx context.Context, h *faults.Shadow, db driver.QueryDb, record []byte, logs []string) (int, error) {
			return 0, nil
		})},
		{"DropForgetsTheRecord", "Shadow/DropKeepsTheServedRowsAndTheRecord", on(func(h *faults.Shadow, _ *faulty) {
			h.OnDrop = func(ctx context.Context) error {
				return errors.Join(h.Inner.Drop(ctx), h.Inner.SetRecord(ctx, nil))
			}
		})},
		{"LosesTheShadowWhenClosed", "Shadow/TheShadowSurvivesReopening", func(w *faulty) {
			faults.Change(w.p, func(h *faults.QueryDb) {
				if w.session > 1 {
					_ = h.Inner.Shadow().Drop(context.Background())
				}
			})
		}},
	}
}
