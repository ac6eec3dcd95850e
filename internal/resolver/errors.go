package resolver

import (
	"context"
	"errors"
	"fmt"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/host"
)

// Code is the stable name of an error, in extensions.code of a GraphQL error.
type Code string

// The codes.
const (
	// Unauthenticated: the caller has to say who it is.
	Unauthenticated Code = "UNAUTHENTICATED"
	// Forbidden: the caller is known and may not.
	Forbidden Code = "FORBIDDEN"
	// BadInput: an argument is wrong, and the message says which.
	BadInput Code = "BAD_USER_INPUT"
	// PageSize: more rows were asked for than a page may have.
	PageSize Code = "PAGE_SIZE"
	// TooLarge: a command is over the size limit.
	TooLarge Code = "TOO_LARGE"
	// WaitTimeout: waitFor took too long; the same query may be asked again.
	WaitTimeout Code = "WAIT_TIMEOUT"
	// ProjectionStopped: waitFor waits for a commit that is parked.
	ProjectionStopped Code = "PROJECTION_STOPPED"
	// Timeout: the operation took too long. A command may still take effect; the
	// same commandId tells.
	Timeout Code = "TIMEOUT"
	// Unavailable: the store cannot do it now; trying again may help.
	Unavailable Code = "UNAVAILABLE"
	// Internal: everything else. The cause is in the log, under the id that the
	// caller gets.
	Internal Code = "INTERNAL"
)

// Error is an error that a caller may see. Anything else is internal.
type Error struct {
	Code    Code
	Message string
	// Cause is for the log only.
	Cause error
}

// Error implements error.
func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

func fail(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Classify turns an error of the engine or a store into one for callers.
func Classify(err error) *Error {
	var own *Error
	var tooLarge *driver.TooLargeError
	switch {
	case errors.As(err, &own):
		return own
	case errors.Is(err, host.ErrBlocked):
		return &Error{ProjectionStopped, "the read model has stopped before this position; an operator has to look at what is parked", err}
	case errors.As(err, &tooLarge):
		return &Error{TooLarge, fmt.Sprintf("the %s has %d bytes, the limit is %d", tooLarge.What, tooLarge.Size, tooLarge.Limit), err}
	case errors.Is(err, driver.ErrTooLarge):
		return &Error{TooLarge, "it is over the size limit", err}
	case errors.Is(err, context.Canceled), errors.Is(err, driver.ErrUnavailable), errors.Is(err, driver.ErrThrottled),
		errors.Is(err, driver.ErrConflict): // other writers were faster for all of the time that there was
		return &Error{Unavailable, "it cannot be done now; please try again", err}
	case errors.Is(err, context.DeadlineExceeded): // the caller's: that of a transport is a store that is away
		return &Error{Timeout, "it took too long; a command may still take effect, and asking again with the same commandId tells", err}
	case errors.Is(err, driver.ErrInvalid):
		return &Error{BadInput, err.Error(), err}
	}
	return &Error{Internal, "internal error", err}
}
