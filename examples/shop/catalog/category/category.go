// Package category is the aggregate Category: a shelf of the catalog.
package category

import (
	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/message"
)

// Command is the closed set of what a category can be asked to do.
//
//sumtype:decl
type Command interface {
	message.Typed
	isCommand()
}

// Add makes the category known.
type Add struct {
	Name string `json:"name"`
}

// Rename gives the category another name; its own name is no change.
type Rename struct {
	Name string `json:"name"`
}

// Archive ends the category; once more is no change.
type Archive struct{}

func (Add) MessageType() string     { return "Add" }
func (Rename) MessageType() string  { return "Rename" }
func (Archive) MessageType() string { return "Archive" }

func (Add) isCommand()     {}
func (Rename) isCommand()  {}
func (Archive) isCommand() {}

// Event is the closed set of what happens to a category.
//
//sumtype:decl
type Event interface {
	message.Typed
	isEvent()
}

// Added says that the category exists.
type Added struct {
	Name string `json:"name"`
}

// Renamed says what the category is called from now on.
type Renamed struct {
	Name string `json:"name"`
}

// Archived says that the category takes no more changes.
type Archived struct{}

func (Added) MessageType() string    { return "Added" }
func (Renamed) MessageType() string  { return "Renamed" }
func (Archived) MessageType() string { return "Archived" }

func (Added) isEvent()    {}
func (Renamed) isEvent()  {}
func (Archived) isEvent() {}

// The refusals.
var (
	ErrAlreadyExists   = message.Reject("AlreadyExists")
	ErrNotFound        = message.Reject("NotFound")
	ErrAlreadyArchived = message.Reject("AlreadyArchived")
)

// Aggregate declares the category.
var Aggregate = aggregate.New(aggregate.Spec[State, Command, Event]{
	Name:     "Category",
	Doc:      "A shelf of the catalog.",
	Commands: message.NewSet[Command](Add{}, Rename{}, Archive{}),
	Events:   message.NewSet[Event](Added{}, Renamed{}, Archived{}),
	Decide:   Decide,
	Evolve:   Evolve,
	Access:   access.Rules{access.Roles(access.Admin).For(Archive{})},
})

// State is what the decisions about a category depend on.
type State struct {
	Exists   bool
	Archived bool
	Name     string
}

// Decide answers a command.
func Decide(s State, c Command) ([]Event, error) {
	switch c := c.(type) {
	case Add:
		if s.Exists {
			return nil, ErrAlreadyExists
		}
		return []Event{Added(c)}, nil

	case Rename:
		switch {
		case !s.Exists:
			return nil, ErrNotFound
		case s.Archived:
			return nil, ErrAlreadyArchived
		case s.Name == c.Name:
			return nil, nil
		}
		return []Event{Renamed(c)}, nil

	case Archive:
		switch {
		case !s.Exists:
			return nil, ErrNotFound
		case s.Archived:
			return nil, nil
		}
		return []Event{Archived{}}, nil
	}
	return nil, nil
}

// Evolve folds an event into the state.
func Evolve(s State, e Event) State {
	switch e := e.(type) {
	case Added:
		s.Exists, s.Name = true, e.Name
	case Renamed:
		s.Name = e.Name
	case Archived:
		s.Archived = true
	}
	return s
}
