package main_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/local/sqlite"
)

// inFlight is how many commands are under way at a time.
const inFlight = 48

// command is a line of input that is answered once.
type command struct {
	Aggregate string `json:"aggregate"`
	Command   string `json:"command"`
	ID        string `json:"id"`
	CommandID string `json:"commandId"`
	Data      any    `json:"data,omitempty"`

	refusal string // the code that is expected in place of acceptance
	actor   *actor
}

// actor sends the commands of one entity, so many at a time.
type actor struct {
	aggregate, entity string
	steps             []command
	next, flying      int
	width             int
}

// load makes up what customers do.
type load struct {
	random *rand.Rand
	made   int
	hot    *actor
	ready  []*actor // that have something to send
}

func (l *load) actor() *actor {
	for len(l.ready) < 4 {
		l.made++
		l.ready = append(l.ready, l.newActor(l.made))
	}
	return l.ready[l.random.IntN(len(l.ready))]
}

type values = map[string]any

func (l *load) newActor(n int) *actor {
	a := &actor{width: 1}
	step := func(name string, data any) { a.steps = append(a.steps, command{Command: name, Data: data}) }
	lines := func() (lines []values) {
		for _, p := range l.random.Perm(12)[:1+l.random.IntN(4)] {
			lines = append(lines, values{"productId": fmt.Sprintf("p%d", p), "quantity": 1 + l.random.IntN(9), "unitPrice": l.random.IntN(1000)})
		}
		return lines
	}
	basket := func(lines []values) values {
		return values{
			"customerId": fmt.Sprintf("c%d", l.random.IntN(7)),
			"country":    []string{"France", "Norway", "Peru"}[l.random.IntN(3)],
			"lines":      lines,
		}
	}
	switch kind := l.random.IntN(20); {
	case kind < 10:
		a.aggregate, a.entity = "Order", fmt.Sprintf("o%d", n)
		all := lines()
		step("Place", basket(all))
		switch end := l.random.IntN(10); {
		case end == 0: // never paid
		case end == 1:
			step("Cancel", values{"reason": "changed my mind"})
		default:
			step("Pay", nil)
			if end == 2 {
				step("Pay", nil)
				a.steps[len(a.steps)-1].refusal = "AlreadyPaid"
			}
			for i, line := range all {
				if end == 3 && i == len(all)-1 {
					step("Cancel", values{"reason": "took too long"})
					break
				}
				step("ShipLine", values{"productId": line["productId"]})
			}
		}
	case kind < 14:
		a.aggregate, a.entity = "Product", fmt.Sprintf("p%d", n)
		step("Add", values{"name": a.entity, "description": "", "price": 0})
		for i := range l.random.IntN(5) {
			step("ChangePrice", values{"price": i + 1})
		}
		step("Rename", values{"name": a.entity + " again"})
		if l.random.IntN(3) == 0 {
			step("Discontinue", nil)
		}
	case kind < 16:
		a.aggregate, a.entity = "Return", fmt.Sprintf("r%d", n)
		step("Record", basket(lines()))
	case kind < 17:
		a.aggregate, a.entity = "Customer", fmt.Sprintf("u%d", n)
		step("Register", values{"email": a.entity + "@example.com", "country": "Peru"})
		step("ChangeEmail", values{"email": a.entity + "@example.org"})
	case kind < 18:
		a.aggregate, a.entity = "Category", fmt.Sprintf("k%d", n)
		step("Add", values{"name": a.entity})
		step("Rename", values{"name": a.entity}) // no change
		step("Archive", nil)
	default:
		// One product that everybody changes at the same time: commands share
		// commits, its ids outlive snapshots.
		if l.hot == nil {
			l.hot = &actor{aggregate: "Product", entity: "hot", width: 1}
			l.hot.steps = []command{{Command: "Add", Data: values{"name": "hot", "description": "", "price": 0}}}
			a = l.hot
			break
		}
		if slices.Contains(l.ready, l.hot) {
			return l.newActor(n)
		}
		for range 10 {
			price := len(l.hot.steps) // a new one every time
			l.hot.steps = append(l.hot.steps, command{Command: "ChangePrice", Data: values{"price": price}})
		}
		a = l.hot
	}
	for i := range a.steps {
		s := &a.steps[i]
		s.Aggregate, s.ID, s.CommandID, s.actor = a.aggregate, a.entity, fmt.Sprintf("%s-%d", a.entity, i), a
	}
	return a
}

