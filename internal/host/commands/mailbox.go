package commands

import (
	"context"
	"sync"
)

// item is a command being handled.
type item struct {
	index   int // in the call that contains it
	command Command
	result  Result
	settled bool
	// repeated is true if the command was answered before. Its outcome does not name
	// the user yet.
	repeated bool
}

func (it *item) settle(r Result) {
	if !it.settled {
		it.result, it.settled = r, true
	}
}

// request contains the commands of one call for one entity. After the first failure,
// the remaining commands fail.
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

// wait waits until the request is done or ctx ends, and reports whether it is done.
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

// mailboxes handle the requests of each entity in sequence. Requests that arrive while
// an entity is busy wait, and are then handled together.
type mailboxes struct {
	mu      sync.Mutex
	waiting map[string][]*request // has an entry for every busy entity
	closed  bool
	workers sync.WaitGroup
}

// maxRequests bounds how many requests are handled together.
const maxRequests = 64

// put puts a request into the mailbox of its entity. It returns false if the mailboxes
// are closed.
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

// take removes the next requests from the mailbox of an entity. If there are none, the
// entity is no longer busy.
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

// empty calls work until the mailbox of an entity is empty.
func (m *mailboxes) empty(entity string, work func([]*request)) {
	finished := false
	defer func() {
		if !finished { // application code has ended this goroutine; another one continues
			m.workers.Go(func() { m.empty(entity, work) })
		}
	}()
	for requests := m.take(entity); len(requests) > 0; requests = m.take(entity) {
		work(requests)
	}
	finished = true
}

// close refuses further requests and waits for the current ones.
func (m *mailboxes) close() {
	m.mu.Lock()
	m.closed = true // before Wait: no worker may start during it
	m.mu.Unlock()
	m.workers.Wait()
}
