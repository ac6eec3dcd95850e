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

// What the services take. Those that AWS raises on request are not here.
const (
	maxZipBytes      = 50 << 20 // https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
	maxUnzippedBytes = 250 << 20
	minMemoryMB      = 128
	maxMemoryMB      = 10240
	maxTimeout       = 15 * time.Minute
	maxQueueBatch    = 10 // of FIFO queues, and of others that do not wait for more
	maxStreamBatch   = 10000
	minConcurrency   = 2 // of a mapping
	maxConcurrency   = 1000
	maxIndexes       = 20   // https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html
	maxSubscriptions = 100  // of a FIFO topic
	maxQueuePolicy   = 8192 // https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-policies.html
	maxTag           = 128  // characters of a key; a value has twice that
)

var (
	logLevels = []string{"TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"}
	// https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
	retentions = []int{1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653}
)

// check returns the names of the stack, or all that is wrong with what NewApp was
// given, and with what the application needs that AWS does not have.
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

// code looks into the zip: Lambda would tell no sooner than when a function starts.
func (c *checker) code() {
	const mend = "make package builds it"
	path := c.args.Code
	if path == "" {
		c.addf("AppArgs.Code is empty: it is the path of the zip with the program; %s", mend)
		return
	}
	z, err := zip.OpenReader(path)
	if err != nil {
		c.addf("the code %s: %w; %s", path, err, mend)
		return
	}
	defer func() { _ = z.Close() }() // it was read
	if info, err := os.Stat(path); err == nil && info.Size() > maxZipBytes {
		c.addf("the code %s has %d MB, and Lambda takes %d: build it with -ldflags '-s -w', and look at what the program links", path, info.Size()>>20, maxZipBytes>>20)
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
		c.addf("the code %s has no file bootstrap at its root; %s", path, mend)
		return
	case program.Mode()&0o111 == 0:
		c.addf("the code %s: bootstrap may not be executed, its mode is %v; %s", path, program.Mode(), mend)
	}
	if total > maxUnzippedBytes {
		c.addf("the code %s has %d MB when unzipped, and Lambda takes %d", path, total>>20, maxUnzippedBytes>>20)
	}
	c.add(arm64(path, program))
}

// arm64 looks at the header of a program.
func arm64(path string, program *zip.File) error {
	r, err := program.Open()
	if err != nil {
		return fmt.Errorf("the code %s: bootstrap: %w", path, err)
	}
	defer func() { _ = r.Close() }() // it was read
	const machine, aarch64 = 18, 183
	head := make([]byte, machine+2)
	if _, err := io.ReadFull(r, head); err != nil || string(head[:4]) != "\x7fELF" || binary.LittleEndian.Uint16(head[machine:]) != aarch64 {
		return fmt.Errorf("the code %s: bootstrap is no program for Linux on arm64: build it with GOOS=linux GOARCH=arm64", path)
	}
	return nil
}

// overrides finds those that are for nothing, and those of components for what
// several components share.
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
			c.addf("AppArgs.Overrides[%q]: the application has no plugin, component or function of that name; its functions are %s", name, c.functionNames())
		}
	}
}

func (c *checker) strategy() {
	if c.args.Strategy != Shared && c.args.Strategy != PerComponent {
		c.addf("AppArgs.Strategy: there is no strategy %d; it is Shared or PerComponent", c.args.Strategy)
	}
}

