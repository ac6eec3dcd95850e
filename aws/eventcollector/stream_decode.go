package eventcollector

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/eventlog"
	"github.com/reventless-go/reventless/aws/internal/streams"
	"github.com/reventless-go/reventless/driver"
)

// DecodeStream returns the record of a change in the stream of a log's table. A change that
// is not a new commit is a record that cannot be decoded: commits are neither changed nor
// deleted.
func DecodeStream(c streams.Change, log string) driver.Record {
	r := driver.Record{Log: log}
	if id, ok := c.Keys["id"].(*types.AttributeValueMemberS); ok {
		r.Stream = id.Value
	}
	if n, ok := c.Keys["sequenceNr"].(*types.AttributeValueMemberN); ok {
		r.SequenceNr, _ = strconv.ParseUint(n.Value, 10, 64) // 0 is invalid
	}
	commit, err := commitOf(c)
	if err != nil && c.Err == nil && c.Kind == streams.Insert && driver.CheckID("stream", r.Stream) == nil && r.SequenceNr > 0 {
		// The record does not contain the commit, or a damaged one. The consumer reads it
		// from the log, and meets the damage at its place in the stream.
		return r
	}
	if err != nil {
		r.Raw, r.Err = slices.Clone(c.Raw()), err
		return r
	}
	r.Stream, r.SequenceNr, r.Commit = commit.Stream, commit.SequenceNr, &commit
	return r
}

func commitOf(c streams.Change) (driver.Commit, error) {
	fail := func(err error) (driver.Commit, error) {
		return driver.Commit{}, fmt.Errorf("eventcollector: stream record %.40q: %w", c.Sequence, err)
	}
	switch {
	case c.Err != nil:
		return fail(c.Err)
	case c.Kind != streams.Insert:
		return fail(fmt.Errorf("%.20q of a commit: %w", c.Kind, driver.ErrInvalid))
	case c.New == nil:
		return fail(fmt.Errorf("no image of the commit: %w", driver.ErrInvalid))
	}
	commit, err := eventlog.Decode(c.New)
	if err == nil {
		err = driver.CheckCommit(commit)
	}
	if err != nil {
		return fail(err)
	}
	commit.Snapshot = nil // only readers of the log use it
	return commit, nil
}
