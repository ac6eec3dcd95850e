package commands

import (
	"context"
	"fmt"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/host/core"
)

// nameSenders sets the user in the outcomes of repeated commands: the user who sent the
// command first, not the one who repeats it. Only the commit names that user, so a
// repeated command costs one read.
func (t *turn) nameSenders(ctx context.Context) {
	commits := map[uint64]driver.Commit{}
	for _, r := range t.requests {
		for _, it := range r.items {
			if !it.repeated {
				continue
			}
			if err := t.nameSender(ctx, commits, &it.result.Outcome); err != nil {
				t.core.ReportDamage(err)
				it.result = Result{Err: fmt.Errorf("aggregate %s: %q: command %s: find its first sender: %w", t.name, t.entity, it.command.Meta.ID, err)}
			}
		}
	}
}

// nameSender sets the user of one outcome. commits caches the commits that were read.
func (t *turn) nameSender(ctx context.Context, commits map[uint64]driver.Commit, o *driver.Outcome) error {
	c, ok := commits[o.SequenceNr]
	for attempt := 1; !ok; attempt++ {
		var err error
		c, err = t.readCommit(ctx, o.SequenceNr)
		switch {
		case err == nil:
			commits[o.SequenceNr], ok = c, true
		case !core.Retryable(err) || !t.pause(ctx, attempt):
			return core.StoreError(err)
		}
	}
	for _, answered := range c.Commands {
		if answered.Meta.ID == o.CommandID {
			o.User = answered.Meta.User
			return nil
		}
	}
	return fmt.Errorf("commit %d does not answer it: %w", o.SequenceNr, driver.ErrDamaged)
}

func (t *turn) readCommit(ctx context.Context, sequenceNr uint64) (driver.Commit, error) {
	for c, err := range t.log.Read(ctx, t.entity, sequenceNr-1, sequenceNr) {
		return c, err
	}
	return driver.Commit{}, fmt.Errorf("commit %d is not in the log: %w", sequenceNr, driver.ErrNotFound)
}
