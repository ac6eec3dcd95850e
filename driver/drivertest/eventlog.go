package drivertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// TestEventLog runs the suite of [driver.EventLog].
func TestEventLog(t *testing.T, open Open) { eventLogSuite().run(t, open) }

func eventLogSuite() suite {
	return suite{"EventLog", []property{
		{"OneWinnerOfEightConcurrentAppends", oneWinnerOfEightConcurrentAppends},
		{"ConflictCarriesTheWinner", conflictCarriesTheWinner},
		{"CommitsAreNeverChanged", commitsAreNeverChanged},
		{"AcknowledgedAppendsAreReadBackAtOnce", acknowledgedAppendsAreReadBackAtOnce},
		{"ReadIsAscendingWithoutGaps", readIsAscendingWithoutGaps},
		{"ReadEndsAtThrough", readEndsAtThrough},
		{"ReadersSeeWholeCommits", readersSeeWholeCommits},
		{"AnEmptyStreamReadsAsEmpty", anEmptyStreamReadsAsEmpty},
		{"LoadStartsAtTheNewestMatchingSnapshot", loadStartsAtTheNewestMatchingSnapshot},
		{"LoadOfAnotherStateVersionReadsFurtherBack", loadOfAnotherStateVersionReadsFurtherBack},
		{"LoadNeverSkipsCommits", loadNeverSkipsCommits},
		{"ScanYieldsEveryStreamInOneSegment", scanYieldsEveryStreamInOneSegment},
		{"ScanSeesWhatWasStoredWhenItWasCalled", scanSeesWhatWasStored},
		{"ScanRefusesASegmentOutsideOfTheRange", scanRefusesASegmentOutsideOfTheRange},
		{"LongStreamsAreComplete", longStreamsAreComplete},
		{"PayloadsAreKeptByteForByte", payloadsAreKeptByteForByte},
		{"EverythingOfACommitIsKept", everythingOfACommitIsKept},
		{"RecordedAtIsTheStoresTime", recordedAtIsTheStoresTime},
		{"InvalidCommitsAreRefused", invalidCommitsAreRefused},
		{"StreamIDsAreKeptApart", streamIDsAreKeptApart},
		{"CommitsUpToTheLimitAreStored", commitsUpToTheLimitAreStored},
		{"CommitsOverTheLimitAreRefused", commitsOverTheLimitAreRefused},
		cancelledCallsFail(eventLogCalls),
		{"ACancelledReadIsNotAShortStream", aCancelledReadIsNotAShortStream},
		{"SequencesCanBeLeftEarly", sequencesCanBeLeftEarly},
		{"CommitsAreCopied", commitsAreCopied},
		{"CommitsSurviveReopening", commitsSurviveReopening},
		{"DamagedCommitsAreReported", damagedCommitsAreReported},
	}}
}

func (e *env) eventLog(name string) driver.EventLog {
	e.Helper()
	l, err := e.Provider.OpenEventLog(e.ctx, name)
	return opened(e, l, err)
}

// commitOf returns a valid commit whose event names its writer.
func commitOf(stream string, n uint64, by string) driver.Commit {
	return driver.Commit{
		Stream:     stream,
		SequenceNr: n,
		Events: []driver.Event{{
			Type: "Happened", Version: 1,
			Data: json.RawMessage(fmt.Sprintf(`{"n":%d,"by":%q}`, n, by)),
		}},
		Commands: []driver.AnsweredCommand{{
			Meta:       driver.Meta{ID: fmt.Sprintf("cmd-%s-%d", by, n), CorrelationID: "root"},
			EventCount: 1,
		}},
	}
}

func withSnapshot(c driver.Commit, stateVersion int) driver.Commit {
	c.Snapshot = &driver.Snapshot{
		SnapshotHead: driver.SnapshotHead{StateVersion: stateVersion},
		State:        json.RawMessage(fmt.Sprintf(`{"folded": %d}`, c.SequenceNr)),
		From:         c.SequenceNr,
		Remembered:   []driver.RememberedCommand{{Hash: driver.HashID(c.Commands[0].Meta.ID), SequenceNr: c.SequenceNr, EventCount: 1}},
	}
	return c
}

// ofVersion accepts snapshots with a state version.
func ofVersion(n int) func(driver.SnapshotHead) bool {
	return func(h driver.SnapshotHead) bool { return h.StateVersion == n }
}

// fill appends commits from to to (inclusive), each changed as given, and returns them.
func (e *env) fill(l driver.EventLog, stream string, from, to uint64, change ...func(driver.Commit) driver.Commit) []driver.Commit {
	e.Helper()
	var cs []driver.Commit
	for n := from; n <= to; n++ {
		c := commitOf(stream, n, "fill")
		for _, f := range change {
			c = f(c)
		}
		e.must(l.Append(e.ctx, c), "append %s at %d", short(stream), n)
		cs = append(cs, c)
	}
	return cs
}

func (e *env) read(l driver.EventLog, stream string, after uint64) []driver.Commit {
	e.Helper()
	cs, err := collect(e, l.Read(e.ctx, stream, after, 0))
	e.errorIf(err != nil, "read %s after %d: %v", short(stream), after, err)
	return cs
}

// snapshots is how a comparison treats snapshots.
type snapshots int

const (
	keepSnapshots   snapshots = iota // must be as appended
	allowSnapshots                   // may be left out, must not be another's
	withoutSnapshot                  // must be left out
)

