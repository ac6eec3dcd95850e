// Package commandtopic is the queue of an aggregate's commands on SQS FIFO.
//
// A message's body is the command as JSON. Its group is the entity, its
// de-duplication id the command's; ids that SQS does not accept are replaced by
// their hash. The queue has DeduplicationScope messageGroup and
// FifoThroughputLimit perMessageGroupId: with another scope SQS would
// de-duplicate command ids across entities. It de-duplicates for five minutes after the
// first send, whether or not the message was settled meanwhile:
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/using-messagededuplicationid-property.html
//
// Ten commands are sent in one request.
package commandtopic

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/reventless-go/reventless/aws/internal/sqs"
	"github.com/reventless-go/reventless/driver"
)

// MaxCommandBytes is the maximum size of a command as JSON.
const MaxCommandBytes = sqs.MaxBytes

// Topic is the queue of one aggregate. Any number of processes may have it open.
type Topic struct{ queue *sqs.Queue }

var _ driver.CommandTopic = (*Topic)(nil)

// Open returns the topic of the queue with a URL. It sends no request: the first call for a
// missing queue returns [driver.ErrUnavailable].
func Open(client *sdk.Client, url string) *Topic {
	return &Topic{sqs.NewQueue(client, url)}
}

// Send implements [driver.CommandTopic]. Ten commands, of up to 1 MiB together,
// are one request. The driver does not retry a command that failed, because later
// commands may have been accepted. After a failure the caller sends the commands that the
// error names; later requests of the call contain no commands of their entities.
func (t *Topic) Send(ctx context.Context, commands []driver.Command) error {
	if err := t.send(ctx, commands); err != nil {
		return fmt.Errorf("commandtopic %s: send %d commands: %w", t.queue.Name(), len(commands), err)
	}
	return nil
}

func (t *Topic) send(ctx context.Context, commands []driver.Command) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	refused := map[string]error{}
	var messages []sqs.Message
	for _, c := range commands {
		body, err := encode(c)
		if err != nil {
			refused[c.Meta.ID] = err
			continue
		}
		messages = append(messages, sqs.Message{Key: c.Meta.ID, Group: sqs.ID(c.Entity), Dedup: sqs.ID(c.DeduplicationKey()), Body: body, Size: len(body)})
	}
	return sqs.Send(ctx, messages, sqs.MaxBytes, refused, t.request)
}

func (t *Topic) request(ctx context.Context, messages []sqs.Message) (*sqs.Answer, error) {
	in := &sdk.SendMessageBatchInput{QueueUrl: t.queue.URL()}
	for i, m := range messages {
		in.Entries = append(in.Entries, types.SendMessageBatchRequestEntry{
			Id: aws.String(sqs.Entry(i)), MessageBody: &m.Body, MessageGroupId: &m.Group, MessageDeduplicationId: &m.Dedup,
		})
	}
	out, err := t.queue.Client.SendMessageBatch(ctx, in)
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

// encode checks a command and returns its body.
func encode(c driver.Command) (string, error) {
	if err := driver.CheckID("command", c.Meta.ID); err != nil {
		return "", err
	}
	if err := driver.CheckID("entity", c.Entity); err != nil {
		return "", err
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // escapes would only make it longer
	if err := e.Encode(c); err != nil {
		return "", fmt.Errorf("command %.100q: %w: %w", c.Meta.ID, driver.ErrInvalid, err)
	}
	body, _, err := sqs.Text(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
	if err != nil {
		return "", fmt.Errorf("command %.100q: %w", c.Meta.ID, err)
	}
	if len(body) > MaxCommandBytes {
		return "", fmt.Errorf("command %.100q: %w", c.Meta.ID, &driver.TooLargeError{What: "command", Size: len(body), Limit: MaxCommandBytes})
	}
	return body, nil
}

// Decode returns the command of a message with a body and a group. When the message is not
// a command, the error says why, and the returned command can only be parked: it has no
// target, its data is the unchanged body, its entity is the group, and its id is derived
// from the body, so that different messages have different ids.
func Decode(body, group string) (driver.Command, error) {
	var c driver.Command
	err := json.Unmarshal([]byte(body), &c)
	if err != nil {
		err = fmt.Errorf("%w: %w", driver.ErrInvalid, err)
	} else if err = driver.CheckID("entity", c.Entity); err == nil {
		err = driver.CheckID("command", c.Meta.ID)
	}
	if err == nil {
		return c, nil
	}
	sum := sha256.Sum256([]byte(body))
	return driver.Command{
		Entity: group, Data: json.RawMessage(body),
		Meta: driver.Meta{ID: "undecodable:" + hex.EncodeToString(sum[:16])},
	}, fmt.Errorf("commandtopic: decode: %w", err)
}
