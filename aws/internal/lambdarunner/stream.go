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

// shuffled is into how many shards a stream is split that is shuffled.
const shuffled = 4

// How long a stream rests that had nothing, in the end. Lambda polls four times a
// second.
const (
	minRest = 5 * time.Millisecond
	maxRest = 160 * time.Millisecond
)

// StreamMapping configures what a function gets from a table's stream, which is
// read from its begin, one batch of a shard at a time. Failures of single records
// are always reported by the answer: ReportBatchItemFailures is on.
type StreamMapping struct {
	// BatchSize is how many records an invocation has at most; 0 is 100.
	BatchSize int
	// MaxRetries is how often a batch is tried again before it is dropped; 0 is 10,
	// less is without an end.
	MaxRetries int
	// Bisect halves a batch that failed as a whole, which costs it no retry.
	Bisect bool
	// ShardBy, unless it is empty, splits the stream into a shard for each value of this
	// attribute of the key, as that of a large table is split.
	ShardBy string
}

// Dropped is what a stream gave up: in Lambda it would be at the destination for
// failures.
type Dropped struct {
	Function, Table string
	// Records are in the form in which the function had them.
	Records []json.RawMessage
	// Err is why the last invocation failed; nil if its answer said so.
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

	laning sync.Mutex
	lanes  []*lane
	keyed  map[string]*lane // by the value of ShardBy
}

// lane is a shard as the function sees it.
type lane struct {
	s      *stream
	random *rand.Rand
	wake   chan struct{}

	mu    sync.Mutex
	queue []record // also what is being handled
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
		n, s.keyed = 0, map[string]*lane{}
	case r.opts.Faults.Shuffle:
		n = shuffled
	}
	for i := range n {
		s.lanes = append(s.lanes, &lane{s: s, random: r.random(f.Name+"@"+table, uint64(i)), wake: make(chan struct{}, 1)}) //nolint:gosec // see shuffled
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return ErrClosed
	}
	readers := 1
	for _, other := range r.streams {
		if other.table == table {
			readers++
		}
	}
	if readers > maxReaders {
		return fail(fmt.Errorf("it has %d readers already, which is all that a stream may have", maxReaders))
	}
	r.streams = append(r.streams, s)
	if r.started {
		s.start()
	}
	return nil
}

// start runs the mapping.
func (s *stream) start() {
	s.r.wg.Go(s.run)
	for _, l := range s.lanes {
		s.r.wg.Go(l.run)
	}
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
		if now().Sub(before) < rest { // it was woken
			rest = minRest
		} else {
			rest = min(rest*2, maxRest)
		}
	}
}

// poll reads what is new, all of it.
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

// add puts records into the lanes of their items, all of a page at once.
func (s *stream) add(page []streamtypes.Record) {
	added := map[*lane][]record{}
	for _, r := range page {
		l := s.laneOf(r)
		added[l] = append(added[l], record{aws.ToString(r.Dynamodb.SequenceNumber), s.record(r)})
	}
	for l, records := range added {
		l.mu.Lock()
		l.queue = append(l.queue, records...)
		l.mu.Unlock()
		poke(l.wake)
	}
}

func (s *stream) laneOf(r streamtypes.Record) *lane {
	if s.keyed != nil {
		return s.laneBy(r.Dynamodb.Keys[s.ShardBy])
	}
	if len(s.lanes) == 1 {
		return s.lanes[0]
	}
	keys, _ := json.Marshal(typed(r.Dynamodb.Keys)) // attributes have JSON
	h := fnv.New64a()
	_, _ = h.Write(strconv.AppendUint(keys, s.r.opts.Seed, 10)) // a hash takes all
	return s.lanes[h.Sum64()>>32%uint64(len(s.lanes))]
}