func (c *checker) componentOverride(component topology.Component, s Settings) {
	name := component.Name
	own, calls := "", false
	var shared []string
	for _, f := range c.functions {
		for _, t := range f.Triggers {
			calls = calls || owner(t) == name
		}
		if f.Subject == name {
			own = f.String()
		} else if slices.Contains(serves(f), name) {
			shared = append(shared, f.String())
		}
	}
	mend := "it has no function"
	if len(shared) > 0 {
		mend = fmt.Sprintf("it shares a function: set it for %q, or use PerComponent", strings.Join(shared, `" or "`))
	}
	if ofFunction := (Settings{
		MemoryMB: s.MemoryMB, Timeout: s.Timeout, ReservedConcurrency: s.ReservedConcurrency,
		LogLevel: s.LogLevel, RetentionDays: s.RetentionDays, Tracing: s.Tracing,
	}); ofFunction != (Settings{}) && own == "" {
		c.addf("AppArgs.Overrides[%q]: memory, timeout, concurrency, logs and tracing are a function's, and %s", name, mend)
	}
	if (s.QueueBatch != 0 || s.StreamBatch != 0 || s.MaxConcurrency != 0) && own == "" && !calls {
		c.addf("AppArgs.Overrides[%q]: batches and concurrency are those of a queue or stream that calls a function for it alone, and %s", name, mend)
	}
	if s.Protect != Inherit && !stateful(component) {
		c.addf("AppArgs.Overrides[%q].Protect: a %s has no data that cannot be made from other data", name, component.Kind)
	}
}

// function finds settings of a function that AWS does not take, wherever they come
// from.
func (c *checker) function(f wiring.Function) {
	s := c.args.ofFunction(f)
	if s.MemoryMB < minMemoryMB || s.MemoryMB > maxMemoryMB {
		c.addf("function %s: MemoryMB is %d; it is %d to %d", f, s.MemoryMB, minMemoryMB, maxMemoryMB)
	}
	if s.Timeout < time.Second || s.Timeout > maxTimeout || s.Timeout%time.Second != 0 {
		c.addf("function %s: Timeout is %v; it is in whole seconds, up to %v", f, s.Timeout, maxTimeout)
	}
	if !slices.Contains(logLevels, s.LogLevel) {
		c.addf("function %s: LogLevel is %q; it is one of %s", f, s.LogLevel, strings.Join(logLevels, ", "))
	}
	if s.RetentionDays >= 0 && !slices.Contains(retentions, s.RetentionDays) {
		c.addf("function %s: RetentionDays is %d; CloudWatch knows %s, and a negative number is for ever", f, s.RetentionDays, list(retentions))
	}
	if s.ReservedConcurrency < 0 {
		c.addf("function %s: ReservedConcurrency is %d; it is positive, or 0 for no bound", f, s.ReservedConcurrency)
	}
	bound := 0
	for _, t := range f.Triggers {
		bound += c.trigger(f, t, s.ReservedConcurrency > 0)
	}
	if s.ReservedConcurrency > 0 && bound > s.ReservedConcurrency {
		c.addf("function %s: its queues may occupy %d instances (MaxConcurrency), and ReservedConcurrency allows %d: what finds none counts as an attempt to handle it; raise the one or lower the other", f, bound, s.ReservedConcurrency)
	}
}

// trigger returns how many instances a queue may occupy.
func (c *checker) trigger(f wiring.Function, t wiring.Trigger, reserved bool) int {
	s := c.args.ofTrigger(f, t)
	what := fmt.Sprintf("function %s, called by the %s of %s", f, t.Source, t.Component)
	if t.Component == "" {
		what = fmt.Sprintf("function %s, called by its queue", f)
	}
	if t.Stream() {
		if s.StreamBatch < 1 || s.StreamBatch > maxStreamBatch {
			c.addf("%s: StreamBatch is %d; it is 1 to %d", what, s.StreamBatch, maxStreamBatch)
		}
		return 0
	}
	if s.QueueBatch < 1 || s.QueueBatch > maxQueueBatch {
		c.addf("%s: QueueBatch is %d; it is 1 to %d", what, s.QueueBatch, maxQueueBatch)
	}
	if s.MaxConcurrency != 0 && (s.MaxConcurrency < minConcurrency || s.MaxConcurrency > maxConcurrency) {
		c.addf("%s: MaxConcurrency is %d; it is %d to %d", what, s.MaxConcurrency, minConcurrency, maxConcurrency)
	}
	if reserved && s.MaxConcurrency == 0 {
		c.addf("%s: ReservedConcurrency without MaxConcurrency: what finds no instance counts as an attempt to handle it, and becomes a dead letter; set MaxConcurrency, too", what)
	}
	return s.MaxConcurrency
}

