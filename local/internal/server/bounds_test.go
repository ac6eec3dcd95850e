package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/local/internal/server"
)

func TestEachLimit(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Options{Limits: server.Limits{
		BodyBytes: 4096, Tokens: 60, Depth: 6, Aliases: 3, Complexity: 100, DefaultPage: 5, Page: 20, Subscriptions: 2,
	}})
	const tooMuch = http.StatusUnprocessableEntity
	fine := func(query string, opts ...option) {
		t.Helper()
		if r := s.do(query, opts...); r.status != http.StatusOK || len(r.Errors) > 0 {
			t.Errorf("%s\nanswered %d %s", short(query), r.status, short(r.text))
		}
	}
	// The exact size of the body.
	text := `{"query": "{__typename}"}`
	fine("", body(text+strings.Repeat(" ", 4096-len(text))))
	s.refuses("", http.StatusRequestEntityTooLarge, "BODY_SIZE", body(text+strings.Repeat(" ", 4097-len(text))))
	s.refuses("", http.StatusRequestEntityTooLarge, "BODY_SIZE", body(text+strings.Repeat(" ", 40960)), with("Accept", "text/event-stream"))
	// Tokens.
	fine("{" + strings.Repeat("__typename ", 57) + "}")
	s.refuses("{"+strings.Repeat("__typename ", 60)+"}", tooMuch, "GRAPHQL_PARSE_FAILED")
	// Depth.
	fine(`{depotItem(id: "a") {box {inner {inner {inner {label}}}}}}`)
	s.refuses(`{depotItem(id: "a") {box {inner {inner {inner {inner {label}}}}}}}`, tooMuch, "DEPTH_LIMIT")
	s.refuses(`{depotItem(id: "a") {...A}} fragment A on DepotItem {box {...B}} fragment B on DepotBox {inner {... {inner {inner {inner {label}}}}}}`, tooMuch, "DEPTH_LIMIT")
	// Aliases, of all kinds of fields.
	fine(`{depotItem(id: "a") {a: id b: id c: id}}`)
	s.refuses(`{depotItem(id: "a") {a: id b: id c: id d: id}}`, tooMuch, "ALIAS_LIMIT")
	s.refuses(`{depotItem(id: "a") {a: id b: id} __schema {c: queryType {d: name}}}`, tooMuch, "ALIAS_LIMIT")
	s.refuses(`{a: __typename b: __typename c: __typename d: __typename}`, tooMuch, "ALIAS_LIMIT")
	s.refuses(`{depotItem(id: "a") {...F box {inner {label}} ... {...F}}} fragment F on DepotItem {a: id b: id}`, tooMuch, "ALIAS_LIMIT")
	// Complexity: a page counts as many times as it has rows.
	page := func(args string) string { return `{depotItems` + args + ` {edges {node {id count}}}}` } // 1 + rows * 4
	fine(page(`(first: 20)`))
	s.refuses(page(`(first: 25)`), tooMuch, "COMPLEXITY_LIMIT")
	fine(page(``))
	fine(`query($n: Int) `+page(`(first: $n)`), vars(`{"n": 20}`))
	fine(`query($n: Int) `+page(`(first: $n)`), vars(`{"n": null}`))
	s.refuses(`query($n: Int) `+page(`(first: $n)`), tooMuch, "COMPLEXITY_LIMIT", vars(`{"n": 25}`))
	s.refuses(`query($n: Int = 25) `+page(`(first: $n)`), tooMuch, "COMPLEXITY_LIMIT")
	s.refuses(`query($n: Int) `+page(`(last: $n, orderBy: {field: id})`), tooMuch, "COMPLEXITY_LIMIT", vars(`{"n": 25}`))
	s.refuses(page(`(first: 1, last: 25)`), tooMuch, "COMPLEXITY_LIMIT")
	s.refuses(page(`(first: 25, last: 1)`), tooMuch, "COMPLEXITY_LIMIT")
	s.refuses(page(`(first: 2147483647)`), tooMuch, "COMPLEXITY_LIMIT")
	s.refuses(`{...A ...B} fragment A on Query {x: depotItems(first: 20) {edges {node {id count}}}} fragment B on Query {depotItems(first: 20) {edges {node {id}}}}`, tooMuch, "COMPLEXITY_LIMIT")
	s.refuses(`{__schema {description}}`, tooMuch, "COMPLEXITY_LIMIT") // introspection counts for 200
	// The page size, given and by default.
	fine(`{depotItems(first: 20) {edges {cursor}}}`)
	s.refuses(`{depotItems(first: 21) {edges {cursor}}}`, http.StatusOK, "PAGE_SIZE")
	for i := range 7 {
		s.put(fmt.Sprint(i), `{"group": "g", "count": 1, "tags": []}`)
	}
	s.answers(`{depotItems {edges {__typename}}}`, `{"depotItems": {"edges": [`+strings.TrimSuffix(strings.Repeat(`{"__typename": "DepotItemEdge"},`, 5), ",")+`]}}`)
	// Subscriptions of one connection; another one has its own.
	c := s.connect("")
	c.ask("1", watchItems)
	c.ask("2", watchItems)
	s.begun(2)
	c.ask("3", watchItems)
	c.hearsCode("3", "SUBSCRIPTION_LIMIT")
	c.ask("4", `{__typename}`)
	c.hears(frame{Type: "next", ID: "4"})
	c.hears(frame{Type: "complete", ID: "4"})
	s.connect("").ask("1", watchItems)
	s.begun(1)
	c.say(frame{Type: "complete", ID: "1"})
	c.hears(frame{Type: "complete", ID: "1"})
	if !settled(func() bool { return s.store.listening.Load() == 2 }) {
		t.Fatal("the subscription did not end")
	}
	refused := make(chan struct{})
	go func() {
		for f, err := c.hear(); err == nil; f, err = c.hear() {
			if codeOf(f) == "SUBSCRIPTION_LIMIT" {
				refused <- struct{}{}
			}
		}
	}()
	for i := 0; s.store.listening.Load() < 3; i++ {
		c.ask(fmt.Sprint("again", i), watchItems)
		select {
		case <-s.store.subscribed:
		case <-refused: // it is counted until shortly after it is complete
		case <-time.After(patience):
			t.Fatal("another subscription is not accepted")
		}
	}
	// A message of a WebSocket.
	c2 := s.connect("")
	const frameOf = `{"type": "subscribe", "id": "1", "payload": {"query": "{__typename}"}}`
	if err := c2.Write(t.Context(), websocket.MessageText, []byte(frameOf+strings.Repeat(" ", 4096-len(frameOf)))); err != nil {
		t.Fatal(err)
	}
	c2.hears(frame{Type: "next", ID: "1"})
	c2.hears(frame{Type: "complete", ID: "1"})
	_ = c2.Write(t.Context(), websocket.MessageText, []byte(frameOf+strings.Repeat(" ", 4097-len(frameOf))))
	c2.hearsClose(websocket.StatusMessageTooBig)
}

