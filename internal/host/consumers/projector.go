package consumers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/internal/host/core"
)

// projector applies commits to a read model: the changes of a batch are collected per
// row, then rows and watermarks are written in one atomic step. A commit that is too
// large for one step is applied in parts.
type projector struct {
	*Consumer

	model *component.ReadModel
	db    driver.RowStore
}

// NewProjector returns a consumer of a read model.
func NewProjector(s Spec, model *component.ReadModel, db driver.RowStore) *Consumer {
	c := &Consumer{Spec: s, watermarks: db, failures: map[string]failure{}}
	c.applier = &projector{c, model, db}
	return c
}

// NewShadowProjector returns a consumer of the shadow of a read model. A commit that it
// cannot apply blocks its stream without a dead letter.
func NewShadowProjector(s Spec, model *component.ReadModel, db driver.Shadow) *Consumer {
	s.Applied = func(driver.StreamKey) {}
	c := NewProjector(s, model, db)
	c.shadow = true
	return c
}

const (
	// maxOwnRowSteps bounds how many steps of an OwnRow read model run at a time.
	maxOwnRowSteps = 32
	// maxConflicts bounds how often a step is repeated after it lost a race.
	maxConflicts = 20
)

func (p *projector) apply(ctx context.Context, spans []*span) {
	if !p.model.OwnRow {
		p.applyAll(ctx, spans)
		return
	}
	// One step for each span, concurrently: a store that groups writes groups these.
	core.Concurrently(len(spans), maxOwnRowSteps, func(i int) { p.applyAll(ctx, spans[i:i+1]) })
}

// applyAll writes spans in as few steps as the limits of the provider allow. A store
// refuses a whole step because of its size or because of one invalid row, so the step
// is halved until it contains only the cause.
func (p *projector) applyAll(ctx context.Context, spans []*span) {
	err := p.applyOnce(ctx, spans)
	if err == nil {
		return
	}
	halve := !errors.Is(err, core.ErrStore) && !errors.Is(err, driver.ErrConflict) && !core.CutShort(ctx, err)
	switch {
	case halve && len(spans) > 1:
		p.applyAll(ctx, spans[:len(spans)/2])
		p.applyAll(ctx, spans[len(spans)/2:])
	case halve && len(spans[0].commits) > 1:
		s := spans[0]
		from, all := s.from, s.commits
		s.commits = all[:len(all)/2]
		p.applyAll(ctx, spans)
		if s.err == nil && s.applied == s.last() { // it may have stopped before a large commit
			s.from, s.commits = s.applied, all[len(all)/2:]
			p.applyAll(ctx, spans)
		}
		s.from, s.commits = from, all
	default:
		for _, s := range spans {
			s.err = fmt.Errorf("read model %s: %w", p.Name, err)
		}
	}
}

// applyOnce writes spans in one step. A span ends before a commit that cannot be
// projected. An error concerns the whole step.
func (p *projector) applyOnce(ctx context.Context, spans []*span) error {
	for _, s := range spans {
		s.applied, s.err = s.from, nil
	}
	for conflicts := 1; ; conflicts++ {
		b, err := p.build(ctx, spans)
		if err != nil {
			return err
		}
		if len(b.step.Advances) > 0 {
			err = p.db.Apply(ctx, b.step)
		}
		if err == nil {
			for _, s := range spans {
				if s.applied = b.applied[s]; s.applied > s.from {
					p.notify(s.stream)
				}
			}
			for _, pl := range b.large {
				p.applyParts(ctx, pl)
			}
			return nil
		}
		if !errors.Is(err, driver.ErrConflict) || core.CutShort(ctx, err) {
			return core.StoreError(err)
		}
		if err := p.afterConflict(ctx, err, conflicts, spans); err != nil {
			return err
		}
	}
}

// afterConflict returns nil if a step that lost a race can be repeated: only rows were
// changed meanwhile, by another source of the read model. If a watermark moved, or
// after too many conflicts, it returns an error.
func (p *projector) afterConflict(ctx context.Context, conflict error, conflicts int, spans []*span) error {
	p.Core.Stats.Conflicts.Add(1)
	keys := make([]driver.StreamKey, len(spans))
	for i, s := range spans {
		keys[i] = s.stream
	}
	watermarks, err := p.db.Watermarks(ctx, keys)
	if err != nil || conflicts == maxConflicts {
		return errors.Join(conflict, err)
	}
	for _, s := range spans {
		if w := watermarks[s.stream]; w.SequenceNr != s.from || w.Blocked {
			return conflict
		}
	}
	if conflicts > 3 && !core.Pause(ctx, min(p.Core.Backoff(conflicts-3), p.Core.Budget)) {
		return conflict
	}
	return nil
}

