package reventlesstest

import (
	"sync"
	"time"
)

// startOfTime is where the clocks of the tests begin.
var startOfTime = time.Date(2026, time.January, 1, 9, 0, 0, 0, time.UTC)

// Clock is a clock that stands still until it is told to go on. Its methods are
// safe for concurrent use.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock returns a clock that stands at start; the zero time is 1 January 2026,
// 09:00 UTC.
func NewClock(start time.Time) *Clock {
	if start.IsZero() {
		start = startOfTime
	}
	return &Clock{now: start.UTC()}
}

// Now returns the time, in UTC. It serves wherever options ask for a clock.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock by d, and returns the new time. It panics when d is
// negative: time does not go back.
func (c *Clock) Advance(d time.Duration) time.Time {
	if d < 0 {
		panic("reventlesstest: Clock.Advance by a negative duration")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	return c.now
}

// set moves the clock to at, back as well: the tests of this package follow the
// times of the events.
func (c *Clock) set(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = at.UTC()
}
