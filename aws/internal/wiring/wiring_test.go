package wiring_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/aws/internal/wiring"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/topology"
)

// shop has a log that two components read, one that needs a topic for its readers, a counter, a task on a bucket and a scheduled task.
var shop = topology.App{Name: "shop", Plugins: []topology.Plugin{
	{Name: "Catalog", Components: []topology.Component{
		{Name: "Catalog.Product", Kind: "Aggregate"},
		{Name: "Catalog.Products", Kind: "ReadModel", Sources: []topology.Source{{Log: "Catalog.Product"}}},
		{Name: "Catalog.Names", Kind: "ReadModel", Sources: []topology.Source{{Log: "Catalog.Product"}}},
		{Name: "Catalog.Files", Kind: "Bucket"},
		{Name: "Catalog.Import", Kind: "Task", Bucket: "Catalog.Files"},
	}},
	{Name: "Ordering", Components: []topology.Component{
		{Name: "Ordering.Order", Kind: "Aggregate"},
		{Name: "Ordering.Lines", Kind: "Counter"},
		{Name: "Ordering.Orders", Kind: "ReadModel", Sources: []topology.Source{{Log: "Ordering.Order"}}},
		{Name: "Ordering.Totals", Kind: "ReadModel", Sources: []topology.Source{{Log: "Ordering.Order"}}},
		{Name: "Ordering.Complete", Kind: "Automation", Sources: []topology.Source{{Log: "Ordering.Order"}, {Log: "Ordering.Lines"}}},
		{Name: "Ordering.Report", Kind: "Task", Expression: "rate(1 day)"},
	}},
}}

func show(functions []wiring.Function) string {
	var b strings.Builder
	for _, f := range functions {
		fmt.Fprintln(&b, f)
		for _, t := range f.Triggers {
			fmt.Fprintln(&b, " ", strings.TrimSpace(fmt.Sprintln(t.Source, t.Component, t.Consumers, t.Logs, t.Task)))
		}
	}
	return b.String()
}

func TestFunctions(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		strategy wiring.Strategy
		want     string
	}{
		"shared": {wiring.Shared, `commands/Catalog
  commands Catalog.Product [] []
projections/Catalog
  log Catalog.Product [Catalog.Products Catalog.Names] []
tasks/Catalog
  objects Catalog.Files [] [] Catalog.Import
commands/Ordering
  commands Ordering.Order [] []
projections/Ordering
  collector Ordering.Orders [Ordering.Orders] [Ordering.Order]
  collector Ordering.Totals [Ordering.Totals] [Ordering.Order]
reactions/Ordering
  log Ordering.Lines [Ordering.Complete] []
  collector Ordering.Complete [Ordering.Complete] [Ordering.Order]
relay/Ordering
  log Ordering.Order [] []
counters/Ordering
  counts Ordering.Lines [] []
timers
  timers  [] []
api
`},
		"per component": {wiring.PerComponent, `commands/Catalog.Product
  commands Catalog.Product [] []
projections/Catalog.Products
  log Catalog.Product [Catalog.Products] []
projections/Catalog.Names
  log Catalog.Product [Catalog.Names] []
tasks/Catalog.Import
  objects Catalog.Files [] [] Catalog.Import
commands/Ordering.Order
  commands Ordering.Order [] []
projections/Ordering.Orders
  collector Ordering.Orders [Ordering.Orders] [Ordering.Order]
projections/Ordering.Totals
  collector Ordering.Totals [Ordering.Totals] [Ordering.Order]
reactions/Ordering.Complete
  log Ordering.Lines [Ordering.Complete] []
  collector Ordering.Complete [Ordering.Complete] [Ordering.Order]
relay/Ordering.Order
  log Ordering.Order [] []
counters/Ordering.Lines
  counts Ordering.Lines [] []
timers
  timers  [] []
api
`},
	} {
		if got := show(wiring.Functions(shop, c.strategy)); got != c.want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, c.want)
		}
	}
}

func TestFunctionsAreFoundByTheirEnvironment(t *testing.T) {
	t.Parallel()
	for _, strategy := range []wiring.Strategy{wiring.Shared, wiring.PerComponent} {
		for _, f := range wiring.Functions(shop, strategy) {
			got, err := wiring.Parse(shop, f.String())
			if err != nil || show([]wiring.Function{got}) != show([]wiring.Function{f}) {
				t.Errorf("%s is %v, %v", f, got, err)
			}
		}
	}
	for _, bad := range []string{"", "commands/Nothing", "commands/Catalog.Products", "nothing/Catalog", "timers/Catalog", "api/Catalog", "projections/Catalog/Products"} {
		if f, err := wiring.Parse(shop, bad); !errors.Is(err, driver.ErrNotFound) {
			t.Errorf("%q is %v, %v, want not found", bad, f, err)
		}
	}
}

// With each strategy, no stream has more than MaxFeedReaders readers, and every consumer
// reads each of its logs exactly once.
func TestEveryConsumerReadsEachOfItsLogsOnce(t *testing.T) {
	t.Parallel()
	for _, strategy := range []wiring.Strategy{wiring.Shared, wiring.PerComponent} {
		readers, reads := map[string]int{}, map[string]int{}
		for _, f := range wiring.Functions(shop, strategy) {
			for _, tr := range f.Triggers {
				if tr.Source == naming.Log {
					readers[tr.Component]++
				}
				for _, c := range tr.Consumers {
					logs := tr.Logs
					if tr.Source == naming.Log {
						logs = []string{tr.Component}
					}
					for _, log := range logs {
						reads[c+" "+log]++
					}
				}
			}
		}
		for log, n := range readers {
			if n > wiring.MaxFeedReaders {
				t.Errorf("strategy %d: %d functions read the stream of %s", strategy, n, log)
			}
		}
		var want []string
		for _, p := range shop.Plugins {
			for _, c := range p.Components {
				for _, s := range c.Sources {
					want = append(want, c.Name+" "+s.Log)
				}
			}
		}
		for _, r := range want {
			if reads[r] != 1 {
				t.Errorf("strategy %d: %q is delivered %d times", strategy, r, reads[r])
			}
		}
		for r := range reads {
			if !slices.Contains(want, r) {
				t.Errorf("strategy %d: %q is delivered without a source", strategy, r)
			}
		}
	}
}
