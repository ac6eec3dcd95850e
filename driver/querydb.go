package driver

import (
	"context"
	"encoding/json"
	"time"
)

// TableSpec describes the store of one read model.
type TableSpec struct {
	// Name is the read model's logical name.
	Name string
	// SubID is the top-level field that distinguishes the rows of one id; empty if
	// there is one row per id.
	SubID string
	// Indexes are the secondary indexes.
	Indexes []Index
	// OwnRow promises that every step has exactly one advance and writes only the
	// row whose id is that advance's stream. A store may then keep the watermark in
	// the row. OwnRow excludes SubID. While there are rows or watermarks, it changes
	// only by [Shadow].Swap: until then no step is applied.
	OwnRow bool
}

// Index is a secondary index. A row is in it when its key field, and its sort
// field if there is one, are present, not null and not the empty string.
type Index struct {
	Name string `json:"name"`
	// Key and Sort are top-level fields of the row.
	Key  Field  `json:"key"`
	Sort *Field `json:"sort,omitempty"`
	// Include are the fields that a query of the index returns. Nil means all; an
	// empty list means only the keys (id, sub id, Key, Sort).
	Include []string `json:"include"`
}

// Field is a top-level field of a row with its type.
type Field struct {
	Name string `json:"name"`
	// Number is true for a JSON number, false for a string.
	Number bool `json:"number,omitempty"`
}

// Key is the key of a row.
type Key struct {
	ID string
	// Sub is the sub id; empty in a table without one.
	Sub string
}

// String returns the id, or id and sub id separated by a NUL character.
func (k Key) String() string {
	if k.Sub == "" {
		return k.ID
	}
	return k.ID + "\x00" + k.Sub
}

// Row is a row of a read model.
type Row struct {
	Key
	// Data is a JSON object, kept byte for byte. Drivers read only its sub id, index,
	// filter and order fields.
	Data json.RawMessage
	// ExpiresAt is when the row expires, in whole seconds; zero means never. From
	// that second on the row is absent for readers. The store keeps it for
	// [ExpiryGrace], for the methods of [RowStore] that say so.
	ExpiresAt time.Time
	// Revision is set by the store and is at least 1. It grows with every write to
	// the row and is never reused for a key, even after the row was deleted or
	// expired.
	Revision uint64
}

// ExpiryGrace is how long a store keeps a row at least after it has expired, and after it
// was written if it had expired by then. A rebuild, or a projection that is late, may
// come to an event that extends the row.
const ExpiryGrace = 24 * time.Hour

// QueryDb stores the rows of one read model together with the watermarks of its
// projections. It is strongly consistent: a read sees every write that returned
// before. (Queries of a [QueryEngine] may lag.)
//
// A row is refused with an [ErrInvalid] that names the field if its id or sub id is
// bad (see [CheckID]), its data is not a JSON object, an index field has another type
// than declared, or its sub id field is not a string equal to Key.Sub. In a table
// without sub ids Key.Sub must be empty. A row over the size limit is refused with
// [ErrTooLarge].
type QueryDb interface {
	RowStore

	// Shadow returns the shadow of the read model. It makes no request.
	Shadow() Shadow

	// Clear removes all rows and all watermarks of the read model, for a rebuild.
	// Every row that existed before the call is removed. If there are no concurrent
	// writes, every watermark is 0 and not blocked afterwards.
	//
	// It may run concurrently with all other calls, including calls of other
	// processes and of Clear itself. It is not atomic: until it returns, rows may be
	// missing and streams may be blocked, so that Apply, Advance and Unblock fail
	// with [ErrConflict]. After it returns nil, each step that took effect before or
	// during the call has either been removed completely, rows and watermarks, or is
	// in effect completely, and Clear leaves no stream blocked: a consumer that then
	// applies the commits after the watermarks has each commit in the rows exactly
	// once. Rows that are written during the call without a watermark may be removed.
	//
	// [ErrThrottled] means that Clear could not finish because streams without a
	// watermark kept appearing. After this or any other error, or if its process
	// ends, rows may be missing whose commits count as applied, and streams may stay
	// blocked, until Clear is called again and returns nil.
	Clear(ctx context.Context) error
}