// diffCommit compares a stored commit with the one that was appended, apart from
// RecordedAt.
func diffCommit(got, want driver.Commit, s snapshots) string {
	if got.Stream != want.Stream || got.SequenceNr != want.SequenceNr {
		return fmt.Sprintf("got commit %d of %s, want %d of %s", got.SequenceNr, short(got.Stream), want.SequenceNr, short(want.Stream))
	}
	in := fmt.Sprintf("commit %d of %s: ", want.SequenceNr, short(want.Stream))
	if len(got.Events) != len(want.Events) {
		return fmt.Sprintf("%sgot %d events, want %d", in, len(got.Events), len(want.Events))
	}
	for i, w := range want.Events {
		g := got.Events[i]
		if g.Type != w.Type || g.Version != w.Version {
			return fmt.Sprintf("%sevent %d is %s version %d, want %s version %d", in, i, short(g.Type), g.Version, short(w.Type), w.Version)
		}
		if !bytes.Equal(g.Data, w.Data) {
			return fmt.Sprintf("%sevent %d has the data %s, want %s", in, i, short(string(g.Data)), short(string(w.Data)))
		}
	}
	if len(got.Commands) != len(want.Commands) {
		return fmt.Sprintf("%sgot %d commands, want %d", in, len(got.Commands), len(want.Commands))
	}
	if got.LastSnapshot != want.LastSnapshot {
		return fmt.Sprintf("%sthe last snapshot is %d, want %d", in, got.LastSnapshot, want.LastSnapshot)
	}
	for i, w := range want.Commands {
		g := got.Commands[i]
		if g.Fingerprint != w.Fingerprint {
			return fmt.Sprintf("%scommand %d has the fingerprint %d, want %d", in, i, g.Fingerprint, w.Fingerprint)
		}
		if g.EventCount != w.EventCount {
			return fmt.Sprintf("%scommand %d has %d events, want %d", in, i, g.EventCount, w.EventCount)
		}
		if d := diffMeta(g.Meta, w.Meta); d != "" {
			return fmt.Sprintf("%scommand %d: %s", in, i, d)
		}
	}
	g, w := got.Snapshot, want.Snapshot
	switch {
	case s == withoutSnapshot:
		w = nil
	case s == allowSnapshots && g == nil:
		w = nil
	}
	switch {
	case g == nil && w == nil:
	case g == nil || w == nil:
		return fmt.Sprintf("%sthe commit has a snapshot: %t, want %t", in, g != nil, w != nil)
	case g.StateVersion != w.StateVersion || !bytes.Equal(g.State, w.State):
		return fmt.Sprintf("%sthe snapshot is %d %s, want %d %s", in, g.StateVersion, short(string(g.State)), w.StateVersion, short(string(w.State)))
	case g.Shape != w.Shape || !slices.Equal(g.Folded, w.Folded) || g.From != w.From || !g.Since.Equal(w.Since):
		return fmt.Sprintf("%sthe snapshot is of %q %q from %d %v, want %q %q from %d %v", in, g.Shape, g.Folded, g.From, g.Since, w.Shape, w.Folded, w.From, w.Since)
	case !slices.Equal(g.Remembered, w.Remembered):
		return fmt.Sprintf("%sthe snapshot's commands are %v, want %v", in, g.Remembered, w.Remembered)
	}
	return ""
}

func diffMeta(got, want driver.Meta) string {
	g, w := got, want
	sameTime := g.Time.Equal(w.Time)
	sameHeaders := maps.Equal(g.Headers, w.Headers)
	g.Time, w.Time, g.Headers, w.Headers = time.Time{}, time.Time{}, nil, nil
	switch {
	case !sameTime:
		return fmt.Sprintf("the meta's time is %v, want %v", got.Time, want.Time)
	case !sameHeaders:
		return fmt.Sprintf("the meta's headers are %v, want %v", got.Headers, want.Headers)
	case fmt.Sprintf("%+v", g) != fmt.Sprintf("%+v", w):
		return fmt.Sprintf("the meta is %+v, want %+v", g, w)
	}
	return ""
}

func diffCommits(got, want []driver.Commit, s snapshots) string {
	for i := range min(len(got), len(want)) {
		if d := diffCommit(got[i], want[i], s); d != "" {
			return fmt.Sprintf("at %d: %s", i, d)
		}
	}
	if len(got) != len(want) {
		return fmt.Sprintf("got %d commits, want %d", len(got), len(want))
	}
	return ""
}

// wantStream checks what Read and Load say of a stream without snapshots.
func (e *env) wantStream(l driver.EventLog, stream string, want []driver.Commit) {
	e.Helper()
	e.noDiff(diffCommits(e.read(l, stream, 0), want, keepSnapshots), "Read(%s, 0)", short(stream))
	got, err := l.Load(e.ctx, stream, ofVersion(1))
	if !e.try(err, "Load(%s)", short(stream)) {
		return
	}
	e.noDiff(diffCommits(got, want, keepSnapshots), "Load(%s)", short(stream))
}

// scanAll reads all segments and checks that a stream lies in one of them and
// its commits are in order without gaps. The result is keyed by stream.
func (e *env) scanAll(l driver.EventLog, segments int) map[string][]driver.Commit {
	e.Helper()
	all := map[string][]driver.Commit{}
	where := map[string]int{}
	for seg := range segments {
		cs, err := collect(e, l.Scan(e.ctx, seg, segments))
		e.errorIf(err != nil, "Scan(%d, %d): %v", seg, segments, err)
		for _, c := range cs {
			at, ok := where[c.Stream]
			e.errorIf(ok && at != seg, "of %d segments stream %s lies in %d and %d", segments, short(c.Stream), at, seg)
			where[c.Stream] = seg
			got, want := c.SequenceNr, uint64(len(all[c.Stream])+1)
			e.errorIf(got != want, "Scan(%d, %d) yields commit %d of %s, want commit %d", seg, segments, got, short(c.Stream), want)
			all[c.Stream] = append(all[c.Stream], c)
		}
	}
	return all
}

