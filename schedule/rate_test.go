package schedule_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/reventless-go/reventless/schedule"
)

func TestConstructors(t *testing.T) {
	t.Parallel()
	berlin := must(time.LoadLocation("Europe/Berlin"))
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	tests := []struct {
		name       string
		rate       schedule.Rate
		expression string
		zone       string
		recurring  bool
		text       string
	}{
		{"at", schedule.At(noon), "at(2026-03-01T12:00:00)", "", false, "at(2026-03-01T12:00:00)"},
		{"at in a zone", schedule.At(noon.In(berlin)), "at(2026-03-01T12:00:00)", "", false, "at(2026-03-01T12:00:00)"},
		{"at rounds up", schedule.At(noon.Add(1)), "at(2026-03-01T12:00:01)", "", false, "at(2026-03-01T12:00:01)"},
		{"at rounds up over the year", schedule.At(time.Date(2026, 12, 31, 23, 59, 59, 1, time.UTC)), "at(2027-01-01T00:00:00)", "", false, "at(2027-01-01T00:00:00)"},
		{"every minute", schedule.Every(time.Minute), "rate(1 minute)", "", true, "rate(1 minute)"},
		{"every 90 minutes", schedule.Every(90 * time.Minute), "rate(90 minutes)", "", true, "rate(90 minutes)"},
		{"every hour", schedule.Every(time.Hour), "rate(1 hour)", "", true, "rate(1 hour)"},
		{"every 36 hours", schedule.Every(36 * time.Hour), "rate(36 hours)", "", true, "rate(36 hours)"},
		{"every day", schedule.Every(24 * time.Hour), "rate(1 day)", "", true, "rate(1 day)"},
		{"every week", schedule.Every(7 * 24 * time.Hour), "rate(7 days)", "", true, "rate(7 days)"},
		{"daily", schedule.Daily(9, 5, "Europe/Berlin"), "cron(5 9 * * ? *)", "Europe/Berlin", true, "cron(5 9 * * ? *) Europe/Berlin"},
		{"daily in UTC", schedule.Daily(0, 0, "UTC"), "cron(0 0 * * ? *)", "", true, "cron(0 0 * * ? *)"},
		{"weekly", schedule.Weekly(time.Sunday, 23, 59, ""), "cron(59 23 ? * SUN *)", "", true, "cron(59 23 ? * SUN *)"},
		{"weekly on Saturday", schedule.Weekly(time.Saturday, 0, 0, ""), "cron(0 0 ? * SAT *)", "", true, "cron(0 0 ? * SAT *)"},
		{"cron", schedule.Cron(" 00 9  ? jan-Mar fri\t* ", "America/New_York"), "cron(0 9 ? JAN-MAR FRI *)", "America/New_York", true, "cron(0 9 ? JAN-MAR FRI *) America/New_York"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if err := tt.rate.Err(); err != nil {
				t.Fatalf("got error %v, want no time", err)
			}
			if got := tt.rate.Expression(); got != tt.expression {
				t.Errorf("Expression: got %q, want %q", got, tt.expression)
			}
			if got := tt.rate.Zone(); got != tt.zone {
				t.Errorf("Zone: got %q, want %q", got, tt.zone)
			}
			if got := tt.rate.Recurring(); got != tt.recurring {
				t.Errorf("Recurring: got %t, want %t", got, tt.recurring)
			}
			if got := tt.rate.String(); got != tt.text {
				t.Errorf("String: got %q, want %q", got, tt.text)
			}
			if _, once := tt.rate.Time(); once == tt.recurring {
				t.Errorf("Time: got ok %t, want %t", once, !tt.recurring)
			}
			roundTrip(t, tt.rate)
		})
	}
}

