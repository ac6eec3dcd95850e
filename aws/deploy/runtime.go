package deploy

import (
	"fmt"
	"strings"
	"time"

	"github.com/pulumi/pulumi-aws/sdk/v7/go/aws/cloudwatch"
	"github.com/pulumi/pulumi-aws/sdk/v7/go/aws/iam"
	"github.com/pulumi/pulumi-aws/sdk/v7/go/aws/lambda"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/reventless-go/reventless/aws/internal/wiring"
)

// A mapping on a stream retries records that fail within these limits. Then it stores
// them in the bucket of failures and continues. Without limits it would retry them for
// the 24 hours that a stream keeps records, and block all later records.
const (
	streamRetries    = 100
	streamAgeSeconds = 6 * 60 * 60
)

// runtime is a function with its role, log group, alarms and mappings.
type runtime struct {
	pulumi.ResourceState
	function *lambda.Function
	granted  []pulumi.Resource
}

func (d *deployment) functionLabel(f wiring.Function) string {
	return d.label(strings.ReplaceAll(f.String(), "/", "-"))
}

func (d *deployment) mappingLabel(f wiring.Function, t wiring.Trigger) string {
	label := d.functionLabel(f) + "-on-"
	if t.Component != "" {
		label += t.Component + "-"
	}
	return label + t.Source.String()
}

func (d *deployment) makeRuntime(f wiring.Function, g *granter, letters *deadLetters) (*runtime, error) {
	r := &runtime{}
	label := d.functionLabel(f)
	parent, err := d.register("Runtime", strings.ReplaceAll(f.String(), "/", "-"), r)
	if err != nil {
		return nil, err
	}
	settings := d.args.ofFunction(f)
	// Created here because Lambda would create one that keeps logs for ever, and would
	// need a permission for it.
	logs, err := cloudwatch.NewLogGroup(d.ctx, label, &cloudwatch.LogGroupArgs{
		Name: pulumi.String(must(d.names.FunctionLogGroup(string(f.Role), f.Subject))), RetentionInDays: pulumi.Int(max(settings.RetentionDays, 0)), Tags: d.tags(f.Subject),
	}, parent)
	if err != nil {
		return nil, err
	}
	role, err := d.makeRole(f, g, r, parent)
	if err != nil {
		return nil, err
	}
	if r.function, err = d.makeFunction(f, settings, role, logs, r, parent); err != nil {
		return nil, err
	}
	if err := d.alarmFunction(f, parent); err != nil {
		return nil, err
	}
	for _, t := range f.Triggers {
		if err := d.makeMapping(f, t, r, letters, parent); err != nil {
			return nil, fmt.Errorf("%s of %s: %w", t.Source, t.Component, err)
		}
	}
	return r, d.ctx.RegisterResourceOutputs(r, pulumi.Map{"function": r.function.Name, "logGroup": logs.Name, "role": role.Name})
}

// makeRole creates the role of a function with its permissions.
func (d *deployment) makeRole(f wiring.Function, g *granter, r *runtime, parent pulumi.ResourceOption) (*iam.Role, error) {
	label := d.functionLabel(f)
	role, err := iam.NewRole(d.ctx, label, &iam.RoleArgs{
		Name:             pulumi.String(must(d.names.FunctionRoleName(string(f.Role), f.Subject))),
		Description:      pulumi.String("Permissions of the function " + f.String() + " of " + d.app.Name),
		AssumeRolePolicy: pulumi.String(trust("lambda.amazonaws.com", map[string]map[string]values{"StringEquals": {"aws:SourceAccount": {d.account}}})),
		Tags:             d.tags(f.Subject),
	}, parent)
	if err != nil {
		return nil, err
	}
	inline, managed := documents(g.function(f, d.args.ofFunction(f).Tracing == On))
	if managed == nil {
		p, err := iam.NewRolePolicy(d.ctx, label, &iam.RolePolicyArgs{Name: pulumi.String("grants"), Role: role.Name, Policy: pulumi.String(inline)}, parent)
		r.granted = []pulumi.Resource{p}
		return role, err
	}
	for i, text := range managed {
		part := fmt.Sprintf("%s-%d", label, i+1)
		p, err := iam.NewPolicy(d.ctx, part, &iam.PolicyArgs{Policy: pulumi.String(text), Tags: d.tags(f.Subject)}, parent)
		if err != nil {
			return nil, err
		}
		a, err := iam.NewRolePolicyAttachment(d.ctx, part, &iam.RolePolicyAttachmentArgs{Role: role.Name, PolicyArn: p.Arn}, parent)
		if err != nil {
			return nil, err
		}
		r.granted = append(r.granted, a)
	}
	return role, nil
}

