// Package standardqueue makes clients for queues that are not FIFO.
package standardqueue

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go/middleware"
)

// Client returns a client that asks a standard queue for nothing that only a FIFO
// queue has, so that package sqs can receive from both.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html
func Client(client *sqs.Client) *sqs.Client {
	return sqs.New(client.Options(), func(o *sqs.Options) {
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("StandardQueue", plain), middleware.Before)
		})
	})
}

func plain(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
	if receive, ok := in.Parameters.(*sqs.ReceiveMessageInput); ok {
		plain := *receive
		plain.ReceiveRequestAttemptId = nil
		in.Parameters = &plain
	}
	return next.HandleInitialize(ctx, in)
}
