package awstest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
)

// attempts stands before MiniStack, which does not know ReceiveRequestAttemptId:
// who receives again from a FIFO queue under the same id gets the same messages,
// also while they are held.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html
type attempts struct {
	next http.RoundTripper

	mu   sync.Mutex
	seen map[string]received
}

type received struct {
	header http.Header
	body   []byte
}

func (a *attempts) RoundTrip(r *http.Request) (*http.Response, error) {
	if Operation(r) != "SQS.ReceiveMessage" {
		return a.next.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err := errors.Join(err, r.Body.Close()); err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(bytes.NewReader(body))
	var in struct {
		ID string `json:"ReceiveRequestAttemptId"`
	}
	if json.Unmarshal(body, &in) != nil || in.ID == "" {
		return a.next.RoundTrip(r)
	}
	a.mu.Lock()
	before, ok := a.seen[in.ID]
	a.mu.Unlock()
	if !ok {
		resp, err := a.next.RoundTrip(r)
		if err != nil || resp.StatusCode != http.StatusOK {
			return resp, err
		}
		before.header = resp.Header
		before.body, err = io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			return nil, err
		}
		a.mu.Lock()
		a.seen[in.ID] = before
		a.mu.Unlock()
	}
	resp := respond(r, http.StatusOK, "", before.body)
	resp.Header = before.header.Clone()
	return resp, nil
}
