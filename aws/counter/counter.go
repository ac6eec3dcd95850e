// Package counter is a counter on two DynamoDB tables.
//
// References has one item for each use of a reference: the partition key use (S),
// which is "count/" or "target/" and the counter's id, the sort key reference (S),
// expires (N, microseconds since 1970) and ttl (N, seconds), its TTL attribute. It
// is kept for eight days after its first use, and for at least seven after a repeated use.
//
// Counts has one item for each counter: the partition key counterId (S), count,
// target, reached (the highest target that was reached), finished and rev (N, incremented
// by every change), and pending (JSON) while some finishes are not handled. Its stream, of
// new images, invokes the function that handles finishes: see [DecodeStream].
//
// A Count or AddTarget is a BatchGetItem of both items, two read units, and a
// TransactWriteItems of both, four write units for each KB of them: the reference
// is put if it is absent, and the counter is changed if it is as it was read, together
// with the resulting finish. So a reference counts once and a finish is created once, in
// spite of retries and crashes. A reference that was used before is found by the read and
// costs no write. Concurrent changes of one counter conflict and are retried, so that one
// counter accepts tens of counts per second; different counters do not limit each other.
package counter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/internal/dynamo"
	"github.com/reventless-go/reventless/driver"
)

// The attributes that a deployment has to know.
const (
	// Use and Reference are the keys of the references, strings, and TTL is their
	// TTL attribute.
	Use       = "use"
	Reference = "reference"
	TTL       = "ttl"
	// CounterID is the key of the counts, a string.
	CounterID = "counterId"
)

const (
	kept    = 8 * 24 * time.Hour // how long a reference is kept
	renewed = 7 * 24 * time.Hour // a repeated use renews a reference with less time left

	// maxPending bounds the unhandled finishes of one counter: they are in one item.
	maxPending = 4096
	// maxTries bounds how often a change that conflicts with others is retried.
	maxTries = 100
)

// Counter is the counters of one component.
type Counter struct {
	call         dynamo.Caller
	refs, counts string
	now          func() time.Time
}

var _ driver.Counter = (*Counter)(nil)

// Options configure a [Counter]; nil and zero fields are the defaults.
type Options struct {
	// Now is the clock for the expiry of references. Nil is time.Now.
	Now func() time.Time
	// Spent is called with the name of each operation and what its request consumed.
	Spent func(operation string, c *types.ConsumedCapacity)
}

// Open returns the counters in two tables. It makes no request: a
// missing table is [driver.ErrUnavailable] at the first call.
func Open(client *dynamodb.Client, refs, counts string, opts *Options) *Counter {
	c := &Counter{
		call: dynamo.Caller{Client: client, Spent: func(string, *types.ConsumedCapacity) {}},
		refs: refs, counts: counts,
	}
	c.now = time.Now
	if opts != nil {
		if opts.Now != nil {
			c.now = opts.Now
		}
		if opts.Spent != nil {
			c.call.Spent = opts.Spent
		}
	}
	return c
}

// state is the item of a counter.
type state struct {
	driver.CounterState
	reached int64
	rev     uint64
	pending []finish
}

// finish is a target that was reached and is not yet handled.
type finish struct {
	Ordinal uint64 `json:"ordinal"`
	Target  int64  `json:"target"`
}

// Count implements [driver.Counter].
func (c *Counter) Count(ctx context.Context, counterID, reference string, n int64) error {
	err := c.add(ctx, "count/", counterID, reference, n, func(s *state) *int64 { return &s.Count })
	if err != nil {
		return fmt.Errorf("counter %s: count %d of %.100q by %.100q: %w", c.counts, n, counterID, reference, err)
	}
	return nil
}

// AddTarget implements [driver.Counter].
func (c *Counter) AddTarget(ctx context.Context, counterID, reference string, target int64) error {
	err := c.add(ctx, "target/", counterID, reference, target, func(s *state) *int64 { return &s.Target })
	if err != nil {
		return fmt.Errorf("counter %s: add target %d of %.100q by %.100q: %w", c.counts, target, counterID, reference, err)
	}
	return nil
}

