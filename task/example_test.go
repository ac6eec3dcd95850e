package task_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/schedule"
	"github.com/reventless-go/reventless/task"
)

// A task that works by the clock and writes into a bucket that it declares.
func Example() {
	reports := task.NewBucket(task.BucketSpec{Name: "Reports"})
	nightly := task.New(task.Spec{
		Name: "NightlyReport",
		Rate: schedule.Daily(2, 30, "Europe/Berlin"),
		Uses: plugin.Components{reports},
		Run: func(ctx context.Context, env plugin.Env, due time.Time) (message.Actions, error) {
			key := due.Format(time.DateOnly) + ".txt"
			return nil, reports.Open(env).Put(ctx, key, strings.NewReader("all is well\n"))
		},
	})
	fmt.Println(nightly.Definition().Name)
	// Output: NightlyReport
}
