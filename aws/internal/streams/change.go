// Package streams parses the records of the stream of a DynamoDB table in the form of a
// Lambda event.
// https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html
package streams

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/reventless-go/reventless/aws/internal/dynamo"
	"github.com/reventless-go/reventless/driver"
)

// The kinds of changes.
const (
	Insert = "INSERT"
	Modify = "MODIFY"
	Remove = "REMOVE"
)

// Change is a change of an item.
// https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_Record.html
type Change struct {
	// Kind is Insert, Modify or Remove.
	Kind string
	// Sequence is the sequence number of the record in its shard.
	Sequence string
	// At is the time of the write in seconds; zero if the record has none.
	At time.Time
	// Expired is true for a removal by the TTL of DynamoDB.
	// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/time-to-live-ttl-streams.html
	Expired bool
	// Keys, Old and New are the key and the item before and after the change; nil if the
	// stream does not have them.
	Keys, Old, New dynamo.Item
	// Err is the error of an invalid record. The other fields have the parts that could be
	// decoded.
	Err error

	raw []byte
}

// isTTL reports whether an identity is DynamoDB.
func isTTL(kind, principal string) bool {
	return kind == "Service" && principal == "dynamodb.amazonaws.com"
}

// Record is an element of the Records of a Lambda event.
// https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html
type Record struct {
	EventName    string    `json:"eventName"`
	UserIdentity *Identity `json:"userIdentity,omitempty"`
	DynamoDB     *struct {
		At       *float64        `json:"ApproximateCreationDateTime"`
		Keys     json.RawMessage `json:"Keys"`
		New      json.RawMessage `json:"NewImage"`
		Old      json.RawMessage `json:"OldImage"`
		Sequence string          `json:"SequenceNumber"`
	} `json:"dynamodb"`
}

// Identity is the identity that made a change. Field names match regardless of case; Lambda
// capitalizes them.
type Identity struct {
	Type        string `json:"type"`
	PrincipalID string `json:"principalId"`
}

// Parse returns the change of an element of the Records of a Lambda event. The caller must
// not modify text.
func Parse(text []byte) Change {
	var r Record
	err := json.Unmarshal(text, &r)
	return r.Change(text, err)
}

// Change returns the change of the record that was decoded from text with err. The caller
// must not modify text.
func (r Record) Change(text []byte, err error) Change {
	c := Change{Kind: r.EventName, raw: text}
	if err != nil {
		c.Err = fmt.Errorf("record: %w: %w", driver.ErrInvalid, err)
	}
	if id := r.UserIdentity; id != nil {
		c.Expired = isTTL(id.Type, id.PrincipalID)
	}
	if r.DynamoDB == nil {
		if c.Err == nil {
			c.Err = fmt.Errorf("a record without a change: %w", driver.ErrInvalid)
		}
		return c
	}
	c.Sequence = r.DynamoDB.Sequence
	if at := r.DynamoDB.At; at != nil && math.Abs(*at) < 1<<40 {
		c.At = time.UnixMilli(int64(*at * 1000)).UTC()
	}
	for _, image := range []struct {
		what string
		from json.RawMessage
		to   *dynamo.Item
	}{{"keys", r.DynamoDB.Keys, &c.Keys}, {"old image", r.DynamoDB.Old, &c.Old}, {"new image", r.DynamoDB.New, &c.New}} {
		item, err := parseItem(image.from)
		if err != nil {
			if c.Err == nil {
				c.Err = fmt.Errorf("the %s: %w", image.what, err)
			}
			continue
		}
		*image.to = item
	}
	return c
}

// Raw returns the JSON of the record.
func (c Change) Raw() []byte { return c.raw }
