package component

import (
	"fmt"

	"github.com/reventless-go/reventless/driver"
)

// The types below are embedded in public types under an unexported alias, such as
//
//	type declared = component.Declared
//
//	type Counter struct{ declared }
//
// Their methods are then promoted, so that packages of this module can call them,
// while the documentation of the public type does not show them.

// Declared is the inside of a typed component.
type Declared struct{ def *Definition }

// Declare wraps a definition.
func Declare(d *Definition) Declared { return Declared{d} }

// Definition returns the erased declaration.
func (d Declared) Definition() *Definition { return d.def }

// Source is the inside of a typed component that produces events of type E.
type Source[E Typed] struct {
	Declared

	events *Set[E]
}

// DeclareSource wraps the definition of a source of events.
func DeclareSource[E Typed](d *Definition, events *Set[E]) Source[E] {
	return Source[E]{Declare(d), events}
}

// EventSet returns the types of the source's events.
func (s Source[E]) EventSet() *Set[E] { return s.events }

// Definitions returns the erased declarations of typed components.
func Definitions[C interface{ Definition() *Definition }](components []C) []*Definition {
	defs := make([]*Definition, len(components))
	for i, c := range components {
		defs[i] = c.Definition()
	}
	return defs
}

// Requested is the inside of a typed action.
type Requested struct{ action Action }

// Request wraps an action.
func Request(a Action) Requested { return Requested{a} }

// Erased returns the action.
func (r Requested) Erased() Action { return r.action }

// Replace replaces the action: a package that did not declare the surrounding type
// constructs a value of it in this way.
func (r *Requested) Replace(a Action) { r.action = a }

// SendTo returns the action that sends a command to an entity of target. What is
// wrong with the command or the entity id is in the action's Err.
func SendTo[C Typed](target *Definition, id string, commands *Set[C], command C) Action {
	a := Action{Kind: SendCommand, Target: target, ID: id}
	a.Command, a.Err = commands.Encode(command)
	if a.Err == nil {
		a.Err = driver.CheckID("entity", id)
	}
	if a.Err != nil {
		a.Err = fmt.Errorf("send to %s: %w", target.Name, a.Err)
	}
	return a
}

// Assembled is the inside of a reventless.App.
type Assembled struct{ app *App }

// Wrap wraps an assembled application.
func Wrap(a *App) Assembled { return Assembled{a} }

// Assembled returns the application for hosts.
func (a Assembled) Assembled() *App { return a.app }
