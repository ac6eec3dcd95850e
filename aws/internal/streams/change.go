// Package streams parses the records of the stream of a DynamoDB table, as an event
// source mapping hands them to a function.
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

// isTTL reports whether an identity is that of DynamoDB itself.
func isTTL(kind, principal string) bool {
	return kind == "Service" && principal == "dynamodb.amazonaws.com"
}

// Record is the form in which Lambda hands over a record, one element of an event's
// Records.
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

// Identity is who made a change. Its names have capitals in a Lambda event: both forms
// are read, for names of JSON match in any case.
type Identity struct {
	Type        string `json:"type"`
	PrincipalID string `json:"principalId"`
}

// Parse returns the change of one element of a Lambda event's Records. The caller
// leaves text as it is.
func Parse(text []byte) Change {
	var r Record
	err := json.Unmarshal(text, &r)
	return r.Change(text, err)
}

// Change returns the change of the record that was decoded from text, with the error
// of that. The caller leaves text as it is.
func (r Record) Change(text []byte, err error) Change {
	c := Change{Kind: r.EventName, raw: text}
	if err != nil {
		c.Err = fmt.Errorf("the record of the event: %w: %w", driver.ErrInvalid, err)
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

// Raw is the record as Lambda hands it over.
func (c Change) Raw() []byte { return c.raw }
