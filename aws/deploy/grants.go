package deploy

import (
	"slices"
	"strings"

	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/aws/internal/schema"
	"github.com/reventless-go/reventless/aws/internal/wiring"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/topology"
)

// operations maps each driver operation that a topology can grant to the IAM actions
// that it needs, with the resources of the grant's component. They must match the
// requests of the drivers. A transaction needs the actions of its parts; the drivers use
// no ConditionChecks.
//
// Receive and Settle need no actions if a mapping performs them: see [granter.read].
var operations = map[string][]access{
	"EventLog.Append": {{naming.Log, actions{"dynamodb:PutItem"}}},
	"EventLog.Read":   {{naming.Log, actions{"dynamodb:Query"}}},
	"EventLog.Load":   {{naming.Log, actions{"dynamodb:Query"}}},
	"EventLog.Scan":   {{naming.Log, actions{"dynamodb:Scan"}}},

	"CommandTopic.Send":    {{naming.Commands, actions{"sqs:SendMessage"}}},
	"CommandTopic.Receive": nil,
	"CommandTopic.Settle":  nil,

	"EventTopic.Publish": {{naming.Events, actions{"sns:Publish"}}},

	"EventCollector.Receive": nil,
	"EventCollector.Settle":  nil,

	// A function that may read one row may read the whole table.
	"QueryDb.Load":       {{naming.Rows, rowReads}},
	"QueryDb.LoadRow":    {{naming.Rows, rowReads}},
	"QueryDb.LoadRows":   {{naming.Rows, rowReads}},
	"QueryDb.Apply":      {{naming.Rows, actions{"dynamodb:UpdateItem", "dynamodb:DeleteItem"}}, {naming.Watermarks, watermarkWrites}},
	"QueryDb.Clear":      {{naming.Rows, clears}, {naming.Watermarks, actions{"dynamodb:Scan", "dynamodb:UpdateItem", "dynamodb:DeleteItem"}}},
	"QueryDb.Watermark":  {{naming.Watermarks, watermarkReads}},
	"QueryDb.Watermarks": {{naming.Watermarks, watermarkReads}},
	"QueryDb.Block":      {{naming.Watermarks, watermarkWrites}},
	"QueryDb.Unblock":    {{naming.Watermarks, watermarkWrites}},

	"Watermarks.Watermark":  {{naming.Watermarks, watermarkReads}},
	"Watermarks.Watermarks": {{naming.Watermarks, watermarkReads}},
	"Watermarks.Advance":    {{naming.Watermarks, watermarkWrites}},
	"Watermarks.Block":      {{naming.Watermarks, watermarkWrites}},
	"Watermarks.Unblock":    {{naming.Watermarks, watermarkWrites}},

	"QueryEngine.Query": {{naming.Rows, actions{"dynamodb:Query"}}, {indexes, actions{"dynamodb:Query"}}},
	"QueryEngine.Scan":  {{naming.Rows, actions{"dynamodb:Scan"}}},

	"Counter.Count":     {{naming.Refs, refWrites}, {naming.Counts, countWrites}},
	"Counter.AddTarget": {{naming.Refs, refWrites}, {naming.Counts, countWrites}},
	"Counter.Receive":   nil,
	"Counter.Settle":    {{naming.Counts, countWrites}}, // removes published targets

	"Scheduler.Create": {
		{naming.Schedules, actions{"scheduler:CreateSchedule", "scheduler:UpdateSchedule"}},
		{naming.Timers, actions{"sqs:SendMessage"}}, // a schedule that is due soon is sent directly
	},
	"Scheduler.Delete":  {{naming.Schedules, actions{"scheduler:DeleteSchedule"}}},
	"Scheduler.Receive": {{naming.Schedules, actions{"scheduler:GetSchedule"}}}, // detects firings of replaced schedules
	"Scheduler.Settle":  {{naming.Schedules, actions{"scheduler:GetSchedule", "scheduler:DeleteSchedule"}}},

	"Bucket.Put":     {{objects, actions{"s3:PutObject", "s3:AbortMultipartUpload"}}},
	"Bucket.Get":     {{objects, actions{"s3:GetObject"}}, {naming.Bucket, actions{"s3:ListBucket"}}}, // otherwise a missing object is reported as forbidden
	"Bucket.Delete":  {{objects, actions{"s3:DeleteObject"}}},
	"Bucket.List":    {{naming.Bucket, actions{"s3:ListBucket"}}},
	"Bucket.Receive": nil,
	"Bucket.Settle":  nil,

	// A dead letter replaces an earlier one, whose body is deleted.
	"DeadLetters.Park":   {{naming.DeadLetters, actions{"dynamodb:PutItem", "dynamodb:BatchWriteItem"}}},
	"DeadLetters.Get":    {{naming.DeadLetters, actions{"dynamodb:GetItem", "dynamodb:Query"}}},
	"DeadLetters.List":   {{naming.DeadLetters, actions{"dynamodb:Query"}}},
	"DeadLetters.Remove": {{naming.DeadLetters, actions{"dynamodb:DeleteItem", "dynamodb:BatchWriteItem"}}},

	"Outcomes.Put": {{naming.Outcomes, actions{"dynamodb:PutItem"}}},
	"Outcomes.Get": {{naming.Outcomes, actions{"dynamodb:GetItem"}}},
}

