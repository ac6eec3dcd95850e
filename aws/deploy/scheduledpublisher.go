package deploy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/pulumi/pulumi-aws/sdk/v7/go/aws/cloudwatch"
	"github.com/pulumi/pulumi-aws/sdk/v7/go/aws/iam"
	"github.com/pulumi/pulumi-aws/sdk/v7/go/aws/scheduler"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/topology"
)

// scheduledPublisher has the schedule group for schedules that are created at run time,
// another one for declared schedules, which no function may change, and the queue to
// which all schedules send their firings.
type scheduledPublisher struct {
	pulumi.ResourceState
	group     *scheduler.ScheduleGroup
	declared  *scheduler.ScheduleGroup // nil if all declared schedules are rules
	role      *iam.Role
	queue     *queue
	allowed   []pulumi.Resource // queue policies, which rules depend on
	permitted pulumi.Resource   // role policy, which schedules depend on
}

// timer is a declared schedule: that of a component, or the heartbeat of a plugin.
type timer struct {
	kind       naming.Kind // ScheduleRule or HeartbeatRule
	subject    string
	expression string
	zone       string
}

// name returns the engine's name of a declared schedule.
func (t timer) name() string {
	if t.kind == naming.HeartbeatRule {
		return "declared/heartbeat/" + t.subject
	}
	return "declared/" + t.subject
}

// rule reports whether the schedule can be an EventBridge rule: rules support only UTC
// and no one-time schedules.
func (t timer) rule() bool {
	return (t.zone == "" || t.zone == "UTC") && !strings.HasPrefix(t.expression, "at(")
}

// timersOf returns the declared schedules of an application.
func timersOf(app topology.App) []timer {
	var out []timer
	for _, p := range app.Plugins {
		if p.HeartbeatSeconds > 0 {
			out = append(out, timer{naming.HeartbeatRule, p.Name, everyMinutes(p.HeartbeatSeconds / 60), ""})
		}
		for _, c := range p.Components {
			if c.Expression != "" {
				out = append(out, timer{naming.ScheduleRule, c.Name, c.Expression, c.Zone})
			}
		}
	}
	return out
}

func everyMinutes(n int) string {
	if n == 1 {
		return "rate(1 minute)"
	}
	return fmt.Sprintf("rate(%d minutes)", n)
}

func (d *deployment) makeScheduledPublisher() error {
	r := &scheduledPublisher{}
	parent, err := d.register("ScheduledPublisher", "", r)
	if err != nil {
		return err
	}
	if r.queue, err = d.makeQueue(naming.Timers, naming.TimersDLQ, "", parent); err != nil {
		return err
	}
	timers := timersOf(d.app)
	groups := values{d.groupARN(naming.Schedules)}
	if r.group, err = d.makeGroup(naming.Schedules, parent); err != nil {
		return err
	}
	if slices.ContainsFunc(timers, func(t timer) bool { return !t.rule() }) {
		if r.declared, err = d.makeGroup(naming.DeclaredSchedules, parent); err != nil {
			return err
		}
		groups = append(groups, d.groupARN(naming.DeclaredSchedules))
	}
	if r.role, err = iam.NewRole(d.ctx, d.label("", naming.SchedulerRole.String()), &iam.RoleArgs{
		Name:        pulumi.String(d.name(naming.SchedulerRole, "")),
		Description: pulumi.String("Permissions of EventBridge Scheduler for " + d.app.Name),
		AssumeRolePolicy: pulumi.String(trust("scheduler.amazonaws.com", map[string]map[string]values{
			"ArnEquals": {"aws:SourceArn": groups}, "StringEquals": {"aws:SourceAccount": {d.account}},
		})),
		Tags: d.tags(""),
	}, parent); err != nil {
		return err
	}
	if r.permitted, err = iam.NewRolePolicy(d.ctx, d.label("", naming.SchedulerRole.String()), &iam.RolePolicyArgs{
		Name: pulumi.String("grants"), Role: r.role.Name,
		Policy: pulumi.String(document(statement{Effect: "Allow", Action: []string{"sqs:SendMessage"}, Resource: []string{d.queueARN(naming.Timers, ""), d.queueARN(naming.TimersDLQ, "")}})),
	}, parent); err != nil {
		return err
	}
	if rules := d.ruleARNs(timers); rules != nil {
		if r.allowed, err = d.allowSend(r.queue, naming.Timers, naming.TimersDLQ, "", "events.amazonaws.com", rules, parent); err != nil {
			return err
		}
	}
	for _, t := range timers {
		switch {
		case t.kind == naming.HeartbeatRule:
			err = d.makeHeartbeat(t, r)
		case t.rule():
			err = d.makeRule(t, r, parent)
		default:
			err = d.makeSchedule(t, r, parent)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", t.subject, err)
		}
	}
	return d.ctx.RegisterResourceOutputs(r, pulumi.Map{"group": r.group.Name, "role": r.role.Arn, "queue": r.queue.queue.Url, "deadLetters": r.queue.deadLetters.Url})
}

