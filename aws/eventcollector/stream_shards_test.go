package eventcollector_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	streamtypes "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"

	"github.com/reventless-go/reventless/aws/eventcollector"
	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/internal/streams"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/drivertest"
)

// shards is a stream that splits its shards, lists them late and in any order,
// hands out empty pages and records twice, and lets iterators end.
type shards struct {
	random *rand.Rand
	calm   bool // nothing goes wrong

	mu       sync.Mutex
	shards   []*fakeShard
	byID     map[string]*fakeShard
	sequence int
	listings int
	gone     map[string]bool // trimmed away
}

type fakeShard struct {
	id, parent string
	records    []streamtypes.Record
	closed     bool
	from       int // the listing that has it first
	trimmed    int // that many records are gone
	part       int // the streams with an even number, or the others
}

// parts is how many streams there are; each has its commits in one line of shards.
const parts = 16

func newShards(random *rand.Rand) *shards {
	f := &shards{random: random, byID: map[string]*fakeShard{}, gone: map[string]bool{}}
	for part := range 2 {
		f.add("", part)
	}
	return f
}

func (f *shards) add(parent string, part int) {
	s := &fakeShard{id: fmt.Sprintf("shard-%03d", len(f.shards)), parent: parent, part: part}
	if parent != "" {
		s.from = f.listings + f.random.IntN(3)
	}
	f.shards = append(f.shards, s)
	f.byID[s.id] = s
}

// split closes a shard and has its children go on.
func (f *shards) split() {
	f.mu.Lock()
	defer f.mu.Unlock()
	var open []*fakeShard
	for _, s := range f.shards {
		if !s.closed {
			open = append(open, s)
		}
	}
	s := open[f.random.IntN(len(open))]
	s.closed = true
	f.add(s.id, s.part)
}

// put appends a commit to the open shard of its stream.
func (f *shards) put(stream string, n uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sequence += 1 + f.random.IntN(3)
	part := int(stream[len(stream)-1]) % 2
	for _, s := range slices.Backward(f.shards) {
		if s.part == part && !s.closed {
			s.records = append(s.records, streamRecord(stream, n, fmt.Sprintf("%021d", f.sequence)))
			return
		}
	}
}

func streamRecord(stream string, n uint64, sequence string) streamtypes.Record {
	text := func(s string) streamtypes.AttributeValue { return &streamtypes.AttributeValueMemberS{Value: s} }
	number := func(n uint64) streamtypes.AttributeValue {
		return &streamtypes.AttributeValueMemberN{Value: strconv.FormatUint(n, 10)}
	}
	keys := map[string]streamtypes.AttributeValue{"id": text(stream), "sequenceNr": number(n)}
	image := maps.Clone(keys)
	image["at"] = number(1_700_000_000_000_000_000)
	image["commands"] = text(`[{"meta":{"id":"c"},"eventCount":1}]`)
	image["events"] = &streamtypes.AttributeValueMemberL{Value: []streamtypes.AttributeValue{
		&streamtypes.AttributeValueMemberM{Value: map[string]streamtypes.AttributeValue{"type": text("Happened"), "version": number(1), "data": text(`{"n": 1}`)}},
	}}
	return streamtypes.Record{EventName: streamtypes.OperationTypeInsert, Dynamodb: &streamtypes.StreamRecord{
		Keys: keys, NewImage: image, SequenceNumber: &sequence, ApproximateCreationDateTime: aws.Time(time.Unix(1_700_000_000, 0)),
	}}
}

// fault is what a call fails with, now and then.
func (f *shards) fault() error {
	if f.calm {
		return nil
	}
	switch f.random.IntN(30) {
	case 0:
		return &streamtypes.LimitExceededException{}
	case 1:
		return &streamtypes.InternalServerError{}
	}
	return nil
}

func (f *shards) ListStreams(context.Context, *dynamodbstreams.ListStreamsInput, ...func(*dynamodbstreams.Options)) (*dynamodbstreams.ListStreamsOutput, error) {
	return &dynamodbstreams.ListStreamsOutput{Streams: []streamtypes.Stream{
		{StreamArn: aws.String("new"), StreamLabel: aws.String("2026-02-01T00:00:00.000")},
		{StreamArn: aws.String("old"), StreamLabel: aws.String("2026-01-01T00:00:00.000")},
	}}, nil
}

