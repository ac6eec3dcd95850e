package main_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/reventless-go/reventless/internal/testenv"
)

// The printed, the served and the introspected schema are equal, and graphql-js
// accepts them.
func TestSchemaIsWhatGraphQLJSReads(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	served := s.serve()
	for _, sdl := range []string{served.url + "sdl", testdata + "/api.graphql"} {
		got := decode[struct {
			Errors     []string
			Types      int
			Equal      bool
			Difference any
		}](t, []byte(runClient(t, "validate.mjs", map[string]any{"url": served.url + "graphql", "headers": headers(admin), "sdl": sdl}).line()))
		if len(got.Errors) > 0 || !got.Equal || got.Types < 50 {
			t.Errorf("%s: errors %q, %d types, the same as introspection: %v (%v)", sdl, got.Errors, got.Types, got.Equal, got.Difference)
		}
	}
	r, err := http.Get(served.url + "sdl")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	served.stop()
	if printed := s.run("schema"); printed != string(text) {
		t.Error("the program serves a different schema from the one it prints")
	}
}

// productRow is a row of Products as the API shows it.
type productRow struct {
	ID           string
	ProductID    string
	Name         string
	Price        float64
	CategoryID   *string
	Discontinued bool
}

const productFields = "{ id productId name price categoryId discontinued }"

// connection is a page.
type connection[T any] struct {
	Edges    []struct{ Node T }
	PageInfo struct {
		HasNextPage bool
		EndCursor   *string
	}
}

func (c connection[T]) nodes() []T {
	out := make([]T, 0, len(c.Edges))
	for _, e := range c.Edges {
		out = append(out, e.Node)
	}
	return out
}

const pageOf = "{ edges { node " + productFields + " } pageInfo { hasNextPage endCursor } }"

// products reads the rows of the store itself, by id.
func (s shopAt) products() []productRow {
	s.t.Helper()
	var out []productRow
	for _, r := range s.rows("Products") {
		price, err := r["price"].(json.Number).Float64()
		if err != nil {
			s.t.Fatal(err)
		}
		id := r["productId"].(string)
		out = append(out, productRow{ID: id, ProductID: id, Name: r["name"].(string), Price: price, Discontinued: r["discontinued"] == true})
	}
	return out
}

func byID(a, b productRow) int { return strings.Compare(a.ID, b.ID) }

// A client reads all pages of the seeded shop, by POST and by GET.
func TestQueriesThroughURQL(t *testing.T) {
	t.Parallel()
	testenv.Needs(t, "node")
	s := seededShop(t)
	all := s.products()
	slices.SortFunc(all, func(a, b productRow) int { return cmp.Or(cmp.Compare(a.Price, b.Price), byID(a, b)) })
	served := s.serve()
	for _, get := range []bool{false, true} {
		u := served.urql(nobody, get)
		var got []productRow
		var data struct{ Page connection[productRow] }
		for after := (*string)(nil); after == nil || data.Page.PageInfo.HasNextPage; after = data.Page.PageInfo.EndCursor {
			data.Page = connection[productRow]{}
			u.do(&data, `query ($after: String) { page: catalogProducts(first: 100, after: $after, orderBy: {field: price}) `+pageOf+` }`, map[string]any{"after": after})
			got = append(got, data.Page.nodes()...)
		}
		if len(all) != 589 || !reflect.DeepEqual(got, all) {
			t.Errorf("by GET %v: the %d rows of the pages are not the %d rows of the store", get, len(got), len(all))
		}
		var found struct {
			One, None *productRow
			Some      connection[productRow]
		}
		u.do(&found, `query ($id: ID!, $price: Float!) {
			one: catalogProduct(id: $id) `+productFields+` none: catalogProduct(id: "none") { id }
			some: catalogProducts(first: 100, filter: {price: {less: $price}, name: {contains: "RED"}}) `+pageOf+` }`, map[string]any{"id": all[7].ID, "price": 99})
		if !reflect.DeepEqual(found.One, &all[7]) || found.None != nil {
			t.Errorf("by GET %v: got %+v and %+v, want %+v and nothing", get, found.One, found.None, all[7])
		}
		want := slices.DeleteFunc(slices.Clone(all), func(p productRow) bool { return p.Price >= 99 || !strings.Contains(p.Name, "RED") })
		if got := slices.SortedFunc(slices.Values(found.Some.nodes()), byID); !reflect.DeepEqual(got, slices.SortedFunc(slices.Values(want), byID)) || len(got) == 0 {
			t.Errorf("by GET %v: the filter finds %+v, want %+v", get, got, want)
		}
		if r := u.try(`{ orderingProductDemands { edges { cursor } } }`, nil); r.Error == nil || !slices.Equal(r.Codes, []string{"UNAUTHENTICATED"}) {
			t.Errorf("by GET %v: got %s and codes %q, want UNAUTHENTICATED", get, r.Data, r.Codes)
		}
	}
	served.stop()
}

