package sqlite

import (
	"cmp"
	"context"
	"crypto/rand"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// Options are the settings of [Open]; every zero field is its default.
type Options struct {
	// Now is the clock; nil is [time.Now].
	Now func() time.Time
	// Limits are the provider's limits. The defaults of zero fields are: commits of
	// 400 KiB, commands of 1 MiB, rows of 400 KiB, steps of 10,000 writes and
	// advances, any number of feed readers. Sizes are measured in stored form.
	Limits driver.Limits
	// AcceptLoss opens a database whose write-ahead log is missing or damaged, which Open
	// otherwise refuses: commits that were acknowledged are lost, and what is left is
	// checked by PRAGMA quick_check. It is meant for one call of Open.
	AcceptLoss bool
	// BucketDir is the parent directory of the buckets' directories; empty is the
	// path of the database with the suffix .buckets.
	BucketDir string
}

// pageBytes bounds one page of a paged read.
const pageBytes = 1 << 20

// Provider runs an application on one SQLite file.
type Provider struct {
	path    string
	now     func() time.Time
	limits  driver.Limits
	buckets string
	dirs    *directories
	// epoch distinguishes the deliveries of this provider from those of earlier
	// providers on the same file.
	epoch string

	failure *failure
	lock    *lock
	file    *identity
	writer  *writer
	readers *pool
	calls   calls
	closing chan struct{} // closed when Close begins
	watch   *watcher

	mark   *mark
	names  names
	damage findings
	shared shared

	listenersMu  sync.Mutex
	listeners    map[int]func(receiver string)
	lastListener int
}

var _ driver.PullProvider = (*Provider)(nil)

// Open opens the database at path. It creates the database if path does not exist
// or is an empty file; the directory must exist. The package comment says which
// files are refused. The options may be nil.
//
// ctx applies to opening only.
func Open(ctx context.Context, path string, opts *Options) (*Provider, error) {
	p, err := open(ctx, path, cmp.Or(opts, &Options{}), maxChecked)
	if err != nil {
		return nil, err
	}
	return p, nil
}

func open(ctx context.Context, path string, opts *Options, check int64) (_ *Provider, err error) {
	name := path
	defer func() {
		if err != nil {
			err = fmt.Errorf("sqlite: open %s: %w", name, err)
		}
	}()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if path == "" {
		return nil, fmt.Errorf("no path: %w", driver.ErrInvalid)
	}
	if path, err = resolve(path); err != nil {
		return nil, err
	}
	if path != name {
		name += " (" + path + ")"
	}
	p := &Provider{
		path: path,
		now:  opts.Now,
		limits: driver.Limits{
			MaxCommitBytes:  cmp.Or(opts.Limits.MaxCommitBytes, 400<<10),
			MaxCommandBytes: cmp.Or(opts.Limits.MaxCommandBytes, 1<<20),
			MaxRowBytes:     cmp.Or(opts.Limits.MaxRowBytes, 400<<10),
			MaxStep:         cmp.Or(opts.Limits.MaxStep, 10_000),
			MaxFeedReaders:  opts.Limits.MaxFeedReaders,
		},
		buckets:   cmp.Or(opts.BucketDir, path+".buckets"),
		epoch:     rand.Text()[:8],
		failure:   newFailure(),
		closing:   make(chan struct{}),
		listeners: map[int]func(string){},
	}
	if p.buckets, err = filepath.Abs(p.buckets); err != nil {
		return nil, err
	}
	p.dirs = newDirectories(p.buckets)
	if p.now == nil {
		p.now = time.Now
	}
	if p.lock, err = acquire(path); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.file.release(), p.lock.release())
		}
	}()
	if p.file, err = hold(path); err != nil {
		return nil, err
	}
	lost, err := p.inspectLog(opts.AcceptLoss)
	if err != nil {
		return nil, err
	}
	if lost {
		check = math.MaxInt64 // parts of the lost commits may be in the database
	}
	exists, err := inspect(path, p.lock.created, check)
	if err != nil {
		return nil, err
	}
	if !exists {
		if err := create(path); err != nil {
			return nil, fmt.Errorf("create: %w", classify(err))
		}
		if p.file, err = hold(path); err != nil {
			return nil, err
		}
		p.mark = markOf(path, p.file.db)
	}
	if err := p.lock.markCreated(); err != nil {
		return nil, err
	}
	if err := p.start(lost); err != nil {
		return nil, classify(err)
	}
	return p, nil
}

