package drivertest

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// TestOutcomes runs the suite of [driver.Outcomes].
func TestOutcomes(t *testing.T, open Open) { outcomesSuite().run(t, open) }

func outcomesSuite() suite {
	return suite{"Outcomes", []property{
		{"EverythingOfAnOutcomeIsKept", everythingOfAnOutcomeIsKept},
		{"PendingReplacesNoOtherOutcome", pendingReplacesNoOtherOutcome},
		{"PendingReplacesAnEarlierFailure", pendingReplacesAnEarlierFailure},
		{"FailureReplacesNoAcceptance", failureReplacesNoAcceptance},
		{"AnyOtherOutcomeReplaces", anyOtherOutcomeReplaces},
		{"PendingLosesEveryRace", pendingLosesEveryRace},
		{"OutcomesExpire", outcomesExpire},
		{"CommandIDsAreKeptApart", outcomeIDsAreKeptApart},
		{"TargetsAreKeptApart", targetsAreKeptApart},
		cancelledCallsFail(outcomesCalls),
		{"ArgumentsAreNotKept", outcomePutDoesNotKeepItsArgument},
		{"OutcomesSurviveReopening", outcomesSurviveReopening},
	}}
}

func (e *env) outcomes() driver.Outcomes {
	e.Helper()
	o, err := e.Provider.OpenOutcomes(e.ctx)
	return opened(e, o, err)
}

func pending(id string) driver.StoredOutcome {
	return driver.StoredOutcome{Outcome: driver.Outcome{Kind: driver.Pending, CommandID: id, EntityID: "e", Target: "P.Thing"}, Fingerprint: 7}
}

func accepted(id string, n uint64) driver.StoredOutcome {
	out := pending(id)
	out.Kind, out.SequenceNr, out.EventCount = driver.Accepted, n, 1
	return out
}

func rejectedOutcome(id string) driver.StoredOutcome {
	return driver.StoredOutcome{Outcome: driver.Outcome{Kind: driver.Rejected, CommandID: id, Target: "P.Thing", User: "ada", Code: "No", Detail: json.RawMessage(`{"x":1}`)}}
}

// failed returns the outcome of a command that was parked after it was sent again for the
// n-th time.
func failed(id string, n int) driver.StoredOutcome {
	out := pending(id)
	out.Kind, out.Message, out.Resend = driver.Failed, "it panics", n
	return out
}

// resent returns a pending outcome.
func resent(id string, n int) driver.StoredOutcome {
	out := pending(id)
	out.Resend = n
	return out
}

func (e *env) putOutcome(o driver.Outcomes, out driver.StoredOutcome, lasts time.Duration) {
	e.Helper()
	e.must(o.Put(e.ctx, out, e.Now().Truncate(time.Second).Add(lasts)), "Put(%s of %s)", out.Kind, short(out.CommandID))
}

func (e *env) wantOutcome(o driver.Outcomes, want driver.StoredOutcome) {
	e.Helper()
	got, err := o.Get(e.ctx, want.Target, want.CommandID)
	if !e.try(err, "Get(%s)", short(want.CommandID)) {
		return
	}
	e.errorIf(len(got.Detail) != len(want.Detail) && (len(got.Detail) == 0 || len(want.Detail) == 0) || len(want.Detail) > 0 && !sameJSON(got.Detail, want.Detail), "the detail of %s is %s, want %s", short(want.CommandID), got.Detail, want.Detail)
	got.Detail, want.Detail = nil, nil
	g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want)
	e.errorIf(g != w, "got the outcome %s, want %s", g, w)
}

func (e *env) wantNoOutcome(o driver.Outcomes, id, why string) {
	e.Helper()
	got, err := o.Get(e.ctx, "P.Thing", id)
	e.wantClass(err, driver.ErrNotFound, "Get(%s), %s (got %+v)", short(id), why, got)
}

