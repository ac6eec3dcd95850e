// Package wiring defines the Lambda functions of a stack: the triggers of each
// function and the components that it serves. It depends only on the topology. The
// functions and the deploy program share it, so that each function can handle the
// triggers that are deployed for it.
package wiring

import (
	"fmt"
	"slices"
	"strings"

	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/topology"
)

// MaxFeedReaders is how many functions can read the stream of a table at the same
// time without being throttled.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Streams.html
const MaxFeedReaders = 2

// Role is the purpose of a function.
type Role string

// The roles.
const (
	Commands    Role = "commands"    // handles the queues of aggregates
	Projections Role = "projections" // applies commits to read models
	Reactions   Role = "reactions"   // runs automations, side effects and extensions
	Relay       Role = "relay"       // publishes the commits of logs to their topics
	Counters    Role = "counters"    // publishes the targets that counters reach
	Tasks       Role = "tasks"       // runs tasks on the objects of their buckets
	Timers      Role = "timers"      // handles firings: schedules, heartbeats, scheduled tasks
	API         Role = "api"         // is invoked directly: API operations, commands, dead letters
)

// roles are the roles of components, in the order in which functions are listed.
var roles = []Role{Commands, Projections, Reactions, Relay, Counters, Tasks}

// Strategy determines how components share functions.
type Strategy uint8

// The strategies.
const (
	Shared       Strategy = iota // one function per role and plugin
	PerComponent                 // one function per role and component
)

// Function is a Lambda function.
type Function struct {
	Role Role
	// Subject is the component or plugin that it serves; empty for a function of the
	// whole application.
	Subject string
	// Triggers invoke the function. The API function has none.
	Triggers []Trigger
}

// Trigger is an event source mapping of a function.
type Trigger struct {
	// Source is the resource to read: the stream of a table (Log, Counts) or a queue
	// (Commands, Collector, Objects, Timers).
	Source naming.Kind
	// Component owns the resource; empty for Timers.
	Component string
	// Consumers are the components that consume the records of a log's stream, or the
	// one consumer of a Collector. A relay has none.
	Consumers []string
	// Logs are the logs whose commits a Collector receives.
	Logs []string
	// Task is the task that handles the objects of a bucket.
	Task string
}

// Stream reports whether the source is the stream of a table; otherwise it is a queue.
func (t Trigger) Stream() bool { return t.Source == naming.Log || t.Source == naming.Counts }

// Functions returns the functions of an application.
func Functions(app topology.App, strategy Strategy) []Function {
	var functions []Function
	add := func(role Role, subject string) {
		if f, err := Find(app, role, subject); err == nil {
			functions = append(functions, f)
		}
	}
	for _, p := range app.Plugins {
		for _, role := range roles {
			if strategy == Shared {
				add(role, p.Name)
				continue
			}
			for _, c := range p.Components {
				add(role, c.Name)
			}
		}
	}
	add(Timers, "")
	add(API, "")
	return functions
}

// Find returns the function with a role for subject: a plugin, a component, or the
// whole application if it is empty. The error is a [driver.ErrNotFound] if nothing
// would trigger the function.
func Find(app topology.App, role Role, subject string) (Function, error) {
	f := Function{Role: role, Subject: subject}
	switch {
	case role == API && subject == "":
		return f, nil
	case role == Timers && subject == "":
		f.Triggers = []Trigger{{Source: naming.Timers}}
		return f, nil
	case !slices.Contains(roles, role):
		return f, fmt.Errorf("wiring: there is no function with role %q for %q: %w", role, subject, driver.ErrNotFound)
	}
	routes := app.Routes(MaxFeedReaders)
	for _, p := range app.Plugins {
		for _, c := range p.Components {
			if subject == "" || subject == p.Name || subject == c.Name {
				f.serve(c, routes)
			}
		}
	}
	if len(f.Triggers) == 0 {
		return f, fmt.Errorf("wiring: function with role %q for %q has no triggers: %w", role, subject, driver.ErrNotFound)
	}
	return f, nil
}

// RoleOf returns the role of the function that consumes events for a component. It is
// empty for a component that consumes no events.
func RoleOf(c topology.Component) Role {
	switch c.Kind {
	case "ReadModel":
		return Projections
	case "Automation", "SideEffect", "Extension":
		return Reactions
	}
	return ""
}

// serve adds the triggers of a component.
func (f *Function) serve(c topology.Component, routes []topology.Route) {
	switch {
	case f.Role == Commands && c.Kind == "Aggregate":
		f.Triggers = append(f.Triggers, Trigger{Source: naming.Commands, Component: c.Name})
	case f.Role == Counters && c.Kind == "Counter":
		f.Triggers = append(f.Triggers, Trigger{Source: naming.Counts, Component: c.Name})
	case f.Role == Tasks && c.Kind == "Task" && c.Bucket != "":
		f.Triggers = append(f.Triggers, Trigger{Source: naming.Objects, Component: c.Bucket, Task: c.Name})
	case f.Role == Relay && slices.ContainsFunc(routes, func(r topology.Route) bool { return r.Log == c.Name && r.Topic }):
		f.Triggers = append(f.Triggers, Trigger{Source: naming.Log, Component: c.Name})
	case f.Role == RoleOf(c):
		f.consume(c.Name, routes)
	}
}

// consume adds a consumer to the triggers of the streams that it reads. If it reads
// topics, it also adds a trigger for the queue that receives their commits.
func (f *Function) consume(name string, routes []topology.Route) {
	var logs []string // read through topics
	for _, r := range routes {
		switch i := slices.IndexFunc(f.Triggers, func(t Trigger) bool { return t.Source == naming.Log && t.Component == r.Log }); {
		case r.Consumer != name:
		case r.Topic:
			logs = append(logs, r.Log)
		case i >= 0:
			f.Triggers[i].Consumers = append(f.Triggers[i].Consumers, name)
		default:
			f.Triggers = append(f.Triggers, Trigger{Source: naming.Log, Component: r.Log, Consumers: []string{name}})
		}
	}
	if len(logs) > 0 {
		f.Triggers = append(f.Triggers, Trigger{Source: naming.Collector, Component: name, Consumers: []string{name}, Logs: logs})
	}
}

// The environment variables of a function. There are no others: the function computes
// all resource names.
const (
	EnvStack    = "REVENTLESS_STACK"    // the stack
	EnvAccount  = "REVENTLESS_ACCOUNT"  // the account id
	EnvFunction = "REVENTLESS_FUNCTION" // "role", or "role/subject"
)

// String returns the value of [EnvFunction].
func (f Function) String() string {
	if f.Subject == "" {
		return string(f.Role)
	}
	return string(f.Role) + "/" + f.Subject
}

// Parse returns the function for a value of [EnvFunction].
func Parse(app topology.App, value string) (Function, error) {
	role, subject, _ := strings.Cut(value, "/")
	return Find(app, Role(role), subject)
}
