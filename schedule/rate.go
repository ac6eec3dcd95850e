package schedule

import (
	"fmt"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // zones must load on machines that have no zone files
)

// maxExpression is the longest expression that EventBridge takes.
const maxExpression = 256

// atLayout is the form of a time in at(...).
const atLayout = "2006-01-02T15:04:05"

type kind uint8

const (
	kindNone kind = iota
	kindAt
	kindEvery
	kindCron
)

// Rate is a plan: one time or a sequence of times. It is a value; two Rates are equal
// (==) if they have the same expression and zone. The zero Rate is invalid. Methods
// may be called concurrently.
//
// The functions that return a Rate do not fail: they return an invalid Rate, whose
// [Rate.Err] says what is wrong. [New] panics for an invalid Rate. An event whose
// action has one is parked.
type Rate struct {
	kind  kind
	text  string
	zone  string
	loc   *time.Location // one pointer per name, so that == works; nil is UTC
	at    int64          // kindAt: unix seconds
	every time.Duration  // kindEvery
	cron  cron           // kindCron
	err   *Error
}

// Error describes an invalid expression.
type Error struct {
	// Expression is the invalid expression.
	Expression string
	// Field is the invalid part: minutes, hours, day-of-month, month, day-of-week,
	// year, rate, at or zone; or expression for the whole.
	Field string
	// Value is the invalid text in that field; it may be empty.
	Value string
	// Reason says what is wrong with Value.
	Reason string
	// Hint suggests a correction; it may be empty.
	Hint string
}

// Error returns all fields in one line.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Expression != "" {
		fmt.Fprintf(&b, "%s: ", quote(e.Expression))
	}
	b.WriteString(e.Field)
	if e.Value != "" && e.Value != e.Expression {
		fmt.Fprintf(&b, " %s", quote(e.Value))
	}
	fmt.Fprintf(&b, ": %s", e.Reason)
	if e.Hint != "" {
		fmt.Fprintf(&b, "; %s", e.Hint)
	}
	return b.String()
}

// quote truncates long values, such as a document that was passed by mistake.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		return strconv.Quote(s[:most]) + "..."
	}
	return strconv.Quote(s)
}

// At plans the single time t, in UTC and rounded up to a whole second. The year is
// from 1970 to 9999.
func At(t time.Time) Rate {
	given := t.UTC()
	t = given.Truncate(time.Second)
	if t.Before(given) {
		t = t.Add(time.Second)
	}
	text := t.Format(atLayout)
	if err := checkAtYear(t.Year(), text); err != nil {
		if given.IsZero() {
			err.Hint = "this is the zero time"
		}
		return invalid(text, err)
	}
	return Rate{kind: kindAt, text: "at(" + text + ")", at: t.Unix()}
}

// Every plans a time every d, which is a positive number of whole minutes.
func Every(d time.Duration) Rate {
	text := d.String()
	switch {
	case d < time.Minute:
		return invalid(text, &Error{
			Field: "rate", Value: text, Reason: "is shorter than a minute",
			Hint: "the shortest rate is one minute",
		})
	case d%time.Minute != 0:
		return invalid(text, &Error{Field: "rate", Value: text, Reason: "is not a number of whole minutes"})
	}
	n, unit := int64(d/time.Minute), "minute"
	switch {
	case d%day == 0:
		n, unit = int64(d/day), "day"
	case d%time.Hour == 0:
		n, unit = int64(d/time.Hour), "hour"
	}
	if n > 1 {
		unit += "s"
	}
	return Rate{kind: kindEvery, text: fmt.Sprintf("rate(%d %s)", n, unit), every: d}
}

// day is the length of a day in a rate, as in EventBridge.
const day = 24 * time.Hour

// Daily plans every day at hour and minute in a time zone.
func Daily(hour, minute int, zone string) Rate {
	given := fmt.Sprintf("%d %d * * ? *", minute, hour)
	if err := checkClock(hour, minute); err != nil {
		return invalid(given, err)
	}
	return Cron(given, zone)
}

// Weekly plans every such day of the week at hour and minute in a time zone.
func Weekly(day time.Weekday, hour, minute int, zone string) Rate {
	if day < time.Sunday || day > time.Saturday {
		value := strconv.Itoa(int(day))
		return invalid(fmt.Sprintf("%d %d ? * %s *", minute, hour, value), &Error{
			Field: fieldWeekday.name, Value: value, Reason: "is not a time.Weekday",
		})
	}
	given := fmt.Sprintf("%d %d ? * %s *", minute, hour, weekdayNames[day])
	if err := checkClock(hour, minute); err != nil {
		return invalid(given, err)
	}
	return Cron(given, zone)
}