func oneWinnerOfEightConcurrentAppends(e *env) {
	l := e.eventLog("Test.Log")
	const racers = 8
	rounds := uint64(e.times(25))
	for n := uint64(1); n <= rounds; n++ {
		var won [racers]bool
		race(racers, func(i int) {
			c := commitOf("contended", n, fmt.Sprintf("racer%d", i))
			switch err := l.Append(e.ctx, c); {
			case err == nil:
				won[i] = true
			default:
				e.wantClass(err, driver.ErrConflict, "racer %d at %d", i, n)
			}
		})
		winner := -1
		for i, w := range won {
			if !w {
				continue
			}
			e.fatalIf(winner >= 0, "at %d both racer %d and racer %d won", n, winner, i)
			winner = i
		}
		e.fatalIf(winner < 0, "at %d no racer won", n)
		got := e.read(l, "contended", n-1)
		want := []driver.Commit{commitOf("contended", n, fmt.Sprintf("racer%d", winner))}
		if d := diffCommits(got, want, keepSnapshots); d != "" {
			e.Fatalf("after racer %d won at %d: %s", winner, n, d)
		}
	}
}

func wantWinner(e *env, err error, winner driver.Commit, what string) {
	e.Helper()
	if !e.wantClass(err, driver.ErrConflict, "%s", what) {
		return
	}
	var conflict *driver.ConflictError
	if !errors.As(err, &conflict) {
		e.Errorf("%s: got %v, want a *ConflictError", what, err)
		return
	}
	e.noDiff(diffCommit(conflict.Winner, winner, keepSnapshots), "%s: the winner", what)
	e.errorIf(conflict.Winner.RecordedAt.IsZero(), "%s: the winner has no RecordedAt: it is not the stored commit", what)
}

func conflictCarriesTheWinner(e *env) {
	l := e.eventLog("Test.Log")
	want := e.fill(l, "s", 1, 3, func(c driver.Commit) driver.Commit {
		c.Events = append(c.Events, driver.Event{Type: "Also", Version: 2, Data: json.RawMessage(`{ "x" : 1.0 }`)})
		c.Commands[0].EventCount = len(c.Events)
		return withSnapshot(c, 1)
	})
	for _, w := range want {
		err := l.Append(e.ctx, commitOf("s", w.SequenceNr, "loser"))
		wantWinner(e, err, w, fmt.Sprintf("append at the taken number %d", w.SequenceNr))
	}
	// In a race, too, each loser gets the winner.
	var won atomic.Pointer[driver.Commit]
	errs := make([]error, 8)
	race(8, func(i int) {
		c := commitOf("s", 4, fmt.Sprintf("racer%d", i))
		if errs[i] = l.Append(e.ctx, c); errs[i] == nil {
			won.Store(&c)
		}
	})
	w := won.Load()
	e.fatalIf(w == nil, "no racer won: %v", errs)
	for i, err := range errs {
		if err != nil {
			wantWinner(e, err, *w, fmt.Sprintf("racer %d", i))
		}
	}
}

func commitsAreNeverChanged(e *env) {
	l := e.eventLog("Test.Log")
	want := e.fill(l, "s", 1, 5)
	for _, c := range want {
		wantWinner(e, l.Append(e.ctx, c), c, "append of the same commit")
		wantWinner(e, l.Append(e.ctx, commitOf("s", c.SequenceNr, "intruder")), c, "append of another commit")
	}
	e.wantStream(l, "s", want)
	e.noDiff(diffCommits(e.scanAll(l, 1)["s"], want, keepSnapshots), "Scan")
}

func acknowledgedAppendsAreReadBackAtOnce(e *env) {
	l := e.eventLog("Test.Log")
	other := e.eventLog("Test.Log")
	race(8, func(i int) {
		stream := fmt.Sprintf("s%d", i)
		var want []driver.Commit
		for n := uint64(1); n <= 20; n++ {
			c := commitOf(stream, n, "writer")
			if n%7 == 0 {
				c.Events = append(c.Events, c.Events[0], driver.Event{Type: "Last", Version: 1, Data: json.RawMessage(`[]`)})
				c.Commands[0].EventCount = len(c.Events)
				c.Commands[0].EventCount = 3
			}
			if !e.try(l.Append(e.ctx, c), "append %s at %d", stream, n) {
				return
			}
			want = append(want, c)
			e.wantStream(other, stream, want)
			if e.Failed() {
				return
			}
		}
		e.noDiff(diffCommits(e.scanAll(other, 1)[stream], want, keepSnapshots), "Scan of %s", stream)
	})
}

func readIsAscendingWithoutGaps(e *env) {
	l := e.eventLog("Test.Log")
	all := e.fill(l, "s", 1, 12)
	e.fill(l, "r", 1, 3) // streams before and after it in the order of keys
	e.fill(l, "t", 1, 3)
	for after := uint64(0); after <= 13; after++ {
		want := all[min(after, 12):]
		e.noDiff(diffCommits(e.read(l, "s", after), want, keepSnapshots), "Read(s, %d)", after)
	}
	for _, after := range []uint64{math.MaxInt32, math.MaxInt64, math.MaxInt64 + 1, math.MaxUint64} {
		got := e.read(l, "s", after)
		e.errorIf(len(got) != 0, "Read(s, %d) yields %d commits, want none", after, len(got))
	}
}

