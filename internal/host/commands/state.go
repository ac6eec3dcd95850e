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

// loaded is what is known of one stream. It is immutable once it is in the cache: its
// state is cloned before it is changed.
type loaded struct {
	sequenceNr uint64
	state      component.State
	recent     []driver.RecentCommand // oldest first
	unsnapped  int                    // events since the last snapshot
}

// answered returns what is known of a command that was answered.
func (s *loaded) answered(id string) (driver.RecentCommand, bool) {
	for i := len(s.recent) - 1; i >= 0; i-- {
		if s.recent[i].ID == id {
			return s.recent[i], true
		}
	}
	return driver.RecentCommand{}, false
}

// with returns what is known after commit c, which leads to state. It appends to
// s.recent in place. That is safe, since an entity has one worker at a time and what
// follows a failed append is dropped.
func (s *loaded) with(c *driver.Commit, state component.State) *loaded {
	next := &loaded{sequenceNr: c.SequenceNr, state: state, recent: s.recent, unsnapped: s.unsnapped + len(c.Events)}
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

func (s *loaded) remember(c *driver.Commit) {
	for _, a := range c.Commands {
		s.recent = append(s.recent, driver.RecentCommand{ID: a.Meta.ID, SequenceNr: c.SequenceNr, EventCount: a.EventCount})
	}
}

// load loads a stream from the log.
func (a *Aggregate) load(ctx context.Context, id string) (*loaded, error) {
	commits, err := a.log.Load(ctx, id, a.def.StateVersion)
	if err != nil {
		return nil, fmt.Errorf("aggregate %s: load %q: %w", a.name, id, core.StoreError(err))
	}
	s := &loaded{state: a.def.NewState()}
	for i := range commits {
		c := &commits[i]
		if snapshot := c.Snapshot; i == 0 && snapshot != nil && snapshot.StateVersion == a.def.StateVersion {
			if err := core.CatchPanic(func() error { return s.state.Restore(snapshot.State) }); err != nil {
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

// apply applies a commit to s, which is not in the cache yet.
func (a *Aggregate) apply(s *loaded, id string, c *driver.Commit) error {
	if c.SequenceNr != s.sequenceNr+1 {
		return fmt.Errorf("aggregate %s: %q: commit %d follows commit %d in the log: %w", a.name, id, c.SequenceNr, s.sequenceNr, driver.ErrInvalid)
	}
	for i, e := range c.Events {
		if err := core.CatchPanic(func() error { return s.state.Apply(e) }); err != nil {
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

// advance applies the commits that follow s: only winner, if it is the commit that won
// against a failed append, or, if winner is nil, all that the log has.
func (a *Aggregate) advance(ctx context.Context, id string, s *loaded, winner *driver.Commit) (*loaded, error) {
	next := s
	apply := func(c *driver.Commit) error {
		if next == s {
			next = &loaded{sequenceNr: s.sequenceNr, state: s.state.Clone(), unsnapped: s.unsnapped, recent: append([]driver.RecentCommand(nil), s.recent...)}
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

// cache keeps the most recently used streams.
type cache struct {
	mu    sync.Mutex
	max   int
	order list.List // of cached, most recent first
	byID  map[string]*list.Element
}

type cached struct {
	id     string
	loaded *loaded
}

func newCache(entries int) *cache { return &cache{max: entries, byID: map[string]*list.Element{}} }

func (c *cache) get(id string) *loaded {
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.byID[id]
	if el == nil {
		return nil
	}
	c.order.MoveToFront(el)
	return el.Value.(*cached).loaded
}

func (c *cache) put(id string, s *loaded) {
	if c.max <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if el := c.byID[id]; el != nil {
		el.Value.(*cached).loaded = s
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
