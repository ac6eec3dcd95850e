package memory

import (
	"context"
	"fmt"
	"sync"

	"github.com/reventless-go/reventless/driver"
)

// byStream has the watermark of each stream.
type byStream map[driver.StreamKey]driver.Watermark

// check returns a conflict unless all advances are possible.
func (w byStream) check(advances []driver.Advance) error {
	for _, a := range advances {
		switch m := w[a.StreamKey]; {
		case m.Blocked:
			return fmt.Errorf("advance %q of %q: blocked at %d: %w", a.Stream, a.Log, m.SequenceNr, driver.ErrConflict)
		case m.SequenceNr != a.From:
			return fmt.Errorf("advance %q of %q from %d: it is at %d: %w", a.Stream, a.Log, a.From, m.SequenceNr, driver.ErrConflict)
		}
	}
	return nil
}

// move applies checked advances.
func (w byStream) move(advances []driver.Advance) {
	for _, a := range advances {
		w[a.StreamKey] = driver.Watermark{SequenceNr: a.To}
	}
}

// checkAdvances checks the parts of advances that do not depend on stored data.
func checkAdvances(advances []driver.Advance) error {
	seen := make(map[driver.StreamKey]bool)
	for _, a := range advances {
		if a.To < a.From {
			return fmt.Errorf("advance %q of %q from %d to %d: %w", a.Stream, a.Log, a.From, a.To, driver.ErrInvalid)
		}
		if seen[a.StreamKey] {
			return fmt.Errorf("two advances of %q of %q: %w", a.Stream, a.Log, driver.ErrInvalid)
		}
		seen[a.StreamKey] = true
	}
	return nil
}

// watermarks is a [driver.Watermarks] of a read model or of another consumer.
type watermarks struct {
	p        *Provider
	name     string
	mu       sync.Locker // guards byStream
	byStream byStream
}

func newWatermarks(p *Provider, consumer string) *watermarks {
	return &watermarks{p: p, name: consumer, mu: new(sync.Mutex), byStream: make(byStream)}
}

// Watermark implements [driver.Watermarks].
func (c *watermarks) Watermark(ctx context.Context, stream driver.StreamKey) (driver.Watermark, error) {
	found, err := c.Watermarks(ctx, []driver.StreamKey{stream})
	return found[stream], err
}

// Watermarks implements [driver.Watermarks].
func (c *watermarks) Watermarks(ctx context.Context, streams []driver.StreamKey) (map[driver.StreamKey]driver.Watermark, error) {
	if err := c.p.begin(ctx); err != nil {
		return nil, err
	}
	defer c.p.end()
	c.mu.Lock()
	defer c.mu.Unlock()
	found := make(map[driver.StreamKey]driver.Watermark, len(streams))
	for _, s := range streams {
		found[s] = c.byStream[s]
	}
	return found, nil
}

// Advance implements [driver.Watermarks].
func (c *watermarks) Advance(ctx context.Context, advances []driver.Advance) error {
	if err := c.p.begin(ctx); err != nil {
		return err
	}
	defer c.p.end()
	if err := checkAdvances(advances); err != nil {
		return fmt.Errorf("watermarks %q: %w", c.name, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.byStream.check(advances); err != nil {
		return fmt.Errorf("watermarks %q: %w", c.name, err)
	}
	c.byStream.move(advances)
	return nil
}

// Block implements [driver.Watermarks].
func (c *watermarks) Block(ctx context.Context, stream driver.StreamKey, at uint64) error {
	if err := c.p.begin(ctx); err != nil {
		return err
	}
	defer c.p.end()
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.byStream[stream]
	if m.SequenceNr != at {
		return fmt.Errorf("watermarks %q: block %q of %q at %d: it is at %d: %w", c.name, stream.Stream, stream.Log, at, m.SequenceNr, driver.ErrConflict)
	}
	c.byStream[stream] = driver.Watermark{SequenceNr: at, Blocked: true}
	return nil
}

// Unblock implements [driver.Watermarks].
func (c *watermarks) Unblock(ctx context.Context, stream driver.StreamKey) error {
	if err := c.p.begin(ctx); err != nil {
		return err
	}
	defer c.p.end()
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := c.byStream[stream]; m.Blocked {
		c.byStream[stream] = driver.Watermark{SequenceNr: m.SequenceNr}
	}
	return nil
}
