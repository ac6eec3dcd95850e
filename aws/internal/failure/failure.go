// Package failure has what the errors of all services have in common, and with it
// their classes.
package failure

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"github.com/reventless-go/reventless/driver"
)

// Classify wraps an error of the SDK with its class. It goes by the values and
// codes of errors, never by their texts; what it does not know has no class. What
// is the service's own is asked first: service returns the class, or nil.
func Classify(err error, service func(error) error) error {
	if err == nil {
		return nil
	}
	if class := classOf(err, service); class != nil {
		return fmt.Errorf("%w: %w", class, err)
	}
	return err
}

func classOf(err error, service func(error) error) error {
	if ended(err) {
		return nil // the context's error is the class
	}
	if class := service(err); class != nil {
		return class
	}
	var api smithy.APIError
	var connection net.Error
	var operation *net.OpError
	if errors.As(err, &api) && api.ErrorFault() == smithy.FaultServer || errors.As(err, &connection) || errors.As(err, &operation) || unsent(err) {
		return driver.ErrUnavailable
	}
	var response *http.ResponseError
	if errors.As(err, &response) { // an answer whose body was not understood
		switch status := response.HTTPStatusCode(); {
		case status == 429:
			return driver.ErrThrottled
		case status >= 500:
			return driver.ErrUnavailable
		}
	}
	return nil
}

// ended reports whether the caller's context ended. For that the SDK has errors of
// its own, in place of the transport's: timeouts of the transport are a
// [context.DeadlineExceeded] to errors.Is, too, while the caller has time left.
func ended(err error) bool {
	var cancelled interface{ CanceledError() bool }
	var timeout interface{ Is(target error) bool }
	switch {
	case errors.As(err, &cancelled):
		return cancelled.CanceledError()
	case unsent(err), errors.As(err, &timeout) && timeout.Is(context.DeadlineExceeded):
		return false
	}
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// unsent reports whether a request did not get an answer.
func unsent(err error) bool {
	var sent interface{ ConnectionError() bool }
	return errors.As(err, &sent) && sent.ConnectionError()
}
