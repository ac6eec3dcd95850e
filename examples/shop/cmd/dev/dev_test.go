package main_test

import (
	"bufio"
	"bytes"
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
	"syscall"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/testenv"
	"github.com/reventless-go/reventless/local/sqlite"
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

// seededShop is a shop that was seeded and closed.
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

// rows returns what show prints of a read model.
func (s shopAt) rows(readModel string, id ...string) (rows []row) {
	s.t.Helper()
	for _, l := range lines(s.run(append([]string{"show", readModel, "--json"}, id...)...)) {
		rows = append(rows, decode[row](s.t, []byte(l)))
	}
	return rows
}

// expected asks the script, which shares nothing with the program, what the read
// models hold after the seed.
func expected(t *testing.T) map[string][]row {
	t.Helper()
	testenv.Needs(t, "python3")
	cmd := exec.Command("python3", testdata+"/expected.py", sample)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("python3, which this test needs: %v", err)
	}
	return decode[map[string][]row](t, out)
}

// idField is the field that holds the id in the rows of each read model.
var idField = map[string]string{
	"Products": "productId", "PriceHistory": "productId", "Orders": "orderId", "OrderLines": "orderId",
	"CustomerTotals": "customerId", "ProductDemand": "productId", "SalesByCountry": "country", "Listings": "productId",
}

func TestSeedOfTheRealFile(t *testing.T) {
	t.Parallel()
	checkSeeded(t, seededShop(t))
}

// A seed that was interrupted is run again, and goes on.
func TestSeedAfterAKill(t *testing.T) {
	t.Parallel()
	random := randomSource(t)
	s := newShop(t)
	for range 3 {
		p := s.start("seed", sample)
		p.out.Split(bufio.ScanRunes)
		for text, at := "", fmt.Sprintf("(%d%%)", random.IntN(70)); !strings.HasSuffix(text, at); {
			text += p.line() // which is a character
			text = text[max(0, len(text)-100):]
		}
		if err := p.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = p.cmd.Wait() // it was killed
	}
	s.run("seed", sample)
	checkSeeded(t, s)
	checkLog(t, s.commits())
}

// checkSeeded compares the read models with what the script expects.
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
			// What the script cannot know: times, and places in the log.
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

