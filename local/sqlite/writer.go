package sqlite

import (
	"context"
	sqldriver "database/sql/driver"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/reventless-go/reventless/driver"
)

const (
	// maxGroup bounds the requests of one transaction.
	maxGroup = 256
	// maxLog is the size of the write-ahead log above which the writer briefly
	// blocks the readers and writes the log back. Below it SQLite writes the log
	// back on its own, which it cannot do while reads keep overlapping.
	maxLog = 64 << 20
	// idBlock is the number of ids that one update of the file's counter reserves.
	idBlock = 4096
	// maxYields bounds how often the writer yields before it commits a group.
	maxYields = 4
)

// request is one atomic unit of writing.
type request struct {
	// run does the work. It may run again if another request aborted the
	// transaction, and must then overwrite its earlier results. It runs in the
	// writer's goroutine, possibly after the caller has returned: it must not use
	// memory that the caller may use or change.
	run func(t *tx) error
	// savepoint is set if run may return an error after its first write. Its
	// writes are then rolled back alone; otherwise the whole group is retried.
	savepoint bool

	state atomic.Int32
	done  chan error

	// Only the writer uses the fields below.
	err       error
	effects   []func()
	receivers []string
}

const (
	stateWaiting int32 = iota
	stateTaken
	stateWithdrawn
)

// take claims the request for the writer; it returns false if the caller withdrew it.
func (r *request) take() bool { return r.state.CompareAndSwap(stateWaiting, stateTaken) }

// withdraw cancels the request; it returns false if the writer has taken it.
func (r *request) withdraw() bool { return r.state.CompareAndSwap(stateWaiting, stateWithdrawn) }

// tx is a request's view of the transaction.
type tx struct {
	*conn
	w *writer
	r *request
}

// after registers f to run once the transaction is durable, in the order of the
// requests and before any caller gets its result.
func (t *tx) after(f func()) { t.r.effects = append(t.r.effects, f) }

// notify registers a receiver to be notified once the transaction is durable.
func (t *tx) notify(receiver string) { t.r.receivers = append(t.r.receivers, receiver) }

// next returns a number greater than every earlier one of this file.
func (t *tx) next() (int64, error) {
	w := t.w
	if w.last >= w.reserved {
		limit := w.last + idBlock
		if _, _, err := t.exec("UPDATE meta SET value = ?, crc = ? WHERE key = 'counter'", limit, metaSum("counter", limit)); err != nil {
			return 0, err
		}
		w.reserved = limit
	}
	w.last++
	return w.last, nil
}

// lastNumber returns the number up to which numbers may have been used.
func lastNumber(c *conn) (last int64, err error) {
	found, err := c.first("SELECT value, crc FROM meta WHERE key = 'counter'", nil, func(row []sqldriver.Value) error {
		if last = number(row[0]); metaSum("counter", last) != number(row[1]) {
			return damage("meta", "", "counter", "%w", errChecksum)
		}
		return nil
	})
	if err == nil && !found {
		err = damage("meta", "", "counter", "it is missing")
	}
	return last, err
}

// writer runs requests in groups, one transaction per group.
type writer struct {
	c        *conn
	log      string // path of the write-ahead log
	requests chan *request
	stop     chan struct{}
	done     chan struct{}
	// pause blocks the readers while f runs.
	pause func(f func() error) error
	// check returns an error if the file is no longer the one at its path.
	check      func() error
	checkEvery time.Duration
	// mark is written before the first acknowledgement. wrote says that the running
	// transaction has changed something; otherwise it writes nothing to the log.
	mark  *mark
	wrote bool
	// notify gets the names of the receivers that a commit affects.
	notify func(receivers []string)

	failure *failure // fails every later request
	groups  int
	// concurrent is set if the last group had more than one request.
	concurrent bool
	maxLog     int64
	// Numbers up to last have been returned and numbers up to reserved may be.
	// durable is the committed value of reserved.
	last, reserved, durable int64
}

func newWriter(c *conn, path string, readers *pool, failure *failure, notify func([]string)) (*writer, error) {
	last, err := lastNumber(c)
	if err != nil {
		return nil, err
	}
	return &writer{
		c: c, log: path + "-wal",
		requests: make(chan *request, maxGroup),
		stop:     make(chan struct{}), done: make(chan struct{}),
		pause: readers.pause, failure: failure, notify: notify, checkEvery: checkEvery, maxLog: maxLog,
		last: last, reserved: last, durable: last,
	}, nil
}

// do sends r to the writer and waits for its result.
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

