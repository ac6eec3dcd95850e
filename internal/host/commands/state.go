package commands

import (
	"container/list"
	"context"
	"fmt"
	"sync"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/internal/host/core"
)

// rememberedCommands is how many command ids a snapshot contains.
const rememberedCommands = 256

// state is what is known of one stream. It is immutable once it is in the cache: the
// fold is cloned before it is changed.
type state struct {
	sequenceNr uint64
	fold       component.State
	recent     []driver.RecentCommand // oldest first
	unsnapped  int                    // events since the last snapshot
}

// answered returns what is remembered of a command.
func (s *state) answered(id string) (driver.RecentCommand, bool) {
	for i := len(s.recent) - 1; i >= 0; i-- {
		if s.recent[i].ID == id {
			return s.recent[i], true
		}
	}
	return driver.RecentCommand{}, false
}

// with returns the state after commit c, folded into fold. It appends to recent beyond
// the length of s, which no state in the cache reads: an entity has one worker at a
// time, and states of lost appends are dropped.
func (s *state) with(c *driver.Commit, fold component.State) *state {
	next := &state{sequenceNr: c.SequenceNr, fold: fold, recent: s.recent, unsnapped: s.unsnapped + len(c.Events)}
	next.remember(c)
	if c.Snapshot != nil {
		next.unsnapped = 0
	}
	// Without snapshots only this bounds the list.
	if (c.Snapshot != nil || len(next.recent) > 16*rememberedCommands) && len(next.recent) > rememberedCommands {
		next.recent = next.recent[len(next.recent)-rememberedCommands:]
	}
	return next
}

func (s *state) remember(c *driver.Commit) {
	for _, a := range c.Commands {
		s.recent = append(s.recent, driver.RecentCommand{ID: a.Meta.ID, SequenceNr: c.SequenceNr, EventCount: a.EventCount})
	}
}

// load folds a stream from the log.
func (a *Aggregate) load(ctx context.Context, id string) (*state, error) {
	commits, err := a.log.Load(ctx, id, a.def.StateVersion)
	if err != nil {
		return nil, fmt.Errorf("aggregate %s: load %q: %w", a.name, id, core.StoreError(err))
	}
	s := &state{fold: a.def.NewState()}
	for i := range commits {
		c := &commits[i]
		if snapshot := c.Snapshot; i == 0 && snapshot != nil && snapshot.StateVersion == a.def.StateVersion {
			if err := core.CatchPanic(func() error { return s.fold.Restore(snapshot.State) }); err != nil {
				return nil, fmt.Errorf("aggregate %s: snapshot of %q at %d: %w", a.name, id, c.SequenceNr, err)
			}
			s.sequenceNr, s.recent = c.SequenceNr, snapshot.Recent
			continue
		}
		if err := a.apply(s, id, c); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// apply folds a commit into a state that is not shared yet.
func (a *Aggregate) apply(s *state, id string, c *driver.Commit) error {
	if c.SequenceNr != s.sequenceNr+1 {
		return fmt.Errorf("aggregate %s: %q: commit %d follows commit %d in the log: %w", a.name, id, c.SequenceNr, s.sequenceNr, driver.ErrInvalid)
	}
	for i, e := range c.Events {
		if err := core.CatchPanic(func() error { return s.fold.Apply(e) }); err != nil {
			return fmt.Errorf("aggregate %s: %q: event %s: %w", a.name, id, core.EventID(a.name, id, c.SequenceNr, i), err)
		}
	}
	s.sequenceNr = c.SequenceNr
	s.unsnapped += len(c.Events)
	if c.Snapshot != nil && c.Snapshot.StateVersion == a.def.StateVersion {
		s.unsnapped = 0
	}
	s.remember(c)
	return nil
}

// advance brings a state up to date: with the winner of a lost append, which is the
// next commit and needs no read, or without one from the log.
func (a *Aggregate) advance(ctx context.Context, id string, s *state, winner *driver.Commit) (*state, error) {
	next := s
	apply := func(c *driver.Commit) error {
		if next == s {
			next = &state{sequenceNr: s.sequenceNr, fold: s.fold.Clone(), unsnapped: s.unsnapped, recent: append([]driver.RecentCommand(nil), s.recent...)}
		}
		return a.apply(next, id, c)
	}
	if winner != nil {
		if err := apply(winner); err != nil {
			return nil, err
		}
	} else {
		for c, err := range a.log.Read(ctx, id, s.sequenceNr) {
			if err != nil {
				return nil, fmt.Errorf("aggregate %s: read %q: %w", a.name, id, core.StoreError(err))
			}
			if err := apply(&c); err != nil {
				return nil, err
			}
		}
	}
	a.cache.put(id, next)
	return next, nil
}

// cache keeps the most recently used states.
type cache struct {
	mu    sync.Mutex
	max   int
	order list.List // of cached, most recent first
	byID  map[string]*list.Element
}

type cached struct {
	id    string
	state *state
}

func newCache(entries int) *cache { return &cache{max: entries, byID: map[string]*list.Element{}} }

func (c *cache) get(id string) *state {
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.byID[id]
	if el == nil {
		return nil
	}
	c.order.MoveToFront(el)
	return el.Value.(*cached).state
}

func (c *cache) put(id string, s *state) {
	if c.max <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if el := c.byID[id]; el != nil {
		el.Value.(*cached).state = s
		c.order.MoveToFront(el)
		return
	}
	c.byID[id] = c.order.PushFront(&cached{id, s})
	if c.order.Len() > c.max {
		last := c.order.Back()
		delete(c.byID, c.order.Remove(last).(*cached).id)
	}
}

func (c *cache) drop(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el := c.byID[id]; el != nil {
		c.order.Remove(el)
		delete(c.byID, id)
	}
}
