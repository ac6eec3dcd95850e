// Package lambdahost runs an App in Lambda functions: one binary for all of them.
//
//	func main() { lambdahost.Start(shop.App(), nil) }
//
// What a function does is said by its environment, which the deployment sets:
//
//	REVENTLESS_FUNCTION  "role" or "role/subject", such as "commands/Catalog"
//	REVENTLESS_STACK     the stack; resources are named after it
//	REVENTLESS_ACCOUNT   the id of the account
//
// A function of a queue or stream answers with those messages that failed; of a
// FIFO queue these are the failed one and all later ones of its group. Before, it
// tries again by itself while it has time, so that a store that is away for a
// moment costs nobody their place. What application code fails at is parked in
// the dead letters after some attempts, and done. A panic is the failure of its
// message. https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
//
// The function with the role "api" is called directly, see [Request].
//
// Functions write JSON lines to standard output, as AWS_LAMBDA_LOG_LEVEL says, and
// for every invocation a line with metrics that CloudWatch reads: Duration (ms),
// Lag (ms, the age of the oldest message) and Messages, and where there were some
// Failed, Errors, Retries, Conflicts, Parked and Panics, in the namespace Reventless,
// by App, Stack and Function.
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

// Options configure the functions; nil and zero fields are the defaults.
type Options struct {
	// AWS is the configuration of the clients; nil makes one of the environment
	// that Lambda gives a function: AWS_REGION, the credentials of its role, and
	// AWS_ENDPOINT_URL with its forms for single services.
	AWS *aws.Config
	// Margin is how long before its deadline a function stops working, to answer;
	// 0 is a second, and never more than a quarter of what it was given.
	Margin time.Duration
	// MaxAttempts is how often a message is tried before it is parked; 0 is 5. What
	// came back because of something else has three attempts left, and what does not
	// end in its time is parked when it was handed over for the third time or later.
	MaxAttempts int
	// CacheEntries is how many entities stay in memory; 0 is 4,096, negative is
	// none.
	CacheEntries int

	spent func(operation string, c *types.ConsumedCapacity) // of DynamoDB, for tests
}

// Start runs app in this function, and never returns. A function whose
// environment is not one of app ends with status 1 and says why.
func Start(app *reventless.App, opts *Options) {
	system{os.Getenv, os.Stdout, os.Exit, func(h lambda.Handler) { lambda.StartWithOptions(h) }}.start(app, opts) //nolint:forbidigo // the host's own environment
}

// system is what Start needs of the process, for tests to replace.
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

// required returns a variable that has to be set.
func required(getenv func(string) string, name string) (string, error) {
	if v := getenv(name); v != "" {
		return v, nil
	}
	return "", fmt.Errorf("%s is not set: the deployment sets it", name)
}
