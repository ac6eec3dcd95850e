package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/reventless-go/reventless/local/internal/identity"
	"github.com/reventless-go/reventless/local/internal/server"
)

func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	s := serve(t, byToken(t))
	later := time.Now().Add(time.Hour)
	s.send("Parcel", "Post", "of-ann", `{"owner": "ann", "lines": []}`)
	tokens := map[string]string{"": "", "ann": token(t, "ann", later), "bob": token(t, "bob", later), "admin": token(t, "root", later, "Admin")}
	const none, no = "UNAUTHENTICATED", "FORBIDDEN"
	for _, c := range []struct {
		operation string
		want      map[string]string // by caller: a code, or empty
	}{
		{`{depotItem(id: "a") {id}}`, map[string]string{}},
		{`{depotLines {edges {cursor}}}`, map[string]string{"": none}},
		{`{depotParcels {edges {cursor}}}`, map[string]string{"": none}},
		{`{depotItemEvents(id: "a") {edges {cursor}}}`, map[string]string{"": none, "ann": no, "bob": no}},
		{`mutation {depotItemPut(id: "a", group: "g", count: 1, tags: []) {__typename}}`, map[string]string{}},
		{`mutation {depotItemPaint(id: "a", color: "red") {__typename}}`, map[string]string{"": none}},
		{`mutation {depotItemRemove(id: "a") {__typename}}`, map[string]string{"": none, "ann": no, "bob": no}},
		{`mutation {depotParcelPost(id: "p", owner: "ann", lines: []) {__typename}}`, map[string]string{"": none, "bob": no, "admin": no}},
		{`subscription {depotItemChanged {id}}`, map[string]string{}},
		{`subscription {depotParcelChanged {id}}`, map[string]string{"": none}},
		{`subscription {platformPluginChanged {id}}`, map[string]string{"": none, "ann": no, "bob": no}},
	} {
		for caller, token := range tokens {
			want := c.want[caller]
			check := func(transport, got string) {
				t.Helper()
				if got != want {
					t.Errorf("%s by %s as %q: code %q, want %q", c.operation, transport, caller, got, want)
				}
			}
			var who []option
			payload := "{}"
			if token != "" {
				who, payload = []option{bearer(token)}, `{"Authorization": "Bearer `+token+`"}`
			}
			kind := c.operation[0]
			if kind != 's' {
				check("POST", s.do(c.operation, who...).code())
			}
			if kind == '{' {
				check("GET", s.do(c.operation, append(who, method(http.MethodGet))...).code())
			}
			socket, stream := s.connect(payload), s.listen(c.operation, who...)
			socket.ask("1", c.operation)
			if kind == 's' && want == "" {
				s.begun(2)
			} else {
				f, err := socket.hear()
				if err != nil {
					t.Fatal(err)
				}
				check("WebSocket", codeOf(f))
				_, data, _ := stream.next()
				var a answer
				_ = json.Unmarshal([]byte(data), &a)
				check("events", a.code())
			}
			stream.end()
			_ = socket.CloseNow()
		}
	}
	// Rows of other owners are not visible.
	s.answers(`{depotParcel(id: "of-ann") {owner} depotParcels {edges {node {id}}}}`,
		`{"depotParcel": null, "depotParcels": {"edges": []}}`, bearer(tokens["bob"]))
	s.answers(`{depotParcel(id: "of-ann") {owner}}`, `{"depotParcel": {"owner": "ann"}}`, bearer(tokens["ann"]))
	ann, bob := s.connect(`{"authorization": "Bearer `+tokens["ann"]+`"}`), s.connect(`{"authorization": "Bearer `+tokens["bob"]+`"}`)
	ann.ask("1", `subscription {depotParcelChanged {id}}`)
	bob.ask("1", `subscription {depotParcelChanged {id}}`)
	s.begun(2)
	s.send("Parcel", "Post", "one", `{"owner": "ann", "lines": []}`)
	s.send("Parcel", "Post", "two", `{"owner": "bob", "lines": []}`)
	bob.hears(frame{Type: "next", ID: "1", Payload: json.RawMessage(`{"data": {"depotParcelChanged": {"id": "two"}}}`)})
	ann.hears(frame{Type: "next", ID: "1", Payload: json.RawMessage(`{"data": {"depotParcelChanged": {"id": "one"}}}`)})
}

func TestInvalidTokensAreRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, byToken(t))
	const anyone = `{depotItem(id: "a") {id}}`
	for name, who := range map[string]option{
		"no token":  bearer("nonsense"),
		"expired":   bearer(token(t, "ann", time.Now().Add(-time.Hour))),
		"other":     with("Authorization", "Basic YTpi"),
		"dev user":  as("admin"),
		"no secret": bearer(token(t, "ann", time.Now().Add(time.Hour)) + "x"),
	} {
		for _, o := range []option{method(http.MethodPost), method(http.MethodGet), with("Accept", "text/event-stream")} {
			r := s.refuses(anyone, http.StatusUnauthorized, "UNAUTHENTICATED", who, o)
			if r.header.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%s: no WWW-Authenticate", name)
			}
		}
		conn, _, err := s.dial(who)
		if err != nil {
			t.Fatal(err)
		}
		c := &socket{t, conn}
		c.say(frame{Type: "connection_init"})
		c.hearsClose(4403)
	}
	s.answers(anyone, `{"depotItem": null}`)
	s.answers(anyone, `{"depotItem": null}`, with("Authorization", ""))
}

func TestTokenThatExpiresEndsItsSubscriptions(t *testing.T) {
	t.Parallel()
	s := serve(t, byToken(t))
	expires := time.Now().Add(3 * time.Second).Truncate(time.Millisecond) // long enough to subscribe on a busy machine
	ann := token(t, "ann", expires)
	c, e := s.connect(`{"authorization": "Bearer `+ann+`"}`), s.listen(watchItems, bearer(ann))
	c.ask("1", watchItems)
	c.ask("2", `subscription {depotLineChanged {id}}`)
	s.begun(3)
	s.put("a", `{"group": "g", "count": 1, "tags": []}`)
	c.hears(frame{Type: "next", ID: "1", Payload: json.RawMessage(change("ADDED", "a", `{"count": 1}`))})
	e.hears("next", change("ADDED", "a", `{"count": 1}`))
	e.hearsCode("UNAUTHENTICATED")
	ended := map[string]int{}
	for range 4 { // in any order
		f, err := c.hear()
		if err != nil {
			t.Fatal(err)
		}
		ended[f.ID+" "+f.Type+" "+codeOf(f)]++
	}
	if want := "map[1 complete :1 1 next UNAUTHENTICATED:1 2 complete :1 2 next UNAUTHENTICATED:1]"; fmt.Sprint(ended) != want {
		t.Errorf("received %v, want %s", ended, want)
	}
	if time.Now().Before(expires) {
		t.Error("it ended before the token expired")
	}
	for i, query := range []string{`{depotItem(id: "a") {id}}`, `mutation {depotItemPaint(id: "a", color: "red") {__typename}}`, watchItems} {
		id := fmt.Sprint("late", i)
		c.ask(id, query)
		c.hearsCode(id, "UNAUTHENTICATED")
	}
	if settled := settled(func() bool { return s.store.listening.Load() == 0 }); !settled {
		t.Error("subscriptions are left")
	}
}

