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

// maxReceive is how many messages one request brings.
const maxReceive = 10

// QueueMapping configures what a function gets from a queue. Failures of single
// messages are always reported by the answer: ReportBatchItemFailures is on.
type QueueMapping struct {
	// BatchSize is how many messages an invocation has at most; 0 is 10, which is
	// the most that a FIFO queue has.
	BatchSize int
	// Visibility is for how long what is received is held, in whole seconds, instead
	// of the queue's own time: a test need not wait as long as a deployment.
	Visibility time.Duration
	// Release makes messages that failed visible at once. In Lambda they wait for
	// their time to end, which is what it was or what the function has made of it.
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

// Queue maps a queue to a function. As in Lambda, messages must be held for at
// least as long as the function may take.
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
		return fail(fmt.Errorf("messages are held for %v, less than the function's timeout of %v", q.Visibility, f.Timeout))
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

// run receives until the runner is closed. As long as messages come it does so with
// a slot in its hand, so that they do not wait, held, for one.
func (q *queue) run() {
	ctx := q.r.ctx
	// A request that was cut off may bring its messages to nobody.
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
				q.show(requests, batch) // they could come again before they are done
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

// receive returns the messages of a batch. A wait is as short as it can be: it
// is what Close waits for.
func (q *queue) receive(ctx context.Context, wait bool) ([]types.Message, error) {
	in := &sqs.ReceiveMessageInput{
		QueueUrl: &q.url, VisibilityTimeout: int32(q.Visibility / time.Second), //nolint:gosec // hours at most
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
		MessageAttributeNames:       []string{"All"},
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
	payload, n := q.event(batch)
	if n < len(batch) {
		// What does not fit comes again. Its groups are locked until then by what did.
		defer q.show(ctx, batch[n:])
		batch = batch[:n]
	}
	o := q.f.invoke(payload) //nolint:contextcheck // an invocation ends with the runner
	items, ok := failed(o.body)
	left := map[string]bool{}
	for _, id := range items {
		left[id] = true
		// An id that was not in the batch fails all of it.
		ok = ok && slices.ContainsFunc(batch, func(m types.Message) bool { return aws.ToString(m.MessageId) == id })
	}
	switch {
	case o.err != nil || !ok:
		if o.err == nil {
			q.r.log.printf(q.f.Name, "the answer %.200q fails all of the batch", o.body)
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

// event is the payload of as many messages as fit, at least one.
func (q *queue) event(batch []types.Message) (payload []byte, n int) {
	records := make([]json.RawMessage, len(batch))
	for i, m := range batch {
		records[i] = q.record(m)
	}
	return event(records)
}

// event is an event of as many records as fit, at least one.
func event(records []json.RawMessage) (payload []byte, n int) {
	size := len(`{"Records":[]}`)
	for n < len(records) && (n == 0 || size+len(records[n])+1 <= maxPayload) {
		size += len(records[n]) + 1
		n++
	}
	payload, _ = json.Marshal(map[string]any{"Records": records[:n]}) // it is JSON already
	return payload, n
}

// message is the form in which Lambda hands over a message.
// https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
type message struct {
	MessageID     string               `json:"messageId"`
	ReceiptHandle string               `json:"receiptHandle"`
	Body          string               `json:"body"`
	Attributes    map[string]string    `json:"attributes"`
	Custom        map[string]attribute `json:"messageAttributes"`
	MD5           string               `json:"md5OfBody"`
	Source        string               `json:"eventSource"`
	ARN           string               `json:"eventSourceARN"`
	Region        string               `json:"awsRegion"`
}

type attribute struct {
	String       *string  `json:"stringValue,omitempty"`
	Binary       []byte   `json:"binaryValue,omitempty"`
	StringValues []string `json:"stringListValues"`
	BinaryValues [][]byte `json:"binaryListValues"`
	Type         string   `json:"dataType"`
}

func (q *queue) record(m types.Message) json.RawMessage {
	custom := make(map[string]attribute, len(m.MessageAttributes))
	for name, v := range m.MessageAttributes {
		custom[name] = attribute{v.StringValue, v.BinaryValue, []string{}, [][]byte{}, aws.ToString(v.DataType)}
	}
	text, _ := json.Marshal(message{ // there is nothing in it that has no JSON
		aws.ToString(m.MessageId), aws.ToString(m.ReceiptHandle), aws.ToString(m.Body), m.Attributes, custom,
		aws.ToString(m.MD5OfBody), "aws:sqs", q.arn, q.r.opts.Region,
	})
	return text
}

// show makes messages visible again.
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

// counts returns how many messages the queue has.
func (q *queue) counts(ctx context.Context) (visible, held int, err error) {
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
