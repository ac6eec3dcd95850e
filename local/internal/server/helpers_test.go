package server_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"reflect"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/host"
	"github.com/reventless-go/reventless/local/internal/identity"
	"github.com/reventless-go/reventless/local/internal/server"
)

// TestMain fails if goroutines leak: every test closes its servers.
func TestMain(m *testing.M) {
	before := runtime.NumGoroutine()
	code := m.Run()
	http.DefaultClient.CloseIdleConnections()
	fuzzing := flag.Lookup("test.fuzz").Value.String() != "" // runs its own goroutines
	if code == 0 && !fuzzing && !settled(func() bool { return runtime.NumGoroutine() <= before }) {
		fmt.Fprintf(os.Stderr, "goroutines leak: %d before, %d after\n", before, runtime.NumGoroutine())
		_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
		code = 1
	}
	os.Exit(code)
}

// patience bounds how long a test waits for an event. Only a failing test waits that
// long.
const patience = 2 * time.Minute

// settled waits until ok holds.
func settled(ok func() bool) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if ok() {
			return true
		}
	}
	return false
}

// site is a server of the depot.
type site struct {
	t     testing.TB
	store *store
	host  *host.Host
	api   *server.Server
	http  *httptest.Server
	log   *written
}

// written collects what is written to it.
type written struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *written) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *written) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var secret = []byte("0123456789abcdef0123456789abcdef")

// serve serves a depot until the test ends, to dev users unless opts say more.
func serve(t testing.TB, opts server.Options) *site {
	t.Helper()
	s := &site{t: t, store: newStore(), log: &written{}}
	app := depot()
	log := slog.New(slog.NewTextHandler(s.log, nil))
	var err error
	if s.host, err = host.Open(t.Context(), app.Assembled(), s.store, &host.Options{Logger: log, Backoff: func(int) time.Duration { return 0 }}); err != nil {
		t.Fatal(err)
	}
	if err = s.host.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if opts.Identity == nil {
		opts.DevUsers = true
		opts.Identity, err = identity.New(t.Context(), identity.Options{DevUsers: true})
		if err != nil {
			t.Fatal(err)
		}
	}
	opts.Logger = log
	if s.api, err = server.New(app, s.host, opts); err != nil {
		t.Fatal(err)
	}
	s.http = httptest.NewUnstartedServer(s.api)
	s.http.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetWriteBuffer(16 << 10) // so that a caller that does not read blocks the server soon
		}
		return ctx
	}
	s.http.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.api.Close(ctx); err != nil {
			t.Error(err)
		}
		s.http.Close()
		if err := s.host.Close(); err != nil {
			t.Error(err)
		}
		_ = s.store.Close()
	})
	return s
}

