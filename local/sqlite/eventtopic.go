package sqlite

import (
	"context"
	sqldriver "database/sql/driver"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/reventless-go/reventless/driver"
)

// eventTopic copies commits to the queues of its subscriptions.
type eventTopic struct {
	p             *Provider
	log           string
	subscriptions []*queue[driver.Record]
}

var _ driver.EventTopic = (*eventTopic)(nil)

// OpenEventTopic implements [driver.Provider].
func (p *Provider) OpenEventTopic(ctx context.Context, spec driver.TopicSpec) (driver.EventTopic, error) {
	if err := p.enter(ctx); err != nil {
		return nil, err
	}
	defer p.leave()
	topic := &eventTopic{p: p, log: spec.Log}
	err := func() error {
		if spec.Log == "" || slices.Contains(spec.Subscribers, "") {
			return fmt.Errorf("a name is missing: %w", driver.ErrInvalid)
		}
		for _, consumer := range spec.Subscribers {
			if _, err := p.subscribe(ctx, spec.Log, consumer); err != nil {
				return err
			}
		}
		log, err := p.intern(ctx, kindLog, spec.Log)
		if err != nil {
			return err
		}
		var consumers []string
		err = p.read(ctx, func(c *conn) error {
			return c.query("SELECT consumer, queue, crc FROM subscriptions WHERE log = ?", []any{log}, func(row []sqldriver.Value) error {
				consumer := text(row[0])
				if subscriptionSum(log, consumer, number(row[1])) != number(row[2]) {
					return damage("subscriptions", spec.Log, consumer, "%w", errChecksum)
				}
				consumers = append(consumers, consumer)
				return nil
			})
		})
		for _, consumer := range consumers {
			q, e := p.subscription(ctx, spec.Log, consumer)
			if e != nil {
				return e
			}
			topic.subscriptions = append(topic.subscriptions, q)
		}
		return err
	}()
	if err != nil {
		return nil, fmt.Errorf("eventtopic: open %q: %w", spec.Log, err)
	}
	return topic, nil
}

// subscription returns the queue of a subscription, without creating the subscription.
func (p *Provider) subscription(ctx context.Context, log, consumer string) (*queue[driver.Record], error) {
	return openQueue(ctx, p, kindSub, log+"\x00"+consumer, driver.ReceiverOf("EventCollector", log), func(stream, head string, data []byte) (driver.Record, error) {
		return decodeEnvelope(log, stream, head, data)
	})
}

// subscribe returns the queue of a subscription, which it creates if needed.
func (p *Provider) subscribe(ctx context.Context, log, consumer string) (*queue[driver.Record], error) {
	q, err := p.subscription(ctx, log, consumer)
	if err != nil {
		return nil, err
	}
	id, err := p.intern(ctx, kindLog, log)
	if err != nil {
		return nil, err
	}
	var exists int64
	if err := p.read(ctx, func(c *conn) (err error) {
		exists, err = c.integer("SELECT count(*) FROM subscriptions WHERE log = ? AND consumer = ?", id, consumer)
		return err
	}); err != nil || exists > 0 {
		return q, err
	}
	return q, p.write(ctx, func(t *tx) error {
		_, _, err := t.exec("INSERT INTO subscriptions (log, consumer, queue, crc) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
			id, consumer, q.id, subscriptionSum(id, consumer, q.id))
		return err
	})
}

// envelopeHead is the JSON of a published commit, without its events' data.
type envelopeHead struct {
	SequenceNr uint64          `json:"sequenceNr"`
	At         int64           `json:"at"`
	Head       json.RawMessage `json:"head"` // record.Head
}

// encodeEnvelope checks an envelope and returns its message.
func (et *eventTopic) encodeEnvelope(e driver.Envelope) (message, error) {
	if e.Log != et.log {
		return message{}, fmt.Errorf("commit of log %q on the topic of log %q: %w", e.Log, et.log, driver.ErrInvalid)
	}
	e.Commit.Snapshot = nil
	if err := driver.CheckCommit(e.Commit); err != nil {
		return message{}, err
	}
	if e.Commit.SequenceNr > math.MaxInt64 {
		return message{}, fmt.Errorf("the sequence number is out of range: %w", driver.ErrInvalid)
	}
	r, err := driver.StoreCommit(e.Commit)
	if err != nil {
		return message{}, err
	}
	if size := r.Size(); size > et.p.limits.MaxCommitBytes {
		return message{}, &driver.TooLargeError{What: "commit", Size: size, Limit: et.p.limits.MaxCommitBytes}
	}
	head, err := json.Marshal(envelopeHead{r.SequenceNr, nanos(e.Commit.RecordedAt), json.RawMessage(r.Head)})
	return message{group: r.Stream, head: string(head), data: r.Events}, err
}

// decodeEnvelope returns the record of a message.
func decodeEnvelope(log, stream, head string, data []byte) (driver.Record, error) {
	var h envelopeHead
	if err := json.Unmarshal([]byte(head), &h); err != nil {
		return driver.Record{}, err
	}
	stored := driver.StoredCommit{Stream: stream, SequenceNr: h.SequenceNr, RecordedAt: fromNanos(h.At), Head: string(h.Head), Events: string(data)}
	c, err := stored.Commit()
	return driver.Record{Log: log, Stream: stream, SequenceNr: h.SequenceNr, Commit: &c}, err
}

// Publish implements [driver.EventTopic].
func (et *eventTopic) Publish(ctx context.Context, envelopes []driver.Envelope) error {
	if err := et.p.enter(ctx); err != nil {
		return err
	}
	defer et.p.leave()
	var good []message
	refused := map[string]error{}
	for _, e := range envelopes {
		m, err := et.encodeEnvelope(e)
		if err != nil {
			refused[e.Key()] = err
			continue
		}
		good = append(good, m)
	}
	if len(good) > 0 && len(et.subscriptions) > 0 {
		err := et.p.writeWhole(ctx, func(t *tx) error {
			for _, m := range good {
				for _, q := range et.subscriptions {
					if _, err := q.put(t, m); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("eventtopic: publish %d commits of %q: %w", len(good), et.log, err)
		}
	}
	if len(refused) > 0 {
		return &driver.BatchError{Failed: refused}
	}
	return nil
}
