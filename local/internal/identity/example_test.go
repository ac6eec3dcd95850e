package identity_test

import (
	"context"
	"fmt"
	"net/http"

	"github.com/reventless-go/reventless/local/internal/identity"
)

func ExampleVerifier_Request() {
	v, err := identity.New(context.Background(), identity.Options{DevUsers: true})
	if err != nil {
		panic(err)
	}
	r := &http.Request{Header: http.Header{}}
	who, err := v.Request(r)
	fmt.Printf("%q %q %v\n", who.User, who.Roles, err)

	r.Header.Set("X-User", "admin")
	who, err = v.Request(r)
	fmt.Printf("%q %q %v\n", who.User, who.Roles, err)

	r.Header.Set("X-User", "root")
	_, err = v.Request(r)
	fmt.Println(err)
	// Output:
	// "" [] <nil>
	// "admin" ["Admin"] <nil>
	// identity: X-User is neither user nor admin; there are no other dev users: unauthenticated
}
