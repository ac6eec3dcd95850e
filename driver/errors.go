package driver

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The classes of errors. The list is closed: a driver wraps one of them together
// with the cause (fmt.Errorf("...: %w: %w", class, cause)), or none.
var (
	// ErrConflict means that the condition of a write no longer holds, because of
	// another writer. Read again and decide again.
	ErrConflict = errors.New("conflict")
	// ErrNotFound means that the requested item does not exist.
	ErrNotFound = errors.New("not found")
	// ErrExists means that the item to be created already exists.
	ErrExists = errors.New("already exists")
	// ErrTooLarge means that a size limit, checked before the write, is exceeded.
	// The error is a *[TooLargeError].
	ErrTooLarge = errors.New("too large")
	// ErrThrottled means that the store refused the call because of load. Retry with
	// backoff.
	ErrThrottled = errors.New("throttled")
	// ErrUnavailable means that the store did not answer, is closed, does not exist
	// (yet), or cannot serve the call now. Retry with backoff.
	ErrUnavailable = errors.New("unavailable")
	// ErrUnsupported means that the provider does not support the call, or that stored
	// data has a format that only newer code knows.
	ErrUnsupported = errors.New("unsupported")
	// ErrInvalid means that an argument is malformed. A retry cannot succeed.
	ErrInvalid = errors.New("invalid")
	// ErrDamaged means that stored data has a wrong checksum, cannot be decoded, or
	// contradicts other stored data. The arguments are not at fault, and a retry cannot
	// succeed. Where the place is known, the error is a *[DamageError].
	ErrDamaged = errors.New("damaged")
)

// ConflictError is an [ErrConflict] of [EventLog.Append] with the stored commit that
// has the sequence number.
type ConflictError struct {
	// Winner is the stored commit.
	Winner Commit
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("conflict: %q has a commit %d", e.Winner.Stream, e.Winner.SequenceNr)
}

// Is reports whether target is [ErrConflict].
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// TooLargeError is an [ErrTooLarge] with the size and the limit: in bytes, or for a
// step in writes and advances.
type TooLargeError struct {
	// What is "commit", "command", "row" or "step".
	What string
	// Size is the requested size.
	Size int
	// Limit is the maximum size.
	Limit int
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%s of %d is over the limit of %d", e.What, e.Size, e.Limit)
}

// Is reports whether target is [ErrTooLarge].
func (e *TooLargeError) Is(target error) bool { return target == ErrTooLarge }

// DamageError is an [ErrDamaged] with the place of the damage.
type DamageError struct {
	// Table is the kind of what is damaged: "commits", "snapshots", "rows",
	// "watermarks", "messages" and so on.
	Table string
	// Name is the name of the log, the read model, the consumer or the queue; empty where
	// it is unknown or does not apply.
	Name string
	// Key is the stream, or the id of the entry in the table.
	Key string
	// SequenceNr is that of a commit or snapshot, otherwise 0.
	SequenceNr uint64
	// Cause says what is wrong. It contains no payload.
	Cause error
}

// Error implements error.
func (e *DamageError) Error() string {
	var b strings.Builder
	b.WriteString("stored data is damaged: " + e.Table)
	if e.Name != "" {
		fmt.Fprintf(&b, " of %s", e.Name)
	}
	if e.Key != "" {
		fmt.Fprintf(&b, ", %.100q", e.Key)
	}
	if e.SequenceNr > 0 {
		fmt.Fprintf(&b, ", sequence number %d", e.SequenceNr)
	}
	fmt.Fprintf(&b, ": %v", e.Cause)
	return b.String()
}

// Is reports whether target is [ErrDamaged].
func (e *DamageError) Is(target error) bool { return target == ErrDamaged }

// Unwrap returns the cause.
func (e *DamageError) Unwrap() error { return e.Cause }

// BatchError reports the failed members of a batch; all others took effect.
type BatchError struct {
	// Failed maps the key of each failed member to its error. The comment of the
	// batch method defines the keys.
	Failed map[string]error
}

func (e *BatchError) Error() string {
	keys := make([]string, 0, len(e.Failed))
	for k := range e.Failed {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var b strings.Builder
	fmt.Fprintf(&b, "%d of the batch failed", len(keys))
	for i, k := range keys {
		if i == 3 {
			b.WriteString("; ...")
			break
		}
		fmt.Fprintf(&b, "; %q: %v", k, e.Failed[k])
	}
	return b.String()
}

// Unwrap returns the members' errors, so that errors.Is finds their classes.
func (e *BatchError) Unwrap() []error {
	errs := make([]error, 0, len(e.Failed))
	for _, err := range e.Failed {
		errs = append(errs, err)
	}
	return errs
}

// BehindError is a conflict of [Shadow].Swap: the shadow lacks commits that are served.
type BehindError struct {
	// Behind are streams whose commits the shadow has to apply first, and Blocked are
	// streams that are blocked in the shadow only; at most 1,000 of each.
	Behind, Blocked []StreamKey
}

// Error implements error.
func (e *BehindError) Error() string {
	return fmt.Sprintf("the shadow lacks commits of %d streams, and %d of its streams are blocked", len(e.Behind), len(e.Blocked))
}

// Is reports whether target is [ErrConflict].
func (e *BehindError) Is(target error) bool { return target == ErrConflict }
