// Package returns is the aggregate Return: what a customer brings back. It need
// not refer to an order of this shop's books.
package returns

import (
	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/examples/shop/ordering/basket"
	"github.com/reventless-go/reventless/message"
)

// Command is the closed set of what a return can be asked to do.
//
//sumtype:decl
type Command interface {
	message.Typed
	isCommand()
}

// Record writes the return down. Quantities are positive.
type Record struct {
	CustomerID string        `json:"customerId"`
	Country    string        `json:"country"`
	Lines      []basket.Line `json:"lines"`
}

func (Record) MessageType() string { return "Record" }

func (Record) isCommand() {}

// Event is the closed set of what happens to a return.
//
//sumtype:decl
type Event interface {
	message.Typed
	isEvent()
}

// Recorded says who brought back what, with one line for each product.
type Recorded struct{ basket.Basket }

func (Recorded) MessageType() string { return "Recorded" }

func (Recorded) isEvent() {}

// ErrAlreadyRecorded refuses a second record. The refusals of a basket are in
// package basket.
var ErrAlreadyRecorded = message.Reject("AlreadyRecorded")

// Aggregate declares the return.
var Aggregate = aggregate.New(aggregate.Spec[State, Command, Event]{
	Name:     "Return",
	Doc:      "What a customer brings back.",
	Commands: message.NewSet[Command](Record{}),
	Events:   message.NewSet[Event](Recorded{}),
	Decide:   Decide,
	Evolve:   Evolve,
	Access:   access.Rules{access.Owner("customerId").Or(access.Roles(access.Admin))},
})

// State is what the decisions about a return depend on.
type State struct{ Recorded bool }

// Decide answers a command.
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
