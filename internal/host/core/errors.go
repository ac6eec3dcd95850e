package core

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
)

// Retryable reports whether a store said that a retry may succeed: it was busy or
// unavailable, or another writer was faster.
func Retryable(err error) bool {
	return errors.Is(err, driver.ErrThrottled) || errors.Is(err, driver.ErrUnavailable) || errors.Is(err, driver.ErrConflict)
}

// Transient reports whether the message did not cause a failure. Such a message is
// retried without limit.
func Transient(err error) bool { return errors.Is(err, ErrStore) || Retryable(err) }

// ErrStore marks failures of a store that the message did not cause. They never lead to
// parking.
var ErrStore = errors.New("store")

// StoreError marks err with [ErrStore] unless its class says that a retry does not help:
// the request is wrong, or the data that it reads is damaged.
func StoreError(err error) error {
	if err == nil || errors.Is(err, driver.ErrInvalid) || errors.Is(err, driver.ErrTooLarge) || errors.Is(err, driver.ErrDamaged) ||
		errors.Is(err, driver.ErrNotFound) || errors.Is(err, driver.ErrUnsupported) || errors.Is(err, ErrStore) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrStore, err)
}

// apart is true once application code has called [runtime.Goexit] in this process. From
// then on CatchPanic runs such code in a goroutine of its own, which costs about a
// microsecond.
var apart atomic.Bool

// ErrGoexit reports that application code ended its goroutine.
var ErrGoexit = errors.New("the code ended its goroutine (runtime.Goexit)")

// CatchPanic calls application code and returns a panic as an error. The first call of
// [runtime.Goexit] in a process cannot be caught here: it ends the caller's goroutine,
// which must run in [Apart]. The next ones are returned as errors.
func CatchPanic(f func() error) (err error) {
	if !apart.Load() {
		return catchPanic(f)
	}
	err = Apart(func() error { return catchPanic(f) })
	var p *panicError
	if errors.As(err, &p) { // the stack of the goroutine ends here
		var stack [24]uintptr
		p.stack = append(p.stack, stack[:runtime.Callers(2, stack[:])]...)
	}
	return err
}

func catchPanic(f func() error) (err error) {
	returned := false
	defer func() {
		switch v := recover(); {
		case v != nil:
			var stack [24]uintptr
			err = &panicError{v, stack[:runtime.Callers(2, stack[:])]}
		case !returned:
			apart.Store(true)
		}
	}()
	err = f()
	returned = true
	return err
}

// Apart calls f in a goroutine of its own and waits for it. If f ends the goroutine, the
// error is [ErrGoexit]. It does not catch a panic.
func Apart(f func() error) error { return <-begin(f) }

// begin calls f in a goroutine of its own. The channel receives its error, or [ErrGoexit]
// if f ends the goroutine.
func begin(f func() error) <-chan error {
	ended := make(chan error, 1)
	go func() {
		err := ErrGoexit
		defer func() { ended <- err }()
		err = f()
	}()
	return ended
}

const (
	// returnGrace is how long application code has to return after its deadline.
	returnGrace = 200 * time.Millisecond
	// ownFault is the time that application code must have had before a missed deadline
	// counts as its own fault: other messages of the batch may have used most of the
	// time.
	ownFault = 10 * time.Second
	// parkGrace is the time for parking a message after its deadline.
	parkGrace = 300 * time.Millisecond
	// overtimeAttempts is the number of missed deadlines after which a message is
	// parked. It is small because each of these attempts takes long.
	overtimeAttempts = 3
	// RolloutDelay is the pause before the retry of a message that only newer code knows.
	RolloutDelay = 10 * time.Second
)

// ErrOvertime reports that application code missed its deadline.
var ErrOvertime = errors.New("the code did not end before its deadline: set a timeout for what it waits for, or give the component more time")

// ErrNoComponent reports that a message is for a component that this App does not have.
var ErrNoComponent = fmt.Errorf("the App has no such component: %w", driver.ErrNotFound)

// ErrReusedID reports that the id of a command belongs to another command of the same
// entity, with another type or payload.
var ErrReusedID = fmt.Errorf("its id belongs to another command: %w", driver.ErrInvalid)

// ErrUnverified reports that it is not known whether a command is a repetition: too much
// has happened since the time of its id.
var ErrUnverified = errors.New("cannot tell whether the command is a repetition; send it with a new id, unless it may have been sent before")

// RunUntilDeadline is [CatchPanic] for code that may wait for other systems. When ctx
// has a deadline and f has not returned shortly after it, f is abandoned, so that the
// other messages of the batch do not fail with it. An abandoned f can store nothing:
// its context has ended.
func RunUntilDeadline(ctx context.Context, f func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ended := begin(func() error { return catchPanic(f) })
	deadline, bounded := ctx.Deadline()
	if !bounded {
		return <-ended
	}
	available := time.Until(deadline) //nolint:forbidigo // deadlines are in real time
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return <-ended // the host is being closed, and waits
	}
	t := time.NewTimer(returnGrace)
	defer t.Stop()
	err := ctx.Err()
	select {
	case err = <-ended:
	case <-t.C:
	}
	if available >= ownFault && errors.Is(err, context.DeadlineExceeded) && !Transient(err) {
		return fmt.Errorf("%w: %w", ErrOvertime, err)
	}
	return err
}

// CutShort reports whether a call failed because ctx has ended, not because of its
// message.
func CutShort(ctx context.Context, err error) bool {
	return ctx.Err() != nil && !errors.Is(err, ErrOvertime)
}

// WithGrace returns ctx if it has not ended. Otherwise it returns a context that lasts
// a moment longer, so that a failure can be stored.
func WithGrace(ctx context.Context) (context.Context, context.CancelFunc) {
	if ctx.Err() == nil {
		return ctx, func() {}
	}
	return context.WithTimeout(context.WithoutCancel(ctx), parkGrace)
}

// FromNewerCode reports whether err says that this code does not know a message, and
// the message may come from newer code that is being rolled out, since it was created
// recently, at the time made.
func (c *Core) FromNewerCode(err error, made time.Time) bool {
	if !errors.Is(err, component.ErrUnknownType) && !errors.Is(err, component.ErrFutureVersion) && !errors.Is(err, ErrNoComponent) {
		return false
	}
	age := c.Now().Sub(made)
	return !made.IsZero() && age < c.Rollout && age > -c.Rollout // clocks differ
}

// LastAttempt reports whether a message is parked after it failed at this attempt;
// overtime is the number of attempts that missed their deadline.
func (c *Core) LastAttempt(attempts, overtime int) bool {
	return attempts >= c.MaxAttempts || overtime >= overtimeAttempts
}
