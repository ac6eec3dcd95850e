package deploy

import (
	"errors"
	"fmt"

	"github.com/pulumi/pulumi-aws/sdk/v7/go/aws"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/aws/internal/schema"
	"github.com/reventless-go/reventless/aws/internal/wiring"
	"github.com/reventless-go/reventless/topology"
)

// App is an application on AWS.
type App struct {
	pulumi.ResourceState

	// API is the name of the function that is called with operations of the API,
	// commands, and requests about dead letters.
	API pulumi.StringOutput `pulumi:"api"`
	// DeadLetters is the name of the table of what could not be handled.
	DeadLetters pulumi.StringOutput `pulumi:"deadLetters"`
	// Failures is the name of the bucket of the stream records that a function gave up
	// without parking them.
	Failures pulumi.StringOutput `pulumi:"failures"`
}

// NewApp makes all resources of an application in the stack. Account and region are
// those of the AWS provider, which may be one of opts.
//
// The error names all that is wrong with args and with what the application needs
// that AWS does not have, each with its mend; then nothing was made.
func NewApp(ctx *pulumi.Context, app *reventless.App, args *AppArgs, opts ...pulumi.ResourceOption) (*App, error) {
	return newApp(ctx, app.Topology(), args, opts...)
}

func newApp(ctx *pulumi.Context, app topology.App, args *AppArgs, opts ...pulumi.ResourceOption) (*App, error) {
	if args == nil {
		args = &AppArgs{}
	}
	functions := wiring.Functions(app, args.Strategy.wiring())
	names, err := check(app, ctx.Stack(), args, functions)
	known, missing := checkStateful(app, args)
	if err := errors.Join(err, missing); err != nil {
		return nil, fmt.Errorf("deploy: %w", err)
	}

	a := &App{}
	if err := ctx.RegisterComponentResource("reventless:aws:App", app.Name, a, opts...); err != nil {
		return nil, err
	}
	p, err := locate(ctx, a, names)
	if err != nil {
		return nil, err
	}
	d := &deployment{
		place: p, ctx: ctx, app: app, args: args, functions: functions, parent: a,
		streams: map[source]pulumi.StringOutput{}, queues: map[source]*queue{}, topics: map[string]*eventTopic{},
		subscribed: map[string][]pulumi.Resource{},
	}
	if err := d.make(a); err != nil {
		return nil, err
	}
	if err := known.save(ctx); err != nil {
		return nil, fmt.Errorf("deploy: %w", err)
	}
	return a, nil
}

// locate asks the provider of the App for account and region.
func locate(ctx *pulumi.Context, a *App, names naming.Stack) (place, error) {
	caller, err := aws.GetCallerIdentity(ctx, nil, pulumi.Parent(a))
	if err != nil {
		return place{}, fmt.Errorf("deploy: which account this is: %w", err)
	}
	region, err := aws.GetRegion(ctx, nil, pulumi.Parent(a))
	if err != nil {
		return place{}, fmt.Errorf("deploy: which region this is: %w", err)
	}
	partition, err := aws.GetPartition(ctx, nil, pulumi.Parent(a))
	if err != nil {
		return place{}, fmt.Errorf("deploy: which partition this is: %w", err)
	}
	return place{partition.Partition, region.Region, caller.AccountId, names}, nil
}

// source is a resource by kind and component, as triggers name it.
type source struct {
	kind      naming.Kind
	component string
}

// deployment is what NewApp works with.
type deployment struct {
	place
	ctx       *pulumi.Context
	app       topology.App
	args      *AppArgs
	functions []wiring.Function
	parent    pulumi.Resource

	streams map[source]pulumi.StringOutput // of tables
	queues  map[source]*queue
	topics  map[string]*eventTopic
	// subscribed are the subscriptions of a log's topic: what feeds the topic waits
	// for them, so that the records of the last 24 hours reach them, too.
	subscribed map[string][]pulumi.Resource
}

func (d *deployment) make(a *App) error {
	for _, p := range d.app.Plugins {
		for _, c := range p.Components {
			if err := d.makeComponent(c); err != nil {
				return fmt.Errorf("deploy: %s: %w", c.Name, err)
			}
		}
	}
	letters, err := d.makeDeadLetters()
	if err != nil {
		return fmt.Errorf("deploy: dead letters: %w", err)
	}
	if err := d.makeOutcomes(); err != nil {
		return fmt.Errorf("deploy: outcomes: %w", err)
	}
	if err := d.makeTopics(); err != nil {
		return fmt.Errorf("deploy: %w", err)
	}
	if err := d.makeScheduledPublisher(); err != nil {
		return fmt.Errorf("deploy: schedules: %w", err)
	}
	g := newGranter(d.place, d.app)
	for _, f := range d.functions {
		fn, err := d.makeRuntime(f, g, letters)
		if err != nil {
			return fmt.Errorf("deploy: function %s: %w", f, err)
		}
		if f.Role == wiring.API {
			a.API = fn.function.Name
		}
	}
	a.DeadLetters, a.Failures = letters.table.Name, letters.failures.Bucket
	return d.ctx.RegisterResourceOutputs(a, pulumi.Map{"api": a.API, "deadLetters": a.DeadLetters, "failures": a.Failures})
}

// makeComponent makes what is a component's own; topics, schedules and functions are
// made of several.
func (d *deployment) makeComponent(c topology.Component) error {
	switch c.Kind {
	case "Aggregate":
		if err := d.makeEventLog(c); err != nil {
			return err
		}
		return d.makeCommandTopic(c)
	case "Counter":
		if err := d.makeEventLog(c); err != nil {
			return err
		}
		return d.makeCounter(c)
	case "ReadModel":
		return d.makeQueryDb(c)
	case "Automation", "SideEffect", "Extension":
		return d.makeWatermarks(c)
	case "Bucket":
		return d.makeTask(c)
	}
	return nil
}

// register registers a component resource; its children are made with the options
// that are returned.
func (d *deployment) register(kind, subject string, r pulumi.ComponentResource) (pulumi.ResourceOption, error) {
	err := d.ctx.RegisterComponentResource("reventless:aws:"+kind, d.label(subject), r, pulumi.Parent(d.parent))
	return pulumi.Parent(r), err
}

// label is the name that a resource has in Pulumi: the application, what it is for
// and what it is.
func (d *deployment) label(subject string, parts ...string) string {
	name := d.app.Name
	for _, part := range append([]string{subject}, parts...) {
		if part != "" {
			name += "-" + part
		}
	}
	return name
}

func (d *deployment) tags(component string) pulumi.StringMap {
	return d.args.tags(d.app.Name, d.ctx.Stack(), component)
}

// tablesOf are those tables of a component that are of a kind.
func tablesOf(c topology.Component, kinds ...naming.Kind) []schema.Table {
	var out []schema.Table
	for _, t := range schema.TablesOf(c) {
		for _, k := range kinds {
			if t.Kind == k {
				out = append(out, t)
			}
		}
	}
	return out
}
