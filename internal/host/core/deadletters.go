package core

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/reventless-go/reventless/driver"
)

// Park stores a dead letter with its reason.
func (c *Core) Park(ctx context.Context, l driver.DeadLetter, reason error) error {
	l.ID, l.Reason, l.ParkedAt = deadLetterID(l.ID), oneLine(reason.Error()), c.Now().UTC()
	if err := c.DeadLetters.Park(ctx, l); err != nil {
		return fmt.Errorf("park %s: %w", l.ID, err)
	}
	if l.Kind == driver.DeadCommand {
		if err := c.keepFailure(ctx, l); err != nil {
			return fmt.Errorf("park %s: keep the outcome: %w", l.ID, err)
		}
	}
	c.Stats.Parked.Add(1)
	c.Log.Error("parked", "component", l.Component, "deadLetter", l.ID, "reason", ForLog(reason))
	return nil
}

// RemoveLetter removes a dead letter if it is parked.
func (c *Core) RemoveLetter(ctx context.Context, l driver.DeadLetter) error {
	return c.DeadLetters.Remove(ctx, deadLetterID(l.ID))
}

// keepFailure stores the outcome of a command that is parked.
func (c *Core) keepFailure(ctx context.Context, l driver.DeadLetter) error {
	var command driver.Command
	if json.Unmarshal(l.Body, &command) != nil {
		return nil // it was no command
	}
	o := Outcome(driver.Failed, command)
	o.Message = l.Reason
	return c.KeepOutcome(ctx, o, command)
}

// ParkUndecodable parks a record whose stream or sequence number is unknown.
func (c *Core) ParkUndecodable(ctx context.Context, component, consumer, log string, d driver.Delivery[driver.Record]) error {
	reason := d.Message.Err
	if reason == nil {
		reason = fmt.Errorf("the record has no stream or no sequence number: %w", driver.ErrInvalid)
	}
	return c.Park(ctx, driver.DeadLetter{
		ID: "raw/" + consumer + "/" + log + "/" + Digest(d.Message.Raw, d.ID), Component: component, Kind: driver.DeadRaw,
		Log: log, Stream: d.Message.Stream, SequenceNr: d.Message.SequenceNr, Body: d.Message.Raw, Attempts: d.Attempt,
	}, reason)
}

// Undecodable reports whether the stream or the sequence number of a record is unknown.
func Undecodable(r driver.Record) bool { return r.Err != nil || r.Stream == "" || r.SequenceNr == 0 }

// deadLetterID shortens an id so that every store accepts it. Only an id with parts
// from foreign messages can be too long or invalid.
func deadLetterID(id string) string {
	const limit = 1500
	if len(id) <= limit && utf8.ValidString(id) {
		return id
	}
	return strings.ToValidUTF8(id[:min(len(id), limit/2)], "") + "#" + Digest([]byte(id), "")
}

// CommitDeadLetterID returns the id of the dead letter of a stream at a consumer. A stream
// has at most one dead letter per consumer.
func CommitDeadLetterID(consumer string, stream driver.StreamKey) string {
	return deadLetterID("commit/" + consumer + "/" + stream.Log + "/" + stream.Stream)
}

// Digest returns a hash of data, or otherwise if data is empty.
func Digest(data []byte, otherwise string) string {
	if len(data) == 0 {
		return otherwise
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16])
}

// CommandLetter returns the dead letter of a command that an aggregate could not handle.
func CommandLetter(aggregate string, c driver.Command) driver.DeadLetter {
	if !json.Valid(c.Data) { // it cannot be embedded in JSON, so it is stored as a string
		c.Data, _ = json.Marshal(string(c.Data)) // marshalling a string cannot fail
	}
	body, _ := json.Marshal(c) // marshalling strings, times and JSON cannot fail
	return driver.DeadLetter{
		ID: "command/" + aggregate + "/" + c.Entity + "/" + c.Meta.ID, Component: aggregate, Kind: driver.DeadCommand, Stream: c.Entity, Body: body,
	}
}
