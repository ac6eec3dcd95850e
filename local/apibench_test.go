package local_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/host"
	"github.com/reventless-go/reventless/local/internal/identity"
	"github.com/reventless-go/reventless/local/internal/load"
	"github.com/reventless-go/reventless/local/internal/server"
	"github.com/reventless-go/reventless/local/sqlite"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/readmodel"
)

// loadVariable makes TestLoad the process that loads a server.
const loadVariable = "REVENTLESS_TEST_LOAD"

// TestLoad is the client process of the benchmarks of the API.
func TestLoad(t *testing.T) {
	if os.Getenv(loadVariable) == "" {
		t.Skip("the benchmarks run it in its own process")
	}
	runtime.GOMAXPROCS(1) // the other processors are for the server
	if err := load.Serve(t.Context(), os.Stdin, os.Stdout); err != nil {
		t.Fatal(err)
	}
}

// loader is that process.
type loader struct {
	b       *testing.B
	orders  *json.Encoder
	reports *json.Decoder
}

func startLoader(b *testing.B) *loader {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestLoad$", "-test.timeout=0")
	cmd.Env = append(os.Environ(), loadVariable+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close()
		_, _ = io.Copy(io.Discard, out)
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
	})
	return &loader{b, json.NewEncoder(in), json.NewDecoder(out)}
}

func (l *loader) do(o load.Order) load.Report {
	l.b.Helper()
	var r load.Report
	if err := errors.Join(l.orders.Encode(o), l.reports.Decode(&r)); err != nil {
		l.b.Fatal(err)
	}
	return r
}

func (l *loader) requests(o load.Requests) load.Report {
	l.b.Helper()
	r := l.do(load.Order{Requests: &o})
	if r.Errors > 0 || r.Requests == 0 {
		l.b.Fatalf("%d of %d requests failed; the first: %s", r.Errors, r.Requests+r.Errors, r.First)
	}
	return r
}

// retailAccount is a small row.
type retailAccount struct {
	Owner   string  `json:"owner"`
	Balance float64 `json:"balance"`
}

var retailAccounts = readmodel.New(readmodel.Spec[retailAccount]{
	Name: "RetailAccounts",
	Projections: readmodel.Projections[retailAccount]{
		readmodel.On(tally, func(e message.Event[cellEvent]) readmodel.Changes[retailAccount] {
			n := e.Data.(added).N
			return readmodel.UpdateOrCreate(e.EntityID, retailAccount{}, func(r *retailAccount) { r.Balance += float64(n) })
		}),
	},
})

const accountRows = 10_000

// bank is an App with 10,000 rows and its API. Its consumers do not run, so the
// benchmarks measure queries and commands without projections.
type bank struct {
	path string
	host *host.Host
	rows driver.QueryDb
	api  http.Handler
	addr string
}

func openBank(b *testing.B) *bank {
	b.Helper()
	k := &bank{path: filepath.Join(b.TempDir(), "app.db")}
	p, err := sqlite.Open(b.Context(), k.path, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := p.Close(); err != nil {
			b.Error(err)
		}
	})
	app := reventless.New("bank", plugin.New(plugin.Spec{
		Name: "Test", Heartbeat: -1, Components: plugin.Components{tally, retailAccounts},
	}))
	if k.host, err = host.Open(b.Context(), app.Assembled(), p, &host.Options{Logger: silent}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := k.host.Close(); err != nil {
			b.Error(err)
		}
	})
	k.rows, _ = k.host.QueryDb("Test.RetailAccounts")
	var writes []driver.RowWrite
	for i := range accountRows {
		writes = append(writes, driver.RowWrite{Row: accountRow(i, float64(i))})
	}
	for part := range slices.Chunk(writes, 500) {
		if err := k.rows.Apply(b.Context(), driver.Step{Writes: part}); err != nil {
			b.Fatal(err)
		}
	}
	who, err := identity.New(b.Context(), identity.Options{DevUsers: true})
	if err != nil {
		b.Fatal(err)
	}
	api, err := server.New(app, k.host, server.Options{Identity: who, DevUsers: true, Logger: silent})
	if err != nil {
		b.Fatal(err)
	}
	k.api, k.addr = api, listen(b, api)
	b.Cleanup(func() {
		if err := api.Close(context.WithoutCancel(b.Context())); err != nil {
			b.Error(err)
		}
	})
	return k
}

