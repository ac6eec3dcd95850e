package dynamo_test

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

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/reventless-go/reventless/aws/internal/dynamo"
	"github.com/reventless-go/reventless/driver"
)

var classes = []error{
	driver.ErrConflict, driver.ErrNotFound, driver.ErrExists, driver.ErrTooLarge,
	driver.ErrThrottled, driver.ErrUnavailable, driver.ErrUnsupported, driver.ErrInvalid,
}

func TestClassify(t *testing.T) {
	t.Parallel()
	code := func(code string, fault smithy.ErrorFault) error {
		return &smithy.GenericAPIError{Code: code, Message: "a text that says throttled and conflict", Fault: fault}
	}
	answered := func(status int, err error) error {
		return &awshttp.ResponseError{ResponseError: &smithyhttp.ResponseError{
			Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}}, Err: err,
		}}
	}
	cancelled := func(codes ...string) error {
		var reasons []types.CancellationReason
		for _, c := range codes {
			reasons = append(reasons, types.CancellationReason{Code: aws.String(c)})
		}
		return &types.TransactionCanceledException{CancellationReasons: reasons}
	}
	for what, c := range map[string]struct {
		err   error
		class error
	}{
		"nothing":                   {nil, nil},
		"an unknown error":          {errors.New("throttled"), nil},
		"a validation":              {code("ValidationException", smithy.FaultClient), nil},
		"no rights":                 {code("AccessDeniedException", smithy.FaultClient), nil},
		"a text that has a class":   {errors.New("ConditionalCheckFailedException"), nil},
		"a cancelled context":       {&smithy.CanceledError{Err: context.Canceled}, nil},
		"a deadline":                {fmt.Errorf("send: %w", context.DeadlineExceeded), nil},
		"no table":                  {&types.ResourceNotFoundException{}, driver.ErrUnavailable},
		"throughput":                {&types.ProvisionedThroughputExceededException{}, driver.ErrThrottled},
		"request limit":             {&types.RequestLimitExceeded{}, driver.ErrThrottled},
		"throttling":                {code("ThrottlingException", smithy.FaultClient), driver.ErrThrottled},
		"status 429":                {answered(429, errors.New("no body")), driver.ErrThrottled},
		"a fault of the service":    {&types.InternalServerError{}, driver.ErrUnavailable},
		"an unknown fault of it":    {code("NewException", smithy.FaultServer), driver.ErrUnavailable},
		"status 503":                {answered(503, &smithy.DeserializationError{Err: io.ErrUnexpectedEOF}), driver.ErrUnavailable},
		"status 400 without a body": {answered(400, &smithy.DeserializationError{Err: io.ErrUnexpectedEOF}), nil},
		"a transaction under way":   {&types.TransactionInProgressException{}, driver.ErrUnavailable},
		"a reset connection":        {&net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}, driver.ErrUnavailable},
		"a connection's timeout":    {&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}, driver.ErrUnavailable},
		"a request that was not sent": {
			&smithyhttp.RequestSendError{Err: errors.New("no route")}, driver.ErrUnavailable,
		},
		"a transaction beside":     {&types.TransactionConflictException{}, driver.ErrThrottled},
		"a lost condition":         {cancelled("None", "ConditionalCheckFailed"), driver.ErrConflict},
		"a lost one, and a race":   {cancelled("TransactionConflict", "ConditionalCheckFailed", "ThrottlingError"), driver.ErrConflict},
		"a race in a transaction":  {cancelled("None", "TransactionConflict"), driver.ErrThrottled},
		"a throttled transaction":  {cancelled("ProvisionedThroughputExceeded", "ThrottlingError"), driver.ErrThrottled},
		"an invalid transaction":   {cancelled("TransactionConflict", "ValidationError"), driver.ErrInvalid},
		"an unknown reason":        {cancelled("SomethingNew"), nil},
		"a transaction of nothing": {cancelled("None"), nil},
	} {
		for _, wrapped := range []bool{false, true} {
			err := c.err
			if wrapped && err != nil {
				err = &smithy.OperationError{ServiceID: "DynamoDB", OperationName: "PutItem", Err: err}
			}
			got := dynamo.Classify(err)
			if (got == nil) != (err == nil) || err != nil && !errors.Is(got, err) {
				t.Errorf("%s: the cause is lost: %v", what, got)
			}
			for _, class := range classes {
				if has := errors.Is(got, class); has != (class == c.class) { //nolint:errorlint // the class itself
					t.Errorf("%s: has the class %q: %t", what, class, has)
				}
			}
		}
	}
}

func TestSize(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		item dynamo.Item
		want int
	}{
		"nothing":          {nil, 0},
		"a text":           {dynamo.Item{"name": dynamo.Text("é")}, 6},
		"a number":         {dynamo.Item{"n": dynamo.Number(123)}, 1 + 3},
		"a large number":   {dynamo.Item{"n": dynamo.Number(uint64(1<<63 + 1))}, 1 + 11},
		"a round number":   {dynamo.Item{"n": dynamo.Number(1000)}, 1 + 2},
		"a boolean":        {dynamo.Item{"b": dynamo.Bool(true)}, 2},
		"a list and a map": {dynamo.Item{"l": &types.AttributeValueMemberL{Value: []types.AttributeValue{&types.AttributeValueMemberM{Value: dynamo.Item{"a": dynamo.Text("b")}}}}}, 1 + 3 + 1 + 3 + 1 + 2},
	} {
		if got := dynamo.Size(c.item); got != c.want {
			t.Errorf("%s: %d bytes, want %d", what, got, c.want)
		}
	}
}
