//go:build faults

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
	"unicode/utf16"

	"github.com/reventless-go/reventless/driver"
)

// onCheckpoints injects a fault into the checkpoints of every consumer.
func onCheckpoints(tamper func(h *checkpointsHook, consumer string, w *faulty)) func(*hooked, *faulty) {
	return func(p *hooked, w *faulty) {
		p.checkpoints = func(c driver.Checkpoints, consumer string) driver.Checkpoints {
			h := &checkpointsHook{Checkpoints: c}
			tamper(h, consumer, w)
			return h
		}
	}
}

func checkpointsFaults() []fault {
	advancing := func(tamper func(ctx context.Context, c driver.Checkpoints, as []driver.Advance) error) func(*hooked, *faulty) {
		return onCheckpoints(func(h *checkpointsHook, _ string, _ *faulty) {
			h.advance = func(ctx context.Context, as []driver.Advance) error {
				return tamper(ctx, h.Checkpoints, slices.Clone(as))
			}
		})
	}
	// mapped maps streams to other ones.
	mapped := func(to func(s driver.StreamKey) driver.StreamKey) func(*hooked, *faulty) {
		return onCheckpoints(func(h *checkpointsHook, _ string, _ *faulty) {
			h.watermark = func(ctx context.Context, s driver.StreamKey) (driver.Watermark, error) {
				return h.Checkpoints.Watermark(ctx, to(s))
			}
			h.watermarks = func(ctx context.Context, ss []driver.StreamKey) (map[driver.StreamKey]driver.Watermark, error) {
				all := map[driver.StreamKey]driver.Watermark{}
				for _, s := range ss {
					m, err := h.Checkpoints.Watermark(ctx, to(s))
					if err != nil {
						return nil, err
					}
					all[s] = m
				}
				return all, nil
			}
			h.advance = func(ctx context.Context, as []driver.Advance) error {
				as = slices.Clone(as)
				for i := range as {
					as[i].StreamKey = to(as[i].StreamKey)
				}
				return h.Checkpoints.Advance(ctx, as)
			}
		})
	}
	return []fault{
		{"AStreamNeverSeenIsAnError", "Checkpoints/AStreamNeverSeenIsAtZero", onCheckpoints(func(h *checkpointsHook, _ string, _ *faulty) {
			h.watermark = func(ctx context.Context, s driver.StreamKey) (driver.Watermark, error) {
				m, err := h.Checkpoints.Watermark(ctx, s)
				if err == nil && m == (driver.Watermark{}) {
					err = driver.ErrNotFound
				}
				return m, err
			}
		})},
		{"KeepsDoubles", "Checkpoints/AdvanceMovesWatermarks", onCheckpoints(func(h *checkpointsHook, _ string, _ *faulty) {
			h.watermark = func(ctx context.Context, s driver.StreamKey) (driver.Watermark, error) {
				m, err := h.Checkpoints.Watermark(ctx, s)
				m.SequenceNr = uint64(float64(m.SequenceNr))
				return m, err
			}
		})},
		{"MovesTheFirstOnly", "Checkpoints/AdvanceMovesWatermarks", advancing(func(ctx context.Context, c driver.Checkpoints, as []driver.Advance) error {
			return c.Advance(ctx, as[:1])
		})},
		{"IgnoresFrom", "Checkpoints/AdvanceFromElsewhereConflicts", advancing(ignoreFrom)},
		{"OnlyRefusesToGoBack", "Checkpoints/AdvanceFromElsewhereConflicts", advancing(func(ctx context.Context, c driver.Checkpoints, as []driver.Advance) error {
			for i := range as {
				if m, err := c.Watermark(ctx, as[i].StreamKey); err == nil && m.SequenceNr < as[i].To {
					as[i].From = m.SequenceNr
				}
			}
			return c.Advance(ctx, as)
		})},
		{"SkipsAdvancesThatStay", "Checkpoints/AnAdvanceThatStaysIsACondition", advancing(func(ctx context.Context, c driver.Checkpoints, as []driver.Advance) error {
			return c.Advance(ctx, slices.DeleteFunc(as, func(a driver.Advance) bool { return a.From == a.To }))
		})},
		{"RefusesAdvancesThatStay", "Checkpoints/AnAdvanceThatStaysIsACondition", advancing(func(ctx context.Context, c driver.Checkpoints, as []driver.Advance) error {
			for _, a := range as {
				if a.From == a.To {
					return driver.ErrInvalid
				}
			}
			return c.Advance(ctx, as)
		})},
		{"AdvancesOneByOne", "Checkpoints/AdvanceIsAllOrNothing", advancing(func(ctx context.Context, c driver.Checkpoints, as []driver.Advance) error {
			for _, a := range as {
				if err := c.Advance(ctx, []driver.Advance{a}); err != nil {
					return err
				}
			}
			return nil
		})},
		{"ChecksThenAdvances", "Checkpoints/OneWinnerOfEightConcurrentAdvances", advancing(func(ctx context.Context, c driver.Checkpoints, as []driver.Advance) error {
			for _, a := range as {
				if m, err := c.Watermark(ctx, a.StreamKey); err != nil || m.SequenceNr != a.From || m.Blocked {
					return errors.Join(driver.ErrConflict, err)
				}
			}
			others()
			return ignoreFrom(ctx, c, as)
		})},
		{"IgnoresBlocks", "Checkpoints/ABlockedStreamDoesNotAdvance", advancing(func(ctx context.Context, c driver.Checkpoints, as []driver.Advance) error {
			for _, a := range as {
				_ = c.Unblock(ctx, a.StreamKey)
			}
			return c.Advance(ctx, as)
		})},
		{"DoesNotBlockNewStreams", "Checkpoints/ABlockedStreamDoesNotAdvance", onCheckpoints(func(h *checkpointsHook, _ string, _ *faulty) {
			h.block = func(ctx context.Context, s driver.StreamKey, at uint64) error {
				if at == 0 {
					return nil // an update of no row
				}
				return h.Checkpoints.Block(ctx, s, at)
			}
		})},
		{"RefusesToBlockTwice", "Checkpoints/ABlockedStreamDoesNotAdvance", onCheckpoints(func(h *checkpointsHook, _ string, _ *faulty) {
			h.block = func(ctx context.Context, s driver.StreamKey, at uint64) error {
				if m, err := h.Checkpoints.Watermark(ctx, s); err == nil && m.Blocked {
					return driver.ErrConflict
				}
				return h.Checkpoints.Block(ctx, s, at)
			}
		})},
		{"BlocksAnywhere", "Checkpoints/BlockNeedsTheWatermark", onCheckpoints(func(h *checkpointsHook, _ string, _ *faulty) {
			h.block = func(ctx context.Context, s driver.StreamKey, _ uint64) error {
				m, err := h.Checkpoints.Watermark(ctx, s)
				if err != nil {
					return err
				}
				return h.Checkpoints.Block(ctx, s, m.SequenceNr)
			}
		})},
		{"LeavesOutZeroes", "Checkpoints/WatermarksHasEveryKey", onCheckpoints(func(h *checkpointsHook, _ string, _ *faulty) {
			h.watermarks = func(ctx context.Context, ss []driver.StreamKey) (map[driver.StreamKey]driver.Watermark, error) {
				all, err := h.Checkpoints.Watermarks(ctx, ss)
				maps.DeleteFunc(all, func(_ driver.StreamKey, m driver.Watermark) bool { return m.SequenceNr == 0 })
				return all, err
			}
		})},
		{"ReadsOnePage", "Checkpoints/WatermarksHasEveryKey", onCheckpoints(func(h *checkpointsHook, _ string, _ *faulty) {
			h.watermarks = func(ctx context.Context, ss []driver.StreamKey) (map[driver.StreamKey]driver.Watermark, error) {
				all, err := h.Checkpoints.Watermarks(ctx, ss[:min(len(ss), 100)])
				for _, s := range ss {
					if _, ok := all[s]; !ok && err == nil {
						all[s] = driver.Watermark{}
					}
				}
				return all, err
			}
		})},
		{"JoinsLogAndStream", "Checkpoints/StreamsAreKeptApart", mapped(func(s driver.StreamKey) driver.StreamKey {
			return driver.StreamKey{Stream: s.Log + "/" + s.Stream}
		})},
		{"IgnoresTheLog", "Checkpoints/StreamsAreKeptApart", mapped(func(s driver.StreamKey) driver.StreamKey { return driver.StreamKey{Stream: s.Stream} })},
		{"ErrorsAreZeroes", "Checkpoints/WatermarkErrorsAreNotZeroes", onCheckpoints(func(h *checkpointsHook, _ string, _ *faulty) {
			h.watermark = func(ctx context.Context, s driver.StreamKey) (driver.Watermark, error) {
				m, _ := h.Checkpoints.Watermark(ctx, s)
				return m, nil
			}
		})},
		{"ForgetsBlocksWhenClosed", "Checkpoints/WatermarksSurviveReopening", onCheckpoints(func(h *checkpointsHook, _ string, w *faulty) {
			if w.session > 1 {
				_ = h.Checkpoints.Unblock(context.Background(), streamKey("b"))
			}
		})},
		{"SharesAllPositions", "Checkpoints/ConsumersAreKeptApart", func(p *hooked, _ *faulty) {
			p.checkpoints = func(c driver.Checkpoints, _ string) driver.Checkpoints {
				if o, err := p.Provider.OpenCheckpoints(context.Background(), "everybody"); err == nil {
					return o
				}
				return c
			}
		}},
	}
}

