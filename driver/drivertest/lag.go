package drivertest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// lagCountsWhatIsNotSettled is for collectors that implement [driver.Lagger].
func lagCountsWhatIsNotSettled(e *env) {
	l := e.eventLog("Test.Log")
	c := e.collector("Test.Consumer", "Test.Log", false)
	lagger, ok := c.(driver.Lagger)
	if !ok {
		e.Skip("this provider's collectors are no Laggers")
	}
	// The lag is least, or up to most where settled commits follow an unsettled one.
	want := func(when string, least, most int64, oldest time.Time) {
		e.Helper()
		e.settled("Lag "+when, func() string {
			lag, err := lagger.Lag(e.ctx)
			switch {
			case err != nil:
				return err.Error()
			case lag.Commits < least || lag.Commits > most:
				return "it is of another number of commits: " + lagText(lag)
			case lag.Oldest.IsZero() != (lag.Commits == 0):
				return "there is an oldest time if, and only if, there are any: " + lagText(lag)
			case lag.Commits > 0 && lag.Oldest.Sub(oldest).Abs() > time.Second+e.Lag:
				return "the oldest is of " + oldest.String() + ": " + lagText(lag)
			}
			return ""
		})
	}
	want("of an empty log", 0, 0, time.Time{})
	var at []time.Time
	for _, stream := range []string{"a", "b", "c", "d"} {
		e.must(l.Append(e.ctx, commitOf(stream, 1, "w")), "append")
		at = append(at, e.read(l, stream, 0)[0].RecordedAt)
		if e.Advance != nil {
			e.Advance(10 * time.Second)
		}
	}
	want("after four appends", 4, 4, at[0])
	ds := take(e, c, 4)
	slices.SortFunc(ds, func(a, b driver.Delivery[driver.Record]) int {
		return strings.Compare(a.Message.Stream, b.Message.Stream)
	})
	want("with all handed out", 4, 4, at[0])
	settle(e, c, false, ds[0])
	want("after the oldest was settled", 3, 3, at[1])
	settle(e, c, false, ds[2])
	want("after one in the middle was settled", 2, 3, at[1])
	settle(e, c, true, ds[1])
	want("with a retry", 2, 3, at[1])
	settle(e, c, false, ds[3])
	for _, d := range take(e, c, 1) {
		settle(e, c, false, d)
	}
	nothingNew(e, collected(c), "though all were settled")
	want("with all settled", 0, 0, time.Time{})
}

func lagText(l driver.Lag) string {
	return fmt.Sprintf("%d commits, the oldest of %v", l.Commits, l.Oldest)
}

// countCommitsCountsAllStreams is for logs that implement [driver.CommitCounter].
func countCommitsCountsAllStreams(e *env) {
	l, other := e.eventLog("Test.Log"), e.eventLog("Test.Other")
	counter, ok := l.(driver.CommitCounter)
	if !ok {
		e.Skip("this provider's logs are no CommitCounters")
	}
	for want, stream := range []string{"a", "b", "c", ""} {
		n, err := counter.CountCommits(e.ctx)
		e.errorIf(err != nil || n != int64(want), "CountCommits = %d, %v, want %d", n, err, want)
		if stream != "" {
			e.must(l.Append(e.ctx, commitOf(stream, 1, "w")), "append")
			e.must(other.Append(e.ctx, commitOf(stream, 1, "w")), "append")
		}
	}
}
