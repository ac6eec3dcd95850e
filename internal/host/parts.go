package host

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/reventless-go/reventless/driver"
)

// A step has a bounded number of writes, and a commit any number of events: commands
// of one entity that came together are one commit. So a commit that is too large for
// a step is applied in parts, each some of its events. How far it came is a watermark
// of its own, beside that of the stream, which moves with the last part; whoever goes
// on after a crash finds it there.

// partOf is the position of a stream within the commit that is being applied.
func partOf(s driver.StreamKey) driver.StreamKey {
	return driver.StreamKey{Log: s.Log + "#part", Stream: s.Stream} // no log is called that
}

// partBits are those of a part's position that count events; the others are the
// sequence number of the commit.
const partBits = 20

// room is how many writes a step has beside the watermarks of a part.
func (p *projector) room() int {
	if limit := p.consumer.host.provider.Limits().MaxStep; limit > 0 && !p.rm.def.ReadModel.OwnRow {
		return max(limit-2, 1)
	}
	return int(^uint(0) >> 1)
}

// weigh returns how many rows changes may write. It must not depend on the rows that
// there are: whoever meets a commit of which parts are applied has to take it for one
// of those, too. Of changes to all rows of an id it cannot know: they count as many,
// and where a step is small two of them do not share one.
func (p *projector) weigh(events [][]change) int {
	one, all := map[driver.Key]bool{}, map[string]bool{}
	for _, changes := range events {
		for _, ch := range changes {
			if ch.EditAll != nil {
				all[ch.ID] = true
			} else {
				one[driver.Key{ID: ch.ID, Sub: ch.Sub}] = true
			}
		}
	}
	return len(one) + len(all)*min(p.room()/2+1, 500)
}

// applyParts applies the first commit of a span in parts.
func (p *projector) applyParts(ctx context.Context, pl *plan) {
	s := pl.span
	if err := p.parts(ctx, pl); err != nil {
		s.err = fmt.Errorf("read model %s: %w", p.rm.name, err)
		return
	}
	s.applied = s.from + 1
	p.consumer.tell(s.stream)
}

func (p *projector) parts(ctx context.Context, pl *plan) error {
	s, key := pl.span, partOf(pl.span.stream)
	sequenceNr := s.from + 1
	w, err := p.rm.db.Watermark(ctx, key)
	if err != nil {
		return storeError(err)
	}
	at, begin := w.SequenceNr, 0
	switch {
	case at>>partBits > sequenceNr:
		return fmt.Errorf("a later commit is being applied: %w", driver.ErrConflict)
	case at>>partBits == sequenceNr:
		begin = int(at & (1<<partBits - 1)) //nolint:gosec // it has 20 bits
	}
	most := len(pl.large) // events of a part
	for conflict := 1; begin < len(pl.large); {
		end := begin + 1
		for end < len(pl.large) && end-begin < most && p.weigh(pl.large[begin:end+1]) <= p.room() {
			end++
		}
		step, err := p.part(ctx, pl, begin, end)
		if err != nil {
			return err
		}
		to := sequenceNr<<partBits | uint64(end) //nolint:gosec // a commit's events are counted
		// The stream's own watermark is a condition of every part: it may be parked,
		// skipped or cleared meanwhile.
		own := driver.Advance{StreamKey: s.stream, From: s.from, To: s.from}
		if end == len(pl.large) {
			own.To = sequenceNr
		}
		step.Advances = []driver.Advance{{StreamKey: key, From: at, To: to}, own}
		err = p.rm.db.Apply(ctx, step)
		if err == nil {
			at, begin, conflict, most = to, end, 1, len(pl.large)
			continue
		}
		if errors.Is(err, driver.ErrTooLarge) && end-begin > 1 {
			most = (end - begin) / 2 // changes of all rows of an id were more than they count for
			continue
		}
		if !errors.Is(err, driver.ErrConflict) || done(ctx, err) {
			return storeError(err)
		}
		p.consumer.host.stats.conflicts.Add(1)
		moved, markErr := p.moved(ctx, []*span{s, {stream: key, from: at}})
		if markErr != nil || moved || conflict == maxConflicts {
			return errors.Join(err, markErr)
		}
		if conflict++; conflict > 3 && !p.consumer.host.sleep(ctx, min(p.consumer.host.opts.Backoff(conflict-3), p.consumer.host.opts.Budget)) {
			return err
		}
	}
	return nil
}

// part folds the changes of some events of a commit.
func (p *projector) part(ctx context.Context, pl *plan, begin, end int) (driver.Step, error) {
	changes := slices.Concat(pl.large[begin:end]...)
	f, err := p.preload(ctx, []*plan{{span: pl.span, commits: [][]change{changes}}})
	if err != nil {
		return driver.Step{}, err
	}
	if err := guard(func() error { return f.commit(ctx, changes) }); err != nil {
		p.consumer.host.logPanic(p.rm.name, err)
		return driver.Step{}, err
	}
	writes, err := f.writes()
	return driver.Step{Writes: writes}, err
}
