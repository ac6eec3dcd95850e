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

// How long a request may take, so that one that hangs does not take the function's
// time. The services answer in milliseconds; a part of a large object takes longer
// to send, which does not count.
const (
	connectTime = 2 * time.Second
	answerTime  = 5 * time.Second
)

// fromEnvironment returns the configuration of the SDK's clients in a function. It
// reads what Lambda sets and asks nobody: the SDK's own way looks at files and at
// services that a function does not have, and costs a function its start.
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
		// The engine tries again what it knows to be safe; these cover what is not
		// its own, such as an application's file.
		Retryer: func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) {
				o.MaxAttempts = 3
				// The default begins with half a second, which is a long time in a function.
				o.Backoff = retry.BackoffDelayerFunc(func(attempt int, _ error) (time.Duration, error) { return backoff(attempt + 1), nil })
			})
		},
	}
	return cfg, nil
}

// endpoint returns where a service answers, by the variables that the SDKs know;
// nil where AWS is.
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