func (f *shards) DescribeStream(_ context.Context, in *dynamodbstreams.DescribeStreamInput, _ ...func(*dynamodbstreams.Options)) (*dynamodbstreams.DescribeStreamOutput, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if aws.ToString(in.StreamArn) != "new" {
		return nil, &streamtypes.ResourceNotFoundException{}
	}
	if err := f.fault(); err != nil {
		return nil, err
	}
	if in.ExclusiveStartShardId == nil {
		f.listings++
	}
	// A listing goes by the shards' names backwards, so that children come first.
	d := &streamtypes.StreamDescription{StreamStatus: streamtypes.StreamStatusEnabled}
	for _, s := range slices.Backward(f.shards) {
		if f.gone[s.id] || s.from > f.listings && !f.calm || in.ExclusiveStartShardId != nil && s.id >= *in.ExclusiveStartShardId {
			continue
		}
		if len(d.Shards) == 3 {
			d.LastEvaluatedShardId = d.Shards[2].ShardId
			break
		}
		shard := streamtypes.Shard{ShardId: &s.id, SequenceNumberRange: &streamtypes.SequenceNumberRange{StartingSequenceNumber: aws.String("0")}}
		if s.parent != "" {
			shard.ParentShardId = &s.parent
		}
		if s.closed {
			shard.SequenceNumberRange.EndingSequenceNumber = aws.String("9")
		}
		d.Shards = append(d.Shards, shard)
	}
	return &dynamodbstreams.DescribeStreamOutput{StreamDescription: d}, nil
}

func (f *shards) GetShardIterator(_ context.Context, in *dynamodbstreams.GetShardIteratorInput, _ ...func(*dynamodbstreams.Options)) (*dynamodbstreams.GetShardIteratorOutput, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fault(); err != nil {
		return nil, err
	}
	s := f.byID[*in.ShardId]
	if s == nil || f.gone[s.id] {
		return nil, &streamtypes.ResourceNotFoundException{}
	}
	at := s.trimmed
	switch in.ShardIteratorType {
	case streamtypes.ShardIteratorTypeAfterSequenceNumber:
		at = 0
		for at < len(s.records) && *s.records[at].Dynamodb.SequenceNumber <= *in.SequenceNumber {
			at++
		}
		if at < s.trimmed {
			return nil, &streamtypes.TrimmedDataAccessException{}
		}
	case streamtypes.ShardIteratorTypeLatest:
		at = len(s.records)
	case streamtypes.ShardIteratorTypeTrimHorizon, streamtypes.ShardIteratorTypeAtSequenceNumber:
	}
	return &dynamodbstreams.GetShardIteratorOutput{ShardIterator: aws.String(s.id + "|" + strconv.Itoa(at))}, nil
}

func (f *shards) GetRecords(_ context.Context, in *dynamodbstreams.GetRecordsInput, _ ...func(*dynamodbstreams.Options)) (*dynamodbstreams.GetRecordsOutput, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fault(); err != nil {
		return nil, err
	}
	if !f.calm && f.random.IntN(15) == 0 {
		return nil, &streamtypes.ExpiredIteratorException{}
	}
	id, place, _ := strings.Cut(*in.ShardIterator, "|")
	at, err := strconv.Atoi(place)
	if err != nil {
		return nil, err
	}
	s := f.byID[id]
	if at < s.trimmed {
		return nil, &streamtypes.TrimmedDataAccessException{}
	}
	from, to := at, min(len(s.records), at+1+f.random.IntN(6))
	if !f.calm {
		from = max(s.trimmed, at-f.random.IntN(3)) // some come twice
		if f.random.IntN(4) == 0 {
			to = from // an empty page is no end
		}
		to = max(to, from)
	}
	out := &dynamodbstreams.GetRecordsOutput{Records: slices.Clone(s.records[from:to])}
	if next := max(at, to); next < len(s.records) || !s.closed {
		out.NextShardIterator = aws.String(s.id + "|" + strconv.Itoa(next))
	}
	return out, nil
}

