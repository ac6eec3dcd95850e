package dynamo_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/internal/dynamo"
	"github.com/reventless-go/reventless/aws/internal/failure/failuretest"
	"github.com/reventless-go/reventless/driver"
)

func TestErrorsHaveTheirClass(t *testing.T) {
	t.Parallel()
	cancelled := func(class error, codes ...string) failuretest.Case {
		var reasons []types.CancellationReason
		for _, c := range codes {
			reasons = append(reasons, types.CancellationReason{Code: aws.String(c)})
		}
		return failuretest.Case{Err: &types.TransactionCanceledException{CancellationReasons: reasons}, Class: class}
	}
	failuretest.Run(t, dynamo.Classify, map[string]failuretest.Case{
		"a missing table":           {Err: &types.ResourceNotFoundException{}, Class: driver.ErrUnavailable},
		"exceeded throughput":       {Err: &types.ProvisionedThroughputExceededException{}, Class: driver.ErrThrottled},
		"an exceeded request limit": {Err: &types.RequestLimitExceeded{}, Class: driver.ErrThrottled},
		"an internal error":         {Err: &types.InternalServerError{}, Class: driver.ErrUnavailable},
		"a transaction in progress": {Err: &types.TransactionInProgressException{}, Class: driver.ErrUnavailable},
		"a concurrent transaction":  {Err: &types.TransactionConflictException{}, Class: driver.ErrThrottled},
		"a lost condition":          cancelled(driver.ErrConflict, "None", "ConditionalCheckFailed"),
		"a lost one, and a race":    cancelled(driver.ErrConflict, "TransactionConflict", "ConditionalCheckFailed", "ThrottlingError"),
		"a race in a transaction":   cancelled(driver.ErrThrottled, "None", "TransactionConflict"),
		"a throttled transaction":   cancelled(driver.ErrThrottled, "ProvisionedThroughputExceeded", "ThrottlingError"),
		"an invalid transaction":    cancelled(driver.ErrInvalid, "TransactionConflict", "ValidationError"),
		"an unknown reason":         cancelled(nil, "SomethingNew"),
		"a transaction of nothing":  cancelled(nil, "None"),
	})
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
