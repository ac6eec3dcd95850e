package deploy

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reventless-go/reventless/aws/deploy/deploytest"
	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/topology"
)

func namesOf(app string) (naming.Stack, error) { return naming.New(app, "dev") }

// one is an App with one component of each kind that settings can be for.
func one() topology.App {
	return topology.App{Name: "a", Plugins: []topology.Plugin{{Name: "P", Components: []topology.Component{
		{Name: "P.Agg", Kind: "Aggregate"},
		{Name: "P.Rm", Kind: "ReadModel", Sources: []topology.Source{{Log: "P.Agg"}}},
		{Name: "P.Rm2", Kind: "ReadModel", Sources: []topology.Source{{Log: "P.Agg"}}},
		{Name: "P.Auto", Kind: "Automation", Sources: []topology.Source{{Log: "P.Count"}}},
		{Name: "P.Count", Kind: "Counter"},
		{Name: "P.Point", Kind: "ExtensionPoint"},
	}}}}
}

// Each check names the component or function and the correction.
func TestChecks(t *testing.T) {
	t.Parallel()
	many := func(n int, c func(i int) topology.Component) topology.App {
		app := one()
		for i := range n {
			app.Plugins[0].Components = append(app.Plugins[0].Components, c(i))
		}
		return app
	}
	override := func(name string, s Settings) *AppArgs { return &AppArgs{Overrides: map[string]Settings{name: s}} }
	for name, c := range map[string]struct {
		app  topology.App
		args *AppArgs
		want []string
	}{
		"no zip":             {args: &AppArgs{Code: "testdata/nothing.zip"}, want: []string{"the code testdata/nothing.zip", "make package"}},
		"not a zip":          {args: &AppArgs{Code: "testdata/shop.golden"}, want: []string{"not a valid zip", "make package"}},
		"no bootstrap":       {args: &AppArgs{Code: zipped(t, "bin/bootstrap", program(aarch64), 0o755)}, want: []string{"no file bootstrap at its root"}},
		"may not run":        {args: &AppArgs{Code: zipped(t, "bootstrap", program(aarch64), 0o644)}, want: []string{"not executable", "-rw-r--r--"}},
		"another machine":    {args: &AppArgs{Code: zipped(t, "bootstrap", program(x86), 0o755)}, want: []string{"GOARCH=arm64"}},
		"no program":         {args: &AppArgs{Code: zipped(t, "bootstrap", "#!/bin/sh", 0o755)}, want: []string{"GOARCH=arm64"}},
		"unknown strategy":   {args: &AppArgs{Strategy: 7}, want: []string{"Strategy", "PerComponent"}},
		"unknown name":       {args: override("P.Agg2", Settings{MemoryMB: 256}), want: []string{`Overrides["P.Agg2"]`, "commands/P, projections/P"}},
		"another strategy's": {args: override("commands/P.Agg", Settings{MemoryMB: 256}), want: []string{`Overrides["commands/P.Agg"]`, "commands/P"}},
		"shared function":    {args: override("P.Rm", Settings{MemoryMB: 256}), want: []string{`Overrides["P.Rm"]`, `set it for "projections/P"`, "PerComponent"}},
		"shared stream":      {args: override("P.Rm", Settings{StreamBatch: 10}), want: []string{`Overrides["P.Rm"]`, `set it for "projections/P"`}},
		"no function":        {args: override("P.Point", Settings{Timeout: time.Second}), want: []string{`Overrides["P.Point"]`, "no function"}},
		"no data":            {args: override("P.Rm", Settings{Protect: On}), want: []string{`Overrides["P.Rm"].Protect`, "rebuilt from other data"}},
		"a function's data":  {args: override("api", Settings{Protect: On}), want: []string{`Overrides["api"].Protect`, "has no data"}},
		"memory":             {args: override("api", Settings{MemoryMB: 64}), want: []string{"function api: MemoryMB is 64", "128 to 10240"}},
		"timeout":            {args: override("P", Settings{Timeout: 1500 * time.Millisecond}), want: []string{"function commands/P: Timeout is 1.5s", "whole seconds"}},
		"too long":           {args: override("api", Settings{Timeout: time.Hour}), want: []string{"function api: Timeout is 1h0m0s", "15m0s"}},
		"log level":          {args: &AppArgs{Defaults: Settings{LogLevel: "info"}}, want: []string{"function timers: LogLevel", "INFO"}},
		"retention":          {args: override("timers", Settings{RetentionDays: 10}), want: []string{"function timers: RetentionDays is 10", "7, 14", "for ever"}},
		"queue batch":        {args: override("P.Agg", Settings{QueueBatch: 11}), want: []string{"called by the commands of P.Agg: QueueBatch is 11", "1 to 10"}},
		"stream batch":       {args: override("P.Count", Settings{StreamBatch: 20000}), want: []string{"called by the counts of P.Count: StreamBatch is 20000", "10000"}},
		"one instance":       {args: override("timers", Settings{MaxConcurrency: 1}), want: []string{"function timers, called by its queue: MaxConcurrency is 1", "2 to 1000"}},
		"reserved alone":     {args: override("commands/P", Settings{ReservedConcurrency: 5}), want: []string{"commands of P.Agg", "ReservedConcurrency without MaxConcurrency", "set MaxConcurrency"}},
		"reserved too few":   {args: override("commands/P", Settings{ReservedConcurrency: 5, MaxConcurrency: 6}), want: []string{"function commands/P: its queues may occupy 6", "ReservedConcurrency allows 5"}},
		"reserved less":      {args: override("commands/P", Settings{ReservedConcurrency: -5}), want: []string{"function commands/P: ReservedConcurrency is -5"}},
		"letters' age":       {args: &AppArgs{Alarms: Alarms{DeadLetterAge: 15 * 24 * time.Hour}}, want: []string{"Alarms.DeadLetterAge", "14 days"}},
		"lag":                {args: &AppArgs{Alarms: Alarms{Lag: time.Second}}, want: []string{"Alarms.Lag", "an hour"}},
		"tag of AWS":         {args: &AppArgs{Tags: map[string]string{"AWS:x": "y"}}, want: []string{`Tags["AWS:x"]`}},
		"tag of ours":        {args: &AppArgs{Tags: map[string]string{"reventless:app": "y"}}, want: []string{`Tags["reventless:app"]`}},
		"tag too long":       {args: &AppArgs{Tags: map[string]string{"x": strings.Repeat("y", 300)}}, want: []string{`Tags["x"]`, "256"}},
		"heartbeat": {
			app: topology.App{Name: "a", Plugins: []topology.Plugin{{Name: "P", HeartbeatSeconds: 90}}}, want: []string{"plugin P: a heartbeat every 90 seconds", "plugin.Spec.Heartbeat"},
		},
		"expression": {
			app: many(1, func(int) topology.Component {
				return topology.Component{Name: "P.Daily", Kind: "Schedule", Expression: "cron(0 6 * * * *)"}
			}), want: []string{"P.Daily:", "cron(0 6 * * * *)"},
		},
		"zone": {
			app: many(1, func(int) topology.Component {
				return topology.Component{Name: "P.Daily", Kind: "Schedule", Expression: "rate(1 day)", Zone: "Europe/Atlantis"}
			}), want: []string{"P.Daily:", "Europe/Atlantis"},
		},
		"indexes": {
			app: many(1, func(int) topology.Component {
				return topology.Component{Name: "P.Wide", Kind: "ReadModel", Indexes: make([]topology.Index, 21)}
			}), want: []string{"P.Wide: it has 21 indexes", "limit of a table is 20", "split"},
		},
		"subscriptions": {
			app: many(101, func(i int) topology.Component {
				return topology.Component{Name: fmt.Sprintf("P.R%d", i), Kind: "ReadModel", Sources: []topology.Source{{Log: "P.Agg"}}}
			}), want: []string{"P.Agg: 103 components read its log", "100 subscriptions"},
		},
		"rules": {
			app: many(120, func(i int) topology.Component {
				return topology.Component{Name: fmt.Sprintf("P.S%d", i), Kind: "Schedule", Expression: "rate(1 day)"}
			}), want: []string{"for its 120 heartbeats and schedules", "8192", "give schedules a zone"},
		},
		"topics": {
			app: many(121, func(i int) topology.Component {
				if i == 0 {
					c := topology.Component{Name: "P.All", Kind: "ReadModel"}
					for n := 1; n <= 120; n++ {
						c.Sources = append(c.Sources, topology.Source{Log: fmt.Sprintf("P.Aggregate%d", n), Point: "P.Point"})
					}
					return c
				}
				return topology.Component{Name: fmt.Sprintf("P.Aggregate%d", i), Kind: "Aggregate"}
			}), want: []string{"P.All: it reads 120 logs", "8192", "split"},
		},
		"rights": {app: wide(300), want: []string{"function api: its permissions need", "split"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			app := c.app
			if app.Name == "" {
				app = one()
			}
			refused(t, app, c.args, nil, c.want...)
		})
	}
}