func everythingOfAnOutcomeIsKept(e *env) {
	o := e.outcomes()
	e.wantNoOutcome(o, "nobody", "it was never put")
	all := []driver.Outcome{
		{Kind: driver.Pending, CommandID: "p"},
		{Kind: driver.Pending, CommandID: "p of a user", EntityID: "e", User: "ada"},
		{Kind: driver.Accepted, CommandID: "a", EntityID: "日本", User: "Ætla 'q' \u2028 日本", SequenceNr: 1<<53 + 1, EventCount: 12},
		{Kind: driver.Accepted, CommandID: "no-op", EntityID: "e", SequenceNr: 4},
		{Kind: driver.Rejected, CommandID: "r", EntityID: "e", User: "ada@example.org", Code: "AlreadyExists", Message: "it <is> \"there\" & \u2028", Detail: json.RawMessage(`{"big":12345678901234567890.10,"html":"<a>&"}`)},
		{Kind: driver.Rejected, CommandID: "r2", Code: "C", Detail: json.RawMessage(`null`)},
		{Kind: driver.Failed, CommandID: "f", EntityID: "e", User: "ada", Message: "panic: \u2028"},
	}
	for i := range all {
		all[i].Target = "P.Thing"
		e.putOutcome(o, driver.StoredOutcome{Outcome: all[i], Fingerprint: 1<<32 - 1, Resend: i}, time.Hour)
	}
	for i, out := range all {
		e.wantOutcome(o, driver.StoredOutcome{Outcome: out, Fingerprint: 1<<32 - 1, Resend: i})
	}
	bad := pending("no target")
	bad.Target = ""
	e.wantClass(o.Put(e.ctx, bad, e.Now().Add(time.Hour)), driver.ErrInvalid, "Put without a target")
	e.wantClass(o.Put(e.ctx, pending(""), e.Now().Add(time.Hour)), driver.ErrInvalid, "Put without an id")
}

func pendingReplacesNoOtherOutcome(e *env) {
	o := e.outcomes()
	e.putOutcome(o, accepted("a", 1), time.Hour)
	e.putOutcome(o, rejectedOutcome("r"), time.Hour)
	e.putOutcome(o, resent("a", 1), 2*time.Hour) // returns no error
	e.putOutcome(o, resent("r", 1), 2*time.Hour)
	e.wantOutcome(o, accepted("a", 1))
	e.wantOutcome(o, rejectedOutcome("r"))
	e.putOutcome(o, pending("p"), time.Hour)
	e.putOutcome(o, resent("p", 1), 2*time.Hour)
	e.wantOutcome(o, pending("p"))
	e.advance(61 * time.Minute) // an outcome that was not replaced keeps its expiry
	e.wantNoOutcome(o, "a", "it has expired")
	e.wantNoOutcome(o, "p", "it has expired")
	e.putOutcome(o, pending("a"), time.Hour)
	e.wantOutcome(o, pending("a"))
}

// A parked command is pending again once its sender has sent it again.
func pendingReplacesAnEarlierFailure(e *env) {
	o := e.outcomes()
	e.putOutcome(o, pending("a"), time.Hour)
	e.putOutcome(o, failed("a", 0), time.Hour)
	e.wantOutcome(o, failed("a", 0))
	e.putOutcome(o, pending("a"), time.Hour) // a late repetition of the first one
	e.wantOutcome(o, failed("a", 0))
	e.putOutcome(o, resent("a", 1), time.Hour)
	e.wantOutcome(o, resent("a", 1))
	e.putOutcome(o, failed("a", 1), time.Hour)
	e.putOutcome(o, resent("a", 1), time.Hour)
	e.wantOutcome(o, failed("a", 1))
	e.putOutcome(o, resent("a", 2), time.Hour)
	e.wantOutcome(o, resent("a", 2))
}

func failureReplacesNoAcceptance(e *env) {
	o := e.outcomes()
	for id, before := range map[string]driver.StoredOutcome{"r": rejectedOutcome("r"), "f": failed("f", 0), "p": pending("p")} {
		e.putOutcome(o, before, time.Hour)
		e.putOutcome(o, failed(id, 1), time.Hour)
		e.wantOutcome(o, failed(id, 1))
		e.putOutcome(o, accepted(id, 1), time.Hour)
		e.wantOutcome(o, accepted(id, 1))
		e.putOutcome(o, failed(id, 2), time.Hour)
		e.wantOutcome(o, accepted(id, 1))
	}
}