// A client sends commands and reads their effects.
func TestMutationsThroughURQL(t *testing.T) {
	t.Parallel()
	served := newShop(t).serve()
	u := served.urql(user, false)
	const add = `catalogProductAdd(id: "lamp", name: "Lamp", description: "It gives light.", price: 1, commandId: "one")`
	first := u.accepted(add)
	if want := (commandResult{Typename: "CommandAccepted", CommandID: "one", EntityID: "lamp", SequenceNr: 1, EventCount: 1, Position: first.Position}); first != want {
		t.Errorf("got %+v, want %+v", first, want)
	}
	if again := u.send(add); again != first {
		t.Errorf("the same command again: got %+v, want %+v", again, first)
	}
	if got := u.send(`catalogProductChangePrice(id: "lamp", price: -5)`); got.Typename != "CommandRejected" || got.Code != "InvalidPrice" || got.Message == "" || got.Detail == nil || *got.Detail != "-5" {
		t.Errorf("a negative price: got %+v, want InvalidPrice with the detail -5", got)
	}
	if got := u.try(`mutation { catalogCategoryArchive(id: "light") { __typename } }`, nil); !slices.Equal(got.Codes, []string{"FORBIDDEN"}) {
		t.Errorf("a command for Admin: got %s and codes %q, want FORBIDDEN", got.Data, got.Codes)
	}
	// A query that waits for the position of a command shows the effect of the command.
	for price := 2; price < 22; price++ {
		at := u.accepted(`catalogProductChangePrice(id: "lamp", price: ` + strconv.Itoa(price) + `)`).Position
		var data struct {
			One         productRow
			All, Prices connection[productRow]
		}
		u.do(&data, `query ($at: [String!]) {
			one: catalogProduct(id: "lamp", waitFor: $at) { price }
			all: catalogProducts(waitFor: $at) { edges { node { price } } }
			prices: catalogPriceHistoryItems(id: "lamp", first: 1, direction: DESC, waitFor: $at) { edges { node { price } } }
		}`, map[string]any{"at": []string{at}})
		for _, got := range append(append(data.All.nodes(), data.Prices.nodes()...), data.One) {
			if got.Price != float64(price) {
				t.Fatalf("the price is changed to %d: the answer is %+v", price, data)
			}
		}
	}
	served.stop()
}

// Clients of both transports receive changes until they unsubscribe, and are
// disconnected when the program stops.
func TestSubscriptionPublishesChangesOfRows(t *testing.T) {
	t.Parallel()
	for _, script := range []string{"ws.mjs", "sse.mjs"} {
		t.Run(strings.TrimSuffix(script, ".mjs"), func(t *testing.T) {
			t.Parallel()
			served := newShop(t).serve()
			refused := served.subscribeThrough(script, nobody, `subscription { change: orderingOrderChanged { id } }`)
			e := refused.next(func(e watched) bool { return e.Event == "connected" })
			if errors := append(e.Errors, e.Value.Errors...); len(errors) != 1 || errors[0].Extensions.Code != "UNAUTHENTICATED" {
				t.Errorf("nobody subscribes to orders: got %+v, want UNAUTHENTICATED", e)
			}

			u := served.urql(user, false)
			for _, id := range []string{"lamp", "candle"} {
				u.accepted(`catalogProductAdd(id: "` + id + `", name: "` + id + `", description: "", price: 1)`)
			}
			const all, lamp = 0, 1
			w := served.subscribeThrough(script, nobody,
				`subscription { change: catalogProductChanged { kind id revision row { id name price } } }`,
				`subscription { change: catalogProductChanged(id: "lamp") { kind id revision row { id name price } } }`)
			w.live(2, func(n int) { u.accepted(fmt.Sprintf(`catalogProductChangePrice(id: "lamp", price: %d)`, n+2)) })

			u.accepted(`catalogProductChangePrice(id: "candle", price: 77)`)
			got := w.next(func(e watched) bool { return e.Event != "next" || e.change(t).ID == "lamp" })
			if c := got.change(t); *got.ID != all || c.Kind != "UPDATED" || c.ID != "candle" || c.Row.ID != "candle" || c.Row.Price != 77 || c.Revision == 0 {
				t.Errorf("got %+v of subscription %d, want candle at 77 in that of all", c, *got.ID)
			}
			w.command(map[string]any{"unsubscribe": lamp})
			if e := w.next(func(e watched) bool { return e.Event == "next" }); e.Event != "complete" || *e.ID != lamp {
				t.Errorf("got %+v, want the end of the lamp's subscription", e)
			}
			u.accepted(`catalogProductRename(id: "lamp", name: "Lantern")`)
			// Earlier changes of the lamp's price may still arrive.
			e = w.next(func(e watched) bool { return e.Event == "next" && *e.ID == all && e.change(t).Row.Name == "lamp" })
			if c := e.change(t); *e.ID != all || c.Row.Name != "Lantern" {
				t.Errorf("got %+v of subscription %d, want the lamp's new name in that of all", c, *e.ID)
			}

			served.terminate()
			last := watched{}
			for e := range w.events {
				last = e
			}
			if err := w.cmd.Wait(); last.Event != "closed" || err != nil {
				t.Errorf("the last event of the client is %+v and it ended with %v, want a closed connection\n%s", last, err, &w.err)
			}
			served.end()
		})
	}
}
