// Package scheduledpublisher keeps schedules in EventBridge Scheduler, and decides
// which messages of the standard SQS queue that is their target are firings.
//
// A schedule is named by naming.ScheduleName in the group of the application, with
// FlexibleTimeWindow OFF. Its input, which becomes the message, is
//
//	{"due": "<aws.scheduler.scheduled-time>", "execution": "<aws.scheduler.execution-id>",
//	 "name": ..., "generation": ..., "expression": ..., "zone": ..., "payload": ...}
//
// https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html
//
// Every Create makes a new generation, and a message counts only while its schedule
// exists in the same generation: a replaced or deleted schedule does not fire. For the
// same reason a one-time schedule has ActionAfterCompletion NONE and is deleted when its
// firing is settled, not when the service has sent it. A schedule whose firing is in the
// dead-letter queue stays in the list. The service does not guarantee that a stored
// schedule is visible at once: a message is dropped only at its third delivery, five
// seconds apart.
//
// The service's precision is 60 seconds, and it is never early: a firing that is due at
// 10:00 is sent between 10:00:00 and 10:00:59. A time with seconds is rounded up to the
// minute, so its firing is up to two minutes late. When a time has passed or is within two
// minutes, the schedule is stored as disabled, and Create sends the message itself, with a
// delay until the time is due.
// https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
//
// The service sends firings whether or not earlier ones are settled; the schedules of
// other providers continue after the settlement. So a firing is dropped when it was due
// before the last settlement of its schedule, or when two later firings are due. After a
// pause there is one firing, or two when several processes handle them. A rate starts at
// the creation of its schedule.
//
// Create is one request to the service, or two when it replaces; Delete is one, and List
// is one for each 100 schedules and one for each schedule. A firing takes one request to
// find out whether it counts, and two more for a one-time schedule.
//
// One case is not atomic: when another process replaces a one-time schedule between the
// last of these look-ups and the deletion, the replacement is deleted.
package scheduledpublisher

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/scheduler/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"

	"github.com/reventless-go/reventless/aws/internal/dynamo"
	"github.com/reventless-go/reventless/aws/internal/failure"
	"github.com/reventless-go/reventless/aws/internal/naming"
	awssqs "github.com/reventless-go/reventless/aws/internal/sqs"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/schedule"
)

// MaxInputBytes is the maximum size of the input of a schedule, including its name and the
// other fields. It is a quarter of an SQS message; the API does not document a limit.
const MaxInputBytes = 256 << 10

// near is how soon a time must be for Create to send the message itself: a message of the
// queue can be delayed by 15 minutes.
const near = 2 * time.Minute

// maxTries bounds how often Create is retried after a conflict with another Create.
const maxTries = 20

// The context attributes that the service replaces in an input.
const attributes = `{"due":"<aws.scheduler.scheduled-time>","execution":"<aws.scheduler.execution-id>",`

// Scheduler is the schedules of one application.
type Scheduler struct {
	client *scheduler.Client
	group  string
	target types.Target // without an input
	queue  *awssqs.Queue
	now    func() time.Time

	mu      sync.Mutex
	settled map[string]time.Time // the time of the settlement, by generation
	older   map[string]time.Time
}

var _ driver.Scheduler = (*Scheduler)(nil)

// Target is the group of the schedules and the queue that receives their firings.
type Target struct {
	// Group is the schedule group.
	Group string
	// Queue is the URL of the queue, QueueARN its ARN.
	Queue, QueueARN string
	// RoleARN is the role in which the service sends to the queue.
	RoleARN string
	// DeadLettersARN is the standard queue for messages that the service could not send
	// to the queue within 24 hours; when it is empty, such messages are lost.
	// https://docs.aws.amazon.com/scheduler/latest/UserGuide/configuring-schedule-dlq.html
	DeadLettersARN string
}

// Open returns the schedules of a group. It makes no request: a missing group is
// [driver.ErrUnavailable] at the first call. now is the clock that decides
// whether a time has passed; nil is time.Now.
func Open(schedules *scheduler.Client, queues *sqs.Client, target Target, now func() time.Time) *Scheduler {
	s := &Scheduler{
		client: schedules, group: target.Group, target: types.Target{Arn: &target.QueueARN, RoleArn: &target.RoleARN},
		queue: awssqs.NewQueue(queues, target.Queue), now: now, settled: map[string]time.Time{},
	}
	if target.DeadLettersARN != "" {
		s.target.DeadLetterConfig = &types.DeadLetterConfig{Arn: &target.DeadLettersARN}
	}
	if s.now == nil {
		s.now = time.Now
	}
	return s
}

// input is the input of a schedule, and the message of a firing.
type input struct {
	Due        string `json:"due,omitempty"`
	Execution  string `json:"execution,omitempty"`
	Name       string `json:"name"`
	Generation string `json:"generation"`
	Expression string `json:"expression"`
	Zone       string `json:"zone,omitempty"`
	Payload    string `json:"payload,omitempty"` // the JSON as a text, byte for byte
	Binary     []byte `json:"binary,omitempty"`  // instead of Payload when the payload is not UTF-8
}

