package drivertest

import (
	"fmt"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// TestCounter runs the suite of [driver.Counter].
func TestCounter(t *testing.T, open Open) { counterSuite().run(t, open) }

func counterSuite() suite {
	return suite{"Counter", append(receiverProperties(true, finishQueue), []property{
		{"ACounterNeverUsedIsZero", aCounterNeverUsedIsZero},
		{"CountsAndTargetsAddUp", countsAndTargetsAddUp},
		{"ReferencesCountOnce", referencesCountOnce},
		{"ReferencesCountOnceForAWeek", referencesCountOnceForAWeek},
		{"ReachingTheTargetFinishesOnce", reachingTheTargetFinishesOnce},
		{"CountsMayComeBeforeTheTarget", countsMayComeBeforeTheTarget},
		{"EveryReachedTargetFinishes", everyReachedTargetFinishes},
		{"ConcurrentCountsFinishExactlyOnce", concurrentCountsFinishExactlyOnce},
		{"CountersAreKeptApart", countersAreKeptApart},
		{"BadArgumentsAreRefused", badCounterArgumentsAreRefused},
		{"FinishesSurviveReopening", finishesSurviveReopening},
		cancelledCallsFail(counterCalls),
	}...)}
}

// counterEnds are a counter and the receiver of the targets that it reaches.
type counterEnds struct {
	driver.Counter
	driver.Receiver[driver.CounterFinished]
}

func (e *env) counter(name string) counterEnds {
	e.Helper()
	c, err := e.Provider.OpenCounter(e.ctx, name)
	r, err2 := e.Provider.OpenCounterReceiver(e.ctx, name)
	return counterEnds{opened(e, c, err), opened(e, r, err2)}
}

// finishQueue finishes counters: target n of a group is n.
func finishQueue(e *env) queue[driver.CounterFinished] {
	c := e.counter("Test.Counter")
	return queue[driver.CounterFinished]{
		Receiver: c,
		put: func(group string, n int) {
			e.try(c.AddTarget(e.ctx, group, fmt.Sprintf("r%d", n), 1), "AddTarget %d of %s", n, short(group))
			e.try(c.Count(e.ctx, group, fmt.Sprintf("r%d", n), 1), "Count %d of %s", n, short(group))
		},
		place: func(f driver.CounterFinished) place { return place{f.CounterID, int(f.Ordinal)} },
	}
}

func (e *env) wantCounter(c counterEnds, id string, count, target int64, finished uint64) {
	e.Helper()
	got, err := c.State(e.ctx, id)
	want := driver.CounterState{Count: count, Target: target, Finished: finished}
	e.errorIf(e.try(err, "State(%s)", short(id)) && got != want, "State(%s) = %+v, want %+v", short(id), got, want)
}

func (e *env) count(c counterEnds, id, ref string, n int64) {
	e.Helper()
	e.must(c.Count(e.ctx, id, ref, n), "Count(%s, %s, %d)", short(id), short(ref), n)
}

func (e *env) addTarget(c counterEnds, id, ref string, n int64) {
	e.Helper()
	e.must(c.AddTarget(e.ctx, id, ref, n), "AddTarget(%s, %s, %d)", short(id), short(ref), n)
}

// wantFinished checks that exactly these finishes are available, in order, and
// settles them.
func (e *env) wantFinished(c counterEnds, want ...driver.CounterFinished) {
	e.Helper()
	got := drained(e, c.Receiver, len(want))
	for i := range min(len(got), len(want)) {
		e.errorIf(got[i] != want[i], "finish %d is %+v, want %+v", i, got[i], want[i])
	}
	e.errorIf(len(got) > len(want), "%d finishes too many: %+v", len(got)-len(want), got)
	none(e, c.Receiver, func(f driver.CounterFinished) string { return fmt.Sprintf("a finish too many, %+v,", f) }, "all were settled")
}

func finished(id string, ordinal uint64, target int64) driver.CounterFinished {
	return driver.CounterFinished{CounterID: id, Ordinal: ordinal, Target: target}
}

func aCounterNeverUsedIsZero(e *env) {
	c := e.counter("Test.Counter")
	e.wantCounter(c, "nobody", 0, 0, 0)
	e.count(c, "somebody", "r", 1)
	e.wantCounter(c, "nobody", 0, 0, 0)
	e.wantFinished(c)
}

func countsAndTargetsAddUp(e *env) {
	c := e.counter("Test.Counter")
	e.count(c, "a", "r1", 2)
	e.wantCounter(c, "a", 2, 0, 0)
	e.count(c, "a", "r2", 3)
	e.wantCounter(c, "a", 5, 0, 0)
	e.addTarget(c, "a", "r1", 100) // the references of targets are apart
	e.wantCounter(c, "a", 5, 100, 0)
	e.addTarget(c, "a", "r2", 20)
	e.wantCounter(c, "a", 5, 120, 0)
	e.count(c, "a", "big", 1<<40)
	e.wantCounter(c, "a", 1<<40+5, 120, 1)
	e.wantFinished(c, finished("a", 1, 120))
}

func referencesCountOnce(e *env) {
	c := e.counter("Test.Counter")
	for range 3 {
		e.count(c, "a", "r1", 2)
		e.addTarget(c, "a", "r1", 10)
	}
	e.count(c, "a", "r1", 7) // the reference decides, not the number
	e.addTarget(c, "a", "r1", 1)
	e.wantCounter(c, "a", 2, 10, 0)
	e.count(c, "a", "r2", 8)
	e.wantFinished(c, finished("a", 1, 10))
	e.count(c, "a", "r2", 8)
	e.count(c, "a", "r1", 2)
	e.addTarget(c, "a", "r1", 10)
	e.wantCounter(c, "a", 10, 10, 1)
	e.wantFinished(c)
	// References that differ in little.
	for i, ref := range goodIDs() {
		e.count(c, "b", ref, 1)
		e.count(c, "b", ref, 1)
		e.wantCounter(c, "b", int64(i+1), 0, 0)
	}
	race(8, func(int) { e.try(c.Count(e.ctx, "c", "same", 1), "Count") })
	race(8, func(int) { e.try(c.AddTarget(e.ctx, "c", "same", 5), "AddTarget") })
	e.wantCounter(c, "c", 1, 5, 0)
}

func referencesCountOnceForAWeek(e *env) {
	e.needClock()
	c := e.counter("Test.Counter")
	e.count(c, "a", "r", 1)
	e.addTarget(c, "a", "r", 5)
	for range 2 { // at least a week after it was used, so used again keeps it
		e.advance(7*24*time.Hour - time.Hour)
		e.count(c, "a", "r", 1)
		e.addTarget(c, "a", "r", 5)
		e.wantCounter(c, "a", 1, 5, 0)
		break
	}
	e.advance(1000 * 24 * time.Hour) // the counts themselves do not expire
	e.wantCounter(c, "a", 1, 5, 0)
}

func reachingTheTargetFinishesOnce(e *env) {
	c := e.counter("Test.Counter")
	e.addTarget(c, "a", "t", 3)
	e.count(c, "a", "1", 1)
	e.count(c, "a", "2", 1)
	e.wantFinished(c)
	e.wantCounter(c, "a", 2, 3, 0)
	e.count(c, "a", "3", 1)
	e.wantCounter(c, "a", 3, 3, 1)
	e.wantFinished(c, finished("a", 1, 3))
	e.count(c, "a", "4", 1) // beyond the target
	e.count(c, "a", "5", 10)
	e.wantCounter(c, "a", 14, 3, 1)
	e.wantFinished(c)
	e.addTarget(c, "b", "t", 3) // past the target in one leap
	e.count(c, "b", "1", 50)
	e.wantFinished(c, finished("b", 1, 3))
}

func countsMayComeBeforeTheTarget(e *env) {
	c := e.counter("Test.Counter")
	e.count(c, "a", "1", 2)
	e.count(c, "a", "2", 3)
	e.wantFinished(c)
	e.addTarget(c, "a", "t", 5)
	e.wantCounter(c, "a", 5, 5, 1)
	e.wantFinished(c, finished("a", 1, 5))
	e.count(c, "b", "1", 7)
	e.addTarget(c, "b", "t", 5)
	e.wantFinished(c, finished("b", 1, 5))
	e.count(c, "c", "1", 4)
	e.addTarget(c, "c", "t", 5)
	e.wantFinished(c)
	e.count(c, "c", "2", 1)
	e.wantFinished(c, finished("c", 1, 5))
}

func everyReachedTargetFinishes(e *env) {
	c := e.counter("Test.Counter")
	e.addTarget(c, "a", "t1", 2)
	e.count(c, "a", "1", 2)
	e.addTarget(c, "a", "t2", 3) // 5 in all: not reached
	e.wantCounter(c, "a", 2, 5, 1)
	e.count(c, "a", "2", 8)      // 10: reached
	e.addTarget(c, "a", "t3", 1) // 6: reached immediately
	e.addTarget(c, "a", "t4", 4) // 10: reached immediately
	e.addTarget(c, "a", "t5", 1) // 11: not reached
	e.wantCounter(c, "a", 10, 11, 4)
	e.wantFinished(c, finished("a", 1, 2), finished("a", 2, 5), finished("a", 3, 6), finished("a", 4, 10))
	e.count(c, "a", "3", 1)
	e.wantFinished(c, finished("a", 5, 11))
	e.wantCounter(c, "a", 11, 11, 5)
}

func concurrentCountsFinishExactlyOnce(e *env) {
	c := e.counter("Test.Counter")
	const racers, each = 8, 10
	for round := range 5 {
		id := fmt.Sprintf("a%d", round)
		race(racers, func(i int) {
			for n := range each {
				// Every reference is used by two racers.
				ref := fmt.Sprintf("r%d", (i/2)*each+n)
				e.try(c.Count(e.ctx, id, ref, 1), "Count")
				if n == round*2 {
					e.try(c.AddTarget(e.ctx, id, "t", racers/2*each), "AddTarget")
				}
			}
		})
		e.wantCounter(c, id, racers/2*each, racers/2*each, 1)
		e.wantFinished(c, finished(id, 1, racers/2*each))
	}
}

func countersAreKeptApart(e *env) {
	c := e.counter("Test.Counter")
	for i, id := range goodIDs() {
		e.count(c, id, "r", int64(i+1))
	}
	for i, id := range goodIDs() {
		e.wantCounter(c, id, int64(i+1), 0, 0)
	}
	// The same text, split in another place.
	e.count(c, "x/y", "z", 1)
	e.count(c, "x", "y/z", 1)
	e.count(c, "x#y", "z", 1)
	e.count(c, "x", "y#z", 1)
	e.wantCounter(c, "x", 2, 0, 0)
	e.wantCounter(c, "x/y", 1, 0, 0)
	other := e.counter("Test.Other")
	e.wantCounter(other, "a", 0, 0, 0)
	e.addTarget(other, "a", "r", 1)
	e.count(other, "a", "r", 1)
	e.wantFinished(c)
	e.wantFinished(other, finished("a", 1, 1))
}

func badCounterArgumentsAreRefused(e *env) {
	c := e.counter("Test.Counter")
	e.addTarget(c, "a", "t", 1)
	for name, id := range badIDs() {
		e.wantClass(c.Count(e.ctx, id, "r", 1), driver.ErrInvalid, "Count on an id that is %s", name)
		e.wantClass(c.Count(e.ctx, "a", id, 1), driver.ErrInvalid, "Count with a reference that is %s", name)
		e.wantClass(c.AddTarget(e.ctx, id, "r", 1), driver.ErrInvalid, "AddTarget on an id that is %s", name)
		e.wantClass(c.AddTarget(e.ctx, "a", id, 1), driver.ErrInvalid, "AddTarget with a reference that is %s", name)
	}
	for _, n := range []int64{0, -1, -1 << 62} {
		e.wantClass(c.Count(e.ctx, "a", "r", n), driver.ErrInvalid, "Count of %d", n)
	}
	e.wantCounter(c, "a", 0, 1, 0)
	e.wantFinished(c)
	e.count(c, "a", "r", 1) // the reference was not used up
	e.wantFinished(c, finished("a", 1, 1))
}

func finishesSurviveReopening(e *env) {
	e.needReopen()
	c := e.counter("Test.Counter")
	e.addTarget(c, "a", "t", 2)
	e.count(c, "a", "1", 2)
	e.addTarget(c, "b", "t", 2)
	e.count(c, "b", "1", 1)
	e.reopen()
	c = e.counter("Test.Counter")
	e.wantCounter(c, "a", 2, 2, 1)
	e.wantCounter(c, "b", 1, 2, 0)
	e.count(c, "b", "1", 1) // a reference from before
	e.addTarget(c, "b", "t", 2)
	e.wantCounter(c, "b", 1, 2, 0)
	e.wantFinished(c, finished("a", 1, 2))
	e.count(c, "b", "2", 1)
	e.reopen()
	c = e.counter("Test.Counter")
	e.wantFinished(c, finished("b", 1, 2))
	e.reopen()
	e.wantFinished(e.counter("Test.Counter"))
}