// ignoreFrom moves watermarks wherever they are.
func ignoreFrom(ctx context.Context, c driver.Checkpoints, as []driver.Advance) error {
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

// onDb injects a fault into every read model's store.
func onDb(tamper func(h *dbHook, spec driver.TableSpec, w *faulty)) func(*hooked, *faulty) {
	return func(p *hooked, w *faulty) {
		p.queryDb = func(db driver.QueryDb, spec driver.TableSpec) driver.QueryDb {
			h := &dbHook{QueryDb: db}
			tamper(h, spec, w)
			return h
		}
	}
}

// onEveryRow changes rows on their way in and out, wherever they are written or read.
func onEveryRow(in, out func(w *faulty, r driver.Row) driver.Row) func(*hooked, *faulty) {
	return onDb(func(h *dbHook, _ driver.TableSpec, w *faulty) { everyRow(h, w, in, out) })
}

func everyRow(h *dbHook, w *faulty, in, out func(w *faulty, r driver.Row) driver.Row) {
	same := func(_ *faulty, r driver.Row) driver.Row { return r }
	if in == nil {
		in = same
	}
	if out == nil {
		out = same
	}
	each := func(f func(*faulty, driver.Row) driver.Row, rows []driver.Row) []driver.Row {
		rows = slices.Clone(rows)
		for i := range rows {
			rows[i] = f(w, rows[i])
		}
		return rows
	}
	h.save = func(ctx context.Context, r driver.Row, mode driver.SaveMode) error {
		return h.QueryDb.Save(ctx, in(w, r), mode)
	}
	h.saveBatch = func(ctx context.Context, rows []driver.Row) error { return h.QueryDb.SaveBatch(ctx, each(in, rows)) }
	h.apply = func(ctx context.Context, s driver.Step) error {
		s.Writes = slices.Clone(s.Writes)
		for i := range s.Writes {
			if !s.Writes[i].Delete {
				s.Writes[i].Row = in(w, s.Writes[i].Row)
			}
		}
		return h.QueryDb.Apply(ctx, s)
	}
	h.load = func(ctx context.Context, id string) ([]driver.Row, error) {
		rows, err := h.QueryDb.Load(ctx, id)
		return each(out, rows), err
	}
	h.loadRow = func(ctx context.Context, key driver.Key) (driver.Row, error) {
		r, err := h.QueryDb.LoadRow(ctx, key)
		if err == nil {
			r = out(w, r)
		}
		return r, err
	}
	h.loadRows = func(ctx context.Context, keys []driver.Key) ([]driver.Row, error) {
		rows, err := h.QueryDb.LoadRows(ctx, keys)
		return each(out, rows), err
	}
}

func onSave(tamper func(ctx context.Context, db driver.QueryDb, r driver.Row, mode driver.SaveMode) error) func(*hooked, *faulty) {
	return onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
		h.save = func(ctx context.Context, r driver.Row, mode driver.SaveMode) error {
			return tamper(ctx, h.QueryDb, r, mode)
		}
	})
}

func onSaveBatch(tamper func(ctx context.Context, db driver.QueryDb, rows []driver.Row) error) func(*hooked, *faulty) {
	return onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
		h.saveBatch = func(ctx context.Context, rows []driver.Row) error { return tamper(ctx, h.QueryDb, slices.Clone(rows)) }
	})
}

func onCount(tamper func(ctx context.Context, db driver.QueryDb, key driver.Key, field string, inc int64) (int64, error)) func(*hooked, *faulty) {
	return onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
		h.count = func(ctx context.Context, key driver.Key, field string, inc int64) (int64, error) {
			return tamper(ctx, h.QueryDb, key, field, inc)
		}
	})
}

// countByReading adds to a field by reading and writing its row.
func countByReading(ctx context.Context, db driver.QueryDb, key driver.Key, field string, inc int64) (int64, error) {
	r, err := db.LoadRow(ctx, key)
	if err != nil && !errors.Is(err, driver.ErrNotFound) {
		return 0, err
	}
	v := map[string]any{}
	if err == nil {
		if err := json.Unmarshal(r.Data, &v); err != nil {
			return 0, err
		}
	}
	n, _ := v[field].(float64)
	v[field] = int64(n) + inc
	others()
	r.Key = key
	if r.Data, err = json.Marshal(v); err != nil {
		return 0, err
	}
	return int64(n) + inc, db.Save(ctx, r, driver.Any)
}