func newInput(s driver.Schedule) input {
	in := input{Name: s.Name, Generation: rand.Text(), Expression: s.Expression, Zone: s.Zone, Payload: string(s.Payload)}
	if !utf8.Valid(s.Payload) {
		in.Payload, in.Binary = "", bytes.Clone(s.Payload)
	}
	return in
}

func (in input) payload() json.RawMessage {
	if in.Binary != nil {
		return in.Binary
	}
	return json.RawMessage(in.Payload)
}

// encode returns the input for the service. A name or payload cannot contain a context
// attribute, because JSON escapes its angle brackets.
func (in input) encode() (string, error) {
	text, err := json.Marshal(in)
	if err != nil {
		return "", fmt.Errorf("input: %w: %w", driver.ErrInvalid, err)
	}
	if in.Due == "" {
		text = append([]byte(attributes), text[1:]...)
	}
	if len(text) > MaxInputBytes {
		return "", &driver.TooLargeError{What: "schedule", Size: len(text), Limit: MaxInputBytes}
	}
	return string(text), nil
}

func decode(text string) (input, error) {
	var in input
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		return in, fmt.Errorf("%w: %w", driver.ErrDamaged, err)
	}
	if in.Name == "" || in.Generation == "" {
		return in, fmt.Errorf("the name or the generation is missing: %w", driver.ErrDamaged)
	}
	return in, nil
}

// Create implements [driver.Scheduler].
func (s *Scheduler) Create(ctx context.Context, sched driver.Schedule) error {
	if err := s.create(ctx, sched); err != nil {
		return fmt.Errorf("scheduler %s: create %.100q: %w", s.group, sched.Name, err)
	}
	return nil
}

func (s *Scheduler) create(ctx context.Context, sched driver.Schedule) error {
	if err := driver.CheckID("schedule", sched.Name); err != nil {
		return err
	}
	if len(sched.Payload) > 0 && !json.Valid(sched.Payload) {
		return fmt.Errorf("the payload is not JSON: %w", driver.ErrInvalid)
	}
	rate, err := schedule.Parse(sched.Expression, sched.Zone)
	if err != nil {
		return fmt.Errorf("%w: %w", driver.ErrInvalid, err)
	}
	if _, ok := rate.Next(s.now()); rate.Recurring() && !ok {
		return fmt.Errorf("%s never fires: %w", sched.Expression, driver.ErrInvalid)
	}
	in := newInput(sched)
	text, err := in.encode()
	if err != nil {
		return err
	}
	target := s.target
	target.Input = &text
	create := &scheduler.CreateScheduleInput{
		Name: aws.String(naming.ScheduleName(sched.Name)), GroupName: &s.group,
		ScheduleExpression: &sched.Expression, ScheduleExpressionTimezone: aws.String(cmp.Or(sched.Zone, "UTC")),
		FlexibleTimeWindow: &types.FlexibleTimeWindow{Mode: types.FlexibleTimeWindowModeOff},
		// One-time schedules are deleted when their firing is settled.
		ActionAfterCompletion: types.ActionAfterCompletionNone,
		State:                 types.ScheduleStateEnabled,
		Target:                &target,
	}
	due, once := rate.Time()
	now := s.now()
	soon := once && due.Sub(now) <= near
	if once {
		create.ScheduleExpressionTimezone = aws.String("UTC")
		create.ScheduleExpression = aws.String(at(due))
	}
	if soon {
		// How the service handles times that have passed is not documented.
		create.State, create.ScheduleExpression = types.ScheduleStateDisabled, aws.String(at(now.Add(24*time.Hour)))
	}
	if err := s.store(ctx, create); err != nil || !soon {
		return err
	}
	in.Due = due.UTC().Format(time.RFC3339)
	if text, err = in.encode(); err != nil {
		return err
	}
	delay := (max(due.Sub(s.now()), 0) + time.Second - 1) / time.Second
	_, err = s.queue.Client.SendMessage(ctx, &sqs.SendMessageInput{
		QueueUrl: s.queue.URL(), MessageBody: &text, DelaySeconds: int32(delay), //nolint:gosec // it is near
	})
	return awssqs.Classify(err)
}

// at is the expression of a time in UTC, rounded up to a whole minute.
func at(t time.Time) string {
	whole := t.UTC().Truncate(time.Minute)
	if whole.Before(t) {
		whole = whole.Add(time.Minute)
	}
	return whole.Format("at(2006-01-02T15:04:05)")
}

