package host

import (
	"context"
	"errors"
	"fmt"

	"github.com/reventless-go/reventless/driver"
)

// relay feeds a log's topic from its change feed. A record that repeats is published
// again; subscribers compare sequence numbers.
type relay struct {
	host  *Host
	log   string
	topic driver.EventTopic
}

// relayed names what a relay parks: the log's own component gave up on it.
const relayed = "relayed/"

// HandleRecords publishes records and says how each delivery is to be settled:
// one that fails comes again, with the later ones of its stream; one that is
// refused for good is parked.
func (r *relay) HandleRecords(ctx context.Context, deliveries []driver.Delivery[driver.Record]) []driver.Settlement {
	failed := map[string]error{} // by delivery
	var envelopes []driver.Envelope
	var published []string // the deliveries of envelopes
	for _, d := range deliveries {
		m := d.Message
		if undecodable(m) {
			failed[d.ID] = r.parkRaw(ctx, d)
			continue
		}
		c, err := r.commit(ctx, m)
		if err != nil {
			failed[d.ID] = err
			continue
		}
		c.Snapshot = nil
		envelopes, published = append(envelopes, driver.Envelope{Log: r.log, Commit: c}), append(published, d.ID)
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
	settlements := make([]driver.Settlement, 0, len(deliveries))
	retrying := map[string]bool{}
	for _, d := range deliveries {
		m, err := d.Message, storeError(failed[d.ID])
		s := driver.Settlement{ID: d.ID}
		switch {
		case m.Stream != "" && retrying[m.Stream]:
			s.Retry = true
		case err == nil:
		case !done(ctx, err) && !transient(err) && d.Attempt >= r.host.opts.MaxAttempts && r.park(ctx, d, err) == nil:
		default:
			s.Retry, s.After = true, r.host.opts.Backoff(d.Attempt)
			r.host.stats.retried.Add(1)
			r.host.log.Warn("relay tries again", "log", r.log, "stream", clip(m.Stream), "sequenceNr", m.SequenceNr, "attempt", d.Attempt, "error", logged(err))
		}
		retrying[m.Stream] = s.Retry
		settlements = append(settlements, s)
	}
	return settlements
}

// commit returns the commit of a record, from the log if it did not travel along.
func (r *relay) commit(ctx context.Context, m driver.Record) (driver.Commit, error) {
	if m.Commit != nil {
		return *m.Commit, nil
	}
	for c, err := range r.host.logs[r.log].Read(ctx, m.Stream, m.SequenceNr-1) {
		if err != nil {
			return c, fmt.Errorf("read %s/%s after %d: %w", r.log, m.Stream, m.SequenceNr-1, err)
		}
		return c, nil
	}
	return driver.Commit{}, fmt.Errorf("record %s/%s/%d is not in the log: %w", r.log, m.Stream, m.SequenceNr, driver.ErrNotFound)
}

func (r *relay) parkRaw(ctx context.Context, d driver.Delivery[driver.Record]) error {
	return storeError(r.host.park(ctx, driver.DeadLetter{
		ID: "raw/relay/" + r.log + "/" + digest(d.Message.Raw, d.ID), Component: r.log, Kind: driver.DeadRaw, Log: r.log,
		Stream: d.Message.Stream, SequenceNr: d.Message.SequenceNr, Body: d.Message.Raw, Attempts: d.Attempt,
	}, cause(d.Message)))
}

func (r *relay) park(ctx context.Context, d driver.Delivery[driver.Record], cause error) error {
	m := d.Message
	return r.host.park(ctx, driver.DeadLetter{
		ID: fmt.Sprintf("%s%s/%s/%d", relayed, r.log, m.Stream, m.SequenceNr), Component: r.log, Kind: driver.DeadCommit,
		Log: r.log, Stream: m.Stream, SequenceNr: m.SequenceNr, Attempts: d.Attempt,
	}, cause)
}

// redrive publishes the commit of a letter.
func (r *relay) redrive(ctx context.Context, l driver.DeadLetter) error {
	c, err := r.commit(ctx, driver.Record{Stream: l.Stream, SequenceNr: l.SequenceNr})
	if err != nil {
		return err
	}
	c.Snapshot = nil
	if err := r.topic.Publish(ctx, []driver.Envelope{{Log: r.log, Commit: c}}); err != nil {
		return err
	}
	return r.host.letters.Remove(ctx, l.ID)
}
