package deploy

import (
	"archive/zip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/aws/internal/schema"
	"github.com/reventless-go/reventless/aws/internal/wiring"
	"github.com/reventless-go/reventless/schedule"
	"github.com/reventless-go/reventless/topology"
)

// Limits of the services, except those that AWS raises on request.
const (
	maxZipBytes      = 50 << 20 // https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
	maxUnzippedBytes = 250 << 20
	minMemoryMB      = 128
	maxMemoryMB      = 10240
	maxTimeout       = 15 * time.Minute
	maxQueueBatch    = 10 // of FIFO queues, and of other queues without a batching window
	maxStreamBatch   = 10000
	minConcurrency   = 2 // of a mapping
	maxConcurrency   = 1000
	maxIndexes       = 20   // https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html
	maxSubscriptions = 100  // of a FIFO topic
	maxQueuePolicy   = 8192 // https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-policies.html
	maxTag           = 128  // characters of a key; a value may have twice that
)

var (
	logLevels = []string{"TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"}
	// https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
	retentions = []int{1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653}
)

// check returns the names of the stack. Its error lists all problems with the arguments
// of NewApp, and all needs of the application that AWS does not support.
func check(app topology.App, stack string, args *AppArgs, functions []wiring.Function) (naming.Stack, error) {
	names, err := naming.New(app.Name, stack)
	c := checker{app: app, args: args, functions: functions}
	c.add(err)
	c.code()
	c.overrides()
	for _, f := range functions {
		c.function(f)
	}
	if err == nil {
		c.policies(names)
	}
	c.components()
	c.alarms()
	c.tags()
	return names, errors.Join(c.found...)
}

type checker struct {
	app       topology.App
	args      *AppArgs
	functions []wiring.Function
	found     []error
}

func (c *checker) add(err error) {
	if err != nil {
		c.found = append(c.found, err)
	}
}

func (c *checker) addf(format string, args ...any) { c.add(fmt.Errorf(format, args...)) }

// code checks the zip. Lambda would report these problems only when a function starts.
func (c *checker) code() {
	const fix = "make package builds it"
	path := c.args.Code
	if path == "" {
		c.addf("AppArgs.Code is empty: set it to the path of the zip with the program; %s", fix)
		return
	}
	z, err := zip.OpenReader(path)
	if err != nil {
		c.addf("the code %s: %w; %s", path, err, fix)
		return
	}
	defer func() { _ = z.Close() }() // opened for reading
	if info, err := os.Stat(path); err == nil && info.Size() > maxZipBytes {
		c.addf("the code %s has %d MB, the limit of Lambda is %d MB: build it with -ldflags '-s -w' and check which packages it links", path, info.Size()>>20, maxZipBytes>>20)
	}
	var total uint64
	var program *zip.File
	for _, f := range z.File {
		total += f.UncompressedSize64
		if f.Name == "bootstrap" {
			program = f
		}
	}
	switch {
	case program == nil:
		c.addf("the code %s has no file bootstrap at its root; %s", path, fix)
		return
	case program.Mode()&0o111 == 0:
		c.addf("the code %s: bootstrap is not executable, its mode is %v; %s", path, program.Mode(), fix)
	}
	if total > maxUnzippedBytes {
		c.addf("the code %s has %d MB unzipped, the limit of Lambda is %d MB", path, total>>20, maxUnzippedBytes>>20)
	}
	c.add(arm64(path, program))
}

// arm64 checks the header of a program.
func arm64(path string, program *zip.File) error {
	r, err := program.Open()
	if err != nil {
		return fmt.Errorf("the code %s: bootstrap: %w", path, err)
	}
	defer func() { _ = r.Close() }() // opened for reading
	const machine, aarch64 = 18, 183
	head := make([]byte, machine+2)
	if _, err := io.ReadFull(r, head); err != nil || string(head[:4]) != "\x7fELF" || binary.LittleEndian.Uint16(head[machine:]) != aarch64 {
		return fmt.Errorf("the code %s: bootstrap is not a program for Linux on arm64: build it with GOOS=linux GOARCH=arm64", path)
	}
	return nil
}

// overrides checks that each override applies to something, and that no component
// overrides settings that several components share.
func (c *checker) overrides() {
	c.strategy()
	for _, name := range slices.Sorted(maps.Keys(c.args.Overrides)) {
		s := c.args.Overrides[name]
		switch component, isComponent := c.component(name); {
		case c.isFunction(name):
			if s.Protect != Inherit {
				c.addf("AppArgs.Overrides[%q].Protect: a function has no data; set it for a component or a plugin", name)
			}
		case isComponent:
			c.componentOverride(component, s)
		case c.isPlugin(name):
		default:
			c.addf("AppArgs.Overrides[%q]: the application has no plugin, component or function with this name; its functions are %s", name, c.functionNames())
		}
	}
}

func (c *checker) strategy() {
	if c.args.Strategy != Shared && c.args.Strategy != PerComponent {
		c.addf("AppArgs.Strategy is %d, want Shared or PerComponent", c.args.Strategy)
	}
}