// take returns the next command of an actor that has one to send now.
func (l *load) take() *command {
	for {
		a := l.actor()
		if a.next == len(a.steps) || a.flying >= a.width {
			l.ready = slices.DeleteFunc(l.ready, func(other *actor) bool { return other == a })
			continue
		}
		c := &a.steps[a.next]
		a.next++
		a.flying++
		return c
	}
}

// landed says that a command was answered: its actor goes on.
func (l *load) landed(c *command) {
	a := c.actor
	a.flying--
	if a == l.hot {
		a.width = 8 // the product is there: its order does not matter from now on
	}
	if a.next < len(a.steps) && !slices.Contains(l.ready, a) {
		l.ready = append(l.ready, a)
	}
}

// answer is a line of output.
type answer struct {
	driver.Outcome
	Error string `json:"error"`
}

// killed is a run of processes that are killed again and again.
type killed struct {
	t      *testing.T
	shop   shopAt
	random *rand.Rand
	load   load

	flying                          map[string]*command       // by command id
	repeats                         map[string]*command       // answered before and sent again
	accepted                        map[string]driver.Outcome // what was acknowledged, by command id
	order                           []*command                // of accepted, in the order of the answers
	again                           []*command                // to be sent once more
	refused, lost, resent, repeated int
}

func TestKillNineAndAgain(t *testing.T) {
	t.Parallel()
	rounds := 50
	if testing.Short() {
		rounds = 10
	}
	random := randomSource(t)
	k := &killed{
		t: t, shop: newShop(t), random: random, load: load{random: random},
		flying: map[string]*command{}, repeats: map[string]*command{}, accepted: map[string]driver.Outcome{},
	}
	for round := range rounds {
		k.round(random.IntN(120))
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	k.last()
	if k.lost == 0 || k.resent == 0 || k.repeated == 0 || k.refused == 0 {
		t.Errorf("the test is too tame: %d commands in flight at a kill, %d sent again, %d repeated, %d refused", k.lost, k.resent, k.repeated, k.refused)
	}
	k.check()
	t.Logf("%d kills; %d commands acknowledged, %d refused; %d in flight when killed, %d of them sent again; %d acknowledged ones repeated",
		rounds, len(k.accepted), k.refused, k.lost, k.resent, k.repeated)
}

// round runs a process and kills it after so many answers.
func (k *killed) round(answers int) {
	p := k.shop.start("run", "--stdin")
	k.repeatSome()
	for n := 0; n < answers && !k.t.Failed(); n++ {
		k.fill(p)
		k.note(p.line())
	}
	k.fill(p)
	if err := p.cmd.Process.Kill(); err != nil {
		k.t.Fatal(err)
	}
	// What was printed before the end is an acknowledgement like any other. The
	// last line may be cut.
	for p.out.Scan() {
		if line := p.out.Text(); json.Valid([]byte(line)) {
			k.note(line)
		}
	}
	_ = p.cmd.Wait() // it was killed
	if text := p.err.String(); strings.Contains(text, "parked") || strings.Contains(text, "panic") || strings.Contains(text, "error:") {
		k.t.Errorf("the process said %.2000s", text)
	}
	clear(k.repeats)
	for _, c := range slices.SortedFunc(maps.Values(k.flying), func(a, b *command) int { return strings.Compare(a.CommandID, b.CommandID) }) {
		k.lost++
		if c.actor == k.load.hot && c.Command == "Add" || k.random.IntN(4) > 0 {
			k.again = append(k.again, c)
			continue
		}
		// Given up: nobody knows whether it took effect, so its entity is left alone.
		delete(k.flying, c.CommandID)
		c.actor.flying--
		if c.actor != k.load.hot {
			c.actor.next = len(c.actor.steps)
		}
	}
}

// repeatSome plans to send some commands again that were acknowledged.
func (k *killed) repeatSome() {
	hot := 0 // how many commands ago; the log answers for the last 256
	for i := len(k.order) - 1; i >= 0; i-- {
		c := k.order[i]
		if c.actor == k.load.hot {
			if hot++; hot > 150 {
				continue
			}
		}
		if k.random.IntN(len(k.order)) < 8 && k.repeats[c.CommandID] == nil {
			k.repeats[c.CommandID] = c
			k.again = append(k.again, c)
		}
	}
}

func (k *killed) fill(p *process) {
	k.t.Helper()
	send := func(c *command) {
		text, err := json.Marshal(c)
		if err != nil {
			k.t.Fatal(err)
		}
		p.ask(string(text))
	}
	for _, c := range k.again {
		if k.repeats[c.CommandID] == nil {
			k.resent++
		}
		send(c)
	}
	k.again = nil
	for len(k.flying)+len(k.repeats) < inFlight {
		c := k.load.take()
		k.flying[c.CommandID] = c
		send(c)
	}
}

// note takes an answer.
func (k *killed) note(line string) {
	k.t.Helper()
	a := decode[answer](k.t, []byte(line))
	c, repeat := k.flying[a.CommandID], false
	if c == nil {
		c, repeat = k.repeats[a.CommandID], true
	}
	switch {
	case c == nil:
		k.t.Errorf("an answer that nobody waits for: %s", line)
		return
	case a.Error != "":
		k.t.Errorf("command %+v: %s", c, a.Error)
	case repeat:
		// With events the answer is the recorded one; without there is nothing to record.
		if was := k.accepted[a.CommandID]; was.EventCount > 0 && !reflect.DeepEqual(a.Outcome, was) {
			k.t.Errorf("command %s was acknowledged with %+v, and the second time with %+v", a.CommandID, was, a.Outcome)
		}
		delete(k.repeats, a.CommandID)
		k.repeated++
		return
	case c.refusal != "":
		if a.Kind != driver.Rejected || a.Code != c.refusal {
			k.t.Errorf("command %+v: got %+v, want the refusal %s", c, a.Outcome, c.refusal)
		}
		k.refused++
	case a.Kind != driver.Accepted:
		k.t.Errorf("command %+v: got %+v, want it accepted", c, a.Outcome)
	default:
		k.accepted[a.CommandID] = a.Outcome
		k.order = append(k.order, c)
	}
	delete(k.flying, a.CommandID)
	k.load.landed(c)
}

// last lets everything come to its end.
func (k *killed) last() {
	p := k.shop.start("run", "--stdin")
	k.repeatSome()
	k.fill(p)
	for len(k.flying)+len(k.repeats) > 0 && !k.t.Failed() {
		k.note(p.line())
	}
	if err := p.in.Close(); err != nil {
		k.t.Fatal(err)
	}
	p.end()
	if p.err.Len() > 0 {
		k.t.Logf("the last process said %.2000s", p.err.String())
	}
}

func (k *killed) check() {
	k.t.Helper()
	stored := k.shop.commits()
	total := 0
	for _, commits := range stored {
		total += len(commits)
	}
	where := checkLog(k.t, stored)
	for id, o := range k.accepted {
		if o.EventCount == 0 {
			continue
		}
		at, ok := where[id]
		if !ok {
			k.t.Errorf("command %s was acknowledged with %+v, and is not in the log", id, o)
		} else if at.stream != o.EntityID || at.sequenceNr != o.SequenceNr || at.events != o.EventCount {
			k.t.Errorf("command %s was acknowledged with %+v, and lies in the log at %+v", id, o, at)
		}
	}
	want := foldShop(k.t, stored)
	checkReadModels(k.t, k.shop, want)
	if letters := k.shop.parked(); len(letters) > 0 {
		k.t.Errorf("parked: %+v", letters)
	}
	mails := k.shop.outbox()
	for id := range want.orders {
		if _, ok := mails[id+".eml"]; !ok {
			k.t.Errorf("order %s has no mail", id)
		}
	}
	if len(mails) != len(want.orders) {
		k.t.Errorf("%d mails for %d orders", len(mails), len(want.orders))
	}
	k.shop.open(func(p *sqlite.Provider) { checkPolicies(k.t, p, want) })
	k.t.Logf("%d commits, %d orders, %d products; %d commands to the product that all of them change",
		total, len(want.orders), len(want.products), len(k.load.hot.steps))
}

// place is where the log has a command.
type place struct {
	log, stream string
	sequenceNr  uint64
	events      int
}

// checkLog reports gaps, and commands that took effect twice. It returns where
// each command is.
func checkLog(t *testing.T, stored map[string][]driver.Commit) map[string]place {
	t.Helper()
	where := map[string]place{}
	for log, commits := range stored {
		last := map[string]uint64{}
		for _, c := range commits {
			if c.SequenceNr != last[c.Stream]+1 {
				t.Errorf("%s: stream %s: commit %d follows %d", log, c.Stream, c.SequenceNr, last[c.Stream])
			}
			last[c.Stream] = c.SequenceNr
			events := 0
			for _, a := range c.Commands {
				at := place{log, c.Stream, c.SequenceNr, a.EventCount}
				if other, twice := where[a.Meta.ID]; twice {
					t.Errorf("command %s took effect at %+v and at %+v", a.Meta.ID, other, at)
				}
				where[a.Meta.ID] = at
				events += a.EventCount
			}
			if events != len(c.Events) {
				t.Errorf("%s: stream %s: commit %d has %d events, its commands have %d", log, c.Stream, c.SequenceNr, len(c.Events), events)
			}
		}
	}
	return where
}

// shopState is the shop as its log tells it. The fold shares nothing with the
// projections.
type shopState struct {
	products, listings map[string]row
	history            map[string]row
	categories         map[string]row
	orders, lines      map[string]row
	customers, demand  map[string]row
	countries          map[string]row

	shipped map[string]int // lines of an order that were shipped
	paid    map[string]int // lines of a paid order
}

func foldShop(t *testing.T, stored map[string][]driver.Commit) *shopState {
	t.Helper()
	s := &shopState{
		products: map[string]row{}, listings: map[string]row{}, history: map[string]row{}, categories: map[string]row{},
		orders: map[string]row{}, lines: map[string]row{}, customers: map[string]row{}, demand: map[string]row{}, countries: map[string]row{},
		shipped: map[string]int{}, paid: map[string]int{},
	}
	for log, commits := range stored {
		for _, c := range commits {
			for i, e := range c.Events {
				data := decode[row](t, e.Data)
				switch log {
				case "Catalog.Product":
					s.product(c, i, e.Type, data)
				case "Catalog.Category":
					s.category(c.Stream, e.Type, data)
				case "Ordering.Listing":
					s.listing(c.Stream, e.Type, data)
				case "Ordering.Order":
					s.order(c, e.Type, data)
				case "Ordering.Return":
					s.count(data, "returns", "returned", "returned", "returned", 1)
				}
			}
		}
	}
	return s
}

func (s *shopState) product(c driver.Commit, index int, event string, data row) {
	id := c.Stream
	switch event {
	case "Added":
		s.products[id] = row{"productId": id, "name": data["name"], "price": data["price"], "discontinued": false}
		if category, ok := data["categoryId"]; ok {
			s.products[id]["categoryId"] = category
		}
	case "Renamed":
		s.products[id]["name"] = data["name"]
	case "PriceChanged":
		s.products[id]["price"] = data["price"]
	case "Discontinued":
		s.products[id]["discontinued"] = true
	}
	if event == "Added" || event == "PriceChanged" {
		position := fmt.Sprintf("%012d.%04d", c.SequenceNr, index)
		s.history[id+"\x00"+position] = row{"position": position, "price": data["price"], "at": c.RecordedAt.Format("2006-01-02T15:04:05.999999999Z07:00")}
	}
}

func (s *shopState) category(id, event string, data row) {
	switch event {
	case "Added":
		s.categories[id] = row{"categoryId": id, "name": data["name"], "archived": false}
	case "Renamed":
		s.categories[id]["name"] = data["name"]
	case "Archived":
		s.categories[id]["archived"] = true
	}
}

func (s *shopState) listing(id, event string, data row) {
	switch event {
	case "Listed":
		s.listings[id] = row{"productId": id, "name": data["name"], "price": data["price"]}
	case "Renamed":
		s.listings[id]["name"] = data["name"]
	case "Repriced":
		s.listings[id]["price"] = data["price"]
	case "Withdrawn":
		delete(s.listings, id)
	}
}

func (s *shopState) order(c driver.Commit, event string, data row) {
	id := c.Stream
	switch event {
	case "Placed":
		s.orders[id] = row{
			"orderId": id, "customerId": data["customerId"], "status": "placed", "total": number(total(data)),
			"lines": number(int64(len(data["lines"].([]any)))), "placedAt": c.RecordedAt.Format("2006-01-02T15:04:05Z"),
		}
		for _, l := range data["lines"].([]any) {
			l := maps.Clone(l.(row))
			l["orderId"], l["customerId"], l["shipped"] = id, data["customerId"], false
			s.lines[id+"\x00"+l["productId"].(string)] = l
		}
		s.count(data, "orders", "spent", "sold", "revenue", 1)
	case "Paid":
		s.orders[id]["status"] = "paid"
		s.paid[id] = int(integer(data["lines"]))
	case "LineShipped":
		s.lines[id+"\x00"+data["productId"].(string)]["shipped"] = true
		s.shipped[id]++
	case "Completed":
		s.orders[id]["status"] = "completed"
	case "Cancelled":
		s.orders[id]["status"] = "cancelled"
		s.count(data, "orders", "spent", "sold", "revenue", -1)
	}
}

// count adds a basket to the sums, in the fields of this name.
func (s *shopState) count(basket row, baskets, sum, pieces, revenue string, sign int64) {
	add := func(rows map[string]row, id string, fresh row, field string, n int64) {
		if rows[id] == nil {
			rows[id] = fresh
		}
		rows[id][field] = number(integer(rows[id][field]) + sign*n)
	}
	zero := number(0)
	who, where := basket["customerId"].(string), basket["country"].(string)
	customer := row{"customerId": who, "orders": zero, "spent": zero, "returns": zero, "returned": zero}
	country := row{"country": where, "orders": zero, "revenue": zero, "returned": zero}
	add(s.customers, who, customer, baskets, 1)
	add(s.customers, who, nil, sum, total(basket))
	add(s.countries, where, country, revenue, total(basket))
	if baskets == "orders" {
		add(s.countries, where, nil, "orders", 1)
	}
	for _, l := range basket["lines"].([]any) {
		id := l.(row)["productId"].(string)
		add(s.demand, id, row{"productId": id, "sold": zero, "returned": zero}, pieces, integer(l.(row)["quantity"]))
	}
}

func total(basket row) (sum int64) {
	for _, l := range basket["lines"].([]any) {
		sum += integer(l.(row)["quantity"]) * integer(l.(row)["unitPrice"])
	}
	return sum
}

func number(n int64) json.Number { return json.Number(strconv.FormatInt(n, 10)) }

func integer(n any) int64 {
	i, err := n.(json.Number).Int64()
	if err != nil {
		panic(err)
	}
	return i
}

func (s *shopState) readModels() map[string]map[string]row {
	return map[string]map[string]row{
		"Products": s.products, "PriceHistory": s.history, "Categories": s.categories, "Listings": s.listings,
		"Orders": s.orders, "OrderLines": s.lines, "CustomerTotals": s.customers, "ProductDemand": s.demand, "SalesByCountry": s.countries,
	}
}

// checkReadModels compares what show prints with the fold of the log.
func checkReadModels(t *testing.T, s shopAt, want *shopState) {
	t.Helper()
	subID := map[string]string{"OrderLines": "productId", "PriceHistory": "position"}
	for readModel, rows := range want.readModels() {
		shown := s.rows(readModel)
		for _, r := range shown {
			key := r["id"].(string)
			if sub := subID[readModel]; sub != "" {
				key += "\x00" + r[sub].(string)
			}
			delete(r, "id")
			if !reflect.DeepEqual(r, rows[key]) {
				t.Errorf("%s: row %q is %v, the fold of the log is %v", readModel, key, r, rows[key])
			}
		}
		if len(shown) != len(rows) {
			t.Errorf("%s has %d rows, the fold of the log %d", readModel, len(shown), len(rows))
		}
	}
}

// checkPolicies compares what happened by itself with what had to.
func checkPolicies(t *testing.T, p *sqlite.Provider, want *shopState) {
	t.Helper()
	scheduler, err := p.OpenScheduler(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	schedules, err := scheduler.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	waiting := map[string]bool{}
	for _, s := range schedules {
		if id, ok := strings.CutPrefix(s.Name, "dynamic/Ordering.CancelUnpaid/"); ok {
			waiting[id] = true
		}
	}
	counter, err := p.OpenCounter(t.Context(), "Ordering.ShippedLines")
	if err != nil {
		t.Fatal(err)
	}
	statuses := map[string]int{}
	for id, o := range want.orders {
		status := o["status"].(string)
		statuses[status]++
		if waiting[id] != (status == "placed") {
			t.Errorf("order %s is %s; its deadline is there: %v", id, status, waiting[id])
		}
		delete(waiting, id)
		shipped := want.paid[id] > 0 && want.shipped[id] == want.paid[id]
		if shipped != (status == "completed") {
			t.Errorf("order %s is %s, with %d of %d lines shipped", id, status, want.shipped[id], want.paid[id])
		}
		state, err := counter.State(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		count := driver.CounterState{Count: int64(want.shipped[id]), Target: int64(want.paid[id])}
		if shipped {
			count.Finished = 1
		}
		if state != count {
			t.Errorf("order %s: the counter is at %+v, want %+v", id, state, count)
		}
	}
	if len(waiting) > 0 {
		t.Errorf("deadlines of nobody: %v", waiting)
	}
	for id, product := range want.products {
		listing := want.listings[id]
		if product["discontinued"].(bool) {
			if listing != nil {
				t.Errorf("product %s is discontinued and on the shelf: %v", id, listing)
			}
		} else if listing == nil || listing["name"] != product["name"] || listing["price"] != product["price"] {
			t.Errorf("product %v is on the shelf as %v", product, listing)
		}
	}
	t.Logf("orders: %v", statuses)
}
