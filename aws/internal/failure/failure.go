// Package failure classifies the errors of the SDK that all services have in common.
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

// Classify wraps an error of the SDK with its class. It compares values and codes of
// errors, never texts. An unknown error has no class. service returns the class of an error
// of a service, or nil; it takes precedence.
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
		return nil // errors.Is finds the error of the context
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
	if errors.As(err, &response) { // the body of the response was not decoded
		switch status := response.HTTPStatusCode(); {
		case status == 429:
			return driver.ErrThrottled
		case status >= 500:
			return driver.ErrUnavailable
		}
	}
	return nil
}

// ended reports whether the context of the caller ended. The SDK has its own errors for
// that. A timeout of the transport, which is also a [context.DeadlineExceeded], is not the
// end of the caller's context.
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

// unsent reports whether a request got no answer.
func unsent(err error) bool {
	var sent interface{ ConnectionError() bool }
	return errors.As(err, &sent) && sent.ConnectionError()
}