// checkClock is needed because the parser would read -1 as a range.
func checkClock(hour, minute int) *Error {
	if minute < fieldMinutes.min || minute > fieldMinutes.max {
		return fieldMinutes.outside(strconv.Itoa(minute))
	}
	if hour < fieldHours.min || hour > fieldHours.max {
		return fieldHours.outside(strconv.Itoa(hour))
	}
	return nil
}

// Cron plans the times of a cron expression in a time zone. The expression has the
// six fields without cron(...).
func Cron(expression, zone string) Rate {
	c, text, err := parseCron(expression)
	if err != nil {
		return invalid(expression, err)
	}
	zone, loc, err := loadZone(zone)
	if err != nil {
		return invalid(expression, err)
	}
	text = "cron(" + text + ")"
	if len(text) > maxExpression {
		return invalid(expression, &Error{
			Field: "expression", Value: expression,
			Reason: fmt.Sprintf("has %d characters; %d is the most", len(text), maxExpression),
		})
	}
	return Rate{kind: kindCron, text: text, zone: zone, loc: loc, cron: c}
}

// Parse returns the plan of an expression of the form at(...), rate(...) or
// cron(...). The Rate has the canonical form of the expression, which is the one to
// store: [Rate.Expression] and [Rate.Zone]. The zone must be valid, but a rate(...)
// ignores it. The error is an *[Error].
func Parse(expression, zone string) (Rate, error) {
	r := parse(expression, zone)
	if r.err != nil {
		return Rate{}, r.err
	}
	return r, nil
}

func parse(expression, zone string) Rate {
	name, body, open := strings.Cut(expression, "(")
	body, closed := strings.CutSuffix(body, ")")
	if open && closed {
		switch name {
		case "at":
			return parseAt(expression, body, zone)
		case "rate":
			return parseRate(expression, body, zone)
		case "cron":
			r := Cron(body, zone)
			if r.err != nil {
				r.err.Expression = expression
			}
			return r
		}
	}
	err := &Error{
		Field: "expression", Value: expression,
		Reason: "is not at(...), rate(...) or cron(...)",
	}
	switch {
	case strings.HasPrefix(expression, "@"):
		err.Hint = macroHint(expression, "cron(%s)")
	case parses(strings.Fields(expression)):
		err.Hint = fmt.Sprintf("did you mean \"cron(%s)\"?", expression)
	}
	return invalid(expression, err)
}

func parseAt(expression, body, zone string) Rate {
	zone, loc, err := loadZone(zone)
	if err != nil {
		return invalid(expression, err)
	}
	// The length keeps out fractions of a second, which time.Parse takes
	// whatever the layout.
	t, perr := time.Parse(atLayout, body)
	if perr != nil || len(body) != len(atLayout) {
		err := &Error{Field: "at", Value: body, Reason: "is not an existing time of the form yyyy-mm-ddThh:mm:ss"}
		if _, rerr := time.Parse(time.RFC3339, body); rerr == nil {
			err.Hint = "it has no offset, no Z and no fraction: name a zone, or give the time in UTC"
		}
		return invalid(expression, err)
	}
	if err := checkAtYear(t.Year(), body); err != nil {
		return invalid(expression, err)
	}
	at, _ := instant(t.Unix(), loc)
	return Rate{kind: kindAt, text: "at(" + body + ")", zone: zone, loc: loc, at: at}
}

func checkAtYear(year int, value string) *Error {
	if year >= 1970 && year <= 9999 {
		return nil
	}
	return &Error{Field: "at", Value: value, Reason: "its year is not one of 1970-9999"}
}