// documents returns the most expensive documents for a validator or planner within the
// limits.
func documents() map[string]string {
	bomb := func(root, on, leaf string) string {
		var b strings.Builder
		fmt.Fprintf(&b, "{%s {...F0}}", root)
		for i := range 30 {
			fmt.Fprintf(&b, " fragment F%d on %s {...F%d ... {...F%d}}", i, on, i+1, i+1)
		}
		fmt.Fprintf(&b, " fragment F30 on %s {%s}", on, leaf)
		return b.String()
	}
	var distinct, mesh, wrong strings.Builder
	for i := range 3990 {
		fmt.Fprintf(&wrong, "depotItem%d ", i)
	}
	for i := range 15 {
		fmt.Fprintf(&mesh, " fragment F%d on DepotItem {id", i)
		for j := range 15 {
			if j > i {
				fmt.Fprintf(&mesh, " ...F%d", j)
			}
		}
		mesh.WriteString("}")
	}
	for i := range 45 {
		fmt.Fprintf(&distinct, "a%d: count ", i)
	}
	nested := func(n int) string {
		return strings.Repeat(`{label: "x", inner: `, n) + `{label: "x"}` + strings.Repeat("}", n)
	}
	return map[string]string{
		"small":                     `{depotItem(id: "a") {id}}`,
		"fragment bomb":             bomb(`depotItem(id: "a")`, "DepotItem", "id"),
		"fragment bomb of aliases":  bomb(`depotItem(id: "a")`, "DepotItem", "x: id"),
		"fragment bomb of boxes":    bomb(`depotItem(id: "a")`, "DepotItem", "box {inner {label}}"),
		"introspection bomb":        bomb(`__schema`, "__Schema", "types {fields {type {fields {name}}}}"),
		"mesh of fragments":         `{depotItem(id: "a") {...F0}}` + mesh.String(),
		"one field 3990 times":      `{` + strings.Repeat("__typename ", 3990) + `}`,
		"one field, with arguments": `{` + strings.Repeat(`depotItem(id: "a") {id} `, 390) + `}`,
		"one field, nested":         `{` + strings.Repeat(`depotItem(id: "a") {`+strings.Repeat("id ", 45)+`} `, 70) + `}`,
		"one field, deep":           `{` + strings.Repeat(`depotItem(id: "a") {box {inner {inner {inner {label}}}}} `, 190) + `}`,
		"one inline fragment":       `{` + strings.Repeat(`... {... {__typename}} `, 490) + `}`,
		"distinct aliases":          `{depotItem(id: "a") {` + distinct.String() + `}}`,
		"long list":                 `mutation {depotItemPut(id: "a", group: "g", count: 1, tags: [` + strings.Repeat(`"x" `, 3900) + `]) {__typename}}`,
		"deep object":               `mutation {depotItemPut(id: "a", group: "g", count: 1, tags: [], box: ` + nested(480) + `) {__typename}}`,
		"long string":               `{depotItem(id: "` + strings.Repeat("x", 1000<<10) + `") {id}}`,
		"long block string":         `{depotItem(id: """` + strings.Repeat(" \n", 500<<10) + `""") {id}}`,
		"wrong field 3990 times":    `{` + strings.Repeat("nothing ", 3990) + `}`,
		"3990 wrong fields":         `{` + wrong.String() + `}`,
		"conflicts":                 `{` + strings.Repeat(`a: depotItem(id: "1") {id} a: depotItem(id: "2") {id} `, 160) + `}`,
		"unclosed":                  strings.Repeat("{a", 1990),
		"unclosed list":             `{depotItem(id: ` + strings.Repeat("[", 3980),
		"schema 49 times":           `{__schema {` + manyTypes() + `}}`,
		"unused variables":          `query(` + unusedVariables(990) + `) {__typename}`,
	}
}