func (c *Counter) add(ctx context.Context, use, counterID, reference string, n int64, field func(*state) *int64) error {
	if err := driver.CheckID("counter", counterID); err != nil {
		return err
	}
	if err := driver.CheckID("reference", reference); err != nil {
		return err
	}
	if n < 1 {
		return driver.ErrInvalid
	}
	ref := dynamo.Item{Use: dynamo.Text(use + counterID), Reference: dynamo.Text(reference)}
	return c.try(ctx, func() error {
		s, expires, err := c.both(ctx, counterID, ref)
		if err != nil {
			return err
		}
		now := c.now()
		if expires > now.UnixMicro() {
			return c.renew(ctx, ref, time.UnixMicro(expires), now)
		}
		f := field(&s)
		if *f > math.MaxInt64-n {
			return fmt.Errorf("the sum of %d and %d is out of range: %w", *f, n, driver.ErrInvalid)
		}
		*f += n
		if s.Target > s.reached && s.Count >= s.Target {
			if len(s.pending) >= maxPending {
				return fmt.Errorf("%d finishes are not handled: %w", len(s.pending), driver.ErrThrottled)
			}
			s.reached = s.Target
			s.Finished++
			s.pending = append(s.pending, finish{Ordinal: s.Finished, Target: s.Target})
		}
		change, err := c.change(counterID, s)
		if err != nil {
			return err
		}
		return c.call.Write(ctx, []types.TransactWriteItem{c.put(ref, now), change})
	})
}

// try calls f until it does not conflict with another change.
func (c *Counter) try(ctx context.Context, f func() error) error {
	for n := 1; ; n++ {
		err := f()
		if !errors.Is(err, driver.ErrConflict) {
			return err
		}
		if n == maxTries {
			return fmt.Errorf("%w: the change conflicted %d times with others", driver.ErrThrottled, n)
		}
		if err := dynamo.Pause(ctx, min(n, 4)); err != nil {
			return err
		}
	}
}

// both reads a counter and the expiry of a reference, 0 for an absent reference.
func (c *Counter) both(ctx context.Context, counterID string, ref dynamo.Item) (state, int64, error) {
	want := map[string]types.KeysAndAttributes{
		c.counts: {Keys: []dynamo.Item{{CounterID: dynamo.Text(counterID)}}, ConsistentRead: aws.Bool(true)},
		c.refs:   {Keys: []dynamo.Item{ref}, ConsistentRead: aws.Bool(true)},
	}
	var s state
	var expires int64
	for n := 1; len(want) > 0; n++ {
		out, err := c.call.Client.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{RequestItems: want, ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal})
		if err != nil {
			return s, 0, dynamo.Classify(err)
		}
		for i := range out.ConsumedCapacity {
			c.call.Spent("BatchGetItem", &out.ConsumedCapacity[i])
		}
		for _, item := range out.Responses[c.counts] {
			if s, err = decode(item); err != nil {
				return s, 0, err
			}
		}
		for _, item := range out.Responses[c.refs] {
			r := dynamo.Read(item)
			expires = int64(r.Uint("expires")) //nolint:gosec // it was written from an int64
			if r.Err() != nil {
				return s, 0, fmt.Errorf("reference: %w", r.Err())
			}
		}
		if want = out.UnprocessedKeys; len(want) == 0 {
			break
		}
		if n == 8 {
			return s, 0, fmt.Errorf("items were left unread: %w", driver.ErrThrottled)
		}
		if err := dynamo.Pause(ctx, n); err != nil {
			return s, 0, err
		}
	}
	return s, expires, nil
}

