package lambdarunner

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	streamtypes "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"
)

// What bounds a stream's mappings.
// https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-params.html
const (
	maxRecords = 10_000
	maxReaders = 2 // of one stream
)

// shuffled is the number of shards of a stream under [Faults.Shuffle].
const shuffled = 4

// The pause between two polls of a stream grows from minRest to maxRest while the stream
// is empty. Lambda polls four times per second.
const (
	minRest = 5 * time.Millisecond
	maxRest = 160 * time.Millisecond
)

// StreamMapping configures the event source mapping of the stream of a table. It reads the
// stream from its start, one batch per shard at a time. ReportBatchItemFailures is always
// on: the answer reports failures of single records.
type StreamMapping struct {
	// BatchSize is the maximum number of records per invocation; 0 means 100.
	BatchSize int
	// MaxRetries is the number of retries of a batch before it is dropped. 0 means 10,
	// a negative number unlimited retries.
	MaxRetries int
	// Bisect splits a batch that failed as a whole in half. This does not count as a retry.
	Bisect bool
	// ShardBy is a key attribute. If it is not empty, each of its values gets a shard of
	// its own, as in the stream of a large table.
	ShardBy string
}

// Dropped is a batch that a stream dropped. Lambda would send it to the on-failure
// destination.
type Dropped struct {
	Function, Table string
	// Records have the form that the function received.
	Records []json.RawMessage
	// Err is the error of the last invocation; nil if its answer reported the failure.
	Err error
}

// stream is the event source mapping of a stream.
type stream struct {
	r     *Runner
	f     *function
	table string
	arn   string
	StreamMapping
	wake chan struct{}

	mu     sync.Mutex
	shards *shards

	partsMu sync.Mutex
	parts   []*part
	keyed   map[string]*part // by the value of ShardBy
}

// part is a shard from the point of view of the function: a part of the real shards.
type part struct {
	s      *stream
	random *rand.Rand
	wake   chan struct{}

	mu    sync.Mutex
	queue []record // including the records of a running invocation
}

type record struct {
	sequence string
	text     json.RawMessage
}

// Stream maps the stream of a table to a function.
func (r *Runner) Stream(function, table string, o StreamMapping) error {
	f, err := r.function(function)
	if err != nil {
		return err
	}
	fail := func(err error) error {
		return fmt.Errorf("lambdarunner: stream of %s of function %s: %w", table, function, err)
	}
	o.BatchSize, o.MaxRetries = cmp.Or(o.BatchSize, 100), cmp.Or(o.MaxRetries, 10)
	switch {
	case r.opts.Streams == nil:
		return fail(errors.New("no client"))
	case o.BatchSize < 0 || o.BatchSize > maxRecords:
		return fail(fmt.Errorf("a batch size of %d", o.BatchSize))
	}
	s := &stream{r: r, f: f, table: table, StreamMapping: o, wake: make(chan struct{}, 1), shards: &shards{api: r.opts.Streams, table: table}}
	if err := s.shards.find(r.ctx); err != nil {
		return fail(err)
	}
	s.arn = "arn:aws:dynamodb:" + r.opts.Region + ":" + r.opts.Account + ":table/" + table + "/stream/" + s.shards.label
	n := 1
	switch {
	case o.ShardBy != "":
		n, s.keyed = 0, map[string]*part{}
	case r.opts.Faults.Shuffle:
		n = shuffled
	}
	for i := range n {
		s.parts = append(s.parts, &part{s: s, random: r.random(f.Name+"@"+table, uint64(i)), wake: make(chan struct{}, 1)}) //nolint:gosec // see shuffled
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return ErrClosed
	}
	readers := 0
	for _, other := range r.streams {
		if other.table == table {
			readers++
		}
	}
	if readers == maxReaders {
		return fail(fmt.Errorf("a stream has at most %d readers", maxReaders))
	}
	r.streams = append(r.streams, s)
	if r.started {
		s.start()
	}
	return nil
}

// start runs the mapping. The parts that exist are started before the reader, which
// adds and starts further ones.
func (s *stream) start() {
	for _, l := range s.parts {
		s.r.wg.Go(l.run)
	}
	s.r.wg.Go(s.run)
}

func (s *stream) run() {
	rest := minRest
	for s.r.ctx.Err() == nil {
		found, err := s.poll(s.r.ctx)
		if err != nil && s.r.ctx.Err() == nil {
			s.r.log.printf(s.f.Name, "the stream of %s: %v", s.table, err)
		}
		if found {
			rest = minRest
		}
		before := now()
		if !pause(s.r.ctx, rest, s.wake) {
			return
		}
		if now().Sub(before) < rest { // wake ended the pause
			rest = minRest
		} else {
			rest = min(rest*2, maxRest)
		}
	}
}

// poll reads all new records.
func (s *stream) poll(ctx context.Context) (found bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for more := true; more && err == nil; {
		more, err = s.shards.read(ctx, func(page []streamtypes.Record) {
			found = true
			s.add(page)
		})
	}
	return found, err
}

// add appends the records of a page to the parts of their items.
func (s *stream) add(page []streamtypes.Record) {
	added := map[*part][]record{}
	for _, r := range page {
		l := s.partOf(r)
		added[l] = append(added[l], record{aws.ToString(r.Dynamodb.SequenceNumber), s.record(r)})
	}
	for l, records := range added {
		l.mu.Lock()
		l.queue = append(l.queue, records...)
		l.mu.Unlock()
		poke(l.wake)
	}
}

