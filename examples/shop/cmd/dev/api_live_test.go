package main_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// watcher is a client that subscribes.
type watcher struct {
	*process
	events chan watched // closed when the client has ended
}

// watched is what happened to a subscription.
type watched struct {
	Event  string
	ID     *int // the index of the subscription; nil for the connection
	Value  response
	Errors []graphQLError
	Status int
	Code   int
}

// change is the value of a subscription to changes, under the alias "change".
type change struct {
	Kind     string
	ID       string
	Revision float64
	Row      struct {
		ID, CustomerID, Status, Name string
		Price                        float64
	}
}

func (w watched) change(t *testing.T) change {
	t.Helper()
	if w.Event != "next" || len(w.Value.Errors) > 0 {
		t.Fatalf("got %+v, want a change", w)
	}
	return decode[struct{ Change change }](t, w.Value.Data).Change
}

// subscribeThrough starts ws.mjs or sse.mjs with subscriptions of one caller.
func (s *serving) subscribeThrough(script, who string, queries ...string) *watcher {
	s.t.Helper()
	subscriptions := make([]map[string]any, 0, len(queries))
	for _, q := range queries {
		subscriptions = append(subscriptions, map[string]any{"query": q})
	}
	input := map[string]any{"url": s.url + "graphql", "subscriptions": subscriptions}
	if script == "ws.mjs" {
		input["connectionParams"] = headers(who)
	} else {
		input["headers"] = headers(who)
	}
	w := &watcher{runClient(s.t, script, input), make(chan watched, 1000)}
	go func() {
		defer close(w.events)
		for w.out.Scan() {
			var e watched
			if err := json.Unmarshal(w.out.Bytes(), &e); err != nil {
				e.Event = fmt.Sprintf("%v in %.300s", err, w.out.Bytes())
			}
			w.events <- e
		}
	}()
	return w
}

// next returns the next event that skip does not want to pass over.
func (w *watcher) next(skip func(watched) bool) watched {
	w.t.Helper()
	for {
		select {
		case e, ok := <-w.events:
			switch {
			case !ok:
				_ = w.cmd.Wait()
				w.t.Fatalf("the client ended: %v\n%s", w.cmd.ProcessState, &w.err)
			case !skip(e):
				return e
			}
		case <-time.After(patience):
			w.t.Fatal("nothing happens")
		}
	}
}

// live repeats cause until a change has come to each of the subscriptions: what
// happens before a subscription is open is not told, and nothing says when it is.
func (w *watcher) live(subscriptions int, cause func(n int)) {
	w.t.Helper()
	open := map[int]bool{}
	for n := 0; len(open) < subscriptions; n++ {
		if n > 500 {
			w.t.Fatalf("of %d subscriptions, those that have told a change are %v", subscriptions, open)
		}
		cause(n)
		for wait := time.After(50 * time.Millisecond); len(open) < subscriptions; {
			select {
			case e := <-w.events:
				switch e.Event {
				case "next":
					e.change(w.t)
					open[*e.ID] = true
				case "connected":
				default:
					w.t.Fatalf("instead of a change: %+v\n%s", e, &w.err)
				}
				continue
			case <-wait:
			}
			break
		}
	}
}

// close ends the client.
func (w *watcher) close() {
	w.t.Helper()
	w.command(map[string]any{"end": true})
	w.next(func(e watched) bool { return e.Event != "closed" })
}

const (
	watchProducts = `subscription { change: catalogProductChanged { kind id revision row { id name price } } }`
	watchLamp     = `subscription { change: catalogProductChanged(id: "lamp") { kind id revision row { id name price } } }`
	watchOrders   = `subscription { change: orderingOrderChanged { kind id revision row { id customerId status } } }`
)

func forEachTransport(t *testing.T, f func(t *testing.T, script string)) {
	t.Parallel()
	for _, script := range []string{"ws.mjs", "sse.mjs"} {
		t.Run(strings.TrimSuffix(script, ".mjs"), func(t *testing.T) {
			t.Parallel()
			f(t, script)
		})
	}
}

