package sqlite

import (
	"context"
	"fmt"
	"iter"
	"sync/atomic"

	"github.com/reventless-go/reventless/driver"
)

// stateTopic publishes the changes of a table within the process, after their commits.
type stateTopic struct{ t *table }

var _ driver.StateTopic = stateTopic{}

// OpenStateTopic implements [driver.Sources].
func (p *Provider) OpenStateTopic(ctx context.Context, spec driver.TableSpec) (driver.StateTopic, error) {
	if err := p.enter(ctx); err != nil {
		return nil, err
	}
	defer p.leave()
	t, err := p.table(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("statetopic: open: %w", err)
	}
	return stateTopic{t}, nil
}

// Subscribe implements [driver.StateTopic].
func (st stateTopic) Subscribe(ctx context.Context) (iter.Seq2[driver.StateChange, error], error) {
	p, h := st.t.p, st.t.hub
	if err := p.enter(ctx); err != nil {
		return nil, err
	}
	defer p.leave()
	s := h.add()
	stop := context.AfterFunc(ctx, func() { h.remove(s) }) // even if the sequence is never ranged over
	var ranged atomic.Bool
	return func(yield func(driver.StateChange, error) bool) {
		if ranged.Swap(true) {
			yield(driver.StateChange{}, fmt.Errorf("statetopic: the sequence can be ranged over only once: %w", driver.ErrInvalid))
			return
		}
		defer stop()
		defer h.remove(s)
		for ctx.Err() == nil {
			change, ok, lost := s.pop()
			if lost {
				yield(driver.StateChange{}, fmt.Errorf("statetopic: changes of %q were dropped: %w", st.t.name, driver.ErrUnavailable))
				return
			}
			if ok {
				if !yield(change, nil) {
					return
				}
				continue
			}
			select {
			case <-s.wake:
			case <-ctx.Done():
			case <-p.closing:
				yield(driver.StateChange{}, fmt.Errorf("statetopic: %w", errClosed(p.path)))
				return
			}
		}
	}, nil
}
