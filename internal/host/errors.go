package host

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
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

const (
	// patience is how long application code has to return once its time is over.
	patience = 200 * time.Millisecond
	// fair is how long it has to have had for that to be its own failure: it may
	// have begun when most of the time had gone to others.
	fair = 10 * time.Second
)

// errLate says that application code did not end in its time.
var errLate = errors.New("it did not end in the time that it had: give what it waits for a timeout, or the component more time")

// lateAttempts is at which attempt a message is parked whose code did not end in its
// time: that takes half a minute each time.
const lateAttempts = 3

// givenUp reports whether a failure is the last one of a delivery.
func (h *Host) givenUp(attempt int, err error) bool {
	limit := h.opts.MaxAttempts
	if errors.Is(err, errLate) {
		limit = min(limit, lateAttempts)
	}
	return attempt >= limit
}

// attend is [guard] for code that may wait for the outside. Where its time is
// bounded, it is given up soon after the end: it would take all that was handed
// over together with its message down with it, once and again. What it still does
// then is nobody's; ctx has ended, so no store takes anything of it.
func attend(ctx context.Context, f func() error) error {
	if err := ctx.Err(); err != nil {
		return err // nothing is begun that would be given up at once
	}
	deadline, bounded := ctx.Deadline()
	if !bounded {
		return guard(f)
	}
	had := time.Until(deadline) //nolint:forbidigo // deadlines are in real time
	ended := make(chan error, 1)
	go func() {
		err := errors.New("it ended its goroutine")
		defer func() { ended <- err }()
		err = guard(f)
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return <-ended // the host is being closed, and waits
	}
	t := time.NewTimer(patience)
	defer t.Stop()
	err := ctx.Err()
	select {
	case err = <-ended:
	case <-t.C:
	}
	if had >= fair && errors.Is(err, context.DeadlineExceeded) && !transient(err) {
		return fmt.Errorf("%w: %w", errLate, err)
	}
	return err
}

// done reports whether ctx is over, so that err is no verdict on a message.
func done(ctx context.Context, err error) bool { return ctx.Err() != nil && !errors.Is(err, errLate) }

// errNoComponent says that a message is for a component that this App does not have.
var errNoComponent = fmt.Errorf("the App has no such component: %w", driver.ErrNotFound)

// Again is how long a message waits that only newer code knows.
const Again = 10 * time.Second

// Newer reports whether a message of that time, which this code does not know, may be
// one of newer code, which is being rolled out.
func (h *Host) Newer(err error, at time.Time) bool {
	if !errors.Is(err, component.ErrUnknownType) && !errors.Is(err, component.ErrFutureVersion) && !errors.Is(err, errNoComponent) {
		return false
	}
	age := h.opts.Now().Sub(at)
	return !at.IsZero() && age < h.opts.Rollout && age > -h.opts.Rollout // clocks differ
}

// parting is how long what has to be kept of a failure may take when the time of
// its message is over.
const parting = 300 * time.Millisecond

// outlasting returns ctx, or one that ends soon when ctx is over.
func outlasting(ctx context.Context) (context.Context, context.CancelFunc) {
	if ctx.Err() == nil {
		return ctx, func() {}
	}
	return context.WithTimeout(context.WithoutCancel(ctx), parting)
}
