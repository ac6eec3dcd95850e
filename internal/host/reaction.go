package host

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
)

// reactor runs the rules of an automation, extension or side effect: streams
// concurrently, the events of one stream in order.
type reactor struct {
	consumer *consumer
	def      *component.Definition
	sources  []component.SourceLog
}

// reactions bounds how many streams one reactor works on at a time.
const reactions = 8

func (r *reactor) apply(ctx context.Context, spans []*span) {
	limit := make(chan struct{}, reactions)
	var wg sync.WaitGroup
	for _, s := range spans {
		limit <- struct{}{}
		wg.Go(func() {
			defer func() { <-limit }()
			r.applyOne(ctx, s)
		})
	}
	wg.Wait()
}

func (r *reactor) applyOne(ctx context.Context, s *span) {
	mark := s.from
	advance := func() error {
		if mark == s.applied {
			return nil
		}
		// What was done is kept also when the time is over.
		ctx, cancel := outlasting(ctx)
		defer cancel()
		err := r.consumer.positions.Advance(ctx, []driver.Advance{{StreamKey: s.stream, From: s.applied, To: mark}})
		if err == nil {
			s.applied = mark
		}
		return storeError(err)
	}
	for i := range s.commits {
		err := attend(ctx, func() error { return r.react(ctx, &s.commits[i]) })
		if err != nil {
			r.consumer.host.logPanic(r.consumer.name, err)
			s.err = err
			if advanceErr := advance(); advanceErr != nil {
				s.err = advanceErr
			}
			return
		}
		mark = s.commits[i].SequenceNr
		// What a side effect did outside cannot be undone or recognised, so its
		// position is kept at once; what an automation sent is recognised by id.
		if r.def.Kind == component.KindSideEffect {
			if s.err = advance(); s.err != nil {
				return
			}
		}
	}
	s.err = advance()
}

func (r *reactor) react(ctx context.Context, c *driver.Commit) error {
	for _, e := range r.consumer.events(c) {
		index := 0
		for _, src := range r.sources {
			events := []component.Event{e}
			if src.Map != nil {
				var err error
				if events, err = src.Map(e); err != nil {
					return fmt.Errorf("event %s: %w", e.Meta.ID, err)
				}
			}
			for _, ev := range events {
				var all []component.Action
				for _, rule := range r.def.Automation.Rules {
					if rule.Source != src.Source {
						continue
					}
					actions, err := rule.React(ctx, &env{host: r.consumer.host, name: r.consumer.name, uses: r.def.Automation.Uses, key: ev.Meta.ID}, ev)
					if err != nil {
						return fmt.Errorf("event %s: %w", ev.Meta.ID, err)
					}
					all = append(all, actions...)
				}
				for i, a := range all {
					if !slices.Contains(r.def.Automation.Targets, a.Target) && a.Target != nil {
						return fmt.Errorf("event %s: action %d addresses %s, which %s does not declare in Sends: %w", ev.Meta.ID, i+1, a.Target.Name, r.consumer.name, driver.ErrInvalid)
					}
				}
				n, err := r.consumer.host.perform(ctx, origin{component: r.consumer.name, meta: ev.Meta, key: ev.Meta.ID, first: index, at: ev.RecordedAt}, all)
				if err != nil {
					return fmt.Errorf("event %s: %w", ev.Meta.ID, err)
				}
				index += n
			}
		}
	}
	return nil
}
