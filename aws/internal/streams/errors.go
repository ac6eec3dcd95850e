package streams

import (
	"errors"
	"fmt"

	streamtypes "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"

	"github.com/reventless-go/reventless/aws/internal/dynamo"
	"github.com/reventless-go/reventless/driver"
)

// classify wraps an error of DynamoDB Streams with its class. LimitExceeded is
// here what throttling is elsewhere, and the SDK does not know it as that.
// https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_GetRecords.html
func classify(err error) error {
	var limit *streamtypes.LimitExceededException
	var missing *streamtypes.ResourceNotFoundException
	switch {
	case err == nil:
		return nil
	case errors.As(err, &limit):
		return fmt.Errorf("%w: %w", driver.ErrThrottled, err)
	case errors.As(err, &missing):
		return fmt.Errorf("%w: %w", driver.ErrNotFound, err)
	case isExpired(err), isTrimmed(err): // what it was for is made anew
		return fmt.Errorf("%w: %w", driver.ErrUnavailable, err)
	}
	return dynamo.Classify(err)
}

func isTrimmed(err error) bool {
	var trimmed *streamtypes.TrimmedDataAccessException
	return errors.As(err, &trimmed)
}

func isExpired(err error) bool {
	var expired *streamtypes.ExpiredIteratorException
	return errors.As(err, &expired)
}

func isMissing(err error) bool {
	var missing *streamtypes.ResourceNotFoundException
	return errors.As(err, &missing)
}