type actions []string

// access are the actions of an operation on one resource.
type access struct {
	kind    naming.Kind
	actions actions
}

// Additional kinds for parts of resources.
const (
	indexes naming.Kind = 0xff - iota // of Rows
	objects                           // of Bucket
)

var (
	rowReads        = actions{"dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query"}
	clears          = actions{"dynamodb:Scan", "dynamodb:BatchWriteItem"}
	watermarkReads  = actions{"dynamodb:GetItem", "dynamodb:BatchGetItem"}
	watermarkWrites = actions{"dynamodb:UpdateItem"}
	refWrites       = actions{"dynamodb:BatchGetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"}
	countWrites     = actions{"dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:UpdateItem"}
)

// granter computes the permissions of functions.
type granter struct {
	place
	app topology.App
	all map[string]topology.Component
}

func newGranter(p place, app topology.App) *granter {
	g := &granter{p, app, map[string]topology.Component{}}
	for _, plugin := range app.Plugins {
		for _, c := range plugin.Components {
			g.all[c.Name] = c
		}
	}
	return g
}

// function returns the permissions of a function.
func (g *granter) function(f wiring.Function, tracing bool) []statement {
	r := permissions{}
	r.allow(g.arn("logs", "log-group:"+must(g.names.FunctionLogGroup(string(f.Role), f.Subject))+":*"), "logs:CreateLogStream", "logs:PutLogEvents")
	if tracing {
		r.allow("*", "xray:PutTraceSegments", "xray:PutTelemetryRecords")
	}
	for _, t := range f.Triggers {
		g.read(r, t)
	}
	var grants []topology.Grant
	grant := func(driver, component string, operations ...string) {
		grants = append(grants, topology.Grant{Driver: driver, Component: component, Operations: operations})
	}
	// Every function parks messages that it cannot decode.
	grant("DeadLetters", "", "Park")
	if f.Role == wiring.API {
		grants = append(grants, g.api()...)
	}
	if f.Role == wiring.Timers {
		grants = append(grants, g.timers()...)
	}
	for _, name := range serves(f) {
		c := g.all[name]
		switch f.Role {
		case wiring.Commands:
			grants = append(grants, without(c.Grants, "CommandTopic", "Send")...) // it handles these commands and does not send them
		case wiring.Relay:
			grant("EventLog", name, "Read")
			grant("EventTopic", name, "Publish")
		case wiring.Projections, wiring.Reactions, wiring.Counters:
			grants = append(grants, c.Grants...)
		case wiring.Tasks:
			grants = append(grants, without(c.Grants, "Scheduler", "Receive", "Settle")...) // firings invoke the timers function
		case wiring.API, wiring.Timers:
		}
	}
	passesRole := false
	for _, grant := range grants {
		for _, op := range grant.Operations {
			passesRole = passesRole || grant.Driver == "Scheduler" && op == "Create"
			accesses, known := operations[grant.Driver+"."+op]
			if !known {
				panic("deploy: no IAM actions are defined for operation " + grant.Driver + "." + op)
			}
			for _, a := range accesses {
				for _, resource := range g.resources(a.kind, grant.Component) {
					r.allow(resource, a.actions...)
				}
			}
		}
	}
	statements := r.statements()
	for i, s := range statements {
		// A bucket's ARN has no account. If the bucket was deleted, another account can
		// create one of that name.
		if !slices.ContainsFunc(s.Action, func(a string) bool { return !strings.HasPrefix(a, "s3:") }) {
			statements[i].Condition = map[string]map[string]values{"StringEquals": {"s3:ResourceAccount": {g.account}}}
		}
	}
	if passesRole {
		statements = append(statements, statement{
			Effect: "Allow", Action: []string{"iam:PassRole"}, Resource: []string{g.schedulerRoleARN()},
			Condition: map[string]map[string]values{"StringEquals": {"iam:PassedToService": {"scheduler.amazonaws.com"}}},
		})
	}
	return statements
}

