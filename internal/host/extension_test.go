package host_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/automation"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/extension"
	"github.com/reventless-go/reventless/internal/faults"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/readmodel"
	"github.com/reventless-go/reventless/schedule"
)

// Filled is the public event: a number was put into a jar.
type Filled struct {
	Total int `json:"total"`
}

func (Filled) MessageType() string { return "Filled" }

// Order is the public command: put two numbers into a jar.
type Order struct {
	N    int    `json:"n"`
	Half int    `json:"half"`
	How  string `json:"how"`
}

func (Order) MessageType() string { return "Order" }

// market is an App of two plugins that meet at an extension point.
type market struct {
	app     *reventless.App
	jar     *jarAggregate // of plugin Shop
	crate   *jarAggregate // of plugin Ordering
	point   *extension.Point[Order, Filled]
	rows    *readmodel.ReadModel[SumRow] // of Ordering, over public events
	private *readmodel.ReadModel[SumRow] // of Shop
}

func newMarket() *market {
	m := &market{jar: newJar(), crate: newJar(named("Crate"))}
	m.point = extension.NewPoint(extension.PointSpec[Order, Filled]{
		Name: "Filling", Commands: message.NewSet(Order{}), Events: message.NewSet(Filled{}),
	})
	offer := extension.NewOffer(m.point,
		extension.Publish(m.point, m.jar, func(e jarEvent) []Filled {
			a, ok := e.Data.(Added)
			if !ok {
				return nil
			}
			if a.Note == "unpublishable" {
				panic("cannot be published")
			}
			return []Filled{{a.N}, {-a.N}}
		}),
		extension.Accept(m.point, func(id string, c Order) []message.Send {
			switch c.How {
			case "empty":
				return []message.Send{{}}
			case "panic":
				panic("no")
			case "later":
				return []message.Send{m.jar.To(id, Put{N: c.N}).After(10 * time.Minute)}
			}
			return []message.Send{m.jar.To(id, Put{N: c.N}), m.jar.To(id, Put{N: c.Half})}
		}, m.jar))
	m.private = sums(m.jar)
	m.rows = readmodel.New(readmodel.Spec[SumRow]{Name: "Fillings", Projections: []readmodel.Projection[SumRow]{
		readmodel.On(m.point, func(e message.Event[Filled]) readmodel.Changes[SumRow] {
			return readmodel.UpdateOrCreate(e.EntityID, SumRow{}, func(r *SumRow) {
				r.Sum += max(e.Data.Total, 0)
				r.Count++
			})
		}),
	}})
	follow := extension.New(m.point, extension.Spec[Filled]{
		Name: "Follow",
		React: func(e message.Event[Filled]) message.Actions {
			return message.Actions{m.crate.To(e.EntityID, Put{N: e.Data.Total, Note: e.Meta.ID})}
		},
		Sends: plugin.Components{m.crate},
	})
	answer := automation.New(automation.Spec{
		Name: "Answer",
		Rules: automation.Rules{automation.On(m.crate, func(e jarEvent) message.Actions {
			switch d := e.Data.(type) {
			case Claimed:
				return message.Actions{m.point.To(d.By, Order{N: 10, Half: 5}), m.point.To(d.By, Order{N: 2, Half: 1})}
			case Released:
				return message.Actions{
					schedule.Create("s", schedule.Every(time.Hour), m.point.To("planned", Order{N: 1, Half: 2})),
					m.point.To("later", Order{N: 7, How: "later"}),
				}
			case Added:
				if d.Note == "stop" {
					return message.Actions{schedule.Delete("s")}
				}
			}
			return nil
		})},
		Sends: plugin.Components{m.point},
	})
	m.app = reventless.New("test",
		plugin.New(plugin.Spec{Name: "Shop", Heartbeat: -1, Components: plugin.Components{m.jar, offer, m.private}}),
		plugin.New(plugin.Spec{Name: "Ordering", Heartbeat: -1, Components: plugin.Components{m.crate, m.rows, follow, answer}}))
	return m
}

