package task

import (
	"sync"

	"github.com/reventless-go/reventless/driver"
)

// remembered is the number of keys whose last event is remembered, at least.
const remembered = 10_000

// Events orders the events of a bucket's objects. S3 notifies a standard
// queue: events are delivered in any order, and more than once. Events drops those that a
// later event of their key supersedes.
//
// It remembers the last event of 10,000 keys that this process has handled. Another
// process may handle an older event later: a task always reads the current object.
type Events struct {
	mu    sync.Mutex
	last  map[string]handled // by key
	older map[string]handled
}

// handled is the last event of a key that a task received.
type handled struct {
	version string
	done    bool
}

// NewEvents returns Events that remember nothing.
func NewEvents() *Events { return &Events{last: map[string]handled{}} }

// Newest returns the deliveries for the task, at most one of each key, and settles the
// others: a later event of their key supersedes them, among these deliveries or before, or
// they repeat an event that is handled.
func (e *Events) Newest(deliveries []driver.Delivery[driver.ObjectEvent]) (newest []driver.Delivery[driver.ObjectEvent], settled []driver.Settlement) {
	e.mu.Lock()
	defer e.mu.Unlock()
	last := map[string]int{} // by key, in newest
	for _, d := range deliveries {
		at, twice := last[d.Message.Key]
		switch {
		case e.superseded(d.Message), twice && CompareVersions(d.Message.Version, newest[at].Message.Version) < 0:
			settled = append(settled, driver.Settlement{ID: d.ID})
		case twice:
			settled = append(settled, driver.Settlement{ID: newest[at].ID})
			newest[at] = d
		default:
			last[d.Message.Key] = len(newest)
			newest = append(newest, d)
		}
	}
	for _, d := range newest {
		e.remember(d.Message, false)
	}
	return newest, settled
}

// Done records how the task settled its deliveries.
func (e *Events) Done(deliveries []driver.Delivery[driver.ObjectEvent], settlements []driver.Settlement) {
	done := map[string]bool{}
	for _, s := range settlements {
		done[s.ID] = !s.Retry
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, d := range deliveries {
		if done[d.ID] {
			e.remember(d.Message, true)
		}
	}
}

// superseded reports whether the task has received a later event of the key, or has
// handled this one.
func (e *Events) superseded(event driver.ObjectEvent) bool {
	h, ok := e.last[event.Key]
	if !ok {
		h, ok = e.older[event.Key]
	}
	if !ok {
		return false
	}
	order := CompareVersions(event.Version, h.version)
	return order < 0 || h.done && event.Version == h.version
}

func (e *Events) remember(event driver.ObjectEvent, done bool) {
	if len(e.last) >= remembered {
		e.older, e.last = e.last, make(map[string]handled)
	}
	e.last[event.Key] = handled{event.Version, done}
}
