// Package sqs has what the drivers on SQS share: receiving, settling, sending in
// batches, the ids of groups and of de-duplication, and the classes of errors,
// which are those of SNS, too.
package sqs

import (
	"context"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/reventless-go/reventless/driver"
)

// MaxHold is how long a message can be held, or wait for its retry, from when it
// was received.
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html
const MaxHold = 12 * time.Hour

// margin is what a retry stays below [MaxHold]: the queue refuses one that goes
// beyond it, and the request takes its time.
const margin = time.Minute

// maxWait is the longest poll.
const maxWait = 20 * time.Second

// maxAttempts bounds how often entries are settled again that failed through no
// fault of theirs.
const maxAttempts = 5

// Queue is a queue by its URL, or by its name, which is looked up once.
type Queue struct {
	Client *sqs.Client

	mu   sync.Mutex
	name string
	url  string
}

// NewQueue returns the queue with a name or URL.
func NewQueue(client *sqs.Client, name string) *Queue {
	q := &Queue{Client: client, name: name}
	if strings.Contains(name, "://") {
		q.url = name
		q.name = name[strings.LastIndexByte(name, '/')+1:]
	}
	return q
}

// Name returns the queue's name.
func (q *Queue) Name() string { return q.name }

// URL returns the queue's URL.
func (q *Queue) URL(ctx context.Context) (*string, error) {
	q.mu.Lock()
	url := q.url
	q.mu.Unlock()
	if url == "" {
		out, err := q.Client.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &q.name})
		if err != nil {
			return nil, Classify(err)
		}
		url = value(out.QueueUrl)
		q.mu.Lock()
		q.url = url
		q.mu.Unlock()
	}
	return &url, nil
}

// Options configure a [Receiver]; zero fields are the defaults.
type Options struct {
	// Now is the clock by which long retries are cut to what is left of
	// [MaxHold]; nil is time.Now.
	Now func() time.Time
	// Wait is how long one Receive waits for a first message, in whole seconds up
	// to 20 and not beyond its context's deadline. The default does not wait: it
	// leaves that to the queue, whose own default is not to.
	Wait time.Duration
}

// Receiver is a [driver.Receiver] of the messages of a FIFO queue. Its groups are
// the queue's.
type Receiver[T any] struct {
	queue  *Queue
	what   string // for errors
	decode func(body, group string) T
	now    func() time.Time
	wait   time.Duration

	mu      sync.Mutex
	last    uint64
	held    map[string]hold // by the delivery's id
	cleaned time.Time
}

// hold is what ends a delivery.
type hold struct {
	receipt string
	since   time.Time
}

// NewReceiver returns a receiver. Errors begin with what; decode makes the
// payload of any body, also of one that is none.
func NewReceiver[T any](queue *Queue, what string, opts *Options, decode func(body, group string) T) *Receiver[T] {
	r := &Receiver[T]{queue: queue, what: what, decode: decode, held: map[string]hold{}}
	if opts != nil {
		r.now, r.wait = opts.Now, opts.Wait
	}
	if r.now == nil {
		r.now = time.Now
	}
	return r
}

// Receive implements [driver.Receiver]. It is one request, of up to ten messages.
// Next is never known.
func (r *Receiver[T]) Receive(ctx context.Context, max int) (driver.Batch[T], error) {
	batch, err := r.receive(ctx, max)
	if err != nil {
		return driver.Batch[T]{}, fmt.Errorf("%s %s: receive: %w", r.what, r.queue.Name(), err)
	}
	return batch, nil
}