// refused runs NewApp, which must fail with an error that contains the texts, and
// register nothing.
func refused(t *testing.T, app topology.App, args *AppArgs, opts *deploytest.Options, want ...string) {
	t.Helper()
	r, err := run(app, args, opts)
	if err == nil {
		t.Fatal("NewApp accepts it")
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the error is %v, want %q in it", err, w)
		}
	}
	if len(r.All) > 0 {
		t.Errorf("it registered %d resources", len(r.All))
	}
}

func TestAllProblemsAreReportedAtOnce(t *testing.T) {
	t.Parallel()
	refused(
		t, one(), &AppArgs{
			Code: "testdata/nothing.zip", Defaults: Settings{LogLevel: "LOUD"}, Overrides: map[string]Settings{"Nothing": {}, "api": {MemoryMB: 1}}, Tags: map[string]string{"aws:a": ""}, Stateful: "testdata",
		}, &deploytest.Options{Stack: "a stack"},
		`stack "a stack"`, "nothing.zip", `"LOUD"`, `"Nothing"`, "MemoryMB is 1", "aws:a", "AppArgs.Stateful testdata",
	)
	args := AppArgs{}
	if err := func() error { _, err := check(one(), "dev", &args, nil); return err }(); err == nil || !strings.Contains(err.Error(), "Code is empty") {
		t.Errorf("without a zip: %v", err)
	}
}