// revisionsAsOf shows other revisions than those of the store.
func revisionsAsOf(tamper func(h *dbHook, shown func(key driver.Key, forget bool) *uint64)) func(*hooked, *faulty) {
	return onDb(func(h *dbHook, _ driver.TableSpec, w *faulty) {
		var mu sync.Mutex
		base := map[driver.Key]*uint64{} // what is taken away from the store's revision
		everyRow(h, w, nil, func(_ *faulty, r driver.Row) driver.Row {
			mu.Lock()
			defer mu.Unlock()
			if b := base[r.Key]; b != nil {
				r.Revision -= min(*b, r.Revision-1)
			}
			return r
		})
		tamper(h, func(key driver.Key, _ bool) *uint64 {
			mu.Lock()
			defer mu.Unlock()
			if base[key] == nil {
				base[key] = new(uint64)
			}
			return base[key]
		})
	})
}

// unexpiring keeps expired rows visible: the store is never told when they end.
func unexpiring(h *dbHook, w *faulty) {
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

func rowFaults() []fault {
	return []fault{
		{"AbsentIsAnEmptyRow", "QueryDb/AbsentRowsReadAsAbsent", onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
			h.loadRow = func(ctx context.Context, key driver.Key) (driver.Row, error) {
				r, err := h.QueryDb.LoadRow(ctx, key)
				if errors.Is(err, driver.ErrNotFound) {
					return driver.Row{Key: key, Data: json.RawMessage(`{}`), Revision: 1}, nil
				}
				return r, err
			}
		})},
		{"NothingIsNotNil", "QueryDb/AbsentRowsReadAsAbsent", onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
			h.loadRows = func(ctx context.Context, keys []driver.Key) ([]driver.Row, error) {
				rows, err := h.QueryDb.LoadRows(ctx, keys)
				return append([]driver.Row{}, rows...), err
			}
		})},
		{"OrdersByUTF16", "QueryDb/LoadIsAscendingBySubID", onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
			h.load = func(ctx context.Context, id string) ([]driver.Row, error) {
				rows, err := h.QueryDb.Load(ctx, id)
				slices.SortFunc(rows, func(a, b driver.Row) int {
					return slices.Compare(utf16.Encode([]rune(a.Sub)), utf16.Encode([]rune(b.Sub)))
				})
				return rows, err
			}
		})},
		{"LoadsOnePage", "QueryDb/LoadIsAscendingBySubID", onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
			h.load = func(ctx context.Context, id string) ([]driver.Row, error) {
				rows, err := h.QueryDb.Load(ctx, id)
				return rows[:min(len(rows), 200)], err
			}
		})},
		{"LoadsByPrefix", "QueryDb/LoadIsAscendingBySubID", onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
			h.load = func(ctx context.Context, id string) ([]driver.Row, error) {
				rows, err := h.QueryDb.Load(ctx, id)
				more, _ := h.QueryDb.Load(ctx, id+" ")
				return append(rows, more...), err
			}
		})},
		{"LoadsRowsTwice", "QueryDb/LoadRowsReturnsEachRowOnce", onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
			h.loadRows = func(ctx context.Context, keys []driver.Key) ([]driver.Row, error) {
				var all []driver.Row
				for _, k := range keys {
					if r, err := h.QueryDb.LoadRow(ctx, k); err == nil {
						all = append(all, r)
					}
				}
				return all, ctx.Err()
			}
		})},
		{"LoadsAHundredRows", "QueryDb/LoadRowsReturnsEachRowOnce", onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
			h.loadRows = func(ctx context.Context, keys []driver.Key) ([]driver.Row, error) {
				return h.QueryDb.LoadRows(ctx, keys[:min(len(keys), 100)])
			}
		})},
		{"ReadsMayBeStale", "QueryDb/ReadsSeeEveryWrite", onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
			var cache sync.Map
			h.loadRow = func(ctx context.Context, key driver.Key) (driver.Row, error) {
				r, err := h.QueryDb.LoadRow(ctx, key)
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
		{"StepsReencodeData", "QueryDb/DataIsKeptByteForByte", onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
			h.apply = func(ctx context.Context, s driver.Step) error {
				s.Writes = slices.Clone(s.Writes)
				for i := range s.Writes {
					s.Writes[i].Row.Data = canonical(s.Writes[i].Row.Data)
				}
				return h.QueryDb.Apply(ctx, s)
			}
		})},
		{"NormalisesIDs", "QueryDb/RowIDsAreKeptApart", onEveryRow(func(_ *faulty, r driver.Row) driver.Row {
			r.ID = strings.ReplaceAll(r.ID, "a\u0308", "ä")
			return r
		}, nil)},
		{"AcceptsBadRows", "QueryDb/BadRowsAreRefused", onSave(func(ctx context.Context, db driver.QueryDb, r driver.Row, mode driver.SaveMode) error {
			if err := db.Save(ctx, r, mode); !errors.Is(err, driver.ErrInvalid) {
				return err
			}
			return nil
		})},
		{"DoesNotNameTheField", "QueryDb/BadRowsAreRefused", onSave(func(ctx context.Context, db driver.QueryDb, r driver.Row, mode driver.SaveMode) error {
			err := db.Save(ctx, r, mode)
			if errors.Is(err, driver.ErrInvalid) {
				return driver.ErrInvalid
			}
			return err
		})},
		{"IndexFieldsMayBeOfAnyType", "QueryDb/BadRowsAreRefused", onSave(func(ctx context.Context, db driver.QueryDb, r driver.Row, mode driver.SaveMode) error {
			if err := db.Save(ctx, r, mode); err != nil && !bytes.Contains(r.Data, []byte(`"price":"1"`)) {
				return err
			}
			return nil
		})},
		{"RowsMustHaveAllIndexFields", "QueryDb/IndexFieldsMayBeAbsent", onSave(func(ctx context.Context, db driver.QueryDb, r driver.Row, mode driver.SaveMode) error {
			if bytes.Contains(r.Data, []byte("null")) {
				return driver.ErrInvalid
			}
			return db.Save(ctx, r, mode)
		})},
		{"HasAHalfLimit", "QueryDb/RowsUpToTheLimitAreStored", onSave(func(ctx context.Context, db driver.QueryDb, r driver.Row, mode driver.SaveMode) error {
			if len(r.Data) > 200<<10 {
				return driver.ErrTooLarge
			}
			return db.Save(ctx, r, mode)
		})},
		{"LoadsAMegabyte", "QueryDb/RowsUpToTheLimitAreStored", onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
			h.load = func(ctx context.Context, id string) ([]driver.Row, error) {
				rows, err := h.QueryDb.Load(ctx, id)
				size := 0
				for i, r := range rows {
					if size += len(r.Data); size > 1<<20 {
						return rows[:i], err
					}
				}
				return rows, err
			}
		})},
		{"CutsLargeRows", "QueryDb/RowsOverTheLimitAreRefused", onSave(func(ctx context.Context, db driver.QueryDb, r driver.Row, mode driver.SaveMode) error {
			if err := db.Save(ctx, r, mode); !errors.Is(err, driver.ErrTooLarge) {
				return err
			}
			return nil
		})},
		{"IgnoresModes", "QueryDb/SaveModesAreEnforced", onSave(func(ctx context.Context, db driver.QueryDb, r driver.Row, _ driver.SaveMode) error {
			return db.Save(ctx, r, driver.Any)
		})},
		{"IgnoresOverwrite", "QueryDb/SaveModesAreEnforced", onSave(func(ctx context.Context, db driver.QueryDb, r driver.Row, mode driver.SaveMode) error {
			if mode == driver.Overwrite {
				mode = driver.Any
			}
			return db.Save(ctx, r, mode)
		})},
		{"ReportsModesAsConflicts", "QueryDb/SaveModesAreEnforced", onSave(func(ctx context.Context, db driver.QueryDb, r driver.Row, mode driver.SaveMode) error {
			err := db.Save(ctx, r, mode)
			if errors.Is(err, driver.ErrExists) {
				return driver.ErrConflict
			}
			return err
		})},
		{"ChecksThenSaves", "QueryDb/OneWinnerOfEightConcurrentInits", onSave(func(ctx context.Context, db driver.QueryDb, r driver.Row, mode driver.SaveMode) error {
			if _, err := db.LoadRow(ctx, r.Key); err == nil && mode == driver.Init {
				return driver.ErrExists
			}
			others()
			return db.Save(ctx, r, driver.Any)
		})},
		{"EqualWritesKeepTheRevision", "QueryDb/RevisionsGrowWithEveryWrite", onSave(func(ctx context.Context, db driver.QueryDb, r driver.Row, mode driver.SaveMode) error {
			if old, err := db.LoadRow(ctx, r.Key); err == nil && bytes.Equal(old.Data, r.Data) {
				return nil
			}
			return db.Save(ctx, r, mode)
		})},
		{"RevisionsStartAtZero", "QueryDb/RevisionsGrowWithEveryWrite", onEveryRow(nil, func(_ *faulty, r driver.Row) driver.Row {
			r.Revision--
			return r
		})},
		{"RevisionsRestartAfterDelete", "QueryDb/RevisionsAreNotReusedAfterDelete", revisionsAsOf(func(h *dbHook, shown func(driver.Key, bool) *uint64) {
			h.delete = func(ctx context.Context, key driver.Key) error {
				if r, err := h.QueryDb.LoadRow(ctx, key); err == nil {
					*shown(key, true) = r.Revision
				}
				return h.QueryDb.Delete(ctx, key)
			}
		})},
		{"RevisionsRestartAfterClear", "QueryDb/RevisionsAreNotReusedAfterDelete", revisionsAsOf(func(h *dbHook, shown func(driver.Key, bool) *uint64) {
			h.clear = func(ctx context.Context) error {
				if r, err := h.QueryDb.LoadRow(ctx, driver.Key{ID: "id"}); err == nil {
					*shown(r.Key, true) = r.Revision
				}
				return h.QueryDb.Clear(ctx)
			}
		})},
		{"RevisionsRestartAfterExpiry", "QueryDb/RevisionsAreNotReusedAfterExpiry", revisionsAsOf(func(h *dbHook, shown func(driver.Key, bool) *uint64) {
			last := map[driver.Key]uint64{}
			load := h.loadRow
			h.loadRow = func(ctx context.Context, key driver.Key) (driver.Row, error) {
				if r, err := h.QueryDb.LoadRow(ctx, key); err == nil {
					last[key] = r.Revision
				} else {
					*shown(key, true) = last[key]
				}
				return load(ctx, key)
			}
		})},
		{"RevisionsRestartWhenOpened", "QueryDb/RevisionsAreNotReusedAfterReopening", onDb(func(h *dbHook, _ driver.TableSpec, w *faulty) {
			everyRow(h, w, nil, func(w *faulty, r driver.Row) driver.Row {
				first := memoOf(w, fmt.Sprintf("first%d", w.session), func() uint64 { return r.Revision })
				r.Revision -= first - 1
				return r
			})
		})},
		{"BatchesLoseTheirLast", "QueryDb/SaveBatchWritesEveryRow", onSaveBatch(func(ctx context.Context, db driver.QueryDb, rows []driver.Row) error {
			return db.SaveBatch(ctx, slices.DeleteFunc(rows, func(r driver.Row) bool { return r.Sub == "s4" && r.ID == "id3" }))
		})},
		{"UnprocessedRowsAreLost", "QueryDb/SaveBatchWritesEveryRow", onSaveBatch(func(ctx context.Context, db driver.QueryDb, rows []driver.Row) error {
			return db.SaveBatch(ctx, rows[:min(len(rows), 125)])
		})},
		{"TheFirstRowWins", "QueryDb/SaveBatchLetsTheLaterRowWin", onSaveBatch(func(ctx context.Context, db driver.QueryDb, rows []driver.Row) error {
			slices.Reverse(rows)
			return db.SaveBatch(ctx, rows)
		})},
		{"ABadRowFailsTheBatch", "QueryDb/SaveBatchNamesTheRowsThatFailed", onSaveBatch(func(ctx context.Context, db driver.QueryDb, rows []driver.Row) error {
			for _, r := range rows {
				if bytes.Contains(r.Data, []byte(`"color":1`)) {
					return fmt.Errorf("row %s: %w", r.ID, driver.ErrInvalid)
				}
			}
			return db.SaveBatch(ctx, rows)
		})},
		{"BadRowsAreDropped", "QueryDb/SaveBatchNamesTheRowsThatFailed", onSaveBatch(func(ctx context.Context, db driver.QueryDb, rows []driver.Row) error {
			if err := db.SaveBatch(ctx, rows); !errors.Is(err, driver.ErrInvalid) {
				return err
			}
			return nil
		})},
		{"NamesRowsByID", "QueryDb/SaveBatchNamesTheRowsThatFailed", onSaveBatch(func(ctx context.Context, db driver.QueryDb, rows []driver.Row) error {
			err := db.SaveBatch(ctx, rows)
			var be *driver.BatchError
			if !errors.As(err, &be) {
				return err
			}
			byID := &driver.BatchError{Failed: map[string]error{}}
			for k, err := range be.Failed {
				id, _, _ := strings.Cut(k, "\x00")
				byID.Failed[id] = err
			}
			return byID
		})},
		{"CountsByReading", "QueryDb/CountIsAtomic", onCount(countByReading)},
		{"ReturnsTheOldValue", "QueryDb/CountIsAtomic", onCount(func(ctx context.Context, db driver.QueryDb, key driver.Key, field string, inc int64) (int64, error) {
			n, err := db.Count(ctx, key, field, inc)
			return n - inc, err
		})},
		{"CountsLoseOtherWrites", "QueryDb/CountIsAtomicAgainstOtherWrites", onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
			var mu sync.Mutex // counts are atomic among themselves
			h.count = func(ctx context.Context, key driver.Key, field string, inc int64) (int64, error) {
				mu.Lock()
				defer mu.Unlock()
				return countByReading(ctx, h.QueryDb, key, field, inc)
			}
		})},
		{"CountNeedsTheRow", "QueryDb/CountCreatesWhatIsAbsent", onCount(func(ctx context.Context, db driver.QueryDb, key driver.Key, field string, inc int64) (int64, error) {
			if _, err := db.LoadRow(ctx, key); err != nil {
				return 0, err
			}
			return db.Count(ctx, key, field, inc)
		})},
		{"CountsInDoubles", "QueryDb/CountCreatesWhatIsAbsent", onCount(func(ctx context.Context, db driver.QueryDb, key driver.Key, field string, inc int64) (int64, error) {
			n, err := db.Count(ctx, key, field, inc)
			return int64(float64(n)), err
		})},
		{"CountReencodesTheRow", "QueryDb/CountKeepsTheRestOfTheRow", onCount(countByReading)},
		{"CountRemovesTheExpiry", "QueryDb/CountKeepsTheRestOfTheRow", onCount(func(ctx context.Context, db driver.QueryDb, key driver.Key, field string, inc int64) (int64, error) {
			n, err := db.Count(ctx, key, field, inc)
			if r, err := db.LoadRow(ctx, key); err == nil {
				r.ExpiresAt = time.Time{}
				_ = db.Save(ctx, r, driver.Any)
			}
			return n, err
		})},
		{"CountsTextFromZero", "QueryDb/CountRefusesWhatIsNotAWholeNumber", onCount(countByReading)},
		{"DeleteRemovesTheID", "QueryDb/DeleteRemovesOneRow", onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
			h.delete = func(ctx context.Context, key driver.Key) error { return h.QueryDb.DeleteAll(ctx, key.ID) }
		})},
		{"DeleteNeedsTheRow", "QueryDb/DeleteRemovesOneRow", onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
			h.delete = func(ctx context.Context, key driver.Key) error {
				if _, err := h.QueryDb.LoadRow(ctx, key); err != nil {
					return err
				}
				return h.QueryDb.Delete(ctx, key)
			}
		})},
		{"DeleteAllGoesByPrefix", "QueryDb/DeleteAllRemovesTheRowsOfAnID", onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
			h.deleteAll = func(ctx context.Context, id string) error {
				return errors.Join(h.QueryDb.DeleteAll(ctx, id), h.QueryDb.DeleteAll(ctx, id+id))
			}
		})},
		{"DeleteAllRemovesOnePage", "QueryDb/DeleteAllRemovesTheRowsOfAnID", onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
			h.deleteAll = func(ctx context.Context, id string) error {
				rows, err := h.QueryDb.Load(ctx, id)
				for _, r := range rows[:min(len(rows), 25)] {
					_ = h.QueryDb.Delete(ctx, r.Key)
				}
				return err
			}
		})},
		{"DeleteBatchesLoseTheirLast", "QueryDb/DeleteBatchRemovesEveryRow", onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
			h.deleteBatch = func(ctx context.Context, keys []driver.Key) error {
				return h.QueryDb.DeleteBatch(ctx, keys[:min(len(keys), 100)])
			}
		})},
		{"ExpiredRowsAreThere", "QueryDb/ExpiredRowsAreAbsentInEveryRespect", onDb(func(h *dbHook, _ driver.TableSpec, w *faulty) { unexpiring(h, w) })},
		{"ExpiredRowsAreThereForSave", "QueryDb/ExpiredRowsAreAbsentInEveryRespect", onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
			stored := map[driver.Key]bool{}
			h.save = func(ctx context.Context, r driver.Row, mode driver.SaveMode) error {
				if mode == driver.Init && stored[r.Key] {
					return driver.ErrExists
				}
				stored[r.Key] = true
				return h.QueryDb.Save(ctx, r, mode)
			}
		})},
		{"ExpiredRowsAreThereForCount", "QueryDb/ExpiredRowsAreAbsentInEveryRespect", onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
			last := map[driver.Key]driver.Row{}
			h.save = func(ctx context.Context, r driver.Row, mode driver.SaveMode) error {
				last[r.Key] = r
				return h.QueryDb.Save(ctx, r, mode)
			}
			h.count = func(ctx context.Context, key driver.Key, field string, inc int64) (int64, error) {
				if r, ok := last[key]; ok {
					if _, err := h.QueryDb.LoadRow(ctx, key); err != nil {
						r.ExpiresAt = time.Time{}
						_ = h.QueryDb.Save(ctx, r, driver.Any)
					}
				}
				return h.QueryDb.Count(ctx, key, field, inc)
			}
		})},
		{"ExpiredRowsAreThereForGuards", "QueryDb/ExpiredRowsAreAbsentInEveryRespect", onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
			stored := map[driver.Key]bool{}
			h.save = func(ctx context.Context, r driver.Row, mode driver.SaveMode) error {
				stored[r.Key] = true
				return h.QueryDb.Save(ctx, r, mode)
			}
			h.apply = func(ctx context.Context, s driver.Step) error {
				for _, w := range s.Writes {
					if w.Guard && w.Expect == 0 && stored[w.Row.Key] {
						return driver.ErrConflict
					}
				}
				return h.QueryDb.Apply(ctx, s)
			}
		})},
		{"ExpiresASecondLate", "QueryDb/ExpiredRowsAreAbsentInEveryRespect", onEveryRow(func(_ *faulty, r driver.Row) driver.Row {
			if !r.ExpiresAt.IsZero() {
				r.ExpiresAt = r.ExpiresAt.Add(time.Second)
			}
			return r
		}, func(_ *faulty, r driver.Row) driver.Row {
			if !r.ExpiresAt.IsZero() {
				r.ExpiresAt = r.ExpiresAt.Add(-time.Second)
			}
			return r
		})},
		{"AnExpiryIsForEver", "QueryDb/TheLastWriteSetsTheExpiry", onDb(func(h *dbHook, _ driver.TableSpec, w *faulty) {
			ends := map[driver.Key]time.Time{}
			everyRow(h, w, func(_ *faulty, r driver.Row) driver.Row {
				if t, ok := ends[r.Key]; ok && r.ExpiresAt.IsZero() {
					r.ExpiresAt = t
				}
				ends[r.Key] = r.ExpiresAt
				return r
			}, nil)
		})},
		{"LoadSwallowsErrors", "QueryDb/RowErrorsAreNotEmptyResults", onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
			h.load = func(ctx context.Context, id string) ([]driver.Row, error) {
				rows, _ := h.QueryDb.Load(ctx, id)
				return rows, nil
			}
		})},
		{"ErrorsAreNotFound", "QueryDb/RowErrorsAreNotEmptyResults", onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
			h.loadRow = func(ctx context.Context, key driver.Key) (driver.Row, error) {
				r, err := h.QueryDb.LoadRow(ctx, key)
				if err != nil {
					err = driver.ErrNotFound
				}
				return r, err
			}
		})},
		{"KeepsWhatItIsGiven", "QueryDb/ArgumentsAreNotKept", onDb(func(h *dbHook, _ driver.TableSpec, w *faulty) {
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
		{"SharesAllRows", "QueryDb/ReadModelsAreKeptApart", func(p *hooked, _ *faulty) {
			p.queryDb = func(db driver.QueryDb, spec driver.TableSpec) driver.QueryDb {
				spec.Name = "Test.Everything"
				if o, err := p.Provider.OpenQueryDb(context.Background(), spec); err == nil {
					return o
				}
				return db
			}
		}},
		{"AdvanceIgnoresBlocks", "QueryDb/ABlockedStreamDoesNotAdvance", onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
			h.advance = func(ctx context.Context, as []driver.Advance) error {
				for _, a := range as {
					_ = h.QueryDb.Unblock(ctx, a.StreamKey)
				}
				return h.QueryDb.Advance(ctx, as)
			}
		})},
	}
}

