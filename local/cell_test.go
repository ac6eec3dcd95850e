package local_test

import (
	"slices"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
)

// A cell has the state that clients compete for: a register, a sum and a set of names.
type (
	cellCommand interface {
		message.Typed
		isCellCommand()
	}
	// write sets the register; swap sets it if its value is Old.
	write struct{ Value int }
	swap  struct{ Old, New int }
	// add adds to the sum.
	add struct{ N int }
	// take adds a name that is not in the set; drop removes one that is.
	take struct{ Name string }
	drop struct{ Name string }
	// read is rejected with the state as detail.
	read struct{}
)

func (write) MessageType() string { return "Write" }
func (swap) MessageType() string  { return "Swap" }
func (add) MessageType() string   { return "Add" }
func (take) MessageType() string  { return "Take" }
func (drop) MessageType() string  { return "Drop" }
func (read) MessageType() string  { return "Read" }
func (write) isCellCommand()      {}
func (swap) isCellCommand()       {}
func (add) isCellCommand()        {}
func (take) isCellCommand()       {}
func (drop) isCellCommand()       {}
func (read) isCellCommand()       {}

type (
	cellEvent interface {
		message.Typed
		isCellEvent()
	}
	written struct{ Value int }
	added   struct{ N int }
	taken   struct{ Name string }
	dropped struct{ Name string }
)

func (written) MessageType() string { return "Written" }
func (added) MessageType() string   { return "Added" }
func (taken) MessageType() string   { return "Taken" }
func (dropped) MessageType() string { return "Dropped" }
func (written) isCellEvent()        {}
func (added) isCellEvent()          {}
func (taken) isCellEvent()          {}
func (dropped) isCellEvent()        {}

type cellState struct {
	Value, Sum int
	Names      []string
}

func decideCell(s cellState, c cellCommand) ([]cellEvent, error) {
	switch c := c.(type) {
	case write:
		return []cellEvent{written(c)}, nil
	case swap:
		if s.Value != c.Old {
			return nil, message.Reject("Other", s.Value)
		}
		return []cellEvent{written{c.New}}, nil
	case add:
		return []cellEvent{added(c)}, nil
	case take:
		if slices.Contains(s.Names, c.Name) {
			return nil, message.Reject("Taken")
		}
		return []cellEvent{taken(c)}, nil
	case drop:
		if !slices.Contains(s.Names, c.Name) {
			return nil, nil
		}
		return []cellEvent{dropped(c)}, nil
	case read:
		return nil, message.Reject("State", s)
	}
	return nil, nil
}

func evolveCell(s cellState, e cellEvent) cellState {
	switch e := e.(type) {
	case written:
		s.Value = e.Value
	case added:
		s.Sum += e.N
	case taken:
		s.Names = append(slices.Clone(s.Names), e.Name)
	case dropped:
		s.Names = slices.DeleteFunc(slices.Clone(s.Names), func(n string) bool { return n == e.Name })
	}
	return s
}

var cell = aggregate.New(aggregate.Spec[cellState, cellCommand, cellEvent]{
	Name:     "Cell",
	Commands: message.NewSet[cellCommand](write{}, swap{}, add{}, take{}, drop{}, read{}),
	Events:   message.NewSet[cellEvent](written{}, added{}, taken{}, dropped{}),
	Decide:   decideCell,
	Evolve:   evolveCell,
	// Small, so that the tests use snapshots.
	SnapshotEvery: 20,
})

// cells returns an App whose entities are cells.
func cells(components ...plugin.Component) *reventless.App {
	return reventless.New("cells", plugin.New(plugin.Spec{
		Name: "Test", Heartbeat: -1, Components: append(plugin.Components{cell}, components...),
	}))
}