func (d *deployment) makeGroup(k naming.Kind, parent pulumi.ResourceOption) (*scheduler.ScheduleGroup, error) {
	return scheduler.NewScheduleGroup(d.ctx, d.label("", k.String()), &scheduler.ScheduleGroupArgs{
		Name: pulumi.String(d.name(k, "")), Tags: d.tags(""),
	}, parent)
}

// heartbeat has the rule of a plugin's heartbeat.
type heartbeat struct{ pulumi.ResourceState }

func (d *deployment) makeHeartbeat(t timer, p *scheduledPublisher) error {
	r := &heartbeat{}
	parent, err := d.register("Heartbeat", t.subject, r)
	if err != nil {
		return err
	}
	if err := d.makeRule(t, p, parent); err != nil {
		return err
	}
	return d.ctx.RegisterResourceOutputs(r, pulumi.Map{"rule": pulumi.String(d.name(t.kind, t.subject))})
}

// makeRule creates an EventBridge rule that sends the firings of a declared schedule to
// the queue of the timers function. The due time is the time of the event.
func (d *deployment) makeRule(t timer, p *scheduledPublisher, parent pulumi.ResourceOption) error {
	label := d.label(t.subject, t.kind.String())
	rule, err := cloudwatch.NewEventRule(d.ctx, label, &cloudwatch.EventRuleArgs{
		Name: pulumi.String(d.name(t.kind, t.subject)), Description: pulumi.String(t.name()),
		ScheduleExpression: pulumi.String(t.expression), Tags: d.tags(t.subject),
	}, parent)
	if err != nil {
		return err
	}
	_, err = cloudwatch.NewEventTarget(d.ctx, label, &cloudwatch.EventTargetArgs{
		Rule: rule.Name, TargetId: pulumi.String("timers"), Arn: p.queue.queue.Arn,
		DeadLetterConfig: cloudwatch.EventTargetDeadLetterConfigArgs{Arn: p.queue.deadLetters.Arn},
		InputTransformer: cloudwatch.EventTargetInputTransformerArgs{
			InputPaths: pulumi.StringMap{"due": pulumi.String("$.time")},
			// EventBridge adds the quotes around <due>.
			InputTemplate: pulumi.String(`{"schedule":` + quoted(t.name()) + `,"due":<due>}`),
		},
	}, parent, pulumi.DependsOn(p.allowed))
	return err
}

// makeSchedule creates an entry of EventBridge Scheduler for a declared schedule that
// cannot be a rule.
func (d *deployment) makeSchedule(t timer, p *scheduledPublisher, parent pulumi.ResourceOption) error {
	zone := t.zone
	if zone == "" {
		zone = "UTC"
	}
	_, err := scheduler.NewSchedule(d.ctx, d.label(t.subject, t.kind.String()), &scheduler.ScheduleArgs{
		Name: pulumi.String(naming.ScheduleName(t.name())), GroupName: p.declared.Name, Description: pulumi.String(t.name()),
		ScheduleExpression: pulumi.String(t.expression), ScheduleExpressionTimezone: pulumi.String(zone),
		FlexibleTimeWindow: scheduler.ScheduleFlexibleTimeWindowArgs{Mode: pulumi.String("OFF")},
		Target: scheduler.ScheduleTargetArgs{
			Arn: p.queue.queue.Arn, RoleArn: p.role.Arn,
			Input:            pulumi.String(`{"schedule":` + quoted(t.name()) + `,"due":"<aws.scheduler.scheduled-time>"}`),
			DeadLetterConfig: scheduler.ScheduleTargetDeadLetterConfigArgs{Arn: p.queue.deadLetters.Arn},
		},
	}, parent, pulumi.DependsOn([]pulumi.Resource{p.permitted}))
	return err
}

func quoted(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(fmt.Sprintf("deploy: encode %q: %v", s, err)) // impossible for a string
	}
	return string(text)
}
