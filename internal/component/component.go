// Package component is what a declaration becomes once its types are erased.
//
// The typed packages (aggregate, readmodel, automation, ...) turn a Spec into a
// *Definition; the engine, the topology and the test kit read nothing else.
// Components refer to one another by pointer, so that a name is resolved once,
// when an App is assembled, and two plugins may use the same component name.
// Being internal, the package seals plugin.Component: only Reventless makes one.
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

// The kinds. They are public names: the topology shows them.
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

// Definition is one declared component. Exactly one of the pointers is set,
// the one that Kind names; Automation serves three kinds.
type Definition struct {
	Kind Kind
	Name string
	Doc  string

	Aggregate  *Aggregate
	ReadModel  *ReadModel
	Automation *Automation
	Point      *Point // a protocol; an Offer makes it a component of a plugin
	Offer      *Offer
	Counter    *Counter
	Schedule   *Schedule
	Task       *Task
}

// MessageType describes one type of a closed set.
type MessageType struct {
	Name    string
	Aliases []string
	Version int
	Go      reflect.Type
}

// Event is a stored event on its way to a consumer.
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
	SnapshotEvery    int // events; negative is never
	Async            bool
	// Access has the rule of every command, by its name.
	Access map[string]authz.Rule
	// NewState returns the state of an empty stream.
	NewState func() State
	// DecodeCommand decodes a command into the value that [State].Decide takes.
	DecodeCommand func(driver.Command) (any, error)
}

// State is the state of one stream. It is not safe for concurrent use.
type State interface {
	// Apply folds one stored event.
	Apply(driver.Event) error
	// Decide runs a decoded command on the state and returns its events, or the
	// rejection. The state is not changed.
	Decide(command any) ([]driver.Event, *Rejection, error)
	// Clone returns a fold that may be changed without changing this one.
	Clone() State
	// Snapshot and Restore turn the state into JSON and back.
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
	// Singular is what one row is called in the API; empty is derived.
	Singular    string
	SubID       string
	Indexes     []driver.Index
	OwnRow      bool
	Access      authz.Rule
	Projections []Projection
	// Decode and Encode turn a row into a *R and back; Encode fills everything
	// of the driver's row but the key's id. SubIDOf returns the sub id of a *R.
	Decode  func(json.RawMessage) (any, error)
	Encode  func(row any) (driver.Row, error)
	SubIDOf func(row any) (string, error)
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
	// Blind changes do not look at what is there.
	Blind bool
	// EditRow maps a *R, or nil when there is none, to a *R, or nil to delete.
	EditRow func(row any) (any, error)
	// EditAll maps all rows of the id to all its rows; it is set in place of EditRow.
	EditAll func(rows []any) ([]any, error)
}

// Automation is an erased automation, side effect or extension.
type Automation struct {
	Rules []Rule
	// Uses are the read models and buckets that the rules may open.
	Uses []*Definition
	// Targets are what the actions may address.
	Targets []*Definition
	// Point is what an extension extends.
	Point *Definition
}

// Rule reacts to the events of one source.
type Rule struct {
	Source *Definition
	// React runs once for an event; for a side effect it returns no actions.
	React func(context.Context, Env, Event) ([]Action, error)
}

// Point is a protocol between plugins.
type Point struct {
	Commands, Events []MessageType
	Version          int
}

// Offer is a plugin's side of a protocol.
type Offer struct {
	Point     *Definition
	Publishes []Publication
	// Accept maps a public command to private ones; nil when the protocol has none.
	Accept func(entity string, e driver.Event) ([]Action, error)
	// Targets are what Accept may address.
	Targets []*Definition
}

// Publication maps the events of one private source to public events.
type Publication struct {
	Source *Definition
	Map    func(Event) ([]driver.Event, error)
}

// Counter is an erased counter.
type Counter struct{ Events []MessageType }

// Schedule is a command that is sent by the clock.
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
	// Expression and Zone plan Scheduled.
	Expression, Zone string
	Scheduled        func(context.Context, Env, time.Time) ([]Action, error)
}

// Object is an object event on its way to a task.
type Object struct {
	Key     string
	Version string
}

// ActionKind says what an Action does.
type ActionKind int

// The kinds of actions.
const (
	SendCommand ActionKind = iota
	AddCount
	AddTarget
	CreateSchedule
	DeleteSchedule
)

// Action is what an automation or a task wants done.
type Action struct {
	Kind ActionKind
	// Target is the aggregate or extension point of a command, or the counter.
	Target *Definition
	// ID is the entity or the counter id.
	ID string
	// Command is the encoded command; Err is why it could not be encoded.
	Command driver.Event
	Delay   time.Duration
	// Ref is the reference of a count or target, or the name of a schedule; N is
	// the number to count.
	Ref string
	N   int64
	// Expression and Zone are a schedule's.
	Expression, Zone string
	Err              error
}

// Env gives impure functions what they declared that they use. Lookups fail for
// anything else, with an error that names both.
type Env interface {
	Now() time.Time
	// IdempotencyKey is the same at every repetition of the running call.
	IdempotencyKey() string
	Opener
}

// Opener opens what a component uses.
type Opener interface {
	OpenRows(*Definition) (driver.QueryDb, driver.QueryEngine, string, error)
	OpenBucket(*Definition) (driver.Bucket, error)
}

// CheckName panics when name cannot be a component's: a letter A to Z, then
// letters and digits, 64 at most.
func CheckName(kind Kind, name string) {
	if err := ValidName(name); err != nil {
		panic(fmt.Sprintf("%s %q: %v", kind, name, err))
	}
}

// ValidName is the rule of CheckName as an error.
func ValidName(name string) error {
	if name == "" {
		return fmt.Errorf("a name is required")
	}
	if len(name) > 64 {
		return fmt.Errorf("a name has 64 letters at most")
	}
	for i, r := range name {
		upper, lower, digit := r >= 'A' && r <= 'Z', r >= 'a' && r <= 'z', r >= '0' && r <= '9'
		if i == 0 && !upper || !upper && !lower && !digit {
			return fmt.Errorf("a name starts with a capital and has only letters and digits of ASCII")
		}
	}
	return nil
}
