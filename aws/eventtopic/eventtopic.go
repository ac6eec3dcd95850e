// Package eventtopic publishes the commits of a log on SNS, to queues that are
// subscribed to it.
//
// The topic is FIFO, or standard where its name does not end in ".fifo". A message
// is the [driver.Envelope] as JSON, payloads byte for byte, up to 256 KiB with its
// attributes; the message of a larger commit is only {"log", "stream", "sequenceNr"},
// and consumers read the commit from the log. Two attributes are for filter policies: log
// (String) and types (String.Array), the types of the events. The group is log and
// stream, the de-duplication id log, stream and sequence number, as in
// [driver.Envelope.Key]; a value that SNS does not accept is replaced by its hash.
//
// FIFO queues are subscribed to a FIFO topic, with or without raw delivery. A standard
// topic neither orders nor de-duplicates: its queues may be standard queues, whose
// consumers receive commits repeatedly and in any order. The engine restores the order: it
// compares sequence numbers and reads the log. With a standard topic the driver therefore
// does not guarantee the order per stream that [driver.EventTopic] requires, only delivery.
//
// Ten commits, of 256 KiB together, are one request.
// https://docs.aws.amazon.com/sns/latest/dg/sns-fifo-topics.html
package eventtopic

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"

	"github.com/reventless-go/reventless/aws/internal/sqs"
	"github.com/reventless-go/reventless/driver"
)

// MaxBytes is the maximum size of the messages of a request together, with their
// attributes: the default limit of a topic.
// https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html
const MaxBytes = 256 << 10

// The attributes and their types.
const (
	attributeLog   = "log"
	attributeTypes = "types"
	text           = "String"
	texts          = "String.Array"
)

// Topic is the topic of one log. It keeps no state in memory.
type Topic struct {
	client *sns.Client
	arn    string
	fifo   bool
}

var _ driver.EventTopic = (*Topic)(nil)

// Options configure a [Topic]; there are none yet.
type Options struct{}

// Open returns the topic with an ARN. It makes no request: a missing
// topic is [driver.ErrUnavailable] at the first call.
func Open(client *sns.Client, arn string, _ *Options) *Topic {
	return &Topic{client: client, arn: arn, fifo: strings.HasSuffix(arn, ".fifo")}
}

// Publish implements [driver.EventTopic]. The driver does not retry a commit
// that failed, because later commits may be published already. After a failure the caller
// publishes the commits that the error names; later requests of the call contain no
// commits of their streams.
func (t *Topic) Publish(ctx context.Context, envelopes []driver.Envelope) error {
	if err := t.publish(ctx, envelopes); err != nil {
		return fmt.Errorf("eventtopic %s: publish %d commits: %w", t.arn, len(envelopes), err)
	}
	return nil
}

func (t *Topic) publish(ctx context.Context, envelopes []driver.Envelope) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	refused := map[string]error{}
	var messages []sqs.Message
	for _, e := range envelopes {
		m, err := encode(e)
		if err != nil {
			refused[e.Key()] = err
			continue
		}
		messages = append(messages, m)
	}
	return sqs.Send(ctx, messages, MaxBytes, refused, t.request)
}

func (t *Topic) request(ctx context.Context, messages []sqs.Message) (*sqs.Answer, error) {
	in := &sns.PublishBatchInput{TopicArn: &t.arn}
	for i, m := range messages {
		entry := types.PublishBatchRequestEntry{
			Id: aws.String(sqs.Entry(i)), Message: &m.Body,
			MessageAttributes: map[string]types.MessageAttributeValue{
				attributeLog:   {DataType: aws.String(text), StringValue: &m.Log},
				attributeTypes: {DataType: aws.String(texts), StringValue: &m.Types},
			},
		}
		if t.fifo {
			entry.MessageGroupId, entry.MessageDeduplicationId = &m.Group, &m.Dedup
		}
		in.PublishBatchRequestEntries = append(in.PublishBatchRequestEntries, entry)
	}
	out, err := t.client.PublishBatch(ctx, in)
	if err != nil {
		return nil, sqs.Classify(err)
	}
	answer := sqs.NewAnswer()
	for _, s := range out.Successful {
		answer.Accepted[aws.ToString(s.Id)] = true
	}
	for _, f := range out.Failed {
		answer.Failed[aws.ToString(f.Id)] = sqs.EntryError(f.Code, f.Message, f.SenderFault)
	}
	return answer, nil
}

// claim is the message of a commit that does not fit in a message.
type claim struct {
	Log        string `json:"log"`
	Stream     string `json:"stream"`
	SequenceNr uint64 `json:"sequenceNr"`
}

// encode checks an envelope and returns its message.
func encode(e driver.Envelope) (sqs.Message, error) {
	var m sqs.Message
	if e.Log == "" {
		return m, fmt.Errorf("envelope without a log: %w", driver.ErrInvalid)
	}
	if err := driver.CheckCommit(e.Commit); err != nil {
		return m, err
	}
	e.Commit.Snapshot = nil
	m = sqs.Message{Key: e.Key(), Group: sqs.ID(e.Log + "/" + e.Commit.Stream), Dedup: sqs.ID(e.Key()), Log: e.Log}
	var err error
	if m.Types, err = eventTypes(e.Commit.Events); err != nil {
		return m, fmt.Errorf("event types of %.200s: %w", m.Key, err)
	}
	attributes := len(attributeLog+text+attributeTypes+texts) + len(m.Log) + len(m.Types)
	var whole bool
	if m.Body, whole, err = body(e, MaxBytes-attributes); err != nil {
		return m, err
	}
	if !whole {
		text, err := json.Marshal(claim{e.Log, e.Commit.Stream, e.Commit.SequenceNr})
		if err != nil {
			return m, fmt.Errorf("claim of %.200s: %w: %w", m.Key, driver.ErrInvalid, err)
		}
		if m.Body, _, err = sqs.Text(text); err != nil {
			return m, err
		}
	}
	if m.Size = len(m.Body) + attributes; m.Size > MaxBytes {
		return m, fmt.Errorf("event types of %.200s: %w", m.Key, &driver.TooLargeError{What: "attributes", Size: m.Size, Limit: MaxBytes})
	}
	return m, nil
}

// body returns the message of a whole commit; false when the commit does not fit or
// would not arrive byte for byte.
func body(e driver.Envelope, max int) (string, bool, error) {
	size := 0
	for _, event := range e.Commit.Events {
		if size += len(event.Data); size > max || len(bytes.TrimSpace(event.Data)) < len(event.Data) {
			return "", false, nil // too large without encoding it; or white space would be lost
		}
	}
	log, err := json.Marshal(e.Log)
	if err != nil {
		return "", false, fmt.Errorf("name of the log: %w: %w", driver.ErrInvalid, err)
	}
	commit, err := driver.EncodeCommit(e.Commit)
	if err != nil {
		return "", false, err
	}
	envelope := slices.Concat([]byte(`{"log":`), log, []byte(`,"commit":`), commit, []byte("}"))
	whole, changed, err := sqs.Text(envelope)
	if errors.Is(err, driver.ErrInvalid) || changed || len(whole) > max {
		return "", false, nil
	}
	return whole, true, err
}

// eventTypes returns the types of events as the value of an attribute, each once.
func eventTypes(events []driver.Event) (string, error) {
	names := make([]string, len(events))
	for i, e := range events {
		names[i] = e.Type
	}
	slices.Sort(names)
	encoded, err := json.Marshal(slices.Compact(names))
	if err != nil {
		return "", fmt.Errorf("%w: %w", driver.ErrInvalid, err)
	}
	value, _, err := sqs.Text(encoded)
	return value, err
}