// serve runs requests until stop is closed and the queue is empty.
func (w *writer) serve() {
	defer close(w.done)
	idle := time.NewTicker(w.checkEvery)
	defer idle.Stop()
	for {
		select {
		case <-idle.C:
			if err := w.check(); err != nil {
				w.failure.set(err)
			}
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

// group runs r and the requests that arrive in the meantime.
func (w *writer) group(r *request) {
	if !r.take() {
		return
	}
	queue, open := []*request{r}, true
	for len(queue) > 0 {
		queue, open = w.attempt(queue, open), false
	}
	if w.groups++; w.groups%16 == 0 {
		w.truncateLog()
	}
}

// attempt runs queue in one transaction; if open, waiting requests join it. If a
// request aborts the transaction, attempt finishes that request and returns the
// others for a retry.
func (w *writer) attempt(queue []*request, open bool) (retry []*request) {
	if err := w.failure.get(); err != nil {
		w.finish(queue, err)
		return nil
	}
	if err := w.c.control("BEGIN IMMEDIATE"); err != nil {
		w.finish(queue, classify(err))
		return nil
	}
	for i := 0; i < maxGroup; i++ {
		if i == len(queue) {
			if !open {
				break
			}
			r := w.poll()
			for yields := 0; r == nil && yields < maxYields && (i > 1 || w.concurrent); yields++ {
				runtime.Gosched() // lets concurrent writers join this commit
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
		if lost(err, true) {
			w.failure.set(fmt.Errorf("a commit failed: %w", classify(err)))
		}
		err = classify(err)
		w.rollback()
		for _, r := range queue {
			r.err = nil // its decision was based on the rolled back transaction
		}
		w.finish(queue, err)
		return nil
	}
	w.durable = w.reserved
	w.concurrent = len(queue) > 1
	// This comes after the commit and before the results, so that what is acknowledged is
	// in the file that the next start opens.
	err := w.check()
	if err != nil {
		w.failure.set(err)
		w.finish(queue, err)
		return nil
	}
	wrote := w.wrote
	w.wrote = false
	if !wrote {
		w.finish(queue, nil)
		return nil
	}
	if err := w.mark.write(); err != nil {
		// The commit is in the log, but nothing would notice if the log were lost.
		w.finishUnsure(queue, fmt.Errorf("the write may have taken effect: mark the write-ahead log: %w: %w", driver.ErrUnavailable, err))
		return nil
	}
	w.finish(queue, nil)
	return nil
}

// poll returns a waiting request, or nil.
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

// run runs one request. It returns false if the transaction may now contain part
// of a failed request and must be rolled back.
func (w *writer) run(r *request) (whole bool) {
	r.effects, r.receivers = nil, nil
	before := w.c.changed
	savepoint := func(verb string) bool {
		if !r.savepoint {
			return true
		}
		err := w.c.control(verb + " request")
		if err != nil && r.err == nil {
			r.err = classify(err)
		}
		return err == nil
	}
	r.err = nil
	if !savepoint("SAVEPOINT") {
		return false
	}
	r.err = w.call(r)
	if r.err == nil {
		w.wrote = w.wrote || w.c.changed != before
		return savepoint("RELEASE")
	}
	r.effects, r.receivers = nil, nil
	if _, ok := resultCode(r.err); ok {
		if lost(r.err, false) {
			w.failure.set(fmt.Errorf("a write failed: %w", classify(r.err)))
		}
		// SQLite may have ended the transaction on its own.
		r.err = classify(r.err)
		return false
	}
	if w.c.changed == before {
		return savepoint("RELEASE")
	}
	return r.savepoint && savepoint("ROLLBACK TO") && savepoint("RELEASE")
}

// call runs r's function and converts a panic into an error of the request.
func (w *writer) call(r *request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			w.c.changed++ // assume a write, so that run rolls back
			err = fmt.Errorf("panic in a write: %v", p)
		}
	}()
	return r.run(&tx{conn: w.c, w: w, r: r})
}

func (w *writer) rollback() {
	w.reserved, w.wrote = w.durable, false
	err := w.c.control("ROLLBACK")
	if err == nil {
		return
	}
	// After some errors SQLite has already rolled back, and ROLLBACK fails. In that
	// case a new transaction can begin.
	if e := w.c.control("BEGIN"); e == nil {
		err = w.c.control("ROLLBACK")
	}
	if err != nil {
		w.failure.set(fmt.Errorf("a rollback failed: %w: %w", driver.ErrUnavailable, err))
	}
}

// finish ends requests with their own results, or with err if it is not nil.
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
	w.notify(receivers) // before the results: Notify promises it before the call returns
	for _, r := range requests {
		r.done <- r.err
	}
}

// finishUnsure ends requests that have taken effect with err, or with their own error.
func (w *writer) finishUnsure(requests []*request, err error) {
	for _, r := range requests {
		if r.err == nil {
			r.effects = append(r.effects, func() { r.err = err })
		}
	}
	w.finish(requests, nil)
}

// truncateLog writes the write-ahead log back and truncates it if it is too large.
func (w *writer) truncateLog() {
	info, err := os.Stat(w.log)
	if err != nil || info.Size() < w.maxLog {
		return
	}
	err = w.pause(func() error {
		if err := w.mark.clear(); err != nil { // from now on the log may be empty
			return err
		}
		_, err := w.c.integer("PRAGMA wal_checkpoint(TRUNCATE)")
		return err
	})
	if lost(err, false) {
		w.failure.set(fmt.Errorf("writing the log back failed: %w", classify(err)))
	} // other errors: a large log is still correct
}

// errClosed returns the error of every call after Close.
func errClosed(path string) error {
	return fmt.Errorf("%s is closed: %w", path, driver.ErrUnavailable)
}
