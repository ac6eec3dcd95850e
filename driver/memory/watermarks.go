package memory

import (
	"context"
	"fmt"
	"sync"

	"github.com/reventless-go/reventless/driver"
)

// byStream holds the watermark of each stream.
type byStream map[driver.StreamKey]driver.Watermark

// check reports whether all advances can be made.
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

// move makes advances that were checked.
func (w byStream) move(advances []driver.Advance) {
	for _, a := range advances {
		w[a.StreamKey] = driver.Watermark{SequenceNr: a.To}
	}
}

// checkAdvances reports whether the advances can be of one step at all.
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

// watermarks is a [driver.Watermarks], of a consumer of its own or of a table.
type watermarks struct {
	p     *Provider
	name  string
	mu    sync.Locker // guards marks
	marks byStream
}

func newWatermarks(p *Provider, consumer string) *watermarks {
	return &watermarks{p: p, name: consumer, mu: new(sync.Mutex), marks: make(byStream)}
}

// Watermark implements [driver.Watermarks].
func (c *watermarks) Watermark(ctx context.Context, stream driver.StreamKey) (driver.Watermark, error) {
	marks, err := c.Watermarks(ctx, []driver.StreamKey{stream})
	return marks[stream], err
}

// Watermarks implements [driver.Watermarks].
func (c *watermarks) Watermarks(ctx context.Context, streams []driver.StreamKey) (map[driver.StreamKey]driver.Watermark, error) {
	if err := c.p.begin(ctx); err != nil {
		return nil, err
	}
	defer c.p.end()
	c.mu.Lock()
	defer c.mu.Unlock()
	marks := make(map[driver.StreamKey]driver.Watermark, len(streams))
	for _, s := range streams {
		marks[s] = c.marks[s]
	}
	return marks, nil
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
	if err := c.marks.check(advances); err != nil {
		return fmt.Errorf("watermarks %q: %w", c.name, err)
	}
	c.marks.move(advances)
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
	m := c.marks[stream]
	if m.SequenceNr != at {
		return fmt.Errorf("watermarks %q: block %q of %q at %d: it is at %d: %w", c.name, stream.Stream, stream.Log, at, m.SequenceNr, driver.ErrConflict)
	}
	c.marks[stream] = driver.Watermark{SequenceNr: at, Blocked: true}
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
	if m := c.marks[stream]; m.Blocked {
		c.marks[stream] = driver.Watermark{SequenceNr: m.SequenceNr}
	}
	return nil
}