func (d *deployment) makeFunction(f wiring.Function, s Settings, role *iam.Role, logs *cloudwatch.LogGroup, r *runtime, parent pulumi.ResourceOption) (*lambda.Function, error) {
	tracing := "PassThrough"
	if s.Tracing == On {
		tracing = "Active"
	}
	args := &lambda.FunctionArgs{
		Name:          pulumi.String(must(d.names.FunctionName(string(f.Role), f.Subject))),
		Description:   pulumi.String(f.String() + " of " + d.app.Name),
		Runtime:       pulumi.String(lambda.RuntimeCustomAL2023),
		Architectures: pulumi.ToStringArray([]string{"arm64"}),
		Handler:       pulumi.String("bootstrap"),
		Code:          pulumi.NewFileArchive(d.args.Code),
		Role:          role.Arn,
		MemorySize:    pulumi.Int(s.MemoryMB),
		Timeout:       pulumi.Int(int(s.Timeout / time.Second)),
		Environment: lambda.FunctionEnvironmentArgs{Variables: pulumi.StringMap{
			wiring.EnvStack: pulumi.String(d.ctx.Stack()), wiring.EnvAccount: pulumi.String(d.account), wiring.EnvFunction: pulumi.String(f.String()),
		}},
		LoggingConfig: lambda.FunctionLoggingConfigArgs{
			LogFormat: pulumi.String("JSON"), ApplicationLogLevel: pulumi.String(s.LogLevel), SystemLogLevel: pulumi.String("WARN"), LogGroup: logs.Name,
		},
		TracingConfig: lambda.FunctionTracingConfigArgs{Mode: pulumi.String(tracing)},
		Tags:          d.tags(f.Subject),
	}
	if s.ReservedConcurrency > 0 {
		args.ReservedConcurrentExecutions = pulumi.Int(s.ReservedConcurrency)
	}
	return lambda.NewFunction(d.ctx, d.functionLabel(f), args, parent, pulumi.DependsOn(r.granted))
}

// makeMapping creates the event source mapping of a stream or queue to a function.
func (d *deployment) makeMapping(f wiring.Function, t wiring.Trigger, r *runtime, letters *deadLetters, parent pulumi.ResourceOption) error {
	s := d.args.ofTrigger(f, t)
	args := &lambda.EventSourceMappingArgs{
		FunctionName:          r.function.Name,
		FunctionResponseTypes: pulumi.ToStringArray([]string{"ReportBatchItemFailures"}),
		Tags:                  d.tags(t.Component),
	}
	// Lambda refuses a mapping if the role may not read the source.
	after := append([]pulumi.Resource{}, r.granted...)
	if !t.Stream() {
		args.EventSourceArn, args.BatchSize = d.queues[source{t.Source, t.Component}].queue.Arn, pulumi.Int(s.QueueBatch)
		if s.MaxConcurrency > 0 {
			args.ScalingConfig = lambda.EventSourceMappingScalingConfigArgs{MaximumConcurrency: pulumi.Int(s.MaxConcurrency)}
		}
		_, err := lambda.NewEventSourceMapping(d.ctx, d.mappingLabel(f, t), args, parent, pulumi.DependsOn(after))
		return err
	}
	args.EventSourceArn, args.BatchSize = d.streams[source{t.Source, t.Component}], pulumi.Int(s.StreamBatch)
	args.StartingPosition = pulumi.String("TRIM_HORIZON") // LATEST may omit records that arrive while the mapping is created
	args.ParallelizationFactor = pulumi.Int(1)            // a higher factor keeps only the order of one item, and each commit is an item
	args.BisectBatchOnFunctionError = pulumi.Bool(true)
	args.MaximumRetryAttempts = pulumi.Int(streamRetries)
	args.MaximumRecordAgeInSeconds = pulumi.Int(streamAgeSeconds)
	args.MetricsConfig = lambda.EventSourceMappingMetricsConfigArgs{Metrics: pulumi.ToStringArray([]string{"EventCount"})}
	// A bucket receives the records themselves; a queue or topic would receive only
	// their positions.
	args.DestinationConfig = lambda.EventSourceMappingDestinationConfigArgs{
		OnFailure: lambda.EventSourceMappingDestinationConfigOnFailureArgs{DestinationArn: letters.failures.Arn},
	}
	if f.Role == wiring.Relay {
		after = append(after, d.subscribed[t.Component]...)
	}
	m, err := lambda.NewEventSourceMapping(d.ctx, d.mappingLabel(f, t), args, parent, pulumi.DependsOn(after))
	if err != nil {
		return err
	}
	return d.alarmDropped(f, t, m, parent)
}
