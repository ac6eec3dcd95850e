package aggregate_test

import (
	"fmt"

	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/message"
)

type (
	command interface{ message.Typed }
	event   interface{ message.Typed }

	open   struct{ Seats int }
	book   struct{ Guest string }
	opened struct{ Seats int }
	booked struct{ Guest string }
)

func (open) MessageType() string   { return "Open" }
func (book) MessageType() string   { return "Book" }
func (opened) MessageType() string { return "Opened" }
func (booked) MessageType() string { return "Booked" }

type table struct{ Free int }

func decide(t table, c command) ([]event, error) {
	switch c := c.(type) {
	case open:
		return []event{opened(c)}, nil
	case book:
		if t.Free == 0 {
			return nil, message.Reject("FullyBooked")
		}
		return []event{booked(c)}, nil
	}
	return nil, nil
}

func evolve(t table, e event) table {
	switch e := e.(type) {
	case opened:
		t.Free = e.Seats
	case booked:
		t.Free--
	}
	return t
}

// The functions are plain: they are called here as the engine calls them.
func Example() {
	tables := aggregate.New(aggregate.Spec[table, command, event]{
		Name:     "Table",
		Commands: message.NewSet[command](open{}, book{}),
		Events:   message.NewSet[event](opened{}, booked{}),
		Decide:   decide,
		Evolve:   evolve,
	})
	state := tables.Spec().Initial
	for _, c := range []command{open{Seats: 1}, book{Guest: "Ada"}, book{Guest: "Bob"}} {
		events, rejection := decide(state, c)
		for _, e := range events {
			state = evolve(state, e)
		}
		fmt.Println(c.MessageType(), events, rejection)
	}
	// Output:
	// Open [{1}] <nil>
	// Book [{Ada}] <nil>
	// Book [] FullyBooked
}
