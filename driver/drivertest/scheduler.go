package drivertest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// TestScheduler runs the suite of [driver.Scheduler].
func TestScheduler(t *testing.T, open Open) { schedulerSuite().run(t, open) }

func schedulerSuite() suite {
	return suite{"Scheduler", append(receiverProperties(false, firingQueue), []property{
		{"APastTimeFiresAtOnce", aPastTimeFiresAtOnce},
		{"NothingFiresEarly", nothingFiresEarly},
		{"ZonesAreHonoured", zonesAreHonoured},
		{"AOneTimeScheduleRemovesItself", aOneTimeScheduleRemovesItself},
		{"ARecurringScheduleFiresAgain", aRecurringScheduleFiresAgain},
		{"RatesContinueFromTheSettlement", ratesContinueFromTheSettlement},
		{"MissedTimesFireOnce", missedTimesFireOnce},
		{"ARetryHasTheSameDue", aRetryHasTheSameDue},
		{"CreateReplaces", createReplaces},
		{"AReplacedFiringIsGone", aReplacedFiringIsGone},
		{"ConcurrentCreatesLeaveOneSchedule", concurrentCreatesLeaveOneSchedule},
		{"DeleteRemovesTheFiring", deleteRemovesTheFiring},
		{"ListIsAscendingAndComplete", listIsAscendingAndComplete},
		{"InvalidSchedulesAreRefused", invalidSchedulesAreRefused},
		{"ValidSchedulesAreAccepted", validSchedulesAreAccepted},
		{"SchedulesSurviveReopening", schedulesSurviveReopening},
		cancelledCallsFail(schedulerCalls),
		{"ArgumentsAreNotKept", createDoesNotKeepItsArgument},
	}...)}
}

// schedulerEnds are the schedules and the receiver of their firings.
type schedulerEnds struct {
	driver.Scheduler
	driver.Receiver[driver.Firing]
}

func (e *env) scheduler() schedulerEnds {
	e.Helper()
	s, err := e.Provider.OpenScheduler(e.ctx)
	r, err2 := e.Provider.OpenScheduleReceiver(e.ctx)
	return schedulerEnds{opened(e, s, err), opened(e, r, err2)}
}

// at returns the expression of a point in time, in whole seconds.
func at(t time.Time) string { return t.UTC().Format("at(2006-01-02T15:04:05)") }

func (e *env) create(s schedulerEnds, name, expression string) {
	e.Helper()
	e.must(s.Create(e.ctx, driver.Schedule{Name: name, Expression: expression, Payload: json.RawMessage(`{"of": "` + name + `"}`)}), "Create(%s, %s)", short(name), expression)
}

func firingQueue(e *env) queue[driver.Firing] {
	s := e.scheduler()
	return queue[driver.Firing]{
		Receiver: s,
		put: func(group string, _ int) {
			past := e.Now().Add(-time.Hour)
			e.try(s.Create(e.ctx, driver.Schedule{Name: group, Expression: at(past), Payload: json.RawMessage(`{}`)}), "Create(%s)", short(group))
		},
		place: func(f driver.Firing) place { return place{f.Name, 1} },
	}
}

func (e *env) noFiring(s schedulerEnds, why string) {
	e.Helper()
	none(e, s.Receiver, func(f driver.Firing) string { return fmt.Sprintf("%s, due at %v,", short(f.Name), f.Due) }, why)
}

// firing takes the one firing that is due.
func (e *env) firing(s schedulerEnds, name string) driver.Delivery[driver.Firing] {
	e.Helper()
	d := take(e, s, 1)[0]
	e.errorIf(d.Message.Name != name, "%s fires, want %s", short(d.Message.Name), short(name))
	return d
}

func (e *env) wantDue(d driver.Delivery[driver.Firing], want time.Time) {
	e.Helper()
	e.errorIf(!d.Message.Due.Equal(want), "%s is due at %v, want %v", short(d.Message.Name), d.Message.Due, want)
}

func (e *env) wantSchedules(s schedulerEnds, want ...string) {
	e.Helper()
	list, err := s.List(e.ctx)
	wantList(e, list, err, func(x driver.Schedule) string { return x.Name }, want, "List")
}

