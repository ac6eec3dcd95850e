package driver

import (
	"context"
	"encoding/json"
	"iter"
)

// StateTopic tells the changes of the rows of one read model.
type StateTopic interface {
	// Subscribe starts to listen: the sequence yields every change whose write
	// was started after Subscribe returned. Changes of one row come in the order
	// of their revisions. The sequence can be ranged over once; it waits for
	// changes, ends without an error when ctx is done, and ends with
	// [ErrUnavailable] when the subscriber was so slow that changes had to be
	// dropped. A subscriber never delays a writer.
	Subscribe(ctx context.Context) (iter.Seq2[StateChange, error], error)
}

// ChangeKind is what happened to a row.
type ChangeKind string

// The kinds of changes. A row that expires is not told.
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
	// Row is the data of the row after the write; of one that was removed, the
	// data that it had before.
	Row json.RawMessage `json:"row,omitempty"`
}
