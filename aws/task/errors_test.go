package task

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/reventless-go/reventless/aws/internal/failure/failuretest"
	"github.com/reventless-go/reventless/driver"
)

func TestErrorsHaveTheirClass(t *testing.T) {
	t.Parallel()
	code, answered := failuretest.Code, failuretest.Answered
	failuretest.Run(t, classify, map[string]failuretest.Case{
		"a missing object":                      {Err: &types.NoSuchKey{}, Class: driver.ErrNotFound},
		"a missing object, of HEAD":             {Err: &types.NotFound{}, Class: driver.ErrNotFound},
		"a missing object whose key is not XML": {Err: failuretest.NoBody(404), Class: driver.ErrNotFound},
		"a missing bucket":                      {Err: &types.NoSuchBucket{}, Class: driver.ErrUnavailable},
		"a missing bucket, with its status":     {Err: answered(404, &types.NoSuchBucket{}), Class: driver.ErrUnavailable},
		"a missing upload":                      {Err: &types.NoSuchUpload{}, Class: driver.ErrUnavailable},
		"slow down":                             {Err: code("SlowDown", smithy.FaultServer), Class: driver.ErrThrottled},
		"slow down, with its status":            {Err: answered(503, code("SlowDown", smithy.FaultServer)), Class: driver.ErrThrottled},
		"an internal error":                     {Err: code("InternalError", smithy.FaultServer), Class: driver.ErrUnavailable},
		"an unavailable service":                {Err: code("ServiceUnavailable", smithy.FaultServer), Class: driver.ErrUnavailable},
		"a timeout of the service":              {Err: code("RequestTimeout", smithy.FaultClient), Class: driver.ErrUnavailable},
		"a concurrent write":                    {Err: code("OperationAborted", smithy.FaultClient), Class: driver.ErrUnavailable},
		"a missing permission, with its status": {Err: answered(403, code("AccessDenied", smithy.FaultClient))},
		"an invalid argument":                   {Err: answered(400, code("InvalidArgument", smithy.FaultClient))},
	})
}
