package awstest

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// answers is a transport that answers with each status and body in turn.
type answers struct {
	bodies []string
	sent   []string
}

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	answer := a.bodies[min(len(a.sent), len(a.bodies)-1)]
	a.sent = append(a.sent, string(body))
	status := http.StatusOK
	if strings.Contains(answer, "InternalServerError") {
		status = http.StatusInternalServerError
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(answer)), Request: r}, nil
}

// The first text is the body of the answer that DynamoDB Local 3.1.0 gives under load.
func TestOnlyTheLockTimeoutOfDynamoDBLocalIsRetried(t *testing.T) {
	t.Parallel()
	const (
		locked = `{"__type":"com.amazonaws.dynamodb.v20120810#InternalServerError","Message":"This action timed out because it too long waiting for a lock. This request will succeed in actual DynamoDB API"}`
		broken = `{"__type":"com.amazonaws.dynamodb.v20120810#InternalServerError","message":"The request timed out while it was waiting for a lock."}`
	)
	for _, c := range []struct {
		bodies []string
		sent   int
		want   string
	}{
		{[]string{locked, locked, "{}"}, 3, "{}"},
		{[]string{locked, broken, "{}"}, 2, broken},
		{[]string{broken, "{}"}, 1, broken},
		{[]string{locked}, maxLocks, locked},
	} {
		next := &answers{bodies: c.bodies}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://dynamodb.test", strings.NewReader("the request"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := whole{next}.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		if err != nil || string(got) != c.want || len(next.sent) != c.sent || next.sent[c.sent-1] != "the request" {
			t.Errorf("%.40q: got %s, %v after %d requests, want %s after %d", c.bodies, got, err, len(next.sent), c.want, c.sent)
		}
	}
}