func (c *checker) componentOverride(component topology.Component, s Settings) {
	name := component.Name
	own, triggers := "", false // its own function; whether it has its own trigger
	var shared []string
	for _, f := range c.functions {
		for _, t := range f.Triggers {
			triggers = triggers || owner(t) == name
		}
		if f.Subject == name {
			own = f.String()
		} else if slices.Contains(serves(f), name) {
			shared = append(shared, f.String())
		}
	}
	reason := "the component has no function"
	if len(shared) > 0 {
		reason = fmt.Sprintf("the component shares one: set it for %q, or use PerComponent", strings.Join(shared, `" or "`))
	}
	if ofFunction := (Settings{
		MemoryMB: s.MemoryMB, Timeout: s.Timeout, ReservedConcurrency: s.ReservedConcurrency,
		LogLevel: s.LogLevel, RetentionDays: s.RetentionDays, Tracing: s.Tracing,
	}); ofFunction != (Settings{}) && own == "" {
		c.addf("AppArgs.Overrides[%q]: memory, timeout, concurrency, logs and tracing are settings of a function, and %s", name, reason)
	}
	if (s.QueueBatch != 0 || s.StreamBatch != 0 || s.MaxConcurrency != 0) && own == "" && !triggers {
		c.addf("AppArgs.Overrides[%q]: batches and concurrency are settings of a queue or stream that only this component uses to trigger a function, and %s", name, reason)
	}
	if s.Protect != Inherit && !stateful(component) {
		c.addf("AppArgs.Overrides[%q].Protect: a %s has no data to protect, because it can be rebuilt from other data", name, component.Kind)
	}
}

// function checks the effective settings of a function.
func (c *checker) function(f wiring.Function) {
	s := c.args.ofFunction(f)
	if s.MemoryMB < minMemoryMB || s.MemoryMB > maxMemoryMB {
		c.addf("function %s: MemoryMB is %d, want %d to %d", f, s.MemoryMB, minMemoryMB, maxMemoryMB)
	}
	if s.Timeout < time.Second || s.Timeout > maxTimeout || s.Timeout%time.Second != 0 {
		c.addf("function %s: Timeout is %v, want whole seconds up to %v", f, s.Timeout, maxTimeout)
	}
	if !slices.Contains(logLevels, s.LogLevel) {
		c.addf("function %s: LogLevel is %q, want one of %s", f, s.LogLevel, strings.Join(logLevels, ", "))
	}
	if s.RetentionDays >= 0 && !slices.Contains(retentions, s.RetentionDays) {
		c.addf("function %s: RetentionDays is %d; CloudWatch supports %s, and a negative number means for ever", f, s.RetentionDays, list(retentions))
	}
	if s.ReservedConcurrency < 0 {
		c.addf("function %s: ReservedConcurrency is %d, want a positive number, or 0 for no bound", f, s.ReservedConcurrency)
	}
	bound := 0
	for _, t := range f.Triggers {
		bound += c.trigger(f, t, s.ReservedConcurrency > 0)
	}
	if s.ReservedConcurrency > 0 && bound > s.ReservedConcurrency {
		c.addf("function %s: its queues may occupy %d instances (MaxConcurrency), but ReservedConcurrency allows %d: a message for which there is no instance counts as an attempt; raise ReservedConcurrency or lower MaxConcurrency", f, bound, s.ReservedConcurrency)
	}
}

// trigger checks the settings of a trigger and returns how many instances it may occupy
// if it is a queue.
func (c *checker) trigger(f wiring.Function, t wiring.Trigger, reserved bool) int {
	s := c.args.ofTrigger(f, t)
	label := fmt.Sprintf("function %s, called by the %s of %s", f, t.Source, t.Component)
	if t.Component == "" {
		label = fmt.Sprintf("function %s, called by its queue", f)
	}
	if t.Stream() {
		if s.StreamBatch < 1 || s.StreamBatch > maxStreamBatch {
			c.addf("%s: StreamBatch is %d, want 1 to %d", label, s.StreamBatch, maxStreamBatch)
		}
		return 0
	}
	if s.QueueBatch < 1 || s.QueueBatch > maxQueueBatch {
		c.addf("%s: QueueBatch is %d, want 1 to %d", label, s.QueueBatch, maxQueueBatch)
	}
	if s.MaxConcurrency != 0 && (s.MaxConcurrency < minConcurrency || s.MaxConcurrency > maxConcurrency) {
		c.addf("%s: MaxConcurrency is %d, want %d to %d", label, s.MaxConcurrency, minConcurrency, maxConcurrency)
	}
	if reserved && s.MaxConcurrency == 0 {
		c.addf("%s: ReservedConcurrency without MaxConcurrency: a message for which there is no instance counts as an attempt and becomes a dead letter in the end; set MaxConcurrency as well", label)
	}
	return s.MaxConcurrency
}