func TestPriceHistoryOfOneProduct(t *testing.T) {
	t.Parallel()
	s := seededShop(t)
	var changed string // a product with at least two changes of its price
	var want []any
	for _, r := range expected(t)["PriceHistory"] {
		if id := r["productId"].(string); id != changed {
			if len(want) > 2 {
				break
			}
			changed, want = id, nil
		}
		want = append(want, r["price"])
	}
	if len(want) < 3 {
		t.Fatal("the file has no product with two changes of its price")
	}
	var got []any
	position := ""
	for _, r := range s.rows("PriceHistory", changed) {
		got = append(got, r["price"])
		if p := r["position"].(string); p <= position {
			t.Errorf("position %s follows %s", p, position)
		} else {
			position = p
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the prices of %s were %v, want %v", changed, got, want)
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

func TestOutboxHasOneMailForEachOrder(t *testing.T) {
	t.Parallel()
	s := seededShop(t)
	mails, orders := s.outbox(), s.rows("Orders")
	for _, o := range orders {
		id := o["orderId"].(string)
		mail, ok := mails[id+".eml"]
		if !ok {
			t.Errorf("order %s has no mail", id)
			continue
		}
		delete(mails, id+".eml")
		total := decode[int](t, []byte(o["total"].(json.Number)))
		want := fmt.Sprintf("%d.%02d", total/100, total%100)
		_, sum, _ := strings.Cut(mail, "\r\nTotal ")
		if !strings.Contains(mail, "Your order "+id+"\r\n") || !strings.Contains(mail, o["customerId"].(string)+"@") ||
			strings.Trim(strings.ReplaceAll(sum, ",", ""), "£\r\n") != want {
			t.Errorf("the mail of order %s lacks id, customer or the total %s:\n%s", id, want, mail)
		}
	}
	if len(orders) == 0 || len(mails) > 0 {
		t.Errorf("%d orders; mails without an order: %v", len(orders), slices.Sorted(maps.Keys(mails)))
	}
}

func TestRunSeedsFirst(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p := s.start("run", "--addr", "127.0.0.1:0", "--seed", sample)
	for !strings.Contains(p.line(), "is running on "+s.path) {
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.end()
	if n := len(s.rows("Orders")); n != 61 {
		t.Errorf("%d orders, want 61", n)
	}
}

func TestSend(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	send := func(args ...string) driver.Outcome {
		t.Helper()
		out := s.run(append([]string{"send", "--json"}, args...)...)
		return decode[driver.Outcome](t, []byte(out))
	}
	first := send("--command-id", "c-1", "Catalog", "Category", "Add", "light", `{"name":"Lamps"}`)
	want := driver.Outcome{Kind: driver.Accepted, CommandID: "c-1", EntityID: "light", Target: "Catalog.Category", SequenceNr: 1, EventCount: 1}
	if !reflect.DeepEqual(first, want) {
		t.Errorf("got %+v, want %+v", first, want)
	}
	if again := send("--command-id", "c-1", "Catalog", "Category", "Add", "light", `{"name":"Lamps"}`); !reflect.DeepEqual(again, want) {
		t.Errorf("the same command once more: got %+v, want %+v", again, want)
	}
	refused := send("--command-id", "c-2", "Catalog", "Category", "Add", "light", `{"name":"Lamps"}`)
	if refused.Kind != driver.Rejected || refused.Code != "AlreadyExists" || refused.CommandID != "c-2" || refused.SequenceNr != 0 {
		t.Errorf("got %+v, want the refusal AlreadyExists", refused)
	}
	if o := send("Catalog", "Category", "Archive", "light"); o.Kind != driver.Accepted || o.CommandID == "" || o.SequenceNr != 2 {
		t.Errorf("without data and command id: got %+v", o)
	}
	if out := s.run("send", "Catalog", "Category", "Rename", "light", `{"name":"Light"}`); !strings.HasPrefix(out, "Rejected: AlreadyArchived") {
		t.Errorf("without --json a refusal reads %q", out)
	}
	if out := s.run("send", "Catalog", "Category", "Archive", "light"); !strings.HasPrefix(out, "Accepted: 0 events at 2") {
		t.Errorf("without --json a command that changes nothing reads %q", out)
	}
	if got, want := s.rows("Categories"), []row{{"id": "light", "categoryId": "light", "name": "Lamps", "archived": true}}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if out := s.run("show", "Categories", "light"); strings.Join(strings.Fields(out), " ") != "id categoryId name archived light light Lamps true" {
		t.Errorf("as a table: %q", out)
	}
	if out := s.run("show", "Categories", "dark"); strings.Count(out, "\n") != 1 {
		t.Errorf("a table without rows: %q", out)
	}
}

func TestErrorsNameWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.run("send", "Catalog", "Category", "Add", "light", `{"name":"Lamps"}`)
	counted := s.counts()
	const name = `{"name":"Lamps"}`
	for _, c := range []struct{ args, words []string }{
		{[]string{"send", "Cataloque", "Category", "Add", "c", name}, []string{"Cataloque.Category", "Catalog.Category"}},
		{[]string{"send", "Catalog", "Categories", "Add", "c", name}, []string{"Catalog.Categories", "Catalog.Category"}},
		{[]string{"send", "Catalog", "Category", "Ad", "c", name}, []string{"Catalog.Category", `"Ad"`, "Add, Rename, Archive"}},
		{[]string{"send", "Catalog", "Category", "Add", "c", `{"name":`}, []string{"Add", "JSON"}},
		{[]string{"send", "Catalog", "Category", "Add", "c", "{\"name\":\"\xff\"}"}, []string{"Add", "JSON"}},
		{[]string{"send", "Catalog", "Category", "Add", "c", `{"name":7}`}, []string{"Category", "name", "number"}},
		{[]string{"send", "Catalog", "Category", "Add", "c", `[]`}, []string{"Category", "array"}},
		{[]string{"send", "Catalog", "Category", "Add", "", name}, []string{"Category", "id is empty"}},
		{[]string{"send", "Catalog", "Category", "Add", strings.Repeat("x", 10<<10), name}, []string{"Category", "10240 bytes", "limit is 1024"}},
		{[]string{"send", "Catalog", "Category", "Add", "a\xffb", name}, []string{"Category", `a\xffb`, "UTF-8"}},
		{[]string{"send", "Catalog", "Category", "Add", "a\nb", name}, []string{"Category", `a\nb`, "control character"}},
		{[]string{"send", "--command-id", strings.Repeat("x", 10<<10), "Catalog", "Category", "Add", "c", name}, []string{"Category", "command id", "10240 bytes"}},
		{[]string{"send", "Catalog", "Category"}, []string{"arg"}},
		{[]string{"show", "Product"}, []string{`"Product"`, "Catalog.Products"}},
		{[]string{"events", "Products", "x"}, []string{`"Products"`, "Catalog.Product"}},
		{[]string{"rebuild", "Product"}, []string{`"Product"`, "Catalog.Products"}},
		{[]string{"parked", "--redrive", "letter"}, []string{"letter", "not found"}},
		{[]string{"parked", "--discard", "letter"}, []string{"letter", "not found"}},
		{[]string{"seed", "no-such.csv"}, []string{"no-such.csv"}},
		{[]string{"walk"}, []string{"walk"}},
	} {
		if c.args[0] == "parked" {
			r := s.try(c.args...)
			if r.status != 1 || !strings.Contains(r.err, c.words[0]) || !strings.Contains(r.err, c.words[1]) {
				t.Errorf("%q: got status %d, message %q", c.args, r.status, r.err)
			}
			continue
		}
		s.refused(c.words, c.args...)
	}
	if got := s.counts(); !maps.Equal(got, counted) {
		t.Errorf("the logs have %v commits, want %v", got, counted)
	}
	missing := shopAt{t, filepath.Join(t.TempDir(), "no", "such", "shop.db")}
	missing.refused([]string{"no"}, "show", "Products")
}

func TestOtherFilesAreRefused(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	const text = "This is no database, and longer than the header of one. It stays what it is, whatever happens to it here."
	if err := os.WriteFile(s.path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	s.refused([]string{s.path}, "show", "Products")
	if got, err := os.ReadFile(s.path); err != nil || string(got) != text {
		t.Errorf("the file is now %.100q, %v", got, err)
	}
}

func TestBadSeedFilesSendNothing(t *testing.T) {
	t.Parallel()
	const header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
	const good = "1,a,Thing,1,12/1/10 8:26,2.55,17850,United Kingdom\n"
	s := newShop(t)
	dir := t.TempDir()
	for name, c := range map[string]struct {
		text  string
		words []string
	}{
		"column":   {strings.Replace(header, "UnitPrice,", "", 1) + good, []string{"line 1", "UnitPrice", "missing"}},
		"quote":    {header + good + "2,b,\"Thing,1,12/1/10 8:26,2.55,17850,United Kingdom\n" + good, []string{"line 3", "quote", "byte"}},
		"short":    {header + good + "2,b,Thing\n", []string{"line 3", "3 columns"}},
		"quantity": {header + good + strings.Replace(good, ",1,", ",one,", 1), []string{"line 3", "column Quantity", `"one"`}},
		"price":    {header + good + strings.Replace(good, "2.55", "2.555", 1), []string{"line 3", "column UnitPrice", `"2.555"`}},
		"date":     {header + good + strings.Replace(good, "12/1/10", "2010-12-01", 1), []string{"line 3", "column InvoiceDate", "2010-12-01"}},
		"id":       {header + strings.Replace(good, ",a,", ","+strings.Repeat("a", 10<<10)+",", 1), []string{"line 2", "column StockCode", "10240 bytes"}},
		"empty id": {header + strings.Replace(good, ",a,", ",,", 1), []string{"line 2", "column StockCode", "empty"}},
		"utf8":     {header + strings.Replace(good, ",a,", ",a\xff,", 1), []string{"line 2", "column StockCode", "UTF-8"}},
		"nothing":  {"", []string{"empty"}},
	} {
		file := filepath.Join(dir, name+".csv")
		if err := os.WriteFile(file, []byte(c.text), 0o666); err != nil {
			t.Fatal(err)
		}
		r := s.try("seed", file)
		if r.status != 1 {
			t.Errorf("%s: status %d, want 1", name, r.status)
		}
		for _, w := range append(c.words, file) {
			if !strings.Contains(r.err, w) {
				t.Errorf("%s: the message %q does not say %q", name, r.err, w)
			}
		}
	}
	for log, n := range s.counts() {
		if !strings.HasPrefix(log, "Platform.") {
			t.Errorf("%s has %d commits, want none", log, n)
		}
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	s := seededShop(t)
	type line struct {
		ID         string          `json:"id"`
		SequenceNr uint64          `json:"sequenceNr"`
		Index      int             `json:"index"`
		Type       string          `json:"type"`
		Version    int             `json:"version"`
		Data       json.RawMessage `json:"data"`
		RecordedAt time.Time       `json:"recordedAt"`
	}
	var stored []line
	for _, c := range s.commits()["Ordering.Order"] {
		for i, e := range c.Events {
			if c.Stream == "536365" {
				stored = append(stored, line{c.Stream, c.SequenceNr, i, e.Type, e.Version, e.Data, c.RecordedAt.Truncate(time.Millisecond)})
			}
		}
	}
	if len(stored) < 10 {
		t.Fatalf("the order has %d events", len(stored))
	}
	var printed []line
	for _, l := range lines(s.run("events", "--json", "Order", "536365")) {
		printed = append(printed, decode[line](t, []byte(l)))
	}
	if !reflect.DeepEqual(printed, stored) {
		t.Errorf("got %+v\nwant %+v", printed, stored)
	}
	readable := lines(s.run("events", "Ordering.Order", "536365"))
	for i, l := range readable {
		if e := stored[i]; !strings.HasPrefix(l, fmt.Sprintf("%d.%d ", e.SequenceNr, e.Index)) || !strings.Contains(l, e.Type) || !strings.Contains(l, string(e.Data)) {
			t.Errorf("got %q, want the event %+v", l, e)
		}
	}
	if len(readable) != len(stored) {
		t.Errorf("%d lines, want %d", len(readable), len(stored))
	}
	if out := s.run("events", "ShippedLines", "536365"); !strings.Contains(out, "CountFinished") {
		t.Errorf("the events of a counter: %q", out)
	}
	if out := s.run("events", "Order", "none"); out != "" {
		t.Errorf("the events of nobody: %q", out)
	}
}

const oneLamp = `{"customerId":"mary","country":"France","lines":[{"productId":"lamp","quantity":2,"unitPrice":500}]}`

// block makes it impossible to store the mail of an order: directories are where
// its file would have to be. The returned function takes them away.
func (s shopAt) block(order string) (unblock func()) {
	s.t.Helper()
	var dirs []string
	for _, name := range []string{order + ".eml", "%=" + order + ".eml"} {
		dir := filepath.Join(s.path+".buckets", "Ordering.Outbox", name)
		dirs = append(dirs, dir)
		if err := os.MkdirAll(filepath.Join(dir, "taken"), 0o777); err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "taken", "file"), nil, 0o666); err != nil {
			s.t.Fatal(err)
		}
	}
	return func() {
		s.t.Helper()
		for _, dir := range dirs {
			if err := os.RemoveAll(dir); err != nil {
				s.t.Fatal(err)
			}
		}
	}
}

type letter struct {
	ID, Component, Kind, Log, Stream, Reason string
	SequenceNr                               uint64
	Attempts                                 int
}

func (s shopAt) parked(args ...string) (letters []letter) {
	s.t.Helper()
	for _, l := range lines(s.run(append([]string{"parked", "--json"}, args...)...)) {
		letters = append(letters, decode[letter](s.t, []byte(l)))
	}
	return letters
}

func TestParked(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	unblock := map[string]func(){}
	for _, id := range []string{"o1", "o2"} {
		unblock[id] = s.block(id)
		r := s.try("send", "--json", "Ordering", "Order", "Place", id, oneLamp)
		if r.status != 0 || !strings.Contains(r.err, "parked") {
			t.Fatalf("send: status %d\n%s", r.status, r.err)
		}
	}
	s.run("send", "Ordering", "Order", "Place", "o3", oneLamp)
	s.run("send", "Ordering", "Order", "Pay", "o1")

	letters := s.parked()
	if len(letters) != 2 {
		t.Fatalf("parked: %+v, want the mails of o1 and o2", letters)
	}
	for i, l := range letters {
		id := fmt.Sprintf("o%d", i+1)
		l.ID = strings.TrimSuffix(l.ID, id)
		if l.Component != "Ordering.OrderConfirmation" || l.Kind != "Commit" || l.Log != "Ordering.Order" || l.Stream != id || l.SequenceNr != 1 || l.Attempts != 5 ||
			!strings.Contains(l.Reason, id+".eml") {
			t.Errorf("parked: %+v", l)
		}
	}
	if out := s.run("parked"); !strings.Contains(out, letters[0].ID) || !strings.Contains(out, "Ordering.OrderConfirmation") {
		t.Errorf("parked reads %q", out)
	}
	if got := s.parked("Ordering.OrderConfirmation"); len(got) != 2 {
		t.Errorf("parked by the component: %+v", got)
	}
	if got := s.parked("Ordering.CancelUnpaid"); len(got) != 0 {
		t.Errorf("parked by another component: %+v", got)
	}
	// Others went on: the order's own row, and another order's mail.
	if rows := s.rows("Orders", "o1"); len(rows) != 1 || rows[0]["status"] != "paid" {
		t.Errorf("the order is %v, want it paid", rows)
	}
	if got := slices.Sorted(maps.Keys(s.outbox())); !slices.Equal(got, []string{"o3.eml"}) {
		t.Errorf("the outbox has %v", got)
	}

	// Redriven while the cause remains, it stays and says why.
	if r := s.try("parked", "--redrive", letters[0].ID, "--json"); r.status != 1 || !strings.Contains(r.err, letters[0].ID) || !strings.Contains(r.out, letters[0].ID) {
		t.Errorf("redrive with the cause still there: %+v", r)
	}
	if l := s.parked()[0]; l.ID != letters[0].ID || l.Attempts != 6 {
		t.Errorf("after a redrive in vain: %+v", l)
	}
	unblock["o1"]()
	if out := s.run("parked", "--redrive", letters[0].ID); strings.Contains(out, letters[0].ID) || !strings.Contains(out, letters[1].ID) {
		t.Errorf("after the redrive: %q", out)
	}
	if mail := s.outbox()["o1.eml"]; !strings.Contains(mail, "10.00\r\n") {
		t.Errorf("the redriven mail: %q", mail)
	}

	// Given up, it is gone, also when the cause is.
	if out := s.run("parked", "--discard", letters[1].ID); !strings.Contains(out, "Nothing is parked.") {
		t.Errorf("after the discard: %q", out)
	}
	unblock["o2"]()
	s.run("send", "Ordering", "Order", "Pay", "o2")
	if got := slices.Sorted(maps.Keys(s.outbox())); !slices.Equal(got, []string{"o1.eml", "o3.eml"}) {
		t.Errorf("the outbox has %v, want no mail of the one that was given up", got)
	}

	unblock["o4"] = s.block("o4")
	s.try("send", "Ordering", "Order", "Place", "o4", oneLamp)
	unblock["o4"]()
	if out := s.run("parked", "--redrive-all"); !strings.Contains(out, "Nothing is parked.") || s.outbox()["o4.eml"] == "" {
		t.Errorf("after --redrive-all: %q", out)
	}
}

func TestRebuild(t *testing.T) {
	t.Parallel()
	s := seededShop(t)
	for _, m := range []string{"SalesByCountry", "Orders", "OrderLines", "Catalog.PriceHistory"} {
		_, name, ok := strings.Cut(m, ".")
		if !ok {
			name = m
		}
		want := s.run("show", m, "--json")
		s.open(func(p *sqlite.Provider) { // spoil it
			full := "Ordering." + name
			if ok {
				full = m
			}
			spec := driver.TableSpec{Name: full}
			switch name {
			case "OrderLines":
				spec.SubID = "productId"
			case "PriceHistory":
				spec.SubID = "position"
			case "Orders":
				spec.Indexes = []driver.Index{{Name: "customerId", Key: driver.Field{Name: "customerId"}, Sort: &driver.Field{Name: "placedAt"}}}
			}
			db, err := p.OpenQueryDb(t.Context(), spec)
			if err != nil {
				t.Fatal(err)
			}
			first := decode[row](t, []byte(lines(want)[0]))
			if err := db.DeleteAll(t.Context(), first["id"].(string)); err != nil {
				t.Fatal(err)
			}
		})
		if s.run("show", m, "--json") == want {
			t.Fatalf("%s is not spoiled", m)
		}
		if out := s.run("rebuild", m); !strings.Contains(out, m+" is rebuilt from ") {
			t.Errorf("rebuild %s: %q", m, out)
		}
		if got := s.run("show", m, "--json"); got != want {
			t.Errorf("%s differs after its rebuild", m)
		}
	}
}

func TestLag(t *testing.T) {
	t.Parallel()
	s := seededShop(t)
	// behind is how many commits each consumer is behind a log.
	behind := func(log string) map[string]string {
		t.Helper()
		table := lines(s.run("lag"))
		found := map[string]string{}
		for _, l := range table[1:] {
			fields := strings.Fields(l)
			if len(fields) != 5 || fields[4] != "false" {
				t.Fatalf("lag prints %q", table)
			}
			if fields[1] == log {
				found[fields[0]] = fields[2]
			}
		}
		return found
	}
	want := map[string]string{"Ordering.CustomerTotals": "0", "Ordering.ProductDemand": "0", "Ordering.SalesByCountry": "0"}
	if got := behind("Ordering.Return"); !maps.Equal(got, want) {
		t.Errorf("at rest: %v, want %v", got, want)
	}
	s.open(func(p *sqlite.Provider) { // while nobody consumes it
		log, err := p.OpenEventLog(t.Context(), "Ordering.Return")
		if err == nil {
			err = log.Append(t.Context(), driver.Commit{
				Stream: "r", SequenceNr: 1, Events: []driver.Event{{Type: "Recorded", Version: 1, Data: []byte(oneLamp)}},
				Commands: []driver.AnsweredCommand{{Meta: driver.Meta{ID: "c"}, EventCount: 1}},
			})
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	for consumer := range want {
		want[consumer] = "1"
	}
	if got := behind("Ordering.Return"); !maps.Equal(got, want) {
		t.Errorf("with one commit to go: %v, want %v", got, want)
	}
	s.run("send", "Catalog", "Category", "Archive", "none") // everything runs meanwhile
	if rows := s.rows("CustomerTotals", "mary"); len(rows) != 1 || rows[0]["returned"] != json.Number("1000") {
		t.Errorf("the total of the customer is %v", rows)
	}
	for consumer := range want {
		want[consumer] = "0"
	}
	if got := behind("Ordering.Return"); !maps.Equal(got, want) {
		t.Errorf("at rest again: %v, want %v", got, want)
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
			t.Errorf("%q differs from %s; if it is meant to, run go test with -update and look at the difference", args, path)
		}
		if again := s.run(args...); again != got {
			t.Errorf("%q prints something else the second time", args)
		}
	}
	if _, err := os.Stat(s.path); !os.IsNotExist(err) {
		t.Errorf("a description needs no database, but there is one: %v", err)
	}
}

func TestOneProcessAtATime(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p := s.start("run", "--addr", "127.0.0.1:0")
	for !strings.Contains(p.line(), "shop is running on "+s.path) {
	}
	held := []string{s.path, "open already", fmt.Sprintf("process %d", p.cmd.Process.Pid)}
	s.refused(held, "run", "--addr", "127.0.0.1:0")
	s.refused(held, "show", "Products")
	s.refused(held, "send", "Catalog", "Category", "Add", "light", `{"name":"Lamps"}`)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.end()
	if p.err.Len() > 0 {
		t.Errorf("run ended with %q", &p.err)
	}
	// Cleanly: all is in the one file.
	for _, suffix := range []string{"-wal", "-journal"} {
		if info, err := os.Stat(s.path + suffix); err == nil && info.Size() > 0 {
			t.Errorf("%s is left behind with %d bytes", info.Name(), info.Size())
		}
	}
	s.run("show", "Products")
}

// ask hands a command to a program that reads them.
func (p *process) ask(text string) {
	p.t.Helper()
	if _, err := p.in.Write([]byte(text + "\n")); err != nil {
		p.t.Fatalf("write: %v\n%s", err, &p.err)
	}
}

func TestCommandsFromStandardInput(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p := s.start("run", "--stdin")
	type answer struct {
		Kind       string `json:"kind"`
		CommandID  string `json:"commandId"`
		EntityID   string `json:"entityId"`
		SequenceNr uint64 `json:"sequenceNr"`
		Code       string `json:"code"`
		Error      string `json:"error"`
	}
	long := strings.Repeat("x", 10<<10)
	for _, c := range []struct {
		line string
		want answer
	}{
		{`{"commandId":"1","aggregate":"Category","command":"Add","id":"light","data":{"name":"Lamps"}}`, answer{Kind: "Accepted", CommandID: "1", EntityID: "light", SequenceNr: 1}},
		{`{"commandId":"1","aggregate":"Category","command":"Add","id":"light","data":{"name":"Lamps"}}`, answer{Kind: "Accepted", CommandID: "1", EntityID: "light", SequenceNr: 1}},
		{`  {"commandId":"2","aggregate":"Catalog.Category","command":"Add","id":"light","data":{"name":"Lamps"}}`, answer{Kind: "Rejected", CommandID: "2", EntityID: "light", Code: "AlreadyExists"}},
		{`{"commandId":"3","aggregate":"Category","command":"Add","id":""}`, answer{CommandID: "3", Error: "id is empty"}},
		{`{"commandId":"4","aggregate":"Category","command":"Add","id":"` + long + `"}`, answer{CommandID: "4", Error: "10240 bytes"}},
		{"{\"commandId\":\"5\",\"aggregate\":\"Category\",\"command\":\"Add\",\"id\":\"a\xffb\"}", answer{CommandID: "5", Error: "UTF-8"}},
		{`{"commandId":"6","aggregate":"Category","command":"Fold","id":"c"}`, answer{CommandID: "6", Error: `"Fold"`}},
		{`{"commandId":"7","aggregate":"Sock","command":"Fold","id":"c"}`, answer{CommandID: "7", Error: `"Sock"`}},
		{`{"commandId":`, answer{Error: "JSON"}},
	} {
		p.ask(c.line)
		got := decode[answer](t, []byte(p.line()))
		if c.want.Error != "" && strings.Contains(got.Error, c.want.Error) && len(got.Error) < 1000 {
			got.Error = c.want.Error
		}
		if got != c.want {
			t.Errorf("%.200s: got %+v, want %+v", c.line, got, c.want)
		}
	}
	p.ask("\n") // an empty line is nothing
	if err := p.in.Close(); err != nil {
		t.Fatal(err)
	}
	if rest := p.end(); len(rest) > 0 {
		t.Errorf("more answers: %q", rest)
	}
	if n := len(s.commits()["Catalog.Category"]); n != 1 {
		t.Errorf("%d commits, want 1", n)
	}
}

func TestTerminatedWhileItWaitsForCommands(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p := s.start("run", "--stdin")
	p.ask(`{"commandId":"1","aggregate":"Category","command":"Add","id":"light","data":{"name":"Lamps"}}`)
	p.line()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.end() // although its standard input is still open
	if n := s.counts()["Catalog.Category"]; n != 1 {
		t.Errorf("%d commits, want 1", n)
	}
}
