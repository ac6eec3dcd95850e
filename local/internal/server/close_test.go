package server_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/reventless-go/reventless/local/internal/server"
)

func TestCloseEndsStreamsAndNothingElse(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Options{})
	c, e := s.connect(""), s.listen(watchItems)
	c.ask("1", watchItems)
	s.begun(2)
	appending, goOn := make(chan struct{}), make(chan struct{})
	s.store.hook(func(_ context.Context, call string) error {
		if call == "Append" {
			close(appending)
			<-goOn
		}
		return nil
	})
	answered := make(chan reply, 1)
	go func() {
		answered <- s.do(`mutation {depotItemPut(id: "a", group: "g", count: 1, tags: []) {__typename}}`)
	}()
	<-appending
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var closed sync.WaitGroup
	closed.Go(func() { // concurrently, because closing the socket is a handshake
		if err := s.api.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	c.hearsClose(websocket.StatusNormalClosure)
	closed.Wait()
	e.hears("complete", "")
	if !settled(func() bool { return s.store.listening.Load() == 0 }) {
		t.Errorf("%d subscriptions are left", s.store.listening.Load())
	}
	if r := s.do("", method(http.MethodGet), at("/healthz")); r.status != http.StatusServiceUnavailable || !strings.Contains(r.text, "stopping") {
		t.Errorf("healthz: %d %s", r.status, r.text)
	}
	s.refuses(watchItems, http.StatusServiceUnavailable, "UNAVAILABLE", with("Accept", "text/event-stream"))
	if _, r, err := s.dial(); err == nil || r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a new WebSocket: error %v", err)
	}
	s.answers(`{depotItem(id: "a") {id}}`, `{"depotItem": null}`)
	close(goOn)
	if r := <-answered; !same(string(r.Data), `{"depotItemPut": {"__typename": "CommandAccepted"}}`) {
		t.Errorf("the mutation is answered %s", r.text)
	}
}

func TestCloseWithinItsTime(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Options{})
	c := s.connect("")
	c.ask("1", watchItems)
	s.begun(1)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	// Open subscriptions cannot end immediately; the next call waits for them.
	if err := s.api.Close(ended); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	c.hearsClose(websocket.StatusNormalClosure)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.api.Close(ctx); err != nil {
		t.Error(err)
	}
}

// Close does not wait for a caller that requests the largest file repeatedly and never
// reads.
func TestCallerThatDoesNotReadDoesNotDelayClose(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Options{Limits: server.Limits{Timeout: time.Second}})
	conn, err := net.Dial("tcp", s.http.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, strings.Repeat("GET /graphiql/graphiql.js HTTP/1.1\r\nHost: localhost\r\n\r\n", 20)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.http.Config.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

func TestHealthOfTheStore(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Options{})
	get := []option{method(http.MethodGet), at("/healthz")}
	if r := s.do("", get...); r.status != http.StatusOK || r.header.Get("Cache-Control") != "no-store" {
		t.Errorf("healthz: %d %s", r.status, r.text)
	}
	s.store.hook(func(_ context.Context, call string) error {
		if call == "List" {
			return errors.New("the disk is gone from /var/db")
		}
		return nil
	})
	if r := s.do("", get...); r.status != http.StatusServiceUnavailable || strings.Contains(r.text, "/var/db") {
		t.Errorf("healthz: %d %s", r.status, r.text)
	}
	if !strings.Contains(s.log.String(), "the disk is gone") {
		t.Error("the log is empty")
	}
}

// parallel calls f n times, 32 at a time.
func parallel(t *testing.T, n int, f func(i int) error) {
	t.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for i := int(next.Add(1)); i <= n; i = int(next.Add(1)) {
				if err := f(i); err != nil {
					t.Errorf("%d: %v", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// times returns the number of repetitions of a leak test.
func times(n int) int {
	if testing.Short() || raceEnabled {
		return n / 10
	}
	return n
}

func TestConnectionsThatComeAndGoLeaveNothing(t *testing.T) {
	s := serve(t, server.Options{})
	client := s.http.Client()
	left := func() int {
		client.CloseIdleConnections()
		return runtime.NumGoroutine()
	}
	socket := func(i int) error {
		conn, _, err := websocket.Dial(t.Context(), s.http.URL+"/graphql", &websocket.DialOptions{HTTPClient: client, Subprotocols: []string{"graphql-transport-ws"}})
		if err != nil {
			return err
		}
		defer conn.CloseNow() //nolint:errcheck // it may be closed
		for _, text := range []string{`{"type": "connection_init"}`, `{"type": "subscribe", "id": "1", "payload": {"query": "subscription {depotItemChanged {id}}"}}`} {
			if err := conn.Write(t.Context(), websocket.MessageText, []byte(text)); err != nil {
				return err
			}
		}
		if i%4 == 0 {
			return nil // before the subscription has started
		}
		if _, _, err := conn.Read(t.Context()); err != nil {
			return err
		}
		switch i % 4 {
		case 1:
			return nil // without closing it
		case 2:
			if err := conn.Write(t.Context(), websocket.MessageText, []byte(`{"type": "complete", "id": "1"}`)); err != nil {
				return err
			}
		}
		return conn.Close(websocket.StatusNormalClosure, "")
	}
	events := func(i int) error {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.http.URL+"/graphql", strings.NewReader(`{"query": "subscription {depotItemChanged {id}}"}`))
		if err != nil {
			return err
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept", "text/event-stream")
		response, err := client.Do(r)
		if err != nil {
			return err
		}
		if i%2 == 0 {
			cancel()
		}
		return response.Body.Close()
	}
	base := left()
	start := time.Now()
	n := times(2_000)
	parallel(t, n, socket)
	t.Logf("%d WebSockets in %s", n, time.Since(start))
	start = time.Now()
	parallel(t, n/5, events)
	t.Logf("%d event streams in %s", n/5, time.Since(start))
	if !settled(func() bool { return left() <= base && s.store.listening.Load() == 0 }) {
		t.Errorf("%d goroutines, %d before, and %d subscriptions are left", left(), base, s.store.listening.Load())
		_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
	}
}
