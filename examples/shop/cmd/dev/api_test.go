package main_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/reventless-go/reventless/internal/testenv"
)

// The schema that is printed, the one that is served, and what introspection tells
// are one and the same, and graphql-js has nothing to say against it.
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
		t.Error("the program serves another schema than it prints")
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
	Edges []struct {
		Cursor string
		Node   T
	}
	PageInfo struct {
		HasNextPage, HasPreviousPage bool
		StartCursor, EndCursor       *string
	}
}

func (c connection[T]) nodes() []T {
	out := make([]T, 0, len(c.Edges))
	for _, e := range c.Edges {
		out = append(out, e.Node)
	}
	return out
}

const pageOf = "{ edges { cursor node " + productFields + " } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } }"

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
	slices.SortFunc(out, func(a, b productRow) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// paged reads all pages of Products, each of size rows.
func paged(t *testing.T, ask func(variables map[string]any) connection[productRow], order map[string]any, size int, backwards bool) []productRow {
	t.Helper()
	count, at := "first", "after"
	if backwards {
		count, at = "last", "before"
	}
	variables := map[string]any{count: size, "order": order}
	if order == nil {
		delete(variables, "order")
	}
	var out []productRow
	for range 2000 {
		page := ask(variables)
		rows := page.nodes()
		more, other, cursor := page.PageInfo.HasNextPage, page.PageInfo.HasPreviousPage, page.PageInfo.EndCursor
		if backwards {
			more, other, cursor = other, more, page.PageInfo.StartCursor
			out = append(rows, out...)
		} else {
			out = append(out, rows...)
		}
		if first := variables[at] == nil; other == first {
			t.Errorf("%v: that there are rows before is %v", variables, other)
		}
		if !more {
			return out
		}
		if len(rows) != size || cursor == nil {
			t.Fatalf("%v: a page of %d rows that is not the last one ends at %v", variables, len(rows), cursor)
		}
		variables[at] = *cursor
	}
	t.Fatal("there is no end of pages")
	return nil
}

const productPage = `query ($first: Int, $after: String, $last: Int, $before: String, $order: CatalogProductOrder) {
	catalogProducts(first: $first, after: $after, last: $last, before: $before, orderBy: $order) ` + pageOf + `
}`

func TestQueriesThroughURQL(t *testing.T) {
	t.Parallel()
	testenv.Needs(t, "node")
	s := seededShop(t)
	all := s.products()
	if len(all) != 589 {
		t.Fatalf("%d products, want 589", len(all))
	}
	served := s.serve()
	for _, get := range []bool{false, true} {
		t.Run(map[bool]string{false: "POST", true: "GET"}[get], func(t *testing.T) {
			u := served.urql(nobody, get)
			u.t = t
			queries(t, u, all)
		})
	}
	served.stop()
}

func queries(t *testing.T, u urql, all []productRow) {
	t.Run("one row", func(t *testing.T) {
		var data struct{ Found, Missing *productRow }
		u.do(&data, `query ($id: ID!) { found: catalogProduct(id: $id) `+productFields+` missing: catalogProduct(id: "none") { id } }`, map[string]any{"id": all[7].ID})
		if !reflect.DeepEqual(data.Found, &all[7]) || data.Missing != nil {
			t.Errorf("got %+v and %+v, want %+v and nothing", data.Found, data.Missing, all[7])
		}
	})
	ask := func(variables map[string]any) connection[productRow] {
		var data struct{ CatalogProducts connection[productRow] }
		u.do(&data, productPage, variables)
		return data.CatalogProducts
	}
	byID := func(a, b productRow) int { return strings.Compare(a.ID, b.ID) }
	t.Run("all pages", func(t *testing.T) {
		got := paged(t, ask, nil, 100, false)
		slices.SortFunc(got, byID)
		if !reflect.DeepEqual(got, all) {
			t.Errorf("the pages have %d rows, and not those of the store", len(got))
		}
	})
	for field, compare := range map[string]func(a, b productRow) int{
		"id":    byID,
		"price": func(a, b productRow) int { return cmp.Compare(a.Price, b.Price) },
		"name":  func(a, b productRow) int { return strings.Compare(a.Name, b.Name) },
	} {
		t.Run("all pages by "+field, func(t *testing.T) {
			for direction, sign := range map[string]int{"ASC": 1, "DESC": -1} {
				order := map[string]any{"field": field, "direction": direction}
				forwards, backwards := paged(t, ask, order, 100, false), paged(t, ask, order, 87, true)
				if !reflect.DeepEqual(forwards, backwards) {
					t.Errorf("%s: the pages read backwards are not those read forwards", direction)
				}
				if !slices.IsSortedFunc(forwards, func(a, b productRow) int { return sign * compare(a, b) }) {
					t.Errorf("%s: the rows are in another order", direction)
				}
				slices.SortFunc(forwards, byID)
				if !reflect.DeepEqual(forwards, all) {
					t.Errorf("%s: the pages have %d rows, and not those of the store", direction, len(forwards))
				}
			}
		})
	}
	t.Run("by index", func(t *testing.T) {
		name := all[3].Name
		var data struct{ CatalogProductsByName connection[productRow] }
		u.do(&data, `query ($name: String!) { catalogProductsByName(name: $name, first: 100) `+pageOf+` }`, map[string]any{"name": name})
		same(t, name, data.CatalogProductsByName.nodes(), all, func(p productRow) bool { return p.Name == name })
	})
	t.Run("filters", func(t *testing.T) {
		for filter, holds := range map[string]func(p productRow) bool{
			`{name: {contains: "LANTERN"}}`:                                func(p productRow) bool { return strings.Contains(p.Name, "LANTERN") },
			`{name: {beginsWith: "WHITE"}, price: {less: 500}}`:            func(p productRow) bool { return strings.HasPrefix(p.Name, "WHITE") && p.Price < 500 },
			`{price: {greater: 900, lessOrEqual: 1500}}`:                   func(p productRow) bool { return p.Price > 900 && p.Price <= 1500 },
			`{price: {between: [700, 800]}, discontinued: {equal: false}}`: func(p productRow) bool { return p.Price >= 700 && p.Price <= 800 },
			`{productId: {equal: "22752"}, categoryId: {exists: false}}`:   func(p productRow) bool { return p.ID == "22752" },
			`{name: {contains: "RED", notContains: "RETRO"}, price: {less: 99}}`: func(p productRow) bool {
				return strings.Contains(p.Name, "RED") && !strings.Contains(p.Name, "RETRO") && p.Price < 99
			},
			`{discontinued: {equal: true}}`: func(productRow) bool { return false },
		} {
			var data struct{ CatalogProducts connection[productRow] }
			u.do(&data, "{ catalogProducts(first: 100, filter: "+filter+") "+pageOf+" }", nil)
			same(t, filter, data.CatalogProducts.nodes(), all, holds)
		}
	})
	t.Run("errors", func(t *testing.T) {
		for query, code := range map[string]string{
			`{ catalogProducts(first: 101) { edges { cursor } } }`:                         "PAGE_SIZE",
			`{ catalogProducts(first: -1) { edges { cursor } } }`:                          "BAD_USER_INPUT",
			`{ catalogProducts(last: 5) { edges { cursor } } }`:                            "BAD_USER_INPUT",
			`{ catalogProducts(first: 5, after: "here") { edges { cursor } } }`:            "BAD_USER_INPUT",
			`{ catalogProduct(id: "22752", waitFor: ["tomorrow"]) { id } }`:                "BAD_USER_INPUT",
			`{ orderingProductDemands { edges { cursor } } }`:                              "UNAUTHENTICATED",
			`{ catalogProduct(id: "22752") { id colour } }`:                                "GRAPHQL_VALIDATION_FAILED",
			`{ a: catalogProducts(first: 100) { edges { ` + aliases(60) + ` cursor } } }`:  "ALIAS_LIMIT",
			`{ catalogProducts(first: 9000) { edges { node { id name } } } }`:              "COMPLEXITY_LIMIT",
			`{ catalogPriceHistories(filter: {at: {less: "noon"}}) { edges { cursor } } }`: "BAD_USER_INPUT",
		} {
			if got := u.try(query, nil); got.Error == nil || !slices.Equal(got.Codes, []string{code}) {
				t.Errorf("%.100s: got %s and codes %q, want %s", query, got.Data, got.Codes, code)
			}
		}
	})
}

func aliases(n int) (text string) {
	for i := range n {
		text += fmt.Sprintf("a%d: cursor ", i)
	}
	return text
}

// same compares rows, in any order, with those of all for which holds.
func same(t *testing.T, what string, got, all []productRow, holds func(productRow) bool) {
	t.Helper()
	want := slices.DeleteFunc(slices.Clone(all), func(p productRow) bool { return !holds(p) })
	slices.SortFunc(got, func(a, b productRow) int { return strings.Compare(a.ID, b.ID) })
	if len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %d rows %+v, want %d", what, len(got), got, len(want))
	}
}

