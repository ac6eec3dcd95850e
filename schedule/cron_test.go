package schedule_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/reventless-go/reventless/schedule"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the random expressions; 0 chooses one for each test")

func TestCronAccepts(t *testing.T) {
	t.Parallel()
	tests := []struct{ expression, want string }{
		{"* * * * ? *", ""},
		{"0 9 ? * * *", ""},
		{"0 0 1 1 ? 1970", ""},
		{"59 23 31 12 ? 2199", ""},
		{"*/10,*/3 * * * ? *", ""},
		{"0-15/5 8-8 ? * 2,3,4,5,6,7 *", ""},
		{"0 1-7/2,11-23/2,10 * * ? *", ""},
		{"30 20-2 ? * FRI-MON *", ""},
		{"50-10/5 22-4/2 25-5/3 NOV-FEB/2 ? *", ""},
		{"0 0 1 */3 ? 2000/4", ""},
		{"0 0 1 JAN-APR,JUL-OCT/2,DEC ? 2020,2022-2025,2100-2199/10", ""},
		{"0 0 L * ? *", ""},
		{"0 0 LW * ? *", ""},
		{"0 0 31W * ? *", ""},
		{"15 10 ? * 6L 2019-2022", ""},
		{"0 9 ? * 2#1 *", ""},
		{"0 9 ? * 7#5 *", ""},

		{"00 09 01 02 ? *", "0 9 1 2 ? *"},
		{"0 18 ? * Mon-fRi *", "0 18 ? * MON-FRI *"},
		{"0 0 ? jan,DEC 02 *", "0 0 ? JAN,DEC 2 *"},
		{"0 0 lw * ? *", "0 0 LW * ? *"},
		{"0 0 03w * ? *", "0 0 3W * ? *"},
		{"0 0 ? * fril *", "0 0 ? * 6L *"},
		{"0 0 ? * mon#1 *", "0 0 ? * 2#1 *"},
		{"\t0 0\n* *  ? *", "0 0 * * ? *"},
	}
	for _, tt := range tests {
		t.Run(tt.expression, func(t *testing.T) {
			t.Parallel()
			want := tt.want
			if want == "" {
				want = tt.expression
			}
			r := schedule.Cron(tt.expression, "")
			if err := r.Err(); err != nil {
				t.Fatal(err)
			}
			if got := r.Expression(); got != "cron("+want+")" {
				t.Errorf("got %q, want %q in cron()", got, want)
			}
			roundTrip(t, r)
		})
	}
}

func TestCronRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		expression   string
		field, value string
		hint         bool
	}{
		{"60 0 * * ? *", "minutes", "60", false},
		{"-1 0 * * ? *", "minutes", "", false},
		{"5- 0 * * ? *", "minutes", "", false},
		{"1-2-3 0 * * ? *", "minutes", "2-3", false},
		{"*-5 0 * * ? *", "minutes", "*", false},
		{"L 0 * * ? *", "minutes", "L", false},
		{"? 0 * * ? *", "minutes", "?", true},
		{"1,,2 0 * * ? *", "minutes", "", false},
		{"*,5 0 * * ? *", "minutes", "*", false},
		{"*/0 0 * * ? *", "minutes", "*/0", false},
		{"/5 0 * * ? *", "minutes", "/5", false},
		{"*/5/5 0 * * ? *", "minutes", "*/5/5", false},
		{"*/+5 0 * * ? *", "minutes", "*/+5", false},
		{"*/90 * * * ? *", "minutes", "*/90", true},
		{"*/99999999999999999999 * * * ? *", "minutes", "*/99999999999999999999", true},
		{"5,65/15 0 * * ? *", "minutes", "65", false},
		{"0 24 * * ? *", "hours", "24", false},
		{"0 */24 * * ? *", "hours", "*/24", true},
		{"0 99999999999999999999 * * ? *", "hours", "99999999999999999999", false},

		{"0 0 0 * ? *", "day-of-month", "0", false},
		{"0 0 32 * ? *", "day-of-month", "32", false},
		{"0 0 32W * ? *", "day-of-month", "32W", false},
		{"0 0 W * ? *", "day-of-month", "W", false},
		{"0 0 1,15W * ? *", "day-of-month", "1,15W", false},
		{"0 0 1,L * ? *", "day-of-month", "1,L", false},
		{"0 0 L-3 * ? *", "day-of-month", "L-3", true},
		{"0 0 3L * ? *", "day-of-month", "3L", true},
		{"0 0 WL * ? *", "day-of-month", "WL", true},
		{"0 0 2#1 * ? *", "day-of-month", "2#1", false},
		{"0 0 ?,1 * ? *", "day-of-month", "?", false},
		{"0 0 ?/2 * ? *", "day-of-month", "?/2", false},
		{"0 0 MON-WED * ? *", "day-of-month", "MON", false},

		{"0 0 1 0 ? *", "month", "0", false},
		{"0 0 1 JANUARY ? *", "month", "JANUARY", false},
		{"0 0 1 ? 2 *", "month", "?", true},
		{"0 0 1 */13 ? *", "month", "*/13", true},

		{"0 9 ? * 0 *", "day-of-week", "0", true},
		{"0 9 ? * 0-4 *", "day-of-week", "0", true},
		{"0 9 ? * Monday *", "day-of-week", "Monday", true},
		{"0 9 ? * \u017fun *", "day-of-week", "\u017fun", true}, // strings.ToUpper turns it into SUN
		{"0 9 ? * 2/2 *", "day-of-week", "2/2", true},
		{"0 9 ? * */2 *", "day-of-week", "*/2", true},
		{"0 9 ? * 2,6L *", "day-of-week", "2,6L", false},
		{"0 9 ? * L-2 *", "day-of-week", "L-2", false},
		{"0 9 ? * LL *", "day-of-week", "LL", true},
		{"0 9 ? * 3#0 *", "day-of-week", "3#0", true},
		{"0 9 ? * 3#6 *", "day-of-week", "3#6", true},
		{"0 9 ? * #2 *", "day-of-week", "#2", true},
		{"0 9 ? * 3#1,6#3 *", "day-of-week", "3#1,6#3", false},
		{"0 9 ? * 3#1#1 *", "day-of-week", "3#1#1", true},

		{"0 9 1 * ? 1969", "year", "1969", false},
		{"0 9 1 * ? 2200", "year", "2200", false},
		{"0 9 1 * ? 2030-2026", "year", "2030-2026", false},
		{"0 9 1 * ? */230", "year", "*/230", true},
		{"0 9 1 * ? ?", "year", "?", true},

		{"0 9 * * * *", "day-of-week", "*", true},
		{"0 9 * * MON *", "day-of-month", "*", true},
		{"0 9 1 * MON *", "day-of-week", "MON", false},
		{"0 9 L * 6L *", "day-of-week", "6L", false},
		{"0 9 ? * ? *", "day-of-month", "?", true},

		{"", "expression", "", true},
		{"0 9 * *", "expression", "0 9 * *", true},
		{"0 9 * * *", "expression", "0 9 * * *", true},
		{"0 0 9 * * ? *", "expression", "0 0 9 * * ? *", true},
		{"0 0 9 1 * ? * *", "expression", "0 0 9 1 * ? * *", true},
		{"@daily", "expression", "@daily", true},
		{"@every 5m", "expression", "@every 5m", true},
		{"cron(0 9 * * ? *)", "minutes", "cron(0", true},
		{"rate(5 minutes)", "expression", "rate(5 minutes)", true},
	}
	for _, tt := range tests {
		t.Run(tt.expression, func(t *testing.T) {
			t.Parallel()
			err := schedule.Cron(tt.expression, "").Err()
			checkError(t, err, tt.field, tt.value, tt.hint)
			if got := asError(t, err).Expression; got != tt.expression {
				t.Errorf("Expression: got %q, want %q", got, tt.expression)
			}
		})
	}
}

func TestCronTooLong(t *testing.T) {
	t.Parallel()
	// cron() and the other fields take 16 of the 256 characters.
	const rest = " * * * ? *"
	longest := strings.Repeat("10,", 78) + "1,2,10"
	if err := schedule.Cron(longest+rest, "").Err(); err != nil {
		t.Error(err)
	}
	// The limit applies to the stored form.
	if err := schedule.Cron(longest+strings.Repeat(" ", 100)+rest, "").Err(); err != nil {
		t.Error(err)
	}
	over := strings.Repeat("10,", 78) + "1,2,3,4" + rest
	checkError(t, schedule.Cron(over, "").Err(), "expression", over, false)
}

