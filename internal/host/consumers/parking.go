package consumers

import (
	"context"
	"errors"
	"fmt"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/host/core"
)

// Blocked streams and dead letters belong together. All dead letters of a stream at a
// consumer have one id, and several workers may park, redrive and remove at the same
// time. The rule is: while a stream is blocked there is a dead letter for it, and a dead
// letter without a blocked stream may be removed.

func (c *Consumer) deadLetter(stream driver.StreamKey, sequenceNr uint64, attempts int) driver.DeadLetter {
	return driver.DeadLetter{
		ID: core.CommitDeadLetterID(c.Name, stream), Component: c.Name, Kind: driver.DeadCommit,
		Log: stream.Log, Stream: stream.Stream, SequenceNr: sequenceNr, Attempts: attempts,
	}
}

// park parks the commit at which a span ended and blocks its stream. When another
// worker has moved the stream on, nothing is parked and the error is
// [driver.ErrConflict].
func (c *Consumer) park(ctx context.Context, s *span, attempts int) error {
	if c.shadow { // the rows are not served, so that no operator has to act yet
		c.Core.Log.Error("a rebuild cannot apply a commit", "component", c.Name, "log", c.Log, "stream", s.stream.Stream, "sequenceNr", s.applied+1, "error", core.ForLog(s.err))
		return c.watermarks.Block(ctx, s.stream, s.applied)
	}
	letter := c.deadLetter(s.stream, s.applied+1, attempts)
	// The dead letter comes first: after a crash before the block it is parked again,
	// under the same id.
	if err := c.Core.Park(ctx, letter, s.err); err != nil {
		return err
	}
	blockErr := c.watermarks.Block(ctx, s.stream, s.applied)
	if blockErr != nil && !errors.Is(blockErr, driver.ErrConflict) {
		return fmt.Errorf("block %s/%s for %s: %w", c.Log, s.stream.Stream, c.Name, blockErr)
	}
	stored, err := c.Core.DeadLetters.Get(ctx, letter.ID)
	found := err == nil && stored.SequenceNr == letter.SequenceNr
	if err != nil && !errors.Is(err, driver.ErrNotFound) {
		return err
	}
	switch {
	case blockErr == nil && !found:
		return c.Core.Park(ctx, letter, s.err) // another worker removed or replaced it
	case blockErr != nil && found: // another worker applied the commit
		if err := c.removeDeadLetter(ctx, s.stream); err != nil {
			return err
		}
	}
	return blockErr
}

// errParkedElsewhere is the reason of a dead letter that replaces one of another worker.
var errParkedElsewhere = errors.New("another worker parked this commit; the reason is in the log of that worker")

// removeDeadLetter removes the dead letter of a stream that is no longer blocked. If
// the stream is blocked again after that, the removed dead letter may have been that of
// a later commit, and is parked again.
func (c *Consumer) removeDeadLetter(ctx context.Context, stream driver.StreamKey) error {
	id := core.CommitDeadLetterID(c.Name, stream)
	if err := c.Core.DeadLetters.Remove(ctx, id); err != nil && !errors.Is(err, driver.ErrNotFound) {
		return err
	}
	w, err := c.watermarks.Watermark(ctx, stream)
	if err != nil || !w.Blocked {
		return err
	}
	stored, err := c.Core.DeadLetters.Get(ctx, id)
	if err == nil && stored.SequenceNr > w.SequenceNr || err != nil && !errors.Is(err, driver.ErrNotFound) {
		return err
	}
	return c.Core.Park(ctx, c.deadLetter(stream, w.SequenceNr+1, 1), errParkedElsewhere)
}

// RemoveStale removes a dead letter if its stream is not blocked, as after a clear.
func (c *Consumer) RemoveStale(ctx context.Context, l driver.DeadLetter) error {
	key := driver.StreamKey{Log: l.Log, Stream: l.Stream}
	w, err := c.watermarks.Watermark(ctx, key)
	if err != nil || w.Blocked {
		return err
	}
	return c.removeDeadLetter(ctx, key)
}

// Redrive unblocks the stream of a dead letter and applies all waiting commits; if skip
// is true, all but the commit of the dead letter. If a later commit fails, that one is
// parked.
func (c *Consumer) Redrive(ctx context.Context, l driver.DeadLetter, skip bool) error {
	key := driver.StreamKey{Log: c.Log, Stream: l.Stream}
	c.applying.Lock()
	defer c.applying.Unlock()
	defer c.notify(key)
	if err := c.watermarks.Unblock(ctx, key); err != nil {
		return fmt.Errorf("unblock: %w", err)
	}
	for {
		w, err := c.watermarks.Watermark(ctx, key)
		if err != nil || w.Blocked { // blocked by another worker, with its own dead letter
			return err
		}
		if skip && w.SequenceNr+1 == l.SequenceNr {
			err := c.watermarks.Advance(ctx, []driver.Advance{{StreamKey: key, From: w.SequenceNr, To: l.SequenceNr}})
			if err != nil && !errors.Is(err, driver.ErrConflict) {
				return errors.Join(err, c.block(ctx, key, w.SequenceNr))
			}
			continue
		}
		s := &span{stream: key, from: w.SequenceNr, applied: w.SequenceNr}
		s.commits, s.err = c.read(ctx, key.Stream, w.SequenceNr, everything)
		switch {
		case s.err == nil && len(s.commits) == 0:
			return c.removeDeadLetter(ctx, key)
		case s.err == nil:
			c.applier.apply(ctx, []*span{s})
		}
		if s.err == nil || errors.Is(s.err, driver.ErrConflict) {
			continue
		}
		c.Core.ReportDamage(s.err)
		if s.applied < l.SequenceNr {
			return errors.Join(s.err, c.block(ctx, key, s.applied))
		}
		// The commit of the dead letter is applied. The records of later commits were
		// settled long ago and are not redelivered, so even a failure of the store
		// leads to parking.
		parkCtx, cancel := core.WithGrace(ctx)
		err = c.park(parkCtx, s, 1)
		if cancel(); !errors.Is(err, driver.ErrConflict) {
			return err
		}
	}
}

// block blocks a stream again for its dead letter, also after the end of ctx.
func (c *Consumer) block(ctx context.Context, key driver.StreamKey, at uint64) error {
	ctx, cancel := core.WithGrace(ctx)
	defer cancel()
	return c.watermarks.Block(ctx, key, at)
}