func readEndsAtThrough(e *env) {
	l := e.eventLog("Test.Log")
	all := e.fill(l, "s", 1, 5)
	for after := range uint64(7) {
		for through := uint64(1); through < 8; through++ {
			got, err := collect(e, l.Read(e.ctx, "s", after, through))
			want := all[min(after, 5):]
			want = want[:max(0, int(min(through, 5))-int(min(after, 5)))]
			if e.try(err, "Read after %d through %d", after, through) {
				e.noDiff(diffCommits(got, want, keepSnapshots), "Read after %d through %d", after, through)
			}
		}
	}
}

func readersSeeWholeCommits(e *env) {
	l := e.eventLog("Test.Log")
	const events = 20
	write := func(n int) bool {
		c := commitOf("s", uint64(n), "w")
		for len(c.Events) < events {
			c.Events = append(c.Events, c.Events[0])
			c.Commands[0].EventCount = len(c.Events)
		}
		return e.try(l.Append(e.ctx, c), "append at %d", n)
	}
	read := func() bool {
		for i, c := range e.read(l, "s", 0) {
			if c.SequenceNr != uint64(i+1) || len(c.Events) != events {
				e.Errorf("with a concurrent writer, commit %d has number %d and %d events, want %d and %d", i, c.SequenceNr, len(c.Events), i+1, events)
				return false
			}
		}
		return !e.Failed()
	}
	e.beside(20, 120, write, read, read, read)
}

func anEmptyStreamReadsAsEmpty(e *env) {
	l := e.eventLog("Test.Log")
	check := func(stream string) {
		if got := e.read(l, stream, 0); len(got) != 0 {
			e.Errorf("Read(%q) yields %d commits, want none", stream, len(got))
		}
		got, err := l.Load(e.ctx, stream, ofVersion(1))
		e.errorIf(err != nil || got != nil, "Load(%q) = %v, %v, want nil, nil", stream, got, err)
	}
	check("nobody")
	for segments := 1; segments <= 4; segments++ {
		if all := e.scanAll(l, segments); len(all) != 0 {
			e.Errorf("Scan of an empty log in %d segments yields %d streams", segments, len(all))
		}
	}
	e.fill(l, "somebody", 1, 2)
	check("nobody")
	check("some")
	check("somebody2")
}

// wantLoad checks Load against all commits of the stream and the index of
// the commit at which it must start.
func (e *env) wantLoad(l driver.EventLog, stream string, stateVersion int, all []driver.Commit, start int) {
	e.Helper()
	got, err := l.Load(e.ctx, stream, ofVersion(stateVersion))
	if !e.try(err, "Load(%q, %d)", stream, stateVersion) {
		return
	}
	// Only the first commit's snapshot is to be used; the others may be left out.
	if d := diffCommits(got, all[start:], allowSnapshots); d != "" {
		e.Errorf("Load(%q, %d), to start at commit %d of %d: %s", stream, stateVersion, start+1, len(all), d)
		return
	}
	if s := all[start].Snapshot; s != nil && s.StateVersion == stateVersion {
		e.noDiff(diffCommit(got[0], all[start], keepSnapshots), "Load(%q, %d): the snapshot to start from", stream, stateVersion)
	}
}

func loadStartsAtTheNewestMatchingSnapshot(e *env) {
	l := e.eventLog("Test.Log")
	var all []driver.Commit
	start := 0
	for n := uint64(1); n <= 14; n++ {
		c := commitOf("s", n, "w")
		if n%4 == 0 {
			c = withSnapshot(c, 7)
			start = int(n) - 1
		}
		e.must(l.Append(e.ctx, c), "append at %d", n)
		all = append(all, c)
		e.wantLoad(l, "s", 7, all, start)
	}
	e.noDiff(diffCommits(e.read(l, "s", 0), all, keepSnapshots), "Read of a stream with snapshots")
	e.noDiff(diffCommits(e.scanAll(l, 1)["s"], all, keepSnapshots), "Scan of a stream with snapshots")
	// A snapshot on every commit, the first one included.
	var each []driver.Commit
	for n := uint64(1); n <= 3; n++ {
		each = append(each, e.fill(l, "each", n, n, func(c driver.Commit) driver.Commit { return withSnapshot(c, 7) })...)
		e.wantLoad(l, "each", 7, each, int(n)-1)
	}
}

func loadOfAnotherStateVersionReadsFurtherBack(e *env) {
	l := e.eventLog("Test.Log")
	versions := map[uint64]int{2: 1, 4: 2, 5: 1, 8: 3, 9: 2, 11: 0}
	all := e.fill(l, "s", 1, 12, func(c driver.Commit) driver.Commit {
		if v, ok := versions[c.SequenceNr]; ok {
			return withSnapshot(c, v)
		}
		return c
	})
	for version, start := range map[int]int{0: 10, 1: 4, 2: 8, 3: 7, 4: 0, -1: 0} {
		e.wantLoad(l, "s", version, all, start)
	}
}

