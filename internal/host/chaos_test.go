package host_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/faults"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/readmodel"
)

// EntryRow is a row for each number that was put into a jar.
type EntryRow struct {
	At string `json:"at"`
	N  int    `json:"n"`
}

// OwnerRow is the owner of a jar.
type OwnerRow struct {
	By string `json:"by"`
}

// KindRow counts the events of one type; an id has several rows.
type KindRow struct {
	Kind string `json:"kind"`
	N    int    `json:"n"`
}

// shelf is an App with read models of all kinds on two logs.
type shelf struct {
	jar, crate *jarAggregate
	sums       *readmodel.ReadModel[SumRow]   // one log, the entity's own row
	totals     *readmodel.ReadModel[SumRow]   // both logs, rows that many streams change
	entries    *readmodel.ReadModel[EntryRow] // sub ids, blind writes
	latest     *readmodel.ReadModel[EntryRow] // sub ids, all rows of an id at once
	kinds      *readmodel.ReadModel[KindRow]  // sub ids, both logs, counts in rows
	owners     *readmodel.ReadModel[OwnerRow] // rows that are created and deleted
}

func slot(n int) string { return fmt.Sprint(n % 4) }

func lastTwo(rows []EntryRow) []EntryRow { return rows[max(0, len(rows)-2):] }

func newShelf(crate ...func(*jarSpec)) *shelf {
	s := &shelf{jar: newJar(), crate: newJar(append(crate, named("Crate"))...)}
	s.sums = sums(s.jar, func(spec *readmodel.Spec[SumRow]) { spec.OwnRow = true })
	total := func(e jarEvent) readmodel.Changes[SumRow] {
		return slices.Concat(addTo("all", e), addTo("in "+e.EntityID[:1], e))
	}
	s.totals = readmodel.New(readmodel.Spec[SumRow]{
		Name: "Totals", Projections: []readmodel.Projection[SumRow]{readmodel.On(s.jar, total), readmodel.On(s.crate, total)},
	})
	put := func(e jarEvent) readmodel.Changes[EntryRow] {
		if a, ok := e.Data.(Added); ok {
			return readmodel.Put(e.EntityID, EntryRow{e.Position.String(), a.N})
		}
		return nil
	}
	s.entries = readmodel.New(readmodel.Spec[EntryRow]{
		Name: "Entries", SubID: "at", Projections: []readmodel.Projection[EntryRow]{readmodel.On(s.jar, put)},
	})
	s.latest = readmodel.New(readmodel.Spec[EntryRow]{
		Name: "Latest", SubID: "at",
		Projections: []readmodel.Projection[EntryRow]{readmodel.On(s.jar, func(e jarEvent) readmodel.Changes[EntryRow] {
			a, ok := e.Data.(Added)
			if !ok {
				return nil
			}
			// First a row is overwritten without a read, then all rows are read.
			return slices.Concat(
				readmodel.Put(e.EntityID, EntryRow{slot(a.N), a.N}),
				readmodel.UpdateRows(e.EntityID, lastTwo),
			)
		})},
	})
	kind := func(e jarEvent) readmodel.Changes[KindRow] {
		kind := e.Data.MessageType()
		return slices.Concat(
			readmodel.UpdateOrCreate("all", KindRow{Kind: kind}, func(r *KindRow) { r.N++ }),
			readmodel.UpdateOrCreate("in "+e.EntityID[:1], KindRow{Kind: kind}, func(r *KindRow) { r.N++ }),
		)
	}
	s.kinds = readmodel.New(readmodel.Spec[KindRow]{
		Name: "Kinds", SubID: "kind", Projections: []readmodel.Projection[KindRow]{readmodel.On(s.jar, kind), readmodel.On(s.crate, kind)},
	})
	s.owners = readmodel.New(readmodel.Spec[OwnerRow]{
		Name: "Owners", Projections: []readmodel.Projection[OwnerRow]{readmodel.On(s.jar, func(e jarEvent) readmodel.Changes[OwnerRow] {
			switch d := e.Data.(type) {
			case Claimed:
				return readmodel.Create(e.EntityID, OwnerRow(d))
			case Released:
				return readmodel.Delete[OwnerRow](e.EntityID)
			}
			return nil
		})},
	})
	return s
}

func (s *shelf) app(more ...plugin.Component) *reventless.App {
	return app(append(more, s.jar, s.crate, s.sums, s.totals, s.entries, s.latest, s.kinds, s.owners)...)
}

