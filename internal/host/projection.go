package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
)

// projector applies commits to a read model: the changes of a batch are folded
// per row, then rows and watermarks are written in one atomic step. A commit that is
// too large for one takes several, see applyParts.
type projector struct {
	consumer *consumer
	rm       *readModel
	sources  []component.SourceLog
}

// ownRowSteps bounds how many steps of an OwnRow read model are under way.
const ownRowSteps = 32

// maxConflicts bounds how often a batch is made again after it lost a race.
const maxConflicts = 20

func (p *projector) apply(ctx context.Context, spans []*span) {
	if p.rm.def.ReadModel.OwnRow {
		// A step for each, at the same time: a store that groups writes does so.
		limit := make(chan struct{}, ownRowSteps)
		var wg sync.WaitGroup
		for _, s := range spans {
			limit <- struct{}{}
			wg.Go(func() {
				defer func() { <-limit }()
				p.applyAll(ctx, []*span{s})
			})
		}
		wg.Wait()
		return
	}
	p.applyAll(ctx, spans)
}

// applyAll writes spans in as few steps as the provider's limit allows.
func (p *projector) applyAll(ctx context.Context, spans []*span) {
	err := p.applyOnce(ctx, spans)
	if err == nil {
		return
	}
	// A step is refused as a whole, for its size or for one bad row: in halves it
	// comes to light whose fault it is. A store that fails has nothing to tell.
	split := !errors.Is(err, errStore) && !errors.Is(err, driver.ErrConflict) && !done(ctx, err)
	switch {
	case split && len(spans) > 1:
		p.applyAll(ctx, spans[:len(spans)/2])
		p.applyAll(ctx, spans[len(spans)/2:])
	case split && len(spans[0].commits) > 1:
		s := spans[0]
		from, all := s.from, s.commits
		s.commits = all[:len(all)/2]
		p.applyAll(ctx, spans)
		if s.err == nil && s.applied == s.last() { // or it ended before a large one
			s.from, s.commits = s.applied, all[len(all)/2:]
			p.applyAll(ctx, spans)
		}
		s.from, s.commits = from, all
	default:
		for _, s := range spans {
			s.err = fmt.Errorf("read model %s: %w", p.rm.name, err)
		}
	}
}

// applyOnce writes spans in one step. A commit that cannot be projected ends
// its span before it; the error is one of the step as a whole.
func (p *projector) applyOnce(ctx context.Context, spans []*span) error {
	for _, s := range spans {
		s.applied, s.err = s.from, nil
	}
	for conflict := 1; ; conflict++ {
		b, err := p.build(ctx, spans)
		if err != nil {
			return err
		}
		if len(b.step.Advances) > 0 {
			err = p.rm.db.Apply(ctx, b.step)
		}
		if err == nil {
			for _, s := range spans {
				if s.applied = b.applied[s]; s.applied > s.from {
					p.consumer.tell(s.stream)
				}
			}
			for _, pl := range b.large {
				p.applyParts(ctx, pl)
			}
			return nil
		}
		if !errors.Is(err, driver.ErrConflict) || done(ctx, err) {
			return storeError(err)
		}
		p.consumer.host.stats.conflicts.Add(1)
		// A row was changed by another source of the read model: make the step
		// anew. A watermark that moved is for the caller to find out.
		if moved, markErr := p.moved(ctx, spans); markErr != nil || moved || conflict == maxConflicts {
			return errors.Join(err, markErr)
		}
		if conflict > 3 && !p.consumer.host.sleep(ctx, min(p.consumer.host.opts.Backoff(conflict-3), p.consumer.host.opts.Budget)) {
			return err
		}
	}
}

func (p *projector) moved(ctx context.Context, spans []*span) (bool, error) {
	keys := make([]driver.StreamKey, len(spans))
	for i, s := range spans {
		keys[i] = s.stream
	}
	marks, err := p.rm.db.Watermarks(ctx, keys)
	if err != nil {
		return false, err
	}
	for _, s := range spans {
		if w := marks[s.stream]; w.SequenceNr != s.from || w.Blocked {
			return true, nil
		}
	}
	return false, nil
}

// built is a step with how far each span comes in it.
type built struct {
	step    driver.Step
	applied map[*span]uint64
	large   []*plan // that have to be applied in parts
}

