package sqlite

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"

	lib "modernc.org/sqlite/lib"

	"github.com/reventless-go/reventless/driver"
)

const (
	// maxGroup bounds the requests of one transaction.
	maxGroup = 256
	// maxLog is the size of the write-ahead log from which on it is written back
	// with the readers held up for a moment. Below it SQLite does so when it can,
	// which it cannot while readers overlap without end.
	maxLog = 64 << 20
	// idBlock is how many numbers are taken from the file's counter at once.
	idBlock = 4096
	// maxYields bounds how often the writer steps aside before it commits a group.
	maxYields = 4
)

// request is one unit of writing: all of it takes effect, or nothing.
type request struct {
	// run does the work. It may be called again, when another request of its
	// group spoiled the transaction, and sets its results anew then. It runs in
	// the writer's goroutine: it must not touch what a caller that has left may
	// use or change.
	run func(t *tx) error
	// savepoint is set when run may return an error after it has written. What
	// it wrote is taken back then; without it that costs the whole group a retry.
	savepoint bool

	state atomic.Int32
	done  chan error

	// These belong to the writer.
	err       error
	effects   []func()
	receivers []string
}

const (
	stateWaiting int32 = iota
	stateTaken
	stateWithdrawn
)

// take claims the request for the writer; false when its caller withdrew it.
func (r *request) take() bool { return r.state.CompareAndSwap(stateWaiting, stateTaken) }

// withdraw gives the request up; false when the writer has it already.
func (r *request) withdraw() bool { return r.state.CompareAndSwap(stateWaiting, stateWithdrawn) }

// tx is what a request sees of the transaction.
type tx struct {
	*conn
	w *writer
	r *request
}

// after has f called once the transaction is durable, in the order of the
// requests and before any caller gets its result.
func (t *tx) after(f func()) { t.r.effects = append(t.r.effects, f) }

// notify has the receiver notified once the transaction is durable.
func (t *tx) notify(receiver string) { t.r.receivers = append(t.r.receivers, receiver) }

// next returns a number that is above all that it ever returned for this file.
func (t *tx) next() (int64, error) {
	w := t.w
	if w.last >= w.reserved {
		limit := w.last + idBlock
		if _, _, err := t.exec("UPDATE meta SET value = ? WHERE key = 'counter'", limit); err != nil {
			return 0, err
		}
		w.reserved = limit
	}
	w.last++
	return w.last, nil
}

// writer runs the requests, in groups of one transaction each.
type writer struct {
	c        *conn
	log      string // path of the write-ahead log
	requests chan *request
	stop     chan struct{}
	done     chan struct{}
	// pause keeps the readers away while f runs.
	pause func(f func() error) error
	// told gets the names of receivers after a commit.
	told func(receivers []string)

	// broken is set when it is not known what the file holds.
	broken error
	groups int
	// siblings is set while several write at a time.
	siblings bool
	maxLog   int64
	// Numbers up to last are given out; up to reserved they may be, and up to
	// durable a committed transaction says so.
	last, reserved, durable int64
}

func newWriter(c *conn, path string, readers *pool, told func([]string)) (*writer, error) {
	last, err := c.integer("SELECT value FROM meta WHERE key = 'counter'")
	if err != nil {
		return nil, err
	}
	return &writer{
		c: c, log: path + "-wal",
		requests: make(chan *request, maxGroup),
		stop:     make(chan struct{}), done: make(chan struct{}),
		pause: readers.pause, told: told, maxLog: maxLog,
		last: last, reserved: last, durable: last,
	}, nil
}

// do hands r to the writer and waits for its end.
func (w *writer) do(ctx context.Context, r *request) error {
	r.done = make(chan error, 1)
	select {
	case w.requests <- r:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
	}
	if r.withdraw() {
		return ctx.Err()
	}
	select {
	case err := <-r.done:
		return err
	default:
		return ctx.Err() // it may still take effect
	}
}

// serve runs requests until stop is closed and no request waits.
func (w *writer) serve() {
	defer close(w.done)
	for {
		select {
		case r := <-w.requests:
			w.group(r)
		case <-w.stop:
			for {
				select {
				case r := <-w.requests:
					w.group(r)
				default:
					return
				}
			}
		}
	}
}

// group runs r, and with it what arrives until there is nothing to wait for.
func (w *writer) group(r *request) {
	if !r.take() {
		return
	}
	queue, open := []*request{r}, true
	for len(queue) > 0 {
		queue, open = w.attempt(queue, open), false
	}
	if w.groups++; w.groups%16 == 0 {
		w.bound()
	}
}

