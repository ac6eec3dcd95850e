package dynamo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/driver"
)

// The limits of one request.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
const (
	MaxActions          = 100     // in a transaction
	MaxTransactionBytes = 4 << 20 // of all items of a transaction
	maxGets             = 100
	maxDeletes          = 25
)

// maxAttempts bounds the attempts of a request that conflicts with another one or is left
// incomplete.
const maxAttempts = 8

// Caller makes the requests that drivers have in common. It retries transient failures
// that certainly had no effect; the SDK or its user retries all others.
type Caller struct {
	Client *dynamodb.Client
	// Spent is called with the name of each operation and what its request consumed.
	Spent func(operation string, c *types.ConsumedCapacity)
}

// Get reads an item consistently; nil is an absent item. wanted names the attributes to
// return; nil returns all.
func (c Caller) Get(ctx context.Context, table string, key Item, wanted *Expression) (Item, error) {
	in := &dynamodb.GetItemInput{TableName: &table, Key: key, ConsistentRead: aws.Bool(true), ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal}
	in.ProjectionExpression, in.ExpressionAttributeNames = projection(wanted)
	out, err := c.Client.GetItem(ctx, in)
	if err != nil {
		return nil, Classify(err)
	}
	c.Spent("GetItem", out.ConsumedCapacity)
	return out.Item, nil
}

func projection(wanted *Expression) (*string, map[string]string) {
	if wanted == nil {
		return nil, nil
	}
	return wanted.Projection(), wanted.Names()
}

// BatchGet reads the existing items of keys consistently, in any order. Keys must not
// repeat.
func (c Caller) BatchGet(ctx context.Context, table string, keys []Item, wanted *Expression) ([]Item, error) {
	var items []Item
	for chunk := range slices.Chunk(keys, maxGets) {
		want := types.KeysAndAttributes{Keys: chunk, ConsistentRead: aws.Bool(true)}
		want.ProjectionExpression, want.ExpressionAttributeNames = projection(wanted)
		for attempt := 1; ; attempt++ {
			out, err := c.Client.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{
				RequestItems:           map[string]types.KeysAndAttributes{table: want},
				ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal,
			})
			if err != nil {
				return nil, Classify(err)
			}
			c.spent("BatchGetItem", out.ConsumedCapacity)
			items = append(items, out.Responses[table]...)
			left := out.UnprocessedKeys[table].Keys
			if len(left) == 0 {
				break
			}
			if len(left) < len(want.Keys) {
				attempt = 1 // an answer at its size limit also leaves keys unread
			}
			want.Keys = left
			if err := again(ctx, attempt, fmt.Errorf("%d keys were left unread: %w", len(left), driver.ErrThrottled)); err != nil {
				return nil, err
			}
		}
	}
	return items, nil
}

// BatchDelete deletes the items of keys, which must not repeat. It calls failed with the
// index of each key whose item may remain.
func (c Caller) BatchDelete(ctx context.Context, table string, keys []Item, failed func(i int, err error)) {
	place := make(map[string]int, len(keys))
	for i, key := range keys {
		place[keyText(key)] = i
	}
	for chunk := range slices.Chunk(keys, maxDeletes) {
		left := make([]types.WriteRequest, len(chunk))
		for i, key := range chunk {
			left[i] = types.WriteRequest{DeleteRequest: &types.DeleteRequest{Key: key}}
		}
		err := c.delete(ctx, table, &left)
		for _, r := range left {
			failed(place[keyText(r.DeleteRequest.Key)], err)
		}
	}
}

// delete makes requests and keeps the incomplete ones in left.
func (c Caller) delete(ctx context.Context, table string, left *[]types.WriteRequest) error {
	for attempt := 1; ; attempt++ {
		out, err := c.Client.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{
			RequestItems:           map[string][]types.WriteRequest{table: *left},
			ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal,
		})
		if err != nil {
			return Classify(err)
		}
		c.spent("BatchWriteItem", out.ConsumedCapacity)
		before := len(*left)
		*left = out.UnprocessedItems[table]
		if len(*left) == 0 {
			return nil
		}
		if len(*left) < before {
			attempt = 1
		}
		if err := again(ctx, attempt, fmt.Errorf("items were left unprocessed: %w", driver.ErrThrottled)); err != nil {
			return err
		}
	}
}

