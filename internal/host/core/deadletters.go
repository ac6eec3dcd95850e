package core

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/reventless-go/reventless/driver"
)

// Park keeps what could not be handled, with its reason.
func (c *Core) Park(ctx context.Context, l driver.DeadLetter, reason error) error {
	l.ID, l.Reason, l.ParkedAt = deadLetterID(l.ID), oneLine(reason.Error()), c.Now().UTC()
	if err := c.DeadLetters.Park(ctx, l); err != nil {
		return fmt.Errorf("park %s: %w", l.ID, err)
	}
	c.Stats.Parked.Add(1)
	c.Log.Error("parked", "component", l.Component, "deadLetter", l.ID, "reason", ForLog(reason))
	return nil
}

// ParkUndecodable keeps a record that does not say which commit it is about.
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

// Undecodable reports whether a record does not say which commit it is about.
func Undecodable(r driver.Record) bool { return r.Err != nil || r.Stream == "" || r.SequenceNr == 0 }

// deadLetterID shortens an id such that every store takes it. Ids made of valid parts
// stay as they are; parts that others chose may be anything.
func deadLetterID(id string) string {
	const limit = 1500
	if len(id) <= limit && utf8.ValidString(id) {
		return id
	}
	return strings.ToValidUTF8(id[:min(len(id), limit/2)], "") + "#" + Digest([]byte(id), "")
}

// CommitLetterID is the id of the dead letter of a stream at a consumer: there is one
// at a time.
func CommitLetterID(consumer string, stream driver.StreamKey) string {
	return deadLetterID("commit/" + consumer + "/" + stream.Log + "/" + stream.Stream)
}

// Digest names data by its hash, or by otherwise when there is no data.
func Digest(data []byte, otherwise string) string {
	if len(data) == 0 {
		return otherwise
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16])
}
