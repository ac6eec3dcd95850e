package consumers

import (
	"context"
	"fmt"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/internal/host/core"
	"github.com/reventless-go/reventless/internal/host/effects"
)

// reactor runs the rules of an automation, extension or side effect: streams
// concurrently, the events of one stream in order.
type reactor struct {
	*Consumer

	def     *component.Definition
	effects *effects.Effects
}

// NewReactor returns the consumer of an automation, extension or side effect.
func NewReactor(s Spec, def *component.Definition, w driver.Watermarks, e *effects.Effects) *Consumer {
	c := &Consumer{Spec: s, watermarks: w, failures: map[string]failure{}}
	c.applier = &reactor{c, def, e}
	return c
}

// maxReactions bounds how many streams one reactor works on at a time.
const maxReactions = 8

func (r *reactor) apply(ctx context.Context, spans []*span) {
	core.Concurrently(len(spans), maxReactions, func(i int) { r.applyOne(ctx, spans[i]) })
}

func (r *reactor) applyOne(ctx context.Context, s *span) {
	done := s.from
	advance := func() error {
		if done == s.applied {
			return nil
		}
		// What was done is recorded also after the end of ctx.
		ctx, cancel := core.WithGrace(ctx)
		defer cancel()
		err := r.watermarks.Advance(ctx, []driver.Advance{{StreamKey: s.stream, From: s.applied, To: done}})
		if err == nil {
			s.applied = done
		}
		return core.StoreError(err)
	}
	for i := range s.commits {
		err := core.RunUntilDeadline(ctx, func() error { return r.react(ctx, &s.commits[i]) })
		if err != nil {
			r.Core.LogPanic(r.Name, err)
			s.err = err
			if advanceErr := advance(); advanceErr != nil {
				s.err = advanceErr
			}
			return
		}
		done = s.commits[i].SequenceNr
		// A side effect cannot be undone or recognised, so its watermark moves immediately.
		// The commands of an automation are recognised by their ids.
		if r.def.Kind == component.KindSideEffect {
			if s.err = advance(); s.err != nil {
				return
			}
		}
	}
	s.err = advance()
}

func (r *reactor) react(ctx context.Context, c *driver.Commit) error {
	for _, e := range r.events(c) {
		first := 0
		for _, src := range r.Sources {
			events, err := []component.Event{e}, error(nil)
			if src.Map != nil {
				if events, err = mapped(src, e); err != nil {
					return err
				}
			}
			for _, ev := range events {
				n, err := r.reactTo(ctx, src.Source, ev, first)
				if err != nil {
					return fmt.Errorf("event %s: %w", ev.Meta.ID, err)
				}
				first += n
			}
		}
	}
	return nil
}

// reactTo runs the rules for one event and performs their actions. first is the index
// of the first of them; n is how many there are.
func (r *reactor) reactTo(ctx context.Context, source *component.Definition, e component.Event, first int) (n int, err error) {
	var all []component.Action
	for _, rule := range r.def.Automation.Rules {
		if rule.Source != source {
			continue
		}
		actions, err := rule.React(ctx, r.effects.Env(r.Name, e.Meta.ID, r.def.Automation.Uses), e)
		if err != nil {
			return 0, err
		}
		all = append(all, actions...)
	}
	if err := effects.Declared(all, r.def.Automation.Targets, r.Name); err != nil {
		return 0, err
	}
	return r.effects.Perform(ctx, effects.Origin{Component: r.Name, Meta: e.Meta, Key: e.Meta.ID, First: first, At: e.RecordedAt}, all)
}
