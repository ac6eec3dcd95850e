package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/reventless-go/reventless/local/internal/identity"
	"github.com/reventless-go/reventless/local/internal/server"
)

// APIOptions configure an [API]. nil means the defaults, as does a field that is zero.
type APIOptions struct {
	// DevUsers trusts the header X-User, whose value is user or admin; admin has the
	// role Admin. It is for development only: the API then serves only requests to
	// loopback addresses.
	DevUsers bool
	// JWTSecret is the secret of tokens that are signed with HS256, of at least 32
	// bytes; if it is empty, such tokens are not accepted.
	JWTSecret []byte
	// OIDCIssuer is the URL of an OpenID Connect provider whose tokens are accepted;
	// if it is empty, such tokens are not accepted. Audience is required with an issuer
	// and must be among the audiences of a token.
	OIDCIssuer, Audience string
	// RolesClaim is the claim with the caller's roles; empty means "roles".
	RolesClaim string
	// Origins are further web origins whose pages may call the API, such as
	// "https://shop.example".
	Origins []string
	// Examples are the documents on the start page; nil means examples that are derived
	// from the schema.
	Examples []Example
	// Limits limit what a caller may request.
	Limits Limits
}

// Example is a GraphQL document with a title.
type Example struct{ Title, Query string }

// Limits limit what a caller of an [API] may request. A field that is 0 has its
// default.
type Limits struct {
	// BodyBytes is the maximum size of a request body and of a WebSocket message;
	// the default is 1 MiB.
	BodyBytes int64
	// Tokens is the maximum number of tokens in a document; the default is 4,000.
	Tokens int
	// Depth is the maximum depth of nested fields; the default is 15.
	Depth int
	// Aliases is the maximum number of aliased fields; the default is 50.
	Aliases int
	// Complexity is the maximum number of fields in a response; the default is
	// 5,000.
	Complexity int
	// DefaultPage is the page size of a query that does not give one, and Page the
	// maximum page size; the defaults are 20 and 100.
	DefaultPage, Page int
	// Subscriptions is the maximum number of subscriptions of one connection, and
	// also of queries and mutations that run at the same time on one WebSocket; the
	// default is 100.
	Subscriptions int
	// Timeout is the time limit of a query or mutation; the default is 30 seconds.
	Timeout time.Duration
	// Wait is the maximum time that waitFor waits; the default is 5 seconds.
	Wait time.Duration
	// Requests is the maximum number of requests and open subscriptions of all callers
	// together, where a WebSocket counts as one; the default is 4,000. Anonymous callers
	// may use half of them. The API refuses further requests with the status 503 and the
	// code UNAVAILABLE.
	Requests int
	// Memory is the maximum size, in bytes, of all requests that are in progress: of
	// their bodies while they are received, of their decoded variables, and of responses
	// of 64 KiB or more while they are sent by HTTP. The default is 64 times BodyBytes.
	// Anonymous callers may use half of it. Beyond it, the API refuses a request as it
	// does beyond Requests, and closes a WebSocket whose message exceeds it. The first
	// 4 KiB of each request and WebSocket do not count.
	Memory int64
}

// API is an HTTP handler that serves the GraphQL API of an App: /graphql (POST, GET,
// WebSocket, server-sent events), /sdl, /healthz, /graphiql/ and a start page.
type API struct {
	server *server.Server
	host   *Host
}

// API returns the API of the App. The error wraps driver.ErrUnavailable when the OpenID
// Connect provider is unavailable.
func (h *Host) API(ctx context.Context, opts *APIOptions) (*API, error) {
	var o APIOptions
	if opts != nil {
		o = *opts
	}
	who, err := identity.New(ctx, identity.Options{
		DevUsers: o.DevUsers, Secret: o.JWTSecret, Issuer: o.OIDCIssuer, Audience: o.Audience, RolesClaim: o.RolesClaim, Now: h.opts.Now,
	})
	if err != nil {
		return nil, err
	}
	examples := make([]server.Example, len(o.Examples))
	for i, e := range o.Examples {
		examples[i] = server.Example(e)
	}
	s, err := server.New(h.app, h.host, server.Options{
		Identity: who, DevUsers: o.DevUsers, Origins: o.Origins, Examples: examples, Limits: server.Limits(o.Limits), Logger: h.opts.Logger, Now: h.opts.Now,
	})
	if err != nil {
		return nil, err
	}
	return &API{s, h}, nil
}

// ServeHTTP implements [http.Handler].
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.server.ServeHTTP(w, r) }

// Close ends all subscriptions and refuses new ones. It waits until they have ended or
// ctx is done. Close the API first, then the HTTP server, which waits for other
// requests, and the host last.
func (a *API) Close(ctx context.Context) error { return a.server.Close(ctx) }

// drain is how long requests may take to end when the program is stopped.
const drain = 30 * time.Second

// serve serves api on l until ctx is done, and then waits for requests to end.
func serve(ctx context.Context, l net.Listener, api *API, log *slog.Logger) error {
	requests, stop := api.host.untilFailed(context.WithoutCancel(ctx))
	defer stop()
	s := &http.Server{
		BaseContext: func(net.Listener) context.Context { return requests },
		Handler:     api, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
		ErrorLog:  slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ConnState: newConnections(openFiles()).changed,
	}
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	return errors.Join(api.Close(end), s.Shutdown(end))
}