// inspectLog refuses a write-ahead log that would lose commits, unless that is accepted;
// lost says that it was.
func (p *Provider) inspectLog(accept bool) (lost bool, err error) {
	if p.file == nil {
		return false, nil // there is no database
	}
	p.mark = markOf(p.path, p.file.db)
	written, err := p.mark.read()
	if err != nil {
		return false, err
	}
	problem, err := inspectLog(p.path+"-wal", written)
	if err != nil || problem == "" || accept {
		return problem != "", err
	}
	return false, errLoss(p.path, problem)
}

// resolve makes path absolute and resolves symbolic links, so that each database
// has exactly one lock.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, os.ErrNotExist) {
		dir, err := filepath.EvalSymlinks(filepath.Dir(path))
		if err != nil {
			return "", err
		}
		return filepath.Join(dir, filepath.Base(path)), nil
	}
	return real, err
}

// start opens the connections and starts the writer. If commits were lost, it empties
// the log: the frames behind the damage would look like damage to the next start.
func (p *Provider) start(lost bool) (err error) {
	uri := fileURI(p.path, "mode=rw")
	c, err := connect(uri)
	if err != nil {
		return err
	}
	p.readers = newPool(max(4, runtime.GOMAXPROCS(0)), func() (*conn, error) {
		return connect(uri, "busy_timeout=5000", "query_only=1", "cache_size=-4096", "temp_store=MEMORY", "cell_size_check=1", "trusted_schema=0")
	})
	err = func() error {
		if err := c.apply("busy_timeout=5000", "journal_mode=WAL", "synchronous=FULL", "journal_size_limit=67108864",
			"cache_size=-16384", "temp_store=MEMORY", "cell_size_check=1", "trusted_schema=0"); err != nil {
			return err
		}
		var mode string
		if _, err := c.first("PRAGMA journal_mode", nil, func(row []sqldriver.Value) error {
			mode = text(row[0])
			return nil
		}); err != nil {
			return err
		}
		if mode != "wal" {
			return fmt.Errorf("journal mode is %q, want WAL: %w", mode, driver.ErrUnsupported)
		}
		if lost {
			if err := p.emptyLog(c); err != nil {
				return err
			}
		}
		if err := migrate(c, migrations); err != nil {
			return err
		}
		if err := p.names.load(c); err != nil {
			return err
		}
		if err := syncFiles(p.path); err != nil {
			return err
		}
		if p.writer, err = newWriter(c, p.path, p.readers, p.failure, p.notify); err != nil {
			return err
		}
		p.writer.check, p.writer.mark = p.file.check, p.mark
		return p.file.opened()
	}()
	if err != nil {
		return errors.Join(err, p.closeLast(c))
	}
	p.watch = newWatcher(p)
	go p.writer.serve()
	return nil
}

// Limits implements [driver.Provider].
func (p *Provider) Limits() driver.Limits { return p.limits }

// Close implements [driver.Provider]. It writes the write-ahead log back into
// the database. After a failure (see [Provider.Failed]) it leaves the files as they are,
// keeps the database locked until the process ends, and returns the failure.
func (p *Provider) Close() error {
	if !p.calls.close(p.closing) {
		return nil
	}
	p.watch.stop()
	close(p.writer.stop)
	<-p.writer.done
	// Closing removes the write-ahead log by its name.
	if err := p.file.check(); err != nil {
		p.failure.set(err)
	}
	if err := p.Failure(); err != nil {
		p.keep()
		return err
	}
	errs := []error{p.readers.close(), p.closeLast(p.writer.c)}
	if !p.mark.set { // otherwise a connection is left
		errs = append(errs, p.file.release(), p.lock.release())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("sqlite: close %s: %w", p.path, classify(err))
	}
	return nil
}