func aPastTimeFiresAtOnce(e *env) {
	s := e.scheduler()
	due := e.Now().Add(-48 * time.Hour).Truncate(time.Second)
	e.create(s, "past", at(due))
	d := e.firing(s, "past")
	e.wantDue(d, due)
	e.errorIf(string(d.Message.Payload) != `{"of": "past"}`, "the payload is %s", d.Message.Payload)
	settle(e, s, false, d)
	e.noFiring(s, "though it was settled")
}

func nothingFiresEarly(e *env) {
	s := e.scheduler()
	now := e.Now().UTC()
	due := now.Add(time.Hour).Truncate(time.Minute)
	e.create(s, "at", at(due))
	e.create(s, "atSeconds", at(due.Add(30*time.Minute+17*time.Second)))
	e.create(s, "cron", fmt.Sprintf("cron(%d %d * * ? *)", due.Minute(), due.Hour()))
	e.noFiring(s, "an hour early")
	e.advance(due.Sub(e.Now()) - time.Second)
	e.noFiring(s, "a second early")
	e.advance(time.Minute + time.Second) // a precision of a minute
	got := map[string]bool{}
	for _, d := range take(e, s, 2) {
		got[d.Message.Name] = true
		e.wantDue(d, due)
		settle(e, s, false, d)
	}
	e.errorIf(!got["at"] || !got["cron"], "got the firings %v, want at and cron", got)
	e.noFiring(s, "half an hour early")
	e.advance(due.Add(30*time.Minute + 16*time.Second).Sub(e.Now()))
	e.noFiring(s, "a second early")
	e.advance(61 * time.Second)
	settle(e, s, false, e.firing(s, "atSeconds"))
	e.noFiring(s, "a day early")
}

func zonesAreHonoured(e *env) {
	s := e.scheduler()
	tokyo, err := time.LoadLocation("Asia/Tokyo")
	if err != nil {
		tokyo = time.FixedZone("Asia/Tokyo", 9*3600) // it has no daylight saving time
	}
	due := e.Now().Add(time.Hour).Truncate(time.Minute)
	local := due.In(tokyo)
	for name, expression := range map[string]string{
		"at":   local.Format("at(2006-01-02T15:04:05)"),
		"cron": fmt.Sprintf("cron(%d %d * * ? *)", local.Minute(), local.Hour()),
	} {
		e.must(s.Create(e.ctx, driver.Schedule{Name: name, Expression: expression, Zone: "Asia/Tokyo", Payload: json.RawMessage(`{}`)}), "Create %s", expression)
	}
	e.noFiring(s, "an hour early") // nine hours past, were it UTC
	e.advance(due.Sub(e.Now()) + time.Minute)
	for _, d := range take(e, s, 2) {
		e.wantDue(d, due)
	}
}

func aOneTimeScheduleRemovesItself(e *env) {
	s := e.scheduler()
	e.create(s, "once", at(e.Now().Add(-time.Minute)))
	e.wantSchedules(s, "once")
	d := e.firing(s, "once")
	e.wantSchedules(s, "once") // it is removed when its firing is settled
	settle(e, s, true, d)
	e.wantSchedules(s, "once")
	settle(e, s, false, e.firing(s, "once"))
	e.wantSchedules(s)
	e.create(s, "once", at(e.Now().Add(-time.Minute))) // the name is free again
	settle(e, s, false, e.firing(s, "once"))
	e.wantSchedules(s)
	if e.Advance != nil {
		e.Advance(1000 * time.Hour)
		e.noFiring(s, "though it has removed itself")
	}
}

func aRecurringScheduleFiresAgain(e *env) {
	e.needClock()
	s := e.scheduler()
	e.create(s, "hourly", "cron(0 * * * ? *)")
	due := e.Now().UTC().Truncate(time.Hour)
	for range 4 {
		due = due.Add(time.Hour)
		e.advance(due.Sub(e.Now()) - time.Second)
		e.noFiring(s, "a second early")
		e.advance(time.Minute + time.Second)
		d := e.firing(s, "hourly")
		e.wantDue(d, due)
		e.noFiring(s, "while its firing is leased")
		settle(e, s, false, d)
		e.noFiring(s, "though it was settled")
		e.wantSchedules(s, "hourly")
	}
}

