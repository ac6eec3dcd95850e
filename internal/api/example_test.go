package api_test

import (
	"fmt"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/internal/api"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/readmodel"
)

// Book is a command, Booked an event.
type (
	Book struct {
		Guest string   `json:"guest"`
		Seats int16    `json:"seats"`
		Notes []string `json:"notes,omitempty"`
	}
	Booked Book
)

func (Book) MessageType() string   { return "Book" }
func (Booked) MessageType() string { return "Booked" }

// Booking is a row.
type Booking struct {
	Guest string `json:"guest"`
	Seats int16  `json:"seats"`
}

func Example() {
	table := aggregate.New(aggregate.Spec[struct{}, message.Typed, message.Typed]{
		Name:     "Table",
		Commands: message.NewSet[message.Typed](Book{}),
		Events:   message.NewSet[message.Typed](Booked{}),
		Decide: func(_ struct{}, c message.Typed) ([]message.Typed, error) {
			return []message.Typed{Booked(c.(Book))}, nil
		},
		Evolve: func(s struct{}, _ message.Typed) struct{} { return s },
		Access: access.Rules{access.Roles("Waiter")},
	})
	bookings := readmodel.New(readmodel.Spec[Booking]{
		Name: "Bookings",
		Projections: readmodel.Projections[Booking]{readmodel.On(table, func(e message.Event[message.Typed]) readmodel.Changes[Booking] {
			b := e.Data.(Booked)
			return readmodel.Put(e.EntityID, Booking{Guest: b.Guest, Seats: b.Seats})
		})},
	})
	app := reventless.New("inn", plugin.New(plugin.Spec{Name: "Hall", Components: []plugin.Component{table, bookings}}))

	for _, name := range []string{"hallBooking", "hallTableBook"} {
		for _, kind := range []api.OperationKind{api.Query, api.Mutation} {
			if o := app.API().Operation(kind, name); o != nil {
				fmt.Println(kind, o.Name, "for", o.Rule)
				for _, a := range o.Args {
					fmt.Printf("  %s: %s\n", a.Name, a.Type)
				}
			}
		}
	}
	// Output:
	// Query hallBooking for authenticated callers
	//   id: ID!
	//   waitFor: [String!]
	// Mutation hallTableBook for callers with the role Waiter
	//   id: ID!
	//   guest: String!
	//   seats: Int!
	//   notes: [String!]
	//   commandId: ID
}