// built is a step and the watermark of each span after it.
type built struct {
	step    driver.Step
	applied map[*span]uint64
	large   []*plan // to be applied in parts after the step
}

// build collects the changes of spans in one step. If a commit fails, it is left out
// with the rest of its stream, and all changes are collected again, since rows are
// changed in place and cannot be restored.
func (p *projector) build(ctx context.Context, spans []*span) (*built, error) {
	plans := make([]*plan, len(spans))
	for i, s := range spans {
		plans[i] = p.plan(s)
	}
	var writes []driver.RowWrite
	for failed := true; failed; {
		batch, err := p.loadBatch(ctx, plans)
		if err != nil {
			return nil, err
		}
		if failed, err = p.changeAll(ctx, batch, plans); err != nil {
			return nil, err
		}
		if !failed {
			if writes, err = batch.writes(); err != nil {
				return nil, err
			}
		}
	}
	out := &built{applied: map[*span]uint64{}, step: driver.Step{Writes: writes}}
	for _, pl := range plans {
		s := pl.span
		s.err = pl.err
		out.applied[s] = s.from + uint64(len(pl.commits))
		if len(pl.commits) > 0 {
			out.step.Advances = append(out.step.Advances, driver.Advance{StreamKey: s.stream, From: s.from, To: out.applied[s]})
		}
		if pl.large != nil {
			out.large = append(out.large, pl)
		}
	}
	return out, nil
}

// changeAll applies the changes of plans to the batch. A plan is cut before a commit
// that fails. An error comes from the store.
func (p *projector) changeAll(ctx context.Context, batch *rowBatch, plans []*plan) (failed bool, err error) {
	for _, pl := range plans {
		for i, changes := range pl.commits {
			err := core.CatchPanic(func() error { return batch.change(ctx, changes) })
			if errors.Is(err, core.ErrStore) {
				return false, err
			}
			if err != nil {
				p.Core.LogPanic(p.Name, err)
				pl.commits, pl.err = pl.commits[:i], err
				return true, nil
			}
		}
	}
	return false, nil
}

// plan is the result of projecting a span: the changes of each commit.
type plan struct {
	span    *span
	commits [][]change
	large   [][]change // when the first commit is too large for a step: the changes of each event
	err     error      // why the plan ends before the span
}

type change struct {
	component.Change
	event string    // its id, for errors
	at    time.Time // when its commit was recorded
}

func (p *projector) plan(s *span) *plan {
	pl := &plan{span: s}
	for i := range s.commits {
		var events [][]change
		err := core.CatchPanic(func() (err error) {
			events, err = p.project(&s.commits[i])
			return err
		})
		if err != nil {
			p.Core.LogPanic(p.Name, err)
			pl.err = err
			return pl
		}
		if len(events) > 1 && p.weight(events) > p.maxWrites() {
			if i == 0 {
				pl.large = events
			}
			return pl // the commits before it come first
		}
		pl.commits = append(pl.commits, slices.Concat(events...))
	}
	return pl
}

// project returns the changes of each event of a commit.
func (p *projector) project(c *driver.Commit) ([][]change, error) {
	var all [][]change
	for _, e := range p.events(c) {
		var out []change
		for _, src := range p.Sources {
			events, err := []component.Event{e}, error(nil)
			if src.Map != nil {
				if events, err = mapped(src, e); err != nil {
					return nil, err
				}
			}
			for _, pr := range p.model.Projections {
				if pr.Source != src.Source {
					continue
				}
				for _, ev := range events {
					if out, err = p.projectOne(out, pr, ev, c.Stream); err != nil {
						return nil, fmt.Errorf("project %s: %w", ev.Meta.ID, err)
					}
				}
			}
		}
		all = append(all, out)
	}
	return all, nil
}

// projectOne appends the changes of one event by one projection.
func (p *projector) projectOne(to []change, pr component.Projection, e component.Event, stream string) ([]change, error) {
	changes, err := pr.Project(e)
	if err != nil {
		return nil, err
	}
	for _, ch := range changes {
		if p.model.OwnRow && ch.ID != stream {
			return nil, fmt.Errorf("the read model declares OwnRow, but the change is of row %q: %w", core.Clip(ch.ID), driver.ErrInvalid)
		}
		if err := driver.CheckID("row", ch.ID); err != nil {
			return nil, err
		}
		to = append(to, change{ch, e.Meta.ID, e.RecordedAt})
	}
	return to, nil
}
