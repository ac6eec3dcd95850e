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
type Command interface{ message.Typed }
type Open struct{ Owner string }
type Deposit struct{ Amount int }

func (Open) MessageType() string    { return "Open" }
func (Deposit) MessageType() string { return "Deposit" }

type Event interface{ message.Typed }
type Opened struct{ Owner string }
type Deposited struct{ Amount int }

func (Opened) MessageType() string    { return "Opened" }
func (Deposited) MessageType() string { return "Deposited" }

type State struct{ Open bool }

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
	switch e.(type) {
	case Opened:
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

var Bank = reventless.New("bank", plugin.New(plugin.Spec{
	Name: "Retail", Components: plugin.Components{Account, Balances},
}))

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
	// open-1 Accepted
	// deposit-1 Accepted
	// deposit-1 Accepted
	// open-2 Rejected
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
	open, deposit := Account.To("acc-1", Open{Owner: "Ada"}), Account.To("acc-1", Deposit{Amount: 100})
	for _, c := range []struct {
		id string
		message.Send
	}{{"open-1", open}, {"deposit-1", deposit}, {"deposit-1", deposit}, {"open-2", open}} {
		outcome, err := bank.Send(ctx, c.id, c.Send)
		if err != nil {
			return err
		}
		fmt.Println(c.id, outcome.Kind)
	}
	if err := bank.WaitIdle(ctx); err != nil { // until everything is projected
		return err
	}
	row, _, err := Balances.Open(bank.Env()).Get(ctx, "acc-1")
	fmt.Println(row)
	return err
}

// endregion
