// Package counter is a counter on two DynamoDB tables.
//
// References has one item for each use of a reference: the partition key use (S),
// which is "count/" or "target/" and the counter's id, the sort key reference (S),
// expires (N, microseconds since 1970) and ttl (N, seconds), its TTL attribute. It
// is kept for eight days after it was used, or seven when it is used again.
//
// Counts has one item for each counter: the partition key counterId (S), count,
// target, reached (the highest target that was), finished and rev (N, one more with
// every change). While there are finishes that are not settled it has those too:
// pending (JSON), at (N, when the next of them can be received), due (S, always
// "due") and, while some are held, held (how many) and lease. The index "due" of
// due and at, with the keys alone, has those counters and no others.
//
// A Count or AddTarget is a BatchGetItem of both items, two read units, and a
// TransactWriteItems of both, four write units for each KB of them: the reference
// is put if it is not there, and the counter changed if it is as it was read, with
// the finish that comes of it. So a reference counts once, and a finish comes once,
// whatever is repeated and whoever crashes. A reference that was used before is
// found by the read and costs no write. Counts of one counter exclude each other;
// who loses reads again, so that one counter takes tens of counts per second and
// any number of counters any number.
//
// The alternative, a stream of the references that drives the counts and a stream
// of the counts that tells of finishes, halves the writes and has two functions in
// the way, and nobody knows when a count is to be seen. The counts table may have a
// stream all the same: each finish appears in pending once.
//
// A finish costs three write units for the index: when it comes, is held and is
// settled. Its single partition takes 1,000 per second, which bounds the finishes
// of all counters of a table to about 300 per second; what is over is throttled.
// The index is behind the table, by less than a second as a rule.
package counter

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/internal/dynamo"
	"github.com/reventless-go/reventless/driver"
)

// What a deployment has to know of the tables.
const (
	// Use and Reference are the keys of the references, strings, and TTL is their
	// TTL attribute.
	Use       = "use"
	Reference = "reference"
	TTL       = "ttl"
	// CounterID is the key of the counts, a string.
	CounterID = "counterId"
	// Index is the index of the counts by Due, a string, and At, a number. It
	// projects the keys only.
	Index = "due"
	Due   = "due"
	At    = "at"
)

const (
	kept    = 8 * 24 * time.Hour // a reference after it was used
	renewed = 7 * 24 * time.Hour // what is left of that is at least this

	// defaultHold is how long a finish is held.
	defaultHold = 5 * time.Minute
	// maxPending bounds the finishes of one counter that nobody settles: they are
	// in one item.
	maxPending = 4096
	// maxTries bounds how often a change starts anew that lost to others.
	maxTries = 100
	// page is how many counters with finishes a Receive looks at.
	page = 32
)

// Counter is the counters of one component.
type Counter struct {
	call         dynamo.Caller
	refs, counts string
	now          func() time.Time
	hold         time.Duration

	mu   sync.Mutex
	held map[string]lease // by its id
}

// lease says of which counter this one holds finishes.
type lease struct {
	counterID string
	until     time.Time
}

var _ driver.Counter = (*Counter)(nil)

// Options configure a [Counter]; nil and zero fields are the defaults.
type Options struct {
	// Hold is how long a finish that was received is held; 0 is five minutes.
	Hold time.Duration
	// Now is the clock of references, holds and retries. Nil is time.Now.
	Now func() time.Time
	// Spent is told what each request consumed, by the name of its operation.
	Spent func(operation string, c *types.ConsumedCapacity)
}