func ratesContinueFromTheSettlement(e *env) {
	e.needClock()
	s := e.scheduler()
	last := e.Now()
	e.create(s, "rate", "rate(10 minutes)")
	for i := range 4 {
		e.advance(11 * time.Minute)
		d := e.firing(s, "rate")
		due := d.Message.Due
		e.errorIf(due.After(e.Now()) || due.Before(last.Add(-time.Second)) || i > 0 && due.Equal(last), "firing %d is due at %v, want it after the settlement at %v and not in the future, %v", i, due, last, e.Now())
		// It succeeds at the second attempt, after three more due times.
		e.must(s.Settle(e.ctx, []driver.Settlement{{ID: d.ID, Retry: true, After: 35 * time.Minute}}), "Settle")
		e.advance(35 * time.Minute)
		d = e.firing(s, "rate")
		e.wantDue(d, due)
		settle(e, s, false, d)
		last = e.Now()
		e.noFiring(s, "immediately after a slow settlement")
	}
}

func missedTimesFireOnce(e *env) {
	e.needClock()
	s := e.scheduler()
	e.create(s, "hourly", "cron(0 * * * ? *)")
	e.create(s, "daily", "rate(1 day)")
	e.create(s, "quarter", "cron(0/15 * * * ? *)")
	start := e.Now()
	e.advance(75*time.Hour + 7*time.Minute)
	got := map[string]int{}
	for _, d := range take(e, s, 3) {
		got[d.Message.Name]++
		e.errorIf(d.Message.Due.After(e.Now()) || d.Message.Due.Before(start), "%s is due at %v, want between %v and %v", d.Message.Name, d.Message.Due, start, e.Now())
		settle(e, s, false, d)
	}
	for _, name := range []string{"hourly", "daily", "quarter"} {
		e.errorIf(got[name] != 1, "after a pause %s fired %d times, want once", name, got[name])
	}
	e.noFiring(s, "though the missed times cause only one firing")
	next := e.Now().UTC().Truncate(15 * time.Minute).Add(15 * time.Minute)
	e.advance(next.Sub(e.Now()) - time.Second)
	e.noFiring(s, "a second early")
	e.advance(time.Minute)
	if d := e.firing(s, "quarter"); !d.Message.Due.Equal(next) {
		e.Errorf("the firing after the pause is due at %v, want %v", d.Message.Due, next)
	}
}

func aRetryHasTheSameDue(e *env) {
	e.needClock()
	s := e.scheduler()
	e.create(s, "hourly", "cron(0 * * * ? *)")
	e.advance(e.Now().UTC().Truncate(time.Hour).Add(time.Hour + time.Minute).Sub(e.Now()))
	first := e.firing(s, "hourly")
	due := first.Message.Due
	for i := range 3 {
		e.must(s.Settle(e.ctx, []driver.Settlement{{ID: first.ID, Retry: true, After: 50 * time.Minute}}), "Settle")
		e.noFiring(s, "while it waits for its retry")
		e.advance(50 * time.Minute) // the next due times pass
		first = e.firing(s, "hourly")
		e.errorIf(!first.Message.Due.Equal(due) || string(first.Message.Payload) != `{"of": "hourly"}`, "retry %d is due at %v with %s, want %v", i, first.Message.Due, first.Message.Payload, due)
		e.noFiring(s, "while its firing is leased")
	}
	settle(e, s, false, first)
	e.noFiring(s, "though times that passed meanwhile are skipped")
	e.advance(time.Hour)
	if d := e.firing(s, "hourly"); !d.Message.Due.After(due.Add(2 * time.Hour)) {
		e.Errorf("the next firing is due at %v, after one of %v that was settled hours later", d.Message.Due, due)
	}
}

func createReplaces(e *env) {
	s := e.scheduler()
	now := e.Now()
	e.create(s, "a", at(now.Add(2*time.Hour)))
	e.create(s, "b", at(now.Add(2*time.Hour)))
	later := driver.Schedule{Name: "a", Expression: at(now.Add(4 * time.Hour)), Payload: json.RawMessage(`{"new": true}`)}
	e.must(s.Create(e.ctx, later), "Create")
	list, err := s.List(e.ctx)
	e.must(err, "List")
	e.errorIf(len(list) != 2 || list[0].Expression != later.Expression || string(list[0].Payload) != `{"new": true}`, "after a replacement List = %+v", list)
	e.advance(3 * time.Hour)
	settle(e, s, false, e.firing(s, "b"))
	e.noFiring(s, "though it was replaced by a later one")
	e.advance(time.Hour + time.Minute)
	d := e.firing(s, "a")
	e.errorIf(string(d.Message.Payload) != `{"new": true}`, "the payload is %s, want the new one", d.Message.Payload)
	settle(e, s, false, d)
	e.wantSchedules(s)
}