func manyTypes() string {
	var b strings.Builder
	for i := range 49 {
		fmt.Fprintf(&b, "a%d: types {name fields {name type {fields {name type {name}}}}} ", i)
	}
	return b.String()
}

func unusedVariables(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "$v%d: Int ", i)
	}
	return b.String()
}

// TestCostlyDocuments checks that the server answers or refuses the most expensive
// documents in time. The log has the time of each.
func TestCostlyDocuments(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Options{})
	s.put("a", boltData)
	for name, query := range documents() {
		start := time.Now()
		r := s.do(query)
		took := time.Since(start)
		t.Logf("%-26s %7d bytes: %8s, %d %s, %d bytes", name, len(query), took.Round(time.Millisecond/10), r.status, r.code(), len(r.text))
		if took > time.Minute { // on an idle machine it takes milliseconds
			t.Errorf("%s took %s", name, took)
		}
		if strings.Contains(name, "bomb") && r.status == http.StatusOK && !strings.HasPrefix(name, "introspection") {
			t.Errorf("%s is accepted", name)
		}
		if len(r.Errors) > 0 && len(r.text) > 16<<10 {
			t.Errorf("%s is refused in %d bytes", name, len(r.text))
		}
	}
}

func TestOperationsEndInTime(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Options{Limits: server.Limits{Timeout: time.Second, Wait: 50 * time.Millisecond}})
	s.store.hook(func(ctx context.Context, call string) error {
		if call == "LoadRow" || call == "Append" {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	})
	r := s.refuses(`{depotItem(id: "a") {id} __typename}`, http.StatusOK, "TIMEOUT")
	if !same(string(r.Data), `{"depotItem": null, "__typename": "Query"}`) {
		t.Errorf("answered %s", r.text)
	}
	s.refuses(`mutation {depotItemPut(id: "a", group: "g", count: 1, tags: []) {__typename}}`, http.StatusOK, "TIMEOUT")
	c := s.connect("")
	c.ask("1", `{depotItem(id: "a") {id}}`)
	c.hearsCode("1", "TIMEOUT")
	s.store.hook(func(context.Context, string) error { return nil })
	s.refuses(`{depotItem(id: "a", waitFor: ["WyJEZXBvdC5JdGVtIiwiYSIsOV0"]) {id}}`, http.StatusOK, "WAIT_TIMEOUT")
	s.refuses(`{depotItem(id: "a", waitFor: ["nonsense"]) {id}}`, http.StatusOK, "BAD_USER_INPUT")
}

