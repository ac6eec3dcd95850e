package main_test

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/examples/shop"
	"github.com/reventless-go/reventless/examples/shop/catalog/category"
	"github.com/reventless-go/reventless/examples/shop/catalog/product"
	"github.com/reventless-go/reventless/examples/shop/money"
	"github.com/reventless-go/reventless/examples/shop/ordering/basket"
	"github.com/reventless-go/reventless/examples/shop/ordering/customer"
	"github.com/reventless-go/reventless/examples/shop/ordering/order"
	"github.com/reventless-go/reventless/examples/shop/ordering/policy"
	"github.com/reventless-go/reventless/examples/shop/ordering/returns"
	"github.com/reventless-go/reventless/local"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/reventlesstest"
)

// TestMemoryAndSQLiteAgree does the same on both providers: every outcome, every
// row, every mail and every parked letter has to be the same.
func TestMemoryAndSQLiteAgree(t *testing.T) {
	t.Parallel()
	// Making a database takes longer than a run: each gets a copy of this one.
	first := &onSQLite{t: t, path: filepath.Join(t.TempDir(), "shop.db"), clock: reventlesstest.NewClock(time.Time{})}
	first.open()
	first.close()
	empty, err := os.ReadFile(first.path)
	if err != nil {
		t.Fatal(err)
	}
	runs, outcomes := 0, map[string]int{}
	rapid.Check(t, func(r *rapid.T) {
		steps := slices.Concat(rapid.SliceOfN(rapid.Custom(drawStory), 1, 12).Draw(r, "stories")...)
		runs++
		compare(t, r, empty, steps, outcomes)
	})
	t.Logf("%d runs: %v", runs, outcomes)
}

// step is one thing to do on both sides.
type step struct {
	send   message.Send
	text   string        // describes send
	repeat int           // the n-th command so far once more, if positive
	pass   time.Duration // the clock moves; SQLite's side is closed meanwhile
	again  string        // a read model that SQLite's side fills anew
}

func (s step) String() string {
	switch {
	case s.repeat > 0:
		return fmt.Sprintf("repeat command %d", s.repeat)
	case s.pass > 0:
		return fmt.Sprintf("%v pass", s.pass)
	case s.again != "":
		return "rebuild " + s.again
	}
	return s.text
}

var modelIDs = []string{"a", "b", "c/d", `"ü %41?`, strings.Repeat("lang", 250)}

// drawStory is some steps that have to do with one another: an entity comes to
// be, which need not succeed, and then things happen to it.
func drawStory(r *rapid.T) []step {
	id := rapid.SampledFrom(modelIDs).Draw(r, "id")
	begin, then := stories[rapid.IntRange(0, len(stories)-1).Draw(r, "story")](r, id)
	steps := []step{describe(begin)}
	for range rapid.IntRange(0, 8).Draw(r, "length") {
		switch n := rapid.IntRange(0, 19).Draw(r, "what"); n {
		case 16:
			steps = append(steps, step{repeat: rapid.IntRange(1, 30).Draw(r, "repeat")})
		case 17:
			steps = append(steps, step{pass: rapid.SampledFrom([]time.Duration{time.Second, 10 * time.Minute, 16 * time.Minute, time.Hour}).Draw(r, "pass")})
		case 18:
			steps = append(steps, step{again: rapid.SampledFrom(readModels).Draw(r, "rebuild")})
		default:
			steps = append(steps, describe(then(n)))
		}
	}
	return steps
}

func describe(s message.Send) step {
	a := s.Erased()
	return step{send: s, text: fmt.Sprintf("%s %.20q: %s %s", a.Target.Name, a.ID, a.Command.Type, a.Command.Data)}
}

