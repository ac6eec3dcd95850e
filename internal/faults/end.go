package faults

import (
	"errors"
	"slices"
	"sync"
)

// ErrEnded is the error of every write after that at which the process ended.
var ErrEnded = errors.New("the process has ended")

// writing are the methods that [Provider.EndAtWrite] counts.
var writing = []string{
	"EventLog.Append", "CommandTopic.Send", "EventTopic.Publish", "Scheduler.Create", "Scheduler.Delete", "Bucket.Put", "Bucket.Delete",
	"Counter.Count", "Counter.AddTarget", "DeadLetters.Park", "DeadLetters.Remove", "Outcomes.Put",
	"Watermarks.Advance", "Watermarks.Block", "Watermarks.Unblock", "QueryDb.Advance", "QueryDb.Block", "QueryDb.Unblock", "QueryDb.Apply",
	"Shadow.Advance", "Shadow.Block", "Shadow.Unblock", "Shadow.Apply", "Shadow.SetRecord", "Shadow.Swap", "Shadow.Drop",
}

// ending ends the process at a write.
type ending struct {
	at    int
	after bool
	end   func()

	mu   sync.Mutex
	seen int
}

// EndAtWrite ends the process at a write, which counts from 1: before it, or after it
// took effect. From then on no write takes effect. end is called at that write; it has to
// end the contexts of all that runs. Rules do not apply to writes any more.
func (p *Provider) EndAtWrite(at int, after bool, end func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ending = &ending{at: at, after: after, end: end}
}

// Ended reports whether the process has ended.
func (p *Provider) Ended() bool {
	e := p.end()
	if e == nil {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.seen >= e.at
}

func (p *Provider) end() *ending {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ending
}

// write runs a write unless the process has ended; ok is false for other methods.
func (e *ending) write(op string, f func() error) (ok bool, err error) {
	if e == nil || !slices.Contains(writing, op) {
		return false, nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seen++
	if e.seen == e.at {
		defer e.end()
	}
	if e.seen > e.at || e.seen == e.at && !e.after {
		return true, ErrEnded
	}
	if err := f(); err != nil || e.seen < e.at {
		return true, err
	}
	return true, ErrEnded
}