func targetsAreKeptApart(e *env) {
	o := e.outcomes()
	other := accepted("a", 2)
	other.Target = "P.Other"
	e.putOutcome(o, accepted("a", 1), time.Hour)
	e.putOutcome(o, other, time.Hour)
	e.wantOutcome(o, accepted("a", 1))
	e.wantOutcome(o, other)
	_, err := o.Get(e.ctx, "P.Third", "a")
	e.wantClass(err, driver.ErrNotFound, "Get of a third target")
}

func anyOtherOutcomeReplaces(e *env) {
	o := e.outcomes()
	for _, out := range []driver.StoredOutcome{pending("a"), accepted("a", 1), rejectedOutcome("a"), accepted("a", 2), accepted("a", 3), rejectedOutcome("a")} {
		e.putOutcome(o, out, time.Hour)
		e.wantOutcome(o, out)
	}
}

func pendingLosesEveryRace(e *env) {
	o := e.outcomes()
	for i := range 25 {
		id := fmt.Sprintf("c%d", i)
		expires := e.Now().Truncate(time.Second).Add(time.Hour)
		race(8, func(j int) {
			out := pending(id)
			if j == 3 {
				out = accepted(id, 7)
			}
			e.try(o.Put(e.ctx, out, expires), "Put")
		})
		e.wantOutcome(o, accepted(id, 7))
	}
}

func outcomesExpire(e *env) {
	e.needClock()
	o := e.outcomes()
	e.putOutcome(o, accepted("short", 1), time.Minute)
	e.putOutcome(o, accepted("long", 1), time.Hour)
	e.putOutcome(o, pending("pending"), time.Minute)
	e.putOutcome(o, accepted("prolonged", 1), time.Minute)
	e.putOutcome(o, accepted("prolonged", 2), time.Hour)
	e.putOutcome(o, accepted("past", 1), -time.Minute)
	e.wantNoOutcome(o, "past", "it has expired")
	end := e.Now().Truncate(time.Second).Add(time.Minute)
	e.advance(end.Sub(e.Now()) - time.Second)
	e.wantOutcome(o, accepted("short", 1))
	e.advance(time.Second)
	e.wantNoOutcome(o, "short", "it has expired")
	e.wantNoOutcome(o, "pending", "it has expired")
	e.wantOutcome(o, accepted("long", 1))
	e.wantOutcome(o, accepted("prolonged", 2))
	e.putOutcome(o, pending("short"), time.Minute)
	e.wantOutcome(o, pending("short"))
}

func outcomeIDsAreKeptApart(e *env) {
	o := e.outcomes()
	for i, id := range goodIDs() {
		e.putOutcome(o, accepted(id, uint64(i+1)), time.Hour)
	}
	for i, id := range goodIDs() {
		e.wantOutcome(o, accepted(id, uint64(i+1)))
	}
}

func outcomePutDoesNotKeepItsArgument(e *env) {
	o := e.outcomes()
	build := func() driver.StoredOutcome { return rejectedOutcome("a") }
	out := build()
	e.putOutcome(o, out, time.Hour)
	copy(out.Detail, "!!!!!!!")
	for range 2 {
		e.wantOutcome(o, build())
		got, err := o.Get(e.ctx, "P.Thing", "a")
		e.must(err, "Get")
		copy(got.Detail, "!!!!!!!")
	}
}

func outcomesSurviveReopening(e *env) {
	e.needReopen()
	o := e.outcomes()
	e.putOutcome(o, accepted("a", 1), time.Hour)
	e.putOutcome(o, pending("p"), time.Hour)
	e.reopen()
	o = e.outcomes()
	e.putOutcome(o, pending("a"), time.Hour)
	e.wantOutcome(o, accepted("a", 1))
	e.wantOutcome(o, pending("p"))
}
