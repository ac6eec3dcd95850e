// Package outcomes keeps the outcomes of commands in a DynamoDB table.
//
// The table has the partition key commandId and the sort key target (S). Its other
// attributes are kind, entity, user, code and message (S), seq, events, fingerprint and
// resend (N), detail (B, byte for byte), expires (N, microseconds since 1970) and ttl (N,
// seconds), which is the table's TTL attribute. DynamoDB deletes expired items within days and returns them until
// then, so Get compares the expiry with the clock:
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/TTL.html
//
// A Put is one PutItem, of one write unit for each KB; a Get is one consistent
// GetItem, of one read unit for each 4 KB.
package outcomes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/internal/dynamo"
	"github.com/reventless-go/reventless/driver"
)

// The attributes that a deployment has to know.
const (
	// Key is the partition key, a string.
	Key = "commandId"
	// SortKey is the sort key, a string.
	SortKey = "target"
	// TTL is the attribute by which DynamoDB deletes expired outcomes.
	TTL = "ttl"
)

// MaxOutcomeBytes is the maximum size of an outcome as an item.
const MaxOutcomeBytes = dynamo.MaxItemBytes

// Outcomes are the outcomes of one application. They keep no state in memory: any number
// of processes may have them open.
type Outcomes struct {
	call  dynamo.Caller
	table string
	now   func() time.Time
}

var _ driver.Outcomes = (*Outcomes)(nil)

// Options configure [Outcomes]; nil fields are the defaults.
type Options struct {
	// Now is the clock for expiry. Nil is time.Now.
	Now func() time.Time
	// Spent is called with the name of each operation and what its request consumed.
	Spent func(operation string, c *types.ConsumedCapacity)
}

// Open returns the outcomes in table. It makes no request: a missing
// table is [driver.ErrUnavailable] at the first call.
func Open(client *dynamodb.Client, table string, opts *Options) *Outcomes {
	o := &Outcomes{call: dynamo.Caller{Client: client, Spent: func(string, *types.ConsumedCapacity) {}}, table: table}
	o.now = time.Now
	if opts != nil && opts.Now != nil {
		o.now = opts.Now
	}
	if opts != nil && opts.Spent != nil {
		o.call.Spent = opts.Spent
	}
	return o
}

// Put implements [driver.Outcomes]. It is one request, whose condition decides whether
// the stored outcome is replaced.
func (o *Outcomes) Put(ctx context.Context, outcome driver.StoredOutcome, expires time.Time) error {
	if err := o.put(ctx, outcome, expires); err != nil {
		return fmt.Errorf("outcomes %s: put %.100q of %.100q: %w", o.table, outcome.CommandID, outcome.Target, err)
	}
	return nil
}

func (o *Outcomes) put(ctx context.Context, outcome driver.StoredOutcome, expires time.Time) error {
	if err := driver.CheckID("command", outcome.CommandID); err != nil {
		return err
	}
	if err := driver.CheckID("target", outcome.Target); err != nil {
		return err
	}
	item, err := encode(outcome, expires)
	if err != nil {
		return err
	}
	if size := dynamo.Size(item); size > MaxOutcomeBytes {
		return &driver.TooLargeError{What: "outcome", Size: size, Limit: MaxOutcomeBytes}
	}
	in := &dynamodb.PutItemInput{TableName: &o.table, Item: item, ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal}
	if outcome.Kind == driver.Pending || outcome.Kind == driver.Failed {
		var e dynamo.Expression
		var replaced string
		if outcome.Kind == driver.Failed {
			replaced = e.Name("kind") + " <> " + e.Value(dynamo.Text(string(driver.Accepted)))
		} else {
			replaced = e.Name("kind") + " = " + e.Value(dynamo.Text(string(driver.Failed))) + " AND " + e.Name("resend") + " < " + e.Value(dynamo.Number(outcome.Resend))
		}
		e.Where(e.Absent(Key) + " OR " + replaced + " OR " + e.Name("expires") + " <= " + e.Value(dynamo.Number(o.now().UnixMicro())))
		in.ConditionExpression, in.ExpressionAttributeNames, in.ExpressionAttributeValues = e.Conditions(), e.Names(), e.Values()
	}
	out, err := o.call.Client.PutItem(ctx, in)
	var kept *types.ConditionalCheckFailedException
	switch {
	case errors.As(err, &kept):
		return nil // another outcome exists and is kept
	case err != nil:
		return dynamo.Classify(err)
	}
	o.call.Spent("PutItem", out.ConsumedCapacity)
	return nil
}

