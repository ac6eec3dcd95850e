package statetopic_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	streamtypes "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"

	"github.com/reventless-go/reventless/aws/statetopic"
	"github.com/reventless-go/reventless/driver"
)

// stream is a stream of one line of shards.
type stream struct {
	mu     sync.Mutex
	shards [][]streamtypes.Record // all but the last are closed
	random *rand.Rand             // nil: nothing goes wrong
	fails  error                  // all calls do
	calls  int
	rows   int
}

func (s *stream) put(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows++
	last := &s.shards[len(s.shards)-1]
	*last = append(*last, added(id, s.rows, time.Now()))
}

func (s *stream) split() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shards = append(s.shards, nil)
}

func (s *stream) fault() error {
	s.calls++
	if s.fails != nil || s.random == nil {
		return s.fails
	}
	switch s.random.IntN(10) {
	case 0:
		return &streamtypes.LimitExceededException{}
	case 1:
		return &streamtypes.InternalServerError{}
	}
	return nil
}

func (s *stream) ListStreams(context.Context, *dynamodbstreams.ListStreamsInput, ...func(*dynamodbstreams.Options)) (*dynamodbstreams.ListStreamsOutput, error) {
	return &dynamodbstreams.ListStreamsOutput{Streams: []streamtypes.Stream{{StreamArn: aws.String("arn"), StreamLabel: aws.String("1")}}}, nil
}

func (s *stream) DescribeStream(context.Context, *dynamodbstreams.DescribeStreamInput, ...func(*dynamodbstreams.Options)) (*dynamodbstreams.DescribeStreamOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.fault(); err != nil {
		return nil, err
	}
	d := &streamtypes.StreamDescription{}
	for i := range s.shards {
		shard := streamtypes.Shard{ShardId: aws.String(strconv.Itoa(i)), SequenceNumberRange: &streamtypes.SequenceNumberRange{}}
		if i > 0 {
			shard.ParentShardId = aws.String(strconv.Itoa(i - 1))
		}
		if i < len(s.shards)-1 {
			shard.SequenceNumberRange.EndingSequenceNumber = aws.String("9")
		}
		d.Shards = append(d.Shards, shard)
	}
	return &dynamodbstreams.DescribeStreamOutput{StreamDescription: d}, nil
}

func (s *stream) GetShardIterator(_ context.Context, in *dynamodbstreams.GetShardIteratorInput, _ ...func(*dynamodbstreams.Options)) (*dynamodbstreams.GetShardIteratorOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.fault(); err != nil {
		return nil, err
	}
	i, err := strconv.Atoi(*in.ShardId)
	if err != nil {
		return nil, err
	}
	at := 0
	switch {
	case in.ShardIteratorType == streamtypes.ShardIteratorTypeLatest:
		at = len(s.shards[i])
	case in.SequenceNumber != nil:
		for at < len(s.shards[i]) && *s.shards[i][at].Dynamodb.SequenceNumber <= *in.SequenceNumber {
			at++
		}
	}
	return &dynamodbstreams.GetShardIteratorOutput{ShardIterator: aws.String(fmt.Sprintf("%d|%d", i, at))}, nil
}

func (s *stream) GetRecords(_ context.Context, in *dynamodbstreams.GetRecordsInput, _ ...func(*dynamodbstreams.Options)) (*dynamodbstreams.GetRecordsOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.fault(); err != nil {
		return nil, err
	}
	shard, place, _ := strings.Cut(*in.ShardIterator, "|")
	i, err := strconv.Atoi(shard)
	if err != nil {
		return nil, err
	}
	at, err := strconv.Atoi(place)
	if err != nil {
		return nil, err
	}
	to := len(s.shards[i])
	if s.random != nil {
		// An iterator ends by its time, but not before it was used.
		if at > 0 && s.random.IntN(10) == 0 {
			return nil, &streamtypes.ExpiredIteratorException{}
		}
		to = min(to, at+s.random.IntN(4))
	}
	out := &dynamodbstreams.GetRecordsOutput{Records: s.shards[i][at:to]}
	if to < len(s.shards[i]) || i == len(s.shards)-1 {
		out.NextShardIterator = aws.String(fmt.Sprintf("%d|%d", i, to))
	}
	return out, nil
}