// check compares every read model with the logs, from which it computes the rows by
// other code.
func (s *shelf) check(r *run) {
	r.t.Helper()
	sum, total, entry := map[string]SumRow{}, map[string]SumRow{}, map[string]EntryRow{}
	kind, owner := map[string]KindRow{}, map[string]OwnerRow{}
	add := func(m map[string]SumRow, id string, n int) { m[id] = SumRow{m[id].Sum + n, m[id].Count + 1} }
	slots := map[string][]EntryRow{}
	for _, log := range []string{"Shop.Jar", "Shop.Crate"} {
		for _, c := range r.commits(log, "") {
			for i, e := range c.Events {
				group := "in " + c.Stream[:1]
				for _, id := range []string{"all", group} {
					k := id + "/" + e.Type
					kind[k] = KindRow{e.Type, kind[k].N + 1}
				}
				var data struct {
					N  int
					By string
				}
				if err := json.Unmarshal(e.Data, &data); err != nil {
					r.t.Fatal(err)
				}
				if e.Type == "Added" {
					add(total, "all", data.N)
					add(total, group, data.N)
				}
				if log != "Shop.Jar" {
					continue
				}
				switch e.Type {
				case "Added":
					add(sum, c.Stream, data.N)
					row := EntryRow{message.Position{SequenceNr: c.SequenceNr, Index: i}.String(), data.N}
					entry[c.Stream+"/"+row.At] = row
					slots[c.Stream] = append(slices.DeleteFunc(slots[c.Stream], func(r EntryRow) bool { return r.At == slot(data.N) }), EntryRow{slot(data.N), data.N})
					slices.SortFunc(slots[c.Stream], func(a, b EntryRow) int { return cmp.Compare(a.At, b.At) })
					slots[c.Stream] = lastTwo(slots[c.Stream])
				case "Claimed":
					owner[c.Stream] = OwnerRow{data.By}
				case "Released":
					delete(owner, c.Stream)
				}
			}
		}
	}
	latest := map[string]EntryRow{}
	for stream, rows := range slots {
		for _, row := range rows {
			latest[stream+"/"+row.At] = row
		}
	}
	wantRows(r, s.sums, sum)
	wantRows(r, s.totals, total)
	wantRows(r, s.entries, entry)
	wantRows(r, s.latest, latest)
	wantRows(r, s.kinds, kind)
	wantRows(r, s.owners, owner)
	if len(sum) == 0 {
		r.t.Error("nothing was put into any jar")
	}
}

// traffic sends random commands to some jars and crates, from two goroutines.
func (s *shelf) traffic(r *run, seed uint64, n int) {
	var wg sync.WaitGroup
	for g := range 2 {
		rng := rand.New(rand.NewPCG(seed, uint64(g)))
		wg.Go(func() {
			for i := range n {
				send := s.random(rng.IntN, i)
				r.insist(fmt.Sprintf("%d-%d-%x", g, i, rng.Uint64()), send)
			}
		})
	}
	wg.Wait()
}

// random returns the i-th of some random commands for a jar or a crate.
func (s *shelf) random(intN func(int) int, i int) message.Send {
	id := fmt.Sprintf("%c%d", 'a'+intN(2), intN(4))
	var c Command
	switch intN(8) {
	case 0:
		c = Claim{By: fmt.Sprint(i)}
	case 1:
		c = Release{}
	case 2:
		c = Burst{N: 1 + intN(4)}
	default:
		c = Put{N: intN(100)}
	}
	if intN(3) == 0 {
		return s.crate.To(id, c)
	}
	return s.jar.To(id, c)
}

// insist repeats a command until it has an outcome.
func (r *run) insist(id string, s message.Send) {
	var err error
	for range 100 {
		if _, err = r.try(id, s); err == nil {
			return
		}
	}
	r.t.Errorf("send %s: no outcome: %v", id, err)
}

// last sends one more command to every stream, so that dropped records are caught up.
func (s *shelf) last(r *run, n int) {
	for _, log := range []string{"Shop.Jar", "Shop.Crate"} {
		streams := map[string]bool{}
		for _, c := range r.commits(log, "") {
			streams[c.Stream] = true
		}
		target := s.jar
		if log == "Shop.Crate" {
			target = s.crate
		}
		for _, id := range slices.Sorted(maps.Keys(streams)) {
			r.insist(fmt.Sprint("last", n, log, id), target.To(id, Put{N: 1000}))
		}
	}
}

// breakStores makes the stores of read models fail at random.
func breakStores(p *faults.Provider, rng *rand.Rand) {
	ops := []string{
		"QueryDb.Apply", "QueryDb.Apply", "QueryDb.Apply", "QueryDb.Watermarks", "QueryDb.LoadRows", "QueryDb.Load",
		"EventLog.Read", "EventCollector.Receive", "EventCollector.Settle",
	}
	for range 40 {
		w, op := lostWays[rng.IntN(len(lostWays))], ops[rng.IntN(len(ops))]
		after := w.after
		switch op { // an unsettled delivery stays leased for minutes
		case "EventCollector.Receive":
			after = false
		case "EventCollector.Settle":
			after = true
		}
		p.Inject(faults.Rule{Op: op, Skip: rng.IntN(30), Times: 1 + rng.IntN(3), Err: w.err, After: after, Yield: rng.IntN(3)})
	}
}