func TestDevUsersAreForThisMachine(t *testing.T) {
	t.Parallel()
	v, err := identity.New(t.Context(), identity.Options{DevUsers: true})
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, server.Options{Identity: v, DevUsers: true})
	const query = `{depotItem(id: "a") {id}}`
	for _, name := range []string{"shop.example", "localhost.evil.example", "192.168.0.7:8080", "0.0.0.0"} {
		s.refuses(query, http.StatusMisdirectedRequest, "FORBIDDEN", toHost(name))
		for _, path := range []string{"/", "/sdl", "/graphiql/", "/healthz"} {
			if r := s.do("", method(http.MethodGet), at(path), toHost(name)); r.status != http.StatusMisdirectedRequest {
				t.Errorf("%s of %s: %d", path, name, r.status)
			}
		}
		if _, _, err := s.dial(toHost(name)); err == nil {
			t.Errorf("a WebSocket to %s is accepted", name)
		}
	}
	for _, name := range []string{"localhost", "localhost:8080", "127.0.0.1:1", "[::1]:8080"} {
		s.answers(query, `{"depotItem": null}`, toHost(name))
	}
	for _, origin := range []string{"https://evil.example", "null", "http://localhost:1", "http://127.0.0.1", "file://"} {
		if _, r, err := s.dial(with("Origin", origin)); err == nil || r.StatusCode != http.StatusForbidden {
			t.Errorf("a WebSocket from the origin %s: error %v", origin, err)
		}
	}
	s.connect("", with("Origin", s.http.URL))
}

// Such an origin would never match the header that browsers send.
func TestOriginsThatNoBrowserSendsAreRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Options{})
	for origin, ok := range map[string]bool{
		"https://shop.example": true, "http://localhost:5173": true, "http://[::1]:5173": true, "capacitor://localhost": true,
		"shop.example": false, "localhost:5173": false, "https://shop.example/": false, "https://Shop.example": false, "https://shop.example/shop": false,
		"*": false, "https://*.shop.example": false, "null": false, "": false, "https://": false, "https://a@shop.example": false, "https://shop.example?": false,
	} {
		if _, err := server.New(depot(), s.host, server.Options{Origins: []string{"https://a.example", origin}}); (err == nil) != ok {
			t.Errorf("origin %q: error %v", origin, err)
		}
	}
}

func TestOriginsThatAreAllowed(t *testing.T) {
	t.Parallel()
	opts := byToken(t)
	opts.Origins = []string{"https://shop.example", "http://localhost:5173", "http://[::1]:5173"}
	s := serve(t, opts)
	const query = `{depotItem(id: "a") {id}}`
	preflight := func(origin string) reply {
		return s.do("", method(http.MethodOptions), with("Origin", origin), with("Access-Control-Request-Method", "POST"), with("Access-Control-Request-Headers", "authorization"))
	}
	for _, origin := range opts.Origins {
		r := preflight(origin)
		h := r.header
		if r.status != http.StatusNoContent || h.Get("Access-Control-Allow-Origin") != origin || h.Get("Access-Control-Allow-Methods") != "GET, POST" || h.Get("Vary") != "Origin" || h.Get("Access-Control-Allow-Headers") == "" {
			t.Errorf("preflight of %s: %d %v", origin, r.status, h)
		}
		if r := s.answers(query, `{"depotItem": null}`, with("Origin", origin)); r.header.Get("Access-Control-Allow-Origin") != origin {
			t.Errorf("no headers for %s", origin)
		}
		// A page must be able to read errors, too.
		if r := s.refuses(query, http.StatusUnauthorized, "UNAUTHENTICATED", with("Origin", origin), bearer("x")); r.header.Get("Access-Control-Allow-Origin") != origin {
			t.Errorf("no headers for %s with an error", origin)
		}
		c := s.connect("", with("Origin", origin))
		_ = c.Close(websocket.StatusNormalClosure, "")
	}
	for _, origin := range []string{"https://shop.example.evil.example", "http://shop.example", "https://shop.example:444", "null"} {
		if r := preflight(origin); r.status != http.StatusMethodNotAllowed || r.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("preflight of %s: %d %v", origin, r.status, r.header)
		}
		if r := s.do(query, with("Origin", origin)); r.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("headers for %s", origin)
		}
		if _, _, err := s.dial(with("Origin", origin)); err == nil {
			t.Errorf("a WebSocket from %s is accepted", origin)
		}
	}
}
