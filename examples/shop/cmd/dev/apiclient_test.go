package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
	return s.start("run", "--dev-users", "--addr", "127.0.0.1:0").serving()
}

// serving waits until the program serves.
func (p *process) serving() *serving {
	p.t.Helper()
	for {
		if l := strings.TrimSpace(p.line()); strings.HasPrefix(l, "http://") {
			return &serving{p, l}
		}
	}
}

// The callers; nobody is a request without a header for dev users.
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

// code returns the code of the first error, or empty.
func (r response) code() string {
	if len(r.Errors) == 0 {
		return ""
	}
	return r.Errors[0].Extensions.Code
}

// request returns a POST to the API.
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

// waitTimeout is the code of a query whose waitFor timed out. The server's bound of five
// seconds is too short for a busy machine, so the tests repeat such a query.
const waitTimeout = "WAIT_TIMEOUT"

// post runs a query or mutation.
func (s *serving) post(who, query string, variables map[string]any) response {
	s.t.Helper()
	r := s.postOnce(who, query, variables)
	for r.code() == waitTimeout {
		r = s.postOnce(who, query, variables)
	}
	return r
}

func (s *serving) postOnce(who, query string, variables map[string]any) (r response) {
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

// runClient starts one of the JavaScript clients. It ends at the latest when its
// standard input is closed.
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
	return startProcess(t, "node", filepath.Join(clientsDir, script), string(text))
}

// command sends a JSON object to a client.
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

// urqlResult is the result that urql returns for a response.
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

// do is try for an operation that must succeed; it decodes the data into to.
func (u urql) do(to any, query string, variables map[string]any) {
	u.t.Helper()
	r := u.try(query, variables)
	for slices.Contains(r.Codes, waitTimeout) {
		r = u.try(query, variables)
	}
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

// accepted is send for a command that must be accepted.
func (u urql) accepted(call string) commandResult {
	u.t.Helper()
	r := u.send(call)
	if r.Typename != "CommandAccepted" || r.Position == "" || r.CommandID == "" {
		u.t.Fatalf("%s: got %+v, want CommandAccepted with its position", call, r)
	}
	return r
}

// watcher is a client that subscribes.
type watcher struct {
	*process
	events chan watched // closed when the client has ended
}

// watched is an event of a subscription.
type watched struct {
	Event  string
	ID     *int // the index of the subscription; nil for the connection
	Value  response
	Errors []graphQLError
}

// change is the value of a subscription to changes of products, under the alias
// "change".
type change struct {
	Kind     string
	ID       string
	Revision float64
	Row      struct {
		ID, Name string
		Price    float64
	}
}

func (w watched) change(t *testing.T) change {
	t.Helper()
	if w.Event != "next" || len(w.Value.Errors) > 0 {
		t.Fatalf("got %+v, want a change", w)
	}
	return decode[struct{ Change change }](t, w.Value.Data).Change
}

// subscribeThrough starts ws.mjs or sse.mjs with subscriptions of one caller.
func (s *serving) subscribeThrough(script, who string, queries ...string) *watcher {
	s.t.Helper()
	subscriptions := make([]map[string]any, 0, len(queries))
	for _, q := range queries {
		subscriptions = append(subscriptions, map[string]any{"query": q})
	}
	input := map[string]any{"url": s.url + "graphql", "subscriptions": subscriptions, "connectionParams": headers(who)}
	if script == "sse.mjs" {
		input["headers"] = headers(who)
	}
	w := &watcher{runClient(s.t, script, input), make(chan watched, 1000)}
	go func() {
		defer close(w.events)
		for w.out.Scan() {
			var e watched
			if err := json.Unmarshal(w.out.Bytes(), &e); err != nil {
				e.Event = fmt.Sprintf("%v in %.300s", err, w.out.Bytes())
			}
			w.events <- e
		}
	}()
	return w
}

// next returns the next event for which skip is false.
func (w *watcher) next(skip func(watched) bool) watched {
	w.t.Helper()
	for e := range w.events {
		if !skip(e) {
			return e
		}
	}
	_ = w.cmd.Wait()
	w.t.Fatalf("the client ended: %v\n%s", w.cmd.ProcessState, &w.err)
	return watched{}
}

// live repeats cause until each of the subscriptions has received a change. Nothing
// reports when a subscription is open, and it receives no earlier changes.
func (w *watcher) live(subscriptions int, cause func(n int)) {
	w.t.Helper()
	open := map[int]bool{}
	for n := 0; len(open) < subscriptions; n++ {
		cause(n)
		for wait := time.After(50 * time.Millisecond); len(open) < subscriptions; {
			select {
			case e, more := <-w.events:
				if !more {
					w.t.Fatalf("the client ended; the subscriptions %v received changes\n%s", open, &w.err)
				}
				if e.Event != "connected" {
					e.change(w.t)
					open[*e.ID] = true
				}
				continue
			case <-wait:
			}
			break
		}
	}
}
