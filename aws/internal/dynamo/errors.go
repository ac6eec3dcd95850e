// Package dynamo has what the drivers on DynamoDB share: the classes of the
// service's errors, the sizes of items, and the reading of attributes.
package dynamo

import (
	"errors"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/reventless-go/reventless/aws/internal/failure"
	"github.com/reventless-go/reventless/driver"
)

// throttled and unavailable are the codes of transient errors.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
var (
	throttled   = []string{"ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException", "ThrottlingError", "ProvisionedThroughputExceeded"}
	unavailable = []string{"InternalServerError", "InternalServerErrorException", "ServiceUnavailable", "ServiceUnavailableException", "TransactionInProgressException", "LimitExceededException", "ResourceNotFoundException"}
)

// Classify wraps an error of the SDK with its class. A table that does not exist (yet)
// is unavailable: the answer says nothing about its items.
func Classify(err error) error { return failure.Classify(err, classOf) }

func classOf(err error) error {
	var conflict *types.TransactionConflictException
	var cancelled *types.TransactionCanceledException
	var api smithy.APIError
	switch {
	case errors.As(err, &cancelled):
		return reasonsClass(cancelled.CancellationReasons)
	case errors.As(err, &conflict):
		return driver.ErrThrottled // a concurrent transaction
	case errors.As(err, &api) && slices.Contains(throttled, api.ErrorCode()):
		return driver.ErrThrottled
	case errors.As(err, &api) && slices.Contains(unavailable, api.ErrorCode()):
		return driver.ErrUnavailable
	}
	return nil
}

// reasonsClass is the class of a cancelled transaction. Each reason other than "None" is
// about one item. A failed condition takes precedence over transient reasons.
func reasonsClass(reasons []types.CancellationReason) error {
	class := error(nil)
	for _, r := range reasons {
		switch code := Code(r); {
		case code == "ConditionalCheckFailed":
			return driver.ErrConflict
		case code == "ValidationError":
			class = driver.ErrInvalid
		case class == nil && (code == "TransactionConflict" || slices.Contains(throttled, code)):
			class = driver.ErrThrottled
		}
	}
	return class
}

// Code returns the code of a cancellation reason; empty is no reason.
func Code(r types.CancellationReason) string {
	if r.Code == nil {
		return ""
	}
	return *r.Code
}
