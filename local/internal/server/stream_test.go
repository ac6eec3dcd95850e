package server_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/reventless-go/reventless/local/internal/server"
)

const watchItems = `subscription {depotItemChanged {kind id row {count}}}`

// change returns a message of the subscription watchItems.
func change(kind, id, count string) string {
	return `{"data": {"depotItemChanged": {"kind": "` + kind + `", "id": "` + id + `", "row": ` + count + `}}}`
}

func TestSubscriptionsByWebSocket(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Options{})
	c := s.connect("")
	c.ask("all", watchItems)
	c.ask("one", `subscription {it: depotItemChanged(id: "b") {__typename kind}}`)
	s.begun(2)
	s.put("a", `{"group": "g", "count": 1, "tags": []}`)
	c.hears(frame{Type: "next", ID: "all", Payload: json.RawMessage(change("ADDED", "a", `{"count": 1}`))})
	s.put("b", `{"group": "g", "count": 2, "tags": []}`)
	heard := map[string]string{}
	for range 2 {
		f, err := c.hear()
		if err != nil {
			t.Fatal(err)
		}
		heard[f.ID] = string(f.Payload)
	}
	if !same(heard["all"], change("ADDED", "b", `{"count": 2}`)) || !same(heard["one"], `{"data": {"it": {"__typename": "DepotItemChange", "kind": "ADDED"}}}`) {
		t.Fatalf("received %v", heard)
	}
	// The socket also accepts queries and mutations.
	c.ask("query", `{depotItem(id: "a") {count}}`)
	c.hears(frame{Type: "next", ID: "query", Payload: json.RawMessage(`{"data": {"depotItem": {"count": 1}}}`)})
	c.hears(frame{Type: "complete", ID: "query"})
	c.say(frame{Type: "complete", ID: "all"})
	c.hears(frame{Type: "complete", ID: "all"})
	c.ask("mutation", `mutation {depotItemPut(id: "b", group: "g", count: 3, tags: []) {... on CommandAccepted {sequenceNr}}}`)
	heard = map[string]string{}
	for range 3 { // in any order: one next of the subscription, the answer and its end
		f, err := c.hear()
		if err != nil {
			t.Fatal(err)
		}
		heard[f.ID+" "+f.Type] = string(f.Payload)
	}
	if !same(heard["mutation next"], `{"data": {"depotItemPut": {"sequenceNr": 2}}}`) || !same(heard["one next"], `{"data": {"it": {"__typename": "DepotItemChange", "kind": "UPDATED"}}}`) {
		t.Fatalf("received %v", heard)
	}
	c.say(frame{Type: "ping"})
	c.hears(frame{Type: "pong"})
	// An error before execution ends the operation, not the socket.
	c.ask("bad", `{nothing}`)
	c.hearsCode("bad", "GRAPHQL_VALIDATION_FAILED")
	c.ask("two", `subscription {depotItemChanged {id} depotParcelChanged {id}}`)
	c.hearsCode("two", "GRAPHQL_VALIDATION_FAILED")
	c.ask("none", `subscription {depotItemChanged @skip(if: true) {id}}`)
	c.hearsCode("none", "BAD_USER_INPUT")
	c.ask("outcome", `subscription {commandOutcome(commandId: "x", target: "Depot.Job") {__typename}}`)
	c.say(frame{Type: "complete", ID: "outcome"})
	c.hears(frame{Type: "complete", ID: "outcome"})
	if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Error(err)
	}
	if !settled(func() bool { return s.store.listening.Load() == 0 }) {
		t.Errorf("%d subscriptions are left", s.store.listening.Load())
	}
}

func TestOutcomeOfAnAsynchronousCommandIsPublished(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Options{})
	c := s.connect(`{"x-user": "user"}`)
	c.ask("outcome", `subscription {commandOutcome(commandId: "begin", target: "Depot.Job") {__typename ... on CommandAccepted {entityId}}}`)
	s.do(`mutation {depotJobBegin(id: "j", hours: 3, commandId: "begin") {__typename}}`, as("user"))
	c.hears(frame{Type: "next", ID: "outcome", Payload: json.RawMessage(`{"data": {"commandOutcome": {"__typename": "CommandAccepted", "entityId": "j"}}}`)})
	c.hears(frame{Type: "complete", ID: "outcome"})
}