func (r *Receiver[T]) receive(ctx context.Context, max int) (driver.Batch[T], error) {
	var batch driver.Batch[T]
	if max < 1 {
		return batch, fmt.Errorf("%d messages: %w", max, driver.ErrInvalid)
	}
	url, err := r.queue.URL(ctx)
	if err != nil {
		return batch, err
	}
	since := r.now() // before it: the queue's count of the hold begins later
	out, err := r.queue.Client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl:            url,
		MaxNumberOfMessages: int32(min(max, MaxEntries)), //nolint:gosec // it is at most ten
		WaitTimeSeconds:     r.waiting(ctx),
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{
			types.MessageSystemAttributeNameApproximateReceiveCount, types.MessageSystemAttributeNameMessageGroupId,
		},
		// The SDK repeats a request whose answer was lost: under the same id it gets
		// the same messages, which else were held by nobody until their time is over.
		ReceiveRequestAttemptId: aws.String(rand.Text()),
	})
	if err != nil {
		return batch, Classify(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(since)
	for _, m := range out.Messages {
		r.last++
		d := driver.Delivery[T]{
			ID: value(m.MessageId) + "." + strconv.FormatUint(r.last, 36), Attempt: 1,
			Message: r.decode(value(m.Body), m.Attributes[string(types.MessageSystemAttributeNameMessageGroupId)]),
		}
		if n, err := strconv.Atoi(m.Attributes[string(types.MessageSystemAttributeNameApproximateReceiveCount)]); err == nil && n > 1 {
			d.Attempt = n
		}
		r.held[d.ID] = hold{value(m.ReceiptHandle), since}
		batch.Deliveries = append(batch.Deliveries, d)
	}
	return batch, nil
}

// waiting is how long a request may wait: the answer has to come before the
// context ends, or its messages are lost until their hold ends.
func (r *Receiver[T]) waiting(ctx context.Context) int32 {
	wait := min(r.wait, maxWait)
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline) //nolint:forbidigo // deadlines are in real time
		wait = min(wait, left-time.Second)
	}
	return int32(max(wait, 0) / time.Second) //nolint:gosec // it is at most 20
}

// forget drops the holds that nobody can end any more, now and then.
func (r *Receiver[T]) forget(now time.Time) {
	if now.Sub(r.cleaned) < time.Hour {
		return
	}
	r.cleaned = now
	for id, h := range r.held {
		if now.Sub(h.since) > MaxHold {
			delete(r.held, id)
		}
	}
}

// ending is how one held delivery is to end.
type ending struct {
	id      string
	receipt string
	after   int32 // seconds, of a retry
}

// Settle implements [driver.Receiver]. It is a request for each ten that are
// removed and for each ten that are retried. A retry waits in whole seconds,
// rounded up, and until 12 hours, less a minute, after the message was received
// at most.
// Unknown ids make no request.
//
// When some could not be ended the error is a [driver.BatchError] by the ids of
// their deliveries; to settle those again may succeed.
func (r *Receiver[T]) Settle(ctx context.Context, settlements []driver.Settlement) error {
	if err := r.settle(ctx, settlements); err != nil {
		return fmt.Errorf("%s %s: settle: %w", r.what, r.queue.Name(), err)
	}
	return nil
}

func (r *Receiver[T]) settle(ctx context.Context, settlements []driver.Settlement) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var removed, retried []ending
	seen := map[string]bool{}
	now := r.now()
	r.mu.Lock()
	for _, s := range settlements {
		h, ok := r.held[s.ID]
		if !ok || seen[s.ID] {
			continue
		}
		seen[s.ID] = true
		e := ending{id: s.ID, receipt: h.receipt}
		if s.Retry {
			e.after = seconds(min(s.After, MaxHold-margin-now.Sub(h.since)))
			retried = append(retried, e)
		} else {
			removed = append(removed, e)
		}
	}
	r.mu.Unlock()
	if len(removed)+len(retried) == 0 {
		return nil
	}
	url, err := r.queue.URL(ctx)
	if err != nil {
		return err
	}
	failed := map[string]error{}
	r.end(ctx, removed, failed, func(es []ending) (*Answer, error) { return r.remove(ctx, url, es) })
	r.end(ctx, retried, failed, func(es []ending) (*Answer, error) { return r.retry(ctx, url, es) })
	if len(failed) > 0 {
		return &driver.BatchError{Failed: failed}
	}
	return nil
}

