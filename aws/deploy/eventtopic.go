package deploy

import (
	"fmt"

	"github.com/pulumi/pulumi-aws/sdk/v7/go/aws/sns"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/aws/internal/wiring"
)

// eventTopic is the topic of a log.
type eventTopic struct {
	pulumi.ResourceState
	topic *sns.Topic
}

// eventCollector is the queue of a consumer, subscribed to the topics that it reads.
type eventCollector struct{ pulumi.ResourceState }

// makeTopics creates the topics of logs that consumers read through a topic, and the
// queues of those consumers.
func (d *deployment) makeTopics() error {
	var consumers []string
	logs := map[string][]string{} // by consumer
	for _, r := range d.app.Routes(wiring.MaxFeedReaders) {
		if !r.Topic {
			continue
		}
		if d.topics[r.Log] == nil {
			if err := d.makeEventTopic(r.Log); err != nil {
				return fmt.Errorf("%s: %w", r.Log, err)
			}
		}
		if logs[r.Consumer] == nil {
			consumers = append(consumers, r.Consumer)
		}
		logs[r.Consumer] = append(logs[r.Consumer], r.Log)
	}
	for _, c := range consumers {
		if err := d.makeEventCollector(c, logs[c]); err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
	}
	return nil
}

func (d *deployment) makeEventTopic(log string) error {
	r := &eventTopic{}
	parent, err := d.register("EventTopic", log, r)
	if err != nil {
		return err
	}
	r.topic, err = sns.NewTopic(d.ctx, d.label(log, naming.Events.String()), &sns.TopicArgs{
		Name: pulumi.String(d.name(naming.Events, log)), FifoTopic: pulumi.Bool(true), Tags: d.tags(log),
	}, parent)
	if err != nil {
		return err
	}
	d.topics[log] = r
	if err := d.ctx.Log.Info(d.topicReason(log), &pulumi.LogArgs{Resource: r}); err != nil {
		return err
	}
	return d.ctx.RegisterResourceOutputs(r, pulumi.Map{"topic": r.topic.Arn})
}

// topicReason explains why a log has a topic.
func (d *deployment) topicReason(log string) string {
	direct, viaTopic := 0, 0
	for _, r := range d.app.Routes(wiring.MaxFeedReaders) {
		if r.Log == log && r.Topic {
			viaTopic++
		} else if r.Log == log {
			direct++
		}
	}
	if direct == 0 && viaTopic > wiring.MaxFeedReaders {
		return fmt.Sprintf("%s: %d components read its log, but at most %d may read its stream: all of them read its topic, which a relay feeds", log, viaTopic, wiring.MaxFeedReaders)
	}
	return fmt.Sprintf("%s: %d of the components that read its log belong to another plugin: they read its topic, which a relay feeds", log, viaTopic)
}

// makeEventCollector creates the queue of a consumer of topics.
func (d *deployment) makeEventCollector(consumer string, logs []string) error {
	r := &eventCollector{}
	parent, err := d.register("EventCollector", consumer, r)
	if err != nil {
		return err
	}
	q, err := d.makeQueue(naming.Collector, naming.CollectorDLQ, consumer, parent)
	if err != nil {
		return err
	}
	topics := d.topicARNs(logs)
	allowed, err := d.allowSend(q, naming.Collector, naming.CollectorDLQ, consumer, "sns.amazonaws.com", topics, parent)
	if err != nil {
		return err
	}
	for _, log := range logs {
		s, err := sns.NewTopicSubscription(d.ctx, d.label(consumer, "of", log), &sns.TopicSubscriptionArgs{
			Topic: d.topics[log].topic.Arn, Protocol: pulumi.String("sqs"), Endpoint: q.queue.Arn, RawMessageDelivery: pulumi.Bool(true),
			RedrivePolicy: pulumi.JSONMarshal(pulumi.Map{"deadLetterTargetArn": q.deadLetters.Arn}),
		}, parent, pulumi.DependsOn(allowed))
		if err != nil {
			return err
		}
		d.subscribed[log] = append(d.subscribed[log], s)
	}
	return d.ctx.RegisterResourceOutputs(r, pulumi.Map{"queue": q.queue.Url, "deadLetters": q.deadLetters.Url})
}
