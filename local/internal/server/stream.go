package server

import (
	"bufio"
	"mime"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// maxPatience bounds how long one write waits for a caller that does not read.
const maxPatience = 10 * time.Second

// patient is a response whose writes do not wait for ever: a caller that stops
// reading would hold the goroutine, what is to be sent, and Close. It ends with its
// request: the runtime's pings may come a moment later, and a write to a response
// that net/http has taken back brings the process down.
type patient struct {
	http.ResponseWriter
	patience time.Duration

	mu     sync.Mutex
	ended  bool
	socket *patientConn // what the connection was handed over as
}

func (p *patient) extend() {
	_ = http.NewResponseController(p.ResponseWriter).SetWriteDeadline(time.Now().Add(p.patience)) //nolint:forbidigo // a connection's deadline is in real time
}

// end waits for what is being written; nothing is from then on. A WebSocket is
// closed by the runtime, which may say goodbye for a while yet. It forgets some,
// such as one whose connection_init is no object: nobody would ever close those.
func (p *patient) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	if p.socket != nil {
		p.socket.closeIn(p.patience)
	}
}

// Write implements [io.Writer].
func (p *patient) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return 0, net.ErrClosed
	}
	p.extend()
	return p.ResponseWriter.Write(b)
}

// Flush implements [http.Flusher].
func (p *patient) Flush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	p.extend()
	_ = http.NewResponseController(p.ResponseWriter).Flush() // a connection that is gone ends the request's context
}

// Unwrap is for [http.ResponseController].
func (p *patient) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// Hijack implements [http.Hijacker].
func (p *patient) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(p.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.socket = &patientConn{Conn: conn, patience: p.patience}
	rw.Writer.Reset(p.socket)
	return p.socket, rw, nil
}

// patientConn is closed when a write has waited too long: half a message may
// have been sent.
type patientConn struct {
	net.Conn
	patience time.Duration

	mu     sync.Mutex
	closed bool
	last   *time.Timer // closes it, if nothing else does before
}

// closeIn closes the connection after a while, unless it is closed until then.
func (c *patientConn) closeIn(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed && c.last == nil {
		c.last = time.AfterFunc(d, func() { _ = c.Close() })
	}
}

// Close implements [net.Conn].
func (c *patientConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.last != nil {
		c.last.Stop()
	}
	return c.Conn.Close()
}

// Write implements [net.Conn].
func (c *patientConn) Write(b []byte) (int, error) {
	_ = c.SetWriteDeadline(time.Now().Add(c.patience)) //nolint:forbidigo // a connection's deadline is in real time
	n, err := c.Conn.Write(b)
	if err != nil {
		_ = c.Close()
	}
	return n, err
}

// hasToken reports whether a header that is a list has a token, in any case.
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

// wantsEvents reports whether a caller reads server-sent events rather than JSON:
// whichever it names first.
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
