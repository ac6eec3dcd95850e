package scheduledpublisher

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/scheduler/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/reventless-go/reventless/aws/internal/naming"
	awssqs "github.com/reventless-go/reventless/aws/internal/sqs"
	"github.com/reventless-go/reventless/aws/internal/standardqueue"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/schedule"
)

const (
	// defaultHold is the visibility timeout that queues have by default.
	defaultHold = 30 * time.Second
	// setBack is how long a message waits whose schedule is held.
	setBack = time.Second
	// looks is how often a schedule is looked for before its message is dropped, and
	// lookAgain how long that waits in between, which is longer than functions wait:
	// they hand it back. Of the service nothing says that what it has stored is to be
	// seen at once, and a firing that is near is sent as soon as it is stored.
	looks     = 3
	lookAgain = 5 * time.Second
	// remembered is how many schedules it is known of when they were settled.
	remembered = 10_000
)

// Scheduler is the schedules of one application, and the receiver of what they fire.
type Scheduler struct {
	client   *scheduler.Client
	group    string
	target   types.Target // without an input
	queue    *awssqs.Queue
	receiver messages // of bodies
	letters  driver.DeadLetters
	now      func() time.Time
	hold     time.Duration

	mu      sync.Mutex
	held    map[string]*firing // by name
	firings map[string]*firing // by delivery
	settled map[string]time.Time
	older   map[string]time.Time
	ending  map[string]ending // what is not ended yet, by delivery
}

var _ driver.Scheduler = (*Scheduler)(nil)

// firing is a message that is held.
type firing struct {
	input
	id    string
	once  bool
	since time.Time
}

// ending is the end of a message, which the queue has yet to be told.
type ending struct {
	driver.Settlement
	since time.Time
}

// Options configure a [Scheduler]; nil and zero fields are the defaults.
type Options struct {
	// DeadLetters takes messages that are no firing, each as one [driver.DeadRaw].
	// Without it they stay in the queue, which has to have a queue for dead letters
	// of its own.
	DeadLetters driver.DeadLetters
	// Hold is the visibility timeout of the queue; 0 is 30 seconds.
	Hold time.Duration
	// Messages has the bodies of the queue's messages in place of the queue: for a
	// function, which is handed them.
	Messages messages
	// Now is the clock that tells times that have passed, and by which holds end.
	// Nil is time.Now.
	Now func() time.Time
}

// messages are what a queue has, or what a function was handed.
type messages interface {
	driver.Receiver[string]
	Release(ctx context.Context) error
}

// Target is where schedules are, and what they fire at.
type Target struct {
	// Group is the schedule group.
	Group string
	// Queue is the name or URL of the queue, QueueARN its ARN.
	Queue, QueueARN string
	// RoleARN is the role in which the service sends to the queue.
	RoleARN string
	// DeadLettersARN is the standard queue that gets what the service could not send
	// to the queue in 24 hours; empty is none, and it is lost.
	// https://docs.aws.amazon.com/scheduler/latest/UserGuide/configuring-schedule-dlq.html
	DeadLettersARN string
}

// Open returns the schedules of a group. Nothing is asked of the services: a missing
// group is [driver.ErrUnavailable] at the first call.
func Open(schedules *scheduler.Client, queues *sqs.Client, target Target, opts *Options) *Scheduler {
	s := &Scheduler{
		client: schedules, group: target.Group, target: types.Target{Arn: &target.QueueARN, RoleArn: &target.RoleARN},
		queue: awssqs.NewQueue(standardqueue.Client(queues), target.Queue), hold: defaultHold,
		held: map[string]*firing{}, firings: map[string]*firing{}, settled: map[string]time.Time{}, ending: map[string]ending{},
	}
	if target.DeadLettersARN != "" {
		s.target.DeadLetterConfig = &types.DeadLetterConfig{Arn: &target.DeadLettersARN}
	}
	s.now = time.Now
	if opts != nil {
		s.letters = opts.DeadLetters
		if opts.Now != nil {
			s.now = opts.Now
		}
		if opts.Hold > 0 {
			s.hold = opts.Hold
		}
	}
	if opts != nil && opts.Messages != nil {
		s.receiver = opts.Messages
		return s
	}
	s.receiver = awssqs.NewReceiver(s.queue, "scheduler "+target.Group+": queue", &awssqs.Options{Now: s.now}, func(body, _ string) string { return body })
	return s
}