// seconds returns d, of which 12 hours are the most, in whole seconds.
func seconds(d time.Duration) int32 {
	return int32((max(d, 0) + time.Second - 1) / time.Second) //nolint:gosec // see above
}

// end makes the requests for endings. As long as one of a group has not ended no
// other receiver gets anything of it, so that their order does not matter.
func (r *Receiver[T]) end(ctx context.Context, endings []ending, failed map[string]error, request func([]ending) (*Answer, error)) {
	for chunk := range slices.Chunk(endings, MaxEntries) {
		for attempt := 1; len(chunk) > 0; attempt++ {
			answer, err := request(chunk)
			if err != nil {
				for _, e := range chunk {
					failed[e.id] = Classify(err)
				}
				break
			}
			var again []ending
			for i, e := range chunk {
				switch err := answer.Failed[Entry(i)]; {
				case err == nil && answer.Accepted[Entry(i)]:
					r.mu.Lock()
					delete(r.held, e.id)
					r.mu.Unlock()
				case err != nil && !passes(err):
					failed[e.id] = err
				default:
					if err == nil {
						err = errNoResult()
					}
					failed[e.id] = err
					again = append(again, e)
				}
			}
			if len(again) == 0 || attempt == maxAttempts || pause(ctx, attempt) != nil {
				break
			}
			for _, e := range again {
				delete(failed, e.id)
			}
			chunk = again
		}
	}
}

func (r *Receiver[T]) remove(ctx context.Context, url *string, endings []ending) (*Answer, error) {
	in := &sqs.DeleteMessageBatchInput{QueueUrl: url}
	for i, e := range endings {
		in.Entries = append(in.Entries, types.DeleteMessageBatchRequestEntry{Id: aws.String(Entry(i)), ReceiptHandle: &e.receipt})
	}
	out, err := r.queue.Client.DeleteMessageBatch(ctx, in)
	if err != nil {
		return nil, err
	}
	answer := NewAnswer()
	for _, s := range out.Successful {
		answer.Accepted[value(s.Id)] = true
	}
	answer.fail(out.Failed)
	return answer, nil
}

func (r *Receiver[T]) retry(ctx context.Context, url *string, endings []ending) (*Answer, error) {
	in := &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: url}
	for i, e := range endings {
		in.Entries = append(in.Entries, types.ChangeMessageVisibilityBatchRequestEntry{Id: aws.String(Entry(i)), ReceiptHandle: &e.receipt, VisibilityTimeout: e.after})
	}
	out, err := r.queue.Client.ChangeMessageVisibilityBatch(ctx, in)
	if err != nil {
		return nil, err
	}
	answer := NewAnswer()
	for _, s := range out.Successful {
		answer.Accepted[value(s.Id)] = true
	}
	answer.fail(out.Failed)
	return answer, nil
}

// fail takes over the entries that failed. Holds that have ended are harmless:
// such a message comes again.
func (a *Answer) fail(entries []types.BatchResultErrorEntry) {
	for _, f := range entries {
		if slices.Contains(gone, value(f.Code)) {
			a.Accepted[value(f.Id)] = true
		} else {
			a.Failed[value(f.Id)] = EntryError(f.Code, f.Message, f.SenderFault)
		}
	}
}

// Release ends all holds, so that the messages come again at once and not after
// the queue's visibility timeout. It is for who ends.
func (r *Receiver[T]) Release(ctx context.Context) error {
	r.mu.Lock()
	all := make([]driver.Settlement, 0, len(r.held))
	for id := range r.held {
		all = append(all, driver.Settlement{ID: id, Retry: true})
	}
	r.mu.Unlock()
	return r.Settle(ctx, all)
}

func pause(ctx context.Context, attempt int) error {
	t := time.NewTimer(mathrand.N(min(10*time.Millisecond<<attempt, time.Second))) //nolint:gosec // chance is all that is asked of it
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
