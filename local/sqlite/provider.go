package sqlite

import (
	"cmp"
	"context"
	"crypto/rand"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"maps"
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
	// Limits are the provider's limits. A zero field is its default: commits of
	// 400 KiB, commands of 1 MiB, rows of 400 KiB, steps of 10,000, any number of
	// feed readers. Sizes are those of what is stored.
	Limits driver.Limits
	// BucketDir is the directory of the buckets; empty is the file's path with
	// .buckets behind it. Each bucket is a directory below it.
	BucketDir string
}

// pageBytes bounds one page of anything that is read in pages.
const pageBytes = 1 << 20

// Provider runs an application on one SQLite file.
type Provider struct {
	path    string
	now     func() time.Time
	limits  driver.Limits
	buckets string
	// epoch tells the deliveries of this provider from those of others that were
	// opened on the file before.
	epoch string

	lock    *lock
	writer  *writer
	readers *pool
	calls   calls
	closing chan struct{} // closed when Close begins
	watch   *watcher

	names  names
	shared shared

	tellMu  sync.Mutex
	tellers map[int]func(string)
	tells   int
}

var _ driver.PullProvider = (*Provider)(nil)

// Open opens the database at path, and makes it when there is none: then
// nothing is at path, or an empty file. Its directory must exist. The package
// comment says which files are refused. The options may be nil.
//
// ctx bounds the opening only.
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
		buckets: cmp.Or(opts.BucketDir, path+".buckets"),
		epoch:   rand.Text()[:8],
		closing: make(chan struct{}),
		tellers: map[int]func(string){},
	}
	if p.now == nil {
		p.now = time.Now
	}
	if p.lock, err = acquire(path); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.lock.release())
		}
	}()
	exists, err := inspect(path, p.lock.created, check)
	if err != nil {
		return nil, err
	}
	if !exists {
		if err := create(path); err != nil {
			return nil, fmt.Errorf("create: %w", classed(err))
		}
	}
	if err := p.lock.markCreated(); err != nil {
		return nil, err
	}
	if err := p.start(); err != nil {
		return nil, classed(err)
	}
	return p, nil
}

// resolve makes path absolute and free of links, so that one database has one lock.
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

// start opens the connections.
func (p *Provider) start() (err error) {
	uri := fileURI(p.path, "mode=rw")
	c, err := connect(uri, "busy_timeout=5000", "journal_mode=WAL", "synchronous=FULL", "journal_size_limit=67108864",
		"cache_size=-16384", "temp_store=MEMORY", "cell_size_check=1", "trusted_schema=0")
	if err != nil {
		return err
	}
	p.readers = newPool(max(4, runtime.GOMAXPROCS(0)), func() (*conn, error) {
		return connect(uri, "busy_timeout=5000", "query_only=1", "cache_size=-4096", "temp_store=MEMORY", "cell_size_check=1", "trusted_schema=0")
	})
	err = func() error {
		var mode string
		if _, err := c.first("PRAGMA journal_mode", nil, func(row []sqldriver.Value) error {
			mode = text(row[0])
			return nil
		}); err != nil {
			return err
		}
		if mode != "wal" {
			return fmt.Errorf("journal mode %q in place of WAL: %w", mode, driver.ErrUnsupported)
		}
		if err := migrate(c, migrations); err != nil {
			return err
		}
		if err := p.names.load(c); err != nil {
			return err
		}
		p.writer, err = newWriter(c, p.path, p.readers, p.tell)
		return err
	}()
	if err != nil {
		return errors.Join(err, c.close())
	}
	p.watch = newWatcher(p)
	go p.writer.serve()
	return nil
}

// Limits implements [driver.Provider].
func (p *Provider) Limits() driver.Limits { return p.limits }

// Close implements [driver.Provider]. It writes the write-ahead log back into
// the database.
func (p *Provider) Close() error {
	if !p.calls.close(p.closing) {
		return nil
	}
	p.watch.stop()
	close(p.writer.stop)
	<-p.writer.done
	errs := []error{p.readers.close()}
	if p.writer.broken == nil {
		_, err := p.writer.c.integer("PRAGMA wal_checkpoint(TRUNCATE)")
		errs = append(errs, err)
	}
	errs = append(errs, p.writer.c.close(), p.lock.release())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("sqlite: close %s: %w", p.path, classed(err))
	}
	return nil
}

