// Package failuretest checks the classes that drivers assign to the errors of a service.
package failuretest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/reventless-go/reventless/driver"
)

// Case is an error and its class; nil is no class.
type Case struct{ Err, Class error }

// Code is an error of a service with a code. Its text names classes, which must not
// count.
func Code(code string, fault smithy.ErrorFault) error {
	return &smithy.GenericAPIError{Code: code, Message: "throttled, conflict, not found, NoSuchKey and SlowDown", Fault: fault}
}

// Answered is the error of a request that was answered with a status.
func Answered(status int, err error) error {
	return &awshttp.ResponseError{ResponseError: &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}}, Err: err,
	}}
}

// NoBody is the error of an answer without a body.
func NoBody(status int) error {
	return Answered(status, &smithy.DeserializationError{Err: io.ErrUnexpectedEOF})
}

// common are the errors that have the same class for every service.
var common = map[string]Case{
	"an unknown error":              {errors.New("ThrottlingException, ConditionalCheckFailedException"), nil},
	"throttling":                    {Code("ThrottlingException", smithy.FaultClient), driver.ErrThrottled},
	"status 429":                    {Answered(429, errors.New("no body")), driver.ErrThrottled},
	"an unknown server error":       {Code("NewException", smithy.FaultServer), driver.ErrUnavailable},
	"status 500 without a body":     {NoBody(500), driver.ErrUnavailable},
	"status 503 without a body":     {NoBody(503), driver.ErrUnavailable},
	"status 400 without a body":     {NoBody(400), nil},
	"a reset connection":            {&net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}, driver.ErrUnavailable},
	"a connection timeout":          {&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}, driver.ErrUnavailable},
	"a request that was not sent":   {&smithyhttp.RequestSendError{Err: errors.New("no route")}, driver.ErrUnavailable},
	"a missing permission":          {Code("AccessDeniedException", smithy.FaultClient), nil},
	"a cancelled context":           {&smithy.CanceledError{Err: context.Canceled}, nil},
	"a deadline":                    {fmt.Errorf("send: %w", context.DeadlineExceeded), nil},
	"a deadline while it was read":  {fmt.Errorf("%w: %w", context.DeadlineExceeded, &net.OpError{Op: "read"}), nil},
	"an unknown code of the client": {Code("ValidationException", smithy.FaultClient), nil},
}

var classes = []error{
	driver.ErrConflict, driver.ErrNotFound, driver.ErrExists, driver.ErrTooLarge,
	driver.ErrThrottled, driver.ErrUnavailable, driver.ErrUnsupported, driver.ErrInvalid, driver.ErrDamaged,
}

// Run checks that classify assigns their class, and no other, to the common errors and
// to those of a service, both bare and inside the SDK's error for an operation.
func Run(t *testing.T, classify func(error) error, service map[string]Case) {
	t.Helper()
	cases := maps.Clone(common)
	maps.Copy(cases, service)
	for what, c := range cases {
		for _, err := range []error{c.Err, &smithy.OperationError{ServiceID: "Service", OperationName: "Operation", Err: c.Err}} {
			got := classify(err)
			if !errors.Is(got, err) {
				t.Errorf("%s: the cause is lost: %v", what, got)
			}
			for _, class := range classes {
				if has := errors.Is(got, class); has != (class == c.Class) { //nolint:errorlint // the class itself
					t.Errorf("%s: has the class %q: %t", what, class, has)
				}
			}
		}
	}
	if err := classify(nil); err != nil {
		t.Errorf("no error is classified as %v", err)
	}
}
