package task

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
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
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
		return &smithy.GenericAPIError{Code: code, Message: "a text that says NoSuchKey and SlowDown", Fault: fault}
	}
	answered := func(status int, err error) error {
		return &awshttp.ResponseError{ResponseError: &smithyhttp.ResponseError{
			Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}}, Err: err,
		}}
	}
	for what, c := range map[string]struct{ err, class error }{
		"no object":                   {&types.NoSuchKey{}, driver.ErrNotFound},
		"no object, to HEAD":          {&types.NotFound{}, driver.ErrNotFound},
		"no object, its key no XML":   {answered(404, &smithy.DeserializationError{Err: io.ErrUnexpectedEOF}), driver.ErrNotFound},
		"no bucket":                   {&types.NoSuchBucket{}, driver.ErrUnavailable},
		"no bucket, with its status":  {answered(404, &types.NoSuchBucket{}), driver.ErrUnavailable},
		"no upload":                   {&types.NoSuchUpload{}, driver.ErrUnavailable},
		"slow down":                   {code("SlowDown", smithy.FaultServer), driver.ErrThrottled},
		"slow down, with its status":  {answered(503, code("SlowDown", smithy.FaultServer)), driver.ErrThrottled},
		"throttling":                  {code("ThrottlingException", smithy.FaultClient), driver.ErrThrottled},
		"status 429":                  {answered(429, errors.New("no body")), driver.ErrThrottled},
		"internal error":              {code("InternalError", smithy.FaultServer), driver.ErrUnavailable},
		"unavailable":                 {code("ServiceUnavailable", smithy.FaultServer), driver.ErrUnavailable},
		"a timeout of the service":    {code("RequestTimeout", smithy.FaultClient), driver.ErrUnavailable},
		"another write under way":     {code("OperationAborted", smithy.FaultClient), driver.ErrUnavailable},
		"an unknown fault of it":      {code("NewError", smithy.FaultServer), driver.ErrUnavailable},
		"status 500 without a body":   {answered(500, &smithy.DeserializationError{Err: io.ErrUnexpectedEOF}), driver.ErrUnavailable},
		"a reset connection":          {&net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}, driver.ErrUnavailable},
		"a connection's timeout":      {&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}, driver.ErrUnavailable},
		"a request that was not sent": {&smithyhttp.RequestSendError{Err: errors.New("no route")}, driver.ErrUnavailable},
		"no rights":                   {code("AccessDenied", smithy.FaultClient), nil},
		"no rights, with its status":  {answered(403, code("AccessDenied", smithy.FaultClient)), nil},
		"a bad request":               {answered(400, code("InvalidArgument", smithy.FaultClient)), nil},
		"status 400 without a body":   {answered(400, &smithy.DeserializationError{Err: io.ErrUnexpectedEOF}), nil},
		"an unknown error":            {errors.New("NoSuchKey"), nil},
		"a cancelled context":         {&smithy.CanceledError{Err: context.Canceled}, nil},
		"a deadline on its way":       {fmt.Errorf("%w: %w", context.DeadlineExceeded, &net.OpError{Op: "read"}), nil},
	} {
		got := classify(&smithy.OperationError{ServiceID: "S3", OperationName: "GetObject", Err: c.err})
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
