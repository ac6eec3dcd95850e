// Package returns declares the aggregate Return: products that a customer returns. They
// need not belong to an order in this shop.
package returns

import (
	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/examples/shop/ordering/basket"
	"github.com/reventless-go/reventless/message"
)

// Command is the closed set of commands of a return.
//
//sumtype:decl
type Command interface {
	message.Typed
	isCommand()
}

// Record creates the return. Quantities are positive.
type Record struct {
	CustomerID string        `json:"customerId"`
	Country    string        `json:"country"`
	Lines      []basket.Line `json:"lines"`
}

func (Record) MessageType() string { return "Record" }

func (Record) isCommand() {}

// Event is the closed set of events of a return.
//
//sumtype:decl
type Event interface {
	message.Typed
	isEvent()
}

// Recorded happens when the return is created. Its basket has one line per product.
type Recorded struct{ basket.Basket }

func (Recorded) MessageType() string { return "Recorded" }

func (Recorded) isEvent() {}

// ErrAlreadyRecorded rejects a second Record. Record also has the rejections of package
// basket.
var ErrAlreadyRecorded = message.Reject("AlreadyRecorded")

// Aggregate is the return.
var Aggregate = aggregate.New(aggregate.Spec[State, Command, Event]{
	Name:     "Return",
	Doc:      "Products that a customer returns.",
	Commands: message.NewSet[Command](Record{}),
	Events:   message.NewSet[Event](Recorded{}),
	Decide:   Decide,
	Evolve:   Evolve,
	Access:   access.Rules{access.Owner("customerId").Or(access.Roles(access.Admin))},
})

// State is what decisions about a return depend on.
type State struct{ Recorded bool }

// Decide returns the events that a command leads to, or its rejection.
func Decide(s State, c Command) ([]Event, error) {
	switch c := c.(type) {
	case Record:
		if s.Recorded {
			return nil, ErrAlreadyRecorded
		}
		b, err := basket.Basket(c).Checked()
		if err != nil {
			return nil, err
		}
		return []Event{Recorded{b}}, nil
	}
	return nil, nil
}

// Evolve folds an event into the state.
func Evolve(s State, e Event) State {
	switch e.(type) {
	case Recorded:
		s.Recorded = true
	}
	return s
}
