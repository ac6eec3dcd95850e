// Package sqs has the code that the drivers on SQS and SNS share: sending in batches, delays
// of redeliveries, the ids of groups and of deduplication, and the classification of errors.
package sqs

import (
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// Queue is a queue with a known URL.
type Queue struct {
	Client *sqs.Client
	url    string
}

// NewQueue returns the queue with a URL.
func NewQueue(client *sqs.Client, url string) *Queue { return &Queue{client, url} }

// Name returns the name of the queue.
func (q *Queue) Name() string { return q.url[strings.LastIndexByte(q.url, '/')+1:] }

// URL returns the URL of the queue.
func (q *Queue) URL() *string { return &q.url }
