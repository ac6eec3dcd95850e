// Package eventlog is the event log on DynamoDB: one table for each aggregate, one
// item for each commit, written by one conditional put and never changed.
//
// The table has the partition key id (S), which is the stream, and the sort key
// sequenceNr (N). Its other attributes are those of [driver.StoredCommit]: at
// (nanoseconds since 1970), head, events, and, on commits with a snapshot, snapshot and
// state. Payloads are stored as strings, byte for byte.
package eventlog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/internal/dynamo"
	"github.com/reventless-go/reventless/driver"
)

// MaxCommitBytes is the maximum size of a commit with its snapshot, as an item.
const MaxCommitBytes = dynamo.MaxItemBytes

// backwards is the number of commits that one request of [Log.Load] reads. The last
// snapshot is usually within them: an aggregate stores one every 100 events by default.
const backwards = 128

// Log is the log of one aggregate. It keeps no state in memory, so any number of processes
// can use the same log.
type Log struct {
	client *dynamodb.Client
	table  string
	now    func() time.Time
	spent  func(operation string, c *types.ConsumedCapacity)
}

var _ driver.EventLog = (*Log)(nil)

// Options configure a [Log]. A nil field has its default.
type Options struct {
	// Now is the clock of Commit.RecordedAt. Nil is time.Now.
	Now func() time.Time
	// Spent is called after each successful request, with the name of the operation and
	// the capacity that it consumed.
	Spent func(operation string, c *types.ConsumedCapacity)
}

// Open returns the log in table. It sends no request: if the table is missing, the first
// call returns [driver.ErrUnavailable].
func Open(client *dynamodb.Client, table string, opts *Options) *Log {
	l := &Log{client: client, table: table, spent: func(string, *types.ConsumedCapacity) {}}
	l.now = time.Now
	if opts != nil && opts.Now != nil {
		l.now = opts.Now
	}
	if opts != nil && opts.Spent != nil {
		l.spent = opts.Spent
	}
	return l
}

// Append implements [driver.EventLog]. It sends one PutItem request. If the condition
// fails, the response contains the commit that has the sequence number, so that no read
// is necessary.
func (l *Log) Append(ctx context.Context, c driver.Commit) error {
	if err := l.append(ctx, c); err != nil {
		return fmt.Errorf("eventlog %s: append %d of %.100q: %w", l.table, c.SequenceNr, c.Stream, err)
	}
	return nil
}

func (l *Log) append(ctx context.Context, c driver.Commit) error {
	if err := driver.CheckCommit(c); err != nil {
		return err
	}
	c.RecordedAt = l.now()
	item, err := encode(c)
	if err != nil {
		return err
	}
	if size := dynamo.Size(item); size > MaxCommitBytes {
		return &driver.TooLargeError{What: "commit", Size: size, Limit: MaxCommitBytes}
	}
	out, err := l.client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: &l.table, Item: item,
		ConditionExpression:                 aws.String("attribute_not_exists(id)"),
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
		ReturnConsumedCapacity:              types.ReturnConsumedCapacityTotal,
	})
	var taken *types.ConditionalCheckFailedException
	switch {
	case errors.As(err, &taken) && len(taken.Item) == 0: // it does not say which commit won
		return fmt.Errorf("the response has no item: %w: %w", driver.ErrUnavailable, err)
	case errors.As(err, &taken):
		winner, err := l.decode(taken.Item)
		if err != nil {
			return fmt.Errorf("existing item: %w", err)
		}
		return &driver.ConflictError{Winner: winner}
	case err != nil:
		return dynamo.Classify(err)
	}
	l.spent("Append", out.ConsumedCapacity)
	return nil
}

// Read implements [driver.EventLog].
func (l *Log) Read(ctx context.Context, stream string, after, through uint64) iter.Seq2[driver.Commit, error] {
	return func(yield func(driver.Commit, error) bool) {
		in := l.query(stream)
		in.KeyConditionExpression = aws.String("id = :id AND sequenceNr > :after")
		in.ExpressionAttributeValues[":after"] = dynamo.Number(after)
		if through > 0 {
			if through <= after {
				return
			}
			in.KeyConditionExpression = aws.String("id = :id AND sequenceNr BETWEEN :first AND :through")
			delete(in.ExpressionAttributeValues, ":after")
			in.ExpressionAttributeValues[":first"], in.ExpressionAttributeValues[":through"] = dynamo.Number(after+1), dynamo.Number(through)
		}
		for c, err := range l.pages(ctx, in) {
			if err == nil && c.SequenceNr != after+1 {
				err = l.damaged(stream, after+1, fmt.Errorf("commit %d follows commit %d", c.SequenceNr, after))
			}
			if err != nil {
				yield(driver.Commit{}, fmt.Errorf("eventlog %s: read %.100q after %d: %w", l.table, stream, after, err))
				return
			}
			after = c.SequenceNr
			if !yield(c, nil) {
				return
			}
		}
	}
}

func (l *Log) query(stream string) *dynamodb.QueryInput {
	return &dynamodb.QueryInput{
		TableName: &l.table, ConsistentRead: aws.Bool(true),
		KeyConditionExpression:    aws.String("id = :id"),
		ExpressionAttributeValues: dynamo.Item{":id": dynamo.Text(stream)},
		ReturnConsumedCapacity:    types.ReturnConsumedCapacityTotal,
	}
}

