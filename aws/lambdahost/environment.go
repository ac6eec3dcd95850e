package lambdahost

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
)

// The timeouts of a request, so that a hanging request does not use up the time of the
// function. The services answer in milliseconds. The time to send a large object does not
// count.
const (
	connectTime = 2 * time.Second
	answerTime  = 5 * time.Second
)

// fromEnvironment returns the configuration of the SDK's clients from the variables that
// Lambda sets. The SDK's own configuration also reads files and calls services that a
// function does not have, which slows down a cold start.
func fromEnvironment(getenv func(string) string) (aws.Config, error) {
	region, err := required(getenv, "AWS_REGION")
	if err != nil {
		return aws.Config{}, err
	}
	cfg := aws.Config{
		Region: region,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			c := aws.Credentials{
				AccessKeyID: getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: getenv("AWS_SECRET_ACCESS_KEY"), SessionToken: getenv("AWS_SESSION_TOKEN"),
				Source: "lambda",
			}
			if !c.HasKeys() {
				return c, fmt.Errorf("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set")
			}
			return c, nil
		}),
		HTTPClient: &http.Client{Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: connectTime, KeepAlive: 30 * time.Second}).DialContext,
			TLSHandshakeTimeout:   connectTime,
			ResponseHeaderTimeout: answerTime,
			MaxIdleConnsPerHost:   64,
			IdleConnTimeout:       time.Minute,
		}},
		// The engine retries its own calls; these retries are for the other calls, such as
		// those for the files of an application.
		Retryer: func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) {
				o.MaxAttempts = 3
				// The default backoff starts with half a second, which is too long in a function.
				o.Backoff = retry.BackoffDelayerFunc(func(attempt int, _ error) (time.Duration, error) { return backoff(attempt + 1), nil })
			})
		},
	}
	return cfg, nil
}

// endpoint returns the endpoint of a service from the variables of the SDKs; nil means the
// endpoint of AWS.
// https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
func endpoint(getenv func(string) string) func(service string) *string {
	return func(service string) *string {
		for _, name := range []string{"AWS_ENDPOINT_URL_" + service, "AWS_ENDPOINT_URL"} {
			if url := getenv(name); url != "" {
				return &url
			}
		}
		return nil
	}
}
