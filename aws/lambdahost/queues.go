package lambdahost

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/reventless-go/reventless/aws/commandtopic"
	"github.com/reventless-go/reventless/aws/eventcollector"
	"github.com/reventless-go/reventless/aws/internal/inflight"
	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/aws/internal/sqs"
	"github.com/reventless-go/reventless/aws/internal/wiring"
	"github.com/reventless-go/reventless/aws/scheduledpublisher"
	"github.com/reventless-go/reventless/aws/task"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/host"
)

// The maximum batch sizes.
const (
	manyCommands = 64
	manyRecords  = 256
	manyOthers   = 16
)

// sqsMessage is a record of the event of a queue.
// https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
type sqsMessage struct {
	MessageID  string `json:"messageId"`
	Receipt    string `json:"receiptHandle"`
	Body       string `json:"body"`
	Attributes struct {
		Received string `json:"ApproximateReceiveCount"`
		Sent     string `json:"SentTimestamp"`
		Group    string `json:"MessageGroupId"`
	} `json:"attributes"`
}

// attempt returns the number of the delivery, from 1.
func (m sqsMessage) attempt() int {
	n, _ := strconv.Atoi(m.Attributes.Received) // without the attribute it is the first delivery
	return max(n, 1)
}

// queue handles messages of a queue and returns the ids of the failed ones.
func (h *handler) queue(ctx, whole context.Context, m *measured, t wiring.Trigger, records []record) ([]string, error) {
	messages := make([]sqsMessage, len(records))
	for i, r := range records {
		if messages[i] = r.sqsMessage; r.err != nil || r.MessageID == "" {
			return nil, errors.Join(errors.New("a record of a queue has no message id"), r.err)
		}
		sent, _ := strconv.ParseInt(r.Attributes.Sent, 10, 64) // only for a metric
		m.message(time.UnixMilli(sent))
	}
	var left []inflight.Remaining
	switch t.Source {
	case naming.Commands:
		left = h.commands(ctx, t.Component, messages)
	case naming.Collector:
		left = h.collected(ctx, t, messages)
	case naming.Timers:
		left = h.timers(ctx, messages)
	case naming.Objects:
		left = h.objectEvents(ctx, t, messages)
	default:
		return nil, fmt.Errorf("internal: %v is not a queue", t.Source)
	}
	failed := make([]string, len(left))
	for i, l := range left {
		failed[i] = l.ID
	}
	h.delay(whole, t, messages, left)
	return failed, nil
}

// commands handles commands of an aggregate.
func (h *handler) commands(ctx context.Context, aggregate string, messages []sqsMessage) []inflight.Remaining {
	queued := inflight.New[driver.Command](h.now)
	for _, m := range messages {
		// The engine parks commands that cannot be decoded.
		c, _ := commandtopic.Decode(m.Body, cmp.Or(m.Attributes.Group, m.MessageID))
		queued.Add(inflight.Message[driver.Command]{ID: m.MessageID, Group: cmp.Or(m.Attributes.Group, c.Entity), Attempt: min(m.attempt(), h.attempts), Message: c})
	}
	work(ctx, h, queued, manyCommands, queuePatience, func(ctx context.Context, d []driver.Delivery[driver.Command]) ([]driver.Settlement, error) {
		return h.engine.HandleCommands(ctx, aggregate, d)
	})
	return queued.Take()
}

// collected handles commits from the topics of a consumer.
func (h *handler) collected(ctx context.Context, t wiring.Trigger, messages []sqsMessage) []inflight.Remaining {
	logs := map[string]*inflight.Messages[driver.Record]{}
	for _, m := range messages {
		record := recordOf(m.Body, t.Logs)
		if logs[record.Log] == nil {
			logs[record.Log] = inflight.New[driver.Record](h.now)
		}
		logs[record.Log].Add(inflight.Message[driver.Record]{ID: m.MessageID, Group: cmp.Or(m.Attributes.Group, record.Stream), Attempt: min(m.attempt(), h.attempts), Message: record})
	}
	left := map[string]inflight.Remaining{}
	for log, queued := range logs {
		work(ctx, h, queued, manyRecords, queuePatience, func(ctx context.Context, d []driver.Delivery[driver.Record]) ([]driver.Settlement, error) {
			return h.engine.HandleRecords(ctx, t.Component, log, d)
		})
		take(queued, left)
	}
	return inOrder(messages, left)
}