// stories begin with a command for an entity and go on with others, which a
// number below 20 selects.
var stories = []func(r *rapid.T, id string) (begin message.Send, then func(n int) message.Send){
	orderStory, orderStory, orderStory,
	func(r *rapid.T, id string) (message.Send, func(int) message.Send) {
		add := product.Add{Name: drawText(r), Price: drawPence(r)}
		if rapid.Bool().Draw(r, "in a category") {
			add.CategoryID = &id
		}
		return product.Aggregate.To(id, add), func(n int) message.Send {
			switch {
			case n < 8:
				return product.Aggregate.To(id, product.ChangePrice{Price: drawPence(r)})
			case n < 14:
				return product.Aggregate.To(id, product.Rename{Name: drawText(r)})
			}
			return product.Aggregate.To(id, product.Discontinue{})
		}
	},
	func(r *rapid.T, id string) (message.Send, func(int) message.Send) {
		return category.Aggregate.To(id, category.Add{Name: drawText(r)}), func(n int) message.Send {
			if n < 13 {
				return category.Aggregate.To(id, category.Rename{Name: drawText(r)})
			}
			return category.Aggregate.To(id, category.Archive{})
		}
	},
	func(r *rapid.T, id string) (message.Send, func(int) message.Send) {
		return customer.Aggregate.To(id, customer.Register{Email: drawEmail(r), Country: "Peru"}), func(n int) message.Send {
			if n < 13 {
				return customer.Aggregate.To(id, customer.ChangeEmail{Email: drawEmail(r)})
			}
			return customer.Aggregate.To(id, customer.Deactivate{})
		}
	},
	func(r *rapid.T, id string) (message.Send, func(int) message.Send) {
		record := func() message.Send { return returns.Aggregate.To(id, returns.Record(drawBasket(r))) }
		return record(), func(int) message.Send { return record() }
	},
}

func orderStory(r *rapid.T, id string) (message.Send, func(int) message.Send) {
	b := drawBasket(r)
	return order.Aggregate.To(id, order.Place(b)), func(n int) message.Send {
		switch {
		case n < 5:
			return order.Aggregate.To(id, order.Pay{})
		case n < 12:
			line := order.ShipLine{ProductID: modelIDs[n%3]}
			if len(b.Lines) > 0 {
				line.ProductID = b.Lines[n%len(b.Lines)].ProductID
			}
			return order.Aggregate.To(id, line)
		case n < 13:
			return order.Aggregate.To(id, order.Complete{})
		case n < 14:
			return order.Aggregate.To(id, order.Expire{})
		case n < 15:
			return order.Aggregate.To(id, order.Place(b))
		}
		return order.Aggregate.To(id, order.Cancel{Reason: drawText(r)})
	}
}

func drawText(r *rapid.T) string {
	return rapid.SampledFrom([]string{"x", "y", "", "Ünï\u2028"}).Draw(r, "text")
}

func drawPence(r *rapid.T) money.Pence {
	return rapid.SampledFrom([]money.Pence{1, 0, 250, -1, 1 << 50}).Draw(r, "pence")
}

func drawEmail(r *rapid.T) string {
	return rapid.SampledFrom([]string{"mary@example.com", "joe@example.com", "nobody"}).Draw(r, "email")
}

func drawBasket(r *rapid.T) basket.Basket {
	return basket.Basket{
		CustomerID: rapid.SampledFrom([]string{"mary", "joe"}).Draw(r, "customer"),
		Country:    rapid.SampledFrom([]string{"Peru", "Norway"}).Draw(r, "country"),
		Lines: rapid.SliceOfN(rapid.Custom(func(r *rapid.T) basket.Line {
			return basket.Line{
				ProductID: rapid.SampledFrom(modelIDs[:3]).Draw(r, "product"),
				Quantity:  rapid.SampledFrom([]int32{1, 1, 2, 7, 7, 0}).Draw(r, "quantity"),
				UnitPrice: rapid.SampledFrom([]money.Pence{5, 5, 5, 6}).Draw(r, "price"),
			}
		}), 0, 4).Draw(r, "lines"),
	}
}

// scope runs what is to be cleaned up at the end of one run and not of the test.
type scope struct {
	testing.TB
	cleanups []func()
}

func (s *scope) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

func (s *scope) end() {
	for _, f := range slices.Backward(s.cleanups) {
		f()
	}
}

// onSQLite is the side that runs on a file.
type onSQLite struct {
	t     testing.TB
	path  string
	clock *reventlesstest.Clock
	host  *local.Host
}

func (s *onSQLite) open() {
	s.t.Helper()
	var err error
	s.host, err = local.Open(s.t.Context(), shop.App(), s.path, &local.Options{
		Now: s.clock.Now, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Backoff: func(int) time.Duration { return 0 },
	})
	if err == nil {
		err = s.host.Start(s.t.Context())
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.idle()
}

func (s *onSQLite) idle() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	if err := s.host.WaitIdle(ctx); err != nil {
		s.t.Fatal(err)
	}
}