func loadNeverSkipsCommits(e *env) {
	l := e.eventLog("Test.Log")
	var stored atomic.Uint64
	write := func(n int) bool {
		c := commitOf("s", uint64(n), "w")
		if n%5 == 0 {
			c = withSnapshot(c, 1)
		}
		if !e.try(l.Append(e.ctx, c), "append at %d", n) {
			return false
		}
		stored.Store(uint64(n))
		return true
	}
	read := func() bool {
		before := stored.Load()
		cs, err := l.Load(e.ctx, "s", ofVersion(1))
		if !e.try(err, "Load with a concurrent writer") {
			return false
		}
		if len(cs) == 0 {
			e.errorIf(before > 0, "Load with a concurrent writer returned nothing; %d commits were stored before", before)
			return before == 0
		}
		first := cs[0]
		if first.SequenceNr != 1 && (first.Snapshot == nil || first.Snapshot.StateVersion != 1) {
			e.Errorf("Load starts at commit %d without a usable snapshot", first.SequenceNr)
		}
		for i, c := range cs {
			e.errorIf(c.SequenceNr != first.SequenceNr+uint64(i), "Load yields commit %d, want commit %d", c.SequenceNr, first.SequenceNr+uint64(i))
		}
		end := cs[len(cs)-1].SequenceNr
		e.errorIf(end < before, "Load ends at commit %d, %d were stored before", end, before)
		return !e.Failed()
	}
	e.beside(40, 2000, write, read, read, read)
}

func scanYieldsEveryStreamInOneSegment(e *env) {
	l := e.eventLog("Test.Log")
	want := map[string][]driver.Commit{}
	for n := uint64(1); n <= 6; n++ { // round robin, so that the streams are interleaved in the store
		for i := range 20 {
			stream := fmt.Sprintf("stream-%d", i)
			if uint64(i)%6+1 < n {
				continue // streams of different lengths
			}
			c := commitOf(stream, n, "w")
			e.must(l.Append(e.ctx, c), "append %s at %d", stream, n)
			want[stream] = append(want[stream], c)
		}
	}
	for segments := 1; segments <= 4; segments++ {
		got := e.scanAll(l, segments)
		e.errorIf(len(got) != len(want), "Scan in %d segments yields %d streams, want %d", segments, len(got), len(want))
		for stream, cs := range want {
			e.noDiff(diffCommits(got[stream], cs, keepSnapshots), "Scan in %d segments: %s", segments, stream)
		}
	}
}

func scanSeesWhatWasStored(e *env) {
	l := e.eventLog("Test.Log")
	const streams = 4
	var stored [streams]atomic.Uint64
	write := func(n int) bool {
		i, nr := (n-1)%streams, uint64((n-1)/streams+1)
		if !e.try(l.Append(e.ctx, commitOf(fmt.Sprintf("s%d", i), nr, "w")), "append") {
			return false
		}
		stored[i].Store(nr)
		return true
	}
	scan := func(segments int) func() bool {
		return func() bool {
			var before [streams]uint64
			for i := range streams {
				before[i] = stored[i].Load()
			}
			all := e.scanAll(l, segments) // checks order and gaps
			for i := range streams {
				if got := uint64(len(all[fmt.Sprintf("s%d", i)])); got < before[i] {
					e.Errorf("Scan with a concurrent writer yields %d commits of s%d; %d were stored before", got, i, before[i])
				}
			}
			return !e.Failed()
		}
	}
	e.beside(40, 1000, write, scan(1), scan(3))
}

func scanRefusesASegmentOutsideOfTheRange(e *env) {
	l := e.eventLog("Test.Log")
	e.fill(l, "s", 1, 2)
	for _, c := range [][2]int{{-1, 1}, {1, 1}, {4, 4}, {5, 4}, {0, 0}, {0, -1}, {-1, -1}} {
		got, err := collect(e, l.Scan(e.ctx, c[0], c[1]))
		e.wantClass(err, driver.ErrInvalid, "Scan(%d, %d)", c[0], c[1])
		e.errorIf(len(got) != 0, "Scan(%d, %d) yields %d commits, want none", c[0], c[1], len(got))
	}
}

func longStreamsAreComplete(e *env) {
	l := e.eventLog("Test.Log")
	// Together more than a page of 1 MB, and numbers of one to three digits.
	size := min(6<<10, e.Provider.Limits().MaxCommitBytes/2)
	all := e.fill(l, "long", 1, 220, func(c driver.Commit) driver.Commit { return filled(c, size) })
	e.wantStream(l, "long", all)
	e.noDiff(diffCommits(e.scanAll(l, 3)["long"], all, keepSnapshots), "Scan")
	e.noDiff(diffCommits(e.read(l, "long", 99), all[99:], keepSnapshots), "Read(long, 99)")
}

// oddJSON are valid texts that an encoder would write in another way.
func oddJSON() []string {
	return []string{
		`{}`, `[]`, `null`, `true`, `"x"`, `0`, `-0`, `1.0`, `1e2`, `1E+2`, `0.10`,
		`{ "a" : 1 ,  "b":[ 1, 2 ,3 ] }`,
		"{\n\t\"a\":\r\n 1\n}",
		` {"surrounded": true} `, "\n[1]\n", ` 7`,
		`{"html":"<a href='x'>&amp;</a>"}`,
		`{"separators":"` + "\u2028\u2029" + `"}`,
		`{"unicode":"äöü 日本語 😀 e` + "\u0301" + `"}`,
		`{"escaped":"\u00e4\u0041\u003c\/\b\f\n\r\t\"\\"}`,
		`{"nul":"\u0000","lone":"\ud800"}`,
		`{"big":12345678901234567890123456789.000000000000000000001,"exp":1e400,"small":1e-400}`,
		`{"z":1,"a":2,"z":3}`,
		`{"":{"":""}}`,
		`[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]`,
		`{"quote":"it's ` + "`" + `$1 ?1 :x @y --"}`,
	}
}

