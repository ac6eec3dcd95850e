package scheduledpublisher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/scheduler/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/reventless-go/reventless/driver"
)

func TestClassesOfErrors(t *testing.T) {
	t.Parallel()
	classes := []error{
		driver.ErrConflict, driver.ErrNotFound, driver.ErrExists, driver.ErrTooLarge,
		driver.ErrThrottled, driver.ErrUnavailable, driver.ErrUnsupported, driver.ErrInvalid,
	}
	code := func(code string, fault smithy.ErrorFault) error {
		return &smithy.GenericAPIError{Code: code, Message: "a text that says throttled and not found", Fault: fault}
	}
	answered := func(status int, err error) error {
		return &awshttp.ResponseError{ResponseError: &smithyhttp.ResponseError{
			Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}}, Err: err,
		}}
	}
	for what, c := range map[string]struct{ err, class error }{
		"no group":                    {&types.ResourceNotFoundException{}, driver.ErrUnavailable},
		"throttling":                  {&types.ThrottlingException{}, driver.ErrThrottled},
		"throttling, by its code":     {answered(429, code("TooManyRequestsException", smithy.FaultClient)), driver.ErrThrottled},
		"status 429":                  {answered(429, errors.New("no body")), driver.ErrThrottled},
		"internal error":              {&types.InternalServerException{}, driver.ErrUnavailable},
		"internal failure":            {code("InternalFailure", smithy.FaultServer), driver.ErrUnavailable},
		"an unknown fault of it":      {code("NewException", smithy.FaultServer), driver.ErrUnavailable},
		"status 503 without a body":   {answered(503, &smithy.DeserializationError{Err: io.ErrUnexpectedEOF}), driver.ErrUnavailable},
		"a reset connection":          {&net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}, driver.ErrUnavailable},
		"a connection's timeout":      {&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}, driver.ErrUnavailable},
		"a request that was not sent": {&smithyhttp.RequestSendError{Err: errors.New("no route")}, driver.ErrUnavailable},
		"a conflict":                  {&types.ConflictException{}, nil}, // who meets it starts anew
		"a quota":                     {&types.ServiceQuotaExceededException{}, nil},
		"a validation":                {&types.ValidationException{}, nil},
		"no rights":                   {code("AccessDeniedException", smithy.FaultClient), nil},
		"status 400 without a body":   {answered(400, &smithy.DeserializationError{Err: io.ErrUnexpectedEOF}), nil},
		"an unknown error":            {errors.New("ThrottlingException"), nil},
		"a cancelled context":         {&smithy.CanceledError{Err: context.Canceled}, nil},
		"a deadline on its way":       {fmt.Errorf("%w: %w", context.DeadlineExceeded, &net.OpError{Op: "read"}), nil},
	} {
		got := classify(&smithy.OperationError{ServiceID: "Scheduler", OperationName: "CreateSchedule", Err: c.err})
		if !errors.Is(got, c.err) {
			t.Errorf("%s: the cause is lost: %v", what, got)
		}
		for _, class := range classes {
			if has := errors.Is(got, class); has != (class == c.class) { //nolint:errorlint // the class itself
				t.Errorf("%s: has the class %q: %t", what, class, has)
			}
		}
	}
	if classify(nil) != nil {
		t.Error("no error is one")
	}
}