func TestInvalidRates(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		rate  schedule.Rate
		field string
		value string
		hint  bool
	}{
		{"zero Rate", schedule.Rate{}, "expression", "", true},
		{"at the zero time", schedule.At(time.Time{}), "at", "0001-01-01T00:00:00", true},
		{"at before 1970", schedule.At(time.Unix(-1, 0)), "at", "1969-12-31T23:59:59", false},
		{"at rounds up out of the years", schedule.At(time.Date(9999, 12, 31, 23, 59, 59, 1, time.UTC)), "at", "10000-01-01T00:00:00", false},
		{"every 0", schedule.Every(0), "rate", "0s", true},
		{"every 30 s", schedule.Every(30 * time.Second), "rate", "30s", true},
		{"every 90 s", schedule.Every(90 * time.Second), "rate", "1m30s", false},
		{"every -1 min", schedule.Every(-time.Minute), "rate", "-1m0s", true},
		{"every longest", schedule.Every(math.MaxInt64), "rate", "2562047h47m16.854775807s", false},
		{"daily at 24", schedule.Daily(24, 0, ""), "hours", "24", false},
		{"daily at -1", schedule.Daily(-1, 0, ""), "hours", "-1", false},
		{"daily at minute 60", schedule.Daily(0, 60, ""), "minutes", "60", false},
		{"daily at minute -1", schedule.Daily(0, -1, ""), "minutes", "-1", false},
		{"daily in an unknown zone", schedule.Daily(0, 0, "Mars/Olympus"), "zone", "Mars/Olympus", true},
		{"weekly on day 7", schedule.Weekly(7, 0, 0, ""), "day-of-week", "7", false},
		{"weekly on day -1", schedule.Weekly(-1, 0, 0, ""), "day-of-week", "-1", false},
		{"weekly at 24", schedule.Weekly(0, 24, 0, ""), "hours", "24", false},
		{"weekly in an unknown zone", schedule.Weekly(0, 0, 0, "nowhere"), "zone", "nowhere", true},
		{"local zone", schedule.Daily(0, 0, "Local"), "zone", "Local", true},
		{"offset as a zone", schedule.Daily(0, 0, "+02:00"), "zone", "+02:00", true},
		{"file of this machine", schedule.Daily(0, 0, "localtime"), "zone", "localtime", true},
		{"zone with leap seconds", schedule.Daily(0, 0, "right/Europe/Berlin"), "zone", "right/Europe/Berlin", true},
		{"zone with a dot", schedule.Daily(0, 0, "Europe/./Berlin"), "zone", "Europe/./Berlin", true},
		{"zone with two slashes", schedule.Daily(0, 0, "Europe//Berlin"), "zone", "Europe//Berlin", true},
		{"zone out of the folder", schedule.Daily(0, 0, "../zoneinfo/Europe/Berlin"), "zone", "../zoneinfo/Europe/Berlin", true},
		{"folder as a zone", schedule.Daily(0, 0, "Europe"), "zone", "Europe", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			checkError(t, tt.rate.Err(), tt.field, tt.value, tt.hint)
			if tt.rate.Expression() != "" || tt.rate.Zone() != "" {
				t.Errorf("got %q in %q, want nothing to store", tt.rate.Expression(), tt.rate.Zone())
			}
			if !strings.HasPrefix(tt.rate.String(), "invalid") {
				t.Errorf("String: got %q", tt.rate.String())
			}
			if tt.rate.Recurring() {
				t.Error("Recurring: got true")
			}
			if _, ok := tt.rate.Time(); ok {
				t.Error("Time: got ok")
			}
			if next, ok := tt.rate.Next(time.Unix(0, 0)); ok || !next.IsZero() {
				t.Errorf("Next: got %v, %t", next, ok)
			}
		})
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	tests := []struct {
		expression, zone string
		want             schedule.Rate
	}{
		{"at(2026-03-01T12:00:00)", "", schedule.At(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))},
		{"at(2026-03-01T12:00:00)", "UTC", schedule.At(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))},
		{"rate(1 minute)", "", schedule.Every(time.Minute)},
		{"rate(60 minutes)", "", schedule.Every(time.Hour)},
		{"rate( 05  hours )", "", schedule.Every(5 * time.Hour)},
		{"rate(24 hours)", "", schedule.Every(24 * time.Hour)},
		{"rate(2 days)", "Europe/Berlin", schedule.Every(48 * time.Hour)},
		{"rate(106751 days)", "", schedule.Every(106751 * 24 * time.Hour)},
		{"cron(0 9 * * ? *)", "Europe/Berlin", schedule.Daily(9, 0, "Europe/Berlin")},
		{"cron(0 9 ? * mon *)", "", schedule.Weekly(time.Monday, 9, 0, "")},
	}
	for _, tt := range tests {
		t.Run(tt.expression, func(t *testing.T) {
			t.Parallel()
			got, err := schedule.Parse(tt.expression, tt.zone)
			if err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			roundTrip(t, got)
		})
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		expression, zone string
		field, value     string
		hint             bool
	}{
		{"", "", "expression", "", false},
		{"(", "", "expression", "(", false},
		{"cron(0 9 * * ? *", "", "expression", "cron(0 9 * * ? *", false},
		{"Cron(0 9 * * ? *)", "", "expression", "Cron(0 9 * * ? *)", false},
		{"cron (0 9 * * ? *)", "", "expression", "cron (0 9 * * ? *)", false},
		{"0 9 * * ? *", "", "expression", "0 9 * * ? *", true},
		{"@daily", "", "expression", "@daily", true},
		{"every(5 minutes)", "", "expression", "every(5 minutes)", false},

		{"at()", "", "at", "", false},
		{"at(2026-03-01)", "", "at", "2026-03-01", false},
		{"at(2026-03-01 12:00:00)", "", "at", "2026-03-01 12:00:00", false},
		{"at(2026-03-01T12:00)", "", "at", "2026-03-01T12:00", false},
		{"at(2026-03-01T12:00:00Z)", "", "at", "2026-03-01T12:00:00Z", true},
		{"at(2026-03-01T12:00:00+01:00)", "", "at", "2026-03-01T12:00:00+01:00", true},
		{"at(2026-03-01T12:00:00.5)", "", "at", "2026-03-01T12:00:00.5", false},
		{"at(2026-3-01T12:00:00.)", "", "at", "2026-3-01T12:00:00.", false},
		{"at(2026-02-29T12:00:00)", "", "at", "2026-02-29T12:00:00", false},
		{"at(2026-03-01T24:00:00)", "", "at", "2026-03-01T24:00:00", false},
		{"at(1969-12-31T23:59:59)", "", "at", "1969-12-31T23:59:59", false},
		{"at(2026-03-01T12:00:00)", "Berlin", "zone", "Berlin", true},

		{"rate()", "", "rate", "", true},
		{"rate(5)", "", "rate", "5", true},
		{"rate(5minutes)", "", "rate", "5minutes", true},
		{"rate(5 minutes 3 hours)", "", "rate", "5 minutes 3 hours", true},
		{"rate(0 minutes)", "", "rate", "0 minutes", true},
		{"rate(-1 minutes)", "", "rate", "-1 minutes", false},
		{"rate(+1 minute)", "", "rate", "+1 minute", false},
		{"rate(1.5 hours)", "", "rate", "1.5 hours", false},
		{"rate(1 minutes)", "", "rate", "1 minutes", true},
		{"rate(5 minute)", "", "rate", "5 minute", true},
		{"rate(30 seconds)", "", "rate", "30 seconds", true},
		{"rate(1 week)", "", "rate", "1 week", true},
		{"rate(5 Minutes)", "", "rate", "5 Minutes", true},
		{"rate(106752 days)", "", "rate", "106752 days", false},
		{"rate(99999999999999999999 days)", "", "rate", "99999999999999999999 days", false},
		{"rate(5 minutes)", "Berlin", "zone", "Berlin", true},

		{"cron()", "", "expression", "", true},
		{"cron(cron(0 9 * * ? *))", "", "minutes", "cron(0", true},
		{"cron(0 9 * * ? *)", "Berlin", "zone", "Berlin", true},
	}
	for _, tt := range tests {
		t.Run(tt.expression, func(t *testing.T) {
			t.Parallel()
			r, err := schedule.Parse(tt.expression, tt.zone)
			checkError(t, err, tt.field, tt.value, tt.hint)
			if got := asError(t, err).Expression; got != tt.expression {
				t.Errorf("Expression: got %q, want %q", got, tt.expression)
			}
			if r != (schedule.Rate{}) {
				t.Errorf("got %v, want the zero Rate", r)
			}
		})
	}
}

