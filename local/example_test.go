package local_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/local"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/readmodel"
)

// region declaration
type (
	Command interface{ message.Typed }
	Open    struct{ Owner string }
	Deposit struct{ Amount int }
)

func (Open) MessageType() string    { return "Open" }
func (Deposit) MessageType() string { return "Deposit" }

type (
	Event     interface{ message.Typed }
	Opened    struct{ Owner string }
	Deposited struct{ Amount int }
	State     struct{ Open bool }
)

func (Opened) MessageType() string    { return "Opened" }
func (Deposited) MessageType() string { return "Deposited" }

func Decide(s State, c Command) ([]Event, error) {
	switch c := c.(type) {
	case Open:
		if s.Open {
			return nil, message.Reject("AlreadyOpen")
		}
		return []Event{Opened(c)}, nil
	case Deposit:
		if !s.Open {
			return nil, message.Reject("NotOpen")
		}
		return []Event{Deposited(c)}, nil
	}
	return nil, nil
}

func Evolve(s State, e Event) State {
	if _, ok := e.(Opened); ok {
		s.Open = true
	}
	return s
}

var Account = aggregate.New(aggregate.Spec[State, Command, Event]{
	Name:     "Account",
	Commands: message.NewSet[Command](Open{}, Deposit{}),
	Events:   message.NewSet[Event](Opened{}, Deposited{}),
	Decide:   Decide,
	Evolve:   Evolve,
})

type Row struct {
	Owner   string
	Balance int
}

var Balances = readmodel.New(readmodel.Spec[Row]{
	Name: "Balances",
	Projections: readmodel.Projections[Row]{
		readmodel.On(Account, func(e message.Event[Event]) readmodel.Changes[Row] {
			switch d := e.Data.(type) {
			case Opened:
				return readmodel.Put(e.EntityID, Row{Owner: d.Owner})
			case Deposited:
				return readmodel.Update(e.EntityID, func(r *Row) { r.Balance += d.Amount })
			}
			return nil
		}),
	},
})

var Bank = reventless.New("bank", plugin.New(plugin.Spec{Name: "Retail", Components: plugin.Components{Account, Balances}}))

// endregion

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "bank")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "bank.db")
	if err := run(context.Background(), file); err != nil {
		log.Fatal(err)
	}
	// Output:
	// Accepted 1
	// Accepted 2
	// Accepted 2
	// {Ada 100}
}

// region run
func run(ctx context.Context, file string) error {
	bank, err := local.Open(ctx, Bank, file, nil)
	if err != nil {
		return err
	}
	defer bank.Close()
	if err := bank.Start(ctx); err != nil {
		return err
	}
	opened, err := bank.Send(ctx, "open-1", Account.To("acc-1", Open{Owner: "Ada"}))
	if err != nil {
		return err
	}
	fmt.Println(opened.Kind, opened.SequenceNr)
	for range 2 { // the same command id twice: applied once, answered the same
		deposited, err := bank.Send(ctx, "deposit-1", Account.To("acc-1", Deposit{Amount: 100}))
		if err != nil {
			return err
		}
		fmt.Println(deposited.Kind, deposited.SequenceNr)
	}
	if err := bank.WaitIdle(ctx); err != nil { // until everything is projected
		return err
	}
	row, _, err := Balances.Open(bank.Env()).Get(ctx, "acc-1")
	fmt.Println(row)
	return err
}

// endregion
