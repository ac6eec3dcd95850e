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
	// events or commands, commands that do not have the number of its events, an event
	// without a type, or data that is not JSON is [ErrInvalid]; a commit over the size
	// limit is [ErrTooLarge]. In these cases nothing is stored. If the stored commit is
	// damaged, the error is an [ErrDamaged] instead of an [ErrConflict].
	Append(ctx context.Context, c Commit) error

	// Read yields the commits of stream with sequence numbers greater than after and
	// at most through, ascending and without gaps; a through of 0 means all. It sees
	// every commit whose Append returned before Read was called. If there is no such
	// commit, it yields nothing. An error is yielded once, as the last element; the
	// elements before it are valid. A damaged commit is an [ErrDamaged] that names it
	// in a *[DamageError]; a damaged snapshot is no error, see [Commit].SnapshotErr.
	Read(ctx context.Context, stream string, after, through uint64) iter.Seq2[Commit, error]

	// Load returns the commits that are needed to compute the state of stream,
	// ascending: those from the newest commit with a usable snapshot on, including it,
	// or all if there is no usable snapshot. usable is not called concurrently. The
	// caller may use only the snapshot of the first commit, and only if it is
	// usable. Load sees every commit whose Append returned before. For a stream
	// without commits it returns nil, nil. Any error, such as [ErrDamaged] for one of
	// the commits, fails the call: Load never returns part of the commits. A damaged
	// snapshot is not usable; usable is not called for it.
	Load(ctx context.Context, stream string, usable func(SnapshotHead) bool) ([]Commit, error)

	// Scan yields all commits of one segment, numbered 0 to segments-1. Each stream
	// belongs to one segment. The commits of a stream are ascending and without
	// gaps; streams are in no order and may be interleaved. Scan yields at least the
	// commits that were stored when it was called. In the place of a damaged commit it
	// yields a *[DamageError] and goes on. Any other error is yielded once, as the last
	// element. An empty log yields nothing; a segment out of range yields
	// [ErrInvalid].
	Scan(ctx context.Context, segment, segments int) iter.Seq2[Commit, error]
}

// Commit is the unit of the log: the events of one append, stored and read together.
type Commit struct {
	// Stream is the entity id.
	Stream string
	// SequenceNr numbers the commits of a stream: 1, 2, 3 and so on.
	SequenceNr uint64
	// Events are in the order in which they happened.
	Events []Event
	// Commands are the commands that this commit answers, in the order of their
	// events: the first EventCount events belong to the first command, and so on.
	Commands []AnsweredCommand
	// RecordedAt is the store's time, in UTC. It is informational.
	RecordedAt time.Time
	// LastSnapshot is the sequence number of the newest earlier commit with a
	// snapshot; 0 if the writer knew of none.
	LastSnapshot uint64
	// Snapshot is the state after this commit. Only some commits have one.
	Snapshot *Snapshot
	// SnapshotErr says why a stored snapshot cannot be read: [ErrDamaged], or
	// [ErrUnsupported] if only newer code knows its format. Snapshot is nil then; the rest
	// of the commit is valid. Append ignores it.
	SnapshotErr error
}

// Event is a stored event. Data is kept byte for byte.
type Event struct {
	Type    string
	Version int
	Data    json.RawMessage
}

// AnsweredCommand is a command that a commit answers.
type AnsweredCommand struct {
	// Meta is the meta of the command, from which the meta of its events is derived.
	// Service is not stored: it is the name of the log.
	Meta Meta
	// Fingerprint is the [Fingerprint] of the command as its sender sent it.
	Fingerprint uint32
	// EventCount is the number of events in the commit that the command produced.
	EventCount int
}

// Snapshot is the state of a stream after the commit that contains it.
type Snapshot struct {
	SnapshotHead
	// State is the state as JSON, kept byte for byte.
	State json.RawMessage
	// From is the sequence number of a commit: Remembered has all commands of that
	// commit and of later ones. If it is 1, every command of the stream is remembered; if
	// it is 0, Remembered may lack any. Since is a time at which commit From was already
	// recorded.
	From  uint64
	Since time.Time
	// Remembered are the commands answered by this commit and earlier ones, oldest
	// first, as many as the engine keeps in a snapshot.
	Remembered []RememberedCommand
}

// SnapshotHead says which code can use a snapshot.
type SnapshotHead struct {
	// Shape is a fingerprint of the structure of the state's type.
	Shape string
	// StateVersion is the aggregate's state version when the state was computed.
	StateVersion int
	// Folded are the types of the events that led to the state, each as
	// "<type>/<version>", sorted. Code that cannot read one of them must not use the
	// snapshot.
	Folded []string
}

// RememberedCommand identifies an answered command and its commit.
type RememberedCommand struct {
	// Hash is the [HashID] of the command's id.
	Hash        uint64
	Fingerprint uint32
	SequenceNr  uint64
	EventCount  int
}
