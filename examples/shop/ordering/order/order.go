// Package order is the aggregate Order: from the placing of a basket to its
// delivery.
package order

import (
	"slices"

	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/examples/shop/ordering/basket"
	"github.com/reventless-go/reventless/message"
)

// Command is the closed set of what an order can be asked to do.
//
//sumtype:decl
type Command interface {
	message.Typed
	isCommand()
}

// Place makes the order. Lines of the same product become one.
type Place struct {
	CustomerID string        `json:"customerId"`
	Country    string        `json:"country"`
	Lines      []basket.Line `json:"lines"`
}

// Pay settles the order's total.
type Pay struct{}

// ShipLine sends the whole line of a product on its way.
type ShipLine struct {
	ProductID string `json:"productId"`
}

// Complete closes an order of which every line is shipped. Policies send it;
// while a line is left it changes nothing.
type Complete struct{}

// Cancel calls the order off, unless it is completed.
type Cancel struct {
	Reason string `json:"reason"`
}

// Expire cancels an order that is not paid. Policies send it; beside Cancel it
// exists because a payment may cross it on its way.
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

// Event is the closed set of what happens to an order.
//
//sumtype:decl
type Event interface {
	message.Typed
	isEvent()
}

// Placed says who ordered what, with one line for each product.
type Placed struct{ basket.Basket }

// Paid says that the total is settled, and how many lines are to be shipped.
type Paid struct {
	Lines int `json:"lines"`
}

// LineShipped says that the line of a product is on its way.
type LineShipped struct {
	ProductID string `json:"productId"`
}

// Completed says that every line is on its way.
type Completed struct{}

// Cancelled says that the order does not count, and what no longer does.
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

// The refusals. Those of a basket, which Place has too, are in package basket.
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

// Aggregate declares the order.
var Aggregate = aggregate.New(aggregate.Spec[State, Command, Event]{
	Name:     "Order",
	Doc:      "A basket, from its placing to its delivery.",
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

// State is what the decisions about an order depend on.
type State struct {
	Placed    bool
	Paid      bool
	Completed bool
	Cancelled bool
	Basket    basket.Basket
	// Unshipped are the products whose lines are still here.
	Unshipped []string
}

// gone says why nothing more can happen to an order; nil when it can. It leaves
// completed orders alone: whoever repeats Pay or ShipLine is told so, however
// fast the order was completed.
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

// Decide answers a command.
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
		// A new slice: the state before may be in use.
		s.Unshipped = slices.DeleteFunc(slices.Clone(s.Unshipped), func(id string) bool { return id == e.ProductID })
	case Completed:
		s.Completed = true
	case Cancelled:
		s.Cancelled = true
	}
	return s
}
