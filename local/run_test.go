package local

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
)

type tick struct{}

func (tick) MessageType() string { return "Tick" }

// clocks returns a minimal App with one command.
func clocks() *reventless.App {
	return reventless.New("clocks", plugin.New(plugin.Spec{Name: "Wall", Heartbeat: -1, Components: plugin.Components{
		aggregate.New(aggregate.Spec[int, tick, tick]{
			Name: "Clock", Commands: message.NewSet[tick](tick{}), Events: message.NewSet[tick](tick{}),
			Decide: func(int, tick) ([]tick, error) { return []tick{{}}, nil },
			Evolve: func(n int, _ tick) int { return n + 1 },
		}),
	}}))
}

// running is the command "run" in this process.
type running struct {
	t    *testing.T
	url  string
	stop context.CancelFunc
	done chan error
}

// start runs the program until it serves.
func start(t *testing.T, stdin io.Reader, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	c := newCommand(clocks(), &Options{Logger: slog.New(slog.DiscardHandler)}, nil)
	c.SetArgs(append([]string{"--data", filepath.Join(t.TempDir(), "clocks.db"), "run"}, args...))
	c.SetOut(in)
	c.SetErr(io.Discard)
	c.SetIn(stdin)
	r := &running{t: t, stop: cancel, done: make(chan error, 1)}
	go func() {
		err := c.ExecuteContext(ctx)
		_ = in.CloseWithError(errors.Join(io.EOF, err))
		r.done <- err
	}()
	t.Cleanup(cancel)
	lines := bufio.NewReader(out)
	for r.url == "" {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("the program does not serve: %v", err)
		}
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "http://") {
			r.url = line
		}
	}
	go func() { _, _ = io.Copy(io.Discard, lines) }()
	return r
}

// end stops the program and waits for it.
func (r *running) end() {
	r.t.Helper()
	r.stop()
	if err := <-r.done; err != nil {
		r.t.Error(err)
	}
}

// post sends a document with headers, NAME: VALUE, and returns the answer.
func (r *running) post(query string, headers ...string) string {
	r.t.Helper()
	q, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.url+"graphql", strings.NewReader(`{"query": "`+query+`"}`))
	if err != nil {
		r.t.Fatal(err)
	}
	q.Header.Set("Content-Type", "application/json")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		q.Header.Set(name, value)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(q)
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return response.Header.Get("Access-Control-Allow-Origin") + string(text)
}

// fails runs the program, which must fail, and returns the error.
func fails(t *testing.T, args ...string) error {
	t.Helper()
	c := newCommand(clocks(), nil, nil)
	c.SetArgs(append([]string{"--data", filepath.Join(t.TempDir(), "clocks.db")}, args...))
	c.SetOut(io.Discard)
	c.SetErr(io.Discard)
	err := c.ExecuteContext(t.Context())
	if err == nil {
		t.Fatalf("%v: no error", args)
	}
	return err
}

const tickOnce = `mutation {wallClockTick(id: \"a\") {__typename}}`

const (
	ticked  = `{"data":{"wallClockTick":{"__typename":"CommandAccepted"}}}`
	unknown = `"code":"UNAUTHENTICATED"`
)

func TestRunServesUntilItIsStopped(t *testing.T) {
	t.Parallel()
	r := start(t, nil, "--addr", "127.0.0.1:0", "--dev-users")
	if got := r.post(tickOnce, "X-User: user"); got != ticked {
		t.Errorf("answered %s", got)
	}
	if got := r.post(tickOnce); !strings.Contains(got, unknown) {
		t.Errorf("an unauthenticated caller gets %s", got)
	}
	// The server sends 100 Continue when it handles the request. The mutation is then in
	// flight and must be answered after the stop.
	addr := strings.Trim(strings.TrimPrefix(r.url, "http:"), "/")
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := `{"query": "` + tickOnce + `"}`
	fmt.Fprintf(conn, "POST /graphql HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nX-User: user\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", addr, len(body))
	in := bufio.NewReader(conn)
	if line, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 100") {
		t.Fatalf("got %q, %v, want 100 Continue", line, err)
	}
	_, _ = in.ReadString('\n')
	r.stop()
	for c, err := net.Dial("tcp", addr); err == nil; c, err = net.Dial("tcp", addr) {
		_ = c.Close() // until the listener is closed
	}
	_, _ = io.WriteString(conn, body)
	response, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if text, err := io.ReadAll(response.Body); err != nil || string(text) != ticked {
		t.Errorf("the mutation in flight is answered %s, %v", text, err)
	}
	r.end()
}