// A waiting query costs a caller only one message on a WebSocket, so their number is
// bounded.
func TestSocketBoundsConcurrentQueries(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Options{Limits: server.Limits{Subscriptions: 2}})
	waiting, free := make(chan struct{}, 3), make(chan struct{})
	s.store.hook(func(ctx context.Context, call string) error {
		if call == "LoadRow" {
			waiting <- struct{}{}
			<-free
		}
		return nil
	})
	c := s.connect("")
	const query = `{depotItem(id: "a") {id}}`
	c.ask("1", query)
	c.ask("2", query)
	<-waiting
	<-waiting
	c.ask("3", query)
	c.hearsCode("3", "OPERATION_LIMIT")
	c.ask("4", watchItems) // is counted separately
	s.begun(1)
	s.answers(`{__typename}`, `{"__typename": "Query"}`)
	close(free)
	for range 4 { // two answers and their ends
		if f, err := c.hear(); err != nil || f.ID != "1" && f.ID != "2" {
			t.Fatalf("received %s %s %s, error %v", f.Type, f.ID, f.Payload, err)
		}
	}
	c.ask("5", query)
	c.hears(frame{Type: "next", ID: "5", Payload: json.RawMessage(`{"data": {"depotItem": null}}`)})
	c.hears(frame{Type: "complete", ID: "5"})
}

