// Package server serves the API of an App over HTTP: GraphQL by POST and GET,
// subscriptions by WebSocket (graphql-transport-ws) and server-sent events, the
// schema, GraphiQL, and a start page.
package server

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/handler"
	"github.com/99designs/gqlgen/graphql/handler/lru"
	"github.com/99designs/gqlgen/graphql/handler/transport"
	"github.com/coder/websocket"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/api"
	"github.com/reventless-go/reventless/internal/authz"
	"github.com/reventless-go/reventless/internal/host"
	"github.com/reventless-go/reventless/internal/ids"
	"github.com/reventless-go/reventless/internal/resolver"
	"github.com/reventless-go/reventless/local/graphiql"
	"github.com/reventless-go/reventless/local/internal/identity"
)

// Options configure a [Server]; zero fields are the defaults.
type Options struct {
	// Identity identifies callers; with nil no caller is authenticated.
	Identity *identity.Verifier
	// DevUsers says that Identity accepts callers without credentials. The server then
	// refuses requests that are not addressed to localhost.
	DevUsers bool
	// Origins are the web origins, in addition to the server's own, whose pages may call
	// the server, such as "https://shop.example".
	Origins []string
	// Examples are shown on the start page.
	Examples []Example
	// Limits bound requests.
	Limits Limits
	// Logger is the logger; nil is slog.Default.
	Logger *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Limits bound requests. 0 selects the default.
type Limits struct {
	// BodyBytes bounds a request's body and a WebSocket message; the default is 1 MiB.
	BodyBytes int64
	// Tokens bounds the lexical tokens of a document; the default is 4,000.
	Tokens int
	// Depth bounds the nesting of fields; the default is 15.
	Depth int
	// Aliases bounds the number of aliases; the default is 50.
	Aliases int
	// Complexity bounds the number of fields in a response; the default is 5,000.
	Complexity int
	// DefaultPage is the page size of a query without one, Page the maximum page size;
	// the defaults are 20 and 100.
	DefaultPage, Page int
	// Subscriptions bounds the subscriptions of one connection, and separately the
	// queries and mutations that run at a time on a WebSocket; the default is 100.
	Subscriptions int
	// Timeout bounds a query or mutation; the default is 30 seconds.
	Timeout time.Duration
	// Wait bounds waitFor; the default is 5 seconds.
	Wait time.Duration
	// Requests bounds the requests and open subscriptions of all callers together, where
	// a WebSocket counts as one; the default is 4,000. Anonymous callers may use half.
	Requests int
	// Memory bounds the bytes of the requests that are in progress; the default is 64
	// times BodyBytes. Anonymous callers may use half.
	Memory int64
}

func (l Limits) withDefaults() Limits {
	set := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	set(&l.Tokens, 4000)
	set(&l.Depth, 15)
	set(&l.Aliases, 50)
	set(&l.Complexity, 5000)
	set(&l.DefaultPage, 20)
	set(&l.Page, 100)
	set(&l.Subscriptions, 100)
	set(&l.Requests, 4000)
	if l.BodyBytes <= 0 {
		l.BodyBytes = 1 << 20
	}
	if l.Memory <= 0 {
		l.Memory = 64 * l.BodyBytes
	}
	if l.Timeout <= 0 {
		l.Timeout = 30 * time.Second
	}
	if l.Wait <= 0 {
		l.Wait = 5 * time.Second
	}
	return l
}

// Server is the API of one App. It is safe for concurrent use.
type Server struct {
	app     *reventless.App
	host    *host.Host
	opts    Options
	log     *slog.Logger
	graphql http.Handler
	mux     *http.ServeMux

	capacity capacity

	closing   context.Context // ends the subscriptions
	close     context.CancelFunc
	streams   sync.WaitGroup
	mu        sync.Mutex // guards closed, and orders streams.Add before streams.Wait
	closed    bool
	pageBytes []byte
}

// New returns the server of the App that h runs.
func New(app *reventless.App, h *host.Host, opts Options) (*Server, error) {
	opts.Limits = opts.Limits.withDefaults()
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	for _, o := range opts.Origins {
		if err := checkOrigin(o); err != nil {
			return nil, err
		}
	}
	s := &Server{app: app, host: h, opts: opts, log: opts.Logger}
	s.capacity.requests.limit, s.capacity.bytes.limit = int64(opts.Limits.Requests), opts.Limits.Memory
	s.closing, s.close = context.WithCancel(context.Background())
	run := resolver.New(h, resolver.Options{DefaultPage: opts.Limits.DefaultPage, MaxPage: opts.Limits.Page, MaxWait: opts.Limits.Wait})
	exec, err := newExecutor(app.API(), run)
	if err != nil {
		return nil, err
	}
	exec.timeout, exec.now, exec.report, exec.observe = opts.Limits.Timeout, opts.Now, s.report, s.observe
	s.graphql = s.handler(exec)
	if s.pageBytes, err = s.page(); err != nil {
		return nil, fmt.Errorf("start page: %w", err)
	}
	sdl := []byte(app.API().SDL())
	s.mux = http.NewServeMux()
	s.mux.Handle("/graphql", http.HandlerFunc(s.serveGraphQL))
	s.mux.Handle(graphiql.Prefix, graphiql.Handler())
	s.mux.HandleFunc("GET /sdl", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write(sdl)
	})
	s.mux.HandleFunc("GET /healthz", s.serveHealth)
	s.mux.HandleFunc("GET /{$}", s.servePage)
	return s, nil
}

