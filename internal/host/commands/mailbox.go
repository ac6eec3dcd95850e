package commands

import (
	"context"
	"sync"
)

// item is a command being handled.
type item struct {
	index   int // in the call that brought it
	command Command
	result  Result
	settled bool
	// repeated says that an earlier delivery has the outcome, which does not name its
	// user yet.
	repeated bool
}

func (it *item) settle(r Result) {
	if !it.settled {
		it.result, it.settled = r, true
	}
}

// request is what one caller brings for one entity. After its first failure the rest
// of it fails.
type request struct {
	entity string
	items  []*item
	done   chan struct{}
}

func (r *request) fail(err error, permanent bool) {
	for _, it := range r.items {
		it.settle(Result{Err: err, Permanent: permanent})
	}
}

// wait reports whether the request is done. One that is done when ctx ends counts: its
// outcomes are known.
func (r *request) wait(ctx context.Context) bool {
	select {
	case <-r.done:
		return true
	case <-ctx.Done():
	}
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// mailboxes serialise the work on each entity. What arrives while an entity is worked
// on waits and is then handled together.
type mailboxes struct {
	mu      sync.Mutex
	waiting map[string][]*request // an entry for every entity that is worked on
	closed  bool
	workers sync.WaitGroup
}

// maxRequests bounds how many requests are handled together.
const maxRequests = 64

// put leaves a request for its entity. It returns false when the mailboxes are closed.
func (m *mailboxes) put(r *request, work func([]*request)) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	if m.waiting == nil {
		m.waiting = map[string][]*request{}
	}
	waiting, busy := m.waiting[r.entity]
	m.waiting[r.entity] = append(waiting, r)
	if !busy {
		m.workers.Go(func() { m.empty(r.entity, work) })
	}
	return true
}

// take removes the next requests of an entity; none ends the work on it.
func (m *mailboxes) take(entity string) []*request {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.waiting[entity]
	if len(all) == 0 {
		delete(m.waiting, entity)
		return nil
	}
	n := min(len(all), maxRequests)
	m.waiting[entity] = append([]*request(nil), all[n:]...)
	return all[:n]
}

// empty works on an entity until its mailbox is empty.
func (m *mailboxes) empty(entity string, work func([]*request)) {
	finished := false
	defer func() {
		if !finished { // application code has ended this goroutine; another one goes on
			m.workers.Go(func() { m.empty(entity, work) })
		}
	}()
	for requests := m.take(entity); len(requests) > 0; requests = m.take(entity) {
		work(requests)
	}
	finished = true
}

// close refuses further requests and waits for those that are there.
func (m *mailboxes) close() {
	m.mu.Lock()
	m.closed = true // before Wait: no worker may start beside it
	m.mu.Unlock()
	m.workers.Wait()
}
