// Package streams reads the stream of a DynamoDB table: its shards, parents
// before their children, and what a consumer has read of them. In Lambda the
// event source mapping does this; a [Reader] is for processes elsewhere.
//
// A stream keeps its records for 24 hours, in shards that are closed after some
// hours, or when their partition splits, and go on in children. Records of one
// item are in order, those of different items only where they share a shard.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Streams.html
package streams

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	streamtypes "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"

	"github.com/reventless-go/reventless/driver"
)

// API is what is asked of DynamoDB Streams.
type API interface {
	ListStreams(ctx context.Context, in *dynamodbstreams.ListStreamsInput, opts ...func(*dynamodbstreams.Options)) (*dynamodbstreams.ListStreamsOutput, error)
	DescribeStream(ctx context.Context, in *dynamodbstreams.DescribeStreamInput, opts ...func(*dynamodbstreams.Options)) (*dynamodbstreams.DescribeStreamOutput, error)
	GetShardIterator(ctx context.Context, in *dynamodbstreams.GetShardIteratorInput, opts ...func(*dynamodbstreams.Options)) (*dynamodbstreams.GetShardIteratorOutput, error)
	GetRecords(ctx context.Context, in *dynamodbstreams.GetRecordsInput, opts ...func(*dynamodbstreams.Options)) (*dynamodbstreams.GetRecordsOutput, error)
}

var _ API = (*dynamodbstreams.Client)(nil)

// ErrLost is the error of a reader from now on that can no longer tell what
// happened since it began. It is always with [driver.ErrUnavailable].
var ErrLost = errors.New("records may have been missed")

// How the time between two polls is stretched.
const (
	listings  = 40 // until the shards are listed anew
	relisting = 4  // where a shard ended and its children are not known
	maxWaits  = 10 // for a shard that is there to be listed
)

// skew is how far clocks are apart at most: DynamoDB refuses requests beyond it.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html
const skew = 5 * time.Minute

// Reader reads all shards of one table's stream. It is not for concurrent use.
type Reader struct {
	// API and Table say where.
	API   API
	Table string
	// Interval is how long a shard rests that had nothing. The listing of the
	// shards rests 40 times as long.
	Interval time.Duration
	// Now is the clock of Interval.
	Now func() time.Time
	// After returns the position behind which a shard is read that is met for the
	// first time: a sequence number, empty for its begin, or [End].
	After func(shard string) string
	// Lost is told that a shard does no longer have all that is behind a position
	// to which it was read.
	Lost func(shard, after string)

	arn     string
	shards  map[string]*shard
	order   []*shard // as they were met
	listed  time.Time
	relist  bool
	listing map[string]bool // the last one
}

// shard is what the reader knows of a shard.
type shard struct {
	arn, id, parent string
	after           string    // it was read up to here
	latest          bool      // nothing was read yet, and it is read from iterator on only
	since           time.Time // records from before are not told
	iterator        string
	rest            time.Time // no sooner is it read again
	ended           bool
	children        bool // some are known
	waits           int  // how many listings did not have it, though it is there
	known           bool // it was listed
}

// End is the position behind all of a shard that is closed.
const End = "end"

// Latest makes the reader begin with what happens from now on.
func (r *Reader) Latest(ctx context.Context) error {
	began := r.Now()
	found, err := r.describe(ctx)
	if err != nil {
		return err
	}
	r.shards, r.order, r.listing = map[string]*shard{}, nil, map[string]bool{}
	for _, f := range found {
		s := r.meet(aws.ToString(f.ShardId), aws.ToString(f.ParentShardId))
		s.ended = f.SequenceNumberRange != nil && f.SequenceNumberRange.EndingSequenceNumber != nil
		r.listing[s.id], s.known = true, true
	}
	for _, s := range r.order {
		if p := s.parent; p != "" && r.shards[p] == nil {
			r.meet(p, "").ended = true
		}
		if p := r.shards[s.parent]; p != nil {
			p.children = true
		}
	}
	for _, s := range r.order {
		if s.ended {
			continue
		}
		s.latest, s.since = true, began.Add(-skew)
		out, err := r.API.GetShardIterator(ctx, &dynamodbstreams.GetShardIteratorInput{
			StreamArn: &s.arn, ShardId: &s.id, ShardIteratorType: streamtypes.ShardIteratorTypeLatest,
		})
		if err != nil {
			return fmt.Errorf("shard %s: %w", s.id, classify(err))
		}
		if s.iterator = aws.ToString(out.ShardIterator); s.iterator == "" {
			s.ended = true
		}
	}
	r.listed = r.Now()
	return nil
}

// meet adds a shard.
func (r *Reader) meet(id, parent string) *shard {
	s := &shard{arn: r.arn, id: id, parent: parent}
	r.shards[id] = s
	r.order = append(r.order, s)
	return s
}