// recordOf decodes a body from the topic of one of logs. A body that belongs to none of
// them becomes an invalid record of the first log.
func recordOf(body string, logs []string) driver.Record {
	var first driver.Record
	for i, log := range logs {
		r := eventcollector.DecodeQueue(body, log)
		if r.Log == log {
			return r
		}
		if i == 0 {
			first = r
			first.Log = log
		}
	}
	return first
}

// take adds the messages that are not done to left.
func take[T any](queued *inflight.Messages[T], left map[string]inflight.Remaining) {
	for _, l := range queued.Take() {
		left[l.ID] = l
	}
}

func inOrder(messages []sqsMessage, left map[string]inflight.Remaining) []inflight.Remaining {
	var ordered []inflight.Remaining
	for _, m := range messages {
		if l, ok := left[m.MessageID]; ok {
			ordered = append(ordered, l)
		}
	}
	return ordered
}

// tick is the message of a schedule of the deployment.
type tick struct {
	Schedule string `json:"schedule"`
	Due      string `json:"due"`
}

// timer is a message of the queue of schedules.
type timer struct {
	firing driver.Firing
	// made is the message of a schedule that was created at run time and may have been
	// changed since; nil for a schedule of the deployment.
	made *scheduledpublisher.Message
}

// timers handles firings of schedules, both of the deployment and of run time.
func (h *handler) timers(ctx context.Context, messages []sqsMessage) []inflight.Remaining {
	queued := inflight.New[timer](h.now)
	left := map[string]inflight.Remaining{}
	for _, m := range messages {
		x := inflight.Message[timer]{ID: m.MessageID, Attempt: min(m.attempt(), h.attempts)}
		var t tick
		var err error
		if json.Unmarshal([]byte(m.Body), &t) == nil && t.Schedule != "" {
			x.Message.firing, err = h.declared(t)
		} else {
			var made scheduledpublisher.Message
			made, err = scheduledpublisher.Decode(m.Body)
			x.Message = timer{made.Firing, &made}
			// The schedule is looked up at least three times.
			x.Attempt = min(m.attempt(), max(h.attempts, 3))
		}
		due, _ := time.Parse(time.RFC3339, t.Due)
		switch {
		case err == nil:
			x.Group = x.Message.firing.Name
			queued.Add(x)
		case h.engine.Newer(err, due):
			left[m.MessageID] = inflight.Remaining{ID: m.MessageID, After: host.RolloutDelay}
		case !h.parkRaw(ctx, "Scheduler", []byte(m.Body), m.attempt(), err):
			left[m.MessageID] = inflight.Remaining{ID: m.MessageID}
		}
	}
	work(ctx, h, queued, manyOthers, queuePatience, h.fire)
	take(queued, left)
	return inOrder(messages, left)
}

// fire handles firings. It handles one firing per schedule of run time, because the result
// determines whether the next firing is still valid.
func (h *handler) fire(ctx context.Context, deliveries []driver.Delivery[timer]) ([]driver.Settlement, error) {
	var settlements []driver.Settlement
	var due []driver.Delivery[driver.Firing]
	made := map[string]*scheduledpublisher.Message{} // by delivery
	waiting := map[string]bool{}                     // by schedule
	for _, d := range deliveries {
		m := d.Message.made
		if m != nil {
			if waiting[m.Firing.Name] {
				settlements = append(settlements, driver.Settlement{ID: d.ID, Retry: true})
				continue
			}
			counts, end, err := h.scheduler.Counts(ctx, *m, d.Attempt)
			if err != nil {
				h.log.Warn("retry of a firing", "error", clip(err.Error()))
				end = driver.Settlement{Retry: true, After: backoff(d.Attempt)}
			}
			waiting[m.Firing.Name] = counts || end.Retry
			if end.ID = d.ID; !counts {
				settlements = append(settlements, end)
				continue
			}
			made[d.ID] = m
		}
		due = append(due, driver.Delivery[driver.Firing]{ID: d.ID, Attempt: d.Attempt, Message: d.Message.firing})
	}
	for _, s := range h.engine.HandleFirings(ctx, due) {
		if m := made[s.ID]; m != nil && !s.Retry {
			if err := h.scheduler.Done(ctx, *m); err != nil {
				h.log.Warn("retry of a firing", "error", clip(err.Error()))
				s.Retry, s.After = true, backoff(1)
			}
		}
		settlements = append(settlements, s)
	}
	return settlements, nil
}

