package triggers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/host/core"
	"github.com/reventless-go/reventless/internal/ids"
)

// FinishedBatch is how many reached targets are received together.
const FinishedBatch = 64

// HandleFinished appends the targets that a counter reached to the counter's log.
// Components consume them from there like other events.
func (t *Triggers) HandleFinished(ctx context.Context, name string, log driver.EventLog, deliveries []driver.Delivery[driver.CounterFinished]) []driver.Settlement {
	return core.InOrder(deliveries, func(f driver.CounterFinished) string { return f.CounterID }, func(d driver.Delivery[driver.CounterFinished]) driver.Settlement {
		s := driver.Settlement{ID: d.ID}
		if err := t.appendFinished(ctx, name, log, d.Message); err != nil {
			s.Retry, s.After = true, t.Core.Backoff(d.Attempt)
			if !core.CutShort(ctx, err) {
				t.Core.Log.Warn("reached target is retried", "counter", name, "id", d.Message.CounterID, "error", core.ForLog(err))
			}
		}
		return s
	})
}

// appendFinished appends a reached target. Its ordinal is the sequence number, so a
// repetition conflicts with the stored commit.
func (t *Triggers) appendFinished(ctx context.Context, name string, log driver.EventLog, f driver.CounterFinished) error {
	data, err := json.Marshal(map[string]int64{"target": f.Target})
	if err != nil {
		return fmt.Errorf("counter %s: %w", name, err)
	}
	id := ids.Derive(time.Time{}, name, f.CounterID, fmt.Sprint(f.Ordinal))
	err = log.Append(ctx, driver.Commit{
		Stream: f.CounterID, SequenceNr: f.Ordinal,
		Events: []driver.Event{{Type: "CountFinished", Version: 1, Data: data}},
		Commands: []driver.AnsweredCommand{{
			Meta: driver.Meta{ID: id, Service: name, CorrelationID: id, Time: t.Core.Now().UTC()}, EventCount: 1,
		}},
	})
	if errors.Is(err, driver.ErrConflict) {
		return nil
	}
	return err
}
