package sqs

import (
	"errors"
	"fmt"
	"slices"

	"github.com/aws/smithy-go"

	"github.com/reventless-go/reventless/aws/internal/failure"
	"github.com/reventless-go/reventless/driver"
)

// The error codes by class, from errors of the SDK and from entries of batches. Codes with
// dots are from the protocol before JSON; the services still use them.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html,
// https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html.
// The retryer of the SDK does not recognize "Throttled", which SNS returns with status 429.
var (
	throttled = []string{
		"RequestThrottled", "AWS.SimpleQueueService.RequestThrottled", "ThrottlingException", "Throttling", "Throttled", "RequestLimitExceeded",
		"OverLimit", "KmsThrottled", "KMS.ThrottlingException", "KMSThrottling",
	}
	unavailable = []string{
		"InternalError", "InternalFailure", "InternalErrorException", "ServiceUnavailable",
		"QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue", "NotFound", "NotFoundException",
	}
	invalid = []string{"InvalidParameterValue", "InvalidParameter", "ParameterValueInvalid", "InvalidMessageContents", "MissingParameter", "BatchRequestTooLong"}
)

// Classify wraps an error of SQS or SNS with its class. A queue or topic that does not exist
// is unavailable because a deployment may be about to create it.
func Classify(err error) error { return failure.Classify(err, classOf) }

func classOf(err error) error {
	var api smithy.APIError
	if errors.As(err, &api) {
		return codeClass(api.ErrorCode())
	}
	return nil
}

func codeClass(code string) error {
	switch {
	case slices.Contains(throttled, code):
		return driver.ErrThrottled
	case slices.Contains(unavailable, code):
		return driver.ErrUnavailable
	case slices.Contains(invalid, code):
		return driver.ErrInvalid
	}
	return nil
}

// EntryError returns the error of a failed entry of a batch. An error that is not the fault
// of the sender is temporary.
func EntryError(code, message *string, senderFault bool) error {
	text := value(code)
	class := codeClass(text)
	if class == nil && !senderFault {
		class = driver.ErrUnavailable
	}
	if class == nil {
		return fmt.Errorf("%s: %.200s", text, value(message))
	}
	return fmt.Errorf("%w: %s: %.200s", class, text, value(message))
}

// errNoResult returns the error of an entry without a result in the answer.
func errNoResult() error {
	return fmt.Errorf("%w: the answer has no result for the entry", driver.ErrUnavailable)
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
