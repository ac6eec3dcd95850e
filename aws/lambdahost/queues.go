package lambdahost

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
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
	ID         string `json:"messageId"`
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
func (h *handler) queue(ctx, whole context.Context, m *measured, t wiring.Trigger, records []json.RawMessage) ([]string, error) {
	messages := make([]sqsMessage, len(records))
	for i, r := range records {
		if err := json.Unmarshal(r, &messages[i]); err != nil || messages[i].ID == "" {
			return nil, errors.Join(errors.New("a record of a queue has no message id"), err)
		}
		sent, _ := strconv.ParseInt(messages[i].Attributes.Sent, 10, 64) // only measured
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
		left = h.objects(ctx, t, messages)
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
		c, _ := commandtopic.Decode(m.Body, cmp.Or(m.Attributes.Group, m.ID))
		queued.Add(handed.Message[driver.Command]{ID: m.ID, Group: cmp.Or(m.Attributes.Group, c.Entity), Attempt: min(m.attempt(), h.attempts), Message: c})
	}
	work(ctx, h, queued, manyCommands, queuePatience, func(ctx context.Context, d []driver.Delivery[driver.Command]) ([]driver.Settlement, error) {
		return h.host.HandleCommands(ctx, aggregate, d)
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
		logs[record.Log].Add(handed.Message[driver.Record]{ID: m.ID, Group: cmp.Or(m.Attributes.Group, record.Stream), Attempt: min(m.attempt(), h.attempts), Message: record})
	}
	left := map[string]handed.Left{}
	for log, queued := range logs {
		work(ctx, h, queued, manyRecords, queuePatience, func(ctx context.Context, d []driver.Delivery[driver.Record]) ([]driver.Settlement, error) {
			return h.host.HandleRecords(ctx, t.Component, log, d)
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
		if l, ok := left[m.ID]; ok {
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

// timers does what is due. Schedules that the deployment made say their name and
// time, all others are the Scheduler's to tell.
func (h *handler) timers(ctx context.Context, messages []sqsMessage) []handed.Left {
	h.receiving.Lock()
	defer h.receiving.Unlock()
	ticks := handed.New[driver.Firing](h.now)
	left := map[string]handed.Left{}
	for _, m := range messages {
		var t tick
		if json.Unmarshal([]byte(m.Body), &t) != nil || t.Schedule == "" {
			// The driver looks for a schedule three times, whatever else is tried.
			h.provider.Timers.Add(handed.Message[string]{ID: m.ID, Attempt: min(m.attempt(), max(h.attempts, 3)), Message: m.Body})
			continue
		}
		firing, err := h.declared(t)
		if err == nil {
			ticks.Add(handed.Message[driver.Firing]{ID: m.ID, Group: t.Schedule, Attempt: min(m.attempt(), h.attempts), Message: firing})
			continue
		}
		if due, _ := time.Parse(time.RFC3339, t.Due); h.host.Newer(err, due) {
			left[m.ID] = handed.Left{ID: m.ID, After: host.RolloutDelay}
			continue
		}
		if h.parkRaw(ctx, "Scheduler", "raw/Scheduler/"+digest(m.Body), []byte(m.Body), m.attempt(), err) != nil {
			left[m.ID] = handed.Left{ID: m.ID}
		}
	}
	handle := func(ctx context.Context, d []driver.Delivery[driver.Firing]) ([]driver.Settlement, error) {
		return h.host.HandleFirings(ctx, d), nil
	}
	work(ctx, h, ticks, manyOthers, queuePatience, handle)
	work(ctx, h, h.host.Scheduler(), manyOthers, queuePatience, handle)
	for _, l := range append(ticks.Take(), h.provider.Timers.Take()...) {
		left[l.ID] = l
	}
	release(ctx, h.host.Scheduler())
	return inOrder(messages, left)
}

func (h *handler) declared(t tick) (driver.Firing, error) {
	due, err := time.Parse(time.RFC3339, t.Due)
	if err != nil {
		return driver.Firing{}, fmt.Errorf("its time: %w: %w", driver.ErrInvalid, err)
	}
	return h.host.DeclaredFiring(t.Schedule, due.UTC())
}

// objects runs a task on what came and went in its bucket.
func (h *handler) objects(ctx context.Context, t wiring.Trigger, messages []sqsMessage) []handed.Left {
	h.receiving.Lock()
	defer h.receiving.Unlock()
	d, _ := h.app.Assembled().Lookup(t.Component)
	bucket, _ := h.host.Bucket(d)
	queued := h.provider.Objects[t.Component]
	for _, m := range messages {
		queued.Add(handed.Message[string]{ID: m.ID, Attempt: min(m.attempt(), h.attempts), Message: m.Body})
	}
	work(ctx, h, bucket, manyOthers, queuePatience, func(ctx context.Context, d []driver.Delivery[driver.ObjectEvent]) ([]driver.Settlement, error) {
		return h.host.HandleObjects(ctx, t.Task, d)
	})
	left := queued.Take()
	release(ctx, bucket)
	return left
}

// release has a driver forget what it holds of messages that are no longer handed
// to it: they come again.
func release(ctx context.Context, r any) {
	if r, ok := r.(interface{ Release(context.Context) error }); ok {
		_ = r.Release(ctx) // of what is in memory
	}
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
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
		if _, ok := after[m.ID]; !ok {
			continue
		}
		wait := min(max(after[m.ID], time.Second<<(2*min(m.attempt(), 5))), longestBack)
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
