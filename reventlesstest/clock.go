package reventlesstest

import (
	"sync"
	"time"
)

// startOfTime is the initial time of a clock.
var startOfTime = time.Date(2026, time.January, 1, 9, 0, 0, 0, time.UTC)

// Clock is a clock that moves only by [Clock.Advance]. Its methods are safe for
// concurrent use.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock returns a clock with the time start; the zero time means 1 January 2026,
// 09:00 UTC.
func NewClock(start time.Time) *Clock {
	if start.IsZero() {
		start = startOfTime
	}
	return &Clock{now: start.UTC()}
}

// Now returns the clock's time, in UTC.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock by d and returns the new time. It panics when d is negative.
func (c *Clock) Advance(d time.Duration) time.Time {
	if d < 0 {
		panic("reventlesstest: Clock.Advance by a negative duration")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	return c.now
}

// set moves the clock to at, which may be in the past.
func (c *Clock) set(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = at.UTC()
}
