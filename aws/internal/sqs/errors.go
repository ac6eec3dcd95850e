package sqs

import (
	"errors"
	"fmt"
	"slices"

	"github.com/aws/smithy-go"

	"github.com/reventless-go/reventless/aws/internal/failure"
	"github.com/reventless-go/reventless/driver"
)

// The codes that have a class, as the SDK or the entry of a batch has them. Those
// with dots are from before the JSON protocol, and still come.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html,
// https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html. That SNS is
// throttled by "Throttled" with status 429 the SDK's retryer does not know.
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

// Classify wraps an error of SQS or SNS with its class. A queue or topic that does
// not exist, or not yet, is away.
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

// EntryError is the error of one entry of a batch that failed. What is not the
// sender's fault passes.
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

// errNoResult is for an entry of which the answer says nothing.
func errNoResult() error {
	return fmt.Errorf("%w: the answer has no result for it", driver.ErrUnavailable)
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