func TestErrorsStayShort(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("1,", 1<<20)
	_, err := schedule.Parse("cron("+long+" * * * ? *)", "")
	if got := len(err.Error()); got > 400 {
		t.Errorf("got %d bytes", got)
	}
}

func TestRatesCompare(t *testing.T) {
	t.Parallel()
	seen := map[schedule.Rate]bool{}
	for range 2 {
		for _, zone := range []string{"", "Europe/Berlin", "America/New_York"} {
			seen[schedule.Daily(9, 0, zone)] = true
			seen[schedule.Cron("0 10 ? * 6#3 *", zone)] = true
		}
		seen[schedule.Every(time.Hour)] = true
		seen[schedule.At(time.Unix(0, 0))] = true
	}
	if len(seen) != 8 {
		t.Errorf("got %d different rates, want 8", len(seen))
	}
}

func TestNextOfAt(t *testing.T) {
	t.Parallel()
	planned := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	r := schedule.At(planned)
	if got, ok := r.Time(); !ok || got != planned {
		t.Errorf("Time: got %v, %t", got, ok)
	}
	if got, ok := r.Next(planned.Add(-1)); !ok || got != planned {
		t.Errorf("before: got %v, %t, want %v", got, ok, planned)
	}
	if got, ok := r.Next(planned); ok {
		t.Errorf("at the time: got %v, want no time", got)
	}
	if got, ok := r.Next(planned.Add(time.Hour)); ok {
		t.Errorf("after: got %v, want no time", got)
	}
}

