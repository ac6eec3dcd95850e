package local

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
)

// TestIdleConnectionsDoNotKeepOthersOut has a limit of three connections: one with a
// request in progress, and two that are idle.
func TestIdleConnectionsDoNotKeepOthersOut(t *testing.T) {
	began, release := make(chan struct{}), make(chan struct{})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(began)
			<-release
		}
		_, _ = io.WriteString(w, "done")
	}))
	limited := newConnections(6)
	s.Config.ConnState = limited.changed
	// idle waits until n connections are idle: the server notices that a connection is
	// idle shortly after the caller has the response.
	idle := func(n int) {
		for {
			limited.mu.Lock()
			waiting := limited.waiting.Len()
			limited.mu.Unlock()
			if waiting == n {
				return
			}
			runtime.Gosched()
		}
	}
	s.Start()
	defer s.Close()
	defer func() {
		select {
		case <-release:
		default:
			close(release)
		}
	}()
	open := func() (net.Conn, *bufio.Reader) {
		c, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c, bufio.NewReader(c)
	}
	get := func(c net.Conn, path string) {
		if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path); err != nil {
			t.Fatal(err)
		}
	}
	served := func(r *bufio.Reader) {
		t.Helper()
		response, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("a request is not served: %v", err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
	}
	slow, slowly := open()
	get(slow, "/slow")
	<-began
	c, first := open()
	get(c, "/")
	served(first)
	idle(1)
	second, secondReader := open()
	get(second, "/")
	served(secondReader)
	idle(2)
	// The fourth connection ends the one that has been idle for longest.
	c, last := open()
	get(c, "/")
	served(last)
	if _, err := first.ReadByte(); err != io.EOF {
		t.Errorf("reading the longest idle connection: error %v; want its end", err)
	}
	get(second, "/")
	served(secondReader)
	close(release)
	served(slowly)
}