func TestPublicEventsAndCommandsCrossPlugins(t *testing.T) {
	t.Parallel()
	for _, readers := range []int{0, 2} {
		t.Run(fmt.Sprint(readers, " feed readers"), func(t *testing.T) {
			t.Parallel()
			seeds(t, 5, func(t *testing.T, seed uint64, rng *rand.Rand) {
				m := newMarket()
				r := start(t, m.app, limited(driver.Limits{MaxFeedReaders: readers}))
				d := disturbed(seed, rng)
				d.Drop, d.Commands = 0, true
				r.faults.Disturb(d)
				for range 15 {
					w := lostWays[rng.IntN(len(lostWays))]
					op := []string{"CommandTopic.Send", "EventTopic.Publish", "QueryDb.Apply", "Watermarks.Advance"}[rng.IntN(4)]
					r.faults.Inject(faults.Rule{Op: op, Skip: rng.IntN(10), Times: 2, Err: w.err, After: w.after})
				}
				for i := range 12 {
					r.insist(fmt.Sprint(i), m.jar.To(fmt.Sprint("a", i%2), Put{N: i + 1}))
				}
				r.insist("claim", m.crate.To("x", Claim{By: "b"}))
				r.finish()
				wantEqual(t, "mapped commands", r.history("Shop.Jar", "b"), []string{`Added{"n":10}`, `Added{"n":5}`, `Added{"n":2}`, `Added{"n":1}`})
				wantRows(r, m.rows, map[string]SumRow{"a0": {36, 12}, "a1": {42, 12}, "b": {18, 8}})
				want := []string{}
				for i := range 6 {
					n := 2*i + 1
					want = append(want, fmt.Sprintf(`Added{"n":%d,"note":"Shop.Jar/a0/%d.0+a"}`, n, i+1), fmt.Sprintf(`Added{"n":%d,"note":"Shop.Jar/a0/%d.0+b"}`, -n, i+1))
				}
				wantEqual(t, "followed", r.history("Ordering.Crate", "a0"), want)
			})
		})
	}
}

func TestPublicCommandOfACallerIsMapped(t *testing.T) {
	t.Parallel()
	m := newMarket()
	r := start(t, m.app)
	for range 3 { // under one id
		if o := r.send("1", m.point.To("a", Order{N: 4, Half: 2})); o.Kind != driver.Accepted || o.CommandID != "1" {
			t.Errorf("got %+v", o)
		}
	}
	wantEqual(t, "events", r.history("Shop.Jar", "a"), []string{`Added{"n":4}`, `Added{"n":2}`})
	for _, how := range []string{"empty", "panic"} {
		_, err := r.try("bad "+how, m.point.To("a", Order{How: how}))
		wantIs(t, err, driver.ErrInvalid)
		wantText(t, err.Error(), map[string]string{"empty": "Shop.Filling", "panic": "panic"}[how])
	}
	if o := r.send("later", m.point.To("a", Order{N: 9, How: "later"})); o.Kind != driver.Pending {
		t.Errorf("a command with a delay: got %+v, want it pending", o)
	}
	r.advance(9 * time.Minute)
	wantEqual(t, "events", len(r.history("Shop.Jar", "a")), 2)
	r.advance(time.Minute)
	wantEqual(t, "events", len(r.history("Shop.Jar", "a")), 3)
}

func TestDelayAndScheduleOfPublicCommandsAreKept(t *testing.T) {
	t.Parallel()
	m := newMarket()
	r := start(t, m.app)
	r.accept("1", m.crate.To("x", Claim{By: "b"}))
	r.accept("2", m.crate.To("x", Release{}))
	r.idle()
	wantEqual(t, "events before the delay has passed", r.history("Shop.Jar", "later"), []string{})
	r.advance(10 * time.Minute)
	wantEqual(t, "events after it", r.history("Shop.Jar", "later"), []string{`Added{"n":7}`})
	r.advance(2 * time.Hour)
	wantEqual(t, "planned", r.history("Shop.Jar", "planned"), []string{`Added{"n":1}`, `Added{"n":2}`, `Added{"n":1}`, `Added{"n":2}`})
	// A schedule that sends two commands is deleted as one.
	r.accept("3", m.crate.To("x", Put{Note: "stop"}))
	r.advance(3 * time.Hour)
	wantEqual(t, "planned", len(r.history("Shop.Jar", "planned")), 4)
	wantEqual(t, "schedules", schedules(r, ""), "[]")
	r.wantNothingParked()
}

func TestMappingThatFailsBlocksItsConsumersOnly(t *testing.T) {
	t.Parallel()
	m := newMarket()
	r := start(t, m.app)
	for i, note := range []string{"", "unpublishable", ""} {
		r.accept(fmt.Sprint("a", i), m.jar.To("a", Put{N: 1, Note: note}))
		r.accept(fmt.Sprint("b", i), m.jar.To("b", Put{N: 1}))
	}
	r.idle()
	wantRows(r, m.private, map[string]SumRow{"a": {3, 3}, "b": {3, 3}})
	wantRows(r, m.rows, map[string]SumRow{"a": {1, 2}, "b": {3, 6}})
	var blocked []string
	for _, l := range r.deadLetters() {
		blocked = append(blocked, fmt.Sprint(l.Component, l.SequenceNr))
		wantText(t, l.Reason, "panic")
	}
	wantEqual(t, "blocked", strings.Join(blocked, " "), "Ordering.Fillings2 Ordering.Follow2")
}