func aReplacedFiringIsGone(e *env) {
	s := e.scheduler()
	past, future := at(e.Now().Add(-time.Hour)), at(e.Now().Add(24*time.Hour))
	e.create(s, "available", past)
	e.create(s, "held", past)
	var held driver.Delivery[driver.Firing]
	for _, d := range take(e, s, 2) {
		if d.Message.Name == "held" {
			held = d
		} else {
			settle(e, s, true, d)
		}
	}
	e.create(s, "available", future)
	e.create(s, "held", future)
	e.noFiring(s, "though its schedule was replaced by one of tomorrow")
	settle(e, s, false, held) // of the old schedule: ignored
	e.wantSchedules(s, "available", "held")
	e.create(s, "held", past)
	again := e.firing(s, "held")
	e.create(s, "held", future)
	settle(e, s, true, again)
	e.noFiring(s, "though its schedule was replaced by one of tomorrow")
	e.advance(25 * time.Hour)
	for _, d := range take(e, s, 2) {
		settle(e, s, false, d)
	}
	e.wantSchedules(s)
	e.noFiring(s, "though all were settled")
}

func concurrentCreatesLeaveOneSchedule(e *env) {
	s := e.scheduler()
	past := at(e.Now().Add(-time.Hour))
	for round := range 10 {
		name := fmt.Sprintf("s%02d", round)
		race(8, func(i int) {
			x := driver.Schedule{Name: name, Expression: past, Payload: json.RawMessage(fmt.Sprintf(`{"by":%d}`, i))}
			e.try(s.Create(e.ctx, x), "Create")
		})
		e.wantSchedules(s, name)
		list, err := s.List(e.ctx)
		e.must(err, "List")
		d := e.firing(s, name)
		if len(list) == 1 && string(d.Message.Payload) != string(list[0].Payload) {
			e.Errorf("the firing is that of %s, the schedule that of %s", d.Message.Payload, list[0].Payload)
		}
		e.noFiring(s, "though one schedule is left")
		settle(e, s, false, d)
		e.wantSchedules(s)
	}
}

func deleteRemovesTheFiring(e *env) {
	s := e.scheduler()
	e.must(s.Delete(e.ctx, "nobody"), "Delete of an unknown schedule")
	past := at(e.Now().Add(-time.Hour))
	e.create(s, "a", past)
	e.must(s.Delete(e.ctx, "a"), "Delete")
	e.wantSchedules(s)
	e.noFiring(s, "though it was deleted")
	e.create(s, "b", past)
	settle(e, s, true, e.firing(s, "b"))
	e.must(s.Delete(e.ctx, "b"), "Delete of a schedule that waits for its retry")
	e.noFiring(s, "though it was deleted")
	e.create(s, "held", past)
	held := e.firing(s, "held")
	e.must(s.Delete(e.ctx, "held"), "Delete of a schedule whose firing is held")
	e.wantSchedules(s)
	settle(e, s, false, held)
	e.wantSchedules(s)
	e.create(s, "c", at(e.Now().Add(time.Hour)))
	e.create(s, "d", at(e.Now().Add(time.Hour)))
	e.must(s.Delete(e.ctx, "c"), "Delete")
	e.wantSchedules(s, "d")
	e.advance(2 * time.Hour)
	e.firing(s, "d")
	e.noFiring(s, "though it was deleted")
}