func parseRate(expression, body, zone string) Rate {
	if _, _, err := loadZone(zone); err != nil {
		return invalid(expression, err)
	}
	fail := func(reason, hint string) Rate {
		return invalid(expression, &Error{Field: "rate", Value: body, Reason: reason, Hint: hint})
	}
	words := strings.Fields(body)
	if len(words) != 2 {
		return fail("is not a number and a unit", `for example "rate(5 minutes)"`)
	}
	one := true
	var unit time.Duration
	switch words[1] {
	case "minutes", "hours", "days":
		one = false
	}
	switch strings.TrimSuffix(words[1], "s") {
	case "minute":
		unit = time.Minute
	case "hour":
		unit = time.Hour
	case "day":
		unit = day
	case "second":
		return fail("has no unit of minutes, hours or days", "the shortest rate is one minute")
	default:
		return fail("has no unit of minutes, hours or days", "a week is 7 days; for months write a cron expression")
	}
	if !digits(words[0]) {
		return fail("does not begin with a whole number", "")
	}
	n, perr := strconv.ParseInt(words[0], 10, 64)
	const longest = time.Duration(1<<63 - 1)
	switch {
	case perr != nil || n > int64(longest/unit):
		return fail("is too long", "")
	case n == 0:
		return fail("is zero", "the shortest rate is one minute")
	case one != (n == 1):
		return fail("is in the wrong number", "1 goes with minute, hour and day, other numbers go with minutes, hours and days")
	}
	return Every(time.Duration(n) * unit)
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// invalid returns a Rate that carries err.
func invalid(expression string, err *Error) Rate {
	err.Expression = expression
	return Rate{err: err}
}

// zones holds a *time.Location per name: LoadLocation makes a new one each time.
var zones sync.Map

// loadZone returns the name in the form to keep, and the zone.
func loadZone(name string) (string, *time.Location, *Error) {
	switch name {
	case "", "UTC":
		return "", nil, nil
	}
	if loc, ok := zones.Load(name); ok {
		return name, loc.(*time.Location), nil
	}
	err := &Error{
		Field: "zone", Value: name, Reason: "is not a time zone",
		Hint: "a zone is an IANA name such as Europe/Berlin, or empty for UTC",
	}
	// A folder of zone files would open "Europe//Berlin" and "Europe/./Berlin" too.
	if path.Clean(name) != name {
		return "", nil, err
	}
	// Local and localtime are another zone on each machine. The folders posix
	// and right are no part of the names, and right has leap seconds in it.
	switch folder, _, _ := strings.Cut(name, "/"); folder {
	case "Local", "localtime", "posixrules", "posix", "right":
		return "", nil, err
	}
	loc, lerr := time.LoadLocation(name)
	if lerr != nil {
		return "", nil, err
	}
	kept, _ := zones.LoadOrStore(strings.Clone(name), loc)
	return name, kept.(*time.Location), nil
}

// Expression returns the plan as at(...), rate(...) or cron(...) in its canonical
// form; empty if r is invalid.
func (r Rate) Expression() string { return r.text }

// Zone returns the IANA name of the expression's time zone; empty means UTC.
func (r Rate) Zone() string { return r.zone }

// Err returns an *[Error] if r is invalid, otherwise nil. A plan without future times
// is valid, even one that never has a time, such as the 31st of February.
func (r Rate) Err() error {
	switch {
	case r.err != nil:
		return r.err
	case r.kind == kindNone:
		return &Error{
			Field: "expression", Reason: "is missing",
			Hint: "use At, Every, Daily, Weekly or Cron",
		}
	}
	return nil
}

// Next returns the first planned time after after, in UTC. The times of a rate(...)
// count from after. ok is false if there is no such time, and if r is invalid.
func (r Rate) Next(after time.Time) (next time.Time, ok bool) {
	switch r.kind {
	case kindAt:
		if t := time.Unix(r.at, 0).UTC(); t.After(after) {
			return t, true
		}
	case kindEvery:
		return after.Round(0).UTC().Add(r.every), true
	case kindCron:
		return r.cron.next(after, r.loc)
	}
	return time.Time{}, false
}

// Time returns the time of a one-time plan, in UTC; ok is false for all other plans.
func (r Rate) Time() (t time.Time, ok bool) {
	if r.kind != kindAt {
		return time.Time{}, false
	}
	return time.Unix(r.at, 0).UTC(), true
}

// Recurring reports whether r is a valid plan of more than one time.
func (r Rate) Recurring() bool { return r.kind == kindEvery || r.kind == kindCron }

// String returns the expression with the zone, or why r is invalid.
func (r Rate) String() string {
	if err := r.Err(); err != nil {
		return "invalid: " + err.Error()
	}
	if r.zone == "" {
		return r.text
	}
	return r.text + " " + r.zone
}