// The hint for an expression in another dialect is a valid expression of this one.
func TestHintsForOtherDialects(t *testing.T) {
	t.Parallel()
	tests := []struct{ expression, meant string }{
		{"0 9 * * *", "0 9 * * ? *"},
		{"0 9 1 * *", "0 9 1 * ? *"},
		{"0 9 * * 0", "0 9 ? * SUN *"},
		{"0 9 * * 7", "0 9 ? * SUN *"},
		{"0 9 * * 1-5", "0 9 ? * MON-FRI *"},
		{"0 9 * * mon,3", "0 9 ? * mon,WED *"},
		{"0 9 ? * 1", "0 9 ? * MON *"},
		{"*/5 * * * *", "*/5 * * * ? *"},
		{"0 9 1 * 1", ""}, // Unix cron fires if either matches
		{"0 9 * * */2", ""},
		{"0 0 9 * * ?", "0 9 * * ? *"},
		{"0 0 9 ? * MON-FRI", "0 9 ? * MON-FRI *"},
		{"0 0 9 * * ? *", "0 9 * * ? *"},
		{"0 9 * * * *", "0 9 * * ? *"},
		{"0 9 * * 2 *", "0 9 ? * 2 *"},
		{"0 9 1 * 2 *", ""},
		{"@yearly", "0 0 1 1 ? *"},
		{"@annually", "0 0 1 1 ? *"},
		{"@monthly", "0 0 1 * ? *"},
		{"@weekly", "0 0 ? * SUN *"},
		{"@Daily", "0 0 * * ? *"},
		{"@midnight", "0 0 * * ? *"},
		{"@hourly", "0 * * * ? *"},
		{"@reboot", ""},
	}
	for _, tt := range tests {
		t.Run(tt.expression, func(t *testing.T) {
			t.Parallel()
			want := func(form string, err error) {
				t.Helper()
				_, got, _ := strings.Cut(asError(t, err).Hint, "did you mean ")
				want := ""
				if tt.meant != "" {
					want = fmt.Sprintf("%q?", fmt.Sprintf(form, tt.meant))
				}
				if got != want {
					t.Errorf("got hint %q, want %q", got, want)
				}
			}
			want("%s", schedule.Cron(tt.expression, "").Err())
			if strings.HasPrefix(tt.expression, "@") {
				_, err := schedule.Parse(tt.expression, "")
				want("cron(%s)", err)
			}
			if tt.meant != "" {
				if err := schedule.Cron(tt.meant, "").Err(); err != nil {
					t.Errorf("the expression in the hint is invalid: %v", err)
				}
			}
		})
	}
}