// Get implements [driver.Outcomes].
func (o *Outcomes) Get(ctx context.Context, target, commandID string) (driver.StoredOutcome, error) {
	outcome, err := o.get(ctx, target, commandID)
	if err != nil {
		return driver.StoredOutcome{}, fmt.Errorf("outcomes %s: get %.100q of %.100q: %w", o.table, commandID, target, err)
	}
	return outcome, nil
}

func (o *Outcomes) get(ctx context.Context, target, commandID string) (driver.StoredOutcome, error) {
	if driver.CheckID("command", commandID) != nil || driver.CheckID("target", target) != nil {
		return driver.StoredOutcome{}, driver.ErrNotFound // Put refuses these ids
	}
	item, err := o.call.Get(ctx, o.table, dynamo.Item{Key: dynamo.Text(commandID), SortKey: dynamo.Text(target)}, nil)
	if err != nil {
		return driver.StoredOutcome{}, err
	}
	if item == nil {
		return driver.StoredOutcome{}, driver.ErrNotFound
	}
	outcome, expires, err := decode(item)
	switch {
	case err != nil:
		return driver.StoredOutcome{}, err
	case !o.now().Before(expires):
		return driver.StoredOutcome{}, driver.ErrNotFound
	}
	return outcome, nil
}

// texts are the text attributes of an outcome that may be empty.
func texts(o *driver.StoredOutcome) map[string]*string {
	return map[string]*string{"entity": &o.EntityID, "user": &o.User, "code": &o.Code, "message": &o.Message}
}

// encode returns the item of an outcome. It omits empty fields.
func encode(o driver.StoredOutcome, expires time.Time) (dynamo.Item, error) {
	if o.EventCount < 0 {
		return nil, fmt.Errorf("%d events: %w", o.EventCount, driver.ErrInvalid)
	}
	seconds := expires.Unix()
	if expires.Nanosecond() > 0 {
		seconds++ // DynamoDB must not delete it before it expires
	}
	item := dynamo.Item{
		Key: dynamo.Text(o.CommandID), SortKey: dynamo.Text(o.Target), "kind": dynamo.Text(string(o.Kind)),
		"seq": dynamo.Number(o.SequenceNr), "events": dynamo.Number(o.EventCount), "fingerprint": dynamo.Number(uint64(o.Fingerprint)), "resend": dynamo.Number(o.Resend),
		"expires": dynamo.Number(max(expires.UnixMicro(), 0)), TTL: dynamo.Number(max(seconds, 0)),
	}
	for name, text := range texts(&o) {
		if *text != "" {
			item[name] = dynamo.Text(*text)
		}
	}
	if len(o.Detail) > 0 {
		item["detail"] = &types.AttributeValueMemberB{Value: o.Detail}
	}
	return item, nil
}

// decode returns the outcome of an item, or an error of class [driver.ErrDamaged] if the
// item is malformed.
func decode(item dynamo.Item) (driver.StoredOutcome, time.Time, error) {
	r := dynamo.Read(item)
	o := driver.StoredOutcome{
		Outcome:     driver.Outcome{CommandID: r.Text(Key), Target: r.Text(SortKey), Kind: driver.OutcomeKind(r.Text("kind")), SequenceNr: r.Uint("seq"), EventCount: int(r.Uint("events"))}, //nolint:gosec // it was written from an int
		Fingerprint: uint32(r.Uint("fingerprint")), Resend: int(r.Uint("resend")),                                                                                                            //nolint:gosec // they were written from these types
	}
	for name, text := range texts(&o) {
		if r.Has(name) {
			*text = r.Text(name)
		}
	}
	if v, ok := item["detail"].(*types.AttributeValueMemberB); ok {
		o.Detail = json.RawMessage(v.Value)
	} else if r.Has("detail") {
		r.Fail("its attribute %q is not binary", "detail")
	}
	expires := time.UnixMicro(int64(r.Uint("expires"))) //nolint:gosec // it was written from an int64
	if err := r.Err(); err != nil {
		return driver.StoredOutcome{}, time.Time{}, fmt.Errorf("the item is not an outcome: %w", err)
	}
	return o, expires, nil
}