func accountRow(i int, balance float64) driver.Row {
	data, err := json.Marshal(retailAccount{"owner-" + strconv.Itoa(i), balance})
	if err != nil {
		panic(err)
	}
	return driver.Row{Key: driver.Key{ID: accountID(i)}, Data: data}
}

func accountID(i int) string { return "account-" + strconv.Itoa(i) }

// listen serves a handler with the settings of the command run.
func listen(b *testing.B, handler http.Handler) (addr string) {
	b.Helper()
	l, err := (&net.ListenConfig{}).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.Serve(l)
	}()
	b.Cleanup(func() {
		_ = s.Close()
		<-ended
	})
	return l.Addr().String()
}

// writeBare writes a stored row, which is JSON.
func writeBare(w http.ResponseWriter, data []byte) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(data)
}

// bareSQL reads a row of the same file through a prepared statement of
// database/sql, as an application without Reventless would.
func bareSQL(b *testing.B, path string) http.Handler {
	b.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?mode=ro&_pragma=cache_size(-16384)")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(4)
	db.SetMaxIdleConns(4)
	var table int64
	if err := db.QueryRowContext(b.Context(), "SELECT tbl FROM rows WHERE id = ?", accountID(0)).Scan(&table); err != nil {
		b.Fatal(err)
	}
	read, err := db.PrepareContext(b.Context(), "SELECT data FROM rows WHERE tbl = ? AND id = ? AND sub = ''")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { read.Close() })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var data []byte
		if err := read.QueryRowContext(r.Context(), table, r.URL.Query().Get("id")).Scan(&data); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		writeBare(w, data)
	})
}

// operation returns a request to /graphql with one variable, id.
func operation(document string) load.Requests {
	text, err := json.Marshal(map[string]any{"query": document, "variables": map[string]string{"id": load.ID}})
	if err != nil {
		panic(err)
	}
	return load.Requests{
		Line: "POST /graphql", Headers: []string{"Content-Type: application/json", "Accept: application/json", "X-User: user"}, Body: string(text),
	}
}

const (
	rowQuery    = "query Account($id: ID!) { testRetailAccount(id: $id) { id owner balance } }"
	addMutation = "mutation Add($id: ID!) { testTallyAdd(id: $id, n: 1) { __typename ... on CommandAccepted { sequenceNr position } ... on CommandRejected { code message } } }"
)

const (
	// rounds is the number of rounds. Each round runs every candidate, so that all of
	// them see the same machine and other programs disturb only some rounds. The
	// benchmarks report the median of the rounds; for ratios, the median of the ratios
	// of each round.
	rounds = 15
	// roundLength is how long one candidate is loaded in a round.
	roundLength = 400 * time.Millisecond
)

// measurements are the reports of some candidates, by candidate and round.
type measurements [][]load.Report

func alternating(candidates ...func() load.Report) measurements {
	all := make(measurements, len(candidates))
	for range 2 { // to warm up
		for _, f := range candidates {
			f()
		}
	}
	for range rounds {
		for i, f := range candidates {
			all[i] = append(all[i], f())
		}
	}
	return all
}

func (m measurements) median(of func(round int) float64) float64 {
	var all []float64
	for i := range rounds {
		all = append(all, of(i))
	}
	slices.Sort(all)
	return all[rounds/2]
}

func (m measurements) rate(candidate int) float64 {
	return m.median(func(i int) float64 { return m[candidate][i].PerSecond() })
}

func (m measurements) ratio(candidate, to int) float64 {
	return m.median(func(i int) float64 { return m[candidate][i].PerSecond() / m[to][i].PerSecond() })
}