// Open returns the counters in two tables. Nothing is asked of the service: a
// missing table is [driver.ErrUnavailable] at the first call.
func Open(client *dynamodb.Client, refs, counts string, opts *Options) *Counter {
	c := &Counter{
		call: dynamo.Caller{Client: client, Spent: func(string, *types.ConsumedCapacity) {}},
		refs: refs, counts: counts, hold: defaultHold, held: map[string]lease{},
	}
	c.now = time.Now
	if opts != nil {
		if opts.Hold > 0 {
			c.hold = opts.Hold
		}
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
	at      int64 // microseconds
	held    int   // of pending, the first ones
	lease   string
}

// finish is a target that was reached, and not yet settled.
type finish struct {
	Ordinal  uint64 `json:"ordinal"`
	Target   int64  `json:"target"`
	Attempts int    `json:"attempts,omitempty"`
	Settled  bool   `json:"settled,omitempty"` // while others of its batch are held
	Again    int64  `json:"again,omitempty"`   // as above: when it is to be retried, in microseconds
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
			return fmt.Errorf("%d and %d are over the range: %w", *f, n, driver.ErrInvalid)
		}
		*f += n
		if s.Target > s.reached && s.Count >= s.Target {
			if len(s.pending) >= maxPending {
				return fmt.Errorf("%d finishes are not settled: %w", len(s.pending), driver.ErrThrottled)
			}
			s.reached = s.Target
			s.Finished++
			s.pending = append(s.pending, finish{Ordinal: s.Finished, Target: s.Target})
			if len(s.pending) == 1 {
				s.at = now.UnixMicro()
			}
		}
		change, err := c.change(counterID, s)
		if err != nil {
			return err
		}
		return c.call.Write(ctx, []types.TransactWriteItem{c.put(ref, now), change})
	})
}

// try calls f until it does not lose to another change.
func (c *Counter) try(ctx context.Context, f func() error) error {
	for n := 1; ; n++ {
		err := f()
		if !errors.Is(err, driver.ErrConflict) {
			return err
		}
		if n == maxTries {
			return fmt.Errorf("%w: it lost %d times to others", driver.ErrThrottled, n)
		}
		if err := dynamo.Pause(ctx, min(n, 4)); err != nil {
			return err
		}
	}
}

// both reads a counter and the end of a reference, 0 where there is none.
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
				return s, 0, fmt.Errorf("the reference: %w", r.Err())
			}
		}
		if want = out.UnprocessedKeys; len(want) == 0 {
			break
		}
		if n == 8 {
			return s, 0, fmt.Errorf("it was left unread: %w", driver.ErrThrottled)
		}
		if err := dynamo.Pause(ctx, n); err != nil {
			return s, 0, err
		}
	}
	return s, expires, nil
}

// renew keeps a reference that is used again.
func (c *Counter) renew(ctx context.Context, ref dynamo.Item, expires, now time.Time) error {
	if expires.Sub(now) >= renewed {
		return nil
	}
	var e dynamo.Expression
	e.Where(e.Present("expires")) // DynamoDB may have removed it since
	ends := now.Add(kept)
	e.Set("expires", dynamo.Number(ends.UnixMicro()))
	e.Set(TTL, dynamo.Number(ends.Unix()+1))
	return c.call.Write(ctx, []types.TransactWriteItem{e.Update(c.refs, ref)})
}

// put puts a reference that is not there, or has expired.
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

// change writes a counter that is still as it was read.
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
		for _, name := range []string{"pending", Due, At, "held", "lease"} {
			e.Remove(name)
		}
		return e.Update(c.counts, dynamo.Item{CounterID: dynamo.Text(counterID)}), nil
	}
	pending, err := json.Marshal(s.pending)
	if err != nil {
		return types.TransactWriteItem{}, fmt.Errorf("the finishes: %w", err)
	}
	e.Set("pending", dynamo.Text(string(pending)))
	e.Set(Due, dynamo.Text(Due))
	e.Set(At, dynamo.Number(s.at))
	e.Set("held", dynamo.Number(s.held))
	e.Set("lease", dynamo.Text(s.lease))
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

// decode returns the state of an item; one of a foreign shape is a
// [driver.ErrInvalid].
func decode(item dynamo.Item) (state, error) {
	r := dynamo.Read(item)
	s := state{rev: r.Uint("rev"), reached: int64(r.Uint("reached"))}                                   //nolint:gosec // it was written from an int64
	s.Count, s.Target, s.Finished = int64(r.Uint("count")), int64(r.Uint("target")), r.Uint("finished") //nolint:gosec // as above
	if r.Has("pending") {
		s.at, s.held, s.lease = int64(r.Uint(At)), int(r.Uint("held")), r.Text("lease") //nolint:gosec // as above
		if err := json.Unmarshal([]byte(r.Text("pending")), &s.pending); err != nil {
			r.Fail("its finishes: %w", err)
		}
		if s.held > len(s.pending) {
			r.Fail("it holds %d of %d", s.held, len(s.pending))
		}
	}
	if err := r.Err(); err != nil {
		return state{}, fmt.Errorf("the item is no counter: %w", err)
	}
	return s, nil
}

