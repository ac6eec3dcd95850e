package lambdarunner

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// maxReceive is the maximum number of messages of one request.
const maxReceive = 10

// QueueMapping configures the event source mapping of a queue. ReportBatchItemFailures is
// always on: the answer reports failures of single messages.
type QueueMapping struct {
	// BatchSize is the maximum number of messages per invocation. 0 means 10, which is
	// also the limit for FIFO queues.
	BatchSize int
	// Visibility is the visibility timeout of received messages in whole seconds. 0 means
	// the timeout of the queue, which is too long for many tests.
	Visibility time.Duration
	// Release makes failed messages visible immediately. In Lambda they become visible
	// when their visibility timeout ends, which the function may have changed.
	Release bool
}

// queue is the event source mapping of a queue.
type queue struct {
	r    *Runner
	f    *function
	url  string
	arn  string
	fifo bool
	QueueMapping
	receives uint64
}

// Queue maps a queue to a function. As in Lambda, the visibility timeout must be at least
// the timeout of the function.
func (r *Runner) Queue(function, queueURL, queueARN string, o QueueMapping) error {
	f, err := r.function(function)
	if err != nil {
		return err
	}
	q := &queue{r: r, f: f, url: queueURL, arn: queueARN, fifo: strings.HasSuffix(queueURL, ".fifo"), QueueMapping: o}
	fail := func(err error) error {
		return fmt.Errorf("lambdarunner: queue %s of function %s: %w", q.name(), function, err)
	}
	q.BatchSize = cmp.Or(q.BatchSize, maxReceive)
	switch {
	case r.opts.SQS == nil:
		return fail(errors.New("no client"))
	case q.BatchSize < 0 || q.BatchSize > 10_000 || q.fifo && q.BatchSize > maxReceive:
		return fail(fmt.Errorf("a batch size of %d", q.BatchSize))
	case q.Visibility < 0 || q.Visibility%time.Second != 0:
		return fail(fmt.Errorf("a visibility timeout of %v", q.Visibility))
	}
	out, err := r.opts.SQS.GetQueueAttributes(r.ctx, &sqs.GetQueueAttributesInput{
		QueueUrl: &queueURL, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameVisibilityTimeout},
	})
	if err != nil {
		return fail(err)
	}
	if q.Visibility == 0 {
		n, err := strconv.Atoi(out.Attributes[string(types.QueueAttributeNameVisibilityTimeout)])
		if err != nil {
			return fail(err)
		}
		q.Visibility = time.Duration(n) * time.Second
	}
	if q.Visibility < f.Timeout {
		return fail(fmt.Errorf("the visibility timeout of %v is less than the function's timeout of %v", q.Visibility, f.Timeout))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return ErrClosed
	}
	r.queues = append(r.queues, q)
	if r.started {
		r.wg.Go(q.run)
	}
	return nil
}

func (q *queue) name() string { return q.url[strings.LastIndexByte(q.url, '/')+1:] }

// run receives messages until the runner is closed. While the queue has messages, it
// acquires the function before it receives, so that messages are not leased while they
// wait for the function.
func (q *queue) run() {
	ctx := q.r.ctx
	// The messages of a canceled request could be leased without a receiver.
	requests := context.WithoutCancel(ctx)
	busy := false
	for ctx.Err() == nil {
		if busy && q.f.acquire(ctx) != nil {
			return
		}
		batch, err := q.receive(requests, !busy)
		if err != nil || len(batch) == 0 {
			if busy {
				q.f.release()
			}
			busy = false
			if err != nil {
				q.r.log.printf(q.f.Name, "receive from %s: %v", q.name(), err)
				pause(ctx, 100*time.Millisecond, nil)
			}
			continue
		}
		received, done := now(), q.r.begin()
		if !busy && q.f.acquire(ctx) != nil {
			q.show(requests, batch)
			done()
			return
		}
		busy = true
		handle := func() {
			defer done()
			defer q.f.release()
			if now().Sub(received) > q.Visibility/2 {
				q.show(requests, batch) // their visibility timeout could end before they are handled
				return
			}
			q.handle(requests, batch)
		}
		if !q.r.spawn(handle) {
			q.show(requests, batch)
			done()
			q.f.release()
			return
		}
	}
}

// receive returns the messages of a batch. It waits for one second at most because Close
// waits for it.
func (q *queue) receive(ctx context.Context, wait bool) ([]types.Message, error) {
	in := &sqs.ReceiveMessageInput{
		QueueUrl: &q.url, VisibilityTimeout: int32(q.Visibility / time.Second), //nolint:gosec // hours at most
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
	}
	if wait {
		in.WaitTimeSeconds = 1
	}
	var batch []types.Message
	for len(batch) < q.BatchSize {
		in.MaxNumberOfMessages = int32(min(maxReceive, q.BatchSize-len(batch))) //nolint:gosec // ten at most
		out, err := q.r.opts.SQS.ReceiveMessage(ctx, in)
		if err != nil && len(batch) == 0 {
			return nil, err
		}
		if err != nil || len(out.Messages) == 0 {
			break
		}
		batch = append(batch, out.Messages...)
		if len(out.Messages) < int(in.MaxNumberOfMessages) {
			break
		}
		in.WaitTimeSeconds = 0
	}
	if q.r.opts.Faults.Shuffle && !q.fifo && !q.r.calm.Load() {
		q.receives++
		q.r.random(q.arn, q.receives).Shuffle(len(batch), func(i, j int) { batch[i], batch[j] = batch[j], batch[i] })
	}
	return batch, nil
}