func (s *stream) partOf(r streamtypes.Record) *part {
	if s.keyed != nil {
		return s.partBy(r.Dynamodb.Keys[s.ShardBy])
	}
	if len(s.parts) == 1 {
		return s.parts[0]
	}
	keys, _ := json.Marshal(typed(r.Dynamodb.Keys)) // attributes have a JSON form
	h := fnv.New64a()
	_, _ = h.Write(strconv.AppendUint(keys, s.r.opts.Seed, 10)) // never fails
	return s.parts[h.Sum64()>>32%uint64(len(s.parts))]
}

// partBy returns the part for a value of ShardBy.
func (s *stream) partBy(v streamtypes.AttributeValue) *part {
	value, _ := json.Marshal(typedValue(v)) // attributes have a JSON form
	s.partsMu.Lock()
	defer s.partsMu.Unlock()
	l := s.keyed[string(value)]
	if l == nil {
		l = &part{s: s, random: s.r.random(s.f.Name+"@"+s.table+string(value), 0), wake: make(chan struct{}, 1)}
		s.keyed[string(value)] = l
		s.parts = append(s.parts, l)
		s.r.spawn(l.run)
	}
	return l
}

// waiting returns the number of records that are not handled.
func (s *stream) waiting() int {
	n := 0
	s.partsMu.Lock()
	parts := slices.Clone(s.parts)
	s.partsMu.Unlock()
	for _, l := range parts {
		l.mu.Lock()
		n += len(l.queue)
		l.mu.Unlock()
	}
	return n
}

// run invokes the function with one batch after the other.
func (p *part) run() {
	ctx, s := p.s.r.ctx, p.s
	size, attempt := 0, 0 // of a batch that failed
	for ctx.Err() == nil {
		p.linger(ctx)
		batch := p.head(size)
		if len(batch) == 0 {
			select {
			case <-ctx.Done():
			case <-p.wake:
			}
			continue
		}
		payload, n := event(texts(batch))
		batch = batch[:n]
		o, err := s.invoke(ctx, payload)
		if err != nil {
			return
		}
		at, refused := p.judge(batch, o)
		switch {
		case refused: // the function was not invoked
			pause(ctx, 20*time.Millisecond, nil)
		case at > 0 && o.again:
			s.f.count(&s.f.stats.Duplicates)
		case at == n:
			p.drop(n)
			size, attempt = 0, 0
		default:
			p.drop(at)
			size = n - at
			switch {
			case s.Bisect && at > 0: // the answer names the failed record
			case s.Bisect && size > 1:
				size /= 2
			default:
				attempt++
			}
			if s.MaxRetries >= 0 && attempt > s.MaxRetries {
				p.discard(batch[at:], o.err)
				size, attempt = 0, 0
			}
			pause(ctx, min(10*time.Millisecond<<min(attempt, 6), 500*time.Millisecond), nil)
		}
	}
}

// invoke waits until the function can be invoked and invokes it. An error ends the mapping.
func (s *stream) invoke(ctx context.Context, payload []byte) (outcome, error) {
	defer s.r.begin()()
	if err := s.f.acquire(ctx); err != nil {
		return outcome{}, err
	}
	defer s.f.release()
	o := s.f.invoke(payload) //nolint:contextcheck // an invocation ends with the runner
	if errors.Is(o.err, ErrClosed) {
		return o, o.err
	}
	return o, nil
}

// linger delays a shuffled shard so that others overtake it.
func (p *part) linger(ctx context.Context) {
	if p.shuffles() && p.random.IntN(4) == 0 {
		pause(ctx, time.Duration(p.random.IntN(50))*time.Millisecond, nil)
	}
}

func (p *part) shuffles() bool {
	return p.s.r.opts.Faults.Shuffle && p.s.keyed == nil && !p.s.r.calm.Load()
}

// head returns the next batch without removing it. If size is 0, the mapping determines
// the size.
func (p *part) head(size int) []record {
	p.mu.Lock()
	defer p.mu.Unlock()
	if size == 0 {
		size = min(p.s.BatchSize, len(p.queue))
		if size > 1 && p.shuffles() {
			size = 1 + p.random.IntN(size)
		}
	}
	return slices.Clone(p.queue[:min(size, len(p.queue))])
}

func (p *part) drop(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue = slices.Delete(p.queue, 0, n)
}

func texts(batch []record) []json.RawMessage {
	all := make([]json.RawMessage, len(batch))
	for i, r := range batch {
		all[i] = r.text
	}
	return all
}

// judge returns the number of handled records: those before the first failed one.
func (p *part) judge(batch []record, o outcome) (done int, refused bool) {
	s := p.s
	if o.err != nil {
		s.r.log.printf(s.f.Name, "%d records of %s: %v", len(batch), s.table, o.err)
		return 0, errors.Is(o.err, ErrThrottled)
	}
	items, ok := failed(o.body)
	done = len(batch)
	for _, id := range items {
		at := slices.IndexFunc(batch, func(r record) bool { return r.sequence == id })
		ok = ok && at >= 0
		done = min(done, at)
	}
	if !ok {
		s.r.log.printf(s.f.Name, "the answer %.200q fails the whole batch", o.body)
		return 0, false
	}
	return done, false
}

// discard drops records and reports them in [Runner.Dropped].
func (p *part) discard(batch []record, err error) {
	s := p.s
	s.r.log.printf(s.f.Name, "%d records of %s are dropped", len(batch), s.table)
	s.r.mu.Lock()
	s.r.dropped = append(s.r.dropped, Dropped{Function: s.f.Name, Table: s.table, Records: texts(batch), Err: err})
	s.r.mu.Unlock()
	p.drop(len(batch))
}
