package sqs

import (
	"context"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// maxLease is the maximum time from the receipt of a message until it becomes visible. The
// queue refuses longer times, so delays stay below it by margin.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html
const (
	maxLease = 12 * time.Hour
	margin   = time.Minute
)

// Delay is the delay of the redelivery of a message that an event source mapping received.
type Delay struct {
	Receipt string
	// After is rounded up to whole seconds.
	After time.Duration
}

// SetDelays replaces the visibility timeouts of messages by delays, in requests of ten
// messages. It ignores messages whose lease has ended or that the queue refuses.
func SetDelays(ctx context.Context, q *Queue, messages []Delay) error {
	for chunk := range slices.Chunk(messages, MaxEntries) {
		in := &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: q.URL()}
		for i, m := range chunk {
			in.Entries = append(in.Entries, types.ChangeMessageVisibilityBatchRequestEntry{
				Id: aws.String(Entry(i)), ReceiptHandle: aws.String(m.Receipt), VisibilityTimeout: seconds(min(m.After, maxLease-margin)),
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
	return int32((max(d, 0) + time.Second - 1) / time.Second) //nolint:gosec // maxLease at most
}
