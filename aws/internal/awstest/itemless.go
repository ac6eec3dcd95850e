package awstest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
)

// Itemless is a transport that removes the item from DynamoDB's responses to failed
// conditions.
type Itemless struct{ Next http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (t Itemless) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.Next.RoundTrip(r)
	if err != nil || resp.StatusCode != http.StatusBadRequest {
		return resp, err
	}
	var body map[string]any
	if err := errors.Join(json.NewDecoder(resp.Body).Decode(&body), resp.Body.Close()); err != nil {
		return nil, err
	}
	delete(body, "Item")
	text, err := json.Marshal(body)
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	resp.Header.Del("X-Amz-Crc32") // of the original body
	resp.Header.Del("Content-Length")
	return resp, err
}