// Receive implements [driver.Receiver]. It is one query of the index, and for each
// counter of which finishes are handed out a GetItem and an UpdateItem.
func (c *Counter) Receive(ctx context.Context, max int) (driver.Batch[driver.CounterFinished], error) {
	batch, err := c.receive(ctx, max)
	if err != nil {
		return driver.Batch[driver.CounterFinished]{}, fmt.Errorf("counter %s: receive: %w", c.counts, err)
	}
	return batch, nil
}

func (c *Counter) receive(ctx context.Context, max int) (driver.Batch[driver.CounterFinished], error) {
	var batch driver.Batch[driver.CounterFinished]
	if max < 1 {
		return batch, fmt.Errorf("%d finishes: %w", max, driver.ErrInvalid)
	}
	var e dynamo.Expression
	in := &dynamodb.QueryInput{
		TableName: &c.counts, IndexName: aws.String(Index), Limit: aws.Int32(page), ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal,
		KeyConditionExpression:   aws.String(e.Name(Due) + " = " + e.Value(dynamo.Text(Due))),
		ExpressionAttributeNames: e.Names(), ExpressionAttributeValues: e.Values(),
	}
	var next int64
	var foreign error
	for len(batch.Deliveries) < max {
		out, err := c.call.Client.Query(ctx, in)
		if err != nil {
			return c.got(batch, dynamo.Classify(err))
		}
		c.call.Spent("Query", out.ConsumedCapacity)
		for _, item := range out.Items {
			r := dynamo.Read(item)
			id, at := r.Text(CounterID), int64(r.Uint(At)) //nolint:gosec // it was written from an int64
			if r.Err() != nil {
				return c.got(batch, fmt.Errorf("the index: %w", r.Err()))
			}
			if len(batch.Deliveries) == max {
				break
			}
			if at > c.now().UnixMicro() { // and so are all that follow
				next = at
				break
			}
			ds, err := c.claim(ctx, id, max-len(batch.Deliveries))
			if errors.Is(err, driver.ErrInvalid) { // it must not be in the way of all that follow
				foreign = fmt.Errorf("%.100q: %w", id, err)
				continue
			}
			if err != nil {
				return c.got(batch, fmt.Errorf("%.100q: %w", id, err))
			}
			batch.Deliveries = append(batch.Deliveries, ds...)
		}
		if next > 0 || len(out.LastEvaluatedKey) == 0 {
			break
		}
		in.ExclusiveStartKey = out.LastEvaluatedKey
	}
	if foreign != nil {
		return c.got(batch, foreign)
	}
	if len(batch.Deliveries) == 0 && next > 0 {
		batch.Next = time.UnixMicro(next).UTC()
	}
	return batch, nil
}

// got hands out what is held already; the error comes again with the next call.
func (*Counter) got(batch driver.Batch[driver.CounterFinished], err error) (driver.Batch[driver.CounterFinished], error) {
	if len(batch.Deliveries) > 0 {
		return batch, nil
	}
	return batch, err
}

