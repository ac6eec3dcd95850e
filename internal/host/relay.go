package host

import (
	"context"
	"fmt"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// addRelay feeds a log's topic from its change feed. A record that repeats is
// published again; subscribers compare sequence numbers.
func (h *Host) addRelay(ctx context.Context, log string, topic driver.EventTopic) error {
	collector, err := h.provider.OpenEventCollector(ctx, driver.CollectorSpec{Consumer: "relay/" + log, Source: driver.Source{Log: log}})
	if err != nil {
		return fmt.Errorf("relay of %s: %w", log, err)
	}
	h.relays = append(h.relays, &relay{h, log, topic, collector})
	return nil
}

type relay struct {
	host      *Host
	log       string
	topic     driver.EventTopic
	collector driver.EventCollector
}

func (r *relay) work(ctx context.Context) (int, time.Time, error) {
	batch, err := r.collector.Receive(ctx, recordBatch)
	if err != nil || len(batch.Deliveries) == 0 {
		return 0, batch.Next, err
	}
	var envelopes []driver.Envelope
	settlements := make([]driver.Settlement, 0, len(batch.Deliveries))
	var failure error
	for _, d := range batch.Deliveries {
		m := d.Message
		switch {
		case m.Err != nil:
			if err := r.host.park(ctx, driver.DeadLetter{
				ID: "raw/relay/" + r.log + "/" + digest(m.Raw, d.ID), Component: r.log, Kind: driver.DeadRaw, Log: r.log, Body: m.Raw, Attempts: d.Attempt,
			}, m.Err); err != nil {
				failure = err
			}
			continue
		case m.Commit == nil:
			for c, err := range r.host.logs[r.log].Read(ctx, m.Stream, m.SequenceNr-1) {
				if err != nil {
					failure = err
				} else {
					m.Commit = &c
				}
				break
			}
			if m.Commit == nil {
				continue
			}
		}
		c := *m.Commit
		c.Snapshot = nil
		envelopes = append(envelopes, driver.Envelope{Log: r.log, Commit: c})
	}
	if failure == nil {
		failure = r.topic.Publish(ctx, envelopes)
	}
	for _, d := range batch.Deliveries {
		s := driver.Settlement{ID: d.ID, Retry: failure != nil}
		if s.Retry {
			s.After = r.host.opts.Backoff(d.Attempt)
		}
		settlements = append(settlements, s)
	}
	if failure != nil {
		r.host.log.Warn("relay tries again", "log", r.log, "error", reason(failure))
	}
	return len(batch.Deliveries), time.Time{}, r.collector.Settle(ctx, settlements)
}
