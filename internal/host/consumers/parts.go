package consumers

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/host/core"
)

// A step has a bounded number of writes, but a commit has any number of events: commands
// of one entity that are handled together become one commit. A commit that is too large
// for a step is applied in parts of some events each. Beside the watermark of the stream,
// which moves with the last part, a watermark of the parts says how far the commit is
// applied, so that another worker can continue after a crash.

// partsOf returns the key of the watermark of the parts of a stream.
func partsOf(s driver.StreamKey) driver.StreamKey {
	return driver.StreamKey{Log: s.Log + "#part", Stream: s.Stream} // no log has such a name
}

// partBits are the bits of that watermark that count events; the others are the sequence
// number of the commit.
const partBits = 20

// maxWrites is how many rows a step can write in addition to its two watermarks.
func (p *projector) maxWrites() int {
	if limit := p.Core.Limits.MaxStep; limit > 0 && !p.model.OwnRow {
		return max(limit-2, 1)
	}
	return math.MaxInt
}

// weight is how many rows the changes of events may write. It does not depend on the
// stored rows, so all workers agree on whether a commit is applied in parts. A change
// of all rows of an id counts as 500 rows, or as half a step if that is less.
func (p *projector) weight(events [][]change) int {
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
	return len(one) + len(all)*min(p.maxWrites()/2+1, 500)
}

// applyParts applies the first commit of a span in parts.
func (p *projector) applyParts(ctx context.Context, pl *plan) {
	s := pl.span
	if err := p.writeParts(ctx, pl); err != nil {
		s.err = fmt.Errorf("read model %s: %w", p.Name, err)
		return
	}
	s.applied = s.from + 1
	p.notify(s.stream)
}

func (p *projector) writeParts(ctx context.Context, pl *plan) error {
	s, key := pl.span, partsOf(pl.span.stream)
	sequenceNr := s.from + 1
	w, err := p.db.Watermark(ctx, key)
	if err != nil {
		return core.StoreError(err)
	}
	at, begin := w.SequenceNr, 0
	switch {
	case at>>partBits > sequenceNr:
		return fmt.Errorf("another worker applies a later commit: %w", driver.ErrConflict)
	case at>>partBits == sequenceNr:
		begin = int(at & (1<<partBits - 1)) //nolint:gosec // it has 20 bits
	}
	maxEvents := len(pl.large)
	for conflicts := 1; begin < len(pl.large); {
		end := begin + 1
		for end < len(pl.large) && end-begin < maxEvents && p.weight(pl.large[begin:end+1]) <= p.maxWrites() {
			end++
		}
		writes, err := p.buildPart(ctx, s, slices.Concat(pl.large[begin:end]...))
		if err != nil {
			return err
		}
		to := sequenceNr<<partBits | uint64(end) //nolint:gosec // a commit's events are counted
		// The watermark of the stream is a condition of every part: the commit may be
		// parked or skipped, or the read model cleared, between two parts.
		own := driver.Advance{StreamKey: s.stream, From: s.from, To: s.from}
		if end == len(pl.large) {
			own.To = sequenceNr
		}
		err = p.db.Apply(ctx, driver.Step{Writes: writes, Advances: []driver.Advance{{StreamKey: key, From: at, To: to}, own}})
		switch {
		case err == nil:
			at, begin, conflicts, maxEvents = to, end, 1, len(pl.large)
		case errors.Is(err, driver.ErrTooLarge) && end-begin > 1:
			maxEvents = (end - begin) / 2 // there were more rows than the weight assumes
		case !errors.Is(err, driver.ErrConflict) || core.CutShort(ctx, err):
			return core.StoreError(err)
		default:
			if err := p.afterConflict(ctx, err, conflicts, []*span{s, {stream: key, from: at}}); err != nil {
				return err
			}
			conflicts++
		}
	}
	return nil
}

// buildPart returns the writes of some events of a commit.
func (p *projector) buildPart(ctx context.Context, s *span, changes []change) ([]driver.RowWrite, error) {
	batch, err := p.loadBatch(ctx, []*plan{{span: s, commits: [][]change{changes}}})
	if err != nil {
		return nil, err
	}
	if err := core.CatchPanic(func() error { return batch.change(ctx, changes) }); err != nil {
		p.Core.LogPanic(p.Name, err)
		return nil, err
	}
	return batch.writes()
}
