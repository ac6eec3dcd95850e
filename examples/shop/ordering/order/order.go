// Package order declares the aggregate Order: an order from its placement to its
// delivery.
package order

import (
	"slices"

	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/examples/shop/ordering/basket"
	"github.com/reventless-go/reventless/message"
)

// Command is the closed set of commands of an order.
//
//sumtype:decl
type Command interface {
	message.Typed
	isCommand()
}

// Place creates the order. Lines of the same product are merged.
type Place struct {
	CustomerID string        `json:"customerId"`
	Country    string        `json:"country"`
	Lines      []basket.Line `json:"lines"`
}

// Pay pays the order's total.
type Pay struct{}

// ShipLine ships the whole line of a product.
type ShipLine struct {
	ProductID string `json:"productId"`
}

// Complete completes an order. It leads to no event while a line is not shipped. Only
// policies send it.
type Complete struct{}

// Cancel cancels the order, unless it is completed.
type Cancel struct {
	Reason string `json:"reason"`
}

// Expire cancels the order if it is not paid. Only policies send it. Cancel would not do:
// the order may have been paid in the meantime.
type Expire struct{}

func (Place) MessageType() string    { return "Place" }
func (Pay) MessageType() string      { return "Pay" }
func (ShipLine) MessageType() string { return "ShipLine" }
func (Complete) MessageType() string { return "Complete" }
func (Cancel) MessageType() string   { return "Cancel" }
func (Expire) MessageType() string   { return "Expire" }

func (Place) isCommand()    {}
func (Pay) isCommand()      {}
func (ShipLine) isCommand() {}
func (Complete) isCommand() {}
func (Cancel) isCommand()   {}
func (Expire) isCommand()   {}

// Event is the closed set of events of an order.
//
//sumtype:decl
type Event interface {
	message.Typed
	isEvent()
}

// Placed happens when the order is created. Its basket has one line per product.
type Placed struct{ basket.Basket }

// Paid happens when the order is paid. Lines is the number of lines to ship.
type Paid struct {
	Lines int `json:"lines"`
}

// LineShipped happens when the line of a product is shipped.
type LineShipped struct {
	ProductID string `json:"productId"`
}

// Completed happens when all lines are shipped.
type Completed struct{}

// Cancelled happens when the order is cancelled. It has the basket, so that totals can be
// reversed.
type Cancelled struct {
	Reason string `json:"reason"`
	basket.Basket
}

func (Placed) MessageType() string      { return "Placed" }
func (Paid) MessageType() string        { return "Paid" }
func (LineShipped) MessageType() string { return "LineShipped" }
func (Completed) MessageType() string   { return "Completed" }
func (Cancelled) MessageType() string   { return "Cancelled" }

func (Placed) isEvent()      {}
func (Paid) isEvent()        {}
func (LineShipped) isEvent() {}
func (Completed) isEvent()   {}
func (Cancelled) isEvent()   {}

// The rejections. Place also has those of package basket.
var (
	ErrAlreadyPlaced    = message.Reject("AlreadyPlaced")
	ErrNotFound         = message.Reject("NotFound")
	ErrAlreadyPaid      = message.Reject("AlreadyPaid")
	ErrNotPaid          = message.Reject("NotPaid")
	ErrUnknownLine      = message.Reject("UnknownLine")
	ErrAlreadyShipped   = message.Reject("AlreadyShipped")
	ErrAlreadyCancelled = message.Reject("AlreadyCancelled")
	ErrCompleted        = message.Reject("Completed")
)

// Aggregate is the order.
var Aggregate = aggregate.New(aggregate.Spec[State, Command, Event]{
	Name:     "Order",
	Doc:      "An order, from its placement to its delivery.",
	Commands: message.NewSet[Command](Place{}, Pay{}, ShipLine{}, Complete{}, Cancel{}, Expire{}),
	Events:   message.NewSet[Event](Placed{}, Paid{}, LineShipped{}, Completed{}, Cancelled{}),
	Decide:   Decide,
	Evolve:   Evolve,
	Access: access.Rules{
		access.Owner("customerId").Or(access.Roles(access.Admin)).For(Place{}),
		access.Roles(access.Admin).For(ShipLine{}, Cancel{}),
		access.Internal.For(Complete{}, Expire{}),
	},
})

// State is what decisions about an order depend on.
type State struct {
	Placed    bool
	Paid      bool
	Completed bool
	Cancelled bool
	Basket    basket.Basket
	// Unshipped are the products whose lines are not shipped.
	Unshipped []string
}

// gone returns an error if the order does not exist or is cancelled. It ignores whether
// the order is completed: a repeated Pay or ShipLine then gets the same rejection before
// and after the completion.
func (s State) gone() error {
	switch {
	case !s.Placed:
		return ErrNotFound
	case s.Cancelled:
		return ErrAlreadyCancelled
	}
	return nil
}

// has reports whether the order has a line of the product.
func (s State) has(productID string) bool {
	return slices.ContainsFunc(s.Basket.Lines, func(l basket.Line) bool { return l.ProductID == productID })
}

// Decide returns the events that a command leads to, or its rejection.
func Decide(s State, c Command) ([]Event, error) {
	switch c := c.(type) {
	case Place:
		if s.Placed {
			return nil, ErrAlreadyPlaced
		}
		b, err := basket.Basket(c).Checked()
		if err != nil {
			return nil, err
		}
		return []Event{Placed{b}}, nil

	case Pay:
		if err := s.gone(); err != nil {
			return nil, err
		}
		if s.Paid {
			return nil, ErrAlreadyPaid
		}
		return []Event{Paid{Lines: len(s.Basket.Lines)}}, nil

	case ShipLine:
		if err := s.gone(); err != nil {
			return nil, err
		}
		switch {
		case !s.Paid:
			return nil, ErrNotPaid
		case !s.has(c.ProductID):
			return nil, message.Reject("UnknownLine", c.ProductID)
		case !slices.Contains(s.Unshipped, c.ProductID):
			return nil, message.Reject("AlreadyShipped", c.ProductID)
		}
		return []Event{LineShipped(c)}, nil

	case Complete:
		if err := s.gone(); err != nil {
			return nil, err
		}
		switch {
		case s.Completed:
			return nil, ErrCompleted
		case !s.Paid:
			return nil, ErrNotPaid
		case len(s.Unshipped) > 0:
			return nil, nil
		}
		return []Event{Completed{}}, nil

	case Cancel:
		if err := s.gone(); err != nil {
			return nil, err
		}
		if s.Completed {
			return nil, ErrCompleted
		}
		return []Event{Cancelled{Reason: c.Reason, Basket: s.Basket}}, nil

	case Expire:
		if err := s.gone(); err != nil {
			return nil, err
		}
		if s.Paid {
			return nil, ErrAlreadyPaid
		}
		return []Event{Cancelled{Reason: "not paid in time", Basket: s.Basket}}, nil
	}
	return nil, nil
}

// Evolve folds an event into the state.
func Evolve(s State, e Event) State {
	switch e := e.(type) {
	case Placed:
		s.Placed, s.Basket = true, e.Basket
		s.Unshipped = make([]string, len(e.Lines))
		for i, l := range e.Lines {
			s.Unshipped[i] = l.ProductID
		}
	case Paid:
		s.Paid = true
	case LineShipped:
		// A new slice: the previous state may be cached.
		s.Unshipped = slices.DeleteFunc(slices.Clone(s.Unshipped), func(id string) bool { return id == e.ProductID })
	case Completed:
		s.Completed = true
	case Cancelled:
		s.Cancelled = true
	}
	return s
}
