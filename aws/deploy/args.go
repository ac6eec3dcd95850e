package deploy

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/aws/internal/wiring"
)

// Strategy says how components share functions.
type Strategy uint8

// The strategies.
const (
	// Shared has one function for each role and plugin: fewer cold starts.
	Shared Strategy = iota
	// PerComponent has one function for each role and component: settings and rights
	// are those of one component.
	PerComponent
)

func (s Strategy) wiring() wiring.Strategy {
	if s == PerComponent {
		return wiring.PerComponent
	}
	return wiring.Shared
}

// Switch is on, off, or what a more general setting says.
type Switch int8

// The positions of a switch.
const (
	Inherit Switch = iota
	On
	Off
)

// AppArgs configure [NewApp].
type AppArgs struct {
	// Code is the path of the zip with the program of all functions, relative to the
	// Pulumi project. It has the program as "bootstrap" at its root.
	Code string
	// Strategy says how components share functions; the zero value is [Shared].
	Strategy Strategy
	// Defaults are the settings of all that has none of its own.
	Defaults Settings
	// Overrides are the settings of some, by the name of a plugin ("Catalog"), of a
	// component ("Catalog.Product") or of a function ("projections/Catalog"). The
	// function's win over the component's, those over the plugin's, those over
	// Defaults. What belongs to a function cannot be set by a component that shares
	// it: NewApp names the function.
	Overrides map[string]Settings
	// Alarms say who is told.
	Alarms Alarms
	// Stateful is the path of a file with the components that hold data, relative to
	// the Pulumi project; it belongs into the repository. NewApp refuses an App that
	// lacks one of them, as after a renaming, before Pulumi plans to delete its tables,
	// and adds new ones to the file when it deploys. It looks at it in stacks that
	// protect data. Empty is no such file.
	Stateful string
	// Retired are components of that file which the App has no longer, on purpose.
	Retired []string
	// Tags are put on all that takes tags.
	Tags map[string]string
}

// Settings are those of functions, of what calls them, and of data. A zero field is
// what a more general setting says, and in the end the default.
type Settings struct {
	// MemoryMB is a function's memory, 128 to 10240; 512 by default. Processor time
	// grows with it.
	MemoryMB int
	// Timeout is how long a function may take, in whole seconds up to 15 minutes; 30
	// seconds by default. The queues that it reads hide messages for six times that.
	Timeout time.Duration
	// ReservedConcurrency keeps so many instances for a function and allows no more;
	// there is no such bound by default. A function that reads queues needs
	// MaxConcurrency, too: what it has no instance for would count as an attempt.
	ReservedConcurrency int
	// LogLevel is the least level that is kept: "TRACE", "DEBUG", "INFO", "WARN",
	// "ERROR" or "FATAL"; "INFO" by default. The numbers that functions write for
	// CloudWatch are lines of the level INFO: above it, there are none.
	LogLevel string
	// RetentionDays is how long a function's logs are kept, as one of the periods that
	// CloudWatch knows; 30 by default, negative is for ever.
	RetentionDays int
	// Tracing has X-Ray sample a function's invocations; off by default.
	Tracing Switch

	// QueueBatch is how many messages of a queue a function is handed at most, 1 to
	// 10; 10 by default.
	QueueBatch int
	// StreamBatch is how many records of a stream a function is handed at most, 1 to
	// 10000; 100 by default.
	StreamBatch int
	// MaxConcurrency is how many instances one queue occupies at most, 2 to 1000;
	// there is no such bound by default.
	MaxConcurrency int

	// Alarms has alarms; on by default.
	Alarms Switch
	// Protect keeps data that cannot be made from other data from being deleted; on by
	// default. Off is for stacks that are cleared: their buckets are emptied with them.
	Protect Switch
}

// Alarms say who is told when something is wrong, and when it is.
type Alarms struct {
	// Topic is the ARN of an SNS topic that is told of every alarm, and of its end.
	// Without it the alarms are to be seen in CloudWatch only.
	Topic pulumi.StringPtrInput
	// DeadLetterAge is how old the oldest dead letter of a queue may become; 7 days by
	// default. Queues keep them for 14.
	DeadLetterAge time.Duration
	// Lag is how far a function may be behind what it reads: the age of the oldest
	// record of a stream, or message of a queue; 5 minutes by default, an hour at
	// most. Queues give messages up after little more than that.
	Lag time.Duration
}

