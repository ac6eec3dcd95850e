// Package product declares the aggregate Product: something that the shop sells.
package product

import (
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/examples/shop/money"
	"github.com/reventless-go/reventless/message"
)

// Command is the closed set of commands of a product.
//
//sumtype:decl
type Command interface {
	message.Typed
	isCommand()
}

// Add creates the product. The category is optional, and may not exist yet.
type Add struct {
	Name        string      `json:"name"`
	Description string      `json:"description"`
	Price       money.Pence `json:"price"`
	CategoryID  *string     `json:"categoryId,omitempty"`
}

// Rename changes the product's name. The same name leads to no event.
type Rename struct {
	Name string `json:"name"`
}

// ChangePrice changes the product's price. The same price leads to no event.
type ChangePrice struct {
	Price money.Pence `json:"price"`
}

// Discontinue removes the product from the catalog permanently.
type Discontinue struct{}

func (Add) MessageType() string         { return "Add" }
func (Rename) MessageType() string      { return "Rename" }
func (ChangePrice) MessageType() string { return "ChangePrice" }
func (Discontinue) MessageType() string { return "Discontinue" }

func (Add) isCommand()         {}
func (Rename) isCommand()      {}
func (ChangePrice) isCommand() {}
func (Discontinue) isCommand() {}

// Event is the closed set of events of a product.
//
//sumtype:decl
type Event interface {
	message.Typed
	isEvent()
}

// Added happens when the product is created.
type Added struct {
	Name        string      `json:"name"`
	Description string      `json:"description"`
	Price       money.Pence `json:"price"`
	CategoryID  *string     `json:"categoryId,omitempty"`
}

// Renamed happens when the product gets a new name.
type Renamed struct {
	Name string `json:"name"`
}

// PriceChanged happens when the product gets a new price.
type PriceChanged struct {
	Price money.Pence `json:"price"`
}

// Discontinued happens when the product is no longer sold.
type Discontinued struct{}

func (Added) MessageType() string        { return "Added" }
func (Renamed) MessageType() string      { return "Renamed" }
func (PriceChanged) MessageType() string { return "PriceChanged" }
func (Discontinued) MessageType() string { return "Discontinued" }

func (Added) isEvent()        {}
func (Renamed) isEvent()      {}
func (PriceChanged) isEvent() {}
func (Discontinued) isEvent() {}

// The rejections.
var (
	ErrAlreadyExists = message.Reject("AlreadyExists")
	ErrNotFound      = message.Reject("NotFound")
	ErrDiscontinued  = message.Reject("Discontinued")
	ErrInvalidPrice  = message.Reject("InvalidPrice")
)

// Aggregate is the product.
var Aggregate = aggregate.New(aggregate.Spec[State, Command, Event]{
	Name:     "Product",
	Doc:      "Something that the shop sells.",
	Commands: message.NewSet[Command](Add{}, Rename{}, ChangePrice{}, Discontinue{}),
	Events:   message.NewSet[Event](Added{}, Renamed{}, PriceChanged{}, Discontinued{}),
	Decide:   Decide,
	Evolve:   Evolve,
})

// State is what decisions about a product depend on.
type State struct {
	Exists       bool
	Discontinued bool
	Name         string
	Price        money.Pence
}

// gone returns an error if the product cannot be changed.
func (s State) gone() error {
	switch {
	case !s.Exists:
		return ErrNotFound
	case s.Discontinued:
		return ErrDiscontinued
	}
	return nil
}

// Decide returns the events that a command leads to, or its rejection.
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
