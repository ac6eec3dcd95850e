package host

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/reventless-go/reventless/driver"
)

// retryable reports whether the store said that trying again helps: it was busy
// or away, or another writer was faster.
func retryable(err error) bool {
	return errors.Is(err, driver.ErrThrottled) || errors.Is(err, driver.ErrUnavailable) || errors.Is(err, driver.ErrConflict)
}

// transient reports whether a failure says nothing about the message, so that it
// is delivered again for as long as it takes.
func transient(err error) bool { return errors.Is(err, errStore) || retryable(err) }

// errStore marks failures of a store that say nothing about the message: they
// are tried again for as long as it takes, and never a reason to park.
var errStore = errors.New("store")

// storeError marks err unless its class says that the request itself was at
// fault.
func storeError(err error) error {
	if err == nil || errors.Is(err, driver.ErrInvalid) || errors.Is(err, driver.ErrTooLarge) ||
		errors.Is(err, driver.ErrNotFound) || errors.Is(err, driver.ErrUnsupported) || errors.Is(err, errStore) {
		return err
	}
	return fmt.Errorf("%w: %w", errStore, err)
}

// errInterrupted says that an earlier message of the same group failed, so that
// this one was not tried.
var errInterrupted = errors.New("an earlier message of its group failed")

// guard runs application code; a panic becomes an error.
func guard(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			var stack [24]uintptr
			err = &panicError{v, stack[:runtime.Callers(2, stack[:])]}
		}
	}()
	return f()
}

// done reports whether ctx is over, so that an error is no verdict on a message.
func done(ctx context.Context) bool { return ctx.Err() != nil }