func TestSubscriptionTellsChangesOfRows(t *testing.T) {
	forEachTransport(t, func(t *testing.T, script string) {
		served := newShop(t).serve()
		u := served.urql(user, false)
		for _, id := range []string{"lamp", "torch", "candle"} {
			u.accepted(`catalogProductAdd(id: "` + id + `", name: "` + id + `", description: "", price: 1)`)
		}
		w := served.subscribeThrough(script, nobody, watchProducts, watchLamp)
		w.live(2, func(n int) { u.accepted(fmt.Sprintf(`catalogProductChangePrice(id: "lamp", price: %d)`, n+2)) })

		const all, lamp = 0, 1
		u.accepted(`catalogProductChangePrice(id: "candle", price: 77)`)
		got := w.next(func(e watched) bool {
			return e.Event != "next" || e.change(t).ID == "lamp"
		})
		if c := got.change(t); *got.ID != all || c.Kind != "UPDATED" || c.ID != "candle" || c.Row.ID != "candle" || c.Row.Price != 77 || c.Revision == 0 {
			t.Errorf("got %+v of subscription %d, want candle at 77 in that of all", c, *got.ID)
		}
		// The one with an id was asked before: candle would have come to it first.
		u.accepted(`catalogProductRename(id: "lamp", name: "Lantern")`)
		for range 2 {
			e := w.next(func(e watched) bool { return e.Event == "next" && e.change(t).Row.Name == "lamp" })
			if c := e.change(t); c.ID != "lamp" || c.Row.Name != "Lantern" {
				t.Errorf("got %+v of subscription %d, want the lamp's new name", c, *e.ID)
			}
		}
		// Nothing comes to a subscription that was ended; the other one goes on.
		w.command(map[string]any{"unsubscribe": lamp})
		if e := w.next(func(e watched) bool { return e.Event == "next" }); e.Event != "complete" || *e.ID != lamp {
			t.Errorf("got %+v, want the end of the lamp's subscription", e)
		}
		u.accepted(`catalogProductDiscontinue(id: "lamp")`)
		u.accepted(`catalogProductChangePrice(id: "torch", price: 5)`)
		for last := ""; last != "torch"; {
			e := w.next(func(watched) bool { return false })
			if last = e.change(t).ID; *e.ID != all {
				t.Errorf("got %+v of the subscription that was ended", e)
			}
		}
		w.close()
		served.stop()
	})
}

func placing(id, customer string) string {
	return `orderingOrderPlace(id: "` + id + `", customerId: "` + customer + `", country: "France", lines: [{productId: "lamp", quantity: 1, unitPrice: 5}])`
}

func TestSubscriptionTellsOwnersTheirOrdersOnly(t *testing.T) {
	forEachTransport(t, func(t *testing.T, script string) {
		served := newShop(t).serve()
		byUser, byAdmin := served.urql(user, false), served.urql(admin, false)
		own, all := served.subscribeThrough(script, user, watchOrders), served.subscribeThrough(script, admin, watchOrders)
		for name, w := range map[string]*watcher{"own": own, "all": all} {
			w.live(1, func(n int) { byUser.accepted(placing(fmt.Sprintf("%s-%d", name, n), user)) })
		}
		byAdmin.accepted(placing("theirs", "17850"))
		waitOrder := func(w *watcher, id string) {
			t.Helper()
			for {
				c := w.next(func(e watched) bool { return e.Event == "connected" }).change(t)
				if w == own && c.Row.CustomerID != user {
					t.Errorf("user is told of %+v", c)
				}
				if c.ID == id {
					return
				}
			}
		}
		waitOrder(all, "theirs") // so it was offered to the other subscription too
		byUser.accepted(placing("mine", user))
		waitOrder(all, "mine")
		waitOrder(own, "mine")
		own.close()
		all.close()

		refused := served.subscribeThrough(script, nobody, watchOrders)
		e := refused.next(func(e watched) bool { return e.Event == "connected" })
		errors := e.Errors
		if e.Event == "next" {
			errors = e.Value.Errors
		}
		if len(errors) != 1 || errors[0].Extensions.Code != "UNAUTHENTICATED" {
			t.Errorf("nobody subscribes to orders: got %+v, want UNAUTHENTICATED", e)
		}
		served.stop()
	})
}