func TestMutationsThroughURQL(t *testing.T) {
	t.Parallel()
	served := newShop(t).serve()
	u := served.urql(user, false)
	first := u.accepted(`catalogProductAdd(id: "lamp", name: "Lamp", description: "It gives light.", price: 1999, commandId: "one")`)
	if want := (commandResult{Typename: "CommandAccepted", CommandID: "one", EntityID: "lamp", SequenceNr: 1, EventCount: 1, Position: first.Position}); first != want {
		t.Errorf("got %+v, want %+v", first, want)
	}
	if again := u.send(`catalogProductAdd(id: "lamp", name: "Lamp", description: "It gives light.", price: 1999, commandId: "one")`); again != first {
		t.Errorf("the same command again: got %+v, want %+v", again, first)
	}
	if got := u.send(`catalogProductAdd(id: "lamp", name: "Other", description: "", price: 1)`); got.Typename != "CommandRejected" || got.Code != "AlreadyExists" || got.Message == "" {
		t.Errorf("a second product of this id: got %+v, want CommandRejected AlreadyExists", got)
	}
	if got := u.send(`catalogProductChangePrice(id: "lamp", price: -5)`); got.Code != "InvalidPrice" || got.Detail == nil || *got.Detail != "-5" {
		t.Errorf("a negative price: got %+v, want InvalidPrice with the detail -5", got)
	}
	if got := u.accepted(`catalogProductRename(id: "lamp", name: "Lamp")`); got.EventCount != 0 {
		t.Errorf("a name that it has: got %+v, want no event", got)
	}
	if got := u.accepted(`orderingOrderPlace(id: "o1", customerId: "user", country: "France", lines: [{productId: "lamp", quantity: 2, unitPrice: 1999}])`); got.EventCount != 1 {
		t.Errorf("an order: got %+v, want one event", got)
	}
	for call, code := range map[string]string{
		`catalogProductChangePrice(id: "", price: 5)`:                                                                       "BAD_USER_INPUT",
		`catalogProductChangePrice(id: "lamp", price: 5.5)`:                                                                 "BAD_USER_INPUT",
		`catalogProductChangePrice(id: "lamp", price: 1e300)`:                                                               "BAD_USER_INPUT",
		`catalogProductChangePrice(id: "lamp", price: 5, commandId: "")`:                                                    "BAD_USER_INPUT",
		`catalogProductChangePrice(id: "lamp")`:                                                                             "GRAPHQL_VALIDATION_FAILED",
		`catalogCategoryArchive(id: "light")`:                                                                               "FORBIDDEN",
		`orderingOrderPlace(id: "o2", customerId: "other", country: "France", lines: [])`:                                   "FORBIDDEN",
		`orderingOrderPlace(id: "o3", customerId: "user", country: "", lines: [{productId: "lamp", quantity: 2147483648}])`: "GRAPHQL_VALIDATION_FAILED",
	} {
		if got := u.try("mutation { "+call+" { __typename } }", nil); got.Error == nil || len(got.Codes) == 0 || got.Codes[0] != code {
			t.Errorf("%.100s: got %s and codes %q, want %s", call, got.Data, got.Codes, code)
		}
	}
	other := served.urql(admin, false)
	if got := other.try(`mutation { catalogProductAdd(id: "lamp", name: "Lamp", description: "It gives light.", price: 1999, commandId: "one") { __typename } }`, nil); !slices.Equal(got.Codes, []string{"FORBIDDEN"}) {
		t.Errorf("the command id of somebody else: got %s and codes %q, want FORBIDDEN", got.Data, got.Codes)
	}
	// Rows with a second id: each price has its own.
	last := u.accepted(`catalogProductChangePrice(id: "lamp", price: 1799)`)
	type price struct {
		ID, Position string
		Price        float64
	}
	var data struct{ Items, Expensive connection[price] }
	u.do(&data, `query ($at: [String!]) {
		items: catalogPriceHistoryItems(id: "lamp", waitFor: $at) { edges { node { id position price } } pageInfo { hasNextPage } }
		expensive: catalogPriceHistoryItems(id: "lamp", filter: {price: {greater: 1800}}, direction: DESC, waitFor: $at) { edges { node { id position price } } }
	}`, map[string]any{"at": []string{last.Position}})
	prices := data.Items.nodes()
	if len(prices) != 2 || prices[0].Price != 1999 || prices[1].Price != 1799 || !slices.Equal(data.Expensive.nodes(), prices[:1]) {
		t.Fatalf("got prices %+v and %+v, want 1999 and 1799, of which the first is over 1800", prices, data.Expensive.nodes())
	}
	var one struct {
		CatalogPriceHistory      *price
		CatalogPriceHistoryItems connection[price]
	}
	u.do(&one, `query ($position: String!) {
		catalogPriceHistory(id: "lamp", position: $position) { id position price }
		catalogPriceHistoryItems(id: "lamp", position: {greater: $position}) { edges { node { id position price } } }
	}`, map[string]any{"position": prices[0].Position})
	if one.CatalogPriceHistory == nil || *one.CatalogPriceHistory != prices[0] || !slices.Equal(one.CatalogPriceHistoryItems.nodes(), prices[1:]) {
		t.Errorf("got %+v and %+v, want the first price and those after it", one.CatalogPriceHistory, one.CatalogPriceHistoryItems)
	}
	// Products of a category, by name.
	u.accepted(`catalogProductAdd(id: "torch", name: "Torch", description: "", price: 5, categoryId: "light")`)
	at := u.accepted(`catalogProductAdd(id: "candle", name: "Candle", description: "", price: 3, categoryId: "light")`)
	var shelf struct{ All, Some connection[productRow] }
	u.do(&shelf, `query ($at: [String!]) {
		all: catalogProductsByCategoryId(categoryId: "light", direction: DESC, waitFor: $at) { edges { node { id } } }
		some: catalogProductsByCategoryId(categoryId: "light", name: {beginsWith: "C"}, waitFor: $at) { edges { node { id } } }
	}`, map[string]any{"at": []string{at.Position}})
	if got := shelf.All.nodes(); len(got) != 2 || got[0].ID != "torch" || got[1].ID != "candle" {
		t.Errorf("the shelf has %+v, want torch and candle", got)
	}
	if got := shelf.Some.nodes(); len(got) != 1 || got[0].ID != "candle" {
		t.Errorf("the shelf has %+v with C, want candle", got)
	}
	served.stop()
}