func payloadsAreKeptByteForByte(e *env) {
	l := e.eventLog("Test.Log")
	var all []driver.Commit
	for i, text := range oddJSON() {
		c := withSnapshot(commitOf("odd", uint64(i+1), "w"), 1)
		c.Events = []driver.Event{
			{Type: "Odd", Version: 1, Data: json.RawMessage(text)},
			{Type: "Ödd <&> \"\\\u2028", Version: 2, Data: json.RawMessage(text)},
		}
		c.Commands[0].EventCount = len(c.Events)
		c.Snapshot.State = json.RawMessage(text)
		e.must(l.Append(e.ctx, c), "append %s", text)
		all = append(all, c)
		e.wantLoad(l, "odd", 1, all, i)
	}
	e.noDiff(diffCommits(e.read(l, "odd", 0), all, keepSnapshots), "Read")
	e.noDiff(diffCommits(e.scanAll(l, 1)["odd"], all, keepSnapshots), "Scan")
	last := all[len(all)-1]
	wantWinner(e, l.Append(e.ctx, commitOf("odd", last.SequenceNr, "loser")), last, "append at a taken number")
}

func everythingOfACommitIsKept(e *env) {
	l := e.eventLog("Test.Log")
	at := time.Date(2024, time.February, 29, 23, 59, 59, 123456789, time.UTC)
	c := driver.Commit{
		Stream: "s", SequenceNr: 1,
		Events: []driver.Event{
			{Type: "A", Version: 1, Data: json.RawMessage(`{"a":1}`)},
			{Type: "B", Version: 2, Data: json.RawMessage(`{"b":2}`)},
			{Type: "A", Version: 300, Data: json.RawMessage(`{"a":3}`)},
		},
		Commands: []driver.AnsweredCommand{
			{EventCount: 2, Fingerprint: 1<<32 - 1, Meta: driver.Meta{
				ID: "c1", Depth: 3, CorrelationID: "root", CausationID: "parent", Time: at,
				User: "u <&> \"x\" \u2028", IP: "2001:db8::1", TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
				Headers: map[string]string{"a": "1", "Ä\u2028": "<&>", "": "empty"},
			}},
			{EventCount: 0, Meta: driver.Meta{ID: "c2", CorrelationID: "c2"}},
			{EventCount: 1, Meta: driver.Meta{ID: "c3 😀", Headers: map[string]string{"only": "this"}}},
		},
		LastSnapshot: 7,
		Snapshot: &driver.Snapshot{
			SnapshotHead: driver.SnapshotHead{StateVersion: 12, Shape: "shape", Folded: []string{"A/1", "A/300", "B/2"}},
			State:        json.RawMessage(`{"s":1}`), From: 3, Since: at,
			Remembered: []driver.RememberedCommand{
				{Hash: 1<<64 - 1, Fingerprint: 1<<32 - 1, SequenceNr: 9, EventCount: 4}, {Hash: 5, SequenceNr: 1, EventCount: 2}, {SequenceNr: 1},
			},
		},
	}
	e.must(l.Append(e.ctx, c), "append")
	e.wantLoad(l, "s", 12, []driver.Commit{c}, 0)
	e.noDiff(diffCommits(e.read(l, "s", 0), []driver.Commit{c}, keepSnapshots), "Read")
	e.noDiff(diffCommits(e.scanAll(l, 1)["s"], []driver.Commit{c}, keepSnapshots), "Scan")
	wantWinner(e, l.Append(e.ctx, commitOf("s", 1, "loser")), c, "append at a taken number")
}

func recordedAtIsTheStoresTime(e *env) {
	l := e.eventLog("Test.Log")
	recorded := func(n uint64) time.Time {
		c := commitOf("s", n, "w")
		c.RecordedAt = time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)
		before := e.Now()
		e.must(l.Append(e.ctx, c), "append at %d", n)
		after := e.Now()
		got := e.read(l, "s", n-1)
		e.fatalIf(len(got) != 1, "got %d commits, want 1", len(got))
		at := got[0].RecordedAt
		e.errorIf(at.Location() != time.UTC, "RecordedAt %v is not in UTC", at)
		// The store may keep whole seconds only, and its clock may be another machine's.
		slack := time.Second + e.Lag
		e.errorIf(at.Before(before.Add(-slack)) || at.After(after.Add(slack)), "RecordedAt = %v, want between %v and %v", at, before, after)
		return at
	}
	first := recorded(1)
	loaded, err := l.Load(e.ctx, "s", ofVersion(1))
	e.must(err, "Load")
	e.errorIf(len(loaded) != 1 || !loaded[0].RecordedAt.Equal(first), "Load: RecordedAt differs from that of Read, %v", first)
	e.advance(90 * time.Minute)
	second := recorded(2)
	e.errorIf(second.Sub(first) < 89*time.Minute, "RecordedAt moved by %v while the clock moved by 90m", second.Sub(first))
}

