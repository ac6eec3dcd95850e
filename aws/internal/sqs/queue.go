// Package sqs has what the drivers on SQS share: sending in batches, setting messages
// back, the ids of groups and of de-duplication, and the classes of errors, which are
// those of SNS, too.
package sqs

import (
	"context"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// Queue is a queue by its URL, or by its name, which is looked up once.
type Queue struct {
	Client *sqs.Client

	mu   sync.Mutex
	name string
	url  string
}

// NewQueue returns the queue with a name or URL.
func NewQueue(client *sqs.Client, name string) *Queue {
	q := &Queue{Client: client, name: name}
	if strings.Contains(name, "://") {
		q.url = name
		q.name = name[strings.LastIndexByte(name, '/')+1:]
	}
	return q
}

// Name returns the queue's name.
func (q *Queue) Name() string { return q.name }

// URL returns the queue's URL.
func (q *Queue) URL(ctx context.Context) (*string, error) {
	q.mu.Lock()
	url := q.url
	q.mu.Unlock()
	if url == "" {
		out, err := q.Client.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &q.name})
		if err != nil {
			return nil, Classify(err)
		}
		url = value(out.QueueUrl)
		q.mu.Lock()
		q.url = url
		q.mu.Unlock()
	}
	return &url, nil
}
