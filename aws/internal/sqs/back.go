package sqs

import (
	"context"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// maxHold is how long a message can be held from when it was received, margin what a
// message that is set back stays below it: the queue refuses what is longer.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html
const (
	maxHold = 12 * time.Hour
	margin  = time.Minute
)

// Back is a message that was received by somebody else, such as an event source
// mapping, and is to come again.
type Back struct {
	Receipt string
	// After is how long it waits, in whole seconds, rounded up.
	After time.Duration
}

// SetBack has messages wait before they come again, in place of the rest of their
// visibility timeout. It is a request for each ten. Those whose hold has ended, and
// single ones that the queue refuses, are left as they are.
func SetBack(ctx context.Context, q *Queue, messages []Back) error {
	url, err := q.URL(ctx)
	if err != nil {
		return err
	}
	for chunk := range slices.Chunk(messages, MaxEntries) {
		in := &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: url}
		for i, m := range chunk {
			in.Entries = append(in.Entries, types.ChangeMessageVisibilityBatchRequestEntry{
				Id: aws.String(Entry(i)), ReceiptHandle: aws.String(m.Receipt), VisibilityTimeout: seconds(min(m.After, maxHold-margin)),
			})
		}
		if _, err := q.Client.ChangeMessageVisibilityBatch(ctx, in); err != nil {
			return Classify(err)
		}
	}
	return nil
}

// seconds returns d in whole seconds, rounded up.
func seconds(d time.Duration) int32 {
	return int32((max(d, 0) + time.Second - 1) / time.Second) //nolint:gosec // maxHold at most
}
