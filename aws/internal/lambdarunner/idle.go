package lambdarunner

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// WaitIdle waits until there is no work left: no invocation is running, the queues have
// no messages, visible or leased, and all stream records are handled. It checks twice in a
// row. If ctx ends before, the error lists the work that is left.
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

// look returns descriptions of the work that is left, not necessarily all of it.
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
		left = append(left, fmt.Sprintf("%d batches or invocations running", n))
	}
	if len(left) > 0 {
		return left, nil
	}
	for _, q := range queues {
		visible, leased, err := q.counts(ctx)
		if err != nil {
			return nil, fmt.Errorf("lambdarunner: queue %s: %w", q.name(), err)
		}
		if visible+leased > 0 {
			left = append(left, fmt.Sprintf("%d visible and %d leased messages of %s", visible, leased, q.name()))
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
		left = append(left, "work that began during the check")
	}
	return left, nil
}
