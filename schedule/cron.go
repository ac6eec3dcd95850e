package schedule

import (
	"fmt"
	"iter"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"
)

// cron is a parsed cron expression. It is comparable.
type cron struct {
	minutes, hours, months set
	years                  set // less firstYear
	days                   days
}

const firstYear = 1970

// set is a set of numbers from 0 to 255, enough for 230 years.
type set [4]uint64

func (s *set) add(n int) { s[n/64] |= 1 << (n % 64) }

// from yields the members from n on, ascending.
func (s *set) from(n int) iter.Seq[int] {
	return func(yield func(int) bool) {
		n := max(n, 0)
		for word := n / 64; word < len(s); word++ {
			rest := s[word]
			if word == n/64 {
				rest &= ^uint64(0) << (n % 64)
			}
			for ; rest != 0; rest &= rest - 1 {
				if !yield(word*64 + bits.TrailingZeros64(rest)) {
					return
				}
			}
		}
	}
}

type dayRule uint8

const (
	onDates       dayRule = iota // 1-31 in listed
	onLastDate                   // L
	onLastWorkday                // LW
	onNearest                    // nW
	onWeekdays                   // 1-7 in listed
	onNth                        // n#k
	onLast                       // nL
)

// days is the condition of the two day fields together.
type days struct {
	rule   dayRule
	listed set
	n, k   int
}

// in returns the matching days of a month.
func (d *days) in(year, month int) set {
	if d.rule == onDates {
		listed := d.listed
		listed[0] &= 1<<(lastDate(year, month)+1) - 1
		return listed
	}
	var s set
	last := lastDate(year, month)
	first := weekday(year, month, 1)
	switch d.rule {
	case onLastDate:
		s.add(last)
	case onLastWorkday:
		s.add(workday(last, last, first))
	case onNearest:
		if d.n <= last {
			s.add(workday(d.n, last, first))
		}
	case onWeekdays:
		for n := range d.listed.from(1) {
			for date := firstOn(n, first); date <= last; date += 7 {
				s.add(date)
			}
		}
	case onNth:
		if date := firstOn(d.n, first) + 7*(d.k-1); date <= last {
			s.add(date)
		}
	case onLast:
		date := firstOn(d.n, first)
		s.add(date + (last-date)/7*7)
	}
	return s
}

// lastDate returns the number of days of a month.
func lastDate(year, month int) int {
	return time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// weekday returns the day of the week as cron counts it, from 1 for Sunday.
func weekday(year, month, date int) int {
	return int(time.Date(year, time.Month(month), date, 0, 0, 0, 0, time.UTC).Weekday()) + 1
}

// firstOn returns the first date that is weekday n, in a month whose 1st is
// weekday first.
func firstOn(n, first int) int { return 1 + (n-first+7)%7 }

// workday returns the weekday (Monday to Friday) nearest to date in the same month.
func workday(date, last, first int) int {
	switch (first - 1 + date - 1) % 7 {
	case 6: // Saturday
		if date == 1 {
			return 3
		}
		return date - 1
	case 0: // Sunday
		if date == last {
			return date - 2
		}
		return date + 1
	}
	return date
}

// next returns the first time after after. It searches from years down to minutes, and
// visits only the members of each field: so a plan without future times costs at most
// 2760 months.
func (c *cron) next(after time.Time, loc *time.Location) (time.Time, bool) {
	if loc == nil {
		loc = time.UTC
	}
	local := after.In(loc)
	// A lower bound applies only while all larger units are at their lower bounds.
	year, month, date := local.Year()-firstYear, int(local.Month()), local.Day()
	hour, minute := local.Hour(), local.Minute()
	for y := range c.years.from(year) {
		if y > year {
			month, date, hour, minute = 1, 1, 0, 0
		}
		for m := range c.months.from(month) {
			if m > month {
				date, hour, minute = 1, 0, 0
			}
			dates := c.days.in(firstYear+y, m)
			for d := range dates.from(date) {
				if d > date {
					hour, minute = 0, 0
				}
				for h := range c.hours.from(hour) {
					if h > hour {
						minute = 0
					}
					for n := range c.minutes.from(minute) {
						wall := time.Date(firstYear+y, time.Month(m), d, h, n, 0, 0, time.UTC).Unix()
						at, exists := instant(wall, loc)
						if t := time.Unix(at, 0).UTC(); exists && t.After(after) {
							return t, true
						}
					}
				}
			}
		}
	}
	return time.Time{}, false
}

// instant returns the first instant at which the clocks of loc show wall, which is in
// seconds as if it were UTC. If clocks skip wall, exists is false, and the instant is the
// one at which they would have shown it.
//
// time.Date does not specify which of two instants it returns.
func instant(wall int64, loc *time.Location) (unix int64, exists bool) {
	if loc == nil || loc == time.UTC {
		return wall, true
	}
	const widest = 16 * 3600 // no zone is further from UTC
	unix = wall
	for at := wall - widest; at <= wall+widest; {
		t := time.Unix(at, 0).In(loc)
		offset := offsetOf(t)
		// The end may be too early: for times beyond the zone file it can be the end of
		// the year, and in leap years a day before it, which may be before t.
		end := at + 24*3600
		if _, bound := t.ZoneBounds(); bound.Unix() > at {
			end = bound.Unix()
		} else if bound.IsZero() {
			end = wall + widest + 1
		}
		candidate := wall - offset
		if candidate >= end {
			unix = candidate
		} else if offsetOf(time.Unix(candidate, 0).In(loc)) == offset {
			return candidate, true
		}
		at = end
	}
	return unix, false
}

func offsetOf(t time.Time) int64 {
	_, offset := t.Zone()
	return int64(offset)
}

// field is the grammar of one field.
type field struct {
	name     string
	min, max int
	step     int      // the largest step; 0 for none
	names    []string // of min and what follows
	base     int      // subtracted from what is stored
	wraps    bool
	values   string
	hint     string // for a value that is outside
}

var (
	monthNames = []string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}
	// weekdayNames can be indexed by time.Weekday.
	weekdayNames = []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}

	fieldMinutes = &field{name: "minutes", max: 59, step: 59, wraps: true, values: "0-59"}
	fieldHours   = &field{name: "hours", max: 23, step: 23, wraps: true, values: "0-23"}
	fieldDate    = &field{name: "day-of-month", min: 1, max: 31, step: 31, wraps: true, values: "1-31"}
	fieldMonth   = &field{name: "month", min: 1, max: 12, step: 12, wraps: true, values: "1-12 or JAN-DEC", names: monthNames}
	fieldWeekday = &field{
		name: "day-of-week", min: 1, max: 7, wraps: true, values: "1-7 or SUN-SAT", names: weekdayNames,
		hint: "days of the week count from 1 = SUN to 7 = SAT",
	}
	fieldYear = &field{name: "year", min: firstYear, max: 2199, step: 229, values: "1970-2199", base: firstYear}
)

