package memory

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/objectkey"
)

// bucket is a [driver.Bucket].
type bucket struct {
	*queue[driver.ObjectEvent]
	name string

	mu      sync.RWMutex
	objects map[string]object
	keys    sorted[string]
	changes uint64
	// received is true once the receiver was opened. Before, changes are not kept.
	received bool
}

// object is a stored object. Its bytes never change.
type object struct {
	content    []byte
	modifiedAt time.Time
}

func newBucket(p *Provider, name string) *bucket {
	return &bucket{
		queue:   newQueue(p, driver.ReceiverOf("Bucket", name), same[driver.ObjectEvent]),
		name:    name,
		objects: make(map[string]object),
		keys:    sorted[string]{compare: cmp.Compare[string]},
	}
}

// Put implements [driver.Bucket].
func (b *bucket) Put(ctx context.Context, key string, body io.Reader) error {
	if err := b.put(ctx, key, body); err != nil {
		return err
	}
	b.p.notify(b.receiver.name)
	return nil
}

func (b *bucket) put(ctx context.Context, key string, body io.Reader) error {
	if err := b.p.begin(ctx); err != nil {
		return err
	}
	defer b.p.end()
	if err := b.check(key); err != nil {
		return err
	}
	content, err := io.ReadAll(body)
	if err == nil {
		err = ctx.Err() // it may have ended while the body was read
	}
	if err != nil {
		return fmt.Errorf("bucket %q: put %q: %w", b.name, key, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.objects[key] = object{content: content, modifiedAt: b.p.now().UTC()}
	b.keys.insert(key)
	b.report(driver.ObjectCreated, key)
	return nil
}

// Get implements [driver.Bucket].
func (b *bucket) Get(ctx context.Context, key string) (io.ReadCloser, driver.Object, error) {
	if err := b.p.begin(ctx); err != nil {
		return nil, driver.Object{}, err
	}
	defer b.p.end()
	if err := b.check(key); err != nil {
		return nil, driver.Object{}, err
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	o, ok := b.objects[key]
	if !ok {
		return nil, driver.Object{}, fmt.Errorf("bucket %q: get %q: %w", b.name, key, driver.ErrNotFound)
	}
	return io.NopCloser(bytes.NewReader(o.content)), o.describe(key), nil
}

// Delete implements [driver.Bucket].
func (b *bucket) Delete(ctx context.Context, key string) error {
	deleted, err := b.delete(ctx, key)
	if deleted {
		b.p.notify(b.receiver.name)
	}
	return err
}

func (b *bucket) delete(ctx context.Context, key string) (deleted bool, err error) {
	if err := b.p.begin(ctx); err != nil {
		return false, err
	}
	defer b.p.end()
	if err := b.check(key); err != nil {
		return false, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.objects[key]; !ok {
		return false, nil
	}
	delete(b.objects, key)
	b.keys.remove(key)
	b.report(driver.ObjectRemoved, key)
	return true, nil
}

// List implements [driver.Bucket].
func (b *bucket) List(ctx context.Context, prefix, after string, limit int) ([]driver.Object, error) {
	if err := b.p.begin(ctx); err != nil {
		return nil, err
	}
	defer b.p.end()
	if err := checkLimit(limit); err != nil {
		return nil, fmt.Errorf("bucket %q: %w", b.name, err)
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	var list []driver.Object
	for key := range b.keys.ascend(func(key string) bool { return key > after && key >= prefix }) {
		if !strings.HasPrefix(key, prefix) || len(list) == limit {
			break
		}
		list = append(list, b.objects[key].describe(key))
	}
	return list, nil
}

func (b *bucket) check(key string) error {
	if err := objectkey.Check(key); err != nil {
		return fmt.Errorf("bucket %q: %w", b.name, err)
	}
	return nil
}

// report queues the event of a change.
func (b *bucket) report(kind driver.ObjectEventKind, key string) {
	if !b.received {
		return
	}
	b.changes++
	b.push(key, driver.ObjectEvent{Kind: kind, Key: key, Version: strconv.FormatUint(b.changes, 10)})
}

// receive starts to keep changes. The first ones are the existing objects.
func (b *bucket) receive() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.received {
		return
	}
	b.received = true
	for key := range b.keys.ascend(func(string) bool { return true }) {
		b.report(driver.ObjectCreated, key)
	}
}

func (o object) describe(key string) driver.Object {
	return driver.Object{Key: key, Size: int64(len(o.content)), ModifiedAt: o.modifiedAt}
}

func checkLimit(limit int) error {
	if limit < 1 {
		return fmt.Errorf("limit %d: %w", limit, driver.ErrInvalid)
	}
	return nil
}
