package sqlite

import (
	"context"
	sqldriver "database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/objectkey"
)

// bucket is a directory of files; the table objects has their last reported
// states. If a file differs from the table, another program has changed it. The
// watcher reports such a change, or the next opening of the bucket does.
type bucket struct {
	*queue[driver.ObjectEvent]
	name string
	dir  string
	temp string // directory in which new objects are written

	// changing is locked for writing while the table is synchronized with the
	// files, and for reading, with the stripe of the key, while Put or Delete
	// changes an object.
	changing sync.RWMutex
	stripes  [64]sync.Mutex
	// received is true once the receiver was opened. Before, changes are not kept.
	received atomic.Bool
	seed     maphash.Seed
}

// OpenBucket implements [driver.Provider].
func (p *Provider) OpenBucket(ctx context.Context, name string) (driver.Bucket, error) {
	return p.sharedBucket(ctx, name)
}

// OpenBucketReceiver implements [driver.Sources]. Changes that another program made
// while no provider was open are available when it returns.
func (p *Provider) OpenBucketReceiver(ctx context.Context, name string) (driver.Receiver[driver.ObjectEvent], error) {
	b, err := p.sharedBucket(ctx, name)
	if err != nil || b.received.Load() {
		return b, err
	}
	if err := p.enter(ctx); err != nil {
		return nil, err
	}
	defer p.leave()
	if err := b.receive(ctx); err != nil {
		return nil, fmt.Errorf("bucket: open receiver of %q: %w", name, err)
	}
	return b, nil
}

// receive starts to keep changes. The first ones are the existing objects.
func (b *bucket) receive(ctx context.Context) error {
	b.changing.Lock()
	defer b.changing.Unlock()
	if b.received.Load() {
		return nil
	}
	b.received.Store(true)
	for after := ""; ; {
		keys, err := b.known(ctx, "", after)
		if err == nil && len(keys) == 0 {
			_, err = b.p.intern(ctx, kindReceived, b.name) // last: after a failure all of it is repeated
			if err == nil {
				return nil
			}
		}
		if err == nil {
			err = b.update(ctx, keys, true)
			after = keys[len(keys)-1]
		}
		if err != nil {
			b.received.Store(false)
			return err
		}
	}
}

func (p *Provider) sharedBucket(ctx context.Context, name string) (*bucket, error) {
	if err := p.enter(ctx); err != nil {
		return nil, err
	}
	defer p.leave()
	b, err := share(p, "directory of bucket", name, func() (*bucket, error) { return p.openBucket(ctx, name) })
	if err != nil {
		return nil, fmt.Errorf("bucket: open %q: %w", name, err)
	}
	return b, nil
}

func (p *Provider) openBucket(ctx context.Context, name string) (*bucket, error) {
	q, err := openQueue(ctx, p, kindBucket, name, driver.ReceiverOf("Bucket", name), func(_, head string, _ []byte) (e driver.ObjectEvent, err error) {
		err = json.Unmarshal([]byte(head), &e)
		return e, err
	})
	if err != nil {
		return nil, err
	}
	b := &bucket{
		queue: q, name: name, dir: filepath.Join(p.buckets, bucketDirName(name)), temp: filepath.Join(p.buckets, ".writing"), seed: maphash.MakeSeed(),
	}
	_, received := p.names.known(kindReceived, name)
	b.received.Store(received)
	if err := p.dirs.make(b.dir); err != nil {
		return nil, err
	}
	if err := p.watch.prepare(b.temp); err != nil {
		return nil, err
	}
	if err := p.watch.add(b); err != nil { // before the scan, so that no change is missed
		return nil, err
	}
	return b, b.scan(ctx)
}

// The modes of created files and directories: only the user of the process has access.
// An existing file or directory keeps its mode.
const (
	fileMode = 0o600
	dirMode  = 0o700
)

// directories creates directories durably. A directory that exists was not necessarily
// made durable: an earlier attempt may have failed, or an earlier process been killed,
// between the creation and its sync.
type directories struct {
	root string // those above it are durable if they exist

	mu      sync.Mutex
	durable map[string]bool
}

