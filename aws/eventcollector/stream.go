package eventcollector

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	streamtypes "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"

	"github.com/reventless-go/reventless/aws/internal/streams"
	"github.com/reventless-go/reventless/driver"
)

// maxRecords is how many records a [Stream] knows that are not settled; with that
// many it reads no further.
const maxRecords = 100_000

// Stream is the collector of a log that is fed by the stream of the log's table,
// of new images. It is for processes outside of Lambda; there an event source
// mapping reads, and [DecodeStreamEvent] decodes.
//
// Its durable state is one position for each shard: what is before it is settled.
// What is behind it comes again after a restart, settled or not. Only one Stream
// of a consumer may be at work at a time: two would both handle everything. Their
// positions would stay right.
//
// A stream has the commits of the last 24 hours. A consumer that is new, or was
// away for longer, gets nothing older: that is in the log, and the engine finds
// what is missing by its watermarks as soon as the next commit of a stream comes.
// [StreamOptions].Lost tells when that is certain to have happened.
//
// A Stream may be used by many goroutines.
type Stream struct {
	log       string
	positions streams.Positions
	lost      func(shard, after string)
	now       func() time.Time
	keep      int

	reading chan struct{} // has one element while somebody reads
	reader  *streams.Reader

	mu     sync.Mutex
	loaded bool
	saved  map[string]string // the stored positions
	shards map[string]*progress
	groups groups
	bytes  int // of the commits that wait in memory
	count  int // of the records in shards
}

var _ driver.EventCollector = (*Stream)(nil)

// progress is what is known of a shard: its records from the first that is not
// settled on.
type progress struct {
	records []*record
	low     string // all up to here is settled
	ended   bool   // nothing comes behind records
}

// StreamOptions configure a [Stream]; nil fields and zeros are the defaults.
type StreamOptions struct {
	// Interval is how long a shard rests that had nothing new; 0 is a quarter of a
	// second, negative is none.
	Interval time.Duration
	// Hold is how long a delivery is held that nobody settles; 0 is five minutes.
	Hold time.Duration
	// Keep is how many bytes of commits may wait in memory; 0 is 64 MiB, negative
	// none. Of further ones only the number is kept, and they are read from the log
	// when their turn comes.
	Keep int
	// Lost is told that a shard lost records, by their age of 24 hours, behind a
	// position that the consumer had.
	Lost func(shard, after string)
	// Now is the clock of holds and retries; nil is time.Now.
	Now func() time.Time
}

