package local_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/local"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
)

// region rules
var Guarded = aggregate.New(aggregate.Spec[State, Command, Event]{
	Name:     "Account",
	Commands: message.NewSet[Command](Open{}, Deposit{}),
	Events:   message.NewSet[Event](Opened{}, Deposited{}),
	Decide:   Decide,
	Evolve:   Evolve,
	Access: access.Rules{
		access.Owner("Owner").For(Open{}),     // the caller is the Owner that the command names
		access.Roles("Teller").For(Deposit{}), // the caller has this role
	},
})

// endregion

var GuardedBank = reventless.New("bank", plugin.New(plugin.Spec{
	Name: "Retail", Components: plugin.Components{Guarded},
}))

// The API is a handler for any HTTP server.
func ExampleHost_API() {
	dir, err := os.MkdirTemp("", "bank")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	bank, err := local.Open(ctx, GuardedBank, filepath.Join(dir, "bank.db"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer bank.Close()
	if err := bank.Start(ctx); err != nil {
		log.Fatal(err)
	}
	api, err := bank.API(ctx, &local.APIOptions{DevUsers: true}) // a real one gets JWTSecret or OIDCIssuer
	if err != nil {
		log.Fatal(err)
	}
	ask := func(user, mutation string) {
		r := httptest.NewRequest(http.MethodPost, "http://localhost/graphql", strings.NewReader(`{"query": "mutation { `+mutation+` { __typename } }"}`))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-User", user)
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		fmt.Println(w.Body)
	}
	ask("user", `retailAccountOpen(id: \"a\", owner: \"user\")`)
	ask("user", `retailAccountDeposit(id: \"a\", amount: 100)`)
	// Output:
	// {"data":{"retailAccountOpen":{"__typename":"CommandAccepted"}}}
	// {"errors":[{"message":"retailAccountDeposit is for callers with the role Teller","path":["retailAccountDeposit"],"extensions":{"code":"FORBIDDEN"}}],"data":{"retailAccountDeposit":null}}
}
