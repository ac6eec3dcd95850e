//go:build faults

package drivertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// onLog injects a fault into every log.
func onLog(tamper func(h *logHook, w *faulty)) func(*hooked, *faulty) {
	return func(p *hooked, w *faulty) {
		p.eventLog = func(l driver.EventLog, _ string) driver.EventLog {
			h := &logHook{EventLog: l}
			tamper(h, w)
			return h
		}
	}
}

// onCommits changes what is stored.
func onCommits(change func(c driver.Commit) driver.Commit) func(*hooked, *faulty) {
	return onLog(func(h *logHook, _ *faulty) {
		h.append = func(ctx context.Context, c driver.Commit) error { return h.EventLog.Append(ctx, change(c)) }
	})
}

// onRead changes what Read yields.
func onRead(change func(cs []driver.Commit, err error) ([]driver.Commit, error)) func(*hooked, *faulty) {
	return onLog(func(h *logHook, _ *faulty) {
		h.read = func(ctx context.Context, stream string, after uint64) iter.Seq2[driver.Commit, error] {
			return again(change(stored(h.EventLog.Read(ctx, stream, after))))
		}
	})
}

// onLoad changes what Load returns.
func onLoad(change func(cs []driver.Commit, err error) ([]driver.Commit, error)) func(*hooked, *faulty) {
	return onLog(func(h *logHook, _ *faulty) {
		h.load = func(ctx context.Context, stream string, foldVersion int) ([]driver.Commit, error) {
			return change(h.EventLog.Load(ctx, stream, foldVersion))
		}
	})
}