// OpenStream returns the collector of a consumer on the log that is in table. Its
// positions are in another table, of any number of consumers, with the partition
// key consumer (S) and the sort key shard (S). Nothing is asked of the services.
func OpenStream(client *dynamodb.Client, api streams.API, table, positions string, spec driver.CollectorSpec, opts *StreamOptions) (*Stream, error) {
	if spec.Consumer == "" || spec.Source.Log == "" || spec.Source.Topic {
		return nil, fmt.Errorf("eventcollector: open %+v on a stream: %w", spec, driver.ErrInvalid)
	}
	var o StreamOptions
	if opts != nil {
		o = *opts
	}
	if o.Interval == 0 {
		o.Interval = 250 * time.Millisecond
	}
	if o.Hold == 0 {
		o.Hold = 5 * time.Minute
	}
	if o.Keep == 0 {
		o.Keep = 64 << 20
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Lost == nil {
		o.Lost = func(string, string) {}
	}
	s := &Stream{
		log: spec.Source.Log, lost: o.Lost, now: o.Now, keep: o.Keep,
		positions: streams.Positions{Client: client, Table: positions, Consumer: spec.Consumer + "@" + spec.Source.Log},
		reading:   make(chan struct{}, 1),
		shards:    map[string]*progress{},
		groups:    newGroups(o.Hold, rand.Text()[:8]+"-"),
	}
	s.reader = &streams.Reader{
		API: api, Table: table, Interval: max(o.Interval, 0),
		Now:   time.Now, //nolint:forbidigo // it measures how long shards rest, and nothing that is replayed
		After: s.after, Lost: o.Lost,
	}
	return s, nil
}

// Receive implements [driver.Receiver]. What is in memory costs nothing. For more
// it is one request for each shard that did not rest, one after the other, and now
// and then one for the list of the shards.
func (s *Stream) Receive(ctx context.Context, max int) (driver.Batch[driver.Record], error) {
	var batch driver.Batch[driver.Record]
	err := ctx.Err()
	if max < 1 {
		err = fmt.Errorf("%d messages: %w", max, driver.ErrInvalid)
	}
	if err != nil {
		return batch, s.wrap("receive", err)
	}
	s.take(&batch, max)
	if len(batch.Deliveries) == max {
		return batch, nil
	}
	err = s.fill(ctx)
	s.take(&batch, max)
	if len(batch.Deliveries) > 0 {
		return batch, nil
	}
	if err != nil {
		return batch, s.wrap("receive", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	batch.Next = s.groups.next()
	return batch, nil
}

func (s *Stream) wrap(what string, err error) error {
	return fmt.Errorf("eventcollector: %s for %s: %w", what, s.positions.Consumer, err)
}

func (s *Stream) take(batch *driver.Batch[driver.Record], max int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.groups.take(s.now(), max-len(batch.Deliveries)) {
		m := r.message
		m.Raw = slices.Clone(m.Raw)
		if m.Commit != nil {
			c := copyCommit(*m.Commit)
			m.Commit = &c
		}
		batch.Deliveries = append(batch.Deliveries, driver.Delivery[driver.Record]{ID: r.delivery, Attempt: r.attempt, Message: m})
	}
}

// Settle implements [driver.Receiver]. It is one write for each shard whose lowest
// record that is not settled is another one now. When that fails the deliveries
// are settled, but may come again after a restart; the next call writes it anew.
func (s *Stream) Settle(ctx context.Context, settlements []driver.Settlement) error {
	err := ctx.Err()
	if err == nil {
		s.mu.Lock()
		for _, r := range s.groups.settle(s.now(), settlements) {
			s.bytes -= r.size
			s.shards[r.shard].advance(&s.count)
		}
		s.mu.Unlock()
		err = s.flush(ctx)
	}
	if err != nil {
		return s.wrap("settle", err)
	}
	return nil
}

// advance cuts off what is settled.
func (p *progress) advance(count *int) {
	for len(p.records) > 0 && p.records[0].settled {
		if after := p.records[0].sequence; after != "" {
			p.low = after
		}
		p.records[0] = nil
		p.records = p.records[1:]
		*count--
	}
	if p.ended && len(p.records) == 0 {
		p.low = streams.End
	}
}

// flush writes the positions that have moved.
func (s *Stream) flush(ctx context.Context) error {
	moved := map[string]string{}
	s.mu.Lock()
	for shard, p := range s.shards {
		if streams.Before(s.saved[shard], p.low) {
			moved[shard] = p.low
		}
	}
	s.mu.Unlock()
	var errs []error
	for shard, low := range moved {
		if err := s.positions.Save(ctx, shard, low); err != nil {
			errs = append(errs, err)
			continue
		}
		s.mu.Lock()
		if streams.Before(s.saved[shard], low) {
			s.saved[shard] = low
		}
		if low == streams.End {
			delete(s.shards, shard)
		}
		s.mu.Unlock()
	}
	return errors.Join(errs...)
}

// after is where a shard is read from.
func (s *Stream) after(shard string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.saved[shard]
}

// fill reads what is new, unless another caller does.
func (s *Stream) fill(ctx context.Context) error {
	select {
	case s.reading <- struct{}{}:
		defer func() { <-s.reading }()
	default:
		return nil
	}
	s.mu.Lock()
	loaded, full := s.loaded, s.count >= maxRecords
	s.mu.Unlock()
	if full {
		return nil
	}
	if !loaded {
		saved, err := s.positions.Load(ctx)
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.saved, s.loaded = saved, true
		s.mu.Unlock()
	}
	_, err := s.reader.Read(ctx, s.took)
	return errors.Join(err, s.flush(ctx), s.forget(ctx))
}

// took adds a page of a shard.
func (s *Stream) took(shard string, page []streamtypes.Record, ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.shards[shard]
	if p == nil {
		p = &progress{low: s.saved[shard]}
		s.shards[shard] = p
	}
	for _, change := range page {
		c := streams.FromSDK(change)
		r := &record{shard: shard, sequence: c.Sequence, message: decodeChange(s.log, c)}
		r.size = len(r.message.Raw)
		if r.message.Commit != nil {
			if r.size = sizeOf(r.message.Commit); s.bytes+r.size > s.keep {
				r.message.Commit, r.size = nil, 0
			}
		}
		s.bytes += r.size
		p.records = append(p.records, r)
		s.count++
		s.groups.push(groupOf(shard, r), r)
	}
	p.ended = p.ended || ended
	p.advance(&s.count)
}

// groupOf is the stream of a record; one that does not say it is alone.
func groupOf(shard string, r *record) string {
	if r.message.Stream != "" {
		return r.message.Stream
	}
	return "\x00" + shard + "/" + r.sequence
}

// forget drops the positions in shards that are gone.
func (s *Stream) forget(ctx context.Context) error {
	gone := map[string]string{}
	s.mu.Lock()
	for shard, after := range s.saved {
		if s.shards[shard] == nil && !s.reader.Listed(shard) {
			gone[shard] = after
		}
	}
	s.mu.Unlock()
	for shard, after := range gone {
		if err := s.positions.Drop(ctx, shard); err != nil {
			return err
		}
		if after != streams.End {
			s.lost(shard, after)
		}
		s.mu.Lock()
		delete(s.saved, shard)
		s.mu.Unlock()
	}
	return nil
}
