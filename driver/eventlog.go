package driver

import (
	"context"
	"encoding/json"
	"iter"
	"time"
)

// EventLog is an append-only log of commits, partitioned by stream. One log
// holds all the instances of one aggregate.
type EventLog interface {
	// Append stores c as commit c.SequenceNr of c.Stream. It is atomic and
	// durable before it returns nil. Of any number of concurrent appends with
	// one (stream, sequence number) exactly one succeeds; each other one gets an
	// [ErrConflict] that is a *[ConflictError] with the stored commit, also when
	// both are equal. A commit is never changed or removed.
	//
	// The caller appends only at the number that follows one it has read: a
	// driver need not check that c.SequenceNr-1 exists. c.RecordedAt is ignored
	// and set by the store.
	//
	// A number of 0, a bad stream id (see [CheckID]), a commit without events or
	// commands, data that is not JSON: [ErrInvalid]. Over the size limit:
	// [ErrTooLarge]. In both cases nothing is stored.
	Append(ctx context.Context, c Commit) error

	// Read yields the commits of stream with sequence numbers above after, in
	// ascending order without gaps. It sees every commit whose Append returned
	// before Read was called. A stream without commits yields nothing. An error
	// is yielded once, as the last element; what came before it is valid.
	Read(ctx context.Context, stream string, after uint64) iter.Seq2[Commit, error]

	// Load returns what it takes to fold stream: the commits, ascending, from
	// the newest one that carries a snapshot of foldVersion (that one included),
	// or all of them when there is none. The first commit's snapshot, and no
	// other, is to be used, and only if its fold version matches. It sees every
	// commit whose Append returned before. A stream without commits is nil, nil.
	// An error anywhere fails the call: a shortened stream is never returned.
	Load(ctx context.Context, stream string, foldVersion int) ([]Commit, error)

	// Scan yields all commits of segment, of 0 to segments-1; every stream lies
	// in one segment. Inside a stream the order is ascending without gaps;
	// between streams there is none, and streams may be interleaved. It yields
	// at least the commits that were stored when it was called. An error is
	// yielded once, as the last element. An empty log yields nothing; a segment
	// outside of the range, [ErrInvalid].
	Scan(ctx context.Context, segment, segments int) iter.Seq2[Commit, error]
}

// Commit is the unit of the log: the events of one append, stored and read as one.
type Commit struct {
	// Stream is the entity's id.
	Stream string `json:"id"`
	// SequenceNr numbers the commits of a stream: 1, 2, 3 and so on.
	SequenceNr uint64 `json:"sequenceNr"`
	// Events are in the order in which they happened.
	Events []Event `json:"events"`
	// Commands are the commands that this commit answers, in the order of their
	// events: the first owns the first EventCount events, and so on.
	Commands []AnsweredCommand `json:"commands"`
	// RecordedAt is the store's time, in UTC. It informs.
	RecordedAt time.Time `json:"recordedAt,omitzero"`
	// Snapshot is the state after this commit, on some commits.
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
	// Meta is the command's meta, and so the origin of its events' meta.
	Meta Meta `json:"meta"`
	// EventCount is how many of the commit's events the command led to.
	EventCount int `json:"eventCount"`
}

// Snapshot is the folded state of a stream up to and including the commit that
// carries it.
type Snapshot struct {
	// FoldVersion is the version of the fold that made State.
	FoldVersion int `json:"foldVersion"`
	// State is the folded state as JSON, kept byte for byte.
	State json.RawMessage `json:"state"`
	// Recent are the commands answered before and by this commit, oldest first,
	// as many as the engine remembers.
	Recent []RecentCommand `json:"recent,omitempty"`
}

// RecentCommand is what is remembered of an answered command.
type RecentCommand struct {
	ID         string `json:"id"`
	SequenceNr uint64 `json:"sequenceNr"`
	EventCount int    `json:"eventCount"`
}