// Shards split and calls fail: what was written after a subscription was made is
// told, once and in order, and nothing from before.
func TestSplitShardsAreToldWhole(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(seed, 0))
		// The first shard is empty: of it every iterator is one from the begin.
		s := &stream{shards: [][]streamtypes.Record{nil, nil}, random: rand.New(rand.NewPCG(seed, 1))}
		topic := statetopic.Open(s, "table", plain, nil)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var seq iter.Seq2[driver.StateChange, error]
		for { // the calls that it makes fail, too, now and then all of its attempts
			var err error
			if seq, err = topic.Subscribe(ctx); err == nil {
				break
			}
			if !errors.Is(err, driver.ErrThrottled) && !errors.Is(err, driver.ErrUnavailable) {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		const rows = 500
		// Whoever writes may still sleep when the last row has come.
		var writer sync.WaitGroup
		defer writer.Wait()
		writer.Go(func() {
			for n := range rows {
				s.put(strconv.Itoa(n))
				if random.IntN(20) == 0 {
					s.split()
				}
				if random.IntN(10) == 0 {
					time.Sleep(time.Duration(random.IntN(2000)) * time.Millisecond) //nolint:forbidigo // of the bubble's clock
				}
			}
		})
		n := 0
		for c, err := range seq {
			if err != nil || c.ID != strconv.Itoa(n) {
				t.Fatalf("seed %d: got the row %s and the error %v, want row %d", seed, c.ID, err, n)
			}
			if n++; n == rows {
				cancel()
			}
		}
		if n != rows {
			t.Errorf("seed %d: %d rows came, want %d", seed, n, rows)
		}
	})
}

func TestNothingIsToldFromBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &stream{shards: [][]streamtypes.Record{nil}}
		s.put("before")
		s.split()
		s.put("before, too")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		seq, err := statetopic.Open(s, "table", plain, nil).Subscribe(ctx)
		if err != nil {
			t.Fatal(err)
		}
		s.put("after")
		for c, err := range seq {
			if err != nil || c.ID != "after" {
				t.Errorf("got the row %q and the error %v", c.ID, err)
			}
			break
		}
	})
}

// Whoever reads cannot say what it missed once its place is gone.
func TestSubscribersEndWhenTheirPlaceIsGone(t *testing.T) {
	t.Parallel()
	for what, err := range map[string]error{
		"an iterator that ended": &streamtypes.ExpiredIteratorException{},
		"a stream that is gone":  &streamtypes.ResourceNotFoundException{},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &stream{shards: [][]streamtypes.Record{nil}}
			topic := statetopic.Open(s, "table", plain, nil)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			one, _ := topic.Subscribe(ctx)
			two, _ := topic.Subscribe(ctx)
			synctest.Wait()
			s.mu.Lock()
			s.fails = err
			s.mu.Unlock()
			want := driver.ErrUnavailable
			var missing *streamtypes.ResourceNotFoundException
			if errors.As(err, &missing) {
				want = driver.ErrNotFound
			}
			for range 2 {
				for _, got := range one {
					if !errors.Is(got, want) {
						t.Errorf("%s: the sequence ended with %v, want %v", what, got, want)
					}
				}
				one = two
			}
			// The next one begins anew.
			s.mu.Lock()
			s.fails = nil
			s.mu.Unlock()
			again, err := topic.Subscribe(ctx)
			if err != nil {
				t.Fatal(err)
			}
			s.put("a")
			for c, err := range again {
				if err != nil || c.ID != "a" {
					t.Errorf("%s: a new subscriber got %q and %v", what, c.ID, err)
				}
				break
			}
		})
	}
}

// Any number of subscribers read a shard four times a second, none do not at all.
func TestSubscribersShareAReader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &stream{shards: [][]streamtypes.Record{nil}}
		topic := statetopic.Open(s, "table", plain, nil)
		ctx, cancel := context.WithCancel(t.Context())
		for range 10 {
			if _, err := topic.Subscribe(ctx); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(100 * time.Second) //nolint:forbidigo // of the bubble's clock
		s.mu.Lock()
		if s.calls < 300 || s.calls > 420 {
			t.Errorf("%d calls in 100 seconds, want about 400", s.calls)
		}
		s.mu.Unlock()
		cancel()
		synctest.Wait()
		s.calls = 0
		time.Sleep(100 * time.Second) //nolint:forbidigo // of the bubble's clock
		if s.calls != 0 {
			t.Errorf("%d calls without a subscriber", s.calls)
		}
	})
}
