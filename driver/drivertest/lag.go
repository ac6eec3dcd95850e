package drivertest

import "github.com/reventless-go/reventless/driver"

// lagCountsWhatIsNotSettled is for collectors that implement driver.Lagger.
func lagCountsWhatIsNotSettled(e *env) {
	l := e.eventLog("Test.Log")
	c := e.collector("Test.Consumer", "Test.Log", false)
	lagger, ok := c.(driver.Lagger)
	if !ok {
		return
	}
	want := func(when string, commits int64) {
		e.Helper()
		lag, err := lagger.Lag(e.ctx)
		e.must(err, "lag %s", when)
		if lag.Commits != commits || lag.Oldest.IsZero() != (commits == 0) {
			e.Errorf("Lag %s = %+v, want %d commits, and an oldest time only if there are any", when, lag, commits)
		}
	}
	want("of an empty log", 0)
	for _, stream := range []string{"a", "b", "c"} {
		e.must(l.Append(e.ctx, commitOf(stream, 1, "w")), "append")
	}
	want("after three appends", 3)
	ds := batch(e, c, 3)
	want("with all handed out", 3)
	for i, d := range ds {
		settle(e, c, false, d)
		want("after a settlement", int64(len(ds)-1-i))
	}
}
