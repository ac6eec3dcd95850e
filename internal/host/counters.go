package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/ids"
)

// finishedBatch is how many reached targets are handled together.
const finishedBatch = 64

// handleFinished writes what a counter reached into the counter's log, from where
// it is a source like any other. The ordinal is the sequence number, so that a
// repetition meets the commit that is there.
func (h *Host) handleFinished(ctx context.Context, name string, deliveries []driver.Delivery[driver.CounterFinished]) []driver.Settlement {
	settlements := make([]driver.Settlement, 0, len(deliveries))
	failed := map[string]bool{}
	for _, d := range deliveries {
		f := d.Message
		s := driver.Settlement{ID: d.ID, Retry: failed[f.CounterID]}
		if !s.Retry {
			if err := h.appendFinished(ctx, name, h.logs[name], f); err != nil {
				h.log.Warn("counter is tried again", "counter", name, "id", f.CounterID, "error", logged(err))
				failed[f.CounterID] = true
				s.Retry, s.After = true, h.opts.Backoff(d.Attempt)
			}
		}
		settlements = append(settlements, s)
	}
	return settlements
}

func (h *Host) appendFinished(ctx context.Context, name string, log driver.EventLog, f driver.CounterFinished) error {
	data, err := json.Marshal(map[string]int64{"target": f.Target})
	if err != nil {
		return fmt.Errorf("counter %s: %w", name, err)
	}
	id := ids.Derive(name, f.CounterID, fmt.Sprint(f.Ordinal))
	err = log.Append(ctx, driver.Commit{
		Stream: f.CounterID, SequenceNr: f.Ordinal,
		Events: []driver.Event{{Type: "CountFinished", Version: 1, Data: data}},
		Commands: []driver.AnsweredCommand{{
			Meta: driver.Meta{ID: id, Service: name, CorrelationID: id, Time: h.opts.Now().UTC()}, EventCount: 1,
		}},
	})
	if errors.Is(err, driver.ErrConflict) {
		return nil
	}
	return err
}