// pages yields the commits of a query. An empty page may be followed
// by others.
func (l *Log) pages(ctx context.Context, in *dynamodb.QueryInput) iter.Seq2[driver.Commit, error] {
	return func(yield func(driver.Commit, error) bool) {
		for {
			out, err := l.client.Query(ctx, in)
			if err != nil {
				yield(driver.Commit{}, dynamo.Classify(err))
				return
			}
			l.spent("Query", out.ConsumedCapacity)
			for _, item := range out.Items {
				c, err := l.decode(item)
				if !yield(c, err) || err != nil {
					return
				}
			}
			if len(out.LastEvaluatedKey) == 0 {
				return
			}
			in.ExclusiveStartKey = out.LastEvaluatedKey
		}
	}
}

// Load implements [driver.EventLog]. It reads backwards to the last usable snapshot.
func (l *Log) Load(ctx context.Context, stream string, usable func(driver.SnapshotHead) bool) ([]driver.Commit, error) {
	in := l.query(stream)
	in.ScanIndexForward, in.Limit = aws.Bool(false), aws.Int32(backwards)
	var commits []driver.Commit
	found := false
	for c, err := range l.pages(ctx, in) {
		if err == nil && len(commits) > 0 && c.SequenceNr+1 != commits[len(commits)-1].SequenceNr {
			err = l.damaged(stream, c.SequenceNr+1, fmt.Errorf("commit %d follows commit %d", commits[len(commits)-1].SequenceNr, c.SequenceNr))
		}
		if err != nil {
			return nil, fmt.Errorf("eventlog %s: load %.100q: %w", l.table, stream, err)
		}
		commits = append(commits, c)
		if found = c.Snapshot != nil && usable(c.Snapshot.SnapshotHead); found {
			break
		}
	}
	slices.Reverse(commits)
	if n := len(commits); n > 0 && commits[0].SequenceNr != 1 && !found {
		return nil, fmt.Errorf("eventlog %s: load %.100q: %w", l.table, stream, l.damaged(stream, 1, fmt.Errorf("the stream begins with commit %d", commits[0].SequenceNr)))
	}
	return commits, nil
}

// Scan implements [driver.EventLog].
func (l *Log) Scan(ctx context.Context, segment, segments int) iter.Seq2[driver.Commit, error] {
	return func(yield func(driver.Commit, error) bool) {
		fail := func(err error) {
			yield(driver.Commit{}, fmt.Errorf("eventlog %s: scan %d of %d: %w", l.table, segment, segments, err))
		}
		if segments < 1 || segment < 0 || segment >= segments {
			fail(driver.ErrInvalid)
			return
		}
		in := &dynamodb.ScanInput{
			TableName: &l.table, ConsistentRead: aws.Bool(true), ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal,
			Segment: aws.Int32(int32(segment)), TotalSegments: aws.Int32(int32(segments)), //nolint:gosec // DynamoDB accepts at most a million segments
		}
		for {
			out, err := l.client.Scan(ctx, in)
			if err != nil {
				fail(dynamo.Classify(err))
				return
			}
			l.spent("Scan", out.ConsumedCapacity)
			for _, item := range out.Items {
				c, err := l.decode(item)
				var damage *driver.DamageError
				if err != nil && !errors.As(err, &damage) {
					fail(err)
					return
				}
				if !yield(c, err) {
					return
				}
			}
			if len(out.LastEvaluatedKey) == 0 {
				return
			}
			in.ExclusiveStartKey = out.LastEvaluatedKey
		}
	}
}

// encode returns the item of a commit.
func encode(c driver.Commit) (dynamo.Item, error) {
	r, err := driver.StoreCommit(c)
	if err != nil {
		return nil, err
	}
	item := dynamo.Item{
		"id": dynamo.Text(c.Stream), "sequenceNr": dynamo.Number(c.SequenceNr), "at": dynamo.Number(c.RecordedAt.UnixNano()),
		"head": dynamo.Text(r.Head), "events": dynamo.Text(r.Events),
	}
	if c.Snapshot != nil {
		item["snapshot"], item["state"] = dynamo.Text(r.Snapshot), dynamo.Text(r.State)
	}
	return item, nil
}

func (l *Log) damaged(stream string, sequenceNr uint64, cause error) error {
	return &driver.DamageError{Table: "commits", Name: l.table, Key: stream, SequenceNr: sequenceNr, Cause: cause}
}

// decode is [Decode] with the name of the table in the place of the damage.
func (l *Log) decode(item dynamo.Item) (driver.Commit, error) {
	c, err := Decode(item)
	var d *driver.DamageError
	for _, err := range []error{err, c.SnapshotErr} {
		if errors.As(err, &d) {
			d.Name = l.table
		}
	}
	return c, err
}

// Decode returns the commit of an item from a log's table or from the table's stream. The
// errors are those of [driver.StoredCommit.Commit].
func Decode(item map[string]types.AttributeValue) (driver.Commit, error) {
	r := dynamo.Read(item)
	stored := driver.StoredCommit{
		Stream: r.Text("id"), SequenceNr: r.Uint("sequenceNr"), Head: r.Text("head"), Events: r.Text("events"),
		RecordedAt: time.Unix(0, int64(r.Uint("at"))).UTC(), //nolint:gosec // it was written from an int64
	}
	if r.Has("snapshot") {
		stored.Snapshot, stored.State = r.Text("snapshot"), r.Text("state")
	}
	if err := r.Err(); err != nil {
		return driver.Commit{}, &driver.DamageError{Table: "commits", Key: stored.Stream, SequenceNr: stored.SequenceNr, Cause: err}
	}
	return stored.Commit()
}
