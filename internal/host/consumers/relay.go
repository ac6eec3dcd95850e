package consumers

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/host/core"
)

// Relay publishes the commits of a log to its topic. A repeated record is published
// again; subscribers compare sequence numbers.
type Relay struct {
	core   *core.Core
	Log    string
	reader driver.EventLog
	topic  driver.EventTopic
}

// NewRelay returns the relay from a log to its topic.
func NewRelay(c *core.Core, log string, reader driver.EventLog, topic driver.EventTopic) *Relay {
	return &Relay{c, log, reader, topic}
}

// relayed is the prefix of the ids of the dead letters that a relay parks.
const relayed = "relayed/"

// Parked reports whether this relay parked a dead letter.
func (r *Relay) Parked(l driver.DeadLetter) bool {
	return r.Log == l.Log && strings.HasPrefix(l.ID, relayed)
}

// HandleRecords publishes records and settles each delivery: a record that fails is
// retried with the later ones of its stream, and parked after its last attempt.
func (r *Relay) HandleRecords(ctx context.Context, deliveries []driver.Delivery[driver.Record]) []driver.Settlement {
	failed := r.publish(ctx, deliveries)
	return core.InOrder(deliveries, func(m driver.Record) string { return m.Stream }, func(d driver.Delivery[driver.Record]) driver.Settlement {
		m, err := d.Message, core.StoreError(failed[d.ID])
		if err == nil {
			return driver.Settlement{ID: d.ID}
		}
		return r.core.SettleFailure(ctx, core.Failure{
			ID: d.ID, Attempt: d.Attempt, Err: err,
			DeadLetter: driver.DeadLetter{
				ID: fmt.Sprintf("%s%s/%s/%d", relayed, r.Log, m.Stream, m.SequenceNr), Component: r.Log, Kind: driver.DeadCommit,
				Log: r.Log, Stream: m.Stream, SequenceNr: m.SequenceNr,
			},
			What: "record of a relay", Attrs: []any{"log", r.Log, "stream", core.Clip(m.Stream), "sequenceNr", m.SequenceNr},
		})
	})
}

// publish publishes what can be decoded and parks what cannot. It returns the error of
// each delivery that failed.
func (r *Relay) publish(ctx context.Context, deliveries []driver.Delivery[driver.Record]) map[string]error {
	failed := map[string]error{}
	var envelopes []driver.Envelope
	var published []string // the deliveries of envelopes
	for _, d := range deliveries {
		if core.Undecodable(d.Message) {
			failed[d.ID] = core.StoreError(r.core.ParkUndecodable(ctx, r.Log, "relay", r.Log, d))
			continue
		}
		e, err := r.envelope(ctx, d.Message)
		if err != nil {
			failed[d.ID] = err
			continue
		}
		envelopes, published = append(envelopes, e), append(published, d.ID)
	}
	if err := r.topic.Publish(ctx, envelopes); err != nil {
		var some *driver.BatchError
		partial := errors.As(err, &some)
		for i, id := range published {
			if failed[id] = err; partial {
				failed[id] = some.Failed[envelopes[i].Key()]
			}
		}
	}
	return failed
}

// envelope returns the envelope to publish for a record. If the record does not contain
// the commit, it is read from the log.
func (r *Relay) envelope(ctx context.Context, m driver.Record) (driver.Envelope, error) {
	e := driver.Envelope{Log: r.Log}
	if m.Commit != nil {
		e.Commit = *m.Commit
		e.Commit.Snapshot = nil
		return e, nil
	}
	for c, err := range r.reader.Read(ctx, m.Stream, m.SequenceNr-1, m.SequenceNr) {
		if err != nil {
			return e, fmt.Errorf("read %s/%s after %d: %w", r.Log, m.Stream, m.SequenceNr-1, err)
		}
		e.Commit = c
		e.Commit.Snapshot = nil
		return e, nil
	}
	return e, fmt.Errorf("record %s/%s/%d is not in the log: %w", r.Log, m.Stream, m.SequenceNr, driver.ErrNotFound)
}

// Redrive publishes the commit of a dead letter.
func (r *Relay) Redrive(ctx context.Context, l driver.DeadLetter) error {
	e, err := r.envelope(ctx, driver.Record{Stream: l.Stream, SequenceNr: l.SequenceNr})
	if err != nil {
		return err
	}
	if err := r.topic.Publish(ctx, []driver.Envelope{e}); err != nil {
		return err
	}
	return r.core.DeadLetters.Remove(ctx, l.ID)
}
