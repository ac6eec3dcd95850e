package awstest

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/aws/internal/schema"
	"github.com/reventless-go/reventless/aws/internal/wiring"
	"github.com/reventless-go/reventless/topology"
)

// Deployment has the resources of an application on emulators, with the names that
// functions compute.
type Deployment struct {
	// App is the application, Name the unique name of the stack.
	App  topology.App
	Name string
	// DynamoDB has the tables, Others all other resources. They may be the same.
	DynamoDB, Others *Emulator

	t        testing.TB
	ctx      context.Context // of the test, without its cancelation
	names    naming.Stack
	dynamoDB *Clients
	others   *Clients

	mu   sync.Mutex
	made map[string]bool // by kind and name
}

const (
	// visibility is the visibility timeout of the queues in seconds. Functions shorten it
	// for failed messages.
	visibility = "30"
	// receives is the number of receives of a message before the queue moves it to the
	// dead letters. It is greater than in a deployment because of injected faults.
	receives = "50"
)

// NewDeployment returns an application without resources.
func NewDeployment(t testing.TB, app topology.App, dynamoDB, others *Emulator) *Deployment {
	t.Helper()
	s := &Deployment{
		App: app, Name: Stack(), DynamoDB: dynamoDB, Others: others, t: t, ctx: context.WithoutCancel(t.Context()),
		dynamoDB: dynamoDB.Clients(nil), others: others.Clients(nil), made: map[string]bool{},
	}
	var err error
	if s.names, err = naming.New(app.Name, s.Name); err != nil {
		t.Fatal(err)
	}
	return s
}

// Deploy creates the resources of app and deletes them when the test ends, because many
// resources slow the emulators down.
func Deploy(t testing.TB, app topology.App, dynamoDB, others *Emulator) *Deployment {
	t.Helper()
	s := NewDeployment(t, app, dynamoDB, others)
	for _, table := range schema.Tables(app) {
		s.must(s.Table(table))
	}
	for _, f := range wiring.Functions(app, wiring.Shared) {
		for _, trigger := range f.Triggers {
			if !trigger.Stream() {
				s.must(s.Queue(trigger))
			}
		}
	}
	for _, p := range app.Plugins {
		for _, c := range p.Components {
			if c.Kind == "Bucket" {
				s.must(s.Bucket(c.Name, hasTask(app, c.Name)))
			}
		}
	}
	s.must(s.Schedules())
	return s
}

func hasTask(app topology.App, bucket string) bool {
	for _, p := range app.Plugins {
		for _, c := range p.Components {
			if c.Bucket == bucket {
				return true
			}
		}
	}
	return false
}

// once calls f unless an earlier call for this resource succeeded.
func (s *Deployment) once(resource string, f func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.made[resource] {
		return nil
	}
	if err := f(); err != nil {
		return fmt.Errorf("create %s: %w", resource, err)
	}
	s.made[resource] = true
	return nil
}

func (s *Deployment) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// Resource returns the physical name of a resource.
func (s *Deployment) Resource(kind naming.Kind, component string) string {
	s.t.Helper()
	if kind == naming.Bucket {
		name, err := s.names.BucketName(kind, component, Account)
		s.must(err)
		return name
	}
	name, err := s.names.Name(kind, component)
	s.must(err)
	return name
}

// ARN returns the ARN of a queue or topic.
func ARN(service, name string) string {
	return "arn:aws:" + service + ":" + Region + ":" + Account + ":" + name
}

// QueueURL returns the URL of a queue.
func (s *Deployment) QueueURL(kind naming.Kind, component string) string {
	out, err := s.others.SQS.GetQueueUrl(s.ctx, &sqs.GetQueueUrlInput{QueueName: aws.String(s.Resource(kind, component))})
	s.must(err)
	return *out.QueueUrl
}

// StreamARN returns the ARN of the stream of a table.
func (s *Deployment) StreamARN(kind naming.Kind, component string) string {
	out, err := s.dynamoDB.DynamoDB.DescribeTable(s.ctx, &dynamodb.DescribeTableInput{TableName: aws.String(s.Resource(kind, component))})
	s.must(err)
	return *out.Table.LatestStreamArn
}