// store creates a schedule, or replaces the existing one.
func (s *Scheduler) store(ctx context.Context, in *scheduler.CreateScheduleInput) error {
	var conflict *types.ConflictException
	var missing *types.ResourceNotFoundException
	for n := 1; ; n++ {
		_, err := s.client.CreateSchedule(ctx, in)
		if !errors.As(err, &conflict) {
			return classify(err)
		}
		_, err = s.client.UpdateSchedule(ctx, &scheduler.UpdateScheduleInput{
			Name: in.Name, GroupName: in.GroupName, ScheduleExpression: in.ScheduleExpression, ScheduleExpressionTimezone: in.ScheduleExpressionTimezone,
			FlexibleTimeWindow: in.FlexibleTimeWindow, ActionAfterCompletion: in.ActionAfterCompletion, State: in.State, Target: in.Target,
		})
		if !errors.As(err, &conflict) && !errors.As(err, &missing) {
			return classify(err)
		}
		// It was deleted meanwhile, or another Create replaces it.
		if n == maxTries {
			return fmt.Errorf("%w: %w", driver.ErrThrottled, err)
		}
		if err := dynamo.Pause(ctx, min(n, 4)); err != nil {
			return err
		}
	}
}

// Delete implements [driver.Scheduler].
func (s *Scheduler) Delete(ctx context.Context, name string) error {
	if driver.CheckID("schedule", name) != nil {
		return nil // Create refuses that name
	}
	if err := s.remove(ctx, name); err != nil {
		return fmt.Errorf("scheduler %s: delete %.100q: %w", s.group, name, err)
	}
	return nil
}

func (s *Scheduler) remove(ctx context.Context, name string) error {
	_, err := s.client.DeleteSchedule(ctx, &scheduler.DeleteScheduleInput{Name: aws.String(naming.ScheduleName(name)), GroupName: &s.group})
	var missing *types.ResourceNotFoundException
	if errors.As(err, &missing) {
		return nil
	}
	return classify(err)
}

// errDeclared is the error for a schedule of the deployment, which uses the same group.
var errDeclared = errors.New("belongs to the deployment")

// List implements [driver.Scheduler]. It omits the schedules of the
// deployment.
func (s *Scheduler) List(ctx context.Context) ([]driver.Schedule, error) {
	list, err := s.list(ctx)
	if err != nil {
		return nil, fmt.Errorf("scheduler %s: list: %w", s.group, err)
	}
	return list, nil
}

func (s *Scheduler) list(ctx context.Context) ([]driver.Schedule, error) {
	var list []driver.Schedule
	in := &scheduler.ListSchedulesInput{GroupName: &s.group, MaxResults: aws.Int32(100)}
	for {
		out, err := s.client.ListSchedules(ctx, in)
		if err != nil {
			return nil, classify(err)
		}
		for _, summary := range out.Schedules {
			in, found, err := s.get(ctx, summary.Name)
			switch {
			case errors.Is(err, errDeclared):
			case err != nil:
				return nil, fmt.Errorf("%.100q: %w", aws.ToString(summary.Name), err)
			case found:
				list = append(list, driver.Schedule{Name: in.Name, Expression: in.Expression, Zone: in.Zone, Payload: in.payload()})
			}
		}
		if out.NextToken == nil {
			break
		}
		in.NextToken = out.NextToken
	}
	slices.SortFunc(list, func(a, b driver.Schedule) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

// get returns the current state of a schedule.
func (s *Scheduler) get(ctx context.Context, physical *string) (in input, found bool, err error) {
	out, err := s.client.GetSchedule(ctx, &scheduler.GetScheduleInput{Name: physical, GroupName: &s.group})
	var missing *types.ResourceNotFoundException
	switch {
	case errors.As(err, &missing):
		return in, false, nil
	case err != nil:
		return in, false, classify(err)
	case out.Target == nil:
		return in, false, fmt.Errorf("the schedule has no target: %w", driver.ErrDamaged)
	}
	text := aws.ToString(out.Target.Input)
	if in, err = decode(text); err != nil {
		var declared struct {
			Schedule string `json:"schedule"`
		}
		if json.Unmarshal([]byte(text), &declared) == nil && declared.Schedule != "" {
			return in, false, fmt.Errorf("%.100q %w", declared.Schedule, errDeclared)
		}
		return in, false, fmt.Errorf("the schedule was not created by this driver: %w", err)
	}
	return in, true, nil
}

// The codes that have a class.
// https://docs.aws.amazon.com/scheduler/latest/APIReference/CommonErrors.html
var (
	throttled   = []string{"ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded"}
	unavailable = []string{"InternalServerException", "InternalFailure", "ServiceUnavailable", "ResourceNotFoundException"}
)

// classify wraps an error of the service with its class. Callers handle missing schedules
// before; any other missing resource is the group.
func classify(err error) error { return failure.Classify(err, classOf) }

func classOf(err error) error {
	var api smithy.APIError
	if errors.As(err, &api) {
		switch code := api.ErrorCode(); {
		case slices.Contains(throttled, code):
			return driver.ErrThrottled
		case slices.Contains(unavailable, code):
			return driver.ErrUnavailable
		}
	}
	return nil
}