// policies checks that the permissions of each function fit into a role, and that the
// senders of each queue fit into its policy. It assumes the longest names of partition
// and region, because those of the stack are not known yet.
func (c *checker) policies(names naming.Stack) {
	p := place{"aws-us-gov", "ap-southeast-1", "000000000000", names}
	rules := p.ruleARNs(timersOf(c.app))
	if n := len(sendPolicy("events.amazonaws.com", p.queueARN(naming.TimersDLQ, ""), rules)); n > maxQueuePolicy {
		c.addf("%s: the policy of the queue for its %d heartbeats and schedules in UTC has %d bytes, the limit is %d: give schedules a zone such as Europe/London, so that they are not rules", c.app.Name, len(rules), n, maxQueuePolicy)
	}
	logs := map[string][]string{}
	for _, r := range c.app.Routes(wiring.MaxFeedReaders) {
		if r.Topic {
			logs[r.Consumer] = append(logs[r.Consumer], r.Log)
		}
	}
	for _, consumer := range slices.Sorted(maps.Keys(logs)) {
		if n := len(sendPolicy("sns.amazonaws.com", p.queueARN(naming.CollectorDLQ, consumer), p.topicARNs(logs[consumer]))); n > maxQueuePolicy {
			c.addf("%s: it reads %d logs through topics, so the policy of its queue has %d bytes, the limit is %d: split the component", consumer, len(logs[consumer]), n, maxQueuePolicy)
		}
	}
	g := newGranter(p, c.app)
	for _, f := range c.functions {
		if _, managed := documents(g.function(f, true)); len(managed) > maxManaged {
			fix := "split the application"
			if f.Subject != "" && c.args.Strategy == Shared {
				fix = "use PerComponent, or split the plugin"
			}
			c.addf("function %s: its permissions need %d policies, the limit of a role is %d: %s", f, len(managed), maxManaged, fix)
		}
	}
}

// components checks for declarations that AWS does not support.
func (c *checker) components() {
	subscribers := map[string]int{}
	for _, r := range c.app.Routes(wiring.MaxFeedReaders) {
		if r.Topic {
			subscribers[r.Log]++
		}
	}
	for _, p := range c.app.Plugins {
		if p.HeartbeatSeconds%60 != 0 {
			c.addf("plugin %s: a heartbeat every %d seconds: EventBridge supports only whole minutes; change plugin.Spec.Heartbeat", p.Name, p.HeartbeatSeconds)
		}
		for _, x := range p.Components {
			if x.Expression != "" {
				if _, err := schedule.Parse(x.Expression, x.Zone); err != nil {
					c.addf("%s: %w", x.Name, err)
				}
			}
			for _, t := range schema.TablesOf(x) {
				if n := len(t.Indexes); n > maxIndexes {
					c.addf("%s: it has %d indexes, the limit of a table is %d: split the read model", x.Name, n, maxIndexes)
				}
			}
			if n := subscribers[x.Name]; n > maxSubscriptions {
				c.addf("%s: %d components read its log, but a topic has at most %d subscriptions: combine some of the components", x.Name, n, maxSubscriptions)
			}
		}
	}
}

func (c *checker) alarms() {
	const resolution = time.Minute
	if a := c.args.Alarms.DeadLetterAge; a != 0 && (a < resolution || a >= maxSeconds*time.Second) {
		c.addf("AppArgs.Alarms.DeadLetterAge is %v, want at least a minute and less than the 14 days after which queues delete dead letters", a)
	}
	if a := c.args.Alarms.Lag; a != 0 && (a < resolution || a > time.Hour) {
		c.addf("AppArgs.Alarms.Lag is %v, want a minute to an hour: after that queues and streams begin to discard messages and records", a)
	}
}

func (c *checker) tags() {
	for _, k := range slices.Sorted(maps.Keys(c.args.Tags)) {
		switch v := c.args.Tags[k]; {
		case k == "" || len(k) > maxTag || len(v) > 2*maxTag:
			c.addf("AppArgs.Tags[%q]: a key has 1 to %d characters and a value up to %d", k, maxTag, 2*maxTag)
		case strings.HasPrefix(strings.ToLower(k), "aws:") || strings.HasPrefix(k, "reventless:"):
			c.addf("AppArgs.Tags[%q]: keys that begin with aws: or reventless: are reserved", k)
		}
	}
}

func (c *checker) component(name string) (topology.Component, bool) {
	for _, p := range c.app.Plugins {
		for _, x := range p.Components {
			if x.Name == name {
				return x, true
			}
		}
	}
	return topology.Component{}, false
}

func (c *checker) isPlugin(name string) bool {
	return slices.ContainsFunc(c.app.Plugins, func(p topology.Plugin) bool { return p.Name == name })
}

func (c *checker) isFunction(name string) bool {
	return slices.ContainsFunc(c.functions, func(f wiring.Function) bool { return f.String() == name })
}

func (c *checker) functionNames() string {
	var names []string
	for _, f := range c.functions {
		names = append(names, f.String())
	}
	return strings.Join(names, ", ")
}

func list(numbers []int) string {
	return strings.Trim(strings.Join(strings.Fields(fmt.Sprint(numbers)), ", "), "[]")
}
