package consumers

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/host/core"
)

const (
	replayCommits = 2048
	replayBytes   = 1 << 20
)

// Replay applies the commits of a segment of the log that are not applied yet, in
// batches of bounded size. progress is called with the number of commits done.
func (c *Consumer) Replay(ctx context.Context, segment, segments int, progress func(commits int)) error {
	size := 0 // of the events in batch
	var batch []driver.Commit
	for commit, err := range c.Reader.Scan(ctx, segment, segments) {
		var damage *driver.DamageError
		if errors.As(err, &damage) {
			// The consumer meets the damage at its place in the stream, and blocks it there.
			commit, err = driver.Commit{Stream: damage.Key, SequenceNr: damage.SequenceNr}, nil
		}
		if err != nil {
			c.Core.ReportDamage(err)
			return fmt.Errorf("scan %s: %w", c.Log, err)
		}
		commit.Snapshot = nil
		batch = append(batch, commit)
		for _, e := range commit.Events {
			size += len(e.Data) + 64
		}
		if len(batch) == replayCommits || size >= replayBytes {
			if err := c.replayBatch(ctx, batch, progress); err != nil {
				return err
			}
			batch, size = batch[:0], 0
		}
	}
	return c.replayBatch(ctx, batch, progress)
}

// replayBatch applies commits and retries those that fail.
func (c *Consumer) replayBatch(ctx context.Context, commits []driver.Commit, progress func(commits int)) error {
	deliveries := c.deliveries(commits)
	for attempt := 1; len(deliveries) > 0; attempt++ {
		n := len(deliveries)
		settlements, err := c.HandleRecords(ctx, deliveries)
		c.Core.ReportDamage(err)
		if err != nil && !core.Transient(err) {
			return err
		}
		done := map[string]bool{}
		for _, s := range settlements {
			done[s.ID] = !s.Retry
		}
		deliveries = slices.DeleteFunc(deliveries, func(d driver.Delivery[driver.Record]) bool { return done[d.ID] })
		progress(n - len(deliveries))
		if len(deliveries) > 0 && !core.Pause(ctx, c.Core.Backoff(attempt)) {
			return ctx.Err()
		}
	}
	return nil
}