// Defaults of settings.
const (
	defaultMemoryMB      = 512
	defaultTimeout       = 30 * time.Second
	defaultLogLevel      = "INFO"
	defaultRetentionDays = 30
	defaultQueueBatch    = 10
	defaultStreamBatch   = 100
	defaultLetterAge     = 7 * 24 * time.Hour
	defaultLag           = 5 * time.Minute
)

// over returns s with the fields that are set in t.
func (s Settings) over(t Settings) Settings {
	pick(&s.MemoryMB, t.MemoryMB)
	pick(&s.Timeout, t.Timeout)
	pick(&s.ReservedConcurrency, t.ReservedConcurrency)
	pick(&s.LogLevel, t.LogLevel)
	pick(&s.RetentionDays, t.RetentionDays)
	pick(&s.Tracing, t.Tracing)
	return s.overCalls(t).overData(t)
}

// overCalls is over for what belongs to a mapping.
func (s Settings) overCalls(t Settings) Settings {
	pick(&s.QueueBatch, t.QueueBatch)
	pick(&s.StreamBatch, t.StreamBatch)
	pick(&s.MaxConcurrency, t.MaxConcurrency)
	pick(&s.Alarms, t.Alarms)
	return s
}

// overData is over for what belongs to data.
func (s Settings) overData(t Settings) Settings {
	pick(&s.Alarms, t.Alarms)
	pick(&s.Protect, t.Protect)
	return s
}

func pick[T comparable](to *T, from T) {
	var zero T
	if from != zero {
		*to = from
	}
}

// builtIn are the settings that hold where nothing is set.
var builtIn = Settings{
	MemoryMB: defaultMemoryMB, Timeout: defaultTimeout, LogLevel: defaultLogLevel, RetentionDays: defaultRetentionDays, Tracing: Off,
	QueueBatch: defaultQueueBatch, StreamBatch: defaultStreamBatch, Alarms: On, Protect: On,
}

// ofFunction returns the settings of a function.
func (a *AppArgs) ofFunction(f wiring.Function) Settings {
	s := builtIn.over(a.Defaults)
	if plugin, component, two := strings.Cut(f.Subject, "."); plugin != "" {
		s = s.over(a.Overrides[plugin])
		if two {
			s = s.over(a.Overrides[plugin+"."+component])
		}
	}
	return s.over(a.Overrides[f.String()])
}

// ofTrigger returns the settings of what calls a function.
func (a *AppArgs) ofTrigger(f wiring.Function, t wiring.Trigger) Settings {
	s := a.ofFunction(f)
	if owner := owner(t); owner != "" {
		s = s.overCalls(a.Overrides[owner]).overCalls(a.Overrides[f.String()])
	}
	return s
}

// owner is the component whose settings a trigger has: none where it serves several.
func owner(t wiring.Trigger) string {
	switch {
	case t.Task != "":
		return t.Task
	case t.Source == naming.Log && len(t.Consumers) == 1:
		return t.Consumers[0]
	case t.Source == naming.Log:
		return ""
	}
	return t.Component
}

// ofData returns the settings of a component's data; of that of the whole
// application where it is empty.
func (a *AppArgs) ofData(component string) Settings {
	plugin, _, _ := strings.Cut(component, ".")
	return builtIn.over(a.Defaults).overData(a.Overrides[plugin]).overData(a.Overrides[component])
}

// tags returns the tags of a resource of a component, or of the application.
func (a *AppArgs) tags(app, stack, component string) pulumi.StringMap {
	tags := pulumi.StringMap{"reventless:app": pulumi.String(app), "reventless:stack": pulumi.String(stack)}
	if component != "" {
		tags["reventless:component"] = pulumi.String(component)
	}
	for _, k := range slices.Sorted(maps.Keys(a.Tags)) {
		tags[k] = pulumi.String(a.Tags[k])
	}
	return tags
}

func (a *Alarms) letterAge() time.Duration {
	if a.DeadLetterAge > 0 {
		return a.DeadLetterAge
	}
	return defaultLetterAge
}

func (a *Alarms) lag() time.Duration {
	if a.Lag > 0 {
		return a.Lag
	}
	return defaultLag
}
