package drivertest

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/reventless-go/reventless/driver"
)

// damagedCommitsAreReported: no reader takes a damaged commit for an absent one, for an
// invalid argument or for a valid commit, and every other commit stays readable.
func damagedCommitsAreReported(e *env) {
	e.needDamage()
	l := e.eventLog("Test.Log")
	e.fill(l, "s", 1, 4)
	others := e.fill(l, "t", 1, 2)
	e.Provider = e.DamageCommit(e.owner, "Test.Log", "s", 3)
	l = e.eventLog("Test.Log")
	about := func(err error, what string) {
		e.Helper()
		var d *driver.DamageError
		if !e.wantClass(err, driver.ErrDamaged, "%s", what) {
			return
		}
		if !errors.As(err, &d) || d.Table != "commits" || d.Key != "s" || d.SequenceNr != 3 || d.Name == "" {
			e.Errorf("%s: the error %v does not name the commit", what, err)
		}
	}
	got, err := collect(e, l.Read(e.ctx, "s", 0, 0))
	about(err, "Read")
	e.errorIf(len(got) != 2, "Read yields %d commits before the damaged one, want 2", len(got))
	_, err = l.Load(e.ctx, "s", ofVersion(1))
	about(err, "Load")
	found := 0
	for c, err := range l.Scan(e.ctx, 0, 1) {
		if err != nil {
			about(err, "Scan")
			continue
		}
		e.errorIf(c.Stream == "s" && c.SequenceNr == 3, "Scan yields the damaged commit")
		found++
	}
	e.errorIf(found != 3+len(others), "Scan yields %d commits beside the damaged one, want %d", found, 3+len(others))
	about(l.Append(e.ctx, commitOf("s", 3, "other")), "Append in its place")
	got, err = collect(e, l.Read(e.ctx, "s", 3, 0))
	e.errorIf(err != nil || len(got) != 1, "Read of the commits behind it: %d, %v", len(got), err)
	e.errorIf(len(e.read(l, "t", 0)) != len(others), "another stream has lost commits")
}

// damagedCommitsAreDelivered: the feed delivers a record of a damaged commit. The record
// has no commit, unless the feed has its own copy.
func damagedCommitsAreDelivered(e *env) {
	e.needDamage()
	l := e.eventLog("Test.Log")
	whole := e.fill(l, "s", 1, 4)
	e.fill(l, "t", 1, 2)
	e.Provider = e.DamageCommit(e.owner, "Test.Log", "s", 3)
	feed := e.collector("Test.Consumer", "Test.Log", false)
	found := map[string]bool{}
	e.poll("the records of all commits", func() (bool, bool) {
		ds, _ := receive(e, feed, 10)
		for _, d := range ds {
			r := d.Message
			found[fmt.Sprint(r.Stream, r.SequenceNr)] = true
			if r.Stream == "s" && r.SequenceNr == 3 {
				e.errorIf(r.Err != nil || d.Err != nil, "the record of the damaged commit has the errors %v and %v, want none", r.Err, d.Err)
				e.errorIf(r.Commit != nil && !bytes.Equal(r.Commit.Events[0].Data, whole[2].Events[0].Data), "the record has the damaged commit")
			}
		}
		settle(e, feed, false, ds...)
		return len(found) == 6, len(ds) > 0
	})
}

func (e *env) needDamage() {
	e.Helper()
	if e.DamageCommit == nil {
		e.Skip("the data of this provider cannot be damaged")
	}
}
