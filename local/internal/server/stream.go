package server

import (
	"bufio"
	"mime"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// maxWriteTimeout bounds how long a write waits for a caller that does not read.
const maxWriteTimeout = 10 * time.Second

// largeResponse is the size from which a response counts while it is written.
const largeResponse = 64 << 10

// timedResponse is a response whose writes time out. Otherwise a caller that stops
// reading would block the goroutine and Close. It refuses writes after its request has
// ended: gqlgen may still send a ping, and a write to a response after net/http has
// released it crashes the process.
type timedResponse struct {
	http.ResponseWriter
	timeout time.Duration
	usage   *usage

	mu     sync.Mutex
	ended  bool
	wrote  bool
	socket *timedConn // the connection, after Hijack
}

func (p *timedResponse) extend() {
	_ = http.NewResponseController(p.ResponseWriter).SetWriteDeadline(time.Now().Add(p.timeout)) //nolint:forbidigo // a connection's deadline is in real time
}

// end waits for a running write and refuses later ones. gqlgen closes a WebSocket, after
// it has sent the close message. It never closes some of them, such as one whose
// connection_init is not an object; end closes those after the timeout.
func (p *timedResponse) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	if p.socket != nil {
		p.socket.closeIn(p.timeout)
	}
}

// Write implements [io.Writer].
func (p *timedResponse) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return 0, net.ErrClosed
	}
	// A caller that reads slowly keeps the whole response in memory. Small responses do
	// not count, such as all those to mutations.
	if !p.wrote && len(b) >= largeResponse {
		if !p.usage.grow(int64(len(b))) {
			p.wrote = true
			refuseBusy(p.ResponseWriter)
			return len(b), nil
		}
		defer p.usage.shrink(int64(len(b)))
	}
	p.wrote = true
	p.extend()
	return p.ResponseWriter.Write(b)
}

// Flush implements [http.Flusher].
func (p *timedResponse) Flush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	p.extend()
	_ = http.NewResponseController(p.ResponseWriter).Flush() // if the connection is closed, the request's context ends
}

// Unwrap is used by [http.ResponseController].
func (p *timedResponse) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// Hijack implements [http.Hijacker].
func (p *timedResponse) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(p.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.socket = &timedConn{Conn: conn, timeout: p.timeout, usage: p.usage}
	rw.Writer.Reset(p.socket)
	return p.socket, rw, nil
}

// timedConn is a connection whose writes time out. A failed write closes it, because
// part of a message may have been sent.
type timedConn struct {
	net.Conn
	timeout time.Duration
	usage   *usage
	message atomic.Int64 // bytes that were read since forget

	mu     sync.Mutex
	closed bool
	timer  *time.Timer // set by closeIn
}

// closeIn closes the connection after d, unless it is closed before.
func (c *timedConn) closeIn(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed && c.timer == nil {
		c.timer = time.AfterFunc(d, func() { _ = c.Close() })
	}
}

// Close implements [net.Conn].
func (c *timedConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.timer != nil {
		c.timer.Stop()
	}
	return c.Conn.Close()
}

// Read implements [net.Conn]. The bytes count until forget.
func (c *timedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if !c.usage.grow(int64(n)) {
		return 0, errBusy
	}
	c.message.Add(int64(n))
	return n, err
}

// forget stops counting the bytes that were read.
func (c *timedConn) forget() { c.usage.shrink(c.message.Swap(0)) }

// Write implements [net.Conn].
func (c *timedConn) Write(b []byte) (int, error) {
	_ = c.SetWriteDeadline(time.Now().Add(c.timeout)) //nolint:forbidigo // a connection's deadline is in real time
	n, err := c.Conn.Write(b)
	if err != nil {
		_ = c.Close()
	}
	return n, err
}

// hasToken reports whether a header with a list of tokens has a token, ignoring case.
func hasToken(h http.Header, name, token string) bool {
	for _, value := range h.Values(name) {
		for t := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}

// wantsEvents reports whether the caller prefers server-sent events to JSON, which is
// the type that it lists first.
func wantsEvents(h http.Header) bool {
	for t := range strings.SplitSeq(h.Get("Accept"), ",") {
		switch t, _, _ := mime.ParseMediaType(strings.TrimSpace(t)); t {
		case "text/event-stream":
			return true
		case "application/json", "application/graphql-response+json":
			return false
		}
	}
	return false
}
