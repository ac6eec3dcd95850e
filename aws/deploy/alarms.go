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

// alarm is raised if a metric exceeds a threshold in one period.
type alarm struct {
	suffix                       string // end of its name
	namespace, metric, statistic string
	dimensions                   pulumi.StringMap
	threshold                    float64
	seconds                      int
	description                  string
}

// makeAlarm creates an alarm for the resource with the given physical name.
func (d *deployment) makeAlarm(label, physical string, a alarm, parent pulumi.ResourceOption) error {
	args := &cloudwatch.MetricAlarmArgs{
		Name: pulumi.String(physical + "-" + a.suffix), AlarmDescription: pulumi.String(a.description),
		Namespace: pulumi.String(a.namespace), MetricName: pulumi.String(a.metric), Statistic: pulumi.String(a.statistic),
		Dimensions: a.dimensions, ComparisonOperator: pulumi.String("GreaterThanThreshold"), Threshold: pulumi.Float64(a.threshold),
		Period: pulumi.Int(a.seconds), EvaluationPeriods: pulumi.Int(1),
		// Without activity there is no data, which is normal.
		TreatMissingData: pulumi.String("notBreaching"),
		Tags:             d.tags(""),
	}
	if topic := d.args.Alarms.Topic; topic != nil {
		target := topic.ToStringPtrOutput().Elem()
		args.AlarmActions, args.OkActions = pulumi.Array{target}, pulumi.Array{target}
	}
	_, err := cloudwatch.NewMetricAlarm(d.ctx, label+"-"+a.suffix, args, parent)
	return err
}

// alarmQueue creates the alarm for messages of a queue that are not received. Its metric
// omits messages that were received repeatedly; [deployment.alarmFunction] covers those.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
func (d *deployment) alarmQueue(k naming.Kind, component string, parent pulumi.ResourceOption) error {
	if d.args.ofData(component).Alarms == Off {
		return nil
	}
	name := d.name(k, component)
	return d.makeAlarm(d.label(component, k.String()), name, alarm{
		suffix: "waiting", namespace: "AWS/SQS", metric: "ApproximateAgeOfOldestMessage", statistic: "Maximum", dimensions: pulumi.StringMap{"QueueName": pulumi.String(name)},
		threshold: d.args.Alarms.lag().Seconds(), seconds: 300, description: fmt.Sprintf("%s: messages are waiting and not being received", name),
	}, parent)
}

// alarmDeadLetters creates the alarms for a queue of dead letters.
func (d *deployment) alarmDeadLetters(dlq naming.Kind, component string, parent pulumi.ResourceOption) error {
	if d.args.ofData(component).Alarms == Off {
		return nil
	}
	name, label := d.name(dlq, component), d.label(component, dlq.String())
	owner := component
	if owner == "" {
		owner = d.app.Name
	}
	queue := alarm{namespace: "AWS/SQS", statistic: "Maximum", dimensions: pulumi.StringMap{"QueueName": pulumi.String(name)}, seconds: 300}
	some, old := queue, queue
	some.suffix, some.metric = "notempty", "ApproximateNumberOfMessagesVisible"
	some.description = fmt.Sprintf("%s: the queue %s has dead letters", owner, name)
	old.suffix, old.metric, old.threshold = "old", "ApproximateAgeOfOldestMessage", d.args.Alarms.deadLetterAge().Seconds()
	old.description = fmt.Sprintf("%s: the queue %s has old dead letters, which it deletes after 14 days", owner, name)
	if err := d.makeAlarm(label, name, some, parent); err != nil {
		return err
	}
	return d.makeAlarm(label, name, old, parent)
}

// The namespace and names of the metrics that functions write, see package lambdahost.
const (
	ownNamespace = "Reventless"
	parkedMetric = "Parked"
	lagMetric    = "Lag"
)

// alarmFunction creates the alarms for a function.
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
	failed.suffix, failed.metric, failed.description = "errors", "Errors", fmt.Sprintf("%s: invocations failed", f)
	throttled.suffix, throttled.metric, throttled.description = "throttles", "Throttles", fmt.Sprintf("%s: invocations were throttled because no instance was available", f)
	behind.suffix, behind.metric, behind.statistic, behind.threshold = "behind", "IteratorAge", "Maximum", float64(d.args.Alarms.lag()/time.Millisecond)
	behind.description = fmt.Sprintf("%s: it lags behind a stream; records are discarded after 6 hours", f)
	parked.suffix, parked.metric = "parked", parkedMetric
	parked.description = fmt.Sprintf("%s: it parked messages that it could not handle in %s", f, d.name(naming.DeadLetters, ""))
	all := []alarm{failed, throttled, parked}
	// AWS measures the lag of streams. For queues, the function itself reports the age of
	// the messages that it receives, including redelivered messages.
	late.suffix, late.metric, late.statistic, late.threshold = "late", lagMetric, "Maximum", float64(d.args.Alarms.lag()/time.Millisecond)
	late.description = fmt.Sprintf("%s: messages that it handled or failed to handle had waited too long", f)
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

// alarmDropped creates two alarms for records that an event source mapping discarded: one
// for records that were stored in the bucket of failures, and one for records that could
// not be stored there. AWS counts only the latter as dropped.
// https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
func (d *deployment) alarmDropped(f wiring.Function, t wiring.Trigger, m *lambda.EventSourceMapping, parent pulumi.ResourceOption) error {
	if d.args.ofTrigger(f, t).Alarms == Off {
		return nil
	}
	name, label := must(d.names.FunctionName(string(f.Role), f.Subject))+"-"+t.Component+"-"+t.Source.String(), d.mappingLabel(f, t)
	stored := alarm{
		suffix: "dropped", namespace: "AWS/Lambda", metric: "OnFailureDestinationDeliveredEventCount", statistic: "Sum", dimensions: pulumi.StringMap{"EventSourceMappingUUID": m.Uuid}, seconds: 300,
		description: fmt.Sprintf("%s: records of the stream of %s were discarded and stored in the bucket %s", f, d.name(t.Source, t.Component), d.bucket(naming.Failures, "")),
	}
	lost := stored
	lost.suffix, lost.metric = "gone", "DroppedEventCount"
	lost.description = fmt.Sprintf("%s: records of the stream of %s were discarded and could not be stored in the bucket %s: only the log has them", f, d.name(t.Source, t.Component), d.bucket(naming.Failures, ""))
	return errors.Join(d.makeAlarm(label, name, stored, parent), d.makeAlarm(label, name, lost, parent))
}
