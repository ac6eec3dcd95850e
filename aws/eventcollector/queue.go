// Package eventcollector hands the commits of a log to one consumer: a [Stream]
// from the stream of the log's table, a [Queue] from the log's event topic.
package eventcollector

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/reventless-go/reventless/aws/internal/sqs"
	"github.com/reventless-go/reventless/driver"
)

// Queue collects the commits of an event topic from the queue of one
// subscription: an SQS FIFO queue, with raw delivery or without. Its groups are
// the streams, as the topic made them. Ten commits are received in one request
// and settled in one or, where some are retried, two.
//
// Any number of processes may have it open; what one of them received only that
// one can settle.
type Queue struct {
	*sqs.Receiver[driver.Record]
}

var _ driver.EventCollector = (*Queue)(nil)

// QueueOptions configure a [Queue]; zero fields are the defaults.
type QueueOptions struct {
	// Now is the clock by which long retries are cut; nil is time.Now.
	Now func() time.Time
	// Wait is how long a Receive waits for a first message, in whole seconds up to
	// 20 and not beyond its context's deadline. [driver.Receiver] does not wait,
	// and neither does the default; a worker that has nothing else to do pays for
	// fewer requests.
	Wait time.Duration
}

// OpenQueue returns the collector of the queue with a name or URL, which is
// subscribed to the topic of log. Nothing is asked of the service: a missing queue
// is [driver.ErrUnavailable] at the first call. A name is looked up once, for which
// the caller needs the right sqs:GetQueueUrl.
func OpenQueue(client *sdk.Client, queue, log string, opts *QueueOptions) *Queue {
	var o sqs.Options
	if opts != nil {
		o = sqs.Options{Now: opts.Now, Wait: opts.Wait}
	}
	return &Queue{sqs.NewReceiver(sqs.NewQueue(client, queue), "eventcollector", &o, func(body, _ string) driver.Record {
		return DecodeQueue(body, log)
	})}
}

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

// DecodeQueue returns the record of a message that a subscription to the topic of
// log brought. Without its commit the record has none, which is then read from the
// log. A body that is no record of that log is one with Raw and Err.
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
		return driver.Record{}, fmt.Errorf("a message that is no envelope: %w: %w", driver.ErrInvalid, err)
	}
	if q.Log != log { // whose stream it is must not be mistaken
		return driver.Record{}, fmt.Errorf("a message of log %.100q: %w", q.Log, driver.ErrInvalid)
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

// checkPlace reports whether a record says where its commit lies.
func checkPlace(r driver.Record) error {
	err := driver.CheckID("stream", r.Stream)
	if r.SequenceNr == 0 {
		err = errors.Join(err, fmt.Errorf("sequence numbers start at 1: %w", driver.ErrInvalid))
	}
	return err
}