// policies finds functions with more rights than a role can have, and queues to which
// more may send than a policy can name. It is made with the longest partition and
// region: nobody has asked for the stack's yet.
func (c *checker) policies(names naming.Stack) {
	p := place{"aws-us-gov", "ap-southeast-1", "000000000000", names}
	rules := p.ruleARNs(timersOf(c.app))
	if n := len(sendPolicy("events.amazonaws.com", p.queueARN(naming.TimersDLQ, ""), rules)); n > maxQueuePolicy {
		c.addf("%s: the policy of the queue for its %d heartbeats and schedules in UTC has %d bytes, and may have %d: give schedules a zone, as Europe/London, and they are no rules", c.app.Name, len(rules), n, maxQueuePolicy)
	}
	logs := map[string][]string{}
	for _, r := range c.app.Routes(wiring.MaxFeedReaders) {
		if r.Topic {
			logs[r.Consumer] = append(logs[r.Consumer], r.Log)
		}
	}
	for _, consumer := range slices.Sorted(maps.Keys(logs)) {
		if n := len(sendPolicy("sns.amazonaws.com", p.queueARN(naming.CollectorDLQ, consumer), p.topicARNs(logs[consumer]))); n > maxQueuePolicy {
			c.addf("%s: it reads %d logs through topics, the policy of its queue has %d bytes, and may have %d: split it", consumer, len(logs[consumer]), n, maxQueuePolicy)
		}
	}
	g := newGranter(p, c.app)
	for _, f := range c.functions {
		if _, managed := documents(g.function(f, true)); len(managed) > maxManaged {
			mend := "split the application"
			if f.Subject != "" && c.args.Strategy == Shared {
				mend = "use PerComponent, or split the plugin"
			}
			c.addf("function %s: what it may do takes %d policies, and a role has %d: %s", f, len(managed), maxManaged, mend)
		}
	}
}

// components finds what AWS does not have of what the application declares.
func (c *checker) components() {
	subscribers := map[string]int{}
	for _, r := range c.app.Routes(wiring.MaxFeedReaders) {
		if r.Topic {
			subscribers[r.Log]++
		}
	}
	for _, p := range c.app.Plugins {
		if p.HeartbeatSeconds%60 != 0 {
			c.addf("plugin %s: a heartbeat every %d seconds: EventBridge knows whole minutes; change plugin.Spec.Heartbeat", p.Name, p.HeartbeatSeconds)
		}
		for _, x := range p.Components {
			if x.Expression != "" {
				if _, err := schedule.Parse(x.Expression, x.Zone); err != nil {
					c.addf("%s: %w", x.Name, err)
				}
			}
			for _, t := range schema.TablesOf(x) {
				if n := len(t.Indexes); n > maxIndexes {
					c.addf("%s: it has %d indexes, and a table takes %d: split the read model", x.Name, n, maxIndexes)
				}
			}
			if n := subscribers[x.Name]; n > maxSubscriptions {
				c.addf("%s: %d components read its log, and a topic takes %d subscriptions: have one component do the work of several", x.Name, n, maxSubscriptions)
			}
		}
	}
}

func (c *checker) alarms() {
	const resolution = time.Minute
	if a := c.args.Alarms.DeadLetterAge; a != 0 && (a < resolution || a >= letterSeconds*time.Second) {
		c.addf("AppArgs.Alarms.DeadLetterAge is %v; it is between a minute and the 14 days after which dead letters are gone", a)
	}
	if a := c.args.Alarms.Lag; a != 0 && (a < resolution || a > time.Hour) {
		c.addf("AppArgs.Alarms.Lag is %v; it is between a minute and an hour: messages and records are given up some time after that", a)
	}
}

func (c *checker) tags() {
	for _, k := range slices.Sorted(maps.Keys(c.args.Tags)) {
		switch v := c.args.Tags[k]; {
		case k == "" || len(k) > maxTag || len(v) > 2*maxTag:
			c.addf("AppArgs.Tags[%q]: a key has 1 to %d characters and a value up to %d", k, maxTag, 2*maxTag)
		case strings.HasPrefix(strings.ToLower(k), "aws:") || strings.HasPrefix(k, "reventless:"):
			c.addf("AppArgs.Tags[%q]: keys that begin with aws: or reventless: are taken", k)
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
