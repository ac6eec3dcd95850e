package reventlesstest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/extension"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/message"
)

// OfferTest tests how a plugin implements an extension point. [Offer] creates it.
type OfferTest struct {
	story
	def    *component.Definition
	w      *world
	events []driver.Event
	sends  []component.Action
	when   string // the last When
}

// Offer starts a test of an offer.
func Offer(t testing.TB, o *extension.Offer) *OfferTest {
	t.Helper()
	d := o.Definition()
	return &OfferTest{story: story{t: t, name: "offer " + d.Name}, def: d, w: newWorld()}
}

// When maps private events.
func (o *OfferTest) When(facts ...Fact) *OfferTest {
	o.t.Helper()
	o.step("When", showFacts(facts)...)
	o.when, o.events, o.sends = "When", nil, nil
	for _, f := range facts {
		if err := f.check(); err != nil {
			o.fatal("%v", err)
		}
		i := slices.IndexFunc(o.def.Offer.Publishes, func(p component.Publication) bool { return p.Source == f.source })
		if i < 0 {
			o.fatal("it publishes nothing of %s %s", kindName(f.source.Kind), f.source.Name)
		}
		events, commit := o.w.nextCommit(f)
		for _, e := range events {
			first, err := o.def.Offer.Publishes[i].Map(e)
			if err != nil {
				o.fatal("%v", err)
			}
			second, err := o.def.Offer.Publishes[i].Map(e)
			if err != nil {
				o.fatal("%v", err)
			}
			if a, b := showEvents(first), showEvents(second); !slices.Equal(a, b) {
				o.t.Fatalf("%s", o.text("Publish is not pure, the same event is mapped differently the second time\n"+mismatch("first", "second", a, b)))
			}
			o.events = append(o.events, first...)
		}
		commit()
	}
	return o
}

// WhenCommand sends a public command, which the point's To returns.
func (o *OfferTest) WhenCommand(send message.Send) *OfferTest {
	o.t.Helper()
	a := send.Erased()
	if a.Err != nil {
		o.fatal("WhenCommand: %v", a.Err)
	}
	o.step("WhenCommand", showAction(a))
	o.when, o.events, o.sends = "WhenCommand", nil, nil
	if a.Target != o.def.Offer.Point {
		o.fatal("the command is for %s %s", kindName(a.Target.Kind), a.Target.Name)
	}
	if o.def.Offer.Accept == nil {
		o.fatal("the extension point takes no commands")
	}
	var answers [2][]component.Action
	for i := range answers {
		var err error
		if answers[i], err = o.def.Offer.Accept(a.ID, a.Command); err != nil {
			o.fatal("%v", err)
		}
	}
	if a, b := showActions(answers[0]), showActions(answers[1]); !slices.Equal(a, b) {
		o.t.Fatalf("%s", o.text("Accept is not pure, the same command is mapped differently the second time\n"+mismatch("first", "second", a, b)))
	}
	o.sends = answers[0]
	for i, s := range o.sends {
		if err := allowed(o.def, s); err != nil {
			o.fatal("send %d, %s: %v", i+1, showAction(s), err)
		}
	}
	return o
}

// ThenPublishes expects that the private events were mapped to exactly these public
// events, in this order.
func (o *OfferTest) ThenPublishes(events ...message.Typed) *OfferTest {
	o.t.Helper()
	o.after("When", "ThenPublishes")
	want := make([]string, len(events))
	for i, e := range events {
		wire, err := o.encode(e)
		if err != nil {
			o.fatal("event %d of ThenPublishes: %v", i+1, err)
		}
		want[i] = showEvent(wire)
	}
	if got := showEvents(o.events); !slices.Equal(want, got) {
		o.differs("the published events differ", want, got)
	}
	return o
}

// ThenSends expects that the public command was mapped to exactly these private
// commands, in this order.
func (o *OfferTest) ThenSends(sends ...message.Send) *OfferTest {
	o.t.Helper()
	o.after("WhenCommand", "ThenSends")
	want := make([]component.Action, len(sends))
	for i, s := range sends {
		if want[i] = s.Erased(); want[i].Err != nil {
			o.fatal("send %d of ThenSends: %v", i+1, want[i].Err)
		}
	}
	sameActions(&o.story, want, o.sends)
	return o
}

// ThenNothing expects that nothing was published or sent.
func (o *OfferTest) ThenNothing() *OfferTest {
	o.t.Helper()
	if o.when == "WhenCommand" {
		return o.ThenSends()
	}
	return o.ThenPublishes()
}

func (o *OfferTest) after(when, then string) {
	o.t.Helper()
	if o.when != when {
		o.fatal("%s needs a %s before it", then, when)
	}
}

// encode encodes a public event.
func (o *OfferTest) encode(e message.Typed) (driver.Event, error) {
	for _, t := range o.def.Offer.Point.Point.Events {
		if t.Go == reflect.TypeOf(e) {
			data, err := json.Marshal(e)
			return driver.Event{Type: t.Name, Version: t.Version, Data: data}, err
		}
	}
	return driver.Event{}, fmt.Errorf("%T is not an event of the extension point", e)
}
