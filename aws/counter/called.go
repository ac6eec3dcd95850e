package counter

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/internal/streams"
	"github.com/reventless-go/reventless/driver"
)

// DecodeStreamEvent returns the finishes that a counter has, as one element of the
// Records of a Lambda event of the counts table's stream tells: none after most
// changes. They come with every record until [Counter.Done] is told of them. The
// id is that by which a function reports that the record failed, its sequence
// number; it may be missing where the record could not be decoded, which is a
// [driver.ErrInvalid].
func DecodeStreamEvent(text []byte) (finished []driver.CounterFinished, id string, err error) {
	c := streams.FromLambda(text)
	fail := func(err error) ([]driver.CounterFinished, string, error) {
		return nil, c.Sequence, fmt.Errorf("counter: the stream's record %.40q: %w", c.Sequence, err)
	}
	if c.Err != nil {
		return fail(c.Err)
	}
	if c.Kind == streams.Remove {
		return nil, c.Sequence, nil
	}
	counterID, ok := c.Keys[CounterID].(*types.AttributeValueMemberS)
	if !ok || c.New == nil {
		return fail(fmt.Errorf("no counter and its image: %w", driver.ErrInvalid))
	}
	s, err := decode(c.New)
	if err != nil {
		return fail(err)
	}
	for _, f := range s.pending {
		finished = append(finished, driver.CounterFinished{CounterID: counterID.Value, Ordinal: f.Ordinal, Target: f.Target})
	}
	return finished, c.Sequence, nil
}

// Done removes finishes of a counter, up to an ordinal, that came by the stream and
// have been told. It is for who does not receive: nothing need be held. It is a
// GetItem, and an UpdateItem where there is something to remove.
func (c *Counter) Done(ctx context.Context, counterID string, ordinal uint64) error {
	err := c.try(ctx, func() error {
		s, err := c.read(ctx, counterID)
		if err != nil {
			return err
		}
		n := len(s.pending)
		s.pending = slices.DeleteFunc(s.pending, func(f finish) bool { return f.Ordinal <= ordinal })
		if len(s.pending) == n {
			return nil
		}
		s.unhold()
		change, err := c.change(counterID, s)
		if err != nil {
			return err
		}
		return c.call.Write(ctx, []types.TransactWriteItem{change})
	})
	if err != nil {
		return fmt.Errorf("counter %s: done with %d of %.100q: %w", c.counts, ordinal, counterID, err)
	}
	return nil
}