// checkOrigin returns an error if a browser never sends origin in this form. The server
// would silently never match it.
func checkOrigin(origin string) error {
	u, err := url.Parse(origin)
	if err != nil || u.Scheme == "" || u.Host == "" || strings.Contains(u.Host, "*") || origin != u.Scheme+"://"+strings.ToLower(u.Host) {
		return fmt.Errorf("the origin %q is invalid: want a scheme and a host in lower case, without a path or wildcards, such as https://shop.example or http://localhost:5173", origin)
	}
	return nil
}

func (s *Server) handler(exec *executor) http.Handler {
	limits := s.opts.Limits
	patterns := make([]string, len(s.opts.Origins))
	for i, o := range s.opts.Origins {
		patterns[i] = strings.ReplaceAll(o, "[", `\[`) // an IPv6 address
	}
	g := handler.New(exec)
	g.AddTransport(transport.Websocket{
		Implementation:   countedSockets{transport.CoderWebsocketImplementation{AcceptOptions: websocket.AcceptOptions{OriginPatterns: patterns}}},
		InitFunc:         s.initWebSocket,
		InitTimeout:      10 * time.Second,
		PingPongInterval: 25 * time.Second,
		MissingPongOk:    false,
		PayloadReadLimit: &limits.BodyBytes,
	})
	g.AddTransport(sse{transport.SSE{KeepAlivePingInterval: 25 * time.Second}})
	g.AddTransport(post{})
	g.AddTransport(transport.GET{})
	g.SetQueryCache(documents{lru.New[*ast.QueryDocument](250)})
	g.SetParserTokenLimit(limits.Tokens)
	g.Use(bounds{maxDepth: limits.Depth, maxAliases: limits.Aliases, maxComplexity: limits.Complexity, defaultPage: limits.DefaultPage})
	g.SetErrorPresenter(s.present)
	g.AroundResponses(func(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
		r := next(ctx)
		if r != nil && r.Data == nil && len(r.Errors) > maxErrors {
			r.Errors = r.Errors[:maxErrors]
		}
		return r
	})
	g.SetRecoverFunc(func(ctx context.Context, p any) error {
		return exec.present(ctx, nil, panicked(p))
	})
	return g
}

// sse serves requests that prefer events to JSON. Some clients accept events with every
// request but do not prefer them.
type sse struct{ transport.SSE }

// Supports implements [graphql.Transport].
func (t sse) Supports(r *http.Request) bool {
	return requestOf(r.Context()).streaming && t.SSE.Supports(r)
}

// documents caches parsed and validated documents. It caches only small ones, because a
// parsed document needs up to a hundred times the memory of its text.
type documents struct {
	graphql.Cache[*ast.QueryDocument]
}

// Add implements [graphql.Cache].
func (d documents) Add(ctx context.Context, text string, doc *ast.QueryDocument) {
	if len(text) <= 4<<10 {
		d.Cache.Add(ctx, text, doc)
	}
}

