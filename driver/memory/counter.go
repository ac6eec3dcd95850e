package memory

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// referenceWindow is how long a reference of a counter is remembered after its
// last use.
const referenceWindow = 8 * 24 * time.Hour

// counter is a [driver.Counter].
type counter struct {
	*queue[driver.CounterFinished]
	name string

	mu      sync.Mutex
	states  map[string]*counterState
	counts  window // references of counts
	targets window // references of targets
}

type counterState struct {
	driver.CounterState
	reached int64 // highest target reached
}

func newCounter(p *Provider, name string) *counter {
	return &counter{
		queue:   newQueue(p, driver.ReceiverOf("Counter", name), same[driver.CounterFinished]),
		name:    name,
		states:  make(map[string]*counterState),
		counts:  newWindow(referenceWindow, true),
		targets: newWindow(referenceWindow, true),
	}
}

// Count implements [driver.Counter].
func (c *counter) Count(ctx context.Context, counterID, reference string, n int64) error {
	return c.add(ctx, counterID, reference, n, &c.counts, func(s *counterState) *int64 { return &s.Count })
}

// AddTarget implements [driver.Counter].
func (c *counter) AddTarget(ctx context.Context, counterID, reference string, target int64) error {
	return c.add(ctx, counterID, reference, target, &c.targets, func(s *counterState) *int64 { return &s.Target })
}

func (c *counter) add(ctx context.Context, counterID, reference string, n int64, seen *window, field func(*counterState) *int64) error {
	finished, err := c.change(ctx, counterID, reference, n, seen, field)
	if finished {
		c.p.notify(c.receiver.name)
	}
	return err
}

// change adds n to a field of a counter, once per reference. It finishes the
// counter if that makes the count reach the target.
func (c *counter) change(ctx context.Context, counterID, reference string, n int64, seen *window, field func(*counterState) *int64) (finished bool, err error) {
	if err := c.p.begin(ctx); err != nil {
		return false, err
	}
	defer c.p.end()
	if err := driver.CheckID("counter", counterID); err != nil {
		return false, fmt.Errorf("counter %q: %w", c.name, err)
	}
	if err := driver.CheckID("reference", reference); err != nil {
		return false, fmt.Errorf("counter %q: %q: %w", c.name, counterID, err)
	}
	if n < 1 {
		return false, fmt.Errorf("counter %q: %q: cannot add %d: %w", c.name, counterID, n, driver.ErrInvalid)
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.states[counterID]
	if s == nil {
		s = new(counterState)
	}
	if f := field(s); *f > math.MaxInt64-n {
		return false, fmt.Errorf("counter %q: %q: adding %d to %d overflows: %w", c.name, counterID, n, *f, driver.ErrInvalid)
	}
	if !seen.first(counterID+"\x00"+reference, c.p.now()) {
		return false, nil
	}
	c.states[counterID] = s
	*field(s) += n
	if s.Target <= s.reached || s.Count < s.Target {
		return false, nil
	}
	s.reached = s.Target
	s.Finished++
	c.push(counterID, driver.CounterFinished{CounterID: counterID, Ordinal: s.Finished, Target: s.Target})
	return true, nil
}

// State implements [driver.Counter].
func (c *counter) State(ctx context.Context, counterID string) (driver.CounterState, error) {
	if err := c.p.begin(ctx); err != nil {
		return driver.CounterState{}, err
	}
	defer c.p.end()
	if err := driver.CheckID("counter", counterID); err != nil {
		return driver.CounterState{}, fmt.Errorf("counter %q: %w", c.name, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.states[counterID]; s != nil {
		return s.CounterState, nil
	}
	return driver.CounterState{}, nil
}