func newDirectories(root string) *directories {
	return &directories{root: root, durable: map[string]bool{}}
}

// make creates a directory and its parents.
func (d *directories) make(path string) error {
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.IsDir():
		return &fs.PathError{Op: "mkdir", Path: path, Err: syscall.ENOTDIR}
	case err == nil && d.isDurable(path):
		return nil
	case err != nil && !absent(err):
		return err
	}
	parent := filepath.Dir(path)
	if err := d.make(parent); err != nil {
		return err
	}
	d.set(path, false) // another one of this name may have been durable
	if err := os.Mkdir(path, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := syncDir(parent); err != nil {
		return err
	}
	d.set(path, true)
	return nil
}

func (d *directories) isDurable(path string) bool {
	if path != d.root && !strings.HasPrefix(path, d.root+string(filepath.Separator)) {
		return true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.durable[path]
}

func (d *directories) set(path string, durable bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.durable[path] = durable
}

// absent reports whether an error means that there is no such file. One cause is a
// file in the place of a parent directory.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// lock locks a key for a change of its object.
func (b *bucket) lock(key string) (unlock func()) {
	b.changing.RLock()
	m := &b.stripes[maphash.String(b.seed, key)%uint64(len(b.stripes))]
	m.Lock()
	return func() {
		m.Unlock()
		b.changing.RUnlock()
	}
}

// locate returns the path of a key's file; info is nil if there is no file.
func (b *bucket) locate(key string) (path string, info fs.FileInfo, err error) {
	paths := []string{escapedPath(key)}
	if p, ok := plainPath(key); ok {
		paths = []string{p, paths[0]}
	}
	for _, p := range paths {
		path = filepath.Join(b.dir, p)
		info, err := os.Lstat(path)
		switch {
		case err == nil && info.Mode().IsRegular():
			return path, info, nil
		case err != nil && !absent(err):
			return "", nil, err
		}
	}
	return "", nil, nil
}

func (b *bucket) wrap(err error, verb, key string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("bucket %q: %s %q: %w", b.name, verb, short(key), err)
}

// Put implements [driver.Bucket].
func (b *bucket) Put(ctx context.Context, key string, body io.Reader) error {
	return b.wrap(b.p.call(ctx, func() error {
		if err := objectkey.Check(key); err != nil {
			return err
		}
		temp, err := b.write(ctx, body)
		if err != nil {
			return err
		}
		defer os.Remove(temp) //nolint:errcheck // after success it no longer exists
		defer b.lock(key)()
		if err := b.place(temp, key); err != nil {
			return err
		}
		// The object is stored: report it even if the caller's context ends.
		return b.update(context.WithoutCancel(ctx), []string{key}, true)
	}), "put", key)
}

// write writes body to a new file.
func (b *bucket) write(ctx context.Context, body io.Reader) (path string, err error) {
	f, err := os.CreateTemp(b.temp, "object-*")
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = io.Copy(f, &bodyReader{ctx, body})
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		now := b.p.now()
		err = os.Chtimes(f.Name(), now, now)
	}
	return f.Name(), err
}

// bodyReader fails when its context ends, to stop a long copy.
type bodyReader struct {
	ctx  context.Context
	body io.Reader
}

func (r *bodyReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.body.Read(p)
}

