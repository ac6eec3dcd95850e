package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/reventless-go/reventless/internal/testenv"
)

// serving is the program while it serves its API.
type serving struct {
	*process
	url string // of the first page, with the slash at its end
}

// serve starts the program and waits until it serves.
func (s shopAt) serve() *serving {
	s.t.Helper()
	p := s.start("run", "--dev-users", "--addr", "127.0.0.1:0")
	for {
		if l := strings.TrimSpace(p.line()); strings.HasPrefix(l, "http://") {
			return &serving{p, l}
		}
	}
}

// terminate tells the program to end and does not wait for it.
func (s *serving) terminate() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
}

// stop ends the program, which has to end well and have nothing to complain of.
func (s *serving) stop() {
	s.t.Helper()
	s.terminate()
	s.end()
	if s.err.Len() > 0 {
		s.t.Errorf("the program logged:\n%.2000s", &s.err)
	}
}

// The callers that dev users can be; nobody sends no header.
const (
	nobody = ""
	user   = "user"
	admin  = "admin"
)

// headers are those of a caller.
func headers(who string) map[string]string {
	if who == nobody {
		return map[string]string{}
	}
	return map[string]string{"X-User": who}
}

// graphQLError is an error of a GraphQL response.
type graphQLError struct {
	Message    string `json:"message"`
	Path       []any  `json:"path"`
	Extensions struct {
		Code string `json:"code"`
	} `json:"extensions"`
}

// response is a GraphQL response.
type response struct {
	Data   json.RawMessage `json:"data"`
	Errors []graphQLError  `json:"errors"`
}

// code is the code of the first error; empty when there is none.
func (r response) code() string {
	if len(r.Errors) == 0 {
		return ""
	}
	return r.Errors[0].Extensions.Code
}

// request is a POST to the API.
func (s *serving) request(ctx context.Context, who, query string, variables map[string]any) *http.Request {
	s.t.Helper()
	body, err := json.Marshal(map[string]any{"query": query, "variables": variables})
	if err != nil {
		s.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"graphql", bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for name, value := range headers(who) {
		r.Header.Set(name, value)
	}
	return r
}

// post runs a query or mutation.
func (s *serving) post(who, query string, variables map[string]any) (r response) {
	s.t.Helper()
	got, err := http.DefaultClient.Do(s.request(s.t.Context(), who, query, variables))
	if err != nil {
		s.t.Fatalf("%s: %v", query, err)
	}
	defer got.Body.Close()
	if err := json.NewDecoder(got.Body).Decode(&r); err != nil {
		s.t.Fatalf("%s: status %d: %v", query, got.StatusCode, err)
	}
	return r
}

// clientsDir is where "make clients" puts the JavaScript clients.
const clientsDir = "../../../../.cache/clients"

// runClient starts one of the JavaScript clients, which ends with its standard
// input at the latest.
func runClient(t *testing.T, script string, input any) *process {
	t.Helper()
	testenv.Needs(t, "node")
	const missing = "the JavaScript clients are not there, or not those of this version: make clients installs them"
	for _, name := range []string{script, "common.mjs"} {
		want, err := os.ReadFile(filepath.Join("clients", name))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(clientsDir, name)); err != nil || !bytes.Equal(got, want) {
			t.Fatal(missing)
		}
	}
	if _, err := os.Stat(filepath.Join(clientsDir, "node_modules")); err != nil {
		t.Fatal(missing)
	}
	text, err := json.Marshal(input)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.Command("node", filepath.Join(clientsDir, script), string(text))}
	p.cmd.Stderr = &p.err
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewScanner(out)
	p.out.Buffer(nil, 4<<20)
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("Node, which this test needs: %v", err)
	}
	hung := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	t.Cleanup(func() {
		hung.Stop()
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
	})
	return p
}

// command hands a JSON object to a client.
func (p *process) command(v any) {
	p.t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		p.t.Fatal(err)
	}
	p.ask(string(text))
}

// urql is a client that runs queries and mutations.
type urql struct{ *process }

// urqlResult is what urql made of a response.
type urqlResult struct {
	Data  json.RawMessage `json:"data"`
	Error *string         `json:"error"`
	Codes []string        `json:"codes"`
}

// urql starts a client of one caller; get makes it send queries by GET.
func (s *serving) urql(who string, get bool) urql {
	s.t.Helper()
	return urql{runClient(s.t, "urql.mjs", map[string]any{"url": s.url + "graphql", "headers": headers(who), "get": get})}
}

// try runs an operation.
func (u urql) try(query string, variables map[string]any) urqlResult {
	u.t.Helper()
	if variables == nil {
		variables = map[string]any{}
	}
	u.command(map[string]any{"query": query, "variables": variables})
	return decode[urqlResult](u.t, []byte(u.line()))
}

// do is try for what has to succeed; it decodes the data into to.
func (u urql) do(to any, query string, variables map[string]any) {
	u.t.Helper()
	r := u.try(query, variables)
	if r.Error != nil {
		u.t.Fatalf("%s with %v: %s %v", query, variables, *r.Error, r.Codes)
	}
	if err := json.Unmarshal(r.Data, to); err != nil {
		u.t.Fatalf("%s: %v in %.300s", query, err, r.Data)
	}
}

// commandResult is a CommandResult with all of its members' fields.
type commandResult struct {
	Typename   string  `json:"__typename"`
	CommandID  string  `json:"commandId"`
	EntityID   string  `json:"entityId"`
	SequenceNr float64 `json:"sequenceNr"`
	EventCount int     `json:"eventCount"`
	Position   string  `json:"position"`
	Code       string  `json:"code"`
	Message    string  `json:"message"`
	Detail     *string `json:"detail"`
}

const commandFields = ` {
	__typename
	... on CommandAccepted { commandId entityId sequenceNr eventCount position }
	... on CommandRejected { commandId code message detail }
	... on CommandPending { commandId }
}`

// send sends a mutation with one field, such as catalogProductDiscontinue(id: "1").
func (u urql) send(call string) commandResult {
	u.t.Helper()
	var data struct{ Result commandResult }
	u.do(&data, "mutation { result: "+call+commandFields+" }", nil)
	return data.Result
}

// accepted is send for what has to be accepted.
func (u urql) accepted(call string) commandResult {
	u.t.Helper()
	r := u.send(call)
	if r.Typename != "CommandAccepted" || r.Position == "" || r.CommandID == "" {
		u.t.Fatalf("%s: got %+v, want CommandAccepted with its position", call, r)
	}
	return r
}
