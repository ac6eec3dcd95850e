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
	// SubID is the top-level field that tells the rows of one id apart; empty
	// when there is one row per id.
	SubID string
	// Indexes are the ways to query beside the id.
	Indexes []Index
	// OwnRow promises that every step has one advance and touches only the row
	// whose id is that advance's stream, so that a store may keep the watermark in
	// the row. It excludes a SubID, and stays what it was while there are rows or
	// watermarks.
	OwnRow bool
}

// Index is a secondary index. A row is in it when its key field, and its sort
// field if there is one, are present, not null and not the empty string.
type Index struct {
	Name string `json:"name"`
	// Key and Sort are top-level fields of the row.
	Key  Field  `json:"key"`
	Sort *Field `json:"sort,omitempty"`
	// Include are the fields that a query of the index returns. Nil is all;
	// not nil but empty is the keys only (id, sub id, Key, Sort).
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
	// Data is a JSON object, kept byte for byte. Drivers look inside for index
	// and filter fields only.
	Data json.RawMessage
	// ExpiresAt is when the row ends, in whole seconds; zero is never. From that
	// second on no method sees the row: it is absent in every respect, wherever
	// the store still has it.
	ExpiresAt time.Time
	// Revision is set by the store: it grows with every write to the row, and a
	// row that was deleted or expired and comes again never has a revision that
	// it had before. It is at least 1.
	Revision uint64
}

// QueryDb stores the rows of one read model, and with them how far each stream
// has been projected. It is strongly consistent: a read sees every write that
// returned before. (Queries of package QueryEngine may lag.)
//
// A row with a bad id or sub id (see [CheckID]), with data that is not a JSON
// object, with a field of an index that is of another type than declared, or
// whose sub id field is not a string equal to Key.Sub, is refused with
// [ErrInvalid] naming the field; in a table without sub ids Key.Sub must be
// empty. A row over the size limit is refused with [ErrTooLarge].
type QueryDb interface {
	Watermarks

	// Load returns the rows of id, ascending by sub id; none is nil, nil.
	Load(ctx context.Context, id string) ([]Row, error)

	// LoadRow returns one row; [ErrNotFound] when there is none.
	LoadRow(ctx context.Context, key Key) (Row, error)

	// LoadRows returns the rows that exist among keys, in no order, each once.
	// The rows are not a snapshot: another writer may come between them. No
	// keys, or none found, is nil, nil.
	LoadRows(ctx context.Context, keys []Key) ([]Row, error)

	// Apply writes the rows of step and moves its watermarks in one atomic
	// step: all of it or nothing, and no reader sees a part. A step without
	// advances writes rows alone. It fails with
	// [ErrConflict] when a watermark is not at its From or is blocked, or when a
	// guarded row has another revision. More rows and watermarks than the
	// provider takes at once: [ErrTooLarge]. Two writes to one key, two advances
	// of one stream, or a step that breaks the promise of [TableSpec].OwnRow:
	// [ErrInvalid].
	Apply(ctx context.Context, step Step) error

	// Clear removes all rows and all watermarks of the read model, for a rebuild.
	// No row is left that was there before, and where nobody writes beside it every
	// watermark is 0 and not blocked afterwards.
	//
	// It may be called beside all other calls, also of other processes and of
	// itself. It is not atomic: until it returns rows may be missing and streams may
	// be blocked, with Apply, Advance and Unblock failing with [ErrConflict]. But
	// when it has returned, a step that took effect before it or beside it is
	// either gone, rows and watermark, or has all its effect, and no stream is
	// blocked by it: whoever then applies what is behind the watermarks has each
	// commit once in the rows. Rows that are written beside it without a watermark
	// may be removed.
	//
	// [ErrThrottled] says that it found no end, because streams that had no
	// watermark kept coming. After that, any other error, and when its process
	// ended, rows may be gone whose commits count as applied, and streams may stay
	// blocked, until it is called again and returns nil.
	Clear(ctx context.Context) error
}

// Step is one atomic step of a projection.
type Step struct {
	Advances []Advance
	Writes   []RowWrite
}

// RowWrite is one row's part of a step.
type RowWrite struct {
	// Row is the row to store. Its Revision is ignored.
	Row Row
	// Delete removes the row; only Row.Key is used then.
	Delete bool
	// Guard makes the step fail unless the row's revision is Expect; an Expect
	// of 0 means that the row must be absent. Without it the write is blind.
	Guard  bool
	Expect uint64
}

// Watermarks keeps the last commit that one consumer has applied of each stream of
// its sources.
type Watermarks interface {
	// Watermark returns how far the stream has been applied; a stream never
	// seen is the zero Watermark.
	Watermark(ctx context.Context, stream StreamKey) (Watermark, error)

	// Watermarks is Watermark for many streams at once. The result has an entry
	// for every key.
	Watermarks(ctx context.Context, streams []StreamKey) (map[StreamKey]Watermark, error)

	// Advance moves watermarks, all or none. [ErrConflict] when one is not at
	// its From or is blocked.
	Advance(ctx context.Context, advances []Advance) error

	// Block stops the stream at its watermark: until Unblock every Advance and
	// Apply for it fails. [ErrConflict] when the watermark is not at, the number
	// of the last applied commit. Blocking a blocked stream is nil.
	Block(ctx context.Context, stream StreamKey, at uint64) error

	// Unblock lets the stream go on; one that is not blocked is nil. [ErrConflict]
	// when the stream is stopped by [QueryDb].Clear.
	Unblock(ctx context.Context, stream StreamKey) error
}

// StreamKey is one stream of one log.
type StreamKey struct {
	Log    string
	Stream string
}

// Watermark says how far a consumer has come in a stream.
type Watermark struct {
	// SequenceNr is the last commit that was applied; 0 is none.
	SequenceNr uint64
	// Blocked is true when the next commit is parked.
	Blocked bool
}

// Advance moves the watermark of one stream.
type Advance struct {
	StreamKey
	// From is where it must be; To is where it goes, and not less than From. One
	// that is equal, which own row steps do not have, moves nothing: it is the
	// condition alone.
	From, To uint64
}
