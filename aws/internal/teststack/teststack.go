// Package teststack makes on emulators what a deployment makes on AWS: all that the
// functions of an application touch, under the names that they compute. It is for
// tests.
package teststack

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
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

	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/aws/internal/schema"
	"github.com/reventless-go/reventless/aws/internal/wiring"
	"github.com/reventless-go/reventless/topology"
)

// Stack is an application on emulators.
type Stack struct {
	// App is the application, Name the stack, which nobody else has.
	App  topology.App
	Name string
	// DynamoDB is where the tables are, Others where everything else is. They may
	// be the same.
	DynamoDB, Others *awstest.Emulator

	t        testing.TB
	names    naming.Stack
	dynamoDB *awstest.Clients
	others   *awstest.Clients
}

// visibility is the visibility timeout of the queues, in seconds. What a test has
// fail comes again after as long as it has it wait.
const visibility = "30"

// receives is how often a queue hands a message over before it is among the dead
// letters. A deployment has 5; faults that are injected use up more.
const receives = "50"

// New returns an application whose resources somebody else makes.
func New(t testing.TB, app topology.App, dynamoDB, others *awstest.Emulator) *Stack {
	t.Helper()
	s := &Stack{App: app, Name: awstest.Stack(), DynamoDB: dynamoDB, Others: others, t: t, dynamoDB: dynamoDB.Clients(nil), others: others.Clients(nil)}
	var err error
	if s.names, err = naming.New(app.Name, s.Name); err != nil {
		t.Fatal(err)
	}
	return s
}

// Deploy makes the resources of app. They are removed when the test ends: emulators
// become slow with what is left over.
func Deploy(t testing.TB, app topology.App, dynamoDB, others *awstest.Emulator) *Stack {
	t.Helper()
	s := New(t, app, dynamoDB, others)
	for _, table := range schema.Tables(app) {
		s.table(table)
	}
	topics := map[string]bool{}
	for _, r := range app.Routes(wiring.MaxFeedReaders) {
		if r.Topic && !topics[r.Log] {
			topics[r.Log] = true
			out, err := s.others.SNS.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: aws.String(s.Resource(naming.Events, r.Log)), Attributes: map[string]string{"FifoTopic": "true"}})
			s.must(err)
			s.later(func(ctx context.Context) error {
				_, err := s.others.SNS.DeleteTopic(ctx, &sns.DeleteTopicInput{TopicArn: out.TopicArn})
				return err
			})
		}
	}
	for _, f := range wiring.Functions(app, wiring.Shared) {
		for _, trigger := range f.Triggers {
			if !trigger.Stream() {
				s.queue(trigger)
			}
		}
	}
	for _, p := range app.Plugins {
		for _, c := range p.Components {
			if c.Kind == "Bucket" {
				s.bucket(c.Name)
			}
		}
	}
	_, err := s.others.Scheduler.CreateScheduleGroup(t.Context(), &scheduler.CreateScheduleGroupInput{Name: aws.String(s.Resource(naming.Schedules, ""))})
	s.must(err)
	return s
}

func (s *Stack) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// Resource is the physical name of a resource.
func (s *Stack) Resource(kind naming.Kind, component string) string {
	s.t.Helper()
	if kind == naming.Bucket {
		name, err := s.names.BucketName(kind, component, awstest.Account)
		s.must(err)
		return name
	}
	name, err := s.names.Name(kind, component)
	s.must(err)
	return name
}

// ARN is the ARN of a queue or topic.
func ARN(service, name string) string {
	return "arn:aws:" + service + ":" + awstest.Region + ":" + awstest.Account + ":" + name
}

// QueueURL is the URL of a queue.
func (s *Stack) QueueURL(kind naming.Kind, component string) string {
	out, err := s.others.SQS.GetQueueUrl(context.WithoutCancel(s.t.Context()), &sqs.GetQueueUrlInput{QueueName: aws.String(s.Resource(kind, component))})
	s.must(err)
	return *out.QueueUrl
}

// StreamARN is the ARN of a table's stream.
func (s *Stack) StreamARN(kind naming.Kind, component string) string {
	out, err := s.dynamoDB.DynamoDB.DescribeTable(s.t.Context(), &dynamodb.DescribeTableInput{TableName: aws.String(s.Resource(kind, component))})
	s.must(err)
	return *out.Table.LatestStreamArn
}

// Source is the ARN of what a trigger reads.
func (s *Stack) Source(trigger wiring.Trigger) string {
	if trigger.Stream() {
		return s.StreamARN(trigger.Source, trigger.Component)
	}
	return ARN("sqs", s.Resource(trigger.Source, trigger.Component))
}