// roomFor leaves the size of steps unlimited, or limits it so that commits with several
// events are applied in parts.
func roomFor(rng *rand.Rand) func(*setup) {
	if rng.IntN(2) == 0 {
		return func(*setup) {}
	}
	return limited(driver.Limits{MaxStep: 6})
}

func disturbed(seed uint64, rng *rand.Rand) faults.Deliveries {
	return faults.Deliveries{
		Seed: seed, Double: cmp.Or(rng.Float64(), 0.5), Hold: rng.Float64() / 2, Doorbell: rng.Float64(),
		Drop: rng.Float64() / 3, Shuffle: rng.IntN(3) > 0,
	}
}

func TestReadModelsEqualTheLogWhateverTheTransportDoes(t *testing.T) {
	t.Parallel()
	seeds(t, 40, func(t *testing.T, seed uint64, rng *rand.Rand) {
		s := newShelf()
		topic, route := seed%4 == 0, func(*setup) {}
		if topic {
			route = behindTopic
		}
		r := start(t, s.app(), roomFor(rng), route)
		r.faults.Disturb(disturbed(seed, rng))
		breakStores(r.faults, rng)
		for range 10 {
			w := lostWays[rng.IntN(len(lostWays))]
			r.faults.Inject(faults.Rule{Op: "EventTopic.Publish", Skip: rng.IntN(10), Times: 1 + rng.IntN(3), Err: w.err, After: w.after})
		}
		r.faults.Inject(faults.Rule{Op: "EventTopic.Publish", Key: "a1", Member: true, Skip: rng.IntN(5), Times: 3, Err: driver.ErrThrottled})
		s.traffic(r, seed, 40)
		r.idle()
		r.faults.Calm()
		s.last(r, 0)
		r.finish()
		s.check(r)
		if used := r.faults.Calls("EventTopic.Publish", "Shop.Jar") > 0; used != topic {
			t.Errorf("the topic was used: %v, want %v", used, topic)
		}
	})
}

// Both hosts get every record: the watermarks decide which of them applies it.
func TestTwoHostsThatBothApplyEveryRecordApplyItOnce(t *testing.T) {
	t.Parallel()
	seeds(t, 20, func(t *testing.T, seed uint64, rng *rand.Rand) {
		s := newShelf()
		one := start(t, s.app(), roomFor(rng))
		two := start(t, s.app(), on(one), ownFeed)
		for _, r := range []*run{one, two} {
			r.faults.Disturb(disturbed(seed, rng))
			breakStores(r.faults, rng)
		}
		var wg sync.WaitGroup
		wg.Go(func() { s.traffic(one, seed, 30) })
		wg.Go(func() {
			for i := range 30 {
				two.insist(fmt.Sprint("two", i), s.jar.To(fmt.Sprint("a", i%4), Put{N: i}))
			}
		})
		wg.Wait()
		rest(one, two)
		one.faults.Calm()
		two.faults.Calm()
		s.last(one, 0)
		rest(one, two)
		one.wantNothingParked()
		s.check(one)
	})
}

func TestRecordThatCannotBeDecodedIsParkedAndTheOthersAreApplied(t *testing.T) {
	t.Parallel()
	for consumer, component := range map[string]string{"Shop.Totals": "Shop.Totals", "relay/Shop.Jar": "Shop.Jar"} {
		t.Run(consumer, func(t *testing.T) {
			t.Parallel()
			s := newShelf()
			route := func(*setup) {}
			if consumer != component {
				route = behindTopic
			}
			r := start(t, s.app(), route)
			r.faults.Disturb(faults.Deliveries{Seed: 3, Garbage: 0.5, Doorbell: 0.5, Only: func(c string) bool { return c == consumer }})
			s.traffic(r, 3, 60)
			r.idle()
			s.check(r)
			letters := r.deadLetters()
			if len(letters) == 0 {
				t.Error("nothing was parked")
			}
			for _, l := range letters {
				if l.Kind != driver.DeadRaw || l.Component != component {
					t.Errorf("got dead letter %+v", l)
				}
				wantText(t, string(l.Body), "garbage")
				wantText(t, l.Reason, "injected garbage")
				if err := r.Redrive(t.Context(), l.ID); err == nil {
					t.Error("redrive of a record that cannot be decoded: no error")
				}
			}
			wantEqual(t, "dead letters after redriving", fmt.Sprint(r.deadLetters()), fmt.Sprint(letters))
			for _, l := range letters {
				r.discard(l.ID)
			}
			r.wantNothingParked()
		})
	}
}
