package driver

import (
	"context"
	"encoding/json"
	"time"
)

// Scheduler keeps schedules. What is due is delivered as a [Firing]; each schedule
// is a group of its own.
//
// A schedule fires when its time has come by the provider's clock: at a
// precision of a minute or better, never early. A one-time schedule removes
// itself when its firing is settled; a recurring one goes on from the time of
// settlement: times that passed meanwhile are skipped, so that after a pause
// there is one firing and not many. A firing that is retried comes again with
// the same Due.
type Scheduler interface {
	// Create stores s; a schedule of the same name is replaced, together with a
	// firing of it that is not settled yet. A one-time schedule in the past
	// fires at once. An expression or zone that is not valid, a recurring
	// expression that never fires, or a bad name (see [CheckID]) is [ErrInvalid].
	Create(ctx context.Context, s Schedule) error

	// Delete removes a schedule, together with a firing that is not held; one
	// that does not exist is nil.
	Delete(ctx context.Context, name string) error

	// List returns all schedules, ascending by name; none is nil, nil.
	List(ctx context.Context) ([]Schedule, error)
}

// Schedule is a named time plan with a payload.
type Schedule struct {
	Name string
	// Expression is one of at(...), rate(...) and cron(...), in the grammar of
	// package schedule, which is that of EventBridge.
	Expression string
	// Zone is an IANA time zone for at and cron; empty is UTC.
	Zone string
	// Payload is JSON, handed over byte for byte.
	Payload json.RawMessage
}

// Firing is a schedule that is due.
type Firing struct {
	Name string
	// Due is the time for which it was planned; with Name it identifies the firing.
	Due     time.Time
	Payload json.RawMessage
}
