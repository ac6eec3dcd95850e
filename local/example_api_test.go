package local_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/reventless-go/reventless/local"
)

func ExampleAPI() {
	dir, err := os.MkdirTemp("", "bank")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	bank, err := local.Open(ctx, Bank, filepath.Join(dir, "bank.db"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer bank.Close()
	if err := bank.Start(ctx); err != nil {
		log.Fatal(err)
	}
	// The first page is at the server's URL, GraphiQL at /graphiql/.
	api, err := bank.API(ctx, &local.APIOptions{DevUsers: true})
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(api)
	defer server.Close()
	defer api.Close(ctx)

	ask := func(query string) {
		// In production a token identifies the caller; here a header names a dev user.
		r := httptest.NewRequest("POST", server.URL+"/graphql", strings.NewReader(`{"query": `+fmt.Sprintf("%q", query)+`}`))
		r.RequestURI = ""
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-User", "user")
		response, err := server.Client().Do(r)
		if err != nil {
			log.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(text))
	}
	ask(`mutation { retailAccountOpen(id: "acc-1", owner: "Ada") { __typename } }`)
	ask(`mutation { retailAccountDeposit(id: "acc-1", amount: 100) { __typename } }`)
	ask(`mutation { retailAccountOpen(id: "acc-1", owner: "Bob") { ... on CommandRejected { code } } }`)
	if err := bank.WaitIdle(ctx); err != nil { // a query can wait, too, with waitFor
		log.Fatal(err)
	}
	ask(`{ retailBalance(id: "acc-1") { id owner balance } }`)
	// Output:
	// {"data":{"retailAccountOpen":{"__typename":"CommandAccepted"}}}
	// {"data":{"retailAccountDeposit":{"__typename":"CommandAccepted"}}}
	// {"data":{"retailAccountOpen":{"code":"AlreadyOpen"}}}
	// {"data":{"retailBalance":{"id":"acc-1","owner":"Ada","balance":100}}}
}
