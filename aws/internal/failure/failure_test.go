package failure_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/smithy-go"

	"github.com/reventless-go/reventless/aws/internal/failure"
	"github.com/reventless-go/reventless/driver"
)

// call sends a request with the SDK and returns its error.
func call(ctx context.Context, url string, client *http.Client, retryer aws.Retryer) error {
	c := dynamodb.New(dynamodb.Options{
		Region: "eu-central-1", BaseEndpoint: &url, HTTPClient: client, Retryer: retryer,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, nil
		}),
	})
	_, err := c.ListTables(ctx, nil)
	return err
}

// A timeout of a request to a hanging service is an error of class ErrUnavailable. If the
// caller's own context has ended, the error has no class.
func TestHangingServiceIsUnavailable(t *testing.T) {
	t.Parallel()
	end := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/half") {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("{"))
			_ = http.NewResponseController(w).Flush()
		}
		<-end
	}))
	t.Cleanup(hangs.Close)
	t.Cleanup(func() { close(end) })
	const soon = 20 * time.Millisecond
	var never aws.Retryer = aws.NopRetryer{}
	over := func(end time.Duration) func() (context.Context, context.CancelFunc) {
		return func() (context.Context, context.CancelFunc) { return context.WithTimeout(t.Context(), end) }
	}
	for what, c := range map[string]struct {
		path    string
		ctx     func() (context.Context, context.CancelFunc)
		client  *http.Client
		retryer aws.Retryer
		ended   error // of the context of the caller
	}{
		"no answer":                {client: &http.Client{Transport: &http.Transport{ResponseHeaderTimeout: soon}}},
		"three times no answer":    {client: &http.Client{Transport: &http.Transport{ResponseHeaderTimeout: soon}}, retryer: delays(0)},
		"no connection":            {client: &http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{Timeout: 1}).DialContext}}},
		"no handshake":             {client: &http.Client{Transport: tls{&http.Transport{TLSHandshakeTimeout: soon}}}},
		"timeout of the client":    {client: &http.Client{Timeout: soon}},
		"half an answer":           {path: "/half", client: &http.Client{Timeout: 10 * soon}},
		"deadline of the caller":   {ctx: over(soon), client: &http.Client{}, ended: context.DeadlineExceeded},
		"deadline has passed":      {ctx: over(-1), client: &http.Client{}, ended: context.DeadlineExceeded},
		"deadline between retries": {ctx: over(10 * soon), client: &http.Client{Transport: &http.Transport{ResponseHeaderTimeout: soon}}, retryer: delays(time.Hour), ended: context.DeadlineExceeded},
		"deadline during dial":     {ctx: over(10 * soon), client: &http.Client{Transport: &http.Transport{DialContext: dials}}, ended: context.DeadlineExceeded},
		"cancelled": {
			ctx: func() (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(soon, cancel)
				return ctx, cancel
			},
			client: &http.Client{}, ended: context.Canceled,
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := t.Context(), context.CancelFunc(func() {})
			if c.ctx != nil {
				ctx, cancel = c.ctx()
			}
			defer cancel()
			if c.retryer == nil {
				c.retryer = never
			}
			cause := call(ctx, hangs.URL+c.path, c.client, c.retryer)
			err := failure.Classify(cause, func(error) error { return nil })
			if !errors.Is(err, cause) {
				t.Errorf("the error does not wrap its cause: %v", err)
			}
			if got := errors.Is(err, driver.ErrUnavailable); got != (c.ended == nil) {
				t.Errorf("unavailable is %t: %v", got, err)
			}
			if c.ended != nil && !errors.Is(err, c.ended) {
				t.Errorf("got %v, want %v", err, c.ended)
			}
		})
	}
}

// The classification by the service function takes precedence, unless the caller's context
// has ended.
func TestClassify(t *testing.T) {
	t.Parallel()
	throttled := func(error) error { return driver.ErrThrottled }
	none := func(error) error { return nil }
	for i, tt := range []struct {
		err     error
		service func(error) error
		want    error
	}{
		{&smithy.GenericAPIError{Fault: smithy.FaultServer}, throttled, driver.ErrThrottled},
		{&smithy.GenericAPIError{Fault: smithy.FaultServer}, none, driver.ErrUnavailable},
		{&smithy.GenericAPIError{Fault: smithy.FaultClient}, none, nil},
		{context.DeadlineExceeded, throttled, nil},
		{&smithy.CanceledError{Err: context.Canceled}, throttled, nil},
		{&aws.RequestCanceledError{Err: context.Canceled}, throttled, nil},
		{errors.Join(&net.OpError{Op: "read"}, context.Canceled), throttled, nil},
	} {
		got := failure.Classify(tt.err, tt.service)
		if !errors.Is(got, tt.err) || tt.want != nil && !errors.Is(got, tt.want) || tt.want == nil && !errors.Is(tt.err, got) {
			t.Errorf("%d: got %v, want the class %v of %v", i, got, tt.want, tt.err)
		}
	}
	if failure.Classify(nil, throttled) != nil {
		t.Error("Classify(nil) is not nil")
	}
}

// tls sends requests by TLS, to a server that does not support it.
type tls struct{ next http.RoundTripper }

func (t tls) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Scheme = "https"
	return t.next.RoundTrip(r)
}

// dials blocks until the context ends.
func dials(ctx context.Context, _, _ string) (net.Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// delays is a retryer that allows two retries and waits this long before each.
type delays time.Duration

func (delays) IsErrorRetryable(error) bool                    { return true }
func (delays) MaxAttempts() int                               { return 3 }
func (d delays) RetryDelay(int, error) (time.Duration, error) { return time.Duration(d), nil }
func (delays) GetInitialToken() func(error) error             { return func(error) error { return nil } }

func (delays) GetRetryToken(context.Context, error) (func(error) error, error) {
	return func(error) error { return nil }, nil
}
