package server

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/handler/transport"

	"github.com/reventless-go/reventless/internal/resolver"
)

// capacity bounds what all requests together use at a time. Each share of callers has
// its own limit, so that callers without credentials leave room for the others.
type capacity struct {
	mu              sync.Mutex
	requests, bytes pool
}

// share is a class of callers. Its limit is the whole limit, shifted right by its value.
type share int

const (
	// whole is the share of authenticated callers, and of all callers of a server that
	// has no authentication.
	whole share = iota
	// half is the share of anonymous callers.
	half
	// quarter is the share of WebSockets whose caller has not sent connection_init.
	quarter
)

type pool struct {
	limit int64
	used  [quarter + 1]int64
}

// take takes n for a share and returns false, without taking any, if that exceeds a
// limit.
func (p *pool) take(s share, n int64) bool {
	if p.used[whole]+p.used[half]+p.used[quarter]+n > p.limit || p.used[s]+n > p.limit>>s {
		return false
	}
	p.used[s] += n
	return true
}

// usage is the capacity that one request or WebSocket uses. Its methods may be called
// concurrently, and after end.
type usage struct {
	of    *capacity
	share share
	bytes int64
	ended bool
}

// freeBytes is what each request may use without counting, so that small requests and
// WebSocket messages need nothing but a place among the requests.
const freeBytes = 4 << 10

// counted is the part of bytes that counts.
func counted(bytes int64) int64 { return max(0, bytes-freeBytes) }

// begin counts a request until its usage ends. It returns nil if the limit is reached.
func (c *capacity) begin(s share) *usage {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.requests.take(s, 1) {
		return nil
	}
	return &usage{of: c, share: s}
}

// move moves the usage to another share and returns false, without a change, if that
// exceeds a limit.
func (u *usage) move(to share) bool {
	c := u.of
	c.mu.Lock()
	defer c.mu.Unlock()
	if u.ended || to == u.share {
		return !u.ended
	}
	from := u.share
	c.requests.used[from]--
	c.bytes.used[from] -= counted(u.bytes)
	if c.requests.take(to, 1) {
		if c.bytes.take(to, counted(u.bytes)) {
			u.share = to
			return true
		}
		c.requests.used[to]--
	}
	c.requests.used[from]++
	c.bytes.used[from] += counted(u.bytes)
	return false
}

// grow counts n more bytes and returns false, without counting them, if that exceeds a
// limit.
func (u *usage) grow(n int64) bool {
	c := u.of
	c.mu.Lock()
	defer c.mu.Unlock()
	if u.ended || !c.bytes.take(u.share, counted(u.bytes+n)-counted(u.bytes)) {
		return false
	}
	u.bytes += n
	return true
}

// shrink takes back n bytes of grow.
func (u *usage) shrink(n int64) {
	c := u.of
	c.mu.Lock()
	defer c.mu.Unlock()
	if !u.ended {
		c.bytes.used[u.share] -= counted(u.bytes) - counted(u.bytes-n)
		u.bytes -= n
	}
}

// end returns all that the request uses.
func (u *usage) end() {
	c := u.of
	c.mu.Lock()
	defer c.mu.Unlock()
	if !u.ended {
		u.ended = true
		c.requests.used[u.share]--
		c.bytes.used[u.share] -= counted(u.bytes)
	}
}

// errBusy says that the capacity is used up. Nothing was done for the request.
var errBusy = &resolver.Error{Code: resolver.Unavailable, Message: "the server has too many requests in progress; try again later"}

// refuseBusy refuses a request because the capacity is used up.
func refuseBusy(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "1")
	w.Header().Set("Connection", "close") // the rest of the body is not read
	refuse(w, http.StatusServiceUnavailable, errBusy.Code, errBusy.Message)
}

// shareOf returns the share of a caller.
func (s *Server) shareOf(q *request) share {
	if s.opts.Identity == nil || q.caller.User != "" {
		return whole
	}
	return half
}

// countedBody is a body whose bytes count from when they are read.
type countedBody struct {
	io.Reader
	usage *usage
}

// Read implements [io.Reader].
func (c countedBody) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	if !c.usage.grow(int64(n)) {
		return 0, errBusy
	}
	return n, err
}

// sizeOf estimates the memory of a request's document and variables. Variables may need
// twenty times the memory of their text.
func sizeOf(p *graphql.RawParams) int64 {
	return int64(len(p.Query)) + sizeOfValue(p.Variables) + sizeOfValue(p.Extensions)
}

// sizeOfValue estimates the memory of a decoded JSON value, with its place in a list or
// map.
func sizeOfValue(v any) int64 {
	const word = 8
	size := int64(2 * word)
	switch v := v.(type) {
	case map[string]any:
		size += 6 * word
		for name, member := range v {
			size += 2*word + int64(len(name)) + sizeOfValue(member)
		}
	case []any:
		size += 3 * word
		for _, e := range v {
			size += sizeOfValue(e)
		}
	case string:
		size += 2*word + int64(len(v))
	case json.Number:
		size += 2*word + int64(len(v))
	}
	return size
}

// countedSockets accepts WebSockets whose messages count while they are read.
type countedSockets struct {
	transport.CoderWebsocketImplementation
}

// Accept implements [transport.WebsocketImplementation].
func (i countedSockets) Accept(w http.ResponseWriter, r *http.Request, o transport.WebsocketAcceptOptions) (transport.WebsocketConn, error) {
	c, err := i.CoderWebsocketImplementation.Accept(w, r, o)
	if err != nil {
		return nil, err
	}
	return countedSocket{c.(coderSocket), w.(*timedResponse)}, nil
}

// coderSocket is what [transport.CoderWebsocketImplementation] accepts.
type coderSocket interface {
	transport.WebsocketConn
	transport.WebsocketReadLimiter
	transport.WebsocketReadDeadliner
}

type countedSocket struct {
	coderSocket
	response *timedResponse
}

// NextReader implements [transport.WebsocketConn]. The previous message is decoded by
// now, so its bytes stop counting.
func (c countedSocket) NextReader() (int, io.Reader, error) {
	c.response.socket.forget()
	t, r, err := c.coderSocket.NextReader()
	if errors.Is(err, errBusy) {
		_ = c.Close()
	}
	return t, r, err
}