func TestAtInAZone(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, expression, zone, want string }{
		{"winter", "at(2026-01-01T12:00:00)", "Europe/Berlin", "2026-01-01T11:00:00Z"},
		{"summer", "at(2026-07-01T12:00:00)", "America/New_York", "2026-07-01T16:00:00Z"},
		{"occurs twice", "at(2026-10-25T02:30:00)", "Europe/Berlin", "2026-10-25T00:30:00Z"},
		{"does not exist", "at(2026-03-29T02:30:00)", "Europe/Berlin", "2026-03-29T01:30:00Z"},
		{"does not exist in New York", "at(2026-03-08T02:00:00)", "America/New_York", "2026-03-08T07:00:00Z"},
		{"day does not exist", "at(2011-12-30T12:00:00)", "Pacific/Apia", "2011-12-30T22:00:00Z"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, err := schedule.Parse(tt.expression, tt.zone)
			if err != nil {
				t.Fatal(err)
			}
			got, _ := r.Time()
			if got.Format(time.RFC3339) != tt.want {
				t.Errorf("got %s, want %s", got.Format(time.RFC3339), tt.want)
			}
			roundTrip(t, r)
		})
	}
}

func TestNextOfEvery(t *testing.T) {
	t.Parallel()
	after := time.Date(2026, 3, 28, 12, 0, 0, 5, must(time.LoadLocation("Europe/Berlin")))
	want := time.Date(2026, 3, 29, 11, 0, 0, 5, time.UTC)
	if got, ok := schedule.Every(24 * time.Hour).Next(after); !ok || got != want {
		t.Errorf("got %v, %t, want %v", got, ok, want)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range [][2]string{
		{"at(2026-03-29T02:30:00)", "Europe/Berlin"},
		{"at(9999-12-31T23:59:59)", "America/New_York"},
		{"rate(60 minutes)", ""},
		{"rate(1 day)", "UTC"},
		{"cron(0 9 ? * MON-FRI *)", "Europe/Berlin"},
		{"cron(*/5,7 22-2/2 LW feb,4-6 ? 2026-2030/2)", "Pacific/Apia"},
		{"cron(0 0 31W * ? 2199)", "Asia/Kathmandu"},
		{"cron(0 0 ? 2 sun#5 *)", "Australia/Lord_Howe"},
		{"cron(0 0 ? * FRIL 1970)", "Local"},
		{"cron(0 0 31 2 ? *)", "Europe/../Europe/Berlin"},
		{"cron(0 9 * * 0-4)", ""},
		{"cron(0 0 9 ? * MON)", ""},
		{"@daily", ""},
	} {
		f.Add(seed[0], seed[1], int64(1_774_742_400))
	}
	f.Fuzz(func(t *testing.T, expression, zone string, unix int64) {
		r, err := schedule.Parse(expression, zone)
		_ = schedule.Cron(expression, zone)
		if err != nil {
			if e := asError(t, err); e.Field == "" || e.Reason == "" || e.Error() == "" {
				t.Fatalf("got error %#v", e)
			}
			return
		}
		roundTrip(t, r)
		after := time.Unix(unix%(1<<36), 0)
		for range 3 {
			next, ok := r.Next(after)
			if !ok {
				return
			}
			if !next.After(after) {
				t.Fatalf("%v: next of %v is %v", r, after, next)
			}
			if again, ok := r.Next(next.Add(-1)); r.Expression()[0] == 'c' && (!ok || again != next) {
				t.Fatalf("%v: next just before %v is %v", r, next, again)
			}
			after = next
		}
	})
}

// roundTrip checks that expression and zone determine r.
func roundTrip(t *testing.T, r schedule.Rate) {
	t.Helper()
	again, err := schedule.Parse(r.Expression(), r.Zone())
	if err != nil {
		t.Fatalf("parse %q in %q again: %v", r.Expression(), r.Zone(), err)
	}
	if again != r {
		t.Errorf("parse %q in %q again: got %v", r.Expression(), r.Zone(), again)
	}
}

// checkError checks which part of an expression an error names.
func checkError(t *testing.T, err error, field, value string, hint bool) {
	t.Helper()
	e := asError(t, err)
	if e.Field != field || e.Value != value {
		t.Errorf("got error in %s %q, want in %s %q: %v", e.Field, e.Value, field, value, err)
	}
	if e.Reason == "" {
		t.Errorf("got no reason: %v", err)
	}
	if got := e.Hint != ""; got != hint {
		t.Errorf("got a hint %t, want %t: %v", got, hint, err)
	}
}

func asError(t *testing.T, err error) *schedule.Error {
	t.Helper()
	e, ok := errors.AsType[*schedule.Error](err)
	if !ok {
		t.Fatalf("got error %v, want a *schedule.Error", err)
	}
	return e
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