func (f *field) fail(value, reason, hint string) *Error {
	return &Error{Field: f.name, Value: value, Reason: reason, Hint: hint}
}

func (f *field) outside(value string) *Error {
	return f.fail(value, "is not one of "+f.values, f.hint)
}

// parseCron returns the parsed expression and its canonical text.
func parseCron(expression string) (cron, string, *Error) {
	fields := strings.Fields(expression)
	c, text, err := parseFields(fields)
	if err == nil {
		return c, text, nil
	}
	if err.Field == "expression" {
		err.Value = expression
	}
	if hint := habit(expression, fields); hint != "" {
		err.Hint = hint
	}
	return cron{}, "", err
}

func parseFields(fields []string) (c cron, text string, err *Error) {
	if len(fields) != 6 {
		return c, "", &Error{
			Field:  "expression",
			Reason: fmt.Sprintf("has %d fields and not six", len(fields)),
			Hint:   "the fields are minutes, hours, day-of-month, month, day-of-week and year",
		}
	}
	texts := make([]string, 6)
	if c.minutes, texts[0], err = fieldMinutes.parse(fields[0]); err != nil {
		return c, "", err
	}
	if c.hours, texts[1], err = fieldHours.parse(fields[1]); err != nil {
		return c, "", err
	}
	byDate, dateText, err := parseDates(fields[2])
	if err != nil {
		return c, "", err
	}
	if c.months, texts[3], err = fieldMonth.parse(fields[3]); err != nil {
		return c, "", err
	}
	byWeekday, weekdayText, err := parseWeekdays(fields[4])
	if err != nil {
		return c, "", err
	}
	if c.years, texts[5], err = fieldYear.parse(fields[5]); err != nil {
		return c, "", err
	}
	const both = "day-of-month and day-of-week cannot both be set: one of them is ?"
	texts[2], texts[4] = dateText, weekdayText
	switch {
	case dateText == "?" && weekdayText == "?":
		return c, "", fieldDate.fail("?", "day-of-month and day-of-week cannot both be ?", "for every day write * in one of them")
	case dateText == "?":
		c.days = byWeekday
	case weekdayText == "?":
		c.days = byDate
	case dateText == "*" && weekdayText != "*":
		return c, "", fieldDate.fail("*", both, "")
	default:
		return c, "", fieldWeekday.fail(fields[4], both, "")
	}
	return c, strings.Join(texts, " "), nil
}

