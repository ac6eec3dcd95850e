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
	"github.com/reventless-go/reventless/aws/internal/handed"
	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/aws/internal/sqs"
	"github.com/reventless-go/reventless/aws/internal/wiring"
	"github.com/reventless-go/reventless/aws/scheduledpublisher"
	"github.com/reventless-go/reventless/aws/task"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/host"
)

// How many messages of each kind are handled together.
const (
	manyCommands = 64
	manyRecords  = 256
	manyOthers   = 16
)

// sqsMessage is a record of a queue's event.
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

// attempt is which delivery of the message this is, from 1.
func (m sqsMessage) attempt() int {
	n, _ := strconv.Atoi(m.Attributes.Received) // a message without is a first one
	return max(n, 1)
}

// queue handles messages of one queue and returns the ids of those that failed.
func (h *handler) queue(ctx, whole context.Context, m *measured, t wiring.Trigger, records []record) ([]string, error) {
	messages := make([]sqsMessage, len(records))
	for i, r := range records {
		if messages[i] = r.sqsMessage; r.err != nil || r.MessageID == "" {
			return nil, errors.Join(errors.New("a record of a queue has no message id"), r.err)
		}
		sent, _ := strconv.ParseInt(r.Attributes.Sent, 10, 64) // only measured
		m.message(time.UnixMilli(sent))
	}
	var left []handed.Left
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
		return nil, fmt.Errorf("internal: no queue is %v", t.Source)
	}
	failed := make([]string, len(left))
	for i, l := range left {
		failed[i] = l.ID
	}
	h.setBack(whole, t, messages, left)
	return failed, nil
}

// commands handles commands of an aggregate.
func (h *handler) commands(ctx context.Context, aggregate string, messages []sqsMessage) []handed.Left {
	queued := handed.New[driver.Command](h.now)
	for _, m := range messages {
		// What is no command is one that the engine parks.
		c, _ := commandtopic.Decode(m.Body, cmp.Or(m.Attributes.Group, m.MessageID))
		queued.Add(handed.Message[driver.Command]{ID: m.MessageID, Group: cmp.Or(m.Attributes.Group, c.Entity), Attempt: min(m.attempt(), h.attempts), Message: c})
	}
	work(ctx, h, queued, manyCommands, queuePatience, func(ctx context.Context, d []driver.Delivery[driver.Command]) ([]driver.Settlement, error) {
		return h.engine.HandleCommands(ctx, aggregate, d)
	})
	return queued.Take()
}

// collected handles commits that came by a consumer's topics.
func (h *handler) collected(ctx context.Context, t wiring.Trigger, messages []sqsMessage) []handed.Left {
	logs := map[string]*handed.Messages[driver.Record]{}
	for _, m := range messages {
		record := recordOf(m.Body, t.Logs)
		if logs[record.Log] == nil {
			logs[record.Log] = handed.New[driver.Record](h.now)
		}
		logs[record.Log].Add(handed.Message[driver.Record]{ID: m.MessageID, Group: cmp.Or(m.Attributes.Group, record.Stream), Attempt: min(m.attempt(), h.attempts), Message: record})
	}
	left := map[string]handed.Left{}
	for log, queued := range logs {
		work(ctx, h, queued, manyRecords, queuePatience, func(ctx context.Context, d []driver.Delivery[driver.Record]) ([]driver.Settlement, error) {
			return h.engine.HandleRecords(ctx, t.Component, log, d)
		})
		for _, l := range queued.Take() {
			left[l.ID] = l
		}
	}
	return inOrder(messages, left)
}

// recordOf returns the record of a body that came by one of logs' topics. What is
// no record of any is one of the first that could not be decoded.
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

func inOrder(messages []sqsMessage, left map[string]handed.Left) []handed.Left {
	var ordered []handed.Left
	for _, m := range messages {
		if l, ok := left[m.MessageID]; ok {
			ordered = append(ordered, l)
		}
	}
	return ordered
}

// tick is the message of a schedule that the deployment made.
type tick struct {
	Schedule string `json:"schedule"`
	Due      string `json:"due"`
}

// timer is a message of the queue of schedules.
type timer struct {
	firing driver.Firing
	// made is the message of a schedule made at run time, which may not count any
	// more; nil of one that the deployment made.
	made *scheduledpublisher.Message
}