func listIsAscendingAndComplete(e *env) {
	s := e.scheduler()
	e.wantSchedules(s)
	want := map[string]driver.Schedule{}
	payloads := oddJSON()
	for i, id := range goodIDs() {
		x := driver.Schedule{Name: id, Expression: at(e.Now().Add(time.Hour)), Payload: json.RawMessage(payloads[i%len(payloads)])}
		switch i % 3 {
		case 1:
			x.Expression, x.Zone = "cron(15 10 ? * MON-FRI *)", "Europe/Berlin"
		case 2:
			x.Expression = "rate(5 hours)"
		}
		e.must(s.Create(e.ctx, x), "Create(%s)", short(id))
		want[id] = x
	}
	list, err := s.List(e.ctx)
	e.must(err, "List")
	var got []string
	for _, x := range list {
		got = append(got, x.Name)
		w := want[x.Name]
		e.errorIf(x.Expression != w.Expression || x.Zone != w.Zone || !bytes.Equal(x.Payload, w.Payload), "List has %+v, want %+v", x, w)
	}
	e.noDiff(diffNames(got, sortedKeys(want)), "List")
	for id := range want {
		e.must(s.Delete(e.ctx, id), "Delete(%s)", short(id))
	}
	e.wantSchedules(s)
	// Payloads are delivered byte for byte.
	for i, text := range payloads {
		name := fmt.Sprintf("p%02d", i)
		e.must(s.Create(e.ctx, driver.Schedule{Name: name, Expression: at(e.Now().Add(-time.Hour)), Payload: json.RawMessage(text)}), "Create")
		d := e.firing(s, name)
		e.errorIf(string(d.Message.Payload) != text, "the payload is %s, want %s", short(string(d.Message.Payload)), short(text))
		settle(e, s, false, d)
	}
}

func invalidSchedulesAreRefused(e *env) {
	s := e.scheduler()
	e.create(s, "kept", at(e.Now().Add(time.Hour)))
	good := at(e.Now().Add(time.Hour))
	bad := []driver.Schedule{
		{Expression: good, Zone: "Mars/Olympus"},
		{Expression: good, Zone: "europe"},
		{Expression: good, Zone: "+02:00"},
		{Expression: good, Zone: "../etc/passwd"},
	}
	for _, expression := range []string{
		"", " ", "tomorrow", "at", "at()", "at(tomorrow)", "at(2030-13-01T00:00:00)", "at(2030-02-30T00:00:00)", "at(2030-01-01T24:00:00)",
		"at(2030-01-01T00:60:00)", "at(2030-01-01)", "at(2030-01-01 00:00:00)", "at(2030-01-01T00:00:00Z)", "at(2030-01-01T00:00:00+01:00)",
		"at(2030-01-01T00:00:00", "AT 2030-01-01T00:00:00",
		"rate()", "rate(5)", "rate(minutes)", "rate(0 minutes)", "rate(-1 minutes)", "rate(1.5 hours)", "rate(1 minutes)", "rate(5 minute)",
		"rate(30 seconds)", "rate(1 week)", "rate(5 parsecs)", "rate(five minutes)", "rate(5 minutes", "rate(99999999999999999999 minutes)",
		"cron()", "cron(0 10 * * ?)", "cron(0 0 10 * * ? *)", "cron(0 10 * * * *)", "cron(0 10 ? * ? *)", "cron(0 10 1 * MON *)",
		"cron(60 10 * * ? *)", "cron(0 24 * * ? *)", "cron(0 10 0 * ? *)", "cron(0 10 32 * ? *)", "cron(0 10 * 13 ? *)", "cron(0 10 * 0 ? *)",
		"cron(0 10 ? * 0 *)", "cron(0 10 ? * 8 *)", "cron(0 10 ? * FOO *)", "cron(0 10 ? * MON#6 *)", "cron(0 10 * * ? 1969)", "cron(0 10 * * ? 2200)",
		"cron(0/0 * * * ? *)", "cron(? 10 * * ? *)", "cron(@daily)", "@daily", "0 10 * * *", "cron(a b c d e f)",
		// Valid, but never due.
		"cron(0 0 30 2 ? *)", "cron(0 0 31 4,6,9,11 ? *)", "cron(0 0 1 1 ? 1999)", "cron(0 0 29 2 ? 2027)",
	} {
		bad = append(bad, driver.Schedule{Expression: expression})
	}
	for _, x := range bad {
		x.Payload = json.RawMessage(`{}`)
		for _, name := range []string{"new", "kept"} {
			x.Name = name
			e.wantClass(s.Create(e.ctx, x), driver.ErrInvalid, "Create of %q in the zone %q", x.Expression, x.Zone)
		}
	}
	for name, id := range badIDs() {
		err := s.Create(e.ctx, driver.Schedule{Name: id, Expression: good, Payload: json.RawMessage(`{}`)})
		e.wantClass(err, driver.ErrInvalid, "Create with a name that is %s", name)
	}
	list, err := s.List(e.ctx)
	e.must(err, "List")
	e.errorIf(len(list) != 1 || list[0].Expression != good, "after refused schedules List = %+v, want the one before", list)
	e.noFiring(s, "though it was refused")
}

