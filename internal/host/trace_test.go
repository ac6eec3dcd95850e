package host_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/automation"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/extension"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/schedule"
)

// Trace context, user and correlation are copied from a command to its events, and from
// them to the commands that they cause: immediate, delayed and scheduled ones, across
// an extension point and through the queue of an asynchronous aggregate.
func TestMetaIsPropagatedFromACommandToAllItCauses(t *testing.T) {
	t.Parallel()
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	jar, crate, box, bin := newJar(), newJar(named("Crate")), newJar(named("Box"), asynchronous), newJar(named("Bin"))
	point := extension.NewPoint(extension.PointSpec[Order, Filled]{
		Name: "Filling", Commands: message.NewSet(Order{}), Events: message.NewSet(Filled{}),
	})
	offer := extension.NewOffer(point,
		extension.Publish(point, jar, func(e jarEvent) []Filled { return []Filled{{e.Data.(Added).N}} }),
		extension.Accept(point, func(id string, c Order) []message.Send { return []message.Send{crate.To(id, Put{N: c.N})} }, crate))
	spread := rule("Spread", jar, func(e jarEvent) message.Actions {
		return message.Actions{
			crate.To("at once", Put{N: 1}),
			crate.To("later", Put{N: 1}).After(time.Minute),
			schedule.Create("s", schedule.At(e.RecordedAt.Add(time.Minute)), crate.To("planned", Put{N: 1})),
			point.To("public command", Order{N: 1}),
		}
	}, crate, point)
	onward := rule("Onward", crate, func(e jarEvent) message.Actions {
		return message.Actions{box.To("from "+e.EntityID, Put{N: 1})}
	}, box)
	var mu sync.Mutex
	seen := map[string]driver.Meta{}
	keep := func(_ context.Context, _ plugin.Env, e jarEvent) error {
		mu.Lock()
		defer mu.Unlock()
		seen[e.EntityID] = driver.Meta(e.Meta)
		return nil
	}
	follow := extension.New(point, extension.Spec[Filled]{
		Name: "Follow",
		React: func(e message.Event[Filled]) message.Actions {
			return message.Actions{bin.To("from the public event", Put{N: 1})}
		},
		Sends: plugin.Components{bin},
	})
	r := start(t, reventless.New("test",
		plugin.New(plugin.Spec{Name: "Shop", Heartbeat: -1, Components: plugin.Components{
			jar, crate, box, offer, spread, onward,
			automation.NewSideEffect(automation.SideEffectSpec{Name: "Keep", Effects: automation.Effects{automation.Do(jar, keep), automation.Do(crate, keep), automation.Do(box, keep)}}),
		}}),
		plugin.New(plugin.Spec{Name: "Far", Heartbeat: -1, Components: plugin.Components{
			bin, follow, sideEffect("Keep", keep, bin),
		}})))
	meta := driver.Meta{TraceParent: parent, User: "ada", CorrelationID: "corr", IP: "10.0.0.1", Headers: map[string]string{"k": "v"}}
	if _, err := r.SendAction(t.Context(), "1", meta, jar.To("root", Put{N: 1}).Erased()); err != nil {
		t.Fatal(err)
	}
	r.advance(2 * time.Minute)
	r.wantNothingParked()
	ids := []string{"root", "at once", "later", "planned", "public command"}
	for _, id := range ids[1:] {
		ids = append(ids, "from "+id)
	}
	for _, id := range append(ids, "from the public event") {
		m := seen[id]
		wantEqual(t, "trace, user and correlation of "+id, fmt.Sprint(m.TraceParent, m.User, m.CorrelationID), parent+"ada"+"corr")
	}
	m := r.commits("Shop.Crate", "at once")[0].Commands[0].Meta
	wantEqual(t, "origin", fmt.Sprint(m.CausationID, m.Service, m.IP, m.Headers), "Shop.Jar/root/1.0"+"10.0.0.1"+"map[k:v]")
	// The logs contain it with the answered command of each commit.
	for _, log := range []string{"Shop.Jar", "Shop.Crate", "Shop.Box", "Far.Bin"} {
		for _, c := range r.commits(log, "") {
			wantEqual(t, "trace of the command of "+c.Stream, c.Commands[0].Meta.TraceParent, parent)
		}
	}
	// A repetition with another trace changes no stored meta.
	meta.TraceParent = "00-00000000000000000000000000000001-0000000000000001-00"
	if _, err := r.SendAction(t.Context(), "1", meta, jar.To("root", Put{N: 1}).Erased()); err != nil {
		t.Fatal(err)
	}
	r.idle()
	wantEqual(t, "commits", len(r.commits("Shop.Jar", "root")), 1)
	wantEqual(t, "trace", r.commits("Shop.Jar", "root")[0].Commands[0].Meta.TraceParent, parent)
}
