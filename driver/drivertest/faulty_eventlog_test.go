package drivertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/faults"
)

// onCommits changes what is stored.
func onCommits(change func(c driver.Commit) driver.Commit) plant {
	return on(func(h *faults.EventLog, _ *faulty) {
		h.OnAppend = func(ctx context.Context, c driver.Commit) error { return h.EventLog.Append(ctx, change(c)) }
	})
}

// stored reads commits up to the first error.
func stored(seq iter.Seq2[driver.Commit, error]) ([]driver.Commit, error) {
	var cs []driver.Commit
	for c, err := range seq {
		if err != nil {
			return cs, err
		}
		cs = append(cs, c)
	}
	return cs, nil
}

// onRead changes what Read yields.
func onRead(change func(cs []driver.Commit, err error) ([]driver.Commit, error)) plant {
	return on(func(h *faults.EventLog, _ *faulty) {
		h.OnRead = func(ctx context.Context, stream string, after, through uint64) iter.Seq2[driver.Commit, error] {
			return again(change(stored(h.EventLog.Read(ctx, stream, after, through))))
		}
	})
}

// onLoad changes what Load returns.
func onLoad(change func(cs []driver.Commit, err error) ([]driver.Commit, error)) plant {
	return on(func(h *faults.EventLog, _ *faulty) {
		h.OnLoad = func(ctx context.Context, stream string, usable func(driver.SnapshotHead) bool) ([]driver.Commit, error) {
			return change(h.EventLog.Load(ctx, stream, usable))
		}
	})
}

// onScan changes what Scan yields.
func onScan(change func(cs []driver.Commit, err error) ([]driver.Commit, error)) plant {
	return on(func(h *faults.EventLog, _ *faulty) {
		h.OnScan = func(ctx context.Context, segment, segments int) iter.Seq2[driver.Commit, error] {
			return again(change(stored(h.EventLog.Scan(ctx, segment, segments))))
		}
	})
}

func again(cs []driver.Commit, err error) iter.Seq2[driver.Commit, error] {
	return func(yield func(driver.Commit, error) bool) {
		for _, c := range cs {
			if !yield(c, nil) {
				return
			}
		}
		if err != nil {
			yield(driver.Commit{}, err)
		}
	}
}

func compact(text []byte) json.RawMessage {
	var b bytes.Buffer
	if json.Compact(&b, text) != nil {
		return text
	}
	return b.Bytes()
}