func TestRunReadsTheEnvironmentAndFlagsOverrideIt(t *testing.T) {
	secret := strings.Repeat("s", 32)
	bearer := func(secret string) string {
		token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "ann", "exp": time.Now().Add(time.Hour).Unix()}).SignedString([]byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		return "Authorization: Bearer " + token
	}
	t.Setenv(envAddr, "127.0.0.1:0")
	t.Setenv(envSecret, secret)
	t.Setenv(envOrigins, "https://a.example, https://b.example")
	r := start(t, nil)
	if got := r.post(tickOnce, bearer(secret), "Origin: https://b.example"); got != "https://b.example"+ticked {
		t.Errorf("answered %s", got)
	}
	if got := r.post(tickOnce, bearer(strings.Repeat("x", 32)), "Origin: https://c.example"); !strings.Contains(got, unknown) || strings.HasPrefix(got, "http") {
		t.Errorf("a token with a wrong secret gets %s", got)
	}
	r.end()

	t.Setenv(envAddr, "nowhere")
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(strings.Repeat("f", 32)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r = start(t, nil, "--addr", "127.0.0.1:0", "--jwt-secret-file", file, "--origin", "https://c.example")
	if got := r.post(tickOnce, bearer(strings.Repeat("f", 32)), "Origin: https://c.example"); got != "https://c.example"+ticked {
		t.Errorf("answered %s", got)
	}
	if got := r.post(tickOnce, bearer(secret), "Origin: https://a.example"); !strings.Contains(got, unknown) || strings.HasPrefix(got, "http") {
		t.Errorf("a token with the environment's secret gets %s", got)
	}
	r.end()

	t.Setenv(envSecret, "short")
	if err := fails(t, "run", "--addr", "127.0.0.1:0"); strings.Contains(err.Error(), "short\"") {
		t.Errorf("the error contains the secret: %v", err)
	}
	t.Setenv(envSecret, "")
	if err := fails(t, "run", "--addr", "127.0.0.1:0", "--jwt-secret-file", file+".none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if err := os.WriteFile(file, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := fails(t, "run", "--addr", "127.0.0.1:0", "--jwt-secret-file", file); !strings.Contains(err.Error(), file) {
		t.Errorf("an empty file: %v", err)
	}
	_ = fails(t, "run", "--addr", "127.0.0.1:0", "--origin", "shop.example")
	t.Setenv(envIssuer, "http://127.0.0.1:1")
	_ = fails(t, "run", "--addr", "127.0.0.1:0") // no audience
}

func TestRunReportsAnAddressInUse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = fails(t, "run", "--addr", l.Addr().String())
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), l.Addr().String()) || !strings.Contains(err.Error(), "--addr") {
		t.Errorf("got %v", err)
	}
}

func TestRunKeepsDevUsersOnThisMachine(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.168.0.7:0", "shop.example:0"} {
		if err := fails(t, "run", "--dev-users", "--addr", addr); !strings.Contains(err.Error(), "--dev-users") {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

func TestLicencesAreThoseOfTheOptions(t *testing.T) {
	t.Parallel()
	licences := func(opts *Options) (string, error) {
		c := newCommand(clocks(), opts, nil)
		c.SetArgs([]string{"licences"})
		var out strings.Builder
		c.SetOut(&out)
		err := c.ExecuteContext(t.Context())
		return out.String(), err
	}
	if got, err := licences(&Options{Licences: "as is\n"}); err != nil || got != "as is\n" {
		t.Errorf("it prints %q, %v", got, err)
	}
	if _, err := licences(nil); err == nil {
		t.Error("without licences the command licences exists")
	}
}

// pipes is a listener whose connections are pipes, for tests in a bubble.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	close(p.done)
	return nil
}

func (*pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func TestCallerThatDoesNotSendItsHeaderIsCut(t *testing.T) {
	h, err := Open(t.Context(), clocks(), filepath.Join(t.TempDir(), "clocks.db"), &Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	synctest.Test(t, func(t *testing.T) {
		api, err := h.API(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		l := &pipes{make(chan net.Conn), make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- serve(ctx, l, api, slog.New(slog.DiscardHandler)) }()
		for _, text := range []string{"", "GET /sdl HT", "GET /sdl HTTP/1.1\r\nHost: localhost\r\n", "GET /sdl HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 64<<10)} {
			client, server := net.Pipe()
			l.conns <- server
			begun := time.Now()
			go func() { _, _ = io.WriteString(client, text) }()
			_, _ = io.Copy(io.Discard, client)
			if took := time.Since(begun); took > 10*time.Second {
				t.Errorf("%.40q: the connection was closed only after %s", text, took)
			}
			_ = client.Close()
		}
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}
