package driver

import (
	"context"
	"encoding/json"
	"iter"
)

// StateTopic publishes the changes of the rows of one read model.
type StateTopic interface {
	// Subscribe returns a sequence of every change whose write starts after Subscribe
	// returned. Changes of one row are in the order of their revisions. The sequence
	// can be ranged over once and waits for changes. It ends without an error when
	// ctx is done, and with [ErrUnavailable] if the subscriber was so slow that
	// changes were dropped. A subscriber never delays a writer.
	Subscribe(ctx context.Context) (iter.Seq2[StateChange, error], error)
}

// ChangeKind is the kind of a state change.
type ChangeKind string

// The kinds of changes. A write of a row that was absent or had expired is Added. The
// expiry of a row is not published.
const (
	Added   ChangeKind = "Added"
	Updated ChangeKind = "Updated"
	Removed ChangeKind = "Removed"
)

// StateChange is one change of one row.
type StateChange struct {
	Kind      ChangeKind `json:"kind"`
	ReadModel string     `json:"readModel"`
	ID        string     `json:"id"`
	SubID     string     `json:"subId,omitempty"`
	Revision  uint64     `json:"revision"`
	// Row is the data of the row after the write; for a removed row, its last data.
	Row json.RawMessage `json:"row,omitempty"`
}
