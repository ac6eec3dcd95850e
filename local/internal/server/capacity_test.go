package server_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/reventless-go/reventless/internal/testenv"
	"github.com/reventless-go/reventless/local/internal/server"
)

// slowBody sends a request whose body of n bytes lacks its last byte.
func (s *site) slowBody(n int) net.Conn {
	s.t.Helper()
	c, err := net.Dial("tcp", s.http.Listener.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	_, _ = fmt.Fprintf(c, "POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", n, strings.Repeat(" ", n-1))
	return c // an error of the write means that the server has refused the request
}

// padded returns the body of a small query that has n bytes.
func padded(n int) option {
	const text = `{"query": "{__typename}"}`
	return body(text + strings.Repeat(" ", n-len(text)))
}

func TestSlowBodiesOfAnonymousCallersLeaveMemoryToOthers(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Options{Limits: server.Limits{BodyBytes: 32 << 10, Memory: 64 << 10}})
	const callers, size, fit = 8, 20 << 10, 2
	refused := make(chan *http.Response, callers)
	var conns []net.Conn
	for range callers {
		c := s.slowBody(size)
		defer c.Close()
		conns = append(conns, c)
		go func() {
			if r, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil {
				refused <- r
			}
		}()
	}
	for range callers - fit {
		select {
		case r := <-refused:
			if r.StatusCode != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" {
				t.Fatalf("answered %d, header %v; want 503 with Retry-After", r.StatusCode, r.Header)
			}
		case <-time.After(patience):
			t.Fatal("the server accepts more bytes than its limit")
		}
	}
	s.answers("", `{"__typename": "Query"}`, padded(size), as("user"))
	for _, c := range conns {
		_ = c.Close()
	}
	if !settled(func() bool { return s.do("", padded(30<<10)).status == http.StatusOK }) {
		t.Error("the server does not give memory back when a request ends")
	}
}

func TestAnonymousRequestsLeaveRequestsToOthers(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Options{Limits: server.Limits{Requests: 8}})
	for range 3 {
		s.listen(watchItems)
	}
	c := s.connect("")
	c.ask("1", watchItems)
	s.begun(4)
	r := s.refuses(`{__typename}`, http.StatusServiceUnavailable, "UNAVAILABLE")
	if r.header.Get("Retry-After") == "" {
		t.Errorf("the header is %v; want Retry-After", r.header)
	}
	conn, _, err := s.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow() //nolint:errcheck // it is closed already
	anonymous := &socket{t, conn}
	anonymous.say(frame{Type: "connection_init"})
	anonymous.hearsClose(websocket.StatusTryAgainLater)
	s.connect("", as("user")).ask("1", watchItems)
	s.begun(1)
	s.answers(`{__typename}`, `{"__typename": "Query"}`, as("user"))
	_ = c.CloseNow()
	if !settled(func() bool { return s.do(`{__typename}`).status == http.StatusOK }) {
		t.Error("the server refuses requests after a WebSocket has ended")
	}
}

func TestMessagesAndDocumentsOfWebSocketsCount(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Options{Limits: server.Limits{BodyBytes: 64 << 10, Memory: 64 << 10}})
	// A message of more than the anonymous share.
	c := s.connect("")
	_ = c.Write(t.Context(), websocket.MessageText, []byte(strings.Repeat(" ", 40<<10)))
	if f, err := c.hear(); err == nil {
		t.Fatalf("received %s %s; want the end of the socket", f.Type, f.Payload)
	}
	// The documents of open subscriptions, of which only some have room.
	large := watchItems + strings.Repeat(" ", 10<<10)
	s = serve(t, server.Options{Limits: server.Limits{BodyBytes: 64 << 10, Memory: 64 << 10}})
	c = s.connect("")
	c.ask("1", large)
	s.begun(1)
	for i := range 4 { // an error of Write is the end of the socket
		_ = c.Write(t.Context(), websocket.MessageText, fmt.Appendf(nil, `{"type": "subscribe", "id": "more%d", "payload": {"query": %q}}`, i, large))
	}
	if f, err := c.hear(); err == nil && codeOf(f) != "UNAVAILABLE" {
		t.Fatalf("received %s %s; want UNAVAILABLE or the end of the socket", f.Type, f.Payload)
	}
	_ = c.CloseNow()
	if !settled(func() bool { return s.do("", padded(30<<10)).status == http.StatusOK }) {
		t.Error("the server does not give memory back when a WebSocket ends")
	}
}

func TestLargeResponsesCount(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Options{Limits: server.Limits{BodyBytes: 64 << 10, Memory: 160 << 10}})
	s.put("a", `{"group": "g", "count": 1, "tags": ["`+strings.Repeat("x", 90<<10)+`"]}`)
	const query = `{depotItem(id: "a") {tags}}`
	s.refuses(query, http.StatusServiceUnavailable, "UNAVAILABLE")
	if r := s.do(query, as("user")); r.status != http.StatusOK || len(r.text) < 90<<10 {
		t.Errorf("answered %d with %d bytes; want 200 with the row", r.status, len(r.text))
	}
}

// TestSoak attacks the server with 1,000 anonymous callers with bodies of 1 MB each, for
// two minutes in the long form.
func TestSoak(t *testing.T) {
	duration := 2 * time.Minute
	if !testenv.Long() {
		t.Skip("runs in the long form of the tests")
	}
	s := serve(t, server.Options{})
	memory := func() (heap uint64, goroutines int) {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // empties pools
		runtime.ReadMemStats(&m)
		return m.HeapInuse, runtime.NumGoroutine()
	}
	s.do(`{__typename}`, as("user"))
	s.http.CloseClientConnections()
	heap, goroutines := memory()
	end := time.Now().Add(duration)
	var attackers sync.WaitGroup
	var sent, served atomic.Int64
	block := []byte(strings.Repeat(" ", 1<<20))
	for range 1000 {
		attackers.Go(func() {
			for time.Now().Before(end) {
				c, err := net.Dial("tcp", s.http.Listener.Addr().String())
				if err != nil {
					continue
				}
				_ = c.SetDeadline(time.Now().Add(10 * time.Second))
				_, _ = fmt.Fprintf(c, "POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(block))
				_, _ = c.Write(block[1:])
				sent.Add(1)
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			}
		})
	}
	var most uint64
	for time.Now().Before(end) {
		if r := s.do(`{__typename}`, as("user")); r.status != http.StatusOK {
			t.Errorf("an authenticated caller was answered %d %s", r.status, short(r.text))
		}
		served.Add(1)
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		most = max(most, m.HeapInuse)
	}
	attackers.Wait()
	s.http.CloseClientConnections()
	const mib = 1 << 20
	var heapAfter uint64
	var goroutinesAfter int
	back := settled(func() bool {
		heapAfter, goroutinesAfter = memory()
		return heapAfter < heap+8*mib && goroutinesAfter <= goroutines
	})
	t.Logf("%d bodies of 1 MiB, %d queries of an authenticated caller; heap %d MiB before, at most %d MiB, %d MiB after; goroutines %d before, %d after",
		sent.Load(), served.Load(), heap/mib, most/mib, heapAfter/mib, goroutines, goroutinesAfter)
	if !back {
		t.Error("the server does not give memory or goroutines back")
	}
	if most > 400*mib {
		t.Errorf("the heap grew to %d MiB", most/mib)
	}
}
