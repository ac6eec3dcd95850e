// Package eventcollector decodes the two forms in which commits reach a consumer: the
// records of the stream of the log's table, and the messages of its event topic.
package eventcollector

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/reventless-go/reventless/driver"
)

// queued is the body of a message: an envelope, a claim without its commit, or
// SNS's own envelope around one of these, where there is no raw delivery.
type queued struct {
	Log        string          `json:"log"`
	Commit     json.RawMessage `json:"commit"`
	Stream     string          `json:"stream"`
	SequenceNr uint64          `json:"sequenceNr"`
}

// notification is what SNS wraps around a message.
// https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html
type notification struct {
	Type    string
	Message *string
}

// DecodeQueue returns the record of a message from a subscription to the topic of log. A
// message without its commit is a record without one; the consumer reads the commit from
// the log. A body that is not a record of that log is a record with Raw and Err.
func DecodeQueue(body, log string) driver.Record {
	inner := body
	var n notification
	if json.Unmarshal([]byte(body), &n) == nil && n.Type == "Notification" && n.Message != nil {
		inner = *n.Message
	}
	r, err := decodeQueue(inner, log)
	if err != nil {
		return driver.Record{Log: r.Log, Stream: r.Stream, SequenceNr: r.SequenceNr, Raw: []byte(body), Err: fmt.Errorf("eventcollector: %w", err)}
	}
	return r
}

func decodeQueue(body, log string) (driver.Record, error) {
	var q queued
	if err := json.Unmarshal([]byte(body), &q); err != nil {
		return driver.Record{}, fmt.Errorf("the message is not an envelope: %w: %w", driver.ErrInvalid, err)
	}
	if q.Log != log { // streams of two logs are distinct, even with one name
		return driver.Record{}, fmt.Errorf("the message is from log %.100q: %w", q.Log, driver.ErrInvalid)
	}
	if len(q.Commit) == 0 || bytes.Equal(q.Commit, []byte("null")) {
		r := driver.Record{Log: q.Log, Stream: q.Stream, SequenceNr: q.SequenceNr}
		if err := checkPlace(r); err != nil {
			return driver.Record{Log: q.Log}, err
		}
		return r, nil
	}
	c, err := driver.DecodeCommit(q.Commit)
	if err != nil {
		r := driver.Record{Log: q.Log, Stream: c.Stream, SequenceNr: c.SequenceNr}
		if checkPlace(r) == nil {
			return r, nil // the consumer reads the commit from the log
		}
		return driver.Record{Log: q.Log}, err
	}
	r := driver.Record{Log: q.Log, Stream: c.Stream, SequenceNr: c.SequenceNr, Commit: &c}
	if err := checkPlace(r); err != nil {
		return driver.Record{Log: q.Log}, err
	}
	if err := driver.CheckCommit(c); err != nil {
		return r, err
	}
	return r, nil
}

// checkPlace returns an error when a record does not identify its commit.
func checkPlace(r driver.Record) error {
	err := driver.CheckID("stream", r.Stream)
	if r.SequenceNr == 0 {
		err = errors.Join(err, fmt.Errorf("sequence numbers start at 1: %w", driver.ErrInvalid))
	}
	return err
}