// maxErrors bounds the reported errors of one document, which can have one for each pair
// of fields.
const maxErrors = 20

// maxMessage bounds the messages of gqlgen's errors, which may quote the request.
const maxMessage = 300

// present adds a code to errors of gqlgen itself, which are about the request.
func (s *Server) present(ctx context.Context, err error) *gqlerror.Error {
	out := graphql.DefaultErrorPresenter(ctx, err)
	if out.Extensions == nil {
		out.Extensions = map[string]any{}
	}
	if _, ok := out.Extensions["code"]; !ok {
		out.Extensions["code"] = string(resolver.BadInput)
	}
	if len(out.Message) > maxMessage {
		out.Message = strings.ToValidUTF8(out.Message[:maxMessage], "") + "..."
	}
	return out
}

// observe logs an operation at the level DEBUG.
func (s *Server) observe(ctx context.Context, o *api.Operation, user string, took time.Duration, err error) {
	if !s.log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	code := "OK"
	if err != nil {
		code = string(resolver.Classify(err).Code)
	}
	s.log.Debug("api", "operation", o.Name, "user", clip(user), "code", code, "took", took)
}

// report logs an internal error and returns the id of the log line.
func (s *Server) report(_ context.Context, err error) string {
	id := ids.New(s.opts.Now())
	args := []any{"id", id, "error", clip(err.Error())}
	var p panicError
	if errors.As(err, &p) {
		args = append(args, "stack", clip(string(debug.Stack())))
	}
	s.log.Error("api", args...)
	return id
}

func clip(text string) string {
	if len(text) > 2000 {
		return strings.ToValidUTF8(text[:2000], "") + "..."
	}
	return text
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.opts.DevUsers && !identity.LocalHost(r) {
		// Otherwise a foreign page could call the server by DNS rebinding.
		refuse(w, http.StatusMisdirectedRequest, resolver.Forbidden, "with dev users the server accepts only requests to localhost")
		return
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.Body != nil && r.Body != http.NoBody {
		// net/http waits even for a body that is not read, before the next request of the
		// connection.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.opts.Limits.Timeout)) //nolint:forbidigo // a connection's deadline is in real time, whatever the server's clock says
	}
	if r.URL.Path != "/graphql" {
		// These responses are small. Without a deadline a caller that does not read them
		// would delay Close.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(min(s.opts.Limits.Timeout, maxWriteTimeout))) //nolint:forbidigo // a connection's deadline is in real time
	}
	if origin := r.Header.Get("Origin"); origin != "" && slices.Contains(s.opts.Origins, origin) {
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", origin)
		h.Add("Vary", "Origin")
		if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
			h.Set("Access-Control-Allow-Methods", "GET, POST")
			h.Set("Access-Control-Allow-Headers", "Accept, Authorization, Content-Type, Idempotency-Key, Traceparent, X-User")
			h.Set("Access-Control-Max-Age", "600")
			w.WriteHeader(http.StatusNoContent)
			return
		}
	}
	s.mux.ServeHTTP(w, r)
}

// refuse refuses a request before GraphQL runs, with a response in GraphQL's form.
func refuse(w http.ResponseWriter, status int, code resolver.Code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(graphql.Response{Errors: gqlerror.List{{Message: message, Extensions: map[string]any{"code": string(code)}}}})
}

var traceParent = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)

