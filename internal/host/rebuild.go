package host

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/reventless-go/reventless/driver"
)

// Rebuild clears a read model and fills it again from the logs of its sources,
// while new commits go on being projected: both go through the same watermarks.
// Until it is done, readers see the rows that are filled so far. progress, if
// not nil, is told the commits done now and then. It is safe to run again after
// an error.
func (h *Host) Rebuild(ctx context.Context, name string, progress func(commits int)) error {
	if err := h.Clear(ctx, name); err != nil {
		return err
	}
	return h.Replay(ctx, name, 0, 1, progress)
}

// Clear removes the rows and watermarks of a read model, and the letters of the
// commits that it could not take: the first half of a rebuild. What comes while it
// runs is projected or not; [Host.Replay] knows.
func (h *Host) Clear(ctx context.Context, name string) error {
	rm := h.readModels[name]
	if rm == nil {
		return fmt.Errorf("no read model %q: %w", name, driver.ErrNotFound)
	}
	if err := rm.db.Clear(ctx); err != nil {
		return fmt.Errorf("read model %s: clear: %w", name, err)
	}
	if err := h.dropLetters(ctx, name); err != nil {
		return fmt.Errorf("read model %s: %w", name, err)
	}
	return nil
}

// Replay applies to a consumer what it has not applied yet of the logs of its
// sources, of one segment of each: see [driver.EventLog].Scan. So a read model that
// is new or was cleared is filled, and whatever was missed is made up for. It may be
// run again, and beside others; progress is as in [Host.Rebuild].
func (h *Host) Replay(ctx context.Context, name string, segment, segments int, progress func(commits int)) error {
	done, known := 0, false
	for _, c := range h.consumers {
		if c.name != name {
			continue
		}
		known = true
		err := c.replay(ctx, segment, segments, func(n int) {
			if done += n; progress != nil {
				progress(done)
			}
		})
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if !known {
		return fmt.Errorf("%q consumes nothing: %w", name, driver.ErrNotFound)
	}
	return nil
}

// commitLetters returns the letters of the commits that a component has parked.
func (h *Host) commitLetters(ctx context.Context, component string) ([]driver.DeadLetter, error) {
	var commits []driver.DeadLetter
	for after := ""; ; {
		page, err := h.letters.List(ctx, component, after, 100)
		if err != nil {
			return nil, fmt.Errorf("dead letters: %w", err)
		}
		for _, l := range page {
			if after = l.ID; l.Kind == driver.DeadCommit {
				commits = append(commits, l)
			}
		}
		if len(page) < 100 {
			return commits, nil
		}
	}
}

// dropLetters removes the letters of a component's commits whose streams do not wait
// for them: what was parked since it was cleared blocks its stream.
func (h *Host) dropLetters(ctx context.Context, component string) error {
	letters, err := h.commitLetters(ctx, component)
	if err != nil {
		return err
	}
	for _, l := range letters {
		c, err := h.consumerOf(l)
		if err != nil { // its log is none of the component's any more
			err = h.letters.Remove(ctx, l.ID)
		} else {
			key := driver.StreamKey{Log: l.Log, Stream: l.Stream}
			var w driver.Watermark
			if w, err = c.watermarks.Watermark(ctx, key); err == nil && !w.Blocked {
				err = c.dropLetter(ctx, key)
			}
		}
		if err != nil && !errors.Is(err, driver.ErrNotFound) {
			return fmt.Errorf("dead letters: %w", err)
		}
	}
	return nil
}

// replay applies a segment of the log in batches of bounded size.
func (c *consumer) replay(ctx context.Context, segment, segments int, progress func(commits int)) error {
	const batchCommits, batchBytes = 2048, 1 << 20
	size := 0 // of the events in deliveries
	var deliveries []driver.Delivery[driver.Record]
	flush := func() error {
		for attempt := 1; len(deliveries) > 0; attempt++ {
			n := len(deliveries)
			settlements, err := c.HandleRecords(ctx, deliveries)
			if err != nil && !transient(err) {
				return err
			}
			settled := map[string]bool{}
			for _, s := range settlements {
				settled[s.ID] = !s.Retry
			}
			left := slices.DeleteFunc(deliveries, func(d driver.Delivery[driver.Record]) bool { return settled[d.ID] })
			deliveries = left
			progress(n - len(left))
			if len(left) > 0 && !c.host.sleep(ctx, c.host.opts.Backoff(attempt)) {
				return ctx.Err()
			}
		}
		return nil
	}
	for commit, err := range c.reader.Scan(ctx, segment, segments) {
		if err != nil {
			return fmt.Errorf("scan %s: %w", c.log, err)
		}
		commit.Snapshot = nil
		deliveries = append(deliveries, driver.Delivery[driver.Record]{
			ID: EventID(c.log, commit.Stream, commit.SequenceNr, 0), Attempt: 1,
			Message: driver.Record{Log: c.log, Stream: commit.Stream, SequenceNr: commit.SequenceNr, Commit: &commit},
		})
		for _, e := range commit.Events {
			size += len(e.Data) + 64
		}
		if len(deliveries) == batchCommits || size >= batchBytes {
			if err := flush(); err != nil {
				return err
			}
			size = 0
		}
	}
	return flush()
}
