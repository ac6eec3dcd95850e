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
	// Unauthenticated: the operation requires an authenticated caller.
	Unauthenticated Code = "UNAUTHENTICATED"
	// Forbidden: this caller may not do it.
	Forbidden Code = "FORBIDDEN"
	// BadInput: an argument is invalid; the message says which.
	BadInput Code = "BAD_USER_INPUT"
	// ReusedID: the command id belongs to another command of the same entity, with another
	// type or payload.
	ReusedID Code = "COMMAND_ID_REUSED"
	// UnverifiedID: it is not known whether the command is a repetition, since too much
	// has happened since the time in its id.
	UnverifiedID Code = "COMMAND_ID_UNVERIFIED"
	// PageSize: the page is larger than the limit.
	PageSize Code = "PAGE_SIZE"
	// PageTooLarge: the result is larger than the platform can return; a smaller page may
	// fit.
	PageTooLarge Code = "PAGE_TOO_LARGE"
	// TooLarge: a command is over the size limit.
	TooLarge Code = "TOO_LARGE"
	// WaitTimeout: waitFor took too long; the query can be repeated.
	WaitTimeout Code = "WAIT_TIMEOUT"
	// ProjectionStopped: waitFor waits for a commit that is parked.
	ProjectionStopped Code = "PROJECTION_STOPPED"
	// Timeout: the operation took too long. A command may still take effect; sending
	// it again with the same commandId shows its outcome.
	Timeout Code = "TIMEOUT"
	// Unavailable: the store cannot be reached or is busy; a retry may succeed.
	Unavailable Code = "UNAVAILABLE"
	// Internal: any other error. The cause is in the log, under the id that the caller
	// gets.
	Internal Code = "INTERNAL"
)

// Error is an error that the caller may see.
type Error struct {
	Code    Code
	Message string
	// Cause is only logged.
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
		return &Error{ProjectionStopped, "the read model is stopped before this position by a parked commit; an operator has to redrive or discard it", err}
	case errors.Is(err, host.ErrReusedID):
		return &Error{ReusedID, "the command id belongs to another command", err}
	case errors.Is(err, host.ErrUnverified):
		return &Error{UnverifiedID, host.ErrUnverified.Error(), err}
	case errors.As(err, &tooLarge):
		return &Error{TooLarge, fmt.Sprintf("the %s has %d bytes, the limit is %d", tooLarge.What, tooLarge.Size, tooLarge.Limit), err}
	case errors.Is(err, driver.ErrTooLarge):
		return &Error{TooLarge, "the size limit is exceeded", err}
	case errors.Is(err, context.Canceled), errors.Is(err, driver.ErrUnavailable), errors.Is(err, driver.ErrThrottled),
		errors.Is(err, driver.ErrConflict): // other writers were faster until the time was over
		return &Error{Unavailable, "the service is busy or unavailable; please try again", err}
	case errors.Is(err, context.DeadlineExceeded): // of the operation; a timeout of a store's transport is ErrUnavailable
		return &Error{Timeout, "the operation took too long; a command may still take effect, and sending it again with the same commandId shows its outcome", err}
	case errors.Is(err, driver.ErrInvalid):
		return &Error{BadInput, err.Error(), err}
	}
	return &Error{Internal, "internal error", err}
}