// keyText is a unique text for a key of one table, whose attributes are texts.
func keyText(key Item) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(key)) {
		text, _ := key[name].(*types.AttributeValueMemberS)
		if text != nil {
			fmt.Fprintf(&b, "%d:%s", len(text.Value), text.Value)
		}
	}
	return b.String()
}

// Write makes updates and deletions, all or none. A single one is a plain request, at half
// the price of a transaction. A failed condition is a [driver.ErrConflict]. Conflicts with
// concurrent requests are retried.
func (c Caller) Write(ctx context.Context, writes []types.TransactWriteItem, options ...func(*dynamodb.Options)) error {
	for attempt := 1; ; attempt++ {
		err := c.write(ctx, writes, options)
		if err == nil || !passes(err) {
			return err
		}
		if err := again(ctx, attempt, err); err != nil {
			return err
		}
	}
}

func (c Caller) write(ctx context.Context, writes []types.TransactWriteItem, options []func(*dynamodb.Options)) error {
	if len(writes) > 1 {
		out, err := c.Client.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{
			TransactItems: writes, ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal,
		}, options...)
		if err != nil {
			return Classify(err)
		}
		c.spent("TransactWriteItems", out.ConsumedCapacity)
		return nil
	}
	var err error
	if u := writes[0].Update; u != nil {
		var out *dynamodb.UpdateItemOutput
		if out, err = c.Client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
			TableName: u.TableName, Key: u.Key, UpdateExpression: u.UpdateExpression, ConditionExpression: u.ConditionExpression,
			ExpressionAttributeNames: u.ExpressionAttributeNames, ExpressionAttributeValues: u.ExpressionAttributeValues,
			ReturnValuesOnConditionCheckFailure: u.ReturnValuesOnConditionCheckFailure,
			ReturnConsumedCapacity:              types.ReturnConsumedCapacityTotal,
		}, options...); err == nil {
			c.Spent("UpdateItem", out.ConsumedCapacity)
		}
	} else {
		d := writes[0].Delete
		var out *dynamodb.DeleteItemOutput
		if out, err = c.Client.DeleteItem(ctx, &dynamodb.DeleteItemInput{
			TableName: d.TableName, Key: d.Key, ConditionExpression: d.ConditionExpression,
			ExpressionAttributeNames: d.ExpressionAttributeNames, ExpressionAttributeValues: d.ExpressionAttributeValues,
			ReturnConsumedCapacity: types.ReturnConsumedCapacityTotal,
		}, options...); err == nil {
			c.Spent("DeleteItem", out.ConsumedCapacity)
		}
	}
	var lost *types.ConditionalCheckFailedException
	if errors.As(err, &lost) {
		return fmt.Errorf("%w: %w", driver.ErrConflict, err)
	}
	return Classify(err)
}

// passes reports whether a write failed only because of a concurrent one, which the SDK
// does not retry.
func passes(err error) bool {
	var conflict *types.TransactionConflictException
	var cancelled *types.TransactionCanceledException
	return errors.As(err, &conflict) || errors.As(err, &cancelled) && errors.Is(err, driver.ErrThrottled)
}

func (c Caller) spent(operation string, all []types.ConsumedCapacity) {
	for i := range all {
		c.Spent(operation, &all[i])
	}
}

// again waits before the next attempt, for a random time that grows with the attempts.
// After too many attempts it returns why.
func again(ctx context.Context, attempt int, why error) error {
	if attempt >= maxAttempts {
		return why
	}
	return Pause(ctx, attempt)
}

// Pause waits before the next attempt. Its error is the context's.
func Pause(ctx context.Context, attempt int) error {
	most := min(10*time.Millisecond<<min(attempt, 10), time.Second)
	t := time.NewTimer(rand.N(most)) //nolint:gosec // not for security
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
