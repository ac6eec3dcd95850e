// Package counter declares counters, which count towards a target and publish one
// event when they reach it.
//
//	var ShippedLines = counter.New(counter.Spec{Name: "ShippedLines"})
//
//	ShippedLines.AddTarget(orderID, "paid", 3)    // an action: wait for 3 lines
//	ShippedLines.Count(orderID, "line-1", 1)      // an action: one is shipped
//
// A counter component has any number of counters, each with an id. Automations and
// tasks count and set targets. Each count and each target has a reference: an action
// that is repeated with the same reference has no effect. Counts may precede the
// target. A counter is a source of events: when the sum of its counts reaches the
// sum of its targets, the event [Finished] happens to the entity of the counter's id.
package counter

import (
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/message"
)

// Finished happens to a counter when it reaches its target.
type Finished struct {
	// Target is the target that the counter reached.
	Target int64 `json:"target"`
}

// MessageType returns the wire name.
func (Finished) MessageType() string { return "CountFinished" }

var events = component.NewSet(Finished{})

// Counter is a declared counter.
type Counter struct{ source }

type source = component.Source[Finished]

// Spec declares a counter.
type Spec struct {
	// Name is a capital letter followed by letters and digits; it names the log
	// of the counter's events and never changes once events are stored.
	Name string
	// Doc is a sentence for readers of the topology.
	Doc string
}

// New declares a counter. It panics when the name is invalid.
func New(spec Spec) *Counter {
	component.CheckName(component.KindCounter, spec.Name)
	return &Counter{component.DeclareSource(&component.Definition{
		Kind: component.KindCounter, Name: spec.Name, Doc: spec.Doc, Counter: &component.Counter{Events: events.Types()},
	}, events)}
}

// Count returns the action that adds n, which is at least 1, to the counter of id. A
// counter counts each reference once.
func (c *Counter) Count(id, reference string, n int64) message.Action {
	return component.Request(component.Action{Kind: component.AddCount, Target: c.Definition(), ID: id, Ref: reference, N: n})
}

// AddTarget returns the action that adds target, which is at least 1, to the target
// of the counter of id. A counter adds each reference once.
func (c *Counter) AddTarget(id, reference string, target int64) message.Action {
	return component.Request(component.Action{Kind: component.AddTarget, Target: c.Definition(), ID: id, Ref: reference, N: target})
}
