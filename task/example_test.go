package task_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/schedule"
	"github.com/reventless-go/reventless/task"
)

// A task that runs every night and writes a file.
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
	app := reventless.New("shop", plugin.New(plugin.Spec{Name: "Sales", Components: plugin.Components{reports, nightly}}))
	c := app.Topology().Plugins[0].Components[1]
	fmt.Println(c.Name, c.Expression, c.Zone)
	// Output:
	// Sales.NightlyReport cron(30 2 * * ? *) Europe/Berlin
}
