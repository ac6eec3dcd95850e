// Package customer declares the aggregate Customer.
package customer

import (
	"net/mail"

	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/message"
)

// Command is the closed set of commands of a customer.
//
//sumtype:decl
type Command interface {
	message.Typed
	isCommand()
}

// Register creates the customer.
type Register struct {
	Email   string `json:"email"`
	Country string `json:"country"`
}

// ChangeEmail changes the customer's address. The same address leads to no event.
type ChangeEmail struct {
	Email string `json:"email"`
}

// Deactivate deactivates the customer permanently.
type Deactivate struct{}

func (Register) MessageType() string    { return "Register" }
func (ChangeEmail) MessageType() string { return "ChangeEmail" }
func (Deactivate) MessageType() string  { return "Deactivate" }

func (Register) isCommand()    {}
func (ChangeEmail) isCommand() {}
func (Deactivate) isCommand()  {}

// Event is the closed set of events of a customer.
//
//sumtype:decl
type Event interface {
	message.Typed
	isEvent()
}

// Registered happens when the customer is created.
type Registered struct {
	Email   string `json:"email"`
	Country string `json:"country"`
}

// EmailChanged happens when the customer gets a new address.
type EmailChanged struct {
	Email string `json:"email"`
}

// Deactivated happens when the customer is deactivated.
type Deactivated struct{}

func (Registered) MessageType() string   { return "Registered" }
func (EmailChanged) MessageType() string { return "EmailChanged" }
func (Deactivated) MessageType() string  { return "Deactivated" }

func (Registered) isEvent()   {}
func (EmailChanged) isEvent() {}
func (Deactivated) isEvent()  {}

// The rejections.
var (
	ErrAlreadyRegistered = message.Reject("AlreadyRegistered")
	ErrNotFound          = message.Reject("NotFound")
	ErrDeactivated       = message.Reject("Deactivated")
	ErrInvalidEmail      = message.Reject("InvalidEmail")
)

// Aggregate is the customer.
var Aggregate = aggregate.New(aggregate.Spec[State, Command, Event]{
	Name:     "Customer",
	Doc:      "A customer of the shop.",
	Commands: message.NewSet[Command](Register{}, ChangeEmail{}, Deactivate{}),
	Events:   message.NewSet[Event](Registered{}, EmailChanged{}, Deactivated{}),
	Decide:   Decide,
	Evolve:   Evolve,
	Access:   access.Rules{access.Owner("id").Or(access.Roles(access.Admin))},
})

// State is what decisions about a customer depend on.
type State struct {
	Registered  bool
	Deactivated bool
	Email       string
}

// gone returns an error if the customer cannot be changed.
func (s State) gone() error {
	switch {
	case !s.Registered:
		return ErrNotFound
	case s.Deactivated:
		return ErrDeactivated
	}
	return nil
}

// Decide returns the events that a command leads to, or its rejection.
func Decide(s State, c Command) ([]Event, error) {
	switch c := c.(type) {
	case Register:
		switch {
		case s.Registered:
			return nil, ErrAlreadyRegistered
		case !isAddress(c.Email):
			return nil, message.Reject("InvalidEmail", c.Email)
		}
		return []Event{Registered(c)}, nil

	case ChangeEmail:
		if err := s.gone(); err != nil {
			return nil, err
		}
		switch {
		case !isAddress(c.Email):
			return nil, message.Reject("InvalidEmail", c.Email)
		case s.Email == c.Email:
			return nil, nil
		}
		return []Event{EmailChanged(c)}, nil

	case Deactivate:
		if err := s.gone(); err != nil {
			return nil, err
		}
		return []Event{Deactivated{}}, nil
	}
	return nil, nil
}

// Evolve folds an event into the state.
func Evolve(s State, e Event) State {
	switch e := e.(type) {
	case Registered:
		s.Registered, s.Email = true, e.Email
	case EmailChanged:
		s.Email = e.Email
	case Deactivated:
		s.Deactivated = true
	}
	return s
}

// isAddress reports whether email is a bare address, without a name.
func isAddress(email string) bool {
	a, err := mail.ParseAddress(email)
	return err == nil && a.Address == email
}