func (h *handler) declared(t tick) (driver.Firing, error) {
	due, err := time.Parse(time.RFC3339, t.Due)
	if err != nil {
		return driver.Firing{}, fmt.Errorf("the due time: %w: %w", driver.ErrInvalid, err)
	}
	return h.engine.DeclaredFiring(t.Schedule, due.UTC())
}

// objectEvents runs a task for created and removed objects of its bucket.
func (h *handler) objectEvents(ctx context.Context, t wiring.Trigger, messages []sqsMessage) []inflight.Remaining {
	known := h.objects[t.Component]
	queued := inflight.New[driver.ObjectEvent](h.now)
	left := map[string]inflight.Remaining{}
	for _, m := range messages {
		events, err := task.Decode([]byte(m.Body))
		if err != nil && !h.parkRaw(ctx, t.Component, []byte(m.Body), m.attempt(), err) {
			left[m.MessageID] = inflight.Remaining{ID: m.MessageID}
			continue
		}
		for _, e := range events {
			queued.Add(inflight.Message[driver.ObjectEvent]{ID: m.MessageID, Group: e.Key, Attempt: min(m.attempt(), h.attempts), Message: e})
		}
	}
	work(ctx, h, queued, manyOthers, queuePatience, func(ctx context.Context, deliveries []driver.Delivery[driver.ObjectEvent]) ([]driver.Settlement, error) {
		newest, settlements := known.Newest(deliveries)
		handled, err := h.engine.HandleObjects(ctx, t.Task, newest)
		if err != nil {
			return nil, err
		}
		known.Done(newest, handled)
		return append(settlements, handled...), nil
	})
	take(queued, left)
	return inOrder(messages, left)
}

// maxDelay is the maximum delay of a redelivery.
const maxDelay = 10 * time.Minute

// delay sets the visibility timeout of failed messages to the delay of their redelivery:
// 4, 16, 64 and 256 seconds, then 10 minutes each. The queue moves a message to its
// dead-letter queue after the 25th delivery, so a store may be unavailable for more than
// three hours. All messages of a group get the longest delay, to keep their order. If the
// request fails, the visibility timeout of the queue applies.
func (h *handler) delay(ctx context.Context, t wiring.Trigger, messages []sqsMessage, left []inflight.Remaining) {
	if len(left) == 0 {
		return
	}
	name, err := h.provider.Name(t.Source, t.Component)
	if err != nil {
		return // cannot happen: the queue is known
	}
	after := map[string]time.Duration{}
	waits := map[string]time.Duration{} // by group
	var delays []sqs.Delay
	for _, l := range left {
		after[l.ID] = l.After
	}
	for _, m := range messages {
		if _, ok := after[m.MessageID]; !ok {
			continue
		}
		wait := min(max(after[m.MessageID], time.Second<<(2*min(m.attempt(), 5))), maxDelay)
		if g := m.Attributes.Group; g != "" {
			wait = max(wait, waits[g])
			waits[g] = wait
		}
		delays = append(delays, sqs.Delay{Receipt: m.Receipt, After: wait})
	}
	slices.Reverse(delays) // later messages of a group must not become visible before earlier ones
	if err := sqs.SetDelays(ctx, sqs.NewQueue(h.provider.SQS(), h.provider.QueueURL(name)), delays); err != nil {
		h.log.Warn("cannot set the delay of failed messages", "queue", name, "error", clip(err.Error()))
	}
}