// serves returns the components for which the triggers invoke a function, each once.
func serves(f wiring.Function) []string {
	var names []string
	add := func(name string) {
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, t := range f.Triggers {
		switch {
		case t.Task != "":
			add(t.Task)
		case len(t.Consumers) > 0:
			for _, c := range t.Consumers {
				add(c)
			}
		default:
			add(t.Component)
		}
	}
	return names
}

// read adds the permissions that the mapping of a trigger needs; it uses the role of
// its function.
func (g *granter) read(r permissions, t wiring.Trigger) {
	if !t.Stream() {
		r.allow(g.queueARN(t.Source, t.Component), "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility")
		return
	}
	r.allow(g.tableARN(t.Source, t.Component)+"/stream/*", "dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator")
	r.allow("*", "dynamodb:ListStreams")
	// For records that the mapping discards.
	bucket := g.bucketARN(naming.Failures, "")
	r.allow(bucket+"/*", "s3:PutObject")
	r.allow(bucket, "s3:ListBucket")
}

// resources returns the ARNs of a component's resources of a kind. A read model with
// OwnRow has its watermarks in its rows.
func (g *granter) resources(k naming.Kind, name string) []string {
	c := g.all[name]
	switch k {
	case naming.Watermarks:
		if c.OwnRow {
			k = naming.Rows
		}
		return []string{g.tableARN(k, name)}
	case indexes:
		var arns []string
		for _, t := range schema.TablesOf(c) {
			for _, i := range t.Indexes {
				arns = append(arns, g.tableARN(t.Kind, name)+"/index/"+i.Name)
			}
		}
		return arns
	case naming.Commands, naming.Timers:
		return []string{g.queueARN(k, name)}
	case naming.Events:
		return []string{g.topicARN(name)}
	case naming.Schedules:
		return []string{g.schedulesARN()}
	case naming.Bucket:
		return []string{g.bucketARN(k, name)}
	case objects:
		return []string{g.bucketARN(naming.Bucket, name) + "/*"}
	}
	return []string{g.tableARN(k, name)}
}

// api returns the grants of the API function. It decides commands, answers queries,
// redrives dead letters and lets consumers catch up with their logs, so it has the
// grants of all components, except to receive messages.
func (g *granter) api() []topology.Grant {
	grants := []topology.Grant{
		{Driver: "DeadLetters", Operations: []string{"Get", "List", "Remove"}},
		{Driver: "Outcomes", Operations: []string{"Get"}},
	}
	for _, p := range g.app.Plugins {
		for _, c := range p.Components {
			for _, grant := range c.Grants {
				grants = append(grants, without([]topology.Grant{grant}, grant.Driver, "Receive", "Settle")...)
			}
			if c.Kind == "ReadModel" {
				grants = append(
					grants,
					topology.Grant{Driver: "QueryEngine", Component: c.Name, Operations: []string{"Query", "Scan"}},
					topology.Grant{Driver: "QueryDb", Component: c.Name, Operations: []string{"LoadRow", "Clear"}},
				)
			}
			if c.Kind == "Aggregate" || c.Kind == "Counter" {
				grants = append(grants, topology.Grant{Driver: "EventLog", Component: c.Name, Operations: []string{"Scan"}})
			}
		}
	}
	for _, r := range g.app.Routes(wiring.MaxFeedReaders) {
		if r.Topic {
			grants = append(grants, topology.Grant{Driver: "EventTopic", Component: r.Log, Operations: []string{"Publish"}})
		}
	}
	return grants
}

// timers returns the grants of the timers function: those of declared schedules and
// scheduled tasks, those for heartbeats, and those to send the commands that components
// schedule at run time.
func (g *granter) timers() []topology.Grant {
	grants := []topology.Grant{{Driver: "Scheduler", Operations: []string{"Receive", "Settle"}}}
	for _, p := range g.app.Plugins {
		if p.HeartbeatSeconds > 0 {
			grants = append(
				grants,
				topology.Grant{Driver: "CommandTopic", Component: registry, Operations: []string{"Send"}},
				topology.Grant{Driver: "Scheduler", Operations: []string{"Create"}}, // a schedule detects missing heartbeats
			)
		}
		for _, c := range p.Components {
			if c.Expression != "" {
				grants = append(grants, without(c.Grants, "Bucket", "Receive", "Settle")...)
				continue
			}
			for _, grant := range c.Grants {
				if grant.Driver == "CommandTopic" && c.Kind != "Aggregate" {
					grants = append(grants, grant)
				}
			}
		}
	}
	return grants
}

// registry is the aggregate that receives heartbeats as commands.
const registry = component.PlatformPlugin + ".Plugin"

// without returns grants without some operations of a driver.
func without(grants []topology.Grant, driver string, operations ...string) []topology.Grant {
	out := make([]topology.Grant, 0, len(grants))
	for _, g := range grants {
		if g.Driver == driver {
			g.Operations = slices.DeleteFunc(slices.Clone(g.Operations), func(op string) bool { return slices.Contains(operations, op) })
		}
		out = append(out, g)
	}
	return out
}
