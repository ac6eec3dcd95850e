package streams

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	streamtypes "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"

	"github.com/reventless-go/reventless/aws/internal/dynamo"
	"github.com/reventless-go/reventless/driver"
)

// The kinds of changes.
const (
	Insert = string(streamtypes.OperationTypeInsert)
	Modify = string(streamtypes.OperationTypeModify)
	Remove = string(streamtypes.OperationTypeRemove)
)

// Change is what a stream tells of one item.
// https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_Record.html
type Change struct {
	// Kind is Insert, Modify or Remove.
	Kind string
	// Sequence is the record's number in its shard.
	Sequence string
	// At is when DynamoDB took the write, to the second; zero when it is not said.
	At time.Time
	// Expired is true of a removal by DynamoDB's TTL.
	// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/time-to-live-ttl-streams.html
	Expired bool
	// Keys, Old and New are the item's key, and the item before and after; nil are
	// those that the stream does not have.
	Keys, Old, New dynamo.Item
	// Err says that the record is not what it should be; the other fields are then
	// those that could be read.
	Err error

	raw []byte
}

// FromSDK returns the change of a record that was read by GetRecords.
func FromSDK(r streamtypes.Record) Change {
	c := Change{Kind: string(r.EventName)}
	if id := r.UserIdentity; id != nil {
		c.Expired = isTTL(aws.ToString(id.Type), aws.ToString(id.PrincipalId))
	}
	d := r.Dynamodb
	if d == nil {
		c.Err = fmt.Errorf("a record without a change: %w", driver.ErrInvalid)
		return c
	}
	c.Sequence, c.At = aws.ToString(d.SequenceNumber), aws.ToTime(d.ApproximateCreationDateTime)
	for _, image := range []struct {
		what string
		from map[string]streamtypes.AttributeValue
		to   *dynamo.Item
	}{{"keys", d.Keys, &c.Keys}, {"old image", d.OldImage, &c.Old}, {"new image", d.NewImage, &c.New}} {
		item, err := itemOf(image.from)
		if err != nil && c.Err == nil {
			c.Err = fmt.Errorf("the %s: %w", image.what, err)
		}
		*image.to = item
	}
	return c
}

// isTTL reports whether an identity is that of DynamoDB itself.
func isTTL(kind, principal string) bool {
	return kind == "Service" && principal == "dynamodb.amazonaws.com"
}

// event is the form in which Lambda hands over a record.
// https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html
type event struct {
	EventName    string    `json:"eventName"`
	UserIdentity *identity `json:"userIdentity,omitempty"`
	DynamoDB     *struct {
		At       *float64        `json:"ApproximateCreationDateTime"`
		Keys     json.RawMessage `json:"Keys"`
		New      json.RawMessage `json:"NewImage"`
		Old      json.RawMessage `json:"OldImage"`
		Sequence string          `json:"SequenceNumber"`
	} `json:"dynamodb"`
}

// identity has capitals in a Lambda event as well: both forms are read, for
// names of JSON match in any case.
type identity struct {
	Type        string `json:"type"`
	PrincipalID string `json:"principalId"`
}

// FromLambda returns the change of one element of a Lambda event's Records. The
// caller leaves text as it is.
func FromLambda(text []byte) Change {
	c := Change{raw: text}
	var e event
	if err := unmarshal(text, &e); err != nil {
		c.Err = fmt.Errorf("the record of the event: %w", err)
	}
	c.Kind = e.EventName
	if id := e.UserIdentity; id != nil {
		c.Expired = isTTL(id.Type, id.PrincipalID)
	}
	if e.DynamoDB == nil {
		if c.Err == nil {
			c.Err = fmt.Errorf("a record without a change: %w", driver.ErrInvalid)
		}
		return c
	}
	c.Sequence = e.DynamoDB.Sequence
	if at := e.DynamoDB.At; at != nil && math.Abs(*at) < 1<<40 {
		c.At = time.UnixMilli(int64(*at * 1000)).UTC()
	}
	for _, image := range []struct {
		what string
		from json.RawMessage
		to   *dynamo.Item
	}{{"keys", e.DynamoDB.Keys, &c.Keys}, {"old image", e.DynamoDB.Old, &c.Old}, {"new image", e.DynamoDB.New, &c.New}} {
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

// Raw is the record as Lambda hands it over, wherever it came from.
func (c Change) Raw() []byte {
	if c.raw != nil {
		return c.raw
	}
	change := map[string]any{"SequenceNumber": c.Sequence}
	if !c.At.IsZero() {
		change["ApproximateCreationDateTime"] = c.At.Unix()
	}
	for name, item := range map[string]dynamo.Item{"Keys": c.Keys, "NewImage": c.New, "OldImage": c.Old} {
		if item != nil {
			change[name] = typed(item)
		}
	}
	record := map[string]any{"eventName": c.Kind, "eventSource": "aws:dynamodb", "dynamodb": change}
	if c.Expired {
		record["userIdentity"] = identity{"Service", "dynamodb.amazonaws.com"}
	}
	text, err := json.Marshal(record)
	if err != nil { // there is nothing in it that has no JSON
		return []byte("{}")
	}
	return text
}
