// Package lambdahost runs an App in Lambda functions: one binary for all of them.
//
//	func main() { lambdahost.Start(shop.App(), nil) }
//
// The deployment sets the environment that selects the work of a function:
//
//	REVENTLESS_FUNCTION  "role" or "role/subject", such as "commands/Catalog"
//	REVENTLESS_STACK     the stack, which is part of the names of resources
//	REVENTLESS_ACCOUNT   the id of the account
//
// A function of a queue or stream answers with the ids of the failed messages. In a FIFO
// queue, the later messages of the group of a failed one have failed, too. Before it
// answers, the function retries while it has time, so that short outages of a store cause no
// redelivery. A message on which application code keeps failing is parked in the dead
// letters. A panic is a failure of its message.
// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
//
// The function with the role "api" is invoked directly, see [Request].
//
// Functions write JSON lines to standard output with the level AWS_LAMBDA_LOG_LEVEL. For
// every invocation they write a line of metrics for CloudWatch: Duration (ms), Lag (ms, the
// age of the oldest message) and Messages, and if they are not zero, Failed, Errors,
// Retries, Conflicts, Parked and Panics. The namespace is Reventless, the dimensions are
// App, Stack and Function.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
package lambdahost

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless"
)

// Options configure the functions. Nil and zero values select the defaults.
type Options struct {
	// AWS is the configuration of the clients. The default comes from the environment of
	// the function: AWS_REGION, the credentials of its role, and AWS_ENDPOINT_URL with its
	// variants for single services.
	AWS *aws.Config
	// Margin is the time before the deadline that is reserved for the answer. The default
	// is one second. It is at most a quarter of the time of the invocation.
	Margin time.Duration
	// MaxAttempts is the number of attempts of a message before it is parked; the default
	// is 5. A message that is redelivered for other reasons has at least three attempts
	// left. A message that exceeds its time is parked from its third delivery on.
	MaxAttempts int
	// CacheEntries is the maximum number of entities in memory. The default is 4,096; a
	// negative number disables the cache.
	CacheEntries int

	// For tests: what DynamoDB consumes, and the clock.
	spent func(operation string, c *types.ConsumedCapacity)
	now   func() time.Time
}

// Start runs app in this function and does not return. If the environment is not valid
// for app, it logs the error and exits with status 1.
func Start(app *reventless.App, opts *Options) {
	system{os.Getenv, os.Stdout, os.Exit, func(h lambda.Handler) { lambda.StartWithOptions(h) }}.start(app, opts) //nolint:forbidigo // the environment of the process
}

// system has the dependencies of Start on the process, which tests replace.
type system struct {
	getenv func(string) string
	stdout io.Writer
	exit   func(int)
	serve  func(lambda.Handler)
}

func (s system) start(app *reventless.App, opts *Options) {
	h, err := newHandler(app, s.getenv, s.stdout, opts)
	if err != nil {
		newLogger(s.stdout, s.getenv).Error("the function cannot start", "error", err.Error())
		s.exit(1)
		return
	}
	s.serve(h)
}

// required returns the value of a required variable.
func required(getenv func(string) string, name string) (string, error) {
	if v := getenv(name); v != "" {
		return v, nil
	}
	return "", fmt.Errorf("%s is not set; the deployment has to set it", name)
}