// Notify implements [driver.Sources]. The calls are made before the call that
// led to them returns, mostly by the goroutine that does the writing: f must not
// wait for a write.
func (p *Provider) Notify(f func(receiver string)) (stop func()) {
	p.tellMu.Lock()
	defer p.tellMu.Unlock()
	p.tells++
	id := p.tells
	p.tellers[id] = f
	return func() {
		p.tellMu.Lock()
		defer p.tellMu.Unlock()
		delete(p.tellers, id)
	}
}

// tell notifies of each receiver once. No lock is held.
func (p *Provider) tell(receivers []string) {
	if len(receivers) == 0 {
		return
	}
	p.tellMu.Lock()
	tellers := slices.Collect(maps.Values(p.tellers))
	p.tellMu.Unlock()
	if len(tellers) == 0 {
		return
	}
	slices.Sort(receivers)
	for _, r := range slices.Compact(receivers) {
		for _, f := range tellers {
			f(r)
		}
	}
}

// enter begins a call; each is ended by leave.
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

// write has the writer run f, which checks all that it can refuse before it writes.
func (p *Provider) write(ctx context.Context, f func(t *tx) error) error {
	return p.writer.do(ctx, &request{run: f})
}

// writeWhole is write for an f that may fail after it wrote.
func (p *Provider) writeWhole(ctx context.Context, f func(t *tx) error) error {
	return p.writer.do(ctx, &request{run: f, savepoint: true})
}

// read runs f with a reading connection. It sees all that was committed.
func (p *Provider) read(ctx context.Context, f func(c *conn) error) error {
	return classed(p.readers.use(ctx, f))
}

// calls counts the running calls.
type calls struct {
	mu      sync.Mutex
	running int
	closed  bool
	idle    chan struct{} // closed when none runs any more
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

// close refuses further calls, closes closing, and waits until none runs. It
// returns false when it was called before.
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

// names gives logical names small numbers, by the kind of thing they name.
type names struct {
	mu  sync.RWMutex
	ids map[named]int64
}

type named struct{ kind, name string }

// The kinds of names.
const (
	kindLog      = "log"      // an event log
	kindConsumer = "consumer" // who has a position in a change feed
	kindMarks    = "marks"    // who has watermarks
	kindTable    = "table"    // a read model
	kindIndex    = "index"    // an index of a read model, in one form
	kindCommands = "commands" // a command topic
	kindSub      = "sub"      // a subscription of an event topic
	kindCounter  = "counter"
	kindBucket   = "bucket"
)

func (n *names) load(c *conn) error {
	n.ids = map[named]int64{}
	return c.query("SELECT id, kind, name FROM names", nil, func(row []sqldriver.Value) error {
		n.ids[named{text(row[1]), text(row[2])}] = number(row[0])
		return nil
	})
}

// known returns the number of a name, if it has one.
func (n *names) known(kind, name string) (int64, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	id, ok := n.ids[named{kind, name}]
	return id, ok
}

// intern returns the number of a name and gives it one if needed.
func (p *Provider) intern(ctx context.Context, kind, name string) (int64, error) {
	if id, ok := p.names.known(kind, name); ok {
		return id, nil
	}
	var id int64
	err := p.write(ctx, func(t *tx) error {
		if _, _, err := t.exec("INSERT INTO names (kind, name) VALUES (?, ?) ON CONFLICT DO NOTHING", kind, name); err != nil {
			return err
		}
		n, err := t.integer("SELECT id FROM names WHERE kind = ? AND name = ?", kind, name)
		id = n
		t.after(func() {
			p.names.mu.Lock()
			defer p.names.mu.Unlock()
			p.names.ids[named{kind, name}] = n
		})
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("%s %q: %w", kind, name, err)
	}
	return id, nil
}

// shared holds what all drivers of one name have in common.
type shared struct {
	mu     sync.Mutex
	things map[named]*thing
}

type thing struct {
	mu    sync.Mutex
	value any // nil: not made yet
}

// share returns the thing of a name, made once. An empty name is refused.
func share[T any](p *Provider, kind, name string, create func() (T, error)) (T, error) {
	var none T
	if name == "" {
		return none, fmt.Errorf("%s without a name: %w", kind, driver.ErrInvalid)
	}
	p.shared.mu.Lock()
	key := named{kind, name}
	t := p.shared.things[key]
	if t == nil {
		t = &thing{}
		if p.shared.things == nil {
			p.shared.things = map[named]*thing{}
		}
		p.shared.things[key] = t
	}
	p.shared.mu.Unlock()

	t.mu.Lock() // making it may take long; others of the name wait, and nobody else
	defer t.mu.Unlock()
	if t.value == nil {
		v, err := create()
		if err != nil {
			return none, err
		}
		t.value = v
	}
	return t.value.(T), nil
}