func TestNextOfCron(t *testing.T) {
	t.Parallel()
	const none = "none"
	tests := []struct {
		name, expression, zone string
		after                  string
		want                   []string
	}{
		{"strictly after", "0 9 * * ? *", "", "2026-03-01T09:00:00Z", []string{"2026-03-02T09:00:00Z", "2026-03-03T09:00:00Z"}},
		{"just before", "0 9 * * ? *", "", "2026-03-01T08:59:59.999999999Z", []string{"2026-03-01T09:00:00Z"}},
		{"within the minute", "* * * * ? *", "", "2026-03-01T08:59:00.000000001Z", []string{"2026-03-01T09:00:00Z", "2026-03-01T09:01:00Z"}},
		{"over the year", "* * * * ? *", "", "2026-12-31T23:59:00Z", []string{"2027-01-01T00:00:00Z"}},
		{"smaller units start from zero", "30 6 10 6 ? *", "", "2026-05-20T20:50:00Z", []string{"2026-06-10T06:30:00Z", "2027-06-10T06:30:00Z"}},
		{"smaller units start from zero next month", "10 5 1 * ? *", "", "2026-05-20T20:50:00Z", []string{"2026-06-01T05:10:00Z"}},
		{"years", "0 0 1 1 ? 2028-2040/5,2030", "", "2026-01-01T12:00:00Z", []string{"2028-01-01T00:00:00Z", "2030-01-01T00:00:00Z", "2033-01-01T00:00:00Z", "2038-01-01T00:00:00Z", none}},
		{"Sunday is 1", "0 0 ? * 1 *", "", "2026-01-01T00:00:00Z", []string{"2026-01-04T00:00:00Z"}},
		{"Saturday is 7 and L", "0 0 ? * L *", "", "2026-01-01T00:00:00Z", []string{"2026-01-03T00:00:00Z", "2026-01-10T00:00:00Z"}},

		{"leap day", "0 0 29 2 ? *", "", "2026-01-01T00:00:00Z", []string{"2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"}},
		{"leap day over 2100", "0 0 29 2 ? *", "", "2096-03-01T00:00:00Z", []string{"2104-02-29T00:00:00Z"}},
		{"leap day in 2000", "0 0 29 2 ? *", "", "1996-03-01T00:00:00Z", []string{"2000-02-29T00:00:00Z"}},

		{"last weekday is Friday before Saturday", "0 0 LW * ? *", "", "2026-01-15T00:00:00Z", []string{"2026-01-30T00:00:00Z", "2026-02-27T00:00:00Z", "2026-03-31T00:00:00Z"}},
		{"nearest weekday stays in the month at its beginning", "0 0 1W 8 ? 2026", "", "2026-01-01T00:00:00Z", []string{"2026-08-03T00:00:00Z", none}},
		{"nearest weekday stays in the month at its end", "0 0 31W 5 ? 2026", "", "2026-01-01T00:00:00Z", []string{"2026-05-29T00:00:00Z", none}},
		{"nearest weekday of a day that is missing", "0 0 31W * ? *", "", "2026-03-31T00:00:00Z", []string{"2026-05-29T00:00:00Z", "2026-07-31T00:00:00Z"}},

		{"31 February", "0 0 31 2 ? *", "", "2026-01-01T00:00:00Z", []string{none}},
		{"31 February in a zone", "* * 30,31 2 ? *", "Europe/Berlin", "1960-01-01T00:00:00Z", []string{none}},
		{"leap day in an odd year", "0 0 29 2 ? 1971/2", "", "1960-01-01T00:00:00Z", []string{none}},
		{"fifth weekday in a short February", "0 0 ? 2 1#5 2026", "", "2026-01-01T00:00:00Z", []string{none}},
		{"past year", "0 0 1 1 ? 2025", "", "2026-01-01T00:00:00Z", []string{none}},
		{"last time", "59 23 * * ? *", "", "2199-12-31T00:00:00Z", []string{"2199-12-31T23:59:00Z", none}},
		{"after the years", "* * * * ? *", "", "2500-01-01T00:00:00Z", []string{none}},
		{"before the years", "0 0 * * ? *", "", "0001-01-01T00:00:00Z", []string{"1970-01-01T00:00:00Z", "1970-01-02T00:00:00Z"}},
		{"before the years late in the year", "5 0 * * ? *", "", "1969-12-31T23:59:59Z", []string{"1970-01-01T00:05:00Z"}},
		{"a year of its own in each zone", "0 0 1 1 ? 2026", "Pacific/Kiritimati", "2025-12-31T09:00:00Z", []string{"2025-12-31T10:00:00Z", none}},

		{"Berlin forward skips", "30 2 * * ? *", "Europe/Berlin", "2026-03-28T00:00:00Z", []string{"2026-03-28T01:30:00Z", "2026-03-30T00:30:00Z"}},
		{"Berlin forward at the edges", "0,59 1-3 29 3 ? 2026", "Europe/Berlin", "2026-03-28T00:00:00Z", []string{"2026-03-29T00:00:00Z", "2026-03-29T00:59:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:59:00Z", none}},
		{"Berlin forward in the gap only", "* 2 29 3 ? 2026", "Europe/Berlin", "2026-01-01T00:00:00Z", []string{none}},
		{"Berlin back fires once", "30 2 * * ? *", "Europe/Berlin", "2026-10-24T12:00:00Z", []string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
		{"Berlin back between both", "30 2 * * ? *", "Europe/Berlin", "2026-10-25T00:45:00Z", []string{"2026-10-26T01:30:00Z"}},
		{"Berlin back in the second hour", "*/15 * * * ? *", "Europe/Berlin", "2026-10-25T01:10:00Z", []string{"2026-10-25T02:00:00Z"}},
		{"Berlin back pauses", "*/30 * * * ? *", "Europe/Berlin", "2026-10-25T00:00:00Z", []string{"2026-10-25T00:30:00Z", "2026-10-25T02:00:00Z", "2026-10-25T02:30:00Z"}},
		{"New York forward skips", "0 2 * * ? *", "America/New_York", "2026-03-07T00:00:00Z", []string{"2026-03-07T07:00:00Z", "2026-03-09T06:00:00Z"}},
		{"New York forward keeps the hour", "0 9 * * ? *", "America/New_York", "2026-03-07T00:00:00Z", []string{"2026-03-07T14:00:00Z", "2026-03-08T13:00:00Z"}},
		{"New York back fires once", "0 1 * * ? *", "America/New_York", "2026-11-01T00:00:00Z", []string{"2026-11-01T05:00:00Z", "2026-11-02T06:00:00Z"}},
		{"far years keep the rules", "30 2 29 3 ? *", "Europe/Berlin", "2190-01-01T00:00:00Z", []string{"2190-03-29T00:30:00Z", "2191-03-29T00:30:00Z", "2192-03-29T00:30:00Z"}},
		{"end of a far leap year", "0 12 30,31 12 ? 2096", "America/New_York", "2096-01-01T00:00:00Z", []string{"2096-12-30T17:00:00Z", "2096-12-31T17:00:00Z", none}},
		{"half an hour forward", "15 2 * * ? *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", []string{"2026-10-04T15:15:00Z"}},
		{"half an hour back", "45 1 * * ? *", "Australia/Lord_Howe", "2026-04-04T00:00:00Z", []string{"2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"}},
		{"midnight is missing", "0 0 * * ? *", "America/Sao_Paulo", "2018-11-03T12:00:00Z", []string{"2018-11-05T02:00:00Z"}},
		{"midnight occurs twice", "0 0 * * ? *", "America/Havana", "2026-10-31T12:00:00Z", []string{"2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"}},
		{"a day is missing", "0 12 * * ? *", "Pacific/Apia", "2011-12-29T00:00:00Z", []string{"2011-12-29T22:00:00Z", "2011-12-30T22:00:00Z"}},
		{"only a missing day", "* * 30 12 ? 2011", "Pacific/Apia", "2011-01-01T00:00:00Z", []string{none}},
		{"offset with seconds", "0 0 * * ? *", "Africa/Monrovia", "1971-06-01T00:00:00Z", []string{"1971-06-01T00:44:30Z"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := schedule.Cron(tt.expression, tt.zone)
			if err := r.Err(); err != nil {
				t.Fatal(err)
			}
			at := must(time.Parse(time.RFC3339, tt.after))
			for _, want := range tt.want {
				next, ok := r.Next(at)
				got := none
				if ok {
					got = next.Format(time.RFC3339)
				}
				if got != want {
					t.Fatalf("after %s: got %s, want %s", at.Format(time.RFC3339Nano), got, want)
				}
				at = next
			}
		})
	}
}

// TestNextIgnoresTheZoneOfAfter checks that only the instant of after counts.
func TestNextIgnoresTheZoneOfAfter(t *testing.T) {
	t.Parallel()
	r := schedule.Daily(9, 0, "Europe/Berlin")
	after := time.Date(2026, 3, 1, 7, 59, 0, 0, time.UTC)
	want := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	for _, zone := range []string{"UTC", "Asia/Tokyo", "Pacific/Honolulu"} {
		if got, ok := r.Next(after.In(must(time.LoadLocation(zone)))); !ok || got != want {
			t.Errorf("%s: got %v, %t, want %v", zone, got, ok, want)
		}
	}
}

// TestNextAgainstScan compares Next with a scan of every minute. The conditions of the
// scan are generated with the expression, not derived from it.
func TestNextAgainstScan(t *testing.T) {
	t.Parallel()
	rng := seeded(t)
	zones := []string{
		"UTC", "Europe/Berlin", "America/New_York", "Europe/Dublin", "Africa/Casablanca",
		"Australia/Lord_Howe", "America/Sao_Paulo", "America/Havana", "Asia/Kathmandu",
		"Pacific/Apia", "Pacific/Kwajalein", "America/Scoresbysund", "Antarctica/Troll",
	}
	rounds, fired := 600, 0
	if testing.Short() {
		rounds = 200
	}
	for range rounds {
		zone := zones[rng.IntN(len(zones))]
		loc := must(time.LoadLocation(zone))
		minutes, inMinutes := randomField(rng, 0, 59, true)
		hours, inHours := randomField(rng, 0, 23, true)
		dates, weekdays, inDays := randomDays(rng)
		months, inMonths := randomField(rng, 1, 12, true)
		expression := fmt.Sprintf("%s %s %s %s %s *", minutes, hours, dates, months, weekdays)
		r := schedule.Cron(expression, zone)
		if err := r.Err(); err != nil {
			t.Fatalf("%s: %v", expression, err)
		}

		from := interestingTime(rng, loc)
		const window = 3 * 24 * time.Hour
		var want []time.Time
		for at := from.Truncate(time.Minute).Add(time.Minute); at.Before(from.Add(window)); at = at.Add(time.Minute) {
			local := at.In(loc)
			if inMinutes(local.Minute()) && inHours(local.Hour()) && inMonths(int(local.Month())) &&
				inDays(local) && firstOfItsClock(local) {
				want = append(want, at)
			}
		}
		fired += len(want)
		at := from
		for i := 0; ; i++ {
			next, ok := r.Next(at)
			if !ok || !next.Before(from.Add(window)) {
				if i < len(want) {
					t.Fatalf("%v after %v: got %v, %t, want %v", r, at, next, ok, want[i])
				}
				break
			}
			if i >= len(want) || !next.Equal(want[i]) {
				t.Fatalf("%v after %v: got %v (%v), want %d of %v", r, at, next, next.In(loc), i, want)
			}
			// Any time in between has the same next time.
			between := at.Add(time.Duration(rng.Int64N(int64(next.Sub(at)))))
			if again, ok := r.Next(between); !ok || again != next {
				t.Fatalf("%v after %v: got %v, %t, want %v", r, between, again, ok, next)
			}
			at = next
		}
	}
	if fired < rounds {
		t.Errorf("only %d times in %d rounds: there are too few to test anything", fired, rounds)
	}
}

func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("run again with -seed=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// randomField returns a random field of at most three items, and whether a value matches it.
func randomField(rng *rand.Rand, low, high int, steps bool) (string, func(int) bool) {
	var items []string
	in := map[int]bool{}
	value := func() int { return low + rng.IntN(high-low+1) }
	for range 1 + rng.IntN(3) {
		choice := rng.IntN(7)
		if !steps {
			choice = rng.IntN(4)
		}
		switch choice {
		case 0, 1: // about every third field
			if len(items) == 0 {
				return "*", func(int) bool { return true }
			}
		case 2:
			n := value()
			items = append(items, fmt.Sprint(n))
			in[n] = true
		case 3, 4:
			from, to := value(), value()
			step, text := 1, fmt.Sprintf("%d-%d", from, to)
			if choice == 4 {
				step = 1 + rng.IntN(min(high-low, 12))
				text += fmt.Sprintf("/%d", step)
			}
			items = append(items, text)
			for n, i := from, 0; ; i++ {
				if i%step == 0 {
					in[n] = true
				}
				if n == to {
					break
				}
				if n++; n > high {
					n = low
				}
			}
		default:
			from, step := value(), 1+rng.IntN(min(high-low, 12))
			text := fmt.Sprintf("%d/%d", from, step)
			if choice == 5 {
				from, text = low, fmt.Sprintf("*/%d", step)
			}
			items = append(items, text)
			for n := from; n <= high; n += step {
				in[n] = true
			}
		}
	}
	if len(items) == 0 {
		return "*", func(int) bool { return true }
	}
	return strings.Join(items, ","), func(n int) bool { return in[n] }
}

// randomDays returns random day fields and whether a day matches them.
func randomDays(rng *rand.Rand) (dates, weekdays string, in func(time.Time) bool) {
	names := []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}
	n := 1 + rng.IntN(31)
	day := time.Weekday(rng.IntN(7))
	k := 1 + rng.IntN(5)
	dayText := names[day]
	if rng.IntN(2) == 0 {
		dayText = fmt.Sprint(int(day) + 1)
	}
	lastDay := func(t time.Time) bool { return t.AddDate(0, 0, 1).Day() == 1 }
	workday := func(t time.Time) bool { return t.Weekday() != time.Saturday && t.Weekday() != time.Sunday }
	switch rng.IntN(10) {
	case 0:
		return "L", "?", func(t time.Time) bool { return lastDay(noon(t)) }
	case 1:
		return "LW", "?", func(t time.Time) bool {
			t = noon(t)
			if !workday(t) {
				return false
			}
			for later := t.AddDate(0, 0, 1); later.Month() == t.Month(); later = later.AddDate(0, 0, 1) {
				if workday(later) {
					return false
				}
			}
			return true
		}
	case 2, 3:
		return fmt.Sprintf("%dW", n), "?", func(t time.Time) bool {
			t = noon(t)
			target := time.Date(t.Year(), t.Month(), n, 12, 0, 0, 0, time.UTC)
			if target.Month() != t.Month() {
				return false
			}
			for _, distance := range []int{0, -1, 1, -2, 2} {
				if near := target.AddDate(0, 0, distance); near.Month() == t.Month() && workday(near) {
					return near.Day() == t.Day()
				}
			}
			return false
		}
	case 4:
		return "?", dayText + "L", func(t time.Time) bool {
			t = noon(t)
			return t.Weekday() == day && t.AddDate(0, 0, 7).Month() != t.Month()
		}
	case 5:
		return "?", fmt.Sprintf("%s#%d", dayText, k), func(t time.Time) bool {
			return t.Weekday() == day && (t.Day()-1)/7+1 == k
		}
	case 6:
		return "?", "L", func(t time.Time) bool { return t.Weekday() == time.Saturday }
	case 7, 8:
		text, match := randomField(rng, 1, 7, false)
		return "?", text, func(t time.Time) bool { return match(int(t.Weekday()) + 1) }
	default:
		text, match := randomField(rng, 1, 31, true)
		return text, "?", func(t time.Time) bool { return match(t.Day()) }
	}
}

// noon returns noon of a day in UTC, where adding days crosses no change of the clocks.
func noon(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), 12, 0, 0, 0, time.UTC)
}