// byToken returns options with tokens instead of dev users.
func byToken(t testing.TB) server.Options {
	t.Helper()
	v, err := identity.New(t.Context(), identity.Options{Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	return server.Options{Identity: v}
}

// token returns a token of a user.
func token(t testing.TB, user string, expires time.Time, roles ...string) string {
	t.Helper()
	claims := jwt.MapClaims{"sub": user, "exp": float64(expires.UnixMilli()) / 1000, "roles": roles}
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(secret)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// put puts an item without the API and waits until it is projected.
func (s *site) put(id string, data string) {
	s.t.Helper()
	s.send("Item", "Put", id, data)
}

func (s *site) send(aggregate, command, id, data string) {
	s.t.Helper()
	o, err := s.host.Send(s.t.Context(), driver.Command{Target: "Depot." + aggregate, Entity: id, Type: command, Version: 1, Data: json.RawMessage(data), Meta: driver.Meta{}})
	if err != nil || o.Kind == driver.Rejected {
		s.t.Fatalf("%s %s: %v, error %v", command, id, o, err)
	}
	s.idle()
}

func (s *site) idle() {
	s.t.Helper()
	if err := s.host.WaitIdle(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

// call is a request to /graphql.
type call struct {
	method, path string
	header       http.Header
	body         map[string]any
	raw          io.Reader
	host         string
}

type option func(*call)

func with(name, value string) option { return func(c *call) { c.header.Add(name, value) } }
func as(user string) option          { return with("X-User", user) }
func bearer(token string) option     { return with("Authorization", "Bearer "+token) }
func vars(text string) option        { return func(c *call) { c.body["variables"] = json.RawMessage(text) } }
func named(name string) option       { return func(c *call) { c.body["operationName"] = name } }
func toHost(name string) option      { return func(c *call) { c.host = name } }
func body(text string) option        { return func(c *call) { c.raw = strings.NewReader(text) } }
func method(m string) option         { return func(c *call) { c.method = m } }
func at(path string) option          { return func(c *call) { c.path = path } }

// reply is an HTTP response.
type reply struct {
	status int
	header http.Header
	text   string
	answer
}

// answer is a GraphQL response.
type answer struct {
	Data   json.RawMessage `json:"data"`
	Errors []failure       `json:"errors"`
}

type failure struct {
	Message    string         `json:"message"`
	Path       []any          `json:"path"`
	Locations  []any          `json:"locations"`
	Extensions map[string]any `json:"extensions"`
}

// code returns the code of the first error, or empty.
func (a answer) code() string {
	if len(a.Errors) == 0 {
		return ""
	}
	code, _ := a.Errors[0].Extensions["code"].(string)
	if code == "" {
		return "without a code: " + a.Errors[0].Message
	}
	return code
}

func (s *site) request(query string, opts []option) *http.Request {
	s.t.Helper()
	c := call{method: http.MethodPost, path: "/graphql", header: http.Header{}, body: map[string]any{"query": query}}
	for _, o := range opts {
		o(&c)
	}
	target := s.http.URL + c.path
	if c.method == http.MethodGet && query != "" {
		v := url.Values{"query": {query}}
		if x, ok := c.body["variables"].(json.RawMessage); ok {
			v.Set("variables", string(x))
		}
		if x, ok := c.body["operationName"].(string); ok {
			v.Set("operationName", x)
		}
		target += "?" + v.Encode()
	} else if c.raw == nil && c.method == http.MethodPost {
		text, err := json.Marshal(c.body)
		if err != nil {
			s.t.Fatal(err)
		}
		c.raw = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(s.t.Context(), c.method, target, c.raw)
	if err != nil {
		s.t.Fatal(err)
	}
	if c.method == http.MethodPost && c.header.Get("Content-Type") == "" {
		c.header.Set("Content-Type", "application/json")
	}
	r.Header = c.header
	r.Host = c.host
	return r
}

func (s *site) do(query string, opts ...option) reply {
	s.t.Helper()
	response, err := s.http.Client().Do(s.request(query, opts))
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	r := reply{status: response.StatusCode, header: response.Header, text: string(text)}
	_ = json.Unmarshal(text, &r.answer) // not everything is JSON
	return r
}

// answers checks that the response to a query has the data and no errors.
func (s *site) answers(query, data string, opts ...option) reply {
	s.t.Helper()
	r := s.do(query, opts...)
	if r.status != http.StatusOK || len(r.Errors) > 0 || !same(string(r.Data), data) {
		s.t.Errorf("%s\nanswered %d %s\nwant %s", short(query), r.status, short(r.text), data)
	}
	return r
}

// refuses checks the status and the code of the first error.
func (s *site) refuses(query string, status int, code string, opts ...option) reply {
	s.t.Helper()
	r := s.do(query, opts...)
	if r.status != status || r.code() != code {
		s.t.Errorf("%s\nanswered %d %s\nwant %d %s", short(query), r.status, short(r.text), status, code)
	}
	return r
}

func short(text string) string {
	if len(text) > 600 {
		return text[:600] + "..."
	}
	return text
}

// same reports whether two JSON texts have the same value.
func same(a, b string) bool {
	var x, y any
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && reflect.DeepEqual(x, y)
}

// socket is a client of graphql-transport-ws.
type socket struct {
	t testing.TB
	*websocket.Conn
}

// frame is a message of graphql-transport-ws.
type frame struct {
	Type    string          `json:"type"`
	ID      string          `json:"id,omitempty"`
	Payload json.RawMessage `json:"payload,omitempty"`
}

func (s *site) dial(opts ...option) (*websocket.Conn, *http.Response, error) {
	r := s.request("", append([]option{method(http.MethodGet)}, opts...))
	r.Header.Del("Content-Type")
	return websocket.Dial(s.t.Context(), s.http.URL+"/graphql", &websocket.DialOptions{
		HTTPClient: s.http.Client(), HTTPHeader: r.Header, Host: r.Host, Subprotocols: []string{"graphql-transport-ws"},
	})
}

// connect opens a socket; payload is that of connection_init.
func (s *site) connect(payload string, opts ...option) *socket {
	s.t.Helper()
	conn, _, err := s.dial(opts...)
	if err != nil {
		s.t.Fatal(err)
	}
	c := &socket{s.t, conn}
	s.t.Cleanup(func() { _ = conn.CloseNow() })
	c.say(frame{Type: "connection_init", Payload: json.RawMessage(payload)})
	c.hears(frame{Type: "connection_ack"})
	return c
}

func (c *socket) say(f frame) {
	c.t.Helper()
	text, err := json.Marshal(f)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := c.Write(c.t.Context(), websocket.MessageText, text); err != nil {
		c.t.Fatal(err)
	}
}

// ask starts an operation.
func (c *socket) ask(id, query string) {
	c.t.Helper()
	payload, err := json.Marshal(map[string]string{"query": query})
	if err != nil {
		c.t.Fatal(err)
	}
	c.say(frame{Type: "subscribe", ID: id, Payload: payload})
}

// hear returns the next message except pings.
func (c *socket) hear() (frame, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	for {
		_, text, err := c.Read(ctx)
		if err != nil {
			return frame{}, err
		}
		var f frame
		if err := json.Unmarshal(text, &f); err != nil || f.Type != "ping" {
			return f, err
		}
		if err := c.Write(ctx, websocket.MessageText, []byte(`{"type": "pong"}`)); err != nil {
			return frame{}, err
		}
	}
}

func (c *socket) hears(want frame) {
	c.t.Helper()
	f, err := c.hear()
	if err != nil || f.Type != want.Type || f.ID != want.ID || len(want.Payload) > 0 && !same(string(f.Payload), string(want.Payload)) {
		c.t.Fatalf("received %s %s %s, error %v; want %s %s %s", f.Type, f.ID, f.Payload, err, want.Type, want.ID, want.Payload)
	}
}

// hearsCode expects an error of an operation and the end of the operation.
func (c *socket) hearsCode(id, code string) {
	c.t.Helper()
	f, err := c.hear()
	if got := codeOf(f); err != nil || f.ID != id || got != code {
		c.t.Fatalf("received %s %s %s, error %v; want the code %s", f.Type, f.ID, f.Payload, err, code)
	}
	c.hears(frame{Type: "complete", ID: id})
}

func codeOf(f frame) string {
	var a answer
	if f.Type == "error" {
		_ = json.Unmarshal(f.Payload, &a.Errors)
	} else {
		_ = json.Unmarshal(f.Payload, &a)
	}
	return a.code()
}

// hearsClose waits until the socket is closed.
func (c *socket) hearsClose(code websocket.StatusCode) {
	c.t.Helper()
	for {
		_, err := c.hear()
		if err == nil {
			continue
		}
		if got := websocket.CloseStatus(err); got != code {
			c.t.Fatalf("the socket ended with %v, error %v; want %v", got, err, code)
		}
		return
	}
}

// events is a stream of server-sent events.
type events struct {
	t        testing.TB
	response *http.Response
	lines    *bufio.Scanner
	end      context.CancelFunc
}

// listen subscribes by server-sent events.
func (s *site) listen(query string, opts ...option) *events {
	s.t.Helper()
	r := s.request(query, append([]option{with("Accept", "text/event-stream")}, opts...))
	ctx, cancel := context.WithCancel(r.Context())
	response, err := s.http.Client().Do(r.WithContext(ctx))
	if err != nil {
		cancel()
		s.t.Fatal(err)
	}
	e := &events{s.t, response, bufio.NewScanner(response.Body), cancel}
	s.t.Cleanup(func() {
		cancel()
		_ = response.Body.Close()
	})
	return e
}

// next returns the next event: its name and data.
func (e *events) next() (name, data string, ok bool) {
	for e.lines.Scan() {
		line := e.lines.Text()
		switch {
		case strings.HasPrefix(line, "event: "):
			name = line[7:]
		case strings.HasPrefix(line, "data: "):
			data = line[6:]
		case line == "" && name != "":
			return name, data, true
		}
	}
	return "", "", false
}

func (e *events) hears(name, data string) {
	e.t.Helper()
	n, d, ok := e.next()
	if !ok || n != name || data != "" && !same(d, data) {
		e.t.Fatalf("received %s %s (%v), error %v; want %s %s", n, d, ok, e.lines.Err(), name, data)
	}
}

func (e *events) hearsCode(code string) {
	e.t.Helper()
	_, d, _ := e.next()
	var a answer
	if err := json.Unmarshal([]byte(d), &a); err != nil || a.code() != code {
		e.t.Fatalf("received %s, error %v; want the code %s", d, err, code)
	}
	e.hears("complete", "")
}

// begun waits until n more subscriptions have started.
func (s *site) begun(n int) {
	s.t.Helper()
	timeout := time.After(patience)
	for range n {
		select {
		case <-s.store.subscribed:
		case <-timeout:
			s.t.Fatalf("%d subscriptions did not start", n)
		}
	}
}