// A query that waits for the position of a command shows what the command did.
func TestReadYourWrites(t *testing.T) {
	t.Parallel()
	served := newShop(t).serve()
	u := served.urql(user, false)
	u.accepted(`catalogProductAdd(id: "lamp", name: "Lamp", description: "", price: 1)`)
	for i := range 100 {
		price := float64(i + 2)
		at := u.accepted(`catalogProductChangePrice(id: "lamp", price: ` + strconv.Itoa(i+2) + `)`)
		var data struct {
			CatalogProduct *productRow
			All            connection[productRow]
			Prices         connection[productRow]
		}
		u.do(&data, `query ($at: [String!]) {
			catalogProduct(id: "lamp", waitFor: $at) { price }
			all: catalogProducts(waitFor: $at) { edges { node { price } } }
			prices: catalogPriceHistoryItems(id: "lamp", first: 1, direction: DESC, waitFor: $at) { edges { node { price } } }
		}`, map[string]any{"at": []string{at.Position}})
		prices := append(data.All.nodes(), data.Prices.nodes()...)
		if data.CatalogProduct == nil || data.CatalogProduct.Price != price || len(prices) != 2 || prices[0].Price != price || prices[1].Price != price {
			t.Fatalf("change %d to %v: the answer has %+v and %+v", i, price, data.CatalogProduct, prices)
		}
	}
	served.stop()
}

