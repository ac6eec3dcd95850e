package eventcollector

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	streamtypes "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"

	"github.com/reventless-go/reventless/aws/eventlog"
	"github.com/reventless-go/reventless/aws/internal/streams"
	"github.com/reventless-go/reventless/driver"
)

// DecodeStream returns what a record of the stream of a log's table tells, as it was
// read by GetRecords. It is never nothing: what is no new commit comes as a record
// that could not be decoded, and commits are neither changed nor removed.
func DecodeStream(r streamtypes.Record, log string) driver.Record {
	return decodeChange(log, streams.FromSDK(r))
}

// DecodeStreamEvent does the same for one element of the Records of a Lambda event. The
// id is that by which a function reports that the record failed, its sequence
// number; it may be missing where the record could not be decoded.
func DecodeStreamEvent(text []byte, log string) (r driver.Record, id string) {
	c := streams.FromLambda(text)
	return decodeChange(log, c), c.Sequence
}

func decodeChange(log string, c streams.Change) driver.Record {
	r := driver.Record{Log: log}
	if id, ok := c.Keys["id"].(*types.AttributeValueMemberS); ok {
		r.Stream = id.Value
	}
	if n, ok := c.Keys["sequenceNr"].(*types.AttributeValueMemberN); ok {
		r.SequenceNr, _ = strconv.ParseUint(n.Value, 10, 64) // 0 is none
	}
	commit, err := commitOf(c)
	if err != nil && c.New == nil && c.Err == nil && c.Kind == streams.Insert && driver.CheckID("stream", r.Stream) == nil && r.SequenceNr > 0 {
		return r // the commit did not travel along
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
		return driver.Commit{}, fmt.Errorf("eventcollector: the stream's record %.40q: %w", c.Sequence, err)
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
	commit.Snapshot = nil // it is of the log's readers
	return commit, nil
}

// copyCommit returns a commit that shares nothing with c.
func copyCommit(c driver.Commit) driver.Commit {
	c.Events = slices.Clone(c.Events)
	for i := range c.Events {
		c.Events[i].Data = slices.Clone(c.Events[i].Data)
	}
	c.Commands = slices.Clone(c.Commands)
	for i := range c.Commands {
		c.Commands[i].Meta.Headers = maps.Clone(c.Commands[i].Meta.Headers)
	}
	return c
}

func sizeOf(c *driver.Commit) int {
	n := 512 * (1 + len(c.Commands))
	for _, e := range c.Events {
		n += len(e.Data) + len(e.Type) + 64
	}
	return n
}