func (m measurements) times(b *testing.B, candidate int) {
	b.ReportMetric(m.median(func(i int) float64 { return float64(m[candidate][i].P50.Microseconds()) }), "µs-p50")
	b.ReportMetric(m.median(func(i int) float64 { return float64(m[candidate][i].P99.Microseconds()) }), "µs-p99")
}

// BenchmarkQueryByID is a query of one row by its id, out of 10,000, against a bare
// handler that reads the same row of the same file and writes JSON. The target is
// half its rate.
func BenchmarkQueryByID(b *testing.B) {
	k := openBank(b)
	l := startLoader(b)
	plain := listen(b, bareSQL(b, k.path))
	for _, clients := range []int{16, 64} {
		b.Run(strconv.Itoa(clients), func(b *testing.B) {
			l.b = b
			order := func(r load.Requests, addr string) func() load.Report {
				r.Addr, r.Clients, r.For = addr, clients, roundLength
				r.Prefix, r.IDs, r.Want = "account-", accountRows, `"owner":"owner-`
				return func() load.Report { return l.requests(r) }
			}
			get := load.Requests{Line: "GET /row?id=" + load.ID, Headers: []string{"Accept: application/json"}}
			for b.Loop() {
				m := alternating(order(get, plain), order(operation(rowQuery), k.addr))
				b.ReportMetric(m.rate(0), "bare/s")
				b.ReportMetric(m.rate(1), "queries/s")
				m.times(b, 1)
				b.ReportMetric(m.ratio(1, 0), "query-of-bare")
			}
		})
	}
}

// bareSend sends the same command through HTTP without GraphQL.
func bareSend(h *host.Host) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			ID string
			N  int
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		o, err := h.SendAction(r.Context(), "", driver.Meta{}, tally.To(body.ID, add{body.N}).Erased())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		text, err := json.Marshal(o)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(text)
	})
}

// BenchmarkMutation is a command by mutation, of 64 clients with entities of their
// own, against the same commands in process. The target is 0.7. On a machine that is
// limited by its processor and not by its disk no HTTP server reaches it, so the
// benchmark also reports the ratio for a bare handler.
func BenchmarkMutation(b *testing.B) {
	const clients, entities = 64, 1024
	k := openBank(b)
	l := startLoader(b)
	bare := listen(b, bareSend(k.host))
	inProcess := func(send func(id string) error) load.Report {
		var wg sync.WaitGroup
		counts := make([]int, clients)
		start := time.Now()
		for c := range clients {
			wg.Go(func() {
				for n := c; time.Since(start) < roundLength; n = (n + clients) % entities {
					if err := send("t" + strconv.Itoa(n)); err != nil {
						b.Error(err)
						return
					}
					counts[c]++
				}
			})
		}
		wg.Wait()
		r := load.Report{Seconds: time.Since(start).Seconds()}
		for _, n := range counts {
			r.Requests += n
		}
		return r
	}
	engine := func() load.Report {
		return inProcess(func(id string) error {
			o, err := k.host.SendAction(b.Context(), "", driver.Meta{}, tally.To(id, add{1}).Erased())
			if err == nil && o.Kind != driver.Accepted {
				err = fmt.Errorf("got %+v", o)
			}
			return err
		})
	}
	mutation := operation(addMutation)
	// The handler without a network measures the cost of the API itself.
	handler := func() load.Report {
		return inProcess(func(id string) error {
			r := httptest.NewRequest(http.MethodPost, "http://localhost/graphql", strings.NewReader(strings.ReplaceAll(mutation.Body, load.ID, id)))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("X-User", "user")
			w := httptest.NewRecorder()
			if k.api.ServeHTTP(w, r); !strings.Contains(w.Body.String(), `"CommandAccepted"`) {
				return fmt.Errorf("got %s", w.Body)
			}
			return nil
		})
	}
	order := func(r load.Requests, addr, want string) func() load.Report {
		r.Addr, r.Clients, r.For, r.Want = addr, clients, roundLength, want
		r.Prefix, r.IDs, r.Own = "t", entities, true
		return func() load.Report { return l.requests(r) }
	}
	post := load.Requests{Line: "POST /send", Headers: []string{"Content-Type: application/json"}, Body: `{"id":"` + load.ID + `","n":1}`}
	for b.Loop() {
		m := alternating(engine, order(post, bare, string(driver.Accepted)), order(mutation, k.addr, `"CommandAccepted"`), handler)
		b.ReportMetric(m.rate(0), "commands-in-process/s")
		b.ReportMetric(m.rate(1), "bare/s")
		b.ReportMetric(m.rate(2), "mutations/s")
		m.times(b, 2)
		b.ReportMetric(m.ratio(2, 0), "mutation-of-engine")
		b.ReportMetric(m.ratio(1, 0), "bare-of-engine")
		b.ReportMetric(m.ratio(2, 1), "mutation-of-bare")
		b.ReportMetric(m.ratio(3, 0), "handler-of-engine")
	}
}

