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
	// ErrUnsupported means that the provider does not support the call.
	ErrUnsupported = errors.New("unsupported")
	// ErrInvalid means that an argument or stored data is malformed. A retry cannot
	// succeed.
	ErrInvalid = errors.New("invalid")
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
