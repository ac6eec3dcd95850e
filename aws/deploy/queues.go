package deploy

import (
	"errors"
	"strings"
	"time"

	"github.com/pulumi/pulumi-aws/sdk/v7/go/aws/sqs"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/topology"
)

const (
	// minReceives is how often a queue delivers a message at least before it moves it to
	// its dead letters. The delays between the deliveries of a failed message add up to
	// 215 minutes.
	minReceives = 25
	// throttledTime is how long a queue keeps a message at least while its function is
	// throttled, such as in an account with a concurrency of 10. Each delivery to a
	// throttled function counts, and takes the visibility timeout.
	// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
	throttledTime = 75 * time.Minute
	// maxSeconds is how long queues keep messages: the maximum. The default, 4 days, is
	// shorter than a long weekend with a disabled event source mapping.
	maxSeconds = 14 * 24 * 60 * 60
	// standardSeconds is how long standard queues keep messages. The age of a dead letter
	// of a standard queue counts from its first sending, so that some days have to be left.
	// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/setting-up-dead-letter-queue-retention.html
	standardSeconds = 7 * 24 * 60 * 60
	// visibility is the visibility timeout of a queue as a multiple of its function's
	// timeout.
	// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
	visibility = 6
)

// queue is a queue with its dead letters.
type queue struct {
	queue, deadLetters *sqs.Queue
}

// makeQueue creates a queue that a function reads, and the queue of its dead letters.
func (d *deployment) makeQueue(k, dlq naming.Kind, component string, parent pulumi.ResourceOption) (*queue, error) {
	name, fifo := d.name(k, component), pulumi.BoolPtrInput(nil)
	scope, limit, kept := pulumi.StringPtrInput(nil), pulumi.StringPtrInput(nil), standardSeconds
	if strings.HasSuffix(name, ".fifo") {
		// High throughput, and deduplication per group, as the drivers require.
		fifo, scope, limit = pulumi.Bool(true), pulumi.String("messageGroup"), pulumi.String("perMessageGroupId")
		kept = maxSeconds
	}
	hidden := visibility * d.timeoutOf(k, component)
	q := &queue{}
	var err error
	q.deadLetters, err = sqs.NewQueue(d.ctx, d.label(component, dlq.String()), &sqs.QueueArgs{
		Name: pulumi.String(d.name(dlq, component)), FifoQueue: fifo, DeduplicationScope: scope, FifoThroughputLimit: limit,
		MessageRetentionSeconds: pulumi.Int(maxSeconds), SqsManagedSseEnabled: pulumi.Bool(true), Tags: d.tags(component),
	}, parent)
	if err != nil {
		return nil, err
	}
	q.queue, err = sqs.NewQueue(d.ctx, d.label(component, k.String()), &sqs.QueueArgs{
		Name: pulumi.String(name), FifoQueue: fifo, DeduplicationScope: scope, FifoThroughputLimit: limit,
		VisibilityTimeoutSeconds: pulumi.Int(int(hidden / time.Second)), SqsManagedSseEnabled: pulumi.Bool(true),
		MessageRetentionSeconds: pulumi.Int(kept),
		RedrivePolicy:           pulumi.JSONMarshal(pulumi.Map{"deadLetterTargetArn": q.deadLetters.Arn, "maxReceiveCount": pulumi.Int(receives(hidden))}),
		Tags:                    d.tags(component),
	}, parent)
	if err != nil {
		return nil, err
	}
	// A separate resource, because the queue of dead letters is created before the queue
	// that this policy names.
	if _, err = sqs.NewRedriveAllowPolicy(d.ctx, d.label(component, dlq.String()), &sqs.RedriveAllowPolicyArgs{
		QueueUrl: q.deadLetters.Url,
		RedriveAllowPolicy: pulumi.JSONMarshal(pulumi.Map{
			"redrivePermission": pulumi.String("byQueue"), "sourceQueueArns": pulumi.StringArray{q.queue.Arn},
		}),
	}, parent); err != nil {
		return nil, err
	}
	d.queues[source{k, component}] = q
	return q, errors.Join(d.alarmQueue(k, component, parent), d.alarmDeadLetters(dlq, component, parent))
}

// receives returns how often a queue with a visibility timeout delivers a message before
// it moves it to its dead letters.
func receives(hidden time.Duration) int {
	return max(minReceives, int((throttledTime+hidden-1)/hidden))
}

// allowSend allows a service to send to a queue and to the queue of its dead letters. It
// returns the policies: resources that make the service send must depend on them.
func (d *deployment) allowSend(q *queue, k, dlq naming.Kind, component, service string, senders values, parent pulumi.ResourceOption) ([]pulumi.Resource, error) {
	var allowed []pulumi.Resource
	for _, to := range []struct {
		kind  naming.Kind
		queue *sqs.Queue
	}{{k, q.queue}, {dlq, q.deadLetters}} {
		p, err := sqs.NewQueuePolicy(d.ctx, d.label(component, to.kind.String()), &sqs.QueuePolicyArgs{
			QueueUrl: to.queue.Url,
			Policy:   pulumi.String(sendPolicy(service, d.queueARN(to.kind, component), senders)),
		}, parent)
		if err != nil {
			return nil, err
		}
		allowed = append(allowed, p)
	}
	return allowed, nil
}

// sendPolicy returns the policy of a queue to which resources of a service may send. The
// ARNs of the senders contain the account. There is no condition on aws:SourceAccount as
// well, because AWS does not document that SNS and EventBridge rules send it, and without
// it SNS would drop the messages.
// https://docs.aws.amazon.com/sns/latest/dg/subscribe-sqs-queue-to-sns-topic.html
// https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html
func sendPolicy(service, queue string, senders values) string {
	return document(statement{
		Effect: "Allow", Principal: map[string]string{"Service": service}, Action: []string{"sqs:SendMessage"},
		Resource: []string{queue}, Condition: map[string]map[string]values{"ArnEquals": {"aws:SourceArn": senders}},
	})
}

// timeoutOf returns the timeout of the function that reads a queue.
func (d *deployment) timeoutOf(k naming.Kind, component string) time.Duration {
	for _, f := range d.functions {
		for _, t := range f.Triggers {
			if t.Source == k && t.Component == component {
				return d.args.ofFunction(f).Timeout
			}
		}
	}
	return defaultTimeout
}

// commandTopic is the queue of an aggregate's commands.
type commandTopic struct{ pulumi.ResourceState }

func (d *deployment) makeCommandTopic(c topology.Component) error {
	r := &commandTopic{}
	parent, err := d.register("CommandTopic", c.Name, r)
	if err != nil {
		return err
	}
	q, err := d.makeQueue(naming.Commands, naming.CommandsDLQ, c.Name, parent)
	if err != nil {
		return err
	}
	return d.ctx.RegisterResourceOutputs(r, pulumi.Map{"queue": q.queue.Url, "deadLetters": q.deadLetters.Url})
}