// firstOfItsClock reports whether the local time did not occur in the 26 hours before.
func firstOfItsClock(local time.Time) bool {
	_, now := local.Zone()
	for back := 30 * time.Minute; back <= 26*time.Hour; back += 30 * time.Minute {
		earlier := local.Add(-back)
		if _, then := earlier.Zone(); time.Duration(then-now)*time.Second == back {
			return false
		}
	}
	return true
}

// interestingTime returns a time that is close to a change of the clocks, or to
// the end of a year, or anywhere.
func interestingTime(rng *rand.Rand, loc *time.Location) time.Time {
	at := time.Date(1975+rng.IntN(215), 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(rng.Int64N(int64(366 * 24 * time.Hour))))
	switch rng.IntN(5) {
	case 0, 1, 2:
		if _, end := at.In(loc).ZoneBounds(); !end.IsZero() {
			at = end
		}
	case 3:
		at = time.Date(at.Year(), 12, 31, 0, 0, 0, 0, loc)
	}
	return at.Add(-time.Duration(rng.Int64N(int64(30 * time.Hour)))).UTC()
}

func BenchmarkNext(b *testing.B) {
	after := time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC)
	for _, bb := range []struct{ name, expression, zone string }{
		{"daily", "0 9 * * ? *", "Europe/Berlin"},
		{"leap day", "0 9 29 2 ? *", "Europe/Berlin"},
		{"never", "* * 31 2 ? *", "Europe/Berlin"},
		{"never by weekday", "* * ? 2 1#5 2026-2027", "Europe/Berlin"},
	} {
		b.Run(bb.name, func(b *testing.B) {
			r := schedule.Cron(bb.expression, bb.zone)
			for b.Loop() {
				r.Next(after)
			}
		})
	}
}
