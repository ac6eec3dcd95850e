package e2e

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/aws/internal/lambdarunner"
	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/aws/internal/provider"
	"github.com/reventless-go/reventless/aws/internal/wiring"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/examples/shop"
	"github.com/reventless-go/reventless/examples/shop/seed"
	"github.com/reventless-go/reventless/internal/testenv"
	"github.com/reventless-go/reventless/message"
)

func TestMain(m *testing.M) {
	code := awstest.Run(m)
	if dir != "" {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

const testdata = "../../examples/shop/testdata"

var dir string // has the built files

// bootstrap is the shop's Lambda binary for this machine.
var bootstrap = sync.OnceValues(func() (string, error) {
	var err error
	if dir, err = os.MkdirTemp("", "e2e"); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "bootstrap")
	return path, build(path, "")
})

// build builds the shop's Lambda binary as it is deployed. An empty architecture is that
// of this machine.
func build(path, arch string) error {
	cmd := exec.Command("go", "build", "-C", "../../examples/shop", "-trimpath", "-buildvcs=false", "-tags", "lambda.norpc", "-ldflags", "-s -w", "-o", path, "./cmd/lambda")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if arch != "" {
		cmd.Env = append(cmd.Env, "GOOS=linux", "GOARCH="+arch)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// stack is the shop on emulators.
type stack struct {
	*awstest.Deployment
	t        testing.TB
	provider *provider.Provider
}

func newStack(t testing.TB, dynamoDB, others *awstest.Emulator) *stack {
	t.Helper()
	return stackOf(t, awstest.Deploy(t, shop.App().Topology(), dynamoDB, others))
}

func stackOf(t testing.TB, s *awstest.Deployment) *stack {
	t.Helper()
	cfg := s.Others.Config(nil)
	cfg.BaseEndpoint = nil
	p, err := provider.New(provider.Options{App: s.App.Name, Stack: s.Name, Account: awstest.Account, AWS: cfg, Endpoint: func(service string) *string {
		if service == "DYNAMODB" {
			return &s.DynamoDB.Endpoint
		}
		return &s.Others.Endpoint
	}})
	if err != nil {
		t.Fatal(err)
	}
	return &stack{Deployment: s, t: t, provider: p}
}

// commands returns the commands of a file of invoices, in order.
func commands(t testing.TB, file []byte) []driver.Command {
	t.Helper()
	app := shop.App().Assembled()
	var all []driver.Command
	_, err := seed.Replay(t.Context(), bytes.NewReader(file), func(_ context.Context, id string, s message.Send) (message.Outcome, error) {
		a := s.Erased()
		all = append(all, driver.Command{
			Target: app.NameOf(a.Target), Entity: a.ID, Type: a.Command.Type, Version: a.Command.Version, Data: a.Command.Data,
			Meta: driver.Meta{ID: id, Time: time.Now().UTC()},
		})
		return message.Outcome{Kind: message.Accepted}, nil // a rejection would show in the figures
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// send puts commands into their queues.
func (s *stack) send(commands []driver.Command) {
	s.t.Helper()
	by := map[string][]driver.Command{}
	for _, c := range commands {
		by[c.Target] = append(by[c.Target], c)
	}
	for target, of := range by {
		topic, err := s.provider.OpenCommandTopic(s.t.Context(), target)
		if err == nil {
			err = topic.Send(s.t.Context(), of)
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

// run starts the functions of the shop with their triggers on the local runner.
// endpoints are environment variables that replace the endpoints of the emulators.
func (s *stack) run(opts lambdarunner.Options, endpoints ...string) *lambdarunner.Runner {
	s.t.Helper()
	binary, err := bootstrap()
	if err != nil {
		s.t.Fatal(err)
	}
	clients := s.Others.Clients(nil)
	opts.Binary, opts.SQS, opts.Streams, opts.Region, opts.Account = binary, clients.SQS, s.DynamoDB.Clients(nil).Streams, awstest.Region, awstest.Account
	r, err := lambdarunner.New(opts)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := r.Close(); err != nil {
			s.t.Error(err)
		}
	})
	for _, f := range wiring.Functions(s.App, wiring.Shared) {
		name := s.FunctionName(f)
		var env []string
		for k, v := range s.Environment(f) {
			env = append(env, k+"="+v)
		}
		env = append(env, endpoints...) // the last one counts
		if err := r.Function(lambdarunner.Function{Name: name, Env: env, Timeout: 30 * time.Second}); err != nil {
			s.t.Fatal(err)
		}
		for _, t := range f.Triggers {
			if t.Stream() {
				err = r.Stream(name, s.Resource(t.Source, t.Component), lambdarunner.StreamMapping{Bisect: true})
			} else {
				err = r.Queue(name, s.QueueURL(t.Source, t.Component), s.Source(t), lambdarunner.QueueMapping{Release: true})
			}
			if err != nil {
				s.t.Fatal(err)
			}
		}
	}
	r.Start()
	return r
}

// rows returns all rows of a read model, by id and sub id.
func (s *stack) rows(name, sub string) []map[string]any {
	s.t.Helper()
	spec := driver.TableSpec{Name: name, SubID: sub}
	engine, err := s.provider.OpenQueryEngine(s.t.Context(), []driver.TableSpec{spec})
	if err != nil {
		s.t.Fatal(err)
	}
	var rows []map[string]any
	for cursor := ""; ; {
		page, err := engine.Scan(s.t.Context(), driver.Scan{ReadModel: name, Order: &driver.Order{}, Limit: 1000, Cursor: cursor})
		if err != nil {
			s.t.Fatal(err)
		}
		for _, r := range page.Rows {
			row := map[string]any{}
			if err := json.Unmarshal(r.Data, &row); err != nil {
				s.t.Fatal(err)
			}
			if name == "Catalog.PriceHistory" {
				row["productId"] = r.ID
			}
			rows = append(rows, row)
		}
		if cursor = page.Cursor; cursor == "" {
			return rows
		}
	}
}

// figures returns the rows of the read models that the invoices fill.
func (s *stack) figures() map[string][]map[string]any {
	return map[string][]map[string]any{
		"Products": s.rows("Catalog.Products", ""), "PriceHistory": s.rows("Catalog.PriceHistory", "position"),
		"Orders": s.rows("Ordering.Orders", ""), "OrderLines": s.rows("Ordering.OrderLines", "productId"),
		"CustomerTotals": s.rows("Ordering.CustomerTotals", ""), "ProductDemand": s.rows("Ordering.ProductDemand", ""),
		"SalesByCountry": s.rows("Ordering.SalesByCountry", ""), "Listings": s.rows("Ordering.Listings", ""),
	}
}

// expected returns the figures that expected.py computes from a file of invoices.
func expected(t testing.TB, file []byte) map[string][]map[string]any {
	t.Helper()
	testenv.Needs(t, "python3")
	path := filepath.Join(t.TempDir(), "invoices.csv")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "python3", filepath.Join(testdata, "expected.py"), path).Output()
	if err != nil {
		t.Fatal(err)
	}
	var want map[string][]map[string]any
	if err := json.Unmarshal(out, &want); err != nil {
		t.Fatal(err)
	}
	return want
}

// differences returns how the read models differ from the wanted rows. It does not
// compare the times and positions, which the wanted rows do not have.
func (s *stack) differences(want map[string][]map[string]any) []string {
	s.t.Helper()
	var found []string
	got := s.figures()
	for _, table := range slices.Sorted(maps.Keys(want)) {
		if len(got[table]) != len(want[table]) {
			found = append(found, fmt.Sprintf("%s has %d rows, want %d", table, len(got[table]), len(want[table])))
			continue
		}
		for i, w := range want[table] {
			g := map[string]any{}
			for field := range w {
				g[field] = got[table][i][field]
			}
			if !reflect.DeepEqual(g, w) {
				found = append(found, fmt.Sprintf("%s: row %d is %v, want %v", table, i, g, w))
				break
			}
		}
	}
	return found
}

// check compares the read models with the results of expected.py and checks that there
// are no dead letters.
func (s *stack) check(file []byte) {
	s.t.Helper()
	for _, d := range s.differences(expected(s.t, file)) {
		s.t.Error(d)
	}
	letters, err := s.provider.OpenDeadLetters(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	parked, err := letters.List(s.t.Context(), "", "", 10)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, l := range parked {
		s.t.Errorf("parked: %s: %s", l.ID, l.Reason)
	}
	for kind, of := range map[naming.Kind]naming.Kind{naming.CommandsDLQ: naming.Commands, naming.CollectorDLQ: naming.Collector, naming.ObjectsDLQ: naming.Objects, naming.TimersDLQ: naming.Timers} {
		for _, f := range wiring.Functions(s.App, wiring.Shared) {
			for _, t := range f.Triggers {
				if t.Source == of {
					if n := s.Waiting(kind, t.Component); n > 0 {
						s.t.Errorf("%d messages are in the dead-letter queue of the %v of %s", n, of, t.Component)
					}
				}
			}
		}
	}
}

// sample is the whole file.
func sample(t testing.TB) []byte {
	t.Helper()
	file, err := os.ReadFile(filepath.Join(testdata, "online-retail-sample.csv"))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// part returns the file with only those invoices whose number keep accepts.
func part(t testing.TB, file []byte, keep func(n int) bool) []byte {
	t.Helper()
	lines, err := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(file, []byte("\ufeff")))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	w := csv.NewWriter(&out)
	places := map[string]int{}
	for i, l := range lines {
		n, known := places[l[0]]
		if !known && i > 0 {
			n = len(places)
			places[l[0]] = n
		}
		if i == 0 || keep(n) {
			if err := w.Write(l); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.Flush()
	return []byte(out.String())
}

// TestShopOnTheLocalRunner replays the whole file without faults.
func TestShopOnTheLocalRunner(t *testing.T) {
	s := newStack(t, awstest.DynamoDB(t), awstest.MiniStack(t))
	var log bytes.Buffer
	r := s.run(lambdarunner.Options{Log: &log})
	file := sample(t)
	began := time.Now()
	s.send(commands(t, file))
	t.Logf("sent after %v", time.Since(began))
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	if err := r.WaitIdle(ctx); err != nil {
		t.Errorf("%v\n%s", err, log.String()[max(0, log.Len()-3000):])
	}
	t.Logf("done after %v: %+v", time.Since(began), r.Stats())
	s.check(file)
}