func invalidCommitsAreRefused(e *env) {
	l := e.eventLog("Test.Log")
	for name, spoil := range map[string]func(*driver.Commit){
		"number 0":                   func(c *driver.Commit) { c.SequenceNr = 0 },
		"no events":                  func(c *driver.Commit) { c.Events = nil },
		"empty events":               func(c *driver.Commit) { c.Events = []driver.Event{} },
		"no commands":                func(c *driver.Commit) { c.Commands = nil },
		"an event without a type":    func(c *driver.Commit) { c.Events[0].Type = "" },
		"no data":                    func(c *driver.Commit) { c.Events[0].Data = nil },
		"empty data":                 func(c *driver.Commit) { c.Events[0].Data = json.RawMessage{} },
		"data that is not JSON":      func(c *driver.Commit) { c.Events[0].Data = json.RawMessage(`{"a":}`) },
		"two values as data":         func(c *driver.Commit) { c.Events[0].Data = json.RawMessage(`{} {}`) },
		"data that ends early":       func(c *driver.Commit) { c.Events[0].Data = json.RawMessage(`{"a":1`) },
		"data that closes the event": func(c *driver.Commit) { c.Events[0].Data = json.RawMessage(`{}},{"type":"Forged","data":{}`) },
		"the second event is bad": func(c *driver.Commit) {
			c.Events = append(c.Events, driver.Event{Type: "X", Version: 1, Data: json.RawMessage(`nope`)})
			c.Commands[0].EventCount = 2
		},
		"fewer commands than events": func(c *driver.Commit) { c.Commands[0].EventCount = 0 },
		"a negative event count": func(c *driver.Commit) {
			c.Commands = append(c.Commands, c.Commands[0])
			c.Commands[0].EventCount, c.Commands[1].EventCount = -1, 2
		},
		"a snapshot that is not JSON": func(c *driver.Commit) {
			c.Snapshot = &driver.Snapshot{State: json.RawMessage(`{`)}
		},
		"a snapshot without state": func(c *driver.Commit) { c.Snapshot = &driver.Snapshot{} },
	} {
		c := commitOf("s", 1, "w")
		spoil(&c)
		e.wantClass(l.Append(e.ctx, c), driver.ErrInvalid, "append with %s", name)
	}
	for name, id := range badIDs() {
		e.wantClass(l.Append(e.ctx, commitOf(id, 1, "w")), driver.ErrInvalid, "append to a stream id that is %s", name)
	}
	all := e.scanAll(l, 1)
	e.errorIf(len(all) != 0, "%d streams of refused commits are stored", len(all))
	e.wantStream(l, "s", e.fill(l, "s", 1, 1))
}

func streamIDsAreKeptApart(e *env) {
	l := e.eventLog("Test.Log")
	want := map[string][]driver.Commit{}
	for i, id := range goodIDs() {
		for n := uint64(1); n <= 2; n++ {
			c := commitOf(id, n, fmt.Sprintf("owner%d", i))
			if e.try(l.Append(e.ctx, c), "append to %s at %d", short(id), n) {
				want[id] = append(want[id], c)
			}
		}
	}
	for id, cs := range want {
		e.wantStream(l, id, cs)
	}
	all := e.scanAll(l, 3)
	e.errorIf(len(all) != len(want), "Scan yields %d streams, want %d", len(all), len(want))
	for id, cs := range want {
		e.noDiff(diffCommits(all[id], cs, keepSnapshots), "Scan: %s", short(id))
	}
}

// filled returns c with an event's data of about size bytes.
func filled(c driver.Commit, size int) driver.Commit {
	c.Events = slices.Clone(c.Events)
	c.Events[0].Data = json.RawMessage(`"` + strings.Repeat("x", max(0, size-2)) + `"`)
	return c
}

// almost returns a size just under limit: it leaves room for what a store keeps
// beside the payload.
func almost(limit int) int { return limit - min(2<<10, limit/2) }

func commitsUpToTheLimitAreStored(e *env) {
	l := e.eventLog("Test.Log")
	limit := e.testableLimit("MaxCommitBytes", e.Provider.Limits().MaxCommitBytes)
	whole := filled(commitOf("whole", 1, "w"), almost(limit))
	e.must(l.Append(e.ctx, whole), "append a commit just under the limit of %d", limit)
	e.wantStream(l, "whole", []driver.Commit{whole})

	many := commitOf("many", 1, "w")
	many.Events = nil
	for range 50 {
		many.Events = append(many.Events, filled(commitOf("", 1, ""), almost(limit)/50-100).Events...)
		many.Commands[0].EventCount = len(many.Events)
	}
	e.must(l.Append(e.ctx, many), "append many events just under the limit of %d", limit)
	e.wantStream(l, "many", []driver.Commit{many})

	snap := withSnapshot(commitOf("snap", 1, "w"), 1)
	snap.Snapshot.State = filled(snap, almost(limit)-256).Events[0].Data
	e.must(l.Append(e.ctx, snap), "append a snapshot just under the limit of %d", limit)
	e.wantLoad(l, "snap", 1, []driver.Commit{snap}, 0)
}

func commitsOverTheLimitAreRefused(e *env) {
	l := e.eventLog("Test.Log")
	limit := e.testableLimit("MaxCommitBytes", e.Provider.Limits().MaxCommitBytes)
	e.fill(l, "s", 1, 1)

	e.wantTooLarge(l.Append(e.ctx, filled(commitOf("s", 2, "w"), limit+1)), "commit", limit, "a commit just over the limit")

	many := commitOf("s", 2, "w")
	for range 20 {
		many.Events = append(many.Events, filled(commitOf("s", 2, "w"), limit/20+1).Events...)
		many.Commands[0].EventCount = len(many.Events)
	}
	e.wantTooLarge(l.Append(e.ctx, many), "commit", limit, "many events over the limit")

	snap := withSnapshot(commitOf("s", 2, "w"), 1)
	snap.Snapshot.State = filled(snap, limit+1).Events[0].Data
	e.wantTooLarge(l.Append(e.ctx, snap), "commit", limit, "a snapshot over the limit")

	both := withSnapshot(filled(commitOf("s", 2, "w"), limit*2/3), 1)
	both.Snapshot.State = both.Events[0].Data
	e.wantTooLarge(l.Append(e.ctx, both), "commit", limit, "events and a snapshot together over the limit")

	e.wantTooLarge(l.Append(e.ctx, filled(commitOf("new", 1, "w"), 3*limit)), "commit", limit, "three times the limit")
	got := e.read(l, "new", 0)
	e.errorIf(len(got) != 0, "a refused commit is stored")
	want := append([]driver.Commit{commitOf("s", 1, "fill")}, e.fill(l, "s", 2, 2)...)
	e.wantStream(l, "s", want)
}