// RowStore is a set of rows with the watermarks of the commits that are in them.
type RowStore interface {
	Watermarks

	// Load returns the rows of id, ascending by sub id, also expired ones: for a
	// projection, the time of a commit decides what has expired. If there are none, it
	// returns nil, nil.
	Load(ctx context.Context, id string) ([]Row, error)

	// LoadRow returns one row, or [ErrNotFound] if it is absent or has expired.
	LoadRow(ctx context.Context, key Key) (Row, error)

	// LoadRows returns the existing rows among keys, each once, in no order, also
	// expired ones. They are not a snapshot: other writes may occur between the reads.
	// Without keys, or
	// if no row exists, it returns nil, nil.
	LoadRows(ctx context.Context, keys []Key) ([]Row, error)

	// Apply writes the rows of step and moves its watermarks atomically; no reader
	// sees only a part. A step without advances only writes rows.
	//
	// It fails with [ErrConflict] if a watermark is not at its From or is blocked, or
	// if a guarded row has another revision; with [ErrTooLarge] if the step has more
	// writes and advances than the provider allows; and with [ErrInvalid] if it has
	// two writes to one key or two advances of one stream, or breaks the promise of
	// [TableSpec].OwnRow.
	Apply(ctx context.Context, step Step) error
}

// Shadow is a second set of rows and watermarks of a read model, which a rebuild fills
// while the rows of the [QueryDb] are served. It is durable, accepts the same steps, and
// shares nothing with the served rows: no query and no state topic sees it. Its revisions
// have a meaning only within it. It begins empty, with every watermark at 0.
type Shadow interface {
	RowStore

	// Record returns what SetRecord or Swap stored last, or nil, nil. It belongs to the
	// read model, not to the rows of the shadow: Drop keeps it.
	Record(ctx context.Context) ([]byte, error)

	// SetRecord stores at most 64 KiB of JSON.
	SetRecord(ctx context.Context, record []byte) error

	// Swap makes the rows and watermarks of the shadow the served ones, empties the
	// shadow and stores record, all atomically. It returns the number of rows that
	// differed. Only these are written, with revisions that their keys never had, and
	// published, as added, updated or removed; equal rows, by data and expiry, keep their
	// revision. A row that has expired counts as removed, and is kept like any other. If
	// the served rows have another [TableSpec].SubID than the one that the read model was
	// opened with, it is replaced.
	//
	// Swap moves no watermark of logs back and hides no commit that is served: it fails
	// with a [*BehindError], and changes nothing, if the watermark of one of their streams
	// is smaller in the shadow than the served one, or if the shadow is blocked where the
	// served rows are not.
	Swap(ctx context.Context, record []byte, logs []string) (changed int, err error)

	// Drop empties the shadow. It is not atomic: after an error it is called again.
	Drop(ctx context.Context) error
}

// Step is one atomic step of a projection.
type Step struct {
	Advances []Advance
	Writes   []RowWrite
}

// RowWrite is the write or deletion of one row in a step.
type RowWrite struct {
	// Row is the row to store. Its Revision is ignored.
	Row Row
	// Delete removes the row; only Row.Key is used then.
	Delete bool
	// Guard makes the step fail unless the row's revision is Expect; an Expect
	// of 0 means that the store has no such row, not even an expired one. Without
	// Guard the write is unconditional.
	Guard  bool
	Expect uint64
}

// Watermarks stores the watermarks of one consumer: for each stream of its sources
// the last commit that it has applied.
type Watermarks interface {
	// Watermark returns the watermark of a stream. For an unknown stream it is zero.
	Watermark(ctx context.Context, stream StreamKey) (Watermark, error)

	// Watermarks returns the watermarks of many streams. The result has an entry for
	// every key.
	Watermarks(ctx context.Context, streams []StreamKey) (map[StreamKey]Watermark, error)

	// Advance moves all the watermarks or none. It fails with [ErrConflict] if one is
	// not at its From or is blocked.
	Advance(ctx context.Context, advances []Advance) error

	// Block blocks a stream: until Unblock every Advance and Apply for it fails with
	// [ErrConflict]. at is the expected watermark; with another one Block fails with
	// [ErrConflict]. For a blocked stream it returns nil.
	Block(ctx context.Context, stream StreamKey, at uint64) error

	// Unblock ends a block. For a stream that is not blocked it returns nil. It fails
	// with [ErrConflict] while [QueryDb].Clear blocks the stream.
	Unblock(ctx context.Context, stream StreamKey) error
}

// StreamKey identifies a stream of a log.
type StreamKey struct {
	Log    string
	Stream string
}

// Watermark is the watermark of a consumer in one stream.
type Watermark struct {
	// SequenceNr is the last applied commit; 0 if none was applied.
	SequenceNr uint64
	// Blocked is true if the next commit is parked.
	Blocked bool
}

// Advance moves the watermark of one stream.
type Advance struct {
	StreamKey
	// From is the required watermark and To the new one, which is not less than
	// From. If they are equal, the advance is only a condition and moves nothing; in
	// a step with [TableSpec].OwnRow they must differ.
	From, To uint64
}
