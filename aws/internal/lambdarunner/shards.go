package lambdarunner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	streamtypes "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"
)

// listings is the number of polls after which the shards of a stream are listed again.
const listings = 40

// shards reads all shards of one stream from their start, each parent before its
// children. It is not safe for concurrent use.
type shards struct {
	api   *dynamodbstreams.Client
	table string
	arn   string
	label string

	polls int
	order []*shard // in the order of the listing
}

type shard struct {
	id, parent string
	after      string // sequence number of the last record that was read
	iterator   string
	ended      bool
}

// find looks up the newest stream of the table.
func (s *shards) find(ctx context.Context) error {
	out, err := s.api.ListStreams(ctx, &dynamodbstreams.ListStreamsInput{TableName: &s.table})
	if err != nil {
		return err
	}
	if len(out.Streams) == 0 {
		return errors.New("the table has no stream")
	}
	newest := slices.MaxFunc(out.Streams, func(a, b streamtypes.Stream) int {
		return cmp.Compare(aws.ToString(a.StreamLabel), aws.ToString(b.StreamLabel))
	})
	s.arn, s.label = aws.ToString(newest.StreamArn), aws.ToString(newest.StreamLabel)
	return nil
}

// read reads one page of every shard and passes its records to took. more is true if the
// caller should read again immediately.
func (s *shards) read(ctx context.Context, took func([]streamtypes.Record)) (more bool, err error) {
	if s.polls%listings == 0 {
		if err := s.list(ctx); err != nil {
			return false, err
		}
	}
	s.polls++
	var errs []error
	for _, sh := range s.order {
		if sh.ended || s.waits(sh) {
			continue
		}
		n, err := s.page(ctx, sh, took)
		if err != nil {
			errs = append(errs, fmt.Errorf("shard %s: %w", sh.id, err))
		}
		if sh.ended {
			s.polls = 0 // list its children
		}
		more = more || n > 0 || sh.ended
	}
	return more, errors.Join(errs...)
}

// waits reports whether the parent of a shard has unread records.
func (s *shards) waits(sh *shard) bool {
	return slices.ContainsFunc(s.order, func(p *shard) bool { return p.id == sh.parent && !p.ended })
}

// list adds the new shards.
func (s *shards) list(ctx context.Context) error {
	in := &dynamodbstreams.DescribeStreamInput{StreamArn: &s.arn}
	for {
		out, err := s.api.DescribeStream(ctx, in)
		if err != nil {
			return err
		}
		for _, found := range out.StreamDescription.Shards {
			id := aws.ToString(found.ShardId)
			if !slices.ContainsFunc(s.order, func(sh *shard) bool { return sh.id == id }) {
				s.order = append(s.order, &shard{id: id, parent: aws.ToString(found.ParentShardId)})
			}
		}
		if in.ExclusiveStartShardId = out.StreamDescription.LastEvaluatedShardId; aws.ToString(in.ExclusiveStartShardId) == "" {
			return nil
		}
	}
}

// page reads one page of a shard and returns the number of its new records.
func (s *shards) page(ctx context.Context, sh *shard, took func([]streamtypes.Record)) (int, error) {
	if sh.iterator == "" {
		if err := s.open(ctx, sh); err != nil || sh.ended {
			return 0, err
		}
	}
	out, err := s.api.GetRecords(ctx, &dynamodbstreams.GetRecordsInput{ShardIterator: &sh.iterator})
	var expired *streamtypes.ExpiredIteratorException
	var trimmed *streamtypes.TrimmedDataAccessException
	if errors.As(err, &expired) || errors.As(err, &trimmed) {
		// An iterator expires after 15 minutes. DynamoDB Local also reports trimmed data
		// for the first record of a shard that was empty when the iterator was created.
		// https://github.com/aws/aws-sdk-java/issues/2923
		sh.iterator = ""
		return 1, nil // read again
	}
	if err != nil {
		return 0, err
	}
	fresh := slices.DeleteFunc(out.Records, func(r streamtypes.Record) bool {
		return r.Dynamodb == nil || !later(aws.ToString(r.Dynamodb.SequenceNumber), sh.after)
	})
	if len(fresh) > 0 {
		sh.after = aws.ToString(fresh[len(fresh)-1].Dynamodb.SequenceNumber)
		took(fresh)
	}
	sh.iterator = aws.ToString(out.NextShardIterator)
	sh.ended = sh.iterator == ""
	return len(fresh), nil
}

// open gets an iterator at the start of a shard. The caller skips the records that it has
// read.
func (s *shards) open(ctx context.Context, sh *shard) error {
	out, err := s.api.GetShardIterator(ctx, &dynamodbstreams.GetShardIteratorInput{
		StreamArn: &s.arn, ShardId: &sh.id, ShardIteratorType: streamtypes.ShardIteratorTypeTrimHorizon,
	})
	if err != nil {
		return err
	}
	sh.iterator = aws.ToString(out.ShardIterator)
	sh.ended = sh.iterator == ""
	return nil
}

// later reports whether a sequence number, of up to 40 digits, is greater than another.
func later(a, b string) bool {
	return len(a) > len(b) || len(a) == len(b) && a > b
}