func aCancelledReadIsNotAShortStream(e *env) {
	l := e.eventLog("Test.Log")
	const commits = 150
	size := min(8<<10, e.Provider.Limits().MaxCommitBytes/2)
	e.fill(l, "s", 1, commits, func(c driver.Commit) driver.Commit { return filled(c, size) })
	for name, open := range map[string]func(ctx context.Context) func(func(driver.Commit, error) bool){
		"Read": func(ctx context.Context) func(func(driver.Commit, error) bool) { return l.Read(ctx, "s", 0, 0) },
		"Scan": func(ctx context.Context) func(func(driver.Commit, error) bool) { return l.Scan(ctx, 0, 1) },
	} {
		ctx, cancel := context.WithCancel(e.ctx)
		got := 0
		var failed error
		for _, err := range open(ctx) {
			if err != nil {
				failed = err
				continue
			}
			if got++; got == 2 {
				cancel()
			}
		}
		cancel()
		switch {
		case failed == nil && got != commits:
			e.Errorf("%s, cancelled on its way, ends after %d of %d commits without an error", name, got, commits)
		case failed != nil && !errors.Is(failed, context.Canceled):
			e.Errorf("%s, cancelled on its way: got %v, want context.Canceled", name, failed)
		}
	}
}

func sequencesCanBeLeftEarly(e *env) {
	l := e.eventLog("Test.Log")
	want := e.fill(l, "s", 1, 10)
	for range 20 { // a leaked lock or reader would show
		for c, err := range l.Read(e.ctx, "s", 0, 0) {
			e.must(err, "Read")
			if c.SequenceNr == 2 {
				break
			}
		}
		for _, err := range l.Scan(e.ctx, 0, 1) {
			e.must(err, "Scan")
			break
		}
	}
	// Appending while a sequence is open must not deadlock.
	for c, err := range l.Read(e.ctx, "s", 0, 0) {
		e.must(err, "Read")
		if c.SequenceNr == 1 {
			want = append(want, e.fill(l, "s", 11, 11)...)
		}
	}
	e.wantStream(l, "s", want)
}

// wipe overwrites all bytes of b.
func wipe(b []byte) { copy(b, bytes.Repeat([]byte("!"), len(b))) }

// scribble overwrites all that c points to.
func scribble(c driver.Commit) {
	for i := range c.Events {
		wipe(c.Events[i].Data)
		c.Events[i] = driver.Event{}
	}
	for i := range c.Commands {
		clear(c.Commands[i].Meta.Headers)
		c.Commands[i] = driver.AnsweredCommand{}
	}
	if s := c.Snapshot; s != nil {
		wipe(s.State)
		clear(s.Remembered)
		*s = driver.Snapshot{}
	}
}

// commitsAreCopied overwrites what Append was given and what each method returned.
func commitsAreCopied(e *env) {
	l := e.eventLog("Test.Log")
	build := func() driver.Commit {
		c := withSnapshot(commitOf("s", 1, "w"), 1)
		c.Commands[0].Meta.Headers = map[string]string{"h": "1"}
		return c
	}
	want := []driver.Commit{build()}
	c := build()
	e.must(l.Append(e.ctx, c), "append")
	d := diffCommit(c, build(), keepSnapshots)
	e.errorIf(d != "" || !c.RecordedAt.IsZero(), "Append changed its argument: %s, RecordedAt %v", d, c.RecordedAt)
	check := func(what string, overwritten ...driver.Commit) {
		e.Helper()
		for _, c := range overwritten {
			scribble(c)
		}
		e.noDiff(diffCommits(e.read(l, "s", 0), want, keepSnapshots), "after %s was overwritten", what)
		e.wantLoad(l, "s", 1, want, 0)
	}
	check("the argument of Append", c)
	check("the result of Read", e.read(l, "s", 0)...)
	loaded, err := l.Load(e.ctx, "s", ofVersion(1))
	e.must(err, "Load")
	check("the result of Load", loaded...)
	check("the result of Scan", e.scanAll(l, 1)["s"]...)
	var conflict *driver.ConflictError
	if errors.As(l.Append(e.ctx, commitOf("s", 1, "loser")), &conflict) {
		check("the winner of a conflict", conflict.Winner)
	}
}

func commitsSurviveReopening(e *env) {
	e.needReopen()
	l := e.eventLog("Test.Log")
	want := e.fill(l, "s", 1, 5, func(c driver.Commit) driver.Commit {
		if c.SequenceNr == 3 {
			return withSnapshot(c, 1)
		}
		return c
	})
	at := e.read(l, "s", 0)[0].RecordedAt
	e.reopen()
	l = e.eventLog("Test.Log")
	e.noDiff(diffCommits(e.read(l, "s", 0), want, keepSnapshots), "Read")
	e.wantLoad(l, "s", 1, want, 2)
	e.noDiff(diffCommits(e.scanAll(l, 2)["s"], want, keepSnapshots), "Scan")
	if got := e.read(l, "s", 0); len(got) > 0 && !got[0].RecordedAt.Equal(at) {
		e.Errorf("RecordedAt = %v, was %v before", got[0].RecordedAt, at)
	}
	wantWinner(e, l.Append(e.ctx, commitOf("s", 5, "loser")), want[4], "append at a taken number")
	e.fill(l, "s", 6, 6)
}
