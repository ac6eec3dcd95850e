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

	// API is the name of the function for API operations, commands, and requests about
	// dead letters.
	API pulumi.StringOutput `pulumi:"api"`
	// DeadLetters is the name of the table of dead letters.
	DeadLetters pulumi.StringOutput `pulumi:"deadLetters"`
	// Failures is the name of the bucket with the stream records that could be neither
	// handled nor parked.
	Failures pulumi.StringOutput `pulumi:"failures"`
}

// NewApp creates all resources of an application in the stack. Account and region are
// those of the AWS provider, which may be one of opts.
//
// If args are invalid, or the application needs something that AWS does not support,
// NewApp creates nothing. The error lists all problems with their solutions.
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
	if err := d.build(a); err != nil {
		return nil, err
	}
	if err := known.save(ctx); err != nil {
		return nil, fmt.Errorf("deploy: %w", err)
	}
	return a, nil
}

// locate gets account, region and partition from the provider of the App.
func locate(ctx *pulumi.Context, a *App, names naming.Stack) (place, error) {
	caller, err := aws.GetCallerIdentity(ctx, nil, pulumi.Parent(a))
	if err != nil {
		return place{}, fmt.Errorf("deploy: get the account: %w", err)
	}
	region, err := aws.GetRegion(ctx, nil, pulumi.Parent(a))
	if err != nil {
		return place{}, fmt.Errorf("deploy: get the region: %w", err)
	}
	partition, err := aws.GetPartition(ctx, nil, pulumi.Parent(a))
	if err != nil {
		return place{}, fmt.Errorf("deploy: get the partition: %w", err)
	}
	return place{partition.Partition, region.Region, caller.AccountId, names}, nil
}

// source identifies the source of a trigger.
type source struct {
	kind      naming.Kind
	component string
}

// deployment is the state of one call of NewApp.
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
	// subscribed are the subscriptions of a log's topic. The relay that feeds the topic
	// is created after them, so that they receive the records of the last 24 hours.
	subscribed map[string][]pulumi.Resource
}

func (d *deployment) build(a *App) error {
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

// makeComponent creates the resources of one component. Topics, schedules and
// functions, which depend on several components, are created elsewhere.
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

// register registers a component resource and returns the option for its children.
func (d *deployment) register(kind, subject string, r pulumi.ComponentResource) (pulumi.ResourceOption, error) {
	err := d.ctx.RegisterComponentResource("reventless:aws:"+kind, d.label(subject), r, pulumi.Parent(d.parent))
	return pulumi.Parent(r), err
}

// label returns the Pulumi name of a resource: the application, the subject and the
// parts, which say what it is.
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

// tablesOf returns the tables of a component with one of the kinds.
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
