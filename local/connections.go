package local

import (
	queue "container/list"
	"net"
	"net/http"
	"sync"
)

// maxConnections bounds the open connections of the command run, beside WebSockets, which
// count as requests.
const maxConnections = 10_000

// newConnections returns the bound of the command run. Connections may use half of the
// files that the process may have open: without a free one, SQLite fails.
func newConnections(files uint64) *connections {
	return &connections{limit: int(min(maxConnections, files/2))}
}

// connections bounds the open connections of an HTTP server. Beyond the limit it closes
// the connection that has waited longest for a request.
type connections struct {
	limit int

	mu      sync.Mutex
	waiting queue.List // of net.Conn, the longest waiting first
	// open maps each open connection to its place in waiting; nil while a request runs.
	open map[net.Conn]*queue.Element
}

// changed is the ConnState of an [http.Server].
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	if excess := c.record(conn, state); excess != nil {
		_ = excess.Close()
	}
}

// record records a state of a connection and returns the connection that exceeds the
// limit, or nil.
func (c *connections) record(conn net.Conn, state http.ConnState) net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	place, isOpen := c.open[conn]
	if !isOpen && state != http.StateNew {
		return nil // it was closed because of the limit
	}
	if place != nil {
		c.waiting.Remove(place)
	}
	switch state {
	case http.StateHijacked, http.StateClosed:
		delete(c.open, conn)
		return nil
	case http.StateActive:
		c.open[conn] = nil
		return nil
	}
	if c.open == nil {
		c.open = map[net.Conn]*queue.Element{}
	}
	c.open[conn] = c.waiting.PushBack(conn)
	if len(c.open) <= c.limit {
		return nil
	}
	excess := c.waiting.Remove(c.waiting.Front()).(net.Conn)
	delete(c.open, excess)
	return excess
}
