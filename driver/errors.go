package driver

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The classes of failure. The list is closed: a driver wraps one of them
// together with the cause (fmt.Errorf("...: %w: %w", class, cause)), or none.
var (
	// ErrConflict says that a condition of the write was lost to another
	// writer. Re-read and decide again.
	ErrConflict = errors.New("conflict")
	// ErrNotFound says that what was named does not exist.
	ErrNotFound = errors.New("not found")
	// ErrExists says that what should be created exists.
	ErrExists = errors.New("already exists")
	// ErrTooLarge says that a size limit was exceeded, measured before the
	// write. The error is a *[TooLargeError].
	ErrTooLarge = errors.New("too large")
	// ErrThrottled says that the store refused for load. Retry with backoff.
	ErrThrottled = errors.New("throttled")
	// ErrUnavailable says that the store did not answer, is closed, does not
	// exist (yet), or cannot serve now. Retry with backoff.
	ErrUnavailable = errors.New("unavailable")
	// ErrUnsupported says that this provider cannot do what was asked.
	ErrUnsupported = errors.New("unsupported")
	// ErrInvalid says that an argument, or stored data, is malformed. Retrying
	// is of no use.
	ErrInvalid = errors.New("invalid")
)

// ConflictError is an [ErrConflict] of [EventLog.Append]; it carries the commit
// that holds the sequence number.
type ConflictError struct {
	// Winner is the stored commit.
	Winner Commit
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("conflict: %q has a commit %d", e.Winner.Stream, e.Winner.SequenceNr)
}

// Is reports whether target is [ErrConflict].
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// TooLargeError is an [ErrTooLarge] with its figures in bytes, or in items
// where What says so.
type TooLargeError struct {
	// What names what was measured: "commit", "command", "row", "step".
	What string
	// Size is what was asked for.
	Size int
	// Limit is the most that is allowed.
	Limit int
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%s of %d is over the limit of %d", e.What, e.Size, e.Limit)
}

// Is reports whether target is [ErrTooLarge].
func (e *TooLargeError) Is(target error) bool { return target == ErrTooLarge }

// BatchError says which members of a batch failed; all others took effect.
type BatchError struct {
	// Failed maps the key of each failed member to its error. The batch method
	// says what the key is.
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