func (s *onSQLite) close() {
	s.t.Helper()
	if err := s.host.Close(); err != nil {
		s.t.Fatal(err)
	}
}

func compare(t *testing.T, r *rapid.T, empty []byte, steps []step, outcomes map[string]int) {
	outer := &scope{TB: t}
	defer outer.end()
	mem := reventlesstest.Start(outer, shop.App())
	file := &onSQLite{t: t, path: filepath.Join(t.TempDir(), "shop.db"), clock: reventlesstest.NewClock(mem.Now())}
	if err := os.WriteFile(file.path, empty, 0o666); err != nil {
		t.Fatal(err)
	}
	file.open()
	defer file.close()
	var sent []step
	do := func(n int, s step) {
		id := fmt.Sprintf("c%d", n)
		want := mem.SendAs(id, s.send)
		mem.WaitIdle()
		got, err := file.host.Send(t.Context(), id, s.send)
		if err != nil {
			r.Fatalf("%v: %v", s, err)
		}
		file.idle()
		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
			r.Fatalf("%v: SQLite says %+v, memory says %+v", s, got, want)
		}
		outcomes[cmp.Or(got.Code, string(got.Kind))]++
	}
	for _, s := range steps {
		switch {
		case s.repeat > len(sent):
		case s.repeat > 0:
			do(s.repeat-1, sent[s.repeat-1])
		case s.pass > 0:
			file.close()
			file.clock.Advance(s.pass)
			mem.Advance(s.pass)
			file.open()
		case s.again != "":
			if err := file.host.Rebuild(t.Context(), s.again, nil); err != nil {
				r.Fatalf("%v: %v", s, err)
			}
		default:
			do(len(sent), s)
			sent = append(sent, s)
		}
	}
	inMemory, onFile := visible(t, mem.Env(), mem.Parked()), fileState(t, file)
	for _, what := range slices.Sorted(maps.Keys(inMemory)) {
		if a, b := inMemory[what], onFile[what]; !slices.Equal(a, b) {
			r.Fatalf("%s differs:\nmemory %q\nSQLite %q", what, a, b)
		}
	}
	for _, row := range onFile["Ordering.Orders"] {
		for _, status := range []string{"placed", "paid", "completed", "cancelled"} {
			if strings.Contains(row, `"status":"`+status) {
				outcomes["an order "+status]++
			}
		}
	}
	outcomes["parked"] += len(onFile["parked"])
}

func fileState(t *testing.T, s *onSQLite) map[string][]string {
	t.Helper()
	letters, err := s.host.Parked(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return visible(t, s.host.Env(), letters)
}

// visible is all that can be seen of a shop, but for the platform, whose
// heartbeats depend on when the shop was open.
func visible(t *testing.T, env plugin.Env, letters []driver.DeadLetter) map[string][]string {
	t.Helper()
	state := map[string][]string{"parked": nil, "outbox": nil}
	for _, l := range letters {
		state["parked"] = append(state["parked"], fmt.Sprintf("%s %s %s %s %d %d", l.ID, l.Component, l.Kind, l.Stream, l.SequenceNr, l.Attempts))
	}
	for name, d := range shop.App().Assembled().All {
		if d.ReadModel == nil || strings.HasPrefix(name, "Platform.") {
			continue
		}
		_, engine, _, err := env.OpenRows(d)
		if err != nil {
			t.Fatal(err)
		}
		rows := []driver.Row{}
		for cursor := ""; ; {
			page, err := engine.Scan(t.Context(), driver.Scan{ReadModel: name, Cursor: cursor, Limit: 7})
			if err != nil {
				t.Fatal(err)
			}
			rows = append(rows, page.Rows...)
			if cursor = page.Cursor; cursor == "" {
				break
			}
		}
		slices.SortFunc(rows, func(a, b driver.Row) int { return cmp.Compare(a.Key.String(), b.Key.String()) })
		state[name] = nil
		for _, r := range rows {
			state[name] = append(state[name], fmt.Sprintf("%q %s", r.Key, r.Data))
		}
	}
	files := policy.Outbox.Open(env)
	for o, err := range files.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		body, err := files.Get(t.Context(), o.Key)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(body)
		if err != nil || body.Close() != nil {
			t.Fatal(err)
		}
		state["outbox"] = append(state["outbox"], o.Key+": "+string(text))
	}
	return state
}
