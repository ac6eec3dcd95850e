package extension_test

import (
	"fmt"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/extension"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
)

type private interface{ message.Typed }

// added is what happens inside the catalog; it says more than others may know.
type added struct{ Name, Supplier string }

// listed is what the catalog tells others.
type listed struct{ Name string }

func (added) MessageType() string  { return "Added" }
func (listed) MessageType() string { return "Listed" }

func declare(name string) *aggregate.Aggregate[struct{}, private, private] {
	return aggregate.New(aggregate.Spec[struct{}, private, private]{
		Name: name, Commands: message.NewSet[private](added{}), Events: message.NewSet[private](added{}),
		Decide: func(_ struct{}, c private) ([]private, error) { return []private{c}, nil },
		Evolve: func(s struct{}, _ private) struct{} { return s },
	})
}

// The two plugins share the protocol and nothing else.
func Example() {
	protocol := extension.NewPoint(extension.PointSpec[extension.NoCommand, listed]{
		Name: "Products", Events: message.NewSet(listed{}),
	})

	product := declare("Product")
	offer := extension.NewOffer(protocol, extension.Publish(protocol, product,
		func(e message.Event[private]) []listed { return []listed{{Name: e.Data.(added).Name}} }))

	listing := declare("Listing")
	follow := extension.New(protocol, extension.Spec[listed]{
		Name: "Listings",
		React: func(e message.Event[listed]) message.Actions {
			return message.Actions{listing.To(e.EntityID, added{Name: e.Data.Name})}
		},
		Sends: plugin.Components{listing},
	})

	app := reventless.New("shop",
		plugin.New(plugin.Spec{Name: "Catalog", Components: plugin.Components{product, offer}}),
		plugin.New(plugin.Spec{Name: "Ordering", Components: plugin.Components{listing, follow}}),
	)
	for _, p := range app.Topology().Plugins {
		for _, c := range p.Components {
			for _, s := range c.Sources {
				if s.Point != "" {
					fmt.Printf("%s reads %s through %s\n", c.Name, s.Log, s.Point)
				}
			}
		}
	}
	// Output:
	// Ordering.Listings reads Catalog.Product through Catalog.Products
}
