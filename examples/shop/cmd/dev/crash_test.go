package main_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/local/sqlite"
)

// inFlight is the number of concurrent commands.
const inFlight = 48

// command is a line of input. The program prints exactly one answer to it.
type command struct {
	Aggregate string `json:"aggregate"`
	Command   string `json:"command"`
	ID        string `json:"id"`
	CommandID string `json:"commandId"`
	Data      any    `json:"data,omitempty"`

	rejection string // the expected code; empty if the command must be accepted
	actor     *actor
}

// actor sends the commands of one entity, at most width at a time.
type actor struct {
	aggregate, entity string
	steps             []command
	next, flying      int
	width             int
}

// load generates the commands of customers.
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
				a.steps[len(a.steps)-1].rejection = "AlreadyPaid"
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
		// One product receives many commands at the same time, so that commands share
		// commits, and its command ids have to survive snapshots.
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

// landed records that a command was answered, so that its actor can send the next one.
func (l *load) landed(c *command) {
	a := c.actor
	a.flying--
	if a == l.hot {
		a.width = 8 // the product exists: from now on the order of its commands does not matter
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

// killed is a series of processes that are killed one after the other.
type killed struct {
	t      *testing.T
	shop   shopAt
	random *rand.Rand
	load   load

	flying                           map[string]*command       // by command id
	repeats                          map[string]*command       // answered before and sent again
	accepted                         map[string]driver.Outcome // what was acknowledged, by command id
	order                            []*command                // of accepted, in the order of the answers
	again                            []*command                // to be sent once more
	rejected, lost, resent, repeated int
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
	if k.lost == 0 || k.resent == 0 || k.repeated == 0 || k.rejected == 0 {
		t.Errorf("the test is too tame: %d commands in flight at a kill, %d sent again, %d repeated, %d rejected", k.lost, k.resent, k.repeated, k.rejected)
	}
	k.check()
	t.Logf("%d kills; %d commands acknowledged, %d rejected; %d in flight when killed, %d of them sent again; %d acknowledged ones repeated",
		rounds, len(k.accepted), k.rejected, k.lost, k.resent, k.repeated)
}

// round runs a process and kills it after a given number of answers.
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
	// Output printed before the kill is a valid acknowledgement. The last line can be
	// incomplete.
	for p.out.Scan() {
		if line := p.out.Text(); json.Valid([]byte(line)) {
			k.note(line)
		}
	}
	_ = p.cmd.Wait() // it was killed
	if text := p.err.String(); strings.Contains(text, "parked") || strings.Contains(text, "panic") || strings.Contains(text, "error:") {
		k.t.Errorf("the process logged %.2000s", text)
	}
	clear(k.repeats)
	for _, c := range slices.SortedFunc(maps.Values(k.flying), func(a, b *command) int { return strings.Compare(a.CommandID, b.CommandID) }) {
		k.lost++
		if c.actor == k.load.hot && c.Command == "Add" || k.random.IntN(4) > 0 {
			k.again = append(k.again, c)
			continue
		}
		// The command is not sent again. Whether it took effect is unknown, so its entity
		// gets no more commands, except for the hot product, where their order is irrelevant.
		delete(k.flying, c.CommandID)
		c.actor.flying--
		if c.actor != k.load.hot {
			c.actor.next = len(c.actor.steps)
		}
	}
}

// repeatSome schedules some acknowledged commands to be sent again.
func (k *killed) repeatSome() {
	hot := 0 // its number of later commands; the log remembers the last 256
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

// note records an answer.
func (k *killed) note(line string) {
	k.t.Helper()
	a := decode[answer](k.t, []byte(line))
	c, repeat := k.flying[a.CommandID], false
	if c == nil {
		c, repeat = k.repeats[a.CommandID], true
	}
	switch {
	case c == nil:
		k.t.Errorf("unexpected answer: %s", line)
		return
	case a.Error != "":
		k.t.Errorf("command %+v: %s", c, a.Error)
	case repeat:
		// A command that led to events gets its stored outcome again. The log has no outcome
		// of a command without events.
		if was := k.accepted[a.CommandID]; was.EventCount > 0 && !reflect.DeepEqual(a.Outcome, was) {
			k.t.Errorf("command %s was acknowledged with %+v, and the second time with %+v", a.CommandID, was, a.Outcome)
		}
		delete(k.repeats, a.CommandID)
		k.repeated++
		return
	case c.rejection != "":
		if a.Kind != driver.Rejected || a.Code != c.rejection {
			k.t.Errorf("command %+v: got %+v, want the rejection %s", c, a.Outcome, c.rejection)
		}
		k.rejected++
	case a.Kind != driver.Accepted:
		k.t.Errorf("command %+v: got %+v, want it accepted", c, a.Outcome)
	default:
		k.accepted[a.CommandID] = a.Outcome
		k.order = append(k.order, c)
	}
	delete(k.flying, a.CommandID)
	k.load.landed(c)
}

// last runs a process until all commands in flight are answered, and ends it normally.
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
		k.t.Logf("the last process logged %.2000s", p.err.String())
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
			k.t.Errorf("command %s was acknowledged with %+v, but is not in the log", id, o)
		} else if at.stream != o.EntityID || at.sequenceNr != o.SequenceNr || at.events != o.EventCount {
			k.t.Errorf("command %s was acknowledged with %+v, but the log has it at %+v", id, o, at)
		}
	}
	checkRebuilds(k.t, k.shop)
	if parked := k.shop.run("parked", "--json"); parked != "" {
		k.t.Errorf("parked: %s", parked)
	}
	mails, orders := k.shop.outbox(), k.shop.rows("Orders")
	for _, o := range orders {
		if _, ok := mails[o["orderId"].(string)+".eml"]; !ok {
			k.t.Errorf("order %v has no mail", o)
		}
	}
	if len(mails) != len(orders) {
		k.t.Errorf("%d mails for %d orders", len(mails), len(orders))
	}
	checkPolicies(k.t, k.shop, orders, stored["Ordering.Order"])
	k.t.Logf("%d commits, %d orders; %d commands to the product that all of them change", total, len(orders), len(k.load.hot.steps))
}