// emptyLog writes the write-ahead log back and truncates it. No other connection may be
// in use.
func (p *Provider) emptyLog(c *conn) error {
	complete := false
	_, err := c.first("PRAGMA wal_checkpoint(PASSIVE)", nil, func(row []sqldriver.Value) error {
		complete = number(row[0]) == 0 && number(row[1]) == number(row[2])
		return nil
	})
	if err == nil && !complete {
		err = fmt.Errorf("the write-ahead log could not be written back: %w", driver.ErrUnavailable)
	}
	if err == nil {
		// The log is not needed any more, and the mark has to go before the log is empty.
		err = p.mark.clear()
	}
	if err == nil {
		_, err = c.integer("PRAGMA wal_checkpoint(TRUNCATE)")
	}
	return err
}

// closeLast closes the last connection. SQLite removes the log then, if it can write it
// back. So the connection is left open to the end of the process if the mark cannot be
// removed before: the next Open would take the log for lost.
func (p *Provider) closeLast(c *conn) error {
	err := p.emptyLog(c)
	if p.mark.set {
		p.keep()
		return err
	}
	return errors.Join(err, c.close())
}

// Notify implements [driver.Sources]. f runs before the call that caused the
// change returns, mostly in the goroutine that does the writing: f must not wait
// for a write.
func (p *Provider) Notify(f func(receiver string)) (stop func()) {
	p.listenersMu.Lock()
	defer p.listenersMu.Unlock()
	p.lastListener++
	id := p.lastListener
	p.listeners[id] = f
	return func() {
		p.listenersMu.Lock()
		defer p.listenersMu.Unlock()
		delete(p.listeners, id)
	}
}

// notify calls every listener once for each receiver, without holding a lock.
func (p *Provider) notify(receivers []string) {
	if len(receivers) == 0 {
		return
	}
	p.listenersMu.Lock()
	listeners := slices.Collect(maps.Values(p.listeners))
	p.listenersMu.Unlock()
	if len(listeners) == 0 {
		return
	}
	slices.Sort(receivers)
	for _, r := range slices.Compact(receivers) {
		for _, f := range listeners {
			f(r)
		}
	}
}

// enter begins a call, which leave ends.
func (p *Provider) enter(ctx context.Context) error {
	if !p.calls.begin() {
		return errClosed(p.path)
	}
	if err := ctx.Err(); err != nil {
		p.calls.end()
		return err
	}
	return nil
}

func (p *Provider) leave() { p.calls.end() }

// call runs f as one call of the provider.
func (p *Provider) call(ctx context.Context, f func() error) error {
	if err := p.enter(ctx); err != nil {
		return err
	}
	defer p.leave()
	return f()
}

// write runs f in the writer. f must make all its checks before its first write.
func (p *Provider) write(ctx context.Context, f func(t *tx) error) error {
	return p.writer.do(ctx, &request{run: f})
}

// writeWhole is write for an f that may fail after its first write.
func (p *Provider) writeWhole(ctx context.Context, f func(t *tx) error) error {
	return p.writer.do(ctx, &request{run: f, savepoint: true})
}

// read runs f with a read connection, which sees every commit.
func (p *Provider) read(ctx context.Context, f func(c *conn) error) error {
	return classify(p.readers.use(ctx, f))
}

// calls counts the running calls.
type calls struct {
	mu      sync.Mutex
	running int
	closed  bool
	idle    chan struct{} // closed when the last call has ended
}

func (c *calls) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.running++
	return true
}

func (c *calls) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running--
	if c.closed && c.running == 0 {
		close(c.idle)
	}
}