// Source returns the ARN of the queue or stream of a trigger.
func (s *Deployment) Source(trigger wiring.Trigger) string {
	if trigger.Stream() {
		return s.StreamARN(trigger.Source, trigger.Component)
	}
	return ARN("sqs", s.Resource(trigger.Source, trigger.Component))
}

// FunctionName returns the name of a function.
func (s *Deployment) FunctionName(f wiring.Function) string {
	name, err := s.names.FunctionName(string(f.Role), f.Subject)
	s.must(err)
	return name
}

// Environment returns the environment of a function.
func (s *Deployment) Environment(f wiring.Function) map[string]string {
	return map[string]string{
		wiring.EnvStack: s.Name, wiring.EnvAccount: Account, wiring.EnvFunction: f.String(),
		"AWS_REGION": Region, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
		"AWS_ENDPOINT_URL": s.Others.Endpoint, "AWS_ENDPOINT_URL_DYNAMODB": s.DynamoDB.Endpoint,
	}
}

// Table creates a table unless it exists. It does not enable the TTL because DynamoDB does
// not use the clock of the test.
func (s *Deployment) Table(t schema.Table) error {
	name := s.Resource(t.Kind, t.Component)
	return s.once("table "+name, func() error {
		in := &dynamodb.CreateTableInput{TableName: &name, BillingMode: types.BillingModePayPerRequest, KeySchema: keys(t.Key)}
		for _, a := range t.Attributes() {
			in.AttributeDefinitions = append(in.AttributeDefinitions, types.AttributeDefinition{AttributeName: aws.String(a.Name), AttributeType: types.ScalarAttributeType(a.Type)})
		}
		for _, i := range t.Indexes {
			in.GlobalSecondaryIndexes = append(in.GlobalSecondaryIndexes, types.GlobalSecondaryIndex{
				IndexName: aws.String(i.Name), KeySchema: keys(i.Key), Projection: &types.Projection{ProjectionType: types.ProjectionTypeAll},
			})
		}
		if t.Stream != schema.NoStream {
			in.StreamSpecification = &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: types.StreamViewType(t.Stream)}
		}
		if _, err := s.dynamoDB.DynamoDB.CreateTable(s.ctx, in); err != nil {
			return err
		}
		s.later(func(ctx context.Context) error {
			_, err := s.dynamoDB.DynamoDB.DeleteTable(ctx, &dynamodb.DeleteTableInput{TableName: in.TableName})
			return err
		})
		return nil
	})
}

// later deletes a resource when the test ends. An error does not fail the test because the
// emulator ends soon, too.
func (s *Deployment) later(remove func(ctx context.Context) error) {
	s.t.Cleanup(func() {
		if err := remove(s.ctx); err != nil {
			s.t.Logf("a resource was not deleted: %v", err)
		}
	})
}

func keys(k schema.Key) []types.KeySchemaElement {
	elements := []types.KeySchemaElement{{AttributeName: aws.String(k.Partition.Name), KeyType: types.KeyTypeHash}}
	if k.Sort.Name != "" {
		elements = append(elements, types.KeySchemaElement{AttributeName: aws.String(k.Sort.Name), KeyType: types.KeyTypeRange})
	}
	return elements
}

// Queue creates the queue of a trigger and its dead-letter queue unless they exist, and
// subscribes the queue to its topics.
func (s *Deployment) Queue(trigger wiring.Trigger) error {
	name := s.Resource(trigger.Source, trigger.Component)
	err := s.once("queue "+name, func() error {
		dead := map[naming.Kind]naming.Kind{
			naming.Commands: naming.CommandsDLQ, naming.Collector: naming.CollectorDLQ, naming.Objects: naming.ObjectsDLQ, naming.Timers: naming.TimersDLQ,
		}[trigger.Source]
		attributes := map[string]string{}
		if strings.HasSuffix(name, ".fifo") {
			attributes = map[string]string{"FifoQueue": "true", "DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId"}
		}
		dlq := s.Resource(dead, trigger.Component)
		if err := s.createQueue(dlq, attributes); err != nil {
			return err
		}
		redrive, err := json.Marshal(map[string]string{"deadLetterTargetArn": ARN("sqs", dlq), "maxReceiveCount": receives})
		if err != nil {
			return err
		}
		attributes["RedrivePolicy"], attributes["VisibilityTimeout"] = string(redrive), visibility
		return s.createQueue(name, attributes)
	})
	for _, log := range trigger.Logs {
		if err == nil {
			err = s.subscribe(name, log)
		}
	}
	return err
}