// parses reports whether fields are a cron expression.
func parses(fields []string) bool {
	_, _, err := parseFields(fields)
	return err == nil
}

// parse parses a list of values, ranges and steps.
func (f *field) parse(text string) (s set, canonical string, err *Error) {
	items := strings.Split(text, ",")
	for i, item := range items {
		if items[i], err = f.item(&s, item, len(items) > 1); err != nil {
			return s, "", err
		}
	}
	return s, strings.Join(items, ","), nil
}

// item adds the values of one item of a list to s, and returns its canonical text.
func (f *field) item(s *set, item string, listed bool) (string, *Error) {
	span, stepText, stepped := strings.Cut(item, "/")
	low, high, ranged := strings.Cut(span, "-")
	from, to := f.min, f.max
	var text string
	switch span {
	case "":
		return "", f.fail(item, "has an empty item", "")
	case "?":
		if f == fieldDate || f == fieldWeekday {
			return "", f.fail(item, "? stands alone", "")
		}
		return "", f.fail(item, "? is for day-of-month and day-of-week only", "every value is *")
	case "*":
		if listed && !stepped {
			return "", f.fail(item, "* stands alone", "")
		}
		text = "*"
	default:
		var err *Error
		if from, text, err = f.value(low); err != nil {
			return "", err
		}
		switch {
		case ranged:
			var end string
			if to, end, err = f.value(high); err != nil {
				return "", err
			}
			text += "-" + end
			if to < from && !f.wraps {
				return "", f.fail(item, "runs backwards", "")
			}
		case !stepped:
			to = from
		}
	}
	step := 1
	if stepped {
		if f.step == 0 {
			return "", f.fail(item, "has a step, which this field does not take", "list the values")
		}
		if !digits(stepText) {
			return "", f.fail(item, "its step is not a number", "")
		}
		n, err := strconv.Atoi(stepText)
		switch {
		case err != nil || n > f.step:
			return "", f.fail(item, fmt.Sprintf("its step is over %d, the most here", f.step),
				"cron restarts with each hour, day, month or year; use a rate for a longer interval")
		case n == 0:
			return "", f.fail(item, "its step is zero", "")
		}
		step = n
		text += "/" + strconv.Itoa(step)
	}
	size := f.max - f.min + 1
	if to < from {
		to += size
	}
	for n := from; n <= to; n += step {
		s.add((n-f.min)%size + f.min - f.base)
	}
	return text, nil
}

// value parses a number or a name, and returns its canonical text.
func (f *field) value(text string) (int, string, *Error) {
	if i := slices.Index(f.names, upper(text)); i >= 0 {
		return f.min + i, f.names[i], nil
	}
	if !digits(text) {
		return 0, "", f.outside(text)
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < f.min || n > f.max {
		return 0, "", f.outside(text)
	}
	return n, strconv.Itoa(n), nil
}

// upper is strings.ToUpper for ASCII letters only: some others have ASCII upper cases.
func upper(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return r - 'a' + 'A'
		}
		return r
	}, s)
}

// parseDates parses the field day-of-month.
func parseDates(text string) (days, string, *Error) {
	f := fieldDate
	switch t := upper(text); {
	case t == "?":
		return days{}, "?", nil
	case t == "L":
		return days{rule: onLastDate}, t, nil
	case t == "LW":
		return days{rule: onLastWorkday}, t, nil
	case strings.HasPrefix(t, "L-"):
		return days{}, "", f.fail(text, "counts from the end of the month", "only L, the last day, and LW, the last weekday, are supported")
	case strings.ContainsAny(t, ",/-") && slices.ContainsFunc(strings.FieldsFunc(t, isSeparator), isSpecialDate):
		return days{}, "", f.fail(text, "L and W stand alone in the field", "")
	case strings.HasSuffix(t, "W"):
		n, number, err := f.value(t[:len(t)-1])
		if err != nil {
			return days{}, "", f.fail(text, "W follows a day of 1-31, or L", "")
		}
		return days{rule: onNearest, n: n}, number + "W", nil
	case strings.HasSuffix(t, "L"):
		return days{}, "", f.fail(text, "L stands alone", "the last of a weekday in the month, such as 6L, is for "+fieldWeekday.name)
	case strings.Contains(t, "#"):
		return days{}, "", f.fail(text, "# is for "+fieldWeekday.name, "")
	}
	listed, canonical, err := f.parse(text)
	return days{rule: onDates, listed: listed}, canonical, err
}

func isSeparator(r rune) bool { return r == ',' || r == '/' || r == '-' }