// Whoever pages through rows while others are added sees each row that was there
// when they began, once, however many have the same value.
func TestPagesWhileRowsAreAdded(t *testing.T) {
	t.Parallel()
	s := seededShop(t)
	before := s.products()
	served := s.serve()
	ask := func(variables map[string]any) connection[productRow] {
		r := served.post(nobody, productPage, variables)
		if len(r.Errors) > 0 {
			t.Fatalf("%v: %+v", variables, r.Errors)
		}
		return decode[struct{ CatalogProducts connection[productRow] }](t, r.Data).CatalogProducts
	}
	ctx, cancel := context.WithCancel(t.Context())
	var added int
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		for ; ctx.Err() == nil; added++ {
			// A price that many have, the least and the greatest, and ids that lie between others.
			price := []int{85, 295, 0, 1_000_000}[added%4]
			id := fmt.Sprintf("2%04d-%d", added*37%10000, added)
			r, err := http.DefaultClient.Do(served.request(ctx, admin, `mutation ($id: ID!, $price: Float!) {
				catalogProductAdd(id: $id, name: "New", description: "", price: $price) { __typename }
			}`, map[string]any{"id": id, "price": price}))
			if err != nil {
				if ctx.Err() == nil {
					t.Errorf("add %s: %v", id, err)
				}
				return
			}
			text, err := io.ReadAll(r.Body)
			_ = r.Body.Close()
			if ctx.Err() == nil && (err != nil || !strings.Contains(string(text), "CommandAccepted")) {
				t.Errorf("add %s: %s %v", id, text, err)
				return
			}
		}
	})
	for _, direction := range []string{"ASC", "DESC"} {
		for _, backwards := range []bool{false, true} {
			seen := map[string]int{}
			for _, p := range paged(t, ask, map[string]any{"field": "price", "direction": direction}, 7, backwards) {
				seen[p.ID]++
			}
			for _, p := range before {
				if seen[p.ID] != 1 {
					t.Errorf("%s, backwards %v: %s at %v was seen %d times", direction, backwards, p.ID, p.Price, seen[p.ID])
				}
			}
			for id, n := range seen {
				if n > 1 {
					t.Errorf("%s, backwards %v: %s was seen %d times", direction, backwards, id, n)
				}
			}
		}
	}
	cancel()
	wg.Wait()
	if added < 10 {
		t.Errorf("only %d products were added meanwhile", added)
	}
	served.stop()
}
