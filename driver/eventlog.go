package driver

import (
	"context"
	"encoding/json"
	"iter"
	"time"
)

// EventLog is an append-only log of commits, partitioned by stream. One log has the
// streams of all entities of one aggregate.
type EventLog interface {
	// Append stores c as commit c.SequenceNr of c.Stream. It is atomic, and durable
	// when it returns nil. Of concurrent appends with the same stream and sequence
	// number exactly one succeeds; every other returns an [ErrConflict] that is a
	// *[ConflictError] with the stored commit, even if the commits are equal. A
	// commit is never changed or removed.
	//
	// The caller must have read the preceding commit: a driver need not check that
	// c.SequenceNr-1 exists. The store ignores c.RecordedAt and sets it.
	//
	// A sequence number of 0, a bad stream id (see [CheckID]), a commit without
	// events or commands, an event without a type, or data that is not JSON is
	// [ErrInvalid]; a commit over the size limit is [ErrTooLarge]. In these cases
	// nothing is stored.
	Append(ctx context.Context, c Commit) error

	// Read yields the commits of stream with sequence numbers greater than after,
	// ascending and without gaps. It sees every commit whose Append returned before
	// Read was called. A stream without commits yields nothing. An error is yielded
	// once, as the last element; the elements before it are valid.
	Read(ctx context.Context, stream string, after uint64) iter.Seq2[Commit, error]

	// Load returns the commits that are needed to compute the state of stream,
	// ascending: those from the newest commit with a snapshot of stateVersion on,
	// including it, or all if there is no such snapshot. The caller may use only the
	// snapshot of the first commit, and only if its state version matches. Load sees
	// every commit whose Append returned before. For a stream without commits it
	// returns nil, nil. Any error fails the call: Load never returns part of the
	// commits.
	Load(ctx context.Context, stream string, stateVersion int) ([]Commit, error)

	// Scan yields all commits of one segment, numbered 0 to segments-1. Each stream
	// belongs to one segment. The commits of a stream are ascending and without
	// gaps; streams are in no order and may be interleaved. Scan yields at least the
	// commits that were stored when it was called. An error is yielded once, as the
	// last element. An empty log yields nothing; a segment out of range yields
	// [ErrInvalid].
	Scan(ctx context.Context, segment, segments int) iter.Seq2[Commit, error]
}

// Commit is the unit of the log: the events of one append, stored and read together.
type Commit struct {
	// Stream is the entity id.
	Stream string `json:"id"`
	// SequenceNr numbers the commits of a stream: 1, 2, 3 and so on.
	SequenceNr uint64 `json:"sequenceNr"`
	// Events are in the order in which they happened.
	Events []Event `json:"events"`
	// Commands are the commands that this commit answers, in the order of their
	// events: the first EventCount events belong to the first command, and so on.
	Commands []AnsweredCommand `json:"commands"`
	// RecordedAt is the store's time, in UTC. It is informational.
	RecordedAt time.Time `json:"recordedAt,omitzero"`
	// Snapshot is the state after this commit. Only some commits have one.
	Snapshot *Snapshot `json:"snapshot,omitempty"`
}

// Event is a stored event. Data is kept byte for byte.
type Event struct {
	Type    string          `json:"type"`
	Version int             `json:"version"`
	Data    json.RawMessage `json:"data"`
}

// AnsweredCommand is a command that a commit answers.
type AnsweredCommand struct {
	// Meta is the meta of the command, from which the meta of its events is derived.
	Meta Meta `json:"meta"`
	// EventCount is the number of events in the commit that the command produced.
	EventCount int `json:"eventCount"`
}

// Snapshot is the state of a stream after the commit that contains it.
type Snapshot struct {
	// StateVersion is the aggregate's state version when State was computed.
	StateVersion int `json:"stateVersion"`
	// State is the state as JSON, kept byte for byte.
	State json.RawMessage `json:"state"`
	// Recent are the commands answered by this commit and earlier ones, oldest
	// first, as many as the engine remembers.
	Recent []RecentCommand `json:"recent,omitempty"`
}

// RecentCommand identifies an answered command and its commit.
type RecentCommand struct {
	ID         string `json:"id"`
	SequenceNr uint64 `json:"sequenceNr"`
	EventCount int    `json:"eventCount"`
}