func (s *Server) serveGraphQL(w http.ResponseWriter, r *http.Request) {
	// Responses, even to GET, depend on the caller and change at any time.
	w.Header().Set("Cache-Control", "no-store")
	q := &request{
		subscriptions: new(atomic.Int64), running: new(atomic.Int64), limit: int64(s.opts.Limits.Subscriptions), now: s.opts.Now,
		ip: r.RemoteAddr, traceParent: r.Header.Get("Traceparent"), commandID: r.Header.Get("Idempotency-Key"),
	}
	if ip, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		q.ip = ip
	}
	if !traceParent.MatchString(q.traceParent) {
		q.traceParent = ""
	}
	socket := hasToken(r.Header, "Upgrade", "websocket")
	if !socket {
		r.Header.Del("Upgrade") // other upgrades, such as to HTTP/2, are optional
	}
	q.get = r.Method == http.MethodGet
	q.streaming = socket || !q.get && wantsEvents(r.Header)
	switch {
	case socket && !s.readUpgrade(w, r), !socket && q.get && !s.readQuery(w, r):
		return
	case r.Method != http.MethodGet && r.Method != http.MethodPost:
		w.Header().Set("Allow", "GET, POST")
		refuse(w, http.StatusMethodNotAllowed, resolver.BadInput, "GraphQL supports GET and POST")
		return
	case socket:
		q.commandID = "" // it would apply to all later mutations of the connection
		q.get = false
	case q.commandID != "":
		if err := driver.CheckID("command", q.commandID); err != nil {
			refuse(w, http.StatusBadRequest, resolver.BadInput, "the header Idempotency-Key: "+err.Error())
			return
		}
	}
	ctx := r.Context()
	of := quarter
	if socket {
		// connection_init identifies the caller.
		ctx = context.WithValue(ctx, upgradeKey{}, r)
	} else {
		caller, err := s.identify(r)
		if err != nil {
			s.refuseIdentity(w, err)
			return
		}
		q.caller = caller
		of = s.shareOf(q)
	}
	if q.usage = s.capacity.begin(of); q.usage == nil {
		refuseBusy(w)
		return
	}
	defer q.usage.end()
	if !socket && !s.readBody(w, r, q) {
		return
	}
	if q.streaming {
		if !s.beginStream() {
			refuse(w, http.StatusServiceUnavailable, resolver.Unavailable, "the server is stopping")
			return
		}
		defer s.streams.Done()
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.closing, cancel)() //nolint:contextcheck // closing is the server's context
	}
	response := &timedResponse{ResponseWriter: w, timeout: min(s.opts.Limits.Timeout, maxWriteTimeout), usage: q.usage}
	defer response.end()
	s.graphql.ServeHTTP(response, r.WithContext(withRequest(ctx, q)))
}

func (s *Server) beginStream() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.streams.Add(1)
	return true
}

func (s *Server) identify(r *http.Request) (authz.Caller, error) {
	if s.opts.Identity == nil {
		return authz.Caller{}, nil
	}
	return s.opts.Identity.Request(r)
}

func (s *Server) refuseIdentity(w http.ResponseWriter, err error) {
	if errors.Is(err, driver.ErrUnavailable) {
		s.log.Warn("api: cannot check a token", "error", clip(err.Error()))
		refuse(w, http.StatusServiceUnavailable, resolver.Unavailable, "the token cannot be checked now; try again later")
		return
	}
	w.Header().Set("WWW-Authenticate", "Bearer")
	refuse(w, http.StatusUnauthorized, resolver.Unauthenticated, clip(err.Error()))
}

// readUpgrade checks a request to open a WebSocket before gqlgen does. gqlgen would write
// a line to the process log for each request that it does not accept.
func (s *Server) readUpgrade(w http.ResponseWriter, r *http.Request) bool {
	const protocol = "graphql-transport-ws"
	keys := r.Header.Values("Sec-Websocket-Key")
	switch {
	case r.Header.Get("Sec-Websocket-Version") != "13":
		w.Header().Set("Sec-Websocket-Version", "13")
		refuse(w, http.StatusUpgradeRequired, resolver.BadInput, "the server supports only version 13 of WebSockets")
		return false
	case r.Method != http.MethodGet || !r.ProtoAtLeast(1, 1) || !hasToken(r.Header, "Connection", "Upgrade") || len(keys) != 1 || !isNonce(keys[0]):
		refuse(w, http.StatusBadRequest, resolver.BadInput, "the request is not a WebSocket handshake as defined by RFC 6455")
		return false
	}
	if origin := r.Header.Get("Origin"); origin != "" && !slices.Contains(s.opts.Origins, origin) {
		if u, err := url.Parse(origin); err != nil || !strings.EqualFold(u.Host, r.Host) {
			refuse(w, http.StatusForbidden, resolver.Forbidden, "pages of this origin may not open a WebSocket here")
			return false
		}
	}
	if !hasToken(r.Header, "Sec-Websocket-Protocol", protocol) {
		refuse(w, http.StatusBadRequest, resolver.BadInput, "the server supports only the WebSocket protocol "+protocol)
		return false
	}
	r.Header.Set("Sec-Websocket-Protocol", protocol) // gqlgen would prefer graphql-ws, its predecessor
	return true
}