// isSpecialDate reports whether an item is L, LW or nW, and not a name such as JUL.
func isSpecialDate(item string) bool {
	return strings.Trim(item, "0123456789LW") == "" && strings.ContainsAny(item, "LW")
}

// parseWeekdays parses the field day-of-week. With L and # the canonical text has numbers,
// as in the documentation of EventBridge.
func parseWeekdays(text string) (days, string, *Error) {
	f := fieldWeekday
	switch t := upper(text); {
	case t == "?":
		return days{}, "?", nil
	case t == "L":
		var saturday set
		saturday.add(7)
		return days{rule: onWeekdays, listed: saturday}, t, nil
	case strings.Contains(t, "#"):
		if strings.ContainsAny(t, ",/-") {
			return days{}, "", f.fail(text, "# stands alone in the field", "")
		}
		day, count, _ := strings.Cut(t, "#")
		n, _, err := f.value(day)
		if err != nil {
			return days{}, "", f.fail(text, "# follows a day of "+f.values, f.hint)
		}
		if len(count) != 1 || count < "1" || count > "5" {
			return days{}, "", f.fail(text, "# goes before a number of 1-5", "the last one in the month is "+strconv.Itoa(n)+"L")
		}
		k := int(count[0] - '0')
		return days{rule: onNth, n: n, k: k}, fmt.Sprintf("%d#%d", n, k), nil
	case strings.Contains(t, "L"):
		if strings.ContainsAny(t, ",/-") {
			return days{}, "", f.fail(text, "L stands alone in the field", "")
		}
		n, _, err := f.value(strings.TrimSuffix(t, "L"))
		if err != nil {
			return days{}, "", f.fail(text, "L follows a day of "+f.values, f.hint)
		}
		return days{rule: onLast, n: n}, fmt.Sprintf("%dL", n), nil
	}
	listed, canonical, err := f.parse(text)
	return days{rule: onWeekdays, listed: listed}, canonical, err
}

var macros = map[string]string{
	"@yearly":   "0 0 1 1 ? *",
	"@annually": "0 0 1 1 ? *",
	"@monthly":  "0 0 1 * ? *",
	"@weekly":   "0 0 ? * SUN *",
	"@daily":    "0 0 * * ? *",
	"@midnight": "0 0 * * ? *",
	"@hourly":   "0 * * * ? *",
}

// macroHint returns a hint for an expression that begins with @. format is the form of the
// suggested expression.
func macroHint(expression, format string) string {
	if meant := macros[strings.ToLower(expression)]; meant != "" {
		return fmt.Sprintf("@ names are not known; did you mean %q?", fmt.Sprintf(format, meant))
	}
	if strings.HasPrefix(expression, "@every") {
		return `@ names are not known; use Every, or for example "rate(5 minutes)"`
	}
	return "@ names are not known"
}

// habit recognizes other cron dialects in an invalid expression, and returns a hint, or
// nothing.
func habit(expression string, fields []string) string {
	meant := func(why string, fields []string) string {
		if !parses(fields) {
			return ""
		}
		return fmt.Sprintf("%s; did you mean %q?", why, strings.Join(fields, " "))
	}
	const seconds = "there is no field for seconds"
	if strings.HasPrefix(expression, "@") {
		return macroHint(expression, "%s")
	}
	for _, name := range []string{"cron(", "rate(", "at("} {
		if strings.HasPrefix(expression, name) {
			return "write the fields without " + name + "), or use Parse"
		}
	}
	switch len(fields) {
	case 5:
		const why = "this looks like unix cron, which has no year, counts days of the week from 0, and does not know ?"
		f := append(slices.Clone(fields), "*")
		f[4] = unixWeekdays(f[4])
		if hint := meant(why, oneDay(f)); hint != "" {
			return hint
		}
		return why
	case 6:
		// Unix cron or Quartz, with seconds first and without a year.
		f := append(slices.Clone(fields[1:]), "*")
		if hint := meant(seconds, f); hint != "" {
			return hint
		}
		return meant("one of the two day fields is ?", oneDay(fields))
	case 7:
		if hint := meant(seconds, fields[1:]); hint != "" {
			return hint
		}
		return seconds
	}
	return ""
}

// oneDay returns fields with ? in place of * in one day field.
func oneDay(fields []string) []string {
	f := slices.Clone(fields)
	switch {
	case f[4] == "*" && f[2] != "?":
		f[4] = "?"
	case f[2] == "*":
		f[2] = "?"
	}
	return f
}

// unixWeekdays replaces the numbers, where 0 and 7 are Sunday, by names.
func unixWeekdays(text string) string {
	if strings.ContainsAny(text, "/#") {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if r >= '0' && r <= '7' {
			b.WriteString(weekdayNames[(r-'0')%7])
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}
