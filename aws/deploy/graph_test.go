package deploy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/reventless-go/reventless/aws/deploy/deploytest"
	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/topology"
)

const (
	tableType        = "aws:dynamodb/table:Table"
	queueType        = "aws:sqs/queue:Queue"
	topicType        = "aws:sns/topic:Topic"
	subscriptionType = "aws:sns/topicSubscription:TopicSubscription"
	bucketType       = "aws:s3/bucket:Bucket"
	functionType     = "aws:lambda/function:Function"
	mappingType      = "aws:lambda/eventSourceMapping:EventSourceMapping"
	alarmType        = "aws:cloudwatch/metricAlarm:MetricAlarm"
	ruleType         = "aws:cloudwatch/eventRule:EventRule"
	targetType       = "aws:cloudwatch/eventTarget:EventTarget"
	scheduleType     = "aws:scheduler/schedule:Schedule"
	logGroupType     = "aws:cloudwatch/logGroup:LogGroup"
	roleType         = "aws:iam/role:Role"
	rolePolicyType   = "aws:iam/rolePolicy:RolePolicy"
	queuePolicyType  = "aws:sqs/queuePolicy:QueuePolicy"
	notifyType       = "aws:s3/bucketNotification:BucketNotification"
)

// both runs f with each strategy.
func both(t *testing.T, f func(t *testing.T, strategy Strategy, r *deploytest.Resources)) {
	t.Parallel()
	for name, strategy := range map[string]Strategy{"shared": Shared, "per component": PerComponent} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, strategy, graph(t, shop(t), &AppArgs{Strategy: strategy}, nil))
		})
	}
}

var devNames = must2(naming.New("shop", "dev"))

