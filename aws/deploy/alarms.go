package deploy

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pulumi/pulumi-aws/sdk/v7/go/aws/cloudwatch"
	"github.com/pulumi/pulumi-aws/sdk/v7/go/aws/lambda"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/aws/internal/wiring"
)

// alarm is that the worst of a metric was above what it may be, once in a period.
type alarm struct {
	what                         string // the end of its name
	namespace, metric, statistic string
	dimensions                   pulumi.StringMap
	above                        float64
	seconds                      int
	says                         string
}

// makeAlarm makes an alarm of a resource with a physical name.
func (d *deployment) makeAlarm(label, physical string, a alarm, parent pulumi.ResourceOption) error {
	args := &cloudwatch.MetricAlarmArgs{
		Name: pulumi.String(physical + "-" + a.what), AlarmDescription: pulumi.String(a.says),
		Namespace: pulumi.String(a.namespace), MetricName: pulumi.String(a.metric), Statistic: pulumi.String(a.statistic),
		Dimensions: a.dimensions, ComparisonOperator: pulumi.String("GreaterThanThreshold"), Threshold: pulumi.Float64(a.above),
		Period: pulumi.Int(a.seconds), EvaluationPeriods: pulumi.Int(1),
		// No number is told while nothing happens, which is well.
		TreatMissingData: pulumi.String("notBreaching"),
		Tags:             d.tags(""),
	}
	if topic := d.args.Alarms.Topic; topic != nil {
		target := topic.ToStringPtrOutput().Elem()
		args.AlarmActions, args.OkActions = pulumi.Array{target}, pulumi.Array{target}
	}
	_, err := cloudwatch.NewMetricAlarm(d.ctx, label+"-"+a.what, args, parent)
	return err
}

// alarmQueue makes the alarm of a queue that nobody reads. What is received again and
// again is not in its metric: see [deployment.alarmFunction].
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
func (d *deployment) alarmQueue(k naming.Kind, component string, parent pulumi.ResourceOption) error {
	if d.args.ofData(component).Alarms == Off {
		return nil
	}
	name := d.name(k, component)
	return d.makeAlarm(d.label(component, k.String()), name, alarm{
		what: "waiting", namespace: "AWS/SQS", metric: "ApproximateAgeOfOldestMessage", statistic: "Maximum", dimensions: pulumi.StringMap{"QueueName": pulumi.String(name)},
		above: d.args.Alarms.lag().Seconds(), seconds: 300, says: fmt.Sprintf("%s: messages wait, and nobody receives them", name),
	}, parent)
}

// alarmLetters makes the alarms of a queue of dead letters.
func (d *deployment) alarmLetters(dlq naming.Kind, component string, parent pulumi.ResourceOption) error {
	if d.args.ofData(component).Alarms == Off {
		return nil
	}
	name, label := d.name(dlq, component), d.label(component, dlq.String())
	of := component
	if of == "" {
		of = d.app.Name
	}
	queue := alarm{namespace: "AWS/SQS", statistic: "Maximum", dimensions: pulumi.StringMap{"QueueName": pulumi.String(name)}, seconds: 300}
	some, old := queue, queue
	some.what, some.metric = "notempty", "ApproximateNumberOfMessagesVisible"
	some.says = fmt.Sprintf("%s: messages were given up, %s has them", of, name)
	old.what, old.metric, old.above = "old", "ApproximateAgeOfOldestMessage", d.args.Alarms.letterAge().Seconds()
	old.says = fmt.Sprintf("%s: messages that were given up are lost after 14 days in %s", of, name)
	if err := d.makeAlarm(label, name, some, parent); err != nil {
		return err
	}
	return d.makeAlarm(label, name, old, parent)
}

// The functions write their numbers under these names: see package lambdahost.
const (
	ownNamespace = "Reventless"
	parkedMetric = "Parked"
	lagMetric    = "Lag"
)

// alarmFunction makes the alarms of a function.
func (d *deployment) alarmFunction(f wiring.Function, parent pulumi.ResourceOption) error {
	if d.args.ofFunction(f).Alarms == Off {
		return nil
	}
	name, label := must(d.names.FunctionName(string(f.Role), f.Subject)), d.functionLabel(f)
	base := alarm{namespace: "AWS/Lambda", statistic: "Sum", dimensions: pulumi.StringMap{"FunctionName": pulumi.String(name)}, seconds: 300}
	failed, throttled, behind := base, base, base
	own := alarm{namespace: ownNamespace, statistic: "Sum", seconds: 300, dimensions: pulumi.StringMap{
		"App": pulumi.String(d.app.Name), "Stack": pulumi.String(d.ctx.Stack()), "Function": pulumi.String(f.String()),
	}}
	parked, late := own, own
	failed.what, failed.metric, failed.says = "errors", "Errors", fmt.Sprintf("%s: invocations failed as a whole", f)
	throttled.what, throttled.metric, throttled.says = "throttles", "Throttles", fmt.Sprintf("%s: there was no instance left for it", f)
	behind.what, behind.metric, behind.statistic, behind.above = "behind", "IteratorAge", "Maximum", float64(d.args.Alarms.lag()/time.Millisecond)
	behind.says = fmt.Sprintf("%s: it is behind its streams, whose records are given up after 6 hours", f)
	parked.what, parked.metric = "parked", parkedMetric
	parked.says = fmt.Sprintf("%s: it gave up what it could not handle, %s has it", f, d.name(naming.DeadLetters, ""))
	all := []alarm{failed, throttled, parked}
	// Of a stream AWS knows how far a function is behind; of a queue the function
	// itself says how old what it is handed was, also when it is handed it again.
	late.what, late.metric, late.statistic, late.above = "late", lagMetric, "Maximum", float64(d.args.Alarms.lag()/time.Millisecond)
	late.says = fmt.Sprintf("%s: what it handles, or fails at, has waited for long", f)
	if len(f.Triggers) > 0 {
		all = append(all, late)
	}
	if slices.ContainsFunc(f.Triggers, wiring.Trigger.Stream) {
		all = append(all, behind)
	}
	for _, a := range all {
		if err := d.makeAlarm(label, name, a, parent); err != nil {
			return err
		}
	}
	return nil
}

// alarmDropped makes the alarms of records that a mapping gave up: those that are kept,
// which do not count as dropped, and those that could not be.
// https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
func (d *deployment) alarmDropped(f wiring.Function, t wiring.Trigger, m *lambda.EventSourceMapping, parent pulumi.ResourceOption) error {
	if d.args.ofTrigger(f, t).Alarms == Off {
		return nil
	}
	name, label := must(d.names.FunctionName(string(f.Role), f.Subject))+"-"+t.Component+"-"+t.Source.String(), d.mappingLabel(f, t)
	kept := alarm{
		what: "dropped", namespace: "AWS/Lambda", metric: "OnFailureDestinationDeliveredEventCount", statistic: "Sum", dimensions: pulumi.StringMap{"EventSourceMappingUUID": m.Uuid}, seconds: 300,
		says: fmt.Sprintf("%s: records of the stream of %s were given up, %s has them", f, d.name(t.Source, t.Component), d.bucket(naming.Failures, "")),
	}
	gone := kept
	gone.what, gone.metric = "gone", "DroppedEventCount"
	gone.says = fmt.Sprintf("%s: records of the stream of %s were given up, and %s did not take them: only the log has them", f, d.name(t.Source, t.Component), d.bucket(naming.Failures, ""))
	return errors.Join(d.makeAlarm(label, name, kept, parent), d.makeAlarm(label, name, gone, parent))
}
