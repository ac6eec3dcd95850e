// Package awsqueues makes the queues and topics of tests, as a deployment would.
package awsqueues

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/reventless-go/reventless/aws/internal/awstest"
)

// Store has the queues and topics of one test, under names that nobody else has.
type Store struct {
	clients    *awstest.Clients
	stack      string
	visibility time.Duration

	mu     sync.Mutex
	queues map[string]string // URLs by name
}

// NewStore returns an empty store. What is in it is made by clients that nothing
// stands before. Messages are held for visibility.
func NewStore(clients *awstest.Clients, visibility time.Duration) *Store {
	return &Store{clients: clients, stack: awstest.Stack(), visibility: visibility, queues: map[string]string{}}
}

// Name is the physical name of a queue or topic: what is its purpose, name a
// component's.
func (s *Store) Name(what, name string) string {
	sum := sha256.Sum256([]byte(name))
	return s.stack + "-" + what + "-" + hex.EncodeToString(sum[:8]) + ".fifo"
}

// Queue makes a FIFO queue unless it is there, and returns its URL.
func (s *Store) Queue(ctx context.Context, name string) (url string, made bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if url, ok := s.queues[name]; ok {
		return url, false, nil
	}
	out, err := s.clients.SQS.CreateQueue(ctx, &sqs.CreateQueueInput{
		QueueName: &name,
		Attributes: map[string]string{
			"FifoQueue": "true", "DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId",
			"VisibilityTimeout": strconv.Itoa(int(s.visibility / time.Second)),
		},
	})
	if err != nil {
		return "", false, fmt.Errorf("create queue: %w", err)
	}
	s.queues[name] = *out.QueueUrl
	return *out.QueueUrl, true, nil
}

// Standard makes a standard queue and returns its URL.
func (s *Store) Standard(ctx context.Context, name string) (string, error) {
	out, err := s.clients.SQS.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &name})
	if err != nil {
		return "", fmt.Errorf("create queue: %w", err)
	}
	return *out.QueueUrl, nil
}

// Topic makes a topic, FIFO by its name, unless it is there, and returns its ARN.
func (s *Store) Topic(ctx context.Context, name string, fifo bool) (string, error) {
	in := &sns.CreateTopicInput{Name: &name}
	if fifo {
		in.Attributes = map[string]string{"FifoTopic": "true"}
	}
	out, err := s.clients.SNS.CreateTopic(ctx, in)
	if err != nil {
		return "", fmt.Errorf("create topic: %w", err)
	}
	return *out.TopicArn, nil
}

// Subscribe subscribes a queue to a topic.
func (s *Store) Subscribe(ctx context.Context, topic, queue string, attributes map[string]string) error {
	_, err := s.clients.SNS.Subscribe(ctx, &sns.SubscribeInput{
		TopicArn: &topic, Protocol: aws.String("sqs"), Attributes: attributes,
		Endpoint: aws.String("arn:aws:sqs:" + awstest.Region + ":" + awstest.Account + ":" + queue),
	})
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	return nil
}

// Put puts a message into a queue, past the drivers.
func (s *Store) Put(ctx context.Context, queue, body, group, dedup string) error {
	_, err := s.clients.SQS.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &queue, MessageBody: &body, MessageGroupId: &group, MessageDeduplicationId: &dedup})
	return err
}
