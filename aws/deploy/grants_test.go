package deploy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/reventless-go/reventless/aws/deploy/deploytest"
	"github.com/reventless-go/reventless/aws/internal/wiring"
	"github.com/reventless-go/reventless/topology"
)

// parsed is a policy as IAM reads it.
type parsed struct {
	Statement []struct {
		Effect, Sid string
		Action      []string
		Resource    []string
		Principal   map[string]string
		Condition   map[string]map[string]any
	}
}

func parse(t *testing.T, text any) parsed {
	t.Helper()
	var p parsed
	if err := json.Unmarshal([]byte(text.(string)), &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// policies returns all policy documents of a graph, by resource and property.
func policies(t *testing.T, r *deploytest.Resources) map[string]parsed {
	t.Helper()
	all := map[string]parsed{}
	for _, x := range r.All {
		for _, k := range []string{"policy", "assumeRolePolicy"} {
			if x.Inputs[k] != nil {
				all[x.String()+" "+k] = parse(t, x.Inputs[k])
			}
		}
	}
	return all
}

// No policy has a wildcard in an action. A wildcard in a resource is allowed only where
// AWS offers nothing narrower: objects of one bucket, streams of one table, schedules of
// one group, streams of one log group, and actions without resources.
func TestNoWildcards(t *testing.T) {
	both(t, func(t *testing.T, strategy Strategy, r *deploytest.Resources) {
		traced := graph(t, shop(t), &AppArgs{Strategy: strategy, Defaults: Settings{Tracing: On}}, nil)
		for _, g := range []*deploytest.Resources{r, traced} {
			for of, p := range policies(t, g) {
				for _, s := range p.Statement {
					if s.Effect != "Allow" || len(s.Action) == 0 {
						t.Errorf("%s: %+v", of, s)
					}
					for _, a := range s.Action {
						if service, name, ok := strings.Cut(a, ":"); !ok || strings.Contains(a, "*") || service == "" || name == "" {
							t.Errorf("%s allows %q", of, a)
						}
					}
					for _, resource := range s.Resource {
						if !allowedResource(s.Action, resource) {
							t.Errorf("%s allows %v of %q", of, s.Action, resource)
						}
					}
					for _, p := range s.Principal {
						if strings.Contains(p, "*") {
							t.Errorf("%s is for %v", of, s.Principal)
						}
					}
					if _, trust := strings.CutSuffix(of, "assumeRolePolicy"); !trust && s.Principal == nil && s.Resource == nil {
						t.Errorf("%s is for no resource", of)
					}
				}
			}
		}
	})
}

func allowedResource(actions []string, resource string) bool {
	only := func(prefix string) bool {
		return !slices.ContainsFunc(actions, func(a string) bool { return !strings.HasPrefix(a, prefix) })
	}
	const account = ":eu-central-1:123456789012:"
	rest, wild := strings.CutSuffix(resource, "*")
	switch {
	case !wild:
		return !strings.Contains(resource, "*")
	case rest == "":
		return !slices.ContainsFunc(actions, func(a string) bool { return a != "dynamodb:ListStreams" && !strings.HasPrefix(a, "xray:Put") })
	case strings.Contains(rest, "*"):
		return false
	case strings.HasPrefix(rest, "arn:aws:s3:::shop-dev-") && strings.HasSuffix(rest, "-123456789012/"):
		return only("s3:") && !slices.Contains(actions, "s3:ListBucket")
	case strings.HasPrefix(rest, "arn:aws:dynamodb"+account+"table/shop-dev-") && strings.HasSuffix(rest, "/stream/"):
		return only("dynamodb:")
	case rest == "arn:aws:scheduler"+account+"schedule/shop-dev-schedules/":
		return only("scheduler:")
	case strings.HasPrefix(rest, "arn:aws:logs"+account+"log-group:/aws/lambda/shop-dev-") && strings.HasSuffix(rest, ":"):
		return only("logs:")
	}
	return false
}

// may returns the rights of a function as "action resource" lines with short
// resources.
func may(t *testing.T, r *deploytest.Resources, function string) []string {
	t.Helper()
	var out []string
	for _, s := range parse(t, find(t, r, rolePolicyType, function).Inputs["policy"]).Statement {
		for _, a := range s.Action {
			for _, resource := range s.Resource {
				out = append(out, a+" "+strings.TrimPrefix(resource[strings.LastIndex(resource, ":")+1:], "table/"))
			}
		}
	}
	slices.Sort(out)
	return out
}

// The complete rights of some functions, written by hand from the requests of their
// drivers. A missing right would fail only on AWS, and nothing would show an unneeded
// one.
func TestRights(t *testing.T) {
	t.Parallel()
	r := graph(t, shop(t), &AppArgs{Strategy: PerComponent}, nil)
	stream := func(table string) []string {
		return []string{
			"dynamodb:DescribeStream " + table + "/stream/*", "dynamodb:GetRecords " + table + "/stream/*", "dynamodb:GetShardIterator " + table + "/stream/*",
			"dynamodb:ListStreams *", "s3:ListBucket shop-dev-failures-123456789012", "s3:PutObject shop-dev-failures-123456789012/*",
		}
	}
	queue := func(name string) []string {
		return []string{"sqs:ChangeMessageVisibility " + name, "sqs:DeleteMessage " + name, "sqs:GetQueueAttributes " + name, "sqs:ReceiveMessage " + name}
	}
	const letters = "shop-dev-deadletters"
	park := []string{"dynamodb:BatchWriteItem " + letters, "dynamodb:PutItem " + letters, "logs:CreateLogStream *", "logs:PutLogEvents *"}
	redrive := []string{"dynamodb:DeleteItem " + letters, "dynamodb:GetItem " + letters, "dynamodb:Query " + letters}
	on := func(table string, actions ...string) (out []string) {
		for _, a := range actions {
			out = append(out, a+" "+table)
		}
		return out
	}
	schedule := []string{
		"scheduler:CreateSchedule schedule/shop-dev-schedules/*", "scheduler:DeleteSchedule schedule/shop-dev-schedules/*", "scheduler:UpdateSchedule schedule/shop-dev-schedules/*",
		"sqs:SendMessage shop-dev-timers", "iam:PassRole role/shop-dev-schedulerrole",
	}
	for function, want := range map[string][]string{
		"shop-commands-Ordering.Order": slices.Concat(park, queue("shop-dev-Ordering-Order-commands.fifo"), on("shop-dev-Ordering-Order-log", "dynamodb:PutItem", "dynamodb:Query")),
		// Rows with their own watermarks, from a stream.
		"shop-projections-Catalog.Categories": slices.Concat(
			park, redrive, stream("shop-dev-Catalog-Category-log"), on("shop-dev-Catalog-Category-log", "dynamodb:Query"),
			on("shop-dev-Catalog-Categories-rows", "dynamodb:BatchGetItem", "dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:Query", "dynamodb:UpdateItem"),
		),
		// A separate table of watermarks, from topics.
		"shop-projections-Ordering.SalesByCountry": slices.Concat(
			park, redrive, queue("shop-dev-Ordering-SalesByCountry-collector.fifo"),
			on("shop-dev-Ordering-Order-log", "dynamodb:Query"), on("shop-dev-Ordering-Return-log", "dynamodb:Query"),
			on("shop-dev-Ordering-SalesByCountry-rows", "dynamodb:BatchGetItem", "dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:Query", "dynamodb:UpdateItem"),
			on("shop-dev-Ordering-SalesByCountry-watermarks", "dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:UpdateItem"),
		),
		"shop-reactions-Ordering.CompleteShipped": slices.Concat(
			park, redrive, schedule, queue("shop-dev-Ordering-CompleteShipped-collector.fifo"), stream("shop-dev-Ordering-ShippedLines-log"),
			on("shop-dev-Ordering-Order-log", "dynamodb:Query"), on("shop-dev-Ordering-ShippedLines-log", "dynamodb:Query"),
			on("shop-dev-Ordering-CompleteShipped-watermarks", "dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:UpdateItem"),
			on("shop-dev-Ordering-ShippedLines-refs", "dynamodb:BatchGetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"),
			on("shop-dev-Ordering-ShippedLines-counts", "dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:UpdateItem"),
			on("shop-dev-Ordering-Order-commands.fifo", "sqs:SendMessage"),
		),
		"shop-reactions-Ordering.OrderConfirmation": slices.Concat(
			park, redrive, queue("shop-dev-Ordering-OrderConfirmation-collector.fifo"), on("shop-dev-Ordering-Order-log", "dynamodb:Query"),
			on("shop-dev-Ordering-OrderConfirmation-watermarks", "dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:UpdateItem"),
			on("shop-dev-ordering-outbox-bucket-123456789012/*", "s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"),
			on("shop-dev-ordering-outbox-bucket-123456789012", "s3:ListBucket"),
		),
		"shop-relay-Ordering.Return": slices.Concat(park, stream("shop-dev-Ordering-Return-log"), on("shop-dev-Ordering-Return-log", "dynamodb:Query"), on("shop-dev-Ordering-Return-events.fifo", "sns:Publish")),
		"shop-counters-Ordering.ShippedLines": slices.Concat(
			park, stream("shop-dev-Ordering-ShippedLines-counts"), on("shop-dev-Ordering-ShippedLines-log", "dynamodb:PutItem", "dynamodb:Query"),
			on("shop-dev-Ordering-ShippedLines-counts", "dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:UpdateItem"),
		),
		"shop-tasks-Catalog.ImportProducts": slices.Concat(
			park, schedule, queue("shop-dev-Catalog-Imports-objects"), on("shop-dev-Catalog-Product-commands.fifo", "sqs:SendMessage"),
			on("shop-dev-catalog-imports-bucket-123456789012/*", "s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"),
			on("shop-dev-catalog-imports-bucket-123456789012", "s3:ListBucket"),
		),
		"shop-timers": slices.Concat(
			park, schedule, queue("shop-dev-timers"), on("schedule/shop-dev-schedules/*", "scheduler:GetSchedule"),
			// Heartbeats, and the delayed and scheduled commands of all components.
			on("shop-dev-Platform-Plugin-commands.fifo", "sqs:SendMessage"), on("shop-dev-Catalog-Product-commands.fifo", "sqs:SendMessage"),
			on("shop-dev-Ordering-Order-commands.fifo", "sqs:SendMessage"), on("shop-dev-Ordering-Listing-commands.fifo", "sqs:SendMessage"),
			// The scheduled task.
			on("shop-dev-Ordering-SalesByCountry-rows", "dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:Query", "dynamodb:Scan"),
			on("shop-dev-ordering-reports-bucket-123456789012/*", "s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"),
			on("shop-dev-ordering-reports-bucket-123456789012", "s3:ListBucket"),
		),
	} {
		slices.Sort(want)
		got := may(t, r, function)
		if d := diff(strings.Join(want, "\n"), strings.Join(got, "\n")); len(d) > 0 || len(got) != len(slices.Compact(want)) {
			t.Errorf("%s:\n%s\n%d rights, want %d", function, strings.Join(d, "\n"), len(got), len(want))
		}
	}
}

func TestAsyncAggregatesKeepOutcomes(t *testing.T) {
	t.Parallel()
	app := shop(t)
	for i, c := range app.Plugins[0].Components {
		if c.Kind == "Aggregate" {
			app.Plugins[0].Components[i].Grants = append(c.Grants, topology.Grant{Driver: "Outcomes", Operations: []string{"Put", "Get"}})
		}
	}
	got := may(t, graph(t, app, nil, nil), "shop-commands-Catalog")
	if !slices.Contains(got, "dynamodb:PutItem shop-dev-outcomes") {
		t.Errorf("it may %v", got)
	}
}

// An operation of a driver without defined rights must not lead to a function that
// lacks them.
func TestUnknownOperationsAreNoticed(t *testing.T) {
	t.Parallel()
	defer func() {
		if r := recover(); r == nil || !strings.Contains(fmt.Sprint(r), "EventLog.Truncate") {
			t.Errorf("the panic is %v", r)
		}
	}()
	c := topology.Component{Name: "P.A", Kind: "Aggregate", Grants: []topology.Grant{{Driver: "EventLog", Component: "P.A", Operations: []string{"Truncate"}}}}
	app := topology.App{Name: "a", Plugins: []topology.Plugin{{Name: "P", Components: []topology.Component{c}}}}
	newGranter(devPlace, app).function(wiring.Function{Role: wiring.API}, false)
}

// wide is an App with n aggregates and read models.
func wide(n int) topology.App {
	p := topology.Plugin{Name: "P"}
	for i := range n {
		a, r := fmt.Sprintf("P.Aggregate%d", i), fmt.Sprintf("P.ReadModel%d", i)
		p.Components = append(
			p.Components,
			topology.Component{Name: a, Kind: "Aggregate", Grants: []topology.Grant{
				{Driver: "EventLog", Component: a, Operations: []string{"Append", "Read", "Load"}}, {Driver: "CommandTopic", Component: a, Operations: []string{"Send", "Receive", "Settle"}},
			}},
			topology.Component{Name: r, Kind: "ReadModel", Sources: []topology.Source{{Log: a}}, Indexes: []topology.Index{{Name: "x", Key: "x"}}, Grants: []topology.Grant{
				{Driver: "EventLog", Component: a, Operations: []string{"Read"}}, {Driver: "QueryDb", Component: r, Operations: []string{"Watermark", "Apply", "Load"}},
			}},
		)
	}
	return topology.App{Name: "wide", Plugins: []topology.Plugin{p}}
}

// IAM limits the inline policies of a role to 10,240 characters. Larger rights go into
// managed policies, and none is lost.
func TestLargeRightsAreManaged(t *testing.T) {
	t.Parallel()
	app := wide(60)
	r := graph(t, app, nil, nil)
	managed := byType(r, "aws:iam/policy:Policy")
	got := map[string]bool{}
	n := 0
	for _, p := range managed {
		if !strings.HasPrefix(p.Name, "wide-api-") {
			continue
		}
		n++
		text := p.Inputs["policy"].(string)
		if len(text) > maxManagedBytes {
			t.Errorf("%s has %d characters", p, len(text))
		}
		for _, s := range parse(t, text).Statement {
			for _, a := range s.Action {
				for _, resource := range s.Resource {
					got[a+" "+resource] = true
				}
			}
		}
		a := find(t, r, "aws:iam/rolePolicyAttachment:RolePolicyAttachment", p.Name)
		if a.Inputs["role"] != "wide-dev-api-approle" || a.Inputs["policyArn"] != "arn:aws:iam::123456789012:policy/"+p.Name {
			t.Errorf("%s: %v", a, a.Inputs)
		}
		if f := find(t, r, functionType, "wide-api"); !slices.Contains(f.DependsOn, a.String()) {
			t.Errorf("%s does not wait for %s", f, a)
		}
	}
	if n < 2 || n > maxManaged {
		t.Errorf("there are %d policies of the API", n)
	}
	names := devPlace
	names.names = must2(namesOf("wide"))
	want := map[string]bool{}
	for _, s := range newGranter(names, app).function(wiring.Function{Role: wiring.API}, false) {
		for _, a := range s.Action {
			for _, resource := range s.Resource {
				want[a+" "+resource] = true
			}
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("there are %d rights, want %d", len(got), len(want))
	}
}
