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
	"github.com/reventless-go/reventless/aws/internal/wiring"
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

// both runs f for either strategy.
func both(t *testing.T, f func(t *testing.T, strategy Strategy, r *deploytest.Resources)) {
	t.Parallel()
	for name, strategy := range map[string]Strategy{"shared": Shared, "apart": PerComponent} {
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

// devPlace is where the tests' stack is.
var devPlace = place{"aws", "eu-central-1", "123456789012", devNames}

// A resource that is made in an Apply is not there in a preview, and is a surprise
// in an update.
func TestPreviewHasAllThatAnUpdateMakes(t *testing.T) {
	t.Parallel()
	for _, strategy := range []Strategy{Shared, PerComponent} {
		args := &AppArgs{Strategy: strategy, Alarms: Alarms{Topic: pulumi.String("arn:aws:sns:eu-central-1:123456789012:ops")}}
		preview, real := graph(t, shop(t), args, &deploytest.Options{Preview: true}), graph(t, shop(t), args, nil)
		if d := diff(names(preview), names(real)); len(d) > 0 {
			t.Errorf("strategy %d:\n%s", strategy, strings.Join(d, "\n"))
		}
		// What a reviewer has to see is known before anything is there.
		for _, r := range preview.All {
			for _, k := range []string{"name", "bucket", "policy", "assumeRolePolicy", "environment", "scheduleExpression"} {
				if r.Type == "aws:sqs/redriveAllowPolicy:RedriveAllowPolicy" || r.Inputs[k] == nil {
					continue
				}
				if s := fmt.Sprint(r.Inputs[k]); strings.Contains(s, deploytest.Unknown) {
					t.Errorf("%s: %s is not known in a preview", r, k)
				}
			}
		}
	}
}

// names are the resources with what they depend on and how they are kept, without
// their inputs.
func names(r *deploytest.Resources) string {
	var b strings.Builder
	for _, x := range r.All {
		fmt.Fprintf(&b, "%s\n  in %s\n  after %v\n  protected %v\n", x, x.Parent, x.DependsOn, x.Protect)
	}
	return b.String()
}

// What a component needs follows from its kind alone; this is said here once more, by
// other means than the code's.
func TestEveryComponentHasAllThatItNeeds(t *testing.T) {
	both(t, func(t *testing.T, strategy Strategy, r *deploytest.Resources) {
		app := shop(t)
		has := map[string]bool{}
		calls := map[string][]string{} // functions by the component of what calls them
		for _, x := range r.All {
			has[x.Type+" "+fmt.Sprint(x.Inputs["name"])] = true
		}
		for _, x := range byType(r, mappingType) {
			source, function := fmt.Sprint(x.Inputs["eventSourceArn"]), fmt.Sprint(x.Inputs["functionName"])
			source, _, _ = strings.Cut(source, "/stream/")
			source = source[strings.LastIndexAny(source, ":/")+1:]
			calls[source] = append(calls[source], function)
			if !has[functionType+" "+function] {
				t.Errorf("%s is called, and there is none", function)
			}
		}
		name := func(k naming.Kind, subject string) string { return must(devNames.Name(k, subject)) }
		need := func(of, token, physical string) {
			if !has[token+" "+physical] {
				t.Errorf("%s has no %s %s", of, token, physical)
			}
		}
		queueWithLetters := func(of string, k, dlq naming.Kind, subject string) {
			need(of, queueType, name(k, subject))
			need(of, queueType, name(dlq, subject))
			need(of, alarmType, name(k, subject)+"-waiting")
			need(of, alarmType, name(dlq, subject)+"-notempty")
			need(of, alarmType, name(dlq, subject)+"-old")
			if n := len(calls[name(k, subject)]); n != 1 {
				t.Errorf("%s: %d functions read %s", of, n, name(k, subject))
			}
		}
		for _, p := range app.Plugins {
			if p.HeartbeatSeconds > 0 {
				need(p.Name, ruleType, name(naming.HeartbeatRule, p.Name))
			}
			for _, c := range p.Components {
				switch c.Kind {
				case "Aggregate":
					need(c.Name, tableType, name(naming.Log, c.Name))
					queueWithLetters(c.Name, naming.Commands, naming.CommandsDLQ, c.Name)
				case "Counter":
					for _, k := range []naming.Kind{naming.Log, naming.Refs, naming.Counts} {
						need(c.Name, tableType, name(k, c.Name))
					}
					if len(calls[name(naming.Counts, c.Name)]) != 1 {
						t.Errorf("nobody tells what %s reached", c.Name)
					}
				case "ReadModel":
					need(c.Name, tableType, name(naming.Rows, c.Name))
					if has[tableType+" "+name(naming.Watermarks, c.Name)] == c.OwnRow {
						t.Errorf("%s: OwnRow is %v, and its watermarks are elsewhere", c.Name, c.OwnRow)
					}
				case "Automation", "SideEffect", "Extension":
					need(c.Name, tableType, name(naming.Watermarks, c.Name))
				case "Task":
					if c.Bucket != "" {
						queueWithLetters(c.Name, naming.Objects, naming.ObjectsDLQ, c.Bucket)
					}
				case "Bucket", "ExtensionPoint", "Schedule":
				default:
					t.Errorf("%s is of the kind %s, of which this test knows nothing", c.Name, c.Kind)
				}
			}
		}
		queueWithLetters("the application", naming.Timers, naming.TimersDLQ, "")
		need("the application", tableType, name(naming.DeadLetters, ""))
		need("the application", tableType, name(naming.Outcomes, ""))
		// Each consumer comes to each of its logs by exactly one way.
		for _, route := range app.Routes(wiring.MaxFeedReaders) {
			if !route.Topic {
				if len(calls[name(naming.Log, route.Log)]) == 0 {
					t.Errorf("nobody reads %s for %s", route.Log, route.Consumer)
				}
				continue
			}
			queueWithLetters(route.Consumer, naming.Collector, naming.CollectorDLQ, route.Consumer)
			need(route.Log, topicType, name(naming.Events, route.Log))
			if len(calls[name(naming.Log, route.Log)]) == 0 {
				t.Errorf("nothing feeds the topic of %s", route.Log)
			}
			s := find(t, r, subscriptionType, "shop-"+route.Consumer+"-of-"+route.Log)
			if s.Inputs["rawMessageDelivery"] != true || s.Inputs["protocol"] != "sqs" || s.Inputs["topic"] != devPlace.topicARN(route.Log) || s.Inputs["endpoint"] != devPlace.queueARN(naming.Collector, route.Consumer) {
				t.Errorf("%s: %v", s, s.Inputs)
			}
		}
		for source, functions := range calls {
			if limit := 1; len(functions) > limit && !strings.HasSuffix(source, "-log") || len(functions) > wiring.MaxFeedReaders {
				t.Errorf("%s is read by %v", source, functions)
			}
		}
		for _, f := range wiring.Functions(app, strategy.wiring()) {
			fn := must(devNames.FunctionName(string(f.Role), f.Subject))
			need(f.String(), functionType, fn)
			need(f.String(), logGroupType, "/aws/lambda/"+fn)
			need(f.String(), roleType, must(devNames.FunctionRoleName(string(f.Role), f.Subject)))
			for _, what := range []string{"errors", "throttles", "parked"} {
				need(f.String(), alarmType, fn+"-"+what)
			}
			if len(f.Triggers) > 0 {
				need(f.String(), alarmType, fn+"-late")
			}
			if slices.ContainsFunc(f.Triggers, wiring.Trigger.Stream) {
				need(f.String(), alarmType, fn+"-behind")
			}
		}
		if got, want := len(byType(r, functionType)), len(wiring.Functions(app, strategy.wiring())); got != want {
			t.Errorf("there are %d functions, want %d", got, want)
		}
		if got, want := len(byType(r, rolePolicyType)), len(byType(r, functionType))+1; got != want {
			t.Errorf("%d roles have rights, want one for each function and the scheduler's", got)
		}
	})
}

// What feeds a topic begins with the records of the last 24 hours: who is subscribed
// later would miss them.
func TestRelaysWaitForTheSubscriptions(t *testing.T) {
	t.Parallel()
	r := graph(t, shop(t), nil, nil)
	m := find(t, r, mappingType, "shop-relay-Ordering-on-Ordering.Order-log")
	n := 0
	for _, s := range byType(r, subscriptionType) {
		if strings.HasSuffix(s.Name, "-of-Ordering.Order") {
			n++
			if !slices.Contains(m.DependsOn, s.String()) {
				t.Errorf("it does not wait for %s", s)
			}
		}
	}
	if n == 0 {
		t.Error("nobody is subscribed")
	}
}

// What SNS, EventBridge and its Scheduler cannot deliver is kept where the queue has
// its dead letters, and they may put it there.
func TestDeliveriesThatFailAreKept(t *testing.T) {
	t.Parallel()
	r := graph(t, shop(t), nil, nil)
	allowed := map[string]string{} // policies by the URL of their queue
	for _, p := range byType(r, queuePolicyType) {
		allowed[p.Inputs["queueUrl"].(string)] = p.Inputs["policy"].(string)
	}
	check := func(of fmt.Stringer, service, arn string, waits []string) {
		t.Helper()
		name := arn[strings.LastIndexByte(arn, ':')+1:]
		policy := allowed["https://sqs.eu-central-1.amazonaws.com/123456789012/"+name]
		if !strings.Contains(name, "dlq") || !strings.Contains(policy, `"`+service+`"`) || !strings.Contains(policy, `"`+arn+`"`) {
			t.Errorf("%s: what cannot be delivered goes to %q, whose policy is %s", of, arn, policy)
		}
		n := 0
		for _, w := range waits {
			if strings.HasPrefix(w, queuePolicyType) {
				n++
			}
		}
		if n != 2 {
			t.Errorf("%s waits for %v, want the policies of both queues", of, waits)
		}
	}
	subscriptions, targets := byType(r, subscriptionType), byType(r, "aws:cloudwatch/eventTarget:EventTarget")
	for _, s := range subscriptions {
		var redrive struct{ DeadLetterTargetArn string }
		if err := json.Unmarshal([]byte(s.Inputs["redrivePolicy"].(string)), &redrive); err != nil {
			t.Fatal(err)
		}
		check(s, "sns.amazonaws.com", redrive.DeadLetterTargetArn, s.DependsOn)
	}
	for _, x := range targets {
		check(x, "events.amazonaws.com", x.Inputs["deadLetterConfig"].(map[string]any)["arn"].(string), x.DependsOn)
	}
	schedules := byType(r, "aws:scheduler/schedule:Schedule")
	for _, s := range schedules {
		if got := s.Inputs["target"].(map[string]any)["deadLetterConfig"].(map[string]any)["arn"]; got != devPlace.queueARN(naming.TimersDLQ, "") {
			t.Errorf("%s: what cannot be delivered goes to %v", s, got)
		}
	}
	if len(subscriptions) == 0 || len(targets) == 0 || len(schedules) == 0 {
		t.Errorf("there are %d subscriptions, %d targets and %d schedules", len(subscriptions), len(targets), len(schedules))
	}
	role := find(t, r, rolePolicyType, "shop-schedulerrole").Inputs["policy"].(string)
	for _, k := range []naming.Kind{naming.Timers, naming.TimersDLQ} {
		if !strings.Contains(role, `"`+devPlace.queueARN(k, "")+`"`) {
			t.Errorf("the Scheduler may not send to %s: %s", k, role)
		}
	}
}

func TestTablesAndBucketsAreKept(t *testing.T) {
	t.Parallel()
	lasting := func(name string) bool {
		for _, s := range []string{"-log", "-counts", "-deadletters"} {
			if strings.HasSuffix(name, s) {
				return true
			}
		}
		// The watermarks of what has effects; a read model can be made anew.
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
			block := find(t, r, "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock", b.Name)
			for _, k := range []string{"blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"} {
				if block.Inputs[k] != true {
					t.Errorf("%s: %s is %v", b, k, block.Inputs[k])
				}
			}
			find(t, r, "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration", b.Name)
			find(t, r, "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration", b.Name)
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
		t.Fatalf("there are %d notifications, want one for the bucket that is watched", len(n))
	}
	want := `[{"events":["s3:ObjectCreated:*","s3:ObjectRemoved:*","s3:LifecycleExpiration:*"],"filterPrefix":"new+files/%C3%A4%2Bb","filterSuffix":".csv","id":"objects","queueArn":"arn:aws:sqs:eu-central-1:123456789012:a-dev-P-Files-objects"}]`
	if got, _ := json.Marshal(n[0].Inputs["queues"]); string(got) != want {
		t.Errorf("it tells %s, want %s", got, want)
	}
	policy := find(t, r, queuePolicyType, "a-P.Files-objects")
	if !slices.Contains(n[0].DependsOn, policy.String()) {
		t.Error("S3 tries the queue before it may")
	}
	if want := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"s3.amazonaws.com"},"Action":["sqs:SendMessage"],"Resource":["arn:aws:sqs:eu-central-1:123456789012:a-dev-P-Files-objects"],` +
		`"Condition":{"ArnEquals":{"aws:SourceArn":"arn:aws:s3:::a-dev-p-files-bucket-123456789012"},"StringEquals":{"aws:SourceAccount":"123456789012"}}}]}`; policy.Inputs["policy"] != want {
		t.Errorf("the queue allows %s", policy.Inputs["policy"])
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
			t.Errorf("%s sends before the queue takes it", target)
		}
		in := target.Inputs["inputTransformer"].(map[string]any)
		got = append(got, fmt.Sprint(x.Inputs["name"], " ", x.Inputs["scheduleExpression"], " ", in["inputPaths"], " ", in["inputTemplate"], " ", target.Inputs["arn"]))
	}
	for _, x := range byType(r, scheduleType) {
		if !slices.Contains(x.DependsOn, rolePolicyType+" a-schedulerrole") {
			t.Errorf("%s sends before the role may", x)
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
		naming.ScheduleName("declared/P.Berlin") + ` a-dev-schedules cron(0 6 * * ? *) Europe/Berlin map[mode:OFF] {"schedule":"declared/P.Berlin","due":"<aws.scheduler.scheduled-time>"}` + to + " arn:aws:iam::123456789012:role/a-dev-schedulerrole",
		naming.ScheduleName("declared/P.Once") + ` a-dev-schedules at(2030-01-01T00:00:00) UTC map[mode:OFF] {"schedule":"declared/P.Once","due":"<aws.scheduler.scheduled-time>"}` + to + " arn:aws:iam::123456789012:role/a-dev-schedulerrole",
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the schedules are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// The queue takes messages of exactly these rules.
	policy := find(t, r, queuePolicyType, "a-timers").Inputs["policy"].(string)
	for _, rule := range byType(r, ruleType) {
		if !strings.Contains(policy, `"arn:aws:events:eu-central-1:123456789012:rule/`+rule.Inputs["name"].(string)+`"`) {
			t.Errorf("the queue does not know %s: %s", rule, policy)
		}
	}
	if n := strings.Count(policy, "rule/"); n != len(byType(r, ruleType)) {
		t.Errorf("the queue knows %d rules", n)
	}
	role := find(t, r, roleType, "a-schedulerrole")
	if want := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"scheduler.amazonaws.com"},"Action":["sts:AssumeRole"],` +
		`"Condition":{"ArnEquals":{"aws:SourceArn":"arn:aws:scheduler:eu-central-1:123456789012:schedule-group/a-dev-schedules"},"StringEquals":{"aws:SourceAccount":"123456789012"}}}]}`; role.Inputs["assumeRolePolicy"] != want {
		t.Errorf("the role is for %s", role.Inputs["assumeRolePolicy"])
	}
	if p := find(t, r, rolePolicyType, "a-schedulerrole").Inputs["policy"]; p != `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["sqs:SendMessage"],"Resource":["arn:aws:sqs:eu-central-1:123456789012:a-dev-timers","arn:aws:sqs:eu-central-1:123456789012:a-dev-timersdlq"]}]}` {
		t.Errorf("the scheduler may %v", p)
	}
}