// FunctionName is the name of a function.
func (s *Stack) FunctionName(f wiring.Function) string {
	name, err := s.names.FunctionName(string(f.Role), f.Subject)
	s.must(err)
	return name
}

// Environment is the environment of a function on the emulators.
func (s *Stack) Environment(f wiring.Function) map[string]string {
	return map[string]string{
		wiring.EnvStack: s.Name, wiring.EnvAccount: awstest.Account, wiring.EnvFunction: f.String(),
		"AWS_REGION": awstest.Region, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
		"AWS_ENDPOINT_URL": s.Others.Endpoint, "AWS_ENDPOINT_URL_DYNAMODB": s.DynamoDB.Endpoint,
	}
}

func (s *Stack) table(t schema.Table) {
	s.t.Helper()
	in := &dynamodb.CreateTableInput{TableName: aws.String(s.Resource(t.Kind, t.Component)), BillingMode: types.BillingModePayPerRequest, KeySchema: keys(t.Key)}
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
	_, err := s.dynamoDB.DynamoDB.CreateTable(s.t.Context(), in)
	s.must(err)
	s.later(func(ctx context.Context) error {
		_, err := s.dynamoDB.DynamoDB.DeleteTable(ctx, &dynamodb.DeleteTableInput{TableName: in.TableName})
		return err
	})
}

// later removes something when the test ends. That it fails is no failure of the
// test: the emulator ends soon, too.
func (s *Stack) later(remove func(ctx context.Context) error) {
	s.t.Cleanup(func() {
		if err := remove(context.WithoutCancel(s.t.Context())); err != nil {
			s.t.Logf("it is left over: %v", err)
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

// queue makes the queue of a trigger with its dead letters, and subscribes it to
// its topics.
func (s *Stack) queue(trigger wiring.Trigger) {
	s.t.Helper()
	dead := map[naming.Kind]naming.Kind{
		naming.Commands: naming.CommandsDLQ, naming.Collector: naming.CollectorDLQ, naming.Objects: naming.ObjectsDLQ, naming.Timers: naming.TimersDLQ,
	}[trigger.Source]
	attributes := map[string]string{}
	if strings.HasSuffix(s.Resource(trigger.Source, trigger.Component), ".fifo") {
		attributes = map[string]string{"FifoQueue": "true", "DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId"}
	}
	create := func(kind naming.Kind) {
		out, err := s.others.SQS.CreateQueue(s.t.Context(), &sqs.CreateQueueInput{QueueName: aws.String(s.Resource(kind, trigger.Component)), Attributes: attributes})
		s.must(err)
		s.later(func(ctx context.Context) error {
			_, err := s.others.SQS.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: out.QueueUrl})
			return err
		})
	}
	create(dead)
	redrive, err := json.Marshal(map[string]string{"deadLetterTargetArn": ARN("sqs", s.Resource(dead, trigger.Component)), "maxReceiveCount": receives})
	s.must(err)
	attributes["RedrivePolicy"], attributes["VisibilityTimeout"] = string(redrive), visibility
	create(trigger.Source)
	for _, log := range trigger.Logs {
		_, err := s.others.SNS.Subscribe(s.t.Context(), &sns.SubscribeInput{
			TopicArn: aws.String(ARN("sns", s.Resource(naming.Events, log))), Protocol: aws.String("sqs"),
			Endpoint: aws.String(s.Source(trigger)), Attributes: map[string]string{"RawMessageDelivery": "true"},
		})
		s.must(err)
	}
}

// bucket makes a bucket, which notifies the queue of its task if it has one.
func (s *Stack) bucket(component string) {
	s.t.Helper()
	name := s.Resource(naming.Bucket, component)
	_, err := s.others.S3.CreateBucket(s.t.Context(), &s3.CreateBucketInput{
		Bucket: &name, CreateBucketConfiguration: &s3types.CreateBucketConfiguration{LocationConstraint: awstest.Region},
	})
	s.must(err)
	for _, p := range s.App.Plugins {
		for _, c := range p.Components {
			if c.Bucket != component {
				continue
			}
			_, err := s.others.S3.PutBucketNotificationConfiguration(s.t.Context(), &s3.PutBucketNotificationConfigurationInput{
				Bucket: &name, NotificationConfiguration: &s3types.NotificationConfiguration{QueueConfigurations: []s3types.QueueConfiguration{{
					QueueArn: aws.String(ARN("sqs", s.Resource(naming.Objects, component))), Events: []s3types.Event{"s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:LifecycleExpiration:*"},
				}}},
			})
			s.must(err)
		}
	}
}

// Waiting is how many messages a queue has.
func (s *Stack) Waiting(kind naming.Kind, component string) int {
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
