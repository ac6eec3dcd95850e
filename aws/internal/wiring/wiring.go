// Package wiring says which Lambda functions a stack of an application has, what
// calls each of them and what it serves. It follows from the topology alone; the
// functions and the deploy program share it, so that what is deployed as a trigger
// is what a function knows how to handle.
package wiring

import (
	"fmt"
	"slices"
	"strings"

	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/topology"
)

// MaxFeedReaders is how many functions may read the stream of a table at the same
// time without throttling each other.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Streams.html
const MaxFeedReaders = 2

// Role is what a function is for.
type Role string

// The roles.
const (
	Commands    Role = "commands"    // handles the queues of aggregates
	Projections Role = "projections" // feeds read models
	Reactions   Role = "reactions"   // runs automations, side effects and extensions
	Relay       Role = "relay"       // publishes the commits of logs on their topics
	Counters    Role = "counters"    // tells what counters reached
	Tasks       Role = "tasks"       // runs tasks on objects of their buckets
	Timers      Role = "timers"      // does what is due: schedules, heartbeats, tasks by the clock
	API         Role = "api"         // is called: operations of the API, commands, dead letters
)

// roles are those that belong to components, in the order in which functions are
// listed.
var roles = []Role{Commands, Projections, Reactions, Relay, Counters, Tasks}

// Strategy says how components share functions.
type Strategy uint8

// The strategies.
const (
	Shared       Strategy = iota // one function per role and plugin
	PerComponent                 // one function per role and component
)

// Function is a Lambda function.
type Function struct {
	Role Role
	// Subject is the component or plugin that it is for, or empty for the
	// functions of the whole application.
	Subject string
	// Triggers call it; none calls the function of the API.
	Triggers []Trigger
}

// Trigger is an event source mapping of a function.
type Trigger struct {
	// Source is the resource that is read: the stream of a table (Log, Counts) or
	// a queue (Commands, Collector, Objects, Timers).
	Source naming.Kind
	// Component is whose resource it is; empty for Timers.
	Component string
	// Consumers are the components that are handed the records of a log's stream,
	// or of a Collector its one consumer. A relay has none.
	Consumers []string
	// Logs are those whose commits come by a Collector.
	Logs []string
	// Task is the task that is handed the objects of a bucket.
	Task string
}

// Stream reports whether the source is the stream of a table, and not a queue.
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

// Find returns the function that does role for subject: a plugin, a component, or
// the whole application where it is empty. [driver.ErrNotFound] when that has
// nothing to do.
func Find(app topology.App, role Role, subject string) (Function, error) {
	f := Function{Role: role, Subject: subject}
	switch {
	case role == API && subject == "":
		return f, nil
	case role == Timers && subject == "":
		f.Triggers = []Trigger{{Source: naming.Timers}}
		return f, nil
	case !slices.Contains(roles, role):
		return f, fmt.Errorf("wiring: no function has the role %q for %q: %w", role, subject, driver.ErrNotFound)
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
		return f, fmt.Errorf("wiring: nothing calls a function for the %s of %q: %w", role, subject, driver.ErrNotFound)
	}
	return f, nil
}

// RoleOf returns the role that consumes events for a component; empty for one
// that consumes none.
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

// consume adds a consumer to the streams that it reads, and the queue in which
// its topics' commits come.
func (f *Function) consume(name string, routes []topology.Route) {
	var behind []string
	for _, r := range routes {
		switch i := slices.IndexFunc(f.Triggers, func(t Trigger) bool { return t.Source == naming.Log && t.Component == r.Log }); {
		case r.Consumer != name:
		case r.Topic:
			behind = append(behind, r.Log)
		case i >= 0:
			f.Triggers[i].Consumers = append(f.Triggers[i].Consumers, name)
		default:
			f.Triggers = append(f.Triggers, Trigger{Source: naming.Log, Component: r.Log, Consumers: []string{name}})
		}
	}
	if len(behind) > 0 {
		f.Triggers = append(f.Triggers, Trigger{Source: naming.Collector, Component: name, Consumers: []string{name}, Logs: behind})
	}
}

// The variables of a function's environment. There are no others: what a function
// has to know beside them is a name, which it computes.
const (
	EnvStack    = "REVENTLESS_STACK"    // the stack
	EnvAccount  = "REVENTLESS_ACCOUNT"  // the account's id
	EnvFunction = "REVENTLESS_FUNCTION" // "role", or "role/subject"
)

// String is the value of [EnvFunction].
func (f Function) String() string {
	if f.Subject == "" {
		return string(f.Role)
	}
	return string(f.Role) + "/" + f.Subject
}

// Parse returns the function of a value of [EnvFunction].
func Parse(app topology.App, value string) (Function, error) {
	role, subject, _ := strings.Cut(value, "/")
	return Find(app, Role(role), subject)
}
