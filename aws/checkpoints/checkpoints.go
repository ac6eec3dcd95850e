// Package checkpoints keeps the watermarks of a consumer in a DynamoDB table:
// those of consumers that are no read models, whose watermarks package querydb
// keeps with the rows.
//
// The table has the partition key stream (S) and the sort key log (S), and the
// attributes seq (N) and blocked (BOOL).
package checkpoints

import (
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/internal/dynamo"
	"github.com/reventless-go/reventless/aws/internal/marks"
	"github.com/reventless-go/reventless/driver"
)

// MaxAdvances is the most streams that one Advance may move: more are a
// [driver.ErrTooLarge].
const MaxAdvances = dynamo.MaxActions

// Checkpoints are the watermarks of one consumer. They hold no state: any number
// of processes may have them open. Moving one watermark is a conditional update
// of one write unit; moving several at once is a transaction of two for each.
type Checkpoints struct{ *marks.Marks }

var _ driver.Checkpoints = Checkpoints{}

// Options configure [Checkpoints]; nil fields are the defaults.
type Options struct {
	// Spent is told what each request consumed, by the name of its operation.
	Spent func(operation string, c *types.ConsumedCapacity)
}

// Open returns the checkpoints in table. Nothing is asked of the service: a
// missing table is [driver.ErrUnavailable] at the first call.
func Open(client *dynamodb.Client, table string, opts *Options) Checkpoints {
	call := dynamo.Caller{Client: client, Spent: func(string, *types.ConsumedCapacity) {}}
	if opts != nil && opts.Spent != nil {
		call.Spent = opts.Spent
	}
	return Checkpoints{marks.Apart(call, table, "checkpoints "+table)}
}
