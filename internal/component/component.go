// Package component defines declarations without type parameters.
//
// The typed packages (aggregate, readmodel, automation, ...) turn a Spec into a
// *Definition. The engine, the topology and the test kit use only Definitions.
// Components refer to each other by pointer: so names are resolved once, when an App is
// assembled, and two plugins may use the same component name. Because the package is
// internal, only this module can implement plugin.Component.
package component

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/authz"
)

// Kind is the kind of a component.
type Kind string

// The kinds. The topology shows them.
const (
	KindAggregate      Kind = "Aggregate"
	KindReadModel      Kind = "ReadModel"
	KindAutomation     Kind = "Automation"
	KindSideEffect     Kind = "SideEffect"
	KindExtension      Kind = "Extension"
	KindExtensionPoint Kind = "ExtensionPoint"
	KindCounter        Kind = "Counter"
	KindSchedule       Kind = "Schedule"
	KindBucket         Kind = "Bucket"
	KindTask           Kind = "Task"
)

// Definition is a declared component. Exactly one of the pointers is set, according to
// Kind; three kinds use Automation. A bucket has none.
type Definition struct {
	Kind Kind
	Name string
	Doc  string

	Aggregate  *Aggregate
	ReadModel  *ReadModel
	Automation *Automation
	Point      *Point // a protocol; its Offer is the component of a plugin
	Offer      *Offer
	Counter    *Counter
	Schedule   *Schedule
	Task       *Task
}

// MessageType describes a type in a closed set.
type MessageType struct {
	Name    string
	Aliases []string
	Version int
	Go      reflect.Type
}

// Event is a stored event as a consumer gets it.
type Event struct {
	Log        string
	Stream     string
	SequenceNr uint64
	Index      int
	RecordedAt time.Time
	Meta       driver.Meta
	driver.Event
}

// Aggregate is an erased aggregate.
type Aggregate struct {
	Commands, Events []MessageType
	StateVersion     int
	// Shape is a fingerprint of the structure of the state's type.
	Shape string
	// Readable reports whether a version of an event, "<type>/<version>", can be decoded.
	Readable      func(string) bool
	SnapshotEvery int // events; negative means never
	Async         bool
	// Access has the rule of each command, by its wire name.
	Access map[string]authz.Rule
	// NewState returns the state of an empty stream.
	NewState func() State
	// DecodeCommand decodes a command into the value that [State].Decide takes.
	DecodeCommand func(driver.Command) (any, error)
}

// State is the state of one stream. It is not safe for concurrent use.
type State interface {
	// Apply folds a stored event into the state.
	Apply(driver.Event) error
	// Decide returns the events that a decoded command leads to, or its rejection. It
	// does not change the state.
	Decide(command any) ([]driver.Event, *Rejection, error)
	// Clone returns a copy that can be changed independently.
	Clone() State
	// Snapshot returns the state as JSON; Restore replaces the state by a snapshot.
	Snapshot() (json.RawMessage, error)
	Restore(json.RawMessage) error
}

// Rejection is how Decide rejects a command.
type Rejection struct {
	Code    string
	Message string
	Detail  json.RawMessage
}

// ReadModel is an erased read model.
type ReadModel struct {
	Row reflect.Type
	// Singular is the name of one row in the API; empty if it is derived from the
	// name of the read model.
	Singular string
	SubID    string
	Indexes  []driver.Index
	OwnRow   bool
	// Version identifies what fills the rows. Rows of another one have to be rebuilt.
	Version     string
	Access      authz.Rule
	Projections []Projection
	// Decode returns a row as a *R. Encode returns the driver's row of a *R, without
	// the id of its key. SubIDOf returns the sub id of a *R.
	Decode func(json.RawMessage) (any, error)
	Encode func(row any) (driver.Row, error)
	// ExpiresAt returns when a *R expires; nil if rows do not expire.
	ExpiresAt func(row any) time.Time
	SubIDOf   func(row any) (string, error)
}

// Projection is an erased projection of one source.
type Projection struct {
	Source  *Definition
	Project func(Event) ([]Change, error)
}