// Receive implements [driver.Receiver].
func (s *Scheduler) Receive(ctx context.Context, max int) (driver.Batch[driver.Firing], error) {
	batch, err := s.receive(ctx, max)
	if err != nil {
		return driver.Batch[driver.Firing]{}, fmt.Errorf("scheduler %s: receive: %w", s.group, err)
	}
	return batch, nil
}

func (s *Scheduler) receive(ctx context.Context, max int) (driver.Batch[driver.Firing], error) {
	var batch driver.Batch[driver.Firing]
	// What was not ended would come again only after its visibility timeout. What
	// cannot be ended now is next time, too.
	_ = s.end(ctx, nil)
	since := s.now()
	received, err := s.receiver.Receive(ctx, max)
	if err != nil {
		return batch, err
	}
	var ended []driver.Settlement
	var failed error
	for _, d := range received.Deliveries {
		f, end, err := s.open(ctx, d, since)
		switch {
		case err != nil:
			failed = err
			ended = append(ended, driver.Settlement{ID: d.ID, Retry: true, After: setBack})
		case end != nil:
			ended = append(ended, *end)
		case f != nil:
			batch.Deliveries = append(batch.Deliveries, *f)
		}
	}
	_ = s.end(ctx, ended) // as above
	if len(batch.Deliveries) == 0 {
		batch.Next = received.Next
		return batch, failed // else it comes again with the next call
	}
	return batch, nil
}

