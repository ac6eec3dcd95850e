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
		access.Internal.For(expire{}),
	}
	for _, r := range rules {
		fmt.Println(r)
	}
	// Output:
	// the owner (customer), or callers with the role Clerk
	// callers with the role Clerk
	// nobody
}

type expire struct{}

func (expire) MessageType() string { return "Expire" }
