// Package listing is the aggregate Listing: Ordering's own copy of a product on
// the shelf. The extension CatalogListings keeps it in step with the catalog;
// so it follows and does not judge: what is no change is no event, and what comes
// for a product that is not on the shelf is refused.
package listing

import (
	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/examples/shop/money"
	"github.com/reventless-go/reventless/message"
)

// Command is the closed set of what a listing can be asked to do.
//
//sumtype:decl
type Command interface {
	message.Typed
	isCommand()
}

// List puts the product on the shelf.
type List struct {
	Name  string      `json:"name"`
	Price money.Pence `json:"price"`
}

// Rename changes the name on the shelf.
type Rename struct {
	Name string `json:"name"`
}

// Reprice changes the price on the shelf.
type Reprice struct {
	Price money.Pence `json:"price"`
}

// Withdraw takes the product off the shelf.
type Withdraw struct{}

func (List) MessageType() string     { return "List" }
func (Rename) MessageType() string   { return "Rename" }
func (Reprice) MessageType() string  { return "Reprice" }
func (Withdraw) MessageType() string { return "Withdraw" }

func (List) isCommand()     {}
func (Rename) isCommand()   {}
func (Reprice) isCommand()  {}
func (Withdraw) isCommand() {}

// Event is the closed set of what happens to a listing.
//
//sumtype:decl
type Event interface {
	message.Typed
	isEvent()
}

// Listed says that the product is on the shelf.
type Listed struct {
	Name  string      `json:"name"`
	Price money.Pence `json:"price"`
}

// Renamed says what the shelf calls the product from now on.
type Renamed struct {
	Name string `json:"name"`
}

// Repriced says what the product costs from now on.
type Repriced struct {
	Price money.Pence `json:"price"`
}

// Withdrawn says that the product is off the shelf.
type Withdrawn struct{}

func (Listed) MessageType() string    { return "Listed" }
func (Renamed) MessageType() string   { return "Renamed" }
func (Repriced) MessageType() string  { return "Repriced" }
func (Withdrawn) MessageType() string { return "Withdrawn" }

func (Listed) isEvent()    {}
func (Renamed) isEvent()   {}
func (Repriced) isEvent()  {}
func (Withdrawn) isEvent() {}

// ErrNotListed refuses a change of what is not on the shelf.
var ErrNotListed = message.Reject("NotListed")

// Aggregate declares the listing.
var Aggregate = aggregate.New(aggregate.Spec[State, Command, Event]{
	Name:     "Listing",
	Doc:      "Ordering's copy of a product on the shelf.",
	Commands: message.NewSet[Command](List{}, Rename{}, Reprice{}, Withdraw{}),
	Events:   message.NewSet[Event](Listed{}, Renamed{}, Repriced{}, Withdrawn{}),
	Decide:   Decide,
	Evolve:   Evolve,
	Access:   access.Rules{access.Internal},
})

// State is what the decisions about a listing depend on.
type State struct {
	Listed bool
	Name   string
	Price  money.Pence
}

// Decide answers a command.
func Decide(s State, c Command) ([]Event, error) {
	switch c := c.(type) {
	case List:
		if s == (State{true, c.Name, c.Price}) {
			return nil, nil
		}
		return []Event{Listed(c)}, nil

	case Rename:
		switch {
		case !s.Listed:
			return nil, ErrNotListed
		case s.Name == c.Name:
			return nil, nil
		}
		return []Event{Renamed(c)}, nil

	case Reprice:
		switch {
		case !s.Listed:
			return nil, ErrNotListed
		case s.Price == c.Price:
			return nil, nil
		}
		return []Event{Repriced(c)}, nil

	case Withdraw:
		if !s.Listed {
			return nil, ErrNotListed
		}
		return []Event{Withdrawn{}}, nil
	}
	return nil, nil
}

// Evolve folds an event into the state.
func Evolve(s State, e Event) State {
	switch e := e.(type) {
	case Listed:
		return State{true, e.Name, e.Price}
	case Renamed:
		s.Name = e.Name
	case Repriced:
		s.Price = e.Price
	case Withdrawn:
		return State{}
	}
	return s
}