func must2[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// devPlace is the place of the stack under test.
var devPlace = place{"aws", "eu-central-1", "123456789012", devNames}

func TestTablesAndBucketsAreKept(t *testing.T) {
	t.Parallel()
	lasting := func(name string) bool {
		for _, s := range []string{"-log", "-counts", "-deadletters"} {
			if strings.HasSuffix(name, s) {
				return true
			}
		}
		// Watermarks of components with effects stay; a read model can be rebuilt.
		return strings.HasSuffix(name, "-watermarks") && !slices.ContainsFunc([]string{"PriceHistory", "Totals", "Demand", "SalesByCountry", "OrderLines", "PluginHistory"}, func(s string) bool { return strings.Contains(name, s) })
	}
	for _, protect := range []Switch{Inherit, Off} {
		r := graph(t, shop(t), &AppArgs{Defaults: Settings{Protect: protect}}, nil)
		on := protect != Off
		for _, x := range byType(r, tableType) {
			name := x.Inputs["name"].(string)
			recovery, _ := x.Inputs["pointInTimeRecovery"].(map[string]any)
			if l := lasting(name); x.Protect != (l && on) || (recovery["recoveryPeriodInDays"] == 35.0) != l || x.Inputs["billingMode"] != "PAY_PER_REQUEST" ||
				(x.Inputs["deletionProtectionEnabled"] == true) != (l && on) {
				t.Errorf("%s, protect %v: protected %v, %v", x, protect, x.Protect, x.Inputs)
			}
		}
		for _, b := range byType(r, bucketType) {
			if b.Protect != on || b.Inputs["forceDestroy"] != !on {
				t.Errorf("%s, protect %v: protected %v, %v", b, protect, b.Protect, b.Inputs)
			}
		}
	}
	r := graph(t, shop(t), &AppArgs{Defaults: Settings{Protect: Off}, Overrides: map[string]Settings{"Ordering.Order": {Protect: On}, "Catalog": {Protect: On}, "Catalog.Category": {Protect: Off}}}, nil)
	for name, want := range map[string]bool{"shop-Ordering.Order-log": true, "shop-Ordering.Return-log": false, "shop-Catalog.Product-log": true, "shop-Catalog.Category-log": false} {
		if got := find(t, r, tableType, name).Protect; got != want {
			t.Errorf("%s is protected: %v, want %v", name, got, want)
		}
	}
}

func TestNotifications(t *testing.T) {
	t.Parallel()
	app := topology.App{Name: "a", Plugins: []topology.Plugin{{Name: "P", Components: []topology.Component{
		{Name: "P.Files", Kind: "Bucket"},
		{Name: "P.Other", Kind: "Bucket"},
		{Name: "P.Task", Kind: "Task", Bucket: "P.Files", Prefix: "new files/ä+b", Suffix: ".csv"},
	}}}}
	r := graph(t, app, nil, nil)
	n := byType(r, notifyType)
	if len(n) != 1 {
		t.Fatalf("there are %d notifications, want one for the watched bucket", len(n))
	}
	want := `[{"events":["s3:ObjectCreated:*","s3:ObjectRemoved:*","s3:LifecycleExpiration:*"],"filterPrefix":"new+files/%C3%A4%2Bb","filterSuffix":".csv","id":"objects","queueArn":"arn:aws:sqs:eu-central-1:123456789012:a-dev-P-Files-objects"}]`
	if got, _ := json.Marshal(n[0].Inputs["queues"]); string(got) != want {
		t.Errorf("the bucket notifies %s, want %s", got, want)
	}
}

func TestSchedules(t *testing.T) {
	t.Parallel()
	app := topology.App{Name: "a", Plugins: []topology.Plugin{
		{Name: "P", HeartbeatSeconds: 60, Components: []topology.Component{
			{Name: "P.Cron", Kind: "Schedule", Expression: "cron(0 6 * * ? *)", Zone: "UTC"},
			{Name: "P.Rate", Kind: "Task", Expression: "rate(2 hours)"},
			{Name: "P.Berlin", Kind: "Schedule", Expression: "cron(0 6 * * ? *)", Zone: "Europe/Berlin"},
			{Name: "P.Once", Kind: "Schedule", Expression: "at(2030-01-01T00:00:00)"},
		}},
		{Name: "Q", HeartbeatSeconds: 600},
		{Name: "Silent"},
	}}
	r := graph(t, app, nil, nil)
	var got []string
	for _, x := range byType(r, ruleType) {
		target := find(t, r, targetType, x.Name)
		if !slices.Contains(target.DependsOn, queuePolicyType+" a-timers") {
			t.Errorf("%s does not depend on the queue policy", target)
		}
		in := target.Inputs["inputTransformer"].(map[string]any)
		got = append(got, fmt.Sprint(x.Inputs["name"], " ", x.Inputs["scheduleExpression"], " ", in["inputPaths"], " ", in["inputTemplate"], " ", target.Inputs["arn"]))
	}
	for _, x := range byType(r, scheduleType) {
		if !slices.Contains(x.DependsOn, rolePolicyType+" a-schedulerrole") {
			t.Errorf("%s does not depend on the role policy", x)
		}
		target := x.Inputs["target"].(map[string]any)
		got = append(got, fmt.Sprint(x.Inputs["name"], " ", x.Inputs["groupName"], " ", x.Inputs["scheduleExpression"], " ", x.Inputs["scheduleExpressionTimezone"], " ", x.Inputs["flexibleTimeWindow"], " ", target["input"], " ", target["arn"], " ", target["roleArn"]))
	}
	const to = " arn:aws:sqs:eu-central-1:123456789012:a-dev-timers"
	want := []string{
		`a-dev-P-heartbeat rate(1 minute) map[due:$.time] {"schedule":"declared/heartbeat/P","due":<due>}` + to,
		`a-dev-P-Cron-schedule cron(0 6 * * ? *) map[due:$.time] {"schedule":"declared/P.Cron","due":<due>}` + to,
		`a-dev-P-Rate-schedule rate(2 hours) map[due:$.time] {"schedule":"declared/P.Rate","due":<due>}` + to,
		`a-dev-Q-heartbeat rate(10 minutes) map[due:$.time] {"schedule":"declared/heartbeat/Q","due":<due>}` + to,
		naming.ScheduleName("declared/P.Berlin") + ` a-dev-declared cron(0 6 * * ? *) Europe/Berlin map[mode:OFF] {"schedule":"declared/P.Berlin","due":"<aws.scheduler.scheduled-time>"}` + to + " arn:aws:iam::123456789012:role/a-dev-schedulerrole",
		naming.ScheduleName("declared/P.Once") + ` a-dev-declared at(2030-01-01T00:00:00) UTC map[mode:OFF] {"schedule":"declared/P.Once","due":"<aws.scheduler.scheduled-time>"}` + to + " arn:aws:iam::123456789012:role/a-dev-schedulerrole",
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the schedules are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	const group = "schedule-group/a-dev-declared"
	if trust := find(t, r, roleType, "a-schedulerrole").Inputs["assumeRolePolicy"].(string); !strings.Contains(trust, group) {
		t.Errorf("Scheduler cannot assume its role for %s: %s", group, trust)
	}
}

// A function that could change a declared schedule could end it for ever.
func TestNoFunctionMayChangeDeclaredSchedules(t *testing.T) {
	t.Parallel()
	app := shop(t)
	app.Plugins[0].Components = append(app.Plugins[0].Components, topology.Component{Name: app.Plugins[0].Name + ".Berlin", Kind: "Schedule", Expression: "cron(0 6 * * ? *)", Zone: "Europe/Berlin"})
	r := graph(t, app, nil, nil)
	if n := len(byType(r, scheduleType)); n == 0 {
		t.Fatal("the graph has no schedule")
	}
	for of, p := range policies(t, r) {
		for _, s := range p.Statement {
			for _, resource := range s.Resource {
				if strings.HasPrefix(resource, "arn:aws:scheduler:") && !strings.Contains(resource, ":schedule/shop-dev-schedules/") {
					t.Errorf("%s allows %v of %s", of, s.Action, resource)
				}
			}
		}
	}
}

// An event source mapping that is disabled over a long weekend loses nothing.
func TestQueuesKeepMessagesForAWeek(t *testing.T) {
	t.Parallel()
	const day = 24 * 60 * 60
	queues := byType(graph(t, shop(t), nil, nil), queueType)
	for _, q := range queues {
		want := 14.0 * day
		if q.Inputs["redrivePolicy"] != nil && q.Inputs["fifoQueue"] != true {
			want = 7 * day // its dead letters are kept for 14 days from their first sending
		}
		if got := q.Inputs["messageRetentionSeconds"]; got != want {
			t.Errorf("%s keeps messages for %v seconds, want %v", q, got, want)
		}
	}
	if len(queues) < 10 {
		t.Fatalf("the graph has %d queues", len(queues))
	}
}

// A message for a throttled function is delivered, in vain, once per visibility timeout.
func TestQueuesOfThrottledFunctionsKeepMessagesFor75Minutes(t *testing.T) {
	t.Parallel()
	for _, timeout := range []time.Duration{time.Second, 7 * time.Second, 30 * time.Second, 15 * time.Minute} {
		for _, q := range byType(graph(t, shop(t), &AppArgs{Defaults: Settings{Timeout: timeout}}, nil), queueType) {
			text, ok := q.Inputs["redrivePolicy"].(string)
			if !ok {
				continue // a queue of dead letters
			}
			var redrive struct{ MaxReceiveCount int }
			if err := json.Unmarshal([]byte(text), &redrive); err != nil {
				t.Fatal(err)
			}
			kept := time.Duration(redrive.MaxReceiveCount) * time.Duration(q.Inputs["visibilityTimeoutSeconds"].(float64)) * time.Second
			// SQS allows up to 1,000 deliveries, and the delays of failed messages need 25.
			if kept < 75*time.Minute || redrive.MaxReceiveCount < 25 || redrive.MaxReceiveCount > 1000 {
				t.Errorf("with a timeout of %v, %s delivers %d times within %v", timeout, q, redrive.MaxReceiveCount, kept)
			}
		}
	}
}

func TestAlarms(t *testing.T) {
	t.Parallel()
	const topic = "arn:aws:sns:eu-central-1:123456789012:ops"
	r := graph(t, shop(t), &AppArgs{Alarms: Alarms{Topic: pulumi.String(topic), DeadLetterAge: time.Hour, Lag: 2 * time.Minute}}, nil)
	for _, a := range byType(r, alarmType) {
		metric := a.Inputs["metricName"].(string)
		if fmt.Sprint(a.Inputs["alarmActions"], a.Inputs["okActions"]) != "["+topic+"] ["+topic+"]" {
			t.Errorf("%s notifies %v", a, a.Inputs["alarmActions"])
		}
		want := map[string]float64{"ApproximateAgeOfOldestMessage": 120, "IteratorAge": 120000, "Lag": 120000}[metric]
		if strings.HasSuffix(a.Name, "dlq-old") {
			want = 3600
		}
		if a.Inputs["threshold"] != want || a.Inputs["comparisonOperator"] != "GreaterThanThreshold" || a.Inputs["treatMissingData"] != "notBreaching" {
			t.Errorf("%s: %v", a, a.Inputs)
		}
	}
	if n := len(byType(graph(t, shop(t), &AppArgs{Defaults: Settings{Alarms: Off}}, nil), alarmType)); n != 0 {
		t.Errorf("got %d alarms, want no alarm", n)
	}
	some := byType(graph(t, shop(t), &AppArgs{Defaults: Settings{Alarms: Off}, Overrides: map[string]Settings{"Ordering.Order": {Alarms: On}, "api": {Alarms: On}}}, nil), alarmType)
	var got []string
	for _, a := range some {
		got = append(got, a.Name)
		if a.Inputs["alarmActions"] != nil {
			t.Errorf("%s notifies %v without a configured topic", a, a.Inputs["alarmActions"])
		}
	}
	if want := []string{"shop-Ordering.Order-commands-waiting", "shop-Ordering.Order-commandsdlq-notempty", "shop-Ordering.Order-commandsdlq-old", "shop-api-errors", "shop-api-parked", "shop-api-throttles"}; !slices.Equal(got, want) {
		t.Errorf("the alarms are %v, want %v", got, want)
	}
}

func TestSettingsReachTheirResources(t *testing.T) {
	t.Parallel()
	r := graph(t, shop(t), &AppArgs{
		Defaults: Settings{MemoryMB: 1024, LogLevel: "DEBUG", RetentionDays: -1, Tracing: On, StreamBatch: 50, QueueBatch: 5},
		Overrides: map[string]Settings{
			"Ordering":          {MemoryMB: 2048, Tracing: Off},
			"commands/Ordering": {Timeout: 2 * time.Minute, ReservedConcurrency: 20, MaxConcurrency: 4},
			"Ordering.Order":    {QueueBatch: 1, MaxConcurrency: 8},
		},
		Tags: map[string]string{"team": "sales"},
	}, nil)
	for name, want := range map[string]string{
		"shop-commands-Ordering":    "2048 120 20 PassThrough DEBUG",
		"shop-projections-Ordering": "2048 30 <nil> PassThrough DEBUG",
		"shop-commands-Catalog":     "1024 30 <nil> Active DEBUG",
		"shop-api":                  "1024 30 <nil> Active DEBUG",
	} {
		in := find(t, r, functionType, name).Inputs
		got := fmt.Sprint(in["memorySize"], " ", in["timeout"], " ", in["reservedConcurrentExecutions"], " ", in["tracingConfig"].(map[string]any)["mode"], " ", in["loggingConfig"].(map[string]any)["applicationLogLevel"])
		if got != want {
			t.Errorf("%s has %s, want %s", name, got, want)
		}
	}
	for name, want := range map[string]string{
		// The settings of the function override those of the component.
		"shop-commands-Ordering-on-Ordering.Order-commands":          "1 map[maximumConcurrency:4]",
		"shop-commands-Ordering-on-Ordering.Return-commands":         "5 map[maximumConcurrency:4]",
		"shop-projections-Catalog-on-Catalog.Category-log":           "50 <nil>",
		"shop-projections-Ordering-on-Ordering.Listing-log":          "50 <nil>",
		"shop-projections-Ordering-on-Ordering.Orders-collector":     "5 <nil>",
		"shop-timers-on-timers":                                      "5 <nil>",
		"shop-tasks-Catalog-on-Catalog.Imports-objects":              "5 <nil>",
		"shop-reactions-Ordering-on-Ordering.ShippedLines-log":       "50 <nil>",
		"shop-counters-Ordering-on-Ordering.ShippedLines-counts":     "50 <nil>",
		"shop-relay-Catalog-on-Catalog.Product-log":                  "50 <nil>",
		"shop-reactions-Ordering-on-Ordering.CancelUnpaid-collector": "5 <nil>",
	} {
		in := find(t, r, mappingType, name).Inputs
		if got := fmt.Sprint(in["batchSize"], " ", in["scalingConfig"]); got != want {
			t.Errorf("%s has %s, want %s", name, got, want)
		}
	}
	// The visibility timeout is six times the timeout of the function.
	for name, want := range map[string]any{"shop-Ordering.Order-commands": 720.0, "shop-Catalog.Category-commands": 180.0} {
		if got := find(t, r, queueType, name).Inputs["visibilityTimeoutSeconds"]; got != want {
			t.Errorf("%s has a visibility timeout of %v seconds, want %v", name, got, want)
		}
	}
	if g := find(t, r, logGroupType, "shop-api"); g.Inputs["retentionInDays"] != 0.0 {
		t.Errorf("the logs are kept for %v days, want no limit", g.Inputs["retentionInDays"])
	}
	for _, x := range r.All {
		tags, ok := x.Inputs["tags"].(map[string]any)
		if ok && (tags["team"] != "sales" || tags["reventless:app"] != "shop" || tags["reventless:stack"] != "dev") {
			t.Errorf("%s has the tags %v", x, tags)
		}
	}
}

// The program reports why a log has a topic, because a third reader adds the cost of a
// queue and a relay.
func TestTopicsAreReported(t *testing.T) {
	t.Parallel()
	r := graph(t, shop(t), nil, nil)
	want := []string{
		"info: Catalog.Product: 3 components read its log, but at most 2 may read its stream: all of them read its topic, which a relay feeds",
		"info: Ordering.Order: 8 components read its log, but at most 2 may read its stream: all of them read its topic, which a relay feeds",
		"info: Ordering.Return: 3 components read its log, but at most 2 may read its stream: all of them read its topic, which a relay feeds",
	}
	slices.Sort(r.Log)
	if !slices.Equal(r.Log, want) {
		t.Errorf("the report is\n%s\nwant\n%s", strings.Join(r.Log, "\n"), strings.Join(want, "\n"))
	}
	log := []topology.Source{{Log: "P.A"}}
	app := topology.App{Name: "a", Plugins: []topology.Plugin{
		{Name: "P", Components: []topology.Component{{Name: "P.A", Kind: "Aggregate"}, {Name: "P.R", Kind: "ReadModel", Sources: log}}},
		{Name: "Q", Components: []topology.Component{{Name: "Q.E", Kind: "Extension", Sources: []topology.Source{{Log: "P.A", Point: "P.Point"}}}}},
	}}
	want = []string{"info: P.A: 1 of the components that read its log belong to another plugin: they read its topic, which a relay feeds"}
	if r := graph(t, app, nil, nil); !slices.Equal(r.Log, want) {
		t.Errorf("the report is %q, want %q", r.Log, want)
	}
	app.Plugins = app.Plugins[:1]
	if r := graph(t, app, nil, nil); len(r.Log) != 0 || len(byType(r, topicType)) != 0 {
		t.Errorf("no log needs a topic, but the report is %q", r.Log)
	}
}
