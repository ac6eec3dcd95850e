package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reventless-go/reventless/internal/testenv"
)

var readModels = []string{
	"Products", "PriceHistory", "Categories", "Orders", "OrderLines", "CustomerTotals", "ProductDemand", "SalesByCountry", "Listings",
}

// seedOnce fills a database with the real file; tests get copies of it.
var seedOnce = sync.OnceValues(func() (dir string, err error) {
	dir = filepath.Join(filepath.Dir(binary), "seeded")
	if err := os.Mkdir(dir, 0o777); err != nil {
		return "", err
	}
	cmd := exec.Command(binary, "--data", filepath.Join(dir, "shop.db"), "seed", sample)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("seed: %w\n%s", err, out)
	}
	return dir, nil
})

// seededShop returns a shop that was seeded and closed.
func seededShop(t *testing.T) shopAt {
	t.Helper()
	dir, err := seedOnce()
	if err != nil {
		t.Fatal(err)
	}
	s := newShop(t)
	if err := os.CopyFS(filepath.Dir(s.path), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return s
}

type row = map[string]any

// decode reads rows, numbers as they are written.
func decode[T any](t *testing.T, text []byte) (v T) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in %.300s", err, text)
	}
	return v
}

// rows returns the rows that show prints.
func (s shopAt) rows(readModel string, id ...string) (rows []row) {
	s.t.Helper()
	for _, l := range lines(s.run(append([]string{"show", readModel, "--json"}, id...)...)) {
		rows = append(rows, decode[row](s.t, []byte(l)))
	}
	return rows
}

// expected returns the rows after the seed as an independent script computes them.
func expected(t *testing.T) map[string][]row {
	t.Helper()
	testenv.Needs(t, "python3")
	cmd := exec.Command("python3", testdata+"/expected.py", sample)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("this test needs python3: %v", err)
	}
	return decode[map[string][]row](t, out)
}

// idField is the field with the id in the rows of each read model.
var idField = map[string]string{
	"Products": "productId", "PriceHistory": "productId", "Orders": "orderId", "OrderLines": "orderId",
	"CustomerTotals": "customerId", "ProductDemand": "productId", "SalesByCountry": "country", "Listings": "productId",
}

func TestSeedOfTheRealFile(t *testing.T) {
	t.Parallel()
	checkSeeded(t, seededShop(t))
}

// checkSeeded compares the read models with the results of the script.
func checkSeeded(t *testing.T, s shopAt) {
	t.Helper()
	want := expected(t)
	if len(want) != len(idField) || len(want["Orders"]) != 61 {
		t.Fatalf("the script expects %d read models and %d orders", len(want), len(want["Orders"]))
	}
	for readModel, rows := range want {
		got := s.rows(readModel)
		if len(got) != len(rows) {
			t.Errorf("%s has %d rows, want %d", readModel, len(got), len(rows))
			continue
		}
		for i, r := range got {
			key := idField[readModel]
			if r["id"] != rows[i][key] {
				t.Errorf("%s: row %d has the id %v, want %v", readModel, i, r["id"], rows[i][key])
			}
			delete(r, "id")
			// The script does not know times and positions.
			switch readModel {
			case "Orders":
				if at, err := time.Parse("2006-01-02T15:04:05Z", r["placedAt"].(string)); err != nil || time.Since(at) > time.Hour {
					t.Errorf("order %v was placed at %v: %v", r[key], r["placedAt"], err)
				}
				delete(r, "placedAt")
			case "PriceHistory":
				r[key] = rows[i][key]
				delete(r, "at")
				delete(r, "position")
			}
			if !reflect.DeepEqual(r, rows[i]) {
				t.Errorf("%s: row %d is %v, want %v", readModel, i, r, rows[i])
			}
		}
	}
}

func TestSeedAgainChangesNothing(t *testing.T) {
	t.Parallel()
	s := seededShop(t)
	show := func() map[string]string {
		all := map[string]string{}
		for _, m := range readModels {
			all[m] = s.run("show", m, "--json")
			all[m+" as a table"] = s.run("show", m)
		}
		return all
	}
	shown, counted, mails := show(), s.counts(), s.outbox()
	if counted["Ordering.Order"] < 61 || counted["Ordering.ShippedLines"] != 61 {
		t.Fatalf("after the first seed the logs have %v", counted)
	}
	again := s.run("seed", sample)
	if !strings.Contains(again, "parked") {
		t.Errorf("the second seed ends without a summary: %.300s", again)
	}
	if got := s.counts(); !maps.Equal(got, counted) {
		t.Errorf("the second seed left %v commits, want %v", got, counted)
	}
	for m, text := range show() {
		if text != shown[m] {
			t.Errorf("%s differs after the second seed", m)
		}
	}
	if got := s.outbox(); !maps.Equal(got, mails) {
		t.Error("the outbox differs after the second seed")
	}
}

func TestDescriptions(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	for file, args := range map[string][]string{
		"topology.json": {"topology"},
		"topology.mmd":  {"topology", "--mermaid"},
		"api.graphql":   {"schema"},
	} {
		path := filepath.Join(testdata, file)
		got := s.run(args...)
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%q differs from %s; if the change is intended, run go test with -update and review the difference", args, path)
		}
		if again := s.run(args...); again != got {
			t.Errorf("%q prints a different text the second time", args)
		}
	}
	if _, err := os.Stat(s.path); !os.IsNotExist(err) {
		t.Errorf("a description needs no database, but there is one: %v", err)
	}
}

// The command of the README seeds and serves until it is stopped, with exclusive use of
// its file.
func TestRun(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p := s.start("run", "--addr", "127.0.0.1:0", "--seed", sample)
	for !strings.Contains(p.line(), "shop is running on "+s.path) {
	}
	r := s.try("show", "Products")
	for _, want := range []string{"error: ", s.path, "open already", fmt.Sprintf("process %d", p.cmd.Process.Pid)} {
		if r.status != 1 || !strings.Contains(r.err, want) {
			t.Errorf("a second process: got %+v, want an error with %q", r, want)
		}
	}
	p.stop()
	for _, suffix := range []string{"-wal", "-journal"} {
		if info, err := os.Stat(s.path + suffix); err == nil && info.Size() > 0 {
			t.Errorf("%s is left with %d bytes", info.Name(), info.Size())
		}
	}
	if n := len(s.rows("Orders")); n != 61 {
		t.Errorf("%d orders, want 61", n)
	}
}

// A process that is stopped while its standard input is open ends, and the answered
// commands are stored.
func TestTerminatedWhileItWaitsForCommands(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p := s.start("run", "--stdin")
	p.ask(`{"commandId":"1","aggregate":"Category","command":"Add","id":"light","data":{"name":"Lamps"}}`)
	p.line()
	p.stop()
	if n := s.counts()["Catalog.Category"]; n != 1 {
		t.Errorf("%d commits, want 1", n)
	}
}