// build folds the changes of spans. A failing commit is left out with what
// follows it in its stream, and the fold is made again without it: rows are
// changed in place, so there is no way back, and failures are rare.
func (p *projector) build(ctx context.Context, spans []*span) (*built, error) {
	plans := make([]*plan, len(spans))
	for i, s := range spans {
		plans[i] = p.plan(s)
	}
	for {
		f, err := p.preload(ctx, plans)
		if err != nil {
			return nil, err
		}
		failed := false
		for _, pl := range plans {
			for i := range pl.commits {
				if err := guard(func() error { return f.commit(ctx, pl.commits[i]) }); err != nil {
					if errors.Is(err, errStore) {
						return nil, err
					}
					p.consumer.host.logPanic(p.rm.name, err)
					pl.cut(i, err)
					failed = true
					break
				}
			}
			if failed {
				break
			}
		}
		if failed {
			continue
		}
		out := &built{applied: map[*span]uint64{}}
		for _, pl := range plans {
			s := pl.span
			out.applied[s] = s.from + uint64(len(pl.commits))
			if len(pl.commits) > 0 {
				out.step.Advances = append(out.step.Advances, driver.Advance{StreamKey: s.stream, From: s.from, To: out.applied[s]})
			}
			s.err = pl.err
			if pl.large != nil {
				out.large = append(out.large, pl)
			}
		}
		out.step.Writes, err = f.writes()
		return out, err
	}
}

// plan is what the projections made of a span: the changes of each commit.
type plan struct {
	span    *span
	commits [][]change
	large   [][]change // in place of commits: those of each event of the first one
	err     error
}

type change struct {
	component.Change
	event string // its id, for errors
}

func (pl *plan) cut(i int, err error) { pl.commits, pl.err = pl.commits[:i], err }

func (p *projector) plan(s *span) *plan {
	pl := &plan{span: s}
	for i := range s.commits {
		var changes [][]change
		err := guard(func() (err error) {
			changes, err = p.project(&s.commits[i])
			return err
		})
		if err != nil {
			p.consumer.host.logPanic(p.rm.name, err)
			pl.err = err
			return pl
		}
		if len(changes) > 1 && p.weigh(changes) > p.room() {
			if i == 0 {
				pl.large = changes
			}
			return pl // the commits before it come first
		}
		pl.commits = append(pl.commits, slices.Concat(changes...))
	}
	return pl
}

// project returns the changes of each event of a commit.
func (p *projector) project(c *driver.Commit) ([][]change, error) {
	var all [][]change
	for _, e := range p.consumer.events(c) {
		var out []change
		for _, src := range p.sources {
			events := []component.Event{e}
			if src.Map != nil {
				var err error
				if events, err = src.Map(e); err != nil {
					return nil, fmt.Errorf("event %s: %w", e.Meta.ID, err)
				}
			}
			for _, pr := range p.rm.def.ReadModel.Projections {
				if pr.Source != src.Source {
					continue
				}
				for _, ev := range events {
					changes, err := pr.Project(ev)
					if err != nil {
						return nil, fmt.Errorf("project %s: %w", ev.Meta.ID, err)
					}
					for _, ch := range changes {
						if p.rm.def.ReadModel.OwnRow && ch.ID != c.Stream {
							return nil, fmt.Errorf("project %s: the read model declares OwnRow, but the change is of row %q: %w", ev.Meta.ID, clip(ch.ID), driver.ErrInvalid)
						}
						if err := driver.CheckID("row", ch.ID); err != nil {
							return nil, fmt.Errorf("project %s: %w", ev.Meta.ID, err)
						}
						out = append(out, change{ch, ev.Meta.ID})
					}
				}
			}
		}
		all = append(all, out)
	}
	return all, nil
}

// fold holds the rows that a batch touches.
type fold struct {
	rm    *readModel
	cells map[driver.Key]*cell
	order []driver.Key
	whole map[string]bool // ids of which all rows are here
}

type cell struct {
	stored driver.Row // as it was read; Revision 0 is absent
	loaded bool       // stored is known, so the write is guarded
	row    any        // *R, or nil when there is none
	dirty  bool
}

