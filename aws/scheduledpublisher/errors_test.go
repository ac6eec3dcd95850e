package scheduledpublisher

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/scheduler/types"
	"github.com/aws/smithy-go"

	"github.com/reventless-go/reventless/aws/internal/failure/failuretest"
	"github.com/reventless-go/reventless/driver"
)

func TestErrorsHaveTheirClass(t *testing.T) {
	t.Parallel()
	failuretest.Run(t, classify, map[string]failuretest.Case{
		"a missing group":             {Err: &types.ResourceNotFoundException{}, Class: driver.ErrUnavailable},
		"a throttling exception":      {Err: &types.ThrottlingException{}, Class: driver.ErrThrottled},
		"a throttling code, with 429": {Err: failuretest.Answered(429, failuretest.Code("TooManyRequestsException", smithy.FaultClient)), Class: driver.ErrThrottled},
		"an internal error":           {Err: &types.InternalServerException{}, Class: driver.ErrUnavailable},
		"an internal failure":         {Err: failuretest.Code("InternalFailure", smithy.FaultServer), Class: driver.ErrUnavailable},
		"a conflict":                  {Err: &types.ConflictException{}}, // the caller starts over
		"an exceeded quota":           {Err: &types.ServiceQuotaExceededException{}},
		"a validation error":          {Err: &types.ValidationException{}},
	})
}