// onScan changes what Scan yields.
func onScan(change func(cs []driver.Commit, err error) ([]driver.Commit, error)) func(*hooked, *faulty) {
	return onLog(func(h *logHook, _ *faulty) {
		h.scan = func(ctx context.Context, segment, segments int) iter.Seq2[driver.Commit, error] {
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
	appending := func(tamper func(ctx context.Context, l driver.EventLog, c driver.Commit) error) func(*hooked, *faulty) {
		return onLog(func(h *logHook, _ *faulty) {
			h.append = func(ctx context.Context, c driver.Commit) error { return tamper(ctx, h.EventLog, c) }
		})
	}
	return []fault{
		{"DropsTheConflictCheck", "EventLog/OneWinnerOfEightConcurrentAppends", appending(func(ctx context.Context, l driver.EventLog, c driver.Commit) error {
			if err := l.Append(ctx, c); !errors.Is(err, driver.ErrConflict) {
				return err
			}
			return nil
		})},
		{"ChecksThenInserts", "EventLog/OneWinnerOfEightConcurrentAppends", appending(func(ctx context.Context, l driver.EventLog, c driver.Commit) error {
			cs, err := stored(l.Read(ctx, c.Stream, c.SequenceNr-1))
			if err != nil || len(cs) > 0 {
				return errors.Join(err, l.Append(ctx, c)) // the conflict is seen
			}
			others()
			_ = l.Append(ctx, c) // a plain insert that overwrites or is lost
			return nil
		})},
		{"ConflictWithoutWinner", "EventLog/ConflictCarriesTheWinner", appending(func(ctx context.Context, l driver.EventLog, c driver.Commit) error {
			if err := l.Append(ctx, c); !errors.Is(err, driver.ErrConflict) {
				return err
			}
			return driver.ErrConflict
		})},
		{"ConflictWithTheLoser", "EventLog/ConflictCarriesTheWinner", appending(func(ctx context.Context, l driver.EventLog, c driver.Commit) error {
			err := l.Append(ctx, c)
			if errors.Is(err, driver.ErrConflict) {
				c.RecordedAt = time.Now()
				return &driver.ConflictError{Winner: c}
			}
			return err
		})},
		{"EqualIsSuccess", "EventLog/EqualCommitsConflictToo", appending(func(ctx context.Context, l driver.EventLog, c driver.Commit) error {
			err := l.Append(ctx, c)
			var conflict *driver.ConflictError
			if errors.As(err, &conflict) && diffCommit(conflict.Winner, c, keepSnapshots) == "" {
				return nil
			}
			return err
		})},
		{"TheLoserOverwrites", "EventLog/CommitsAreNeverChanged", onLog(func(h *logHook, _ *faulty) {
			var mu sync.Mutex
			var over []driver.Commit
			h.append = func(ctx context.Context, c driver.Commit) error {
				err := h.EventLog.Append(ctx, c)
				if errors.Is(err, driver.ErrConflict) {
					mu.Lock()
					defer mu.Unlock()
					over = append(over, c)
				}
				return err
			}
			h.read = func(ctx context.Context, stream string, after uint64) iter.Seq2[driver.Commit, error] {
				cs, err := stored(h.EventLog.Read(ctx, stream, after))
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
		{"AcknowledgesWithoutStoring", "EventLog/AcknowledgedAppendsAreReadBackAtOnce", onLog(func(h *logHook, _ *faulty) {
			var n atomic.Int32
			h.append = func(ctx context.Context, c driver.Commit) error {
				if n.Add(1)%50 == 0 {
					return nil
				}
				return h.EventLog.Append(ctx, c)
			}
		})},
		{"ReadsAStaleCopy", "EventLog/AcknowledgedAppendsAreReadBackAtOnce", onLog(func(h *logHook, _ *faulty) {
			var cached sync.Map
			h.load = func(ctx context.Context, stream string, foldVersion int) ([]driver.Commit, error) {
				cs, err := h.EventLog.Load(ctx, stream, foldVersion)
				if old, ok := cached.Swap(stream, cs); ok && err == nil {
					return old.([]driver.Commit), nil
				}
				return cs, err
			}
		})},
		{"LocksTheWholeLog", "EventLog/ConcurrentAppendsToOtherStreamsDoNotConflict", onLog(func(h *logHook, _ *faulty) {
			var mu sync.Mutex
			h.append = func(ctx context.Context, c driver.Commit) error {
				if !mu.TryLock() {
					return &driver.ConflictError{Winner: c}
				}
				defer mu.Unlock()
				others()
				return h.EventLog.Append(ctx, c)
			}
		})},
		{"ReadsBackwards", "EventLog/ReadIsAscendingWithoutGaps", onRead(func(cs []driver.Commit, err error) ([]driver.Commit, error) {
			slices.Reverse(cs)
			return cs, err
		})},
		{"OrdersNumbersAsText", "EventLog/ReadIsAscendingWithoutGaps", onRead(func(cs []driver.Commit, err error) ([]driver.Commit, error) {
			slices.SortFunc(cs, func(a, b driver.Commit) int {
				return strings.Compare(string(canonical([]byte(jsonOf(a.SequenceNr)))), string(canonical([]byte(jsonOf(b.SequenceNr)))))
			})
			return cs, err
		})},
		{"SkipsACommit", "EventLog/ReadIsAscendingWithoutGaps", onRead(func(cs []driver.Commit, err error) ([]driver.Commit, error) {
			if len(cs) > 9 {
				cs = slices.Delete(cs, 7, 8)
			}
			return cs, err
		})},
		{"OverflowsAtLargeNumbers", "EventLog/ReadIsAscendingWithoutGaps", onLog(func(h *logHook, _ *faulty) {
			h.read = func(ctx context.Context, stream string, after uint64) iter.Seq2[driver.Commit, error] {
				if after > math.MaxInt64 {
					after = 0 // a negative number, in the store's eyes
				}
				return h.EventLog.Read(ctx, stream, after)
			}
		})},
		{"WritesEventByEvent", "EventLog/ReadersSeeWholeCommits", onLog(func(h *logHook, _ *faulty) {
			var writing atomic.Bool
			h.append = func(ctx context.Context, c driver.Commit) error {
				writing.Store(true)
				defer writing.Store(false)
				err := h.EventLog.Append(ctx, c)
				others()
				return err
			}
			h.read = func(ctx context.Context, stream string, after uint64) iter.Seq2[driver.Commit, error] {
				cs, err := stored(h.EventLog.Read(ctx, stream, after))
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
		{"AnEmptyStreamIsNotNil", "EventLog/AnEmptyStreamReadsAsEmpty", onLoad(func(cs []driver.Commit, err error) ([]driver.Commit, error) {
			return append([]driver.Commit{}, cs...), err
		})},
		{"LoadsFromAStaleSnapshot", "EventLog/LoadStartsAtTheNewestMatchingSnapshot", onLog(func(h *logHook, _ *faulty) {
			h.load = func(ctx context.Context, stream string, foldVersion int) ([]driver.Commit, error) {
				cs, err := stored(h.EventLog.Read(ctx, stream, 0))
				for i, c := range cs { // the oldest one that matches
					if c.Snapshot != nil && c.Snapshot.FoldVersion == foldVersion {
						return cs[i:], err
					}
				}
				return cs, err
			}
		})},
		{"LoadsAllAlways", "EventLog/LoadStartsAtTheNewestMatchingSnapshot", onLog(func(h *logHook, _ *faulty) {
			h.load = func(ctx context.Context, stream string, foldVersion int) ([]driver.Commit, error) {
				return h.EventLog.Load(ctx, stream, foldVersion+1000)
			}
		})},
		{"LoadsAfterTheSnapshot", "EventLog/LoadStartsAtTheNewestMatchingSnapshot", onLoad(func(cs []driver.Commit, err error) ([]driver.Commit, error) {
			if len(cs) > 1 && cs[0].Snapshot != nil {
				cs = cs[1:]
			}
			return cs, err
		})},
		{"LosesSnapshots", "EventLog/LoadStartsAtTheNewestMatchingSnapshot", onCommits(func(c driver.Commit) driver.Commit {
			c.Snapshot = nil
			return c
		})},
		{"IgnoresTheFoldVersion", "EventLog/LoadOfAnotherFoldVersionReadsFurtherBack", onLog(func(h *logHook, _ *faulty) {
			h.load = func(ctx context.Context, stream string, _ int) ([]driver.Commit, error) {
				cs, err := stored(h.EventLog.Read(ctx, stream, 0))
				for i := len(cs) - 1; i >= 0; i-- {
					if cs[i].Snapshot != nil {
						return cs[i:], err
					}
				}
				return cs, err
			}
		})},
		{"AcceptsOlderFoldVersions", "EventLog/LoadOfAnotherFoldVersionReadsFurtherBack", onLog(func(h *logHook, _ *faulty) {
			h.load = func(ctx context.Context, stream string, foldVersion int) ([]driver.Commit, error) {
				cs, err := stored(h.EventLog.Read(ctx, stream, 0))
				for i := len(cs) - 1; i >= 0; i-- {
					if cs[i].Snapshot != nil && cs[i].Snapshot.FoldVersion <= foldVersion {
						return cs[i:], err
					}
				}
				return cs, err
			}
		})},
		{"LoadsInTwoReads", "EventLog/LoadNeverSkipsCommits", onLog(func(h *logHook, _ *faulty) {
			h.load = func(ctx context.Context, stream string, foldVersion int) ([]driver.Commit, error) {
				cs, err := h.EventLog.Load(ctx, stream, foldVersion)
				if err != nil || len(cs) == 0 {
					return cs, err
				}
				others() // what comes now is behind the head it knows
				more, err := stored(h.EventLog.Read(ctx, stream, cs[len(cs)-1].SequenceNr+1))
				return append(cs, more...), err
			}
		})},
		{"LoadIgnoresWhatIsNew", "EventLog/LoadNeverSkipsCommits", onLog(func(h *logHook, _ *faulty) {
			var n atomic.Int32
			h.load = func(ctx context.Context, stream string, foldVersion int) ([]driver.Commit, error) {
				cs, err := h.EventLog.Load(ctx, stream, foldVersion)
				if len(cs) > 1 && n.Add(1)%2 == 0 {
					cs = cs[:len(cs)-1] // a lagging replica, now and then
				}
				return cs, err
			}
		})},
		{"ScanSkipsAStream", "EventLog/ScanYieldsEveryStreamInOneSegment", onScan(func(cs []driver.Commit, err error) ([]driver.Commit, error) {
			return slices.DeleteFunc(cs, func(c driver.Commit) bool { return c.Stream == "stream-13" }), err
		})},
		{"ScanYieldsAStreamInTwoSegments", "EventLog/ScanYieldsEveryStreamInOneSegment", onLog(func(h *logHook, _ *faulty) {
			h.scan = func(ctx context.Context, segment, segments int) iter.Seq2[driver.Commit, error] {
				cs, err := stored(h.EventLog.Scan(ctx, 0, 1))
				return again(slices.DeleteFunc(cs, func(c driver.Commit) bool { return int(c.SequenceNr)%segments != segment }), err)
			}
		})},
		{"ScanIsOutOfOrder", "EventLog/ScanYieldsEveryStreamInOneSegment", onScan(func(cs []driver.Commit, err error) ([]driver.Commit, error) {
			slices.Reverse(cs)
			return cs, err
		})},
		{"ScanForgetsTheLastSegment", "EventLog/ScanYieldsEveryStreamInOneSegment", onLog(func(h *logHook, _ *faulty) {
			h.scan = func(ctx context.Context, segment, segments int) iter.Seq2[driver.Commit, error] {
				if segments == 4 && segment == 3 {
					return again(nil, nil)
				}
				return h.EventLog.Scan(ctx, segment, segments)
			}
		})},
		{"ScanIsOfAnOldSnapshot", "EventLog/ScanSeesWhatWasStoredWhenItWasCalled", onLog(func(h *logHook, _ *faulty) {
			var mu sync.Mutex
			var old []driver.Commit
			h.scan = func(ctx context.Context, segment, segments int) iter.Seq2[driver.Commit, error] {
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
		{"ReadsOnePage", "EventLog/LongStreamsAreWhole", onRead(func(cs []driver.Commit, err error) ([]driver.Commit, error) {
			return cs[:min(len(cs), 100)], err // the error of the second page is swallowed
		})},
		{"LoadsOnePage", "EventLog/LongStreamsAreWhole", onLoad(func(cs []driver.Commit, err error) ([]driver.Commit, error) {
			return cs[max(0, len(cs)-150):], err
		})},
		{"LosesTheLastEvent", "EventLog/EverythingOfACommitIsKept", onCommits(func(c driver.Commit) driver.Commit {
			if len(c.Events) > 1 {
				c.Events = c.Events[:len(c.Events)-1]
			}
			return c
		})},
		{"LosesHeaders", "EventLog/EverythingOfACommitIsKept", onCommits(func(c driver.Commit) driver.Commit {
			c.Commands = slices.Clone(c.Commands)
			for i := range c.Commands {
				c.Commands[i].Meta.Headers = nil
			}
			return c
		})},
		{"RoundsTimes", "EventLog/EverythingOfACommitIsKept", onCommits(func(c driver.Commit) driver.Commit {
			c.Commands = slices.Clone(c.Commands)
			for i := range c.Commands {
				c.Commands[i].Meta.Time = c.Commands[i].Meta.Time.Truncate(time.Millisecond)
			}
			return c
		})},
		{"CompactsJSON", "EventLog/PayloadsAreKeptByteForByte", onCommits(func(c driver.Commit) driver.Commit {
			c.Events = slices.Clone(c.Events)
			for i := range c.Events {
				c.Events[i].Data = compact(c.Events[i].Data)
			}
			return c
		})},
		{"TrimsJSON", "EventLog/PayloadsAreKeptByteForByte", onCommits(func(c driver.Commit) driver.Commit {
			c.Events = slices.Clone(c.Events)
			for i := range c.Events {
				c.Events[i].Data = bytes.TrimSpace(c.Events[i].Data)
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
		{"CompactsSnapshots", "EventLog/PayloadsAreKeptByteForByte", onCommits(func(c driver.Commit) driver.Commit {
			if c.Snapshot != nil {
				s := *c.Snapshot
				s.State = compact(s.State)
				c.Snapshot = &s
			}
			return c
		})},
		{"BelievesTheCallersClock", "EventLog/RecordedAtIsTheStoresTime", onLog(func(h *logHook, _ *faulty) {
			var at sync.Map
			h.append = func(ctx context.Context, c driver.Commit) error {
				at.Store(c.SequenceNr, c.RecordedAt)
				return h.EventLog.Append(ctx, c)
			}
			h.read = func(ctx context.Context, stream string, after uint64) iter.Seq2[driver.Commit, error] {
				cs, err := stored(h.EventLog.Read(ctx, stream, after))
				for i := range cs {
					if t, ok := at.Load(cs[i].SequenceNr); ok {
						cs[i].RecordedAt = t.(time.Time)
					}
				}
				return again(cs, err)
			}
		})},
		{"RecordsLocalTime", "EventLog/RecordedAtIsTheStoresTime", onRead(func(cs []driver.Commit, err error) ([]driver.Commit, error) {
			for i := range cs {
				cs[i].RecordedAt = cs[i].RecordedAt.In(time.FixedZone("here", 7200))
			}
			return cs, err
		})},
		{"AcceptsWhatIsInvalid", "EventLog/InvalidCommitsAreRefused", appending(func(ctx context.Context, l driver.EventLog, c driver.Commit) error {
			if err := l.Append(ctx, c); !errors.Is(err, driver.ErrInvalid) {
				return err
			}
			return nil
		})},
		{"RefusesWithoutClass", "EventLog/InvalidCommitsAreRefused", appending(func(ctx context.Context, l driver.EventLog, c driver.Commit) error {
			err := l.Append(ctx, c)
			if errors.Is(err, driver.ErrInvalid) {
				return errors.New("no")
			}
			return err
		})},
		{"RefusesWithTwoClasses", "EventLog/InvalidCommitsAreRefused", appending(func(ctx context.Context, l driver.EventLog, c driver.Commit) error {
			err := l.Append(ctx, c)
			if errors.Is(err, driver.ErrInvalid) {
				return errors.Join(err, driver.ErrUnsupported)
			}
			return err
		})},
		{"IgnoresTheCaseOfIDs", "EventLog/StreamIDsAreKeptApart", onStreams(strings.ToLower)},
		{"TrimsIDs", "EventLog/StreamIDsAreKeptApart", onStreams(func(s string) string {
			if t := strings.TrimSpace(s); t != "" {
				return t
			}
			return s
		})},
		{"CutsLongIDs", "EventLog/StreamIDsAreKeptApart", onStreams(func(s string) string { return s[:min(len(s), 1000)] })},
		{"CleansBadIDs", "EventLog/BadStreamIDsAreRefused", onStreams(func(s string) string { return strings.ToValidUTF8(s, "?") })},
		{"HasAHalfLimit", "EventLog/CommitsUpToTheLimitAreStored", appending(func(ctx context.Context, l driver.EventLog, c driver.Commit) error {
			if b, err := driver.EncodeCommit(c); err == nil && len(b) > 200<<10 {
				return &driver.TooLargeError{What: "commit", Size: len(b), Limit: 200 << 10}
			}
			return l.Append(ctx, c)
		})},
		{"TooLargeWithoutFigures", "EventLog/CommitsOverTheLimitAreRefused", appending(func(ctx context.Context, l driver.EventLog, c driver.Commit) error {
			err := l.Append(ctx, c)
			if errors.Is(err, driver.ErrTooLarge) {
				return driver.ErrTooLarge
			}
			return err
		})},
		{"DoesNotMeasureSnapshots", "EventLog/CommitsOverTheLimitAreRefused", appending(func(ctx context.Context, l driver.EventLog, c driver.Commit) error {
			err := l.Append(ctx, c)
			if s := c.Snapshot; errors.Is(err, driver.ErrTooLarge) && s != nil {
				c.Snapshot = nil
				return l.Append(ctx, c)
			}
			return err
		})},
		{"ReadSwallowsErrors", "EventLog/ErrorsAreNotEmptyResults", onRead(func(cs []driver.Commit, _ error) ([]driver.Commit, error) { return cs, nil })},
		{"LoadSwallowsErrors", "EventLog/ErrorsAreNotEmptyResults", onLoad(func(cs []driver.Commit, _ error) ([]driver.Commit, error) { return cs, nil })},
		{"ScanSwallowsErrors", "EventLog/ErrorsAreNotEmptyResults", onScan(func(cs []driver.Commit, _ error) ([]driver.Commit, error) { return cs, nil })},
		{"IgnoresTheContext", "EventLog/ErrorsAreNotEmptyResults", appending(func(ctx context.Context, l driver.EventLog, c driver.Commit) error {
			return l.Append(context.WithoutCancel(ctx), c)
		})},
		{"EndsQuietlyWhenCancelled", "EventLog/ACancelledReadIsNotAShortStream", onLog(func(h *logHook, _ *faulty) {
			h.read = func(ctx context.Context, stream string, after uint64) iter.Seq2[driver.Commit, error] {
				return func(yield func(driver.Commit, error) bool) {
					for c, err := range h.EventLog.Read(ctx, stream, after) {
						if ctx.Err() != nil || !yield(c, err) {
							return
						}
					}
				}
			}
		})},
		{"LocksWhileItReads", "EventLog/SequencesCanBeLeftEarly", onLog(func(h *logHook, _ *faulty) {
			var mu sync.Mutex
			h.append = func(ctx context.Context, c driver.Commit) error {
				if !mu.TryLock() {
					return driver.ErrUnavailable // a deadlock, but for the test's sake
				}
				defer mu.Unlock()
				return h.EventLog.Append(ctx, c)
			}
			h.read = func(ctx context.Context, stream string, after uint64) iter.Seq2[driver.Commit, error] {
				return func(yield func(driver.Commit, error) bool) {
					mu.Lock()
					defer mu.Unlock()
					h.EventLog.Read(ctx, stream, after)(yield)
				}
			}
		})},
		{"LeavesTheLockWhenLeft", "EventLog/SequencesCanBeLeftEarly", onLog(func(h *logHook, _ *faulty) {
			var left atomic.Bool
			h.append = func(ctx context.Context, c driver.Commit) error {
				if left.Load() {
					return driver.ErrUnavailable
				}
				return h.EventLog.Append(ctx, c)
			}
			h.scan = func(ctx context.Context, segment, segments int) iter.Seq2[driver.Commit, error] {
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
		{"KeepsWhatItIsGiven", "EventLog/ArgumentsAreNotKept", onLog(func(h *logHook, _ *faulty) {
			var kept []driver.Commit
			h.append = func(ctx context.Context, c driver.Commit) error {
				kept = append(kept, c)
				return h.EventLog.Append(ctx, c)
			}
			h.read = func(context.Context, string, uint64) iter.Seq2[driver.Commit, error] { return again(kept, nil) }
		})},
		{"ReturnsWhatItKeeps", "EventLog/ResultsBelongToTheCaller", onLog(func(h *logHook, _ *faulty) {
			var kept []driver.Commit
			h.load = func(ctx context.Context, stream string, foldVersion int) ([]driver.Commit, error) {
				if kept != nil {
					return kept, nil
				}
				var err error
				kept, err = h.EventLog.Load(ctx, stream, foldVersion)
				return kept, err
			}
		})},
		{"LosesTheEndWhenClosed", "EventLog/CommitsSurviveReopening", onLog(func(h *logHook, w *faulty) {
			h.read = func(ctx context.Context, stream string, after uint64) iter.Seq2[driver.Commit, error] {
				cs, err := stored(h.EventLog.Read(ctx, stream, after))
				if w.session > 1 && len(cs) > 0 {
					cs = cs[:len(cs)-1]
				}
				return again(cs, err)
			}
		})},
	}
}

func jsonOf(v any) string {
	b, _ := json.Marshal(v)
	return `"` + string(b) + `"`
}

// onStreams maps stream ids to other ones.
func onStreams(to func(string) string) func(*hooked, *faulty) {
	return onLog(func(h *logHook, _ *faulty) {
		h.append = func(ctx context.Context, c driver.Commit) error {
			c.Stream = to(c.Stream)
			return h.EventLog.Append(ctx, c)
		}
		h.read = func(ctx context.Context, stream string, after uint64) iter.Seq2[driver.Commit, error] {
			return h.EventLog.Read(ctx, to(stream), after)
		}
		h.load = func(ctx context.Context, stream string, foldVersion int) ([]driver.Commit, error) {
			return h.EventLog.Load(ctx, to(stream), foldVersion)
		}
	})
}