func onApply(tamper func(ctx context.Context, db driver.QueryDb, s driver.Step) error) func(*hooked, *faulty) {
	return onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
		h.apply = func(ctx context.Context, s driver.Step) error {
			s.Writes, s.Advances = slices.Clone(s.Writes), slices.Clone(s.Advances)
			return tamper(ctx, h.QueryDb, s)
		}
	})
}

// written makes the writes of a step outside of any step, whatever their guards.
func written(ctx context.Context, db driver.QueryDb, writes []driver.RowWrite) error {
	for _, w := range writes {
		err := error(nil)
		if w.Delete {
			err = db.Delete(ctx, w.Row.Key)
		} else {
			err = db.Save(ctx, w.Row, driver.Any)
		}
		if err != nil {
			return err
		}
	}
	return nil
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
	for i := range s.Writes {
		s.Writes[i].Guard = false
	}
	return s
}

func stepFaults() []fault {
	conflictOf := func(err error) bool { return errors.Is(err, driver.ErrConflict) }
	// overlaid shows another watermark than the store's.
	overlaid := func(show func(ctx context.Context, db driver.QueryDb, s driver.StreamKey, m driver.Watermark) driver.Watermark) func(*hooked, *faulty) {
		return onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
			h.watermark = func(ctx context.Context, s driver.StreamKey) (driver.Watermark, error) {
				m, err := h.QueryDb.Watermark(ctx, s)
				return show(ctx, h.QueryDb, s, m), err
			}
		})
	}
	absent := func(ctx context.Context, db driver.QueryDb, s driver.StreamKey) bool {
		_, err := db.LoadRow(ctx, driver.Key{ID: s.Stream})
		return errors.Is(err, driver.ErrNotFound)
	}
	return []fault{
		{"LosesTheLastWrite", "QueryDb/ApplyWritesRowsAndWatermarksTogether", onApply(func(ctx context.Context, db driver.QueryDb, s driver.Step) error {
			if len(s.Writes) > 2 {
				s.Writes = s.Writes[:2]
			}
			return db.Apply(ctx, s)
		})},
		{"ForgetsTheWatermark", "QueryDb/ApplyWritesRowsAndWatermarksTogether", onApply(func(ctx context.Context, db driver.QueryDb, s driver.Step) error {
			if len(s.Advances) > 1 {
				s.Advances = s.Advances[:1]
			}
			return db.Apply(ctx, s)
		})},
		{"RowsFirstThenTheWatermark", "QueryDb/ApplyIsAllOrNothingUnderConflict", onApply(piecewise)},
		{"TheWatermarkFirstThenRows", "QueryDb/ApplyIsAllOrNothingUnderConflict", onApply(func(ctx context.Context, db driver.QueryDb, s driver.Step) error {
			if err := db.Apply(ctx, driver.Step{Advances: s.Advances}); err != nil {
				return err
			}
			return db.Apply(ctx, driver.Step{Writes: s.Writes})
		})},
		{"IgnoresTheWatermark", "QueryDb/ApplyIsAllOrNothingUnderConflict", onApply(func(ctx context.Context, db driver.QueryDb, s driver.Step) error {
			if err := db.Apply(ctx, s); !conflictOf(err) {
				return err
			}
			return db.Apply(ctx, driver.Step{Writes: s.Writes})
		})},
		{"SkipsRepeatsQuietly", "QueryDb/ApplyIsAllOrNothingUnderConflict", onApply(func(ctx context.Context, db driver.QueryDb, s driver.Step) error {
			err := db.Apply(ctx, s)
			for _, a := range s.Advances {
				if m, err2 := db.Watermark(ctx, a.StreamKey); conflictOf(err) && err2 == nil && m.SequenceNr >= a.To {
					return nil
				}
			}
			return err
		})},
		{"IgnoresBlocks", "QueryDb/ApplyRefusesABlockedStream", onApply(func(ctx context.Context, db driver.QueryDb, s driver.Step) error {
			for _, a := range s.Advances {
				_ = db.Unblock(ctx, a.StreamKey)
			}
			return db.Apply(ctx, s)
		})},
		{"IgnoresGuards", "QueryDb/ApplyHonoursGuards", onApply(func(ctx context.Context, db driver.QueryDb, s driver.Step) error {
			return db.Apply(ctx, unguarded(s))
		})},
		{"IgnoresGuardsOfAbsence", "QueryDb/ApplyHonoursGuards", onApply(func(ctx context.Context, db driver.QueryDb, s driver.Step) error {
			for i := range s.Writes {
				if s.Writes[i].Delete {
					s.Writes[i].Guard = false
				}
			}
			return db.Apply(ctx, s)
		})},
		{"GuardsFailOnAbsentRows", "QueryDb/ApplyHonoursGuards", onApply(func(ctx context.Context, db driver.QueryDb, s driver.Step) error {
			for _, w := range s.Writes {
				if w.Guard && w.Expect == 0 && !w.Delete {
					return driver.ErrConflict
				}
			}
			return db.Apply(ctx, s)
		})},
		{"BlindWritesAreGuarded", "QueryDb/ApplyHonoursGuards", onApply(func(ctx context.Context, db driver.QueryDb, s driver.Step) error {
			for i := range s.Writes {
				s.Writes[i].Guard = true
			}
			return db.Apply(ctx, s)
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
		{"SkipsAdvancesThatStay", "QueryDb/AStepStaysOutWhereAStreamDoesNotStay", onApply(func(ctx context.Context, db driver.QueryDb, s driver.Step) error {
			s.Advances = slices.DeleteFunc(slices.Clone(s.Advances), func(a driver.Advance) bool { return a.From == a.To })
			return db.Apply(ctx, s)
		})},
		{"RefusesOneStreamOfTwoLogs", "QueryDb/ApplyRefusesInvalidSteps", onApply(func(ctx context.Context, db driver.QueryDb, s driver.Step) error {
			if len(s.Advances) == 2 && s.Advances[0].Stream == s.Advances[1].Stream {
				return driver.ErrInvalid
			}
			return db.Apply(ctx, s)
		})},
		{"SplitsLargeSteps", "QueryDb/ApplyTakesStepsUpToTheLimit", func(p *hooked, w *faulty) {
			limited(p, 100)
			p.queryDb = func(db driver.QueryDb, _ driver.TableSpec) driver.QueryDb { return db }
		}},
		{"RefusesBelowTheLimit", "QueryDb/ApplyTakesStepsUpToTheLimit", func(p *hooked, _ *faulty) {
			limited(p, 100)
			p.queryDb = func(db driver.QueryDb, _ driver.TableSpec) driver.QueryDb {
				return &dbHook{QueryDb: db, apply: func(ctx context.Context, s driver.Step) error {
					if n := len(s.Writes) + len(s.Advances); n > 90 {
						return &driver.TooLargeError{What: "step", Size: n, Limit: 100}
					}
					return db.Apply(ctx, s)
				}}
			}
		}},
		{"AppliesPiecewise", "QueryDb/NoReaderSeesAPartOfAStep", onApply(piecewise)},
		{"SeesConflictsOfNeighbours", "QueryDb/ProjectorsOfDisjointRowsDoNotConflict", onDb(func(h *dbHook, _ driver.TableSpec, w *faulty) {
			mu := memoOf(w, "mu", func() *sync.Mutex { return new(sync.Mutex) })
			h.apply = func(ctx context.Context, s driver.Step) error {
				if !mu.TryLock() {
					return driver.ErrConflict
				}
				defer mu.Unlock()
				others()
				return h.QueryDb.Apply(ctx, s)
			}
		})},
		{"ChecksGuardsThenWrites", "QueryDb/ProjectorsOfOneRowLoseNothing", onApply(func(ctx context.Context, db driver.QueryDb, s driver.Step) error {
			if err := checked(ctx, db, s); err != nil {
				return err
			}
			others()
			return db.Apply(ctx, unguarded(s))
		})},
		{"ChecksWatermarksThenWrites", "QueryDb/RepeatedProjectorsApplyEachCommitOnce", onApply(func(ctx context.Context, db driver.QueryDb, s driver.Step) error {
			if err := checked(ctx, db, s); err != nil {
				return err
			}
			others()
			if err := db.Apply(ctx, unguarded(driver.Step{Writes: s.Writes})); err != nil {
				return err
			}
			return ignoreFrom(ctx, db, s.Advances)
		})},
		{"ADeleteLosesTheWatermark", "QueryDb/OwnRowStepsKeepTheWatermark", overlaid(func(ctx context.Context, db driver.QueryDb, s driver.StreamKey, m driver.Watermark) driver.Watermark {
			if s.Stream == "a" && m.SequenceNr == 5 && absent(ctx, db, s) {
				return driver.Watermark{}
			}
			return m
		})},
		{"SaveLosesTheWatermark", "QueryDb/OwnRowStepsKeepTheWatermark", onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
			lost := map[string]bool{}
			h.save = func(ctx context.Context, r driver.Row, mode driver.SaveMode) error {
				lost[r.ID] = true
				return h.QueryDb.Save(ctx, r, mode)
			}
			h.watermark = func(ctx context.Context, s driver.StreamKey) (driver.Watermark, error) {
				if lost[s.Stream] {
					return driver.Watermark{}, nil
				}
				return h.QueryDb.Watermark(ctx, s)
			}
		})},
		{"OwnRowIgnoresTheWatermark", "QueryDb/OwnRowStepsAreAllOrNothing", onApply(func(ctx context.Context, db driver.QueryDb, s driver.Step) error {
			err := db.Apply(ctx, s)
			if conflictOf(err) && len(s.Writes) > 0 && !s.Writes[0].Guard {
				return written(ctx, db, s.Writes)
			}
			return err
		})},
		{"OwnRowIgnoresGuards", "QueryDb/OwnRowStepsAreAllOrNothing", onApply(func(ctx context.Context, db driver.QueryDb, s driver.Step) error {
			return db.Apply(ctx, unguarded(s))
		})},
		{"OwnRowIgnoresBlocks", "QueryDb/OwnRowStepsAreAllOrNothing", onApply(func(ctx context.Context, db driver.QueryDb, s driver.Step) error {
			if len(s.Writes) == 0 {
				_ = db.Unblock(ctx, s.Advances[0].StreamKey)
			}
			return db.Apply(ctx, s)
		})},
		{"TombstonesAreVisible", "QueryDb/OwnRowWatermarksAreInvisible", onApply(func(ctx context.Context, db driver.QueryDb, s driver.Step) error {
			for i := range s.Writes {
				if s.Writes[i].Delete {
					s.Writes[i].Delete = false
					s.Writes[i].Row.Data = json.RawMessage(`{}`)
				}
			}
			return db.Apply(ctx, s)
		})},
		{"TombstonesAreScanned", "QueryDb/OwnRowWatermarksAreInvisible", func(p *hooked, _ *faulty) {
			p.engine = func(q driver.QueryEngine, _ []driver.TableSpec) driver.QueryEngine {
				return &engineHook{QueryEngine: q, scan: func(ctx context.Context, s driver.Scan) (driver.Page, error) {
					page, err := q.Scan(ctx, s)
					if len(s.Filters) > 0 && s.Filters[0].Comparator == driver.NotExists {
						page.Rows = append(page.Rows, driver.Row{Key: driver.Key{ID: "dead"}, Data: json.RawMessage(`{}`), Revision: 1})
					}
					return page, err
				}}
			}
		}},
		{"TheWatermarkExpiresWithTheRow", "QueryDb/OwnRowWatermarksOutliveTheirRow", overlaid(func(ctx context.Context, db driver.QueryDb, s driver.StreamKey, m driver.Watermark) driver.Watermark {
			if s.Stream == "a" && absent(ctx, db, s) {
				return driver.Watermark{}
			}
			return m
		})},
		{"TombstonesExpire", "QueryDb/OwnRowWatermarksOutliveTheirRow", onDb(func(h *dbHook, _ driver.TableSpec, w *faulty) {
			born := w.Now()
			h.watermark = func(ctx context.Context, s driver.StreamKey) (driver.Watermark, error) {
				if s.Stream == "dead" && w.Now().Sub(born) > 30*24*time.Hour {
					return driver.Watermark{}, nil
				}
				return h.QueryDb.Watermark(ctx, s)
			}
		})},
		{"OneWatermarkPerRow", "QueryDb/OwnRowWatermarksOfTwoLogsAreKeptApart", onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
			one := func(s driver.StreamKey) driver.StreamKey { return driver.StreamKey{Stream: s.Stream} }
			h.watermark = func(ctx context.Context, s driver.StreamKey) (driver.Watermark, error) {
				return h.QueryDb.Watermark(ctx, one(s))
			}
			h.apply = func(ctx context.Context, s driver.Step) error {
				s.Advances = slices.Clone(s.Advances)
				for i := range s.Advances {
					s.Advances[i].StreamKey = one(s.Advances[i].StreamKey)
				}
				return h.QueryDb.Apply(ctx, s)
			}
		})},
		{"BreaksThePromiseOfOwnRows", "QueryDb/OwnRowStepsTouchTheirOwnRowOnly", onApply(func(ctx context.Context, db driver.QueryDb, s driver.Step) error {
			err := db.Apply(ctx, s)
			if errors.Is(err, driver.ErrInvalid) && len(s.Advances) == 1 {
				return written(ctx, db, s.Writes)
			}
			return err
		})},
		{"TakesOwnRowStepsWithoutAnAdvance", "QueryDb/OwnRowStepsTouchTheirOwnRowOnly", onApply(func(ctx context.Context, db driver.QueryDb, s driver.Step) error {
			if len(s.Advances) == 0 {
				return written(ctx, db, s.Writes)
			}
			return db.Apply(ctx, s)
		})},
		{"ChecksOwnRowsThenWrites", "QueryDb/OwnRowProjectorsApplyEachCommitOnce", onApply(func(ctx context.Context, db driver.QueryDb, s driver.Step) error {
			if err := checked(ctx, db, s); err != nil {
				return err
			}
			others()
			if err := written(ctx, db, s.Writes); err != nil {
				return err
			}
			return ignoreFrom(ctx, db, s.Advances)
		})},
		{"LosesTombstonesWhenClosed", "QueryDb/OwnRowStepsSurviveReopening", onDb(func(h *dbHook, _ driver.TableSpec, w *faulty) {
			h.watermark = func(ctx context.Context, s driver.StreamKey) (driver.Watermark, error) {
				if w.session > 1 && absent(ctx, h.QueryDb, s) {
					return driver.Watermark{}, nil
				}
				return h.QueryDb.Watermark(ctx, s)
			}
		})},
		{"ClearKeepsWatermarks", "QueryDb/ClearRemovesRowsAndWatermarks", onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
			ids := map[string]bool{}
			h.apply = func(ctx context.Context, s driver.Step) error {
				for _, w := range s.Writes {
					ids[w.Row.ID] = true
				}
				return h.QueryDb.Apply(ctx, s)
			}
			h.clear = func(ctx context.Context) error {
				var errs []error
				for id := range ids {
					errs = append(errs, h.QueryDb.DeleteAll(ctx, id))
				}
				return errors.Join(append(errs, h.QueryDb.DeleteAll(ctx, "saved"))...)
			}
		})},
		{"ClearKeepsBlocks", "QueryDb/ClearRemovesRowsAndWatermarks", onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
			h.clear = func(ctx context.Context) error {
				m, err := h.QueryDb.Watermark(ctx, streamKey("never"))
				err = errors.Join(err, h.QueryDb.Clear(ctx))
				if m.Blocked && err == nil {
					err = h.QueryDb.Block(ctx, streamKey("never"), 0)
				}
				return err
			}
		})},
		{"ClearKeepsWhatWasSaved", "QueryDb/ClearRemovesRowsAndWatermarks", onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
			h.clear = func(ctx context.Context) error {
				r, err := h.QueryDb.LoadRow(ctx, driver.Key{ID: "saved"})
				if errors.Is(err, driver.ErrNotFound) {
					return h.QueryDb.Clear(ctx)
				}
				return errors.Join(err, h.QueryDb.Clear(ctx), h.QueryDb.Save(ctx, r, driver.Any))
			}
		})},
		{"ClearsRowsThenWatermarks", "QueryDb/ClearBesideStepsLosesAndRepeatsNothing", onClear(func(ctx context.Context, db driver.QueryDb, ids []string) error {
			if err := deleted(ctx, db, ids); err != nil {
				return err
			}
			pause(time.Millisecond)
			var made []driver.RowWrite
			for _, id := range ids {
				if r, err := db.LoadRow(ctx, driver.Key{ID: id}); err == nil {
					made = append(made, put(r))
				}
			}
			return errors.Join(db.Clear(ctx), written(ctx, db, made))
		})},
		{"ClearsWatermarksThenRows", "QueryDb/ClearBesideStepsLosesAndRepeatsNothing", onClear(func(ctx context.Context, db driver.QueryDb, ids []string) error {
			if err := db.Clear(ctx); err != nil {
				return err
			}
			pause(time.Millisecond)
			return deleted(ctx, db, ids)
		})},
		{"ClearMissesStreamsThatBegin", "QueryDb/ClearBesideStepsLosesAndRepeatsNothing", onClear(func(ctx context.Context, db driver.QueryDb, ids []string) error {
			// The streams that it knows wait, others go on.
			for _, id := range ids {
				if m, err := db.Watermark(ctx, streamKey(id)); err == nil {
					_ = db.Block(ctx, streamKey(id), m.SequenceNr)
				}
			}
			pause(time.Millisecond)
			began := map[string]driver.Watermark{}
			for i := range 100 {
				id := fmt.Sprintf("s%d", i)
				if m, err := db.Watermark(ctx, streamKey(id)); err == nil && m.SequenceNr > 0 && !m.Blocked {
					began[id] = m
				}
			}
			err := db.Clear(ctx)
			for id, m := range began {
				_ = db.Advance(ctx, []driver.Advance{advance(id, 0, m.SequenceNr)})
			}
			return err
		})},
	}
}