// Change is one change of one row, or of all rows of one id.
type Change struct {
	ID  string
	Sub string
	// Blind is true if the change does not depend on the current row.
	Blind bool
	// EditRow gets a *R, or nil if there is no row, and returns a *R, or nil to
	// delete the row.
	EditRow func(row any) (any, error)
	// EditAll, if not nil, replaces EditRow: it gets all rows of the id and returns all
	// its new rows.
	EditAll func(rows []any) ([]any, error)
}

// Automation is an erased automation, side effect or extension.
type Automation struct {
	Rules []Rule
	// Uses are the read models and buckets that the rules may open.
	Uses []*Definition
	// Targets are the components that the actions may address.
	Targets []*Definition
	// Point is the extension point of an extension.
	Point *Definition
}

// Rule reacts to the events of one source.
type Rule struct {
	Source *Definition
	// React returns the actions that an event leads to; none in a side effect.
	React func(context.Context, Env, Event) ([]Action, error)
}

// Point is an extension point: a protocol between plugins.
type Point struct {
	Commands, Events []MessageType
	Version          int
}

// Offer is the implementation of an extension point by a plugin.
type Offer struct {
	Point     *Definition
	Publishes []Publication
	// Accept maps a public command to private ones; nil if the protocol has no
	// commands.
	Accept func(entity string, e driver.Event) ([]Action, error)
	// Targets are the components that Accept may address.
	Targets []*Definition
}

// Publication maps the events of one private source to public events.
type Publication struct {
	Source *Definition
	Map    func(Event) ([]driver.Event, error)
}

// Counter is an erased counter.
type Counter struct{ Events []MessageType }

// Schedule is a command that is sent at planned times.
type Schedule struct {
	Expression, Zone string
	Action           Action
}

// Task is an erased task.
type Task struct {
	Bucket         *Definition
	Prefix, Suffix string
	Uses, Targets  []*Definition
	Created        func(context.Context, Env, Object) ([]Action, error)
	Removed        func(context.Context, Env, Object) ([]Action, error)
	// Expression and Zone are the plan of Scheduled.
	Expression, Zone string
	Scheduled        func(context.Context, Env, time.Time) ([]Action, error)
}

// Object is a created or removed object as a task gets it.
type Object struct {
	Key     string
	Version string
}

// ActionKind is the kind of an Action.
type ActionKind int

// The kinds of actions.
const (
	SendCommand ActionKind = iota
	AddCount
	AddTarget
	CreateSchedule
	DeleteSchedule
)

// Action is an action that an automation or a task requests.
type Action struct {
	Kind ActionKind
	// Target is the aggregate or extension point of a command, or the counter.
	Target *Definition
	// ID is the entity or the counter id.
	ID string
	// Command is the encoded command; Err is why it could not be encoded.
	Command driver.Event
	Delay   time.Duration
	// Ref is the reference of a count or target, or the name of a schedule. N is the
	// number to add.
	Ref string
	N   int64
	// Expression and Zone are the plan of a schedule.
	Expression, Zone string
	Err              error
}

// Env is what impure functions get from the host.
type Env interface {
	Now() time.Time
	// IdempotencyKey is the same at every repetition of the call.
	IdempotencyKey() string
	Opener
}

// Opener opens the read models and buckets that a component declares under Uses. For
// any other, it returns an error that names both.
type Opener interface {
	OpenRows(*Definition) (driver.QueryDb, driver.QueryEngine, string, error)
	OpenBucket(*Definition) (driver.Bucket, error)
}

// CheckName panics when name is not a valid component name: a capital letter followed
// by letters and digits, 64 characters at most, all of them ASCII.
func CheckName(kind Kind, name string) {
	if err := ValidName(name); err != nil {
		panic(fmt.Sprintf("%s %q: %v", kind, name, err))
	}
}

// ValidName returns the error that CheckName panics with.
func ValidName(name string) error {
	if name == "" {
		return fmt.Errorf("a name is required")
	}
	if len(name) > 64 {
		return fmt.Errorf("a name has at most 64 characters")
	}
	for i, r := range name {
		upper, lower, digit := r >= 'A' && r <= 'Z', r >= 'a' && r <= 'z', r >= '0' && r <= '9'
		if i == 0 && !upper || !upper && !lower && !digit {
			return fmt.Errorf("a name is a capital letter followed by letters and digits, all of them ASCII")
		}
	}
	return nil
}