// claim holds the first finishes of a counter. None when another one was faster.
func (c *Counter) claim(ctx context.Context, id string, most int) ([]driver.Delivery[driver.CounterFinished], error) {
	var ds []driver.Delivery[driver.CounterFinished]
	own := ""
	err := c.try(ctx, func() error {
		s, err := c.read(ctx, id)
		now := c.now()
		switch {
		case err != nil:
			return err
		case own != "" && s.lease == own: // the SDK sent again what had its effect
		case len(s.pending) == 0 || s.at > now.UnixMicro():
			return nil
		default:
			s.unhold() // of a hold that has ended
			own = rand.Text()
			s.held, s.lease, s.at = min(len(s.pending), most), own, now.Add(c.hold).UnixMicro()
			for i := range s.held {
				s.pending[i].Attempts++
			}
			change, err := c.change(id, s)
			if err != nil {
				return err
			}
			if err := c.call.Write(ctx, []types.TransactWriteItem{change}); err != nil {
				return err
			}
		}
		for _, f := range s.pending[:s.held] {
			ds = append(ds, driver.Delivery[driver.CounterFinished]{
				ID: deliveryID(id, s.lease, f.Ordinal), Attempt: f.Attempts,
				Message: driver.CounterFinished{CounterID: id, Ordinal: f.Ordinal, Target: f.Target},
			})
		}
		c.mu.Lock()
		maps.DeleteFunc(c.held, func(_ string, l lease) bool { return l.until.Before(now) })
		c.held[s.lease] = lease{id, time.UnixMicro(s.at)}
		c.mu.Unlock()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return ds, nil
}

// unhold ends a hold: what was settled in it goes, the rest can be received.
func (s *state) unhold() {
	s.pending = slices.DeleteFunc(s.pending, func(f finish) bool { return f.Settled })
	for i := range s.pending {
		s.pending[i].Again = 0
	}
	s.held, s.lease = 0, ""
}

// deliveryID is the id of a delivery: who has it can settle it.
func deliveryID(counterID, lease string, ordinal uint64) string {
	return lease + "." + strconv.FormatUint(ordinal, 10) + "." + counterID
}

// Settle implements [driver.Receiver]. It is a GetItem and an UpdateItem for each
// counter. When some could not be settled the error is a [driver.BatchError] by the
// ids of their deliveries.
func (c *Counter) Settle(ctx context.Context, settlements []driver.Settlement) error {
	type hold struct{ counterID, lease string }
	by := map[hold]map[uint64]driver.Settlement{}
	var order []hold
	for _, s := range settlements {
		lease, rest, _ := strings.Cut(s.ID, ".")
		number, id, ok := strings.Cut(rest, ".")
		ordinal, err := strconv.ParseUint(number, 10, 64)
		if !ok || err != nil || lease == "" || driver.CheckID("counter", id) != nil {
			continue // none of ours
		}
		h := hold{id, lease}
		if by[h] == nil {
			by[h] = map[uint64]driver.Settlement{}
			order = append(order, h)
		}
		if _, twice := by[h][ordinal]; !twice {
			by[h][ordinal] = s
		}
	}
	failed := map[string]error{}
	for _, h := range order {
		if err := c.settle(ctx, h.counterID, h.lease, by[h]); err != nil {
			for _, s := range by[h] {
				failed[s.ID] = err
			}
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("counter %s: settle: %w", c.counts, &driver.BatchError{Failed: failed})
	}
	return nil
}

func (c *Counter) settle(ctx context.Context, id, lease string, settlements map[uint64]driver.Settlement) error {
	over := false
	err := c.try(ctx, func() error {
		over = true
		s, err := c.read(ctx, id)
		now := c.now()
		if err != nil || s.lease != lease || s.at <= now.UnixMicro() {
			return err // its hold has ended
		}
		changed := false
		at := now.UnixMicro()
		for i := range s.held {
			f := &s.pending[i]
			if x, ok := settlements[f.Ordinal]; ok && !f.Settled && f.Again == 0 {
				f.Settled, changed = !x.Retry, true
				if x.Retry {
					f.Again = now.Add(max(x.After, 0)).UnixMicro()
				}
			}
			at = max(at, f.Again)
			over = over && (f.Settled || f.Again > 0)
		}
		if !changed {
			return nil
		}
		if over {
			s.unhold()
			s.at = at
		}
		change, err := c.change(id, s)
		if err != nil {
			return err
		}
		return c.call.Write(ctx, []types.TransactWriteItem{change})
	})
	if err == nil && over {
		c.mu.Lock()
		delete(c.held, lease)
		c.mu.Unlock()
	}
	return err
}

// Release gives back what is held, so that it comes again at once and not after its
// time. It is for who ends.
func (c *Counter) Release(ctx context.Context) error {
	c.mu.Lock()
	held := c.held
	c.held = map[string]lease{}
	c.mu.Unlock()
	var errs []error
	for id, l := range held {
		if err := c.try(ctx, func() error {
			s, err := c.read(ctx, l.counterID)
			now := c.now()
			if err != nil || s.lease != id || s.at <= now.UnixMicro() {
				return err
			}
			s.unhold()
			s.at = now.UnixMicro()
			change, err := c.change(l.counterID, s)
			if err != nil {
				return err
			}
			return c.call.Write(ctx, []types.TransactWriteItem{change})
		}); err != nil {
			errs = append(errs, fmt.Errorf("counter %s: release %.100q: %w", c.counts, l.counterID, err))
		}
	}
	return errors.Join(errs...)
}