func TestAlarms(t *testing.T) {
	t.Parallel()
	const topic = "arn:aws:sns:eu-central-1:123456789012:ops"
	r := graph(t, shop(t), &AppArgs{Alarms: Alarms{Topic: pulumi.String(topic), DeadLetterAge: time.Hour, Lag: 2 * time.Minute}}, nil)
	seen := map[string]bool{}
	for _, a := range byType(r, alarmType) {
		metric := a.Inputs["metricName"].(string)
		seen[metric] = true
		if fmt.Sprint(a.Inputs["alarmActions"], a.Inputs["okActions"]) != "["+topic+"] ["+topic+"]" {
			t.Errorf("%s tells %v", a, a.Inputs["alarmActions"])
		}
		want := map[string]float64{"ApproximateAgeOfOldestMessage": 120, "IteratorAge": 120000, "Lag": 120000}[metric]
		if strings.HasSuffix(a.Name, "dlq-old") {
			want = 3600
		}
		if a.Inputs["threshold"] != want || a.Inputs["comparisonOperator"] != "GreaterThanThreshold" || a.Inputs["treatMissingData"] != "notBreaching" {
			t.Errorf("%s: %v", a, a.Inputs)
		}
	}
	for _, m := range []string{"ApproximateNumberOfMessagesVisible", "ApproximateAgeOfOldestMessage", "IteratorAge", "Errors", "Throttles", "DroppedEventCount", "OnFailureDestinationDeliveredEventCount", "Parked", "Lag"} {
		if !seen[m] {
			t.Errorf("nobody watches %s", m)
		}
	}
	if n := len(byType(graph(t, shop(t), &AppArgs{Defaults: Settings{Alarms: Off}}, nil), alarmType)); n != 0 {
		t.Errorf("there are %d alarms, and none is wanted", n)
	}
	some := byType(graph(t, shop(t), &AppArgs{Defaults: Settings{Alarms: Off}, Overrides: map[string]Settings{"Ordering.Order": {Alarms: On}, "api": {Alarms: On}}}, nil), alarmType)
	var got []string
	for _, a := range some {
		got = append(got, a.Name)
		if a.Inputs["alarmActions"] != nil {
			t.Errorf("%s tells %v, and nobody said whom", a, a.Inputs["alarmActions"])
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
		// The function's settings win over the component's.
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
	// A message is invisible for six times as long as its function may take.
	for name, want := range map[string]any{"shop-Ordering.Order-commands": 720.0, "shop-Catalog.Category-commands": 180.0} {
		if got := find(t, r, queueType, name).Inputs["visibilityTimeoutSeconds"]; got != want {
			t.Errorf("%s hides messages for %v seconds, want %v", name, got, want)
		}
	}
	if g := find(t, r, logGroupType, "shop-api"); g.Inputs["retentionInDays"] != 0.0 {
		t.Errorf("the logs are kept for %v days, want for ever", g.Inputs["retentionInDays"])
	}
	for _, x := range r.All {
		tags, ok := x.Inputs["tags"].(map[string]any)
		if ok && (tags["team"] != "sales" || tags["reventless:app"] != "shop" || tags["reventless:stack"] != "dev") {
			t.Errorf("%s has the tags %v", x, tags)
		}
	}
}

// The program says why a log has a topic: who adds a third reader pays for a queue
// and a relay.
func TestTopicsAreTold(t *testing.T) {
	t.Parallel()
	r := graph(t, shop(t), nil, nil)
	want := []string{
		"info: Catalog.Product: 3 components read its log, but at most 2 may read its stream: all of them read its topic, which a relay feeds",
		"info: Ordering.Order: 8 components read its log, but at most 2 may read its stream: all of them read its topic, which a relay feeds",
		"info: Ordering.Return: 3 components read its log, but at most 2 may read its stream: all of them read its topic, which a relay feeds",
	}
	slices.Sort(r.Log)
	if !slices.Equal(r.Log, want) {
		t.Errorf("it says\n%s\nwant\n%s", strings.Join(r.Log, "\n"), strings.Join(want, "\n"))
	}
	log := []topology.Source{{Log: "P.A"}}
	app := topology.App{Name: "a", Plugins: []topology.Plugin{
		{Name: "P", Components: []topology.Component{{Name: "P.A", Kind: "Aggregate"}, {Name: "P.R", Kind: "ReadModel", Sources: log}}},
		{Name: "Q", Components: []topology.Component{{Name: "Q.E", Kind: "Extension", Sources: []topology.Source{{Log: "P.A", Point: "P.Point"}}}}},
	}}
	want = []string{"info: P.A: 1 of the components that read its log belong to another plugin: they read its topic, which a relay feeds"}
	if r := graph(t, app, nil, nil); !slices.Equal(r.Log, want) {
		t.Errorf("it says %q, want %q", r.Log, want)
	}
	app.Plugins = app.Plugins[:1]
	if r := graph(t, app, nil, nil); len(r.Log) != 0 || len(byType(r, topicType)) != 0 {
		t.Errorf("nothing needs a topic, and it says %q", r.Log)
	}
}