// renew extends the expiry of a reference that is used again.
func (c *Counter) renew(ctx context.Context, ref dynamo.Item, expires, now time.Time) error {
	if expires.Sub(now) >= renewed {
		return nil
	}
	var e dynamo.Expression
	e.Where(e.Present("expires")) // DynamoDB may have deleted it since
	ends := now.Add(kept)
	e.Set("expires", dynamo.Number(ends.UnixMicro()))
	e.Set(TTL, dynamo.Number(ends.Unix()+1))
	return c.call.Write(ctx, []types.TransactWriteItem{e.Update(c.refs, ref)})
}

// put writes a reference that is absent or expired.
func (c *Counter) put(ref dynamo.Item, now time.Time) types.TransactWriteItem {
	var e dynamo.Expression
	e.Where(e.Absent("expires") + " OR " + e.Name("expires") + " <= " + e.Value(dynamo.Number(now.UnixMicro())))
	ends := now.Add(kept)
	return types.TransactWriteItem{Put: &types.Put{
		TableName:           &c.refs,
		Item:                dynamo.Item{Use: ref[Use], Reference: ref[Reference], "expires": dynamo.Number(ends.UnixMicro()), TTL: dynamo.Number(ends.Unix() + 1)},
		ConditionExpression: e.Conditions(), ExpressionAttributeNames: e.Names(), ExpressionAttributeValues: e.Values(),
	}}
}

// change writes a counter if it is still as it was read.
func (c *Counter) change(counterID string, s state) (types.TransactWriteItem, error) {
	var e dynamo.Expression
	if s.rev == 0 {
		e.Where(e.Absent("rev"))
	} else {
		e.Where(e.Name("rev") + " = " + e.Value(dynamo.Number(s.rev)))
	}
	e.Set("rev", dynamo.Number(s.rev+1))
	e.Set("count", dynamo.Number(s.Count))
	e.Set("target", dynamo.Number(s.Target))
	e.Set("reached", dynamo.Number(s.reached))
	e.Set("finished", dynamo.Number(s.Finished))
	if len(s.pending) == 0 {
		e.Remove("pending")
		return e.Update(c.counts, dynamo.Item{CounterID: dynamo.Text(counterID)}), nil
	}
	pending, err := json.Marshal(s.pending)
	if err != nil {
		return types.TransactWriteItem{}, fmt.Errorf("finishes: %w", err)
	}
	e.Set("pending", dynamo.Text(string(pending)))
	return e.Update(c.counts, dynamo.Item{CounterID: dynamo.Text(counterID)}), nil
}

// State implements [driver.Counter]. It is one request.
func (c *Counter) State(ctx context.Context, counterID string) (driver.CounterState, error) {
	err := driver.CheckID("counter", counterID)
	var s state
	if err == nil {
		s, err = c.read(ctx, counterID)
	}
	if err != nil {
		return driver.CounterState{}, fmt.Errorf("counter %s: state of %.100q: %w", c.counts, counterID, err)
	}
	return s.CounterState, nil
}

func (c *Counter) read(ctx context.Context, counterID string) (state, error) {
	item, err := c.call.Get(ctx, c.counts, dynamo.Item{CounterID: dynamo.Text(counterID)}, nil)
	if err != nil || item == nil {
		return state{}, err
	}
	return decode(item)
}

// decode returns the state of an item, or an error of class [driver.ErrDamaged] if the
// item is malformed.
func decode(item dynamo.Item) (state, error) {
	r := dynamo.Read(item)
	s := state{rev: r.Uint("rev"), reached: int64(r.Uint("reached"))}                                   //nolint:gosec // it was written from an int64
	s.Count, s.Target, s.Finished = int64(r.Uint("count")), int64(r.Uint("target")), r.Uint("finished") //nolint:gosec // as above
	if r.Has("pending") {
		if err := json.Unmarshal([]byte(r.Text("pending")), &s.pending); err != nil {
			r.Fail("its finishes: %w", err)
		}
	}
	if err := r.Err(); err != nil {
		return state{}, fmt.Errorf("the item is not a counter: %w", err)
	}
	return s, nil
}