func validSchedulesAreAccepted(e *env) {
	s := e.scheduler()
	year := e.Now().UTC().Year()
	for _, expression := range []string{
		"rate(1 minute)", "rate(5 minutes)", "rate(1 hour)", "rate(12 hours)", "rate(1 day)", "rate(7 days)",
		"cron(0 10 * * ? *)", "cron(15 12 * * ? *)", "cron(0 18 ? * MON-FRI *)", "cron(0 8 1 * ? *)", "cron(0/10 * ? * MON-FRI *)",
		"cron(0/5 8-17 ? * MON-FRI *)", "cron(0 9 ? * 2#1 *)", "cron(0 0 L * ? *)", "cron(0 0 LW * ? *)", "cron(0 0 3W * ? *)", "cron(0 0 ? * 6L *)",
		"cron(0,30 0-6,20-23 1,15 JAN,jun ? *)", "cron(0 0 29 2 ? *)", "cron(0-15/5 0 * * ? *)", "cron(0 0 ? * L *)",
		fmt.Sprintf("cron(0 0 1 1 ? %d-%d)", year+1, year+3), fmt.Sprintf("cron(0 0 1 1 ? %d/2)", year+1),
		at(e.Now().Add(time.Hour)), at(e.Now().Add(20 * 365 * 24 * time.Hour)),
	} {
		e.try(s.Create(e.ctx, driver.Schedule{Name: "x", Expression: expression, Payload: json.RawMessage(`{}`)}), "Create of %s", expression)
		e.try(s.Create(e.ctx, driver.Schedule{Name: "x", Expression: expression, Zone: "America/New_York", Payload: json.RawMessage(`{}`)}), "Create of %s in New York", expression)
	}
	e.wantSchedules(s, "x")
}

func schedulesSurviveReopening(e *env) {
	e.needReopen()
	s := e.scheduler()
	e.create(s, "hourly", "cron(0 * * * ? *)")
	e.create(s, "once", at(e.Now().Add(90*time.Minute)))
	e.create(s, "done", at(e.Now().Add(-time.Minute)))
	settle(e, s, false, e.firing(s, "done"))
	e.create(s, "held", at(e.Now().Add(-time.Minute)))
	due := e.firing(s, "held").Message.Due
	e.reopen()
	s = e.scheduler()
	e.wantSchedules(s, "held", "hourly", "once")
	d := e.firing(s, "held")
	e.wantDue(d, due)
	settle(e, s, false, d)
	e.noFiring(s, "early")
	e.reopen() // and time passes while it is closed
	e.advance(5 * time.Hour)
	s = e.scheduler()
	got := map[string]int{}
	for _, d := range take(e, s, 2) {
		got[d.Message.Name]++
		settle(e, s, false, d)
	}
	e.errorIf(got["hourly"] != 1 || got["once"] != 1, "after a pause %v fired, want hourly and once, each once", got)
	e.noFiring(s, "though the missed times cause only one firing")
	e.wantSchedules(s, "hourly")
}

func createDoesNotKeepItsArgument(e *env) {
	s := e.scheduler()
	payload := json.RawMessage(`{"n": 1}`)
	e.must(s.Create(e.ctx, driver.Schedule{Name: "a", Expression: at(e.Now().Add(-time.Hour)), Payload: payload}), "Create")
	copy(payload, "!!!!!!!!")
	for range 2 {
		list, err := s.List(e.ctx)
		e.must(err, "List")
		e.fatalIf(len(list) != 1 || string(list[0].Payload) != `{"n": 1}`, "List = %+v, want the payload as it was given", list)
		copy(list[0].Payload, "!!!!!!!!")
		d := e.firing(s, "a")
		e.errorIf(string(d.Message.Payload) != `{"n": 1}`, "the payload is %s", d.Message.Payload)
		copy(d.Message.Payload, "!!!!!!!!")
		settle(e, s, true, d)
	}
}
