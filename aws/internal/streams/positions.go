package streams

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/internal/dynamo"
	"github.com/reventless-go/reventless/driver"
)

// The attributes of a table of positions, all strings: its partition key, its
// sort key, and what is kept.
const (
	Consumer = "consumer"
	Shard    = "shard"
	position = "position"
)

// Positions are how far one consumer has come in each shard, in a table that many
// consumers may share. A position only ever moves on: of two readers of one
// consumer, which must not be, none moves the other one back.
type Positions struct {
	Client *dynamodb.Client
	Table  string
	// Consumer names the consumer, with what it reads.
	Consumer string
}

// Load returns all positions by shard. It is one query.
func (p Positions) Load(ctx context.Context) (map[string]string, error) {
	in := &dynamodb.QueryInput{
		TableName: &p.Table, ConsistentRead: aws.Bool(true),
		KeyConditionExpression:    aws.String(Consumer + " = :c"),
		ExpressionAttributeValues: dynamo.Item{":c": dynamo.Text(p.Consumer)},
	}
	at := map[string]string{}
	for {
		out, err := p.Client.Query(ctx, in)
		if err != nil {
			return nil, fmt.Errorf("the positions: %w", dynamo.Classify(err))
		}
		for _, item := range out.Items {
			r := dynamo.Read(item)
			shard, text := r.Text(Shard), r.Text(position)
			after, err := parsePosition(text)
			if err := errors.Join(r.Err(), err); err != nil {
				return nil, fmt.Errorf("the position in shard %.100q: %w", shard, err)
			}
			at[shard] = after
		}
		if len(out.LastEvaluatedKey) == 0 {
			return at, nil
		}
		in.ExclusiveStartKey = out.LastEvaluatedKey
	}
}

// Save moves the position in a shard on; one that is further already stays. It is
// one write.
func (p Positions) Save(ctx context.Context, shard, after string) error {
	_, err := p.Client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName: &p.Table, Key: p.key(shard),
		UpdateExpression:          aws.String("SET #p = :p"),
		ConditionExpression:       aws.String("attribute_not_exists(#p) OR #p < :p"),
		ExpressionAttributeNames:  map[string]string{"#p": position},
		ExpressionAttributeValues: dynamo.Item{":p": dynamo.Text(formatPosition(after))},
	})
	var further *types.ConditionalCheckFailedException
	if err == nil || errors.As(err, &further) {
		return nil
	}
	return fmt.Errorf("the position in shard %s: %w", shard, dynamo.Classify(err))
}

// Drop forgets a shard that is gone.
func (p Positions) Drop(ctx context.Context, shard string) error {
	_, err := p.Client.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: &p.Table, Key: p.key(shard)})
	if err != nil {
		return fmt.Errorf("the position in shard %s: %w", shard, dynamo.Classify(err))
	}
	return nil
}

func (p Positions) key(shard string) dynamo.Item {
	return dynamo.Item{Consumer: dynamo.Text(p.Consumer), Shard: dynamo.Text(shard)}
}

// Sequence numbers are numbers of 21 to 40 digits. With their length in front they
// order as texts; the end of a shard is behind all of them.
const endPosition = "99"

// Before reports whether a position in a shard is before another.
func Before(a, b string) bool { return formatPosition(a) < formatPosition(b) }

func formatPosition(after string) string {
	if after == End {
		return endPosition
	}
	return fmt.Sprintf("%02d:%s", min(len(after), 98), after)
}

func parsePosition(text string) (string, error) {
	if text == endPosition {
		return End, nil
	}
	_, after, ok := strings.Cut(text, ":")
	if !ok || after == "" || formatPosition(after) != text {
		return "", fmt.Errorf("%.60q is none: %w", text, driver.ErrInvalid)
	}
	return after, nil
}
