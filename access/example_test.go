package access_test

import (
	"fmt"

	"github.com/reventless-go/reventless/access"
)

type cancel struct{}

func (cancel) MessageType() string { return "Cancel" }

func Example() {
	rules := access.Rules{
		access.Owner("customer").Or(access.Roles("Clerk")),
		access.Roles("Clerk").For(cancel{}),
	}
	customer := access.Identity{User: "ada"}
	for _, r := range rules {
		fmt.Println(r.Commands(), r, r.Decide(customer) == access.AsOwner)
	}
	// Output:
	// [] the owner (customer), or callers with the role Clerk true
	// [Cancel] callers with the role Clerk false
}