// attempt runs queue, and what waits beside it if open, in one transaction.
// When a request spoils that, all others are returned, to be tried again.
func (w *writer) attempt(queue []*request, open bool) (again []*request) {
	if w.broken != nil {
		w.finish(queue, w.broken)
		return nil
	}
	if err := w.c.control("BEGIN IMMEDIATE"); err != nil {
		w.finish(queue, classed(err))
		return nil
	}
	for i := 0; i < maxGroup; i++ {
		if i == len(queue) {
			if !open {
				break
			}
			r := w.poll()
			for yields := 0; r == nil && yields < maxYields && (i > 1 || w.siblings); yields++ {
				runtime.Gosched() // those who are about to write share this commit
				r = w.poll()
			}
			if r == nil {
				break
			}
			queue = append(queue, r)
		}
		if !w.run(queue[i]) {
			w.rollback()
			w.finish(queue[i:i+1], nil)
			return append(queue[:i:i], queue[i+1:]...)
		}
	}
	if err := w.c.control("COMMIT"); err != nil {
		code, _ := resultCode(err)
		err = classed(err)
		w.rollback()
		if code&0xff == lib.SQLITE_IOERR && w.broken == nil {
			// The system may have dropped what it could not write; a later
			// commit that works proves nothing about this one.
			w.broken = fmt.Errorf("a commit failed, the file has to be opened anew: %w", err)
		}
		for _, r := range queue {
			r.err = nil // decided by what is no more
		}
		w.finish(queue, err)
		return nil
	}
	w.durable = w.reserved
	w.siblings = len(queue) > 1
	w.finish(queue, nil)
	return nil
}

// poll returns a request that waits, or nil.
func (w *writer) poll() *request {
	for {
		select {
		case r := <-w.requests:
			if r.take() {
				return r
			}
		default:
			return nil
		}
	}
}

// run runs one request; false when the transaction now holds a part of it.
func (w *writer) run(r *request) (whole bool) {
	r.effects, r.receivers = nil, nil
	before := w.c.changed
	savepoint := func(verb string) bool {
		if !r.savepoint {
			return true
		}
		err := w.c.control(verb + " request")
		if err != nil && r.err == nil {
			r.err = classed(err)
		}
		return err == nil
	}
	r.err = nil
	if !savepoint("SAVEPOINT") {
		return false
	}
	r.err = w.call(r)
	if r.err == nil {
		return savepoint("RELEASE")
	}
	r.effects, r.receivers = nil, nil
	if _, ok := resultCode(r.err); ok {
		// SQLite may have ended the transaction on its own.
		r.err = classed(r.err)
		return false
	}
	if w.c.changed == before {
		return savepoint("RELEASE")
	}
	return r.savepoint && savepoint("ROLLBACK TO") && savepoint("RELEASE")
}

// call runs r's function. A panic is that request's error.
func (w *writer) call(r *request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			w.c.changed++ // nobody knows
			err = fmt.Errorf("panic in a write: %v", p)
		}
	}()
	return r.run(&tx{conn: w.c, w: w, r: r})
}

func (w *writer) rollback() {
	w.reserved = w.durable
	err := w.c.control("ROLLBACK")
	if err == nil {
		return
	}
	// After some errors SQLite has rolled back already, which it reports like this.
	if e := w.c.control("BEGIN"); e == nil {
		err = w.c.control("ROLLBACK")
	}
	if err != nil {
		w.broken = fmt.Errorf("a rollback failed, the file has to be opened anew: %w: %w", driver.ErrUnavailable, err)
	}
}

// finish ends requests: with their own result, or with err if that is not nil.
func (w *writer) finish(requests []*request, err error) {
	var receivers []string
	for _, r := range requests {
		if err != nil {
			r.err = err
		}
		if r.err == nil {
			for _, f := range r.effects {
				f()
			}
			receivers = append(receivers, r.receivers...)
		}
	}
	w.told(receivers) // before the results: a caller that returns has been told of
	for _, r := range requests {
		r.done <- r.err
	}
}

// bound keeps the write-ahead log from growing without end.
func (w *writer) bound() {
	info, err := os.Stat(w.log)
	if err != nil || info.Size() < w.maxLog {
		return
	}
	// Best effort: the log is not wrong, only long.
	_ = w.pause(func() error {
		_, err := w.c.integer("PRAGMA wal_checkpoint(TRUNCATE)")
		return err
	})
}

// errClosed is the answer of a provider that was closed.
func errClosed(path string) error {
	return fmt.Errorf("%s is closed: %w", path, driver.ErrUnavailable)
}