func TestValidSettingsAreAccepted(t *testing.T) {
	t.Parallel()
	for name, args := range map[string]*AppArgs{
		"of a plugin":                  {Overrides: map[string]Settings{"P": {MemoryMB: 256, QueueBatch: 1, Protect: Off}}},
		"of a component by itself":     {Strategy: PerComponent, Overrides: map[string]Settings{"P.Rm": {MemoryMB: 256, StreamBatch: 1}}},
		"of a queue by itself":         {Overrides: map[string]Settings{"P.Agg": {QueueBatch: 1, MaxConcurrency: 2, Protect: Off, Alarms: Off}}},
		"of a counter":                 {Overrides: map[string]Settings{"P.Count": {StreamBatch: 1}}},
		"of one that reads by itself":  {Overrides: map[string]Settings{"P.Auto": {StreamBatch: 1, Protect: Off}}},
		"reserved, with bounds to fit": {Overrides: map[string]Settings{"commands/P": {ReservedConcurrency: 10, MaxConcurrency: 10}}},
		"reserved, without queues":     {Overrides: map[string]Settings{"api": {ReservedConcurrency: 10}, "projections/P": {ReservedConcurrency: 1}}},
	} {
		if _, err := run(one(), args, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStatefulComponentsAreNotLost(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "stateful.json")
	args := func() *AppArgs { return &AppArgs{Stateful: path} }
	// A preview changes nothing.
	r := graph(t, one(), args(), &deploytest.Options{Preview: true})
	if _, err := os.Stat(path); err == nil || !slices.ContainsFunc(r.Log, func(l string) bool {
		return strings.Contains(l, "will have") && strings.Contains(l, "P.Agg, P.Auto, P.Count")
	}) {
		t.Errorf("after a preview: %v, %v", err, r.Log)
	}
	graph(t, one(), args(), nil)
	text, err := os.ReadFile(path)
	if want := "{\n  \"P.Agg\": \"Aggregate\",\n  \"P.Auto\": \"Automation\",\n  \"P.Count\": \"Counter\"\n}\n"; err != nil || string(text) != want {
		t.Fatalf("the file has %s, %v", text, err)
	}
	graph(t, one(), args(), nil)

	renamed := one()
	renamed.Plugins[0].Components[0].Name = "P.Renamed"
	for i := range renamed.Plugins[0].Components {
		for j, s := range renamed.Plugins[0].Components[i].Sources {
			if s.Log == "P.Agg" {
				renamed.Plugins[0].Components[i].Sources[j].Log = "P.Renamed"
			}
		}
	}
	for _, preview := range []bool{false, true} {
		refused(t, renamed, args(), &deploytest.Options{Preview: preview}, "P.Agg (Aggregate) has events", "keep the old name", "AppArgs.Retired")
	}
	if now, err := os.ReadFile(path); err != nil || string(now) != string(text) {
		t.Errorf("the refused run changed the file: %s, %v", now, err)
	}

	retired := args()
	retired.Retired = []string{"P.Agg"}
	graph(t, renamed, retired, nil)
	if now, err := os.ReadFile(path); err != nil || !strings.Contains(string(now), `"P.Agg"`) || !strings.Contains(string(now), `"P.Renamed"`) {
		t.Errorf("the file has %s, %v", now, err)
	}
	refused(t, one(), retired, nil, "AppArgs.Retired has P.Agg, but the App has")
	retired.Retired = []string{"P.Agg", "P.Other"}
	refused(t, renamed, retired, nil, "AppArgs.Retired has P.Other, which")

	another := one()
	another.Plugins[0].Components[4].Kind = "Aggregate"
	another.Plugins[0].Components = append(another.Plugins[0].Components, topology.Component{Name: "P.Renamed", Kind: "Aggregate"})
	refused(t, another, args(), nil, "P.Count was of kind Counter", "of kind Aggregate now", "a different name")

	// A read model can be rebuilt, and an unprotected stack can be cleared.
	fewer := one()
	fewer.Plugins[0].Components = slices.DeleteFunc(fewer.Plugins[0].Components, func(c topology.Component) bool { return c.Name == "P.Rm" })
	fewer.Plugins[0].Components = append(fewer.Plugins[0].Components, topology.Component{Name: "P.Renamed", Kind: "Aggregate"})
	graph(t, fewer, args(), nil)
	free := args()
	free.Defaults.Protect = Off
	graph(t, renamed, free, nil)

	if err := os.WriteFile(path, []byte("no JSON"), 0o644); err != nil {
		t.Fatal(err)
	}
	refused(t, one(), args(), nil, "AppArgs.Stateful")
}

// The example has a stateful file, so renaming one of its aggregates is refused.
func TestStatefulFileOfTheShop(t *testing.T) {
	t.Parallel()
	args := &AppArgs{Stateful: filepath.Join("..", "..", "examples", "shop", "cmd", "deploy", "stateful.json")}
	k, err := checkStateful(shop(t), args)
	if err != nil || len(k.added) > 0 {
		t.Errorf("%s lacks %v: %v", args.Stateful, k.added, err)
	}
	app := shop(t)
	for i, c := range app.Plugins[1].Components {
		if c.Name == "Ordering.CancelUnpaid" {
			app.Plugins[1].Components[i].Name = "Ordering.ExpireUnpaid"
		}
	}
	if _, err := checkStateful(app, args); err == nil || !strings.Contains(err.Error(), "Ordering.CancelUnpaid (Automation) has watermarks") {
		t.Errorf("a renamed automation: %v", err)
	}
}