// laneBy returns the lane of a value of ShardBy.
func (s *stream) laneBy(v streamtypes.AttributeValue) *lane {
	value, _ := json.Marshal(typedValue(v)) // attributes have JSON
	s.laning.Lock()
	defer s.laning.Unlock()
	l := s.keyed[string(value)]
	if l == nil {
		l = &lane{s: s, random: s.r.random(s.f.Name+"@"+s.table+string(value), 0), wake: make(chan struct{}, 1)}
		s.keyed[string(value)] = l
		s.lanes = append(s.lanes, l)
		s.r.spawn(l.run)
	}
	return l
}

// waiting is how many records were not handled yet.
func (s *stream) waiting() int {
	n := 0
	s.laning.Lock()
	lanes := slices.Clone(s.lanes)
	s.laning.Unlock()
	for _, l := range lanes {
		l.mu.Lock()
		n += len(l.queue)
		l.mu.Unlock()
	}
	return n
}

// run hands over one batch after the other.
func (l *lane) run() {
	ctx, s := l.s.r.ctx, l.s
	size, attempt := 0, 0 // of a batch that failed
	for ctx.Err() == nil {
		l.linger(ctx)
		batch := l.head(size)
		if len(batch) == 0 {
			select {
			case <-ctx.Done():
			case <-l.wake:
			}
			continue
		}
		payload, n := event(texts(batch))
		batch = batch[:n]
		o, err := s.invoke(ctx, payload)
		if err != nil {
			return
		}
		at, refused := l.judge(batch, o)
		switch {
		case refused: // it did not begin
			pause(ctx, 20*time.Millisecond, nil)
		case at > 0 && o.again:
			s.f.count(&s.f.stats.Duplicates)
		case at == n:
			l.drop(n)
			size, attempt = 0, 0
		default:
			l.drop(at)
			size = n - at
			switch {
			case s.Bisect && at > 0: // the answer says where
			case s.Bisect && size > 1:
				size /= 2
			default:
				attempt++
			}
			if s.MaxRetries >= 0 && attempt > s.MaxRetries {
				l.giveUp(batch[at:], o.err)
				size, attempt = 0, 0
			}
			pause(ctx, min(10*time.Millisecond<<min(attempt, 6), 500*time.Millisecond), nil)
		}
	}
}

// invoke invokes the function when it may. An error is the end.
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

// linger holds a shuffled shard back, so that others overtake it.
func (l *lane) linger(ctx context.Context) {
	if l.shuffles() && l.random.IntN(4) == 0 {
		pause(ctx, time.Duration(l.random.IntN(50))*time.Millisecond, nil)
	}
}

func (l *lane) shuffles() bool {
	return l.s.r.opts.Faults.Shuffle && l.s.keyed == nil && !l.s.r.calm.Load()
}

// head returns the next batch, which stays in the queue: of a size, or of any.
func (l *lane) head(size int) []record {
	l.mu.Lock()
	defer l.mu.Unlock()
	if size == 0 {
		size = min(l.s.BatchSize, len(l.queue))
		if size > 1 && l.shuffles() {
			size = 1 + l.random.IntN(size)
		}
	}
	return slices.Clone(l.queue[:min(size, len(l.queue))])
}

func (l *lane) drop(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = slices.Delete(l.queue, 0, n)
}

func texts(batch []record) []json.RawMessage {
	all := make([]json.RawMessage, len(batch))
	for i, r := range batch {
		all[i] = r.text
	}
	return all
}

// judge returns how many records were done: those before the lowest that failed.
func (l *lane) judge(batch []record, o outcome) (done int, refused bool) {
	s := l.s
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
		s.r.log.printf(s.f.Name, "the answer %.200q fails all of the batch", o.body)
		return 0, false
	}
	return done, false
}

// giveUp drops records for good.
func (l *lane) giveUp(batch []record, err error) {
	s := l.s
	s.r.log.printf(s.f.Name, "%d records of %s are dropped", len(batch), s.table)
	s.r.mu.Lock()
	s.r.dropped = append(s.r.dropped, Dropped{Function: s.f.Name, Table: s.table, Records: texts(batch), Err: err})
	s.r.mu.Unlock()
	l.drop(len(batch))
}