// close refuses further calls, closes closing, and waits for the running calls.
// It returns false if it was called before.
func (c *calls) close(closing chan struct{}) bool {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return false
	}
	c.closed = true
	c.idle = make(chan struct{})
	if c.running == 0 {
		close(c.idle)
	}
	c.mu.Unlock()
	close(closing)
	<-c.idle
	return true
}

// names maps logical names, unique per kind, to small numbers.
type names struct {
	mu    sync.RWMutex
	ids   map[named]int64
	named map[int64]named
}

type named struct{ kind, name string }

// The kinds of names.
const (
	kindLog        = "log"        // an event log
	kindConsumer   = "consumer"   // a consumer with a checkpoint in a change feed
	kindWatermarks = "watermarks" // a consumer with watermarks
	kindTable      = "table"      // a read model
	kindCommands   = "commands"   // a command topic
	kindSub        = "sub"        // a subscription of an event topic
	kindCounter    = "counter"
	kindBucket     = "bucket"
	kindReceived   = "received" // a bucket whose changes are kept for a receiver
)

func (n *names) load(c *conn) error {
	n.ids, n.named = map[named]int64{}, map[int64]named{}
	return c.query("SELECT id, kind, name, crc FROM names", nil, func(row []sqldriver.Value) error {
		id, name := number(row[0]), named{text(row[1]), text(row[2])}
		if nameSum(id, name.kind, name.name) != number(row[3]) {
			return damage("names", name.kind, name.name, "%w", errChecksum)
		}
		n.ids[name], n.named[id] = id, name
		return nil
	})
}

func (n *names) add(id int64, name named) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ids[name], n.named[id] = id, name
}

// of returns the name with a number.
func (n *names) of(id int64) string {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.named[id].name
}

// known returns the number of a name; ok is false if it has none.
func (n *names) known(kind, name string) (int64, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	id, ok := n.ids[named{kind, name}]
	return id, ok
}

// intern returns the number of a name, assigning one if needed.
func (p *Provider) intern(ctx context.Context, kind, name string) (int64, error) {
	if id, ok := p.names.known(kind, name); ok {
		return id, nil
	}
	var id int64
	err := p.write(ctx, func(t *tx) (err error) {
		id, err = t.integer("SELECT id FROM names WHERE kind = ? AND name = ?", kind, name)
		if err == nil && id == 0 { // another request may have been faster
			if id, err = t.integer("SELECT max(id) + 1 FROM names"); err != nil {
				return err
			}
			id = max(id, 1)
			_, _, err = t.exec("INSERT INTO names (id, kind, name, crc) VALUES (?, ?, ?, ?)", id, kind, name, nameSum(id, kind, name))
		}
		n := id
		t.after(func() { p.names.add(n, named{kind, name}) })
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("%s %q: %w", kind, name, err)
	}
	return id, nil
}

// shared holds the values that all drivers of one name share.
type shared struct {
	mu     sync.Mutex
	values map[named]*sharedValue
}

type sharedValue struct {
	mu    sync.Mutex
	value any // nil until created
}

// share returns the shared value of a name and creates it on first use. It
// refuses an empty name.
func share[T any](p *Provider, kind, name string, create func() (T, error)) (T, error) {
	var none T
	if name == "" {
		return none, fmt.Errorf("%s without a name: %w", kind, driver.ErrInvalid)
	}
	p.shared.mu.Lock()
	key := named{kind, name}
	s := p.shared.values[key]
	if s == nil {
		s = &sharedValue{}
		if p.shared.values == nil {
			p.shared.values = map[named]*sharedValue{}
		}
		p.shared.values[key] = s
	}
	p.shared.mu.Unlock()

	s.mu.Lock() // create may be slow; only callers with the same name wait
	defer s.mu.Unlock()
	if s.value == nil {
		v, err := create()
		if err != nil {
			return none, err
		}
		s.value = v
	}
	return s.value.(T), nil
}