// isNonce reports whether a WebSocket key has the required 16 bytes.
func isNonce(key string) bool {
	b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(key))
	return err == nil && len(b) == 16
}

// readQuery refuses URLs that gqlgen would refuse without an error code.
func (s *Server) readQuery(w http.ResponseWriter, r *http.Request) bool {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		refuse(w, http.StatusBadRequest, resolver.BadInput, "the query of the URL could not be read")
		return false
	}
	for _, name := range []string{"variables", "extensions"} {
		var object map[string]any
		if text := values.Get(name); text != "" && json.Unmarshal([]byte(text), &object) != nil {
			refuse(w, http.StatusBadRequest, resolver.BadInput, "the "+name+" are not a JSON object")
			return false
		}
	}
	return true
}

// readBody reads and decodes the whole body within its bounds. Later readers then never
// wait for the caller, and gqlgen does not log bodies that it cannot read.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request, q *request) bool {
	if r.Method != http.MethodPost {
		return true
	}
	if t := r.Header.Get("Content-Type"); t != typeJSON && !isJSON(t) {
		refuse(w, http.StatusUnsupportedMediaType, resolver.BadInput, "the content type must be application/json")
		return false
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(s.opts.Limits.Timeout)) //nolint:forbidigo // a connection's deadline is in real time, whatever the server's clock says
	body := bodies.Get().(*bytes.Buffer)
	defer freeBody(body)
	_, err := body.ReadFrom(countedBody{http.MaxBytesReader(w, r.Body, s.opts.Limits.BodyBytes), q.usage})
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		refuse(w, http.StatusRequestEntityTooLarge, BodySize, fmt.Sprintf("the body is over the limit of %d bytes", tooLarge.Limit))
		return false
	case errors.Is(err, errBusy):
		refuseBusy(w)
		return false
	case err != nil:
		refuse(w, http.StatusBadRequest, resolver.BadInput, "the body could not be read")
		return false
	}
	params, ok := decodeParams(body.Bytes())
	if !ok {
		refuse(w, http.StatusBadRequest, resolver.BadInput, "the body is not a JSON object with query, variables and operationName")
		return false
	}
	if !q.usage.grow(sizeOf(params)) {
		refuseBusy(w)
		return false
	}
	if q.params = params; q.streaming { // the transport for events reads the body itself
		r.Body = io.NopCloser(bytes.NewReader(bytes.Clone(body.Bytes())))
	}
	return true
}

type upgradeKey struct{}

// initWebSocket identifies the caller of a WebSocket.
func (s *Server) initWebSocket(ctx context.Context, payload transport.InitPayload) (context.Context, *transport.InitPayload, error) {
	q := *requestOf(ctx)
	if s.opts.Identity != nil {
		upgrade, _ := ctx.Value(upgradeKey{}).(*http.Request)
		caller, err := s.opts.Identity.Payload(payload, upgrade)
		if err != nil {
			if errors.Is(err, driver.ErrUnavailable) {
				return transport.WithWebsocketCloseCode(transport.AppendCloseReason(ctx, "Try again later"), 1013), nil, errors.New("the token cannot be checked now")
			}
			return transport.WithWebsocketCloseCode(transport.AppendCloseReason(ctx, "Forbidden"), 4403), nil, err
		}
		q.caller = caller
	}
	if !q.usage.move(s.shareOf(&q)) {
		return transport.WithWebsocketCloseCode(transport.AppendCloseReason(ctx, "Try again later"), 1013), nil, errBusy
	}
	return withRequest(ctx, &q), nil, nil
}

func (s *Server) serveHealth(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	status, text := http.StatusOK, "ok"
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		status, text = http.StatusServiceUnavailable, "stopping"
	} else if _, err := s.host.DeadLetters().List(ctx, "", "", 1); err != nil {
		s.log.Error("api: the store is unavailable", "error", clip(err.Error()))
		status, text = http.StatusServiceUnavailable, "the store is unavailable"
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"status": text, "app": s.app.Name()})
}

// Close ends the subscriptions and waits until they have ended or ctx ends. It does not
// wait for queries and mutations: the [http.Server] does.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.close()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.streams.Wait()
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("subscriptions are still open: %w", ctx.Err())
	}
}
