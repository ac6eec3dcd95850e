// Package listing declares the aggregate Listing: the plugin Ordering's copy of a product
// that can be ordered. The extension CatalogListings updates it from the catalog.
package listing

import (
	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/examples/shop/money"
	"github.com/reventless-go/reventless/message"
)

// Command is the closed set of commands of a listing.
//
//sumtype:decl
type Command interface {
	message.Typed
	isCommand()
}

// List lists the product.
type List struct {
	Name  string      `json:"name"`
	Price money.Pence `json:"price"`
}

// Rename changes the listed name.
type Rename struct {
	Name string `json:"name"`
}

// Reprice changes the listed price.
type Reprice struct {
	Price money.Pence `json:"price"`
}

// Withdraw withdraws the product.
type Withdraw struct{}

func (List) MessageType() string     { return "List" }
func (Rename) MessageType() string   { return "Rename" }
func (Reprice) MessageType() string  { return "Reprice" }
func (Withdraw) MessageType() string { return "Withdraw" }

func (List) isCommand()     {}
func (Rename) isCommand()   {}
func (Reprice) isCommand()  {}
func (Withdraw) isCommand() {}

// Event is the closed set of events of a listing.
//
//sumtype:decl
type Event interface {
	message.Typed
	isEvent()
}

// Listed happens when the product is listed.
type Listed struct {
	Name  string      `json:"name"`
	Price money.Pence `json:"price"`
}

// Renamed happens when the listed name changes.
type Renamed struct {
	Name string `json:"name"`
}

// Repriced happens when the listed price changes.
type Repriced struct {
	Price money.Pence `json:"price"`
}

// Withdrawn happens when the product is withdrawn.
type Withdrawn struct{}

func (Listed) MessageType() string    { return "Listed" }
func (Renamed) MessageType() string   { return "Renamed" }
func (Repriced) MessageType() string  { return "Repriced" }
func (Withdrawn) MessageType() string { return "Withdrawn" }

func (Listed) isEvent()    {}
func (Renamed) isEvent()   {}
func (Repriced) isEvent()  {}
func (Withdrawn) isEvent() {}

// ErrNotListed rejects a change of a product that is not listed.
var ErrNotListed = message.Reject("NotListed")

// Aggregate is the listing.
var Aggregate = aggregate.New(aggregate.Spec[State, Command, Event]{
	Name:     "Listing",
	Doc:      "A product that can be ordered.",
	Commands: message.NewSet[Command](List{}, Rename{}, Reprice{}, Withdraw{}),
	Events:   message.NewSet[Event](Listed{}, Renamed{}, Repriced{}, Withdrawn{}),
	Decide:   Decide,
	Evolve:   Evolve,
	Access:   access.Rules{access.Internal},
})

// State is what decisions about a listing depend on.
type State struct {
	Listed bool
	Name   string
	Price  money.Pence
}

// Decide returns the events that a command leads to, or its rejection.
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