// Read reads every shard once whose time has come, and hands each page to took
// before it goes on behind it. What is read at the end of a shard is ended. more
// is true when there is reason to read again at once. An error of one shard does
// not keep the others from being read.
func (r *Reader) Read(ctx context.Context, took func(shard string, page []streamtypes.Record, ended bool)) (more bool, err error) {
	now := r.Now()
	var errs []error
	if err := r.list(ctx, now); err != nil {
		if r.shards == nil {
			return false, err
		}
		errs = append(errs, err)
	}
	for i := 0; i < len(r.order); i++ { // grows
		s := r.order[i]
		if s.ended || s.rest.After(now) || !r.ready(s) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if wait, err := r.unlisted(ctx, s); err != nil || wait {
			if err != nil {
				errs = append(errs, fmt.Errorf("shard %s: %w", s.id, err))
			}
			continue
		}
		n, err := r.read(ctx, s, took)
		if err != nil {
			errs = append(errs, fmt.Errorf("shard %s: %w", s.id, err))
		}
		if n > 0 || s.ended {
			more = true
		} else {
			s.rest = now.Add(r.Interval)
		}
	}
	return more, errors.Join(errs...)
}

// ready reports whether what is before a shard was read: of its parent and of all
// before that, for the parent may be settled before what it follows on.
func (r *Reader) ready(s *shard) bool {
	if s.parent == "" {
		return true
	}
	p := r.shards[s.parent]
	if p == nil {
		// A listing need not have it yet, or not any more. Who asks for it hears.
		// Where it was read to the end before it is read again, for its own parent,
		// which need not have been, is not known yet.
		p = r.meet(s.parent, "")
		if after := r.position(p.id); after != End {
			p.after = after
		}
	}
	p.children = true
	return p.ended && r.ready(p)
}

// unlisted reports whether a shard has to wait because nothing but a child told of
// it, and a parent of its own may be about to be listed.
func (r *Reader) unlisted(ctx context.Context, s *shard) (wait bool, err error) {
	if s.known || s.latest || s.waits >= maxWaits {
		return false, nil
	}
	if s.iterator == "" {
		if err := r.open(ctx, s); err != nil {
			return false, err
		}
	}
	return !s.ended, nil
}

func (r *Reader) position(shard string) string {
	if r.After == nil {
		return ""
	}
	return r.After(shard)
}

// list looks for shards that are new.
func (r *Reader) list(ctx context.Context, now time.Time) error {
	due := r.shards == nil || !now.Before(r.listed.Add(listings*r.Interval))
	if !due && (r.relist || !now.Before(r.listed.Add(relisting*r.Interval))) {
		for _, s := range r.order {
			due = due || s.ended && !s.children && r.listing[s.id] || !s.ended && !r.listing[s.id]
		}
	}
	if !due {
		return nil
	}
	r.listed, r.relist = now, false
	found, err := r.describe(ctx)
	if err != nil {
		return err
	}
	if r.shards == nil {
		r.shards = map[string]*shard{}
	}
	r.listing = make(map[string]bool, len(found))
	for _, f := range found {
		id, parent := aws.ToString(f.ShardId), aws.ToString(f.ParentShardId)
		r.listing[id] = true
		s := r.shards[id]
		if s == nil {
			s = r.meet(id, parent)
			s.after = r.position(id)
			s.ended = s.after == End
		}
		s.known = true
		s.parent = parent // of one that was met as a parent it was not known
		if p := r.shards[parent]; p != nil {
			p.children = true
		}
	}
	// Those that nobody lists any more, and nobody has to wait for, are forgotten.
	kept := r.order[:0]
	for _, s := range r.order {
		if !r.listing[s.id] {
			s.waits++
		}
		if s.ended && !r.listing[s.id] && !r.isParent(s.id) {
			delete(r.shards, s.id)
			continue
		}
		kept = append(kept, s)
	}
	clear(r.order[len(kept):])
	r.order = kept
	return nil
}

func (r *Reader) isParent(id string) bool {
	for _, s := range r.order {
		if s.parent == id {
			return true
		}
	}
	return false
}

// Listed reports whether the stream has a shard, or may have it.
func (r *Reader) Listed(shard string) bool {
	return r.listing == nil || r.listing[shard] || r.shards[shard] != nil
}

// describe returns all shards of the table's newest stream. One that was switched
// off and on again is another: what was not read of the old one is in the table.
func (r *Reader) describe(ctx context.Context) ([]streamtypes.Shard, error) {
	if r.arn == "" {
		arn, err := r.find(ctx)
		if err != nil {
			return nil, err
		}
		r.arn = arn
	}
	var shards []streamtypes.Shard
	in := &dynamodbstreams.DescribeStreamInput{StreamArn: &r.arn}
	for {
		out, err := r.API.DescribeStream(ctx, in)
		if err != nil {
			if isMissing(err) {
				r.arn = ""
			}
			return nil, classify(err)
		}
		shards = append(shards, out.StreamDescription.Shards...)
		if aws.ToString(out.StreamDescription.LastEvaluatedShardId) == "" {
			if out.StreamDescription.StreamStatus == streamtypes.StreamStatusDisabled {
				r.arn = "" // there may be another by the next time
			}
			return shards, nil
		}
		in.ExclusiveStartShardId = out.StreamDescription.LastEvaluatedShardId
	}
}

