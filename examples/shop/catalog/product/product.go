// Package product is the aggregate Product: something that the shop sells.
package product

import (
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/examples/shop/money"
	"github.com/reventless-go/reventless/message"
)

// Command is the closed set of what a product can be asked to do.
//
//sumtype:decl
type Command interface {
	message.Typed
	isCommand()
}

// Add makes the product known. The category is optional, and need not exist yet.
type Add struct {
	Name        string      `json:"name"`
	Description string      `json:"description"`
	Price       money.Pence `json:"price"`
	CategoryID  *string     `json:"categoryId,omitempty"`
}

// Rename gives the product another name; its own name is no change.
type Rename struct {
	Name string `json:"name"`
}

// ChangePrice gives the product another price; its own price is no change.
type ChangePrice struct {
	Price money.Pence `json:"price"`
}

// Discontinue takes the product out of the catalog for good.
type Discontinue struct{}

func (Add) MessageType() string         { return "Add" }
func (Rename) MessageType() string      { return "Rename" }
func (ChangePrice) MessageType() string { return "ChangePrice" }
func (Discontinue) MessageType() string { return "Discontinue" }

func (Add) isCommand()         {}
func (Rename) isCommand()      {}
func (ChangePrice) isCommand() {}
func (Discontinue) isCommand() {}

// Event is the closed set of what happens to a product.
//
//sumtype:decl
type Event interface {
	message.Typed
	isEvent()
}

// Added says that the product exists.
type Added struct {
	Name        string      `json:"name"`
	Description string      `json:"description"`
	Price       money.Pence `json:"price"`
	CategoryID  *string     `json:"categoryId,omitempty"`
}

// Renamed says what the product is called from now on.
type Renamed struct {
	Name string `json:"name"`
}

// PriceChanged says what the product costs from now on.
type PriceChanged struct {
	Price money.Pence `json:"price"`
}

// Discontinued says that the product is no longer sold.
type Discontinued struct{}

func (Added) MessageType() string        { return "Added" }
func (Renamed) MessageType() string      { return "Renamed" }
func (PriceChanged) MessageType() string { return "PriceChanged" }
func (Discontinued) MessageType() string { return "Discontinued" }

func (Added) isEvent()        {}
func (Renamed) isEvent()      {}
func (PriceChanged) isEvent() {}
func (Discontinued) isEvent() {}

// The refusals.
var (
	ErrAlreadyExists = message.Reject("AlreadyExists")
	ErrNotFound      = message.Reject("NotFound")
	ErrDiscontinued  = message.Reject("Discontinued")
	ErrInvalidPrice  = message.Reject("InvalidPrice")
)

// Aggregate declares the product.
var Aggregate = aggregate.New(aggregate.Spec[State, Command, Event]{
	Name:     "Product",
	Doc:      "Something that the shop sells.",
	Commands: message.NewSet[Command](Add{}, Rename{}, ChangePrice{}, Discontinue{}),
	Events:   message.NewSet[Event](Added{}, Renamed{}, PriceChanged{}, Discontinued{}),
	Decide:   Decide,
	Evolve:   Evolve,
})

// State is what the decisions about a product depend on.
type State struct {
	Exists       bool
	Discontinued bool
	Name         string
	Price        money.Pence
}

// gone says why a product cannot be changed; nil when it can.
func (s State) gone() error {
	switch {
	case !s.Exists:
		return ErrNotFound
	case s.Discontinued:
		return ErrDiscontinued
	}
	return nil
}

// Decide answers a command.
func Decide(s State, c Command) ([]Event, error) {
	switch c := c.(type) {
	case Add:
		switch {
		case s.Exists:
			return nil, ErrAlreadyExists
		case !c.Price.Valid():
			return nil, message.Reject("InvalidPrice", c.Price)
		}
		return []Event{Added(c)}, nil

	case Rename:
		if err := s.gone(); err != nil || s.Name == c.Name {
			return nil, err
		}
		return []Event{Renamed(c)}, nil

	case ChangePrice:
		if err := s.gone(); err != nil {
			return nil, err
		}
		switch {
		case !c.Price.Valid():
			return nil, message.Reject("InvalidPrice", c.Price)
		case s.Price == c.Price:
			return nil, nil
		}
		return []Event{PriceChanged(c)}, nil

	case Discontinue:
		if err := s.gone(); err != nil {
			return nil, err
		}
		return []Event{Discontinued{}}, nil
	}
	return nil, nil
}

// Evolve folds an event into the state.
func Evolve(s State, e Event) State {
	switch e := e.(type) {
	case Added:
		s.Exists, s.Name, s.Price = true, e.Name, e.Price
	case Renamed:
		s.Name = e.Name
	case PriceChanged:
		s.Price = e.Price
	case Discontinued:
		s.Discontinued = true
	}
	return s
}
