package plugin_test

import (
	"fmt"
	"time"

	"github.com/reventless-go/reventless/counter"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/task"
)

func Example() {
	depot := plugin.New(plugin.Spec{
		Name:       "Depot",
		Components: plugin.Components{counter.New(counter.Spec{Name: "Parcels"}), task.NewBucket(task.BucketSpec{Name: "Labels"})},
		Heartbeat:  time.Minute,
	})
	fmt.Println(depot.Name(), len(depot.Spec().Components), depot.Spec().Heartbeat)

	defer func() { fmt.Println(recover()) }()
	plugin.New(plugin.Spec{Name: "Depot", Components: plugin.Components{counter.New(counter.Spec{Name: "Labels"}), task.NewBucket(task.BucketSpec{Name: "Labels"})}})
	// Output:
	// Depot 2 1m0s
	// plugin Depot: two components are named Labels: Counter and Bucket
}
