package commands

import (
	"container/list"
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/internal/host/core"
)

// loaded is what is known of one stream. It is immutable once it is in the cache, apart
// from memory: its state is cloned before it is changed.
type loaded struct {
	sequenceNr uint64
	state      component.State
	memory     *remembered
	// folded are the types of the events that led to the state, see
	// [driver.SnapshotHead].
	folded       []string
	lastSnapshot uint64 // the newest commit with a snapshot
	unsnapped    int    // events since the last usable snapshot
}

// with returns what is known after the new commit c, which leads to state.
func (s *loaded) with(c *driver.Commit, state component.State) *loaded {
	next := *s
	next.state = state
	next.count(c, true)
	return &next
}

// count notes that commit c is applied. usable says that its snapshot, if it has one, can
// be used.
func (s *loaded) count(c *driver.Commit, usable bool) {
	s.sequenceNr = c.SequenceNr
	s.unsnapped += len(c.Events)
	s.folded = withTypes(s.folded, c.Events)
	if c.Snapshot != nil {
		s.lastSnapshot = c.SequenceNr
		if usable {
			s.unsnapped = 0
		}
	}
}

// withTypes returns folded with the types of events. It does not change folded.
func withTypes(folded []string, events []driver.Event) []string {
	for _, e := range events {
		name := e.Type + "/" + strconv.Itoa(max(e.Version, 1))
		if i, ok := slices.BinarySearch(folded, name); !ok {
			folded = slices.Insert(slices.Clone(folded), i, name)
		}
	}
	return folded
}

// usable reports whether this code can use a snapshot: it has the same structure of the
// state and the same state version, and it can read every event that was folded into it.
func (a *Aggregate) usable(h driver.SnapshotHead) bool {
	return h.Shape == a.def.Shape && h.StateVersion == a.def.StateVersion &&
		!slices.ContainsFunc(h.Folded, func(name string) bool { return !a.def.Readable(name) })
}

// load loads a stream from the log: from its newest usable snapshot on.
func (a *Aggregate) load(ctx context.Context, id string, usable func(driver.SnapshotHead) bool) (*loaded, error) {
	commits, err := a.log.Load(ctx, id, usable)
	if err != nil {
		return nil, fmt.Errorf("aggregate %s: load %q: %w", a.name, id, core.StoreError(err))
	}
	s := &loaded{state: a.def.NewState()}
	if len(commits) > 0 && commits[0].Snapshot != nil && usable(commits[0].Snapshot.SnapshotHead) {
		c := &commits[0]
		if err := core.CatchPanic(func() error { return s.state.Restore(c.Snapshot.State) }); err != nil {
			// Its structure is that of this code, so the text is damaged. The commits lead to
			// the same state.
			a.core.ReportDamage(&driver.DamageError{Table: "snapshots", Name: a.name, Key: id, SequenceNr: c.SequenceNr, Cause: err})
			return a.load(ctx, id, func(driver.SnapshotHead) bool { return false })
		}
		s.sequenceNr, s.lastSnapshot, s.folded, s.memory = c.SequenceNr, c.SequenceNr, c.Snapshot.Folded, newRemembered(c)
		commits = commits[1:]
	} else {
		s.memory = newRemembered(nil)
	}
	for i := range commits {
		a.core.ReportDamage(commits[i].SnapshotErr)
		if err := a.apply(s, id, &commits[i]); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// apply applies a stored commit to s, which is not in the cache yet.
func (a *Aggregate) apply(s *loaded, id string, c *driver.Commit) error {
	if c.SequenceNr != s.sequenceNr+1 {
		return &driver.DamageError{Table: "commits", Name: a.name, Key: id, SequenceNr: s.sequenceNr + 1, Cause: fmt.Errorf("commit %d follows commit %d", c.SequenceNr, s.sequenceNr)}
	}
	for i, e := range c.Events {
		if err := core.CatchPanic(func() error { return s.state.Apply(e) }); err != nil {
			return fmt.Errorf("aggregate %s: %q: event %s: %w", a.name, id, core.EventID(a.name, id, c.SequenceNr, i), err)
		}
	}
	s.count(c, c.Snapshot != nil && a.usable(c.Snapshot.SnapshotHead))
	s.memory.add(c, c.RecordedAt, a.core.Now())
	return nil
}

// advance applies the commits that follow s: only winner, if it is the commit that won
// against a failed append, or, if winner is nil, all that the log has.
func (a *Aggregate) advance(ctx context.Context, id string, s *loaded, winner *driver.Commit) (*loaded, error) {
	next := s
	apply := func(c *driver.Commit) error {
		if next == s {
			clone := *s
			clone.state = s.state.Clone()
			next = &clone
		}
		return a.apply(next, id, c)
	}
	if winner != nil {
		if err := apply(winner); err != nil {
			return nil, err
		}
	} else {
		for c, err := range a.log.Read(ctx, id, s.sequenceNr, 0) {
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