// place moves a written file to the path of its object.
func (b *bucket) place(temp, key string) error {
	path, _, err := b.locate(key)
	if err != nil {
		return err
	}
	if path == "" {
		path = filepath.Join(b.dir, escapedPath(key))
		if p, ok := plainPath(key); ok && b.free(filepath.Join(b.dir, p)) {
			path = filepath.Join(b.dir, p)
		}
	}
	if err := b.p.dirs.make(filepath.Dir(path)); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// free reports whether a file can be created at path: there is nothing, or an
// empty directory, which it removes, and all its parents are directories or absent.
func (b *bucket) free(path string) bool {
	if _, err := os.Lstat(path); err == nil && os.Remove(path) != nil {
		return false
	}
	for parent := filepath.Dir(path); len(parent) > len(b.dir); parent = filepath.Dir(parent) {
		if info, err := os.Stat(parent); err == nil {
			return info.IsDir()
		}
	}
	return true
}

// Get implements [driver.Bucket].
func (b *bucket) Get(ctx context.Context, key string) (io.ReadCloser, driver.Object, error) {
	var f *os.File
	var o driver.Object
	err := b.p.call(ctx, func() error {
		if err := objectkey.Check(key); err != nil {
			return err
		}
		path, info, err := b.locate(key)
		if err == nil && info != nil {
			f, err = os.Open(path)
		}
		if err == nil && info == nil || err != nil && absent(err) {
			return driver.ErrNotFound
		}
		if err != nil {
			return err
		}
		if info, err = f.Stat(); err != nil { // of the file that was opened
			return errors.Join(err, f.Close())
		}
		o = driver.Object{Key: key, Size: info.Size(), ModifiedAt: info.ModTime().UTC()}
		return nil
	})
	if err != nil {
		return nil, driver.Object{}, b.wrap(err, "get", key)
	}
	return f, o, nil
}

// Delete implements [driver.Bucket].
func (b *bucket) Delete(ctx context.Context, key string) error {
	return b.wrap(b.p.call(ctx, func() error {
		if err := objectkey.Check(key); err != nil {
			return err
		}
		defer b.lock(key)()
		for {
			path, info, err := b.locate(key)
			if err != nil {
				return err
			}
			if info == nil {
				break
			}
			if err := os.Remove(path); err != nil && !absent(err) {
				return err
			}
			if err := syncDir(filepath.Dir(path)); err != nil {
				return err
			}
		}
		return b.update(context.WithoutCancel(ctx), []string{key}, false)
	}), "delete", key)
}

// List implements [driver.Bucket].
func (b *bucket) List(ctx context.Context, prefix, after string, limit int) ([]driver.Object, error) {
	var list []driver.Object
	err := b.p.call(ctx, func() error {
		if err := checkLimit(limit); err != nil {
			return err
		}
		return b.p.read(ctx, func(c *conn) error {
			return c.query("SELECT key, size, modified, crc FROM objects WHERE bucket = ? AND key > ? AND key >= ? ORDER BY key LIMIT ?",
				[]any{b.id, after, prefix, int64(limit)}, func(row []sqldriver.Value) error {
					o := driver.Object{Key: text(row[0]), Size: number(row[1]), ModifiedAt: time.Unix(0, number(row[2])).UTC()}
					if !strings.HasPrefix(o.Key, prefix) {
						return errStop
					}
					list = append(list, o)
					if objectSum(b.id, o.Key, o.Size, number(row[2])) != number(row[3]) {
						return damage("objects", b.name, o.Key, "%w", errChecksum)
					}
					return nil
				})
		})
	})
	if err != nil {
		return nil, b.wrap(err, "list", prefix)
	}
	return list, nil
}

// update synchronizes the table with the files of some keys and reports their
// changes. If always is set, it reports every existing object, changed or not.
func (b *bucket) update(ctx context.Context, keys []string, always bool) error {
	found := make([]fs.FileInfo, len(keys))
	for i, key := range keys {
		_, info, err := b.locate(key)
		if err != nil {
			return err
		}
		found[i] = info
	}
	return b.p.writeWhole(ctx, func(t *tx) error {
		for i, key := range keys {
			if err := b.updateKey(t, key, found[i], always); err != nil {
				return err
			}
		}
		return nil
	})
}

// reported returns the last reported state of an object. A damaged one differs from every
// file, so that the object is reported again and its entry is replaced.
func (b *bucket) reported(c *conn, key string) (size, modified int64, known bool, err error) {
	known, err = c.first("SELECT size, modified, crc FROM objects WHERE bucket = ? AND key = ?", []any{b.id, key}, func(row []sqldriver.Value) error {
		if size, modified = number(row[0]), number(row[1]); objectSum(b.id, key, size, modified) != number(row[2]) {
			size = -1
		}
		return nil
	})
	return size, modified, known, err
}

func (b *bucket) updateKey(t *tx, key string, info fs.FileInfo, always bool) error {
	size, modified, known, err := b.reported(t.conn, key)
	if err != nil {
		return err
	}
	kind := driver.ObjectCreated
	switch {
	case info == nil && !known:
		return nil
	case info == nil:
		kind = driver.ObjectRemoved
		_, _, err = t.exec("DELETE FROM objects WHERE bucket = ? AND key = ?", b.id, key)
	case known && !always && size == info.Size() && modified == info.ModTime().UnixNano():
		return nil
	default:
		_, _, err = t.exec("INSERT OR REPLACE INTO objects (bucket, key, size, modified, crc) VALUES (?, ?, ?, ?, ?)",
			b.id, key, info.Size(), info.ModTime().UnixNano(), objectSum(b.id, key, info.Size(), info.ModTime().UnixNano()))
	}
	if err != nil || !b.received.Load() {
		return err
	}
	id, err := t.next()
	if err != nil {
		return err
	}
	head, err := json.Marshal(driver.ObjectEvent{Kind: kind, Key: key, Version: strconv.FormatInt(id, 10)})
	if err != nil {
		return err
	}
	return b.putAs(t, id, message{group: key, head: string(head)})
}

// refresh is update for changes by other programs: it first finds the keys whose
// files differ from the table.
func (b *bucket) refresh(ctx context.Context, keys []string) error {
	b.changing.Lock()
	defer b.changing.Unlock()
	var differ []string
	err := b.p.read(ctx, func(c *conn) error {
		for _, key := range keys {
			_, info, err := b.locate(key)
			if err != nil {
				return err
			}
			size, modified, known, err := b.reported(c, key)
			if err != nil {
				return err
			}
			if known != (info != nil) || known && (size != info.Size() || modified != info.ModTime().UnixNano()) {
				differ = append(differ, key)
			}
		}
		return nil
	})
	if err != nil || len(differ) == 0 {
		return err
	}
	return b.update(ctx, differ, false)
}

// refreshPage is the number of keys that are synchronized together.
const refreshPage = 256

// scan synchronizes the whole table with the files.
func (b *bucket) scan(ctx context.Context) error {
	if err := b.scanDir(ctx, b.dir); err != nil {
		return err
	}
	return b.scanKnown(ctx, "")
}

// scanDir synchronizes the table with all files below dir.
func (b *bucket) scanDir(ctx context.Context, dir string) error {
	var keys []string
	flush := func() error {
		if len(keys) == 0 {
			return nil
		}
		err := b.refresh(ctx, keys)
		keys = keys[:0]
		return err
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if absent(err) {
				return nil // removed in the meantime
			}
			return err
		}
		if !d.Type().IsRegular() {
			return nil
		}
		rel, err := filepath.Rel(b.dir, path)
		if err != nil {
			return err
		}
		if key, ok := keyOf(rel); ok {
			keys = append(keys, key)
		}
		if len(keys) == refreshPage {
			return flush()
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	return flush()
}

// scanKnown synchronizes all objects of the table whose keys begin with prefix.
func (b *bucket) scanKnown(ctx context.Context, prefix string) error {
	for after := ""; ; {
		list, err := b.known(ctx, prefix, after)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return nil
		}
		if err := b.refresh(ctx, list); err != nil {
			return err
		}
		after = list[len(list)-1]
	}
}

func (b *bucket) known(ctx context.Context, prefix, after string) (keys []string, err error) {
	err = b.p.read(ctx, func(c *conn) error {
		return c.query("SELECT key FROM objects WHERE bucket = ? AND key > ? AND key >= ? ORDER BY key LIMIT ?",
			[]any{b.id, after, prefix, int64(refreshPage)}, func(row []sqldriver.Value) error {
				key := text(row[0])
				if !strings.HasPrefix(key, prefix) {
					return errStop
				}
				keys = append(keys, key)
				return nil
			})
	})
	return keys, err
}