// memoryInUse returns the memory in use by the heap and the stacks.
func memoryInUse() float64 {
	runtime.GC()
	runtime.GC() // the second collection frees what pools held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapInuse + m.StackInuse)
}

// BenchmarkSubscriptions measures 1,000 idle subscriptions: their memory, and the time
// until a change of a row has reached all subscriptions that receive it, which are all
// of them or the one for that row.
func BenchmarkSubscriptions(b *testing.B) {
	const subscriptions = 1000
	all := load.Watch{Document: "subscription { testRetailAccountChanged { kind id row { owner balance } } }"}
	one := load.Watch{Document: "subscription ($id: ID) { testRetailAccountChanged(id: $id) { kind id row { owner balance } } }", Prefix: "account-"}
	for _, c := range []struct {
		name          string
		watch         load.Watch
		perConnection int
		rows          int // that are watched
		receivers     int // of a change
	}{
		{"ReadModel", all, 1, 1, subscriptions},
		{"ReadModelBy10Connections", all, 100, 1, subscriptions},
		{"DifferentIDs", one, 1, subscriptions, 1},
	} {
		b.Run(c.name, func(b *testing.B) {
			k := openBank(b)
			l := startLoader(b)
			balance := 1_000_000
			// change changes rows and waits until the given number of subscriptions has
			// received the change. It returns the time that took and how many subscriptions
			// had not received it by then.
			change := func(rows, receivers int, most time.Duration) (time.Duration, int) {
				balance++
				l.do(load.Order{Expect: `"balance":` + strconv.Itoa(balance), By: receivers})
				start := time.Now()
				for i := range rows {
					step := driver.Step{Writes: []driver.RowWrite{{Row: accountRow(i, float64(balance))}}}
					if err := k.rows.Apply(b.Context(), step); err != nil {
						b.Fatal(err)
					}
				}
				missing := l.do(load.Order{Await: most}).Missing
				return time.Since(start), missing
			}
			for b.Loop() {
				before := memoryInUse()
				c.watch.Addr, c.watch.Path, c.watch.Headers = k.addr, "/graphql", map[string]string{"X-User": "user"}
				c.watch.Connections, c.watch.PerConnection = subscriptions/c.perConnection, c.perConnection
				l.do(load.Order{Watch: &c.watch})
				// A subscription is not acknowledged, so the benchmark changes rows until
				// all subscriptions receive a change.
				for attempt, missing := 0, subscriptions; missing > 0; attempt++ {
					if _, missing = change(c.rows, subscriptions, 5*time.Second); missing > 0 && attempt == 5 {
						b.Fatalf("%d subscriptions did not receive the change", missing)
					}
				}
				b.ReportMetric((memoryInUse()-before)/subscriptions, "B/subscription")
				var took []time.Duration
				for range 31 {
					d, missing := change(1, c.receivers, 30*time.Second)
					if missing > 0 {
						b.Fatalf("%d subscriptions did not receive the change", missing)
					}
					took = append(took, d)
				}
				slices.Sort(took)
				b.ReportMetric(float64(took[len(took)/2].Microseconds()), "µs/change")
				l.do(load.Order{Watch: &load.Watch{}})
			}
		})
	}
}