// place describes where a command is in the logs, and the number of its events.
type place struct {
	log, stream string
	sequenceNr  uint64
	events      int
}

// checkLog reports gaps in streams, commands that took effect twice, and commits with a
// wrong number of events. It returns the place of each command.
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

// checkRebuilds compares the rows of each read model, which the killed processes
// projected, with the rows that a rebuild from the log makes.
func checkRebuilds(t *testing.T, s shopAt) {
	t.Helper()
	for _, m := range readModels {
		projected := s.run("show", m, "--json")
		s.run("rebuild", m)
		if rebuilt := s.run("show", m, "--json"); projected != rebuilt {
			t.Errorf("%s has the rows\n%s\na rebuild gives\n%s", m, projected, rebuilt)
		}
	}
}

// checkPolicies compares what automations, schedules and counters did with the
// events of the orders, and the listings with the products.
func checkPolicies(t *testing.T, s shopAt, orders []row, commits []driver.Commit) {
	t.Helper()
	counts := map[string]driver.CounterState{}
	for _, c := range commits {
		for _, e := range c.Events {
			n := counts[c.Stream]
			switch e.Type {
			case "Paid":
				n.Target = decode[struct{ Lines int64 }](t, e.Data).Lines
			case "LineShipped":
				n.Count++
			}
			if n.Target > 0 && n.Count == n.Target {
				n.Finished = 1
			}
			counts[c.Stream] = n
		}
	}
	products, listings := s.rows("Products"), map[any]row{}
	for _, l := range s.rows("Listings") {
		listings[l["productId"]] = l
	}
	for _, p := range products {
		listing := listings[p["productId"]]
		if p["discontinued"].(bool) != (listing == nil) || listing != nil && (listing["name"] != p["name"] || listing["price"] != p["price"]) {
			t.Errorf("product %v is listed as %v", p, listing)
		}
	}
	s.open(func(p *sqlite.Provider) {
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
		statuses := map[any]int{}
		for _, o := range orders {
			id, status := o["orderId"].(string), o["status"]
			statuses[status]++
			if waiting[id] != (status == "placed") {
				t.Errorf("order %s is %s; its deadline is scheduled: %v", id, status, waiting[id])
			}
			delete(waiting, id)
			state, err := counter.State(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if state != counts[id] || (state.Finished == 1) != (status == "completed") {
				t.Errorf("order %s is %s, and the counter is at %+v, want %+v", id, status, state, counts[id])
			}
		}
		if len(waiting) > 0 {
			t.Errorf("deadlines without an order: %v", waiting)
		}
		t.Logf("orders: %v", statuses)
	})
}
