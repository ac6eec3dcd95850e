package driver

import (
	"context"
	"encoding/json"
	"time"
)

// Scheduler stores schedules. A due schedule is delivered as a [Firing]; each
// schedule is a separate group.
//
// The provider's clock decides when a schedule fires: never early, and with a precision
// of one minute or better. A one-time schedule is removed when its firing is settled. A
// recurring schedule continues from the time of settlement and skips the times before
// it, so that after a pause it fires only once. A retried firing is delivered again
// with the same Due.
type Scheduler interface {
	// Create stores s. It replaces a schedule of the same name, including its
	// unsettled firing. A one-time schedule in the past fires immediately. For an
	// invalid expression or zone, a recurring expression that never fires, or an
	// invalid name (see [CheckID]), Create returns [ErrInvalid].
	Create(ctx context.Context, s Schedule) error

	// Delete removes a schedule and its firing, except a leased firing, which stays
	// until it is settled. If there is no such schedule, Delete returns nil.
	Delete(ctx context.Context, name string) error

	// List returns all schedules, ascending by name. If there are none, it returns
	// nil, nil.
	List(ctx context.Context) ([]Schedule, error)
}

// Schedule is a named schedule with a payload.
type Schedule struct {
	Name string
	// Expression is an at(...), rate(...) or cron(...) expression in the grammar of
	// package schedule, which is the grammar of EventBridge.
	Expression string
	// Zone is an IANA time zone for at and cron; empty is UTC.
	Zone string
	// Payload is JSON, delivered byte for byte.
	Payload json.RawMessage
}

// Firing is the delivery of a due schedule.
type Firing struct {
	Name string
	// Due is the scheduled time. Name and Due identify the firing.
	Due     time.Time
	Payload json.RawMessage
}
