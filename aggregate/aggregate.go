// Package aggregate declares event-sourced aggregates: the state of one entity,
// the commands it takes and the events that happen to it.
package aggregate

import (
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/message"
)

// DefaultSnapshotEvery is how many events lie between two snapshots of a stream
// if the Spec says nothing else.
const DefaultSnapshotEvery = 100

// Spec declares an aggregate with state S, commands C and events E.
type Spec[S any, C, E message.Typed] struct {
	// Name is a capital letter followed by letters and digits; it names the log
	// and never changes once events are stored.
	Name string
	// Doc is a sentence for those who read the API or the topology.
	Doc string
	// Commands and Events are the closed sets of messages.
	Commands *message.Set[C]
	Events   *message.Set[E]
	// Initial is the state of an entity to which nothing has happened.
	Initial S
	// Decide answers a command: with the events that it leads to, with none when
	// there is nothing to do, or with an error, which is the refusal of the
	// command and not a failure (see [message.Reject]). It is pure.
	Decide func(S, C) ([]E, error)
	// Evolve folds an event into the state. It is pure: a state may be cached and
	// used again, so maps and slices in it are copied before they are changed.
	Evolve func(S, E) S
	// FoldVersion is raised when S or Evolve changes its meaning; snapshots of
	// other versions are then no longer used.
	FoldVersion int
	// SnapshotEvery is how many events lie between two snapshots: 0 is
	// [DefaultSnapshotEvery], negative is none. S must survive encoding/json.
	SnapshotEvery int
	// Async sends commands through the queue: callers get Pending, and ask for
	// the outcome by the command's id.
	Async bool
	// Access says who may send which command over the API; a command without a
	// rule takes [access.Authenticated] callers.
	Access access.Rules
}

// Aggregate is a declared aggregate. It is inert: an App runs it.
type Aggregate[S any, C, E message.Typed] struct {
	spec Spec[S, C, E]
	def  *component.Definition
}

// New declares an aggregate. It panics, naming it, when the Spec is incomplete.
func New[S any, C, E message.Typed](spec Spec[S, C, E]) *Aggregate[S, C, E] {
	component.CheckName(component.KindAggregate, spec.Name)
	for what, missing := range map[string]bool{
		"Commands": spec.Commands == nil, "Events": spec.Events == nil,
		"Decide": spec.Decide == nil, "Evolve": spec.Evolve == nil,
	} {
		if missing {
			panic(fmt.Sprintf("aggregate %s: %s is required", spec.Name, what))
		}
	}
	if spec.SnapshotEvery == 0 {
		spec.SnapshotEvery = DefaultSnapshotEvery
	}
	a := &Aggregate[S, C, E]{spec: spec}
	if spec.SnapshotEvery > 0 {
		err := lossless(reflect.TypeFor[S](), "State", map[reflect.Type]bool{})
		if err == nil {
			err = (&fold[S, C, E]{&a.spec, spec.Initial}).roundTrip()
		}
		if err != nil {
			panic(fmt.Sprintf("aggregate %s: the state cannot be kept in a snapshot: %v (set SnapshotEvery to -1 to have none)", spec.Name, err))
		}
	}
	rules, err := accessRules(spec.Access, spec.Commands.Types())
	if err != nil {
		panic(fmt.Sprintf("aggregate %s: %v", spec.Name, err))
	}
	a.def = &component.Definition{
		Kind: component.KindAggregate, Name: spec.Name, Doc: spec.Doc,
		Aggregate: &component.Aggregate{
			Commands: spec.Commands.Types(), Events: spec.Events.Types(),
			FoldVersion: spec.FoldVersion, SnapshotEvery: spec.SnapshotEvery, Async: spec.Async, Access: rules,
			NewFold: func() component.Fold { return &fold[S, C, E]{&a.spec, a.spec.Initial} },
			DecodeCommand: func(c driver.Command) (any, error) {
				return a.spec.Commands.Decode(driver.Event{Type: c.Type, Version: c.Version, Data: c.Data})
			},
		},
	}
	return a
}

// Definition returns the erased declaration.
func (a *Aggregate[S, C, E]) Definition() *component.Definition { return a.def }

// EventSet returns the events that happen to the aggregate.
func (a *Aggregate[S, C, E]) EventSet() *message.Set[E] { return a.spec.Events }

// Spec returns the declaration, with defaults filled in.
func (a *Aggregate[S, C, E]) Spec() Spec[S, C, E] { return a.spec }

// To addresses a command to the entity with this id.
func (a *Aggregate[S, C, E]) To(id string, command C) message.Send {
	return message.NewSend(a.def, id, a.spec.Commands, command)
}

// fold is the state of one entity. The type parameters end here: what the
// engine sees is component.Fold, and no state is ever boxed.
type fold[S any, C, E message.Typed] struct {
	spec  *Spec[S, C, E]
	state S
}

func (f *fold[S, C, E]) Apply(e driver.Event) error {
	event, err := f.spec.Events.Decode(e)
	if err != nil {
		return err
	}
	f.state = f.spec.Evolve(f.state, event)
	return nil
}

func (f *fold[S, C, E]) Decide(decoded any) ([]driver.Event, *component.Refusal, error) {
	command := decoded.(C)
	events, refused := f.spec.Decide(f.state, command)
	if refused != nil {
		refusal, err := message.Refusal(refused)
		return nil, refusal, err
	}
	out := make([]driver.Event, len(events))
	for i, e := range events {
		var err error
		if out[i], err = f.spec.Events.Encode(e); err != nil {
			return nil, nil, fmt.Errorf("event %d of %s: %w", i+1, command.MessageType(), err)
		}
	}
	return out, nil, nil
}

func (f *fold[S, C, E]) Clone() component.Fold {
	c := *f
	return &c
}

func (f *fold[S, C, E]) Snapshot() (json.RawMessage, error) { return json.Marshal(f.state) }

func (f *fold[S, C, E]) Restore(data json.RawMessage) error {
	var s S
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	f.state = s
	return nil
}

func (f *fold[S, C, E]) roundTrip() error {
	data, err := f.Snapshot()
	if err != nil {
		return err
	}
	return f.Clone().Restore(data)
}
