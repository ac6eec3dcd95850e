package reventlesstest

import (
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/internal/ids"
	"github.com/reventless-go/reventless/message"
)

// Fact is a commit of an entity, with one or several events. [Event] creates it.
type Fact struct {
	source *component.Definition
	id     string
	events []driver.Event
	at     time.Time
	edits  []func(*message.Meta)
	err    error
}

// Event returns the fact that events happened to the entity with this id, in one
// commit. source is an aggregate, an extension point or a counter. The test numbers the
// commits of each entity, and gives the events the ids and the meta that a host would
// give them.
//
// An event that does not belong to source fails the test that gets the fact. (The
// compiler cannot check it: if events had type E, it would infer E from the first of
// them, not from source.)
func Event[E message.Typed](source message.Source[E], id string, events ...message.Typed) Fact {
	f := Fact{source: source.Definition(), id: id}
	f.err = driver.CheckID("entity", id)
	if len(events) == 0 {
		f.err = errors.New("no events")
	}
	for _, e := range events {
		if f.err != nil {
			break
		}
		typed, ok := e.(E)
		if !ok {
			f.err = fmt.Errorf("%T is not an event of %s, which are: %s", e, f.source.Name, source.EventSet())
			break
		}
		var wire driver.Event
		wire, _, f.err = throughWire(source.EventSet(), typed)
		f.events = append(f.events, wire)
	}
	if f.err != nil {
		f.err = fmt.Errorf("event of %s %q: %w", f.source.Name, id, f.err)
	}
	return f
}

// At returns the fact with the time at which it happened. Facts without a time happen
// one second after the fact before them.
func (f Fact) At(at time.Time) Fact {
	f.at = at.UTC()
	return f
}

// With returns the fact with changed meta: edit sets, for example, the user or a
// header.
func (f Fact) With(edit func(*message.Meta)) Fact {
	f.edits = append(f.edits[:len(f.edits):len(f.edits)], edit)
	return f
}

// check returns an error if the fact is invalid.
func (f Fact) check() error {
	if f.source == nil {
		return errors.New("a fact is empty; use Event")
	}
	return f.err
}

// String returns the fact as failure messages show it.
func (f Fact) String() string {
	s := fmt.Sprintf("%s %q:", f.source.Name, f.id)
	for i, e := range f.events {
		if i > 0 {
			s += ","
		}
		s += " " + showEvent(e)
	}
	return s
}

// history numbers the commits of facts.
type history struct {
	clock *Clock
	last  map[stream]uint64
	count int
}

type stream struct {
	source *component.Definition
	id     string
}

// nextCommit returns the events of a fact as the next commit of its stream. The caller
// calls commit after the fact was applied; it advances the sequence number.
func (h *history) nextCommit(f Fact) (events []component.Event, commit func()) {
	at := f.at
	if at.IsZero() {
		at = h.clock.Now().Add(time.Second)
	}
	h.clock.set(at)
	h.count++
	key := stream{f.source, f.id}
	nr := h.last[key] + 1
	command := driver.Meta{ID: ids.Derive(time.Time{}, "reventlesstest", fmt.Sprint(h.count)), Service: f.source.Name, Time: at}
	for i, e := range f.events {
		meta := command.Derive(fmt.Sprintf("%s/%s/%d.%d", f.source.Name, f.id, nr, i), f.source.Name, at)
		for _, edit := range f.edits {
			edit((*message.Meta)(&meta))
		}
		events = append(events, component.Event{
			Log: f.source.Name, Stream: f.id, SequenceNr: nr, Index: i, RecordedAt: at, Meta: meta, Event: e,
		})
	}
	return events, func() { h.last[key] = nr }
}

// throughWire encodes and decodes v. The error names what JSON loses.
func throughWire[T message.Typed](set *component.Set[T], v T) (driver.Event, T, error) {
	wire, err := set.Encode(v)
	if err != nil {
		return wire, v, err
	}
	back, err := set.Decode(wire)
	if err != nil {
		return wire, v, fmt.Errorf("%s cannot be decoded from its own JSON %s: %w", wire.Type, wire.Data, err)
	}
	if before, after := dump(reflect.ValueOf(v)), dump(reflect.ValueOf(back)); before != after {
		return wire, v, fmt.Errorf("%s does not survive JSON:\n%s", wire.Type, mismatch("before", "after", []string{before}, []string{after}))
	}
	return wire, back, nil
}