// onClear replaces Clear. It is told the ids of all rows that steps wrote before.
func onClear(tamper func(ctx context.Context, db driver.QueryDb, ids []string) error) func(*hooked, *faulty) {
	return onDb(func(h *dbHook, _ driver.TableSpec, _ *faulty) {
		var mu sync.Mutex
		ids := map[string]bool{}
		h.apply = func(ctx context.Context, s driver.Step) error {
			mu.Lock()
			for _, w := range s.Writes {
				ids[w.Row.ID] = true
			}
			mu.Unlock()
			return h.QueryDb.Apply(ctx, s)
		}
		h.clear = func(ctx context.Context) error {
			mu.Lock()
			known := slices.Collect(maps.Keys(ids))
			mu.Unlock()
			return tamper(ctx, h.QueryDb, known)
		}
	})
}

func deleted(ctx context.Context, db driver.QueryDb, ids []string) error {
	keys := make([]driver.Key, len(ids))
	for i, id := range ids {
		keys[i] = driver.Key{ID: id}
	}
	return db.DeleteBatch(ctx, keys)
}

// limited says that the provider takes fewer members of a step than it does.
func limited(p *hooked, n int) { p.Provider = &limitedProvider{p.Provider, n} }

type limitedProvider struct {
	driver.Provider
	maxStep int
}

func (p *limitedProvider) Limits() driver.Limits {
	l := p.Provider.Limits()
	l.MaxStep = p.maxStep
	return l
}
