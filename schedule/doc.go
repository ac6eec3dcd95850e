// Package schedule declares commands that are sent at planned times, and defines the
// plans: once, at a fixed rate, or by the calendar of a time zone.
//
//	var Nightly = schedule.New(schedule.Spec{
//		Name: "Nightly",
//		Rate: schedule.Daily(2, 30, "Europe/Berlin"),
//		Send: Report.To("sales", Write{}),
//	})
//
// [New] declares a schedule that exists as long as the application declares it.
// [Create] and [Delete] are actions of automations and tasks, for schedules that are
// created at run time. The plan is a [Rate]. It has the same grammar and the same
// times on every host as in Amazon EventBridge.
//
// # Expressions
//
//	at(2026-03-29T09:00:00)   once; with seconds, without a UTC offset
//	rate(5 minutes)           at a fixed rate in minutes, hours or days of 24 hours
//	cron(0 9 ? * MON-FRI *)   by the calendar, with six fields
//
// The fields of cron, in their order:
//
//	field         values             wildcards
//	minutes       0-59               , - * /
//	hours         0-23               , - * /
//	day-of-month  1-31               , - * / ? L W
//	month         1-12 or JAN-DEC    , - * /
//	day-of-week   1-7 or SUN-SAT     , - * ? L #
//	year          1970-2199          , - * /
//
// Exactly one of the two day fields is ?. Days of the week are numbered from 1, which
// is Sunday. Letters are case-insensitive.
//
//   - a,b is a list. a-b is a range, which may wrap around (22-2, FRI-MON), except
//     in years.
//   - */n is every n-th value, a/n every n-th value from a, and a-b/n every n-th
//     value of the range.
//   - day-of-month: L is the last day of the month, LW its last weekday (Monday to
//     Friday), and 15W the weekday nearest to the 15th in the same month. Months
//     without such a day are skipped.
//   - day-of-week: L is Saturday, 6L the last Friday of the month, 6#3 the third
//     Friday. Months without such a day are skipped.
//   - L, LW, 15W, 6L and 6#3 cannot be combined with other values in their field.
//
// Expressions that EventBridge might interpret differently are invalid: * in a list,
// L-3, a step that exceeds its field, and a step of days of the week.
//
// # Time zones
//
// A zone is an IANA name such as Europe/Berlin; empty means UTC. The zone data is
// linked into the program. Daylight saving time affects plans as follows:
//
//   - cron, when clocks go forward: a time that does not exist is skipped.
//   - cron, when clocks go back: of a time that occurs twice, only the first
//     occurrence counts. So cron(*/15 * * * ? *) pauses for an hour in autumn, and
//     rate(15 minutes) does not.
//   - at: of a time that occurs twice, it means the first; a time that does not exist
//     is moved forward by as much as the clocks are.
package schedule