// The shop has no asynchronous commands: nothing is known of the outcome of a
// command that was answered, and whoever waits for it may stop.
func TestOutcomesOfCommands(t *testing.T) {
	forEachTransport(t, func(t *testing.T, script string) {
		served := newShop(t).serve()
		u := served.urql(user, false)
		u.accepted(`catalogCategoryAdd(id: "light", name: "Light", commandId: "one")`)
		var data struct{ CommandOutcome *commandResult }
		u.do(&data, `{ commandOutcome(commandId: "one")`+commandFields+` }`, nil)
		if data.CommandOutcome != nil {
			t.Errorf("got %+v, want null", data.CommandOutcome)
		}
		const watch = `subscription { commandOutcome(commandId: "one") { __typename } }`
		w := served.subscribeThrough(script, user, watch, watchProducts, `subscription { commandOutcome(commandId: "") { __typename } }`)
		e := w.next(func(e watched) bool { return e.Event == "connected" })
		errors := e.Errors
		if e.Event == "next" {
			errors = e.Value.Errors
		}
		if len(errors) != 1 || errors[0].Extensions.Code != "BAD_USER_INPUT" || *e.ID != 2 {
			t.Errorf("no command id: got %+v, want BAD_USER_INPUT", e)
		}
		w.command(map[string]any{"unsubscribe": 0})
		if e := w.next(func(e watched) bool { return e.Event == "connected" || *e.ID == 2 }); e.Event != "complete" || *e.ID != 0 {
			t.Errorf("got %+v, want the end of the subscription", e)
		}
		w.close()
		served.stop()
	})
}

// A program that is stopped ends its subscriptions, answers what it was asked, and
// ends well and soon.
func TestStoppedWhileClientsAreConnected(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	served := s.serve()
	u := served.urql(user, false)
	u.accepted(`catalogProductAdd(id: "lamp", name: "Lamp", description: "", price: 1)`)
	var watchers []*watcher
	for _, script := range []string{"ws.mjs", "sse.mjs"} {
		w := served.subscribeThrough(script, user, watchProducts)
		w.live(1, func(n int) { u.accepted(fmt.Sprintf(`catalogProductChangePrice(id: "lamp", price: %d)`, n+2)) })
		watchers = append(watchers, w)
	}

	// The server asks for the body once it has begun to answer: that is a mutation
	// in flight.
	conn, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(served.url, "http://"), "/"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	const body = `{"query": "mutation { catalogProductAdd(id: \"last\", name: \"Last\", description: \"\", price: 1) { __typename } }"}`
	fmt.Fprintf(conn, "POST /graphql HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nX-User: user\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", conn.RemoteAddr(), len(body))
	in := bufio.NewReader(conn)
	if l, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(l, "HTTP/1.1 100") {
		t.Fatalf("got %q %v, want to be told to go on", l, err)
	}
	if l, err := in.ReadString('\n'); err != nil || strings.TrimSpace(l) != "" {
		t.Fatalf("got %q %v, want an empty line", l, err)
	}
	began := time.Now()
	served.terminate()
	for _, w := range watchers {
		last := watched{}
		for e := range w.events {
			last = e
		}
		if last.Event != "closed" {
			t.Errorf("the last that a client was told is %+v, want that its connection is closed", last)
		}
		if err := w.cmd.Wait(); err != nil {
			t.Errorf("the client: %v\n%s", err, &w.err)
		}
	}
	if _, err := io.WriteString(conn, body); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if text, err := io.ReadAll(r.Body); err != nil || r.StatusCode != http.StatusOK || !strings.Contains(string(text), "CommandAccepted") {
		t.Errorf("the mutation in flight: status %d %s %v, want that it is accepted", r.StatusCode, text, err)
	}
	served.end()
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("the program took %v to end", took)
	}
	if served.err.Len() > 0 {
		t.Errorf("the program logged:\n%s", &served.err)
	}
	if !slices.ContainsFunc(s.products(), func(p productRow) bool { return p.ID == "last" }) {
		t.Error("what was accepted last is missing")
	}
}
