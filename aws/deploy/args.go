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

// Strategy determines how components share functions.
type Strategy uint8

// The strategies.
const (
	// Shared creates one function for each role and plugin. It causes fewer cold
	// starts.
	Shared Strategy = iota
	// PerComponent creates one function for each role and component. Settings and
	// permissions then apply to one component.
	PerComponent
)

func (s Strategy) wiring() wiring.Strategy {
	if s == PerComponent {
		return wiring.PerComponent
	}
	return wiring.Shared
}

// Switch is a setting that is on, off, or inherited from a more general setting.
type Switch int8

// The values of a switch.
const (
	Inherit Switch = iota
	On
	Off
)

// AppArgs configure [NewApp].
type AppArgs struct {
	// Code is the path of the zip with the program of all functions, relative to the
	// Pulumi project. The program is the file "bootstrap" at its root.
	Code string
	// Strategy determines how components share functions; the default is [Shared].
	Strategy Strategy
	// Defaults are the settings without an override.
	Defaults Settings
	// Overrides are the settings of a plugin ("Catalog"), a component
	// ("Catalog.Product") or a function ("projections/Catalog"), by name. A function
	// overrides a component, which overrides a plugin, which overrides Defaults. A
	// component that shares a function cannot override the function's settings: the
	// error of NewApp names the function to use instead.
	Overrides map[string]Settings
	// Alarms configure the alarms.
	Alarms Alarms
	// Stateful is the path of a file that lists the components with data, relative to
	// the Pulumi project; commit it to the repository. If the App lacks a listed
	// component, for example because it was renamed, NewApp fails before Pulumi plans
	// to delete its tables. A deployment adds new components to the file. Stacks
	// without [Settings.Protect] ignore the file. Empty means that there is no file.
	Stateful string
	// Retired are components in that file that were removed from the App on purpose.
	Retired []string
	// Tags are added to all resources that support tags.
	Tags map[string]string
}

// Settings are the settings of functions, of their triggers, and of data. A zero field
// inherits from the more general setting, and finally from the default.
type Settings struct {
	// MemoryMB is the memory of a function, 128 to 10240; the default is 512. The share
	// of processor time grows with it.
	MemoryMB int
	// Timeout bounds an invocation of a function, in whole seconds up to 15 minutes;
	// the default is 30 seconds. The queues that the function reads have a visibility
	// timeout of six times that.
	Timeout time.Duration
	// ReservedConcurrency reserves instances for a function and is the maximum number
	// of its instances; by default there is no bound. A function that reads queues
	// then needs MaxConcurrency as well: a message for which there is no instance
	// would count as an attempt.
	ReservedConcurrency int
	// LogLevel is the minimum level of log lines: "TRACE", "DEBUG", "INFO", "WARN",
	// "ERROR" or "FATAL"; the default is "INFO". Functions write their metrics as log
	// lines of level INFO: with a higher level there are no metrics.
	LogLevel string
	// RetentionDays is how long the logs of a function are kept, as one of the periods
	// that CloudWatch supports; the default is 30, and a negative number means for
	// ever.
	RetentionDays int
	// Tracing makes X-Ray sample the invocations of a function; off by default.
	Tracing Switch

	// QueueBatch is the maximum number of messages per invocation from a queue, 1 to
	// 10; the default is 10.
	QueueBatch int
	// StreamBatch is the maximum number of records per invocation from a stream, 1 to
	// 10000; the default is 100.
	StreamBatch int
	// MaxConcurrency is the maximum number of instances that one queue invokes at a
	// time, 2 to 1000; by default there is no bound.
	MaxConcurrency int

	// Alarms creates alarms; on by default.
	Alarms Switch
	// Protect protects data that cannot be rebuilt from other data against deletion; on
	// by default. Off is for temporary stacks: destroying one also deletes the objects
	// in its buckets.
	Protect Switch
}

// Alarms configure the alarms and who is notified.
type Alarms struct {
	// Topic is the ARN of an SNS topic to which the start and the end of every alarm is
	// published. Without it alarms are visible only in CloudWatch.
	Topic pulumi.StringPtrInput
	// DeadLetterAge is the age of the oldest dead letter of a queue that triggers an
	// alarm; the default is 7 days. Queues keep dead letters for 14 days.
	DeadLetterAge time.Duration
	// Lag is the age of the oldest record of a stream or message of a queue that
	// triggers an alarm; the default is 5 minutes and the maximum an hour. Queues move
	// messages to their dead letters after 75 minutes if the function cannot run.
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
	defaultDeadLetterAge = 7 * 24 * time.Hour
	defaultLag           = 5 * time.Minute
)

// with returns s with the fields that are set in t.
func (s Settings) with(t Settings) Settings {
	pick(&s.MemoryMB, t.MemoryMB)
	pick(&s.Timeout, t.Timeout)
	pick(&s.ReservedConcurrency, t.ReservedConcurrency)
	pick(&s.LogLevel, t.LogLevel)
	pick(&s.RetentionDays, t.RetentionDays)
	pick(&s.Tracing, t.Tracing)
	return s.withTrigger(t).withData(t)
}

// withTrigger returns s with the settings of triggers that are set in t.
func (s Settings) withTrigger(t Settings) Settings {
	pick(&s.QueueBatch, t.QueueBatch)
	pick(&s.StreamBatch, t.StreamBatch)
	pick(&s.MaxConcurrency, t.MaxConcurrency)
	pick(&s.Alarms, t.Alarms)
	return s
}

// withData returns s with the settings of data that are set in t.
func (s Settings) withData(t Settings) Settings {
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

// builtIn are the default settings.
var builtIn = Settings{
	MemoryMB: defaultMemoryMB, Timeout: defaultTimeout, LogLevel: defaultLogLevel, RetentionDays: defaultRetentionDays, Tracing: Off,
	QueueBatch: defaultQueueBatch, StreamBatch: defaultStreamBatch, Alarms: On, Protect: On,
}

// ofFunction returns the settings of a function.
func (a *AppArgs) ofFunction(f wiring.Function) Settings {
	s := builtIn.with(a.Defaults)
	if plugin, _, two := strings.Cut(f.Subject, "."); plugin != "" {
		s = s.with(a.Overrides[plugin])
		if two {
			s = s.with(a.Overrides[f.Subject])
		}
	}
	return s.with(a.Overrides[f.String()])
}

// ofTrigger returns the settings of a trigger of a function.
func (a *AppArgs) ofTrigger(f wiring.Function, t wiring.Trigger) Settings {
	s := a.ofFunction(f)
	if owner := owner(t); owner != "" {
		s = s.withTrigger(a.Overrides[owner]).withTrigger(a.Overrides[f.String()])
	}
	return s
}

// owner returns the component whose settings apply to a trigger. It is empty if the
// trigger serves several components.
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

// ofData returns the settings of a component's data, or of the data of the whole
// application if component is empty.
func (a *AppArgs) ofData(component string) Settings {
	plugin, _, _ := strings.Cut(component, ".")
	return builtIn.with(a.Defaults).withData(a.Overrides[plugin]).withData(a.Overrides[component])
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

func (a *Alarms) deadLetterAge() time.Duration {
	if a.DeadLetterAge > 0 {
		return a.DeadLetterAge
	}
	return defaultDeadLetterAge
}

func (a *Alarms) lag() time.Duration {
	if a.Lag > 0 {
		return a.Lag
	}
	return defaultLag
}