func eventLogFaults() []fault {
	appending := func(tamper func(ctx context.Context, l driver.EventLog, c driver.Commit) error) plant {
		return on(func(h *faults.EventLog, _ *faulty) {
			h.OnAppend = func(ctx context.Context, c driver.Commit) error { return tamper(ctx, h.EventLog, c) }
		})
	}
	return []fault{
		{"ChecksThenInserts", "EventLog/OneWinnerOfEightConcurrentAppends", appending(func(ctx context.Context, l driver.EventLog, c driver.Commit) error {
			cs, err := stored(l.Read(ctx, c.Stream, c.SequenceNr-1, 0))
			if err != nil || len(cs) > 0 {
				return errors.Join(err, l.Append(ctx, c)) // the conflict is seen
			}
			others()
			_ = l.Append(ctx, c) // a plain insert that overwrites or is lost
			return nil
		})},
		{"ConflictWithTheLoser", "EventLog/ConflictCarriesTheWinner", appending(func(ctx context.Context, l driver.EventLog, c driver.Commit) error {
			err := l.Append(ctx, c)
			if errors.Is(err, driver.ErrConflict) {
				c.RecordedAt = time.Now()
				return &driver.ConflictError{Winner: c}
			}
			return err
		})},
		{"TheLoserOverwrites", "EventLog/CommitsAreNeverChanged", on(func(h *faults.EventLog, _ *faulty) {
			var mu sync.Mutex
			var over []driver.Commit
			h.OnAppend = func(ctx context.Context, c driver.Commit) error {
				err := h.EventLog.Append(ctx, c)
				if errors.Is(err, driver.ErrConflict) {
					mu.Lock()
					defer mu.Unlock()
					over = append(over, c)
				}
				return err
			}
			h.OnRead = func(ctx context.Context, stream string, after, through uint64) iter.Seq2[driver.Commit, error] {
				cs, err := stored(h.EventLog.Read(ctx, stream, after, through))
				mu.Lock()
				defer mu.Unlock()
				for i := range cs {
					for _, c := range over {
						if c.Stream == cs[i].Stream && c.SequenceNr == cs[i].SequenceNr {
							cs[i].Events = c.Events
						}
					}
				}
				return again(cs, err)
			}
		})},
		{"AcknowledgesWithoutStoring", "EventLog/AcknowledgedAppendsAreReadBackAtOnce", on(func(h *faults.EventLog, _ *faulty) {
			var n atomic.Int32
			h.OnAppend = func(ctx context.Context, c driver.Commit) error {
				if n.Add(1)%50 == 0 {
					return nil
				}
				return h.EventLog.Append(ctx, c)
			}
		})},
		{"SkipsACommit", "EventLog/ReadIsAscendingWithoutGaps", onRead(func(cs []driver.Commit, err error) ([]driver.Commit, error) {
			if len(cs) > 9 {
				cs = slices.Delete(cs, 7, 8)
			}
			return cs, err
		})},
		{"WritesEventByEvent", "EventLog/ReadersSeeWholeCommits", on(func(h *faults.EventLog, _ *faulty) {
			var writing atomic.Bool
			h.OnAppend = func(ctx context.Context, c driver.Commit) error {
				writing.Store(true)
				defer writing.Store(false)
				err := h.EventLog.Append(ctx, c)
				others()
				return err
			}
			h.OnRead = func(ctx context.Context, stream string, after, through uint64) iter.Seq2[driver.Commit, error] {
				cs, err := stored(h.EventLog.Read(ctx, stream, after, through))
				if writing.Load() && len(cs) > 0 {
					last := &cs[len(cs)-1]
					last.Events = last.Events[:len(last.Events)-1]
				}
				return again(cs, err)
			}
		})},
		{"AnEmptyStreamIsAnError", "EventLog/AnEmptyStreamReadsAsEmpty", onLoad(func(cs []driver.Commit, err error) ([]driver.Commit, error) {
			if err == nil && len(cs) == 0 {
				err = driver.ErrNotFound
			}
			return cs, err
		})},
		{"ReadIgnoresItsEnd", "EventLog/ReadEndsAtThrough", on(func(h *faults.EventLog, _ *faulty) {
			h.OnRead = func(ctx context.Context, stream string, after, _ uint64) iter.Seq2[driver.Commit, error] {
				return h.EventLog.Read(ctx, stream, after, 0)
			}
		})},
		{"LoadsFromAStaleSnapshot", "EventLog/LoadStartsAtTheNewestMatchingSnapshot", on(func(h *faults.EventLog, _ *faulty) {
			h.OnLoad = func(ctx context.Context, stream string, usable func(driver.SnapshotHead) bool) ([]driver.Commit, error) {
				cs, err := stored(h.EventLog.Read(ctx, stream, 0, 0))
				for i, c := range cs { // the oldest one that matches
					if c.Snapshot != nil && usable(c.Snapshot.SnapshotHead) {
						return cs[i:], err
					}
				}
				return cs, err
			}
		})},
		{"IgnoresTheStateVersion", "EventLog/LoadOfAnotherStateVersionReadsFurtherBack", on(func(h *faults.EventLog, _ *faulty) {
			h.OnLoad = func(ctx context.Context, stream string, _ func(driver.SnapshotHead) bool) ([]driver.Commit, error) {
				cs, err := stored(h.EventLog.Read(ctx, stream, 0, 0))
				for i := len(cs) - 1; i >= 0; i-- {
					if cs[i].Snapshot != nil {
						return cs[i:], err
					}
				}
				return cs, err
			}
		})},
		{"LoadsInTwoReads", "EventLog/LoadNeverSkipsCommits", on(func(h *faults.EventLog, _ *faulty) {
			h.OnLoad = func(ctx context.Context, stream string, usable func(driver.SnapshotHead) bool) ([]driver.Commit, error) {
				cs, err := h.EventLog.Load(ctx, stream, usable)
				if err != nil || len(cs) == 0 {
					return cs, err
				}
				others() // commits that are appended now lie behind the head that it knows
				more, err := stored(h.EventLog.Read(ctx, stream, cs[len(cs)-1].SequenceNr+1, 0))
				return append(cs, more...), err
			}
		})},
		{"ScanSkipsAStream", "EventLog/ScanYieldsEveryStreamInOneSegment", onScan(func(cs []driver.Commit, err error) ([]driver.Commit, error) {
			return slices.DeleteFunc(cs, func(c driver.Commit) bool { return c.Stream == "stream-13" }), err
		})},
		{"ScanIsOutOfOrder", "EventLog/ScanYieldsEveryStreamInOneSegment", onScan(func(cs []driver.Commit, err error) ([]driver.Commit, error) {
			slices.Reverse(cs)
			return cs, err
		})},
		{"ScanIsOfAnOldSnapshot", "EventLog/ScanSeesWhatWasStoredWhenItWasCalled", on(func(h *faults.EventLog, _ *faulty) {
			var mu sync.Mutex
			var old []driver.Commit
			h.OnScan = func(ctx context.Context, segment, segments int) iter.Seq2[driver.Commit, error] {
				if segments > 1 {
					return h.EventLog.Scan(ctx, segment, segments)
				}
				mu.Lock()
				defer mu.Unlock()
				cs, err := stored(h.EventLog.Scan(ctx, segment, segments))
				if old == nil {
					old = cs
				}
				return again(old, err)
			}
		})},
		{"AnySegmentIsEmpty", "EventLog/ScanRefusesASegmentOutsideOfTheRange", onScan(func(cs []driver.Commit, err error) ([]driver.Commit, error) {
			if errors.Is(err, driver.ErrInvalid) {
				err = nil
			}
			return cs, err
		})},
		{"ReadsOnePage", "EventLog/LongStreamsAreComplete", onRead(func(cs []driver.Commit, err error) ([]driver.Commit, error) {
			return cs[:min(len(cs), 100)], err // the error of the second page is swallowed
		})},
		{"LosesTheLastEvent", "EventLog/EverythingOfACommitIsKept", onCommits(func(c driver.Commit) driver.Commit {
			if len(c.Events) > 1 {
				c.Events = c.Events[:len(c.Events)-1]
			}
			return c
		})},
		{"ReencodesJSON", "EventLog/PayloadsAreKeptByteForByte", onCommits(func(c driver.Commit) driver.Commit {
			c.Events = slices.Clone(c.Events)
			for i := range c.Events {
				var v any
				if json.Unmarshal(c.Events[i].Data, &v) == nil {
					c.Events[i].Data, _ = json.Marshal(v)
				}
			}
			return c
		})},
		{"BelievesTheCallersClock", "EventLog/RecordedAtIsTheStoresTime", on(func(h *faults.EventLog, _ *faulty) {
			var at sync.Map
			h.OnAppend = func(ctx context.Context, c driver.Commit) error {
				at.Store(c.SequenceNr, c.RecordedAt)
				return h.EventLog.Append(ctx, c)
			}
			h.OnRead = func(ctx context.Context, stream string, after, through uint64) iter.Seq2[driver.Commit, error] {
				cs, err := stored(h.EventLog.Read(ctx, stream, after, through))
				for i := range cs {
					if t, ok := at.Load(cs[i].SequenceNr); ok {
						cs[i].RecordedAt = t.(time.Time)
					}
				}
				return again(cs, err)
			}
		})},
		{"AcceptsWhatIsInvalid", "EventLog/InvalidCommitsAreRefused", answers("EventLog.Append", driver.ErrInvalid, nil)},
		{"IgnoresTheCaseOfIDs", "EventLog/StreamIDsAreKeptApart", onStreams(strings.ToLower)},
		{"HasAHalfLimit", "EventLog/CommitsUpToTheLimitAreStored", appending(func(ctx context.Context, l driver.EventLog, c driver.Commit) error {
			if b, err := driver.EncodeCommit(c); err == nil && len(b) > 200<<10 {
				return &driver.TooLargeError{What: "commit", Size: len(b), Limit: 200 << 10}
			}
			return l.Append(ctx, c)
		})},
		{"DoesNotMeasureSnapshots", "EventLog/CommitsOverTheLimitAreRefused", appending(func(ctx context.Context, l driver.EventLog, c driver.Commit) error {
			err := l.Append(ctx, c)
			if s := c.Snapshot; errors.Is(err, driver.ErrTooLarge) && s != nil {
				c.Snapshot = nil
				return l.Append(ctx, c)
			}
			return err
		})},
		{"EndsQuietlyWhenCancelled", "EventLog/ACancelledReadIsNotAShortStream", on(func(h *faults.EventLog, _ *faulty) {
			h.OnRead = func(ctx context.Context, stream string, after, through uint64) iter.Seq2[driver.Commit, error] {
				return func(yield func(driver.Commit, error) bool) {
					for c, err := range h.EventLog.Read(ctx, stream, after, through) {
						if ctx.Err() != nil || !yield(c, err) {
							return
						}
					}
				}
			}
		})},
		{"LeavesTheLockWhenLeft", "EventLog/SequencesCanBeLeftEarly", on(func(h *faults.EventLog, _ *faulty) {
			var left atomic.Bool
			h.OnAppend = func(ctx context.Context, c driver.Commit) error {
				if left.Load() {
					return driver.ErrUnavailable
				}
				return h.EventLog.Append(ctx, c)
			}
			h.OnScan = func(ctx context.Context, segment, segments int) iter.Seq2[driver.Commit, error] {
				return func(yield func(driver.Commit, error) bool) {
					for c, err := range h.EventLog.Scan(ctx, segment, segments) {
						if !yield(c, err) {
							left.Store(true)
							return
						}
					}
				}
			}
		})},
		{"ReturnsWhatItKeeps", "EventLog/CommitsAreCopied", on(func(h *faults.EventLog, _ *faulty) {
			var kept []driver.Commit
			h.OnLoad = func(ctx context.Context, stream string, usable func(driver.SnapshotHead) bool) ([]driver.Commit, error) {
				if kept != nil {
					return kept, nil
				}
				var err error
				kept, err = h.EventLog.Load(ctx, stream, usable)
				return kept, err
			}
		})},
		{"LosesTheEndWhenClosed", "EventLog/CommitsSurviveReopening", on(func(h *faults.EventLog, w *faulty) {
			h.OnRead = func(ctx context.Context, stream string, after, through uint64) iter.Seq2[driver.Commit, error] {
				cs, err := stored(h.EventLog.Read(ctx, stream, after, through))
				if w.session > 1 && len(cs) > 0 {
					cs = cs[:len(cs)-1]
				}
				return again(cs, err)
			}
		})},
		{"EndsAtDamage", "EventLog/DamagedCommitsAreReported", onRead(func(cs []driver.Commit, err error) ([]driver.Commit, error) {
			if errors.Is(err, driver.ErrDamaged) {
				err = nil // the stream looks shorter
			}
			return cs, err
		})},
		{"ScansEndAtDamage", "EventLog/DamagedCommitsAreReported", onScan(func(cs []driver.Commit, err error) ([]driver.Commit, error) { return cs, err })},
		{"BlamesTheArguments", "EventLog/DamagedCommitsAreReported", answers("EventLog.Load", driver.ErrDamaged, driver.ErrInvalid)},
	}
}

// onStreams maps stream ids to other ones.
func onStreams(to func(string) string) plant {
	return on(func(h *faults.EventLog, _ *faulty) {
		h.OnAppend = func(ctx context.Context, c driver.Commit) error {
			c.Stream = to(c.Stream)
			return h.EventLog.Append(ctx, c)
		}
		h.OnRead = func(ctx context.Context, stream string, after, through uint64) iter.Seq2[driver.Commit, error] {
			return h.EventLog.Read(ctx, to(stream), after, through)
		}
		h.OnLoad = func(ctx context.Context, stream string, usable func(driver.SnapshotHead) bool) ([]driver.Commit, error) {
			return h.EventLog.Load(ctx, to(stream), usable)
		}
	})
}