func TestWebSocketHandshake(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Options{})
	for name, c := range map[string]struct {
		say  string
		code websocket.StatusCode
	}{
		"not JSON":         {"hello", 1002},
		"no init":          {`{"type": "subscribe", "id": "1", "payload": {"query": "{__typename}"}}`, 1002},
		"unknown dev user": {`{"type": "connection_init", "payload": {"x-user": "root"}}`, 4403},
		"no string":        {`{"type": "connection_init", "payload": {"authorization": 5}}`, 4403},
		"a token too many": {`{"type": "connection_init", "payload": {"authorization": "Bearer x", "x-user": "user"}}`, 4403},
	} {
		conn, _, err := s.dial()
		if err != nil {
			t.Fatal(err)
		}
		c0 := &socket{t, conn}
		if err := conn.Write(t.Context(), websocket.MessageText, []byte(c.say)); err != nil {
			t.Fatal(err)
		}
		t.Log(name)
		c0.hearsClose(c.code)
	}
	c := s.connect("null", as("user")) // without a payload the header identifies the caller
	c.ask("1", `mutation {depotItemPaint(id: "b", color: "red") {__typename}}`)
	c.hears(frame{Type: "next", ID: "1", Payload: json.RawMessage(`{"data": {"depotItemPaint": {"__typename": "CommandRejected"}}}`)})

	// The runtime would answer these without a code and not log them with the
	// server's logger.
	for name, c := range map[string]struct {
		opts   []option
		status int
	}{
		"no version": {[]option{with("Connection", "Upgrade"), with("Sec-Websocket-Key", "MDEyMzQ1Njc4OWFiY2RlZg==")}, http.StatusUpgradeRequired},
		"no key":     {[]option{with("Connection", "Upgrade"), with("Sec-Websocket-Version", "13")}, http.StatusBadRequest},
		"a bad key":  {[]option{with("Connection", "Upgrade"), with("Sec-Websocket-Version", "13"), with("Sec-Websocket-Key", "x")}, http.StatusBadRequest},
		"POST":       {[]option{with("Connection", "Upgrade"), with("Sec-Websocket-Version", "13"), with("Sec-Websocket-Key", "MDEyMzQ1Njc4OWFiY2RlZg=="), method(http.MethodPost)}, http.StatusBadRequest},
	} {
		r := s.do("", append([]option{method(http.MethodGet), with("Upgrade", "websocket"), with("Sec-Websocket-Protocol", "graphql-transport-ws")}, c.opts...)...)
		if r.status != c.status || r.code() != "BAD_USER_INPUT" {
			t.Errorf("%s: %d %s", name, r.status, r.text)
		}
	}

	// The older protocol and a missing protocol are refused.
	for _, protocol := range []string{"", "graphql-ws", "soap"} {
		r := s.do("", method(http.MethodGet), with("Connection", "Upgrade"), with("Upgrade", "websocket"), with("Sec-Websocket-Version", "13"),
			with("Sec-Websocket-Key", "MDEyMzQ1Njc4OWFiY2RlZg=="), with("Sec-Websocket-Protocol", protocol))
		if r.status != http.StatusBadRequest || r.code() != "BAD_USER_INPUT" {
			t.Errorf("protocol %q: %d %s", protocol, r.status, r.text)
		}
	}
}

// The runtime would leave such a connection open without reading from it.
func TestInvalidConnectionInitClosesTheConnection(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Options{Limits: server.Limits{Timeout: time.Second}})
	conn, _, err := s.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow() //nolint:errcheck // it may be closed
	if err := conn.Write(t.Context(), websocket.MessageText, []byte(`{"type": "connection_init", "payload": []}`)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, text, err := conn.Read(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("received %s, error %v; want the end of the connection", text, err)
	}
}

func TestSubscriptionsByServerSentEvents(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Options{})
	all, one := s.listen(watchItems), s.listen(`subscription($id: ID!) {depotItemChanged(id: $id) {kind}}`, vars(`{"id": "b"}`))
	s.begun(2)
	for _, e := range []*events{all, one} {
		if got := e.response.Header.Get("Content-Type"); got != "text/event-stream" || e.response.Header.Get("Cache-Control") != "no-cache" {
			t.Errorf("headers: %v", e.response.Header)
		}
	}
	s.put("a", `{"group": "g", "count": 1, "tags": []}`)
	s.put("b", `{"group": "g", "count": 2, "tags": []}`)
	all.hears("next", change("ADDED", "a", `{"count": 1}`))
	all.hears("next", change("ADDED", "b", `{"count": 2}`))
	one.hears("next", `{"data": {"depotItemChanged": {"kind": "ADDED"}}}`)
	one.end()
	if !settled(func() bool { return s.store.listening.Load() == 1 }) {
		t.Errorf("%d subscriptions are left", s.store.listening.Load())
	}
	s.send("Item", "Remove", "a", `{}`)
	all.hears("next", change("REMOVED", "a", "null"))
	// Queries can be sent this way, too.
	query := s.listen(`{depotItem(id: "b") {count}}`)
	query.hears("next", `{"data": {"depotItem": {"count": 2}}}`)
	query.hears("complete", "")
	s.listen(`{nothing}`).hearsCode("GRAPHQL_VALIDATION_FAILED")
}

func TestSubscriptionsNeedAStream(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Options{})
	s.refuses(watchItems, http.StatusOK, "BAD_USER_INPUT")
	s.refuses(watchItems, http.StatusOK, "BAD_USER_INPUT", with("Accept", "application/json, text/event-stream"))
}

func TestSlowReaderDoesNotDelayOthers(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Options{Limits: server.Limits{Timeout: time.Second}})
	transport, _ := s.http.Client().Transport.(*http.Transport)
	transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) { // with a small buffer
		conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if tcp, ok := conn.(*net.TCPConn); ok {
			err = tcp.SetReadBuffer(8 << 10)
		}
		return conn, err
	}
	slow, slowEvents, quick := s.connect(""), s.listen(`subscription {depotItemChanged {row {tags}}}`), s.connect("")
	slow.ask("1", `subscription {depotItemChanged {row {tags}}}`)
	quick.ask("1", watchItems)
	s.begun(3)
	_ = slowEvents // it is never read
	long := strings.Repeat("x", 64<<10)
	for end := time.Now().Add(patience); s.store.listening.Load() > 1 && time.Now().Before(end); {
		s.put("a", `{"group": "g", "count": 1, "tags": ["`+long+`"]}`)
		if f, err := quick.hear(); err != nil || f.Type != "next" {
			t.Fatalf("the other subscription received %v, error %v", f, err)
		}
	}
	if !settled(func() bool { return s.store.listening.Load() == 1 }) {
		t.Errorf("%d subscriptions are left, want only that of the fast reader", s.store.listening.Load())
	}
}
