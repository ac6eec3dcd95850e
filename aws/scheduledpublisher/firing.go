package scheduledpublisher

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/schedule"
)

const (
	// looks is how often a schedule is looked up before its message is dropped, and
	// lookAgain is the delay in between. A function cannot wait that long: it returns the
	// message to the queue. EventBridge Scheduler does not guarantee that a stored schedule
	// is visible at once, and the message of a firing that is due soon is sent as soon as
	// its schedule is stored.
	looks     = 3
	lookAgain = 5 * time.Second
	// remembered is the number of schedules whose last settlement is remembered.
	remembered = 10_000
)

// Message is a message of the queue.
type Message struct {
	// Firing is the firing of the message, if it counts.
	Firing driver.Firing

	input input
	once  bool
}

// Decode returns the message with a body. Another body is a [driver.ErrDamaged], or a
// [driver.ErrInvalid] if only its time is wrong.
func Decode(body string) (Message, error) {
	in, err := decode(body)
	if err != nil {
		return Message{}, err
	}
	m := Message{input: in, Firing: driver.Firing{Name: in.Name, Payload: in.payload()}}
	rate, err := schedule.Parse(in.Expression, in.Zone)
	if err != nil {
		return Message{}, fmt.Errorf("%w: %w", driver.ErrInvalid, err)
	}
	if m.Firing.Due, m.once = rate.Time(); !m.once { // the service has the rounded time of a one-time schedule
		if m.Firing.Due, err = time.Parse(time.RFC3339, in.Due); err != nil {
			return Message{}, fmt.Errorf("due time: %w: %w", driver.ErrInvalid, err)
		}
	}
	m.Firing.Due = m.Firing.Due.UTC()
	return m, nil
}

// Counts reports whether a message is a firing to be handled. One that is not is
// settled as s says: it is dropped, or retried when its schedule may not be visible yet.
// attempt is the number of the delivery, from 1.
func (s *Scheduler) Counts(ctx context.Context, m Message, attempt int) (counts bool, end driver.Settlement, err error) {
	now, found, err := s.get(ctx, aws.String(naming.ScheduleName(m.Firing.Name)))
	if err != nil {
		return false, end, fmt.Errorf("scheduler %s: firing of %.100q: %w", s.group, m.Firing.Name, err)
	}
	last, settled := s.lastSettled(m.input.Generation)
	switch {
	case settled && !m.Firing.Due.After(last), !m.once && attempt == 1 && s.passed(m):
		return false, end, nil
	case !found || now.Generation != m.input.Generation: // it was deleted or replaced, or is not visible yet
		return false, driver.Settlement{Retry: attempt < looks, After: lookAgain}, nil
	}
	return true, end, nil
}

// passed reports whether two later firings are due: the service has sent messages for
// them.
func (s *Scheduler) passed(m Message) bool {
	rate, err := schedule.Parse(m.input.Expression, m.input.Zone)
	if err != nil {
		return false
	}
	due := m.Firing.Due
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
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.settled[generation]
	if !ok {
		t, ok = s.older[generation]
	}
	return t, ok
}

// Done settles a handled firing: other firings of its schedule that are due now no longer
// count, and a one-time schedule is deleted unless it was replaced.
func (s *Scheduler) Done(ctx context.Context, m Message) error {
	if m.once {
		now, found, err := s.get(ctx, aws.String(naming.ScheduleName(m.Firing.Name)))
		if err == nil && found && now.Generation == m.input.Generation {
			err = s.remove(ctx, m.Firing.Name)
		}
		if err != nil {
			return fmt.Errorf("scheduler %s: done with %.100q: %w", s.group, m.Firing.Name, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.settled) >= remembered {
		s.older, s.settled = s.settled, map[string]time.Time{}
	}
	s.settled[m.input.Generation] = s.now()
	return nil
}
