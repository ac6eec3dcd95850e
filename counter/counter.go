// Package counter declares counters: latches that count events towards a target
// and tell, once, that it was reached.
//
// A counter component holds any number of counters, told apart by id. Counts and
// targets come from automations and are idempotent by their reference; counts
// may come before the target. A counter is a source: the event [Finished]
// happens to the entity of its id.
package counter

import (
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/message"
)

// Finished happens to a counter once for every target that it reaches.
type Finished struct {
	// Target is the target that was reached.
	Target int64 `json:"target"`
}

// MessageType is the wire name.
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

// Count adds n, at least 1, to the counter of id, once per reference.
func (c *Counter) Count(id, reference string, n int64) message.Action {
	return component.Request(component.Action{Kind: component.AddCount, Target: c.Definition(), ID: id, Ref: reference, N: n})
}

// AddTarget adds target, at least 1, to the target of the counter of id, once
// per reference.
func (c *Counter) AddTarget(id, reference string, target int64) message.Action {
	return component.Request(component.Action{Kind: component.AddTarget, Target: c.Definition(), ID: id, Ref: reference, N: target})
}
