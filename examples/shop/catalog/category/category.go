// Package category declares the aggregate Category, which groups products.
package category

import (
	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/message"
)

// Command is the closed set of commands of a category.
//
//sumtype:decl
type Command interface {
	message.Typed
	isCommand()
}

// Add creates the category.
type Add struct {
	Name string `json:"name"`
}

// Rename changes the category's name. The same name leads to no event.
type Rename struct {
	Name string `json:"name"`
}

// Archive archives the category. Repeating it leads to no event.
type Archive struct{}

func (Add) MessageType() string     { return "Add" }
func (Rename) MessageType() string  { return "Rename" }
func (Archive) MessageType() string { return "Archive" }

func (Add) isCommand()     {}
func (Rename) isCommand()  {}
func (Archive) isCommand() {}

// Event is the closed set of events of a category.
//
//sumtype:decl
type Event interface {
	message.Typed
	isEvent()
}

// Added happens when the category is created.
type Added struct {
	Name string `json:"name"`
}

// Renamed happens when the category gets a new name.
type Renamed struct {
	Name string `json:"name"`
}

// Archived happens when the category is archived. An archived category cannot be renamed.
type Archived struct{}

func (Added) MessageType() string    { return "Added" }
func (Renamed) MessageType() string  { return "Renamed" }
func (Archived) MessageType() string { return "Archived" }

func (Added) isEvent()    {}
func (Renamed) isEvent()  {}
func (Archived) isEvent() {}

// The rejections of commands.
var (
	ErrAlreadyExists   = message.Reject("AlreadyExists")
	ErrNotFound        = message.Reject("NotFound")
	ErrAlreadyArchived = message.Reject("AlreadyArchived")
)

// Aggregate is the category.
var Aggregate = aggregate.New(aggregate.Spec[State, Command, Event]{
	Name:     "Category",
	Doc:      "A group of products.",
	Commands: message.NewSet[Command](Add{}, Rename{}, Archive{}),
	Events:   message.NewSet[Event](Added{}, Renamed{}, Archived{}),
	Decide:   Decide,
	Evolve:   Evolve,
	Access:   access.Rules{access.Roles(access.Admin).For(Archive{})},
})

// State is what decisions about a category depend on.
type State struct {
	Exists   bool
	Archived bool
	Name     string
}

// Decide returns the events that a command leads to, or its rejection.
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

// Evolve returns the state after an event.
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