func (q *queue) handle(ctx context.Context, batch []types.Message) {
	records := make([]json.RawMessage, len(batch))
	for i, m := range batch {
		records[i] = q.record(m)
	}
	payload, n := event(records)
	if n < len(batch) {
		// The messages that do not fit are received again. The others of their groups
		// block them until then.
		defer q.show(ctx, batch[n:])
		batch = batch[:n]
	}
	o := q.f.invoke(payload) //nolint:contextcheck // an invocation ends with the runner
	items, ok := failed(o.body)
	left := map[string]bool{}
	for _, id := range items {
		left[id] = true
		// An id that is not in the batch fails the whole batch.
		ok = ok && slices.ContainsFunc(batch, func(m types.Message) bool { return aws.ToString(m.MessageId) == id })
	}
	switch {
	case o.err != nil || !ok:
		if o.err == nil {
			q.r.log.printf(q.f.Name, "the answer %.200q fails the whole batch", o.body)
		} else {
			q.r.log.printf(q.f.Name, "%d messages of %s: %v", len(batch), q.name(), o.err)
		}
		if q.Release {
			q.show(ctx, batch)
		}
	default:
		done := slices.DeleteFunc(slices.Clone(batch), func(m types.Message) bool { return left[aws.ToString(m.MessageId)] })
		if q.Release && len(done) < len(batch) {
			q.show(ctx, slices.DeleteFunc(slices.Clone(batch), func(m types.Message) bool { return !left[aws.ToString(m.MessageId)] }))
		}
		if o.again {
			q.f.count(&q.f.stats.Duplicates)
			q.show(ctx, done)
		} else {
			q.remove(ctx, done)
		}
	}
}

// event returns the event of the first n records that fit, at least one.
func event(records []json.RawMessage) (payload []byte, n int) {
	size := len(`{"Records":[]}`)
	for n < len(records) && (n == 0 || size+len(records[n])+1 <= maxPayload) {
		size += len(records[n]) + 1
		n++
	}
	payload, _ = json.Marshal(map[string]any{"Records": records[:n]}) // the records are JSON
	return payload, n
}

// record returns a message in the form of a Lambda event, without messageAttributes,
// which the functions do not use.
// https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
func (q *queue) record(m types.Message) json.RawMessage {
	text, _ := json.Marshal(map[string]any{ // all values have a JSON form
		"messageId": m.MessageId, "receiptHandle": m.ReceiptHandle, "body": m.Body, "attributes": m.Attributes,
		"md5OfBody": m.MD5OfBody, "eventSource": "aws:sqs", "eventSourceARN": q.arn, "awsRegion": q.r.opts.Region,
	})
	return text
}

// show makes messages visible.
func (q *queue) show(ctx context.Context, batch []types.Message) {
	for chunk := range slices.Chunk(batch, maxReceive) {
		in := &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &q.url}
		for i, m := range chunk {
			in.Entries = append(in.Entries, types.ChangeMessageVisibilityBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: m.ReceiptHandle})
		}
		if _, err := q.r.opts.SQS.ChangeMessageVisibilityBatch(ctx, in); err != nil {
			q.r.log.printf(q.f.Name, "show messages of %s: %v", q.name(), err)
		}
	}
}

func (q *queue) remove(ctx context.Context, batch []types.Message) {
	for chunk := range slices.Chunk(batch, maxReceive) {
		in := &sqs.DeleteMessageBatchInput{QueueUrl: &q.url}
		for i, m := range chunk {
			in.Entries = append(in.Entries, types.DeleteMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: m.ReceiptHandle})
		}
		if _, err := q.r.opts.SQS.DeleteMessageBatch(ctx, in); err != nil {
			q.r.log.printf(q.f.Name, "delete messages of %s: %v", q.name(), err)
		}
	}
}

// counts returns the number of messages of the queue.
func (q *queue) counts(ctx context.Context) (visible, leased int, err error) {
	names := []types.QueueAttributeName{
		types.QueueAttributeNameApproximateNumberOfMessages, types.QueueAttributeNameApproximateNumberOfMessagesDelayed,
		types.QueueAttributeNameApproximateNumberOfMessagesNotVisible,
	}
	out, err := q.r.opts.SQS.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: &q.url, AttributeNames: names})
	if err != nil {
		return 0, 0, err
	}
	var counts [3]int
	for i, name := range names {
		if counts[i], err = strconv.Atoi(out.Attributes[string(name)]); err != nil {
			return 0, 0, err
		}
	}
	return counts[0] + counts[1], counts[2], nil
}