func (s *Deployment) createQueue(name string, attributes map[string]string) error {
	out, err := s.others.SQS.CreateQueue(s.ctx, &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes})
	if err == nil {
		s.later(func(ctx context.Context) error {
			_, err := s.others.SQS.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: out.QueueUrl})
			return err
		})
	}
	return err
}

// Topic creates the topic of a log unless it exists.
func (s *Deployment) Topic(log string) error {
	name := s.Resource(naming.Events, log)
	return s.once("topic "+name, func() error {
		out, err := s.others.SNS.CreateTopic(s.ctx, &sns.CreateTopicInput{Name: &name, Attributes: map[string]string{"FifoTopic": "true"}})
		if err == nil {
			s.later(func(ctx context.Context) error {
				_, err := s.others.SNS.DeleteTopic(ctx, &sns.DeleteTopicInput{TopicArn: out.TopicArn})
				return err
			})
		}
		return err
	})
}

// subscribe subscribes a queue to the topic of a log unless it is subscribed.
func (s *Deployment) subscribe(queue, log string) error {
	if err := s.Topic(log); err != nil {
		return err
	}
	return s.once("subscription of "+queue+" to "+log, func() error {
		_, err := s.others.SNS.Subscribe(s.ctx, &sns.SubscribeInput{
			TopicArn: aws.String(ARN("sns", s.Resource(naming.Events, log))), Protocol: aws.String("sqs"),
			Endpoint: aws.String(ARN("sqs", queue)), Attributes: map[string]string{"RawMessageDelivery": "true"},
		})
		return err
	})
}

// Bucket creates a bucket unless it exists. If notifies is true, the bucket notifies its
// queue.
func (s *Deployment) Bucket(component string, notifies bool) error {
	name := s.Resource(naming.Bucket, component)
	err := s.once("bucket "+name, func() error {
		_, err := s.others.S3.CreateBucket(s.ctx, &s3.CreateBucketInput{
			Bucket: &name, CreateBucketConfiguration: &s3types.CreateBucketConfiguration{LocationConstraint: Region},
		})
		return err
	})
	if err != nil || !notifies {
		return err
	}
	if err := s.Queue(wiring.Trigger{Source: naming.Objects, Component: component}); err != nil {
		return err
	}
	return s.once("notifications of "+name, func() error {
		_, err := s.others.S3.PutBucketNotificationConfiguration(s.ctx, &s3.PutBucketNotificationConfigurationInput{
			Bucket: &name, NotificationConfiguration: &s3types.NotificationConfiguration{QueueConfigurations: []s3types.QueueConfiguration{{
				QueueArn: aws.String(ARN("sqs", s.Resource(naming.Objects, component))), Events: []s3types.Event{"s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:LifecycleExpiration:*"},
			}}},
		})
		return err
	})
}

// Schedules creates the schedule group and its queue unless they exist.
func (s *Deployment) Schedules() error {
	if err := s.Queue(wiring.Trigger{Source: naming.Timers}); err != nil {
		return err
	}
	name := s.Resource(naming.Schedules, "")
	return s.once("group "+name, func() error {
		_, err := s.others.Scheduler.CreateScheduleGroup(s.ctx, &scheduler.CreateScheduleGroupInput{Name: &name})
		return err
	})
}

// Waiting returns the number of messages in a queue.
func (s *Deployment) Waiting(kind naming.Kind, component string) int {
	s.t.Helper()
	url := s.QueueURL(kind, component)
	out, err := s.others.SQS.GetQueueAttributes(s.t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: &url, AttributeNames: []sqstypes.QueueAttributeName{sqstypes.QueueAttributeNameAll}})
	s.must(err)
	n := 0
	for _, name := range []sqstypes.QueueAttributeName{sqstypes.QueueAttributeNameApproximateNumberOfMessages, sqstypes.QueueAttributeNameApproximateNumberOfMessagesNotVisible} {
		m, err := strconv.Atoi(out.Attributes[string(name)])
		s.must(err)
		n += m
	}
	return n
}