// timers does what is due. Schedules that the deployment made say their name and
// time.
func (h *handler) timers(ctx context.Context, messages []sqsMessage) []handed.Left {
	queued := handed.New[timer](h.now)
	left := map[string]handed.Left{}
	for _, m := range messages {
		x := handed.Message[timer]{ID: m.MessageID, Attempt: min(m.attempt(), h.attempts)}
		var t tick
		var err error
		if json.Unmarshal([]byte(m.Body), &t) == nil && t.Schedule != "" {
			x.Message.firing, err = h.declared(t)
		} else {
			var made scheduledpublisher.Message
			made, err = scheduledpublisher.Decode(m.Body)
			x.Message = timer{made.Firing, &made}
			// The schedule is looked for three times, whatever else is tried.
			x.Attempt = min(m.attempt(), max(h.attempts, 3))
		}
		due, _ := time.Parse(time.RFC3339, t.Due)
		switch {
		case err == nil:
			x.Group = x.Message.firing.Name
			queued.Add(x)
		case h.engine.Newer(err, due):
			left[m.MessageID] = handed.Left{ID: m.MessageID, After: host.RolloutDelay}
		case !h.parkRaw(ctx, "Scheduler", []byte(m.Body), m.attempt(), err):
			left[m.MessageID] = handed.Left{ID: m.MessageID}
		}
	}
	work(ctx, h, queued, manyOthers, queuePatience, h.fire)
	for _, l := range queued.Take() {
		left[l.ID] = l
	}
	return inOrder(messages, left)
}

// fire handles firings, one of each schedule made at run time: what happens to the
// first one says whether the next one counts.
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
				h.log.Warn("a firing is tried again", "error", clip(err.Error()))
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
				h.log.Warn("a firing is tried again", "error", clip(err.Error()))
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
		return driver.Firing{}, fmt.Errorf("its time: %w: %w", driver.ErrInvalid, err)
	}
	return h.engine.DeclaredFiring(t.Schedule, due.UTC())
}

// objectEvents runs a task on what came and went in its bucket.
func (h *handler) objectEvents(ctx context.Context, t wiring.Trigger, messages []sqsMessage) []handed.Left {
	known := h.objects[t.Component]
	queued := handed.New[driver.ObjectEvent](h.now)
	left := map[string]handed.Left{}
	for _, m := range messages {
		events, err := task.Decode([]byte(m.Body))
		if err != nil && !h.parkRaw(ctx, t.Component, []byte(m.Body), m.attempt(), err) {
			left[m.MessageID] = handed.Left{ID: m.MessageID}
			continue
		}
		for _, e := range events {
			queued.Add(handed.Message[driver.ObjectEvent]{ID: m.MessageID, Group: e.Key, Attempt: min(m.attempt(), h.attempts), Message: e})
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
	for _, l := range queued.Take() {
		left[l.ID] = l
	}
	return inOrder(messages, left)
}

// longestBack is the most that a message is set back by.
const longestBack = 10 * time.Minute

// setBack has the queue wait with messages that failed before it hands them over
// again: 4, 16, 64 and 256 seconds, then 10 minutes each time, in place of its
// visibility timeout. After the twelfth delivery the queue moves a message to its
// dead letters: in between a store may be away for more than an hour. All of a group
// wait, so that it keeps its order. When the request fails, the visibility timeout is
// what it was.
func (h *handler) setBack(ctx context.Context, t wiring.Trigger, messages []sqsMessage, left []handed.Left) {
	if len(left) == 0 {
		return
	}
	name, err := h.provider.Name(t.Source, t.Component)
	if err != nil {
		return // it was known a moment ago
	}
	after := map[string]time.Duration{}
	waits := map[string]time.Duration{} // of groups
	var back []sqs.Back
	for _, l := range left {
		after[l.ID] = l.After
	}
	for _, m := range messages {
		if _, ok := after[m.MessageID]; !ok {
			continue
		}
		wait := min(max(after[m.MessageID], time.Second<<(2*min(m.attempt(), 5))), longestBack)
		if g := m.Attributes.Group; g != "" {
			wait = max(wait, waits[g])
			waits[g] = wait
		}
		back = append(back, sqs.Back{Receipt: m.Receipt, After: wait})
	}
	slices.Reverse(back) // the last of a group first: none of them is free before the first one is
	if err := sqs.SetBack(ctx, sqs.NewQueue(h.provider.SQS(), h.provider.QueueURL(name)), back); err != nil {
		h.log.Warn("messages wait for their visibility timeout", "queue", name, "error", clip(err.Error()))
	}
}