// preload reads, in one call, the rows that are changed by looking at them.
func (p *projector) preload(ctx context.Context, plans []*plan) (*fold, error) {
	f := &fold{rm: p.rm, cells: map[driver.Key]*cell{}, whole: map[string]bool{}}
	var keys []driver.Key
	seen := map[driver.Key]bool{}
	for _, pl := range plans {
		for _, changes := range pl.commits {
			for _, ch := range changes {
				key := driver.Key{ID: ch.ID, Sub: ch.Sub}
				if ch.EditAll == nil && !seen[key] {
					seen[key] = true
					if !ch.Blind {
						keys = append(keys, key)
					}
				}
			}
		}
	}
	rows, err := p.rm.db.LoadRows(ctx, keys)
	if err != nil {
		return nil, storeError(err)
	}
	for _, k := range keys {
		f.cell(k).loaded = true
	}
	for _, r := range rows {
		if err := f.take(r); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func (f *fold) cell(k driver.Key) *cell {
	c := f.cells[k]
	if c == nil {
		c = &cell{}
		f.cells[k] = c
		f.order = append(f.order, k)
	}
	return c
}

func (f *fold) take(r driver.Row) error {
	row, err := f.rm.def.ReadModel.Decode(r.Data)
	if err != nil {
		return fmt.Errorf("stored row %q: %w: %w", r.Key.ID, driver.ErrInvalid, err)
	}
	c := f.cell(r.Key)
	c.stored, c.loaded, c.row = r, true, row
	return nil
}

func (f *fold) commit(ctx context.Context, changes []change) error {
	for _, ch := range changes {
		var err error
		if ch.EditAll != nil {
			err = f.editAll(ctx, ch)
		} else {
			err = f.editRow(ctx, ch)
		}
		if err != nil {
			return fmt.Errorf("project %s: row %q: %w", ch.event, clip(ch.ID), err)
		}
	}
	return nil
}

func (f *fold) editRow(ctx context.Context, ch change) error {
	key := driver.Key{ID: ch.ID, Sub: ch.Sub}
	c := f.cell(key)
	if !ch.Blind && !c.loaded && !c.dirty {
		// Preload leaves out what follows a blind change, which was cut off.
		row, err := f.rm.db.LoadRow(ctx, key)
		switch {
		case errors.Is(err, driver.ErrNotFound):
			c.loaded = true
		case err != nil:
			return storeError(err)
		default:
			if err := f.take(row); err != nil {
				return err
			}
		}
	}
	row, err := ch.EditRow(c.row)
	if err != nil {
		return err
	}
	if row == nil && c.row == nil && c.loaded {
		return nil // nothing was there and nothing is to be
	}
	c.row, c.dirty = row, true
	return nil
}

func (f *fold) editAll(ctx context.Context, ch change) error {
	if !f.whole[ch.ID] {
		rows, err := f.rm.db.Load(ctx, ch.ID)
		if err != nil {
			return storeError(err)
		}
		for _, r := range rows {
			switch c := f.cells[r.Key]; {
			case c != nil && c.loaded:
			case c != nil && c.dirty: // by a blind change: its row stands, on this revision
				c.stored, c.loaded = r, true
			default:
				if err := f.take(r); err != nil {
					return err
				}
			}
		}
		for _, k := range f.order {
			if k.ID == ch.ID {
				f.cells[k].loaded = true // all rows of the id are here: absent means absent
			}
		}
		f.whole[ch.ID] = true
	}
	var keys []driver.Key
	for _, k := range f.order {
		if k.ID == ch.ID && f.cells[k].row != nil {
			keys = append(keys, k)
		}
	}
	sortKeys(keys)
	rows := make([]any, len(keys))
	for i, k := range keys {
		rows[i] = f.cells[k].row
	}
	rows, err := ch.EditAll(rows)
	if err != nil {
		return err
	}
	kept := map[driver.Key]bool{}
	for _, r := range rows {
		encoded, err := f.rm.def.ReadModel.Encode(r)
		if err != nil {
			return err
		}
		key := driver.Key{ID: ch.ID, Sub: encoded.Sub}
		if kept[key] {
			return fmt.Errorf("two rows with the sub id %q: %w", encoded.Sub, driver.ErrInvalid)
		}
		kept[key] = true
		c := f.cell(key)
		c.row, c.dirty, c.loaded = r, true, true
	}
	for _, k := range keys {
		if !kept[k] {
			c := f.cells[k]
			c.row, c.dirty = nil, true
		}
	}
	return nil
}

func (f *fold) writes() ([]driver.RowWrite, error) {
	var out []driver.RowWrite
	for _, k := range f.order {
		c := f.cells[k]
		if !c.dirty {
			continue
		}
		w := driver.RowWrite{Guard: c.loaded, Expect: c.stored.Revision}
		if c.row == nil {
			if c.loaded && c.stored.Revision == 0 {
				continue
			}
			w.Delete, w.Row.Key = true, k
		} else {
			row, err := f.rm.def.ReadModel.Encode(c.row)
			if err != nil {
				return nil, err
			}
			if row.Sub != k.Sub {
				return nil, fmt.Errorf("row %q: its sub id became %q, it was %q: %w", clip(k.ID), clip(row.Sub), clip(k.Sub), driver.ErrInvalid)
			}
			row.Key = k
			w.Row = row
		}
		out = append(out, w)
	}
	return out, nil
}

func sortKeys(keys []driver.Key) {
	slices.SortFunc(keys, func(a, b driver.Key) int { return strings.Compare(a.Sub, b.Sub) })
}
