package dynamo_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/internal/dynamo"
	"github.com/reventless-go/reventless/driver"
)

// script answers each request with the next of its texts, the last one for good.
type script struct {
	answers []string // an empty one is a success
	calls   int
	tokens  map[string]bool
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if _, rest, ok := strings.Cut(string(body), `"ClientRequestToken":"`); ok {
		s.tokens[rest[:36]] = true
	}
	answer := s.answers[min(s.calls, len(s.answers)-1)]
	s.calls++
	status := http.StatusBadRequest
	if answer == "" {
		answer, status = "{}", http.StatusOK
	}
	return &http.Response{
		StatusCode: status, Header: http.Header{"Content-Type": {"application/x-amz-json-1.0"}},
		Body: io.NopCloser(strings.NewReader(answer)), Request: r,
	}, nil
}

func cancelled(codes ...string) string {
	var reasons []string
	for _, c := range codes {
		reasons = append(reasons, `{"Code":"`+c+`"}`)
	}
	return `{"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException","CancellationReasons":[` + strings.Join(reasons, ",") + `]}`
}

// Those who only stand in each other's way are tried again, and nothing else is.
func TestWritesThatPassAreTriedAgain(t *testing.T) {
	t.Parallel()
	beside := `{"__type":"com.amazonaws.dynamodb.v20120810#TransactionConflictException"}`
	for what, c := range map[string]struct {
		writes  int
		answers []string
		calls   int
		class   error
	}{
		"at once":                      {2, []string{""}, 1, nil},
		"a race":                       {2, []string{cancelled("None", "TransactionConflict"), cancelled("TransactionConflict", "None"), ""}, 3, nil},
		"a throttled one":              {2, []string{cancelled("ThrottlingError", "ProvisionedThroughputExceeded"), ""}, 2, nil},
		"a lost condition":             {2, []string{cancelled("None", "ConditionalCheckFailed"), ""}, 1, driver.ErrConflict},
		"a race, then a lost one":      {2, []string{cancelled("TransactionConflict", "None"), cancelled("ConditionalCheckFailed", "None"), ""}, 2, driver.ErrConflict},
		"both at once":                 {2, []string{cancelled("TransactionConflict", "ConditionalCheckFailed"), ""}, 1, driver.ErrConflict},
		"an invalid one":               {2, []string{cancelled("ValidationError", "TransactionConflict"), ""}, 1, driver.ErrInvalid},
		"a race without an end":        {2, []string{cancelled("TransactionConflict", "None")}, 8, driver.ErrThrottled},
		"an update beside":             {1, []string{beside, beside, ""}, 3, nil},
		"an update that lost":          {1, []string{`{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"}`, ""}, 1, driver.ErrConflict},
		"a throttled update, the SDKs": {1, []string{`{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"}`, ""}, 1, driver.ErrThrottled},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &script{answers: c.answers, tokens: map[string]bool{}}
				err := call(t.Context(), s, c.writes)
				if !errors.Is(err, c.class) || c.class == nil && err != nil || s.calls != c.calls {
					t.Errorf("got %v after %d calls, want %v after %d", err, s.calls, c.class, c.calls)
				}
				// What was cancelled is another request the next time.
				if c.writes > 1 && len(s.tokens) != c.calls {
					t.Errorf("%d calls had %d tokens", c.calls, len(s.tokens))
				}
			})
		})
	}
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		s := &script{answers: []string{cancelled("TransactionConflict", "None")}, tokens: map[string]bool{}}
		if err := call(ctx, s, 2); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, driver.ErrConflict) {
			t.Errorf("got %v, want the context's error", err)
		}
	})
}

func call(ctx context.Context, s *script, writes int) error {
	client := dynamodb.New(dynamodb.Options{
		Region: "eu-central-1", BaseEndpoint: aws.String("http://dynamodb.test"), HTTPClient: &http.Client{Transport: s}, Retryer: aws.NopRetryer{},
		Credentials: aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, ctx.Err()
		}),
	})
	caller := dynamo.Caller{Client: client, Spent: func(string, *types.ConsumedCapacity) {}}
	var all []types.TransactWriteItem
	for i := range writes {
		var e dynamo.Expression
		e.Set("n", dynamo.Number(1))
		all = append(all, e.Update("table", dynamo.Item{"id": dynamo.Number(i)}))
	}
	return caller.Write(ctx, all)
}
