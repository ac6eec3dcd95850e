package deploy

import (
	"slices"

	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/aws/internal/schema"
	"github.com/reventless-go/reventless/aws/internal/wiring"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/topology"
)

// operations are the requests that the drivers make for the operations which the
// topology grants, and of which resource of the grant's component. Whoever changes a
// driver's requests changes them here. Transactions have no action of their own: they
// need those of their parts. There are no ConditionChecks.
//
// Receive and Settle are not here where a mapping does them: see [rights.read].
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

	// One row or many: who may read a row may read its table.
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
	"Counter.Settle":    {{naming.Counts, countWrites}}, // finishes that were told are removed

	"Scheduler.Create": {
		{naming.Schedules, actions{"scheduler:CreateSchedule", "scheduler:UpdateSchedule"}},
		{naming.Timers, actions{"sqs:SendMessage"}}, // what is near is not the service's
	},
	"Scheduler.Delete":  {{naming.Schedules, actions{"scheduler:DeleteSchedule"}}},
	"Scheduler.Receive": {{naming.Schedules, actions{"scheduler:GetSchedule"}}}, // a firing of what was replaced does not count
	"Scheduler.Settle":  {{naming.Schedules, actions{"scheduler:GetSchedule", "scheduler:DeleteSchedule"}}},

	"Bucket.Put":     {{objects, actions{"s3:PutObject", "s3:AbortMultipartUpload"}}},
	"Bucket.Get":     {{objects, actions{"s3:GetObject"}}, {naming.Bucket, actions{"s3:ListBucket"}}}, // or what is not there would be forbidden
	"Bucket.Delete":  {{objects, actions{"s3:DeleteObject"}}},
	"Bucket.List":    {{naming.Bucket, actions{"s3:ListBucket"}}},
	"Bucket.Receive": nil,
	"Bucket.Settle":  nil,

	// A letter takes the place of an earlier one, whose body is removed.
	"DeadLetters.Park":   {{naming.DeadLetters, actions{"dynamodb:PutItem", "dynamodb:BatchWriteItem"}}},
	"DeadLetters.Get":    {{naming.DeadLetters, actions{"dynamodb:GetItem", "dynamodb:Query"}}},
	"DeadLetters.List":   {{naming.DeadLetters, actions{"dynamodb:Query"}}},
	"DeadLetters.Remove": {{naming.DeadLetters, actions{"dynamodb:DeleteItem", "dynamodb:BatchWriteItem"}}},

	"Outcomes.Put": {{naming.Outcomes, actions{"dynamodb:PutItem"}}},
	"Outcomes.Get": {{naming.Outcomes, actions{"dynamodb:GetItem"}}},
}

type actions []string

// access is what an operation does to one resource.
type access struct {
	kind    naming.Kind
	actions actions
}

// Resources below another one, beside the kinds.
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

// granter computes the rights of functions.
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

// function returns what a function may do, and whether it hands the scheduler's role
// on, which is a right with a condition.
func (g *granter) function(f wiring.Function, tracing bool) []statement {
	r := rights{}
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
	// Whatever is called has to have a place for what it cannot make sense of.
	grant("DeadLetters", "", "Park")
	if f.Role == wiring.API {
		grants = append(grants, g.caller()...)
	}
	if f.Role == wiring.Timers {
		grants = append(grants, g.timers()...)
	}
	for _, name := range serves(f) {
		c := g.all[name]
		switch f.Role {
		case wiring.Commands:
			grants = append(grants, without(c.Grants, "CommandTopic", "Send")...) // who sends is not who handles
		case wiring.Relay:
			grant("EventLog", name, "Read")
			grant("EventTopic", name, "Publish")
		case wiring.Projections, wiring.Reactions, wiring.Counters:
			grants = append(grants, c.Grants...)
		case wiring.Tasks:
			grants = append(grants, without(c.Grants, "Scheduler", "Receive", "Settle")...) // the clock calls another function
		case wiring.API, wiring.Timers:
		}
	}
	handsOn := false
	for _, grant := range grants {
		for _, op := range grant.Operations {
			handsOn = handsOn || grant.Driver == "Scheduler" && op == "Create"
			accesses, known := operations[grant.Driver+"."+op]
			if !known {
				panic("deploy: nobody has said what " + grant.Driver + "." + op + " requests")
			}
			for _, a := range accesses {
				for _, resource := range g.resources(a.kind, grant.Component) {
					r.allow(resource, a.actions...)
				}
			}
		}
	}
	statements := r.statements()
	if handsOn {
		statements = append(statements, statement{
			Effect: "Allow", Action: []string{"iam:PassRole"}, Resource: []string{g.schedulerRoleARN()},
			Condition: map[string]map[string]values{"StringEquals": {"iam:PassedToService": {"scheduler.amazonaws.com"}}},
		})
	}
	return statements
}

// serves are the components that the triggers of a function call it for, each once.
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

// read allows what the mapping of a trigger does in the name of its function.
func (g *granter) read(r rights, t wiring.Trigger) {
	if !t.Stream() {
		r.allow(g.queueARN(t.Source, t.Component), "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility")
		return
	}
	r.allow(g.tableARN(t.Source, t.Component)+"/stream/*", "dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator")
	r.allow("*", "dynamodb:ListStreams")
	// Records that were given up.
	bucket := g.bucketARN(naming.Failures, "")
	r.allow(bucket+"/*", "s3:PutObject")
	r.allow(bucket, "s3:ListBucket")
}

// resources returns the ARNs of a kind of a component. A read model with OwnRow has
// its watermarks in its rows.
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

// caller is what the function may do that is called by people and programs. It
// decides commands, answers queries, handles again what was parked, and has
// consumers catch up with their logs, which is whatever any component does; it
// receives nothing.
func (g *granter) caller() []topology.Grant {
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

// timers is what the function may do that the clock calls: what declared schedules
// and tasks do, heartbeats, and to send what was scheduled at run time, which is
// commands that some component may send.
func (g *granter) timers() []topology.Grant {
	grants := []topology.Grant{{Driver: "Scheduler", Operations: []string{"Receive", "Settle"}}}
	for _, p := range g.app.Plugins {
		if p.HeartbeatSeconds > 0 {
			grants = append(
				grants,
				topology.Grant{Driver: "CommandTopic", Component: registry, Operations: []string{"Send"}},
				topology.Grant{Driver: "Scheduler", Operations: []string{"Create"}}, // silence is noticed by a schedule
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

// registry is the aggregate that heartbeats are commands of.
const registry = component.PlatformPlugin + ".Plugin"

// without returns grants without operations of a driver.
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
