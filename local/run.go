package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/reventless-go/reventless/local/internal/identity"
)

// The names of the environment variables; a flag wins over its variable.
const (
	envAddr       = "REVENTLESS_ADDR"
	envData       = "REVENTLESS_DATA"
	envLogLevel   = "REVENTLESS_LOG_LEVEL"
	envSecret     = "REVENTLESS_JWT_SECRET" //nolint:gosec // the name of a variable
	envIssuer     = "REVENTLESS_OIDC_ISSUER"
	envAudience   = "REVENTLESS_AUDIENCE"
	envRolesClaim = "REVENTLESS_ROLES_CLAIM"
	envOrigins    = "REVENTLESS_ORIGINS"
)

// run has the flags of the command run.
type run struct {
	seed    string
	stdin   bool
	addr    string
	api     APIOptions
	secret  string // the file of the secret
	origins []string
}

func (p *program) runCommand() *cobra.Command {
	var r run
	c := &cobra.Command{
		Use:   "run",
		Short: "Run and serve the API until stopped",
		Long: `Run and serve the API until stopped.

Callers authenticate by tokens: signed with HS256 and the secret in ` + envSecret + `
(or --jwt-secret-file), or by the OpenID Connect provider of --oidc-issuer. For
development, --dev-users trusts the header X-User instead.

Each flag has an environment variable: ` + strings.Join([]string{envAddr, envData, envLogLevel, envIssuer, envAudience, envRolesClaim, envOrigins}, ", ") + `.
--dev-users has none.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return p.run(c, &r) },
	}
	f := c.Flags()
	f.StringVar(&r.addr, "addr", env(envAddr, "127.0.0.1:8080"), "where to serve the API, HOST:PORT; port 0 is a free one")
	f.BoolVar(&r.api.DevUsers, "dev-users", false, "trust the header X-User: user or admin; on loopback addresses only")
	f.StringVar(&r.secret, "jwt-secret-file", "", "a file with the secret of HS256 tokens")
	f.StringVar(&r.api.OIDCIssuer, "oidc-issuer", env(envIssuer, ""), "the URL of an OpenID Connect provider")
	f.StringVar(&r.api.Audience, "audience", env(envAudience, ""), "the audience that a token must name")
	f.StringVar(&r.api.RolesClaim, "roles-claim", env(envRolesClaim, "roles"), "the claim with a caller's roles")
	f.StringSliceVar(&r.origins, "origin", list(os.Getenv(envOrigins)), "a web origin whose pages may call the API")
	f.BoolVar(&r.stdin, "stdin", false, "handle commands from standard input, JSON objects with aggregate, command, id, data and commandId, one a line, and print each outcome; stop at its end; serves the API only if --addr is given")
	if p.opts.Seed != nil {
		f.StringVar(&r.seed, "seed", "", "fill the application from this file first")
	}
	return c
}

func env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

func list(text string) []string {
	return strings.FieldsFunc(text, func(c rune) bool { return c == ',' || c == ' ' })
}

func (p *program) run(c *cobra.Command, r *run) error {
	serving := !r.stdin || c.Flags().Changed("addr")
	var listener net.Listener
	if serving {
		var err error
		if listener, err = r.listen(c.Context()); err != nil {
			return err
		}
		defer listener.Close() //nolint:errcheck // the server has closed it
		if err := r.readSecret(); err != nil {
			return err
		}
		r.api.Origins, r.api.Examples = r.origins, p.opts.Examples
	}
	return p.with(c, true, func(h *Host) error {
		out := c.OutOrStdout()
		var api *API
		if serving {
			// Before the seed, which takes a while, so that an invalid option fails
			// immediately.
			var err error
			if api, err = h.API(c.Context(), &r.api); err != nil {
				return err
			}
		}
		if r.seed != "" {
			if err := p.seed(c.Context(), h, r.seed, out); err != nil {
				return err
			}
			if err := h.summary(c.Context(), out); err != nil {
				return err
			}
		}
		if !serving {
			return h.serveLines(c.Context(), c.InOrStdin(), out)
		}
		p.announce(out, listener.Addr(), r)
		if !r.stdin {
			return serve(c.Context(), listener, api, p.opts.Logger)
		}
		ctx, cancel := context.WithCancel(c.Context())
		served := make(chan error, 1)
		go func() { served <- serve(ctx, listener, api, p.opts.Logger) }()
		err := h.serveLines(c.Context(), c.InOrStdin(), out)
		cancel()
		return errors.Join(err, <-served)
	})
}

func (p *program) announce(out io.Writer, at net.Addr, r *run) {
	if r.stdin {
		return // standard output is for outcomes
	}
	fmt.Fprintf(out, "\n%s is running on %s. Open\n\n    http://%s/\n\n", p.app.Name(), p.data, at)
	if !r.api.DevUsers && len(r.api.JWTSecret) == 0 && r.api.OIDCIssuer == "" {
		fmt.Fprintln(out, "Callers cannot authenticate: only requests that are open to anyone are allowed. See --dev-users, --oidc-issuer and "+envSecret+".")
	}
	fmt.Fprintln(out, "Press Ctrl-C to stop.")
}

// listen opens the address before anything else.
func (r *run) listen(ctx context.Context) (net.Listener, error) {
	if r.api.DevUsers {
		if err := identity.Loopback(r.addr); err != nil {
			return nil, fmt.Errorf("--dev-users: %w", err)
		}
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", r.addr)
	if err != nil {
		return nil, fmt.Errorf("the API cannot be served (see --addr): %w", err)
	}
	return l, nil
}

func (r *run) readSecret() error {
	secret := os.Getenv(envSecret)
	if r.secret != "" {
		b, err := os.ReadFile(r.secret)
		if err != nil {
			return fmt.Errorf("--jwt-secret-file: %w", err)
		}
		if secret = strings.TrimRight(string(b), "\r\n"); secret == "" {
			return fmt.Errorf("--jwt-secret-file: %s is empty", r.secret)
		}
	}
	r.api.JWTSecret = []byte(secret)
	return nil
}

// logger returns a logger for lines of a level and above.
func logger(out io.Writer, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %q: want debug, info, warn or error", level)
	}
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: l})), nil
}

func (p *program) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the GraphQL schema of the API",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := io.WriteString(c.OutOrStdout(), p.app.SDL())
			return err
		},
	}
}