// open returns the firing of a message, or how the message is to end; neither where
// it is left to the queue.
func (s *Scheduler) open(ctx context.Context, d driver.Delivery[string], since time.Time) (*driver.Delivery[driver.Firing], *driver.Settlement, error) {
	in, due, once, err := firingOf(d.Message)
	if err != nil {
		if s.letters == nil {
			return nil, nil, nil
		}
		if err := s.park(ctx, d, err); err != nil {
			return nil, nil, err
		}
		return nil, &driver.Settlement{ID: d.ID}, nil
	}
	now, found, err := s.get(ctx, aws.String(naming.ScheduleName(in.Name)))
	if err != nil {
		return nil, nil, fmt.Errorf("%.100q: %w", in.Name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	last, settled := s.lastSettled(in.Generation)
	if settled && !due.After(last) || !once && d.Attempt == 1 && s.passed(in, due) {
		return nil, &driver.Settlement{ID: d.ID}, nil
	}
	if !found || now.Generation != in.Generation { // it was deleted or replaced, or is not to be seen yet
		return nil, &driver.Settlement{ID: d.ID, Retry: d.Attempt < looks, After: lookAgain}, nil
	}
	f := &firing{input: in, id: d.ID, once: once, since: since}
	if h := s.held[in.Name]; h != nil && since.Sub(h.since) < s.hold {
		return nil, &driver.Settlement{ID: d.ID, Retry: true, After: setBack}, nil
	}
	s.held[in.Name], s.firings[d.ID] = f, f
	return &driver.Delivery[driver.Firing]{ID: d.ID, Attempt: d.Attempt, Message: driver.Firing{Name: in.Name, Due: due, Payload: in.payload()}}, nil, nil
}

// firingOf decodes a message.
func firingOf(body string) (in input, due time.Time, once bool, err error) {
	if in, err = decode(body); err != nil {
		return in, due, false, err
	}
	rate, err := schedule.Parse(in.Expression, in.Zone)
	if err != nil {
		return in, due, false, fmt.Errorf("%w: %w", driver.ErrInvalid, err)
	}
	if due, once = rate.Time(); once {
		return in, due.UTC(), true, nil // the service has a rounded one
	}
	if due, err = time.Parse(time.RFC3339, in.Due); err != nil {
		return in, due, false, fmt.Errorf("its time: %w: %w", driver.ErrInvalid, err)
	}
	return in, due.UTC(), false, nil
}

// passed reports whether two more times have come since: the service has sent
// messages for them.
func (s *Scheduler) passed(in input, due time.Time) bool {
	rate, err := schedule.Parse(in.Expression, in.Zone)
	if err != nil {
		return false
	}
	for range 2 {
		next, ok := rate.Next(due)
		if !ok || next.After(s.now()) {
			return false
		}
		due = next
	}
	return true
}

func (s *Scheduler) lastSettled(generation string) (time.Time, bool) {
	t, ok := s.settled[generation]
	if !ok {
		t, ok = s.older[generation]
	}
	return t, ok
}

func (s *Scheduler) park(ctx context.Context, d driver.Delivery[string], cause error) error {
	sum := sha256.Sum256([]byte(d.Message))
	return s.letters.Park(ctx, driver.DeadLetter{
		ID: "raw/Scheduler/" + hex.EncodeToString(sum[:]), Component: "Scheduler", Kind: driver.DeadRaw,
		Body: []byte(d.Message), Reason: cause.Error(), Attempts: d.Attempt, ParkedAt: s.now().UTC(),
	})
}

// Settle implements [driver.Receiver]. When some could not be settled the error is a
// [driver.BatchError] by the ids of their deliveries.
func (s *Scheduler) Settle(ctx context.Context, settlements []driver.Settlement) error {
	failed := map[string]error{}
	var ended []driver.Settlement
	for _, x := range settlements {
		s.mu.Lock()
		f := s.firings[x.ID]
		s.mu.Unlock()
		if f == nil {
			continue
		}
		if !x.Retry && f.once {
			if err := s.complete(ctx, f); err != nil {
				failed[x.ID] = err
				continue
			}
		}
		s.mu.Lock()
		delete(s.firings, x.ID)
		if s.held[f.Name] == f {
			delete(s.held, f.Name)
		}
		if !x.Retry {
			if len(s.settled) >= remembered {
				s.older, s.settled = s.settled, map[string]time.Time{}
			}
			s.settled[f.Generation] = s.now()
		}
		s.mu.Unlock()
		ended = append(ended, x)
	}
	err := s.end(ctx, ended)
	var batch *driver.BatchError
	if errors.As(err, &batch) {
		for id, err := range batch.Failed {
			failed[id] = err
		}
		err = nil
	}
	if err == nil && len(failed) > 0 {
		err = &driver.BatchError{Failed: failed}
	}
	if err != nil {
		return fmt.Errorf("scheduler %s: settle: %w", s.group, err)
	}
	return nil
}

// complete deletes a one-time schedule whose firing is done, unless it was replaced.
func (s *Scheduler) complete(ctx context.Context, f *firing) error {
	now, found, err := s.get(ctx, aws.String(naming.ScheduleName(f.Name)))
	if err != nil || !found || now.Generation != f.Generation {
		return err
	}
	return s.remove(ctx, f.Name)
}

// end ends messages, and those that could not be before.
func (s *Scheduler) end(ctx context.Context, ended []driver.Settlement) error {
	now := s.now()
	s.mu.Lock()
	for _, x := range ended {
		s.ending[x.ID] = ending{x, now}
	}
	var all []driver.Settlement
	for id, e := range s.ending {
		if now.Sub(e.since) > awssqs.MaxHold {
			delete(s.ending, id)
			continue
		}
		all = append(all, e.Settlement)
	}
	s.mu.Unlock()
	if len(all) == 0 {
		return ctx.Err()
	}
	err := s.receiver.Settle(ctx, all)
	var batch *driver.BatchError
	if err != nil && !errors.As(err, &batch) {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range all {
		if batch == nil || batch.Failed[x.ID] == nil {
			delete(s.ending, x.ID)
		}
	}
	return err
}

// Release gives back what is held, so that it comes again at once and not after the
// queue's visibility timeout. It is for who ends.
func (s *Scheduler) Release(ctx context.Context) error {
	s.mu.Lock()
	clear(s.held)
	clear(s.firings)
	clear(s.ending)
	s.mu.Unlock()
	if err := s.receiver.Release(ctx); err != nil {
		return fmt.Errorf("scheduler %s: release: %w", s.group, err)
	}
	return nil
}
