package lambdarunner

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// WaitIdle waits until nothing is left to do: no invocation is under way, queues
// have no message, visible or held, and streams are handled to their end. It must
// find that twice in a row. When ctx ends before, the error says what is left.
func (r *Runner) WaitIdle(ctx context.Context) error {
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	var left []string
	for quiet := 0; ; {
		found, err := r.look(ctx)
		if err == nil {
			left = found
		}
		if err == nil && len(left) == 0 {
			if quiet++; quiet == 2 {
				return nil
			}
		} else {
			quiet = 0
		}
		select {
		case <-again.C:
		case <-r.ctx.Done():
			return ErrClosed
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("lambdarunner: not idle, %s: %w", strings.Join(left, ", "), ctx.Err()), err)
		}
	}
}

// look returns what is left to do, or the first of it.
func (r *Runner) look(ctx context.Context) (left []string, err error) {
	begun := r.begun.Load()
	r.mu.Lock()
	queues, all := r.queues, r.streams
	r.mu.Unlock()
	for _, s := range all {
		if n := s.waiting(); n > 0 {
			left = append(left, fmt.Sprintf("%d records of %s for %s", n, s.table, s.f.Name))
		}
	}
	if n := r.busy.Load(); n > 0 {
		left = append(left, fmt.Sprintf("%d batches or invocations under way", n))
	}
	if len(left) > 0 {
		return left, nil
	}
	for _, q := range queues {
		visible, held, err := q.counts(ctx)
		if err != nil {
			return nil, fmt.Errorf("lambdarunner: queue %s: %w", q.name(), err)
		}
		if visible+held > 0 {
			left = append(left, fmt.Sprintf("%d messages of %s and %d that are held", visible, q.name(), held))
		}
	}
	for _, s := range all {
		if _, err := s.poll(ctx); err != nil {
			return nil, fmt.Errorf("lambdarunner: stream of %s: %w", s.table, err)
		}
		if n := s.waiting(); n > 0 {
			left = append(left, fmt.Sprintf("%d records of %s for %s", n, s.table, s.f.Name))
		}
	}
	if r.begun.Load() != begun || r.busy.Load() > 0 {
		left = append(left, "something began meanwhile")
	}
	return left, nil
}