// find returns the table's newest stream: labels are times.
func (r *Reader) find(ctx context.Context) (string, error) {
	in := &dynamodbstreams.ListStreamsInput{TableName: &r.Table}
	var arn, label string
	for {
		out, err := r.API.ListStreams(ctx, in)
		if err != nil {
			return "", classify(err)
		}
		for _, s := range out.Streams {
			if l := aws.ToString(s.StreamLabel); arn == "" || l > label {
				arn, label = aws.ToString(s.StreamArn), l
			}
		}
		if aws.ToString(out.LastEvaluatedStreamArn) == "" {
			break
		}
		in.ExclusiveStartStreamArn = out.LastEvaluatedStreamArn
	}
	if arn == "" {
		return "", fmt.Errorf("the table %s has no stream: %w", r.Table, driver.ErrNotFound)
	}
	return arn, nil
}

// read hands over one page of a shard.
func (r *Reader) read(ctx context.Context, s *shard, took func(string, []streamtypes.Record, bool)) (int, error) {
	for attempt := 1; ; attempt++ {
		if s.iterator == "" {
			if err := r.open(ctx, s); err != nil {
				return 0, err
			}
		}
		if s.ended {
			took(s.id, nil, true)
			return 0, nil
		}
		out, err := r.API.GetRecords(ctx, &dynamodbstreams.GetRecordsInput{ShardIterator: &s.iterator})
		switch {
		case err == nil:
			page := s.unread(out.Records)
			s.iterator = aws.ToString(out.NextShardIterator)
			s.ended = s.iterator == ""
			r.relist = r.relist || s.ended
			if len(page) > 0 || s.ended {
				took(s.id, page, s.ended)
			}
			return len(out.Records), nil
		case isExpired(err) && !s.latest && attempt < 3:
			s.iterator = "" // they last 15 minutes
		case isExpired(err) && s.latest:
			return 0, fmt.Errorf("%w: %w: %w", driver.ErrUnavailable, ErrLost, err)
		case isTrimmed(err) && attempt < 3:
			if err := r.trimmed(ctx, s); err != nil {
				return 0, err
			}
		default:
			return 0, classify(err)
		}
	}
}

// unread returns the records of a page that were not read before, and moves on
// behind them.
func (s *shard) unread(page []streamtypes.Record) []streamtypes.Record {
	var fresh []streamtypes.Record
	for _, record := range page {
		if d := record.Dynamodb; d != nil && d.SequenceNumber != nil {
			if s.after != "" && !Before(s.after, *d.SequenceNumber) {
				continue
			}
			s.after, s.latest = *d.SequenceNumber, false
			if at := d.ApproximateCreationDateTime; at != nil && at.Before(s.since) {
				continue
			}
		}
		fresh = append(fresh, record)
	}
	return fresh
}

// open gets an iterator that stands where the shard was read up to.
func (r *Reader) open(ctx context.Context, s *shard) error {
	in := &dynamodbstreams.GetShardIteratorInput{StreamArn: &s.arn, ShardId: &s.id, ShardIteratorType: streamtypes.ShardIteratorTypeTrimHorizon}
	if s.after != "" {
		in.ShardIteratorType, in.SequenceNumber = streamtypes.ShardIteratorTypeAfterSequenceNumber, &s.after
	}
	out, err := r.API.GetShardIterator(ctx, in)
	switch {
	case err == nil:
		s.iterator = aws.ToString(out.ShardIterator)
		s.ended = s.iterator == ""
		return nil
	case isTrimmed(err):
		return r.trimmed(ctx, s)
	case isMissing(err) && !r.listing[s.id]:
		// It is gone with all that it had: of one that was never met nobody can say
		// whether that was anything.
		if s.after != "" {
			r.lost(s)
		}
		s.ended = true
		return nil
	}
	return classify(err)
}

// trimmed goes on with what is left of a shard: the records behind its position
// are older than 24 hours. Where it was to be read from now on nothing is lost, for
// no iterator is older than 15 minutes; DynamoDB Local answers so for the first
// record of every shard that was empty when the iterator was made.
// https://github.com/aws/aws-sdk-java/issues/2923
func (r *Reader) trimmed(ctx context.Context, s *shard) error {
	if s.after != "" {
		r.lost(s)
	}
	out, err := r.API.GetShardIterator(ctx, &dynamodbstreams.GetShardIteratorInput{
		StreamArn: &s.arn, ShardId: &s.id, ShardIteratorType: streamtypes.ShardIteratorTypeTrimHorizon,
	})
	if err != nil {
		return classify(err)
	}
	s.iterator = aws.ToString(out.ShardIterator)
	s.ended = s.iterator == ""
	return nil
}

func (r *Reader) lost(s *shard) {
	if r.Lost != nil {
		r.Lost(s.id, s.after)
	}
	s.after = ""
}
