// Package schedule says when something happens: once, at a steady rate, or by
// the calendar of a time zone. A [Rate] is that plan; it computes its times by
// itself, and writes itself in the grammar of EventBridge, so that the same
// plan runs in a process and on AWS.
//
// # Expressions
//
//	at(2026-03-29T09:00:00)   once, with seconds and without offset
//	rate(5 minutes)           steadily, in minutes, hours or days of 24 hours
//	cron(0 9 ? * MON-FRI *)   by the calendar, in six fields
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
// One of the two day fields is a condition and the other is ?, always. Days of
// the week count from 1, which is Sunday. Letters may be of either case.
//
//   - a,b is a list; a-b is a range, which may run over the end (22-2, FRI-MON)
//     except in years.
//   - */n, a/n and a-b/n take every n-th value: of all, from a on, and of the range.
//   - day-of-month: L is the last day of the month, LW its last weekday (Monday
//     to Friday), and 15W the weekday nearest to the 15th within the same month.
//     A month without that day is left out.
//   - day-of-week: L is Saturday, 6L the last Friday of the month, 6#3 the third
//     Friday. A month without a fifth Friday is left out.
//   - L, LW, 15W, 6L and 6#3 stand alone in their field.
//
// Expressions that EventBridge might read in another way are refused: * inside
// of a list, L-3, a step that is longer than its field, a step of days of the week.
//
// # Time zones
//
// A zone is an IANA name such as Europe/Berlin; empty is UTC. The zone data is
// part of the program. When clocks go forward, a cron time that does not exist
// is skipped; when they go back, a cron time that comes twice fires the first time
// only. This holds for every minute: cron(*/15 * * * ? *) pauses for an hour in
// autumn, and rate(15 minutes) does not. An at time that comes twice is the first
// of both; one that does not exist is moved on by as much as the clocks are.
package schedule
