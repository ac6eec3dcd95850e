package streams

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"

	streamtypes "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"
	"github.com/aws/smithy-go"

	"github.com/reventless-go/reventless/driver"
)

func TestClassesOfErrors(t *testing.T) {
	t.Parallel()
	classes := []error{
		driver.ErrConflict, driver.ErrNotFound, driver.ErrExists, driver.ErrTooLarge,
		driver.ErrThrottled, driver.ErrUnavailable, driver.ErrUnsupported, driver.ErrInvalid,
	}
	for what, c := range map[string]struct{ err, class error }{
		"too often":             {&streamtypes.LimitExceededException{}, driver.ErrThrottled},
		"throttling":            {&smithy.GenericAPIError{Code: "ThrottlingException"}, driver.ErrThrottled},
		"no stream":             {&streamtypes.ResourceNotFoundException{}, driver.ErrNotFound},
		"an iterator too old":   {&streamtypes.ExpiredIteratorException{}, driver.ErrUnavailable},
		"records that are gone": {&streamtypes.TrimmedDataAccessException{}, driver.ErrUnavailable},
		"internal error":        {&streamtypes.InternalServerError{}, driver.ErrUnavailable},
		"a reset connection":    {&net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}, driver.ErrUnavailable},
		"no rights":             {&smithy.GenericAPIError{Code: "AccessDeniedException", Message: "limit exceeded"}, nil},
		"an unknown error":      {errors.New("LimitExceededException"), nil},
		"a cancelled context":   {&smithy.CanceledError{Err: context.Canceled}, nil},
	} {
		got := classify(&smithy.OperationError{ServiceID: "DynamoDB Streams", OperationName: "GetRecords", Err: c.err})
		if !errors.Is(got, c.err) {
			t.Errorf("%s: the cause is lost: %v", what, got)
		}
		for _, class := range classes {
			if has := errors.Is(got, class); has != (class == c.class) { //nolint:errorlint // the class itself
				t.Errorf("%s: has the class %q: %t", what, class, has)
			}
		}
	}
}
