// Package dynamo has what the drivers on DynamoDB share: the classes of the
// service's errors, the sizes of items, and the reading of attributes.
package dynamo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/reventless-go/reventless/driver"
)

// throttled and unavailable are the codes of errors that pass.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
var (
	throttled   = []string{"ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException", "ThrottlingError", "ProvisionedThroughputExceeded"}
	unavailable = []string{"InternalServerError", "InternalServerErrorException", "ServiceUnavailable", "ServiceUnavailableException", "TransactionInProgressException", "LimitExceededException"}
)

// Classify wraps an error of the SDK with its class. It goes by the values and
// codes of errors, never by their texts; what it does not know has no class.
func Classify(err error) error {
	if err == nil {
		return nil
	}
	class := classOf(err)
	if class == nil {
		return err
	}
	return fmt.Errorf("%w: %w", class, err)
}

func classOf(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil // the context's error is the class
	}
	var conflict *types.TransactionConflictException
	var cancelled *types.TransactionCanceledException
	var missing *types.ResourceNotFoundException
	var api smithy.APIError
	switch {
	case errors.As(err, &cancelled):
		return reasonsClass(cancelled.CancellationReasons)
	case errors.As(err, &conflict):
		return driver.ErrThrottled // another transaction is under way; it passes
	case errors.As(err, &missing):
		return driver.ErrNotFound
	case errors.As(err, &api):
		switch {
		case slices.Contains(throttled, api.ErrorCode()):
			return driver.ErrThrottled
		case slices.Contains(unavailable, api.ErrorCode()), api.ErrorFault() == smithy.FaultServer:
			return driver.ErrUnavailable
		}
		return serverFault(err)
	}
	var connection net.Error
	var operation *net.OpError
	if errors.As(err, &connection) || errors.As(err, &operation) || isConnection(err) {
		return driver.ErrUnavailable
	}
	return serverFault(err)
}

// serverFault goes by the status of an answer whose body was not understood.
func serverFault(err error) error {
	var response *http.ResponseError
	if errors.As(err, &response) {
		switch status := response.HTTPStatusCode(); {
		case status == 429:
			return driver.ErrThrottled
		case status >= 500:
			return driver.ErrUnavailable
		}
	}
	return nil
}

// isConnection reports whether a request did not get an answer.
func isConnection(err error) bool {
	var sent interface{ ConnectionError() bool }
	return errors.As(err, &sent) && sent.ConnectionError()
}

// reasonsClass is the class of a cancelled transaction: each of its reasons, but
// for "None", tells of one item. A lost condition outweighs what passes.
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

// Code returns the code of a cancellation reason; empty is none.
func Code(r types.CancellationReason) string {
	if r.Code == nil {
		return ""
	}
	return *r.Code
}