// settledUpTo fails the test when a stored position has a record before it that
// was never settled.
func settledUpTo(t *testing.T, at map[string]string, f *shards, settled map[string]bool, about string) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, after := range at {
		s := f.byID[id]
		if after == streams.End && !s.closed {
			t.Fatalf("%s: the position in the open shard %s is its end", about, id)
		}
		for _, r := range s.records {
			n := *r.Dynamodb.SequenceNumber
			if (after == streams.End || n <= after) && !settled[n] {
				t.Fatalf("%s: the position in %s is %s, record %s is not settled", about, id, after, n)
			}
		}
	}
}

func TestShuffledShardsAreReadWholeAndInOrder(t *testing.T) {
	t.Parallel()
	for range 6 {
		seed := rand.Uint64()
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			shuffled(t, seed)
		})
	}
}

func shuffled(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 0))
	about := fmt.Sprintf("seed %d", seed)
	feed := newShards(rand.New(rand.NewPCG(seed, 1)))
	client := awstest.DynamoDB(t).Clients(awstest.Transport()).DynamoDB
	table := awstest.Stack() + "-positions"
	createPositions(t.Context(), t, client, table)
	spec := driver.CollectorSpec{Consumer: "Test.Consumer", Source: driver.Source{Log: "Test.Log"}}
	positions := streams.Positions{Client: client, Table: table, Consumer: "Test.Consumer@Test.Log"}
	clock := drivertest.NewClock()
	open := func() *eventcollector.Stream {
		keep := 0
		if random.IntN(2) == 0 {
			keep = 4000 // so that some commits do not travel along
		}
		c, err := eventcollector.OpenStream(client, feed, "table", table, spec, &eventcollector.StreamOptions{
			Interval: -1, Now: clock.Now, Keep: keep,
			Lost: func(shard, after string) {
				t.Errorf("%s: told to have lost what is behind %s in %s", about, after, shard)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := open()
	wrote, done := map[string]uint64{}, map[string]uint64{}
	settled := map[string]bool{} // by sequence number of the source
	sequences := map[string]string{}
	const commits = 600
	total, stripped := 0, 0
	var held []driver.Delivery[driver.Record]
	key := func(r driver.Record) string { return fmt.Sprintf("%s/%d", r.Stream, r.SequenceNr) }
	for step := 0; ; step++ {
		if step > 20000 {
			t.Fatalf("%s: after %d steps %v of %v are settled", about, step, done, wrote)
		}
		burst := random.IntN(3)
		if random.IntN(30) == 0 { // more than the reader has read by the next splits
			burst = 80
		}
		for range burst {
			if burst == 80 && random.IntN(15) == 0 {
				feed.split()
			}
			if total < commits {
				stream := "s" + strconv.Itoa(random.IntN(parts))
				wrote[stream]++
				feed.put(stream, wrote[stream])
				sequences[fmt.Sprintf("%s/%d", stream, wrote[stream])] = fmt.Sprintf("%021d", feed.sequence)
				total++
			}
		}
		if random.IntN(25) == 0 && total < commits {
			feed.split()
		}
		if random.IntN(60) == 0 { // what is held is as good as lost
			c, held = open(), nil
		}
		b, err := c.Receive(t.Context(), 1+random.IntN(12))
		if err != nil && !errors.Is(err, driver.ErrThrottled) && !errors.Is(err, driver.ErrUnavailable) {
			t.Fatalf("%s: %v", about, err)
		}
		due := maps.Clone(done)
		for _, d := range held {
			if slices.ContainsFunc(b.Deliveries, func(o driver.Delivery[driver.Record]) bool { return o.Message.Stream == d.Message.Stream }) {
				t.Fatalf("%s: a commit of %s is delivered while another one is held", about, d.Message.Stream)
			}
		}
		for _, d := range b.Deliveries {
			r := d.Message
			if r.Err != nil {
				t.Fatalf("%s: %v", about, r.Err)
			}
			if r.SequenceNr > due[r.Stream]+1 {
				t.Fatalf("%s: commit %d of %s came where %d is due", about, r.SequenceNr, r.Stream, due[r.Stream]+1)
			}
			due[r.Stream] = max(due[r.Stream], r.SequenceNr)
			if r.Commit == nil {
				stripped++
			}
		}
		held = append(held, b.Deliveries...)
		if random.IntN(4) == 0 && total < commits {
			continue
		}
		var ss []driver.Settlement
		retried := map[string]bool{}
		for _, d := range held {
			stream := d.Message.Stream
			if random.IntN(6) == 0 && total < commits {
				retried[stream] = true
			}
			s := driver.Settlement{ID: d.ID, Retry: retried[stream]}
			if s.Retry && random.IntN(2) == 0 {
				s.After = time.Minute
			}
			if !s.Retry {
				done[stream] = max(done[stream], d.Message.SequenceNr)
				settled[sequences[key(d.Message)]] = true
			}
			ss = append(ss, s)
		}
		held = nil
		random.Shuffle(len(ss), func(i, j int) { ss[i], ss[j] = ss[j], ss[i] })
		if err := c.Settle(t.Context(), ss); err != nil {
			t.Fatalf("%s: %v", about, err)
		}
		at, err := positions.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		settledUpTo(t, at, feed, settled, about)
		clock.Advance(20 * time.Second)
		if len(settled) == commits {
			break
		}
	}
	if stripped == 0 {
		t.Logf("%s: all commits travelled along", about)
	}
	// All of it is settled: a new process is given nothing, and knows nothing lost.
	feed.calm = true
	c = open()
	for range 50 {
		b, err := c.Receive(t.Context(), 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range b.Deliveries { // settled, but behind one that was not
			if !settled[sequences[key(d.Message)]] {
				t.Fatalf("%s: %s was never written", about, key(d.Message))
			}
			if err := c.Settle(t.Context(), []driver.Settlement{{ID: d.ID}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	at, err := positions.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for id, s := range feed.byID {
		if s.closed && at[id] != streams.End {
			t.Errorf("%s: the position in the closed shard %s is %q", about, id, at[id])
		}
	}
}

// What is older than 24 hours is gone: it is told, and what is left is read.
func TestTrimmedRecordsAreToldAndTheRestIsRead(t *testing.T) {
	t.Parallel()
	feed := newShards(rand.New(rand.NewPCG(1, 1)))
	feed.calm = true
	client := awstest.DynamoDB(t).Clients(awstest.Transport()).DynamoDB
	table := awstest.Stack() + "-positions"
	createPositions(t.Context(), t, client, table)
	var lost []string
	open := func() *eventcollector.Stream {
		c, err := eventcollector.OpenStream(client, feed, "table", table,
			driver.CollectorSpec{Consumer: "Test.Consumer", Source: driver.Source{Log: "Test.Log"}},
			&eventcollector.StreamOptions{Interval: -1, Lost: func(shard, _ string) { lost = append(lost, shard) }})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	drain := func(c *eventcollector.Stream, n int) (got []uint64) {
		for range 100 {
			b, err := c.Receive(t.Context(), 1)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range b.Deliveries {
				got = append(got, d.Message.SequenceNr)
				if err := c.Settle(t.Context(), []driver.Settlement{{ID: d.ID}}); err != nil {
					t.Fatal(err)
				}
			}
			if len(got) == n {
				return got
			}
		}
		t.Fatalf("got %v, want %d", got, n)
		return nil
	}
	for n := range uint64(10) {
		feed.put("s0", n+1)
	}
	drain(open(), 3)
	feed.shards[0].trimmed = 6
	if got := drain(open(), 4); !slices.Equal(got, []uint64{7, 8, 9, 10}) || !slices.Equal(lost, []string{"shard-000"}) {
		t.Errorf("got the commits %v and the loss of %v, want the last four and of shard-000", got, lost)
	}
	// A shard that is gone with its rest is told as well; one that was read is not.
	feed.shards[0].closed = true
	feed.add("shard-000", 0)
	feed.put("s0", 11)
	lost = nil
	c := open()
	drain(c, 1)
	feed.gone["shard-000"] = true
	feed.put("s0", 12)
	feed.put("s0", 13)
	drain(c, 1)
	feed.shards[2].closed = true
	feed.add("shard-002", 0)
	feed.put("s0", 14)
	feed.gone["shard-002"] = true
	if got := drain(open(), 1); got[0] != 14 || !slices.Equal(lost, []string{"shard-002"}) {
		t.Errorf("got the commit %v and the loss of %v, want 14 and of shard-002", got, lost)
	}
	positions := streams.Positions{Client: client, Table: table, Consumer: "Test.Consumer@Test.Log"}
	at, err := positions.Load(t.Context())
	if last := at["shard-002"]; err != nil || at["shard-000"] != "" || last != "" && last != streams.End {
		t.Errorf("the positions are %v and the error is %v, want none in shards that are gone", at, err)
	}
}

// A position never goes back, whoever writes it.
func TestPositionsOnlyMoveOn(t *testing.T) {
	t.Parallel()
	client := awstest.DynamoDB(t).Clients(awstest.Transport()).DynamoDB
	table := awstest.Stack() + "-positions"
	createPositions(t.Context(), t, client, table)
	p := streams.Positions{Client: client, Table: table, Consumer: "c"}
	for _, step := range []struct{ save, want string }{
		{"000000000000000000009", "000000000000000000009"},
		{"000000000000000000010", "000000000000000000010"},
		{"000000000000000000002", "000000000000000000010"},
		{"1000000000000000000000", "1000000000000000000000"}, // a digit more
		{"999999999999999999999", "1000000000000000000000"},
		{streams.End, streams.End},
		{"9000000000000000000000", streams.End},
	} {
		if err := p.Save(t.Context(), "shard", step.save); err != nil {
			t.Fatal(err)
		}
		at, err := p.Load(t.Context())
		if err != nil || at["shard"] != step.want {
			t.Errorf("after %s the position is %s, want %s, and the error is %v", step.save, at["shard"], step.want, err)
		}
	}
}

// Whatever fails on the way, a commit that was acknowledged is handed out.
func TestStreamHandsOutEverythingUnderFaults(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	e := awstest.DynamoDB(t)
	faults := awstest.NewFaults(awstest.Transport(), seed,
		awstest.Rule{Fault: awstest.Throttle, Probability: 0.1}, awstest.Rule{Fault: awstest.Internal, Probability: 0.05},
		awstest.Rule{Fault: awstest.InternalAfter, Probability: 0.05}, awstest.Rule{Fault: awstest.ResetAfter, Probability: 0.05},
		awstest.Rule{Fault: awstest.TimeoutAfter, Probability: 0.05}, awstest.Rule{Fault: awstest.Reset, Probability: 0.05},
	)
	s := newStore(t, e)
	log, err := s.open(e.Clients(awstest.Transport())).OpenEventLog(t.Context(), "Test.Log")
	if err != nil {
		t.Fatal(err)
	}
	const commits = 60
	for n := range uint64(commits) {
		c := driver.Commit{
			Stream: "s" + strconv.FormatUint(n%5, 10), SequenceNr: n/5 + 1,
			Events:   []driver.Event{{Type: "Happened", Version: 1, Data: json.RawMessage(`{}`)}},
			Commands: []driver.AnsweredCommand{{Meta: driver.Meta{ID: "c"}, EventCount: 1}},
		}
		if err := log.Append(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	seen, last := map[string]bool{}, map[string]uint64{}
	for round := 0; len(seen) < commits || round < 15; round++ {
		if round == 60 {
			t.Fatalf("seed %d: %d of %d came", seed, len(seen), commits)
		}
		c, err := s.open(e.Clients(faults)).OpenEventCollector(t.Context(), driver.CollectorSpec{Consumer: "Test.Consumer", Source: driver.Source{Log: "Test.Log"}})
		if err != nil {
			t.Fatal(err)
		}
		for range 30 {
			b, err := c.Receive(t.Context(), 3)
			if err != nil && !errors.Is(err, driver.ErrThrottled) && !errors.Is(err, driver.ErrUnavailable) {
				t.Fatalf("seed %d: %v", seed, err)
			}
			var ss []driver.Settlement
			for _, d := range b.Deliveries {
				if n := d.Message.SequenceNr; n > last[d.Message.Stream]+1 {
					t.Fatalf("seed %d: commit %d of %s came after %d", seed, n, d.Message.Stream, last[d.Message.Stream])
				}
				last[d.Message.Stream] = max(last[d.Message.Stream], d.Message.SequenceNr)
				seen[fmt.Sprint(d.Message.Stream, d.Message.SequenceNr)] = true
				ss = append(ss, driver.Settlement{ID: d.ID})
			}
			if err := c.Settle(t.Context(), ss); err != nil && !errors.Is(err, driver.ErrThrottled) && !errors.Is(err, driver.ErrUnavailable) {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
	}
	if n := faults.Injected(); len(n) < 4 {
		t.Errorf("seed %d: only %v struck", seed, n)
	}
}
