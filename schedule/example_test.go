package schedule_test

import (
	"fmt"
	"time"

	"github.com/reventless-go/reventless/schedule"
)

func Example() {
	report := schedule.Weekly(time.Monday, 8, 30, "Europe/Berlin")
	fmt.Println(report)

	// On Sunday the clocks go forward; the report keeps its hour.
	at := time.Date(2026, time.March, 22, 12, 0, 0, 0, time.UTC)
	for range 2 {
		at, _ = report.Next(at)
		fmt.Println(at)
	}
	// Output:
	// cron(30 8 ? * MON *) Europe/Berlin
	// 2026-03-23 07:30:00 +0000 UTC
	// 2026-03-30 06:30:00 +0000 UTC
}

func ExampleCron() {
	payday := schedule.Cron("0 12 LW * ? *", "America/New_York")
	next, _ := payday.Next(time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC))
	fmt.Println(next.Format(time.DateOnly), next.Weekday())

	fmt.Println(schedule.Cron("0 9 * * 1-5", "").Err())
	// Output:
	// 2026-01-30 Friday
	// "0 9 * * 1-5": expression: has 5 fields and not six; this looks like unix cron, which has no year, counts days of the week from 0, and does not know ?; did you mean "0 9 ? * MON-FRI *"?
}

func ExampleEvery() {
	fmt.Println(schedule.Every(90 * time.Minute))
	fmt.Println(schedule.Every(48 * time.Hour))
	// Output:
	// rate(90 minutes)
	// rate(2 days)
}

func ExampleParse() {
	once, err := schedule.Parse("at(2026-07-01T09:00:00)", "Europe/Berlin")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(once.Time())
	// Output:
	// 2026-07-01 07:00:00 +0000 UTC true
}
