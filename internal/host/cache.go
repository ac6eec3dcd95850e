package host

import (
	"container/list"
	"sync"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
)

// rememberedCommands is how many command ids a snapshot carries along.
const rememberedCommands = 256

// entity is what is known of one stream. It is immutable once it is in the
// cache: the fold is cloned before it is changed.
type entity struct {
	sequenceNr uint64
	fold       component.State
	recent     []driver.RecentCommand // oldest first
	unsnapped  int                    // events since the last snapshot
}

// answered returns what is remembered of a command.
func (e *entity) answered(id string) (driver.RecentCommand, bool) {
	for i := len(e.recent) - 1; i >= 0; i-- {
		if e.recent[i].ID == id {
			return e.recent[i], true
		}
	}
	return driver.RecentCommand{}, false
}

// with returns the entity after commit c, folded into fold. It appends to recent
// beyond e's length, where no entity in the cache looks: only one lane at a time
// works on an entity, and what it tried and lost is thrown away.
func (e *entity) with(c *driver.Commit, fold component.State) *entity {
	next := &entity{sequenceNr: c.SequenceNr, fold: fold, recent: e.recent, unsnapped: e.unsnapped + len(c.Events)}
	for _, a := range c.Commands {
		next.recent = append(next.recent, driver.RecentCommand{ID: a.Meta.ID, SequenceNr: c.SequenceNr, EventCount: a.EventCount})
	}
	if c.Snapshot != nil {
		next.unsnapped = 0
	}
	// Without snapshots nothing ends the list but this.
	if (c.Snapshot != nil || len(next.recent) > 16*rememberedCommands) && len(next.recent) > rememberedCommands {
		next.recent = next.recent[len(next.recent)-rememberedCommands:]
	}
	return next
}

// cache is an LRU of entities.
type cache struct {
	mu    sync.Mutex
	max   int
	order list.List // of cached, most recent first
	byID  map[string]*list.Element
}

type cached struct {
	id string
	e  *entity
}

func newCache(entries int) *cache { return &cache{max: entries, byID: map[string]*list.Element{}} }

func (c *cache) get(id string) *entity {
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.byID[id]
	if el == nil {
		return nil
	}
	c.order.MoveToFront(el)
	return el.Value.(*cached).e
}

func (c *cache) put(id string, e *entity) {
	if c.max <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if el := c.byID[id]; el != nil {
		el.Value.(*cached).e = e
		c.order.MoveToFront(el)
		return
	}
	c.byID[id] = c.order.PushFront(&cached{id, e})
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