func TestCallerThatDoesNotSendItsBody(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Options{Limits: server.Limits{Timeout: 100 * time.Millisecond}})
	conn, err := net.Dial("tcp", s.http.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(conn, "POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusBadRequest {
		t.Errorf("answered %d", response.StatusCode)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil { // to its end
		t.Errorf("the connection: %v", err)
	}
}

func TestErrorsAreMasked(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Options{})
	s.put("a", boltData)
	const text = "table depot_items is locked by /var/db"
	internal := func(query string, want string) {
		t.Helper()
		r := s.refuses(query, http.StatusOK, "INTERNAL")
		if len(r.Errors) != 1 || !same(string(r.Data), want) {
			t.Fatalf("answered %s, want %s", r.text, want)
		}
		id, _ := r.Errors[0].Extensions["id"].(string)
		if id == "" || r.Errors[0].Message != "internal error "+id || !strings.Contains(s.log.String(), "id="+id) {
			t.Errorf("the id %q is not in the log, or not in %s", id, r.text)
		}
		for _, secret := range []string{text, "secret plan", "goroutine", ".go"} {
			if strings.Contains(r.text, secret) {
				t.Errorf("the answer contains %q: %s", secret, r.text)
			}
		}
	}
	const query = `{depotItem(id: "a") {id} depotItemsByByGroup(group: "metal") {edges {node {id}}}}`
	const partly = `{"depotItem": null, "depotItemsByByGroup": {"edges": [{"node": {"id": "a"}}]}}`
	s.store.hook(func(_ context.Context, call string) error {
		if call == "LoadRow" {
			return errors.New(text)
		}
		return nil
	})
	internal(query, partly)
	s.store.hook(func(_ context.Context, call string) error {
		if call == "LoadRow" {
			panic("the " + text)
		}
		return nil
	})
	internal(query, partly)
	if log := s.log.String(); !strings.Contains(log, text) || !strings.Contains(log, "bounds_test.go") {
		t.Errorf("the log has no cause or stack: %s", log)
	}
	internal(`mutation {depotItemCrash(id: "a") {__typename}}`, `{"depotItemCrash": null}`)
	s.store.hook(func(_ context.Context, call string) error {
		if call == "LoadRow" {
			return fmt.Errorf("%s: %w", text, driver.ErrUnavailable)
		}
		return nil
	})
	if r := s.refuses(query, http.StatusOK, "UNAVAILABLE"); strings.Contains(r.text, text) {
		t.Errorf("the answer contains the text of the store: %s", r.text)
	}
	for _, cause := range []string{text, "secret plan"} {
		if !strings.Contains(s.log.String(), cause) {
			t.Errorf("%q is not in the log, where the operator looks for the id", cause)
		}
	}
}

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Options{})
	const put = `mutation {depotItemPut(id: "a", group: "g", count: 1, tags: []) {... on CommandAccepted {commandId sequenceNr}}}`
	key := func(k string) option { return with("Idempotency-Key", k) }
	for range 3 {
		s.answers(put, `{"depotItemPut": {"commandId": "once", "sequenceNr": 1}}`, key("once"))
	}
	s.answers(put, `{"depotItemPut": {"commandId": "twice", "sequenceNr": 2}}`, key("twice"))
	s.answers(`{depotItemEvents(id: "a") {edges {node {sequenceNr causationId}}}}`,
		`{"depotItemEvents": {"edges": [{"node": {"sequenceNr": 1, "causationId": "once"}}, {"node": {"sequenceNr": 2, "causationId": "twice"}}]}}`, as("admin"))
	s.answers(`mutation {__typename depotItemPut(id: "b", group: "g", count: 1, tags: []) {__typename}}`,
		`{"__typename": "Mutation", "depotItemPut": {"__typename": "CommandAccepted"}}`, key("with a typename"))
	const two = `a: depotItemPut(id: "c", group: "g", count: 1, tags: []) {__typename} b: depotItemPut(id: "d", group: "g", count: 1, tags: []) {__typename}`
	s.refuses(`mutation {`+two+`}`, http.StatusOK, "BAD_USER_INPUT", key("two"))
	s.refuses(`mutation {...F} fragment F on Mutation {`+two+`}`, http.StatusOK, "BAD_USER_INPUT", key("two"))
	s.idle()
	s.answers(`{c: depotItem(id: "c") {id} d: depotItem(id: "d") {id}}`, `{"c": null, "d": null}`)
	s.refuses(put, http.StatusBadRequest, "BAD_USER_INPUT", key(strings.Repeat("x", 2000)))
	s.refuses(put, http.StatusBadRequest, "BAD_USER_INPUT", key("a\xffb"))
	s.refuses(`mutation {depotItemPut(id: "a", group: "g", count: 1, tags: [], commandId: "other") {__typename}}`, http.StatusOK, "BAD_USER_INPUT", key("once"))
	s.refuses(put, http.StatusOK, "FORBIDDEN", key("once"), as("user")) // the id of another caller's command
	// On a WebSocket the header would apply to all commands, so it is ignored.
	c := s.connect("", key("socket"))
	for i, want := range []string{"3", "4"} {
		c.ask(want, put)
		f, err := c.hear()
		if err != nil || !strings.Contains(string(f.Payload), `"sequenceNr":`+want) {
			t.Errorf("mutation %d: %s, error %v", i, f.Payload, err)
		}
		c.hears(frame{Type: "complete", ID: want})
	}
}
