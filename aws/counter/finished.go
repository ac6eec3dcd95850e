package counter

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/internal/streams"
	"github.com/reventless-go/reventless/driver"
)

// DecodeStream returns the id of the counter in a record of the stream of the counts
// table if the counter has finishes to handle. After most changes it has none, and the id
// is empty. [Counter.Pending] returns the finishes, because those in the record may have
// been handled meanwhile. A malformed record leads to an error of class
// [driver.ErrInvalid], or [driver.ErrDamaged] if its image has no valid counter.
func DecodeStream(c streams.Change) (counterID string, err error) {
	fail := func(err error) (string, error) {
		return "", fmt.Errorf("counter: stream record %.40q: %w", c.Sequence, err)
	}
	if c.Err != nil {
		return fail(c.Err)
	}
	if c.Kind == streams.Remove {
		return "", nil
	}
	id, ok := c.Keys[CounterID].(*types.AttributeValueMemberS)
	if !ok || c.New == nil {
		return fail(fmt.Errorf("not a counter with its image: %w", driver.ErrInvalid))
	}
	s, err := decode(c.New)
	if err != nil {
		return fail(err)
	}
	if len(s.pending) == 0 {
		return "", nil
	}
	return id.Value, nil
}

// Pending returns the unhandled finishes of a counter, in order. It is one
// request.
func (c *Counter) Pending(ctx context.Context, counterID string) ([]driver.CounterFinished, error) {
	s, err := c.read(ctx, counterID)
	if err != nil {
		return nil, fmt.Errorf("counter %s: finishes of %.100q: %w", c.counts, counterID, err)
	}
	finished := make([]driver.CounterFinished, len(s.pending))
	for i, f := range s.pending {
		finished[i] = driver.CounterFinished{CounterID: counterID, Ordinal: f.Ordinal, Target: f.Target}
	}
	return finished, nil
}

// Done removes the handled finishes of a counter, up to an ordinal. It is a
// GetItem, and an UpdateItem when there is something to remove.
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
